//! The head of a GGUF file, read defensively: every length is checked before anything is allocated.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. Versions 2 and 3,
//! little-endian.

use std::collections::{BTreeMap, HashSet};
use std::io::{Read, Seek};

use reader::Reader;
use tensor::Tensor;

mod quantisation;
mod reader;
mod tensor;
#[cfg(test)]
mod tests;

/// Why a file is refused.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// The file ends too early.
    #[error("the file ends in the middle of its header; it was probably cut while it was copied")]
    Truncated,
    /// The file cannot be read.
    #[error("the file cannot be read")]
    Io(#[source] std::io::Error),
    /// Another kind of file.
    #[error("this is not a GGUF file: it begins with {0:?} instead of \"GGUF\"")]
    Magic(String),
    /// A file for machines with the other byte order.
    #[error("the file is a big-endian GGUF; get the little-endian one")]
    BigEndian,
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
    /// The same name twice: readers would not agree on what it means.
    #[error("the header names {0} twice")]
    Duplicate(String),
    /// Not said what kind of model it is.
    #[error("the header does not say the model's architecture")]
    NoArchitecture,
    /// A vocabulary without weights.
    #[error("the file holds a vocabulary and no weights; it cannot answer anything")]
    NoTensors,
    /// A part of a split model.
    #[error("the file is part of a model split in {0} files; join them with llama-gguf-split --merge first")]
    Split(u64),
    /// An addition to another model.
    #[error("the file is not a model but a {0}, an addition to one")]
    Addition(String),
    /// The alignment of the tensors is impossible.
    #[error("the alignment of the tensors is {0}, which is not a power of two")]
    Alignment(u64),
    /// A tensor whose rows are not whole blocks.
    #[error("the tensor {name} has rows of {row} elements, which do not fill blocks of {block}")]
    Row {
        /// Name of the tensor.
        name: String,
        /// Elements of a row.
        row: u64,
        /// Elements of a block.
        block: u64,
    },
    /// A tensor that is not where the one before it ends.
    #[error("the tensor {name} begins at {offset} instead of {expected}; the table of tensors lies")]
    Misplaced {
        /// Name of the tensor.
        name: String,
        /// Where the file says it is, from the beginning of the data.
        offset: u64,
        /// Where it must be.
        expected: u64,
    },
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
const MAX_ALIGNMENT: u64 = 1 << 20;
const DEFAULT_ALIGNMENT: u64 = 32;

/// A metadata value. Long arrays and arrays of texts are measured, not kept.
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
    /// A short array of integers, such as one number per layer.
    Integers(Vec<i128>),
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
    /// Numbers in all tensors.
    pub parameters: u64,
    /// The type most of the numbers are stored in, such as `Q4_K`.
    pub tensor_type: &'static str,
}

impl Header {
    /// `general.architecture`, such as `llama`.
    pub fn architecture(&self) -> &str {
        match self.metadata.get("general.architecture") {
            Some(Value::Text(name)) => name,
            _ => "",
        }
    }

    /// A value of the model's own architecture, such as `llama.block_count`.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.metadata.get(&format!("{}.{name}", self.architecture()))
    }

    /// An integer of the model's own architecture.
    pub fn integer(&self, name: &str) -> Option<u64> {
        match self.value(name) {
            Some(Value::Integer(number)) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    /// How the numbers are stored, as models are named after it: `Q4_K_M`, `Q8_0`, `F16`.
    pub fn quantisation(&self) -> &'static str {
        let named = match self.metadata.get("general.file_type") {
            Some(Value::Integer(number)) => quantisation::file_type(*number),
            _ => None,
        };
        named.unwrap_or(self.tensor_type)
    }

    /// The chat template, if the file has one.
    pub fn chat_template(&self) -> Option<&str> {
        match self.metadata.get("tokenizer.chat_template") {
            Some(Value::Text(template)) => Some(template),
            _ => None,
        }
    }

    /// Whether it makes vectors of texts and writes none.
    pub fn only_embeds(&self) -> bool {
        matches!(self.value("attention.causal"), Some(Value::Boolean(false)))
    }

    /// Tokens of the vocabulary.
    pub fn vocabulary(&self) -> Option<u64> {
        match self.metadata.get("tokenizer.ggml.tokens") {
            Some(Value::Array(length)) => Some(*length),
            _ => self.integer("vocab_size"),
        }
    }
}

