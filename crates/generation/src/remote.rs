//! Other servers with language models: Ollama's protocol and OpenAI's, asked as `<server>/<model>`.

use std::time::Duration;

use actionbooster_http_client::{self as net, ClientError, innermost, quoted};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

use super::error::GenerationError;
use super::models::{Answer, Question};
use super::settings::{TextServer, TextServerKind};

/// One text. The server says nothing before it is whole.
const LIMIT: Duration = Duration::from_secs(600);
const MOST_REPLY_BYTES: usize = 8 << 20;
const MOST_KEY_BYTES: usize = 4096;

/// The servers that the settings name.
#[derive(Debug)]
pub(crate) struct Remotes {
    servers: Vec<TextServer>,
    client: Client,
}

impl Remotes {
    pub(crate) fn new(servers: Vec<TextServer>) -> Result<Self, ClientError> {
        Ok(Self { servers, client: net::client(LIMIT)? })
    }

    /// The server that `<server>/<model>` names, and the model; `None` for a model of this box.
    pub(super) fn find<'a>(&self, model: &'a str) -> Result<Option<(&TextServer, &'a str)>, GenerationError> {
        let Some((name, model)) = model.split_once('/') else { return Ok(None) };
        match self.servers.iter().find(|server| server.name == name) {
            Some(server) if !model.is_empty() => Ok(Some((server, model))),
            Some(_) => Err(unknown(format!("Name a model of {name}: {name}/<model>."))),
            None if self.servers.is_empty() => Err(unknown(format!(
                "No text server is called {name}, and none is set. Write it into \
                 /etc/actionbooster/agent.toml: [[gateway.text_servers]] with name, kind and url."
            ))),
            None => {
                let names: Vec<&str> = self.servers.iter().map(|server| server.name.as_str()).collect();
                Err(unknown(format!("No text server is called {name}; there are {}.", names.join(", "))))
            }
        }
    }

    /// Asks a model of a server, and waits for its whole answer.
    pub(super) async fn ask(
        &self,
        server: &TextServer,
        model: &str,
        question: &Question<'_>,
    ) -> Result<Answer, GenerationError> {
        let request = self.request(server, model, question).await?;
        let response = request.send().await.map_err(|error| unreachable(server, &innermost(&error)))?;
        let status = response.status();
        let bytes = net::read(response, MOST_REPLY_BYTES)
            .await
            .map_err(|error| failed(server, &format!("its answer broke off: {error}")))?;
        let reply: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if !status.is_success() {
            let said = reply["error"].as_str().or_else(|| reply["error"]["message"].as_str());
            let said = said.map_or_else(|| String::from_utf8_lossy(&bytes), Into::into);
            return Err(failed(server, &format!("it refuses with {status}: {}", quoted(&said))));
        }
        read(server.kind, &reply)
            .ok_or_else(|| failed(server, "its answer holds no text; see that `kind` and `url` are right"))
    }

    async fn request(
        &self,
        server: &TextServer,
        model: &str,
        question: &Question<'_>,
    ) -> Result<RequestBuilder, GenerationError> {
        let message = |role: &str, content: &str| json!({"role": role, "content": content});
        let system = question.system.map(|text| message("system", text));
        let messages: Vec<Value> = system.into_iter().chain([message("user", question.prompt)]).collect();
        let &Question { temperature, seed, max_tokens, .. } = question;
        let (url, body) = match server.kind {
            TextServerKind::Ollama => (
                server.url.below(&["api", "chat"]),
                json!({"model": model, "messages": messages, "stream": false,
                    "options": {"temperature": temperature, "seed": seed, "num_predict": max_tokens}}),
            ),
            TextServerKind::OpenAi => {
                let versioned = server.url.to_string().ends_with("/v1");
                let path: &[&str] = &["v1", "chat", "completions"];
                (
                    server.url.below(&path[usize::from(versioned)..]),
                    json!({"model": model, "messages": messages, "stream": false,
                        "temperature": temperature, "seed": seed, "max_tokens": max_tokens}),
                )
            }
        };
        let request = self.client.post(url).json(&body).timeout(LIMIT);
        Ok(match key(server).await? {
            Some(key) => request.header(AUTHORIZATION, key),
            None => request,
        })
    }
}

/// The key, read every time so that a new one works at once. It is never logged.
async fn key(server: &TextServer) -> Result<Option<HeaderValue>, GenerationError> {
    let Some(path) = &server.key_file else { return Ok(None) };
    let wrong = |reason: &str| failed(server, &format!("its key file {} {reason}", path.display()));
    let text = tokio::fs::read_to_string(path)
        .await
        .map_err(|error| wrong(&format!("cannot be read ({error}); the agent's user must be able to")))?;
    let key = text.trim();
    if key.is_empty() || key.len() > MOST_KEY_BYTES {
        return Err(wrong("does not hold a key"));
    }
    let mut value =
        HeaderValue::try_from(format!("Bearer {key}")).map_err(|_| wrong("holds more than one line"))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn read(kind: TextServerKind, reply: &Value) -> Option<Answer> {
    let (text, prompt_tokens, generated_tokens) = match kind {
        TextServerKind::Ollama => {
            (&reply["message"]["content"], &reply["prompt_eval_count"], &reply["eval_count"])
        }
        TextServerKind::OpenAi => {
            let usage = &reply["usage"];
            (&reply["choices"][0]["message"]["content"], &usage["prompt_tokens"], &usage["completion_tokens"])
        }
    };
    // Not every server counts.
    let count = |value: &Value| value.as_u64().and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
    Some(Answer {
        text: text.as_str()?.to_owned(),
        prompt_tokens: count(prompt_tokens),
        generated_tokens: count(generated_tokens),
    })
}

const fn unknown(detail: String) -> GenerationError {
    GenerationError::UnknownModel(detail)
}

fn unreachable(server: &TextServer, reason: &str) -> GenerationError {
    let TextServer { name, url, .. } = server;
    GenerationError::TextServerUnreachable(format!(
        "The text server {name} at {url} does not answer ({reason}); see that it runs, and that its \
         address in agent.toml is right."
    ))
}

fn failed(server: &TextServer, reason: &str) -> GenerationError {
    let TextServer { name, url, .. } = server;
    GenerationError::TextServerFailed(format!("The text server {name} at {url} gave no text: {reason}."))
}
