//! The three commands.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use actionbooster_hardware::Inventory;
use actionbooster_settings::Hostname;
use anyhow::{Context as _, Result};
use jiff::Timestamp;
use nix::fcntl::{Flock, FlockArg};
use serde::Serialize;

use crate::clock;
use crate::console;
use crate::data::Data;
use crate::decide::{Action, Plan, Remembered, changes, decide, tls_names};
use crate::dry_run::DryRun;
use crate::facts::{self, Clock};
use crate::last_run::{self, LastRun};
use crate::layout::Layout;
use crate::machine::{Machine, read_small};
use crate::overlay;
use crate::report::{self, Findings, Outcome, Report};
use crate::steps::{self, Context, Status, StepReport};
use crate::system::{Access, System};
use crate::text::Text;

/// What the consoles show; its presence says that `announce` has run since the system started.
const CONSOLE_PAGE: &str = "console.txt";

/// The outside world of one run, so that tests can hand in another.
pub struct World<'a> {
    /// Where everything is.
    pub layout: &'a Layout,
    /// The machine.
    pub system: &'a dyn System,
    /// What this machine is.
    pub inventory: &'a Inventory,
    /// The product's rules.
    pub data: &'a Data,
    /// The moment.
    pub now: Timestamp,
    /// Addresses at this moment.
    pub addresses: Vec<IpAddr>,
}

/// `booster-provisioner plan`: what would be done and why; changes nothing.
pub fn plan(root: &Path, json: bool) -> Result<String> {
    let layout = Layout::new(root);
    let machine = Machine::new(root);
    let (inventory, data) = read(&layout)?;
    let world = World {
        layout: &layout,
        system: &DryRun(&machine),
        inventory: &inventory,
        data: &data,
        now: facts::now(),
        addresses: facts::addresses(),
    };
    let Provisioned { plan, steps, changes, .. } = provision(&world)?;
    if json {
        let planned = Planned { plan: &plan, hardware_changes: &changes, steps: &steps };
        return Ok(serde_json::to_string_pretty(&planned)? + "\n");
    }
    Ok(plan_text(&plan, &changes, &steps))
}

/// `booster-provisioner apply`: does what is not so yet, and reports.
pub fn apply(root: &Path, json: bool) -> Result<String> {
    let layout = Layout::new(root);
    let machine = Machine::new(root);
    let _lock = lock(&layout)?;
    let (inventory, data) = read(&layout)?;
    clock::judge(&layout, &machine)?;
    let world = World {
        layout: &layout,
        system: &machine,
        inventory: &inventory,
        data: &data,
        now: facts::now(),
        addresses: facts::addresses(),
    };
    let mut report = apply_in(&world)?;
    // Names and addresses on the consoles must follow the owner's settings. At boot there is no
    // network yet, and `announce` comes by itself.
    if layout.run(CONSOLE_PAGE).exists() {
        let page;
        let name = published_name(&machine);
        (report, page) = announce_in(&layout, &machine, world.now, &world.addresses, name.as_ref())?;
        if let Some(page) = page {
            console::show(&page, &layout);
        }
    }
    if json {
        return Ok(serde_json::to_string_pretty(&report)? + "\n");
    }
    let mut text = steps_text(&report.steps);
    _ = writeln!(text, "{}: {:?}", report.mode.title.en, report.result);
    Ok(text)
}

/// `apply` in a given world.
pub fn apply_in(world: &World) -> Result<Report> {
    let (layout, system) = (world.layout, world.system);
    // Before anything of it is read.
    let migrated = steps::migrate(layout);
    let Provisioned { plan, own_name, mut steps, changes } = provision(world)?;
    steps.insert(0, migrated);
    let run = LastRun { hardware: Remembered::of(world.inventory), own_name: Some(own_name.to_string()) };
    // A name for want of an identity is not for ever.
    let remembered = facts::machine_id(layout).map_or(Ok(()), |_| last_run::write(&run, layout, system));
    let writes = [
        ("settings for daemons", report::write_provisioned(&plan, layout, system)),
        ("inventory", report::write_inventory(world.inventory, layout, system)),
        ("memory of the hardware", remembered),
    ];
    for (name, written) in writes {
        if let Err(error) = written {
            steps.push(StepReport {
                name: name.into(),
                status: Status::Failed,
                detail: format!("{error:#}"),
            });
        }
    }
    let findings = Findings {
        now: world.now,
        addresses: world.addresses.clone(),
        damage: facts::data_damage(layout),
        changes,
        hidden_in_etc: overlay::hidden(layout),
        steps,
    };
    let report = Report::new(&plan, findings, layout);
    report.write(layout, system)?;
    Ok(report)
}

