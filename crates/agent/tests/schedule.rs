//! Whose turn it is, how long models stay, and what happens to one that hangs.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use support::{Agent, Events};
use tokio::net::UnixStream;

fn chat(max_tokens: u32, more: &Value) -> String {
    let messages = json!([{"role": "user", "content": "Once upon a time"}]);
    let mut body = json!({"model": "one", "messages": messages, "max_tokens": max_tokens});
    if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
        body.extend(more.clone());
    }
    body.to_string()
}

async fn ask(agent: &Agent, max_tokens: u32, more: &Value) -> (u16, Value) {
    agent.ask("POST", "/v1/chat/completions", &chat(max_tokens, more)).await
}

#[tokio::test]
async fn more_than_may_wait_is_refused_with_a_time_to_come_back() {
    let agent = Agent::start(&["one"], "").await;
    let mut streams = Vec::new();
    // Two work, 64 of one key wait, and the next is refused.
    for _ in 0..2 {
        let mut stream = Events::of(
            agent
                .send("POST", "/v1/chat/completions", &chat(support::CONTEXT - 100, &json!({"stream": true})))
                .await,
        );
        stream.next().await.expect("begun");
        streams.push(stream);
    }
    let short = chat(1, &json!({}));
    let waiting = (0..64).map(|_| agent.ask("POST", "/v1/chat/completions", &short));
    let mut waiting = Box::pin(futures::future::join_all(waiting));
    let refused = async {
        agent
            .until("they wait", async || {
                let (_, running) = agent.manage("GET", "/api/v1/models/running", "").await;
                running["running"][0]["waiting"] == 64
            })
            .await;
        agent.send("POST", "/v1/chat/completions", &chat(1, &json!({}))).await
    };
    let refused = tokio::select! {
        refused = refused => refused,
        _ = &mut waiting => panic!("nobody should be served before the streams end"),
    };
    assert_eq!(refused.status(), 429);
    let seconds = refused.headers()["retry-after"].to_str().expect("text").parse::<u64>().expect("seconds");
    assert!(seconds >= 1, "{seconds}");
    drop(streams);
    let answers = waiting.await;
    assert!(answers.iter().all(|(status, _)| *status == 200), "everybody who waited is served");
}

/// As Ollama's clients do it.
async fn ask_to_unload(agent: &Agent) -> (u16, Value) {
    agent.ask("POST", "/api/chat", "{\"model\":\"one\",\"messages\":[],\"keep_alive\":0}").await
}

