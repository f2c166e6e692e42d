use actionbooster_conversations::{Change, ConversationError, Limits, TurnChange};

use crate::support::{add, find, id, key, open, owner, saying, texts, titled, with_limits};

const LIMITS: Limits =
    Limits { turn_bytes: 4000, conversation_bytes: 20_000, turns: 8, conversations: 3, file_bytes: 64 << 20 };

#[test]
fn the_limits_are_those_that_are_promised() {
    let of_a_large_disk = Limits::of(1 << 40);
    assert_eq!((of_a_large_disk.turn_bytes, of_a_large_disk.turns), (1 << 20, 2000));
    assert_eq!((of_a_large_disk.conversation_bytes, of_a_large_disk.conversations), (16 << 20, 10_000));
    assert_eq!(of_a_large_disk.file_bytes, (1 << 40) / 10);
}

#[tokio::test]
async fn what_is_too_much_is_refused_and_what_is_kept_stays() {
    let folder = tempfile::tempdir().expect("folder");
    let store = with_limits(folder.path(), LIMITS);
    let owner = owner(&store).await;
    store.put(&owner, id(1), titled(&"ñ".repeat(200))).await.expect("200 characters");
    let names = |count: usize, bytes| Some(vec!["m".repeat(bytes); count]);
    let refused = [
        titled(&"ñ".repeat(201)),
        Change { system: Some("x".repeat((64 << 10) + 1)), ..Change::default() },
        Change { models: names(33, 1), ..Change::default() },
        Change { models: names(1, 257), ..Change::default() },
    ];
    for change in refused {
        let outcome = store.put(&owner, id(1), change).await;
        assert!(matches!(outcome, Err(ConversationError::Invalid { .. })), "{outcome:?}");
    }
    let large = "x".repeat(3000);
    let outcome = store.put_turn(&owner, id(1), id(1), saying(&large)).await;
    assert!(matches!(outcome, Err(ConversationError::TurnTooLarge { most: 4000, .. })), "{outcome:?}");

    for number in 1..=8 {
        add(&store, &owner, 1, number, "short").await.expect("kept");
    }
    let outcome = add(&store, &owner, 1, 9, "one more").await;
    assert!(matches!(outcome, Err(ConversationError::ConversationFull { .. })), "{outcome:?}");
    add(&store, &owner, 1, 8, "replaced").await.expect("one that is there may change");

    store.put(&owner, id(2), Change::default()).await.expect("kept");
    let half = "x".repeat(1900);
    for number in 1..=5 {
        add(&store, &owner, 2, number, &half).await.expect("kept");
    }
    let outcome = add(&store, &owner, 2, 6, &half).await;
    assert!(matches!(outcome, Err(ConversationError::ConversationFull { .. })), "{outcome:?}");
    add(&store, &owner, 2, 5, "smaller").await.expect("one may become smaller");

    store.put(&owner, id(3), Change::default()).await.expect("kept");
    let outcome = store.put(&owner, id(4), Change::default()).await;
    assert!(matches!(outcome, Err(ConversationError::TooMany { most: 3 })), "{outcome:?}");
    let other = store.permit(key("k")).await.expect("a permit");
    store.put(&other, id(4), Change::default()).await.expect("another account has its own");
    store.remove(&owner, id(3)).await.expect("removed");
    store.put(&owner, id(4), Change::default()).await.expect("there is room again");
    assert_eq!(texts(&store, &owner, 1).await.len(), 8);
}

#[tokio::test]
async fn keys_leave_half_of_the_room_to_the_owner_and_deleting_makes_room() {
    let folder = tempfile::tempdir().expect("folder");
    let limits = Limits { file_bytes: 4 << 20, ..Limits::of(0) };
    let store = with_limits(folder.path(), limits);
    let program = store.permit(key("k")).await.expect("a permit");
    let owner = owner(&store).await;
    let content = |bytes: usize| TurnChange {
        content: serde_json::Map::from_iter([("c".to_owned(), "x".repeat(bytes).into())]),
        text: String::new(),
    };
    for permit in [&program, &owner] {
        store.put(permit, id(1), Change::default()).await.expect("kept");
    }
    let mut kept = Vec::new();
    for permit in [&program, &owner] {
        let mut count = 0;
        let full = loop {
            match store.put_turn(permit, id(1), id(count), content(200 << 10)).await {
                Ok(_) => count += 1,
                Err(error) => break error,
            }
            assert!(count < 100, "it never ends");
        };
        kept.push(count);
        assert!(matches!(full, ConversationError::Full(_)), "{full:?}");
        let told = full.to_string();
        assert!(told.contains("delete some") && told.contains("delete-conversations"), "{told}");
    }
    assert!((9..=10).contains(&kept[0]), "{kept:?}: half of 4 MiB");
    assert!((7..=10).contains(&kept[1]), "{kept:?}: the rest");
    // What is there may change, and goes.
    store.put_turn(&owner, id(1), id(0), content(200 << 10)).await.expect("replaced");
    store.remove(&owner, id(1)).await.expect("removed");
    store.put(&owner, id(1), titled("again")).await.expect("kept");
    store.put_turn(&owner, id(1), id(1), content(900 << 10)).await.expect("there is room again");
}

#[tokio::test]
async fn what_is_deleted_is_neither_in_the_file_nor_takes_its_room() {
    let folder = tempfile::tempdir().expect("folder");
    let store = open(folder.path());
    let owner = owner(&store).await;
    store.put(&owner, id(1), titled("stays")).await.expect("kept");
    store.put(&owner, id(2), titled("Zanzibar")).await.expect("kept");
    for number in 1..=20 {
        add(&store, &owner, 2, number, &"Mogadiscio ".repeat(10_000)).await.expect("kept");
        add(&store, &owner, 1, number, "Reykjavik").await.expect("kept");
    }
    let inside = |word: &str| {
        let files = std::fs::read_dir(folder.path()).expect("folder");
        let bytes = files.map(|file| std::fs::read(file.expect("file").path()).expect("file"));
        let word = word.to_lowercase();
        bytes
            .flatten()
            .map(|byte| byte.to_ascii_lowercase())
            .collect::<Vec<u8>>()
            .windows(word.len())
            .any(|part| part == word.as_bytes())
    };
    let size = || {
        let files = std::fs::read_dir(folder.path()).expect("folder");
        files.map(|file| file.expect("file").metadata().expect("file").len()).sum::<u64>()
    };
    assert!(inside("Mogadiscio") && inside("Zanzibar") && size() > 4 << 20);
    store.remove(&owner, id(2)).await.expect("removed");
    assert!(!inside("Mogadiscio") && !inside("Zanzibar"), "it is still in the file");
    assert!(inside("Reykjavik") && size() < 1 << 20, "{}", size());
    assert_eq!(find(&store, &owner, "reykjavik").await.len(), 1);
}
