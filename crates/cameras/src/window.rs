//! The client's side of a conversation with the worker, without the sockets: what may be sent when, and
//! what an answer means.

use std::time::Duration;

use actionbooster_wire::ai::v1 as ai;
use ai::envelope::Message;
use ai::response::Kind;
use bytes::Bytes;

use crate::picture::Detection;

/// How long a model may take to load and warm up.
const LOAD: Duration = Duration::from_secs(120);
/// How long one frame may take.
const ANSWER: Duration = Duration::from_secs(30);
/// Bytes of an envelope around its picture at most.
pub(crate) const AROUND: usize = 64;

/// What an answer of the worker means.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reply {
    /// Nothing that changes anything.
    Nothing,
    /// The session is there; the worker tells its limits.
    Session(ai::InitOk),
    /// The first frame may come.
    Ready,
    /// What was seen in the frame that was sent.
    Seen(Vec<Detection>),
    /// The frame that was sent was refused.
    Refused(String),
    /// The conversation cannot go on.
    Over(String),
}

/// One conversation, from Init on. Times are of any one clock.
#[derive(Debug)]
pub(crate) struct Window {
    stage: Stage,
    since: Duration,
    last_frame: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Init was sent.
    Init,
    /// InitOk came.
    Warming,
    /// A frame may be sent.
    Free,
    /// This frame was sent.
    Sent(u64),
}

impl Window {
    /// Init is sent now.
    pub(crate) const fn new(now: Duration) -> Self {
        Self { stage: Stage::Init, since: now, last_frame: 0 }
    }

    /// Whether a frame may be sent.
    pub(crate) fn is_free(&self) -> bool {
        self.stage == Stage::Free
    }

    /// A frame is sent now; gives its number.
    pub(crate) fn send(&mut self, now: Duration) -> u64 {
        self.last_frame += 1;
        self.enter(Stage::Sent(self.last_frame), now);
        self.last_frame
    }

    /// When the answer that is waited for is overdue, and what it is.
    pub(crate) fn deadline(&self) -> Option<(Duration, &'static str)> {
        match self.stage {
            Stage::Init | Stage::Warming => Some((self.since + LOAD, "the model took too long to load")),
            Stage::Sent(_) => Some((self.since + ANSWER, "a frame was not answered in time")),
            Stage::Free => None,
        }
    }

    /// Takes a message of the worker.
    pub(crate) fn receive(&mut self, envelope: ai::Envelope, now: Duration) -> Reply {
        let response = match envelope.message {
            Some(Message::Response(ai::Response { kind: Some(kind) })) => kind,
            // A newer worker may say what is not known here.
            Some(Message::Heartbeat(_) | Message::Response(ai::Response { kind: None })) | None => {
                return Reply::Nothing;
            }
            Some(Message::Request(_)) => {
                return Reply::Over("the peer is no worker: it asks instead of answering".into());
            }
        };
        match (response, self.stage) {
            (Kind::InitOk(init_ok), Stage::Init) => {
                self.enter(Stage::Warming, now);
                Reply::Session(init_ok)
            }
            (Kind::Ready(_), Stage::Warming) => {
                self.enter(Stage::Free, now);
                Reply::Ready
            }
            (Kind::Result(result), Stage::Sent(frame)) if result.frame_id == frame => {
                self.enter(Stage::Free, now);
                Reply::Seen(detections(result))
            }
            (Kind::Error(error), Stage::Sent(frame)) if error.frame_id == frame && !error.fatal => {
                self.enter(Stage::Free, now);
                Reply::Refused(error.message)
            }
            // About a frame that is long answered.
            (Kind::Error(error), _) if error.frame_id != 0 && !error.fatal => Reply::Nothing,
            (Kind::Error(error), _) => {
                Reply::Over(format!("the worker says {}: {}", error.code().as_str_name(), error.message))
            }
            (Kind::InitOk(_) | Kind::Ready(_) | Kind::Result(_), _) => Reply::Nothing,
        }
    }

    const fn enter(&mut self, stage: Stage, now: Duration) {
        self.stage = stage;
        self.since = now;
    }
}

/// Boxes in fractions of the frame, without what is no box.
fn detections(result: ai::Result) -> Vec<Detection> {
    let (width, height) = (result.width as f32, result.height as f32);
    let fraction = |pixels: f32, of: f32| (pixels / of).clamp(0.0, 1.0);
    result
        .detections
        .into_iter()
        .filter_map(|seen| {
            let place = seen.r#box?;
            let sound =
                [place.x, place.y, place.width, place.height, seen.score].iter().all(|v| v.is_finite());
            (sound && width > 0.0 && height > 0.0).then(|| Detection {
                label: if seen.label.is_empty() { seen.class_id.to_string() } else { seen.label },
                score: seen.score,
                x: fraction(place.x, width),
                y: fraction(place.y, height),
                width: fraction(place.width, width),
                height: fraction(place.height, height),
            })
        })
        .collect()
}

/// A message of the client.
pub(crate) fn request(kind: ai::request::Kind) -> ai::Envelope {
    ai::Envelope { message: Some(Message::Request(ai::Request { kind: Some(kind) })) }
}