#[tokio::test]
async fn a_model_stays_as_long_as_the_last_request_wished() {
    let agent = Agent::start(&["one"], "").await;
    let (status, reply) = ask(&agent, 1, &json!({"keep_alive": 0})).await;
    assert_eq!(status, 200, "{reply}");
    agent.until("it is unloaded at once", async || agent.state("one").await == "idle").await;
    ask(&agent, 1, &json!({"keep_alive": "1h"})).await;
    let (_, running) = agent.manage("GET", "/api/v1/models/running", "").await;
    assert_eq!(running["running"][0]["keep_alive_s"], 3600, "{running}");
    let (_, reply) = ask_to_unload(&agent).await;
    assert_eq!(reply["done_reason"], "unload", "{reply}");
    agent.until("it is unloaded", async || agent.state("one").await == "idle").await;
    let (status, _) = ask(&agent, 1, &json!({"keep_alive": "soon"})).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn pinned_models_are_not_evicted() {
    // Room for one of them.
    let agent = Agent::start(&["one", "two"], "model_budget_bytes = 200_000_000\n").await;
    let (_, shown) = agent.manage("GET", "/api/v1/models/one", "").await;
    let needs = shown["needs_bytes"].as_u64().expect("bytes");
    assert!((100_000_001..200_000_000).contains(&needs), "the budget of this test holds one model: {needs}");
    agent.manage("PATCH", "/api/v1/models/one", "{\"pinned\":true}").await;
    assert_eq!(ask(&agent, 1, &json!({})).await.0, 200);
    let (status, reply) = ask_to_unload(&agent).await;
    assert!(status == 409 && reply["error"].as_str().is_some_and(|told| told.contains("pinned")), "{reply}");
    assert_eq!(agent.state("one").await, "ready");
    let (status, reply) = ask(&agent, 1, &json!({"model": "two"})).await;
    assert_eq!(status, 503, "{reply}");
    let message = reply["error"]["message"].as_str().expect("message");
    assert!(message.contains("pinned models one") && message.contains("MiB"), "{message}");
    agent.manage("PATCH", "/api/v1/models/one", "{\"pinned\":false}").await;
    assert_eq!(ask(&agent, 1, &json!({"model": "two"})).await.0, 200);
}

#[tokio::test]
async fn a_model_that_hangs_is_stopped_and_the_next_request_works() {
    let agent = Agent::start(&["one"], "hang_s = 1\n").await;
    let mut stream = Events::of(
        agent
            .send("POST", "/v1/chat/completions", &chat(support::CONTEXT - 100, &json!({"stream": true})))
            .await,
    );
    stream.next().await.expect("begun");
    stream.next().await.expect("a token");
    let pid = agent.runner("one").expect("a runner");
    kill(Pid::from_raw(pid), Signal::SIGSTOP).expect("signal");
    let last = stream.rest().await.pop().expect("an end");
    assert!(last.data.contains("no sign of life"), "{}", last.data);
    let (status, reply) = ask(&agent, 1, &json!({})).await;
    assert_eq!(status, 200, "{reply}");
    assert!((agent.counter("runner_hangs_total", "one").await - 1.0).abs() < 0.1);
}

#[tokio::test]
async fn a_model_that_hangs_before_it_is_asked_is_replaced() {
    let agent = Agent::start(&["one"], "hang_s = 2\n").await;
    assert_eq!(ask(&agent, 1, &json!({})).await.0, 200);
    let pid = agent.runner("one").expect("a runner");
    kill(Pid::from_raw(pid), Signal::SIGSTOP).expect("signal");
    let (status, reply) = ask(&agent, 1, &json!({})).await;
    // Another runner answers, or the request is told; it does not wait for ever.
    assert!([200, 502].contains(&status), "{reply}");
    assert_eq!(ask(&agent, 1, &json!({})).await.0, 200);
    assert_ne!(agent.runner("one"), Some(pid));
}

#[tokio::test]
async fn what_happens_to_models_is_told_as_it_happens() {
    let agent = Agent::start(&["one"], "").await;
    let mut events = Events::of(agent.send_as(Some(support::ADMIN_KEY), "GET", "/api/v1/events", b"").await);
    ask(&agent, 1, &json!({"keep_alive": 0})).await;
    let mut ids = Vec::new();
    for (expected, reason) in
        [("model.loading", ""), ("model.loaded", ""), ("model.unloaded", "as long as it is kept")]
    {
        let event = events.next().await.expect("an event");
        assert_eq!((event.name.as_str(), &event.json()["model"]), (expected, &json!("one")));
        assert!(event.json()["reason"].as_str().unwrap_or_default().contains(reason), "{}", event.data);
        ids.push(event.id);
    }
    // Who comes back hears what came meanwhile.
    drop(events);
    let back = [("last-event-id", ids[0].as_str())];
    let mut events =
        Events::of(agent.send_with(&back, Some(support::ADMIN_KEY), "GET", "/api/v1/events", b"").await);
    for id in &ids[1..] {
        assert_eq!(events.next().await.expect("an event").id, *id);
    }
}

#[tokio::test]
async fn a_model_in_use_is_unloaded_only_by_force_and_that_is_no_crash() {
    let agent = Agent::start(&["one"], "").await;
    let endless = chat(support::CONTEXT - 100, &json!({"stream": true}));
    let mut stream = Events::of(agent.send("POST", "/v1/chat/completions", &endless).await);
    stream.next().await.expect("begun");
    let (status, reply) = agent.manage("POST", "/api/v1/models/one/unload", "").await;
    assert_eq!(status, 409, "{reply}");
    assert!(stream.next().await.is_some(), "it goes on");
    let (status, reply) = agent.manage("POST", "/api/v1/models/one/unload?force=true", "").await;
    assert_eq!(status, 204, "{reply}");
    let last = stream.rest().await.pop().expect("an end");
    assert!(last.data.contains("unloaded on request"), "{}", last.data);
    assert_eq!(agent.state("one").await, "idle");
    assert!(agent.counter("runner_crashes_total", "").await < 0.5);
    assert_eq!(ask(&agent, 1, &json!({})).await.0, 200);
}

#[tokio::test]
async fn a_model_that_still_loads_is_unloaded_too() {
    let agent = Agent::start(&["one"], "").await;
    let nothing = json!({});
    let asked = ask(&agent, 1, &nothing);
    let unloaded = async {
        agent.until("its runner has begun", async || agent.runner("one").is_some()).await;
        let pid = agent.runner("one").expect("a runner");
        kill(Pid::from_raw(pid), Signal::SIGSTOP).expect("signal");
        let (_, running) = agent.manage("GET", "/api/v1/models/running", "").await;
        assert_eq!(running["running"][0]["state"], "loading", "{running}");
        assert!(running["running"][0]["bytes"].as_u64().expect("bytes") > 1_000_000, "{running}");
        let (status, reply) = agent.manage("POST", "/api/v1/models/one/unload", "").await;
        assert_eq!(status, 409, "{reply}");
        let (status, reply) = agent.manage("POST", "/api/v1/models/one/unload?force=true", "").await;
        assert_eq!(status, 204, "{reply}");
        pid
    };
    let ((status, reply), pid) = tokio::join!(asked, unloaded);
    assert_eq!(status, 503, "{reply}");
    assert!(reply["error"]["message"].as_str().is_some_and(|text| text.contains("unloaded")), "{reply}");
    agent.until("its process is gone", async || agent.runner("one") != Some(pid)).await;
    assert_eq!(ask(&agent, 1, &nothing).await.0, 200, "it loads again");
}

#[tokio::test]
async fn a_model_that_keeps_hanging_rests_with_the_reason() {
    let agent = Agent::start(&["one"], "hang_s = 1\n").await;
    let endless = chat(support::CONTEXT - 100, &json!({"stream": true}));
    for _ in 0..3 {
        let mut stream = Events::of(agent.send("POST", "/v1/chat/completions", &endless).await);
        stream.next().await.expect("begun");
        let pid = agent.runner("one").expect("a runner");
        kill(Pid::from_raw(pid), Signal::SIGSTOP).expect("signal");
        stream.rest().await;
        agent.until("its process is gone", async || agent.runner("one") != Some(pid)).await;
    }
    // What is told of it follows its end.
    agent.until("it rests", async || agent.state("one").await == "failed").await;
    let (status, reply) = ask(&agent, 1, &json!({})).await;
    assert_eq!(status, 503);
    assert!(
        reply["error"]["message"].as_str().is_some_and(|text| text.contains("no sign of life")),
        "{reply}"
    );
}

#[tokio::test]
async fn urgent_requests_go_before_those_that_nobody_waits_for() {
    let agent = Agent::start(&["one"], "").await;
    let endless = chat(support::CONTEXT - 100, &json!({"stream": true}));
    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut stream = Events::of(agent.send("POST", "/v1/chat/completions", &endless).await);
        stream.next().await.expect("begun");
        streams.push(stream);
    }
    let waiting = async || {
        let (_, running) = agent.manage("GET", "/api/v1/models/running", "").await;
        running["running"][0]["waiting"].as_u64().expect("a number")
    };
    let long = chat(600, &json!({}));
    let ask_as = async |priority: &'static str| {
        let headers = [("x-priority", priority)];
        let sent = agent.send_with(
            &headers,
            Some(support::URGENT_KEY),
            "POST",
            "/v1/chat/completions",
            long.as_bytes(),
        );
        assert_eq!(sent.await.status(), 200);
        Instant::now()
    };
    let background = async { ask_as("background").await };
    let urgent = async {
        agent.until("the first waits", async || waiting().await == 1).await;
        let asked = ask_as("interactive");
        let freed = async {
            agent.until("both wait", async || waiting().await == 2).await;
            streams.pop();
        };
        tokio::join!(asked, freed).0
    };
    let (background, urgent) = tokio::join!(background, urgent);
    assert!(urgent < background);
    for (priority, status) in [("now", 400), ("interactive", 403)] {
        let headers = [("x-priority", priority)];
        let refused =
            agent.send_with(&headers, Some(support::KEY), "POST", "/v1/chat/completions", long.as_bytes());
        assert_eq!(refused.await.status(), status, "{priority} without the scope");
    }
}

