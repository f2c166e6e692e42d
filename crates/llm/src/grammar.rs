//! The shape of an answer: JSON, JSON of a schema, or text of a grammar.
//!
//! llguidance works out which tokens may come next; the others are taken out of the choice before
//! llama.cpp's samplers see them. Shapes are compiled by whoever asks, not by the engine's thread.

mod closed;

use std::sync::Arc;

use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use llguidance::api::TopLevelGrammar;
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};
use toktrie::{ApproximateTokEnv, SimpleVob, TokEnv, TokRxInfo, TokTrie};

use crate::{Error, gbnf};

/// Longest schema or grammar in bytes.
const LONGEST: usize = 128 * 1024;
/// Brackets within brackets at most.
const DEEPEST: usize = 200;
/// Shapes are compiled by recursion; a deep one gets this much room, and is no danger to the process.
const STACK: usize = 256 * 1024 * 1024;
/// What may stand between the parts of JSON: little, because small models never stop writing spaces.
const WHITESPACE: &str = r"[ ]|[\n][ ]{0,16}";

/// The shape an answer must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// Any JSON object.
    JsonObject,
    /// JSON that fits this JSON Schema (drafts 4 to 2020-12).
    JsonSchema(String),
    /// Text that fits this grammar: GBNF as llama.cpp reads it, or Lark.
    Grammar(String),
}

/// A compiled shape and how far an answer is in it.
#[derive(Clone)]
pub struct Grammar(Box<Matcher>);

impl std::fmt::Debug for Grammar {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Grammar").field(&self.0.stop_reason()).finish()
    }
}

impl Grammar {
    /// The tokens that may come next. At the end of the shape these are the tokens that end an answer.
    pub(crate) fn allowed(&mut self) -> Result<SimpleVob, Error> {
        self.0.compute_mask_or_eos().map_err(|error| refused(&error))
    }

    /// Goes on by a token.
    pub(crate) fn take(&mut self, token: LlamaToken) -> Result<(), Error> {
        if self.0.is_stopped() {
            return Ok(());
        }
        self.0.consume_token(token.0.cast_unsigned()).map_err(|error| refused(&error))
    }

    /// Whether nothing may follow.
    pub(crate) fn is_complete(&self) -> bool {
        self.0.is_stopped()
    }
}

fn refused(error: &impl std::fmt::Display) -> Error {
    Error::Format(format!("{error:#}"))
}

/// The bytes of every token, and the tokens that end an answer.
pub(crate) struct Vocabulary {
    tokens: Vec<Vec<u8>>,
    ends: Vec<u32>,
}

impl Vocabulary {
    pub(crate) fn of(model: &LlamaModel) -> Self {
        let vocabulary = model.vocab();
        let mut ends: Vec<u32> = Vec::new();
        let primary = [vocabulary.eot(), vocabulary.eos()].into_iter().find(|token| token.0 >= 0);
        ends.extend(primary.map(|token| token.0.cast_unsigned()));
        let mut tokens = Vec::new();
        for token in vocabulary.tokens() {
            let id = token.0.cast_unsigned();
            if vocabulary.is_eog(token) && !ends.contains(&id) {
                ends.push(id);
            }
            let mut bytes = vocabulary.token_to_piece(token, false, None);
            if bytes.is_empty() {
                // Special tokens are no text: the mark keeps their names apart from the same characters in a text.
                bytes = vocabulary.token_to_piece(token, true, None);
                if !bytes.is_empty() {
                    bytes.insert(0, TokTrie::SPECIAL_TOKEN_MARKER);
                }
            }
            tokens.push(bytes);
        }
        Self { tokens, ends }
    }
}

/// Compiles shapes for one model's tokens.
pub(crate) struct Compiler(ParserFactory);

impl Compiler {
    pub(crate) fn new(vocabulary: &Vocabulary) -> Result<Self, Error> {
        let end = *vocabulary
            .ends
            .first()
            .ok_or_else(|| Error::Format("the model has no token that ends an answer".to_owned()))?;
        let info = TokRxInfo::new(vocabulary.tokens.len() as u32, end);
        let trie = TokTrie::from(&info, &vocabulary.tokens).with_eos_tokens(&vocabulary.ends);
        let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory = ParserFactory::new_simple(&environment).map_err(|error| refused(&error))?;
        factory.quiet();
        factory.limits_mut().verbose_errors = false;
        Ok(Self(factory))
    }

