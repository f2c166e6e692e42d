//! What must hold for any bytes on a connection of `ai.proto`, for the fuzz target and for bounded runs.

use actionbooster_wire::ai::v1::Envelope;
use actionbooster_wire::frames::Frames;
use bytes::BytesMut;
use tokio_util::codec::{Decoder, Encoder};

/// Bytes of a message at most.
pub const LIMIT: u32 = 64 * 1024;
/// What the codec may hold besides the bytes that have come: the room it makes ahead, which a buffer that grows
/// doubles.
const AHEAD: usize = 2 * 256 * 1024;

/// How the bytes of a connection end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// More could come.
    Waits,
    /// The connection cannot go on.
    Refused,
}

/// The messages of a connection whose bytes come in these pieces.
pub fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Envelope>, End) {
    let (mut frames, mut arrived) = (Frames::<Envelope, Envelope>::new(LIMIT), BytesMut::new());
    let mut messages = Vec::new();
    for piece in pieces {
        arrived.extend_from_slice(piece);
        loop {
            match frames.decode(&mut arrived) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(_) => return (messages, End::Refused),
            }
        }
        let most = 2 * (arrived.len() + LIMIT as usize) + AHEAD;
        assert!(arrived.capacity() <= most, "{} bytes are held for {}", arrived.capacity(), arrived.len());
    }
    (messages, End::Waits)
}

/// Reads the bytes whole and in pieces; what was understood is written and read again. Returns how many messages
/// there are.
pub fn check(bytes: &[u8]) -> usize {
    let (whole, end) = read([bytes]);
    // The first bytes choose how the rest is cut, so that a fuzzer can.
    let size = 1 + usize::from(bytes.first().copied().unwrap_or_default());
    for size in [1, size] {
        let (pieces, other) = read(bytes.chunks(size));
        assert_eq!((text(&pieces), other), (text(&whole), end), "in pieces of {size}");
    }
    let (mut frames, mut again) = (Frames::<Envelope, Envelope>::new(u32::MAX), BytesMut::new());
    for message in &whole {
        frames.encode(message.clone(), &mut again).expect("there is no limit");
    }
    let mut back = Vec::new();
    while let Some(message) = frames.decode(&mut again).expect("it was just written") {
        back.push(message);
    }
    assert_eq!(text(&back), text(&whole), "written and read again");
    whole.len()
}

/// Messages in words: numbers that are none are not equal to themselves, but they are called the same.
fn text(messages: &[Envelope]) -> Vec<String> {
    messages.iter().map(|message| format!("{message:?}")).collect()
}
