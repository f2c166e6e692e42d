//! Requests of every API: refused or translated, never a panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| booster_agent::fuzzing::requests(bytes));