    pub(crate) fn compile(&self, format: &Format) -> Result<Grammar, Error> {
        std::thread::scope(|scope| {
            let compiler = std::thread::Builder::new().name("grammar".into()).stack_size(STACK);
            let thread = compiler.spawn_scoped(scope, || self.compile_here(format));
            let thread = thread.map_err(|error| refused(&error))?;
            thread
                .join()
                .unwrap_or_else(|_| Err(Error::Format("the compiler of grammars failed on it".to_owned())))
        })
    }

    fn compile_here(&self, format: &Format) -> Result<Grammar, Error> {
        let grammar = match format {
            Format::JsonObject => {
                TopLevelGrammar::from_json_schema(with_whitespace(json!({"type": "object"})))
            }
            Format::JsonSchema(text) => {
                let mut schema = schema(text)?;
                closed::close(&mut schema);
                TopLevelGrammar::from_json_schema(with_whitespace(schema))
            }
            Format::Grammar(text) => TopLevelGrammar::from_lark(lark(text)?),
        };
        let parser = self.0.create_parser(grammar).map_err(|error| refused(&error))?;
        let mut matcher = Matcher::new(Ok(parser));
        // A shape that nothing fits is found here, not in the middle of an answer.
        let first = matcher.compute_mask_or_eos().map_err(|error| refused(&error))?;
        if first.is_zero() {
            return Err(Error::Format("no text fits it".to_owned()));
        }
        Ok(Grammar(Box::new(matcher)))
    }
}

fn check_length(text: &str) -> Result<(), Error> {
    if text.len() > LONGEST {
        return Err(Error::Format(format!("it has {} bytes and {LONGEST} are allowed", text.len())));
    }
    Ok(())
}

fn schema(text: &str) -> Result<Value, Error> {
    check_length(text)?;
    match serde_json::from_str(text) {
        Ok(value @ (Value::Object(_) | Value::Bool(true))) => Ok(value),
        Ok(Value::Bool(false)) => Err(Error::Format("no value fits the schema `false`".to_owned())),
        Ok(_) => Err(Error::Format("a JSON Schema is an object, or true".to_owned())),
        Err(error) => Err(Error::Format(format!("the schema is no JSON: {error}"))),
    }
}

/// Sets what may stand between the parts, unless the schema says so itself.
fn with_whitespace(schema: Value) -> Value {
    let mut schema = match schema {
        Value::Object(object) => object,
        _ => serde_json::Map::new(),
    };
    schema.entry("x-guidance").or_insert_with(|| json!({"whitespace_pattern": WHITESPACE}));
    Value::Object(schema)
}

