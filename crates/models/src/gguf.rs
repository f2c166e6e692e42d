//! The head of a GGUF file, read defensively: every length is checked before anything is allocated.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. Versions 2 and 3,
//! little-endian.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};

/// Why a file is refused.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// Reading failed, or the file ends too early.
    #[error("the file ends in the middle of its header; it was probably cut while it was copied")]
    Truncated,
    /// The file cannot be read.
    #[error("the file cannot be read")]
    Io(#[source] std::io::Error),
    /// Another kind of file.
    #[error("this is not a GGUF file: it begins with {0:?} instead of \"GGUF\"")]
    Magic(String),
    /// A version we do not know.
    #[error("GGUF version {0} is not supported; versions 2 and 3 are")]
    Version(u32),
    /// A count or a length that no honest file has.
    #[error("the header is not believable: {what} is {value}, at most {limit} makes sense")]
    Absurd {
        /// What is too large.
        what: &'static str,
        /// Its value.
        value: u64,
        /// What would make sense.
        limit: u64,
    },
    /// An unknown type number.
    #[error("the header uses the unknown {what} type {number}")]
    Type {
        /// Type of what.
        what: &'static str,
        /// Its number.
        number: u32,
    },
    /// A text that is not UTF-8.
    #[error("a text in the header is not UTF-8")]
    Text,
    /// A vocabulary without weights.
    #[error("the file holds a vocabulary and no weights; it cannot answer anything")]
    NoTensors,
    /// A part of a split model.
    #[error("the file is part of a model split in {0} files; join them with llama-gguf-split --merge first")]
    Split(u64),
    /// A tensor beyond the end.
    #[error(
        "the tensor {name} ends at byte {end}, but the file has {size}; it was probably cut while it was copied"
    )]
    Beyond {
        /// Name of the tensor.
        name: String,
        /// Where it should end.
        end: u64,
        /// Size of the file.
        size: u64,
    },
}

const MAX_KEYS: u64 = 65_536;
const MAX_TENSORS: u64 = 262_144;
const MAX_STRING: u64 = 16 << 20;
const MAX_ARRAY: u64 = 16 << 20;
const MAX_DIMENSIONS: u32 = 4;
const DEFAULT_ALIGNMENT: u64 = 32;

/// A metadata value. Arrays are measured, not kept.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Any integer type.
    Integer(i128),
    /// Any float type.
    Float(f64),
    /// Boolean.
    Boolean(bool),
    /// Text.
    Text(String),
    /// Number of elements.
    Array(u64),
}

/// What the head says.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// Metadata by key.
    pub metadata: BTreeMap<String, Value>,
    /// Number of tensors.
    pub tensors: u64,
    /// Bytes of all tensors.
    pub tensor_bytes: u64,
}

impl Header {
    /// An integer of the model's own architecture, such as `llama.block_count`.
    pub fn integer(&self, name: &str) -> Option<u64> {
        let Some(Value::Text(architecture)) = self.metadata.get("general.architecture") else { return None };
        match self.metadata.get(&format!("{architecture}.{name}")) {
            Some(Value::Integer(number)) => u64::try_from(*number).ok(),
            _ => None,
        }
    }
}

/// Reads and checks the head of a GGUF file of `size` bytes.
pub fn read(source: impl Read + Seek, size: u64) -> Result<Header, GgufError> {
    let mut reader = Reader { source, size };
    let mut magic = [0_u8; 4];
    reader.fill(&mut magic)?;
    if &magic != b"GGUF" {
        return Err(GgufError::Magic(String::from_utf8_lossy(&magic).into_owned()));
    }
    let version = reader.u32()?;
    if !(2..=3).contains(&version) {
        return Err(GgufError::Version(version));
    }
    let tensors = bounded("the number of tensors", reader.u64()?, MAX_TENSORS)?;
    let keys = bounded("the number of metadata keys", reader.u64()?, MAX_KEYS)?;
    let mut metadata = BTreeMap::new();
    for _ in 0..keys {
        let key = reader.text()?;
        let kind = reader.u32()?;
        let value = reader.value(kind)?;
        metadata.insert(key, value);
    }
    if let Some(Value::Integer(count)) = metadata.get("split.count")
        && *count > 1
    {
        return Err(GgufError::Split(u64::try_from(*count).unwrap_or(u64::MAX)));
    }
    if tensors == 0 {
        return Err(GgufError::NoTensors);
    }
    let alignment = match metadata.get("general.alignment") {
        Some(Value::Integer(number)) => {
            bounded("the alignment", u64::try_from(*number).unwrap_or(u64::MAX), 1 << 20)?.max(1)
        }
        _ => DEFAULT_ALIGNMENT,
    };
    let mut table = Vec::new();
    for _ in 0..tensors {
        table.push(reader.tensor()?);
    }
    let data = reader.source.stream_position().map_err(GgufError::Io)?.next_multiple_of(alignment);
    let mut tensor_bytes = 0_u64;
    for (name, offset, bytes) in table {
        let end = data.saturating_add(offset).saturating_add(bytes);
        if end > size {
            return Err(GgufError::Beyond { name, end, size });
        }
        tensor_bytes = tensor_bytes.saturating_add(bytes);
    }
    Ok(Header { metadata, tensors, tensor_bytes })
}

