//! `cargo xtask dev`: the daemons and nginx on this host, under a state folder of their own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::appliance::{Appliance, Ports, Ready};
use crate::builder::Builder;
use crate::progress::{human, step, tail};
use crate::{payload, signals};

/// How long everything may take to answer.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long a program may take to end after SIGTERM.
const STOP_LIMIT: Duration = Duration::from_secs(25);

/// Arguments of `cargo xtask dev`.
#[derive(Args)]
pub struct Arguments {
    /// Write addresses and credentials there, as JSON, when everything answers.
    #[arg(long)]
    ready_file: Option<PathBuf>,
    /// Leave the box unclaimed, to try the first visit.
    #[arg(long)]
    unclaimed: bool,
    /// Port of the portal.
    #[arg(long, default_value_t = 8443)]
    https_port: u16,
    /// Port of the plain page that hands out the authority's certificate.
    #[arg(long, default_value_t = 8480)]
    http_port: u16,
    /// Port of the worker (`ai.proto`).
    #[arg(long, default_value_t = 7001)]
    worker_port: u16,
}

/// Runs the daemons until interrupted.
pub fn run(arguments: &Arguments) -> Result<()> {
    signals::hold()?;
    let builder = Builder::ready()?;
    payload::compile(&builder)?;
    payload::build_portal(&builder)?;
    let ports =
        Ports { https: arguments.https_port, http: arguments.http_port, worker: Some(arguments.worker_port) };
    let mut session = Session::start(&builder, ports)?;
    let code = session.claim_code()?;
    let appliance = session.reach()?;
    let ready = if arguments.unclaimed { appliance.unclaimed(&code) } else { appliance.claim(&code)? };
    announce(&ready);
    if let Some(path) = &arguments.ready_file {
        ready.write(path)?;
    }
    signals::wait(|| session.alive())?;
    drop(appliance);
    session.stop()
}

/// Prints how to reach a running appliance.
pub fn announce(ready: &Ready) {
    println!("portal      {}", ready.base_url);
    println!("authority   {}", ready.ca_cert.display());
    if let Some(code) = &ready.claim_code {
        println!("claim code  {code}");
    }
    if let Some(owner) = &ready.owner {
        println!("owner       {}  password {}", owner.name, owner.password);
    }
    if let Some(key) = &ready.api_key {
        println!("API key     {key}");
    }
}

/// Programs that run, in the order they were started.
pub struct Session<'a> {
    builder: &'a Builder,
    folder: PathBuf,
    ports: Ports,
    running: Vec<Running>,
}

struct Running {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl<'a> Session<'a> {
    /// Lays out a fresh root, provisions it and starts the programs.
    pub fn start(builder: &'a Builder, ports: Ports) -> Result<Self> {
        Self::start_with(builder, ports, |_| Ok(()))
    }

    /// The same, with `prepare` given the root before anything of it is read.
    pub fn start_with(
        builder: &'a Builder,
        ports: Ports,
        prepare: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Self> {
        let folder = builder.cache().join(format!("dev-{}", std::process::id()));
        let mut session = Self { builder, folder, ports, running: Vec::new() };
        step("laying out the state folder", || session.lay_out())?;
        prepare(&session.root())?;
        session.provision(&["apply"])?;
        session.provision(&["announce"])?;
        session.spawn("booster-monitor", &[])?;
        session.spawn("booster-agent", &[])?;
        session.spawn("booster-worker", &[])?;
        let configuration = session.inside("etc/nginx/nginx.conf")?;
        session.spawn_program(
            "nginx",
            &["/usr/sbin/nginx", "-e", "stderr", "-g", "daemon off;", "-c", &configuration],
        )?;
        Ok(session)
    }

    /// Waits until the portal answers and every part is healthy.
    pub fn reach(&mut self) -> Result<Appliance<'a>> {
        let started = Instant::now();
        let (builder, ports, folder) = (self.builder, self.ports, self.folder.clone());
        let appliance = Appliance::reach(builder, ports, &folder, START_LIMIT, || self.alive())?;
        appliance.wait_healthy(START_LIMIT, || self.alive())?;
        eprintln!("✓ everything answers ({})", human(started.elapsed()));
        Ok(appliance)
    }

    /// The code that claims this box.
    pub fn claim_code(&self) -> Result<String> {
        let path = self.folder.join("root/var/lib/actionbooster/auth/claim-code");
        let code =
            fs::read_to_string(&path).with_context(|| format!("no claim code in {}", path.display()))?;
        Ok(code.trim().to_owned())
    }

