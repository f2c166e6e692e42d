//! Workflows: graphs for a ComfyUI server with places where a request's values go, kept as data.
//!
//! A workflow is a JSON file. Those of the image lie in the vendor folder; the owner's lie in
//! `/etc/actionbooster/workflows` and replace those with the same name. They are read when they are
//! needed, so a new one works without a restart.

mod choice;
mod fill;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub(crate) use choice::{Choice, Selection, choose, is_called, roomiest};
pub(crate) use fill::Values;

/// A graph larger than this was not made by hand.
const MOST_BYTES: u64 = 1 << 20;

/// What a workflow makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Made {
    /// An image.
    Image,
    /// A video.
    Video,
}

/// A value that a workflow takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Input {
    Checkpoint,
    Prompt,
    Negative,
    Seed,
    Steps,
    Cfg,
    Width,
    Height,
    /// Name of an uploaded image.
    Image,
    /// Share of the image that is made anew, above 0 and up to 1.
    Strength,
    Frames,
    /// Frames in a second.
    Fps,
}

/// A workflow, as its file says it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Workflow {
    pub(crate) name: String,
    pub(crate) kind: Made,
    pub(crate) description: Description,
    /// Memory that the server's device should have free.
    pub(crate) needs_vram_bytes: u64,
    /// File name of the checkpoint it is made for.
    pub(crate) checkpoint: String,
    pub(crate) defaults: Defaults,
    /// Where each value goes: node, and name of the node's input.
    inputs: BTreeMap<Input, (String, String)>,
    /// The graph in ComfyUI's API format.
    graph: Map<String, Value>,
}

/// The same in both languages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Description {
    en: String,
    es: String,
}

/// What is used when the request does not say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Defaults {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) negative: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) width: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) height: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) steps: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cfg: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) strength: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) frames: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fps: Option<u32>,
}

/// Every workflow there is, and what is wrong with those that cannot be used.
#[derive(Debug, Default)]
pub(crate) struct Library {
    pub(crate) workflows: BTreeMap<String, Workflow>,
    /// One sentence for each file, with its path.
    pub(crate) errors: Vec<String>,
}

impl Library {
    /// Reads the folders in their order; later ones replace earlier ones.
    pub(crate) fn read(folders: &[PathBuf]) -> Self {
        let mut library = Self::default();
        for folder in folders {
            for path in library.files(folder) {
                match Workflow::read(&path) {
                    Ok(workflow) => {
                        library.workflows.insert(workflow.name.clone(), workflow);
                    }
                    Err(reason) => library.errors.push(format!("{}: {reason}", path.display())),
                }
            }
        }
        library
    }

    fn files(&mut self, folder: &Path) -> Vec<PathBuf> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                self.errors.push(format!("{} cannot be read: {error}", folder.display()));
                return Vec::new();
            }
        };
        let is_json = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "json");
        let mut files: Vec<PathBuf> =
            entries.filter_map(Result::ok).map(|entry| entry.path()).filter(is_json).collect();
        files.sort();
        files
    }

    /// Those that make this, from an image or from words alone; those that need most memory first.
    pub(crate) fn that_make(&self, made: Made, from_image: bool) -> Vec<&Workflow> {
        let fits = |workflow: &&Workflow| workflow.kind == made && workflow.takes(Input::Image) == from_image;
        let mut found: Vec<&Workflow> = self.workflows.values().filter(fits).collect();
        found.sort_by_key(|workflow| std::cmp::Reverse(workflow.needs_vram_bytes));
        found
    }
}

impl Workflow {
    fn read(path: &Path) -> Result<Self, String> {
        let file = fs::File::open(path).map_err(|error| error.to_string())?;
        let mut text = String::new();
        file.take(MOST_BYTES + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
        if text.len() as u64 > MOST_BYTES {
            return Err(format!("it has more than {MOST_BYTES} bytes"));
        }
        let workflow = Self::parse(&text)?;
        if path.file_stem().is_none_or(|stem| stem != workflow.name.as_str()) {
            return Err(format!("its name is {:?}; call the file {}.json", workflow.name, workflow.name));
        }
        Ok(workflow)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let workflow: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        workflow.check()?;
        Ok(workflow)
    }

    pub(crate) fn takes(&self, input: Input) -> bool {
        self.inputs.contains_key(&input)
    }

    fn check(&self) -> Result<(), String> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if self.name.is_empty() || !self.name.bytes().all(plain) {
            return Err("`name` may have small letters, digits and hyphens only".into());
        }
        if self.checkpoint.is_empty() {
            return Err("`checkpoint` is empty; name the file of a checkpoint".into());
        }
        let mut needed = vec![Input::Checkpoint, Input::Prompt, Input::Seed];
        if self.kind == Made::Video {
            needed.push(Input::Frames);
        }
        for input in needed {
            if !self.takes(input) {
                return Err(format!("`inputs` does not say where {} goes", word(input)));
            }
        }
        for (id, node) in &self.graph {
            if !node["class_type"].is_string() || !node["inputs"].is_object() {
                return Err(format!(
                    "node {id} of `graph` has no `class_type` or no `inputs`; export the workflow in \
                     ComfyUI's API format"
                ));
            }
        }
        for (input, (node, name)) in &self.inputs {
            if self.graph.get(node).is_none_or(|node| node["inputs"].get(name).is_none()) {
                let word = word(*input);
                return Err(format!("{word} goes to {name:?} of node {node}, which `graph` does not have"));
            }
        }
        Values::default()
            .check(&self.defaults)
            .map_err(|(field, detail)| format!("`defaults`: {field}: {detail}"))
    }
}

fn word(input: Input) -> String {
    serde_json::to_value(input).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests;
