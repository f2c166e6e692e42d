//! Chat messages rendered by the model's own template (Jinja, as Hugging Face tokenizers define it).

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, Value, context};

use crate::Error as LlmError;

/// Used for models that carry no template: the ChatML format, which most instruction models read.
const FALLBACK: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n\
                        {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// Text of the turn.
    pub content: String,
}

/// Renders the prompt for the model's next answer.
///
/// `template` is the GGUF's `tokenizer.chat_template`; `bos` and `eos` are the texts of those tokens.
pub fn render(
    template: Option<&str>,
    messages: &[Message],
    bos: &str,
    eos: &str,
) -> Result<String, LlmError> {
    let mut environment = Environment::new();
    environment.set_syntax(whitespace()?);
    environment.add_function("raise_exception", |message: String| -> Result<String, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    // Templates call Python's string methods.
    environment.set_unknown_method_callback(python_method);
    let source = template.unwrap_or(FALLBACK);
    let turns: Vec<Value> = messages
        .iter()
        .map(|message| context! { role => message.role.as_str(), content => message.content.as_str() })
        .collect();
    environment
        .render_str(
            source,
            context! { messages => turns, add_generation_prompt => true, bos_token => bos, eos_token => eos },
        )
        .map_err(|error| LlmError::Template(format!("{error:#}")))
}

/// Templates are written for Jinja with `trim_blocks` and `lstrip_blocks`.
fn whitespace() -> Result<SyntaxConfig, LlmError> {
    SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
        .map_err(|error| LlmError::Template(error.to_string()))
}

fn python_method(
    _state: &mut minijinja::State,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    let unknown = || Error::new(ErrorKind::UnknownMethod, format!("{} has no method {method}", value.kind()));
    let text = value.as_str().ok_or_else(unknown)?;
    let first = arguments.first().and_then(Value::as_str);
    let answer = match (method, first) {
        ("strip", None) => text.trim().into(),
        ("lstrip", None) => text.trim_start().into(),
        ("rstrip", None) => text.trim_end().into(),
        ("strip", Some(characters)) => text.trim_matches(|c| characters.contains(c)).into(),
        ("lstrip", Some(characters)) => text.trim_start_matches(|c| characters.contains(c)).into(),
        ("rstrip", Some(characters)) => text.trim_end_matches(|c| characters.contains(c)).into(),
        ("startswith", Some(prefix)) => text.starts_with(prefix).into(),
        ("endswith", Some(suffix)) => text.ends_with(suffix).into(),
        ("split", Some(separator)) if !separator.is_empty() => {
            text.split(separator).map(Value::from).collect::<Vec<_>>().into()
        }
        ("upper", None) => text.to_uppercase().into(),
        ("lower", None) => text.to_lowercase().into(),
        _ => return Err(unknown()),
    };
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages() -> Vec<Message> {
        vec![
            Message { role: "system".into(), content: "Be brief.".into() },
            Message { role: "user".into(), content: " Hello ".into() },
        ]
    }

    #[test]
    fn templates_of_common_kinds_render() {
        let cases = [
            (
                None,
                "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hello <|im_end|>\n<|im_start|>assistant\n",
            ),
            (
                Some(
                    "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}] {{ m['content'].strip() }}{% endfor %}",
                ),
                "<s>[system] Be brief.[user] Hello",
            ),
            (Some("{{ messages[-1].content | trim }}{{ eos_token }}"), "Hello</s>"),
        ];
        for (template, expected) in cases {
            assert_eq!(render(template, &messages(), "<s>", "</s>").expect("renders"), expected);
        }
    }

    #[test]
    fn a_template_that_refuses_or_is_broken_is_an_error_with_its_reason() {
        for (template, reason) in [
            ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
            ("{% for %}", "syntax"),
        ] {
            let error = render(Some(template), &messages(), "", "").expect_err("refused").to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
