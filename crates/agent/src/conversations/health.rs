//! What the conversations take, and whether something of them was damaged.

use std::time::Instant;

use actionbooster_chassis::health::{Health, Status};
use actionbooster_conversations::{Account, Conversations, Held};
use actionbooster_storage::{Usage, measure};
use serde_json::{Value, json};

/// Tells of files that were put aside. Blocks for the time of reading a folder.
pub(crate) fn report_health(conversations: &Conversations, health: &Health) {
    let aside = conversations.put_aside();
    let names: Vec<String> = aside.iter().map(|file| file.display().to_string()).collect();
    let detail = match names.as_slice() {
        [] => String::new(),
        names => format!(
            "a damaged file of conversations was put aside: {}; new ones are kept. Copy it if what it holds is \
             missed, then delete it with `boosterctl storage delete-conversations damaged`",
            names.join(", ")
        ),
    };
    let status = if detail.is_empty() { Status::Ok } else { Status::Degraded };
    health.set("conversations", status, detail);
}

/// What each account's conversations take, of all that the folder takes, and what was put aside. Blocks.
pub(crate) fn usage(conversations: &Conversations, held: &[Held], deadline: Instant) -> Vec<(Usage, Value)> {
    let all = measure(conversations.folder(), deadline);
    let aside =
        conversations.put_aside().iter().fold(Usage::default(), |sum, file| sum.and(measure(file, deadline)));
    let bytes: u64 = held.iter().map(|held| held.bytes).sum();
    let file_bytes = all.bytes.saturating_sub(aside.bytes);
    let mut items = Vec::new();
    for Held { account, conversations, bytes: own } in held {
        // The file's index and its free pages belong to all, by what they have.
        let share = u128::from(file_bytes) * u128::from(*own) / u128::from(bytes.max(1));
        let usage = Usage { bytes: u64::try_from(share).unwrap_or(u64::MAX), files: 0, partly: all.partly };
        let name = match account {
            Account::Owner => "owner".to_owned(),
            Account::Key(id) => id.clone(),
        };
        let free = json!({"path": format!("/api/v1/conversations?account={account}")});
        let item = json!({
            "id": account.to_string(),
            "name": name,
            "conversations": conversations,
            "free": free,
        });
        items.push((usage, item));
    }
    if aside.files > 0 {
        let item = json!({
            "id": "damaged",
            "name": "damaged",
            "free": {"path": "/api/v1/conversations/damaged"},
        });
        items.push((aside, item));
    }
    items
}
