//! Over real sockets.

use std::path::PathBuf;

use axum::body::Body;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use bytes::Bytes;
use futures::channel::mpsc;
use futures::{SinkExt, StreamExt};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::task::JoinHandle;

use super::*;

struct Served {
    _folder: TempDir,
    socket: PathBuf,
    port: u16,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

async fn started(router: Router, limits: Limits) -> Served {
    let folder = tempfile::tempdir().expect("folder");
    let socket = folder.path().join("test.sock");
    let unix = UnixListener::bind(&socket).expect("binds");
    let tcp = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let port = tcp.local_addr().expect("address").port();
    let stop = CancellationToken::new();
    let listeners = vec![Listener::Unix(unix), Listener::Tcp(tcp)];
    let task = tokio::spawn(serve(listeners, router, stop.clone(), limits));
    Served { _folder: folder, socket, port, stop, task }
}

impl Served {
    async fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.socket).await.expect("connects")
    }
}

async fn until(stream: &mut (impl AsyncRead + Unpin), wanted: &str) -> String {
    let mut text = String::new();
    let mut piece = [0; 1024];
    while !text.contains(wanted) {
        let length = stream.read(&mut piece).await.expect("reads");
        assert!(length > 0, "the connection ended before {wanted:?} came: {text}");
        text.push_str(&String::from_utf8_lossy(&piece[..length]));
    }
    text
}

async fn the_rest(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.expect("reads");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn unix_and_tcp_listeners_serve_the_same_routes() {
    let served = started(Router::new().route("/", get(|| async { "here" })), Limits::default()).await;
    let question = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let mut unix = served.connect().await;
    unix.write_all(question).await.expect("writes");
    assert!(the_rest(&mut unix).await.ends_with("here"));
    let mut tcp = tokio::net::TcpStream::connect(("127.0.0.1", served.port)).await.expect("connects");
    tcp.write_all(question).await.expect("writes");
    assert!(the_rest(&mut tcp).await.ends_with("here"));
}

#[tokio::test]
async fn a_client_that_dawdles_over_its_head_is_cut_off() {
    let limits = Limits { head: Duration::from_millis(50), ..Limits::default() };
    let served = started(Router::new(), limits).await;
    let mut stream = served.connect().await;
    stream.write_all(b"GET / HT").await.expect("writes");
    assert_eq!(the_rest(&mut stream).await, "", "the connection is closed without an answer");
}

#[tokio::test]
async fn a_client_that_dawdles_over_its_body_is_told_so() {
    let limits = Limits { body_pause: Duration::from_millis(50), ..Limits::default() };
    let router = Router::new().route("/", post(|crate::Json(text): crate::Json<String>| async move { text }));
    let served = started(router, limits).await;
    let mut stream = served.connect().await;
    stream.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n\"ha").await.expect("writes");
    let answer = the_rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("slow-body"), "{answer}");
}

/// A route whose body is what the test sends, and the sending side.
fn stream_route() -> (Router, mpsc::Sender<&'static str>) {
    let (sender, receiver) = mpsc::channel::<&'static str>(1);
    let receiver = Arc::new(tokio::sync::Mutex::new(Some(receiver)));
    let router = Router::new().route(
        "/stream",
        get(move || {
            let receiver = Arc::clone(&receiver);
            async move {
                let pieces = receiver.lock().await.take().expect("asked once");
                Body::from_stream(pieces.map(|piece| Ok::<_, std::io::Error>(Bytes::from(piece))))
                    .into_response()
            }
        }),
    );
    (router, sender)
}

async fn open_stream(served: &Served, sender: &mut mpsc::Sender<&'static str>) -> UnixStream {
    let mut stream = served.connect().await;
    stream.write_all(b"GET /stream HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("writes");
    sender.send("first").await.expect("sends");
    until(&mut stream, "first").await;
    stream
}

#[tokio::test]
async fn draining_lets_an_answer_finish_and_takes_no_new_connection() {
    let (router, mut sender) = stream_route();
    let served = started(router, Limits::default()).await;
    let mut idle = served.connect().await;
    let mut stream = open_stream(&served, &mut sender).await;
    served.stop.cancel();
    assert_eq!(the_rest(&mut idle).await, "", "an idle connection is closed at once");
    assert!(!served.task.is_finished(), "the answer is waited for");
    sender.send("last").await.expect("sends");
    drop(sender);
    assert!(until(&mut stream, "last").await.contains("last"));
    served.task.await.expect("drained");
    assert!(UnixStream::connect(&served.socket).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn draining_ends_although_an_answer_does_not() {
    let (router, mut sender) = stream_route();
    let limits = Limits { grace: Duration::from_millis(50), ..Limits::default() };
    let served = started(router, limits).await;
    let _stream = open_stream(&served, &mut sender).await;
    served.stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), served.task).await.expect("bounded").expect("ends");
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_one_to_end() {
    let (router, mut sender) = stream_route();
    let limits = Limits { connections: 1, ..Limits::default() };
    let served = started(router.route("/", get(|| async { "here" })), limits).await;
    let first = open_stream(&served, &mut sender).await;
    let mut second = served.connect().await;
    second.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.expect("writes");
    let early = tokio::time::timeout(Duration::from_millis(50), second.read_u8()).await;
    assert!(early.is_err(), "the second is not served while the first is open");
    drop(sender);
    drop(first);
    assert!(the_rest(&mut second).await.ends_with("here"));
}
