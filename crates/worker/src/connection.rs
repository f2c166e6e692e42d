//! One client's connection: its messages, its session, its silence.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use actionbooster_chassis::Problem;
use actionbooster_chassis::auth::Scope;
use actionbooster_wire::ai::v1 as ai;
use actionbooster_wire::frames::{DEFAULT_LIMIT, FrameError, Frames};
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::codec::Framed;
use tokio_util::sync::CancellationToken;

use crate::Shared;
use crate::activity::Activity;
use crate::detectors::OpenError;
use crate::line::{Answer, Failure};
use crate::quotas::ClientId;
use crate::session::{Session, Wish};
use crate::words;

/// Silence after which a heartbeat is sent.
const INTERVAL: Duration = Duration::from_secs(2);
/// Silence after which the peer is given up, and the longest that it may take to read a message.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a message may take to come, however slowly: the largest one at 1.1 Mbit/s.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(120);
/// Results that wait to be sent; a client with window 1 has one.
const ANSWERS: usize = 8;

type Stream<S> = Framed<Activity<S>, Frames<ai::Envelope, ai::Envelope>>;
type Opening = Pin<Box<dyn Future<Output = Result<Session, ai::Envelope>> + Send>>;

/// Speaks with a client until either has enough.
pub(crate) async fn converse<S>(stream: S, peer: SocketAddr, worker: Shared, shutdown: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    metrics::gauge!("connections_active").increment(1.0);
    let (answers, answered) = mpsc::channel(ANSWERS);
    let mut conversation = Conversation {
        stream: Framed::new(Activity::of(stream), Frames::new(DEFAULT_LIMIT)),
        worker,
        answers,
        session: None,
        opening: None,
        began: Instant::now(),
        address: ClientId::of_address(peer.ip()),
    };
    let why = conversation.run(answered, &shutdown).await;
    tracing::info!(%peer, why, "connection ended");
    if let Some(session) = conversation.session.take() {
        session.end(&why);
    }
    metrics::gauge!("connections_active").decrement(1.0);
}

struct Conversation<S> {
    stream: Stream<S>,
    worker: Shared,
    answers: mpsc::Sender<Answer>,
    session: Option<Session>,
    /// A model is being loaded for this client.
    opening: Option<Opening>,
    began: Instant,
    /// Who this is as long as no key says more.
    address: ClientId,
}

