use tokio::io::{AsyncWriteExt, DuplexStream};

use super::*;
use crate::fixture;

/// A worker without models that speaks with whoever holds the stream.
fn talking(folder: &std::path::Path) -> (DuplexStream, tokio::task::JoinHandle<()>) {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let peer = SocketAddr::from(([127, 0, 0, 1], 9));
    (ours, tokio::spawn(converse(theirs, peer, fixture::worker(folder), CancellationToken::new())))
}

/// The bytes of a message that holds a picture of so many bytes.
fn frame(length: usize) -> Vec<u8> {
    let frame = ai::Frame { frame_id: 7, data: vec![0; length].into(), ..ai::Frame::default() };
    let request = ai::Request { kind: Some(ai::request::Kind::Frame(frame)) };
    let message = ai::Envelope { message: Some(ai::envelope::Message::Request(request)) };
    let mut bytes = bytes::BytesMut::new();
    let mut frames = Frames::<ai::Envelope, ai::Envelope>::new(DEFAULT_LIMIT);
    tokio_util::codec::Encoder::encode(&mut frames, message, &mut bytes).expect("fits");
    bytes.to_vec()
}

/// The first error that is told.
async fn error(stream: DuplexStream) -> ai::Error {
    let mut told = Framed::new(stream, Frames::<ai::Envelope, ai::Envelope>::new(DEFAULT_LIMIT));
    loop {
        let message = told.next().await.expect("a message").expect("sound").message;
        if let Some(ai::envelope::Message::Response(ai::Response {
            kind: Some(ai::response::Kind::Error(error)),
        })) = message
        {
            return error;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_picture_that_comes_slowly_is_waited_for_as_long_as_its_bytes_come() {
    let folder = tempfile::tempdir().expect("folder");
    let bytes = frame(1000);
    for (pieces, pause_s, code) in [
        // Longer than a silence, and each piece sooner than one.
        (10, 9, ai::ErrorCode::NoSession),
        (10, 11, ai::ErrorCode::Timeout),
        (100, 2, ai::ErrorCode::Timeout),
    ] {
        let (mut stream, conversation) = talking(folder.path());
        for piece in bytes.chunks(bytes.len().div_ceil(pieces)) {
            if stream.write_all(piece).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_secs(pause_s)).await;
        }
        let error = error(stream).await;
        assert_eq!(error.code(), code, "{pieces} pieces every {pause_s} s: {error:?}");
        if pieces == 100 {
            assert!(error.message.contains("within 120 s"), "{error:?}");
        }
        conversation.await.expect("it ends when the client leaves");
    }
}
