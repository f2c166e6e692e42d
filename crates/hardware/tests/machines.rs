//! Every fixture gives exactly the inventory beside it.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use actionbooster_hardware::{Error, Inventory, Survey, fixture, survey};
use serde_json::Value;

fn machine(text: &str) -> (tempfile::TempDir, Survey) {
    let folder = tempfile::tempdir().unwrap();
    fixture::expand(text, folder.path()).unwrap();
    let survey = survey(folder.path()).unwrap();
    (folder, survey)
}

#[test]
fn every_machine_is_read_as_it_is() {
    let cases = [
        ("old-pc", fixture::OLD_PC),
        ("orange-pi-5", fixture::ORANGE_PI_5),
        ("orange-pi-5-plus", fixture::ORANGE_PI_5_PLUS),
        ("pc-amd", fixture::PC_AMD),
        ("pc-nvidia", fixture::PC_NVIDIA),
        ("qemu-vm", fixture::QEMU_VM),
        ("raspberry-pi-5", fixture::RASPBERRY_PI_5),
    ];
    for (name, text) in cases {
        let (_folder, survey) = machine(text);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/{name}.json"));
        let expected: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let found = serde_json::to_value(&survey.inventory).unwrap();
        assert!(found == expected, "{name} is read as\n{found:#}");
        assert_eq!(survey.warnings, [""; 0], "{name}");
        let back: Inventory = serde_json::from_value(found).unwrap();
        assert_eq!(back, survey.inventory, "{name} does not survive JSON");
    }
}

#[test]
fn a_hostile_machine_is_read_without_its_lies() {
    let (folder, survey) = machine(fixture::HOSTILE);
    let expected: Value = serde_json::from_str(include_str!("../fixtures/hostile.json")).unwrap();
    let found = serde_json::to_value(&survey.inventory).unwrap();
    assert!(found == expected, "it is read as\n{found:#}");
    let root = folder.path().to_str().unwrap();
    for text in survey.warnings.iter().chain([&found.to_string()]) {
        assert!(!text.contains(char::is_control) && !text.contains("\\u00"), "{text}");
        assert!(!text.contains(root), "{text} tells where the tree is");
    }
    for path in
        ["/proc/meminfo", "/sys/class/dmi/id/product_name", "/sys/block/sda/size", "/sys/block/sdb/size"]
    {
        assert!(survey.warnings.iter().any(|warning| warning.starts_with(path)), "nothing about {path}");
    }
}

#[test]
fn a_name_that_is_not_text_hides_only_itself() {
    let folder = tempfile::tempdir().unwrap();
    fixture::expand(fixture::QEMU_VM, folder.path()).unwrap();
    let odd = OsStr::from_bytes(b"sys/class/net/eth\xff");
    fs::create_dir(folder.path().join(odd)).unwrap();
    let survey = survey(folder.path()).unwrap();
    assert_eq!(survey.inventory.interfaces.len(), 1);
    assert_eq!(survey.warnings, ["/sys/class/net: holds a name that is not text"]);
}

/// Whatever file is cut short or gone, there is an inventory.
#[test]
fn any_single_broken_file_leaves_an_inventory() {
    for text in [fixture::PC_AMD, fixture::ORANGE_PI_5_PLUS] {
        let files = text.lines().filter_map(|line| line.split(' ').next()?.strip_suffix(':'));
        for file in files.filter(|file| !file.starts_with([' ', '#'])) {
            for broken in [None, Some(&b""[..]), Some(b"\xff"), Some(b"99999999999999999999"), Some(b"-1")] {
                let folder = tempfile::tempdir().unwrap();
                fixture::expand(text, folder.path()).unwrap();
                let path = folder.path().join(file);
                match broken {
                    Some(bytes) => fs::write(&path, bytes).unwrap(),
                    None => fs::remove_file(&path).unwrap(),
                }
                Inventory::read(folder.path()).unwrap();
            }
        }
    }
}

#[test]
fn a_folder_that_is_no_machine_is_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let error = Inventory::read(folder.path()).unwrap_err();
    assert!(matches!(error, Error::NotAMachine { .. }) && error.to_string().contains("neither proc nor sys"));
    let error = Inventory::read(&folder.path().join("absent")).unwrap_err();
    assert!(matches!(error, Error::Root { .. }));
}

#[test]
fn this_machine_is_read() {
    let inventory = Inventory::read(Path::new("/")).unwrap();
    assert!(inventory.memory.total_bytes > 0);
    assert!(inventory.cpu.logical_cpus > 0);
    let all: usize = inventory.cpu.clusters.iter().map(|cluster| cluster.cpus.len()).sum();
    assert_eq!(all, inventory.cpu.logical_cpus as usize);
}
