//! Conversations rendered by the model's own template (Jinja, as Hugging Face tokenizers define it).

mod json;
mod python;

use jiff::Zoned;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde};
use minijinja::{Environment, Error, ErrorKind, Value, context};
use serde_json::json;

use crate::Error as LlmError;
use crate::chat::{Conversation, Message};

/// Used for models that carry no template: the ChatML format, which most instruction models read.
const FALLBACK: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n\
                        {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// Renders the prompt for the model's next answer.
///
/// `template` is the GGUF's `tokenizer.chat_template`; `bos` and `eos` are the texts of those tokens.
/// Tools that the template does not know are described in the system turn.
pub(crate) fn render(
    template: Option<&str>,
    conversation: &Conversation,
    bos: &str,
    eos: &str,
) -> Result<String, LlmError> {
    let source = template.unwrap_or(FALLBACK);
    let environment = environment()?;
    let tools = conversation.shown_tools();
    let told;
    let (messages, tools) = if tools.is_empty() || source.contains("tools") {
        (conversation.messages.as_slice(), tools)
    } else {
        told = with_tools_told(&conversation.messages, tools);
        (told.as_slice(), &[][..])
    };
    let render = |arguments: Arguments| {
        let turns: Vec<Value> = messages.iter().map(|message| turn(message, arguments)).collect();
        let more = Value::from(Serde(&conversation.arguments));
        let own = context! {
            messages => turns,
            tools => if tools.is_empty() { Value::from(()) } else { Value::from(Serde(tools)) },
            add_generation_prompt => true,
            bos_token => bos,
            eos_token => eos,
        };
        environment.render_str(source, context! { ..own, ..more })
    };
    let has_calls = messages.iter().any(|message| !message.calls.is_empty());
    let rendered = match render(Arguments::Object) {
        // Some templates join the arguments to a text and need them as text.
        Err(first) if has_calls => render(Arguments::Text).map_err(|_| first),
        rendered => rendered,
    };
    rendered.map_err(|error| LlmError::Template(format!("{error:#}")))
}

/// How a template gets the arguments of earlier calls.
#[derive(Clone, Copy)]
enum Arguments {
    Object,
    Text,
}

fn turn(message: &Message, arguments: Arguments) -> Value {
    let mut turn = json!({"role": message.role, "content": message.content});
    if !message.calls.is_empty() {
        let call = |call: &crate::ToolCall| {
            let parsed = match arguments {
                Arguments::Object => serde_json::from_str(&call.arguments).unwrap_or_else(|_| json!({})),
                Arguments::Text => serde_json::Value::from(call.arguments.as_str()),
            };
            json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": parsed}})
        };
        turn["tool_calls"] = message.calls.iter().map(call).collect();
    }
    // Templates ask whether these are there.
    for (name, value) in [
        ("reasoning_content", &message.reasoning),
        ("tool_call_id", &message.call_id),
        ("name", &message.name),
    ] {
        if !value.is_empty() {
            turn[name] = value.as_str().into();
        }
    }
    Value::from(Serde(turn))
}

/// The turns with the tools described in the first one, and calls and results as text.
fn with_tools_told(messages: &[Message], tools: &[serde_json::Value]) -> Vec<Message> {
    use std::fmt::Write;
    let mut told = String::from(
        "You may call these functions. To call one, answer with nothing but \
         <tool_call>{\"name\": \"…\", \"arguments\": {…}}</tool_call>.\n",
    );
    for tool in tools {
        // Writing to a String does not fail.
        let _ = writeln!(told, "{}", tool["function"]);
    }
    let mut turns: Vec<Message> = messages.iter().map(as_text).collect();
    match turns.first_mut() {
        Some(first) if first.role == "system" => first.content = format!("{}\n\n{told}", first.content),
        _ => turns.insert(0, Message::new("system", told)),
    }
    turns
}

fn as_text(message: &Message) -> Message {
    let mut content = message.content.clone();
    for call in &message.calls {
        let name = json!(call.name);
        content += "<tool_call>{\"name\": ";
        content += &name.to_string();
        content += ", \"arguments\": ";
        content += &call.arguments;
        content += "}</tool_call>";
    }
    if message.role == "tool" {
        return Message::new("user", format!("<tool_response>{content}</tool_response>"));
    }
    Message::new(message.role.as_str(), content)
}

fn environment() -> Result<Environment<'static>, LlmError> {
    let mut environment = Environment::new();
    environment.set_syntax(whitespace()?);
    environment.add_function("raise_exception", |message: String| -> Result<String, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_function("strftime_now", |format: String| -> Result<String, Error> {
        let text = jiff::fmt::strtime::format(&format, &Zoned::now());
        text.map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()))
    });
    environment.add_filter("tojson", |value: Serde<serde_json::Value>, arguments: Kwargs| {
        json::tojson(&value, arguments.get("indent")?)
    });
    environment.set_unknown_method_callback(python::method);
    Ok(environment)
}