#[tokio::test]
async fn estimates_hold_against_what_runners_really_take() {
    let agent = Agent::start(&["one"], "").await;
    assert_eq!(ask(&agent, 64, &json!({})).await.0, 200);
    let ratio = async || agent.counter("model_estimate_ratio", "one").await;
    agent.until("it is measured", async || ratio().await > 0.0).await;
    assert!((0.2..=1.0).contains(&ratio().await), "{}", ratio().await);
    let (_, running) = agent.manage("GET", "/api/v1/models/running", "").await;
    let one = &running["running"][0];
    assert!(one["resident_bytes"].as_u64() <= one["bytes"].as_u64(), "{running}");
    assert!(one["expires_at"].as_str().is_some_and(|time| time.ends_with('Z')), "{running}");
}

#[tokio::test]
async fn a_thousand_idle_connections_do_not_stop_the_answers() {
    let agent = Agent::start(&["one"], "").await;
    ask(&agent, 1, &json!({})).await;
    let mut idle = Vec::new();
    for _ in 0..1000 {
        // Beyond its limit the daemon does not take more; those wait in the socket's queue.
        match tokio::time::timeout(Duration::from_millis(50), UnixStream::connect(agent.socket())).await {
            Ok(Ok(stream)) => idle.push(stream),
            _ => break,
        }
    }
    assert!(idle.len() >= 100, "{} connections", idle.len());
    let started = Instant::now();
    let nothing = json!({});
    let answered = tokio::time::timeout(Duration::from_secs(90), ask(&agent, 1, &nothing));
    let (status, reply) = answered.await.expect("an answer");
    assert_eq!(status, 200, "{reply} after {:?}", started.elapsed());
}
