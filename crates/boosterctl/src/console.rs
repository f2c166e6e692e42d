//! The box's own screen. Whoever stands before it owns the box, so there is no login.

use std::io::{BufRead, Write};

use actionbooster_chassis::Paths;
use serde_json::json;

use crate::client::Client;
use crate::{Failure, show};

const CONFIRMATION: &str = "RESET";

/// Shows address and claim code, and a menu, until the terminal goes away.
pub(crate) async fn run(paths: &Paths, monitor: &Client) -> Result<(), Failure> {
    let mut input = std::io::stdin().lock();
    loop {
        page(paths);
        say(
            "\n [1] show this again   [2] state of the box   [3] reset the owner's password\n [4] restart           [5] switch off\n> ",
        );
        let Some(choice) = line(&mut input) else { return Ok(()) };
        let outcome = match choice.as_str() {
            "2" => monitor.send("GET", "/health", None).await.map(|health| say(&show::text(&health))),
            "3" => reset(monitor, &mut input).await,
            "4" => monitor.send("POST", "/api/v1/power", Some(&json!({"action": "reboot"}))).await.map(drop),
            "5" => {
                monitor.send("POST", "/api/v1/power", Some(&json!({"action": "poweroff"}))).await.map(drop)
            }
            _ => Ok(()),
        };
        if let Err(failure) = outcome {
            say(&format!("{failure}\n"));
        }
    }
}

fn page(paths: &Paths) {
    let text = std::fs::read_to_string(paths.runtime().join("console.txt"));
    say(&text.unwrap_or_else(|_| "ActionBooster is starting. Press Enter in a moment.\n".into()));
}

async fn reset(monitor: &Client, input: &mut impl BufRead) -> Result<(), Failure> {
    say(&format!(
        "The owner is forgotten and the box can be claimed anew; models and keys stay.\nType {CONFIRMATION} to go on: "
    ));
    if line(input).as_deref() != Some(CONFIRMATION) {
        say("Nothing was changed.\n");
        return Ok(());
    }
    let answer = monitor.send("POST", "/api/v1/owner/reset", Some(&json!({}))).await?;
    say(&format!("New claim code: {}\n", answer["claim_code"].as_str().unwrap_or("see above in a moment")));
    Ok(())
}

/// A terminal that is gone is noticed when it is read.
fn say(text: &str) {
    let mut output = std::io::stdout().lock();
    if output.write_all(text.as_bytes()).and_then(|()| output.flush()).is_err() {
        std::process::exit(0);
    }
}

fn line(input: &mut impl BufRead) -> Option<String> {
    let mut text = String::new();
    match input.read_line(&mut text) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(text.trim().to_owned()),
    }
}
