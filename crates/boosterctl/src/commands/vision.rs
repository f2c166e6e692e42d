//! `boosterctl vision …`.

pub mod selftest;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use hyper::body::Bytes;
use serde_json::Value;

use crate::arguments::Vision;
use crate::client::{Client, Daemon, is_id};
use crate::errors::Usage;
use crate::table::{bytes, cell, pairs, show, table};

/// The worker accepts no larger picture.
const LARGEST_PICTURE: u64 = 16 << 20;
/// What the pictures that the worker takes begin with: JPEG, PNG, and WebP, which is a RIFF.
const BEGINNINGS: [&[u8]; 3] = [&[0xff, 0xd8], b"\x89PNG", b"RIFF"];

/// Runs one of the commands on detection.
pub async fn run(client: &Client, command: Vision, json: bool) -> Result<ExitCode> {
    match command {
        Vision::Selftest => return selftest::run(client, json).await,
        Vision::Detect { file, model, threshold } => {
            let path = path(model.as_deref(), threshold)?;
            let picture = read(&file)?;
            show(&client.post_picture(Daemon::Worker, &path, picture).await?, json, seen);
        }
        Vision::Detectors => {
            show(&client.get(Daemon::Worker, "/api/v1/detectors").await?, json, detectors);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Where to ask, and with which limits.
fn path(model: Option<&str>, threshold: Option<f32>) -> Result<String> {
    if let Some(id) = model.filter(|id| !is_id(id)) {
        return Err(Usage(format!("{id:?} is no name of a detector; see boosterctl vision detectors")).into());
    }
    if let Some(score) = threshold.filter(|score| !(0.0..=1.0).contains(score)) {
        return Err(
            Usage(format!("--threshold {score}: write a number between 0 and 1, such as 0.35")).into()
        );
    }
    let model = model.map(|id| format!("model={id}"));
    let threshold = threshold.map(|score| format!("threshold={score}"));
    let query: Vec<String> = [model, threshold].into_iter().flatten().collect();
    Ok(format!("/v1/detection?{}", query.join("&")))
}

fn read(file: &Path) -> Result<Bytes> {
    let told = file.display();
    let size = std::fs::metadata(file).with_context(|| format!("cannot read {told}"))?.len();
    if size > LARGEST_PICTURE {
        let most = LARGEST_PICTURE >> 20;
        return Err(Usage(format!("{told} is larger than {most} MiB; send a smaller picture")).into());
    }
    let picture = std::fs::read(file).with_context(|| format!("cannot read {told}"))?;
    if !BEGINNINGS.iter().any(|beginning| picture.starts_with(beginning)) {
        return Err(Usage(format!("{told} is neither a JPEG nor a PNG nor a WebP; convert it first")).into());
    }
    Ok(picture.into())
}

/// What was found, the best first, and how long it took.
fn seen(answer: &Value) -> String {
    let found = answer["detections"].as_array().map(Vec::as_slice).unwrap_or_default();
    let list = if found.is_empty() {
        "Nothing was found.\n".to_owned()
    } else {
        let row = |found: &Value| {
            let place = ["x", "y", "width", "height"].map(|side| pixels(&found["box"][side]));
            [vec![cell(&found["label"]), score(&found["score"])], place.to_vec()].concat()
        };
        let rows: Vec<_> = found.iter().map(row).collect();
        table(&["WHAT", "SCORE", "X", "Y", "WIDTH", "HEIGHT"], &rows)
    };
    let size = format!("{}x{}", cell(&answer["width"]), cell(&answer["height"]));
    let facts = [("model", cell(&answer["model"])), ("picture", size), ("time", timings(&answer["timings"]))];
    format!("{list}\n{}", pairs(&facts))
}

fn detectors(answer: &Value) -> String {
    let row = |detector: &Value| {
        let state = match (&detector["loaded"], detector["sessions"].as_u64()) {
            (Value::Bool(true), Some(sessions)) if sessions > 0 => format!("loaded, {sessions} in use"),
            (Value::Bool(true), _) => "loaded".into(),
            _ => "on the disk".into(),
        };
        let size = bytes(&detector["size_bytes"]);
        vec![cell(&detector["id"]), state, size, cell(&detector["licence"]), cell(&detector["name"])]
    };
    let detectors = answer["detectors"].as_array().map(Vec::as_slice).unwrap_or_default();
    table(&["ID", "STATE", "SIZE", "LICENCE", "NAME"], &detectors.iter().map(row).collect::<Vec<_>>())
}

fn pixels(value: &Value) -> String {
    value.as_f64().map(|value| format!("{value:.0}")).unwrap_or_default()
}

fn score(value: &Value) -> String {
    value.as_f64().map(|value| format!("{value:.2}")).unwrap_or_default()
}

/// Where a picture's time went, in milliseconds.
fn timings(timings: &Value) -> String {
    let steps = ["queue", "decode", "resize", "inference", "postprocess"];
    let times = steps.map(|step| (step, timings[format!("{step}_us")].as_f64().unwrap_or(0.0) / 1e3));
    let total: f64 = times.iter().map(|(_, time)| time).sum();
    let parts: Vec<String> = times.iter().map(|(step, time)| format!("{step} {time:.1}")).collect();
    format!("{total:.1} ms ({})", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_that_make_no_sense_are_not_asked() {
        assert_eq!(path(None, None).expect("plain"), "/v1/detection?");
        assert_eq!(
            path(Some("shapes"), Some(0.5)).expect("both"),
            "/v1/detection?model=shapes&threshold=0.5"
        );
        for (model, threshold) in
            [(Some("a/b"), None), (Some("a&b"), None), (None, Some(1.1)), (None, Some(f32::NAN))]
        {
            assert!(path(model, threshold).is_err(), "{model:?} {threshold:?}");
        }
    }

    #[test]
    fn only_a_picture_of_a_sensible_size_is_sent() {
        let folder = tempfile::tempdir().expect("folder");
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).expect("written");
            path
        };
        assert_eq!(read(&file("a.jpg", &[0xff, 0xd8, 1])).expect("a JPEG").len(), 3);
        assert_eq!(read(&file("a.png", b"\x89PNG\r\n")).expect("a PNG").len(), 6);
        let error = read(&file("a.gif", b"GIF89a")).expect_err("another kind").to_string();
        assert!(error.contains("neither a JPEG nor a PNG nor a WebP"), "{error}");
        let large = file("large.jpg", BEGINNINGS[0]);
        std::fs::File::options()
            .write(true)
            .open(&large)
            .and_then(|file| file.set_len(LARGEST_PICTURE + 1))
            .expect("longer");
        let error = read(&large).expect_err("too large").to_string();
        assert!(error.contains("16 MiB"), "{error}");
        assert!(read(&folder.path().join("none.jpg")).is_err());
    }
}
