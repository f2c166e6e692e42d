//! Typing at the guest's serial console: GRUB's menu, and the questions of the initrd.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{KEYBOARD, Vm};

/// How long the firmware may take to start GRUB, and GRUB and the kernel to follow a key.
const LIMIT: Duration = Duration::from_secs(180);
/// How long a key is given before it is pressed again, where pressing it twice does no harm.
const PAUSE: Duration = Duration::from_millis(250);
/// The same where a second press would go too far.
const LONG_PAUSE: Duration = Duration::from_secs(3);
/// What terminals send for Escape and for the arrow down.
const ESCAPE: &[u8] = b"\x1b";
const DOWN: &[u8] = b"\x1b[B";

/// An entry of GRUB's menu.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// Erases the data partition.
    RemoveEverything,
    /// Erases the data partition, and the new one is encrypted.
    Encrypt,
}

impl Entry {
    fn title(self) -> &'static str {
        match self {
            Self::RemoveEverything => "Factory reset: remove everything",
            Self::Encrypt => "Factory reset: encrypt the disk",
        }
    }

    /// What the initrd says when it follows.
    fn followed(self) -> &'static str {
        match self {
            Self::RemoveEverything => "booster-initrd: factory reset",
            Self::Encrypt => "booster-initrd: encrypting",
        }
    }
}

impl Vm<'_> {
    /// Chooses an entry in GRUB's menu of a machine that was just switched on, and waits until the initrd
    /// speaks of it.
    pub fn choose(&mut self, entry: Entry) -> Result<()> {
        self.wait_console(LIMIT, "that the firmware starts GRUB", |text| {
            text.contains("BdsDxe: starting").then_some(())
        })?;
        let mut keyboard = self.keyboard()?;
        // The menu is hidden and waits for a second only.
        self.press(&mut keyboard, ESCAPE, PAUSE, entry.title())?;
        self.press(&mut keyboard, DOWN, LONG_PAUSE, &format!("*{}", entry.title()))?;
        self.press(&mut keyboard, b"\r", PAUSE, entry.followed())
    }

    /// Types a line, once the console shows `question`, and again until it shows `answer`.
    pub fn type_line(&mut self, question: &str, line: &str, answer: &str) -> Result<()> {
        self.wait_shown(question)?;
        let mut keyboard = self.keyboard()?;
        self.press(&mut keyboard, format!("{line}\r").as_bytes(), 10 * LONG_PAUSE, answer)
    }

    /// Waits until the console shows a text.
    pub fn wait_shown(&mut self, text: &str) -> Result<()> {
        let wanted = squeezed(text);
        self.wait_console(LIMIT, text, |console| squeezed(console).contains(&wanted).then_some(()))
    }

    fn keyboard(&self) -> Result<UnixStream> {
        let keyboard = UnixStream::connect(self.folder.join(KEYBOARD)).context("cannot type")?;
        keyboard.set_nonblocking(true)?;
        Ok(keyboard)
    }

    /// Repeats a key until the console shows what it leads to.
    fn press(&mut self, keyboard: &mut UnixStream, key: &[u8], pause: Duration, shown: &str) -> Result<()> {
        let started = Instant::now();
        while !self.shows(shown) {
            self.alive()?;
            if started.elapsed() > LIMIT {
                bail!("the console did not show {shown:?}; it ends with:\n{}", self.console_tail());
            }
            keyboard.write_all(key).context("cannot type")?;
            let pressed = Instant::now();
            while pressed.elapsed() < pause && !self.shows(shown) {
                std::thread::sleep(PAUSE.min(pause));
                // The guest's output stops when nobody takes it here; what it says is in the log as well.
                while keyboard.read(&mut [0; 4096]).is_ok_and(|bytes| bytes > 0) {}
            }
        }
        Ok(())
    }

    /// Whether the console of this boot has shown a text.
    pub fn shows(&self, text: &str) -> bool {
        squeezed(&self.console()).contains(&squeezed(text))
    }
}

/// The text with each run of equal characters as one: while somebody listens, QEMU's log of the console
/// has some characters twice.
fn squeezed(text: &str) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    characters.dedup();
    characters.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::squeezed;

    /// As seen: `systeemd-repart`.
    #[test]
    fn doubled_characters_of_the_console_do_not_hide_a_text() {
        let console = "booster-iniitrd: factory reset: makking a new data partition";
        assert!(squeezed(console).contains(&squeezed("booster-initrd: factory reset")));
        assert!(!squeezed(console).contains(&squeezed("factory reset refused")));
    }
}
