//! The framing of `ai.proto`: a length of four bytes, little-endian, then one message.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::SinkExt;
use prost::Message;
use prost::encoding::{self, WireType};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_util::codec::{Decoder, Encoder, Framed};

use crate::ai::v1 as ai;

/// Bytes of a message at most before the peers have agreed on another limit.
pub const DEFAULT_LIMIT: u32 = 16 * 1024 * 1024;
/// Bytes of a length.
const PREFIX: usize = 4;
/// Room that is made ahead of what has come; a peer that announces much and sends little gets no more.
const STEP: usize = 256 * 1024;

/// Why a connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The peer announced more than is allowed.
    #[error("a message of {length} bytes; at most {limit} are allowed")]
    TooLarge {
        /// What was announced.
        length: u32,
        /// What is allowed.
        limit: u32,
    },
    /// The bytes are no message.
    #[error("a message that cannot be read: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// The connection broke, or ended within a message.
    #[error("the connection broke: {0}")]
    Broken(#[from] std::io::Error),
}

/// Messages of one type on a stream of bytes.
#[derive(Debug)]
pub struct Frames<In, Out> {
    limit: u32,
    types: std::marker::PhantomData<fn(Out) -> In>,
}

impl<In, Out> Frames<In, Out> {
    /// Refuses messages of more than `limit` bytes before any memory is taken for them.
    pub const fn new(limit: u32) -> Self {
        Self { limit, types: std::marker::PhantomData }
    }

    /// Allows so many bytes from now on.
    pub const fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
    }
}

impl<In: Message + Default, Out> Decoder for Frames<In, Out> {
    type Item = In;
    type Error = FrameError;

    fn decode(&mut self, source: &mut BytesMut) -> Result<Option<In>, FrameError> {
        let Some(prefix) = source.first_chunk::<PREFIX>() else { return Ok(None) };
        let length = u32::from_le_bytes(*prefix);
        if length > self.limit {
            return Err(FrameError::TooLarge { length, limit: self.limit });
        }
        let whole = PREFIX + length as usize;
        if source.len() < whole {
            source.reserve((whole - source.len()).min(STEP));
            return Ok(None);
        }
        source.advance(PREFIX);
        // Byte fields of the message share this memory instead of copying it.
        let message = source.split_to(length as usize).freeze();
        Ok(Some(In::decode(message)?))
    }
}

impl<In, Out: Message> Encoder<Out> for Frames<In, Out> {
    type Error = FrameError;

    fn encode(&mut self, message: Out, sink: &mut BytesMut) -> Result<(), FrameError> {
        let length = u32::try_from(message.encoded_len()).unwrap_or(u32::MAX);
        if length > self.limit {
            return Err(FrameError::TooLarge { length, limit: self.limit });
        }
        sink.reserve(PREFIX + length as usize);
        sink.put_u32_le(length);
        // There is room for it.
        message.encode(sink).map_err(|error| FrameError::Broken(std::io::Error::other(error)))
    }
}

/// Sends a message. A picture goes out from where it lies, without being copied behind its message's head.
///
/// The error is one of the connection, or of a message that is too long.
pub async fn send<S>(
    stream: &mut Framed<S, Frames<ai::Envelope, ai::Envelope>>,
    message: ai::Envelope,
) -> Result<(), FrameError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let frame = match message {
        ai::Envelope {
            message:
                Some(ai::envelope::Message::Request(ai::Request { kind: Some(ai::request::Kind::Frame(frame)) })),
        } => frame,
        other => return stream.send(other).await,
    };
    stream.flush().await?;
    let (head, data) = split(frame, stream.codec().limit)?;
    stream.get_mut().write_all_buf(&mut head.chain(data)).await?;
    Ok(stream.get_mut().flush().await?)
}