/// Reads and checks the head of a GGUF file of `size` bytes.
pub fn read(source: impl Read + Seek, size: u64) -> Result<Header, GgufError> {
    let mut reader = Reader::new(source, size);
    let magic: [u8; 4] = reader.array()?;
    if &magic != b"GGUF" {
        return Err(GgufError::Magic(String::from_utf8_lossy(&magic).into_owned()));
    }
    match reader.u32()? {
        2 | 3 => {}
        version if (2..=3).contains(&version.swap_bytes()) => return Err(GgufError::BigEndian),
        version => return Err(GgufError::Version(version)),
    }
    let tensors = bounded("the number of tensors", reader.u64()?, MAX_TENSORS)?;
    let keys = bounded("the number of metadata keys", reader.u64()?, MAX_KEYS)?;
    let mut metadata = BTreeMap::new();
    for _ in 0..keys {
        let key = reader.text()?;
        let kind = reader.u32()?;
        let value = reader.value(kind)?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(GgufError::Duplicate(key));
        }
    }
    let mut header = Header { metadata, tensors, tensor_bytes: 0, parameters: 0, tensor_type: "" };
    check_kind(&header)?;
    let alignment = alignment(&header)?;
    let mut table = Vec::new();
    for _ in 0..tensors {
        table.push(Tensor::read(&mut reader)?);
    }
    let data = reader.position().next_multiple_of(alignment);
    (header.parameters, header.tensor_type) = quantisation::measure(&table);
    header.tensor_bytes = check_tensors(table, data, alignment, size)?;
    Ok(header)
}

/// Whether the file holds a whole model of a named kind.
fn check_kind(header: &Header) -> Result<(), GgufError> {
    if let Some(Value::Text(kind)) = header.metadata.get("general.type")
        && kind != "model"
    {
        return Err(GgufError::Addition(kind.clone()));
    }
    if let Some(Value::Integer(count)) = header.metadata.get("split.count")
        && *count > 1
    {
        return Err(GgufError::Split(u64::try_from(*count).unwrap_or(u64::MAX)));
    }
    if header.tensors == 0 {
        return Err(GgufError::NoTensors);
    }
    if header.architecture().is_empty() { Err(GgufError::NoArchitecture) } else { Ok(()) }
}

fn alignment(header: &Header) -> Result<u64, GgufError> {
    let Some(value) = header.metadata.get("general.alignment") else { return Ok(DEFAULT_ALIGNMENT) };
    let Value::Integer(number) = value else { return Err(GgufError::Alignment(0)) };
    let alignment = bounded("the alignment", u64::try_from(*number).unwrap_or(u64::MAX), MAX_ALIGNMENT)?;
    if alignment.is_power_of_two() { Ok(alignment) } else { Err(GgufError::Alignment(alignment)) }
}

/// Every tensor begins where the one before it ends, and ends within the file. Returns their bytes.
fn check_tensors(table: Vec<Tensor>, data: u64, alignment: u64, size: u64) -> Result<u64, GgufError> {
    let mut names = HashSet::new();
    let mut expected = 0_u64;
    let mut bytes = 0_u64;
    for tensor in table {
        let Tensor { name, offset, bytes: length, .. } = tensor;
        if offset != expected {
            return Err(GgufError::Misplaced { name, offset, expected });
        }
        let end = data.saturating_add(offset).saturating_add(length);
        if end > size {
            return Err(GgufError::Beyond { name, end, size });
        }
        // Both are below the file's size now.
        expected = (offset + length).next_multiple_of(alignment);
        bytes += length;
        if !names.insert(name.clone()) {
            return Err(GgufError::Duplicate(name));
        }
    }
    Ok(bytes)
}

fn bounded(what: &'static str, value: u64, limit: u64) -> Result<u64, GgufError> {
    if value > limit { Err(GgufError::Absurd { what, value, limit }) } else { Ok(value) }
}
