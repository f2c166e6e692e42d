//! Which names of models somebody may have meant.

/// Names offered at most.
const OFFERED: usize = 3;
/// Texts of more bytes are like no name.
const LONGEST: usize = 256;

/// The known names most similar to `wanted`, best first; none when nothing is similar.
///
/// Similar means a few letters apart, or that one contains the other.
pub(super) fn similar<'a>(wanted: &str, known: impl Iterator<Item = &'a String>) -> Vec<String> {
    if wanted.len() > LONGEST {
        return Vec::new();
    }
    let wanted = wanted.to_lowercase();
    let tolerated = (wanted.chars().count() / 3).clamp(1, 4);
    let mut ranked: Vec<(usize, &String)> = known
        .filter_map(|name| {
            let distance = distance(&wanted, name);
            let contained = wanted.len() >= 2 && (name.contains(&wanted) || wanted.contains(name.as_str()));
            (contained || distance <= tolerated).then_some((distance, name))
        })
        .collect();
    ranked.sort();
    ranked.into_iter().take(OFFERED).map(|(_, name)| name.clone()).collect()
}

/// Levenshtein's edit distance, in characters, by rows.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (number, from) in left.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], number + 1);
        for (column, to) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_mistakes_and_parts_of_names_find_their_model() {
        let names: Vec<String> = ["guide", "qwen3-4b", "qwen3-8b", "smollm2-1.7b"].map(String::from).into();
        let cases: [(&str, &[&str]); 8] = [
            ("guid", &["guide"]),
            ("huide", &["guide"]),
            ("Guide", &["guide"]),
            ("qwen3", &["qwen3-4b", "qwen3-8b"]),
            ("qwen3-8b-instruct", &["qwen3-8b"]),
            ("gpt-4o", &[]),
            ("", &[]),
            ("e", &[]),
        ];
        for (wanted, expected) in cases {
            assert_eq!(similar(wanted, names.iter()), expected, "{wanted:?}");
        }
    }

    #[test]
    fn the_distance_counts_insertions_removals_and_replacements() {
        for (left, right, expected) in
            [("", "abc", 3), ("kitten", "sitting", 3), ("ñu", "nu", 1), ("a", "a", 0)]
        {
            assert_eq!(distance(left, right), expected, "{left} {right}");
        }
    }
}
