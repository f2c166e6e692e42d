//! The life of runners: shared loads, eviction, crashes, idle time, clients that leave, the end.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use support::{Agent, CONTEXT, Events};

fn endless(model: &str) -> String {
    chat(model, CONTEXT - 100, true)
}

fn chat(model: &str, max_tokens: u32, stream: bool) -> String {
    let messages = json!([{"role": "user", "content": "Once upon a time"}]);
    json!({"model": model, "messages": messages, "max_tokens": max_tokens, "stream": stream}).to_string()
}

fn crash(agent: &Agent, id: &str) {
    let pid = agent.runner(id).expect("a runner");
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("signal");
}

#[tokio::test]
async fn a_runner_killed_in_the_middle_costs_its_request_only() {
    let agent = Agent::start(&["one", "two"], "").await;
    let mut victim = Events::of(agent.send("POST", "/v1/chat/completions", &endless("one")).await);
    let mut other = Events::of(agent.send("POST", "/v1/chat/completions", &endless("two")).await);
    for stream in [&mut victim, &mut other] {
        stream.next().await.expect("the first chunk");
        stream.next().await.expect("a token");
    }
    crash(&agent, "one");
    let rest = victim.rest().await;
    let last = rest.last().expect("an error").json();
    let message = last["error"]["message"].as_str().expect("message");
    assert!(message.contains("signal: 9") && message.contains("memory ran out"), "{last}");
    assert!(other.next().await.is_some(), "the other model goes on");
    let (status, reply) = agent.ask("POST", "/v1/chat/completions", &chat("one", 4, false)).await;
    assert_eq!(status, 200, "the next request starts it again: {reply}");
    assert!((agent.counter("runner_crashes_total", "one").await - 1.0).abs() < 0.1);
}

#[tokio::test]
async fn a_runner_that_dies_idle_is_noticed_and_replaced() {
    let agent = Agent::start(&["one"], "").await;
    agent.ask("POST", "/v1/chat/completions", &chat("one", 1, false)).await;
    crash(&agent, "one");
    agent.until("its end is seen", async || agent.state("one").await == "idle").await;
    let (status, reply) = agent.ask("POST", "/v1/chat/completions", &chat("one", 1, false)).await;
    assert_eq!(status, 200, "{reply}");
}

