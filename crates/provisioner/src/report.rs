//! What the rest of the product reads: `provisioning.json`, `inventory.json`, `provisioned.toml`.

use std::net::IpAddr;

use actionbooster_hardware::Inventory;
use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::decide::{BoardPlan, Firewall, Grant, MemoryPlan, MissingFirmwareAdvice, ModePlan, Plan};
use crate::facts;
use crate::layout::Layout;
use crate::machine::read_small;
use crate::steps::{Certificate, Secrets, Status, StepReport, certificate, is_claimed, protection};
use crate::system::{Access, System};
use crate::text::Text;

const SCHEMA: u32 = 1;

/// `provisioning.json`. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Version of this shape.
    pub schema: u32,
    /// When it was written.
    pub generated_at: Timestamp,
    /// Whether every step could be done.
    pub result: Outcome,
    /// How this machine is used, and why.
    pub mode: ModePlan,
    /// What this machine is.
    pub board: BoardPlan,
    /// Shares of memory.
    pub memory: MemoryPlan,
    /// Names and addresses.
    pub network: NetworkReport,
    /// What may come in and go out.
    pub firewall: Firewall,
    /// The certificate in place.
    pub tls: Option<Certificate>,
    /// What protects the secrets on the disk.
    #[serde(default)]
    pub secrets: Option<Secrets>,
    /// Who may use which accelerator.
    pub accelerators: Vec<Grant>,
    /// Firmware that drivers asked for and did not find.
    pub missing_firmware: Vec<MissingFirmwareAdvice>,
    /// The data partition.
    pub storage: Storage,
    /// Files below `/etc` that hide the slot's own.
    #[serde(default)]
    pub hidden_in_etc: Vec<String>,
    /// Whether the hardware is another than at the last run.
    pub hardware: HardwareReport,
    /// Whether the box has an owner.
    pub claim: Claim,
    /// What was done.
    pub steps: Vec<StepReport>,
}

/// Whether every step could be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Yes.
    Ok,
    /// No; the steps say which.
    Degraded,
}

/// Names and addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkReport {
    /// One DNS label.
    pub hostname: String,
    /// The name on the LAN, as the network finds it at the moment of the report.
    pub mdns_name: String,
    /// The name that it should have and another device on the LAN has.
    #[serde(default)]
    pub taken_name: Option<String>,
    /// Whether connections to the internet are allowed.
    pub online: bool,
    /// Addresses at the moment of the report.
    pub addresses: Vec<IpAddr>,
}

/// The data partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    /// Its state.
    pub data: DataState,
    /// What is wrong with it.
    pub detail: Option<Text>,
    /// Whether all of it is encrypted.
    #[serde(default)]
    pub encrypted: bool,
}

/// State of the data partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataState {
    /// In use.
    Ok,
    /// Left alone; memory stands in for it.
    Damaged,
}

/// Whether the hardware changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardwareReport {
    /// Since the last run.
    pub changed: bool,
    /// What.
    pub changes: Vec<Text>,
}

/// Whether the box has an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// It has.
    pub claimed: bool,
}

/// What a report is made of, beside the plan.
pub struct Findings {
    /// The moment of the run.
    pub now: Timestamp,
    /// Addresses at that moment.
    pub addresses: Vec<IpAddr>,
    /// Why the data partition is not in use.
    pub damage: Option<String>,
    /// Differences of the hardware.
    pub changes: Vec<Text>,
    /// Files below `/etc` that hide the slot's own.
    pub hidden_in_etc: Vec<String>,
    /// What was done.
    pub steps: Vec<StepReport>,
}

impl Report {
    /// Puts a report together.
    pub fn new(plan: &Plan, findings: Findings, layout: &Layout) -> Self {
        let failed = findings.steps.iter().any(|step| step.status == Status::Failed);
        let degraded = failed || findings.damage.is_some();
        let network = &plan.network;
        Self {
            schema: SCHEMA,
            generated_at: findings.now,
            result: if degraded { Outcome::Degraded } else { Outcome::Ok },
            mode: plan.mode.clone(),
            board: plan.board.clone(),
            memory: plan.memory.clone(),
            network: NetworkReport {
                hostname: network.hostname.clone(),
                mdns_name: network.mdns_name.clone(),
                taken_name: None,
                online: network.online,
                addresses: findings.addresses,
            },
            firewall: plan.firewall.clone(),
            tls: certificate(layout),
            secrets: protection(layout),
            accelerators: plan.accelerators.clone(),
            missing_firmware: plan.missing_firmware.clone(),
            storage: storage(findings.damage, facts::data_is_encrypted(layout)),
            hidden_in_etc: findings.hidden_in_etc,
            hardware: HardwareReport { changed: !findings.changes.is_empty(), changes: findings.changes },
            claim: Claim { claimed: is_claimed(layout) },
            steps: findings.steps,
        }
    }

    /// The report of the last `apply`.
    pub fn read(layout: &Layout) -> Result<Self> {
        let path = layout.run("provisioning.json");
        let text =
            read_small(&path).with_context(|| format!("cannot read {}", path.display()))?.with_context(
                || format!("{} is missing; run `booster-provisioner apply` first", path.display()),
            )?;
        serde_json::from_slice(&text).with_context(|| format!("{} is not a report", path.display()))
    }

    /// Puts the report in place.
    pub fn write(&self, layout: &Layout, system: &dyn System) -> Result<()> {
        write_json(layout, system, "provisioning.json", self)
    }
}

fn storage(damage: Option<String>, encrypted: bool) -> Storage {
    let Some(reason) = damage else { return Storage { data: DataState::Ok, detail: None, encrypted } };
    let detail = Text::new(
        format!(
            "The data partition cannot be used ({reason}). It was left as it is; the box runs on memory, and what is changed now is lost when it restarts."
        ),
        format!(
            "La partición de datos no se puede usar ({reason}). Se dejó como está; el equipo funciona en memoria y lo que se cambie ahora se pierde al reiniciar."
        ),
    );
    Storage { data: DataState::Damaged, detail: Some(detail), encrypted }
}

/// Writes the inventory for the portal.
pub fn write_inventory(inventory: &Inventory, layout: &Layout, system: &dyn System) -> Result<()> {
    write_json(layout, system, "inventory.json", inventory)
}

#[derive(Serialize)]
struct Provisioned<'a> {
    agent: ProvisionedAgent,
    runner: ProvisionedCpus<'a>,
    worker: ProvisionedCpus<'a>,
}

#[derive(Serialize)]
struct ProvisionedAgent {
    model_budget_bytes: u64,
}

#[derive(Serialize)]
struct ProvisionedCpus<'a> {
    threads: u32,
    cpus: &'a str,
}

/// Writes the settings that the daemons read.
pub fn write_provisioned(plan: &Plan, layout: &Layout, system: &dyn System) -> Result<()> {
    let text = toml::to_string(&Provisioned {
        agent: ProvisionedAgent { model_budget_bytes: plan.memory.model_budget_bytes },
        runner: ProvisionedCpus { threads: plan.runner.threads, cpus: &plan.runner.cpus },
        worker: ProvisionedCpus { threads: plan.worker.threads, cpus: &plan.worker.cpus },
    })?;
    let path = layout.run("provisioned.toml");
    system
        .replace(&path, text.as_bytes(), Access::PUBLIC)
        .with_context(|| format!("cannot write {}", path.display()))
}

fn write_json(layout: &Layout, system: &dyn System, name: &str, value: &impl Serialize) -> Result<()> {
    let path = layout.run(name);
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    system.replace(&path, &text, Access::PUBLIC).with_context(|| format!("cannot write {}", path.display()))
}
