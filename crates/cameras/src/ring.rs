//! The last pictures, for what a clip shows of the time before its session.

use std::collections::VecDeque;
use std::time::Duration;

use crate::picture::Picture;

/// Pictures and bytes at most, whatever the span.
const MOST_PICTURES: usize = 600;
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// Pictures of the last while, the oldest first.
#[derive(Debug)]
pub(crate) struct Ring {
    span: Duration,
    pictures: VecDeque<Picture>,
    bytes: usize,
}

impl Ring {
    pub(crate) const fn new(span: Duration) -> Self {
        Self { span, pictures: VecDeque::new(), bytes: 0 }
    }

    /// Adds the newest and forgets what is too old or too much.
    pub(crate) fn push(&mut self, picture: Picture) {
        let now = picture.taken;
        self.bytes += picture.jpeg.len();
        self.pictures.push_back(picture);
        while let Some(oldest) = self.pictures.front()
            && (now.saturating_duration_since(oldest.taken) > self.span
                || self.pictures.len() > MOST_PICTURES
                || self.bytes > MOST_BYTES)
        {
            self.bytes -= oldest.jpeg.len();
            self.pictures.pop_front();
        }
    }

    /// Takes everything.
    pub(crate) fn drain(&mut self) -> Vec<Picture> {
        self.bytes = 0;
        self.pictures.drain(..).collect()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::time::Instant;

    use super::*;

    #[test]
    fn only_the_last_while_is_kept_and_never_too_much() {
        let start = Instant::now();
        let picture = |ms, size| Picture {
            jpeg: Bytes::from(vec![0; size]),
            taken: start + Duration::from_millis(ms),
            at: jiff::Timestamp::UNIX_EPOCH,
        };
        let mut ring = Ring::new(Duration::from_secs(1));
        (0..=30).for_each(|step| ring.push(picture(step * 100, 10)));
        assert_eq!(ring.pictures.len(), 11);
        assert_eq!(ring.drain()[0].taken, start + Duration::from_secs(2));
        (0..2000).for_each(|_| ring.push(picture(5000, 10)));
        assert_eq!((ring.pictures.len(), ring.bytes), (MOST_PICTURES, MOST_PICTURES * 10));
        ring.push(picture(5000, MOST_BYTES));
        assert_eq!(ring.pictures.len(), 1);
        ring.push(picture(5000, MOST_BYTES + 1));
        assert!(ring.drain().is_empty());
    }
}
