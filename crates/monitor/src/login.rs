//! Claiming the box, logging in and out, changing the password.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actionbooster_chassis::auth::{Caller, SESSION_COOKIE, Scope};
use actionbooster_chassis::{Client, Json, Problem, unix_now};
use actionbooster_settings::account::{self, LONGEST_PASSWORD_BYTES};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::accounts::AccountsError;
use crate::attempts::{Attempt, Visitor};
use crate::device::{DEVICE_COOKIE, DEVICE_COOKIE_AGE_S, DeviceId};
use crate::{Monitor, Shared, blocking, password, system, time};

/// Body of `POST /api/v1/claim`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Claim {
    code: String,
    name: String,
    password: String,
    /// The time of the owner's device, in milliseconds since 1970.
    #[serde(default)]
    unix_ms: Option<i64>,
}

/// Body of `POST /api/v1/login`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    name: String,
    password: String,
}

/// Body of `POST /api/v1/password`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPassword {
    current: String,
    new: String,
}

/// Whether the box has an owner.
pub(crate) async fn claim_state(State(monitor): State<Shared>) -> Result<Json<Value>, Problem> {
    Ok(Json(json!({"claimed": owner(&monitor).await?.is_some()})))
}

/// Makes the caller the owner, if the code is right.
pub(crate) async fn claim(
    State(monitor): State<Shared>,
    client: Client,
    headers: HeaderMap,
    Json(claim): Json<Claim>,
) -> Result<Response, Problem> {
    let device = monitor.devices.recognise(&headers);
    let visitor = Visitor::of(client, device);
    if owner(&monitor).await?.is_some() {
        return Err(claimed_already());
    }
    let attempt = begin(&monitor, visitor)?;
    let (asked, code) = (Arc::clone(&monitor), claim.code);
    match blocking(move || asked.claim.matches(&code).map_err(Problem::internal)).await {
        Ok(true) => monitor.attempts.right(attempt),
        Ok(false) => {
            metrics::counter!("claims_total", "outcome" => "refused").increment(1);
            tracing::warn!("a claim was refused: wrong code");
            return Err(wrong_code());
        }
        Err(problem) => {
            monitor.attempts.void(attempt);
            return Err(problem);
        }
    }
    let name = checked_name(&claim.name)?;
    check_password(&claim.password)?;
    // The session that follows is dated by the clock, so the clock comes first.
    time::adopt(&monitor, claim.unix_ms).await;
    let hash = monitor.hashing.run(visitor, move || password::hash(&claim.password)).await?;
    let asked = Arc::clone(&monitor);
    let answer = blocking(move || {
        let monitor = asked;
        monitor.accounts.claim(&name, &hash, unix_now()).map_err(|error| match error {
            AccountsError::Claimed => claimed_already(),
            other => other.into(),
        })?;
        if let Err(error) = monitor.claim.mark_claimed() {
            // The owner's row decides; the marker is made at the next start.
            tracing::warn!(%error, "the box could not be marked as claimed");
        }
        metrics::counter!("claims_total", "outcome" => "accepted").increment(1);
        tracing::info!(owner = name, "the box was claimed");
        let cookies = new_session(&monitor, device)?;
        Ok((StatusCode::CREATED, cookies, Json(json!({"owner": {"name": name}}))).into_response())
    })
    .await?;
    system::announce(&monitor.paths).await;
    Ok(answer)
}

/// Opens a session for the owner.
pub(crate) async fn login(
    State(monitor): State<Shared>,
    client: Client,
    headers: HeaderMap,
    Json(login): Json<Login>,
) -> Result<Response, Problem> {
    let device = monitor.devices.recognise(&headers);
    check_credentials(&monitor, Visitor::of(client, device), login.name.clone(), login.password).await?;
    blocking(move || {
        let cookies = new_session(&monitor, device)?;
        tracing::info!("the owner logged in");
        Ok((cookies, Json(json!({"owner": {"name": login.name}}))).into_response())
    })
    .await
}

/// Ends the session it comes from.
pub(crate) async fn logout(State(monitor): State<Shared>, caller: Caller) -> Result<Response, Problem> {
    if let Caller::Session { hash, .. } = caller {
        blocking(move || Ok(monitor.accounts.close_session(&hash, unix_now())?)).await?;
    }
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, session_cookie("", 0)?)]).into_response())
}

/// Who is asking.
pub(crate) async fn session(caller: Caller) -> Json<Value> {
    let scopes: Vec<Scope> = Scope::ALL.into_iter().filter(|scope| caller.may(*scope)).collect();
    Json(match caller {
        Caller::Session { owner, .. } => {
            json!({"owner": {"name": owner}, "scopes": scopes, "via": "session"})
        }
        Caller::Key { .. } => json!({"owner": null, "scopes": scopes, "via": "key"}),
        Caller::Console => json!({"owner": null, "scopes": scopes, "via": "console"}),
    })
}

