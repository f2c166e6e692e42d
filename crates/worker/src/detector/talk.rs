//! What the worker and a detector's process say to each other: a length of four bytes, little-endian, then JSON.
//!
//! Both are the same program, so this may change with it.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use actionbooster_vision::{Detection, Error, Format, Limits, Preprocessing, Settings, Spent};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Bytes of an order or a report at most: the detections of eight crowded pictures take a fifth of it.
pub(super) const LIMIT: usize = 8 << 20;

/// What the process is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Say what computes.
    Describe,
    /// Load this model.
    Load(Wanted),
    /// Look at these pictures; they lie in the shared memory one after another.
    Look(Vec<Picture>),
}

/// How a model is to be loaded.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Wanted {
    pub(super) file: PathBuf,
    pub(super) settings: Settings,
    pub(super) threads: usize,
    pub(super) input: Option<(u32, u32)>,
    /// Processors to compute on; all when empty.
    pub(super) cpus: Vec<usize>,
}

/// A picture in the shared memory.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Picture {
    pub(super) format: Format,
    pub(super) width: u32,
    pub(super) height: u32,
    /// Bytes it takes.
    pub(super) length: usize,
    pub(super) limits: Limits,
}

/// What came of an order.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// The library that computes, in its own words.
    Describes(String),
    /// The model is loaded.
    Ready(About),
    /// What was seen in each picture.
    Looked(Vec<Result<Looked, Error>>),
    /// It could not be done.
    Failed(Error),
}

/// What a loaded model is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct About {
    pub(crate) labels: Vec<String>,
    pub(crate) input: (u32, u32),
    pub(crate) preprocessing: Preprocessing,
    pub(crate) head: String,
    pub(crate) providers: Vec<String>,
    /// Pictures that may go together.
    pub(crate) most_together: usize,
}

/// What was seen in a picture.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Looked {
    pub(super) detections: Vec<Detection>,
    pub(super) size: (u32, u32),
    pub(super) spent: Spent,
}

/// The next message; nothing when the other side has ended.
pub(super) fn hear<T: DeserializeOwned>(from: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<Option<T>> {
    let mut prefix = [0; 4];
    match from.read_exact(&mut prefix) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        outcome => outcome?,
    }
    let length = u32::from_le_bytes(prefix) as usize;
    if length > LIMIT {
        return Err(io::Error::other(format!("a message of {length} bytes")));
    }
    buffer.resize(length, 0);
    from.read_exact(buffer)?;
    Ok(Some(serde_json::from_slice(buffer)?))
}

/// Says something, with one write.
pub(super) fn say<T: Serialize>(to: &mut impl Write, what: &T, buffer: &mut Vec<u8>) -> io::Result<()> {
    encode(what, buffer)?;
    to.write_all(buffer)
}

/// A message as it is sent.
pub(super) fn encode<T: Serialize>(what: &T, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.clear();
    buffer.extend([0; 4]);
    serde_json::to_writer(&mut *buffer, what)?;
    let length = buffer.len() - 4;
    if length > LIMIT {
        return Err(io::Error::other(format!("a message of {length} bytes")));
    }
    let length = u32::try_from(length).map_err(io::Error::other)?;
    buffer[..4].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_arrive_as_they_were() {
        let scores = [0.1_f32, 0.353_000_02, f32::MIN_POSITIVE, 639.999_94, 1.0 / 3.0];
        let detections: Vec<Detection> = scores
            .map(|score| Detection { class: 3, score, x: score, y: -score, width: 1e-7, height: 4096.5 })
            .to_vec();
        let looked = Looked { detections: detections.clone(), size: (640, 480), spent: Spent::default() };
        let report = Report::Looked(vec![Ok(looked), Err(Error::Frame("half".into()))]);
        let (mut sent, mut buffer) = (Vec::new(), Vec::new());
        say(&mut sent, &report, &mut buffer).expect("said");
        let heard = hear::<Report>(&mut sent.as_slice(), &mut buffer).expect("heard").expect("a message");
        let Report::Looked(pictures) = heard else { panic!("{heard:?}") };
        assert_eq!(pictures[0].as_ref().expect("seen").detections, detections);
        assert!(matches!(&pictures[1], Err(Error::Frame(why)) if why == "half"));
    }

    #[test]
    fn an_end_is_an_end_and_half_a_message_is_an_error() {
        let mut buffer = Vec::new();
        assert!(hear::<Order>(&mut [].as_slice(), &mut buffer).expect("an end").is_none());
        for wrong in [vec![9, 0, 0, 0, b'"'], vec![2, 0, 0, 0, b'{', b'}'], vec![0xff; 8]] {
            assert!(hear::<Order>(&mut wrong.as_slice(), &mut buffer).is_err(), "{wrong:?}");
        }
    }
}
