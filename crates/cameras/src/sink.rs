//! Where a source's pictures and its states go.

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::latest::Latest;
use crate::picture::Picture;
use crate::source::CameraState;

/// Where pictures go.
pub(crate) struct Sink<'a> {
    pictures: &'a Latest<Picture>,
    states: &'a mpsc::Sender<CameraState>,
    count: u64,
}

impl<'a> Sink<'a> {
    pub(crate) const fn new(pictures: &'a Latest<Picture>, states: &'a mpsc::Sender<CameraState>) -> Self {
        Self { pictures, states, count: 0 }
    }

    /// Pictures that were put.
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// Puts a picture; the first one tells that the source is live.
    pub(crate) async fn put(&mut self, jpeg: Bytes) {
        if self.count == 0 {
            tell(self.states, CameraState::Live).await;
        }
        self.count += 1;
        self.pictures.put(Picture::now(jpeg));
    }
}

/// Nobody listens any more only when the camera is stopping.
pub(crate) async fn tell(states: &mpsc::Sender<CameraState>, state: CameraState) {
    let _ = states.send(state).await;
}
