//! The routes of a ComfyUI server.

use std::time::Duration;

use actionbooster_http_client::{self as net, ReadError, innermost, quoted};
use reqwest::multipart::{Form, Part};
use reqwest::{RequestBuilder, Response};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::replies::{Accepted, Ended, History, Memory, Output, Queue, Rejected, Stats, choices};
use super::{Comfy, ComfyError};

/// A question about the server's state; it answers them even while it works.
const QUESTION_LIMIT: Duration = Duration::from_secs(15);
/// Sending a graph or an image: a server that loads a model answers late.
const SENDING_LIMIT: Duration = Duration::from_secs(120);
/// Whether the server is there at all, asked while a client waits.
const GLANCE_LIMIT: Duration = Duration::from_secs(3);
/// Histories repeat the whole graph.
const MOST_REPLY_BYTES: usize = 8 << 20;
/// Fetching one output.
const FETCH_LIMIT: Duration = Duration::from_secs(300);
/// The one output that is fetched into memory at a time.
pub(super) const MOST_OUTPUT_BYTES: usize = 128 << 20;

impl Comfy {
    /// The server's address, as it is told to people.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Sends a graph and returns its id.
    pub(super) async fn submit(&self, graph: &Value, client_name: &str) -> Result<String, ComfyError> {
        let body = json!({"prompt": graph, "client_id": client_name});
        let request = self.client.post(self.address.below(&["prompt"])).json(&body).timeout(SENDING_LIMIT);
        let response = self.send(request).await?;
        if response.status().as_u16() == 400 {
            let bytes = self.body(response, "a refusal", MOST_REPLY_BYTES).await?;
            let said = serde_json::from_slice::<Rejected>(&bytes)
                .map_or_else(|_| String::from_utf8_lossy(&bytes).into_owned(), |rejected| rejected.said());
            return Err(ComfyError::Graph { address: self.address.clone(), said: quoted(&said) });
        }
        let accepted: Accepted = self.json(response, "a workflow").await?;
        Ok(accepted.prompt_id)
    }

    /// How the graph ended; `None` before it has.
    pub(super) async fn history(&self, id: &str) -> Result<Option<Ended>, ComfyError> {
        let mut history: History = self.question(&["history", id]).await?;
        Ok(history.remove(id))
    }

    pub(super) async fn queue(&self) -> Result<Queue, ComfyError> {
        self.question(&["queue"]).await
    }

    /// Takes a graph out of the queue, if it still waits there.
    pub(super) async fn forget(&self, id: &str) -> Result<(), ComfyError> {
        self.tell("queue", &json!({"delete": [id]})).await
    }

    /// Stops the graph that runs. Newer servers make sure that it is this one.
    pub(super) async fn interrupt(&self, id: &str) -> Result<(), ComfyError> {
        self.tell("interrupt", &json!({"prompt_id": id})).await
    }

    /// Whether a ComfyUI server is there now.
    pub(crate) async fn glance(&self) -> Result<(), ComfyError> {
        let request = self.client.get(self.address.below(&["system_stats"])).timeout(GLANCE_LIMIT);
        let _: Stats = self.json(self.send(request).await?, "a question").await?;
        Ok(())
    }

    /// Memory of its first device; `None` when it names none.
    pub(crate) async fn memory(&self) -> Result<Option<Memory>, ComfyError> {
        let stats: Stats = self.question(&["system_stats"]).await?;
        Ok(stats.devices.first().copied())
    }

    /// Asks it to give back the memory of models that it keeps, unless it works for somebody.
    /// Returns whether it was asked.
    pub(crate) async fn free_memory(&self) -> Result<bool, ComfyError> {
        if !self.queue().await?.is_empty() {
            return Ok(false);
        }
        self.tell("free", &json!({"unload_models": true, "free_memory": true})).await?;
        Ok(true)
    }

