//! Where a camera's pictures come from, and the password that may need.

use anyhow::Result;
use serde_json::{Value, json};

use crate::arguments::{Opening, Place};
use crate::errors::Usage;
use crate::prompt;

/// The password of a camera in the network, for scripts. Other users can read arguments, not this.
const PASSWORD: &str = "BOOSTER_CAMERA_PASSWORD";

/// The source that was named, if one was.
pub fn of(place: &Place, opening: &Opening) -> Result<Option<Value>> {
    let Place { rtsp, http, v4l2, file, folder } = place;
    if opening.repeat.is_some() && file.is_none() && folder.is_none() {
        return Err(Usage("--repeat is for sources with --file or --folder".into()).into());
    }
    let network =
        [("rtsp", rtsp), ("http", http)].into_iter().find_map(|(kind, url)| Some((kind, url.as_ref()?)));
    if let Some((kind, url)) = network {
        let password = |user: &str| password(user, opening.password_stdin);
        return Ok(Some(json!({"kind": kind, "url": with_password(url, password)?})));
    }
    if opening.password_stdin {
        return Err(Usage("--password-stdin is for cameras with --rtsp or --http".into()).into());
    }
    let stored = [("file", file), ("folder", folder)]
        .into_iter()
        .find_map(|(kind, path)| Some((kind, path.as_ref()?)));
    if let Some((kind, path)) = stored {
        return Ok(Some(json!({"kind": kind, "path": path, "repeat": opening.repeat.unwrap_or(true)})));
    }
    Ok(v4l2.as_ref().map(|device| json!({"kind": "v4l2", "device": device})))
}

/// From the environment, from standard input, or asked for on a terminal; none where there is neither.
fn password(user: &str, from_stdin: bool) -> Result<String> {
    match std::env::var(PASSWORD) {
        Ok(password) if !from_stdin => Ok(password),
        _ if from_stdin || prompt::is_possible() => {
            prompt::password(&format!("Password of {user} at the camera, empty for none: "), from_stdin)
        }
        _ => Ok(String::new()),
    }
}

/// Puts the password into an address that names a user only.
fn with_password(url: &str, password: impl FnOnce(&str) -> Result<String>) -> Result<String> {
    let Some((scheme, rest)) = url.split_once("://") else { return Ok(url.to_owned()) };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((user, host)) if !user.is_empty() && !user.contains(':') => {
            let password = password(user)?;
            let login =
                if password.is_empty() { user.to_owned() } else { format!("{user}:{}", escaped(&password)) };
            Ok(format!("{scheme}://{login}@{host}{path}"))
        }
        _ => Ok(url.to_owned()),
    }
}

/// With everything that means something in an address written as `%40` (RFC 3986, 2.1).
fn escaped(password: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    password
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_asked_for_only_where_a_user_has_none() {
        for (url, secret, expected) in [
            ("rtsp://ana@cam/live", "secret", "rtsp://ana:secret@cam/live"),
            ("rtsp://ana@cam:554?a=b@c", "p@ss:/w", "rtsp://ana:p%40ss%3A%2Fw@cam:554?a=b@c"),
            ("rtsp://ana@cam/live", "ñ", "rtsp://ana:%C3%B1@cam/live"),
            ("rtsp://ana@cam/live", "", "rtsp://ana@cam/live"),
        ] {
            assert_eq!(with_password(url, |_| Ok(secret.into())).expect("sound"), expected);
        }
        for url in ["rtsp://cam/a@b", "rtsp://ana:own@cam/live", "rtsp://@cam/", "nonsense"] {
            let asked = with_password(url, |_| panic!("nothing is missing in {url}"));
            assert_eq!(asked.expect("sound"), url);
        }
    }

    #[test]
    fn each_kind_of_source_has_its_own_words() {
        let source = |place: Place| of(&place, &Opening::default()).expect("sound");
        assert_eq!(source(Place::default()), None);
        let v4l2 = Place { v4l2: Some("/dev/video0".into()), ..Place::default() };
        assert_eq!(source(v4l2), Some(json!({"kind": "v4l2", "device": "/dev/video0"})));
        let file = Place { file: Some("/a.mp4".into()), ..Place::default() };
        assert_eq!(source(file.clone()), Some(json!({"kind": "file", "path": "/a.mp4", "repeat": true})));
        let http = Place { http: Some("http://cam/".into()), ..Place::default() };
        assert_eq!(source(http), Some(json!({"kind": "http", "url": "http://cam/"})));
        let stdin = Opening { password_stdin: true, ..Opening::default() };
        assert!(of(&file, &stdin).is_err(), "a video has no password");
        let once = Opening { repeat: Some(false), ..Opening::default() };
        assert_eq!(of(&file, &once).expect("sound").expect("a source")["repeat"], json!(false));
        assert!(of(&Place::default(), &once).is_err(), "there is nothing to repeat");
    }
}