/// Templates are written for Jinja with `trim_blocks` and `lstrip_blocks`.
fn whitespace() -> Result<SyntaxConfig, LlmError> {
    SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
        .map_err(|error| LlmError::Template(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ToolCall;

    fn conversation() -> Conversation {
        Conversation::new(vec![Message::new("system", "Be brief."), Message::new("user", " Hello ")])
    }

    fn weather() -> serde_json::Value {
        json!({"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}})
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
            (
                Some("{% for m in messages[::-1] %}{{ loop.index0 }}{{ m.role }} {% endfor %}"),
                "0user 1system ",
            ),
            (Some("{% if tools is none %}no tools{% endif %}"), "no tools"),
            (Some("{{ strftime_now('%Y')[:2] }}"), "20"),
        ];
        for (template, expected) in cases {
            assert_eq!(render(template, &conversation(), "<s>", "</s>").expect("renders"), expected);
        }
    }

    #[test]
    fn a_template_that_refuses_or_is_broken_is_an_error_with_its_reason() {
        for (template, reason) in [
            ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
            ("{% for %}", "syntax"),
        ] {
            let error = render(Some(template), &conversation(), "", "").expect_err("refused").to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn tools_go_to_the_template_or_into_the_system_turn() {
        let mut conversation = Conversation { tools: vec![weather()], ..conversation() };
        let knows = "{% if tools %}{% for tool in tools %}{{ tool | tojson }}{% endfor %}{% endif %}";
        let expected = "{\"type\": \"function\", \"function\": {\"name\": \"weather\", \"parameters\": {\"type\": \"object\"}}}";
        assert_eq!(render(Some(knows), &conversation, "", "").expect("renders"), expected);
        let told = render(None, &conversation, "", "").expect("renders");
        assert!(told.starts_with("<|im_start|>system\nBe brief.\n\nYou may call"), "{told}");
        assert!(told.contains("\"weather\""), "{told}");
        conversation.choice = crate::ToolChoice::Never;
        assert_eq!(render(Some(knows), &conversation, "", "").expect("renders"), "");
    }

    #[test]
    fn earlier_calls_are_objects_or_text_as_the_template_needs() {
        let call =
            ToolCall { id: "1".into(), name: "weather".into(), arguments: "{\"city\":\"León\"}".into() };
        let asked = Message { calls: vec![call], ..Message::new("assistant", "") };
        let conversation = Conversation::new(vec![asked]);
        for (template, expected) in [
            ("{{ messages[0].tool_calls[0].function.arguments | tojson }}", "{\"city\": \"León\"}"),
            ("{{ 'x' + messages[0].tool_calls[0].function.arguments }}", "x{\"city\":\"León\"}"),
            ("{{ messages[0].reasoning_content is defined }}", "False"),
        ] {
            assert_eq!(render(Some(template), &conversation, "", "").expect("renders"), expected);
        }
    }

    #[test]
    fn a_request_can_set_what_its_template_asks_for() {
        let mut conversation = conversation();
        conversation.arguments.insert("enable_thinking".into(), false.into());
        let template = "{% if enable_thinking is defined and enable_thinking is false %}quick{% endif %}";
        assert_eq!(render(Some(template), &conversation, "", "").expect("renders"), "quick");
    }
}
