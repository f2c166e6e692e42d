//! What each user of the box may ask of the services that run as root.
//!
//! One script in the guest asks everything as everybody, from a unit of its own each, as a daemon
//! would that was taken over; the table says what must come out.

mod table;

use std::fmt::Write;

use anyhow::{Context, Result, bail, ensure};

use super::{Session, equal};
use crate::test::Tally;
use table::{CALLS, Call, MARKER, Then, USERS};

/// Words of a refusal: by polkit, by the bus, and by services that refuse everybody as things are.
const REFUSALS: &[&str] = &[
    "access denied",
    "permission denied",
    "interactive authentication required",
    "rejected send message",
    "automatic time synchronization is enabled",
    " is managed",
    "not available on non-delegated units",
    "firmware does not support",
];
/// Answers of logind's questions that mean "not you".
const NEGATIONS: &[&str] = &["s \"no\"", "s \"challenge\"", "s \"na\""];

pub fn run(session: &mut Session, tally: &mut Tally) -> Result<()> {
    let answers = session.shell(&script())?;
    for user in USERS {
        tally.check(
            &format!("{user} may ask for what the table allows and nothing else"),
            judge(user, &answers),
        );
    }
    let marker = session.shell(&format!("test ! -e {MARKER} && echo none"));
    tally.check("nobody made root run a command", equal(&marker.unwrap_or_default(), "none"));
    Ok(())
}

/// Asks every call as every user; a line of the output is user, number of the call, whether it
/// succeeded, and what came back.
fn script() -> String {
    let mut asks = String::new();
    for (number, call) in CALLS.iter().enumerate() {
        writeln!(asks, "call {number} {} {}", call.object, call.method).ok();
    }
    format!(
        r#"sudo bash <<'GUEST'
rm -f {MARKER}
cat > /run/privileges.sh <<'ASK'
user=$1
call() {{
    number=$1; shift
    if words=$(busctl --timeout=60 --allow-interactive-authorization=no call "$@" 2>&1)
    then end=ok; else end=failed; fi
    echo "$user $number $end ${{words//$'\n'/ }}"
}}
{asks}ASK
for user in {users}; do
    systemd-run --quiet --pipe --wait --collect --uid=$user bash /run/privileges.sh $user \
        < /dev/null > /run/privileges-$user.log 2>&1 &
done
wait
for user in {users}; do cat /run/privileges-$user.log; rm /run/privileges-$user.log; done
rm /run/privileges.sh
GUEST"#,
        users = USERS.join(" ")
    )
}

/// Compares one user's answers with the table.
fn judge(user: &str, answers: &str) -> Result<()> {
    let mut wrong = Vec::new();
    for (number, call) in CALLS.iter().enumerate() {
        let may = call.allowed.contains(&user);
        let start = format!("{user} {number} ");
        let answer = answers
            .lines()
            .find_map(|line| line.strip_prefix(&start))
            .with_context(|| format!("{} was not asked; the script said {answers:.400}", call.method))?;
        if let Err(cause) = expect(call, may, answer) {
            wrong.push(format!("{}: {cause}", call.method));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    Ok(())
}

fn expect(call: &Call, may: bool, answer: &str) -> Result<()> {
    let (end, words) = answer.split_once(' ').unwrap_or((answer, ""));
    let refused = (end == "failed" && REFUSALS.iter().any(|word| words.to_lowercase().contains(word)))
        || NEGATIONS.contains(&words.trim());
    match (may, call.then) {
        (false, _) if refused => Ok(()),
        (false, _) => bail!("not refused, but {answer}"),
        (true, Then::Done) if end == "ok" => Ok(()),
        (true, Then::Says(wanted)) if words.contains(wanted) => Ok(()),
        (true, _) => bail!("allowed, but {answer}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(allowed: &'static [&'static str], then: Then) -> Call {
        Call { object: "", method: "", allowed, then }
    }

    #[test]
    fn an_answer_is_held_against_what_is_allowed() {
        let done = call(&["a"], Then::Done);
        let exists = call(&["a"], Then::Says("has a fragment file"));
        let can = call(&["a"], Then::Says("yes"));
        for (call, may, answer, right) in [
            (&done, false, "failed Call failed: Access denied", true),
            (&done, false, "failed Call failed: Interactive authentication required.", true),
            (&done, false, "failed Call failed: Unit x.service not found.", false),
            (&done, false, "ok o \"/job/1\"", false),
            (&done, true, "ok ", true),
            (&done, true, "failed Call failed: Access denied", false),
            (&exists, true, "failed Call failed: Unit x has a fragment file.", true),
            (&exists, true, "ok o \"/job/1\"", false),
            (&can, false, "ok s \"challenge\"", true),
            (&can, false, "ok s \"yes\"", false),
            (&can, true, "ok s \"yes\"", true),
            (&can, true, "ok s \"no\"", false),
        ] {
            assert_eq!(expect(call, may, answer).is_ok(), right, "{may} {answer}");
        }
    }

    #[test]
    fn only_users_that_are_asked_are_allowed_anything() {
        for call in CALLS {
            assert!(call.allowed.iter().all(|user| USERS.contains(user)), "{}", call.method);
        }
    }
}
