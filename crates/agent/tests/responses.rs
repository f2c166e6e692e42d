//! OpenAI's Responses API against real runners.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use serde_json::{Value, json};
use support::events::Event;
use support::{ADMIN_KEY, Agent, Events, parsed};

const PATH: &str = "/v1/responses";

fn asked(more: &Value) -> Value {
    let mut body = json!({"model": "one", "input": "Once upon a time", "max_output_tokens": 6});
    if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
        body.extend(more.clone());
    }
    body
}

async fn answered(agent: &Agent, more: &Value) -> Value {
    let (status, reply) = agent.ask("POST", PATH, &asked(more).to_string()).await;
    assert_eq!(status, 200, "{more}: {reply}");
    reply
}

async fn streamed(agent: &Agent, more: &Value) -> Vec<Value> {
    let mut body = asked(more);
    body["stream"] = true.into();
    let events = Events::of(agent.send("POST", PATH, &body.to_string()).await).rest().await;
    let named = |event: &Event| {
        let data = event.json();
        assert_eq!(data["type"], event.name);
        data
    };
    events.iter().map(named).collect()
}

#[tokio::test]
async fn a_response_streams_what_it_says_whole_and_goes_on_by_its_id() {
    let agent = Agent::start(&["one"], "").await;
    let whole = answered(&agent, &json!({"instructions": "Be brief."})).await;
    assert_eq!(
        (&whole["status"], &whole["incomplete_details"]["reason"]),
        (&json!("incomplete"), &json!("max_output_tokens")),
        "{whole}"
    );
    assert_eq!(whole["usage"]["output_tokens"], 6, "{whole}");
    let text = whole["output"][0]["content"][0]["text"].as_str().expect("text").to_owned();

    let events = streamed(&agent, &json!({"instructions": "Be brief."})).await;
    let said: String = events
        .iter()
        .filter(|event| event["type"] == "response.output_text.delta")
        .filter_map(|event| event["delta"].as_str())
        .collect();
    assert_eq!(said, text, "greedy");
    let numbers: Vec<u64> = events.iter().filter_map(|event| event["sequence_number"].as_u64()).collect();
    assert_eq!(numbers, (0..events.len() as u64).collect::<Vec<_>>());
    let response = &events.last().expect("an event")["response"];
    assert_eq!(response["output"][0]["content"], whole["output"][0]["content"]);

    // The conversation goes on: what was said counts as read, and is the key's own.
    let id = response["id"].as_str().expect("an id");
    let next = answered(&agent, &json!({"previous_response_id": id, "input": "And then?"})).await;
    assert_eq!(next["previous_response_id"], id);
    let path = format!("{PATH}/{id}");
    let (status, kept) = agent.ask("GET", &path, "").await;
    assert_eq!((status, &kept), (200, response));
    let (status, _) = parsed(agent.send_as(Some(ADMIN_KEY), "GET", &path, b"").await).await;
    assert_eq!(status, 404, "another key's");
    let (status, gone) = agent.ask("DELETE", &path, "").await;
    assert_eq!((status, &gone["deleted"]), (200, &json!(true)));
    for (method, path) in [("GET", path.as_str()), ("DELETE", path.as_str())] {
        let (status, reply) = agent.ask(method, path, "").await;
        assert_eq!((status, &reply["error"]["code"]), (404, &json!("response_not_found")), "{reply}");
    }
    let body = asked(&json!({"previous_response_id": id}));
    let (status, reply) = agent.ask("POST", PATH, &body.to_string()).await;
    assert_eq!((status, &reply["error"]["code"]), (400, &json!("previous_response_not_found")), "{reply}");

    let forgotten = answered(&agent, &json!({"store": false})).await;
    let (status, _) =
        agent.ask("GET", &format!("{PATH}/{}", forgotten["id"].as_str().expect("id")), "").await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn tools_of_agents_are_called_and_their_results_read() {
    let agent = Agent::start(&["one"], "").await;
    let parameters = json!({
        "type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"],
        "additionalProperties": false,
    });
    let tools = json!([
        {"type": "function", "name": "get_weather", "strict": true, "parameters": parameters},
        {"type": "namespace", "name": "mcp__files", "description": "", "tools": [
            {"type": "function", "name": "choose", "parameters": parameters}]},
        {"type": "web_search"}, {"type": "local_shell"},
    ]);
    for (choice, namespace) in [("get_weather", Value::Null), ("choose", json!("mcp__files"))] {
        let more = json!({"tools": tools, "tool_choice": {"type": "function", "name": choice}, "max_output_tokens": 200});
        let events = streamed(&agent, &more).await;
        let done = events.iter().find(|event| event["type"] == "response.function_call_arguments.done");
        let arguments = done.expect("a call")["arguments"].as_str().expect("text");
        let arguments: Value = serde_json::from_str(arguments).expect("JSON");
        assert!(["Paris", "Rome"].iter().any(|city| arguments["city"] == *city), "{arguments}");
        let response = &events.last().expect("an event")["response"];
        let call = &response["output"][0];
        assert_eq!(
            (&response["status"], &call["type"]),
            (&json!("completed"), &json!("function_call")),
            "{response}"
        );
        assert_eq!((&call["name"], &call["namespace"]), (&json!(choice), &namespace), "{call}");

        // As agents go on: everything again, with the result.
        let result = json!({"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"});
        let input = json!([{"role": "user", "content": "Weather?"}, call, result]);
        let next = answered(&agent, &json!({"input": input, "tools": tools, "store": false})).await;
        assert_eq!(next["output"][0]["type"], "message", "{next}");
        // By the id, with the result alone.
        let next =
            answered(&agent, &json!({"input": [result], "previous_response_id": response["id"]})).await;
        assert_eq!(next["usage"]["output_tokens"], 6, "{next}");
        // By the id of the call alone.
        let input = json!([{"role": "user", "content": "Weather?"}, {"type": "item_reference", "id": call["id"]}, result]);
        answered(&agent, &json!({"input": input})).await;
    }
}

