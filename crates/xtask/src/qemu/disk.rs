//! Disks of virtual machines, as layers over something that does not change.

use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::builder::Builder;

/// Size of the guest's disk; larger than the image, so that the data partition has to grow.
const SIZE: &str = "8G";

/// How a disk is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bus {
    /// As virtual machines do.
    Virtio,
    /// As most PCs do.
    Ahci,
    /// On the PCI bus.
    Nvme,
    /// A stick.
    Usb,
}

/// A disk of a machine.
#[derive(Debug, Clone)]
pub struct Disk {
    /// Its content, in the format qcow2, below the cache.
    pub file: PathBuf,
    /// How it is connected.
    pub bus: Bus,
}

impl Disk {
    /// Makes a disk that starts as a copy of `base` (in the format `format`), which must not change from
    /// now on.
    pub fn over(builder: &Builder, base: &Path, format: &str, file: PathBuf, bus: Bus) -> Result<Self> {
        let (below, own) = (builder.inside(base)?, builder.inside(&file)?);
        let (below, own) = (below.display().to_string(), own.display().to_string());
        builder
            .output(&["qemu-img", "create", "-q", "-f", "qcow2", "-F", format, "-b", &below, &own, SIZE])?;
        Ok(Self { file, bus })
    }

    /// QEMU's name for the device on this bus, with the bus where there are several.
    pub(super) fn device(&self, number: usize) -> String {
        match self.bus {
            Bus::Virtio => "virtio-blk-pci".to_owned(),
            Bus::Ahci => format!("ide-hd,bus=ide.{number}"),
            Bus::Nvme => format!("nvme,serial=disk{number}"),
            Bus::Usb => "usb-storage".to_owned(),
        }
    }

    /// The bytes that were written since the disk was made.
    pub fn written(&self, builder: &Builder) -> Result<Vec<Range<u64>>> {
        let file = builder.inside(&self.file)?.display().to_string();
        extents(&builder.output(&["qemu-img", "map", "--output=json", &file])?)
    }
}

/// Reads the parts of the upper layer from what `qemu-img map` prints.
fn extents(map: &str) -> Result<Vec<Range<u64>>> {
    let all: Vec<Value> = serde_json::from_str(map).context("qemu-img prints no list")?;
    let own = all.iter().filter(|extent| extent["depth"] == 0 && extent["present"] == true);
    own.map(|extent| {
        let number = |field: &str| extent[field].as_u64().with_context(|| format!("no {field} in {extent}"));
        let start = number("start")?;
        Ok(start..start + number("length")?)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::extents;

    /// As printed for a disk of 8 GiB over an image of 277 MiB, after one write at 300 MiB.
    const MAP: &str = r#"[{ "start": 0, "length": 20480, "depth": 1, "present": true, "zero": false, "data": true, "compressed": false, "offset": 0},
{ "start": 20480, "length": 290455552, "depth": 1, "present": true, "zero": true, "data": false, "compressed": false, "offset": 20480},
{ "start": 290476032, "length": 24096768, "depth": 0, "present": false, "zero": true, "data": false, "compressed": false},
{ "start": 314572800, "length": 65536, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 327680},
{ "start": 314638336, "length": 8275296256, "depth": 0, "present": false, "zero": true, "data": false, "compressed": false}]"#;

    #[test]
    fn only_what_was_written_counts() {
        let written = extents(MAP).unwrap();
        assert_eq!((written.len(), &written[0]), (1, &(314_572_800..314_638_336)));
        assert_eq!(extents("[]").unwrap(), []);
        assert!(extents("no such file").is_err());
    }
}