/// GBNF is translated; Lark stays as it is.
fn lark(text: &str) -> Result<String, Error> {
    check_length(text)?;
    if text.contains("::=") {
        return gbnf::to_lark(text).map_err(Error::Format);
    }
    let mut depth = 0_usize;
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST {
            return Err(Error::Format(format!("it has more than {DEEPEST} brackets within brackets")));
        }
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A vocabulary of single bytes, with an end.
    fn bytes() -> Compiler {
        let mut tokens: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
        tokens.push(b"\xff<end>".to_vec());
        Compiler::new(&Vocabulary { tokens, ends: vec![256] }).expect("compiler")
    }

    /// Whether the whole text fits, and may end there.
    fn fits(grammar: &Grammar, text: &str) -> bool {
        let mut grammar = grammar.clone();
        for byte in text.bytes() {
            if grammar.is_complete() || !grammar.allowed().expect("mask").is_allowed(byte.into()) {
                return false;
            }
            grammar.take(LlamaToken(byte.into())).expect("fits");
        }
        grammar.allowed().expect("mask").is_allowed(256)
    }

    #[test]
    fn json_takes_the_shape_of_its_schema() {
        let compiler = bytes();
        let person = r##"{"type":"object","properties":{"name":{"type":"string","maxLength":5},"age":{"$ref":"#/$defs/age"}},
            "required":["name","age"],"additionalProperties":false,"$defs":{"age":{"type":"integer","minimum":0,"maximum":150}}}"##;
        let person = compiler.compile(&Format::JsonSchema(person.to_owned())).expect("schema");
        for (text, expected) in [
            (r#"{"name":"Ana","age":31}"#, true),
            ("{\"name\": \"Ana\",\n  \"age\": 31}", true),
            (r#"{"name":"Ana","age":151}"#, false),
            (r#"{"name":"Ana"}"#, false),
            (r#"{"name":"Anabel","age":3}"#, false),
            (r#"{"name":"Ana",    "age":3}"#, false),
            ("[]", false),
        ] {
            assert_eq!(fits(&person, text), expected, "{text}");
        }
        let object = compiler.compile(&Format::JsonObject).expect("object");
        for (text, expected) in
            [("{}", true), (r#"{"a":[1,{"b":null}]}"#, true), ("[1]", false), ("{", false)]
        {
            assert_eq!(fits(&object, text), expected, "{text}");
        }
    }

    #[test]
    fn a_schema_that_says_nothing_of_other_keys_allows_none() {
        let compiler = bytes();
        let base = r#"{"$defs":{"base":{"type":"object","properties":{"a":{"type":"integer"}}}},"#;
        for (schema, text, expected) in [
            (r#"{"type":"object","properties":{"a":{"type":"integer"}}}"#.to_owned(), r#"{"a":1}"#, true),
            (
                r#"{"type":"object","properties":{"a":{"type":"integer"}}}"#.to_owned(),
                r#"{"a":1,"b":2}"#,
                false,
            ),
            (
                r#"{"properties":{"a":{"type":"integer"}},"additionalProperties":true}"#.to_owned(),
                r#"{"a":1,"b":2}"#,
                true,
            ),
            (
                r#"{"type":"array","items":{"type":"object","properties":{}}}"#.to_owned(),
                r#"[{"x":1}]"#,
                false,
            ),
            (r#"{"type":"object"}"#.to_owned(), r#"{"x":1}"#, true),
            // What several parts say together is closed by none of them.
            (
                format!(
                    r##"{base}"allOf":[{{"$ref":"#/$defs/base"}},{{"properties":{{"b":{{"type":"integer"}}}},"required":["b"]}}]}}"##
                ),
                r#"{"a":1,"b":2}"#,
                true,
            ),
            (format!(r##"{base}"$ref":"#/$defs/base"}}"##), r#"{"a":1,"b":2}"#, false),
        ] {
            let grammar = compiler.compile(&Format::JsonSchema(schema.clone())).expect(&schema);
            assert_eq!(fits(&grammar, text), expected, "{schema} {text}");
        }
    }

    #[test]
    fn grammars_are_gbnf_or_lark() {
        let compiler = bytes();
        for text in ["root ::= \"yes\" | \"no\"", "start: \"yes\" | \"no\""] {
            let grammar = compiler.compile(&Format::Grammar(text.to_owned())).expect("grammar");
            assert!(fits(&grammar, "yes") && fits(&grammar, "no"), "{text}");
            assert!(!fits(&grammar, "maybe") && !fits(&grammar, "yess"), "{text}");
        }
    }

    #[test]
    fn impossible_shapes_are_errors_with_a_reason() {
        let compiler = bytes();
        let long = format!("root ::= \"{}\"", "x".repeat(LONGEST));
        let cases = [
            (Format::JsonSchema("{".into()), "no JSON"),
            (Format::JsonSchema("[1]".into()), "an object"),
            (Format::JsonSchema("false".into()), "no value fits"),
            (Format::JsonSchema(r#"{"type":"integer","minimum":5,"maximum":1}"#.into()), "nsatisfiable"),
            (Format::JsonSchema(r#"{"type":"strange"}"#.into()), "strange"),
            (Format::JsonSchema(r##"{"$ref":"#/$defs/missing"}"##.into()), "missing"),
            (Format::Grammar("root ::= other".into()), "other"),
            (Format::Grammar("start: missing_rule".into()), "missing_rule"),
            (Format::Grammar(long), "bytes"),
        ];
        for (format, reason) in cases {
            let error = compiler.compile(&format).expect_err("refused").to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
