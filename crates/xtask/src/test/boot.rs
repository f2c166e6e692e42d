//! The image in a virtual machine: first boot, firewall, cameras, reboot, a damaged data partition.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::{Tally, cameras};
use crate::appliance::{Appliance, Ready};
use crate::builder::Builder;
use crate::http::Credentials;
use crate::progress::step;
use crate::qemu::{BOOT_LIMIT, FAR_ADDRESS, Forwards, Vm};
use crate::{image, run};

const FORWARDS: Forwards = Forwards::from(20443);
/// Ports that must not answer from outside, and where this host reaches for them.
const CLOSED: &[(u16, u16)] =
    &[(20500, 5000), (20501, 5001), (20502, 7001), (20503, 4222), (20504, 9090), (20505, 8080)];
/// How long a connection that nobody answers is watched.
const SILENCE: &str = "3";
const SETTINGS_LIMIT: Duration = Duration::from_secs(240);

pub fn run(builder: &Builder) -> Result<Tally> {
    let artifacts = image::build(builder, &image::Options::default())?;
    let mut tally = Tally::default();
    let mut vm = Vm::create(builder, "boot", &artifacts.disk, &artifacts.kernel, FORWARDS)?;
    for (host, guest) in CLOSED {
        vm.forward(*host, *guest);
    }
    vm.power_on()?;
    let appliance = step("first boot", || vm.reach())?;
    let code = vm.claim_code()?;
    appliance.wait_healthy(BOOT_LIMIT, || vm.alive())?;

    tally.check("plain HTTP leads to HTTPS", redirects(&appliance));
    tally.check("nothing but the web answers from outside", closed_outside(builder, &vm));
    tally.check("a wrong claim code is refused", wrong_code(&appliance));
    let ready = step("claiming the box", || appliance.claim(&code))?;
    tally.check("a claimed box cannot be claimed again", claimed_twice(&appliance, &code));
    tally.check("/query refuses a request without a key", refused_without_key(&appliance));
    tally.check("/query answers through nginx with a key", answered(&appliance, &ready));

    let ssh = run::open_ssh(builder, &mut vm, &appliance, &ready)?;
    let shell = |script: &str| vm.ssh(&ssh.key, script);
    tally.check("no unit failed", empty(&shell("systemctl --failed --no-legend --plain")?));
    tally.check("there are no ordering cycles", no_match(&shell(JOURNAL)?, "ordering cycle"));
    tally.check("the kernel is not tainted", equal(&shell("cat /proc/sys/kernel/tainted")?, "0"));
    tally.check("the right slot is running", slot(&shell("cat /proc/cmdline")?));
    tally.check("zRAM is swap and has the planned size", zram(&vm, &ssh.key, &appliance, &ready));
    tally.check("the firewall is as planned", firewall(&shell("sudo ufw status verbose")?));
    tally.check("the firewall covers IPv6", contains(&shell("sudo ip6tables -S INPUT")?, "-P INPUT DROP"));
    tally.check("the data partition grew to the disk", grown(&shell("df -B1 --output=size /var | tail -1")?));
    tally.check("the root file system is read-only", equal(&shell("findmnt -no FSTYPE /")?, "squashfs"));
    tally.check(
        "no account has a password",
        empty(&shell("sudo cut -d: -f2 /etc/shadow | grep '^[$]'; true")?),
    );
    tally.check("boosterctl does the same from a shell", command_line(&vm, &ssh.key));
    let far = format!("timeout 30 bash -c 'exec 3<>/dev/tcp/{FAR_ADDRESS}/80 && cat <&3' 2>&1; true");
    tally.check("an address beyond the LAN is refused while offline", refused(&shell(&far)?));
    tally.check("the running slot is marked good", slot_is_good(&mut vm, &ssh.key));
    tally.check("online mode lets it through", online(&mut vm, &appliance, &ready, &ssh.key, &far));

    cameras::run(&mut tally, &mut vm, &ssh.key, &appliance, &ready)?;

    let before = Identity::read(&vm, &ssh.key)?;
    step("reboot", || reboot(&mut vm, &appliance, &ready))?;
    let appliance = vm.reach()?;
    appliance.wait_healthy(BOOT_LIMIT, || vm.alive())?;
    run::wait_ssh(&mut vm, &ssh.key)?;
    tally.check(
        "a reboot keeps the identity",
        Identity::read(&vm, &ssh.key).and_then(|now| before.same_as(&now)),
    );
    tally.check("zRAM is swap after a reboot", zram(&vm, &ssh.key, &appliance, &ready));
    tally.check(
        "no unit failed after a reboot",
        vm.ssh(&ssh.key, "systemctl --failed --no-legend --plain").and_then(|listed| empty(&listed)),
    );
    tally.check("a reboot keeps owner and keys", answered(&appliance, &ready));
    tally.check("a reboot changes nothing in the plan", unchanged(&appliance, &ready));

    run::switch_off(&mut vm, &appliance, &ready)?;
    step("damaging the data partition", || damage(builder, &vm))?;
    vm.power_on()?;
    tally.check("a damaged data partition leads to a page that says so", damaged_page(&mut vm));
    Ok(tally)
}

