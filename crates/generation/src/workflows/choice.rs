//! Which workflow and which checkpoint are used: the largest that the server has and has memory for.

use super::{Library, Made, Workflow};

/// What the request wants to be used.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selection {
    pub(crate) workflow: Option<String>,
    /// File name of a checkpoint.
    pub(crate) model: Option<String>,
}

/// What is used.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Choice {
    pub(crate) workflow: Workflow,
    /// As the server calls it.
    pub(crate) checkpoint: String,
    /// Why it is not what was wanted; told to the client.
    pub(crate) reason: Option<String>,
}

/// Chooses among the workflows that make this. The error says why none can be used and what to do.
///
/// When less than `free` bytes are left for what is wanted, the next smaller workflow is taken. A
/// checkpoint that the request names is used in any case, as nobody knows a smaller one like it.
pub(crate) fn choose(
    library: &Library,
    (made, from_image): (Made, bool),
    selection: &Selection,
    checkpoints: &[String],
    free: Option<u64>,
) -> Result<Choice, String> {
    let usable = usable(library, (made, from_image), selection, checkpoints)?;
    let (wanted, _) = usable.first().ok_or("there is no workflow for this")?;
    let fits =
        |(workflow, _): &&(&Workflow, String)| free.is_none_or(|free| workflow.needs_vram_bytes <= free);
    let found = usable.iter().find(fits);
    let (workflow, checkpoint) = found.or(usable.last()).ok_or("there is no workflow for this")?;
    let short = |free: u64| {
        let (needs, free) = (gigabytes(wanted.needs_vram_bytes), gigabytes(free));
        let name = &wanted.name;
        if found.is_some() {
            format!(
                "{name} needs {needs} of memory and the server has {free} free, so {} is used",
                workflow.name
            )
        } else {
            format!(
                "{name} needs {needs} of memory and the server has {free} free; {} may fail",
                workflow.name
            )
        }
    };
    let reason = free.filter(|free| wanted.needs_vram_bytes > *free).map(short);
    Ok(Choice { workflow: (*workflow).clone(), checkpoint: checkpoint.clone(), reason })
}

/// Memory that the largest usable workflow needs which `total` bytes can hold at all; when none can,
/// what the smallest needs.
pub(crate) fn roomiest(
    library: &Library,
    what: (Made, bool),
    selection: &Selection,
    checkpoints: &[String],
    total: u64,
) -> Option<u64> {
    let usable = usable(library, what, selection, checkpoints).ok()?;
    let mut needs = usable.iter().map(|(workflow, _)| workflow.needs_vram_bytes);
    needs.clone().find(|needs| *needs <= total).or_else(|| needs.next_back())
}

/// Workflows that could be used with their checkpoints, the wanted one first, then ever smaller ones.
fn usable<'a>(
    library: &'a Library,
    (made, from_image): (Made, bool),
    selection: &Selection,
    checkpoints: &[String],
) -> Result<Vec<(&'a Workflow, String)>, String> {
    let mut candidates = library.that_make(made, from_image);
    if let Some(name) = &selection.workflow {
        let at = candidates.iter().position(|workflow| workflow.name == *name);
        let at = at.ok_or_else(|| format!("there is no workflow {name} for this any more"))?;
        candidates.drain(..at);
    }
    if let Some(model) = &selection.model {
        let checkpoint = installed(model, checkpoints).ok_or_else(|| missing(&[model], checkpoints))?;
        let made_for = |workflow: &&&Workflow| is_called(&checkpoint, &workflow.checkpoint);
        let workflow = match &selection.workflow {
            Some(_) => candidates.first(),
            None => candidates.iter().find(made_for),
        };
        let workflow = workflow
            .ok_or_else(|| format!("no workflow is made for the checkpoint {model}; name a workflow, too"))?;
        return Ok(vec![(*workflow, checkpoint)]);
    }
    let names: Vec<&str> = candidates.iter().map(|workflow| workflow.checkpoint.as_str()).collect();
    // What was asked for by name must be there; smaller ones only replace it when memory is short.
    let first_is_there = names.first().is_some_and(|name| installed(name, checkpoints).is_some());
    if selection.workflow.is_some() && !first_is_there {
        return Err(missing(&names[..1], checkpoints));
    }
    let found: Vec<_> = candidates
        .iter()
        .filter_map(|workflow| Some((*workflow, installed(&workflow.checkpoint, checkpoints)?)))
        .collect();
    if found.is_empty() { Err(missing(&names, checkpoints)) } else { Ok(found) }
}

/// The server's own name for a checkpoint: with its folder, when it lies in one.
fn installed(wanted: &str, checkpoints: &[String]) -> Option<String> {
    checkpoints.iter().find(|name| is_called(name, wanted)).cloned()
}

/// Whether the server's `name` is that file, wherever it lies there.
pub(crate) fn is_called(name: &str, file: &str) -> bool {
    name.strip_suffix(file).is_some_and(|folder| folder.is_empty() || folder.ends_with(['/', '\\']))
}

fn missing(wanted: &[&str], checkpoints: &[String]) -> String {
    let mut names = wanted.to_vec();
    names.dedup();
    let names = names.join(" nor ");
    let has = if checkpoints.is_empty() {
        "It has none at all".to_owned()
    } else {
        let some: Vec<&str> = checkpoints.iter().take(8).map(String::as_str).collect();
        format!("It has {}", some.join(", "))
    };
    format!(
        "the server does not have the checkpoint {names}; put it into its folder models/checkpoints, or name one \
         that it has as \"model\", with a \"workflow\". {has}"
    )
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}
