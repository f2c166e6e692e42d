//! Detection over HTTP: DeepStack's route and our own.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod support;

use serde_json::{Value, json};
use support::Worker;

/// The picture as a JPEG.
fn jpeg() -> Vec<u8> {
    std::fs::read(support::shapes().join("sample.jpg")).expect("part of the repository")
}

fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in parts {
        let file = if *name == "image" { "; filename=\"a.jpg\"" } else { "" };
        body.extend(format!("--xx\r\ncontent-disposition: form-data; name=\"{name}\"{file}\r\n\r\n").bytes());
        body.extend_from_slice(value);
        body.extend(b"\r\n");
    }
    body.extend(b"--xx--\r\n");
    body
}

const FORM: &str = "POST /v1/vision/detection HTTP/1.1\r\ncontent-type: multipart/form-data; boundary=xx";

fn parsed((status, body): (u16, String)) -> (u16, Value) {
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
}

#[tokio::test]
async fn deepstack_clients_get_the_answer_they_know() {
    let worker = Worker::start("").await;
    let (status, told) =
        parsed(worker.http(FORM, &form(&[("image", &jpeg()), ("min_confidence", b"0.5")])).await);
    assert_eq!((status, &told["success"]), (200, &json!(true)), "{told}");
    let labels: Vec<&str> = told["predictions"]
        .as_array()
        .expect("list")
        .iter()
        .filter_map(|one| one["label"].as_str())
        .collect();
    assert!(labels.contains(&"circle") && labels.contains(&"square"), "{told}");
    let first = &told["predictions"][0];
    assert!(first["x_max"].as_i64() > first["x_min"].as_i64(), "{told}");
    for (parts, word) in [
        (form(&[("min_confidence", b"0.5")]), "no field `image`"),
        (form(&[("image", b"text")]), "damaged JPEG"),
        (form(&[("image", &jpeg()), ("min_confidence", b"very")]), "must be a number"),
        (form(&[("image", &jpeg()), ("min_confidence", b"7")]), "between 0 and 1"),
        (form(&[("image", &jpeg()), ("model", b"cats")]), "no detector cats"),
        (b"--xx\r\n".to_vec(), ""),
    ] {
        let (status, told) = parsed(worker.http(FORM, &parts).await);
        assert!((400..500).contains(&status), "{told}");
        assert_eq!(told["success"], json!(false));
        assert!(told["error"].as_str().expect("text").contains(word), "{told}");
    }
}

#[tokio::test]
async fn a_picture_in_the_body_is_looked_at() {
    let worker = Worker::start("").await;
    let post = "POST /v1/detection?threshold=0.5 HTTP/1.1\r\ncontent-type: image/jpeg";
    let (status, told) = parsed(worker.http(post, &jpeg()).await);
    assert_eq!((status, &told["model"]), (200, &json!("shapes")), "{told}");
    assert_eq!((&told["width"], &told["height"]), (&json!(160), &json!(160)));
    assert!(told["detections"].as_array().is_some_and(|found| found.len() >= 2), "{told}");
    let (status, told) = parsed(worker.http("GET /api/v1/detectors HTTP/1.1", b"").await);
    assert_eq!((status, &told["detectors"][0]["loaded"]), (200, &json!(true)), "{told}");
    assert_eq!(told["state"], "READY");
    let wrong = "POST /v1/detection HTTP/1.1\r\ncontent-type: image/png";
    let (status, told) = parsed(worker.http(wrong, b"png").await);
    assert_eq!((status, &told["type"]), (400, &json!("invalid")), "{told}");
    let (status, health) = parsed(worker.http("GET /health HTTP/1.1", b"").await);
    assert_eq!((status, &health["status"]), (200, &json!("ok")), "{health}");
}
