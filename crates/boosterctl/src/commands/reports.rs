//! What the box reports about itself: hardware, provisioning, models.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::client::{Client, Daemon};
use crate::errors::Usage;
use crate::table::{bytes, cell, pairs, plain, show, table};

/// The inventory the provisioner wrote.
pub async fn hardware(client: &Client, json: bool) -> Result<()> {
    let inventory = client.get(Daemon::Monitor, "/api/v1/hardware").await?;
    show(&inventory, json, machine);
    Ok(())
}

/// The inventory of now, read by this program.
pub fn scan(client: &Client, json: bool) -> Result<()> {
    let root = client.root().ok_or_else(|| Usage("only this machine can be looked at with --scan".into()))?;
    // `dev` puts the product's files below a folder and leaves the machine where it is.
    let root = if root.join("proc").exists() { root } else { Path::new("/") };
    let survey = actionbooster_hardware::survey(root).context("cannot read what this machine is")?;
    for warning in &survey.warnings {
        eprintln!("boosterctl: {}", plain(warning));
    }
    show(&json!(survey.inventory), json, machine);
    Ok(())
}

/// The provisioner's report.
pub async fn provisioning(client: &Client, json: bool) -> Result<()> {
    let report = client.get(Daemon::Monitor, "/api/v1/provisioning").await?;
    show(&report, json, provisioned);
    Ok(())
}

