//! A data partition that is full, in bytes and in files, and one that fails: nobody is locked out, and the box
//! says so.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Session, contains, until};
use crate::appliance::session_of;
use crate::http::Credentials;
use crate::progress::step;
use crate::qemu::BOOT_LIMIT;
use crate::run;
use crate::test::Tally;

/// A folder of the agent's, where its programs write what they please.
const FOLDER: &str = "/var/lib/actionbooster/assets/filler";
/// Takes all space that the agent may have: large pieces first, without writing them.
const FILL_SPACE: &str = "n=0
for size in 1073741824 134217728 16777216 1048576 65536 4096; do
    while fallocate -l $size $n; do n=$((n + 1)); done
    n=$((n + 1))
done";
/// Makes as many files as the agent may have.
const FILL_FILES: &str = "seq 1 5000000 | xargs -n 2000 sh -c 'touch \"$@\" || exit 255' sh";
/// Services that want to write something at their end are given up on.
const DOWN_LIMIT: Duration = Duration::from_secs(180);
/// After this nothing the box reports can still come from before.
const SETTLED: Duration = Duration::from_secs(90);

pub fn run(session: &mut Session, tally: &mut Tally) -> Result<()> {
    tally.check("the system has a reserve of the disk, and users have quotas", mounted(session));
    tally.check("the box tells what takes its space", parts(session));
    step("filling the disk", || fill(session, FILL_SPACE))?;
    tally.check("who fills the disk is stopped before the reserve", reserve_is_free(session));
    tally.check("health tells of a full disk and what to do", told(session, "storage", "the disk is full"));
    tally.check("a full disk lets the owner in", log_in(session).map(drop));
    tally.check("settings can be changed on a full disk", change_settings(session));
    tally.check("a full disk takes no upload, and says how much is missing", refused(session));
    step("freeing the disk", || free(session))?;
    tally.check("all is well after space was freed", well(session));
    Ok(())
}

/// A disk without room for one more file. To use them up takes minutes.
pub fn many_files(session: &mut Session, tally: &mut Tally) -> Result<()> {
    step("using up the files of the disk", || fill(session, FILL_FILES))?;
    tally.check("health tells of too many files", told(session, "storage", "more files left"));
    tally.check("a disk with too many files lets the owner in", log_in(session).map(drop));
    tally.check("settings can be changed on a disk with too many files", change_settings(session));
    step("removing the files", || free(session))?;
    tally.check("all is well after files were removed", well(session));
    Ok(())
}

/// A file system that finds itself damaged: since Linux 6.12 nothing of it can be read any more.
#[expect(clippy::unnecessary_wraps, reason = "every section may break off")]
pub fn failing(session: &mut Session, tally: &mut Tally) -> Result<()> {
    tally.check("an error of the file system is told", broken(session));
    tally.check(
        "when the disk cannot even be read the owner logs in and out, and every daemon knows the session",
        known_everywhere(session),
    );
    let cut = step("power cut after an error", || {
        session.vm.cut_power()?;
        session.vm.power_on()?;
        back(session)
    });
    tally.check("the next start mends the file system and loses nothing", cut.and_then(|()| mended(session)));
    tally.check("the portal restarts a box whose disk cannot be read", restarted(session));
    Ok(())
}

/// The partition as the kernel sees it.
fn device(session: &Session) -> Result<String> {
    Ok(session.shell("findmnt -nvo SOURCE /var")?.trim().to_owned())
}

fn mounted(session: &Session) -> Result<()> {
    let options = session.shell("findmnt -no OPTIONS /data")?;
    for wanted in ["resgid=803", "usrquota", "errors=remount-ro"] {
        contains(&options, wanted)?;
    }
    let about = session.shell(&format!("sudo dumpe2fs -h {}", device(session)?))?;
    contains(&about, "User quota inode:         3")?;
    let size = reserved(session)?;
    ensure!(size >= 64 << 20, "only {size} bytes are reserved");
    Ok(())
}

/// Bytes that only the system may use.
fn reserved(session: &Session) -> Result<u64> {
    let text = session.shell("stat -f -c '%f %a %S' /var")?;
    let numbers: Vec<u64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let [free, available, block] = numbers[..] else { anyhow::bail!("{text:?} are no three numbers") };
    Ok((free - available) * block)
}

fn storage(session: &Session) -> Result<Value> {
    session.appliance.portal.get("/api/v1/storage?fresh=true", &session.credentials()?)?.expect(200)?.json()
}

fn parts(session: &Session) -> Result<()> {
    let storage = storage(session)?;
    ensure!(storage["level"] == "ok" && storage["silent"] == json!([]), "{storage:.600}");
    let kinds: Vec<_> = storage["parts"]
        .as_array()
        .context("no parts")?
        .iter()
        .filter_map(|part| part["kind"].as_str())
        .collect();
    for kind in ["models", "uploads", "recordings", "assets", "conversations", "detections", "logs", "system"]
    {
        ensure!(kinds.contains(&kind), "{kind} is not among {kinds:?}");
    }
    let (total, free) = (storage["total_bytes"].as_u64(), storage["free_bytes"].as_u64());
    ensure!(total > free && free > Some(1 << 30), "{free:?} of {total:?} bytes are free");
    contains(&session.shell("sudo boosterctl storage")?, "kept for the system")
}

