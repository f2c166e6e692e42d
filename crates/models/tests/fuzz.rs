//! Bounded runs of the fuzz targets `gguf` and `onnx`.

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

#[test]
fn mutated_detectors_are_refused_or_looked_through() {
    let shapes = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/models/shapes/shapes.onnx");
    let whole = std::fs::read(shapes).expect("the detector");
    let sound = actionbooster_models::onnx::read(&whole).expect("sound");
    // What is read is within the file, whatever the file says.
    let check = |bytes: &[u8]| {
        if let Ok(head) = actionbooster_models::onnx::read(bytes) {
            assert!(head.nodes <= bytes.len() && head.weights_bytes <= bytes.len() as u64, "{head:?}");
        }
    };
    // Lengths matter most near the beginning of each message: the first of the graph's, and everywhere.
    mutate::run(std::slice::from_ref(&whole), 13, 4_000, 4_000, check);
    mutate::run(std::slice::from_ref(&whole), 19, 2_000, usize::MAX, check);
    for end in (0..whole.len()).step_by(997) {
        check(&whole[..end]);
    }
    assert!(sound.nodes > 0 && sound.weights_bytes < whole.len() as u64, "{sound:?}");
}
