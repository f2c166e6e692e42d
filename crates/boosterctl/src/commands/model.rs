//! `boosterctl model …`.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hyper::Method;
use serde_json::{Map, Value, json};

use super::reports;
use crate::arguments::Model;
use crate::client::{Client, Daemon, is_id};
use crate::errors::{Answered, Usage};
use crate::table::{bytes, cell, pairs, show, table};

const PATH: &str = "/api/v1/models";
/// How often an import is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Runs one of the commands on models.
pub async fn run(client: &Client, command: Model, json: bool) -> Result<()> {
    match command {
        Model::List => reports::models(client, json).await?,
        Model::Catalog => show(&client.get(Daemon::Agent, &format!("{PATH}/catalog")).await?, json, catalog),
        Model::Show { id, context, slots } => {
            let number = |name: &str, value: Option<u32>| value.map(|value| format!("{name}={value}"));
            let query: Vec<String> =
                [number("context", context), number("slots", slots)].into_iter().flatten().collect();
            let path = format!("{}?{}", of(&id)?, query.join("&"));
            show(&client.get(Daemon::Agent, &path).await?, json, described);
        }
        Model::Add { source, id } => {
            let model = add(client, &source, id).await?;
            show(&model, json, |model| format!("{} was added.\n", cell(&model["id"])));
        }
        Model::Running => show(&client.get(Daemon::Agent, &format!("{PATH}/running")).await?, json, running),
        Model::Load { id } => {
            client.post(Daemon::Agent, &format!("{}/load", of(&id)?), &json!({})).await?;
            show(&json!({"loaded": id}), json, |_| format!("{id} is loaded.\n"));
        }
        Model::Unload { id, force } => {
            client.post(Daemon::Agent, &format!("{}/unload?force={force}", of(&id)?), &json!({})).await?;
            show(&json!({"unloaded": id}), json, |_| format!("{id} is unloaded.\n"));
        }
        Model::Pin { id } => {
            let model = change(client, &id, &json!({"pinned": true})).await?;
            show(&model, json, |_| format!("{id} stays loaded.\n"));
        }
        Model::Unpin { id } => {
            let model = change(client, &id, &json!({"pinned": false})).await?;
            show(&model, json, |_| format!("{id} goes when its memory is needed.\n"));
        }
        Model::Set { id, options } => {
            let model = change(client, &id, &json!({"options": read_options(&options)?})).await?;
            show(&model, json, |model| format!("{}\n", model["options"]));
        }
        Model::Verify { id } => {
            let answer = client.post(Daemon::Agent, &format!("{}/verify", of(&id)?), &json!({})).await?;
            show(&answer, json, |answer| format!("{id} is whole: {}\n", cell(&answer["sha256"])));
        }
        Model::Remove { id, force } => {
            let path = format!("{}?force={force}", of(&id)?);
            client.call(Daemon::Agent, Method::DELETE, &path, None).await?;
            show(&json!({"removed": id}), json, |_| format!("{id} is removed.\n"));
        }
    }
    Ok(())
}

fn of(id: &str) -> Result<String> {
    if !is_id(id) {
        return Err(Usage(format!("{id:?} is no name of a model; see boosterctl model list")).into());
    }
    Ok(format!("{PATH}/{id}"))
}

async fn change(client: &Client, id: &str, change: &Value) -> Result<Value> {
    client.call(Daemon::Agent, Method::PATCH, &of(id)?, Some(change)).await
}

/// `name=value` pairs as JSON: numbers where they are numbers, null for `default`.
fn read_options(options: &[String]) -> Result<Map<String, Value>> {
    let pair = |option: &String| {
        let (name, value) = option
            .split_once('=')
            .ok_or_else(|| Usage(format!("{option:?} must be OPTION=VALUE, such as temperature=0.5")))?;
        let value = match value {
            "default" => Value::Null,
            text if name == "system" => text.into(),
            text => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
        };
        Ok((name.to_owned(), value))
    };
    options.iter().map(pair).collect()
}

