//! Waiting for the person to say stop.

use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::{SigSet, Signal};

/// Holds back SIGINT and SIGTERM from now on, so that [`wait`] can take them in its own time.
///
/// Call it before any thread is started. Children begin with an empty mask.
pub fn hold() -> Result<()> {
    set().thread_block()?;
    Ok(())
}

/// Waits for SIGINT or SIGTERM, asking `alive` twice a second whether there is still something to wait for.
pub fn wait(mut alive: impl FnMut() -> Result<()>) -> Result<()> {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(set().wait()));
    loop {
        if receiver.recv_timeout(Duration::from_millis(500)).is_ok() {
            return Ok(());
        }
        alive()?;
    }
}

fn set() -> SigSet {
    let mut set = SigSet::empty();
    set.add(Signal::SIGINT);
    set.add(Signal::SIGTERM);
    set
}
