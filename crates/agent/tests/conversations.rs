//! Conversations over HTTP: each account its own, in whole, and told to its own listeners.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use serde_json::{Value, json};
use support::{ADMIN_KEY, Agent, Events, KEY, READING_KEY, parsed};

const ID: &str = "6f1f7e64-5d3c-4a51-9a53-0b7f6f6a0001";
const TURN: &str = "6f1f7e64-5d3c-4a51-9a53-0b7f6f6a0002";

fn path(more: &str) -> String {
    format!("/api/v1/conversations/{ID}{more}")
}

async fn ask(agent: &Agent, key: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    parsed(agent.send_as(Some(key), method, path, body.as_bytes()).await).await
}

#[tokio::test]
async fn what_an_account_keeps_is_its_own() {
    let agent = Agent::start(&[], "").await;
    let head = json!({"kind": "chat", "title": "Bread", "models": ["guide"], "system": "Be brief."});
    let (status, summary) = ask(&agent, KEY, "PUT", &path(""), &head).await;
    assert_eq!(
        (status, &summary["title"], &summary["turns"]),
        (201, &json!("Bread"), &json!(0)),
        "{summary}"
    );
    let turn = json!({"content": {"role": "user", "text": "How much salt?"}, "text": "How much salt?"});
    let at = path(&format!("/turns/{TURN}"));
    assert_eq!(ask(&agent, KEY, "PUT", &at, &turn).await.0, 201);
    assert_eq!(ask(&agent, KEY, "PUT", &at, &turn).await.0, 200, "the same again is the same");
    let (_, whole) = ask(&agent, KEY, "GET", &path(""), &Value::Null).await;
    assert_eq!(
        (&whole["system"], &whole["turns"][0]["content"]),
        (&head["system"], &turn["content"]),
        "{whole}"
    );
    let (_, found) = ask(&agent, KEY, "GET", "/api/v1/conversations?q=salt", &Value::Null).await;
    assert_eq!(found["conversations"][0]["id"], ID, "{found}");
    assert!(
        found["conversations"][0]["excerpt"].as_str().is_some_and(|text| text.contains("salt")),
        "{found}"
    );
    let (_, export) = ask(&agent, KEY, "GET", "/api/v1/conversations/export", &Value::Null).await;
    assert_eq!(export["conversations"][0]["turns"][0]["text"], turn["text"], "{export}");

    // Another key, with every right, keeps its own and sees nothing of these.
    let (_, list) = ask(&agent, ADMIN_KEY, "GET", "/api/v1/conversations", &Value::Null).await;
    assert_eq!(list["conversations"], json!([]), "{list}");
    for (method, place, body) in [
        ("GET", path(""), Value::Null),
        ("PUT", at.clone(), turn.clone()),
        ("DELETE", at.clone(), Value::Null),
        ("DELETE", path(""), Value::Null),
    ] {
        assert_eq!(ask(&agent, ADMIN_KEY, method, &place, &body).await.0, 404, "{method} {place}");
    }
    assert_eq!(ask(&agent, READING_KEY, "GET", &path(""), &Value::Null).await.0, 403);
    assert_eq!(ask(&agent, KEY, "DELETE", "/api/v1/conversations?account=owner", &Value::Null).await.0, 403);

    assert_eq!(ask(&agent, KEY, "DELETE", &path(""), &Value::Null).await.0, 204);
    assert_eq!(ask(&agent, KEY, "GET", &path(""), &Value::Null).await.0, 404);
}

#[tokio::test]
async fn changes_are_told_to_the_listeners_of_the_account_and_to_nobody_else() {
    let agent = Agent::start(&[], "").await;
    let mut own = Events::of(agent.send_as(Some(ADMIN_KEY), "GET", "/api/v1/events", b"").await);
    // One of the other account's first: the own listener must not hear it.
    assert_eq!(ask(&agent, KEY, "PUT", &path(""), &json!({"kind": "chat"})).await.0, 201);
    let second = ID.replace("0001", "0003");
    let place = format!("/api/v1/conversations/{second}");
    assert_eq!(ask(&agent, ADMIN_KEY, "PUT", &place, &json!({"kind": "ask"})).await.0, 201);
    assert_eq!(own.until("conversation.changed").await.json()["id"], second);
    assert_eq!(ask(&agent, ADMIN_KEY, "DELETE", &place, &Value::Null).await.0, 204);
    assert_eq!(own.until("conversation.removed").await.json()["id"], second);
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused_with_what_to_do() {
    let agent = Agent::start(&[], "").await;
    assert_eq!(ask(&agent, KEY, "PUT", &path(""), &json!({"kind": "chat"})).await.0, 201);
    let large = json!({"content": {"text": "x".repeat(1024 * 1024)}, "text": ""});
    let deep = path("/turns/none");
    let at = path(&format!("/turns/{TURN}"));
    for (method, place, body, status) in [
        ("GET", "/api/v1/conversations/none".to_owned(), Value::Null, 400),
        ("PUT", deep, json!({"content": {}, "text": ""}), 400),
        ("PUT", at.clone(), large, 413),
        ("PUT", at, json!({"content": "no object", "text": ""}), 400),
        ("PUT", path(""), json!({"title": "x".repeat(201)}), 422),
        ("GET", "/api/v1/conversations?before=then".to_owned(), Value::Null, 400),
        ("GET", "/api/v1/conversations?q=%22%20OR%20*%20NEAR(".to_owned(), Value::Null, 200),
    ] {
        let (seen, answer) = ask(&agent, KEY, method, &place, &body).await;
        assert_eq!(seen, status, "{method} {place}: {answer}");
        assert!(
            status == 200 || answer["detail"].as_str().is_some_and(|detail| detail.len() > 10),
            "{answer}"
        );
    }
}
