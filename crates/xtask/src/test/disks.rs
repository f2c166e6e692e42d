//! Machines with two disks that look alike: what is started, used and reset is the disk that the
//! firmware started, and the other one is not written to at all.
//!
//! Each disk is a layer over a base that never changes, so what was written to it can be listed.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::Tally;
use crate::appliance::{Appliance, Ready};
use crate::builder::Builder;
use crate::http::Credentials;
use crate::image::{self, Artifacts};
use crate::progress::step;
use crate::qemu::{BOOT_LIMIT, Bus, Disk, Entry, Forwards, Vm};
use crate::run;

mod table;

const FORWARDS: Forwards = Forwards::from(23443);
/// Where `image/repart` ends the boot partition: GRUB writes before this, and nowhere else.
const ESP_END_BYTES: u64 = 261 << 20;
/// Where it begins.
const ESP_START_BYTES: u64 = 1 << 20;

/// Runs the scenarios, each a boot of its own, on what the one before left.
pub fn run(builder: &Builder) -> Result<Tally> {
    let artifacts = image::build(builder, &image::Options::default())?;
    let mut tally = Tally::default();
    let mut vm = Vm::create(builder, "disks", &artifacts.disk, &artifacts.kernel, FORWARDS)?;
    let mut lab = Lab { builder, artifacts: &artifacts, vm: &mut vm };
    let owned = lab.twins(&mut tally).context("two sticks from one image")?;
    let reset = lab.copies(&mut tally, &owned).context("a reset beside a copy")?;
    lab.moved(&mut tally, &owned, &reset).context("a disk moved to another machine")?;
    lab.alike(&mut tally).context("two disks without a mark")?;
    Ok(tally)
}

/// A disk with an owner.
struct Owned {
    disk: Disk,
    ready: Ready,
}

struct Lab<'a, 'b> {
    builder: &'b Builder,
    artifacts: &'a Artifacts,
    vm: &'a mut Vm<'b>,
}

impl Lab<'_, '_> {
    /// Two sticks are written with the same image, and the second one is started.
    fn twins(&mut self, tally: &mut Tally) -> Result<Owned> {
        let image = &self.artifacts.disk;
        let [other, own] = self.pair("twin", image, "raw", [Bus::Usb, Bus::Usb])?;
        self.vm.power_on()?;
        let (appliance, code) = step("starting the second of two sticks from one image", || {
            let appliance = self.vm.reach()?;
            let code = self.vm.claim_code()?;
            appliance.wait_healthy(BOOT_LIMIT, || self.vm.alive())?;
            Ok((appliance, code))
        })?;
        let ready = appliance.claim(&code)?;
        let key = run::open_ssh(self.builder, self.vm, &appliance, &ready)?.key;
        tally.check("root, data and boot partition are on one disk", self.one_disk(&key));
        tally.check("the slot is marked good on the disk that was started", self.marked_good(&key));
        run::switch_off(self.vm, &appliance, &ready)?;
        tally.check("the other stick is not written to", self.untouched(&other));
        tally.check("the started stick has the data", self.has_data(&own));
        tally.check("it got identifiers of its own", self.no_guid_shared(&own.file, image));
        Ok(Owned { disk: own, ready })
    }

    /// The stick is copied, both are plugged in, and "remove everything" is chosen on the second.
    fn copies(&mut self, tally: &mut Tally, owned: &Owned) -> Result<Disk> {
        let [other, own] = self.pair("copy", &owned.disk.file, "qcow2", [Bus::Ahci, Bus::Ahci])?;
        self.vm.power_on()?;
        let outcome = step("a reset of the second of two equal disks", || {
            self.vm.choose(Entry::RemoveEverything)?;
            let appliance = self.vm.reach()?;
            let code = self.vm.claim_code()?;
            stranger(&appliance, &owned.ready)?;
            appliance.claim(&code).map(drop)
        });
        tally.check("a reset chosen in the menu leaves a box that can be claimed", outcome);
        self.vm.stop()?;
        tally.check("the copy beside it is not written to", self.untouched(&other));
        tally.check("two copies do not stay alike", self.no_guid_shared(&own.file, &other.file));
        Ok(own)
    }

    /// The disk with the owner comes into another machine, on another bus, where a disk with other
    /// identifiers and data of its own is found before it.
    fn moved(&mut self, tally: &mut Tally, owned: &Owned, stranger: &Disk) -> Result<()> {
        let other = self.layer("moved-a", &stranger.file, "qcow2", Bus::Virtio)?;
        let own = self.layer("moved-b", &owned.disk.file, "qcow2", Bus::Nvme)?;
        self.vm.forget_firmware_settings()?;
        self.vm.plug(vec![other.clone(), own], 1);
        self.vm.power_on()?;
        let outcome = step("starting a disk in another machine", || {
            let appliance = self.vm.reach()?;
            appliance.wait_healthy(BOOT_LIMIT, || self.vm.alive())?;
            appliance.ask(&owned.ready, "What is online mode?").map(drop)
        });
        tally.check("a disk keeps its owner in another machine", outcome);
        self.vm.stop()?;
        tally.check("the disk found before it is not written to", self.untouched(&other));
        Ok(())
    }

