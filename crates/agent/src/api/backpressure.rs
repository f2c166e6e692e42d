//! Backpressure: streams to clients, with a limit on how long a client may read nothing.
//!
//! Generation costs the model a place. A client that stalls must give it back: what is still to be
//! said is dropped, and the client learns so when it reads again.

use std::time::Duration;

use actionbooster_chassis::Problem;
use async_stream::stream;
use axum::http::StatusCode;
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

/// Pieces that wait for a slow client before it counts as stalled.
const DEPTH: usize = 64;
/// How long a stalled client is waited for.
pub(crate) const STALL: Duration = Duration::from_secs(30);

/// The client took nothing for too long, and the rest was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nothing was read for {} s, so the rest was given up; read faster or ask again", STALL.as_secs())]
pub(crate) struct Stalled;

impl Stalled {
    /// The same as a problem.
    pub(crate) fn problem(self) -> Problem {
        let status = StatusCode::REQUEST_TIMEOUT;
        Problem::new(status, "stalled", "The client read too slowly", self.to_string())
    }
}

/// Hands on what `source` yields, as fast as it is read. Dropping the result drops `source` at once.
pub(crate) fn with_backpressure<T: Send + 'static>(
    source: impl Stream<Item = T> + Send + 'static,
) -> impl Stream<Item = Result<T, Stalled>> + Send {
    let (sender, mut receiver) = mpsc::channel(DEPTH);
    let pump = async move {
        let mut source = std::pin::pin!(source);
        loop {
            // `None` marks the true end.
            let item = source.next().await;
            let last = item.is_none();
            if sender.send_timeout(item, STALL).await.is_err() {
                metrics::counter!("stalled_clients_total").increment(1);
                tracing::info!("a client read nothing for too long and was given up");
                return;
            }
            if last {
                return;
            }
        }
    };
    let pump = AbortOnDropHandle::new(tokio::spawn(pump.instrument(tracing::Span::current())));
    stream! {
        let _pump = pump;
        loop {
            match receiver.recv().await {
                Some(Some(item)) => yield Ok(item),
                Some(None) => return,
                None => {
                    yield Err(Stalled);
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everything_arrives_in_order_and_then_it_ends() {
        let got: Vec<_> = with_backpressure(futures::stream::iter(0..200)).collect().await;
        assert_eq!(got, (0..200).map(Ok).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_reader_loses_the_rest_and_is_told() {
        let (dropped, watch) = tokio::sync::oneshot::channel::<()>();
        let source = stream! {
            let _kept = dropped;
            loop {
                yield 0;
            }
        };
        let mut stream = std::pin::pin!(with_backpressure(source));
        assert_eq!(stream.next().await, Some(Ok(0)));
        // Time is virtual: it passes when nothing else can happen.
        assert!(watch.await.is_err(), "the source must be dropped");
        let rest: Vec<_> = stream.collect().await;
        assert_eq!(rest.last(), Some(&Err(Stalled)));
        assert!(rest.len() <= DEPTH + 2, "{}", rest.len());
    }

    #[tokio::test]
    async fn a_reader_that_leaves_ends_the_source() {
        let (dropped, watch) = tokio::sync::oneshot::channel::<()>();
        let source = stream! {
            let _kept = dropped;
            yield 0;
            futures::future::pending::<()>().await;
        };
        let mut stream = Box::pin(with_backpressure(source));
        assert_eq!(stream.next().await, Some(Ok(0)));
        drop(stream);
        assert!(watch.await.is_err(), "the source must be dropped");
    }
}
