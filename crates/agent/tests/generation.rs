//! Images, videos and characters, made by a ComfyUI server.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod comfyui;
#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use comfyui::{Behaviour, ComfyUi, GIB, MP4, PNG, SD15, SDXL, Websocket};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use support::{Agent, READING_KEY, parsed};

/// A server and an agent that knows it.
async fn studio(behaviour: Behaviour) -> (ComfyUi, Agent) {
    let server = ComfyUi::start(behaviour);
    let agent = Agent::start(&[], &server.config()).await;
    (server, agent)
}

/// Asks for a generation and returns its address.
async fn accepted(agent: &Agent, path: &str, body: &Value) -> String {
    let (status, reply) = agent.ask("POST", path, &body.to_string()).await;
    assert_eq!((status, &reply["status"]), (202, &json!("queued")), "{reply}");
    reply["url"].as_str().expect("url").to_owned()
}

/// What a generation is when it ended.
async fn ended(agent: &Agent, url: &str) -> Value {
    let mut last = Value::Null;
    agent
        .until("the generation ends", async || {
            last = agent.ask("GET", url, "").await.1;
            !["queued", "running"].contains(&last["status"].as_str().expect("status"))
        })
        .await;
    last
}

async fn generate(agent: &Agent, path: &str, body: Value) -> Value {
    let url = accepted(agent, path, &body).await;
    ended(agent, &url).await
}

