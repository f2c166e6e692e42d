//! The space of the data partition: how much there is, what takes it, and how to free it.

mod disk;
mod parts;

use std::sync::Mutex;
use std::time::{Duration, Instant};

use actionbooster_chassis::Paths;
use actionbooster_chassis::health::{Component, Status};
use actionbooster_chassis::{Json, Problem};
use actionbooster_storage::{Forecast, History, Level, Space};
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Shared;
use disk::Disk;

/// How often what is left is noted, whether somebody asks or not.
pub(crate) const SAMPLE: Duration = Duration::from_secs(5 * 60);
/// What was counted holds for so long.
const FRESH: Duration = Duration::from_secs(20);

/// The data partition, watched.
#[derive(Debug)]
pub(crate) struct Storage {
    disk: Disk,
    /// In memory only: a disk that is full can be told about all the same.
    history: Mutex<History>,
    began: Instant,
    /// The parts as they were counted last. Whoever comes meanwhile waits for the same count.
    counted: tokio::sync::Mutex<Option<(Instant, Value)>>,
}

/// What is left at one moment, and how it goes on.
struct Look {
    space: Space,
    forecast: Option<Forecast>,
    level: Level,
}

impl Storage {
    pub(crate) fn new(paths: &Paths) -> Self {
        Self {
            disk: Disk::of(paths),
            history: Mutex::default(),
            began: Instant::now(),
            counted: tokio::sync::Mutex::default(),
        }
    }

    /// Asks the mount and notes the answer.
    fn look(&self) -> std::io::Result<Look> {
        let space = self.disk.space()?;
        let mut history = self.history.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        history.record(self.began.elapsed(), &space);
        let forecast = history.forecast(space.floor());
        Ok(Look { space, forecast, level: Level::of(&space, forecast.as_ref()) })
    }

    /// Notes what is left.
    pub(crate) fn sample(&self) {
        if let Err(error) = self.look() {
            tracing::warn!(%error, "the space of the data partition cannot be seen");
        }
    }

    /// The parts `data` and `storage` of health.
    pub(crate) fn components(&self) -> [Component; 2] {
        let look = self.look();
        let data = self.disk.trouble(look.as_ref().ok().map(|look| &look.space));
        let room = match &look {
            Ok(look) => look.level.words(&look.space, look.forecast.as_ref()),
            Err(error) => format!("how full the disk is cannot be seen: {error}"),
        };
        [component("data", data.unwrap_or_default()), component("storage", room)]
    }
}

/// Nothing to say is well.
fn component(name: &str, detail: String) -> Component {
    let status = if detail.is_empty() { Status::Ok } else { Status::Degraded };
    Component { name: name.into(), status, detail }
}

/// Query of [`show`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct How {
    /// Counts anew, whatever was counted a moment ago.
    #[serde(default)]
    fresh: bool,
}

/// `GET /api/v1/storage`.
pub(crate) async fn show(
    State(monitor): State<Shared>,
    Query(how): Query<How>,
) -> Result<Json<Value>, Problem> {
    let storage = &monitor.storage;
    let look = storage.look().map_err(|error| {
        Problem::internal(format!("the space of the data partition cannot be seen: {error}"))
    })?;
    let counted = {
        let mut counted = storage.counted.lock().await;
        match &*counted {
            Some((at, parts)) if !how.fresh && at.elapsed() < FRESH => parts.clone(),
            _ => {
                let parts = parts::count(&monitor.paths, look.space.used_bytes()).await;
                *counted = Some((Instant::now(), parts.clone()));
                parts
            }
        }
    };
    Ok(Json(told(&look, storage.disk.trouble(Some(&look.space)).as_deref(), &counted)))
}

fn told(look: &Look, trouble: Option<&str>, counted: &Value) -> Value {
    let (space, floor) = (&look.space, look.space.floor());
    let forecast = look.forecast.map(
        |forecast| json!({"full_in_s": forecast.full_in.as_secs(), "bytes_per_day": forecast.bytes_per_day}),
    );
    let mut told = json!({
        "level": look.level.name(),
        "detail": look.level.words(space, look.forecast.as_ref()),
        "trouble": trouble,
        "total_bytes": space.total_bytes,
        "used_bytes": space.used_bytes(),
        "free_bytes": space.free_bytes,
        "floor_bytes": floor.bytes,
        "reserved_bytes": space.reserved_bytes,
        "inodes": {"total": space.total_inodes, "free": space.free_inodes, "floor": floor.inodes},
        "forecast": forecast,
    });
    told["parts"] = counted["parts"].clone();
    told["silent"] = counted["silent"].clone();
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_and_the_page_tell_the_same_of_a_real_disk() {
        let root = tempfile::tempdir().expect("folder");
        let paths = Paths::below(root.path());
        std::fs::create_dir_all(paths.state().join("auth")).expect("folder");
        let storage = Storage::new(&paths);
        let look = storage.look().expect("seen");
        let [data, space] = storage.components();
        assert_eq!((data.name.as_str(), data.status), ("data", Status::Ok), "{}", data.detail);
        assert_eq!(space.status == Status::Ok, look.level == Level::Roomy, "{}", space.detail);
        let told = told(&look, None, &json!({"parts": [], "silent": []}));
        assert!(told["total_bytes"].as_u64() > told["free_bytes"].as_u64(), "{told}");
        assert_eq!(told["level"], look.level.name());
    }
}