/// The models of the store.
pub async fn models(client: &Client, json: bool) -> Result<()> {
    let answer = client.get(Daemon::Agent, "/api/v1/models").await?;
    show(&answer, json, shelf);
    Ok(())
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn machine(inventory: &Value) -> String {
    let (board, cpu) = (&inventory["board"], &inventory["cpu"]);
    let features = cpu["features"].as_object().into_iter().flatten();
    let features: Vec<&str> =
        features.filter(|(_, has)| **has == true).map(|(name, _)| name.as_str()).collect();
    let mut text = pairs(&[
        ("board", format!("{} ({})", cell(&board["name"]), cell(&board["kind"]))),
        ("processor", format!("{}, {} threads", cell(&cpu["model"]), cell(&cpu["logical_cpus"]))),
        ("features", features.join(" ")),
        ("memory", bytes(&inventory["memory"]["total_bytes"])),
        ("kvm", if inventory["kvm"] == true { "yes".into() } else { "no".into() }),
        ("tpm", cell(&inventory["tpm"]["device_node"])),
    ]);
    let or_none = |value: &Value| if value.is_null() { "none".to_owned() } else { cell(value) };
    let accelerator = |kind: &str, item: &Value, node: &str| {
        vec![kind.to_owned(), cell(&item["name"]), or_none(&item["driver"]), or_none(&item[node])]
    };
    let mut rows: Vec<Vec<String>> = Vec::new();
    rows.extend(list(&inventory["npus"]).iter().map(|npu| accelerator("npu", npu, "device_node")));
    rows.extend(list(&inventory["gpus"]).iter().map(|gpu| accelerator("gpu", gpu, "render_node")));
    section(&mut text, &["KIND", "ACCELERATOR", "DRIVER", "NODE"], &rows);
    let disk = |disk: &Value| {
        let notes = [("system", "system"), ("removable", "removable")];
        let notes: Vec<&str> =
            notes.iter().filter(|(field, _)| disk[*field] == true).map(|(_, note)| *note).collect();
        vec![
            cell(&disk["device_node"]),
            cell(&disk["bus"]),
            bytes(&disk["size_bytes"]),
            cell(&disk["model"]),
            notes.join(", "),
        ]
    };
    section(&mut text, &["DISK", "BUS", "SIZE", "MODEL", "NOTE"], &rows_of(&inventory["disks"], disk));
    let interface = |interface: &Value| {
        let speed = cell(&interface["speed_mbps"]);
        let speed = if speed.is_empty() { speed } else { format!("{speed} Mbit/s") };
        vec![cell(&interface["name"]), cell(&interface["kind"]), cell(&interface["mac"]), speed]
    };
    section(
        &mut text,
        &["INTERFACE", "KIND", "ADDRESS", "SPEED"],
        &rows_of(&inventory["interfaces"], interface),
    );
    let camera = |camera: &Value| vec![cell(&camera["device_node"]), cell(&camera["name"])];
    section(&mut text, &["CAMERA", "NAME"], &rows_of(&inventory["cameras"], camera));
    let firmware = |entry: &Value| ["file", "driver", "device"].map(|field| cell(&entry[field])).to_vec();
    section(
        &mut text,
        &["MISSING FIRMWARE", "DRIVER", "DEVICE"],
        &rows_of(&inventory["missing_firmware"], firmware),
    );
    text
}

/// A hash as pairs of digits, as certificate viewers show it.
fn fingerprint(hash: &Value) -> String {
    let digits: Vec<char> = cell(hash).to_uppercase().chars().collect();
    let pairs: Vec<String> = digits.chunks(2).map(|pair| pair.iter().collect()).collect();
    pairs.join(":")
}

/// What protects the secrets on the disk.
fn secrets(secrets: &Value) -> String {
    let protection = match secrets["bound_to"].as_str() {
        Some("tpm") => "sealed by the TPM",
        Some(_) => "sealed; the key lies on the disk",
        None => return String::new(),
    };
    match secrets["closed"].as_u64() {
        Some(closed @ 1..) => format!("{protection}; older keys that the TPM does not open: {closed}"),
        _ => protection.to_owned(),
    }
}

fn provisioned(report: &Value) -> String {
    let (mode, network, memory) = (&report["mode"], &report["network"], &report["memory"]);
    let mut text = pairs(&[
        ("result", cell(&report["result"])),
        ("mode", format!("{} ({})", cell(&mode["title"]["en"]), cell(&mode["name"]))),
        ("name", cell(&network["mdns_name"])),
        ("addresses", cell(&network["addresses"])),
        ("internet", if network["online"] == true { "allowed".into() } else { "denied".into() }),
        ("memory", bytes(&memory["total_bytes"])),
        ("zram", bytes(&memory["zram_bytes"])),
        ("for models", bytes(&memory["model_budget_bytes"])),
        ("data", cell(&report["storage"]["data"])),
        ("claimed", cell(&report["claim"]["claimed"])),
        ("authority", fingerprint(&report["tls"]["ca_sha256"])),
        ("its next", fingerprint(&report["tls"]["next"]["sha256"])),
        ("disk", if report["storage"]["encrypted"] == true { "encrypted" } else { "not encrypted" }.into()),
        ("secrets", secrets(&report["secrets"])),
    ]);
    text.push_str("\nwhy this mode\n");
    for reason in list(&mode["reasons"]) {
        // Writing to a string cannot fail.
        _ = writeln!(text, "  {}", plain(&cell(&reason["en"])));
    }
    let firmware = |entry: &Value| vec![cell(&entry["file"]), cell(&entry["advice"]["en"])];
    section(&mut text, &["MISSING FIRMWARE", "WHAT TO DO"], &rows_of(&report["missing_firmware"], firmware));
    let hidden = |path: &Value| vec![format!("/etc/{}", cell(path))];
    section(
        &mut text,
        &["CHANGED ON THE BOX, SO NOT AS THIS VERSION HAS IT"],
        &rows_of(&report["hidden_in_etc"], hidden),
    );
    let step = |step: &Value| ["name", "status", "detail"].map(|field| cell(&step[field])).to_vec();
    section(&mut text, &["STEP", "STATE", "DETAIL"], &rows_of(&report["steps"], step));
    text
}

fn shelf(answer: &Value) -> String {
    let model = |model: &Value| {
        vec![
            cell(&model["id"]),
            cell(&model["state"]),
            bytes(&model["size_bytes"]),
            cell(&model["languages"]),
            cell(&model["roles"]),
            cell(&model["licence"]),
            cell(&model["name"]),
        ]
    };
    let head = ["ID", "STATE", "SIZE", "LANGUAGES", "ROLES", "LICENCE", "NAME"];
    let mut text = table(&head, &rows_of(&answer["models"], model));
    for error in list(&answer["errors"]) {
        _ = writeln!(text, "{}", plain(&cell(error)));
    }
    text
}

fn rows_of(items: &Value, row: impl Fn(&Value) -> Vec<String>) -> Vec<Vec<String>> {
    list(items).iter().map(row).collect()
}

fn section(text: &mut String, head: &[&str], rows: &[Vec<String>]) {
    if !rows.is_empty() {
        text.push('\n');
        text.push_str(&table(head, rows));
    }
}
