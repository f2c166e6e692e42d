//! What the owner says about a camera.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::machine;
use crate::masks::Mask;
use crate::source::Source;

/// Characters of an id at most.
const MOST_ID: usize = 32;
/// Characters of a name at most.
const MOST_NAME: usize = 64;
/// Frames a second at most.
const MOST_FPS: u32 = 60;
/// Classes and masks at most.
const MOST_ENTRIES: usize = 100;

/// A camera.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Camera {
    /// Names it in addresses, folders and metrics: `a-z`, `0-9` and `-`, at most 32 characters.
    pub id: String,
    /// Names it for people.
    #[serde(default)]
    pub name: String,
    /// Where its pictures come from.
    pub source: Source,
    /// Id of a detector in the model store.
    pub model: String,
    /// Detections with a smaller score do not count.
    #[serde(default = "threshold")]
    pub threshold: f32,
    /// Names of the classes that count; all when empty.
    #[serde(default)]
    pub classes: Vec<String>,
    /// Frames a second for the detector while nothing happens.
    #[serde(default = "fps_idle")]
    pub fps_idle: u32,
    /// Frames a second for the detector within a session, and that are taken from the source.
    #[serde(default = "fps_active")]
    pub fps_active: u32,
    /// Parts of the picture in which nothing counts.
    #[serde(default)]
    pub masks: Vec<Mask>,
    /// Whether it is to run; who calls [`crate::run`] goes by it.
    #[serde(default = "enabled")]
    pub enabled: bool,
    /// Whether sessions keep their pictures as a clip.
    #[serde(default)]
    pub record: bool,
    /// Detections must go on this long before a session starts, in milliseconds.
    #[serde(default = "dwell")]
    pub dwell_ms: u32,
    /// A session closes after this long without detections, in milliseconds.
    #[serde(default = "silence")]
    pub silence_ms: u32,
    /// A closing session ends after this, in milliseconds.
    #[serde(default = "post_roll")]
    pub post_roll_ms: u32,
    /// What a clip shows of the time before its session, in milliseconds.
    #[serde(default = "pre_roll")]
    pub pre_roll_ms: u32,
}

fn threshold() -> f32 {
    0.35
}
fn fps_idle() -> u32 {
    5
}
fn fps_active() -> u32 {
    12
}
fn enabled() -> bool {
    true
}
fn dwell() -> u32 {
    1000
}
fn silence() -> u32 {
    5000
}
fn post_roll() -> u32 {
    3000
}
fn pre_roll() -> u32 {
    3000
}

/// A setting that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct Invalid {
    /// The setting.
    pub field: &'static str,
    /// What is wrong with it, and what would be right.
    pub message: String,
}

impl Camera {
    /// A camera with everything else as it is by default.
    pub fn new(id: impl Into<String>, source: Source, model: impl Into<String>) -> Self {
        let id = id.into();
        Self {
            name: id.clone(),
            id,
            source,
            model: model.into(),
            threshold: threshold(),
            classes: Vec::new(),
            fps_idle: fps_idle(),
            fps_active: fps_active(),
            masks: Vec::new(),
            enabled: enabled(),
            record: false,
            dwell_ms: dwell(),
            silence_ms: silence(),
            post_roll_ms: post_roll(),
            pre_roll_ms: pre_roll(),
        }
    }

    /// Says the first thing that is wrong, if anything is.
    pub fn check(&self) -> Result<(), Invalid> {
        let id_fits = (1..=MOST_ID).contains(&self.id.len())
            && self.id.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        let rules: [(bool, &'static str, String); 10] = [
            (id_fits, "id", format!("use 1 to {MOST_ID} of a-z, 0-9 and -, not \"{}\"", self.id)),
            (
                self.name.chars().count() <= MOST_NAME && !self.name.chars().any(char::is_control),
                "name",
                format!("use at most {MOST_NAME} printable characters"),
            ),
            (
                !self.model.is_empty() && !self.model.contains(char::is_control),
                "model",
                "name a detector of the model store".into(),
            ),
            (
                (0.0..=1.0).contains(&self.threshold),
                "threshold",
                format!("use a number between 0 and 1, not {}", self.threshold),
            ),
            (
                self.classes.len() <= MOST_ENTRIES && self.classes.iter().all(|class| !class.is_empty()),
                "classes",
                format!("name at most {MOST_ENTRIES} classes, none of them empty"),
            ),
            (
                (1..=MOST_FPS).contains(&self.fps_active),
                "fps_active",
                format!("use 1 to {MOST_FPS} frames a second, not {}", self.fps_active),
            ),
            (
                (1..=self.fps_active).contains(&self.fps_idle),
                "fps_idle",
                format!("use 1 to fps_active ({}) frames a second, not {}", self.fps_active, self.fps_idle),
            ),
            (self.masks.len() <= MOST_ENTRIES, "masks", format!("use at most {MOST_ENTRIES}")),
            (self.dwell_ms <= 60_000, "dwell_ms", "use at most 60000 (a minute)".into()),
            (self.pre_roll_ms <= 30_000, "pre_roll_ms", "use at most 30000 (30 s)".into()),
        ];
        for (fits, field, message) in rules {
            if !fits {
                return Err(Invalid { field, message });
            }
        }
        for (value, field) in [(self.silence_ms, "silence_ms"), (self.post_roll_ms, "post_roll_ms")] {
            if value > 600_000 {
                return Err(Invalid { field, message: "use at most 600000 (ten minutes)".into() });
            }
        }
        self.source.check().map_err(|message| Invalid { field: "source", message })?;
        self.masks.iter().try_for_each(Mask::check).map_err(|message| Invalid { field: "masks", message })
    }

    /// What the state machine goes by.
    pub(crate) fn machine(&self) -> machine::Settings {
        let ms = |value| Duration::from_millis(u64::from(value));
        machine::Settings {
            dwell: ms(self.dwell_ms),
            silence: ms(self.silence_ms),
            post_roll: ms(self.post_roll_ms),
            fps_idle: self.fps_idle,
            fps_active: self.fps_active,
            ..machine::Settings::default()
        }
    }
}

/// What one camera needs besides its own settings. Holds a secret, so it has no `Debug`.
#[derive(Clone)]
pub struct Surroundings {
    /// Where the worker listens, `host:port`.
    pub worker: String,
    /// A key with the scope `infer`; empty where the worker asks for none.
    pub token: String,
    /// The decoder; `ffmpeg` is looked up in the path.
    pub ffmpeg: PathBuf,
    /// Under it lie `<camera>/<session>/`.
    pub root: PathBuf,
    /// Recording stops when the disk has less left, in bytes.
    pub reserve_bytes: u64,
    /// Bytes of one clip at most.
    pub clip_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = Box<dyn Fn(&mut Camera)>;

