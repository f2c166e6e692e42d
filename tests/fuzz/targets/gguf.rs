//! Heads of GGUF files: refused or read, never a panic, an abort or a lot of memory.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = actionbooster_models::gguf::read(std::io::Cursor::new(bytes), bytes.len() as u64);
});
