use super::*;
use crate::ask::{AskError, Pieces};

#[test]
fn errors_have_the_type_that_official_clients_know() {
    let cases = [
        (400, "invalid", "invalid_request_error", "invalid"),
        (401, "unauthenticated", "authentication_error", "invalid_api_key"),
        (403, "missing-scope", "permission_error", "missing-scope"),
        (404, "model_not_found", "not_found_error", "model_not_found"),
        (413, "too-large", "invalid_request_error", "too-large"),
        (503, "busy", "server_error", "busy"),
    ];
    for (status, kind, expected, code) in cases {
        let status = StatusCode::from_u16(status).expect("status");
        let shape = error(&Problem::new(status, kind, "T", "what to do").with("param", "model"));
        let wanted = json!({"message": "what to do", "type": expected, "param": "model", "code": code});
        assert_eq!(shape, wanted, "{status}");
    }
    let plain = error(&Problem::new(StatusCode::BAD_REQUEST, "k", "T", "d"));
    assert_eq!(plain["param"], Value::Null);
}

async fn body(response: Response) -> String {
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.expect("body");
    String::from_utf8(bytes.to_vec()).expect("text")
}

fn said(text: &str) -> Piece {
    Piece::Text(wire::Text { text: text.into(), logprobs: Vec::new() })
}

fn head() -> Head {
    Head::new("m".into(), 1, usize::MAX, false)
}

/// The pieces of the only answer.
fn alone(pieces: Vec<Result<Piece, AskError>>) -> Numbered {
    let asked: Pieces = Box::pin(futures::stream::iter(pieces));
    choices::side_by_side(std::iter::once(asked))
}

fn pieces(reason: wire::finished::Reason) -> Vec<Result<Piece, AskError>> {
    let account = wire::Finished {
        reason: reason.into(),
        prompt_tokens: 3,
        generated_tokens: 2,
        ..wire::Finished::default()
    };
    vec![Ok(said("He")), Ok(said("y")), Ok(Piece::End(account))]
}

#[tokio::test]
async fn a_whole_completion_carries_text_reason_and_usage() {
    use wire::finished::Reason;
    for (reason, expected) in [(Reason::End, "stop"), (Reason::Stop, "stop"), (Reason::Length, "length")] {
        let response = whole(head(), alone(pieces(reason))).await.expect("completion");
        let body: Value = serde_json::from_str(&body(response).await).expect("JSON");
        assert_eq!(body["choices"][0]["message"]["content"], "Hey");
        assert_eq!(body["choices"][0]["finish_reason"], expected);
        assert_eq!(body["usage"]["total_tokens"], 5);
    }
}

#[tokio::test]
async fn a_stream_ends_with_reason_usage_and_the_word_done() {
    let all = alone(pieces(wire::finished::Reason::End));
    let text = body(chunks(head(), all, true).into_response()).await;
    let data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(data.last(), Some(&"[DONE]"));
    let parsed: Vec<Value> =
        data[..data.len() - 1].iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let said: String =
        parsed.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(said, "Hey");
    assert_eq!(parsed[parsed.len() - 2]["choices"][0]["finish_reason"], "stop");
    assert_eq!(parsed[parsed.len() - 1]["usage"]["completion_tokens"], 2);
    assert_eq!(parsed[0]["usage"], Value::Null);
}

#[tokio::test]
async fn an_error_in_the_middle_of_a_stream_is_said_and_ends_it() {
    let died = AskError::Died { id: "m".into(), reason: "signal: 9".into() };
    let all = alone(vec![Ok(said("He")), Err(died)]);
    let text = body(chunks(head(), all, false).into_response()).await;
    assert!(text.contains("\"error\"") && text.contains("signal: 9"), "{text}");
    assert!(!text.contains("[DONE]"), "{text}");
}

