//! The clock: whether the machine kept it while it was off, what the owner sets it to, and the last
//! moment that was known, from which a box without a battery goes on.
//!
//! systemd starts no earlier than the modification time of timesyncd's file on the data partition.
//! timesyncd itself touches it only once a server has answered, which may never be.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use actionbooster_clock::{Source, built_s, check, mark, synchronised};
use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

use crate::layout::Layout;
use crate::machine::read_small;
use crate::system::{Access, System};

/// Where systemd and its timesyncd look for the last known time.
const LAST_KNOWN: &str = "var/lib/systemd/timesync/clock";
/// The machine's own clock, in seconds since 1970.
const RTC: &str = "sys/class/rtc/rtc0/since_epoch";
/// Two clocks that differ by less have run on their own since they were the same.
const TOLERANCE_S: i64 = 600;
/// A wish that waited longer is of another start.
const LONGEST_WAIT_MS: i64 = 60_000;
const TIMESYNC: &str = "systemd-timesyncd.service";

/// What the monitor leaves in `/run/actionbooster/monitor/clock.json` for the owner.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    /// Milliseconds since 1970.
    unix_ms: i64,
    /// Milliseconds since the start, at that moment.
    uptime_ms: i64,
}

/// Says once in each boot whether the machine kept its clock while it was off.
pub fn judge(layout: &Layout, system: &dyn System) -> Result<()> {
    let path = mark(&layout.run(""));
    if !system.is_running() || path.exists() {
        return Ok(());
    }
    let rtc = fs::read_to_string(layout.at(RTC)).ok().and_then(|text| text.trim().parse().ok());
    let known = fs::metadata(layout.at(LAST_KNOWN)).and_then(|file| file.modified()).ok();
    let floor = known.map_or(0, unix_s).max(built_s());
    write_mark(&path, verdict(rtc, unix_s(SystemTime::now()), floor), system)
}

/// A clock that stood still is behind what was known before, or says nothing at all; one that systemd
/// found absurd is not the system's any more.
fn verdict(rtc_s: Option<i64>, system_s: i64, floor_s: i64) -> Source {
    let kept = rtc_s.is_some_and(|rtc| {
        rtc + TOLERANCE_S >= floor_s
            && check(rtc + TOLERANCE_S).is_ok()
            && (system_s - rtc).abs() <= TOLERANCE_S
    });
    if kept { Source::Rtc } else { Source::Unknown }
}

/// Sets the clock if that is wished, and keeps the time.
pub fn tend(layout: &Layout, system: &dyn System) -> Result<String> {
    let runtime = layout.run("");
    let wish = layout.run("monitor/clock.json");
    let outcome = match read_small(&wish).context("cannot read what the clock should be")? {
        None => Ok("kept the time\n".to_owned()),
        Some(text) => {
            system.remove(&wish).context("cannot take the wish away")?;
            set(&text, layout, system).map(|()| "set the clock\n".to_owned())
        }
    };
    if synchronised(&runtime) && read_small(&mark(&runtime)).ok().flatten().as_deref() != Some(b"ntp\n") {
        write_mark(&mark(&runtime), Source::Ntp, system)?;
    }
    keep(layout, system)?;
    outcome
}

fn set(wish: &[u8], layout: &Layout, system: &dyn System) -> Result<()> {
    let wish: Wish = serde_json::from_slice(wish).context("the wish for the clock is damaged")?;
    let runtime = layout.run("");
    ensure!(!synchronised(&runtime), "a time server keeps the clock");
    let waited_ms = uptime_ms(layout)?.saturating_sub(wish.uptime_ms);
    ensure!((0..=LONGEST_WAIT_MS).contains(&waited_ms), "the wish for the clock is too old");
    let unix_ms = wish.unix_ms.saturating_add(waited_ms);
    check(unix_ms / 1000)?;
    // timedated refuses while timesyncd runs. Its call sets the machine's own clock too.
    system.run(&["systemctl", "stop", TIMESYNC])?;
    let usec = unix_ms.saturating_mul(1000).to_string();
    let object = ["org.freedesktop.timedate1", "/org/freedesktop/timedate1", "org.freedesktop.timedate1"];
    let [service, path, interface] = object;
    let call = ["busctl", "call", service, path, interface, "SetTime", "xbb", &usec, "false", "false"];
    let done = system.run(&call);
    if done.is_ok() {
        // timesyncd would go back to a later time that it finds there.
        keep(layout, system)?;
        write_mark(&mark(&runtime), Source::Owner, system)?;
    }
    system.run(&["systemctl", "start", "--no-block", TIMESYNC])?;
    done
}