/// A frame as a message.
pub(crate) fn frame(frame_id: u64, jpeg: Bytes, taken: Duration, at: jiff::Timestamp) -> ai::Envelope {
    request(ai::request::Kind::Frame(ai::Frame {
        frame_id,
        ts_mono_ns: taken.as_nanos() as u64,
        format: ai::PixelFormat::Jpeg.into(),
        width: 0,
        height: 0,
        data: jpeg,
        ts_utc_ms: u64::try_from(at.as_millisecond()).unwrap_or(0),
    }))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn response(kind: Kind) -> ai::Envelope {
        ai::Envelope { message: Some(Message::Response(ai::Response { kind: Some(kind) })) }
    }

    pub(crate) fn init_ok() -> ai::Envelope {
        response(Kind::InitOk(ai::InitOk {
            session_id: "s".into(),
            max_frame_bytes: 1 << 24,
            ..Default::default()
        }))
    }

    pub(crate) fn ready() -> ai::Envelope {
        response(Kind::Ready(ai::Ready { session_id: "s".into() }))
    }

    /// A person of this score in the middle of a frame of 200 x 100 pixels.
    pub(crate) fn person(frame_id: u64, score: f32) -> ai::Envelope {
        let place = ai::Box { x: 50.0, y: 25.0, width: 100.0, height: 50.0 };
        let seen = ai::Detection { class_id: 0, label: "person".into(), score, r#box: Some(place) };
        response(Kind::Result(ai::Result {
            frame_id,
            detections: vec![seen],
            width: 200,
            height: 100,
            ..Default::default()
        }))
    }

    pub(crate) fn nobody(frame_id: u64) -> ai::Envelope {
        response(Kind::Result(ai::Result { frame_id, width: 200, height: 100, ..Default::default() }))
    }

    pub(crate) fn error(code: ai::ErrorCode, frame_id: u64, fatal: bool) -> ai::Envelope {
        response(Kind::Error(ai::Error { code: code.into(), message: "no".into(), frame_id, fatal }))
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn free() -> Window {
        let mut window = Window::new(at(0));
        assert!(matches!(window.receive(init_ok(), at(1)), Reply::Session(_)));
        assert!(!window.is_free(), "not before Ready");
        assert_eq!(window.receive(ready(), at(2)), Reply::Ready);
        assert!(window.is_free());
        window
    }

    #[test]
    fn one_frame_is_on_its_way_at_a_time() {
        let mut window = free();
        assert_eq!(window.send(at(3)), 1);
        assert!(!window.is_free());
        for (name, stray) in [
            (
                "a heartbeat",
                ai::Envelope { message: Some(Message::Heartbeat(ai::Heartbeat { ts_mono_ns: 1 })) },
            ),
            ("an answer to another frame", nobody(7)),
            ("an error about another frame", error(ai::ErrorCode::BadFrame, 7, false)),
            ("nothing known", ai::Envelope { message: None }),
            ("another Ready", ready()),
        ] {
            assert_eq!(window.receive(stray, at(3)), Reply::Nothing, "{name}");
            assert!(!window.is_free(), "{name}");
        }
        let seen =
            Detection { label: "person".into(), score: 0.5, x: 0.25, y: 0.25, width: 0.5, height: 0.5 };
        assert_eq!(window.receive(person(1, 0.5), at(4)), Reply::Seen(vec![seen]));
        assert!(window.is_free());
        assert_eq!(window.send(at(5)), 2);
        assert_eq!(
            window.receive(error(ai::ErrorCode::BadFrame, 2, false), at(5)),
            Reply::Refused("no".into())
        );
        assert!(window.is_free());
    }

    #[test]
    fn errors_that_are_about_no_frame_end_the_conversation() {
        let cases = [
            (
                "unknown model",
                Window::new(at(0)),
                error(ai::ErrorCode::UnknownModel, 0, false),
                "UNKNOWN_MODEL: no",
            ),
            ("stopping", free(), error(ai::ErrorCode::Stopping, 0, true), "STOPPING: no"),
            ("fatal about a frame", free(), error(ai::ErrorCode::TooLarge, 1, true), "TOO_LARGE: no"),
            ("a request", free(), request(ai::request::Kind::End(ai::End::default())), "no worker"),
        ];
        for (name, mut window, message, told) in cases {
            let Reply::Over(reason) = window.receive(message, at(9)) else { panic!("{name}") };
            assert!(reason.contains(told), "{name}: {reason}");
        }
    }

    #[test]
    fn every_wait_has_an_end() {
        let mut window = Window::new(at(1));
        assert_eq!(window.deadline().map(|(when, _)| when), Some(at(121)));
        window.receive(init_ok(), at(10));
        assert_eq!(window.deadline().map(|(when, _)| when), Some(at(130)));
        window.receive(ready(), at(20));
        assert_eq!(window.deadline(), None);
        window.send(at(30));
        assert_eq!(window.deadline().map(|(when, _)| when), Some(at(60)));
    }

    #[test]
    fn boxes_that_are_none_are_left_out() {
        let odd = |place: Option<ai::Box>, size: u32| ai::Result {
            detections: vec![ai::Detection { class_id: 3, label: String::new(), score: 0.5, r#box: place }],
            width: size,
            height: size,
            ..Default::default()
        };
        let place = |x: f32| Some(ai::Box { x, y: 0.0, width: 400.0, height: 10.0 });
        assert_eq!(detections(odd(None, 100)), []);
        assert_eq!(detections(odd(place(f32::NAN), 100)), []);
        assert_eq!(detections(odd(place(1.0), 0)), []);
        let kept = detections(odd(place(-5.0), 100));
        assert_eq!((kept[0].label.as_str(), kept[0].x, kept[0].width), ("3", 0.0, 1.0), "cut to the frame");
    }
}
