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
        (form(&[("image", b"text")]), "neither a JPEG nor a PNG nor a WebP"),
        (form(&[("image", &jpeg()[..200])]), "damaged JPEG"),
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
async fn deepstack_clients_show_their_key_in_the_form_and_name_detectors_or_none() {
    let root = support::prepare();
    support::add_model(root.path(), "also", &support::shapes().join("shapes.onnx"), "");
    let worker = Worker::start_as(root, "", std::process::Command::new(support::PROGRAM)).await;
    let key = ("api_key", support::KEY.as_bytes());
    let post = |path: &str| format!("POST {path} HTTP/1.1\r\ncontent-type: multipart/form-data; boundary=xx");
    let ask = async |path: &str, parts: &[(&str, &[u8])]| {
        parsed(worker.http_without_key(&post(path), &form(parts)).await)
    };
    let picture = ("image", &jpeg()[..]);
    // Without a name the first that was added answers.
    for path in ["/v1/vision/detection", "/v1/vision/custom/shapes", "/v1/vision/custom/also"] {
        let (status, told) = ask(path, &[key, picture]).await;
        assert_eq!((status, &told["success"]), (200, &json!(true)), "{path}: {told}");
        assert!(!told["predictions"].as_array().expect("list").is_empty(), "{path}: {told}");
    }
    let (_, told) = parsed(worker.http("GET /api/v1/detectors HTTP/1.1", b"").await);
    let first = &told["detectors"][0];
    assert_eq!((&first["id"], &first["loaded"]), (&json!("also"), &json!(true)), "{told}");
    let (status, told) = ask("/v1/vision/custom/list", &[key]).await;
    assert_eq!((status, &told["models"]), (200, &json!(["also", "shapes"])), "{told}");
    // With a key in the head, nothing else is needed.
    let (status, told) = parsed(worker.http("POST /v1/vision/custom/list HTTP/1.1", b"").await);
    assert_eq!((status, &told["success"]), (200, &json!(true)), "{told}");
    for (path, parts, status, word) in [
        ("/v1/vision/detection", &[picture][..], 401, "`api_key`, before the picture"),
        ("/v1/vision/detection", &[picture, key], 401, "`api_key`, before the picture"),
        ("/v1/vision/detection", &[("api_key", b"ab_wrong"), picture], 401, "API key"),
        ("/v1/vision/custom/cats", &[key, picture], 404, "no detector cats"),
        ("/v1/vision/custom/list", &[], 401, "API key"),
    ] {
        let (got, told) = ask(path, parts).await;
        assert_eq!((got, &told["success"]), (status, &json!(false)), "{path}: {told}");
        assert!(told["error"].as_str().is_some_and(|error| error.contains(word)), "{path}: {told}");
    }
    let (status, told) = parsed(worker.http_without_key("GET /v1/status/ping HTTP/1.1", b"").await);
    assert_eq!((status, &told["success"]), (200, &json!(true)), "{told}");
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

/// What was found in a picture: its size, and names with middles in parts of it, in an order of their own.
fn found(told: &Value) -> (u64, u64, Vec<(String, f64, f64)>) {
    let (width, height) = (told["width"].as_u64().expect("told"), told["height"].as_u64().expect("told"));
    let one = |found: &Value| {
        let part = |at: &str, size: &str, whole: u64| {
            let side = |name: &str| found["box"][name].as_f64().expect("number");
            (side(at) + side(size) / 2.0) / whole as f64
        };
        let label = found["label"].as_str().expect("a name").to_owned();
        (label, part("x", "width", width), part("y", "height", height))
    };
    let mut all: Vec<_> = told["detections"].as_array().expect("list").iter().map(one).collect();
    all.sort_by(|left, right| left.partial_cmp(right).expect("numbers"));
    (width, height, all)
}

#[tokio::test]
async fn pictures_of_every_kind_show_the_same() {
    let worker = Worker::start("").await;
    let raw = image::RgbImage::from_raw(160, 160, support::picture()).expect("fits");
    let file = |format| {
        let mut file = std::io::Cursor::new(Vec::new());
        raw.write_to(&mut file, format).expect("written");
        file.into_inner()
    };
    // Stored on its side, with the Exif block of a phone that was held upright.
    let sideways = image::imageops::rotate270(&raw);
    let plain = compressed(&sideways);
    let exif = b"\xff\xe1\x00\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let turned = [&plain[..2], exif, &plain[2..]].concat();
    // 23 million pixels.
    let large = image::imageops::resize(&raw, 4800, 4800, image::imageops::FilterType::Nearest);
    let (_, _, expected) = found(&looked(&worker, "image/jpeg", &jpeg()).await);
    assert!(expected.len() >= 2, "{expected:?}");
    for (name, kind, picture, side) in [
        ("a PNG", "image/png", file(image::ImageFormat::Png), 160),
        ("a WebP", "image/webp", file(image::ImageFormat::WebP), 160),
        ("a PNG as bytes", "application/octet-stream", file(image::ImageFormat::Png), 160),
        ("a photograph on its side", "image/jpeg", turned, 160),
        ("a large photograph", "image/jpeg", compressed(&large), 4800),
    ] {
        let (width, height, seen) = found(&looked(&worker, kind, &picture).await);
        assert_eq!((width, height), (side, side), "{name}");
        assert_eq!(seen.len(), expected.len(), "{name}: {seen:?}");
        for (seen, expected) in seen.iter().zip(&expected) {
            let close = (seen.1 - expected.1).abs() < 0.03 && (seen.2 - expected.2).abs() < 0.03;
            assert!(seen.0 == expected.0 && close, "{name}: {seen:?}, {expected:?}");
        }
    }
    let (status, told) = parsed(worker.http(FORM, &form(&[("image", &file(image::ImageFormat::Png))])).await);
    assert_eq!((status, &told["success"]), (200, &json!(true)), "{told}");
}

async fn looked(worker: &Worker, kind: &str, picture: &[u8]) -> Value {
    let post = format!("POST /v1/detection?threshold=0.5 HTTP/1.1\r\ncontent-type: {kind}");
    let (status, told) = parsed(worker.http(&post, picture).await);
    assert_eq!(status, 200, "{told}");
    told
}

fn compressed(picture: &image::RgbImage) -> Vec<u8> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let image = turbojpeg::Image {
        pixels: picture.as_raw().as_slice(),
        width,
        pitch: width * 3,
        height,
        format: turbojpeg::PixelFormat::RGB,
    };
    turbojpeg::compress(image, 90, turbojpeg::Subsamp::None).expect("compressed").to_vec()
}
