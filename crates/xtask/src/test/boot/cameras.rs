//! Cameras in the virtual machine: agent, ffmpeg and worker in their units, with a worker that dies and a
//! camera that is unplugged.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Session, contains, until};
use crate::http::Credentials;
use crate::test::Tally;

/// Where the guest has a folder of pictures.
const PICTURES: &str = "/var/lib/shapes";
const SAMPLE: &[u8] = include_bytes!("../../../../../tests/models/shapes/sample.jpg");
/// The kernel's own camera, which gives a test picture, as a platform device.
const DRIVER: &str = "/sys/bus/platform/drivers/vivid";

/// Runs all checks of cameras. The guest is left without any.
pub fn run(session: &mut Session, tally: &mut Tally) -> Result<()> {
    let credentials = session.credentials()?;
    let mut watch = Watch { session, credentials, heard: 0 };
    tally.check("a camera's pictures become a session, detected in by the worker", watch.folder());
    tally.check(
        "a camera outlives a restart of the worker",
        watch.worker("sudo systemctl restart booster-worker"),
    );
    tally.check(
        "a camera outlives a worker that is killed",
        watch.worker("sudo systemctl kill --signal KILL --kill-whom main booster-worker"),
    );
    tally.check("its session is whole after all that", watch.session());
    tally.check("a camera that is plugged in later gives pictures", watch.plugged());
    tally.check("a camera that is unplugged is told, and comes back", watch.unplugged());
    watch.forget()
}

struct Watch<'a, 'b> {
    session: &'a mut Session<'b>,
    credentials: Credentials,
    /// The last event that was looked at.
    heard: u64,
}

impl Watch<'_, '_> {
    /// Waits for an event of this kind, and for nothing that was heard before.
    fn hear(&mut self, kind: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        let credentials = &self.credentials;
        let (mut heard, mut found, mut others) = (self.heard, None, Vec::new());
        until(self.session, |session| {
            for event in session.appliance.portal.events(heard, credentials)? {
                heard = event["id"].as_u64().context("an event without an id")?;
                if event["kind"] == kind && fits(&event) {
                    found = Some(event);
                    return Ok(());
                }
                if event["kind"] != "ai.keepalive" {
                    others.push(event.to_string());
                }
            }
            anyhow::bail!("no {kind}, only {:.2000}", others.join("\n"))
        })?;
        self.heard = heard;
        found.with_context(|| format!("no {kind}"))
    }

    fn send(&self, method: &str, path: &str, body: Option<&Value>, expected: u16) -> Result<Value> {
        let answer =
            self.session.appliance.portal.send(method, path, body, &self.credentials)?.expect(expected)?;
        if answer.body.is_empty() { Ok(Value::Null) } else { answer.json() }
    }

    fn jpeg(&self, path: &str) -> Result<()> {
        let bytes = self.session.appliance.portal.bytes(path, &self.credentials)?;
        ensure!(bytes.starts_with(&[0xff, 0xd8]), "{path} is no JPEG: {} bytes", bytes.len());
        Ok(())
    }

    /// Emulated, one detection takes seconds.
    fn slow(id: &str, source: &Value) -> Value {
        json!({
            "id": id,
            "source": source,
            "model": "shapes",
            "fps_idle": 1,
            "fps_active": 1,
            "dwell_ms": 0,
            "silence_ms": 300_000,
            "record": true,
        })
    }

    fn folder(&mut self) -> Result<()> {
        let octal: String = SAMPLE.iter().map(|byte| format!("\\{byte:03o}")).collect();
        let script = format!(
            "sudo mkdir -p {PICTURES} && printf '{octal}' | sudo tee {PICTURES}/shapes.jpg >/dev/null"
        );
        self.session.shell(&script)?;
        let source = json!({"kind": "folder", "path": PICTURES, "repeat": true});
        self.send("POST", "/api/v1/cameras", Some(&Self::slow("shapes", &source)), 201)?;
        self.hear("ai.session_started", |_| true)?;
        let seen = self.hear("ai.detection", |event| event["session"].is_string())?;
        contains(&seen["detections"].to_string(), "triangle")?;
        self.jpeg("/api/v1/cameras/shapes/snapshot")
    }

    /// The detector goes, comes back and detects, and the session is the same.
    fn worker(&mut self, script: &str) -> Result<()> {
        let part = |event: &Value| event["camera"] == "shapes" && event["part"] == "detector";
        let open = self.send("GET", "/api/v1/cameras/shapes", None, 200)?["session"].clone();
        self.session.shell(script)?;
        self.hear("camera.lost", part)?;
        self.hear("camera.back", part)?;
        let seen = self.hear("ai.detection", |event| event["camera"] == "shapes")?;
        ensure!(seen["session"] == open, "another session: {} instead of {open}", seen["session"]);
        Ok(())
    }

    fn session(&mut self) -> Result<()> {
        let source = json!({"kind": "folder", "path": PICTURES, "repeat": true});
        let mut off = Self::slow("shapes", &source);
        off["enabled"] = json!(false);
        self.send("PUT", "/api/v1/cameras/shapes", Some(&off), 200)?;
        let ended = self.hear("ai.session_ended", |event| event["camera"] == "shapes")?;
        let path = format!(
            "/api/v1/cameras/shapes/sessions/{}",
            ended["session"].as_str().context("a session without a name")?
        );
        let mut recorded = Value::Null;
        let credentials = &self.credentials;
        until(self.session, |session| {
            recorded = session.appliance.portal.get(&path, credentials)?.expect(200)?.json()?;
            ensure!(recorded["ended"].is_string(), "not ended: {recorded:.600}");
            Ok(())
        })?;
        // One before the worker was restarted, one after that, one after it was killed.
        let frames = recorded["frames"].as_array().map_or(0, Vec::len);
        ensure!(frames >= 3, "{frames} frames: {recorded:.600}");
        ensure!(recorded["recording_stopped"].is_null(), "recording stopped: {recorded:.600}");
        self.jpeg(&format!("{path}/best.jpg"))?;
        self.jpeg(&format!("{path}/clip.mjpeg"))
    }

    /// The driver is loaded long after the agent was started, as that of the first camera is.
    fn plugged(&mut self) -> Result<()> {
        self.session.shell("sudo modprobe vivid n_devs=1 node_types=0x1 && test -c /dev/video0")?;
        let source = json!({"kind": "v4l2", "device": "/dev/video0"});
        self.send("POST", "/api/v1/cameras", Some(&Self::slow("plugged", &source)), 201)?;
        let credentials = &self.credentials;
        until(self.session, |session| {
            let camera =
                session.appliance.portal.get("/api/v1/cameras/plugged", credentials)?.expect(200)?.json()?;
            ensure!(camera["source_state"]["state"] == "live", "{camera}");
            Ok(())
        })?;
        self.jpeg("/api/v1/cameras/plugged/snapshot")
    }

    fn unplugged(&mut self) -> Result<()> {
        let part = |event: &Value| event["camera"] == "plugged" && event["part"] == "source";
        self.session.shell(&format!("echo vivid.0 | sudo tee {DRIVER}/unbind"))?;
        self.hear("camera.lost", part)?;
        self.session.shell(&format!("echo vivid.0 | sudo tee {DRIVER}/bind"))?;
        self.hear("camera.back", part)?;
        self.jpeg("/api/v1/cameras/plugged/snapshot")
    }

    fn forget(&self) -> Result<()> {
        for camera in ["shapes", "plugged"] {
            self.session.appliance.portal.send(
                "DELETE",
                &format!("/api/v1/cameras/{camera}"),
                None,
                &self.credentials,
            )?;
        }
        Ok(())
    }
}
