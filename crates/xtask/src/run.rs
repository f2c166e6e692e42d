//! `cargo xtask run` and `cargo xtask vm`: the image in a virtual machine, as a new owner meets it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

use crate::appliance::{Appliance, Ready, Ssh};
use crate::builder::Builder;
use crate::dev::announce;
use crate::http::Credentials;
use crate::progress::step;
use crate::qemu::{BOOT_LIMIT, Forwards, Vm};
use crate::{image, signals};

const FORWARDS: Forwards = Forwards::from(9443);
const QUESTION: &str = "What is online mode?";
const SETTINGS_LIMIT: Duration = Duration::from_secs(180);

/// Arguments of `cargo xtask run`.
#[derive(Args)]
pub struct Arguments {
    /// Power off after the answer instead of staying until interrupted.
    #[arg(long)]
    check: bool,
}

/// Arguments of `cargo xtask vm`.
#[derive(Args)]
pub struct VmArguments {
    /// Write addresses and credentials there, as JSON, when everything answers.
    #[arg(long)]
    ready_file: Option<PathBuf>,
}

/// Builds, boots, claims, asks, prints.
pub fn run(arguments: &Arguments) -> Result<()> {
    signals::hold()?;
    let builder = Builder::ready()?;
    let (mut vm, appliance, ready) = boot(&builder, "run")?;
    eprintln!("▸ asking: {QUESTION}");
    let answer = appliance.ask(&ready, QUESTION)?;
    println!("\n{QUESTION}\n{}\n", answer["summary"]["text"].as_str().unwrap_or_default());
    announce(&ready);
    if !arguments.check {
        println!("\nThe box runs until you press Ctrl-C.");
        signals::wait(|| vm.alive())?;
    }
    switch_off(&mut vm, &appliance, &ready)
}

/// Builds, boots, claims, opens SSH and stays.
pub fn vm(arguments: &VmArguments) -> Result<()> {
    signals::hold()?;
    let builder = Builder::ready()?;
    let (mut vm, appliance, mut ready) = boot(&builder, "vm")?;
    ready.ssh = Some(open_ssh(&builder, &mut vm, &appliance, &ready)?);
    announce(&ready);
    if let Some(ssh) = &ready.ssh {
        println!("shell       ssh -i {} -p {} {}@127.0.0.1", ssh.key.display(), ssh.port, ssh.user);
    }
    if let Some(path) = &arguments.ready_file {
        ready.write(path)?;
    }
    signals::wait(|| vm.alive())?;
    switch_off(&mut vm, &appliance, &ready)
}

fn boot<'a>(builder: &'a Builder, name: &str) -> Result<(Vm<'a>, Appliance<'a>, Ready)> {
    let artifacts = image::build(builder, &image::Options::default())?;
    let mut vm = Vm::create(builder, name, &artifacts.disk, &artifacts.kernel, FORWARDS)?;
    let (appliance, code) = step("booting the image", || {
        vm.power_on()?;
        let appliance = vm.reach()?;
        let code = vm.claim_code()?;
        appliance.wait_healthy(BOOT_LIMIT, || vm.alive())?;
        Ok((appliance, code))
    })?;
    println!("claim code  {code} (used now to claim the box)");
    let ready = step("claiming the box", || appliance.claim(&code))?;
    Ok((vm, appliance, ready))
}

/// Switches the guest off through its own API and waits until it is off.
pub fn switch_off(vm: &mut Vm, appliance: &Appliance, ready: &Ready) -> Result<()> {
    step("powering off", || {
        let key = Credentials::Key(ready.api_key.clone().context("no API key")?);
        appliance.portal.post("/api/v1/power", &json!({"action": "poweroff"}), &key)?;
        vm.wait_off()
    })
}

/// Makes a key pair, gives its public half to the box, and waits until SSH lets us in.
pub fn open_ssh(builder: &Builder, vm: &mut Vm, appliance: &Appliance, ready: &Ready) -> Result<Ssh> {
    let key = vm.folder().join("ssh-key");
    let inside = builder.inside(&key)?.display().to_string();
    builder.output(&["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "xtask", "-f", &inside])?;
    let public = std::fs::read_to_string(key.with_extension("pub"))?;
    let credentials = Credentials::Key(ready.api_key.clone().context("no API key")?);
    let wish = json!({"ssh_keys": [public.trim()]});
    step("opening SSH", || {
        appliance.portal.send("PATCH", "/api/v1/settings", Some(&wish), &credentials)?.expect(200)?;
        wait_ssh(vm, &key)
    })?;
    Ok(Ssh { port: vm.forwards().ssh, user: "owner".into(), key })
}

/// Waits until a shell in the guest answers.
pub fn wait_ssh(vm: &mut Vm, key: &Path) -> Result<()> {
    let started = std::time::Instant::now();
    loop {
        match vm.ssh(key, "true") {
            Ok(_) => return Ok(()),
            Err(cause) if started.elapsed() > SETTINGS_LIMIT => {
                return Err(cause).context("SSH did not open");
            }
            Err(_) => std::thread::sleep(Duration::from_secs(3)),
        }
        vm.alive()?;
    }
}
