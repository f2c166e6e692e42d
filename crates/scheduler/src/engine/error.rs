//! Why an engine could not be started or ended.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

/// Why an engine could not be started or ended.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The system bus does not answer.
    #[error("cannot reach the system bus")]
    NoBus(#[source] zbus::Error),
    /// systemd does not tell what happens to units.
    #[error("cannot subscribe to systemd")]
    Subscribe(#[source] zbus::Error),
    /// There is no such unit.
    #[error("systemd does not know {unit}")]
    UnknownUnit {
        /// The unit.
        unit: String,
        /// What systemd said.
        source: zbus::Error,
    },
    /// The unit did not become active.
    #[error("it did not load; `journalctl -u {unit}` says why")]
    NotLoaded {
        /// The unit.
        unit: String,
        /// What became of its start.
        source: Box<LaunchError>,
    },
    /// A job of systemd did not do what it was for.
    #[error("the job of {unit} ended as {result}")]
    Job {
        /// The unit.
        unit: String,
        /// What systemd calls its end.
        result: String,
    },
    /// The connection to the system bus ended.
    #[error("the system bus went away")]
    BusGone,
    /// systemd refused a call.
    #[error(transparent)]
    Bus(#[from] zbus::Error),
    /// A program or a socket is not as it must be.
    #[error("cannot {action} {}", .path.display())]
    File {
        /// What was to be done.
        action: &'static str,
        /// What it was to be done to.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The engine does not listen.
    #[error("cannot connect to {}", .socket.display())]
    Connect {
        /// Where it should listen.
        socket: PathBuf,
        /// What was seen instead.
        source: tonic::transport::Error,
    },
    /// Its process ended before it had loaded.
    #[error("its process ended while it loaded ({0}); its log says why")]
    Ended(ExitStatus),
    /// The system refused something else.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It took too long.
    #[error("it did not load within {minutes} minutes")]
    Timeout {
        /// How long it may take.
        minutes: u64,
    },
}
