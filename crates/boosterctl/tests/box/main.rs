//! The program run against a box made of canned answers behind real sockets.
#![allow(clippy::unwrap_used, reason = "tests")]

mod camera;
mod commands;
mod console;
mod daemons;
mod remote;
mod slot;
mod support;
mod vision;
