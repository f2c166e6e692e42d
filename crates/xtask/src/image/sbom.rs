//! The bill of materials of an image, in CycloneDX 1.6 JSON.
//!
//! Its sources: the tree's package database, the crates our programs link, the portal's packages,
//! and what we bring as files: ONNX Runtime and the built-in models.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::builder::Builder;
use crate::onnxruntime;
use crate::payload::PROGRAMS;

/// The bill for `tree`.
pub fn of(builder: &Builder, tree: &Path, version: &str) -> Result<Value> {
    let status = tree.join("var/lib/dpkg/status");
    let status = fs::read_to_string(&status).with_context(|| format!("cannot read {}", status.display()))?;
    let metadata = builder.output(&[
        "cargo",
        "metadata",
        "--format-version=1",
        "--locked",
        "--filter-platform=x86_64-unknown-linux-gnu",
    ])?;
    let lock = builder.checkout().join("nginx/portal/package-lock.json");
    let lock = fs::read_to_string(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
    let mut components = debian(&status);
    components.extend(crates(&serde_json::from_str(&metadata)?));
    components.extend(npm(&serde_json::from_str(&lock)?));
    components.extend(files(tree, version)?);
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {"type": "operating-system", "name": "actionbooster", "version": version},
        },
        "components": components,
    }))
}

/// Writes a bill.
pub fn write(bill: &Value, path: &Path) -> Result<()> {
    fs::write(path, serde_json::to_vec_pretty(bill)?)
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The installed packages of a dpkg status file.
fn debian(status: &str) -> Vec<Value> {
    let packages = status.split("\n\n").filter_map(|stanza| {
        let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        if field("Status") != Some("install ok installed") {
            return None;
        }
        let (name, version) = (field("Package")?, field("Version")?);
        let architecture = field("Architecture").unwrap_or("all");
        let source = field("Source").and_then(|text| text.split(' ').next()).unwrap_or(name);
        Some(json!({
            "type": "library",
            "name": name,
            "version": version,
            "purl": format!("pkg:deb/debian/{name}@{}?arch={architecture}&distro=trixie", version.replace('+', "%2B")),
            "properties": [
                {"name": "debian:source", "value": source},
                {"name": "debian:section", "value": field("Section").unwrap_or_default()},
            ],
        }))
    });
    packages.collect()
}

/// The crates that are linked into our programs; what only builds or tests them is left out.
fn crates(metadata: &Value) -> Vec<Value> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages: BTreeMap<String, Value> =
        list(&metadata["packages"]).into_iter().map(|package| (text(&package["id"]), package)).collect();
    let links: BTreeMap<String, Vec<String>> = list(&metadata["resolve"]["nodes"])
        .iter()
        .map(|node| {
            let linked = list(&node["deps"]).into_iter().filter(|dependency| {
                list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null())
            });
            (text(&node["id"]), linked.map(|dependency| text(&dependency["pkg"])).collect())
        })
        .collect();
    let is_program = |package: &Value| {
        let name = text(&package["name"]);
        PROGRAMS.contains(&name.as_str()) || name == "booster-initrd"
    };
    let mut waiting: Vec<String> =
        packages.iter().filter(|(_, package)| is_program(package)).map(|(id, _)| id.clone()).collect();
    let mut linked = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        if linked.insert(id.clone()) {
            waiting.extend(links.get(&id).into_iter().flatten().cloned());
        }
    }
    let components = linked.iter().filter_map(|id| packages.get(id)).map(|package| {
        let (name, version) = (text(&package["name"]), text(&package["version"]));
        let mut component = json!({
            "type": "library",
            "purl": format!("pkg:cargo/{name}@{version}"),
            "name": name,
            "version": version,
        });
        if let Some(licence) = package["license"].as_str() {
            component["licenses"] = json!([{"expression": licence.replace('/', " OR ")}]);
        }
        component
    });
    components.collect()
}

/// The packages of an npm lock file.
fn npm(lock: &Value) -> Vec<Value> {
    let packages = lock["packages"].as_object().into_iter().flatten().filter_map(|(path, package)| {
        let (_, name) = path.rsplit_once("node_modules/")?;
        let version = package["version"].as_str()?;
        let mut component = json!({
            "type": "library",
            "name": name,
            "version": version,
            "purl": format!("pkg:npm/{}@{version}", name.replace('@', "%40")),
        });
        if let Some(licence) = package["license"].as_str() {
            component["licenses"] = json!([{"expression": licence}]);
        }
        Some(component)
    });
    packages.collect()
}

