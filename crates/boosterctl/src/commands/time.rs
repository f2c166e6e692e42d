//! `boosterctl time`.

use anyhow::Result;
use hyper::Method;
use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Value, json};

use crate::client::{Client, Daemon};
use crate::errors::Usage;
use crate::table::{cell, pairs, show};

const PATH: &str = "/api/v1/time";

/// Shows the clock, after setting it where a moment is given.
pub async fn run(client: &Client, set: Option<&str>, json: bool) -> Result<()> {
    let answer = match set {
        None => client.get(Daemon::Monitor, PATH).await?,
        Some(moment) => {
            let wish = json!({"unix_ms": parse(moment)?.as_millisecond()});
            client.call(Daemon::Monitor, Method::PUT, PATH, Some(&wish)).await?
        }
    };
    show(&answer, json, text);
    Ok(())
}

fn parse(moment: &str) -> Result<Timestamp> {
    if moment == "now" {
        return Ok(Timestamp::now());
    }
    let wrong = |_| Usage(format!("{moment}: write a moment such as 2026-11-27T12:00:00Z, or now"));
    Ok(moment.parse().map_err(wrong)?)
}

fn text(clock: &Value) -> String {
    let moment = clock["unix_ms"].as_i64().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let zone = TimeZone::get(clock["time_zone"].as_str().unwrap_or_default()).unwrap_or(TimeZone::UTC);
    let moment = moment.map(|moment| moment.to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S %z").to_string());
    let source = match clock["source"].as_str().unwrap_or_default() {
        "ntp" => "a time server",
        "owner" => "the owner",
        "rtc" => "the machine's own clock",
        _ => "nobody; set it with `boosterctl time --set`",
    };
    pairs(&[
        ("time", moment.unwrap_or_default()),
        ("time zone", cell(&clock["time_zone"])),
        ("set by", source.into()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_shown_in_its_zone_and_a_moment_understood() {
        let clock = json!({"unix_ms": 1_800_000_000_123_i64, "time_zone": "UTC", "source": "unknown"});
        let expected = "time       2027-01-15 08:00:00 +0000\ntime zone  UTC\n\
                        set by     nobody; set it with `boosterctl time --set`\n";
        assert_eq!(text(&clock), expected);
        let moment = parse("2027-01-15T09:00:00+01:00").expect("a moment");
        assert_eq!(moment.as_millisecond(), 1_800_000_000_000);
        assert!(parse("tomorrow").is_err());
    }
}
