//! Conversations that the portal and programs keep on the box: one SQLite file, searchable, each account its own.
//!
//! Everything goes through [`Conversations`]. Whoever asks takes a [`Permit`] first, which says whose
//! conversations are meant and bounds how much one account does at once; there is no way to name another's.
//! SQLite runs on a thread of its own.

mod account;
mod change;
mod database;
mod error;
mod limits;
mod permits;
mod read;
mod room;
mod schema;
mod search;
mod store;
mod thread;
mod write;

pub use account::Account;
pub use change::{Change, Kind, TurnChange};
pub use error::ConversationError;
pub use limits::Limits;
pub use permits::Permit;
pub use read::{Conversation, Page, Selection, Summary, Turn};
pub use store::{Conversations, Held, Put};
pub use uuid::Uuid;
