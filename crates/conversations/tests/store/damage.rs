use std::fs;
use std::path::Path;

use actionbooster_conversations::{ConversationError, Selection};

use crate::support::{add, find, id, open, owner, texts, titled};

const FILE: &str = "conversations.db";

async fn filled(folder: &Path) {
    let store = open(folder);
    let owner = owner(&store).await;
    store.put(&owner, id(1), titled("kept")).await.expect("kept");
    for number in 1..=50 {
        add(&store, &owner, 1, number, &"words of a turn ".repeat(200)).await.expect("kept");
    }
    store.close().await;
}

fn overwrite(file: &Path, from: usize, to: usize) {
    let mut bytes = fs::read(file).expect("file");
    let to = to.min(bytes.len());
    bytes[from..to].fill(0xa5);
    fs::write(file, bytes).expect("file");
}

#[tokio::test]
async fn a_damaged_file_is_put_aside_whole_and_a_new_one_begun() {
    for (from, to) in [(0, 100), (100, 4096), (20_000, 200_000)] {
        let folder = tempfile::tempdir().expect("folder");
        filled(folder.path()).await;
        let file = folder.path().join(FILE);
        overwrite(&file, from, to);
        let damaged = fs::read(&file).expect("file");
        let store = open(folder.path());
        let owner = owner(&store).await;
        store.put(&owner, id(2), titled("new")).await.expect("a new file takes it");
        let listed = store.list(&owner, Selection::default()).await.expect("a page").conversations;
        assert_eq!(listed.len(), 1, "{from}");
        let aside = store.put_aside();
        assert!(aside.iter().any(|file| fs::read(file).expect("file") == damaged), "{from}: {aside:?}");
        assert!(store.remove_put_aside().expect("removed") >= 1 && store.put_aside().is_empty());
        assert_eq!(texts(&store, &owner, 2).await.len(), 0);
    }
}

#[tokio::test]
async fn damage_that_is_met_later_is_told_and_the_next_request_works() {
    let folder = tempfile::tempdir().expect("folder");
    filled(folder.path()).await;
    let store = open(folder.path());
    let owner = owner(&store).await;
    store.list(&owner, Selection::default()).await.expect("opened");
    overwrite(&folder.path().join(FILE), 4096, usize::MAX);
    let conversation = store.get(&owner, id(1)).await.map(drop);
    let told = match conversation {
        Err(error) => error,
        // What it needs may be in memory still; the turns are not.
        Ok(()) => store.turns(&owner, 1, 0).await.expect_err("damaged"),
    };
    assert!(matches!(told, ConversationError::Damaged), "{told:?}");
    assert!(told.to_string().contains("put aside"), "{told}");
    store.put(&owner, id(2), titled("new")).await.expect("a new file takes it");
    assert!(!store.put_aside().is_empty());
}

#[tokio::test]
async fn an_index_that_is_damaged_is_made_anew_and_nothing_is_lost() {
    let folder = tempfile::tempdir().expect("folder");
    filled(folder.path()).await;
    let file = rusqlite::Connection::open(folder.path().join(FILE)).expect("opens");
    file.execute("UPDATE text_index_data SET block = x'a5a5a5a5a5' WHERE id > 1", []).expect("damaged");
    drop(file);
    let store = open(folder.path());
    let owner = owner(&store).await;
    assert_eq!(find(&store, &owner, "words").await.len(), 1);
    assert_eq!(texts(&store, &owner, 1).await.len(), 50);
    assert!(store.put_aside().is_empty());
}

#[tokio::test]
async fn a_file_of_a_later_version_is_used_as_it_is() {
    let folder = tempfile::tempdir().expect("folder");
    filled(folder.path()).await;
    let file = rusqlite::Connection::open(folder.path().join(FILE)).expect("opens");
    file.execute_batch("ALTER TABLE turn ADD COLUMN colour TEXT; PRAGMA user_version = 99;").expect("later");
    drop(file);
    let store = open(folder.path());
    let owner = owner(&store).await;
    add(&store, &owner, 1, 100, "of an older program").await.expect("kept");
    assert_eq!(texts(&store, &owner, 1).await.len(), 51);
    store.close().await;
    let file = rusqlite::Connection::open(folder.path().join(FILE)).expect("opens");
    let version: u32 = file.pragma_query_value(None, "user_version", |row| row.get(0)).expect("version");
    assert_eq!(version, 99);
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_told_and_tried_again() {
    let root = tempfile::tempdir().expect("folder");
    let folder = root.path().join("conversations");
    fs::write(&folder, "in the way").expect("file");
    let store = open(&folder);
    let owner = owner(&store).await;
    let refused = store.put(&owner, id(1), titled("x")).await.map(drop);
    assert!(matches!(refused, Err(ConversationError::Unavailable(_))), "{refused:?}");
    fs::remove_file(&folder).expect("removed");
    store.put(&owner, id(1), titled("x")).await.expect("kept");
}