    /// Fails when a program has ended, with the end of its log.
    pub fn alive(&mut self) -> Result<()> {
        for running in &mut self.running {
            if let Some(status) = running.child.try_wait()? {
                bail!("{} ended ({status}):\n{}", running.name, tail(&running.log));
            }
        }
        Ok(())
    }

    /// The product's own daemons that run, with their pids.
    pub fn daemons(&self) -> Vec<(&'static str, u32)> {
        let ours = self.running.iter().filter(|running| running.name.starts_with("booster-"));
        ours.map(|running| (running.name, running.child.id())).collect()
    }

    /// The socket of a daemon, on the host.
    pub fn socket(&self, daemon: &str) -> PathBuf {
        self.root().join(format!("run/actionbooster/{daemon}.sock"))
    }

    /// Ends the programs, last started first, and removes the state folder.
    pub fn stop(mut self) -> Result<()> {
        self.end_programs()?;
        fs::remove_dir_all(&self.folder).with_context(|| format!("cannot remove {}", self.folder.display()))
    }

    fn end_programs(&mut self) -> Result<()> {
        let mut stubborn = Vec::new();
        for mut running in self.running.drain(..).rev() {
            let pid = Pid::from_raw(i32::try_from(running.child.id())?);
            if running.child.try_wait()?.is_some() {
                continue;
            }
            kill(pid, Signal::SIGTERM)?;
            let started = Instant::now();
            while running.child.try_wait()?.is_none() {
                if started.elapsed() > STOP_LIMIT {
                    running.child.kill()?;
                    running.child.wait()?;
                    stubborn.push(running.name);
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        if !stubborn.is_empty() {
            bail!("{} did not end within {STOP_LIMIT:?} after SIGTERM", stubborn.join(" and "));
        }
        Ok(())
    }

    fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    fn inside(&self, below_root: &str) -> Result<String> {
        Ok(self.builder.inside(&self.root().join(below_root))?.display().to_string())
    }

    fn lay_out(&self) -> Result<()> {
        let root = self.root();
        payload::install(self.builder, &root)?;
        payload::render_nginx(self.builder, &payload::NginxSite::dev(&self.inside("")?, self.ports), &root)?;
        let folders =
            ["run/actionbooster/runners", "var/lib/actionbooster/auth", "var/log/nginx", "etc/actionbooster"];
        for folder in folders {
            fs::create_dir_all(root.join(folder))?;
        }
        if let Some(port) = self.ports.worker {
            let text = format!("listen = \"127.0.0.1:{port}\"\n");
            fs::write(root.join("etc/actionbooster/worker.toml"), text)?;
            let text = format!("[cameras]\nworker = \"127.0.0.1:{port}\"\n");
            fs::write(root.join("etc/actionbooster/agent.toml"), text)?;
        }
        // nginx's workers are not root and must reach the sockets and the portal.
        fs::set_permissions(&self.folder, fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    fn provision(&self, arguments: &[&str]) -> Result<()> {
        let program = self.inside("usr/bin/booster-provisioner")?;
        let root = self.inside("")?;
        let mut argv = vec![program.as_str()];
        argv.extend(arguments);
        argv.extend(["--root", root.as_str()]);
        let label = format!("booster-provisioner {}", arguments.join(" "));
        self.builder.run(&label, &format!("dev-provisioner-{}", arguments.join("-")), &argv)
    }

    fn spawn(&mut self, program: &'static str, arguments: &[&str]) -> Result<()> {
        let path = self.inside(&format!("usr/bin/{program}"))?;
        let mut argv = vec![path.as_str()];
        argv.extend(arguments);
        self.spawn_program(program, &argv)
    }

    fn spawn_program(&mut self, name: &'static str, argv: &[&str]) -> Result<()> {
        let log = self.builder.log(&format!("dev-{name}"));
        let file = create_log(&log)?;
        let root = format!("ACTIONBOOSTER_ROOT={}", self.inside("")?);
        // Programs end with this one, however it ends.
        let mut whole = vec!["setpriv", "--pdeathsig", "TERM", "--", "env", root.as_str()];
        whole.extend(argv);
        let mut command = self.builder.command(&whole);
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        self.running.push(Running { name, child, log });
        Ok(())
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if let Err(cause) = self.end_programs() {
            eprintln!("  {cause:#}");
        }
    }
}

fn create_log(path: &Path) -> Result<fs::File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::File::create(path).with_context(|| format!("cannot create the log {}", path.display()))
}