/// What is in no package: the library that detection runs on, and the models that come with us.
fn files(tree: &Path, version: &str) -> Result<Vec<Value>> {
    let runtime = onnxruntime::VERSION;
    let mut found = vec![json!({
        "type": "library",
        "name": "onnxruntime",
        "version": runtime,
        "purl": format!("pkg:pypi/onnxruntime@{runtime}"),
        "licenses": [{"expression": "MIT"}],
    })];
    let models = tree.join("usr/share/actionbooster/models");
    let listing = fs::read_dir(&models).with_context(|| format!("cannot read {}", models.display()))?;
    for entry in listing {
        let path = entry?.path().join("manifest.toml");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        found.push(model(&text, version).with_context(|| format!("{} is not a manifest", path.display()))?);
    }
    Ok(found)
}

/// A model's component, by the strings at the top of its manifest.
fn model(manifest: &str, version: &str) -> Option<Value> {
    let field = |name: &str| {
        manifest.lines().find_map(|line| {
            let (key, value) = line.split_once('=')?;
            (key.trim() == name).then(|| value.trim().trim_matches('"'))
        })
    };
    Some(json!({
        "type": "machine-learning-model",
        "name": field("id")?,
        "version": version,
        "hashes": [{"alg": "SHA-256", "content": field("sha256")?}],
        "licenses": [{"expression": field("licence")?}],
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(components: &[Value]) -> Vec<String> {
        components
            .iter()
            .map(|one| format!("{} {}", one["name"].as_str().unwrap(), one["purl"].as_str().unwrap()))
            .collect()
    }

    #[test]
    fn installed_packages_are_listed_and_removed_ones_not() {
        let status = "Package: nginx-light\nStatus: install ok installed\nArchitecture: amd64\nSection: httpd\nSource: nginx (1.26)\nVersion: 1.26.3-3+deb13u1\n\n\
                      Package: cpio\nStatus: deinstall ok config-files\nVersion: 2.15\n";
        let found = debian(status);
        assert_eq!(
            names(&found),
            ["nginx-light pkg:deb/debian/nginx-light@1.26.3-3%2Bdeb13u1?arch=amd64&distro=trixie"]
        );
        assert_eq!(found[0]["properties"][0]["value"], "nginx");
        assert_eq!(found[0]["properties"][1]["value"], "httpd");
    }

    #[test]
    fn only_linked_crates_are_listed() {
        let metadata = json!({
            "packages": [
                {"id": "p", "name": "boosterctl", "version": "0.1.0", "license": "MIT"},
                {"id": "a", "name": "serde", "version": "1.0.0", "license": "MIT/Apache-2.0"},
                {"id": "b", "name": "cc", "version": "1.2.0"},
                {"id": "x", "name": "xtask", "version": "0.1.0"},
            ],
            "resolve": {"nodes": [
                {"id": "p", "deps": [
                    {"pkg": "a", "dep_kinds": [{"kind": null}]},
                    {"pkg": "b", "dep_kinds": [{"kind": "build"}]},
                ]},
                {"id": "x", "deps": []},
            ]},
        });
        let found = crates(&metadata);
        assert_eq!(names(&found), ["serde pkg:cargo/serde@1.0.0", "boosterctl pkg:cargo/boosterctl@0.1.0"]);
        assert_eq!(found[0]["licenses"][0]["expression"], "MIT OR Apache-2.0");
    }

    #[test]
    fn portal_packages_are_listed_without_the_portal_itself() {
        let lock = json!({"packages": {
            "": {"version": "0.1.0"},
            "node_modules/svelte": {"version": "5.0.0", "license": "MIT"},
            "node_modules/a/node_modules/@types/estree": {"version": "1.0.6"},
        }});
        let found = npm(&lock);
        assert!(found.iter().any(|one| one["licenses"][0]["expression"] == "MIT"));
        let mut found = names(&found);
        found.sort();
        assert_eq!(found, ["@types/estree pkg:npm/%40types/estree@1.0.6", "svelte pkg:npm/svelte@5.0.0"]);
    }

    #[test]
    fn a_model_is_a_component_with_its_licence() {
        let manifest = "# comment\nid = \"guide\"\nsha256 = \"c5ec\"\nlicence = \"MIT\"\n[description]\nen = \"a = b\"\n";
        let found = model(manifest, "0.1.0").unwrap();
        assert_eq!((&found["name"], &found["version"]), (&json!("guide"), &json!("0.1.0")));
        assert_eq!(found["licenses"][0]["expression"], "MIT");
        assert!(model("id = \"guide\"\n", "0.1.0").is_none());
    }
}
