//! The bill of materials is whole, and everything in it may be handed out.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::Value;

use super::tree::{Kind, Tree};
use super::{Lint, Severity, Subject};

/// Licences of what is linked or served, as in `deny.toml`. Their texts permit redistribution. The
/// last one is that of argparse, which comes with the portal's markdown-it.
const PERMISSIVE: &[&str] = &[
    "MIT",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Unicode-3.0",
    "Zlib",
    "BSL-1.0",
    "PSF-2.0",
];
/// Packages of Debian's non-free-firmware whose licences let everybody hand out unchanged copies.
const REDISTRIBUTABLE: &[&str] = &[
    "amd64-microcode",
    "firmware-amd-graphics",
    "firmware-intel-graphics",
    "firmware-intel-misc",
    "firmware-iwlwifi",
    "firmware-mediatek",
    "firmware-realtek",
    "intel-microcode",
];
/// Libraries that no package of Debian brings, by the beginning of their names, and the component
/// they are part of.
const LIBRARIES: &[(&str, &str)] =
    &[("libonnxruntime", "onnxruntime"), ("libggml", "llama-cpp-sys-2"), ("libllama", "llama-cpp-sys-2")];
const OWN_LIBRARIES: &str = "usr/lib/actionbooster";
const MODELS: &str = "usr/share/actionbooster/models/";

pub const LINT: Lint = Lint {
    name: "licences",
    promise: "the bill of materials is whole, and all of it may be handed out",
    severity: Severity::Fatal,
    check,
};

fn check(subject: &Subject) -> Result<Vec<String>> {
    let components = subject.bill["components"].as_array().context("the bill has no components")?;
    let names: BTreeSet<&str> = components.iter().filter_map(|one| one["name"].as_str()).collect();
    let mut found: Vec<String> = components
        .iter()
        .filter_map(|one| fault(one, &subject.tree).map(|why| format!("{}: {why}", shown(one))))
        .collect();
    found.extend(holes(&subject.tree, &names));
    Ok(found)
}

fn shown(component: &Value) -> &str {
    component["purl"].as_str().or_else(|| component["name"].as_str()).unwrap_or("a component without a name")
}

/// What is wrong with a component.
fn fault(component: &Value, tree: &Tree) -> Option<String> {
    let (Some(name), Some(version)) = (component["name"].as_str(), component["version"].as_str()) else {
        return Some("it has no name or no version".into());
    };
    if name.is_empty() || version.is_empty() {
        return Some("its name or version is empty".into());
    }
    if component["purl"].as_str().is_some_and(|purl| purl.starts_with("pkg:deb/")) {
        return debian(component, name, tree);
    }
    match component["licenses"][0]["expression"].as_str() {
        None => Some("it has no licence".into()),
        Some(expression) if permits(expression) => None,
        Some(expression) => {
            Some(format!("{expression} is not among the licences that are known to permit it"))
        }
    }
}

/// Debian's packages carry their licences in the tree.
fn debian(component: &Value, name: &str, tree: &Tree) -> Option<String> {
    let section = component["properties"].as_array().into_iter().flatten();
    let section = section.filter(|one| one["name"] == "debian:section").find_map(|one| one["value"].as_str());
    if section.is_some_and(|section| section.starts_with("non-free")) && !REDISTRIBUTABLE.contains(&name) {
        return Some("it is not free, and nobody has read whether it may be handed out".into());
    }
    let folder = format!("usr/share/doc/{name}");
    let folder = match tree.get(&folder).map(|entry| &entry.kind) {
        Some(Kind::Link(target)) => format!("usr/share/doc/{target}"),
        _ => folder,
    };
    let copyright = format!("{folder}/copyright");
    tree.get(&copyright).is_none().then(|| format!("/{copyright} is missing"))
}

