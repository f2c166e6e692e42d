//! What is read of conversations. What may be long goes out piece by piece, at the client's pace, and holds
//! nothing meanwhile.

use std::sync::Arc;

use actionbooster_chassis::{Json, Problem};
use actionbooster_conversations::{
    Account, Conversation, ConversationError, Conversations, Page, Selection, Turn,
};
use async_stream::try_stream;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::{Stream, pin_mut};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::problem;
use super::{Admitted, malformed, parse_id};

/// Query of [`list`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    q: Option<String>,
    before: Option<String>,
    limit: Option<usize>,
}

/// `GET /api/v1/conversations?q=…&before=…&limit=…`.
pub(crate) async fn list(
    State(conversations): State<Arc<Conversations>>,
    wanted: Result<Query<Wanted>, QueryRejection>,
    Admitted(permit): Admitted,
) -> Result<Json<Value>, Problem> {
    let Query(Wanted { q, before, limit }) = wanted.map_err(|error| malformed(error.body_text()))?;
    let before = before.map(|cursor| cursor.parse()).transpose();
    let before = before.map_err(|_| malformed("`before` is not the `next` of another page."))?;
    let selection = Selection { search: q, before, limit };
    let Page { conversations, next } = conversations.list(&permit, selection).await.map_err(problem)?;
    Ok(Json(json!({"conversations": conversations, "next": next.map(|next| next.to_string())})))
}

/// `GET /api/v1/conversations/{id}`.
pub(crate) async fn show(
    State(conversations): State<Arc<Conversations>>,
    Path(id): Path<String>,
    Admitted(permit): Admitted,
) -> Result<Response, Problem> {
    let conversation = conversations.get(&permit, parse_id(&id)?).await.map_err(problem)?;
    let source = Source { conversations, account: permit.account().clone() };
    let pieces = source.whole(conversation);
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from_stream(pieces)).into_response())
}

/// `GET /api/v1/conversations/export`: all of the account, as a file.
pub(crate) async fn export(
    State(conversations): State<Arc<Conversations>>,
    Admitted(permit): Admitted,
) -> Result<Response, Problem> {
    let first = conversations.next(&permit, 0).await.map_err(problem)?;
    let source = Source { conversations, account: permit.account().clone() };
    let now = Timestamp::now();
    let name = now.strftime("conversations-%Y-%m-%d.json");
    let headers = [
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    Ok((headers, Body::from_stream(source.all(now, first))).into_response())
}

/// Where the pieces come from. Each is asked for by itself; a client that has stopped reading keeps no permit.
#[derive(Clone)]
struct Source {
    conversations: Arc<Conversations>,
    account: Account,
}

type Piece = Result<String, ConversationError>;

impl Source {
    /// A conversation with its turns.
    fn whole(self, conversation: Conversation) -> impl Stream<Item = Piece> + Send + 'static {
        try_stream! {
            let mut head = json(&conversation);
            // Into the object, in the place of its last brace.
            head.pop();
            yield format!("{head},\"turns\":[");
            let mut after = 0;
            loop {
                let turns = self.turns(conversation.key, after).await?;
                let begins = after == 0;
                let Some(last) = turns.last() else { break };
                after = last.key;
                let turns: Vec<String> = turns.iter().map(json).collect();
                yield format!("{}{}", if begins { "" } else { "," }, turns.join(","));
            }
            yield "]}".to_owned();
        }
    }

    fn all(self, now: Timestamp, first: Option<Conversation>) -> impl Stream<Item = Piece> + Send + 'static {
        try_stream! {
            yield format!("{{\"exported\":\"{now}\",\"conversations\":[");
            let mut next = first;
            let mut begins = true;
            while let Some(conversation) = next {
                let key = conversation.key;
                if !std::mem::take(&mut begins) {
                    yield ",\n".to_owned();
                }
                let pieces = self.clone().whole(conversation);
                pin_mut!(pieces);
                while let Some(piece) = futures::StreamExt::next(&mut pieces).await {
                    yield piece?;
                }
                let permit = self.conversations.permit(self.account.clone()).await?;
                next = self.conversations.next(&permit, key).await?;
            }
            yield "]}\n".to_owned();
        }
    }

    async fn turns(&self, conversation: i64, after: i64) -> Result<Vec<Turn>, ConversationError> {
        let permit = self.conversations.permit(self.account.clone()).await?;
        self.conversations.turns(&permit, conversation, after).await
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