async fn until_it_runs(agent: &Agent, url: &str) {
    agent.until("it makes steps", async || agent.ask("GET", url, "").await.1["progress"] != 0.0).await;
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[tokio::test]
async fn an_image_is_made_kept_and_can_be_made_again() {
    let (server, agent) =
        studio(Behaviour { step: Duration::from_millis(100), ..Behaviour::default() }).await;
    let body = json!({"prompt": "a lighthouse", "negative": "fog", "width": 768, "seed": 7, "steps": 20});
    let url = accepted(&agent, "/image/gen", &body).await;
    let mut seen = Vec::new();
    agent
        .until("progress is told", async || {
            let now = agent.ask("GET", &url, "").await.1;
            if now["status"] == "running" && text(&now["step"]).starts_with("KSampler ") {
                seen.push(now["progress"].as_f64().expect("progress"));
            }
            seen.len() > 3 || now["status"] == "succeeded"
        })
        .await;
    assert!(seen.is_sorted() && seen.iter().any(|share| *share > 0.0 && *share < 1.0), "{seen:?}");
    let made = ended(&agent, &url).await;
    assert_eq!((&made["status"], &made["progress"]), (&json!("succeeded"), &json!(1.0)), "{made}");
    assert_eq!((&made["kind"], &made["reason"]), (&json!("image"), &Value::Null), "{made}");

    let file = agent.send("GET", text(&made["assets"][0]["file"]), "").await;
    assert_eq!(file.headers()["content-type"], "image/png");
    assert_eq!(file.into_body().collect().await.expect("body").to_bytes(), PNG);
    let (_, asset) = agent.ask("GET", text(&made["assets"][0]["url"]), "").await;
    assert_eq!(
        asset["parameters"],
        json!({"prompt": "a lighthouse", "negative": "fog", "width": 768, "height": 1024, "seed": 7,
            "steps": 20, "cfg": 7.0, "workflow": "sdxl", "model": SDXL, "backend": server.address,
            "reason": null}),
    );
    let graph = server.graph();
    assert_eq!(graph["1"]["inputs"]["ckpt_name"], SDXL);
    assert_eq!(graph["2"]["inputs"]["text"], "a lighthouse");
    assert_eq!((&graph["5"]["inputs"]["seed"], &graph["5"]["inputs"]["steps"]), (&json!(7), &json!(20)));
    assert_eq!(graph["4"]["inputs"], json!({"width": 768, "height": 1024, "batch_size": 1}));

    // What was kept is a request: sent again it makes the same graph.
    let mut again = asset["parameters"].as_object().expect("parameters").clone();
    again.retain(|name, _| name != "backend" && name != "reason");
    generate(&agent, "/image/gen", again.into()).await;
    assert_eq!(server.graph(), graph);
    let (_, all) = agent.ask("GET", "/api/v1/generations", "").await;
    assert_eq!(all["generations"].as_array().map(Vec::len), Some(2), "{all}");
    assert_eq!(all["generations"][1], made, "oldest last");
    let counted = agent.counter("generations_total", "outcome=\"succeeded\"").await;
    assert!((counted - 2.0).abs() < 0.1, "{counted}");
}

#[tokio::test]
async fn without_a_websocket_and_when_it_breaks_the_server_is_asked() {
    for websocket in [Websocket::Refused, Websocket::Breaks(0), Websocket::Breaks(6)] {
        let step = Duration::from_millis(20);
        let (_server, agent) = studio(Behaviour { websocket, step, ..Behaviour::default() }).await;
        let made = generate(&agent, "/image/gen", json!({"prompt": "x"})).await;
        assert_eq!(made["status"], "succeeded", "{websocket:?}: {made}");
    }
}

#[tokio::test]
async fn a_graph_that_the_server_cannot_execute_is_explained() {
    let (server, agent) = studio(Behaviour::default()).await;
    let folder = agent.root().join("etc/actionbooster/workflows");
    std::fs::create_dir_all(&folder).expect("folder");
    let shipped = agent.root().join("usr/share/actionbooster/workflows/sd15.json");
    let own = std::fs::read_to_string(shipped).expect("shipped").replace("\"KSampler\"", "\"MySampler\"");
    std::fs::write(folder.join("mine.json"), own.replace("\"name\": \"sd15\"", "\"name\": \"mine\""))
        .expect("own");
    std::fs::write(folder.join("broken.json"), "{").expect("broken");
    let failed = generate(&agent, "/image/gen", json!({"prompt": "x", "workflow": "mine"})).await;
    assert_eq!(failed["status"], "failed", "{failed}");
    for part in ["node MySampler does not exist", &server.address, "Install what is missing"] {
        assert!(text(&failed["reason"]).contains(part), "{part}: {failed}");
    }
    let (_, listed) = agent.ask("GET", "/api/v1/workflows", "").await;
    assert!(text(&listed["errors"][0]).contains("broken.json"), "{listed}");
    assert!(listed["workflows"].as_array().is_some_and(|all| all.iter().any(|one| one["name"] == "mine")));
    // Another name than there is gets the names there are.
    let (status, reply) = agent.ask("POST", "/image/gen", "{\"prompt\":\"x\",\"workflow\":\"min\"}").await;
    assert_eq!((status, &reply["param"]), (422, &json!("workflow")), "{reply}");
    assert!(text(&reply["detail"]).contains("mine, sd15"), "{reply}");
}

#[tokio::test]
async fn an_error_of_the_server_is_told_and_the_next_one_works() {
    let fails = Some(("KSampler", "CUDA out of memory.\nTried to allocate 2 GiB"));
    for websocket in [Websocket::Works, Websocket::Refused] {
        let (server, agent) = studio(Behaviour { websocket, fails, ..Behaviour::default() }).await;
        let failed = generate(&agent, "/image/gen", json!({"prompt": "x"})).await;
        assert_eq!((&failed["status"], &failed["assets"]), (&json!("failed"), &json!([])), "{failed}");
        for part in ["KSampler", "CUDA out of memory. Tried to allocate 2 GiB", "smaller", &server.address] {
            assert!(text(&failed["reason"]).contains(part), "{part}: {failed}");
        }
        server.change(|behaviour| behaviour.fails = None);
        let made = generate(&agent, "/image/gen", json!({"prompt": "x"})).await;
        assert_eq!(made["status"], "succeeded", "{made}");
    }
}

#[tokio::test]
async fn what_runs_and_what_waits_can_be_cancelled() {
    let (server, agent) =
        studio(Behaviour { step: Duration::from_millis(500), ..Behaviour::default() }).await;
    let running = accepted(&agent, "/image/gen", &json!({"prompt": "x", "steps": 150})).await;
    let waiting = accepted(&agent, "/image/gen", &json!({"prompt": "x"})).await;
    until_it_runs(&agent, &running).await;
    let (_, reply) = agent.ask("GET", &waiting, "").await;
    assert_eq!((&reply["status"], &reply["waiting"]), (&json!("queued"), &json!(1)), "{reply}");
    for url in [&waiting, &running] {
        let (status, reply) = agent.ask("DELETE", url, "").await;
        assert_eq!((status, &reply["status"]), (200, &json!("cancelled")), "{reply}");
    }
    let id = "00000000-0000-4000-8000-000000000001";
    let interrupts = server.asked(|asked| asked.interrupts.clone());
    assert_eq!(interrupts, [json!({"prompt_id": id})], "the server was told");
    assert_eq!(server.asked(|asked| asked.prompts.len()), 1, "the one that waited was never sent");
    server.change(|behaviour| behaviour.step = Duration::from_millis(1));
    let made = generate(&agent, "/image/gen", json!({"prompt": "x"})).await;
    assert_eq!(made["status"], "succeeded", "{made}");
    // What ended stays as it is.
    let (status, reply) = agent.ask("DELETE", text(&made["url"]), "").await;
    assert_eq!((status, &reply["status"]), (200, &json!("succeeded")), "{reply}");
    let (status, reply) = agent.ask("DELETE", "/api/v1/generations/g-0", "").await;
    assert_eq!((status, &reply["type"]), (404, &json!("generation-not-found")), "{reply}");
}

#[tokio::test]
async fn only_so_many_wait_and_the_end_of_the_agent_stops_the_server() {
    let (server, agent) =
        studio(Behaviour { step: Duration::from_millis(500), ..Behaviour::default() }).await;
    let running = accepted(&agent, "/image/gen", &json!({"prompt": "x", "steps": 150})).await;
    until_it_runs(&agent, &running).await;
    for _ in 0..16 {
        accepted(&agent, "/image/gen", &json!({"prompt": "x"})).await;
    }
    let refused = agent.send("POST", "/image/gen", "{\"prompt\":\"x\"}").await;
    assert!(refused.headers().contains_key("retry-after"));
    let (status, reply) = parsed(refused).await;
    assert_eq!((status, &reply["type"]), (429, &json!("queue-full")), "{reply}");
    let (status, _root) = agent.end().await;
    assert!(status.success(), "{status}");
    assert_eq!(server.asked(|asked| asked.interrupts.len()), 1, "the server does not work on for nobody");
}

#[tokio::test]
async fn a_server_that_goes_away_ends_the_generation_with_its_address() {
    let (server, agent) =
        studio(Behaviour { step: Duration::from_millis(500), ..Behaviour::default() }).await;
    let url = accepted(&agent, "/image/gen", &json!({"prompt": "x", "steps": 150})).await;
    until_it_runs(&agent, &url).await;
    let address = server.address.clone();
    drop(server);
    let failed = ended(&agent, &url).await;
    assert_eq!(failed["status"], "failed", "{failed}");
    for part in [&address, "went away in the middle", "ask again"] {
        assert!(text(&failed["reason"]).contains(part), "{part}: {failed}");
    }
    let (status, reply) = agent.ask("POST", "/image/gen", "{\"prompt\":\"x\"}").await;
    assert_eq!((status, &reply["type"]), (503, &json!("comfyui-unreachable")), "{reply}");
    assert!(text(&reply["detail"]).contains(&address), "{reply}");
}

#[tokio::test]
async fn outputs_that_are_huge_or_no_pictures_are_refused() {
    let (server, agent) = studio(Behaviour::default()).await;
    let cases = [
        (comfyui::Output::AnnouncedHuge, "134217728 bytes"),
        (comfyui::Output::Endless, "134217728 bytes"),
        (comfyui::Output::Html, "neither an image nor a video"),
    ];
    for (output, expected) in cases {
        server.change(|behaviour| behaviour.output = output);
        let failed = generate(&agent, "/image/gen", json!({"prompt": "x"})).await;
        assert_eq!(failed["status"], "failed", "{output:?}: {failed}");
        assert!(text(&failed["reason"]).contains(expected), "{output:?}: {failed}");
    }
    let (_, kept) = agent.ask("GET", "/api/v1/assets", "").await;
    assert_eq!(kept["assets"], json!([]));
}

#[tokio::test]
async fn short_memory_means_the_smaller_workflow_and_a_reason() {
    let (total, free) = (4 * GIB, (4 * GIB, 4 * GIB));
    let (server, agent) = studio(Behaviour { total, free, ..Behaviour::default() }).await;
    for body in [json!({"prompt": "x"}), json!({"prompt": "x", "workflow": "sdxl"})] {
        let made = generate(&agent, "/image/gen", body).await;
        assert_eq!(made["status"], "succeeded", "{made}");
        assert!(text(&made["reason"]).contains("sdxl needs 7.0 GiB"), "{made}");
        assert!(text(&made["reason"]).contains("4.0 GiB free, so sd15 is used"), "{made}");
        let (_, asset) = agent.ask("GET", text(&made["assets"][0]["url"]), "").await;
        assert_eq!(
            (&asset["parameters"]["workflow"], &asset["parameters"]["model"]),
            (&json!("sd15"), &json!(SD15))
        );
        assert_eq!(server.graph()["4"]["inputs"]["width"], 512, "the size that suits the smaller one");
    }
    assert_eq!(server.asked(|asked| asked.freed), 0, "nothing could be gained");
    // A server that only keeps earlier models lets go of them.
    server.change(|behaviour| (behaviour.total, behaviour.free) = (8 * GIB, (GIB, 8 * GIB)));
    let made = generate(&agent, "/image/gen", json!({"prompt": "x"})).await;
    assert_eq!((&made["status"], &made["reason"]), (&json!("succeeded"), &Value::Null), "{made}");
    assert_eq!(server.graph()["1"]["inputs"]["ckpt_name"], SDXL);
    assert_eq!(server.asked(|asked| asked.freed), 1);
    // What it has not, it cannot use, and says what it has.
    server.change(|behaviour| behaviour.checkpoints = vec!["own.safetensors"]);
    let failed = generate(&agent, "/image/gen", json!({"prompt": "x"})).await;
    assert!(text(&failed["reason"]).contains("It has own.safetensors"), "{failed}");
    let body = json!({"prompt": "x", "workflow": "sd15", "model": "own.safetensors"});
    let made = generate(&agent, "/image/gen", body).await;
    assert_eq!(made["status"], "succeeded", "{made}");
}

#[tokio::test]
async fn an_image_can_begin_with_another() {
    let (server, agent) = studio(Behaviour::default()).await;
    let given = STANDARD.encode(PNG);
    let body = json!({"prompt": "as a drawing", "image": given, "strength": 0.4});
    let made = generate(&agent, "/image/gen", body).await;
    assert_eq!(made["status"], "succeeded", "{made}");
    let (name, bytes) = server.asked(|asked| {
        let (name, bytes) = asked.uploads.iter().next().expect("an upload");
        (name.clone(), bytes.clone())
    });
    assert_eq!(bytes, PNG);
    let graph = server.graph();
    assert_eq!(graph["8"]["inputs"]["image"], name);
    assert_eq!(graph["5"]["inputs"]["denoise"], 0.4);
    // What was given is kept too, and can be used again by its id.
    let (_, asset) = agent.ask("GET", text(&made["assets"][0]["url"]), "").await;
    let source = text(&asset["parameters"]["image"]).to_owned();
    let made =
        generate(&agent, "/video/gen", json!({"prompt": "waves", "image": source, "frames": 8, "fps": 6}))
            .await;
    assert_eq!(
        (&made["status"], &made["assets"][0]["kind"]),
        (&json!("succeeded"), &json!("video")),
        "{made}"
    );
    let graph = server.graph();
    assert_eq!((&graph["12"]["inputs"]["amount"], &graph["13"]["inputs"]["fps"]), (&json!(8), &json!(6)));
    assert_eq!(server.asked(|asked| asked.uploads.len()), 2);
    let file = agent.send("GET", text(&made["assets"][0]["file"]), "").await;
    assert_eq!(file.headers()["content-type"], "video/mp4");
    assert_eq!(file.into_body().collect().await.expect("body").to_bytes(), MP4);
    let clip = text(&made["assets"][0]["id"]);
    for image in ["a-0000000000000000", clip] {
        let body = json!({"prompt": "x", "image": image}).to_string();
        let (status, reply) = agent.ask("POST", "/image/gen", &body).await;
        assert_eq!((status, &reply["param"]), (422, &json!("image")), "{reply}");
    }
}

#[tokio::test]
async fn a_character_is_written_painted_and_moved() {
    let server = ComfyUi::start(Behaviour::default());
    let agent = Agent::start(&["one"], &server.config()).await;
    let body = json!({"description": "an old sailor", "seed": 5, "frames": 8});
    let made = generate(&agent, "/agent/character", body.clone()).await;
    assert_eq!(made["status"], "succeeded", "{made}");
    let kinds: Vec<&str> =
        made["assets"].as_array().expect("assets").iter().map(|asset| text(&asset["kind"])).collect();
    assert_eq!(kinds, ["text", "text", "image", "video"]);
    let (_, who) = agent.ask("GET", text(&made["assets"][0]["url"]), "").await;
    assert_eq!(
        (&who["parameters"]["prompt"], &who["parameters"]["seed"]),
        (&json!("an old sailor"), &json!(5))
    );
    let graphs = server.asked(|asked| asked.prompts.clone());
    let [portrait, clip] = graphs.as_slice() else { panic!("{graphs:?}") };
    let prompt = text(&portrait["prompt"]["2"]["inputs"]["text"]);
    assert!(prompt.starts_with("portrait of an old sailor, ") && prompt.len() > 40, "{prompt}");
    assert_eq!(
        (&portrait["prompt"]["5"]["inputs"]["seed"], &clip["prompt"]["5"]["inputs"]["seed"]),
        (&json!(5), &json!(5))
    );
    // The clip begins with the portrait.
    let uploaded = server.asked(|asked| asked.uploads.values().next().cloned());
    assert_eq!(uploaded.as_deref(), Some(PNG));
    let (_, video) = agent.ask("GET", text(&made["assets"][3]["url"]), "").await;
    assert_eq!(video["parameters"]["image"], made["assets"][2]["id"]);

    // What was made before something failed is kept and told.
    server.change(|behaviour| behaviour.fails = Some(("ADE_AnimateDiffLoaderGen1", "no motion model")));
    let failed = generate(&agent, "/agent/character", body).await;
    assert_eq!(
        (&failed["status"], failed["assets"].as_array().map(Vec::len)),
        (&json!("failed"), Some(3)),
        "{failed}"
    );
    for part in ["the portrait are kept", "no motion model"] {
        assert!(text(&failed["reason"]).contains(part), "{part}: {failed}");
    }
    let body = json!({"description": "x", "model": "two"}).to_string();
    let (status, reply) = agent.ask("POST", "/agent/character", &body).await;
    assert_eq!((status, &reply["type"]), (404, &json!("model_not_found")), "{reply}");
}

#[tokio::test]
async fn without_a_server_it_says_which_setting_to_write() {
    let agent = Agent::start(&[], "[gateway]\ncomfyui = \"\"\n").await;
    for path in ["/image/gen", "/video/gen", "/agent/character"] {
        let (status, reply) = agent.ask("POST", path, "{\"prompt\":\"x\"}").await;
        assert_eq!((status, &reply["type"]), (503, &json!("comfyui-off")), "{path}: {reply}");
        assert!(text(&reply["detail"]).contains("comfyui = \"http://host:8188\""), "{path}: {reply}");
        let refused = agent.send_as(Some(READING_KEY), "POST", path, b"{\"prompt\":\"x\"}").await;
        assert_eq!(refused.status().as_u16(), 403, "{path}");
    }
    assert_eq!(agent.ask("GET", "/api/v1/generations", "").await, (200, json!({"generations": []})));
    let (_, listed) = agent.ask("GET", "/api/v1/workflows", "").await;
    assert_eq!((listed["workflows"].as_array().map(Vec::len), &listed["backend"]), (Some(6), &Value::Null));
}
