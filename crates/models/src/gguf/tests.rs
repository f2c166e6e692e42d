use std::io::Cursor;

use super::{GgufError, Header, Value, read};

fn text(value: &str) -> Vec<u8> {
    [&(value.len() as u64).to_le_bytes()[..], value.as_bytes()].concat()
}

fn head(version: u32, tensors: u64, keys: u64) -> Vec<u8> {
    [b"GGUF".to_vec(), version.to_le_bytes().into(), tensors.to_le_bytes().into(), keys.to_le_bytes().into()]
        .concat()
}

fn key(name: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [text(name), kind.to_le_bytes().into(), value.into()].concat()
}

fn list(kind: u32, length: u64, content: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &length.to_le_bytes(), content].concat()
}

fn tensor(name: &str, dimensions: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let mut bytes = [text(name), (dimensions.len() as u32).to_le_bytes().into()].concat();
    for dimension in dimensions {
        bytes.extend(dimension.to_le_bytes());
    }
    bytes.extend(kind.to_le_bytes());
    bytes.extend(offset.to_le_bytes());
    bytes
}

/// A header of these keys (after the architecture) and tensors, and `data` bytes after it.
fn file(keys: &[Vec<u8>], tensors: &[Vec<u8>], data: usize) -> Vec<u8> {
    let mut bytes = [
        head(3, tensors.len() as u64, keys.len() as u64 + 1),
        key("general.architecture", 8, &text("llama")),
        keys.concat(),
        tensors.concat(),
    ]
    .concat();
    bytes.resize(bytes.len().next_multiple_of(32) + data, 0);
    bytes
}

fn parse(bytes: &[u8]) -> Result<Header, GgufError> {
    read(Cursor::new(bytes), bytes.len() as u64)
}

fn good() -> Vec<u8> {
    let numbers: Vec<u8> = [3_i32, 1, 4].iter().flat_map(|number| number.to_le_bytes()).collect();
    let keys = [
        key("llama.block_count", 4, &7_u32.to_le_bytes()),
        key("llama.attention.head_count_kv", 9, &list(5, 3, &numbers)),
        key("tokenizer.ggml.tokens", 9, &list(8, 2, &[text("a"), text("ñ")].concat())),
        key("empty", 9, &list(8, 0, &[])),
        key("none", 9, &list(4, 0, &[])),
        key("scores", 9, &list(6, 1, &1.5_f32.to_le_bytes())),
        key("general.alignment", 4, &32_u32.to_le_bytes()),
    ];
    file(&keys, &[tensor("w", &[32, 2], 8, 0), tensor("v", &[3], 0, 96)], 96 + 12)
}

#[test]
fn an_honest_header_is_read() {
    let header = parse(&good()).expect("reads");
    assert_eq!(header.architecture(), "llama");
    assert_eq!(header.integer("block_count"), Some(7));
    assert_eq!(header.value("attention.head_count_kv"), Some(&Value::Integers(vec![3, 1, 4])));
    assert_eq!(header.vocabulary(), Some(2));
    assert_eq!(header.metadata["empty"], Value::Array(0));
    assert_eq!(header.metadata["none"], Value::Integers(vec![]));
    assert_eq!(header.metadata["scores"], Value::Array(1));
    assert_eq!((header.tensors, header.tensor_bytes), (2, 68 + 12));
}

#[test]
fn every_truncation_is_refused_without_panic() {
    let bytes = good();
    for length in 0..bytes.len() {
        assert!(parse(&bytes[..length]).is_err(), "cut at {length}");
    }
}

#[test]
fn no_changed_byte_makes_the_reader_panic() {
    let bytes = good();
    for at in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[at] = value;
            // Accepted or refused: what matters is that it ends.
            let _ = parse(&changed);
        }
    }
}

