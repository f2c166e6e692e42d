//! Conversations as programs keep and find them.

mod accounts;
mod damage;
mod limits;
mod search;
mod support;
mod survives;