/// `booster-provisioner announce`: the certificate for the addresses of now, and the way to the
/// portal on every console.
pub fn announce(root: &Path, json: bool) -> Result<String> {
    let layout = Layout::new(root);
    let machine = Machine::new(root);
    let _lock = lock(&layout)?;
    let name = published_name(&machine);
    let mut clock = Clock::read();
    let report = loop {
        let (report, page) = announce_in(&layout, &machine, clock.now(), &facts::addresses(), name.as_ref())?;
        if let Some(page) = page {
            console::show(&page, &layout);
        }
        // A jump while this runs does not start it again: systemd finds it started already.
        let after = Clock::read();
        if !after.jumped_since(&clock) {
            break report;
        }
        clock = after;
    };
    if json {
        return Ok(serde_json::to_string_pretty(&report)? + "\n");
    }
    let addresses: Vec<_> = report.network.addresses.iter().map(ToString::to_string).collect();
    Ok(format!("{} at {}\n", report.network.mdns_name, addresses.join(", ")))
}

/// `booster-provisioner clock`: sets the clock if the owner asked for it, and keeps the last known time.
pub fn tend_clock(root: &Path) -> Result<String> {
    let machine = Machine::new(root);
    anyhow::ensure!(machine.is_running(), "only the running system's own clock is tended");
    clock::tend(&Layout::new(root), &machine)
}

fn published_name(machine: &Machine) -> Option<Hostname> {
    machine.is_running().then(facts::published_name).flatten()
}

/// `announce` on a given machine: the new report, and the consoles' text if it is a new one.
///
/// The hardware is not read again; what `apply` reported holds. `published` is the name that the
/// network finds, where that is known.
pub fn announce_in(
    layout: &Layout,
    system: &dyn System,
    now: Timestamp,
    addresses: &[IpAddr],
    published: Option<&Hostname>,
) -> Result<(Report, Option<String>)> {
    let before = Report::read(layout)?;
    let mut report = before.clone();
    let context = Context::new(layout, system, now, addresses);
    let hostname = before.network.hostname.as_str();
    // Anything else is a name that the box had a moment ago.
    let published = published.map(Hostname::as_str).filter(|name| stem(name) == stem(hostname));
    let published = published.unwrap_or(hostname);
    let step = steps::announce(&tls_names(hostname, published), &context);
    report.network.addresses = addresses.to_vec();
    report.network.mdns_name = format!("{published}.local");
    report.network.taken_name = (published != hostname).then(|| format!("{hostname}.local"));
    report.tls = steps::certificate(layout);
    report.claim.claimed = steps::is_claimed(layout);
    if step.status == Status::Failed {
        report.result = Outcome::Degraded;
    }
    if step.status != Status::Unchanged {
        report.steps.retain(|other| other.name != step.name);
        report.steps.push(step);
    }
    if report != before {
        report.generated_at = now;
        report.write(layout, system)?;
    }
    let page = console::page(&report, steps::claim_code(layout).as_deref());
    let path = layout.run(CONSOLE_PAGE);
    if read_small(&path)?.as_deref() == Some(page.as_bytes()) {
        return Ok((report, None));
    }
    system.replace(&path, page.as_bytes(), Access::SECRET).context("cannot write console.txt")?;
    Ok((report, Some(page)))
}

/// A name without the number at its end, which systemd-resolved adds or raises where it is taken.
fn stem(name: &str) -> &str {
    name.trim_end_matches(|letter: char| letter.is_ascii_digit())
}

fn read(layout: &Layout) -> Result<(Inventory, Data)> {
    let inventory = facts::inventory(layout)?;
    let data = Data::read(&layout.vendor()).context("the product's own rules cannot be used")?;
    Ok((inventory, data))
}

