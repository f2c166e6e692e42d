//! `cargo xtask image`: the disk image of the appliance, with its checksum, block map, SBOM and log.
//!
//! The way: our programs and data are staged, mkosi turns Debian's packages and the stage into a
//! directory, that becomes a squashfs with kernel and initrd inside, and systemd-repart puts it on
//! a disk beside GRUB. Nothing is done again while its inputs are the same.

mod cpio;
mod disk;
mod fingerprint;
mod grub;
mod initrd;
mod keys;
pub mod lints;
mod sbom;
mod tree;
mod units;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::builder::Builder;
use crate::payload;
use crate::progress::step;

/// Bytes of one slot, as in `image/repart`.
const SLOT_BYTES: u64 = 1 << 30;
/// Largest compressed image.
const COMPRESSED_LIMIT_BYTES: u64 = 500 << 20;
const ARCHITECTURE: &str = "x86-64";

/// Arguments of `cargo xtask image`.
#[derive(Args)]
pub struct Arguments {
    /// Certificates that updates must be signed by; without it a development key is made and kept.
    #[arg(long, value_name = "PEM")]
    keyring: Option<PathBuf>,
    /// Build again even if nothing changed, with Debian's newest packages.
    #[arg(long)]
    force: bool,
}

/// What an image is built with.
#[derive(Debug, Default)]
pub struct Options {
    /// Certificates that updates must be signed by, instead of the development ones.
    pub keyring: Option<PathBuf>,
    /// Build again even if nothing changed, with Debian's newest packages.
    pub force: bool,
}

/// What an image build leaves behind. All paths are on the host, below the cache.
#[derive(Debug)]
pub struct Artifacts {
    /// The folder with everything.
    pub folder: PathBuf,
    /// The raw, sparse disk.
    pub disk: PathBuf,
    /// The disk as it is handed out.
    pub compressed: PathBuf,
    /// The kernel, for direct boots.
    pub kernel: PathBuf,
    /// Size of the root file system.
    pub root_bytes: u64,
    /// Size of the slot it is in.
    pub slot_bytes: u64,
}

/// `cargo xtask image`.
pub fn run(arguments: &Arguments) -> Result<()> {
    let builder = Builder::ready()?;
    let options = Options { keyring: arguments.keyring.clone(), force: arguments.force };
    let artifacts = build(&builder, &options)?;
    println!("image       {}", artifacts.compressed.display());
    println!("beside it   SHA256SUMS, block map, SBOM and build log in {}", artifacts.folder.display());
    Ok(())
}

/// Builds the image, or finds that it is up to date.
pub fn build(builder: &Builder, options: &Options) -> Result<Artifacts> {
    payload::compile(builder)?;
    payload::build_portal(builder)?;
    let keyring = match &options.keyring {
        Some(path) => path.clone(),
        None => keys::development(builder)?,
    };
    let work = builder.cache().join("image");
    let stage = work.join("stage");
    step("collecting programs, units and data", || stage_all(builder, &stage, &keyring))?;
    let init = initrd::compile(builder)?;

    let version = env!("CARGO_PKG_VERSION");
    let name = format!("actionbooster-{version}-{ARCHITECTURE}");
    let folder = work.join(version);
    let inputs = fingerprint::of(&[&stage, &builder.checkout().join("image"), &init])?;
    let stamp = folder.join("inputs");
    if options.force || fs::read_to_string(&stamp).ok().as_deref() != Some(inputs.as_str()) {
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot clear {}", folder.display()))?;
        }
        fs::create_dir_all(&folder)?;
        let tree = tree::build(builder, &stage, options.force, version)?;
        let bill = sbom::of(builder, &tree, version)?;
        step("checking the tree against its rules", || {
            lints::enforce(&lints::apply(builder, &tree, &bill)?)
        })?;
        sbom::write(&bill, &folder.join(format!("{name}.cdx.json")))?;
        let initrd = initrd::build(builder, &tree, &init)?;
        disk::build(builder, &tree, &initrd, &folder, &name)?;
        disk::finish(builder, &folder, &name)?;
        fs::write(&stamp, &inputs)?;
    }
    let artifacts = Artifacts {
        disk: folder.join(format!("{name}.img")),
        compressed: folder.join(format!("{name}.img.zst")),
        kernel: folder.join("vmlinuz"),
        root_bytes: fs::metadata(folder.join(disk::ROOT))?.len(),
        slot_bytes: SLOT_BYTES,
        folder,
    };
    check_sizes(&artifacts)?;
    Ok(artifacts)
}

/// Builds the image, or finds that it is up to date, and applies the rules for finished trees to it.
pub fn lint(builder: &Builder) -> Result<Vec<lints::Outcome>> {
    build(builder, &Options::default())?;
    let tree = tree::path(builder);
    let bill = sbom::of(builder, &tree, env!("CARGO_PKG_VERSION"))?;
    lints::apply(builder, &tree, &bill)
}

/// Writes Debian's package sources for mkosi into a sandbox tree: the ones the builder itself uses.
///
/// mkosi's built-in list adds a debug archive that not every mirror carries.
pub fn write_package_sources(builder: &Builder, sandbox: &Path) -> Result<()> {
    tree::write_package_sources(builder, sandbox)
}

fn stage_all(builder: &Builder, stage: &Path, keyring: &Path) -> Result<()> {
    if stage.exists() {
        fs::remove_dir_all(stage).with_context(|| format!("cannot clear {}", stage.display()))?;
    }
    payload::install(builder, stage)?;
    payload::render_nginx(builder, &payload::NginxSite::appliance(), stage)?;
    units::install(&builder.checkout().join("systemd"), stage)?;
    units::install_udev(&builder.checkout().join("udev"), stage)?;
    let target = stage.join("etc/rauc/keyring.pem");
    fs::create_dir_all(stage.join("etc/rauc"))?;
    fs::copy(keyring, &target).with_context(|| format!("cannot read the keyring {}", keyring.display()))?;
    Ok(())
}

fn check_sizes(artifacts: &Artifacts) -> Result<()> {
    let compressed = fs::metadata(&artifacts.compressed)?.len();
    let mebibytes = |bytes: u64| bytes >> 20;
    eprintln!(
        "  root file system {} MiB of a {} MiB slot, compressed image {} MiB",
        mebibytes(artifacts.root_bytes),
        mebibytes(artifacts.slot_bytes),
        mebibytes(compressed)
    );
    ensure!(
        artifacts.root_bytes * 2 <= artifacts.slot_bytes,
        "the root file system fills more than half of its slot; updates need the headroom"
    );
    ensure!(compressed <= COMPRESSED_LIMIT_BYTES, "the compressed image is larger than 500 MiB");
    Ok(())
}
