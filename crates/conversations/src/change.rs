//! What clients say, checked before it is kept.

use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::ConversationError;
use crate::limits::Limits;

/// Where a conversation was held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// With one model.
    #[default]
    Chat,
    /// With several at once.
    Ask,
}

impl ToSql for Kind {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Chat => "chat",
            Self::Ask => "ask",
        }
        .into())
    }
}

impl FromSql for Kind {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        // A later program may know more kinds; the box may have gone back to this one.
        Ok(if value.as_str()? == "ask" { Self::Ask } else { Self::Chat })
    }
}

/// A new conversation, or what is different in one; what is absent stays.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Change {
    /// Where it is held.
    pub kind: Option<Kind>,
    /// Its title.
    pub title: Option<String>,
    /// The models that it is held with.
    pub models: Option<Vec<String>>,
    /// Its system prompt.
    pub system: Option<String>,
}

impl Change {
    pub(crate) fn check(&self) -> Result<(), ConversationError> {
        let invalid = |param, detail| Err(ConversationError::Invalid { param, detail });
        let characters = self.title.as_ref().map_or(0, |title| title.chars().count());
        if characters > Limits::TITLE {
            let most = Limits::TITLE;
            return invalid("title", format!("`title` has {characters} characters; it may have {most}."));
        }
        let bytes = self.system.as_ref().map_or(0, String::len);
        if bytes > Limits::SYSTEM_BYTES {
            let most = Limits::SYSTEM_BYTES;
            return invalid("system", format!("`system` has {bytes} bytes; it may have {most}."));
        }
        let (most, longest) = Limits::MODELS;
        let models = self.models.as_deref().unwrap_or_default();
        if models.len() > most || models.iter().any(|model| model.len() > longest) {
            let detail = format!("`models` may have {most} names of {longest} bytes each.");
            return invalid("models", detail);
        }
        Ok(())
    }
}

/// A turn: what the client makes of it, and what search finds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TurnChange {
    /// Any object; it is given back as it is.
    pub content: Map<String, Value>,
    /// What search finds.
    #[serde(default)]
    pub text: String,
}
