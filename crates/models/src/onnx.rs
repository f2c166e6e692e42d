//! ONNX files, looked through before anything loads them.
//!
//! The layout is that of `onnx.proto` (protocol buffers, read here field by field: the file comes from strangers,
//! and only a few of its fields matter). A file may name others to read its weights from, anywhere on the disk;
//! such a file is refused.

/// Graphs within graphs at most.
const MOST_DEPTH: usize = 8;
/// Computations at most; the largest detectors have some thousands.
const MOST_NODES: usize = 200_000;

/// Why an ONNX file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OnnxError {
    /// It ends within a field, or is no protocol buffer.
    #[error("it is cut or no ONNX file: {0}")]
    Damaged(&'static str),
    /// Some part that every model has is missing.
    #[error("it has no {0}; it is no model")]
    Missing(&'static str),
    /// Weights in other files.
    #[error("the tensor {0:?} has its data in another file; export the model with its weights inside")]
    External(String),
    /// A tensor whose bytes are not what its shape needs.
    #[error("the tensor {name:?} has {actual} bytes where its shape needs {expected}")]
    Tensor {
        /// Its name.
        name: String,
        /// Bytes that are there.
        actual: u64,
        /// Bytes that its shape and type need.
        expected: u64,
    },
    /// More than any model has.
    #[error("it has more than {most} {what}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// How much is allowed.
        most: usize,
    },
}

/// What an ONNX file says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OnnxHead {
    /// Version of the file format.
    pub ir_version: u64,
    /// Version of ONNX's own operators.
    pub opset: u64,
    /// Computations.
    pub nodes: usize,
    /// Bytes of weights.
    pub weights_bytes: u64,
}

/// Looks through a whole file.
pub fn read(bytes: &[u8]) -> Result<OnnxHead, OnnxError> {
    let mut head = OnnxHead::default();
    let (mut graphs, mut outputs) = (0, 0);
    for field in Fields(bytes) {
        match field? {
            (1, Value::Number(version)) => head.ir_version = version,
            (7, Value::Bytes(graph)) => {
                graphs += 1;
                outputs += look_through(graph, 0, &mut head)?;
            }
            (8, Value::Bytes(opset)) => {
                let (mut domain, mut version) = (&[][..], 0);
                for field in Fields(opset) {
                    match field? {
                        (1, Value::Bytes(name)) => domain = name,
                        (2, Value::Number(number)) => version = number,
                        _ => {}
                    }
                }
                if domain.is_empty() || domain == b"ai.onnx" {
                    head.opset = version;
                }
            }
            (25, Value::Bytes(function)) => {
                for field in Fields(function) {
                    if let (7, Value::Bytes(node)) = field? {
                        look_at_node(node, 0, &mut head)?;
                    }
                }
            }
            _ => {}
        }
    }
    let parts = [
        (graphs > 0, "graph"),
        (head.ir_version > 0, "version"),
        (head.nodes > 0, "computations"),
        (outputs > 0, "outputs"),
    ];
    match parts.into_iter().find(|(there, _)| !there) {
        Some((_, part)) => Err(OnnxError::Missing(part)),
        None => Ok(head),
    }
}

/// Looks through a graph; tells how many outputs it has.
fn look_through(graph: &[u8], depth: usize, head: &mut OnnxHead) -> Result<usize, OnnxError> {
    if depth > MOST_DEPTH {
        return Err(OnnxError::TooMuch { what: "graphs within graphs", most: MOST_DEPTH });
    }
    let mut outputs = 0;
    for field in Fields(graph) {
        match field? {
            (1, Value::Bytes(node)) => look_at_node(node, depth, head)?,
            (5, Value::Bytes(tensor)) => look_at_tensor(tensor, head)?,
            (12, Value::Bytes(_)) => outputs += 1,
            (15, Value::Bytes(sparse)) => look_at_sparse(sparse, head)?,
            _ => {}
        }
    }
    Ok(outputs)
}