    fn camera() -> Camera {
        Camera::new("front-door", Source::V4l2 { device: "/dev/video0".into() }, "yolox-nano")
    }

    #[test]
    fn little_needs_to_be_said() {
        let json = r#"{"id": "front-door", "name": "front-door", "model": "yolox-nano",
            "source": {"kind": "v4l2", "device": "/dev/video0"}}"#;
        let read: Camera = serde_json::from_str(json).expect("sound");
        assert_eq!(read, camera());
        assert_eq!(read.check(), Ok(()));
        let written = serde_json::to_string(&read).expect("plain");
        assert_eq!(serde_json::from_str::<Camera>(&written).expect("sound"), read);
        assert_eq!(read.machine(), machine::Settings::default());
    }

    #[test]
    fn unknown_settings_are_refused_by_name() {
        let bodies = [
            r#"{"id": "a", "model": "m", "source": {"kind": "v4l2", "device": "/dev/video0"}, "fsp": 1}"#,
            r#"{"id": "a", "model": "m", "source": {"kind": "v4l2", "device": "/dev/video0", "fsp": 1}}"#,
            r#"{"id": "a", "model": "m", "source": {"kind": "v4l2", "device": "/dev/video0"},
                "masks": [{"points": [], "fsp": 1}]}"#,
        ];
        for json in bodies {
            let error = serde_json::from_str::<Camera>(json).expect_err("unknown").to_string();
            assert!(error.contains("fsp"), "{error}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_told_with_the_setting() {
        let long = "x".repeat(33);
        let cases: [(&str, Change); 19] = [
            ("id", Box::new(|camera| camera.id = String::new())),
            ("id", Box::new(|camera| camera.id = "Door".into())),
            ("id", Box::new(|camera| camera.id = "../door".into())),
            ("id", Box::new(move |camera| camera.id.clone_from(&long))),
            ("name", Box::new(|camera| camera.name = "a\nb".into())),
            ("name", Box::new(|camera| camera.name = "ñ".repeat(65))),
            ("model", Box::new(|camera| camera.model = String::new())),
            ("threshold", Box::new(|camera| camera.threshold = 1.1)),
            ("threshold", Box::new(|camera| camera.threshold = f32::NAN)),
            ("classes", Box::new(|camera| camera.classes = vec![String::new()])),
            ("fps_active", Box::new(|camera| camera.fps_active = 0)),
            ("fps_active", Box::new(|camera| camera.fps_active = 61)),
            ("fps_idle", Box::new(|camera| camera.fps_idle = 13)),
            ("dwell_ms", Box::new(|camera| camera.dwell_ms = 60_001)),
            ("silence_ms", Box::new(|camera| camera.silence_ms = 600_001)),
            ("post_roll_ms", Box::new(|camera| camera.post_roll_ms = 600_001)),
            ("pre_roll_ms", Box::new(|camera| camera.pre_roll_ms = 30_001)),
            ("masks", Box::new(|camera| camera.masks = vec![Mask { points: vec![] }])),
            ("source", Box::new(|camera| camera.source = Source::V4l2 { device: "/dev/sda".into() })),
        ];
        for (field, change) in cases {
            let mut wrong = camera();
            change(&mut wrong);
            assert_eq!(wrong.check().expect_err("wrong").field, field, "{wrong:?}");
        }
    }
}
