//! The client against a small worker on a real socket.

use bytes::Bytes;
use tokio::net::TcpListener;

use super::*;
use crate::window::tests::{error, init_ok, nobody, person, ready};

/// A worker that does what the test says.
struct Worker {
    listener: TcpListener,
}

impl Worker {
    async fn new() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.expect("a free port") }
    }

    fn address(&self) -> String {
        self.listener.local_addr().expect("bound").to_string()
    }

    async fn accept(&self) -> Connection {
        let (stream, _) = self.listener.accept().await.expect("a client");
        Framed::new(stream, Frames::new(DEFAULT_LIMIT))
    }

    /// A client that has said Init, and was told Ready.
    async fn session(&self) -> Connection {
        let mut connection = self.accept().await;
        let ai::request::Kind::Init(init) = heard(&mut connection).await else { panic!("Init comes first") };
        assert_eq!((init.model.as_str(), init.token.as_str()), ("shapes", "key"));
        connection.send(init_ok()).await.expect("sent");
        connection.send(ready()).await.expect("sent");
        connection
    }
}

/// The next request, without heartbeats.
async fn heard(connection: &mut Connection) -> ai::request::Kind {
    loop {
        let envelope = connection.next().await.expect("open").expect("sound");
        if let Some(Message::Request(request)) = envelope.message {
            return request.kind.expect("known");
        }
    }
}

async fn frame(connection: &mut Connection) -> (u64, Bytes) {
    match heard(connection).await {
        ai::request::Kind::Frame(frame) => (frame.frame_id, frame.data),
        other => panic!("{other:?} instead of a frame"),
    }
}

/// A running client.
struct Running {
    pictures: Arc<Latest<Picture>>,
    answers: mpsc::Receiver<Answer>,
    link: watch::Receiver<Link>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

fn start(address: String) -> Running {
    let init = ai::Init { model: "shapes".into(), token: "key".into(), ..Default::default() };
    let client = Client { address, camera: "door".into(), init };
    let pictures = Arc::new(Latest::default());
    let (sender, answers) = mpsc::channel(4);
    let (link_sender, link) = watch::channel(Link::Connecting);
    let stop = CancellationToken::new();
    let task = tokio::spawn(client.run(pictures.clone(), sender, link_sender, stop.clone()));
    Running { pictures, answers, link, stop, task }
}

impl Running {
    fn show(&self, text: &'static str) -> bool {
        self.pictures.put(Picture::now(Bytes::from_static(text.as_bytes()))).is_some()
    }

    async fn lost(&mut self) -> String {
        let link = self.link.wait_for(|link| matches!(link, Link::Lost { .. })).await.expect("runs");
        let Link::Lost { reason } = &*link else { unreachable!() };
        reason.clone()
    }
}

#[tokio::test]
async fn the_newest_picture_is_sent_when_the_worker_is_free() {
    let worker = Worker::new().await;
    let mut running = start(worker.address());
    let mut connection = worker.session().await;
    running.link.wait_for(|link| *link == Link::Ready).await.expect("runs");
    running.show("one");
    assert_eq!(frame(&mut connection).await, (1, Bytes::from_static(b"one")));
    // While it works, pictures replace each other.
    assert!(!running.show("two"));
    assert!(running.show("three"));
    connection.send(person(1, 0.8)).await.expect("sent");
    let answer = running.answers.recv().await.expect("answered");
    assert_eq!((answer.picture.jpeg, answer.detections.len()), (Bytes::from_static(b"one"), 1));
    assert_eq!(frame(&mut connection).await, (2, Bytes::from_static(b"three")));
    // A frame that is refused frees the worker too.
    connection.send(error(ai::ErrorCode::BadFrame, 2, false)).await.expect("sent");
    running.show("four");
    assert_eq!(frame(&mut connection).await, (3, Bytes::from_static(b"four")));
    // Stopping says End.
    running.stop.cancel();
    assert!(matches!(heard(&mut connection).await, ai::request::Kind::End(_)));
    running.task.await.expect("ended");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_is_made_again_with_init() {
    let worker = Worker::new().await;
    let mut running = start(worker.address());
    let mut connection = worker.session().await;
    running.show("one");
    frame(&mut connection).await;
    drop(connection);
    assert!(!running.lost().await.is_empty());
    let mut connection = worker.session().await;
    running.show("two");
    assert_eq!(
        frame(&mut connection).await,
        (1, Bytes::from_static(b"two")),
        "what was lost is not sent again"
    );
    connection.send(nobody(1)).await.expect("sent");
    assert!(running.answers.recv().await.expect("answered").detections.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_no_worker_says_ends_the_connection_and_is_told() {
    let worker = Worker::new().await;
    let mut running = start(worker.address());
    for (garbage, told) in [
        (&b"\xff\xff\xff\xffHTTP/1.1 400 Bad Request"[..], "at most"),
        (&b"\x02\x00\x00\x00\x0a\x50"[..], "cannot be read"),
    ] {
        let mut connection = worker.accept().await;
        heard(&mut connection).await;
        let mut stream = connection.into_inner();
        tokio::io::AsyncWriteExt::write_all(&mut stream, garbage).await.expect("sent");
        let reason = running.lost().await;
        assert!(reason.contains(told), "{reason}");
        running.link.mark_unchanged();
        running.link.wait_for(|link| *link == Link::Loading).await.expect("tried again");
    }
    let mut connection = worker.accept().await;
    heard(&mut connection).await;
    connection.send(error(ai::ErrorCode::UnknownModel, 0, false)).await.expect("sent");
    assert!(running.lost().await.contains("UNKNOWN_MODEL"));
}

#[tokio::test(start_paused = true)]
async fn a_silent_worker_is_given_up_and_hears_heartbeats_until_then() {
    let worker = Worker::new().await;
    let mut running = start(worker.address());
    let mut connection = worker.session().await;
    let began = Instant::now();
    let mut heartbeats = 0;
    while let Some(Ok(message)) = connection.next().await {
        assert!(matches!(message.message, Some(Message::Heartbeat(_))));
        heartbeats += 1;
    }
    assert!((SILENCE..SILENCE + HEARTBEAT).contains(&began.elapsed()), "{:?}", began.elapsed());
    assert!((4..=5).contains(&heartbeats), "{heartbeats}");
    assert!(running.lost().await.contains("nothing was heard"));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_lives_but_never_answers_is_given_up() {
    let worker = Worker::new().await;
    let mut running = start(worker.address());
    let mut connection = worker.session().await;
    running.show("one");
    frame(&mut connection).await;
    let beat = ai::Envelope { message: Some(Message::Heartbeat(ai::Heartbeat { ts_mono_ns: 1 })) };
    let began = Instant::now();
    while let Some(Ok(_)) = connection.next().await {
        if connection.send(beat.clone()).await.is_err() {
            break;
        }
    }
    assert!((25..40).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    assert!(running.lost().await.contains("not answered"));
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_worker_is_tried_more_and_more_rarely() {
    let worker = Worker::new().await;
    let address = worker.address();
    drop(worker);
    let mut running = start(address);
    let began = Instant::now();
    for _ in 0..10 {
        running.link.changed().await.expect("runs");
        assert!(matches!(&*running.link.borrow(), Link::Lost { .. }));
    }
    // 0.5 + 1 + 2 + 4 + 8 + 16 + 30 + 30 + 30, at most a quarter less.
    assert!((91..=122).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    running.stop.cancel();
    running.task.await.expect("ends within a pause");
}