fn look_at_node(node: &[u8], depth: usize, head: &mut OnnxHead) -> Result<(), OnnxError> {
    head.nodes += 1;
    if head.nodes > MOST_NODES {
        return Err(OnnxError::TooMuch { what: "computations", most: MOST_NODES });
    }
    for field in Fields(node) {
        let (5, Value::Bytes(attribute)) = field? else { continue };
        for field in Fields(attribute) {
            match field? {
                (5 | 10, Value::Bytes(tensor)) => look_at_tensor(tensor, head)?,
                (6 | 11, Value::Bytes(graph)) => {
                    look_through(graph, depth + 1, head)?;
                }
                (22 | 23, Value::Bytes(sparse)) => look_at_sparse(sparse, head)?,
                _ => {}
            }
        }
    }
    Ok(())
}

fn look_at_sparse(sparse: &[u8], head: &mut OnnxHead) -> Result<(), OnnxError> {
    for field in Fields(sparse) {
        if let (1 | 2, Value::Bytes(tensor)) = field? {
            look_at_tensor(tensor, head)?;
        }
    }
    Ok(())
}

fn look_at_tensor(tensor: &[u8], head: &mut OnnxHead) -> Result<(), OnnxError> {
    let (mut elements, mut kind, mut raw, mut name, mut external) = (1_u64, 0, None, &[][..], false);
    for field in Fields(tensor) {
        match field? {
            (1, Value::Number(size)) => elements = elements.saturating_mul(size),
            (1, Value::Bytes(packed)) => {
                let mut rest = packed;
                while !rest.is_empty() {
                    elements = elements.saturating_mul(varint(&mut rest)?);
                }
            }
            (2, Value::Number(number)) => kind = number,
            (8, Value::Bytes(text)) => name = text,
            (9, Value::Bytes(data)) => raw = Some(data.len() as u64),
            (13, Value::Bytes(_)) => external = true,
            (14, Value::Number(location)) => external |= location != 0,
            _ => {}
        }
    }
    let name = || String::from_utf8_lossy(&name[..name.len().min(100)]).into_owned();
    if external {
        return Err(OnnxError::External(name()));
    }
    if let (Some(actual), Some(size)) = (raw, size_of(kind)) {
        let expected = elements.saturating_mul(size);
        if actual != expected {
            return Err(OnnxError::Tensor { name: name(), actual, expected });
        }
    }
    head.weights_bytes = head.weights_bytes.saturating_add(raw.unwrap_or(tensor.len() as u64));
    Ok(())
}

/// Bytes of an element of `TensorProto.DataType`; nothing for those that are packed or have no fixed size.
const fn size_of(kind: u64) -> Option<u64> {
    match kind {
        2 | 3 | 9 | 17..=20 => Some(1),
        4 | 5 | 10 | 16 => Some(2),
        1 | 6 | 12 => Some(4),
        7 | 11 | 13 | 14 => Some(8),
        _ => None,
    }
}

/// The value of a field.
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Four or eight bytes that nothing here asks for.
    Fixed,
}

/// The fields of a message, in their order.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), OnnxError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Result<(u64, Value<'a>), OnnxError> {
        let tag = varint(&mut self.0)?;
        let value = match tag & 7 {
            0 => Value::Number(varint(&mut self.0)?),
            1 => {
                self.bytes(8)?;
                Value::Fixed
            }
            2 => {
                let length = varint(&mut self.0)?;
                Value::Bytes(self.bytes(length)?)
            }
            5 => {
                self.bytes(4)?;
                Value::Fixed
            }
            _ => return Err(OnnxError::Damaged("a field of a kind that does not exist")),
        };
        match tag >> 3 {
            0 => Err(OnnxError::Damaged("a field with the number 0")),
            number => Ok((number, value)),
        }
    }

    fn bytes(&mut self, length: u64) -> Result<&'a [u8], OnnxError> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let (bytes, rest) =
            self.0.split_at_checked(length).ok_or(OnnxError::Damaged("it ends within a field"))?;
        self.0 = rest;
        Ok(bytes)
    }
}

