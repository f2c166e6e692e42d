//! HTTP cameras on real sockets, with a real picture.

use std::collections::BTreeSet;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{interval, sleep, timeout};

use super::*;
use crate::latest::Latest;
use crate::picture::Picture;
use crate::source::CameraState;

type Answering = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A real picture that differs from the others by a comment.
fn jpeg(number: u8) -> Vec<u8> {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/models/shapes/sample.jpg");
    let sample = std::fs::read(sample).expect("in the repository");
    [&sample[..2], &[0xff, 0xfe, 0, 3, number], &sample[2..]].concat()
}

/// A camera that answers each request as it is told, one after the other.
async fn camera(answer: impl Fn(TcpStream) -> Answering + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.is_ok_and(|read| read > 0)
            {
            }
            answer(stream).await;
        }
    });
    address
}

/// One that always gives the same bytes.
pub(crate) async fn giving(bytes: Vec<u8>) -> SocketAddr {
    camera(move |mut stream| {
        let bytes = bytes.clone();
        Box::pin(async move {
            // Who has enough leaves.
            let _ = stream.write_all(&bytes).await;
        })
    })
    .await
}

/// MJPEG at a rate, as most cameras send it.
async fn streaming(distance: Duration) -> SocketAddr {
    camera(move |mut stream| {
        Box::pin(async move {
            let head = "HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=a\r\n\r\n";
            let mut pace = interval(distance);
            let mut sent = stream.write_all(head.as_bytes()).await;
            for number in (0..=u8::MAX).cycle() {
                if sent.is_err() {
                    break;
                }
                pace.tick().await;
                let part = [b"--a\r\nContent-Type: image/jpeg\r\n\r\n", &*jpeg(number), b"\r\n"].concat();
                sent = stream.write_all(&part).await;
            }
        })
    })
    .await
}

/// What playing an address comes to, and the pictures that came through meanwhile, for so long at most.
async fn play_for(url: &str, fps: u32, most: Duration) -> (Option<Result<Read, String>>, Vec<Picture>) {
    let (latest, (states, mut told)) = (Latest::default(), mpsc::channel(16));
    let mut sink = Sink::new(&latest, &states, fps);
    let mut taken = Vec::new();
    let ended = {
        let taking = async {
            loop {
                taken.push(latest.take().await);
            }
        };
        tokio::select! {
            biased;
            () = taking => unreachable!("without end"),
            played = timeout(most, play(url, &mut sink)) => played.ok(),
        }
    };
    let live = std::iter::from_fn(|| told.try_recv().ok()).collect::<Vec<_>>();
    assert!(live.len() <= 1 && live.iter().all(|state| *state == CameraState::Live), "{live:?}");
    (ended, taken)
}

async fn played(url: &str) -> Result<Read, String> {
    play_for(url, 60, Duration::from_secs(8)).await.0.expect("an end")
}

