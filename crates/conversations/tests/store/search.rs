use actionbooster_conversations::Selection;

use crate::support::{add, find, id, open, owner, titled};

#[tokio::test]
async fn words_are_found_in_titles_and_turns_until_they_are_gone() {
    let folder = tempfile::tempdir().expect("folder");
    let store = open(folder.path());
    let owner = owner(&store).await;
    store.put(&owner, id(1), titled("Recetas de otoño")).await.expect("kept");
    store.put(&owner, id(2), titled("Trip")).await.expect("kept");
    let long = format!("{} pumpkin soup {}", "before ".repeat(500), "after ".repeat(500));
    add(&store, &owner, 1, 1, &long).await.expect("kept");
    add(&store, &owner, 2, 1, "a pumpkin again").await.expect("kept");

    let found = find(&store, &owner, "pumpkin").await;
    assert_eq!(found.iter().map(|one| one.title.as_str()).collect::<Vec<_>>(), ["Trip", "Recetas de otoño"]);
    let excerpt = found[1].excerpt.as_deref().expect("a place");
    assert!(excerpt.contains("pumpkin soup") && excerpt.len() < 400, "{excerpt}");
    for (words, expected) in [
        ("otono", 1),
        ("OTOÑO", 1),
        ("rece", 1),
        ("soup PUMP", 1),
        ("pumpkin trip", 0),
        ("pumpkins", 0),
        ("", 2),
        ("  ", 2),
    ] {
        assert_eq!(find(&store, &owner, words).await.len(), expected, "{words:?}");
    }
    assert_eq!(find(&store, &owner, "otoño").await[0].excerpt, None, "it stands in the title");

    add(&store, &owner, 2, 1, "a melon").await.expect("replaced");
    store.put(&owner, id(1), titled("Recipes")).await.expect("changed");
    assert_eq!(find(&store, &owner, "pumpkin").await.len(), 1);
    assert!(find(&store, &owner, "otoño").await.is_empty());
    store.remove_turn(&owner, id(1), id(1), false).await.expect("removed");
    assert!(find(&store, &owner, "pumpkin").await.is_empty());
    store.remove(&owner, id(2)).await.expect("removed");
    assert!(find(&store, &owner, "melon").await.is_empty());
}

#[tokio::test]
async fn whatever_is_typed_is_looked_for_and_never_an_error() {
    let folder = tempfile::tempdir().expect("folder");
    let store = open(folder.path());
    let owner = owner(&store).await;
    let text = "Don't say \"hello\" to title:x OR (NEAR) a^b {c} C++ 20% 😀 👩‍💻 日本語 x\0y";
    store.put(&owner, id(1), titled("one")).await.expect("kept");
    add(&store, &owner, 1, 1, text).await.expect("kept");
    for words in [
        "don't",
        "\"hello\"",
        "\"hello",
        "title:x",
        "OR",
        "(NEAR)",
        "a^b",
        "{c}",
        "c++",
        "20%",
        "😀",
        "👩‍💻",
        "日本",
        "hello*",
        "say -hello",
        "x\0y",
        "hello & say",
    ] {
        assert_eq!(find(&store, &owner, words).await.len(), 1, "{words:?}");
    }
    for words in [
        "*",
        "\"",
        "\"\"",
        "AND NOT",
        "hello OR nothere",
        "NEAR(say hello)",
        "title:nothere",
        "🎃",
        "'; DROP TABLE turn; --",
    ] {
        assert!(find(&store, &owner, words).await.is_empty(), "{words:?}");
    }
    assert!(find(&store, &owner, &"x".repeat(100_000)).await.is_empty());
}

#[tokio::test]
async fn a_search_comes_in_pages() {
    let folder = tempfile::tempdir().expect("folder");
    let store = open(folder.path());
    let owner = owner(&store).await;
    for number in 1..=5 {
        store.put(&owner, id(number), titled(&format!("plan {number}"))).await.expect("kept");
        store.put(&owner, id(100 + number), titled("other")).await.expect("kept");
    }
    let (mut titles, mut before) = (Vec::new(), None);
    loop {
        let selection = Selection { search: Some("plan".into()), before, limit: Some(2) };
        let page = store.list(&owner, selection).await.expect("a page");
        titles.extend(page.conversations.into_iter().map(|one| one.title));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(titles, ["plan 5", "plan 4", "plan 3", "plan 2", "plan 1"]);
}