/// Changes the owner's password and ends the other sessions.
pub(crate) async fn change_password(
    State(monitor): State<Shared>,
    caller: Caller,
    client: Client,
    headers: HeaderMap,
    Json(wish): Json<NewPassword>,
) -> Result<StatusCode, Problem> {
    let visitor = Visitor::of(client, monitor.devices.recognise(&headers));
    confirm_owner(&monitor, visitor, wish.current).await?;
    check_password(&wish.new)?;
    let hash = monitor.hashing.run(visitor, move || password::hash(&wish.new)).await?;
    blocking(move || {
        let keep = match &caller {
            Caller::Session { hash, .. } => Some(hash.as_slice()),
            _ => None,
        };
        monitor.accounts.change_password(&hash, keep)?;
        tracing::info!("the owner's password was changed");
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// Goes on only with the owner's password, which counts as a login does.
pub(crate) async fn confirm_owner(
    monitor: &Shared,
    visitor: Visitor,
    password: String,
) -> Result<(), Problem> {
    let owner = owner(monitor).await?.ok_or_else(wrong_credentials)?;
    check_credentials(monitor, visitor, owner, password).await
}

async fn owner(monitor: &Shared) -> Result<Option<String>, Problem> {
    let monitor = Arc::clone(monitor);
    blocking(move || Ok(monitor.accounts.owner()?)).await
}

/// Counts an attempt, or refuses it until the wait is over.
fn begin(monitor: &Monitor, visitor: Visitor) -> Result<Attempt, Problem> {
    monitor.attempts.begin(visitor, Instant::now()).map_err(|wait| {
        metrics::counter!("logins_total", "outcome" => "slowed").increment(1);
        too_many(visitor, wait)
    })
}

async fn check_credentials(
    monitor: &Shared,
    visitor: Visitor,
    name: String,
    password: String,
) -> Result<(), Problem> {
    let attempt = begin(monitor, visitor)?;
    let asked = Arc::clone(monitor);
    let too_long = password.len() > LONGEST_PASSWORD_BYTES;
    let compare = move || match asked.accounts.credentials()? {
        Some((owner, hash)) => Ok(password::is_right(&password, &hash)? && owner == name),
        // As slow as with an owner, so that the time tells nothing.
        None => password::hash(&password).map(|_| false),
    };
    let outcome = if too_long { Ok(false) } else { monitor.hashing.run(visitor, compare).await };
    match outcome {
        Ok(true) => {
            monitor.attempts.right(attempt);
            metrics::counter!("logins_total", "outcome" => "accepted").increment(1);
            Ok(())
        }
        Ok(false) => {
            metrics::counter!("logins_total", "outcome" => "refused").increment(1);
            tracing::warn!("a login was refused");
            Err(wrong_credentials())
        }
        Err(problem) => {
            monitor.attempts.void(attempt);
            Err(problem)
        }
    }
}

/// The cookies of somebody who has shown the secret: the session, and what tells this browser apart from
/// strangers when the next attempts are counted.
fn new_session(
    monitor: &Monitor,
    device: Option<DeviceId>,
) -> Result<AppendHeaders<[(HeaderName, HeaderValue); 2]>, Problem> {
    let token = monitor.accounts.open_session(unix_now(), monitor.session_days)?;
    let session = session_cookie(&token, i64::from(monitor.session_days) * 86_400)?;
    let device = cookie(DEVICE_COOKIE, &monitor.devices.cookie_of(device), "/api/v1/", DEVICE_COOKIE_AGE_S)?;
    Ok(AppendHeaders([(header::SET_COOKIE, session), (header::SET_COOKIE, device)]))
}

fn session_cookie(token: &str, age_s: i64) -> Result<HeaderValue, Problem> {
    cookie(SESSION_COOKIE, token, "/", age_s)
}

fn cookie(name: &str, value: &str, path: &str, age_s: i64) -> Result<HeaderValue, Problem> {
    let text = format!("{name}={value}; Path={path}; Max-Age={age_s}; HttpOnly; Secure; SameSite=Strict");
    HeaderValue::from_str(&text).map_err(Problem::internal)
}

fn too_many(visitor: Visitor, wait: Duration) -> Problem {
    let seconds = wait.as_secs() + 1;
    let detail = if visitor.is_known() {
        format!("Wait {seconds} seconds before the next attempt.")
    } else {
        format!(
            "Wait {seconds} seconds before the next attempt, or use a browser that has logged in to this box \
             before: others do not make it wait."
        )
    };
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-attempts", "Too many wrong attempts", detail)
        .retry_after(seconds)
}

fn checked_name(name: &str) -> Result<String, Problem> {
    account::name(name).map(str::to_owned).map_err(|error| invalid("name", error.to_string()))
}

fn check_password(password: &str) -> Result<(), Problem> {
    account::check_password(password).map_err(|error| invalid("password", error.to_string()))
}

/// 422 about one field.
pub(crate) fn invalid(field: &str, detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "This cannot be accepted", detail)
        .with("field", field)
}

fn wrong_code() -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "wrong-code",
        "The claim code is wrong",
        "The code has eight characters and is shown on the box's screen and serial console.",
    )
}

fn wrong_credentials() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "wrong-credentials",
        "Name or password are wrong",
        "Check both. A forgotten password is reset at the box's console with `boosterctl owner reset`.",
    )
}

fn claimed_already() -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "claimed",
        "The box has an owner already",
        "Log in. If the password is lost, run `boosterctl owner reset` at the box's console.",
    )
}
