//! What every console shows: where the portal is, and how to claim the box.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;

use actionbooster_settings::claim_code;
use nix::fcntl::OFlag;

use crate::layout::Layout;
use crate::report::{DataState, Report};

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Pairs of digits of a fingerprint in one line.
const PAIRS: usize = 16;

/// The text of the consoles, Spanish beside English.
pub fn page(report: &Report, claim_code: Option<&str>) -> String {
    let network = &report.network;
    let mut hosts = vec![network.mdns_name.clone()];
    hosts.extend(certified(report).into_iter().map(|address| match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }));
    let mut page = format!("\nActionBooster {VERSION}\n\n");
    for (index, host) in hosts.iter().enumerate() {
        row(&mut page, if index == 0 { "Portal" } else { "" }, &format!("https://{host}"));
    }
    if network.addresses.is_empty() {
        row(&mut page, "", "(no network yet / sin red todavía)");
    }
    if let Some(taken) = &network.taken_name {
        row(&mut page, "", &format!("(another device is called {taken} / otro equipo se llama {taken})"));
    }
    row(&mut page, "Trust / Confianza", &format!("http://{}/ca", network.mdns_name));
    if let Some(tls) = &report.tls {
        fingerprint(&mut page, "Fingerprint / Huella", &tls.ca_sha256);
        if let Some(next) = &tls.next {
            fingerprint(&mut page, "Next / Siguiente", &next.sha256);
        }
    }
    row(&mut page, "Mode / Modo", report.mode.name.as_str());
    if let Some(code) = claim_code {
        row(&mut page, "Claim code / Código", &claim_code::shown(code));
    }
    if report.storage.data == DataState::Damaged {
        let detail = report.storage.detail.as_ref();
        page.push_str(&detail.map_or_else(String::new, |text| format!("\n{}\n{}\n", text.en, text.es)));
    }
    page.push('\n');
    page
}

fn row(page: &mut String, name: &str, value: &str) {
    // Writing to a string cannot fail.
    _ = writeln!(page, "  {name:<20} {value}");
}

/// The addresses that the certificate is for; those of the internet cannot be among them, and are shown
/// where there is no other.
fn certified(report: &Report) -> Vec<IpAddr> {
    let names = report.tls.as_ref().map(|tls| &tls.names[..]).unwrap_or_default();
    let all = &report.network.addresses;
    let covered: Vec<_> =
        all.iter().filter(|address| names.contains(&address.to_string())).copied().collect();
    if covered.is_empty() { all.clone() } else { covered }
}

/// SHA-256 as certificate viewers show it, in lines that fit on a screen.
fn fingerprint(page: &mut String, name: &str, sha256: &str) {
    let digits: Vec<char> = sha256.to_uppercase().chars().collect();
    let pairs: Vec<String> = digits.chunks(2).map(|pair| pair.iter().collect()).collect();
    for (index, line) in pairs.chunks(PAIRS).enumerate() {
        row(page, if index == 0 { name } else { "" }, &line.join(":"));
    }
}

/// Shows the text on every console of the kernel. A console that does not take it is no fault:
/// the serial port of a box without a cable never does.
pub fn show(page: &str, layout: &Layout) -> Vec<String> {
    let active = fs::read_to_string(layout.at("sys/class/tty/console/active")).unwrap_or_default();
    let mut shown = Vec::new();
    for name in active.split_whitespace().filter(|name| is_tty(name)) {
        let flags = OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
        let path = layout.at("dev").join(name);
        let Ok(mut tty) = OpenOptions::new().write(true).custom_flags(flags.bits()).open(path) else {
            continue;
        };
        // A serial line turns no line feed into a new line by itself when another program left it raw.
        if tty.write_all(page.replace('\n', "\r\n").as_bytes()).is_ok() {
            shown.push(name.to_owned());
        }
    }
    shown
}

fn is_tty(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}