    /// Neither disk can take the mark, and both have the image's identifiers: nothing is certain.
    fn alike(&mut self, tally: &mut Tally) -> Result<()> {
        let image = self.vm.folder().join("unmarked.img");
        let (from, to) = (self.inside(&self.artifacts.disk)?, self.inside(&image)?);
        self.builder.output(&["cp", "--sparse=always", &from, &to])?;
        self.builder.output(&["mdel", "-i", &format!("{to}@@{ESP_START_BYTES}"), "::/grub/nonce"])?;
        let disks = self.pair("alike", &image, "raw", [Bus::Virtio, Bus::Virtio])?;
        self.vm.power_on()?;
        let outcome = step("a reset where the disk is not certain", || {
            self.vm.choose(Entry::RemoveEverything)?;
            let appliance = self.vm.reach()?;
            let answer = appliance.portal.get("/", &Credentials::None)?.expect(503)?;
            ensure!(answer.body.contains("unplug one of them"), "the page does not say what to do");
            Ok(())
        });
        tally.check("a reset is refused where the disk is not certain, and a page says what to do", outcome);
        self.vm.stop()?;
        for (disk, which) in disks.iter().zip(["first", "second"]) {
            tally.check(
                &format!("nothing but GRUB writes to the {which} disk then"),
                self.written_before(disk, ESP_END_BYTES),
            );
        }
        std::fs::remove_file(image).context("cannot remove the image without a mark")
    }

    /// Plugs in two disks with the same content, and has the second one started.
    fn pair(&mut self, name: &str, base: &Path, format: &str, [one, other]: [Bus; 2]) -> Result<[Disk; 2]> {
        let first = self.layer(&format!("{name}-a"), base, format, one)?;
        let second = self.layer(&format!("{name}-b"), base, format, other)?;
        self.vm.plug(vec![first.clone(), second.clone()], 1);
        Ok([first, second])
    }

    fn layer(&self, name: &str, base: &Path, format: &str, bus: Bus) -> Result<Disk> {
        let file = self.vm.folder().join(format!("{name}.qcow2"));
        Disk::over(self.builder, base, format, file, bus)
    }

    fn inside(&self, path: &Path) -> Result<String> {
        Ok(self.builder.inside(path)?.display().to_string())
    }

    fn one_disk(&self, key: &Path) -> Result<()> {
        let script = "for point in / /var; do findmnt -no SOURCE $point | sed 's/\\[.*//'; done
            readlink -f /dev/actionbooster/esp";
        let text = self.vm.ssh(key, script)?;
        let sources: Vec<&str> = text.split_ascii_whitespace().collect();
        let [root, data, esp] = sources[..] else { anyhow::bail!("not three partitions: {text}") };
        let disk = root.strip_suffix('2').with_context(|| format!("{root} is no slot A"))?;
        ensure!(data == format!("{disk}4") && esp == format!("{disk}1"), "{root}, {data} and {esp}");
        Ok(())
    }

    /// GRUB has counted a try there, and the system takes it back.
    fn marked_good(&mut self, key: &Path) -> Result<()> {
        let started = Instant::now();
        loop {
            let text = self.vm.ssh(key, "sudo grep -a ^A_ /boot/efi/grub/grubenv")?;
            if text.lines().any(|line| line == "A_TRY=0") {
                return Ok(());
            }
            self.vm.alive()?;
            ensure!(started.elapsed() < BOOT_LIMIT, "the tries were not taken back: {text}");
            std::thread::sleep(std::time::Duration::from_secs(2));
        }
    }

    fn untouched(&self, disk: &Disk) -> Result<()> {
        untouched(self.builder, disk)
    }

    /// Nothing was written from byte `limit` on.
    fn written_before(&self, disk: &Disk, limit: u64) -> Result<()> {
        let beyond = disk.written(self.builder)?.into_iter().find(|bytes| bytes.end > limit);
        ensure!(beyond.is_none(), "bytes {beyond:?} were written");
        Ok(())
    }

    fn has_data(&self, disk: &Disk) -> Result<()> {
        let labels: Vec<_> =
            table::partitions(self.builder, &disk.file)?.into_iter().map(|one| one.label).collect();
        ensure!(labels == ["esp", "root-a", "root-b", "data"], "the partitions are {labels:?}");
        Ok(())
    }

    fn no_guid_shared(&self, one: &Path, other: &Path) -> Result<()> {
        let (one, other) = (table::partitions(self.builder, one)?, table::partitions(self.builder, other)?);
        ensure!(one.len() >= 3 && other.len() >= 3, "{} and {} partitions", one.len(), other.len());
        for partition in &one {
            let shared = other.iter().any(|entry| entry.guid == partition.guid);
            ensure!(!shared, "both have a partition {}, {}", partition.guid, partition.label);
        }
        Ok(())
    }
}

/// Not a byte was written to the disk.
pub fn untouched(builder: &Builder, disk: &Disk) -> Result<()> {
    let written = disk.written(builder)?;
    ensure!(written.is_empty(), "written were the bytes {written:?}");
    Ok(())
}

/// The key of an owner from before opens nothing.
fn stranger(appliance: &Appliance, before: &Ready) -> Result<()> {
    let key = Credentials::Key(before.api_key.clone().context("no API key")?);
    appliance.portal.get("/api/v1/keys", &key)?.expect(401).map(drop)
}
