//! `boosterctl keys …`.

use anyhow::Result;
use hyper::Method;
use serde_json::{Value, json};

use crate::arguments::Keys;
use crate::client::{Client, Daemon};
use crate::errors::Usage;
use crate::table::{cell, show, table};

const PATH: &str = "/api/v1/keys";

/// Runs one of the commands on keys.
pub async fn run(client: &Client, command: Keys, json: bool) -> Result<()> {
    match command {
        Keys::List => show(&client.get(Daemon::Monitor, PATH).await?, json, list),
        Keys::Create { name, scopes } => {
            let body = json!({"name": name, "scopes": scopes});
            let made = client.post(Daemon::Monitor, PATH, &body).await?;
            // Only the key goes to standard output, so that a script can take it.
            show(&made, json, |made| format!("{}\n", cell(&made["key"])));
            if !json {
                eprintln!("This is the only time the key is shown. Its id is {}.", cell(&made["id"]));
            }
        }
        Keys::Revoke { id } => {
            if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            {
                return Err(Usage(format!("{id:?} is no id of a key; see boosterctl keys list")).into());
            }
            let answer = client.call(Daemon::Monitor, Method::DELETE, &format!("{PATH}/{id}"), None).await?;
            show(&answer, json, |_| format!("The key {id} is revoked.\n"));
        }
    }
    Ok(())
}

fn list(answer: &Value) -> String {
    let keys = answer["keys"].as_array().map(Vec::as_slice).unwrap_or_default();
    if keys.is_empty() {
        return "There are no keys. Make one: boosterctl keys create NAME --scope infer\n".into();
    }
    let row = |key: &Value| ["id", "name", "scopes", "hint"].map(|field| cell(&key[field])).to_vec();
    table(&["ID", "NAME", "SCOPES", "KEY"], &keys.iter().map(row).collect::<Vec<_>>())
}
