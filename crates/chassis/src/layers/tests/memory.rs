//! What the bodies of requests that are not answered yet may take together.

use std::io::Write;

use axum::body::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

const LIMIT: usize = 1 << 20;
/// A body of which a caller may have two in work, and all callers three.
const LARGE: usize = 900 << 10;

/// Headers and body of a request.
type Form<'a> = (&'a [(&'a str, &'a str)], Vec<u8>);

/// Answers with a body that ends when its reader wants it to.
async fn hold(body: Bytes) -> Response {
    ([("x-read", body.len().to_string())], Body::from("held")).into_response()
}

fn holding(database: &str) -> Router {
    let shape = |problem: &Problem| (problem.status(), "their shape").into_response();
    let routes = vec![
        post("/hold", Scope::Infer, hold).errors(shape),
        post("/stream", Scope::Infer, || async { "held" }).streams_body(),
    ];
    let service = Service::of(routes, ()).body_limit(LIMIT);
    let metrics = PrometheusBuilder::new().build_recorder().handle();
    let limits = Limits { bodies: 0, ..Limits::default() };
    assemble(service, authenticator(database), Health::default(), "1.0", metrics, limits)
}

async fn post_to(
    router: &Router,
    path: &str,
    key: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Response {
    let mut request = request("POST", path, NGINX, headers);
    request.headers_mut().insert("x-api-key", HeaderValue::from_str(key).expect("key"));
    *request.body_mut() = Body::from(body);
    router.clone().oneshot(request).await.expect("infallible")
}

async fn post_large(router: &Router, key: &str) -> Response {
    let length = LARGE.to_string();
    post_to(router, "/hold", key, &[("content-length", &length)], vec![b'x'; LARGE]).await
}

#[tokio::test]
async fn bodies_of_requests_in_work_are_bounded_for_each_caller_and_for_all() {
    let (_folder, path, database) = with_keys();
    for word in ["second", "third"] {
        let row = (word, token_hash(&format!("ab_{word}")));
        database.execute("INSERT INTO api_key VALUES (?1, ?1, 'infer', ?2, 'ab_…', 0)", row).expect("key");
    }
    let router = holding(&path);
    let held = [post_large(&router, "ab_infer").await, post_large(&router, "ab_infer").await];
    assert!(held.iter().all(|response| response.headers()["x-read"] == LARGE.to_string().as_str()));
    assert_eq!(held[0].headers()["content-length"], "4", "an answer tells its length all the same");
    let refused = post_large(&router, "ab_infer").await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()["retry-after"], "5");
    let text = axum::body::to_bytes(refused.into_body(), 1 << 10).await.expect("body");
    assert_eq!(text, "their shape");
    let small = post_to(&router, "/hold", "ab_infer", &[("content-length", "4")], b"tiny".to_vec()).await;
    assert_eq!(small.status(), StatusCode::OK, "small ones are not counted");
    let length = LARGE.to_string();
    let streamed =
        post_to(&router, "/stream", "ab_infer", &[("content-length", &length)], vec![b'x'; LARGE]).await;
    assert_eq!(streamed.status(), StatusCode::OK, "nothing of it stays in memory");
    let other = post_large(&router, "ab_second").await;
    assert_eq!(other.status(), StatusCode::OK, "another caller has its share");
    let refused = post_large(&router, "ab_third").await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["retry-after"], "5");
    drop((held, other));
    assert_eq!(post_large(&router, "ab_third").await.status(), StatusCode::OK, "what was answered is free");
}

#[tokio::test]
async fn a_body_whose_length_nobody_tells_takes_its_share_as_it_comes() {
    let (_folder, path, _database) = with_keys();
    let router = holding(&path);
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(&vec![b'x'; LARGE]).expect("packed");
    let small = packer.finish().expect("packed");
    let length = small.len().to_string();
    let forms: [Form; 2] = [
        (&[("transfer-encoding", "chunked")], vec![b'x'; LARGE]),
        (&[("content-encoding", "gzip"), ("content-length", &length)], small),
    ];
    for (headers, body) in forms {
        let send = || post_to(&router, "/hold", "ab_infer", headers, body.clone());
        let held = [send().await, send().await];
        assert!(held.iter().all(|response| response.status() == StatusCode::OK), "{headers:?}");
        let refused = send().await;
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS, "{headers:?}");
        assert_eq!(refused.headers()["retry-after"], "5");
    }
}