fn thinking_and_calling() -> Vec<Result<Piece, AskError>> {
    let call = |name: &str| {
        Ok(Piece::Call(wire::ToolCall { id: String::new(), name: name.into(), arguments: "{}".into() }))
    };
    let account = wire::Finished { cached_prompt_tokens: 1, prompt_tokens: 3, ..wire::Finished::default() };
    vec![Ok(Piece::Reasoning("Hm.".into())), call("f"), call("g"), Ok(Piece::End(account))]
}

#[tokio::test]
async fn thoughts_and_calls_are_told_apart_from_text() {
    let all = alone(thinking_and_calling());
    let told: Value =
        serde_json::from_str(&body(whole(head(), all).await.expect("completion")).await).expect("JSON");
    let message = &told["choices"][0]["message"];
    assert_eq!((&message["content"], &message["reasoning_content"]), (&Value::Null, &json!("Hm.")));
    assert_eq!(message["tool_calls"][1]["function"]["name"], "g");
    assert_eq!(told["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(told["usage"]["prompt_tokens_details"]["cached_tokens"], 1);
    assert_eq!(told["timings"]["prompt_n"], 2);

    let one = Head::new("m".into(), 1, 1, false);
    let text = body(chunks(one, alone(thinking_and_calling()), false).into_response()).await;
    assert!(text.contains("\"reasoning_content\":\"Hm.\"") && text.contains("\"index\":0"), "{text}");
    assert!(!text.contains("\"g\""), "only one call was wanted: {text}");
    assert!(text.contains("\"finish_reason\":\"tool_calls\""), "{text}");
}

#[tokio::test]
async fn several_choices_are_told_apart_and_counted_together() {
    use wire::finished::Reason;
    let two = || {
        let asked = [Reason::End, Reason::Length]
            .map(|reason| -> Pieces { Box::pin(futures::stream::iter(pieces(reason))) });
        choices::side_by_side(asked.into_iter())
    };
    let head = || Head::new("m".into(), 2, usize::MAX, false);
    let told: Value =
        serde_json::from_str(&body(whole(head(), two()).await.expect("completion")).await).expect("JSON");
    let ends: Vec<&Value> =
        told["choices"].as_array().expect("choices").iter().map(|choice| &choice["finish_reason"]).collect();
    assert_eq!(ends, ["stop", "length"]);
    assert_eq!(
        (&told["usage"]["prompt_tokens"], &told["usage"]["completion_tokens"]),
        (&json!(3), &json!(4))
    );
    let text = body(chunks(head(), two(), true).into_response()).await;
    let data = text.lines().filter_map(|line| line.strip_prefix("data: {"));
    let chunks: Vec<Value> =
        data.map(|line| serde_json::from_str(&format!("{{{line}")).expect("JSON")).collect();
    for index in 0..2 {
        let own = chunks.iter().map(|chunk| &chunk["choices"][0]).filter(|choice| choice["index"] == index);
        let said: String = own.filter_map(|choice| choice["delta"]["content"].as_str()).collect();
        assert_eq!(said, "Hey");
    }
    assert_eq!(chunks.last().expect("usage")["usage"]["total_tokens"], 7);
}

#[tokio::test]
async fn tokens_are_told_with_their_probabilities_when_asked() {
    let alternative = wire::Alternative { text: "a".into(), raw: b"a".to_vec(), logprob: f32::NEG_INFINITY };
    let token = wire::TokenLogprob {
        text: "He".into(),
        raw: b"He".to_vec(),
        logprob: -0.5,
        alternatives: vec![alternative],
    };
    let text = wire::Text { text: "He".into(), logprobs: vec![token] };
    let pieces = vec![Ok(Piece::Text(text)), Ok(Piece::End(wire::Finished::default()))];
    let response = whole(Head::new("m".into(), 1, 1, true), alone(pieces)).await.expect("completion");
    let told: Value = serde_json::from_str(&body(response).await).expect("JSON");
    let token = &told["choices"][0]["logprobs"]["content"][0];
    assert_eq!(
        (&token["token"], &token["logprob"], &token["bytes"]),
        (&json!("He"), &json!(-0.5), &json!([72, 101]))
    );
    assert_eq!(token["top_logprobs"][0]["logprob"], -9999.0);
}
