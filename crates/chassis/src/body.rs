//! Request bodies on their way to a handler: unpacked, and no larger than its route accepts.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::Limited;

use crate::memory_budget::{CountedBody, Reservation};
use crate::problem::Problem;

/// Bytes of a request's body at most, however it is packed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimit(pub(crate) usize);

/// Refuses bodies that are packed in a way nobody here unpacks.
pub(crate) fn check_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let known = |value: &axum::http::HeaderValue| ["gzip", "identity"].iter().any(|word| value == word);
    match (encodings.next(), encodings.next()) {
        (None, _) => Ok(()),
        (Some(only), None) if known(only) => Ok(()),
        _ => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-encoding",
            "The body is packed in an unknown way",
            "Send the body as it is, or with `Content-Encoding: gzip`.",
        )),
    }
}

/// Ends a body at its limit, and where there is no memory for more of it, counted after it was unpacked: a small one
/// may hold a very large one.
pub(crate) async fn bounded(request: Request, next: Next) -> Response {
    let limit = request.extensions().get::<BodyLimit>().copied();
    let request = match request.extensions().get::<Arc<Reservation>>().cloned() {
        Some(reservation) => request.map(|body| Body::new(CountedBody::new(body, reservation))),
        None => request,
    };
    next.run(match limit {
        Some(BodyLimit(bytes)) => request.map(|body| Body::new(Limited::new(body, bytes))),
        None => request,
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use axum::Router;
    use axum::body::to_bytes;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use futures::TryStreamExt;
    use tower::ServiceExt;

    use super::*;
    use crate::routes::{Access, post};
    use crate::{Json, Paths, Service};

    const LIMIT: usize = 100_000;

    /// Counts what it reads as it comes, as uploads do.
    async fn count(body: Body) -> String {
        let mut pieces = body.into_data_stream();
        let mut sum = 0;
        loop {
            match pieces.try_next().await {
                Ok(Some(piece)) => sum += piece.len(),
                Ok(None) => return sum.to_string(),
                Err(error) => return format!("{sum}, then {error}"),
            }
        }
    }

    fn router(root: &std::path::Path) -> Router {
        let length = |Json(text): Json<String>| async move { text.len().to_string() };
        let routes = vec![post("/length", Access::Public, length), post("/count", Access::Public, count)];
        Service::of(routes, ()).body_limit(LIMIT).assembled(&Paths::below(root))
    }

    fn gzipped(body: &[u8]) -> Vec<u8> {
        let mut packer = GzEncoder::new(Vec::new(), Compression::best());
        packer.write_all(body).expect("packed");
        packer.finish().expect("packed")
    }

    #[tokio::test]
    async fn packed_bodies_are_read_up_to_the_limit_of_what_is_in_them() {
        let text = |length: usize| format!("\"{}\"", "x".repeat(length - 2)).into_bytes();
        // A thousandfold: 64 MiB.
        let bomb = gzipped(&text(64 << 20));
        assert!(bomb.len() < LIMIT, "{}", bomb.len());
        let mut damaged = gzipped(&text(1000));
        let end = damaged.len() - 6;
        damaged[end] ^= 0xff;
        let cut = gzipped(&text(1000))[..20].to_vec();
        let cases = [
            ("/length", "gzip", gzipped(&text(1000)), 200, "998"),
            ("/length", "gzip", gzipped(&text(LIMIT)), 200, "99998"),
            ("/length", "identity", text(1000), 200, "998"),
            ("/length", "gzip", gzipped(&text(LIMIT + 1)), 413, "more bytes"),
            ("/length", "gzip", bomb.clone(), 413, "more bytes"),
            ("/count", "gzip", gzipped(&text(1000)), 200, "1000"),
            ("/count", "gzip", bomb, 200, "length limit exceeded"),
            ("/length", "gzip", damaged, 400, "Content-Encoding"),
            ("/length", "gzip", cut, 400, "Content-Encoding"),
            ("/length", "gzip", text(1000), 400, "Content-Encoding"),
            ("/length", "br", text(1000), 415, "Content-Encoding: gzip"),
            ("/length", "gzip, gzip", text(1000), 415, "Content-Encoding: gzip"),
        ];
        let root = tempfile::tempdir().expect("folder");
        let router = router(root.path());
        for (path, encoding, body, status, said) in cases {
            let what = format!("{path} {encoding} {} bytes", body.len());
            let request = Request::builder().method("POST").uri(path).header("content-encoding", encoding);
            let request = request.header("content-length", body.len().to_string()).body(Body::from(body));
            let response = router.clone().oneshot(request.expect("request")).await.expect("infallible");
            let got = response.status().as_u16();
            let told = to_bytes(response.into_body(), 1 << 20).await.expect("body");
            let told = String::from_utf8_lossy(&told);
            assert_eq!(got, status, "{what}: {told}");
            assert!(told.contains(said), "{what}: {told}");
        }
    }
}
