//! The thread on which SQLite runs.

use std::path::PathBuf;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::database::{mend_index, open, put_aside};
use crate::error::ConversationError;

/// Jobs that wait at most; each belongs to a permit, so the bytes that they carry are bounded, too.
const QUEUE: usize = 64;
/// A job waits so long for its place, and then for its outcome.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a job found to be damaged.
enum Damage {
    Index,
    File,
}

/// A job; says what damage it met.
type Work = Box<dyn FnOnce(Result<&mut Connection, ConversationError>) -> Option<Damage> + Send>;

enum Job {
    Work(Work),
    Close(oneshot::Sender<()>),
}

/// The thread's queue. The thread ends with it.
#[derive(Debug)]
pub(crate) struct Thread(mpsc::Sender<Job>);

impl Thread {
    pub(crate) fn start(folder: PathBuf) -> std::io::Result<Self> {
        let (sender, mut jobs) = mpsc::channel(QUEUE);
        let run = move || {
            let mut file = OpenFile { folder, database: None };
            while let Some(job) = jobs.blocking_recv() {
                match job {
                    Job::Work(work) => file.run(work),
                    Job::Close(closed) => {
                        drop(file);
                        // Nobody may wait any more.
                        _ = closed.send(());
                        return;
                    }
                }
            }
        };
        std::thread::Builder::new().name("conversations".into()).spawn(run)?;
        Ok(Self(sender))
    }

    /// Does work on the thread. Work whose caller has gone before its turn is left out.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, ConversationError> + Send + 'static,
    ) -> Result<T, ConversationError> {
        let (reply, outcome) = oneshot::channel();
        let job: Work = Box::new(move |database| {
            if reply.is_closed() {
                return None;
            }
            let outcome = database.and_then(work);
            let damage = match outcome {
                Err(ConversationError::Damaged) => Some(Damage::File),
                Err(ConversationError::IndexDamaged) => Some(Damage::Index),
                _ => None,
            };
            // The caller may have gone meanwhile.
            _ = reply.send(outcome);
            damage
        });
        match self.0.send_timeout(Job::Work(job), PATIENCE).await {
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => return Err(ConversationError::Busy),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => return Err(closed()),
            Ok(()) => {}
        }
        match tokio::time::timeout(PATIENCE, outcome).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(closed()),
            Err(_) => Err(ConversationError::Busy),
        }
    }

    /// Ends the thread once everything before is done, and closes the file.
    pub(crate) async fn close(&self) {
        let (sender, closed) = oneshot::channel();
        if self.0.send_timeout(Job::Close(sender), PATIENCE).await.is_ok() {
            // It may be slower than anybody wants to wait; SQLite survives that.
            _ = tokio::time::timeout(PATIENCE, closed).await;
        }
    }
}

fn closed() -> ConversationError {
    ConversationError::Unavailable("the box is shutting down".into())
}

/// The file, opened when it is first needed, and again after what went wrong.
struct OpenFile {
    folder: PathBuf,
    database: Option<Connection>,
}

impl OpenFile {
    fn run(&mut self, work: Work) {
        if self.database.is_none() {
            match open(&self.folder) {
                Ok(database) => self.database = Some(database),
                Err(error) => {
                    tracing::error!(%error, "the conversations cannot be opened");
                    work(Err(error));
                    return;
                }
            }
        }
        let Some(database) = &mut self.database else { return };
        if let Some(damage) = work(Ok(database)) {
            self.mend(&damage);
        }
    }

    /// The index can be made anew; everything else that is damaged is put aside, and a new file begun.
    fn mend(&mut self, damage: &Damage) {
        let Some(mut database) = self.database.take() else { return };
        if matches!(damage, Damage::Index) && mend_index(&mut database).is_ok() {
            self.database = Some(database);
            return;
        }
        drop(database);
        if let Err(error) = put_aside(&self.folder) {
            tracing::error!(%error, "the damaged file of conversations cannot be put aside");
        }
    }
}
