//! What the appliance holds beyond Debian: our programs, their libraries, data, units and portal.
//!
//! The same tree goes into the image and under the state folder of `dev`, so both run alike.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::appliance::Ports;
use crate::builder::Builder;
use crate::onnxruntime;

/// Programs of the product, by package.
pub const PROGRAMS: &[&str] = &[
    "booster-agent",
    "booster-monitor",
    "booster-provisioner",
    "booster-runner",
    "booster-worker",
    "boosterctl",
];

/// Compiles every program of the product.
pub fn compile(builder: &Builder) -> Result<()> {
    drop_dangling_links(&builder.cache().join("target/release"))?;
    onnxruntime::library(builder)?;
    // The whole workspace, always: a selection of packages has other feature sets, and then cargo
    // compiles llama.cpp once more.
    builder.run(
        "compiling the programs (the first time takes about twelve minutes)",
        "compile",
        &["cargo", "build", "--release", "--locked", "--workspace", "--color=never"],
    )
}

/// llama-cpp-sys-2 links its libraries into the target folder and fails on a link that it left
/// there itself, because the link's target is missing.
fn drop_dangling_links(release: &Path) -> Result<()> {
    for folder in [release.to_path_buf(), release.join("deps"), release.join("examples")] {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry?.path();
            if path.is_symlink() && !path.exists() {
                fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
    }
    Ok(())
}

/// Builds the portal into `nginx/portal/dist`.
pub fn build_portal(builder: &Builder) -> Result<()> {
    let portal = builder.checkout().join("nginx/portal");
    let lock = fs::read(portal.join("package-lock.json")).context("the portal has no package-lock.json")?;
    let stamp = portal.join("node_modules/.installed");
    if fs::read(&stamp).ok().as_deref() != Some(&lock[..]) {
        builder.run(
            "installing the portal's packages",
            "portal-install",
            &["npm", "--prefix", "nginx/portal", "ci", "--no-audit", "--no-fund"],
        )?;
        fs::write(&stamp, &lock)?;
    }
    builder.run("building the portal", "portal-build", &["npm", "--prefix", "nginx/portal", "run", "build"])
}

/// Copies programs, libraries, data and the portal below `destination` (a host path).
pub fn install(builder: &Builder, destination: &Path) -> Result<()> {
    let release = builder.cache().join("target/release");
    let bin = destination.join("usr/bin");
    for program in PROGRAMS {
        copy(&release.join(program), &bin.join(program))?;
    }
    for library in engine_libraries(&release)? {
        let name = library.file_name().context("a library without a name")?;
        copy(&library, &destination.join("usr/lib/actionbooster").join(name))?;
    }
    let library = onnxruntime::library(builder)?;
    copy(&library, &destination.join("usr/lib/actionbooster/libonnxruntime.so"))?;
    let vendor = destination.join("usr/share/actionbooster");
    let checkout = builder.checkout();
    copy_tree(&checkout.join("provisioning"), &vendor)?;
    copy_tree(&checkout.join("nginx/portal/dist"), &vendor.join("portal"))?;
    for (model, file) in [("guide", "guide.gguf"), ("shapes", "shapes.onnx")] {
        let folder = checkout.join("tests/models").join(model);
        for file in ["manifest.toml", file] {
            copy(&folder.join(file), &vendor.join("models").join(model).join(file))?;
        }
    }
    Ok(())
}

/// Where llama.cpp's build leaves its libraries, and how the names of those we need end: the loader
/// asks for the SONAME, ggml picks among the CPU variants by file name.
const LIBRARIES: [(&str, &str); 2] = [("lib", ".so.0"), ("backends", ".so")];

/// llama.cpp's shared libraries and ggml's CPU variants, from the newest build of the engine.
fn engine_libraries(release: &Path) -> Result<Vec<PathBuf>> {
    let mut outputs: Vec<PathBuf> = fs::read_dir(release.join("build"))?
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("llama-cpp-sys-2-"))
        .map(|entry| entry.path().join("out"))
        // A build that was killed leaves a folder without them.
        .filter(|out| LIBRARIES.iter().all(|(folder, _)| out.join(folder).is_dir()))
        .collect();
    outputs.sort_by_key(|out| fs::metadata(out).and_then(|data| data.modified()).ok());
    let newest = outputs.pop().context("llama.cpp has not been built; compile the programs first")?;
    let mut found = Vec::new();
    for (folder, suffix) in LIBRARIES {
        for entry in fs::read_dir(newest.join(folder))? {
            let path = entry?.path();
            if path.to_string_lossy().ends_with(suffix) {
                found.push(path);
            }
        }
    }
    ensure!(!found.is_empty(), "no shared libraries below {}", newest.display());
    Ok(found)
}

/// Copies one file, keeping its mode and following links; folders are made on the way.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    let entries = fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?;
    for entry in entries {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            copy(&entry.path(), &target)?;
        }
    }
    Ok(())
}

/// The values of the placeholders in `nginx/conf` (documented at the top of `nginx.conf`).
pub struct NginxSite {
    root: String,
    user: String,
    address: &'static str,
    ipv6: &'static str,
    ports: Ports,
}

impl NginxSite {
    /// The appliance: every interface, the usual ports.
    pub fn appliance() -> Self {
        Self {
            root: String::new(),
            user: "www-data".into(),
            address: "*",
            ipv6: "",
            ports: Ports { https: 443, http: 80, worker: None },
        }
    }

    /// `dev`: loopback only, below `root`, as the user who runs the programs.
    pub fn dev(root: &str, ports: Ports) -> Self {
        let root = root.trim_end_matches('/').to_owned();
        Self { root, user: "root".into(), address: "127.0.0.1", ipv6: "#", ports }
    }

    fn render(&self, template: &str) -> String {
        template
            .replace("@ROOT@", &self.root)
            .replace("@USER@", &self.user)
            .replace("@ADDRESS@", self.address)
            .replace("@IPV6@", self.ipv6)
            .replace("@HTTPS_PORT@", &self.ports.https.to_string())
            .replace("@HTTP_PORT@", &self.ports.http.to_string())
    }
}

/// Renders nginx's configuration to `etc/nginx` below `destination`.
pub fn render_nginx(builder: &Builder, site: &NginxSite, destination: &Path) -> Result<()> {
    let target = destination.join("etc/nginx");
    copy_tree(&builder.checkout().join("nginx/conf"), &target)?;
    render_below(site, &target)
}

fn render_below(site: &NginxSite, folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            render_below(site, &path)?;
        } else if path.extension().is_some_and(|ending| ending == "conf") {
            let template = fs::read_to_string(&path)?;
            fs::write(&path, site.render(&template))?;
        }
    }
    Ok(())
}
