//! Address of another program's HTTP server, as the owner writes it into the settings.

use std::fmt;
use std::sync::Arc;

use reqwest::Url;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// An address such as `http://192.168.1.20:8188`. Its path always ends with a slash.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(Arc<Url>);

impl Address {
    /// Reads an address; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let example = "write it like \"http://192.168.1.20:8188\"";
        let mut url = Url::parse(text.trim())
            .map_err(|error| format!("{text:?} is not an address ({error}); {example}"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
            return Err(format!("{text:?} is not the address of an HTTP server; {example}"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(format!("an address holds no user and no password; {example}"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(format!("{text:?} has more than host, port and path; {example}"));
        }
        if !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        Ok(Self(Arc::new(url)))
    }

    /// The address of something below it. Each part becomes one segment of the path, whatever is in it.
    pub(crate) fn below(&self, parts: &[&str]) -> Url {
        let mut url = Url::clone(&self.0);
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(parts);
        }
        url
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_leads_to_one_server() {
        let address = Address::parse("http://box:8188").expect("address");
        assert_eq!(address.to_string(), "http://box:8188");
        assert_eq!(address.below(&["history", "a/../b"]).as_str(), "http://box:8188/history/a%2F..%2Fb");
        let address = Address::parse(" https://box/studio ").expect("address");
        assert_eq!(address.below(&["prompt"]).as_str(), "https://box/studio/prompt");
        assert_eq!(address.to_string(), "https://box/studio");
    }

    #[test]
    fn what_is_no_address_is_refused_with_an_example() {
        for text in ["", "box:8188", "ftp://box", "http://", "http://me:secret@box", "http://box/?a=1", "#"] {
            let error = Address::parse(text).expect_err(text);
            assert!(error.contains("http://192.168.1.20:8188"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