    /// Names of the checkpoints it has.
    pub(crate) async fn checkpoints(&self) -> Result<Vec<String>, ComfyError> {
        let node = "CheckpointLoaderSimple";
        let info: Value = self.question(&["object_info", node]).await?;
        choices(&info, node, "ckpt_name")
            .ok_or_else(|| self.strange("it does not say which checkpoints it has".into()))
    }

    /// Gives it an image to begin with, and returns the name under which a graph finds it.
    pub(crate) async fn upload(
        &self,
        bytes: Vec<u8>,
        ending: &str,
        media_type: &str,
    ) -> Result<String, ComfyError> {
        let name = format!("booster-{:016x}.{ending}", rand::random::<u64>());
        let part = Part::bytes(bytes).file_name(name).mime_str(media_type);
        let part = part.map_err(|error| self.strange(innermost(&error)))?;
        let form = Form::new().part("image", part).text("type", "input").text("overwrite", "true");
        let url = self.address.below(&["upload", "image"]);
        let request = self.client.post(url).multipart(form).timeout(SENDING_LIMIT);
        let reply: Value = self.json(self.send(request).await?, "an image").await?;
        let name = reply["name"].as_str().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| self.strange("it does not say how it called the image".into()))?;
        let folder = reply["subfolder"].as_str().unwrap_or_default();
        Ok(if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") })
    }

    /// Fetches one output.
    pub(crate) async fn fetch(&self, output: &Output) -> Result<Vec<u8>, ComfyError> {
        let mut url = self.address.below(&["view"]);
        url.query_pairs_mut()
            .append_pair("filename", &output.filename)
            .append_pair("subfolder", &output.subfolder)
            .append_pair("type", &output.place);
        let response =
            self.accepted(self.send(self.client.get(url).timeout(FETCH_LIMIT)).await?, "an output").await?;
        self.body(response, "an output", MOST_OUTPUT_BYTES).await
    }

    async fn question<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, ComfyError> {
        let request = self.client.get(self.address.below(path)).timeout(QUESTION_LIMIT);
        self.json(self.send(request).await?, "a question").await
    }

    async fn tell(&self, route: &str, body: &Value) -> Result<(), ComfyError> {
        let request = self.client.post(self.address.below(&[route])).json(body).timeout(QUESTION_LIMIT);
        self.accepted(self.send(request).await?, "an order").await.map(drop)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ComfyError> {
        let unreachable = |error: reqwest::Error| ComfyError::Unreachable {
            address: self.address.clone(),
            reason: innermost(&error),
        };
        request.send().await.map_err(unreachable)
    }

    async fn json<T: DeserializeOwned>(
        &self,
        response: Response,
        what: &'static str,
    ) -> Result<T, ComfyError> {
        let response = self.accepted(response, what).await?;
        let bytes = self.body(response, "an answer", MOST_REPLY_BYTES).await?;
        serde_json::from_slice(&bytes)
            .map_err(|error| self.strange(format!("its answer to {what} cannot be read ({error})")))
    }

    async fn accepted(&self, response: Response, what: &'static str) -> Result<Response, ComfyError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let bytes = self.body(response, "a refusal", MOST_REPLY_BYTES).await?;
        let said = quoted(&String::from_utf8_lossy(&bytes));
        Err(ComfyError::Refused { address: self.address.clone(), what, status: status.as_u16(), said })
    }

    async fn body(
        &self,
        response: Response,
        what: &'static str,
        limit: usize,
    ) -> Result<Vec<u8>, ComfyError> {
        net::read(response, limit).await.map_err(|error| match error {
            ReadError::TooLarge { limit } => {
                ComfyError::TooLarge { address: self.address.clone(), what, limit }
            }
            ReadError::Broken(error) => {
                ComfyError::Unreachable { address: self.address.clone(), reason: innermost(&error) }
            }
        })
    }

    fn strange(&self, what: String) -> ComfyError {
        ComfyError::Strange { address: self.address.clone(), what }
    }
}
