//! The client of the worker: one camera's connection, made again whenever it breaks.

use std::sync::Arc;
use std::time::Duration;

use actionbooster_wire::ai::v1 as ai;
use actionbooster_wire::frames::{self, DEFAULT_LIMIT, Frames};
use ai::envelope::Message;
use futures::{SinkExt, StreamExt};
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::codec::Framed;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::latest::Latest;
use crate::picture::{Detection, Picture};
use crate::window::{self, Reply, Window};

/// How long a connection may take to come about, and a message to go out.
const CONNECT: Duration = Duration::from_secs(5);
/// Silence after which a heartbeat is sent, and the connection given up, unless the worker says otherwise.
const HEARTBEAT: Duration = Duration::from_secs(2);
const SILENCE: Duration = Duration::from_secs(10);
/// Pauses between two tries.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A picture that waited longer tells nothing about now.
const STALE: Duration = Duration::from_secs(5);
/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_millis(500);

/// Who asks the worker for what. Holds a secret, so it has no `Debug`.
#[derive(Clone)]
pub struct Client {
    /// `host:port` of the worker.
    pub address: String,
    /// Name of the camera, also in metrics.
    pub camera: String,
    /// What every session begins with. Its token is a secret.
    pub init: ai::Init,
}

/// How the connection stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Link {
    /// No connection yet.
    Connecting,
    /// The worker loads the model.
    Loading,
    /// Frames are answered.
    Ready,
    /// It broke, and is tried again.
    Lost {
        /// Why.
        reason: String,
    },
}

/// The answer to one picture.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The picture that was sent.
    pub picture: Picture,
    /// What was seen in it, the best first.
    pub detections: Vec<Detection>,
    /// From sending to the answer.
    pub latency: Duration,
}

pub(crate) type Connection = Framed<TcpStream, Frames<ai::Envelope, ai::Envelope>>;

/// How one connection ended.
enum Ended {
    Stopped,
    Broken(String),
}

impl Client {
    /// Sends the newest picture whenever the worker is free, until it is stopped or nobody wants answers.
    pub async fn run(
        self,
        pictures: Arc<Latest<Picture>>,
        answers: mpsc::Sender<Answer>,
        link: watch::Sender<Link>,
        stop: CancellationToken,
    ) {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let inflight = metrics::gauge!("ai_frame_inflight", "camera" => self.camera.clone());
        let reconnects = metrics::counter!("ai_reconnects_total", "camera" => self.camera.clone());
        loop {
            let ended = tokio::select! {
                ended = self.converse(&pictures, &answers, &link, &stop, &mut backoff) => ended,
                () = answers.closed() => Ended::Stopped,
            };
            inflight.set(0.0);
            let Ended::Broken(reason) = ended else { return };
            let pause = backoff.wait(rand::random());
            tracing::warn!(camera = self.camera, worker = self.address, reason, ?pause, "no detection");
            link.send_replace(Link::Lost { reason });
            tokio::select! {
                () = sleep(pause) => {}
                () = stop.cancelled() => return,
                () = answers.closed() => return,
            }
            reconnects.increment(1);
        }
    }

    async fn converse(
        &self,
        pictures: &Latest<Picture>,
        answers: &mpsc::Sender<Answer>,
        link: &watch::Sender<Link>,
        stop: &CancellationToken,
        backoff: &mut Backoff,
    ) -> Ended {
        let connected = tokio::select! {
            connected = self.connect() => connected,
            () = stop.cancelled() => return Ended::Stopped,
        };
        let mut connection = match connected {
            Ok(connection) => connection,
            Err(reason) => return Ended::Broken(reason),
        };
        link.send_replace(Link::Loading);
        let mut conversation = Conversation::new(self);
        loop {
            let free = conversation.window.is_free();
            let spoken = tokio::select! {
                biased;
                () = stop.cancelled() => {
                    farewell(&mut connection, "the camera stopped").await;
                    return Ended::Stopped;
                }
                message = connection.next() => match message {
                    Some(Ok(message)) => match conversation.receive(message, &mut connection) {
                        Ok(Some(answer)) => {
                            // Nobody wants it any more: the caller sees that too.
                            let _ = answers.send(answer).await;
                            None
                        }
                        Ok(None) => {
                            if !free && conversation.window.is_free() && *link.borrow() != Link::Ready {
                                backoff.reset();
                                link.send_replace(Link::Ready);
                            }
                            None
                        }
                        Err(reason) => return Ended::Broken(reason),
                    },
                    Some(Err(error)) => return Ended::Broken(error.to_string()),
                    None => return Ended::Broken("the worker closed the connection".into()),
                },
                () = sleep_until(conversation.overdue()) => return Ended::Broken(conversation.why_overdue().into()),
                picture = pictures.take(), if free => conversation.frame(picture),
                () = sleep_until(conversation.spoke + conversation.heartbeat) => Some(conversation.heartbeat()),
            };
            if let Some(message) = spoken {
                conversation.spoke = Instant::now();
                if let Err(reason) = send(&mut connection, message).await {
                    return Ended::Broken(reason);
                }
            }
        }
    }

