//! The life of a real daemon process: the example `greeter`, which cargo builds beside this test.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

fn greeter() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(Path::parent).unwrap().join("examples/greeter")
}

fn command(root: &Path) -> Command {
    let mut command = Command::new(greeter());
    command.env_clear().env("ACTIONBOOSTER_ROOT", root).stdin(Stdio::null());
    command
}

/// Where the daemon tells systemd about itself.
struct Notifications(UnixDatagram);

impl Notifications {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    fn wait_for(&self, wanted: &str) {
        let mut buffer = [0; 256];
        loop {
            let length = match self.0.recv(&mut buffer) {
                Ok(length) => length,
                // A child of another test ended meanwhile.
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => panic!("no {wanted}: {error}"),
            };
            if String::from_utf8_lossy(&buffer[..length]).lines().any(|line| line == wanted) {
                return;
            }
        }
    }
}

/// A daemon that is killed when the test gives up on it.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        Self(command.stderr(Stdio::null()).spawn().unwrap())
    }

    fn end(mut self) -> Option<i32> {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        self.0.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn ask(mut stream: impl Read + Write, path: &str) -> String {
    write!(stream, "GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn systemd_hears_that_it_is_ready_that_it_lives_and_that_it_stops() {
    let root = folder();
    let notifications = Notifications::at(&root.path().join("notify"));
    let running = Running::start(
        command(root.path()).env("NOTIFY_SOCKET", root.path().join("notify")).env("WATCHDOG_USEC", "100000"),
    );
    notifications.wait_for("READY=1");
    notifications.wait_for("WATCHDOG=1");
    notifications.wait_for("WATCHDOG=1");
    let socket = UnixStream::connect(root.path().join("run/actionbooster/greeter.sock")).unwrap();
    let health = ask(socket, "/health");
    assert!(health.contains(r#"{"name":"voice","status":"ok","detail":""}"#), "{health}");
    assert_eq!(running.end(), Some(0));
    notifications.wait_for("STOPPING=1");
}

#[test]
fn every_socket_that_systemd_passes_is_served() {
    let root = folder();
    let notifications = Notifications::at(&root.path().join("notify"));
    let path = root.path().join("passed.sock");
    let unix = UnixListener::bind(&path).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = tcp.local_addr().unwrap().port();
    // The shell puts them where systemd would: from descriptor 3 on, under the same process id.
    let running = Running::start(
        Command::new("/bin/sh")
            .args(["-c", "LISTEN_FDS=2 LISTEN_PID=$$ exec \"$0\" 3<&0 4<&1"])
            .arg(greeter())
            .env("ACTIONBOOSTER_ROOT", root.path())
            .env("NOTIFY_SOCKET", root.path().join("notify"))
            .stdin(OwnedFd::from(unix))
            .stdout(OwnedFd::from(tcp)),
    );
    notifications.wait_for("READY=1");
    assert!(ask(UnixStream::connect(&path).unwrap(), "/health").starts_with("HTTP/1.1 200"));
    assert!(ask(TcpStream::connect(("127.0.0.1", port)).unwrap(), "/health").starts_with("HTTP/1.1 200"));
    assert!(
        ask(TcpStream::connect(("127.0.0.1", port)).unwrap(), "/hello").starts_with("HTTP/1.1 401"),
        "over TCP nobody is the console"
    );
    assert!(!root.path().join("run/actionbooster/greeter.sock").exists(), "it opens none of its own");
    assert_eq!(running.end(), Some(0));
}

#[test]
fn addresses_given_as_arguments_replace_its_own() {
    let root = folder();
    let notifications = Notifications::at(&root.path().join("notify"));
    let path = root.path().join("given.sock");
    let running = Running::start(
        command(root.path())
            .arg("--listen")
            .arg(format!("unix:{}", path.display()))
            .args(["--listen", "127.0.0.1:0"])
            .env("NOTIFY_SOCKET", root.path().join("notify"))
            .env("ACTIONBOOSTER_GREETER__GREETING", "Hola"),
    );
    notifications.wait_for("READY=1");
    let answer = ask(UnixStream::connect(&path).unwrap(), "/hello");
    if nix::unistd::geteuid().is_root() {
        assert!(answer.ends_with("Hola, console"), "{answer}");
    } else {
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    }
    assert_eq!(running.end(), Some(0));
}

fn output(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
}

#[test]
fn the_configuration_is_checked_without_listening() {
    let root = folder();
    let (code, text) = output(command(root.path()).arg("--config-check"));
    assert_eq!(code, Some(0), "{text}");
    let file = root.path().join("etc/actionbooster/greeter.toml");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "# mine\ngreting = \"Hi\"\n").unwrap();
    for arguments in [&["--config-check"][..], &[]] {
        let (code, text) = output(command(root.path()).args(arguments));
        assert_eq!(code, Some(64), "{text}");
        for part in [&*file.to_string_lossy(), "line 2", "greting", "did you mean `greeting`?"] {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
    }
    assert!(!root.path().join("run").exists(), "nothing was opened");
}

#[test]
fn arguments_are_checked() {
    let root = folder();
    let cases = [
        (&["--version"][..], 0, "booster-greeter "),
        (&["--help"], 64, "--config-check"),
        (&["--listen"], 64, "unix:/path or host:port"),
        (&["--listen", "5000"], 64, "neither unix:/path nor"),
    ];
    for (arguments, expected, part) in cases {
        let (code, text) = output(command(root.path()).args(arguments));
        assert_eq!(code, Some(expected), "{arguments:?}: {text}");
        assert!(text.contains(part), "{arguments:?}: {text}");
    }
}
