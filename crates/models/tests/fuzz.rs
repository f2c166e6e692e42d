//! A bounded run of the fuzz target `gguf`.

#[path = "../../../tests/fuzz/mutate.rs"]
mod mutate;

use std::io::Cursor;

#[test]
fn mutated_heads_are_refused_or_read() {
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/models/guide/guide.gguf");
    let whole = std::fs::read(guide).expect("the guide");
    let head = whole[..80_000].to_vec();
    // Lies about sizes matter most near the beginning; the second corpus is all head.
    mutate::run(&[whole], 7, 400, 2_000, |bytes| {
        let _ = actionbooster_models::gguf::read(Cursor::new(bytes), bytes.len() as u64);
    });
    mutate::run(&[head], 11, 4_000, 80_000, |bytes| {
        let _ = actionbooster_models::gguf::read(Cursor::new(bytes), 3 << 20);
    });
}
