//! The builder: a Debian root under the cache in which everything is compiled, built and run.
//!
//! One root serves the image, the tests and `dev`, so what runs is what was built, whatever the
//! host is. It is made once with mmdebstrap and brought up to date when the package list changes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};

use crate::progress::{logged, step};

mod compiled;

const SUITE: &str = "trixie";
/// Where the tree, its `shared` neighbour and the cache are inside the builder.
pub const TREE: &str = "/src/main";
/// Where the cache is inside the builder.
pub const CACHE: &str = "/cache";

const HOST_PACKAGES: &[(&str, &str)] =
    &[("mmdebstrap", "makes the builder root"), ("debian-archive-keyring", "verifies Debian's packages")];

const PACKAGES: &[&str] = &[
    // what compiles
    "g++",
    "clang",
    "libclang-dev",
    "cmake",
    "ninja-build",
    "nasm",
    "pkg-config",
    "libudev-dev",
    "git",
    "nodejs",
    "npm",
    // what makes images
    "mkosi",
    "systemd",
    "systemd-repart",
    "systemd-container",
    "squashfs-tools",
    "erofs-utils",
    "rauc",
    "grub-efi-amd64-bin",
    "grub-common",
    "mtools",
    "dosfstools",
    "e2fsprogs",
    "fdisk",
    "bmap-tools",
    "cpio",
    "kmod",
    "zstd",
    "xz-utils",
    "busybox-static",
    "openssl",
    "dbus",
    "polkitd",
    // what runs and tests
    "qemu-system-x86",
    "qemu-utils",
    "ovmf",
    "swtpm",
    "nginx-light",
    "chromium",
    "ufw",
    "nftables",
    "python3",
    "python3-venv",
    "python3-pip",
    "openssh-client",
    // what decodes cameras, and a camera in the network to decode: GStreamer's RTSP server
    "ffmpeg",
    "gir1.2-gst-rtsp-server-1.0",
    "python3-gi",
    "iproute2",
    "procps",
    "ca-certificates",
    "debian-archive-keyring",
];

/// Newer than the suite's own; the rest of the toolchain follows them.
const BACKPORTS: &[&str] = &["rustc", "cargo", "rustfmt", "rust-clippy", "curl"];

/// Builds the mounts of one command's private namespace, then enters the root.
const ENTER: &str = r#"
set -e
root=$1 tree=$2 shared=$3 cache=$4; shift 4
mount --bind "$root" "$root"
mkdir -p "$root/src/main" "$root/src/shared" "$root/cache"
mount --bind "$tree" "$root/src/main"
if [ -d "$shared" ]; then mount --bind "$shared" "$root/src/shared"; fi
mount --bind "$cache" "$root/cache"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
touch "$root/etc/resolv.conf"
mount --bind -o ro "$(realpath /etc/resolv.conf)" "$root/etc/resolv.conf"
if [ -e /etc/ssl/certs/ca-certificates.crt ]; then mount --bind -o ro /etc/ssl/certs "$root/etc/ssl/certs"; fi
exec chroot "$root" /usr/bin/env -i "$@"
"#;

/// A builder that is ready for use. Holds a lock, so that two runs do not disturb each other.
pub struct Builder {
    checkout: PathBuf,
    cache: PathBuf,
    _lock: Flock<File>,
}

