//! The clock, as the owner sees and sets it. The monitor only leaves a wish and has a unit started
//! that may set the clock; the browser of whoever claims the box brings the time along.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actionbooster_chassis::{Json, Problem};
use actionbooster_clock::{Source, check, source, synchronised};
use actionbooster_storage::atomic;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::login::invalid;
use crate::{Monitor, Shared, settings, system};

/// The unit that may.
const UNIT: &str = "booster-clock.service";
/// A clock that differs by less is left alone at a claim.
const TOLERANCE_MS: i64 = 60_000;
/// Setting a clock takes a second; a box that needs longer has other trouble.
const LIMIT: Duration = Duration::from_secs(60);

/// Body of `PUT /api/v1/time`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wish {
    /// Milliseconds since 1970.
    unix_ms: i64,
}

/// The time, the zone, and who set the clock.
pub(crate) async fn show(State(monitor): State<Shared>) -> Result<Json<Value>, Problem> {
    let (settings, _) = settings::read(&monitor.paths)?;
    let runtime = monitor.paths.runtime();
    let source = source(&runtime);
    Ok(Json(json!({
        "unix_ms": now_ms(),
        "time_zone": settings.time_zone.as_str(),
        "source": source.word(),
        "believed": source.is_believed(),
        "synchronised": synchronised(&runtime),
    })))
}

/// Sets the clock.
pub(crate) async fn set(
    State(monitor): State<Shared>,
    Json(wish): Json<Wish>,
) -> Result<Json<Value>, Problem> {
    if synchronised(&monitor.paths.runtime()) {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "clock-synchronised",
            "A time server keeps the clock",
            "The clock follows a time server of your network, so it is not set by hand.",
        ));
    }
    check(wish.unix_ms.div_euclid(1000)).map_err(|error| invalid("unix_ms", error.to_string()))?;
    if !monitor.paths.is_appliance() {
        return Err(system::not_an_appliance());
    }
    hand_over(&monitor, wish.unix_ms).await.map_err(Problem::internal)?;
    tracing::info!(unix_ms = wish.unix_ms, "the owner set the clock");
    show(State(monitor)).await
}

/// Takes over the time of whoever claims the box, where nobody who knows better has set the clock. A
/// claim never fails for it: the owner can set the clock later.
pub(crate) async fn adopt(monitor: &Monitor, unix_ms: Option<i64>) {
    let Some(unix_ms) = unix_ms.filter(|time| wanted(*time, now_ms(), source(&monitor.paths.runtime())))
    else {
        return;
    };
    if !monitor.paths.is_appliance() {
        return;
    }
    match hand_over(monitor, unix_ms).await {
        Ok(()) => tracing::info!(unix_ms, "the clock was taken over from the owner's device"),
        Err(error) => tracing::warn!("the clock could not be taken over from the owner's device: {error:#}"),
    }
}

fn wanted(given_ms: i64, own_ms: i64, source: Source) -> bool {
    source != Source::Ntp
        && check(given_ms.div_euclid(1000)).is_ok()
        && given_ms.saturating_sub(own_ms).saturating_abs() > TOLERANCE_MS
}

/// Leaves the wish and waits until it was granted or refused.
async fn hand_over(monitor: &Monitor, unix_ms: i64) -> anyhow::Result<()> {
    let uptime = tokio::fs::read_to_string(monitor.paths.root().join("proc/uptime")).await?;
    let seconds: f64 = uptime.split_whitespace().next().unwrap_or_default().parse()?;
    let wish = json!({"unix_ms": unix_ms, "uptime_ms": (seconds * 1000.0) as i64});
    let file = monitor.paths.runtime().join("monitor/clock.json");
    // In memory, so it is quick.
    atomic::write(&file, wish.to_string().as_bytes())?;
    tokio::time::timeout(LIMIT, system::run_unit(UNIT)).await?
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_browsers_time_is_taken_only_where_it_says_more() {
        let given = (actionbooster_clock::built_s() + 86_400) * 1000;
        let cases = [
            (given, given - 3_600_000, Source::Unknown, true),
            (given, given + 3_600_000, Source::Rtc, true),
            (given, given - 3_600_000, Source::Ntp, false),
            (given, given - 30_000, Source::Unknown, false),
            (0, given, Source::Unknown, false),
            (i64::MAX, given, Source::Unknown, false),
            (i64::MIN, given, Source::Unknown, false),
        ];
        for (given, own, source, expected) in cases {
            assert_eq!(wanted(given, own, source), expected, "{given} {own} {source:?}");
        }
    }
}
