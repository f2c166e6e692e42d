use std::path::Path;

use actionbooster_conversations::{
    Account, Change, ConversationError, Conversations, Limits, Permit, Selection, Summary, Turn, TurnChange,
    Uuid,
};

pub fn open(folder: &Path) -> Conversations {
    Conversations::new(folder.to_path_buf()).expect("a thread")
}

pub fn with_limits(folder: &Path, limits: Limits) -> Conversations {
    Conversations::with_limits(folder.to_path_buf(), limits).expect("a thread")
}

pub fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

pub fn key(name: &str) -> Account {
    Account::Key(name.into())
}

pub async fn owner(store: &Conversations) -> Permit {
    store.permit(Account::Owner).await.expect("a permit")
}

pub fn titled(title: &str) -> Change {
    Change { title: Some(title.into()), ..Change::default() }
}

pub fn saying(text: &str) -> TurnChange {
    let content = serde_json::json!({"answer": text});
    TurnChange { content: content.as_object().cloned().expect("an object"), text: text.into() }
}

pub async fn add(
    store: &Conversations,
    permit: &Permit,
    conversation: u128,
    turn: u128,
    text: &str,
) -> Result<bool, ConversationError> {
    let put = store.put_turn(permit, id(conversation), id(turn), saying(text)).await;
    put.map(|(_, new)| new)
}

pub async fn turns(store: &Conversations, permit: &Permit, conversation: u128) -> Vec<Turn> {
    let key = store.get(permit, id(conversation)).await.expect("is there").key;
    let (mut turns, mut after) = (Vec::<Turn>::new(), 0);
    loop {
        let piece = store.turns(permit, key, after).await.expect("turns");
        let Some(last) = piece.last() else { return turns };
        after = last.key;
        turns.extend(piece);
    }
}

pub async fn texts(store: &Conversations, permit: &Permit, conversation: u128) -> Vec<String> {
    turns(store, permit, conversation).await.into_iter().map(|turn| turn.text).collect()
}

pub async fn find(store: &Conversations, permit: &Permit, words: &str) -> Vec<Summary> {
    let selection = Selection { search: Some(words.into()), ..Selection::default() };
    store.list(permit, selection).await.expect(words).conversations
}
