use axum::http::StatusCode;

use super::*;
use crate::query::MOST_PROMPT_BYTES;

const TOOLS: &str = ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]";

#[test]
fn requests_are_checked_before_a_model_is_touched() {
    let base = |more: &str| {
        format!("{{\"model\":\"m\",\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}]{more}}}")
    };
    let said = |message: &str| format!("{{\"model\":\"m\",\"messages\":[{message}]}}");
    let long = said(&format!("{{\"role\":\"user\",\"content\":{:?}}}", "x".repeat(MOST_PROMPT_BYTES + 1)));
    let cases = [
        (base(""), None),
        (base(",\"temperature\":0.5,\"seed\":-1,\"stop\":[\"a\"],\"unknown\":1"), None),
        (
            base(
                ",\"temperature\":null,\"stop\":null,\"n\":1,\"tools\":null,\"stream\":null,\"max_tokens\":null",
            ),
            None,
        ),
        (
            base(
                ",\"response_format\":{\"type\":\"text\"},\"tools\":[],\"tool_choice\":\"none\",\"logit_bias\":{}",
            ),
            None,
        ),
        (base(",\"stream\":true,\"stream_options\":{\"include_usage\":true}"), None),
        (base(",\"stream_options\":{\"include_usage\":true}"), Some("stream_options")),
        (base(",\"temperature\":3"), Some("temperature")),
        (base(",\"top_p\":-1"), Some("top_p")),
        (base(",\"frequency_penalty\":-2.5"), Some("frequency_penalty")),
        (base(",\"presence_penalty\":9"), Some("presence_penalty")),
        (base(",\"max_tokens\":0"), Some("max_tokens")),
        (base(",\"max_tokens\":5,\"max_completion_tokens\":0"), Some("max_completion_tokens")),
        (base(",\"n\":2"), None),
        (base(",\"n\":0"), Some("n")),
        (base(",\"n\":17"), Some("n")),
        (base(",\"tools\":[{\"type\":\"web_search\"}]"), Some("tools")),
        (base(",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"a b\"}}]"), Some("tools")),
        (base(TOOLS), None),
        (base(&format!("{TOOLS},\"tool_choice\":\"required\"")), None),
        (base(&format!("{TOOLS},\"tool_choice\":\"maybe\"")), Some("tool_choice")),
        (
            base(&format!(
                "{TOOLS},\"tool_choice\":{{\"type\":\"function\",\"function\":{{\"name\":\"g\"}}}}"
            )),
            Some("tool_choice"),
        ),
        (base(",\"tool_choice\":\"required\""), Some("tool_choice")),
        (base(",\"functions\":[{}]"), Some("functions")),
        (base(",\"logprobs\":true,\"top_logprobs\":2"), None),
        (base(",\"logprobs\":true,\"top_logprobs\":21"), Some("top_logprobs")),
        (base(",\"top_logprobs\":2"), Some("top_logprobs")),
        (base(",\"logit_bias\":{\"1\":5}"), None),
        (base(",\"logit_bias\":{\"x\":5}"), Some("logit_bias")),
        (base(",\"logit_bias\":{\"1\":500}"), Some("logit_bias")),
        (base(",\"response_format\":{\"type\":\"json_object\"}"), None),
        (base(",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{}}"), Some("response_format")),
        (base(",\"modalities\":[\"text\",\"audio\"]"), Some("modalities")),
        (base(&format!(",\"stop\":[{}\"x\"]", "\"x\",".repeat(16))), Some("stop")),
        (base(",\"stop\":\"\""), Some("stop")),
        (said(""), Some("messages")),
        (said("{\"role\":\"user\",\"content\":\" \"}"), None),
        (said("{\"role\":\"poet\",\"content\":\"x\"}"), Some("messages")),
        (
            said(
                "{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"1\",\"function\":{\"name\":\"f\",\"arguments\":\"no\"}}]}",
            ),
            None,
        ),
        (said("{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}"), Some("messages")),
        (long, Some("messages")),
    ];
    for (text, expected) in cases {
        let shown: String = text.chars().take(120).collect();
        let request: ChatRequest = serde_json::from_str(&text).expect(&shown);
        match (request.generation(), expected) {
            (Ok(_), None) => {}
            (Err(problem), Some(param)) => {
                assert_eq!(problem.status(), StatusCode::BAD_REQUEST, "{shown}");
                assert_eq!(problem.to_json()["param"], param, "{shown}: {}", problem.detail());
            }
            (got, wanted) => panic!("{shown}: {got:?} instead of {wanted:?}"),
        }
    }
}

#[test]
fn what_is_asked_reaches_the_runner() {
    let request: ChatRequest = serde_json::from_str(
        "{\"model\":\"m\",\"messages\":[{\"role\":\"developer\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},\
         {\"type\":\"text\",\"text\":\"b\"}]}],\"max_tokens\":9,\"max_completion_tokens\":7,\"stop\":\"x\",\
         \"seed\":4294967297,\"top_p\":0.5,\"logprobs\":true,\"logit_bias\":{\"7\":-100},\
         \"chat_template_kwargs\":{\"enable_thinking\":false},\"reasoning_effort\":\"xhigh\",\
         \"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"s\",\"schema\":{\"type\":\"object\"}}},\
         \"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}],\
         \"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"f\"}}}",
    )
    .expect("parses");
    let generation = request.generation().expect("accepted");
    let Some(Input::Chat(chat)) = generation.input else { panic!("not a chat") };
    assert_eq!((chat.messages[0].role.as_str(), chat.messages[0].content.as_str()), ("system", "ab"));
    assert_eq!((chat.tool_choice(), chat.tool_name.as_str()), (wire::ToolChoice::Required, "f"));
    // The variables of a template are nearer to it than the effort.
    let variables: Value = serde_json::from_str(&chat.template_arguments).expect("JSON");
    assert_eq!(
        variables,
        serde_json::json!({"enable_thinking": false, "thinking": true, "reasoning_effort": "high"})
    );
    assert!(chat.tools.contains("\"name\":\"f\""), "{}", chat.tools);
    assert_eq!((generation.max_tokens, generation.stop), (7, vec!["x".to_owned()]));
    assert_eq!(generation.logprobs, Some(0));
    assert_eq!(generation.format, Some(Format::JsonSchema("{\"type\":\"object\"}".into())));
    let sampling = generation.sampling.expect("sampling");
    assert_eq!((sampling.seed, sampling.top_p, sampling.temperature), (Some(1), Some(0.5), None));
    assert_eq!(sampling.logit_bias, [wire::LogitBias { token: 7, bias: -100.0 }]);
}
