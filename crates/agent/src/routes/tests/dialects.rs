//! What each dialect reads: every field that the official clients know, and what clients were seen to send.

use std::collections::BTreeMap;

use actionbooster_chassis::axum::body::to_bytes;
use serde_json::{Map, Value, json};

use super::*;

/// Made by `tests/clients/fields.py` of the official clients' own types: paths and bodies, which differ from the
/// smallest one in the last field.
const FIELDS: &str = include_str!("../../../test_data/fields.json");
/// Which of them are refused: path, field, value, and what the answer says.
const REFUSED: &str = include_str!("../../../test_data/refused.json");

/// Status and body of the answer. The store is empty, so what was read and found good is a 404.
async fn sent(agent: &Router, path: &str, body: &Value) -> (u16, String) {
    let request = Request::builder().method(Method::POST).uri(path).header("x-api-key", "ab_admin");
    let request = request.body(Body::from(body.to_string())).expect("request");
    let response = agent.clone().oneshot(request).await.expect("infallible");
    let status = response.status().as_u16();
    let bytes = to_bytes(response.into_body(), 1 << 20).await.expect("body");
    (status, String::from_utf8_lossy(&bytes).into_owned())
}

#[tokio::test]
async fn every_field_that_the_official_clients_know_is_read_or_refused_for_a_reason() {
    let root = tempfile::tempdir().expect("folder");
    let agent = agent(root.path()).await;
    let rows: Vec<(String, Map<String, Value>)> = serde_json::from_str(FIELDS).expect("JSON");
    let refused: Vec<(String, String, Value, String)> = serde_json::from_str(REFUSED).expect("JSON");
    let mut refused: BTreeMap<_, _> = refused
        .into_iter()
        .map(|(path, field, value, told)| ((path, field, value.to_string()), told))
        .collect();
    let mut wrong = Vec::new();
    for (path, body) in rows {
        let (field, value) = body.iter().next_back().expect("a field");
        let reason = refused.remove(&(path.clone(), field.clone(), value.to_string()));
        let (status, told) = sent(&agent, &path, &Value::from(body.clone())).await;
        let fine = match &reason {
            None => status == 404,
            Some(reason) => status == 400 && told.contains(reason),
        };
        if !fine {
            wrong.push(format!("{status} {path} {field}: {value}\n    {told}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(refused.is_empty(), "not among the fields: {refused:?}");
}

/// A body, and what the answer says if it is refused.
type Seen = (&'static str, Value, Option<&'static str>);

fn asked(more: &Value) -> Value {
    with(&json!({"model": "none", "messages": [{"role": "user", "content": "hi"}]}), more)
}

fn with(body: &Value, more: &Value) -> Value {
    let (Value::Object(body), Value::Object(more)) = (body, more) else { panic!("objects") };
    body.clone().into_iter().chain(more.clone()).collect()
}

fn said(messages: &Value) -> Value {
    json!({"model": "none", "messages": messages})
}

const CHAT: &str = "/v1/chat/completions";

fn openai() -> Vec<Seen> {
    let call = |call: &Value| said(&json!([{"role": "assistant", "content": null, "tool_calls": [call]}]));
    let tool = |name: &str| asked(&json!({"tools": [{"type": "function", "function": {"name": name}}]}));
    let text = json!({"model": "none", "prompt": "hi"});
    let input = |input: &Value| json!({"model": "none", "input": input});
    vec![
        (CHAT, said(&json!([{"role": "user", "content": null}])), None),
        (CHAT, said(&json!([{"role": "user", "content": ""}])), None),
        (CHAT, said(&json!([{"role": "user", "content": [{"type": "text", "text": null}]}])), None),
        (CHAT, said(&json!([{"role": "system", "content": " "}])), None),
        (
            CHAT,
            said(
                &json!([{"role": "assistant", "content": "x", "refusal": null, "annotations": [], "audio": null, "function_call": null, "tool_calls": null}]),
            ),
            None,
        ),
        (
            CHAT,
            said(
                &json!([{"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}, {"role": "function", "name": "f", "content": "x"}]),
            ),
            None,
        ),
        (CHAT, said(&json!([])), Some("`messages` is empty")),
        (
            CHAT,
            call(&json!({"id": null, "type": "function", "function": {"name": "f", "arguments": "{}"}})),
            None,
        ),
        (CHAT, call(&json!({"id": "1", "function": {"name": "f", "arguments": "{\"city\": \"Par"}})), None),
        (CHAT, call(&json!({"id": "1", "function": {"name": "f", "arguments": ""}})), None),
        (CHAT, call(&json!({"id": "1", "function": {"name": "f", "arguments": null}})), None),
        (CHAT, call(&json!({"id": "1", "function": {"name": "f", "arguments": {"a": 1}}})), None),
        (CHAT, tool(&"f".repeat(128)), None),
        (CHAT, tool(&"f".repeat(129)), Some("1 to 128")),
        (
            CHAT,
            asked(
                &json!({"max_tokens": 4.0, "n": 1.0, "seed": 7.0, "top_k": 40.0, "logprobs": true, "top_logprobs": 2.0}),
            ),
            None,
        ),
        (CHAT, asked(&json!({"max_tokens": -1, "max_completion_tokens": -1, "top_k": -1, "seed": -1})), None),
        (CHAT, asked(&json!({"seed": u64::MAX})), None),
        (CHAT, asked(&json!({"max_tokens": 0})), Some("\"param\":\"max_tokens\"")),
        (CHAT, asked(&json!({"max_tokens": -2})), Some("\"param\":\"max_tokens\"")),
        (CHAT, asked(&json!({"max_tokens": 4.5})), Some("a whole number")),
        (CHAT, asked(&json!({"max_completion_tokens": "4"})), Some("max_completion_tokens: ")),
        (CHAT, asked(&json!({"top_logprobs": -1})), Some("\"param\":\"top_logprobs\"")),
        (CHAT, asked(&json!({"n": 2.0})), None),
        (CHAT, asked(&json!({"n": 129})), Some("\"param\":\"n\"")),
        ("/v1/completions", with(&text, &json!({"max_tokens": -1, "logprobs": 2.0, "best_of": 1.0})), None),
        ("/v1/completions", with(&text, &json!({"prompt": [[1, 2]]})), Some("\"param\":\"prompt\"")),
        (
            "/v1/embeddings",
            with(&input(&json!("hi")), &json!({"dimensions": 8.0, "encoding_format": null})),
            None,
        ),
        (
            "/v1/embeddings",
            with(&input(&json!("hi")), &json!({"dimensions": 0})),
            Some("\"param\":\"dimensions\""),
        ),
        ("/v1/embeddings", input(&json!([[9906, 1917]])), Some("check_embedding_ctx_length=False")),
        ("/v1/embeddings", input(&json!([9906, 1917])), Some("check_embedding_ctx_length=False")),
        ("/v1/embeddings", input(&json!("")), Some("\"param\":\"input\"")),
        ("/v1/embeddings", input(&json!([])), Some("\"param\":\"input\"")),
    ]
}

/// As Codex, the Agents SDK and Vercel's AI SDK send them.
fn responses() -> Vec<Seen> {
    let asked = |more: &Value| with(&json!({"model": "none", "input": "hi"}), more);
    let item = |item: &Value| asked(&json!({"input": [{"role": "user", "content": "hi"}, item]}));
    let path = "/v1/responses";
    vec![
        (
            path,
            asked(&json!({
                "instructions": "You are Codex.", "tool_choice": "auto", "parallel_tool_calls": false, "store": false,
                "stream": true, "include": ["reasoning.encrypted_content"], "prompt_cache_key": "x",
                "reasoning": {"effort": "medium", "summary": "auto"}, "text": {"verbosity": "low"},
                "client_metadata": {"x": "y"}, "service_tier": "priority",
                "tools": [
                    {"type": "function", "name": "exec_command", "strict": false, "parameters": {"type": "object"}},
                    {"type": "custom", "name": "apply_patch", "format": {"type": "grammar", "syntax": "lark", "definition": "start: x"}},
                    {"type": "namespace", "name": "mcp__x", "description": "", "tools": [{"type": "function", "name": "y"}]},
                    {"type": "web_search", "external_web_access": false}, {"type": "local_shell"}, {"type": "tool_search"},
                ],
            })),
            None,
        ),
        (path, asked(&json!({"max_output_tokens": 4.0, "top_logprobs": 2.0, "seed": 7.0})), None),
        (
            path,
            asked(&json!({"previous_response_id": null, "tools": null, "text": null, "reasoning": null})),
            None,
        ),
        (
            path,
            item(&json!({"type": "reasoning", "summary": [], "content": null, "encrypted_content": "x"})),
            None,
        ),
        (path, item(&json!({"type": "message", "role": "assistant", "content": [], "phase": null})), None),
        (
            path,
            item(
                &json!({"type": "function_call", "id": null, "call_id": "c", "name": "f", "arguments": "{\"a"}),
            ),
            None,
        ),
        (
            path,
            item(
                &json!({"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "x"}]}),
            ),
            None,
        ),
        (path, item(&json!({"type": "local_shell_call", "call_id": "c", "action": {}})), None),
        (path, item(&json!({"type": "ghost_snapshot", "ghost_commit": {}})), None),
        (
            path,
            item(&json!({"role": "user", "content": [{"type": "input_image", "image_url": "data:"}]})),
            Some("Pictures are not read"),
        ),
        (path, json!({"model": "none"}), Some("`input` is missing")),
        (
            path,
            asked(&json!({"tool_choice": "required", "tools": [{"type": "web_search"}]})),
            Some("can be called here"),
        ),
    ]
}

fn ollama() -> Vec<Seen> {
    let options = |options: &Value| asked(&json!({"options": options}));
    let call = |arguments: &Value| {
        said(
            &json!([{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": arguments}}]}]),
        )
    };
    let none = json!({"model": "none"});
    let both = json!({"model": "none", "name": "none"});
    let input = |input: &Value| json!({"model": "none", "input": input});
    vec![
        (
            "/api/chat",
            said(&json!([{"role": "user", "content": null, "images": null, "tool_calls": null}])),
            None,
        ),
        ("/api/chat", said(&json!([{"role": "user", "content": ""}])), None),
        ("/api/chat", said(&json!([])), None),
        ("/api/chat", said(&json!(null)), None),
        ("/api/chat", none.clone(), None),
        ("/api/chat", with(&none, &json!({"keep_alive": 0})), None),
        ("/api/chat", call(&json!({"a": 1})), None),
        ("/api/chat", call(&json!(null)), None),
        ("/api/chat", call(&json!("{\"a\":")), None),
        ("/api/chat", call(&json!([1])), None),
        (
            "/api/chat",
            options(&json!({"num_predict": 4.0, "top_k": 40.0, "seed": 7.0, "num_ctx": 8192.0})),
            None,
        ),
        ("/api/chat", options(&json!({"num_predict": -1, "top_k": -1, "seed": -1, "stop": null})), None),
        ("/api/chat", options(&json!({"num_predict": "4"})), Some("a whole number")),
        (
            "/api/chat",
            asked(&json!({"options": null, "tools": null, "format": null, "think": null, "stream": null})),
            None,
        ),
        ("/api/chat", asked(&json!({"think": "", "format": ""})), None),
        (
            "/api/generate",
            with(&none, &json!({"prompt": null, "system": null, "images": null, "context": null})),
            None,
        ),
        ("/api/show", both.clone(), None),
        ("/api/show", json!({"name": "none"}), None),
        ("/api/show", json!({"model": "", "name": "none"}), None),
        ("/api/show", json!({"name": null}), Some("`model` is missing")),
        ("/api/pull", with(&both, &json!({"stream": true, "insecure": false})), None),
        ("/api/embed", input(&json!("")), None),
        ("/api/embed", input(&json!([])), None),
        ("/api/embed", input(&json!(null)), None),
        (
            "/api/embed",
            with(&input(&json!(["hi", ""])), &json!({"dimensions": 8.0, "keep_alive": "5m"})),
            None,
        ),
        ("/api/embed", input(&json!([[1, 2]])), Some("`input` must be a text")),
        ("/api/embeddings", with(&none, &json!({"prompt": ""})), None),
        ("/api/embeddings", with(&none, &json!({"prompt": null})), None),
    ]
}

fn anthropic() -> Vec<Seen> {
    let asked = |more: &Value| asked(&with(&json!({"max_tokens": 5}), more));
    let said = |blocks: &Value| {
        asked(
            &json!({"messages": [{"role": "assistant", "content": blocks}, {"role": "user", "content": "hi"}]}),
        )
    };
    let tool = |more: &Value| {
        asked(&json!({"tools": [with(&json!({"name": "f", "input_schema": {"type": "object"}}), more)]}))
    };
    vec![
        ("/v1/messages", asked(&json!({"max_tokens": 4.0, "top_k": 40.0})), None),
        ("/v1/messages/count_tokens", asked(&json!({"max_tokens": null})), None),
        ("/v1/messages/count_tokens", asked(&json!({"messages": []})), Some("`messages` is empty")),
        ("/v1/messages", asked(&json!({"max_tokens": null})), Some("`max_tokens` is missing")),
        ("/v1/messages", asked(&json!({"max_tokens": -1})), Some("`max_tokens` is -1")),
        (
            "/v1/messages",
            asked(
                &json!({"thinking": {"type": "adaptive"}, "metadata": {"user_id": "x"}, "context_management": {}}),
            ),
            None,
        ),
        ("/v1/messages", asked(&json!({"output_config": {"effort": "high", "format": null}})), None),
        (
            "/v1/messages",
            asked(
                &json!({"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}}),
            ),
            None,
        ),
        (
            "/v1/messages",
            asked(&json!({"output_config": {"format": {"type": "json_schema", "schema": 3}}})),
            Some("`output_config`"),
        ),
        (
            "/v1/messages",
            asked(
                &json!({"messages": [{"role": "user", "content": "hi"}, {"role": "system", "content": "brief"}]}),
            ),
            None,
        ),
        (
            "/v1/messages",
            said(&json!([{"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "y"}])),
            None,
        ),
        (
            "/v1/messages",
            said(&json!([{"type": "tool_use", "id": null, "name": "f", "input": "{\"a\":"}])),
            None,
        ),
        ("/v1/messages", said(&json!([{"type": "tool_use", "id": "1", "name": "f", "input": null}])), None),
        (
            "/v1/messages",
            asked(
                &json!({"system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
                "messages": [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]}]}),
            ),
            None,
        ),
        (
            "/v1/messages",
            asked(
                &json!({"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t",
                "content": [{"type": "text", "text": "x"}, {"type": "image", "source": {}}]}]}]}),
            ),
            Some("Pictures are not read"),
        ),
        ("/v1/messages", tool(&json!({"type": "custom", "cache_control": {"type": "ephemeral"}})), None),
        ("/v1/messages", tool(&json!({"type": null, "name": "f".repeat(128)})), None),
        ("/v1/messages", tool(&json!({"name": "f".repeat(129)})), Some("1 to 128")),
        (
            "/v1/messages",
            asked(&json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]})),
            Some("Anthropic's own"),
        ),
        (
            "/v1/messages",
            asked(&json!({"messages": [{"role": "user", "content": ""}]})),
            Some("No message has any text"),
        ),
    ]
}

#[tokio::test]
async fn what_clients_were_seen_to_send_is_read_as_their_reference_servers_read_it() {
    let root = tempfile::tempdir().expect("folder");
    let agent = agent(root.path()).await;
    let mut wrong = Vec::new();
    for (path, body, refused) in openai().into_iter().chain(responses()).chain(ollama()).chain(anthropic()) {
        let (status, told) = sent(&agent, path, &body).await;
        let fine = refused.map_or(status == 404, |reason| {
            let written = told.replace("\\\"", "\"");
            status == 400 && (told.contains(reason) || written.contains(reason))
        });
        if !fine {
            wrong.push(format!("{status} {path} {body}\n    {told}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
