//! Where a source's pictures and its states go.

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::frame_rate::FrameRateLimiter;
use crate::latest::Latest;
use crate::picture::Picture;
use crate::source::CameraState;

/// Where pictures go, so many a second at most.
pub(crate) struct Sink<'a> {
    pictures: &'a Latest<Picture>,
    states: &'a mpsc::Sender<CameraState>,
    fps: u32,
    began: Instant,
    frame_rate: FrameRateLimiter,
    live: bool,
}

impl<'a> Sink<'a> {
    pub(crate) fn new(
        pictures: &'a Latest<Picture>,
        states: &'a mpsc::Sender<CameraState>,
        fps: u32,
    ) -> Self {
        let frame_rate = FrameRateLimiter::default();
        Self { pictures, states, fps, began: Instant::now(), frame_rate, live: false }
    }

    /// Puts a picture; the first one tells that the source is live.
    pub(crate) async fn put(&mut self, jpeg: Bytes) {
        if !self.live {
            self.live = true;
            tell(self.states, CameraState::Live).await;
        }
        self.pictures.put(Picture::now(jpeg));
    }

    /// Puts a picture that came now, unless there are enough of them. How the source counts time does not matter.
    /// The first of a stream counts always: an address of one picture has no other.
    pub(crate) async fn offer(&mut self, jpeg: Bytes, first: bool) {
        if self.frame_rate.admits(self.began.elapsed(), self.fps) || first {
            self.put(jpeg).await;
        }
    }
}

/// Nobody listens any more only when the camera is stopping.
pub(crate) async fn tell(states: &mpsc::Sender<CameraState>, state: CameraState) {
    let _ = states.send(state).await;
}
