//! Firmware that drivers asked for and did not find.
//!
//! The kernel keeps no list of these; its log is the only place that tells. (`/sys/class/firmware`
//! exists only while a helper is waited for.)

use crate::inventory::MissingFirmware;
use crate::tree::{Tree, clean};

/// `ENOENT`, the only failure that another file mends.
const NO_SUCH_FILE: &str = "-2";

/// The kernel's log below a root. A plain file there replays one.
pub fn kernel_log(tree: &Tree) -> String {
    tree.lines("dev/kmsg")
}

/// The files that are missing by the records of `/dev/kmsg`, in the order they were asked for.
///
/// The phrases are those of `drivers/base/firmware_loader/main.c` and of Debian's patch to it.
pub fn missing(log: &str) -> Vec<MissingFirmware> {
    let mut found: Vec<MissingFirmware> = Vec::new();
    for message in log.lines().filter_map(kernel_message) {
        if let Some(entry) = parse(message) {
            if !found.contains(&entry) {
                found.push(entry);
            }
        } else if let Some((driver, device)) = loaded_after_all(message) {
            // A driver that tries newer files first and then finds one has what it needs.
            found.retain(|entry| entry.driver != driver || entry.device != device);
        }
    }
    found
}

/// The text of a record `priority,sequence,time,flags;text`, if the kernel itself wrote it:
/// programs may write to the log too, and their facility is not 0.
fn kernel_message(line: &str) -> Option<&str> {
    let (prefix, text) = line.split_once(';')?;
    let priority: u32 = prefix.split(',').next()?.parse().ok()?;
    (priority >> 3 == 0).then_some(text)
}

fn parse(message: &str) -> Option<MissingFirmware> {
    let (source, file) = if let Some((source, rest)) = message.split_once("Direct firmware load for ") {
        let (file, error) = rest.split_once(" failed with error ")?;
        (source, (error.trim() == NO_SUCH_FILE).then_some(file)?)
    } else {
        let (source, rest) = message.split_once("firmware: failed to load ")?;
        let (file, error) = rest.split_once(" (")?;
        (source, (error.trim().trim_end_matches(')') == NO_SUCH_FILE).then_some(file)?)
    };
    let (driver, device) = source_of(source)?;
    is_firmware_name(file).then(|| MissingFirmware { driver, device, file: file.into() })
}

fn loaded_after_all(message: &str) -> Option<(String, String)> {
    let (source, _) = message.split_once("loaded firmware version")?;
    source_of(source)
}

/// `amdgpu 0000:03:00.0: ` names a driver and a device.
fn source_of(text: &str) -> Option<(String, String)> {
    let (driver, device) = text.trim_end().strip_suffix(':')?.rsplit_once(' ')?;
    let (driver, device) = (clean(driver), clean(device));
    (!driver.is_empty() && !device.is_empty()).then_some((driver, device))
}

fn is_firmware_name(file: &str) -> bool {
    let plain = file.bytes().all(|byte| byte.is_ascii_graphic());
    let inside = !file.starts_with('/') && !file.split('/').any(|part| part == "..");
    !file.is_empty() && file.len() <= 255 && plain && inside
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(driver: &str, device: &str, file: &str) -> MissingFirmware {
        MissingFirmware { driver: driver.into(), device: device.into(), file: file.into() }
    }

    #[test]
    fn both_phrases_name_driver_device_and_file() {
        let amd = entry("amdgpu", "0000:03:00.0", "amdgpu/navi22_sos.bin");
        let cases = [
            (
                "4,9,1,-;amdgpu 0000:03:00.0: Direct firmware load for amdgpu/navi22_sos.bin failed with error -2",
                Some(&amd),
            ),
            ("3,9,1,-;amdgpu 0000:03:00.0: firmware: failed to load amdgpu/navi22_sos.bin (-2)", Some(&amd)),
            (
                "4,9,1,-;amdgpu 0000:03:00.0: Direct firmware load for amdgpu/navi22_sos.bin failed with error -12",
                None,
            ),
            ("6,9,1,-;amdgpu 0000:03:00.0: firmware: direct-loading firmware amdgpu/navi22_sos.bin", None),
            ("4,9,1,-;a b: Direct firmware load for ../../etc/shadow failed with error -2", None),
            ("4,9,1,-;a b: Direct firmware load for /etc/shadow failed with error -2", None),
            ("4,9,1,-;a b: Direct firmware load for  failed with error -2", None),
            ("4,9,1,-;Direct firmware load for x failed with error -2", None),
            ("12,9,1,-;a b: Direct firmware load for x failed with error -2", None),
            (" SUBSYSTEM=pci", None),
            ("", None),
        ];
        for (line, expected) in cases {
            assert_eq!(missing(line).first(), expected, "{line}");
        }
    }

    #[test]
    fn a_driver_that_found_an_older_file_lacks_nothing() {
        let log = "4,1,1,-;iwlwifi 0000:02:00.0: firmware: failed to load iwlwifi-cc-a0-78.ucode (-2)\n\
                   4,2,1,-;iwlwifi 0000:02:00.0: Direct firmware load for iwlwifi-cc-a0-78.ucode failed with error -2\n\
                   4,3,1,-;r8169 0000:01:00.0: firmware: failed to load rtl_nic/rtl8125b-2.fw (-2)\n";
        let wifi = entry("iwlwifi", "0000:02:00.0", "iwlwifi-cc-a0-78.ucode");
        let wire = entry("r8169", "0000:01:00.0", "rtl_nic/rtl8125b-2.fw");
        assert_eq!(missing(log), [wifi, wire.clone()]);
        let found = "6,4,1,-;iwlwifi 0000:02:00.0: loaded firmware version 77.2df8986f.0 cc-a0-77.ucode op_mode iwlmvm\n";
        assert_eq!(missing(&format!("{log}{found}")), [wire]);
    }
}