async fn add(client: &Client, source: &str, id: Option<String>) -> Result<Value> {
    if source.starts_with("http://") || source.starts_with("https://") {
        return follow(client, &json!({"url": source})).await;
    }
    let path = Path::new(source);
    if path.is_file() {
        return upload(client, path, id).await;
    }
    if source.contains('/') || [".gguf", ".onnx"].iter().any(|end| source.to_lowercase().ends_with(end)) {
        return Err(Usage(format!("there is no file {source}")).into());
    }
    follow(client, &json!({"catalog": source})).await
}

/// Follows an import to its end.
async fn follow(client: &Client, source: &Value) -> Result<Value> {
    let mut import = client.post(Daemon::Agent, &format!("{PATH}/import"), source).await?;
    let path = format!("{PATH}/imports/{}", cell(&import["import"]));
    loop {
        match import["state"].as_str() {
            Some("done") => {
                let id = cell(&import["id"]);
                return client.get(Daemon::Agent, &of(&id)?).await;
            }
            Some("failed") => bail!("{}", cell(&import["reason"])),
            _ => {}
        }
        progress(import["received_bytes"].as_u64(), import["size_bytes"].as_u64());
        tokio::time::sleep(LOOK).await;
        import = client.get(Daemon::Agent, &path).await?;
    }
}

/// Sends a file in pieces; what an earlier try sent stays.
async fn upload(client: &Client, path: &Path, id: Option<String>) -> Result<Value> {
    let told = path.display();
    let mut file = File::open(path).with_context(|| format!("cannot open {told}"))?;
    let size = file.metadata().with_context(|| format!("cannot read {told}"))?.len();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let announce = json!({"id": id, "file_name": name, "size_bytes": size});
    let upload = match client.post(Daemon::Agent, &format!("{PATH}/uploads"), &announce).await {
        Ok(upload) => upload,
        Err(error) => {
            let begun =
                error.downcast_ref::<Answered>().and_then(|answered| answered.body["upload"].as_str());
            let Some(begun) = begun else { return Err(error) };
            let known = client.get(Daemon::Agent, &format!("{PATH}/uploads/{begun}")).await?;
            if known["size_bytes"] != size {
                return Err(error);
            }
            eprintln!("Going on where it broke off.");
            known
        }
    };
    let place = format!("{PATH}/uploads/{}", cell(&upload["upload"]));
    let piece = upload["chunk_bytes"].as_u64().filter(|bytes| *bytes > 0).unwrap_or(1 << 20);
    let mut received = upload["received_bytes"].as_u64().unwrap_or(0);
    while received < size {
        progress(Some(received), Some(size));
        file.seek(SeekFrom::Start(received)).with_context(|| format!("cannot read {told}"))?;
        let mut bytes = Vec::new();
        (&mut file).take(piece).read_to_end(&mut bytes).with_context(|| format!("cannot read {told}"))?;
        if bytes.is_empty() {
            bail!("{told} became shorter while it was sent");
        }
        let answer = client.put(Daemon::Agent, &format!("{place}?offset={received}"), bytes).await?;
        received = answer["received_bytes"].as_u64().context("the box does not say how much arrived")?;
    }
    progress(Some(received), Some(size));
    client.post(Daemon::Agent, &format!("{place}/finish"), &json!({})).await
}

fn progress(received: Option<u64>, size: Option<u64>) {
    if let (Some(received), Some(size)) = (received, size.filter(|size| *size > 0)) {
        eprintln!("{} of {} ({} %)", bytes(&received.into()), bytes(&size.into()), received * 100 / size);
    }
}

fn catalog(answer: &Value) -> String {
    let row = |model: &Value| {
        let word = match (&model["installed"], &model["suggested"], &model["fits"]) {
            (Value::Bool(true), _, _) => "here",
            (_, Value::Bool(true), _) => "suggested",
            (_, _, Value::Bool(false)) => "too large",
            _ => "",
        };
        let good_for =
            if model["kind"] == "detector" { "detection".to_owned() } else { cell(&model["roles"]) };
        let sizes = [bytes(&model["size_bytes"]), bytes(&model["needs_bytes"])];
        let [size, needs] = sizes;
        vec![cell(&model["id"]), good_for, size, needs, cell(&model["licence"]), word.to_owned()]
    };
    let models = answer["models"].as_array().map(Vec::as_slice).unwrap_or_default();
    table(&["ID", "ROLES", "SIZE", "MEMORY", "LICENCE", ""], &models.iter().map(row).collect::<Vec<_>>())
}

