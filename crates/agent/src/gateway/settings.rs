//! Settings of the generation gateway: `[gateway]` of the agent's file.

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
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self { assets_bytes: 8 << 30, comfyui: None, comfyui_limit_s: 3600 }
    }
}

fn address_or_nothing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Address>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    Address::parse(&text).map(Some).map_err(serde::de::Error::custom)
}
