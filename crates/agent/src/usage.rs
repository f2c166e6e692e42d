//! What the agent keeps on the disk, for the monitor, which may not look into its folders.

use std::time::{Duration, Instant};

use actionbooster_chassis::{Json, Problem};
use actionbooster_generation::Assets;
use actionbooster_models::{Incoming, Store};
use actionbooster_storage::{Usage, measure};
use axum::extract::State;
use serde_json::{Value, json};

use crate::cameras::Recordings;
use crate::conversations;
use crate::state::Agent;

/// Counting ends after this; what was not counted is told as missing.
const LIMIT: Duration = Duration::from_secs(2);

/// `GET /usage`.
pub(crate) async fn usage(State(agent): State<Agent>) -> Result<Json<Value>, Problem> {
    // What cannot be asked now is missing here; health says why.
    let held = agent.conversations.held().await.unwrap_or_default();
    let counting = tokio::task::spawn_blocking(move || {
        let deadline = Instant::now() + LIMIT;
        json!({"parts": [
            models(agent.inference.index.store(), deadline),
            uploads(&agent.library.incoming, deadline),
            recordings(agent.cameras.recordings(deadline)),
            assets(agent.gateway.assets()),
            part("conversations", conversations::usage(&agent.conversations, &held, deadline)),
        ]})
    });
    counting.await.map(Json).map_err(Problem::internal)
}

/// Things of one kind, the largest first. Each thing comes with what it takes.
fn part(kind: &str, mut items: Vec<(Usage, Value)>) -> Value {
    items.sort_by_key(|(usage, _)| std::cmp::Reverse(usage.bytes));
    let all = items.iter().fold(Usage::default(), |all, (usage, _)| all.and(*usage));
    let items: Vec<Value> = items
        .into_iter()
        .map(|(usage, mut item)| {
            item["bytes"] = usage.bytes.into();
            item["files"] = usage.files.into();
            item
        })
        .collect();
    json!({"kind": kind, "bytes": all.bytes, "files": all.files, "partly": all.partly, "items": items})
}

/// The owner's models; those that came with the system take none of the data partition.
fn models(store: &Store, deadline: Instant) -> Value {
    let (models, _) = store.list();
    let own = models.into_values().filter(|model| !model.built_in);
    let items = own.map(|model| {
        let (id, usage) = (&model.manifest.id, measure(&model.folder, deadline));
        (
            usage,
            json!({"id": id, "name": model.manifest.name, "free": {"path": format!("/api/v1/models/{id}")}}),
        )
    });
    part("models", items.collect())
}

/// Models on their way in, also those that broke off.
fn uploads(incoming: &Incoming, deadline: Instant) -> Value {
    let uploads = incoming.list().unwrap_or_default().into_iter();
    let items = uploads.map(|upload| {
        let path = format!("/api/v1/models/uploads/{}", upload.upload);
        let usage = measure(&incoming.place(&upload.upload), deadline);
        (usage, json!({"id": upload.upload, "name": upload.id, "free": {"path": path}}))
    });
    part("uploads", items.collect())
}

/// What cameras recorded, also those that were removed.
fn recordings(cameras: Vec<Recordings>) -> Value {
    let items = cameras.into_iter().map(|camera| {
        let path = format!("/api/v1/cameras/{}/sessions", camera.id);
        let item = json!({
            "id": camera.id,
            "name": camera.name,
            "sessions": camera.sessions,
            "oldest": camera.oldest,
            // The query `older_than_days` says which go.
            "free": {"path": path, "older_than_days": true},
        });
        (camera.usage, item)
    });
    part("recordings", items.collect())
}

/// What was generated, by kind. Pinned ones are told apart: they stay when the others go.
fn assets(assets: &Assets) -> Value {
    let items = assets.sizes().unwrap_or_default().into_iter().map(|(kind, size)| {
        let usage = Usage { bytes: size.bytes, files: size.files, partly: false };
        let free = json!({"path": format!("/api/v1/assets?kind={}", kind.name())});
        let item = json!({
            "id": kind.name(),
            "name": kind.name(),
            "pinned_bytes": size.pinned_bytes,
            "free": free,
        });
        (usage, item)
    });
    part("assets", items.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_things_come_first_and_add_up() {
        let usage = |bytes| Usage { bytes, files: 2, partly: bytes == 7 };
        let told = part("models", vec![(usage(5), json!({"id": "a"})), (usage(7), json!({"id": "b"}))]);
        let expected = json!({
            "kind": "models", "bytes": 12, "files": 4, "partly": true,
            "items": [{"id": "b", "bytes": 7, "files": 2}, {"id": "a", "bytes": 5, "files": 2}],
        });
        assert_eq!(told, expected);
    }
}