fn described(model: &Value) -> String {
    let (gguf, estimate) = (&model["gguf"], &model["estimate"]);
    let memory = format!(
        "{} for {} tokens and {} requests ({} weights, {} context, {} computing)",
        bytes(&estimate["total_bytes"]),
        cell(&estimate["context_tokens"]),
        cell(&estimate["slots"]),
        bytes(&estimate["weights_bytes"]),
        bytes(&estimate["cache_bytes"]),
        bytes(&estimate["compute_bytes"]),
    );
    // The agent reckons the memory of language models only.
    let memory = if estimate.is_null() { String::new() } else { memory };
    pairs(&[
        ("id", cell(&model["id"])),
        ("kind", cell(&model["kind"])),
        ("name", cell(&model["name"])),
        ("licence", cell(&model["licence"])),
        ("roles", cell(&model["roles"])),
        ("state", cell(&model["state"])),
        ("reason", cell(&model["reason"])),
        ("pinned", cell(&model["pinned"])),
        ("options", model["options"].to_string()),
        ("file", bytes(&model["size_bytes"])),
        ("sha256", cell(&model["sha256"])),
        ("architecture", cell(&gguf["architecture"])),
        ("parameters", cell(&gguf["parameters"])),
        ("quantisation", cell(&gguf["quantisation"])),
        ("context", cell(&gguf["context_length"])),
        ("chat template", cell(&gguf["chat_template"])),
        ("memory", memory),
    ])
}

fn running(answer: &Value) -> String {
    let row = |model: &Value| {
        let mut row = ["id", "state"].map(|field| cell(&model[field])).to_vec();
        row.extend([bytes(&model["bytes"]), bytes(&model["resident_bytes"])]);
        row.extend(["in_flight", "waiting", "idle_s", "pinned"].map(|field| cell(&model[field])));
        row
    };
    let models = answer["running"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows: Vec<_> = models.iter().map(row).collect();
    let budget = &answer["budget"];
    let of = if budget["bytes"].is_null() { "no limit".into() } else { bytes(&budget["bytes"]) };
    format!(
        "{}{} of {of} in use\n",
        table(&["ID", "STATE", "COUNTED", "SEEN", "ANSWERING", "WAITING", "IDLE", "PINNED"], &rows),
        bytes(&budget["used_bytes"]),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_numbers_text_or_taken_back() {
        let read =
            |options: &[&str]| read_options(&options.iter().map(ToString::to_string).collect::<Vec<_>>());
        let options = read(&["temperature=0.5", "system=Be brief.", "top_k=default"]).expect("pairs");
        assert_eq!(Value::from(options), json!({"temperature": 0.5, "system": "Be brief.", "top_k": null}));
        assert!(read(&["temperature"]).is_err());
    }

    #[test]
    fn the_catalog_tells_detectors_from_language_models() {
        let answer = json!({"models": [
            {"id": "qwen", "kind": "language", "roles": ["general"], "size_bytes": 1 << 20, "needs_bytes": 2 << 20,
             "licence": "MIT", "fits": true, "suggested": true, "installed": false},
            {"id": "yolox-s", "kind": "detector", "roles": [], "size_bytes": 1 << 20, "needs_bytes": 2 << 20,
             "licence": "Apache-2.0", "fits": true, "suggested": false, "installed": true},
        ]});
        let expected = "ID       ROLES      SIZE     MEMORY   LICENCE\n\
                        qwen     general    1.0 MiB  2.0 MiB  MIT         suggested\n\
                        yolox-s  detection  1.0 MiB  2.0 MiB  Apache-2.0  here\n";
        assert_eq!(catalog(&answer), expected);
    }

    #[test]
    fn names_that_would_lead_elsewhere_are_refused() {
        assert!(of("qwen3-0.6b").is_ok());
        for id in ["", "..", "../keys", "a/b", "a?b"] {
            assert!(of(id).is_err(), "{id}");
        }
    }
}