#[test]
fn dishonest_files_are_refused_with_their_reason() {
    let number = |name: &str, value: u32| key(name, 4, &value.to_le_bytes());
    let one = || vec![tensor("w", &[32], 8, 0)];
    let long_text = [head(3, 1, 1), (1_u64 << 40).to_le_bytes().into()].concat();
    let lying_text = [head(3, 1, 1), (1_u64 << 20).to_le_bytes().into()].concat();
    let nested = key("k", 9, &list(9, 1, &[]));
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"PK\x03\x04rest of a zip".to_vec(), "not a GGUF"),
        (Vec::new(), "ends in the middle"),
        (head(1, 1, 0), "version 1"),
        (head(3_u32.swap_bytes(), 1, 0), "big-endian"),
        (head(3, u64::MAX, 0), "number of tensors"),
        (head(3, 1, u64::MAX), "metadata keys"),
        (file(&[], &[], 0), "no weights"),
        (file(&[number("split.count", 3)], &one(), 34), "split in 3"),
        (file(&[key("general.type", 8, &text("adapter"))], &one(), 34), "adapter"),
        ([head(3, 1, 0), tensor("w", &[32], 8, 0), vec![0; 99]].concat(), "architecture"),
        (long_text, "length of a text"),
        (lying_text, "ends in the middle"),
        (file(&[key("k", 8, &list(0, 0, &[])[4..])], &[], 0), "no weights"),
        (file(&[key("k", 99, &[])], &one(), 34), "type 99"),
        (file(&[nested], &one(), 34), "array type 9"),
        (file(&[key("k", 9, &list(4, u64::MAX, &[]))], &one(), 34), "length of an array"),
        (file(&[key("k", 9, &list(4, 1 << 20, &[]))], &one(), 34), "ends in the middle"),
        (file(&[key("k", 8, &[&3_u64.to_le_bytes()[..], b"\xff\xfe\xfd"].concat())], &one(), 34), "UTF-8"),
        (file(&[number("k", 1), number("k", 2)], &one(), 34), "names k twice"),
        (file(&[number("general.alignment", 0)], &one(), 34), "power of two"),
        (file(&[number("general.alignment", 48)], &one(), 34), "power of two"),
        (file(&[number("general.alignment", 1 << 30)], &one(), 34), "alignment is"),
        (file(&[], &[tensor("w", &[u64::MAX - 31, u64::MAX], 8, 0)], 34), "ends at byte"),
        (file(&[], &one(), 33), "ends at byte"),
        (file(&[], &[tensor("w", &[33], 8, 0)], 68), "blocks of 32"),
        (file(&[], &[tensor("w", &[4], 77, 0)], 34), "tensor type 77"),
        (file(&[], &[tensor("w", &[4], 4, 0)], 34), "tensor type 4"),
        (file(&[], &[tensor("w", &[1; 9], 0, 0)], 34), "dimensions"),
        (file(&[], &[tensor(&"w".repeat(64), &[1], 0, 0)], 34), "tensor's name"),
        (file(&[], &[tensor("w", &[32], 8, 0), tensor("w", &[32], 8, 64)], 128), "names w twice"),
        (file(&[], &[tensor("w", &[32], 8, 0), tensor("v", &[32], 8, 0)], 128), "begins at 0 instead of 64"),
    ];
    for (bytes, reason) in cases {
        let error = parse(&bytes).expect_err(reason).to_string();
        assert!(error.contains(reason), "{reason}: {error}");
    }
}

#[test]
fn the_text_of_a_header_is_bounded_altogether() {
    let large = text(&"x".repeat(15 << 20));
    let keys: Vec<Vec<u8>> = (0..6).map(|number| key(&format!("k{number}"), 8, &large)).collect();
    let error = parse(&file(&keys, &[tensor("w", &[32], 8, 0)], 34)).expect_err("refused").to_string();
    assert!(error.contains("text of the header"), "{error}");
}

/// The files that the project's models are tried with; absent in a plain checkout.
#[test]
fn real_files_are_read_or_refused_for_what_they_are() {
    let open = |path: &str| -> Option<Result<Header, GgufError>> {
        let path = std::path::Path::new(path);
        let Ok(file) = std::fs::File::open(path) else {
            eprintln!("skipped: {} is not there", path.display());
            return None;
        };
        let size = file.metadata().expect("metadata").len();
        Some(read(file, size))
    };
    if let Some(header) = open("/src/shared/assets/stories260K.gguf") {
        let header = header.expect("reads");
        assert_eq!((header.architecture(), header.vocabulary()), ("llama", Some(512)));
        assert_eq!(header.tensors, 48);
    }
    if let Some(refusal) = open("/src/shared/assets/ggml-vocab-bert-bge.gguf") {
        assert!(matches!(refusal, Err(GgufError::NoTensors)), "{refusal:?}");
    }
    // This copy went through a program that took it for text: its numbers are replacement characters.
    if let Some(refusal) = open("/src/shared/assets/ggml-vocab-llama-spm.gguf") {
        assert!(refusal.is_err(), "{refusal:?}");
    }
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/models/guide/guide.gguf");
    let header = open(guide).expect("the guide is part of the repository").expect("reads");
    assert!(header.tensor_bytes < 4 << 20, "{}", header.tensor_bytes);
}