    /// Connects and says Init.
    pub(crate) async fn connect(&self) -> Result<Connection, String> {
        let stream = match timeout(CONNECT, TcpStream::connect(&self.address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                return Err(format!("cannot connect to the worker at {}: {error}", self.address));
            }
            Err(_) => return Err(format!("the worker at {} does not answer", self.address)),
        };
        // Small messages must not wait for each other; without it they only come later.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
        let mut connection = Framed::new(stream, Frames::new(DEFAULT_LIMIT));
        send(&mut connection, window::request(ai::request::Kind::Init(self.init.clone()))).await?;
        Ok(connection)
    }
}

async fn send(connection: &mut Connection, message: ai::Envelope) -> Result<(), String> {
    match timeout(CONNECT, frames::send(connection, message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the worker does not read what it is sent".into()),
    }
}

/// Lets the worker close its file.
pub(crate) async fn farewell(connection: &mut Connection, reason: &str) {
    let end = window::request(ai::request::Kind::End(ai::End { reason: reason.into() }));
    // Who does not hear it sees the connection end.
    let _ = timeout(FAREWELL, connection.send(end)).await;
}

/// The state of one connection.
struct Conversation<'a> {
    client: &'a Client,
    window: Window,
    began: Instant,
    spoke: Instant,
    heard: Instant,
    heartbeat: Duration,
    silence: Duration,
    most_bytes: usize,
    sent: Option<Picture>,
    sent_at: Instant,
}

impl<'a> Conversation<'a> {
    fn new(client: &'a Client) -> Self {
        let now = Instant::now();
        Self {
            client,
            window: Window::new(Duration::ZERO),
            began: now,
            spoke: now,
            heard: now,
            heartbeat: HEARTBEAT,
            silence: SILENCE,
            most_bytes: DEFAULT_LIMIT as usize,
            sent: None,
            sent_at: now,
        }
    }

    fn receive(
        &mut self,
        message: ai::Envelope,
        connection: &mut Connection,
    ) -> Result<Option<Answer>, String> {
        self.heard = Instant::now();
        let camera = || self.client.camera.clone();
        match self.window.receive(message, self.began.elapsed()) {
            Reply::Nothing | Reply::Ready => Ok(None),
            Reply::Session(init_ok) => {
                metrics::counter!("ai_init_ok_total", "camera" => camera()).increment(1);
                if init_ok.max_frame_bytes > 0 {
                    self.most_bytes = init_ok.max_frame_bytes.min(DEFAULT_LIMIT) as usize;
                    connection.codec_mut().set_limit(self.most_bytes as u32);
                }
                self.heartbeat = told(init_ok.heartbeat_interval_ms, HEARTBEAT);
                self.silence = told(init_ok.heartbeat_timeout_ms, SILENCE);
                Ok(None)
            }
            Reply::Seen(detections) => {
                let latency = self.sent_at.elapsed();
                metrics::gauge!("ai_frame_inflight", "camera" => camera()).set(0.0);
                metrics::histogram!("ai_result_latency_ms", "camera" => camera())
                    .record(latency.as_secs_f64() * 1000.0);
                metrics::counter!("ai_detections_total", "camera" => camera())
                    .increment(detections.len() as u64);
                Ok(self.sent.take().map(|picture| Answer { picture, detections, latency }))
            }
            Reply::Refused(message) => {
                metrics::gauge!("ai_frame_inflight", "camera" => camera()).set(0.0);
                self.sent = None;
                tracing::warn!(camera = self.client.camera, message, "the worker refused a frame");
                Ok(None)
            }
            Reply::Over(reason) => Err(reason),
        }
    }

    /// The picture as a message, if it is worth sending.
    fn frame(&mut self, picture: Picture) -> Option<ai::Envelope> {
        if picture.taken.elapsed() > STALE {
            return None;
        }
        if picture.jpeg.len() + window::AROUND > self.most_bytes {
            tracing::warn!(camera = self.client.camera, bytes = picture.jpeg.len(), "a frame is too large");
            return None;
        }
        let camera = self.client.camera.clone();
        metrics::counter!("ai_frames_sent_total", "camera" => camera.clone()).increment(1);
        metrics::gauge!("ai_frame_inflight", "camera" => camera).set(1.0);
        self.sent_at = Instant::now();
        let id = self.window.send(self.began.elapsed());
        let taken = picture.taken.saturating_duration_since(self.began);
        let message = window::frame(id, picture.jpeg.clone(), taken, picture.at);
        self.sent = Some(picture);
        Some(message)
    }

    fn heartbeat(&self) -> ai::Envelope {
        let ts_mono_ns = self.began.elapsed().as_nanos() as u64;
        ai::Envelope { message: Some(Message::Heartbeat(ai::Heartbeat { ts_mono_ns })) }
    }

    /// When something should have been heard.
    fn overdue(&self) -> Instant {
        let silent = self.heard + self.silence;
        self.window.deadline().map_or(silent, |(deadline, _)| silent.min(self.began + deadline))
    }

    fn why_overdue(&self) -> &'static str {
        match self.window.deadline() {
            Some((deadline, why)) if self.began + deadline <= Instant::now() => why,
            _ => "nothing was heard of the worker for too long",
        }
    }
}

/// An interval that the worker told, within reason.
fn told(milliseconds: u32, otherwise: Duration) -> Duration {
    match milliseconds {
        0 => otherwise,
        ms => Duration::from_millis(u64::from(ms.clamp(100, 60_000))),
    }
}

#[cfg(test)]
mod tests;
