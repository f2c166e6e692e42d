//! What people type, as a query of FTS5.

use crate::limits::Limits;

/// The query for these words: all of them, in any order, each also as the beginning of a longer one. Nothing
/// that is typed has a meaning of its own. `None` when nothing is left that could be found.
pub(crate) fn query(typed: &str) -> Option<String> {
    let (longest, most) = Limits::SEARCH;
    let typed: String = typed.chars().take(longest).collect();
    // SQLite takes the zero for the end of a query.
    let words = typed
        .split(|character: char| character.is_whitespace() || character == '\0')
        .filter(|word| word.chars().any(is_found))
        .take(most);
    let query: Vec<String> = words.map(|word| format!("\"{}\"*", word.replace('"', "\"\""))).collect();
    (!query.is_empty()).then(|| query.join(" "))
}

/// Letters, digits, and signs such as emoji; the index splits at everything else.
fn is_found(character: char) -> bool {
    character.is_alphanumeric() || !character.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_words_and_nothing_else() {
        for (typed, expected) in [
            ("two words", Some(r#""two"* "words"*"#)),
            (r#"say "hi" OR NOT"#, Some(r#""say"* """hi"""* "OR"* "NOT"*"#)),
            ("a* AND (b:c", Some(r#""a*"* "AND"* "(b:c"*"#)),
            ("😀\0x", Some(r#""😀"* "x"*"#)),
            (" ** -- ", None),
            ("", None),
        ] {
            assert_eq!(query(typed).as_deref(), expected, "{typed}");
        }
        let words = query(&"a ".repeat(500)).expect("words");
        assert_eq!(words.split(' ').count(), Limits::SEARCH.1);
    }
}