fn varint(rest: &mut &[u8]) -> Result<u64, OnnxError> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first().ok_or(OnnxError::Damaged("it ends within a number"))?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(OnnxError::Damaged("a number that never ends"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(field: u64, value: u64) -> Vec<u8> {
        let mut out = coded(field << 3);
        out.extend(coded(value));
        out
    }

    fn message(field: u64, parts: &[Vec<u8>]) -> Vec<u8> {
        let body = parts.concat();
        let mut out = coded(field << 3 | 2);
        out.extend(coded(body.len() as u64));
        out.extend(body);
        out
    }

    fn text(field: u64, text: &[u8]) -> Vec<u8> {
        message(field, &[text.to_vec()])
    }

    fn coded(mut value: u64) -> Vec<u8> {
        let mut out = Vec::new();
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
        out
    }

    /// A model of one computation with this tensor and these further parts of the graph.
    fn model(tensor: &[Vec<u8>], more: &[Vec<u8>]) -> Vec<u8> {
        let mut graph =
            vec![message(1, &[text(4, b"Relu")]), message(5, tensor), message(12, &[text(1, b"output")])];
        graph.extend_from_slice(more);
        [number(1, 8), message(8, &[number(2, 17)]), message(7, &graph)].concat()
    }

    fn floats(raw: usize) -> Vec<Vec<u8>> {
        vec![number(1, 2), number(1, 3), number(2, 1), text(8, b"w"), text(9, &vec![0; raw])]
    }

    #[test]
    fn a_model_is_told_from_what_is_none() {
        let head = read(&model(&floats(24), &[])).expect("sound");
        assert_eq!(head, OnnxHead { ir_version: 8, opset: 17, nodes: 1, weights_bytes: 24 });
        let cases: Vec<(&str, Vec<u8>)> = vec![
            ("no graph", Vec::new()),
            ("no graph", number(1, 8)),
            ("no computations", [number(1, 8), message(7, &[message(12, &[])])].concat()),
            ("no outputs", [number(1, 8), message(7, &[message(1, &[])])].concat()),
            ("cut or no ONNX", b"GGUF\x03\0\0\0".to_vec()),
            ("needs 24", model(&floats(23), &[])),
            (
                "another file",
                model(
                    &[text(8, b"w"), message(13, &[text(1, b"location"), text(2, b"../../etc/shadow")])],
                    &[],
                ),
            ),
            ("another file", model(&[text(8, b"w"), number(14, 1)], &[])),
            (
                "another file",
                model(
                    &floats(24),
                    &[message(1, &[message(5, &[message(6, &[message(5, &[number(14, 1)])])])])],
                ),
            ),
            ("another file", model(&floats(24), &[message(15, &[message(1, &[number(14, 1)])])])),
        ];
        for (word, bytes) in cases {
            let error = read(&bytes).expect_err(word).to_string();
            assert!(error.contains(word), "{word}: {error}");
        }
    }

    #[test]
    fn graphs_within_graphs_end_somewhere() {
        let mut graph = message(1, &[]);
        for _ in 0..100 {
            graph = message(1, &[message(5, &[message(6, &[graph])])]);
        }
        let bytes = [number(1, 8), message(7, &[graph])].concat();
        assert!(matches!(read(&bytes), Err(OnnxError::TooMuch { .. })));
    }

    #[test]
    fn a_file_cut_or_changed_anywhere_is_an_answer_and_never_a_panic() {
        let whole = model(&floats(24), &[message(1, &[message(5, &[message(5, &floats(24))])])]);
        for end in 0..whole.len() {
            assert!(read(&whole[..end]).is_err(), "cut after {end} bytes");
        }
        for place in 0..whole.len() {
            for bit in 0..8 {
                let mut changed = whole.clone();
                changed[place] ^= 1 << bit;
                // Any answer will do.
                let _ = read(&changed);
            }
        }
    }
}
