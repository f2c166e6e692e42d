//! Reads the text of a GBNF grammar.

use std::collections::HashMap;

use super::{Grammar, Part};

/// Repetitions of one part at most, as in llama.cpp.
const MOST_REPETITIONS: u32 = 2000;
/// Brackets within brackets at most.
const DEEPEST: usize = 100;

/// The rules of the text. The error says what is wrong, and in which line.
pub(super) fn parse(text: &str) -> Result<Grammar, String> {
    let mut parser = Parser { text, at: 0, names: Vec::new(), numbers: HashMap::new(), rules: Vec::new() };
    parser.grammar()?;
    let root = *parser.numbers.get("root").ok_or("the grammar has no rule `root`")?;
    let mut rules: Vec<Part> = Vec::with_capacity(parser.rules.len());
    for (rule, name) in parser.rules.into_iter().zip(&parser.names) {
        rules.push(rule.ok_or_else(|| format!("the rule `{name}` is used but not defined"))?);
    }
    Ok(Grammar { root, rules })
}

struct Parser<'text> {
    text: &'text str,
    at: usize,
    names: Vec<String>,
    numbers: HashMap<String, usize>,
    rules: Vec<Option<Part>>,
}

impl Parser<'_> {
    fn grammar(&mut self) -> Result<(), String> {
        self.skip_space(true);
        while self.peek().is_some() {
            let name = self.name().ok_or_else(|| self.wrong("a rule's name"))?;
            let rule = self.number(&name);
            self.skip_space(false);
            if !self.take("::=") {
                return Err(self.wrong("`::=`"));
            }
            self.skip_space(true);
            let body = self.choice(0)?;
            if self.rules[rule].replace(body).is_some() {
                return Err(format!("the rule `{name}` is defined twice"));
            }
            if self.peek().is_some_and(|next| next != '\n' && next != '\r') {
                return Err(self.wrong("the end of the rule"));
            }
            self.skip_space(true);
        }
        Ok(())
    }

    fn choice(&mut self, depth: usize) -> Result<Part, String> {
        if depth > DEEPEST {
            return Err(self.wrong("fewer brackets within brackets"));
        }
        let mut parts = vec![self.sequence(depth)?];
        loop {
            // An alternative may stand in the next line.
            let before = self.at;
            self.skip_space(true);
            if !self.take("|") {
                self.at = before;
                break;
            }
            self.skip_space(true);
            parts.push(self.sequence(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Part::Choice(parts) })
    }

    fn sequence(&mut self, depth: usize) -> Result<Part, String> {
        let mut parts = Vec::new();
        loop {
            let part = match self.peek() {
                Some('"') => self.literal()?,
                Some('[') => self.class()?,
                Some('.') => {
                    self.at += 1;
                    Part::Any
                }
                Some('(') => {
                    self.at += 1;
                    self.skip_space(true);
                    let part = self.choice(depth + 1)?;
                    self.skip_space(true);
                    if !self.take(")") {
                        return Err(self.wrong("`)`"));
                    }
                    part
                }
                Some(next) if is_name(next) => {
                    let name = self.name().unwrap_or_default();
                    Part::Rule(self.number(&name))
                }
                _ => break,
            };
            let part = self.repeated(part)?;
            parts.push(part);
            self.skip_space(depth > 0);
        }
        Ok(Part::Sequence(parts))
    }

    fn repeated(&mut self, part: Part) -> Result<Part, String> {
        let (least, most) = match self.peek() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => {
                self.at += 1;
                let (least, most) = self.bounds()?;
                if !self.text[self.at..].starts_with('}') {
                    return Err(self.wrong("`}`"));
                }
                (least, most)
            }
            _ => return Ok(part),
        };
        self.at += 1;
        if least.max(most.unwrap_or(0)) > MOST_REPETITIONS || most.is_some_and(|most| most < least) {
            return Err(self.wrong(&format!("at most {MOST_REPETITIONS} repetitions, and the least first")));
        }
        Ok(Part::Repeat(Box::new(part), least, most))
    }

    /// What stands between `{` and `}`.
    fn bounds(&mut self) -> Result<(u32, Option<u32>), String> {
        self.skip_space(false);
        let least = self.integer();
        self.skip_space(false);
        if !self.take(",") {
            let exact = least.ok_or_else(|| self.wrong("a number"))?;
            return Ok((exact, Some(exact)));
        }
        self.skip_space(false);
        let most = self.integer();
        self.skip_space(false);
        Ok((least.unwrap_or(0), most))
    }

    fn integer(&mut self) -> Option<u32> {
        let digits = self.text[self.at..].len()
            - self.text[self.at..].trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number = self.text[self.at..self.at + digits].parse().ok();
        self.at += digits;
        number
    }

    fn literal(&mut self) -> Result<Part, String> {
        self.at += 1;
        let mut text = String::new();
        while self.peek() != Some('"') {
            text.push(self.character()?);
        }
        self.at += 1;
        Ok(Part::Literal(text))
    }

    fn class(&mut self) -> Result<Part, String> {
        self.at += 1;
        let negated = self.take("^");
        let mut ranges = Vec::new();
        while self.peek() != Some(']') {
            let first = self.character()?;
            let rest = &self.text[self.at..];
            let last = if rest.starts_with('-') && !rest.starts_with("-]") {
                self.at += 1;
                self.character()?
            } else {
                first
            };
            if last < first {
                return Err(self.wrong("a range whose first character comes first"));
            }
            ranges.push((first, last));
        }
        if ranges.is_empty() {
            return Err(self.wrong("a character between the brackets"));
        }
        self.at += 1;
        Ok(Part::Class { negated, ranges })
    }

    /// One character of a literal or a class, with its escapes.
    fn character(&mut self) -> Result<char, String> {
        let next = self.peek().ok_or_else(|| self.wrong("the closing quote or bracket"))?;
        self.at += next.len_utf8();
        if next != '\\' {
            return Ok(next);
        }
        let kind = self.peek().ok_or_else(|| self.wrong("an escaped character"))?;
        self.at += kind.len_utf8();
        let digits = match kind {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            'n' => return Ok('\n'),
            'r' => return Ok('\r'),
            't' => return Ok('\t'),
            '\\' | '"' | '[' | ']' | '-' | '^' => return Ok(kind),
            _ => {
                return Err(
                    self.wrong("a known escape: \\n \\r \\t \\\\ \\\" \\[ \\] \\xNN \\uNNNN \\UNNNNNNNN")
                );
            }
        };
        let code = self.text.get(self.at..self.at + digits).and_then(|hex| u32::from_str_radix(hex, 16).ok());
        let character =
            code.and_then(char::from_u32).ok_or_else(|| self.wrong("the number of a character"))?;
        self.at += digits;
        Ok(character)
    }

    fn name(&mut self) -> Option<String> {
        let rest = &self.text[self.at..];
        let length = rest.find(|character| !is_name(character)).unwrap_or(rest.len());
        self.at += length;
        (length > 0).then(|| rest[..length].to_owned())
    }

    fn number(&mut self, name: &str) -> usize {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.names.len();
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        self.rules.push(None);
        number
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn take(&mut self, text: &str) -> bool {
        let there = self.text[self.at..].starts_with(text);
        self.at += if there { text.len() } else { 0 };
        there
    }

    /// Spaces and comments, and line ends where they mean nothing.
    fn skip_space(&mut self, lines: bool) {
        while let Some(next) = self.peek() {
            match next {
                ' ' | '\t' => self.at += 1,
                '\n' | '\r' if lines => self.at += 1,
                '#' => {
                    self.at += self.text[self.at..].find(['\n', '\r']).unwrap_or(self.text.len() - self.at);
                }
                _ => return,
            }
        }
    }

    fn wrong(&self, expected: &str) -> String {
        let line = self.text[..self.at].lines().count().max(1);
        format!("line {line} of the grammar: expected {expected}")
    }
}

const fn is_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '-' | '_')
}