const JOURNAL: &str = "sudo journalctl -b --no-pager -o cat _PID=1";

fn redirects(appliance: &Appliance) -> Result<()> {
    let answer = appliance.plain.get("/", &Credentials::None)?;
    ensure!((300..400).contains(&answer.status), "status {}", answer.status);
    contains(answer.header("location").unwrap_or_default(), "https://")
}

/// QEMU accepts the connection itself, so a closed port shows as one on which nothing is ever said.
fn closed_outside(builder: &Builder, vm: &Vm) -> Result<()> {
    let ssh = (vm.forwards().ssh, 22);
    for (host, guest) in CLOSED.iter().copied().chain([ssh]) {
        let mut command = builder.command(&[
            "curl",
            "-s",
            "--max-time",
            SILENCE,
            "--output",
            "-",
            &format!("telnet://127.0.0.1:{host}"),
        ]);
        let output = command.stdin(Stdio::null()).output()?;
        ensure!(output.stdout.is_empty(), "port {guest} says {:?}", String::from_utf8_lossy(&output.stdout));
        let answer = builder
            .command(&["curl", "-s", "--max-time", SILENCE, "-i", &format!("http://127.0.0.1:{host}/")])
            .stdin(Stdio::null())
            .output()?;
        ensure!(answer.stdout.is_empty(), "port {guest} answers HTTP");
    }
    Ok(())
}

fn wrong_code(appliance: &Appliance) -> Result<()> {
    let claim = json!({"code": "AAAA-AAAA", "name": "thief", "password": "long enough to pass"});
    appliance.portal.post("/api/v1/claim", &claim, &Credentials::None)?.expect(403).map(drop)
}

fn claimed_twice(appliance: &Appliance, code: &str) -> Result<()> {
    let claim = json!({"code": code, "name": "second", "password": "long enough to pass"});
    appliance.portal.post("/api/v1/claim", &claim, &Credentials::None)?.expect(409).map(drop)
}

fn refused_without_key(appliance: &Appliance) -> Result<()> {
    let question = json!({"prompt": "What is online mode?"});
    appliance.portal.post("/query", &question, &Credentials::None)?.expect(401)?;
    let invented = Credentials::Key(format!("ab_{}", "x".repeat(40)));
    appliance.portal.post("/query", &question, &invented)?.expect(401).map(drop)
}

fn answered(appliance: &Appliance, ready: &Ready) -> Result<()> {
    appliance.ask(ready, "What is online mode?").map(drop)
}

fn provisioning(appliance: &Appliance, ready: &Ready) -> Result<Value> {
    let key = Credentials::Key(ready.api_key.clone().context("no API key")?);
    appliance.portal.get("/api/v1/provisioning", &key)?.expect(200)?.json()
}

fn unchanged(appliance: &Appliance, ready: &Ready) -> Result<()> {
    let report = provisioning(appliance, ready)?;
    let steps = report["steps"].as_array().context("the report has no steps")?;
    let failed: Vec<_> = steps.iter().filter(|step| step["status"] == "failed").collect();
    ensure!(failed.is_empty(), "failed steps: {failed:?}");
    ensure!(report["result"] == "ok", "the result is {}", report["result"]);
    Ok(())
}

/// The device that is swap now has the planned size.
fn zram(vm: &Vm, key: &Path, appliance: &Appliance, ready: &Ready) -> Result<()> {
    let planned = provisioning(appliance, ready)?["memory"]["zram_bytes"].as_u64();
    let planned = planned.context("the report plans no zRAM")?;
    let actual: u64 = vm.ssh(key, "cat /sys/block/zram0/disksize")?.trim().parse()?;
    // zram-generator rounds to whole mebibytes.
    ensure!(planned.abs_diff(actual) <= 1 << 20, "planned {planned} bytes, active {actual}");
    contains(&vm.ssh(key, "cat /proc/swaps")?, "/dev/zram0")
}