/// `apply` and `announce` write the same files and may be started at the same time.
fn lock(layout: &Layout) -> Result<Flock<std::fs::File>> {
    let path = layout.run("provisioner.lock");
    std::fs::create_dir_all(layout.run("")).context("cannot make the runtime folder")?;
    let file = std::fs::File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, error)| error)
        .with_context(|| format!("cannot lock {}", path.display()))
}

/// What was decided and done.
struct Provisioned {
    plan: Plan,
    own_name: Hostname,
    steps: Vec<StepReport>,
    changes: Vec<Text>,
}

fn provision(world: &World) -> Result<Provisioned> {
    let layout = world.layout;
    let context = Context::new(layout, world.system, world.now, &world.addresses);
    let found = facts::settings(layout);
    let mut steps = vec![steps::keep_settings(&found, &context), steps::identify(&context)];
    let last = last_run::read(layout);
    let own_name = facts::own_name(last.as_ref(), facts::machine_id(layout).as_deref())?;
    let plan = decide(world.inventory, &found.settings, world.data, &facts::groups(layout), &own_name);
    steps.extend(steps::apply(&plan, &context));
    let now = Remembered::of(world.inventory);
    let changes = last.map_or_else(Vec::new, |last| changes(&last.hardware, &now));
    Ok(Provisioned { plan, own_name, steps, changes })
}

#[derive(Serialize)]
struct Planned<'a> {
    plan: &'a Plan,
    hardware_changes: &'a [Text],
    steps: &'a [StepReport],
}

fn plan_text(plan: &Plan, changes: &[Text], steps: &[StepReport]) -> String {
    let mut text = format!("{} ({})\n", plan.mode.title.en, plan.board.name);
    let reasons = plan.mode.reasons.iter().chain(&plan.board.notes).chain(changes);
    let mut line = |line: String| {
        text.push_str("  ");
        text.push_str(&line);
        text.push('\n');
    };
    reasons.for_each(|reason| line(reason.en.clone()));
    let mib = |bytes: u64| bytes >> 20;
    let memory = &plan.memory;
    line(format!(
        "memory      {} MiB, zRAM {} MiB, swappiness {}",
        mib(memory.total_bytes),
        mib(memory.zram_bytes),
        memory.swappiness
    ));
    line(format!(
        "models      {} MiB, {} threads on CPUs {}",
        mib(memory.model_budget_bytes),
        plan.runner.threads,
        plan.runner.cpus
    ));
    let places =
        if plan.worker.cpus.is_empty() { "any CPU".into() } else { format!("CPUs {}", plan.worker.cpus) };
    line(format!("detection   {} threads on {places}", plan.worker.threads));
    for (daemon, bytes) in &memory.daemon_limits {
        line(format!("limit       {daemon} {} MiB", mib(*bytes)));
    }
    for grant in &plan.accelerators {
        line(format!("device      {} ({}) for {}", grant.device, grant.name, grant.given_to.join(", ")));
    }
    line(format!("name        {}", plan.network.mdns_name));
    for rule in &plan.firewall.incoming {
        let port = rule.port.map_or_else(|| "any port".into(), |port| format!("port {port}"));
        line(format!("allow in    {port} ({})", rule.comment));
    }
    for rule in plan.firewall.outgoing.iter().filter(|rule| rule.action == Action::Allow) {
        line(format!("allow out   {} ({})", rule.to.as_deref().unwrap_or("anywhere"), rule.comment));
    }
    for missing in &plan.missing_firmware {
        line(format!("firmware    {}", missing.advice.en));
    }
    text + &steps_text(steps)
}

fn steps_text(steps: &[StepReport]) -> String {
    let mut text = String::new();
    for step in steps {
        let status = match step.status {
            Status::Unchanged => "as it should be",
            Status::Applied => "changed",
            Status::Failed => "FAILED",
            Status::Skipped => "skipped",
        };
        let separator = if step.detail.is_empty() { "" } else { ": " };
        _ = writeln!(text, "{:<12}{status}{separator}{}", step.name, step.detail);
    }
    text
}
