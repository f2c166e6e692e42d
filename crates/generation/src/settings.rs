//! Settings of the generation gateway: `[gateway]` of the agent's file.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer};

use super::address::Address;

/// Settings of the generation gateway.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayConfig {
    /// Bytes that kept outputs may take together; the oldest unpinned make room. 0 means no limit.
    pub assets_bytes: u64,
    /// Address of the ComfyUI server that makes images and videos; empty means there is none.
    #[serde(deserialize_with = "address_or_nothing")]
    pub comfyui: Option<Address>,
    /// Seconds that one image or video may take on the ComfyUI server.
    pub comfyui_limit_s: u64,
    /// Servers with language models of their own, asked as `<name>/<model>`.
    #[serde(deserialize_with = "differently_named")]
    pub text_servers: Vec<TextServer>,
}

/// A server with language models.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextServer {
    /// What it is called in requests.
    pub name: String,
    /// How it is talked to.
    pub kind: TextServerKind,
    /// Its address; for OpenAI's protocol with or without `/v1` at the end.
    pub url: Address,
    /// File that holds its key, when it wants one.
    pub key_file: Option<PathBuf>,
}

/// Protocol of a server with language models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TextServerKind {
    /// Ollama's own.
    Ollama,
    /// That of OpenAI, which many servers speak.
    #[serde(rename = "openai")]
    OpenAi,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self { assets_bytes: 8 << 30, comfyui: None, comfyui_limit_s: 3600, text_servers: Vec::new() }
    }
}

fn address_or_nothing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Address>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    Address::parse(&text).map(Some).map_err(serde::de::Error::custom)
}

fn differently_named<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<TextServer>, D::Error> {
    let servers = Vec::<TextServer>::deserialize(deserializer)?;
    for (at, server) in servers.iter().enumerate() {
        let name = &server.name;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.is_empty() || !name.bytes().all(plain) {
            let detail = "letters, digits, hyphens, dots and underscores";
            return Err(serde::de::Error::custom(format!("the name {name:?} may have {detail} only")));
        }
        if servers[..at].iter().any(|other| other.name == *name) {
            return Err(serde::de::Error::custom(format!("two text servers are called {name:?}")));
        }
    }
    Ok(servers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_told_where_they_are() {
        let server = |name: &str, kind: &str| serde_json::json!({"name": name, "kind": kind, "url": "http://box:11434"});
        let read = |value| serde_json::from_value::<GatewayConfig>(value).map_err(|error| error.to_string());
        let both = serde_json::json!({"text_servers": [server("a", "ollama"), server("b", "openai")]});
        assert_eq!(read(both).expect("two servers").text_servers.len(), 2);
        let cases = [
            (serde_json::json!({"text_servers": [server("a", "ollama"), server("a", "openai")]}), "two text"),
            (serde_json::json!({"text_servers": [server("a/b", "ollama")]}), "a/b"),
            (serde_json::json!({"text_servers": [server("a", "lama")]}), "ollama"),
            (serde_json::json!({"comfyui": "box:8188"}), "http://192.168.1.20:8188"),
        ];
        for (value, expected) in cases {
            let error = read(value).expect_err(expected);
            assert!(error.contains(expected), "{error}");
        }
        assert!(read(serde_json::json!({"comfyui": " "})).expect("off").comfyui.is_none());
    }
}
