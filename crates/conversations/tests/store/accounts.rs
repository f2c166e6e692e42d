use std::sync::Arc;

use actionbooster_conversations::{Account, ConversationError, Kind, Selection};

use crate::support::{add, find, id, key, open, owner, saying, texts, titled, turns};

#[tokio::test]
async fn turns_keep_their_place_and_their_content() {
    let folder = tempfile::tempdir().expect("folder");
    let store = open(folder.path());
    let owner = owner(&store).await;
    let (made, new) = store.put(&owner, id(1), titled("First")).await.expect("kept");
    assert!(new && made.kind == Kind::Chat && made.turns == 0 && made.excerpt.is_none());
    for (turn, text) in [(30, "one"), (20, "two"), (10, "three")] {
        assert!(add(&store, &owner, 1, turn, text).await.expect("kept"));
    }
    assert!(!add(&store, &owner, 1, 20, "TWO").await.expect("replaced"));
    assert_eq!(texts(&store, &owner, 1).await, ["one", "TWO", "three"]);
    let second = &turns(&store, &owner, 1).await[1];
    assert_eq!(second.content, r#"{"answer":"TWO"}"#);
    assert!(second.created <= second.updated);
    let (changed, new) = store.put(&owner, id(1), titled("Again")).await.expect("changed");
    assert_eq!((changed.title.as_str(), changed.turns, new), ("Again", 3, false));
    store.remove_turn(&owner, id(1), id(20), true).await.expect("removed");
    assert_eq!(texts(&store, &owner, 1).await, ["one"]);
    add(&store, &owner, 1, 40, "other").await.expect("kept");
    store.remove_turn(&owner, id(1), id(30), false).await.expect("removed");
    assert_eq!(texts(&store, &owner, 1).await, ["other"]);
    let gone = store.remove_turn(&owner, id(1), id(30), false).await;
    assert!(matches!(gone, Err(ConversationError::MissingTurn)));
    store.close().await;
    let store = open(folder.path());
    assert_eq!(texts(&store, &crate::support::owner(&store).await, 1).await, ["other"], "after a restart");
}

#[tokio::test]
async fn what_is_not_said_of_a_conversation_stays() {
    let folder = tempfile::tempdir().expect("folder");
    let store = open(folder.path());
    let owner = owner(&store).await;
    let whole = serde_json::json!({"kind": "ask", "title": "T", "models": ["a", "b"], "system": "Be short."});
    store.put(&owner, id(1), serde_json::from_value(whole).expect("a change")).await.expect("kept");
    for part in [r"{}", r#"{"title": null}"#, r#"{"title": "U"}"#] {
        store.put(&owner, id(1), serde_json::from_str(part).expect(part)).await.expect("changed");
    }
    let found = store.get(&owner, id(1)).await.expect("is there");
    assert_eq!((found.summary.kind, found.summary.title.as_str()), (Kind::Ask, "U"));
    assert_eq!((found.summary.models, found.system.as_str()), (vec!["a".into(), "b".into()], "Be short."));
}

#[tokio::test]
async fn nobody_sees_or_changes_what_is_anothers() {
    let folder = tempfile::tempdir().expect("folder");
    let store = open(folder.path());
    let one = store.permit(key("one")).await.expect("a permit");
    let two = store.permit(key("two")).await.expect("a permit");
    store.put(&one, id(1), titled("secret plan")).await.expect("kept");
    add(&store, &one, 1, 1, "secret words").await.expect("kept");
    let key_of_one = store.get(&one, id(1)).await.expect("is there").key;

    let missing = |outcome: Result<(), ConversationError>| {
        assert!(matches!(outcome, Err(ConversationError::Missing)), "{outcome:?}");
    };
    missing(store.get(&two, id(1)).await.map(drop));
    missing(store.put_turn(&two, id(1), id(1), saying("mine")).await.map(drop));
    missing(store.remove_turn(&two, id(1), id(1), true).await);
    missing(store.remove(&two, id(1)).await);
    assert!(store.turns(&two, key_of_one, 0).await.expect("reads").is_empty());
    assert!(store.next(&two, 0).await.expect("reads").is_none());
    assert!(store.list(&two, Selection::default()).await.expect("reads").conversations.is_empty());
    assert!(find(&store, &two, "secret").await.is_empty());

    // The same identifier is another conversation.
    let (_, new) = store.put(&two, id(1), titled("other")).await.expect("kept");
    assert!(new);
    assert_eq!(store.clear(&key("two")).await.expect("removed"), 1);
    assert_eq!(texts(&store, &one, 1).await, ["secret words"]);
    assert_eq!(find(&store, &one, "secret").await.len(), 1);
}

#[tokio::test]
async fn pages_follow_each_other_whatever_changes_meanwhile() {
    let folder = tempfile::tempdir().expect("folder");
    let store = open(folder.path());
    let owner = owner(&store).await;
    for number in 1..=6 {
        store.put(&owner, id(number), titled(&number.to_string())).await.expect("kept");
    }
    let page = async |before| {
        let selection = Selection { before, limit: Some(2), search: None };
        let page = store.list(&owner, selection).await.expect("a page");
        (page.conversations.into_iter().map(|one| one.title).collect::<Vec<_>>().concat(), page.next)
    };
    let (first, next) = page(None).await;
    assert_eq!(first, "65");
    // The last of the page goes to the front, another one is new, and one of the next page is deleted.
    add(&store, &owner, 5, 1, "more").await.expect("kept");
    store.put(&owner, id(7), titled("7")).await.expect("kept");
    store.remove(&owner, id(4)).await.expect("removed");
    let (second, next) = page(next).await;
    assert_eq!(second, "32");
    let (third, next) = page(next).await;
    assert_eq!((third.as_str(), next), ("1", None));
    assert_eq!(page(None).await.0, "75");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_writers_at_once_lose_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Arc::new(open(folder.path()));
    store.put(&owner(&store).await, id(1), titled("shared")).await.expect("kept");
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..12_u128 {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            for number in 0..10_u128 {
                let permit = owner(&store).await;
                add(&store, &permit, 1, writer * 100 + number, "x").await.expect("kept");
                let other = store.permit(key(&writer.to_string())).await.expect("a permit");
                store.put(&other, id(number), titled("own")).await.expect("kept");
            }
        });
    }
    writers.join_all().await;
    let owner = owner(&store).await;
    assert_eq!(turns(&store, &owner, 1).await.len(), 120);
    assert_eq!(store.get(&owner, id(1)).await.expect("is there").summary.turns, 120);
    let held = store.held().await.expect("counted");
    assert_eq!(held.len(), 13);
    let of_owner = held.iter().find(|held| held.account == Account::Owner).expect("the owner's");
    assert_eq!(of_owner.conversations, 1);
    assert!(held.iter().filter(|held| held.account != Account::Owner).all(|held| held.conversations == 10));
}