#[tokio::test]
async fn an_answer_has_the_shape_that_text_format_names() {
    let agent = Agent::start(&["one"], "").await;
    let schema = json!({
        "type": "object", "properties": {"n": {"type": "integer", "minimum": 1, "maximum": 9}}, "required": ["n"],
        "additionalProperties": false,
    });
    let format = json!({"type": "json_schema", "name": "s", "strict": true, "schema": schema});
    let more = json!({"text": {"format": format}, "max_output_tokens": 200});
    let reply = answered(&agent, &more).await;
    let text = reply["output"][0]["content"][0]["text"].as_str().expect("text");
    let parsed: Value = serde_json::from_str(text).expect(text);
    assert!(parsed["n"].as_i64().is_some_and(|n| (1..=9).contains(&n)), "{text}");
    assert_eq!((&reply["status"], &reply["text"]["format"]), (&json!("completed"), &format));
    let body = asked(
        &json!({"text": {"format": {"type": "json_schema", "name": "s", "schema": {"type": "nonsense"}}}}),
    );
    let (status, reply) = agent.ask("POST", PATH, &body.to_string()).await;
    assert_eq!(status, 400, "{reply}");
}

#[tokio::test]
async fn a_conversation_that_is_too_long_fails_in_the_words_that_agents_know() {
    let agent = Agent::start(&["one"], "").await;
    let long = json!({"input": "word ".repeat(3 * support::CONTEXT as usize)});
    let (status, reply) = agent.ask("POST", PATH, &asked(&long).to_string()).await;
    assert_eq!((status, &reply["error"]["code"]), (400, &json!("context_length_exceeded")), "{reply}");
    // Codex shortens a conversation on this event only.
    let events = streamed(&agent, &long).await;
    let kinds: Vec<&Value> = events.iter().map(|event| &event["type"]).collect();
    assert_eq!(kinds, ["response.created", "response.in_progress", "response.failed"]);
    assert_eq!(events[2]["response"]["error"]["code"], "context_length_exceeded");
}