/// Writes the file anew, whose modification time is now.
fn keep(layout: &Layout, system: &dyn System) -> Result<()> {
    let access = Access { mode: 0o644, owner: Some("systemd-timesync") };
    system.replace(&layout.at(LAST_KNOWN), b"", access).context("cannot keep the time")
}

fn write_mark(path: &Path, source: Source, system: &dyn System) -> Result<()> {
    let text = format!("{}\n", source.word());
    system.replace(path, text.as_bytes(), Access::PUBLIC).context("cannot say who set the clock")
}

fn uptime_ms(layout: &Layout) -> Result<i64> {
    let path: PathBuf = layout.at("proc/uptime");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    match text.split_whitespace().next().and_then(|text| text.parse::<f64>().ok()) {
        Some(seconds) => Ok((seconds * 1000.0) as i64),
        None => bail!("{} does not say how long the system runs", path.display()),
    }
}

fn unix_s(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::cell::RefCell;
    use std::io;

    use actionbooster_clock::source;

    use super::*;
    use crate::machine::Machine;

    /// Files are real; programs are only written down.
    struct Recording {
        machine: Machine,
        ran: RefCell<Vec<String>>,
        refuses: bool,
    }

    impl System for Recording {
        fn replace(&self, path: &Path, contents: &[u8], access: Access) -> io::Result<()> {
            self.machine.replace(path, contents, access)
        }
        fn link(&self, path: &Path, target: &Path) -> io::Result<()> {
            self.machine.link(path, target)
        }
        fn remove(&self, path: &Path) -> io::Result<()> {
            self.machine.remove(path)
        }
        fn set_kernel(&self, _: &str, _: &str) -> io::Result<()> {
            Err(io::Error::other("the kernel is not touched"))
        }
        fn run(&self, command: &[&str]) -> Result<()> {
            self.ran.borrow_mut().push(command.join(" "));
            ensure!(!(self.refuses && command[0] == "busctl"), "refused");
            Ok(())
        }
        fn is_running(&self) -> bool {
            true
        }
        fn kernel(&self, _: &str) -> Option<String> {
            None
        }
        fn has_tpm(&self) -> bool {
            false
        }

        fn seal(&self, _: &str, _: &[u8]) -> anyhow::Result<Vec<u8>> {
            anyhow::bail!("there is no TPM")
        }

        fn unseal(&self, _: &str, _: &[u8]) -> anyhow::Result<Vec<u8>> {
            anyhow::bail!("there is no TPM")
        }

        fn is_active(&self, _: &str) -> bool {
            true
        }
    }

    struct Box {
        root: tempfile::TempDir,
        layout: Layout,
        system: Recording,
    }

    fn a_box(wish: Option<&str>) -> Box {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path());
        let system =
            Recording { machine: Machine::new(root.path()), ran: RefCell::default(), refuses: false };
        put(&layout.at("proc/uptime"), "100.00 180.00\n");
        if let Some(wish) = wish {
            put(&layout.run("monitor/clock.json"), wish);
        }
        Box { root, layout, system }
    }

    fn put(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_machines_clock_is_taken_only_when_it_went_on() {
        let floor = built_s() + 1_000_000;
        let cases = [
            (None, floor, Source::Unknown, "no clock"),
            (Some(0), floor, Source::Unknown, "an empty battery"),
            (Some(floor - 3600), floor, Source::Unknown, "it stood still"),
            (Some(floor - 60), floor - 60, Source::Rtc, "a little slow"),
            (Some(floor + 86_400), floor + 86_400, Source::Rtc, "a day later"),
            (Some(floor + 86_400), floor, Source::Unknown, "systemd did not take it"),
            (Some(floor + 30 * 366 * 86_400), floor + 30 * 366 * 86_400, Source::Unknown, "absurd"),
        ];
        for (rtc, system, expected, what) in cases {
            assert_eq!(verdict(rtc, system, floor), expected, "{what}");
        }
    }

    #[test]
    fn it_is_judged_once_in_each_boot() {
        let it = a_box(None);
        judge(&it.layout, &it.system).unwrap();
        assert_eq!(source(&it.layout.run("")), Source::Unknown);
        put(&it.layout.at(RTC), &unix_s(SystemTime::now()).to_string());
        judge(&it.layout, &it.system).unwrap();
        assert_eq!(source(&it.layout.run("")), Source::Unknown);
        fs::remove_file(mark(&it.layout.run(""))).unwrap();
        judge(&it.layout, &it.system).unwrap();
        assert_eq!(source(&it.layout.run("")), Source::Rtc);
    }

    #[test]
    fn the_owners_wish_sets_the_clock_once() {
        let moment = (built_s() + 86_400) * 1000;
        let it = a_box(Some(&format!("{{\"unix_ms\": {moment}, \"uptime_ms\": 98500}}")));
        put(&mark(&it.layout.run("")), "unknown\n");
        assert_eq!(tend(&it.layout, &it.system).unwrap(), "set the clock\n");
        let usec = (moment + 1500) * 1000;
        let expected = [
            "systemctl stop systemd-timesyncd.service".to_owned(),
            format!(
                "busctl call org.freedesktop.timedate1 /org/freedesktop/timedate1 org.freedesktop.timedate1 \
                 SetTime xbb {usec} false false"
            ),
            "systemctl start --no-block systemd-timesyncd.service".to_owned(),
        ];
        assert_eq!(*it.system.ran.borrow(), expected);
        assert_eq!(source(&it.layout.run("")), Source::Owner);
        assert!(it.layout.at(LAST_KNOWN).exists());
        assert_eq!(tend(&it.layout, &it.system).unwrap(), "kept the time\n");
        assert_eq!(it.system.ran.borrow().len(), 3);
    }

    #[test]
    fn a_wish_that_cannot_be_is_refused_and_forgotten() {
        let good = (built_s() + 86_400) * 1000;
        let cases = [
            ("{".to_owned(), "damaged"),
            (format!("{{\"unix_ms\": {good}, \"uptime_ms\": 10}}"), "too old"),
            (format!("{{\"unix_ms\": {good}, \"uptime_ms\": 200000}}"), "too old"),
            ("{\"unix_ms\": 0, \"uptime_ms\": 99000}".to_owned(), "before this version"),
            (format!("{{\"unix_ms\": {}, \"uptime_ms\": 99000}}", i64::MAX), "20 years"),
        ];
        for (wish, words) in cases {
            let it = a_box(Some(&wish));
            let error = format!("{:#}", tend(&it.layout, &it.system).unwrap_err());
            assert!(error.contains(words), "{wish}: {error}");
            assert!(it.system.ran.borrow().is_empty(), "{wish}");
            assert!(!it.layout.run("monitor/clock.json").exists(), "{wish}");
        }
    }

    #[test]
    fn a_time_server_is_not_overruled_and_remembered() {
        let wish = format!("{{\"unix_ms\": {}, \"uptime_ms\": 99000}}", (built_s() + 86_400) * 1000);
        let it = a_box(Some(&wish));
        put(&it.root.path().join("run/systemd/timesync/synchronized"), "");
        assert!(tend(&it.layout, &it.system).is_err());
        assert!(it.system.ran.borrow().is_empty());
        fs::remove_file(it.root.path().join("run/systemd/timesync/synchronized")).unwrap();
        assert_eq!(source(&it.layout.run("")), Source::Ntp, "it was the server's clock all the same");
    }

    #[test]
    fn timesyncd_runs_again_also_after_a_refusal() {
        let wish = format!("{{\"unix_ms\": {}, \"uptime_ms\": 99000}}", (built_s() + 86_400) * 1000);
        let mut it = a_box(Some(&wish));
        it.system.refuses = true;
        assert!(tend(&it.layout, &it.system).is_err());
        assert_eq!(
            it.system.ran.borrow().last().unwrap(),
            "systemctl start --no-block systemd-timesyncd.service"
        );
        assert_eq!(source(&it.layout.run("")), Source::Rtc);
    }
}