/// Whether an SPDX expression leaves a choice of known licences: every part of an AND, one of an OR.
///
/// Parentheses are left out of account, which is right as long as they hold alternatives.
fn permits(expression: &str) -> bool {
    let known = |licence: &str| {
        let licence = licence.trim_matches(['(', ')', ' ']);
        PERMISSIVE.contains(&licence.strip_suffix(" WITH LLVM-exception").unwrap_or(licence))
    };
    expression.split(" AND ").all(|part| part.split(" OR ").any(known))
}

/// What is in the tree and not in the bill.
fn holes(tree: &Tree, names: &BTreeSet<&str>) -> Vec<String> {
    let libraries = tree.entries().filter_map(|(path, _)| {
        let file = path.strip_prefix(OWN_LIBRARIES)?.strip_prefix('/')?;
        let component =
            LIBRARIES.iter().find(|(start, _)| file.starts_with(start)).map(|(_, component)| component);
        let listed = component.is_some_and(|component| names.contains(component));
        (!listed).then(|| format!("/{path} is part of no component"))
    });
    let models = tree.entries().filter_map(|(path, entry)| {
        let id = path.strip_prefix(MODELS)?;
        let is_model = entry.kind == Kind::Folder && !id.contains('/');
        (is_model && !names.contains(id)).then(|| format!("/{path} is no component"))
    });
    libraries.chain(models).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn findings(components: &Value, tree: Tree) -> Vec<String> {
        let subject = Subject { bill: json!({"components": components}), ..Subject::of(tree) };
        check(&subject).unwrap()
    }

    fn package(name: &str, section: &str) -> Value {
        json!({"name": name, "version": "1", "purl": format!("pkg:deb/debian/{name}@1"),
               "properties": [{"name": "debian:section", "value": section}]})
    }

    fn linked(name: &str, licence: &str) -> Value {
        json!({"name": name, "version": "1", "purl": format!("pkg:cargo/{name}@1"),
               "licenses": [{"expression": licence}]})
    }

    #[test]
    fn a_whole_bill_passes() {
        let tree = Tree::default()
            .file("usr/share/doc/gcc-14-base/copyright", 0o644, "")
            .link("usr/share/doc/libgomp1", "gcc-14-base")
            .file("usr/share/doc/firmware-realtek/copyright", 0o644, "")
            .file("usr/lib/actionbooster/libggml-base.so.0", 0o644, "")
            .folder("usr/share/actionbooster/models/guide", 0o755);
        let components = json!([
            package("libgomp1", "libs"),
            package("firmware-realtek", "non-free-firmware/kernel"),
            linked("llama-cpp-sys-2", "MIT OR Apache-2.0"),
            linked("encoding", "(Apache-2.0 OR MIT) AND BSD-3-Clause"),
            linked("wasi", "Apache-2.0 WITH LLVM-exception OR GPL-2.0"),
            linked("guide", "MIT"),
        ]);
        assert_eq!(findings(&components, tree), Vec::<String>::new());
    }

    #[test]
    fn holes_and_strange_licences_are_named() {
        let nothing = Tree::default;
        let doc = |name: &str| nothing().file(&format!("usr/share/doc/{name}/copyright"), 0o644, "");
        for (components, tree, wanted) in [
            (json!([package("x", "libs")]), nothing(), "/usr/share/doc/x/copyright is missing"),
            (json!([package("blob", "non-free-firmware/kernel")]), doc("blob"), "is not free"),
            (json!([linked("x", "GPL-3.0")]), nothing(), "GPL-3.0"),
            (json!([linked("x", "MIT AND GPL-3.0")]), nothing(), "MIT AND GPL-3.0"),
            (json!([{"name": "x", "version": "1"}]), nothing(), "no licence"),
            (json!([{"name": "x"}]), nothing(), "no version"),
            (json!([]), nothing().file("usr/lib/actionbooster/libonnxruntime.so", 0o644, ""), "no component"),
            (json!([]), nothing().folder("usr/share/actionbooster/models/new", 0o755), "no component"),
        ] {
            let found = findings(&components, tree);
            assert!(found.len() == 1 && found[0].contains(wanted), "{wanted}: {found:?}");
        }
    }
}
