//! Claiming the box, logging in and out, changing and resetting the password.

use std::time::Instant;

use actionbooster_chassis::auth::{Caller, SESSION_COOKIE, Scope};
use actionbooster_chassis::{Json, Problem, unix_now};
use actionbooster_settings::account::{self, LONGEST_PASSWORD_BYTES};
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::accounts::AccountsError;
use crate::{Monitor, Shared, system, time};

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
    let claimed = monitor.accounts.owner().map_err(Problem::internal)?.is_some();
    Ok(Json(json!({"claimed": claimed})))
}

/// Makes the caller the owner, if the code is right.
pub(crate) async fn claim(
    State(monitor): State<Shared>,
    Json(claim): Json<Claim>,
) -> Result<Response, Problem> {
    let answer = blocking(move || {
        if monitor.accounts.owner().map_err(Problem::internal)?.is_some() {
            return Err(claimed_already());
        }
        wait_turn(&monitor)?;
        if !monitor.claim.matches(&claim.code).map_err(Problem::internal)? {
            monitor.attempts.failed(Instant::now());
            metrics::counter!("claims_total", "outcome" => "refused").increment(1);
            tracing::warn!("a claim was refused: wrong code");
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "wrong-code",
                "The claim code is wrong",
                "The code has eight characters and is shown on the box's screen and serial console.",
            ));
        }
        let name = checked_name(&claim.name)?;
        check_password(&claim.password)?;
        // The session that follows is dated by the clock, so the clock comes first.
        tokio::runtime::Handle::current().block_on(time::adopt(&monitor, claim.unix_ms));
        monitor.accounts.claim(&name, &claim.password, unix_now()).map_err(|error| match error {
            AccountsError::Claimed => claimed_already(),
            other => Problem::internal(other),
        })?;
        monitor.claim.mark_claimed().map_err(Problem::internal)?;
        monitor.attempts.succeeded();
        metrics::counter!("claims_total", "outcome" => "accepted").increment(1);
        tracing::info!(owner = name, "the box was claimed");
        Ok((StatusCode::CREATED, new_session(&monitor)?, Json(json!({"owner": {"name": name}})))
            .into_response())
    })
    .await?;
    system::announce().await;
    Ok(answer)
}

/// Opens a session for the owner.
pub(crate) async fn login(
    State(monitor): State<Shared>,
    Json(login): Json<Login>,
) -> Result<Response, Problem> {
    blocking(move || {
        wait_turn(&monitor)?;
        check_credentials(&monitor, &login.name, &login.password)?;
        tracing::info!("the owner logged in");
        Ok((new_session(&monitor)?, Json(json!({"owner": {"name": login.name}}))).into_response())
    })
    .await
}

/// Ends the session it comes from.
pub(crate) async fn logout(State(monitor): State<Shared>, caller: Caller) -> Result<Response, Problem> {
    if let Caller::Session { hash, .. } = &caller {
        monitor.accounts.close_session(hash).map_err(Problem::internal)?;
    }
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie("", 0)?)]).into_response())
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
    Json(wish): Json<NewPassword>,
) -> Result<StatusCode, Problem> {
    blocking(move || {
        let owner = monitor.accounts.owner().map_err(Problem::internal)?.ok_or_else(wrong_credentials)?;
        wait_turn(&monitor)?;
        check_credentials(&monitor, &owner, &wish.current)?;
        check_password(&wish.new)?;
        let keep = match &caller {
            Caller::Session { hash, .. } => Some(hash.as_slice()),
            _ => None,
        };
        monitor.accounts.change_password(&wish.new, keep).map_err(Problem::internal)?;
        tracing::info!("the owner's password was changed");
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// Forgets the owner, so that the box can be claimed anew. Only root on the box may: the console.
pub(crate) async fn reset_owner(
    State(monitor): State<Shared>,
    caller: Caller,
) -> Result<Json<Value>, Problem> {
    if caller != Caller::Console {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "console-only",
            "Only at the console",
            "Run `boosterctl owner reset` on the box's own screen and keyboard.",
        ));
    }
    let answer = blocking(move || {
        monitor.accounts.reset_owner().map_err(Problem::internal)?;
        let code = monitor.claim.renew().map_err(Problem::internal)?;
        tracing::warn!("the owner was reset at the console");
        let (first, second) = code.split_at(code.len() / 2);
        Ok(Json(json!({"claim_code": format!("{first}-{second}")})))
    })
    .await?;
    system::announce().await;
    Ok(answer)
}

/// Password hashing and SQLite block; they get a thread of their own.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(Problem::internal)?
}

fn check_credentials(monitor: &Monitor, name: &str, password: &str) -> Result<(), Problem> {
    let outcome = if password.len() > LONGEST_PASSWORD_BYTES {
        Err(AccountsError::WrongCredentials)
    } else {
        monitor.accounts.check(name, password)
    };
    match outcome {
        Ok(()) => {
            monitor.attempts.succeeded();
            metrics::counter!("logins_total", "outcome" => "accepted").increment(1);
            Ok(())
        }
        Err(AccountsError::WrongCredentials) => {
            monitor.attempts.failed(Instant::now());
            metrics::counter!("logins_total", "outcome" => "refused").increment(1);
            tracing::warn!("a login was refused");
            Err(wrong_credentials())
        }
        Err(other) => Err(Problem::internal(other)),
    }
}

fn new_session(monitor: &Monitor) -> Result<[(header::HeaderName, HeaderValue); 1], Problem> {
    let token = monitor.accounts.open_session(unix_now(), monitor.session_days).map_err(Problem::internal)?;
    Ok([(header::SET_COOKIE, cookie(&token, i64::from(monitor.session_days) * 86_400)?)])
}

fn cookie(token: &str, max_age_s: i64) -> Result<HeaderValue, Problem> {
    let text =
        format!("{SESSION_COOKIE}={token}; Path=/; Max-Age={max_age_s}; HttpOnly; Secure; SameSite=Strict");
    HeaderValue::from_str(&text).map_err(Problem::internal)
}

fn wait_turn(monitor: &Monitor) -> Result<(), Problem> {
    let wait = monitor.attempts.wait(Instant::now());
    if wait.is_zero() {
        return Ok(());
    }
    let seconds = wait.as_secs() + 1;
    Err(Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "too-many-attempts",
        "Too many wrong attempts",
        format!("Wait {seconds} seconds before the next attempt."),
    )
    .retry_after(seconds))
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
