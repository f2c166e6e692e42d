//! What is typed at the machine's consoles, while there is nothing else that reads it.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Instant;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Longest line that is taken; the rest of a longer one is not looked at.
const LINE_LIMIT_BYTES: usize = 256;

/// All consoles of the kernel: screen and keyboard, and serial ports.
pub(crate) struct Consoles(Vec<Console>);

struct Console {
    terminal: File,
    typed: Vec<u8>,
}

impl Consoles {
    /// Opens those that can be.
    pub(crate) fn open(sys: &Path, dev: &Path) -> Self {
        let names = fs::read_to_string(sys.join("class/tty/console/active")).unwrap_or_default();
        let flags = (OFlag::O_NOCTTY | OFlag::O_NONBLOCK).bits();
        let open =
            |name: &str| OpenOptions::new().read(true).write(true).custom_flags(flags).open(dev.join(name));
        let terminals = names.split_ascii_whitespace().filter_map(|name| open(name).ok());
        Self(terminals.map(|terminal| Console { terminal, typed: Vec::new() }).collect())
    }

    /// Shows a text on all of them.
    pub(crate) fn show(&mut self, text: &str) {
        for console in &mut self.0 {
            // Whoever does not see it here sees it elsewhere, or the end of the wait.
            let _unseen = console.terminal.write_all(text.as_bytes());
        }
    }

    /// The next line that is typed at any of them; `None` when there is none until `deadline`.
    pub(crate) fn line(&mut self, deadline: Instant) -> Option<String> {
        loop {
            if let Some(line) = self.0.iter_mut().find_map(Console::take_line) {
                return Some(line);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let mut watched: Vec<PollFd> = self
                .0
                .iter()
                .map(|console| PollFd::new(console.terminal.as_fd(), PollFlags::POLLIN))
                .collect();
            // An interrupted wait only means looking again a little early.
            let _woken = poll(&mut watched, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
            let ready: Vec<bool> =
                watched.iter().map(|one| one.revents().is_some_and(|events| !events.is_empty())).collect();
            let mut ready = ready.into_iter();
            // One that is gone would end every wait at once.
            self.0.retain_mut(|console| !ready.next().unwrap_or(false) || console.read());
        }
    }
}

impl Console {
    /// Takes what was typed; `false` when there will never be anything again.
    fn read(&mut self) -> bool {
        let mut bytes = [0; LINE_LIMIT_BYTES];
        match self.terminal.read(&mut bytes) {
            Ok(0) => false,
            Ok(count) => {
                let room = LINE_LIMIT_BYTES.saturating_sub(self.typed.len());
                let (taken, rest) = bytes[..count].split_at(count.min(room));
                self.typed.extend(taken);
                // The end of a line that is too long still ends it.
                self.typed.extend(rest.iter().find(|byte| is_end(**byte)));
                true
            }
            Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
        }
    }

    fn take_line(&mut self) -> Option<String> {
        let end = self.typed.iter().position(|byte| is_end(*byte))?;
        let line: Vec<u8> = self.typed.drain(..=end).collect();
        Some(String::from_utf8_lossy(&line[..end]).into_owned())
    }
}

const fn is_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nix::pty::openpty;

    use super::*;

    /// Two consoles, of which one is a terminal that the returned file types at.
    fn machine() -> (tempfile::TempDir, Consoles, File) {
        let folder = tempfile::tempdir().unwrap();
        let (sys, dev) = (folder.path().join("sys"), folder.path().join("dev"));
        fs::create_dir_all(sys.join("class/tty/console")).unwrap();
        fs::create_dir_all(&dev).unwrap();
        fs::write(sys.join("class/tty/console/active"), "tty0 absent ttyS0\n").unwrap();
        let pair = openpty(None, None).unwrap();
        let terminal = nix::unistd::ttyname(&pair.slave).unwrap();
        std::os::unix::fs::symlink(terminal, dev.join("ttyS0")).unwrap();
        // It ends at once, as a port that is not there does.
        fs::write(dev.join("tty0"), "").unwrap();
        let consoles = Consoles::open(&sys, &dev);
        // The consoles hold it open from here on.
        drop(pair.slave);
        (folder, consoles, File::from(pair.master))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn lines_are_taken_one_by_one_from_whatever_console_has_them() {
        let (_folder, mut consoles, mut keyboard) = machine();
        keyboard.write_all(b"first\nsecond\n").unwrap();
        assert_eq!(consoles.line(soon()).as_deref(), Some("first"));
        assert_eq!(consoles.line(soon()).as_deref(), Some("second"));
        assert_eq!(consoles.line(Instant::now() + Duration::from_millis(10)), None);
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let (_folder, mut consoles, mut keyboard) = machine();
        // A terminal takes lines of up to 4,096 bytes.
        keyboard.write_all(&[b'x'; 2000]).unwrap();
        keyboard.write_all(b"\nshort\n").unwrap();
        assert!(consoles.line(soon()).unwrap().len() <= LINE_LIMIT_BYTES);
        assert_eq!(consoles.line(soon()).as_deref(), Some("short"));
    }
}