/// A body in chunks of sizes that fit nothing.
fn chunked(body: &[u8]) -> Vec<u8> {
    let chunk = |bytes: &[u8]| [format!("{:x};odd=1\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
    [body.chunks(997).flat_map(chunk).collect(), b"0\r\n\r\n".to_vec()].concat()
}

#[tokio::test]
async fn every_form_of_a_stream_gives_all_its_pictures() {
    let mixed = "Content-Type: multipart/x-mixed-replace; boundary=";
    let parts = |before: &str, after: &str| -> Vec<u8> {
        (1..=5).flat_map(|number| [before.as_bytes(), &jpeg(number), after.as_bytes()].concat()).collect()
    };
    let length = format!("--a\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n", jpeg(0).len());
    let plain = parts(&length, "\r\n");
    let mut late = jpeg(1);
    late.extend(parts("--a\r\n\r\n", "\r\n").split_off(jpeg(1).len() + "--a\r\n\r\n\r\n".len()));
    let half = [parts("--a\r\n\r\n", "\r\n"), b"--a\r\n\r\n".to_vec(), jpeg(6)[..900].to_vec()].concat();
    let cases: [(&str, String, Vec<u8>); 12] = [
        ("as it should be", format!("{mixed}a"), plain.clone()),
        ("a boundary with its dashes", format!("{mixed}--a"), plain.clone()),
        ("a boundary in quotes", format!("{mixed}\"a\""), plain.clone()),
        ("another boundary than announced", format!("{mixed}other"), plain.clone()),
        ("no boundary announced", "Content-Type: multipart/x-mixed-replace".into(), plain.clone()),
        ("none before the first picture", format!("{mixed}a"), late),
        ("every boundary twice", format!("{mixed}a"), parts("--a\r\n--a\r\n\r\n", "\r\n--a\r\n")),
        ("lines that end in a newline only", format!("{mixed}a"), parts("--a\nContent-Length: 1\n\n", "\n")),
        ("chunks", format!("{mixed}a\r\nTransfer-Encoding: chunked"), chunked(&plain)),
        ("nothing between the pictures", "Content-Type: image/jpeg".into(), parts("", "")),
        ("no content type", "Server: cam".into(), plain),
        ("a last picture that breaks off", "Content-Type: text/plain".into(), half),
    ];
    for (name, headers, body) in cases {
        let answer =
            [format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{headers}\r\n\r\n").as_bytes(), &body].concat();
        let address = giving(answer).await;
        assert_eq!(played(&format!("http://{address}/")).await, Ok(Read::Pictures(5)), "{name}");
    }
}

#[tokio::test]
async fn an_address_of_one_picture_is_asked_every_second_over_the_same_connection() {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let address = camera(move |mut stream| {
        counted.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            for number in 0.. {
                let jpeg = jpeg(number);
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", jpeg.len());
                stream.write_all(&[head.as_bytes(), &jpeg].concat()).await.expect("heard");
                let mut asked = [0; 1024];
                if !stream.read(&mut asked).await.is_ok_and(|read| read > 0) {
                    break;
                }
            }
        })
    })
    .await;
    let (ended, pictures) = play_for(&format!("http://{address}/"), 12, Duration::from_millis(2500)).await;
    assert_eq!(ended, None);
    let seen: Vec<Vec<u8>> = pictures.into_iter().map(|picture| picture.jpeg.to_vec()).collect();
    assert_eq!(seen, [jpeg(0), jpeg(1), jpeg(2)]);
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn pictures_come_at_the_wished_rate_and_a_slow_camera_comes_up_at_once() {
    let (fast, slow) = tokio::join!(streaming(Duration::from_millis(40)), streaming(Duration::from_secs(2)));
    let (fast, slow) = (format!("http://{fast}/"), format!("http://{slow}/"));
    let span = Duration::from_secs(5);
    let ((_, five), (_, half)) = tokio::join!(play_for(&fast, 5, span), play_for(&slow, 12, span));
    // A busy machine is late; no machine is early.
    assert!((15..=27).contains(&five.len()), "{}", five.len());
    assert!((2..=3).contains(&half.len()), "{}", half.len());
}

#[tokio::test]
async fn what_ffmpeg_serves_is_read() {
    let port = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("bound").port();
    let url = format!("http://127.0.0.1:{port}/");
    let mut server = Command::new("ffmpeg")
        .args(["-nostdin", "-loglevel", "error", "-re", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=10"])
        .args(["-f", "mpjpeg", "-listen", "1", &url])
        .stdin(Stdio::null())
        .spawn()
        .expect("the builder has ffmpeg");
    let mut pictures = Vec::new();
    for _ in 0..100 {
        pictures = play_for(&url, 30, Duration::from_secs(4)).await.1;
        if !pictures.is_empty() {
            break;
        }
        // It is not there yet.
        sleep(Duration::from_millis(100)).await;
    }
    server.kill().expect("ours");
    server.wait().expect("ours");
    let different: BTreeSet<&[u8]> = pictures.iter().map(|picture| &*picture.jpeg).collect();
    // Ten a second are sent; how many of them a busy machine reads in time is not the question.
    assert!((10..=45).contains(&pictures.len()), "{}", pictures.len());
    assert_eq!(different.len(), pictures.len(), "none twice");
}

#[tokio::test]
async fn what_is_no_picture_is_told_or_left_to_the_decoder() {
    let answer = |headers: &str, body: &[u8]| {
        [format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{headers}\r\n\r\n").as_bytes(), body].concat()
    };
    let video = || Ok(Read::Video);
    let broken = |reason: &str| Err(reason.to_owned());
    let page = "it gives a page, not pictures; check the path of its address";
    let cases = [
        ("a page", answer("Content-Type: text/html; charset=utf-8", b"\r\n<html>login</html>"), broken(page)),
        ("a page by its looks", answer("Server: cam", b"<!doctype html><html></html>"), broken(page)),
        (
            "a PNG that is called a JPEG",
            answer("Content-Type: image/jpeg", b"\x89PNG\r\n\x1a\n............"),
            video(),
        ),
        (
            "a playlist",
            answer("Content-Type: application/vnd.apple.mpegurl", b"#EXTM3U\n#EXT-X-VERSION:3\n"),
            video(),
        ),
        ("other than HTTP", b"ICY 200 OK\r\n\r\n".to_vec(), video()),
        ("nothing", answer("Content-Type: image/jpeg", b""), Ok(Read::Pictures(0))),
        ("half a picture", answer("Content-Type: image/jpeg", &jpeg(1)[..900]), Ok(Read::Pictures(0))),
        (
            "less than announced",
            answer("Content-Length: 1000000", &jpeg(1)),
            broken("the pictures broke off: end of file before message length reached"),
        ),
    ];
    for (name, answer, expected) in cases {
        let address = giving(answer).await;
        assert_eq!(played(&format!("http://viewer:secret@{address}/")).await, expected, "{name}");
    }
    let refused = played("http://viewer:secret@127.0.0.1:1/").await.expect_err("nobody is there");
    assert!(refused.contains("cannot be reached") && !refused.contains("secret"), "{refused}");
    assert_eq!(played("http://[fe80::1%25eth0]/").await, Ok(Read::Video));
}