#[tokio::test]
async fn three_crashes_in_a_row_make_a_model_rest_with_the_reason() {
    let agent = Agent::start(&["one"], "").await;
    for _ in 0..3 {
        let mut stream = Events::of(agent.send("POST", "/v1/chat/completions", &endless("one")).await);
        stream.next().await.expect("the first chunk");
        crash(&agent, "one");
        stream.rest().await;
    }
    assert_eq!(agent.state("one").await, "failed");
    let response = agent.send("POST", "/v1/chat/completions", &chat("one", 1, false)).await;
    assert!(response.headers().contains_key("retry-after"));
    let (status, reply) = support::parsed(response).await;
    assert_eq!(status, 503, "{reply}");
    let message = reply["error"]["message"].as_str().expect("message");
    assert!(message.contains("3 times in a row") && message.contains("signal: 9"), "{message}");
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_generation() {
    let agent = Agent::start(&["one"], "").await;
    let mut stream = Events::of(agent.send("POST", "/v1/chat/completions", &endless("one")).await);
    stream.next().await.expect("the first chunk");
    drop(stream);
    agent
        .until("the request is cancelled", async || {
            agent.counter("model_requests_total", "cancelled").await > 0.5
        })
        .await;
    // The same for one that waits for the whole answer, and for a query.
    for (path, body) in [
        ("/v1/chat/completions", chat("one", CONTEXT - 100, false)),
        ("/query", json!({"prompt": "x", "max_tokens": CONTEXT - 100}).to_string()),
    ] {
        let before = agent.counter("model_requests_total", "cancelled").await;
        let asked = agent.send("POST", path, &body);
        assert!(
            tokio::time::timeout(Duration::from_millis(500), asked).await.is_err(),
            "{path} answers too early"
        );
        let after = async || agent.counter("model_requests_total", "cancelled").await > before + 0.5;
        agent.until(path, after).await;
    }
    // The runner has stopped too: it uses no processor time any more.
    let pid = agent.runner("one").expect("a runner");
    agent
        .until("the runner rests", async || {
            let before = processor_ticks(pid);
            tokio::time::sleep(Duration::from_millis(300)).await;
            processor_ticks(pid) - before <= 1
        })
        .await;
}

#[tokio::test]
async fn requests_that_come_together_share_one_load() {
    let agent = Agent::start(&["one"], "").await;
    let body = chat("one", 2, false);
    let asked = (0..6).map(|_| agent.ask("POST", "/v1/chat/completions", &body));
    for (status, reply) in futures::future::join_all(asked).await {
        assert_eq!(status, 200, "{reply}");
    }
    assert!((agent.counter("runner_load_seconds_count", "").await - 1.0).abs() < 0.1);
}

/// Room for one of the models, not for two: their estimate is read from a refusal.
async fn budget_for_one() -> u64 {
    let agent = Agent::start(&["one"], "model_budget_bytes = 1").await;
    let response = agent.send("POST", "/v1/chat/completions", &chat("one", 1, false)).await;
    let (status, reply) = support::parsed(response).await;
    assert_eq!(status, 503, "{reply}");
    assert_eq!(reply["error"]["code"], "model_too_large", "{reply}");
    let message = reply["error"]["message"].as_str().expect("message");
    let mib: u64 = message.split_whitespace().find_map(|word| word.parse().ok()).expect("the arithmetic");
    mib << 20
}

#[tokio::test]
async fn models_that_do_not_fit_together_take_turns() {
    let budget = budget_for_one().await;
    let config = format!("model_budget_bytes = {budget}\nwait_s = 1\n");
    let agent = Agent::start(&["one", "two"], &config).await;
    let body = json!({"prompt": "Once upon a time", "max_tokens": 8}).to_string();
    let (status, reply) = agent.ask("POST", "/query", &body).await;
    assert_eq!(status, 200, "{reply}");
    for answer in reply["answers"].as_array().expect("answers") {
        assert_eq!(answer["error"], Value::Null, "{reply}");
    }
    assert!(agent.counter("runner_evictions_total", "").await > 0.5);
    assert!(agent.counter("runners_loaded", "").await < 1.5, "never two at once");

    // One with work in flight stays, and who needs its memory is refused with the arithmetic.
    let mut busy = Events::of(agent.send("POST", "/v1/chat/completions", &endless("one")).await);
    busy.next().await.expect("the first chunk");
    let response = agent.send("POST", "/v1/chat/completions", &chat("two", 1, false)).await;
    assert!(response.headers().contains_key("retry-after"));
    let (status, reply) = support::parsed(response).await;
    assert_eq!(status, 503, "{reply}");
    let message = reply["error"]["message"].as_str().expect("message");
    assert!(message.contains("MiB and other requests use"), "{message}");
    assert!(busy.next().await.is_some(), "the busy one goes on");
}

#[tokio::test]
async fn an_idle_model_is_unloaded() {
    let agent = Agent::start(&["one"], "keep_alive_s = 1").await;
    agent.ask("POST", "/v1/chat/completions", &chat("one", 1, false)).await;
    assert!(agent.runner("one").is_some());
    agent.until("it is unloaded", async || agent.runner("one").is_none()).await;
    assert_eq!(agent.state("one").await, "idle");
    assert!(agent.counter("runner_crashes_total", "").await < 0.5, "that is no crash");
}

#[tokio::test]
async fn the_end_of_the_agent_is_the_end_of_its_runners() {
    let agent = Agent::start(&["one"], "").await;
    agent.ask("POST", "/v1/chat/completions", &chat("one", 1, false)).await;
    let pid = agent.runner("one").expect("a runner");
    let started = Instant::now();
    let (status, root) = agent.end().await;
    assert!(status.success(), "{status}");
    assert!(started.elapsed() < Duration::from_secs(15), "an idle agent ends at once");
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "the runner is gone");
    assert!(!root.path().join("run/actionbooster/runners/one.sock").exists(), "so is its socket");
}

/// User and system time of a process, in clock ticks.
fn processor_ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process");
    let after_name = stat.rsplit(')').next().expect("fields");
    after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

#[tokio::test]
async fn an_agent_that_is_killed_leaves_no_runner_behind() {
    let agent = Agent::start(&["one"], "").await;
    agent.ask("POST", "/v1/chat/completions", &chat("one", 1, false)).await;
    let runner = agent.runner("one").expect("a runner");
    let _root = agent.kill();
    let started = Instant::now();
    // A zombie that nobody waits for is gone too.
    let is_there = || {
        std::fs::read_to_string(format!("/proc/{runner}/stat"))
            .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
    };
    while is_there() {
        assert!(started.elapsed() < Duration::from_secs(20), "the runner {runner} lives on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