/// A picture's message as its bytes up to the picture, and the picture.
fn split(mut frame: ai::Frame, limit: u32) -> Result<(BytesMut, Bytes), FrameError> {
    const REQUEST: u32 = 1;
    const FRAME: u32 = 2;
    const DATA: u32 = 6;
    let data = std::mem::take(&mut frame.data);
    let (field, length) = (encoding::key_len(DATA), encoding::encoded_len_varint(data.len() as u64));
    let of_frame = frame.encoded_len() + field + length + data.len();
    let of_request = encoding::key_len(FRAME) + encoding::encoded_len_varint(of_frame as u64) + of_frame;
    let whole = encoding::key_len(REQUEST) + encoding::encoded_len_varint(of_request as u64) + of_request;
    let whole = u32::try_from(whole).unwrap_or(u32::MAX);
    if whole > limit {
        return Err(FrameError::TooLarge { length: whole, limit });
    }
    let mut head = BytesMut::with_capacity(PREFIX + whole as usize - data.len());
    head.put_u32_le(whole);
    encoding::encode_key(REQUEST, WireType::LengthDelimited, &mut head);
    encoding::encode_varint(of_request as u64, &mut head);
    encoding::encode_key(FRAME, WireType::LengthDelimited, &mut head);
    encoding::encode_varint(of_frame as u64, &mut head);
    // There is room for it.
    frame.encode(&mut head).map_err(|error| FrameError::Broken(std::io::Error::other(error)))?;
    encoding::encode_key(DATA, WireType::LengthDelimited, &mut head);
    encoding::encode_varint(data.len() as u64, &mut head);
    Ok((head, data))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Own = Frames<ai::Envelope, ai::Envelope>;

    fn heartbeat(ts_mono_ns: u64) -> ai::Envelope {
        ai::Envelope { message: Some(ai::envelope::Message::Heartbeat(ai::Heartbeat { ts_mono_ns })) }
    }

    #[test]
    fn messages_arrive_whole_however_they_are_cut() {
        let mut sent = BytesMut::new();
        let mut frames = Own::new(100);
        for number in 1..=3 {
            frames.encode(heartbeat(number), &mut sent).expect("fits");
        }
        for piece in 1..=sent.len() {
            let (mut arrived, mut read) = (BytesMut::new(), Vec::new());
            for bytes in sent.chunks(piece) {
                arrived.extend_from_slice(bytes);
                while let Some(message) = frames.decode(&mut arrived).expect("sound") {
                    read.push(message);
                }
            }
            assert_eq!(read, [heartbeat(1), heartbeat(2), heartbeat(3)], "in pieces of {piece}");
        }
    }

    #[test]
    fn what_is_too_long_is_refused_by_its_length_and_takes_no_memory() {
        let mut frames = Own::new(1000);
        for length in [1001, u32::MAX] {
            let mut arrived = BytesMut::from(&length.to_le_bytes()[..]);
            let error = frames.decode(&mut arrived).expect_err("too long");
            assert!(matches!(error, FrameError::TooLarge { limit: 1000, .. }), "{error}");
            assert!(arrived.capacity() < 100);
        }
        let mut huge = Own::new(u32::MAX);
        let mut arrived = BytesMut::from(&(u32::MAX - 1).to_le_bytes()[..]);
        assert!(huge.decode(&mut arrived).expect("allowed").is_none());
        assert!(arrived.capacity() <= 2 * STEP, "announced is not sent: {}", arrived.capacity());
        let long = ai::Envelope {
            message: Some(ai::envelope::Message::Request(ai::Request {
                kind: Some(ai::request::Kind::End(ai::End { reason: "x".repeat(2000) })),
            })),
        };
        assert!(frames.encode(long, &mut BytesMut::new()).is_err(), "nor is it sent");
    }

    #[test]
    fn bytes_that_are_no_message_are_an_error_and_never_a_panic() {
        let mut frames = Own::new(64);
        // A field of bytes that says it is longer than the message; a group that never ends; a wrong wire type.
        for body in [&[0x0a, 0x50, 1][..], &[0x0b], &[0x0f], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]] {
            let mut arrived = BytesMut::new();
            arrived.put_u32_le(body.len() as u32);
            arrived.put_slice(body);
            assert!(matches!(frames.decode(&mut arrived), Err(FrameError::Malformed(_))), "{body:?}");
        }
        // An empty one is a message that says nothing.
        let mut arrived = BytesMut::from(&[0, 0, 0, 0][..]);
        assert_eq!(frames.decode(&mut arrived).expect("sound"), Some(ai::Envelope { message: None }));
    }

    #[test]
    fn a_picture_that_is_sent_from_where_it_lies_is_the_same_message() {
        for length in [0, 1, 127, 128, 70_000] {
            let frame = ai::Frame {
                frame_id: 7,
                ts_mono_ns: u64::MAX,
                format: ai::PixelFormat::Rgb.into(),
                width: 640,
                height: 480,
                data: vec![9; length].into(),
                ts_utc_ms: 1,
            };
            let (mut bytes, data) = split(frame.clone(), DEFAULT_LIMIT).expect("fits");
            bytes.extend_from_slice(&data);
            let read = Own::new(DEFAULT_LIMIT).decode(&mut bytes).expect("readable").expect("whole");
            let kind = Some(ai::request::Kind::Frame(frame.clone()));
            let message = Some(ai::envelope::Message::Request(ai::Request { kind }));
            assert_eq!(read, ai::Envelope { message });
            assert!(bytes.is_empty(), "the length is that of the message");
            assert!(matches!(split(frame, 20), Err(FrameError::TooLarge { limit: 20, .. })));
        }
    }
}
