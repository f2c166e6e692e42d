//! Generations over HTTP: texts, images and videos are asked for, and what was made is looked at.

pub(crate) mod assets;
mod error;
pub(crate) mod generations;
mod local_models;
mod requester;
pub(crate) mod text;

pub(crate) use local_models::Models;
