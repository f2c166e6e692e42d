//! What takes the space: each daemon counts its own folders, which nobody else may read, and tells.

use std::path::Path;
use std::time::{Duration, Instant};

use actionbooster_chassis::Paths;
use actionbooster_storage::{Usage, measure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::health;

/// Where a daemon tells what it keeps.
const PATH: &str = "/usage";
/// Daemons that keep something.
const DAEMONS: [&str; 2] = ["agent", "worker"];
/// Daemons count for two seconds at most; one that takes longer is left out and named.
const LIMIT: Duration = Duration::from_secs(4);
/// Counting files here may take so long.
const COUNT: Duration = Duration::from_secs(1);
/// Journals and what else the system logs. Their sizes are no secret, their content is.
const LOGS: &str = "/var/log";

/// A daemon's answer.
#[derive(Deserialize)]
struct Answer {
    parts: Vec<Part>,
}

/// Things of one kind. The daemons say more of each thing; it is passed on.
#[derive(Debug, Serialize, Deserialize)]
struct Part {
    kind: String,
    bytes: u64,
    files: u64,
    partly: bool,
    items: Vec<Value>,
}

/// Everything that takes space, the largest first, and which daemons did not tell.
pub(super) async fn count(paths: &Paths, used_bytes: u64) -> Value {
    let ask = async |name: &'static str| {
        let socket = paths.socket(name);
        let answer = tokio::time::timeout(LIMIT, health::ask::<Answer>(&socket, PATH)).await;
        (name, answer.map_err(anyhow::Error::from).flatten())
    };
    let [first, second] = DAEMONS;
    let (first, second, logs) = tokio::join!(ask(first), ask(second), logs(paths));
    let (mut parts, mut silent) = (vec![logs], Vec::new());
    for (name, answer) in [first, second] {
        match answer {
            Ok(answer) => parts.extend(answer.parts),
            Err(error) => {
                tracing::warn!(%error, name, "a daemon does not tell what it keeps");
                silent.push(name);
            }
        }
    }
    json!({"parts": with_the_rest(parts, used_bytes), "silent": silent})
}

async fn logs(paths: &Paths) -> Part {
    let folder = paths.root().join(Path::new(LOGS).strip_prefix("/").unwrap_or(Path::new(LOGS)));
    let counted = tokio::task::spawn_blocking(move || measure(&folder, Instant::now() + COUNT)).await;
    let Usage { bytes, files, partly } = counted.unwrap_or_default();
    Part { kind: "logs".into(), bytes, files, partly, items: Vec::new() }
}

/// What nobody told of is the system's: the file system's own tables, packages' states, the owner's home.
fn with_the_rest(mut parts: Vec<Part>, used_bytes: u64) -> Vec<Part> {
    parts.sort_by(|one, other| other.bytes.cmp(&one.bytes).then_with(|| one.kind.cmp(&other.kind)));
    let told: u64 = parts.iter().map(|part| part.bytes).fold(0, u64::saturating_add);
    let bytes = used_bytes.saturating_sub(told);
    parts.push(Part { kind: "system".into(), bytes, files: 0, partly: false, items: Vec::new() });
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(kind: &str, bytes: u64) -> Part {
        Part { kind: kind.into(), bytes, files: 1, partly: false, items: Vec::new() }
    }

    #[test]
    fn the_largest_comes_first_and_the_rest_is_the_systems() {
        let named = |used| {
            let parts = with_the_rest(vec![part("logs", 5), part("models", 70), part("assets", 5)], used);
            parts.into_iter().map(|part| format!("{} {}", part.kind, part.bytes)).collect::<Vec<_>>()
        };
        assert_eq!(named(100), ["models 70", "assets 5", "logs 5", "system 20"]);
        // Files that came while it was counted.
        assert_eq!(named(60)[3], "system 0");
    }

    #[tokio::test]
    async fn daemons_that_do_not_answer_are_named_and_hide_nothing_else() {
        let root = tempfile::tempdir().expect("folder");
        std::fs::create_dir_all(root.path().join("var/log")).expect("folder");
        std::fs::write(root.path().join("var/log/one"), vec![1; 100_000]).expect("file");
        let told = count(&Paths::below(root.path()), 1 << 20).await;
        assert_eq!(told["silent"], json!(["agent", "worker"]));
        assert_eq!(told["parts"][0]["kind"], "logs");
        assert!(told["parts"][0]["bytes"].as_u64() >= Some(100_000), "{told}");
    }
}