fn command_line(vm: &Vm, key: &Path) -> Result<()> {
    vm.ssh(key, "sudo boosterctl status")?;
    let inventory: Value = serde_json::from_str(&vm.ssh(key, "sudo boosterctl --json hardware")?)?;
    ensure!(inventory["board"]["kind"].is_string(), "no board in {inventory}");
    contains(&vm.ssh(key, "sudo boosterctl provisioning")?, "zram")?;
    contains(&vm.ssh(key, "sudo boosterctl ask --model guide 'What is online mode?'")?, "firewall")?;
    contains(&vm.ssh(key, "sudo boosterctl vision selftest")?, "detection works")?;
    let made: Value =
        serde_json::from_str(&vm.ssh(key, "sudo boosterctl --json keys create shell --scope infer")?)?;
    let (id, own) = (made["id"].as_str().context("no id")?, made["key"].as_str().context("no key")?);
    vm.ssh(key, &format!("sudo boosterctl keys revoke {id}"))?;
    // A revoked key opens nothing, not even for root.
    let refused = vm.ssh(key, &format!("sudo boosterctl --api-key {own} models; echo status $?"))?;
    contains(&refused, "status 4")
}

fn firewall(status: &str) -> Result<()> {
    contains(status, "Status: active")?;
    contains(status, "deny (incoming), reject (outgoing)")
        .or_else(|_| contains(status, "deny (incoming), deny (outgoing)"))?;
    for port in ["80/tcp", "443/tcp", "22/tcp"] {
        let allowed = status.lines().any(|line| line.contains(port) && line.contains("ALLOW IN"));
        ensure!(allowed, "{port} is not allowed in:\n{status}");
    }
    Ok(())
}

fn grown(size: &str) -> Result<()> {
    let bytes: u64 = size.trim().parse()?;
    ensure!(bytes > 4 << 30, "/var has {bytes} bytes on a disk of 8 GiB");
    Ok(())
}

fn slot(cmdline: &str) -> Result<()> {
    contains(cmdline, "actionbooster.slot=A")
}

/// Marking happens a moment after everything is healthy.
fn slot_is_good(vm: &mut Vm, key: &Path) -> Result<()> {
    until(vm, |vm| {
        let status = vm.ssh(key, "sudo rauc status --output-format=json")?;
        let status: Value = serde_json::from_str(&status)?;
        let slots = status["slots"].as_array().context("no slots")?;
        let booted = slots
            .iter()
            .flat_map(|slot| slot.as_object().into_iter().flatten().map(|(_, data)| data))
            .find(|data| data["state"] == "booted")
            .context("no booted slot")?;
        ensure!(booted["boot_status"] == "good", "boot status {}", booted["boot_status"]);
        Ok(())
    })
}

fn refused(output: &str) -> Result<()> {
    ensure!(!output.contains("far"), "the connection went through: {output}");
    contains(output, "refused").or_else(|_| contains(output, "prohibited"))
}

fn online(vm: &mut Vm, appliance: &Appliance, ready: &Ready, key: &Path, far: &str) -> Result<()> {
    let credentials = Credentials::Key(ready.api_key.clone().context("no API key")?);
    appliance
        .portal
        .send("PATCH", "/api/v1/settings", Some(&json!({"online": true})), &credentials)?
        .expect(200)?;
    until(vm, |vm| contains(&vm.ssh(key, far)?, "far"))?;
    appliance
        .portal
        .send("PATCH", "/api/v1/settings", Some(&json!({"online": false})), &credentials)?
        .expect(200)?;
    until(vm, |vm| refused(&vm.ssh(key, far)?))
}

/// Repeats a check whose cause takes effect a moment later.
pub(super) fn until(vm: &mut Vm, mut check: impl FnMut(&mut Vm) -> Result<()>) -> Result<()> {
    let started = std::time::Instant::now();
    loop {
        match check(vm) {
            Ok(()) => return Ok(()),
            Err(cause) if started.elapsed() > SETTINGS_LIMIT => return Err(cause),
            Err(_) => vm.alive()?,
        }
        std::thread::sleep(Duration::from_secs(2));
    }
}

