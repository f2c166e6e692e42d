//! Mutations for the bounded runs: the same seed gives the same inputs, so that a failure can be repeated.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

/// Numbers that parsers get wrong.
const EDGES: [u64; 10] =
    [0, 1, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, i64::MAX as u64, u64::MAX];

/// Runs `check` on so many mutations of the corpus, of which the first `reach` bytes are changed.
pub fn run(corpus: &[Vec<u8>], seed: u64, count: usize, reach: usize, check: impl Fn(&[u8])) {
    let mut random = StdRng::seed_from_u64(seed);
    for input in corpus {
        check(input);
    }
    for _ in 0..count {
        let mut input = corpus.choose(&mut random).expect("a corpus").clone();
        for _ in 0..random.random_range(1..=6) {
            mutate(&mut input, reach, &mut random);
        }
        check(&input);
    }
}

fn mutate(input: &mut Vec<u8>, reach: usize, random: &mut StdRng) {
    let length = input.len().min(reach);
    if length == 0 {
        input.push(random.random());
        return;
    }
    let at = random.random_range(0..length);
    match random.random_range(0..7) {
        0 => input[at] ^= 1 << random.random_range(0..8),
        1 => input[at] = random.random(),
        2 => input.truncate(at),
        3 => {
            let end = (at + random.random_range(1..64)).min(input.len());
            input.drain(at..end);
        }
        4 => {
            let end = (at + random.random_range(1..64)).min(length);
            let piece = input[at..end].to_vec();
            let place = random.random_range(0..=length);
            input.splice(place..place, piece);
        }
        5 => {
            let width = *[1, 2, 4, 8].choose(random).expect("widths");
            let edge = EDGES.choose(random).expect("edges").to_le_bytes();
            for (byte, new) in input[at..].iter_mut().zip(&edge[..width]) {
                *byte = *new;
            }
        }
        _ => {
            let text = *["\"", "{", "[", "null", "-1", "1e999", "\\u0000", "\u{fffd}"]
                .choose(random)
                .expect("texts");
            input.splice(at..at, text.bytes());
        }
    }
}
