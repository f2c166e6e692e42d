//! GBNF, the grammars of llama.cpp, translated to Lark, which llguidance reads.
//!
//! A rule that cannot contain itself becomes a terminal (one regular expression, matched as a whole);
//! the others become rules over terminals. A terminal takes as much text as it can, so a rule that
//! contains itself should not let two neighbours both take the same characters.

mod parser;

use std::fmt::Write;

/// Rules that use rules that use rules at most.
const DEEPEST: usize = 100;

/// A part of a rule.
#[derive(Debug)]
enum Part {
    Literal(String),
    /// One character of these ranges, or of all others.
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
    Any,
    Rule(usize),
    Sequence(Vec<Part>),
    Choice(Vec<Part>),
    Repeat(Box<Part>, u32, Option<u32>),
}

/// All rules, by number, and the one to begin with.
struct Grammar {
    root: usize,
    rules: Vec<Part>,
}

/// The same language in Lark. The error says what is wrong, and in which line.
pub(crate) fn to_lark(text: &str) -> Result<String, String> {
    let Grammar { root, rules } = parser::parse(text)?;
    let terminals = terminals(&rules)?;
    let name = |rule: usize| if terminals[rule] { format!("T{rule}") } else { format!("r{rule}") };
    let mut lark = format!("start: {}\n", name(root));
    for (number, rule) in rules.iter().enumerate() {
        let _ = write!(lark, "{}: ", name(number));
        write_part(&mut lark, rule, &name);
        lark.push('\n');
    }
    Ok(lark)
}

/// Which rules never come back to themselves.
fn terminals(rules: &[Part]) -> Result<Vec<bool>, String> {
    let mut terminals = vec![false; rules.len()];
    for _ in 0..DEEPEST {
        let more: Vec<usize> = (0..rules.len())
            .filter(|rule| !terminals[*rule] && only_uses(&rules[*rule], &terminals))
            .collect();
        if more.is_empty() {
            return Ok(terminals);
        }
        for rule in more {
            terminals[rule] = true;
        }
    }
    Err(format!("rules use rules through more than {DEEPEST} steps"))
}

fn only_uses(part: &Part, terminals: &[bool]) -> bool {
    match part {
        Part::Rule(rule) => terminals[*rule],
        Part::Sequence(parts) | Part::Choice(parts) => parts.iter().all(|part| only_uses(part, terminals)),
        Part::Repeat(part, ..) => only_uses(part, terminals),
        Part::Literal(_) | Part::Class { .. } | Part::Any => true,
    }
}

fn write_part(lark: &mut String, part: &Part, name: &impl Fn(usize) -> String) {
    match part {
        Part::Literal(text) if text.is_empty() => lark.push_str("\"\""),
        Part::Literal(text) => {
            lark.push('/');
            text.chars().for_each(|character| write_character(lark, character));
            lark.push('/');
        }
        Part::Class { negated, ranges } => {
            lark.push_str(if *negated { "/[^" } else { "/[" });
            for (first, last) in ranges {
                write_character(lark, *first);
                lark.push('-');
                write_character(lark, *last);
            }
            lark.push_str("]/");
        }
        Part::Any => lark.push_str("/[\\x{0}-\\x{10FFFF}]/"),
        Part::Rule(rule) => lark.push_str(&name(*rule)),
        Part::Sequence(parts) => {
            lark.push('(');
            for (index, part) in parts.iter().enumerate() {
                lark.push_str(if index == 0 { "" } else { " " });
                write_part(lark, part, name);
            }
            lark.push_str(if parts.is_empty() { "\"\")" } else { ")" });
        }
        Part::Choice(parts) => {
            lark.push('(');
            for (index, part) in parts.iter().enumerate() {
                lark.push_str(if index == 0 { "" } else { " | " });
                write_part(lark, part, name);
            }
            lark.push(')');
        }
        Part::Repeat(_, _, Some(0)) => lark.push_str("\"\""),
        Part::Repeat(part, least, most) => {
            lark.push('(');
            write_part(lark, part, name);
            lark.push(')');
            let _ = match (least, most) {
                (0, None) => write!(lark, "*"),
                (1, None) => write!(lark, "+"),
                (0, Some(1)) => write!(lark, "?"),
                (least, None) => write!(lark, "{{{least},}}"),
                (least, Some(most)) => write!(lark, "{{{least},{most}}}"),
            };
        }
    }
}

/// As a regular expression that means this character, inside and outside of brackets.
fn write_character(lark: &mut String, character: char) {
    if character.is_ascii_alphanumeric() {
        lark.push(character);
    } else {
        let _ = write!(lark, "\\x{{{:X}}}", u32::from(character));
    }
}

#[cfg(test)]
mod tests {
    use super::to_lark;

    #[test]
    fn rules_become_terminals_unless_they_contain_themselves() {
        let lark = to_lark(
            "root ::= item (\", \" item)*\nitem ::= [a-c]{2} | \"(\" root \")\" | digit\ndigit ::= [^0-9]",
        );
        let lark = lark.expect("grammar");
        for line in ["start: r0\n", "r0: (r1", "T2: ([^0-9]", "/[a-c]/){2,2}", "/\\x{2C}\\x{20}/"] {
            let line = line.replace("([^0-9]", "(/[^0-9]/");
            assert!(lark.contains(&line), "{line} in\n{lark}");
        }
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        let deep = format!("root ::= {}\"a\"{}", "(".repeat(200), ")".repeat(200));
        let chain: String = (0..200).map(|rule| format!("r{rule} ::= r{}\n", rule + 1)).collect();
        for (text, expected) in [
            ("", "no rule `root`"),
            ("root ::= other", "`other` is used but not defined"),
            ("root ::= \"a\"\nroot ::= \"b\"", "defined twice"),
            ("root ::= \"a", "line 1"),
            ("root ::= \"a\"\n\nnext = \"b\"", "line 3"),
            ("root ::= [z-a]", "whose first"),
            ("root ::= []", "a character"),
            ("root ::= \"\\q\"", "escape"),
            ("root ::= \"\\uD800\"", "number of a character"),
            ("root ::= \"a\"{3,2}", "the least first"),
            ("root ::= \"a\"{9999}", "2000"),
            ("root ::= (\"a\"", "`)`"),
            ("root ::= \"a\" )", "the end of the rule"),
            (&deep, "fewer brackets"),
            (&format!("{chain}r200 ::= \"a\"\nroot ::= r0"), "steps"),
        ] {
            let error = to_lark(text).expect_err(text);
            assert!(error.contains(expected), "{error} for {text}");
        }
    }
}
