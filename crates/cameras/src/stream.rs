//! Pictures out of a stream of bytes, as they come.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};

use crate::jpegs::Jpegs;
use crate::sink::Sink;

/// Without a picture for so long, the source is begun again.
pub(crate) const STALL: Duration = Duration::from_secs(10);
/// Bytes that are asked for at a time.
const PIECE: usize = 64 * 1024;

/// Hands on the pictures of a stream until it ends, and tells how many there were. The error says why it broke
/// off or stalled.
pub(crate) async fn pictures(
    mut stream: impl AsyncRead + Unpin,
    mut jpegs: Jpegs,
    sink: &mut Sink<'_>,
) -> Result<u64, String> {
    let mut deadline = Instant::now() + STALL;
    let mut count = 0;
    loop {
        while let Some(jpeg) = jpegs.next_picture() {
            deadline = Instant::now() + STALL;
            count += 1;
            sink.offer(jpeg, count == 1).await;
        }
        let buffer = jpegs.buffer();
        buffer.reserve(PIECE);
        match timeout_at(deadline, stream.read_buf(buffer)).await {
            Err(_) => return Err(format!("no picture for {} s", STALL.as_secs())),
            Ok(Err(error)) => return Err(format!("the pictures broke off: {error}")),
            Ok(Ok(0)) => return Ok(count),
            Ok(Ok(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::sync::mpsc;
    use tokio::time::sleep;

    use super::*;
    use crate::jpegs::tests::picture;
    use crate::latest::Latest;

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_stalls_is_given_up_even_when_bytes_come() {
        let (mut writer, reader) = tokio::io::duplex(1024);
        let (states, _kept) = mpsc::channel(16);
        let latest = Latest::default();
        let mut sink = Sink::new(&latest, &states, 12);
        let began = Instant::now();
        let feed = async {
            writer.write_all(&picture(1)).await.expect("read");
            loop {
                sleep(Duration::from_secs(1)).await;
                if writer.write_all(b"not a picture").await.is_err() {
                    break;
                }
            }
        };
        let reason = tokio::select! {
            read = pictures(reader, Jpegs::default(), &mut sink) => read.expect_err("stalled"),
            () = feed => panic!("read to the end"),
        };
        assert!(reason.contains("no picture for 10 s"), "{reason}");
        assert_eq!(began.elapsed().as_secs(), 10);
        assert_eq!(latest.take().await.jpeg, picture(1));
    }
}