fn reboot(vm: &mut Vm, appliance: &Appliance, ready: &Ready) -> Result<()> {
    let key = Credentials::Key(ready.api_key.clone().context("no API key")?);
    let action = json!({"action": "reboot"});
    appliance.portal.post("/api/v1/power", &action, &key)?;
    // The portal goes away before it comes back.
    let started = std::time::Instant::now();
    while appliance.portal.get("/health", &Credentials::None)?.status == 200 {
        vm.alive()?;
        if started.elapsed() > SETTINGS_LIMIT {
            bail!("the box did not begin to reboot");
        }
    }
    Ok(())
}

/// What makes this box this box.
#[derive(PartialEq, Debug)]
struct Identity {
    machine_id: String,
    hostname: String,
    authority: String,
    host_key: String,
}

impl Identity {
    fn read(vm: &Vm, key: &Path) -> Result<Self> {
        let of = |script: &str| vm.ssh(key, script).map(|text| text.trim().to_owned());
        let identity = Self {
            machine_id: of("cat /etc/machine-id")?,
            hostname: of("hostname")?,
            authority: of("sudo sha256sum /var/lib/actionbooster/tls/ca.crt")?,
            host_key: of("cat /var/lib/actionbooster/ssh/*.pub | grep ^ssh- | sha256sum; \
                          sudo cat /var/lib/actionbooster/ssh/ssh_host_ed25519_key.pub")?,
        };
        ensure!(identity.machine_id.len() == 32, "machine id {:?}", identity.machine_id);
        Ok(identity)
    }

    fn same_as(&self, other: &Self) -> Result<()> {
        ensure!(self == other, "was {self:?}, is {other:?}");
        Ok(())
    }
}

/// Overwrites the beginning and the backup superblocks, as a dying SD card might.
fn damage(builder: &Builder, vm: &Vm) -> Result<()> {
    const SECTOR: u64 = 512;
    // A block group of ext4; every backup superblock lies at the beginning of one.
    const GROUP: u64 = 128 << 20;
    const SCRATCH: usize = 1 << 20;
    let raw = vm.folder().join("damaged.raw");
    let raw_inside = builder.inside(&raw)?.display().to_string();
    let disk_inside = builder.inside(&vm.folder().join("disk.qcow2"))?.display().to_string();
    builder.output(&["qemu-img", "convert", "-O", "raw", &disk_inside, &raw_inside])?;
    let table: Value = serde_json::from_str(&builder.output(&["sfdisk", "--json", &raw_inside])?)?;
    let partitions = table["partitiontable"]["partitions"].as_array().context("no partitions")?;
    let data =
        partitions.iter().find(|partition| partition["name"] == "data").context("no data partition")?;
    let bytes = |field: &str| data[field].as_u64().map(|sectors| sectors * SECTOR).context("not a number");
    let (start, size) = (bytes("start")?, bytes("size")?);
    let file = std::fs::OpenOptions::new().write(true).open(&raw)?;
    for group in (0..size).step_by(usize::try_from(GROUP)?) {
        let length = SCRATCH.min(usize::try_from(size - group)?);
        file.write_all_at(&vec![0xa5; length], start + group)?;
    }
    drop(file);
    builder.output(&["qemu-img", "convert", "-O", "qcow2", &raw_inside, &disk_inside])?;
    std::fs::remove_file(raw)?;
    Ok(())
}

fn damaged_page(vm: &mut Vm) -> Result<()> {
    let appliance = vm.reach()?;
    let answer = appliance.portal.get("/", &Credentials::None)?;
    contains(&answer.body.to_lowercase(), "data")?;
    let health = appliance.portal.get("/health", &Credentials::None)?;
    ensure!(health.json()?["status"] == "degraded", "health says {}", health.body);
    Ok(())
}

pub(super) fn contains(text: &str, wanted: &str) -> Result<()> {
    ensure!(text.contains(wanted), "{wanted:?} is not in {text:.600}");
    Ok(())
}

fn no_match(text: &str, unwanted: &str) -> Result<()> {
    let found: Vec<_> = text.lines().filter(|line| line.contains(unwanted)).collect();
    ensure!(found.is_empty(), "{}", found.join("; "));
    Ok(())
}

fn empty(text: &str) -> Result<()> {
    ensure!(text.trim().is_empty(), "{}", text.trim());
    Ok(())
}

fn equal(text: &str, wanted: &str) -> Result<()> {
    ensure!(text.trim() == wanted, "{} instead of {wanted}", text.trim());
    Ok(())
}