impl Builder {
    /// Finds the checkout and the cache, installs what the host lacks and makes the root.
    pub fn ready() -> Result<Self> {
        let checkout = checkout()?;
        let cache = cache_folder()?;
        fs::create_dir_all(&cache).with_context(|| format!("cannot create the cache {}", cache.display()))?;
        let lock_path = cache.join("lock");
        let file = File::create(&lock_path)?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, cause)| {
            anyhow::anyhow!(
                "another cargo xtask is using {} ({cause}); wait for it, or give this one its own XDG_CACHE_HOME",
                cache.display()
            )
        })?;
        let builder = Self { checkout, cache, _lock: lock };
        builder.install_host_packages()?;
        builder.make_root()?;
        compiled::belongs_to(&builder.checkout, &builder.cache.join("target"))?;
        Ok(builder)
    }

    /// The checkout on the host.
    pub fn checkout(&self) -> &Path {
        &self.checkout
    }

    /// The cache on the host; inside the builder it is [`CACHE`].
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// Where a log of this name goes.
    pub fn log(&self, name: &str) -> PathBuf {
        self.cache.join("logs").join(format!("{name}.log"))
    }

    /// A host path below the cache or the checkout as the builder sees it.
    pub fn inside(&self, host: &Path) -> Result<PathBuf> {
        if let Ok(rest) = host.strip_prefix(&self.cache) {
            return Ok(Path::new(CACHE).join(rest));
        }
        let rest = host.strip_prefix(&self.checkout).with_context(|| {
            format!("{} is neither below the checkout nor below the cache", host.display())
        })?;
        Ok(Path::new(TREE).join(rest))
    }

    /// A command inside the builder, started in the tree. Its pid is the program's own.
    pub fn command<S: AsRef<str>>(&self, argv: &[S]) -> Command {
        let mut command = as_root("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", ENTER, "enter"]);
        command.arg(self.root()).arg(&self.checkout).arg(self.checkout.join("../shared")).arg(&self.cache);
        command.args([
            "HOME=/root",
            "LANG=C.UTF-8",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "TERM=dumb",
            "DEBIAN_FRONTEND=noninteractive",
            "CARGO_HOME=/cache/cargo",
            "CARGO_TARGET_DIR=/cache/target",
            "CMAKE_GENERATOR=Ninja",
            "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
            "NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt",
            "PIP_CACHE_DIR=/cache/pip",
            "PIP_DISABLE_PIP_VERSION_CHECK=1",
            "npm_config_cache=/cache/npm",
            "ACTIONBOOSTER_ONNXRUNTIME=/cache/onnxruntime/libonnxruntime.so",
            "sh",
            "-c",
            "cd /src/main && exec \"$@\"",
            "sh",
        ]);
        command.args(argv.iter().map(AsRef::as_ref));
        command
    }

    /// Runs a command inside the builder as a named step, with a log of its own.
    pub fn run<S: AsRef<str>>(&self, label: &str, log: &str, argv: &[S]) -> Result<()> {
        logged(label, self.command(argv), &self.log(log))
    }

    /// Runs a command inside the builder and returns what it printed.
    pub fn output<S: AsRef<str>>(&self, argv: &[S]) -> Result<String> {
        let output = self.command(argv).stdin(Stdio::null()).output()?;
        let shown: Vec<&str> = argv.iter().map(AsRef::as_ref).collect();
        ensure!(
            output.status.success(),
            "{} failed ({}): {}",
            shown.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    fn root(&self) -> PathBuf {
        self.cache.join("builder")
    }

    fn install_host_packages(&self) -> Result<()> {
        let missing: Vec<_> = HOST_PACKAGES.iter().filter(|(name, _)| !is_installed(name)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        for (name, why) in &missing {
            eprintln!("  {name} is needed: it {why}");
        }
        let mut update = as_root("apt-get");
        update.args(["update"]);
        logged("refreshing the host's package lists", update, &self.log("host-update"))?;
        let mut install = as_root("apt-get");
        install.env("DEBIAN_FRONTEND", "noninteractive").args(["install", "-y", "--no-install-recommends"]);
        install.args(missing.iter().map(|(name, _)| name));
        logged("installing what the host lacks", install, &self.log("host-install"))
    }

    fn make_root(&self) -> Result<()> {
        let root = self.root();
        let made = self.cache.join("builder.made");
        if !made.exists() {
            step("clearing what an interrupted run left", || discard(&root))?;
            let mut bootstrap = as_root("mmdebstrap");
            bootstrap.args(["--variant=apt", "--include=ca-certificates,debian-archive-keyring", SUITE]);
            bootstrap.arg(&root);
            logged("making the builder root", bootstrap, &self.log("builder-bootstrap"))?;
            fs::write(&made, SUITE)?;
        }
        let wanted = package_list();
        let stamp = self.cache.join("builder.packages");
        let fingerprint = hex(&Sha256::digest(wanted.join("\n")));
        if fs::read_to_string(&stamp).is_ok_and(|held| held == fingerprint) {
            return Ok(());
        }
        // Backports come from wherever the suite itself came from.
        let script = format!(
            "set -e; sed -n 's/ {SUITE} / {SUITE}-backports /p' /etc/apt/sources.list \
             > /etc/apt/sources.list.d/backports.list; \
             printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d; chmod +x /usr/sbin/policy-rc.d; \
             apt-get update; apt-get install -y --no-install-recommends {}",
            wanted.join(" ")
        );
        self.run("installing the builder's packages", "builder-packages", &["sh", "-c", &script])?;
        fs::write(&stamp, fingerprint)?;
        Ok(())
    }
}

fn package_list() -> Vec<String> {
    let plain = PACKAGES.iter().map(ToString::to_string);
    plain.chain(BACKPORTS.iter().map(|name| format!("{name}/{SUITE}-backports"))).collect()
}

/// A command run as root: directly, or through sudo.
pub fn as_root(program: &str) -> Command {
    if nix::unistd::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.arg(program);
    command
}

/// Removes a half-made root, unless something is still mounted below it.
fn discard(root: &Path) -> Result<()> {
    if !root.exists() {
        return Ok(());
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let prefix = root.display().to_string();
    if let Some(point) =
        mounts.lines().filter_map(|line| line.split(' ').nth(4)).find(|at| at.starts_with(&prefix))
    {
        bail!("{point} is mounted; unmount it before the builder root is made again");
    }
    let status = as_root("rm").args(["-rf", "--one-file-system"]).arg(root).status()?;
    ensure!(status.success(), "cannot remove {}", root.display());
    Ok(())
}

fn is_installed(package: &str) -> bool {
    let output = Command::new("dpkg-query").args(["-W", "-f=${Status}", package]).output();
    output.is_ok_and(|found| found.stdout.ends_with(b"ok installed"))
}

fn checkout() -> Result<PathBuf> {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = crate_folder.ancestors().nth(2).context("xtask is not inside the workspace")?;
    ensure!(found.join("Cargo.lock").exists(), "{} is not the checkout xtask was built in", found.display());
    Ok(found.to_path_buf())
}

fn cache_folder() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from) {
        Some(path) if path.is_absolute() => path,
        _ => Path::new(&std::env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    Ok(base.join("actionbooster"))
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
