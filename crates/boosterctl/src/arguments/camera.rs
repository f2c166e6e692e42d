//! `boosterctl camera …`.

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand};

/// The owner's cameras.
#[derive(Debug, Subcommand)]
pub enum Camera {
    /// List the cameras and how they stand.
    List,
    /// Show a camera's settings and how it stands.
    Show {
        /// The camera.
        id: String,
    },
    /// Add a camera. It starts at once.
    Add {
        /// What it will be called: a-z, 0-9 and -.
        id: String,
        #[command(flatten)]
        place: Box<Place>,
        #[command(flatten)]
        opening: Opening,
        /// Detector that looks at its pictures; see boosterctl vision detectors.
        #[arg(long, value_name = "ID")]
        model: String,
        #[command(flatten)]
        options: Box<Options>,
        /// Add it switched off.
        #[arg(long)]
        disabled: bool,
    },
    /// Change a camera; what is not named stays. A session that goes on ends.
    Set {
        /// The camera.
        id: String,
        #[command(flatten)]
        place: Box<Place>,
        #[command(flatten)]
        opening: Opening,
        /// Detector that looks at its pictures.
        #[arg(long, value_name = "ID")]
        model: Option<String>,
        #[command(flatten)]
        options: Box<Options>,
    },
    /// Switch a camera on.
    Enable {
        /// The camera.
        id: String,
    },
    /// Switch a camera off.
    Disable {
        /// The camera.
        id: String,
    },
    /// Forget a camera. Its sessions stay.
    Remove {
        /// The camera.
        id: String,
    },
    /// List what a camera recorded, the newest first.
    Sessions {
        /// The camera.
        id: String,
    },
    /// Show what was seen in a session.
    Session {
        /// The camera.
        id: String,
        /// The session, from the list.
        session: String,
    },
    /// Print what cameras see, a line each, until it is interrupted.
    Events {
        /// Only of this camera.
        id: Option<String>,
        /// Signs of life as well, every two seconds.
        #[arg(long)]
        all: bool,
    },
    /// Write what a camera sees now into a file.
    Snapshot {
        /// The camera.
        id: String,
        /// Where to, such as door.jpg.
        file: PathBuf,
    },
}

/// Where a camera's pictures come from; one of them.
#[derive(Debug, Default, Clone, Args)]
#[group(multiple = false)]
pub struct Place {
    /// A camera in the network: rtsp://user@host/path. Its password is asked for, or in BOOSTER_CAMERA_PASSWORD:
    /// other users of the machine can read arguments.
    #[arg(long, value_name = "URL")]
    pub rtsp: Option<String>,
    /// A camera in the network that gives MJPEG or one picture a request; its password as with --rtsp.
    #[arg(long, value_name = "URL")]
    pub http: Option<String>,
    /// A camera at the box, such as /dev/video0.
    #[arg(long, value_name = "DEVICE")]
    pub v4l2: Option<String>,
    /// A video on the box.
    #[arg(long, value_name = "PATH")]
    pub file: Option<PathBuf>,
    /// A folder of JPEG files on the box.
    #[arg(long, value_name = "PATH")]
    pub folder: Option<PathBuf>,
}

/// How a source is opened.
#[derive(Debug, Default, Clone, Args)]
pub struct Opening {
    /// Begin a video or a folder again at its end: true, as usual, or false.
    #[arg(long, action = ArgAction::Set, value_name = "BOOL")]
    pub repeat: Option<bool>,
    /// Read the password of the camera from standard input instead of asking for it.
    #[arg(long)]
    pub password_stdin: bool,
}

/// What a camera goes by. What is not named is as usual, or as before.
#[derive(Debug, Default, Clone, Args)]
pub struct Options {
    /// Name for people.
    #[arg(long)]
    pub name: Option<String>,
    /// A class that counts, repeatable.
    #[arg(long = "class", value_name = "CLASS")]
    pub classes: Vec<String>,
    /// Every class counts.
    #[arg(long, conflicts_with = "classes")]
    pub all_classes: bool,
    /// The smallest score that counts, between 0 and 1.
    #[arg(long, value_name = "SCORE")]
    pub threshold: Option<f32>,
    /// Frames a second for the detector while nothing happens.
    #[arg(long, value_name = "N")]
    pub fps_idle: Option<u32>,
    /// Frames a second for the detector within a session.
    #[arg(long, value_name = "N")]
    pub fps_active: Option<u32>,
    /// A part of the picture in which nothing counts, repeatable: corners such as "0,0 0.5,0 0.5,1", from 0 to 1.
    #[arg(long = "mask", value_name = "CORNERS")]
    pub masks: Vec<String>,
    /// The whole picture counts.
    #[arg(long, conflicts_with = "masks")]
    pub no_masks: bool,
    /// Whether sessions keep their pictures as a clip: true or false.
    #[arg(long, action = ArgAction::Set, value_name = "BOOL")]
    pub record: Option<bool>,
    /// Detections must go on this long before a session starts, in milliseconds.
    #[arg(long, value_name = "MS")]
    pub dwell_ms: Option<u32>,
    /// A session closes after this long without detections, in milliseconds.
    #[arg(long, value_name = "MS")]
    pub silence_ms: Option<u32>,
    /// A closing session ends after this, in milliseconds.
    #[arg(long, value_name = "MS")]
    pub post_roll_ms: Option<u32>,
    /// What a clip shows of the time before its session, in milliseconds.
    #[arg(long, value_name = "MS")]
    pub pre_roll_ms: Option<u32>,
}