/// Runs a script as the agent's user until it is refused.
fn fill(session: &Session, script: &str) -> Result<()> {
    let command = format!(
        "sudo -u booster-agent sh 2>&1 <<'END' | grep -e 'quota exceeded' -e 'No space left' | tail -1\n\
         mkdir -p {FOLDER} && cd {FOLDER} && {{ {script}\n}}\nEND\n"
    );
    let last = session.shell(&command)?;
    ensure!(!last.trim().is_empty(), "nothing was refused");
    Ok(())
}

fn reserve_is_free(session: &Session) -> Result<()> {
    let (size, storage) = (reserved(session)?, storage(session)?);
    ensure!(size >= 64 << 20, "only {size} bytes of the reserve are left");
    ensure!(storage["level"] == "full", "{storage:.600}");
    let free = storage["free_bytes"].as_u64().context("no number")?;
    ensure!(free >= 16 << 20, "others have only {free} bytes left");
    Ok(())
}

fn part(session: &Session, name: &str) -> Result<Value> {
    // Strangers learn no details.
    let health = session.appliance.portal.get("/health", &session.credentials()?)?.json()?;
    let components = health["components"].as_array().context("no components")?;
    components
        .iter()
        .find(|part| part["name"] == name)
        .cloned()
        .with_context(|| format!("no {name} in {health}"))
}

fn told(session: &Session, name: &str, words: &str) -> Result<()> {
    let part = part(session, name)?;
    ensure!(part["status"] == "degraded", "{part}");
    contains(part["detail"].as_str().unwrap_or_default(), words)
}

fn log_in(session: &Session) -> Result<Credentials> {
    let owner = session.ready.owner.as_ref().context("nobody has claimed the box")?;
    let login = json!({"name": owner.name, "password": owner.password});
    session_of(&session.appliance.portal.post("/api/v1/login", &login, &Credentials::None)?.expect(200)?)
}

/// A session that cannot be written into the database, with the daemons that ran before it was opened.
fn known_everywhere(session: &Session) -> Result<()> {
    let (portal, cookie) = (&session.appliance.portal, log_in(session)?);
    // Of the monitor, the agent and the worker.
    let paths = ["/api/v1/session", "/api/v1/models/running", "/api/v1/detectors"];
    for path in paths {
        portal.get(path, &cookie)?.expect(200).context(path)?;
    }
    portal.post("/api/v1/logout", &json!({}), &cookie)?.expect(204)?;
    for path in paths {
        portal.get(path, &cookie)?.expect(401).context(path)?;
    }
    Ok(())
}

/// Written by the monitor, applied by the provisioner.
fn change_settings(session: &mut Session) -> Result<()> {
    for online in [true, false] {
        let change = format!("sudo boosterctl --json settings set --online {online}");
        let answer: Value = serde_json::from_str(&session.shell(&change)?)?;
        ensure!(answer["online"] == online && answer["applied"] == true, "{answer}");
    }
    until(session, |session| {
        let report = session.provisioning()?;
        ensure!(report["result"] == "ok", "the result is {}", report["result"]);
        Ok(())
    })
}

fn refused(session: &Session) -> Result<()> {
    let upload = json!({"file_name": "any.gguf", "size_bytes": 1_000_000});
    let answer = session.appliance.portal.post("/api/v1/models/uploads", &upload, &session.credentials()?)?;
    let problem = answer.expect(507)?.json()?;
    ensure!(problem["type"] == "disk-full" && problem["missing_bytes"].as_u64() > Some(0), "{problem}");
    contains(problem["detail"].as_str().unwrap_or_default(), "boosterctl storage")
}

/// For good: what was not written out comes back with the error and the power cut that follow.
fn free(session: &Session) -> Result<()> {
    session.shell(&format!("sudo rm -rf {FOLDER} && sync")).map(drop)
}

fn well(session: &mut Session) -> Result<()> {
    session.appliance.wait_healthy(SETTLED, || session.vm.alive())?;
    ensure!(storage(session)?["level"] == "ok", "health is well, the page is not");
    Ok(())
}

/// The owner does what health asks for.
fn restarted(session: &mut Session) -> Result<()> {
    broken(session)?;
    let credentials = log_in(session)?;
    step("restart after an error", || {
        let restart = json!({"action": "reboot"});
        session.appliance.portal.post("/api/v1/power", &restart, &credentials)?.expect(202)?;
        let asked = Instant::now();
        while session
            .appliance
            .portal
            .get("/health", &Credentials::None)
            .is_ok_and(|answer| answer.status == 200)
        {
            ensure!(asked.elapsed() < DOWN_LIMIT, "the box does not go down");
            std::thread::sleep(Duration::from_millis(500));
        }
        back(session)
    })?;
    mended(session)
}

/// What ext4 does when it finds itself damaged.
fn broken(session: &Session) -> Result<()> {
    let name = device(session)?;
    let name = name.trim_start_matches("/dev/");
    session.shell(&format!("echo 1 | sudo tee /sys/fs/ext4/{name}/trigger_fs_error"))?;
    told(session, "data", "Restart the box")
}

fn back(session: &mut Session) -> Result<()> {
    session.appliance = session.vm.reach()?;
    if let Err(cause) = session.appliance.wait_healthy(BOOT_LIMIT, || session.vm.alive()) {
        // Strangers learn no reasons.
        let told = session.appliance.portal.get("/health", &session.credentials()?)?;
        return Err(cause.context(told.body));
    }
    run::wait_ssh(&mut session.vm, &session.key)
}

fn mended(session: &Session) -> Result<()> {
    ensure!(part(session, "data")?["status"] == "ok", "the error is still told");
    mounted(session)?;
    session.answers()
}
