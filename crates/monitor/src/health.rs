//! The health of the whole box: every daemon is asked, and the provisioner's report read.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actionbooster_chassis::health::{Component, Report, Status};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::{Shared, blocking, settings, slot};

/// A daemon that takes longer is not healthy.
const LIMIT: Duration = Duration::from_secs(2);
const LARGEST_ANSWER: usize = 1024 * 1024;

/// Asks everybody.
pub(crate) async fn report(monitor: Shared) -> Report {
    let runtime = monitor.paths.runtime();
    let mut components = vec![accounts(&monitor).await];
    for name in ["agent", "worker"] {
        components.push(daemon(name, &monitor.paths.socket(name)).await);
    }
    components.push(settings(&monitor));
    components.push(provisioning(&runtime.join("provisioning.json")));
    components.extend(monitor.storage.components());
    components.extend(slot::component(&runtime));
    Report::of(monitor.version, components)
}

async fn accounts(monitor: &Shared) -> Component {
    let asked = Arc::clone(monitor);
    match blocking(move || Ok(asked.accounts.owner())).await {
        Ok(Ok(_)) => component("monitor", Status::Ok, ""),
        Ok(Err(error)) => component("monitor", Status::Degraded, error.to_string()),
        Err(problem) => component("monitor", Status::Degraded, problem.detail()),
    }
}

/// Names the settings that cannot be used, and no value of them: everybody may ask for the health.
fn settings(monitor: &Shared) -> Component {
    let name = "settings";
    match settings::read(&monitor.paths) {
        Ok((_, faults)) if faults.is_empty() => component(name, Status::Ok, ""),
        Ok((_, faults)) => {
            let fields: Vec<&str> = faults.iter().map(|fault| fault.field.as_str()).collect();
            let detail = format!("these cannot be used and are as they were before: {}", fields.join(", "));
            component(name, Status::Degraded, detail)
        }
        Err(_) => component(name, Status::Degraded, "the owner's settings cannot be read"),
    }
}

async fn daemon(name: &str, socket: &Path) -> Component {
    match tokio::time::timeout(LIMIT, ask::<Report>(socket, "/health")).await {
        Ok(Ok(report)) => {
            let bad = report.components.iter().filter(|part| part.status != Status::Ok);
            let details: Vec<String> = bad.map(|part| format!("{}: {}", part.name, part.detail)).collect();
            component(name, report.status, details.join("; "))
        }
        Ok(Err(error)) => component(name, Status::Degraded, format!("the {name} does not answer: {error}")),
        Err(_) => component(name, Status::Degraded, format!("the {name} takes too long to answer")),
    }
}

/// What a daemon on this box answers to a question that needs no key.
pub(crate) async fn ask<T: DeserializeOwned>(socket: &Path, path: &str) -> anyhow::Result<T> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let request = hyper::Request::get(path).header("host", "box").body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await?;
    let body = Limited::new(answer.into_body(), LARGEST_ANSWER)
        .collect()
        .await
        .map_err(anyhow::Error::from_boxed)?;
    driver.abort();
    Ok(serde_json::from_slice(&body.to_bytes())?)
}

fn provisioning(path: &Path) -> Component {
    let name = "provisioning";
    let Ok(bytes) = std::fs::read(path) else {
        return component(name, Status::Starting, "the provisioner has not reported yet");
    };
    let Ok(report) = serde_json::from_slice::<Value>(&bytes) else {
        return component(name, Status::Degraded, "the provisioner's report is damaged");
    };
    if report["result"] == "ok" {
        return component(name, Status::Ok, "");
    }
    let steps = report["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
    let failed: Vec<&str> = steps
        .iter()
        .filter(|step| step["status"] == "failed")
        .filter_map(|step| step["name"].as_str())
        .collect();
    let detail = if failed.is_empty() {
        "the data partition could not be used".to_owned()
    } else {
        format!("these steps failed: {}", failed.join(", "))
    };
    component(name, Status::Degraded, detail)
}

fn component(name: &str, status: Status, detail: impl Into<String>) -> Component {
    Component { name: name.into(), status, detail: detail.into() }
}