fn bounded(what: &'static str, value: u64, limit: u64) -> Result<u64, GgufError> {
    if value > limit { Err(GgufError::Absurd { what, value, limit }) } else { Ok(value) }
}

/// Bytes of a block and elements in it, by ggml type number.
const fn block(kind: u32) -> Option<(u64, u64)> {
    Some(match kind {
        0 | 26 => (4, 1),
        1 | 25 | 30 => (2, 1),
        2 | 20 => (18, 32),
        3 => (20, 32),
        6 => (22, 32),
        7 => (24, 32),
        8 => (34, 32),
        9 => (36, 32),
        10 => (84, 256),
        11 | 21 => (110, 256),
        12 => (144, 256),
        13 => (176, 256),
        14 => (210, 256),
        15 => (292, 256),
        16 | 35 => (66, 256),
        17 => (74, 256),
        18 => (98, 256),
        19 => (50, 256),
        22 => (82, 256),
        23 => (136, 256),
        24 => (1, 1),
        27 | 28 => (8, 1),
        29 => (56, 256),
        34 => (54, 256),
        39 => (17, 32),
        _ => return None,
    })
}

struct Reader<S> {
    source: S,
    size: u64,
}

impl<S: Read + Seek> Reader<S> {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), GgufError> {
        self.source.read_exact(buffer).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => GgufError::Truncated,
            _ => GgufError::Io(error),
        })
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], GgufError> {
        let mut buffer = [0_u8; N];
        self.fill(&mut buffer)?;
        Ok(buffer)
    }

    fn u32(&mut self) -> Result<u32, GgufError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, GgufError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Refuses a length that the rest of the file cannot hold, before memory is taken for it.
    fn fits(&mut self, bytes: u64) -> Result<(), GgufError> {
        let at = self.source.stream_position().map_err(GgufError::Io)?;
        if bytes > self.size.saturating_sub(at) { Err(GgufError::Truncated) } else { Ok(()) }
    }

    fn text(&mut self) -> Result<String, GgufError> {
        let length = bounded("the length of a text", self.u64()?, MAX_STRING)?;
        self.fits(length)?;
        let mut bytes = vec![0_u8; length as usize];
        self.fill(&mut bytes)?;
        String::from_utf8(bytes).map_err(|_| GgufError::Text)
    }

    fn skip(&mut self, bytes: u64) -> Result<(), GgufError> {
        self.fits(bytes)?;
        self.source.seek(SeekFrom::Current(bytes.cast_signed())).map_err(GgufError::Io)?;
        Ok(())
    }

    fn value(&mut self, kind: u32) -> Result<Value, GgufError> {
        Ok(match kind {
            0 => Value::Integer(u8::from_le_bytes(self.array()?).into()),
            1 => Value::Integer(i8::from_le_bytes(self.array()?).into()),
            2 => Value::Integer(u16::from_le_bytes(self.array()?).into()),
            3 => Value::Integer(i16::from_le_bytes(self.array()?).into()),
            4 => Value::Integer(self.u32()?.into()),
            5 => Value::Integer(i32::from_le_bytes(self.array()?).into()),
            6 => Value::Float(f32::from_le_bytes(self.array()?).into()),
            7 => Value::Boolean(self.array::<1>()? != [0]),
            8 => Value::Text(self.text()?),
            9 => {
                let kind = self.u32()?;
                let length = bounded("the length of an array", self.u64()?, MAX_ARRAY)?;
                self.skip_array(kind, length)?;
                Value::Array(length)
            }
            10 => Value::Integer(self.u64()?.into()),
            11 => Value::Integer(i64::from_le_bytes(self.array()?).into()),
            12 => Value::Float(f64::from_le_bytes(self.array()?)),
            number => return Err(GgufError::Type { what: "metadata", number }),
        })
    }

    fn skip_array(&mut self, kind: u32, length: u64) -> Result<(), GgufError> {
        let width = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            8 => {
                for _ in 0..length {
                    let bytes = bounded("the length of a text", self.u64()?, MAX_STRING)?;
                    self.skip(bytes)?;
                }
                return Ok(());
            }
            number => return Err(GgufError::Type { what: "array", number }),
        };
        self.skip(length * width)
    }

    /// Name, offset in the data section and size in bytes.
    fn tensor(&mut self) -> Result<(String, u64, u64), GgufError> {
        let name = self.text()?;
        let dimensions = self.u32()?;
        bounded("the number of dimensions", dimensions.into(), MAX_DIMENSIONS.into())?;
        let mut elements = 1_u64;
        for _ in 0..dimensions {
            elements = elements.saturating_mul(self.u64()?);
        }
        let kind = self.u32()?;
        let (bytes, per_block) = block(kind).ok_or(GgufError::Type { what: "tensor", number: kind })?;
        let offset = self.u64()?;
        Ok((name, offset, elements.div_ceil(per_block).saturating_mul(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn text(value: &str) -> Vec<u8> {
        [&(value.len() as u64).to_le_bytes()[..], value.as_bytes()].concat()
    }

    fn head(version: u32, tensors: u64, keys: u64) -> Vec<u8> {
        [
            b"GGUF".to_vec(),
            version.to_le_bytes().into(),
            tensors.to_le_bytes().into(),
            keys.to_le_bytes().into(),
        ]
        .concat()
    }

    fn key(name: &str, kind: u32, value: &[u8]) -> Vec<u8> {
        [text(name), kind.to_le_bytes().into(), value.into()].concat()
    }

    fn tensor(name: &str, dimensions: &[u64], kind: u32, offset: u64) -> Vec<u8> {
        let mut bytes = [text(name), (dimensions.len() as u32).to_le_bytes().into()].concat();
        for dimension in dimensions {
            bytes.extend(dimension.to_le_bytes());
        }
        bytes.extend(kind.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        bytes
    }

    fn parse(bytes: &[u8]) -> Result<Header, GgufError> {
        read(Cursor::new(bytes), bytes.len() as u64)
    }

    fn good() -> Vec<u8> {
        let mut bytes = [
            head(3, 1, 3),
            key("general.architecture", 8, &text("llama")),
            key("llama.block_count", 4, &7_u32.to_le_bytes()),
            key("empty", 9, &[8_u32.to_le_bytes().to_vec(), 0_u64.to_le_bytes().into()].concat()),
            tensor("w", &[32, 2], 8, 0),
        ]
        .concat();
        bytes.resize(bytes.len().next_multiple_of(32) + 68, 0);
        bytes
    }

    #[test]
    fn an_honest_header_is_read() {
        let header = parse(&good()).expect("reads");
        assert_eq!(header.integer("block_count"), Some(7));
        assert_eq!((header.tensors, header.tensor_bytes), (1, 68));
    }

    #[test]
    fn every_truncation_is_refused_without_panic() {
        let bytes = good();
        for length in 0..bytes.len() {
            assert!(parse(&bytes[..length]).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn dishonest_files_are_refused_with_their_reason() {
        let split = [head(3, 1, 1), key("split.count", 2, &3_u16.to_le_bytes())].concat();
        let long_text = [head(3, 1, 1), (1_u64 << 40).to_le_bytes().into()].concat();
        let cases: Vec<(Vec<u8>, &str)> = vec![
            (b"PK\x03\x04rest of a zip".to_vec(), "not a GGUF"),
            (head(1, 1, 0), "version 1"),
            (head(3, u64::MAX, 0), "number of tensors"),
            (head(3, 1, u64::MAX), "metadata keys"),
            (head(3, 0, 0), "no weights"),
            (split, "split in 3"),
            (long_text, "length of a text"),
            ([head(3, 1, 1), key("k", 99, &[])].concat(), "type 99"),
            ([head(3, 1, 0), tensor("w", &[u64::MAX, u64::MAX], 0, 0)].concat(), "ends at byte"),
            ([head(3, 1, 0), tensor("w", &[4], 77, 0)].concat(), "type 77"),
            ([head(3, 1, 0), tensor("w", &[1; 9], 0, 0)].concat(), "dimensions"),
        ];
        for (bytes, reason) in cases {
            let error = parse(&bytes).expect_err(reason).to_string();
            assert!(error.contains(reason), "{reason}: {error}");
        }
    }
}
