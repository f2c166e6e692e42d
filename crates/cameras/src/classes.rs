//! What a detector can see, asked of the worker before a camera is made.

use std::time::Duration;

use actionbooster_wire::ai::v1 as ai;
use futures::StreamExt;
use tokio::time::{Instant, timeout_at};

use crate::client::{Client, farewell};
use crate::window::{Reply, Window};

/// How long the worker may take to load the model.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why nobody can say what a detector sees.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClassesError {
    /// The worker cannot use this detector; the text says why and what to do.
    #[error("{0}")]
    Unusable(String),
    /// The worker was not there, or had no answer.
    #[error("{0}")]
    Unanswered(String),
}

impl From<String> for ClassesError {
    fn from(reason: String) -> Self {
        Self::Unanswered(reason)
    }
}

/// Names of the classes of a detector of the model store, in its order. The worker loads it for that.
pub async fn classes(worker: &str, token: &str, model: &str) -> Result<Vec<String>, ClassesError> {
    let client = "settings".to_owned();
    let init =
        ai::Init { model: model.into(), token: token.into(), client: client.clone(), ..Default::default() };
    let client = Client { address: worker.into(), camera: client, init };
    let until = Instant::now() + PATIENCE;
    let mut connection = client.connect().await?;
    let mut window = Window::new(Duration::ZERO);
    loop {
        let message = timeout_at(until, connection.next())
            .await
            .map_err(|_| format!("the worker did not load {model} within {} s", PATIENCE.as_secs()))?
            .ok_or_else(|| "the worker closed the connection".to_owned())?
            .map_err(|error| error.to_string())?;
        if let Some(reason) = unusable(&message) {
            return Err(ClassesError::Unusable(reason));
        }
        match window.receive(message, Duration::ZERO) {
            Reply::Session(init_ok) => {
                farewell(&mut connection, "the classes were asked for").await;
                return Ok(init_ok.labels);
            }
            Reply::Over(reason) => return Err(reason.into()),
            Reply::Nothing | Reply::Ready | Reply::Seen(_) | Reply::Refused(_) => {}
        }
    }
}

/// Why the detector cannot be used, if the worker says that.
fn unusable(message: &ai::Envelope) -> Option<String> {
    match &message.message {
        Some(ai::envelope::Message::Response(ai::Response {
            kind: Some(ai::response::Kind::Error(error)),
        })) if error.code() == ai::ErrorCode::ModelUnusable => Some(error.message.clone()),
        _ => None,
    }
}
