//! Numbers, texts and arrays of the header, each within a limit and within the file.

use std::io::{BufReader, ErrorKind, Read, Seek};

use super::{GgufError, Value, bounded};

const MAX_STRING: u64 = 16 << 20;
const MAX_ARRAY: u64 = 16 << 20;
/// Text that is kept in memory, all keys and values together. A chat template has some ten kilobytes.
const MAX_KEPT: u64 = 64 << 20;
/// Arrays of integers up to this length are kept: one number per layer.
const KEPT_INTEGERS: u64 = 1024;

/// Reads forward only, and knows where it is.
pub(super) struct Reader<S> {
    source: BufReader<S>,
    at: u64,
    size: u64,
    kept: u64,
}

impl<S: Read + Seek> Reader<S> {
    /// A reader of `source`, which has `size` bytes.
    pub(super) fn new(source: S, size: u64) -> Self {
        Self { source: BufReader::with_capacity(64 * 1024, source), at: 0, size, kept: 0 }
    }

    /// Bytes read or skipped so far.
    pub(super) const fn position(&self) -> u64 {
        self.at
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], GgufError> {
        let mut buffer = [0_u8; N];
        self.fill(&mut buffer)?;
        Ok(buffer)
    }

    pub(super) fn u32(&mut self) -> Result<u32, GgufError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, GgufError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn text(&mut self) -> Result<String, GgufError> {
        let length = bounded("the length of a text", self.u64()?, MAX_STRING)?;
        self.fits(length)?;
        self.kept = bounded("the text of the header", self.kept + length, MAX_KEPT)?;
        let mut bytes = vec![0_u8; length as usize];
        self.fill(&mut bytes)?;
        String::from_utf8(bytes).map_err(|_| GgufError::Text)
    }

    pub(super) fn value(&mut self, kind: u32) -> Result<Value, GgufError> {
        Ok(match kind {
            6 => Value::Float(f32::from_le_bytes(self.array()?).into()),
            7 => Value::Boolean(self.array::<1>()? != [0]),
            8 => Value::Text(self.text()?),
            9 => {
                let kind = self.u32()?;
                let length = bounded("the length of an array", self.u64()?, MAX_ARRAY)?;
                self.values(kind, length)?
            }
            12 => Value::Float(f64::from_le_bytes(self.array()?)),
            kind => Value::Integer(self.integer(kind)?),
        })
    }

    fn integer(&mut self, kind: u32) -> Result<i128, GgufError> {
        Ok(match kind {
            0 => u8::from_le_bytes(self.array()?).into(),
            1 => i8::from_le_bytes(self.array()?).into(),
            2 => u16::from_le_bytes(self.array()?).into(),
            3 => i16::from_le_bytes(self.array()?).into(),
            4 => self.u32()?.into(),
            5 => i32::from_le_bytes(self.array()?).into(),
            10 => self.u64()?.into(),
            11 => i64::from_le_bytes(self.array()?).into(),
            number => return Err(GgufError::Type { what: "metadata", number }),
        })
    }

    fn values(&mut self, kind: u32, length: u64) -> Result<Value, GgufError> {
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
                return Ok(Value::Array(length));
            }
            number => return Err(GgufError::Type { what: "array", number }),
        };
        self.fits(length * width)?;
        if length <= KEPT_INTEGERS && !matches!(kind, 6 | 7 | 12) {
            let numbers: Result<Vec<i128>, GgufError> = (0..length).map(|_| self.integer(kind)).collect();
            return Ok(Value::Integers(numbers?));
        }
        self.skip(length * width)?;
        Ok(Value::Array(length))
    }

    /// Refuses a length that the rest of the file cannot hold, before memory is taken for it.
    fn fits(&self, bytes: u64) -> Result<(), GgufError> {
        if bytes > self.size.saturating_sub(self.at) { Err(GgufError::Truncated) } else { Ok(()) }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), GgufError> {
        self.source.read_exact(buffer).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => GgufError::Truncated,
            _ => GgufError::Io(error),
        })?;
        self.at += buffer.len() as u64;
        Ok(())
    }

    fn skip(&mut self, bytes: u64) -> Result<(), GgufError> {
        self.fits(bytes)?;
        // Keeps the buffer, which a plain seek would read anew for each of a hundred thousand tokens.
        self.source.seek_relative(bytes.cast_signed()).map_err(GgufError::Io)?;
        self.at += bytes;
        Ok(())
    }
}
