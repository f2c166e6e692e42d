//! Bytes on a connection of `ai.proto`: messages or a refusal, the same in any pieces, in bounded memory.
#![no_main]

#[path = "../frames.rs"]
mod frames;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    frames::check(bytes);
});