/// The conversation is over, and why.
struct Over(String);

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Conversation<S> {
    /// Until the end; tells why it came.
    async fn run(&mut self, mut answered: mpsc::Receiver<Answer>, shutdown: &CancellationToken) -> String {
        let (mut heard, mut said) = (Instant::now(), Instant::now());
        loop {
            // Whoever uploads a picture slowly says nothing else meanwhile, and is not silent.
            let silent = self.stream.get_ref().last.max(heard) + TIMEOUT;
            let outcome = tokio::select! {
                message = self.stream.next() => {
                    heard = Instant::now();
                    match message {
                        None => Err(Over("the client left".into())),
                        Some(Ok(message)) => self.take(message).await,
                        Some(Err(error)) => self.refuse(&error).await,
                    }
                }
                answer = answered.recv() => {
                    said = Instant::now();
                    match (answer, &mut self.session) {
                        (Some(Answer { outcome: Err(Failure::Gone(why)), .. }), Some(_)) => {
                            self.farewell(ai::ErrorCode::ModelUnusable, why.to_string()).await
                        }
                        (Some(answer), Some(session)) => {
                            let told = session.tell(answer);
                            self.send(told).await
                        }
                        // Of a session that has ended meanwhile.
                        _ => Ok(()),
                    }
                }
                opened = opening(&mut self.opening) => {
                    said = Instant::now();
                    self.opening = None;
                    self.opened(opened).await
                }
                () = tokio::time::sleep_until(said + INTERVAL) => {
                    said = Instant::now();
                    let now = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
                    self.send(words::heartbeat(now)).await
                }
                () = tokio::time::sleep_until(silent.min(heard + MESSAGE_TIMEOUT)) => {
                    self.overdue(heard).await
                }
                () = shutdown.cancelled() => {
                    let message = "the worker is stopping; connect again in a moment".to_owned();
                    self.farewell(ai::ErrorCode::Stopping, message).await
                }
            };
            if let Err(Over(why)) = outcome {
                return why;
            }
        }
    }

    /// Gives a client up that is silent, or too slow; one whose bytes came in between goes on.
    async fn overdue(&mut self, heard: Instant) -> Result<(), Over> {
        let message = if heard.elapsed() >= MESSAGE_TIMEOUT {
            format!("no message came whole within {} s", MESSAGE_TIMEOUT.as_secs())
        } else if self.stream.get_ref().last.max(heard).elapsed() >= TIMEOUT {
            format!("nothing was heard for {} s", TIMEOUT.as_secs())
        } else {
            return Ok(());
        };
        self.farewell(ai::ErrorCode::Timeout, message).await
    }

    async fn take(&mut self, message: ai::Envelope) -> Result<(), Over> {
        use ai::envelope::Message;
        use ai::request::Kind;
        match message.message {
            Some(Message::Heartbeat(_)) => Ok(()),
            Some(Message::Request(ai::Request { kind: Some(Kind::Init(init)) })) => self.init(init).await,
            Some(Message::Request(ai::Request { kind: Some(Kind::Frame(frame)) })) => self.frame(frame).await,
            Some(Message::Request(ai::Request { kind: Some(Kind::End(end)) })) => {
                self.opening = None;
                if let Some(session) = self.session.take() {
                    session.end(if end.reason.is_empty() { "asked" } else { &end.reason });
                }
                self.send(words::ready("")).await
            }
            Some(Message::Response(_)) => {
                let message = "a Response; that is what the worker says, a client sends Requests".to_owned();
                self.farewell(ai::ErrorCode::BadMessage, message).await
            }
            Some(Message::Request(ai::Request { kind: None })) | None => {
                let message = "a message that holds nothing this worker knows (package actionbooster.ai.v1)";
                self.farewell(ai::ErrorCode::BadMessage, message.to_owned()).await
            }
        }
    }

    async fn init(&mut self, init: ai::Init) -> Result<(), Over> {
        let client = match identify(Shared::clone(&self.worker), self.address.clone(), &init.token).await {
            Ok(Some(client)) => client,
            Ok(None) => {
                let message =
                    "the token is missing, unknown or lacks the scope infer; make a key in the portal";
                return self.farewell(ai::ErrorCode::Unauthorised, message.to_owned()).await;
            }
            Err(problem) => {
                return self.farewell(ai::ErrorCode::Busy, problem.detail().to_owned()).await;
            }
        };
        // The one before ends, and so does a load that was under way for it.
        self.opening = None;
        if let Some(session) = self.session.take() {
            session.end("another Init");
        }
        let wish = match Wish::of(init) {
            Ok(wish) => wish,
            Err(message) => return self.send(words::error(ai::ErrorCode::BadInit, message, 0, false)).await,
        };
        let opening = open(Shared::clone(&self.worker), client, wish, self.answers.clone());
        self.opening = Some(Box::pin(opening));
        Ok(())
    }

    async fn opened(&mut self, opened: Result<Session, ai::Envelope>) -> Result<(), Over> {
        match opened {
            Ok(session) => {
                metrics::counter!("sessions_total").increment(1);
                self.send(session.init_ok(DEFAULT_LIMIT, millis(INTERVAL), millis(TIMEOUT))).await?;
                let ready = words::ready(&session.id);
                self.session = Some(session);
                self.send(ready).await
            }
            Err(told) => self.send(told).await,
        }
    }

    async fn frame(&mut self, frame: ai::Frame) -> Result<(), Over> {
        let frame_id = frame.frame_id;
        let Some(session) = &mut self.session else {
            let message = "a frame before Ready; send Init first and wait".to_owned();
            return self.send(words::error(ai::ErrorCode::NoSession, message, frame_id, false)).await;
        };
        match session.put(frame) {
            Ok(()) => Ok(()),
            Err(message) => self.send(words::error(ai::ErrorCode::BadFrame, message, frame_id, false)).await,
        }
    }

    async fn refuse(&mut self, error: &FrameError) -> Result<(), Over> {
        match error {
            FrameError::TooLarge { .. } => self.farewell(ai::ErrorCode::TooLarge, error.to_string()).await,
            FrameError::Malformed(_) => self.farewell(ai::ErrorCode::BadMessage, error.to_string()).await,
            FrameError::Broken(_) => Err(Over(error.to_string())),
        }
    }

    /// Says the last word.
    async fn farewell(&mut self, code: ai::ErrorCode, message: String) -> Result<(), Over> {
        self.send(words::error(code, message.clone(), 0, true)).await?;
        Err(Over(message))
    }

    async fn send(&mut self, message: ai::Envelope) -> Result<(), Over> {
        match tokio::time::timeout(TIMEOUT, self.stream.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Over(error.to_string())),
            Err(_) => Err(Over(format!("the client read nothing for {} s", TIMEOUT.as_secs()))),
        }
    }
}

/// Waits for the load that is under way; for ever when there is none.
async fn opening(opening: &mut Option<Opening>) -> Result<Session, ai::Envelope> {
    match opening {
        Some(opening) => opening.await,
        None => std::future::pending().await,
    }
}

/// Whose session an Init with this token begins; nothing where a token is needed and this is none.
async fn identify(worker: Shared, address: ClientId, token: &str) -> Result<Option<ClientId>, Problem> {
    if token.is_empty() {
        return Ok((!worker.guarded).then_some(address));
    }
    let (auth, token) = (worker.auth.clone(), token.to_owned());
    // SQLite blocks, for as long as the monitor commits.
    let asked = tokio::task::spawn_blocking(move || auth.of_key(&token)).await;
    match asked.map_err(Problem::internal).flatten() {
        Ok(Some(caller)) if caller.may(Scope::Infer) => Ok(Some(ClientId::of_caller(&caller))),
        outcome if worker.guarded => outcome.map(|_| None),
        // Nobody asked for it.
        _ => Ok(Some(address)),
    }
}

/// Opens a session, or says what the client is told instead.
async fn open(
    worker: Shared,
    client: ClientId,
    wish: Wish,
    answers: mpsc::Sender<Answer>,
) -> Result<Session, ai::Envelope> {
    let refused = |code, message| words::error(code, message, 0, false);
    let seat = worker.detectors.seat(&client, &wish.model, wish.input).await.map_err(|error| {
        let code = match error {
            OpenError::Unknown { .. } => ai::ErrorCode::UnknownModel,
            OpenError::Unusable { .. } => ai::ErrorCode::ModelUnusable,
            OpenError::Refused(_) | OpenError::Full { .. } => ai::ErrorCode::Busy,
            OpenError::Closing => ai::ErrorCode::Stopping,
        };
        refused(code, error.to_string())
    })?;
    let mut session =
        Session::open(seat, wish, answers).map_err(|message| refused(ai::ErrorCode::BadInit, message))?;
    session.record(&worker.records);
    Ok(session)
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
