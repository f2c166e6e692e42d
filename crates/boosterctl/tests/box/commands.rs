//! The program against a box's sockets: what it sends, prints, and exits with.

use crate::daemons::RealBox;
use crate::support::{EVENTS, FakeBox, JSON, PROBLEM, Run, program};
use serde_json::{Value, json};

const WELL: &str =
    r#"{"status":"ok","version":"0.1.0","components":[{"name":"agent","status":"ok","detail":""}]}"#;
const STARTING: &str = r#"{"status":"starting","version":"0.1.0","components":[{"name":"provisioning","status":"starting","detail":"soon"}]}"#;

/// Arguments; status and body of the answer; the request's line and body; what is printed.
type Case<'a> = (&'a [&'a str], u16, &'a str, &'a str, Value, &'a str);

#[test]
fn every_command_asks_the_right_question_and_prints_the_answer() {
    let keys =
        r#"{"keys":[{"id":"k1","name":"script","scopes":["infer","read"],"created_at":0,"hint":"ab_Xy…"}]}"#;
    let key = r#"{"id":"k2","name":"new","scopes":["infer"],"hint":"ab_Zz…","key":"ab_secret"}"#;
    let settings = r#"{"hostname":"box","mdns_name":"box7.local","taken_name":"box.local","online":true,"time_zone":"Europe/Madrid","ssh_keys":[],"faults":[{"field":"ssh_keys[0]","detail":"Cut."}],"applied":true}"#;
    let shown = "hostname   box\naddress    box7.local\nonline     true\ntime zone  Europe/Madrid\n\
                 ssh keys   none, so SSH is off\n\
                 Another device on the network is called box.local; choose another name.\n\
                 ssh_keys[0] cannot be used: Cut.\n";
    let clock =
        r#"{"unix_ms":1800000000000,"time_zone":"UTC","source":"ntp","believed":true,"synchronised":true}"#;
    let shown_clock = "time       2027-01-15 08:00:00 +0000\ntime zone  UTC\nset by     a time server\n";
    let models = r#"{"models":[{"id":"guide","name":"Guide","languages":["en","es"],"roles":["guide"],"size_bytes":4063232,"built_in":true,"licence":"MIT","state":"ready"}],"errors":["broken: not a GGUF file"]}"#;
    let cases: &[Case] = &[
        (
            &["status"],
            200,
            WELL,
            "GET /health",
            Value::Null,
            "ActionBooster 0.1.0: ok\nPART   STATE  DETAIL\nagent  ok\n",
        ),
        (
            &["whoami"],
            200,
            r#"{"owner":{"name":"ana"},"scopes":["infer","admin"],"via":"session"}"#,
            "GET /api/v1/session",
            Value::Null,
            "owner  ana\nvia    session\nmay    infer, admin\n",
        ),
        (
            &["keys", "list"],
            200,
            keys,
            "GET /api/v1/keys",
            Value::Null,
            "ID  NAME    SCOPES       KEY\nk1  script  infer, read  ab_Xy…\n",
        ),
        (
            &["keys", "create", "new", "--scope", "infer", "--scope", "read"],
            201,
            key,
            "POST /api/v1/keys",
            json!({"name": "new", "scopes": ["infer", "read"]}),
            "ab_secret\n",
        ),
        (
            &["keys", "revoke", "k1"],
            204,
            "",
            "DELETE /api/v1/keys/k1",
            Value::Null,
            "The key k1 is revoked.\n",
        ),
        (&["settings", "get"], 200, settings, "GET /api/v1/settings", Value::Null, shown),
        (
            &["settings", "set", "--online", "false", "--hostname", "box", "--time-zone", "Europe/Madrid"],
            200,
            settings,
            "PATCH /api/v1/settings",
            json!({"online": false, "hostname": "box", "time_zone": "Europe/Madrid"}),
            shown,
        ),
        (&["time"], 200, clock, "GET /api/v1/time", Value::Null, shown_clock),
        (
            &["time", "--set", "2027-01-15T08:00:00Z"],
            200,
            clock,
            "PUT /api/v1/time",
            json!({"unix_ms": 1_800_000_000_000_i64}),
            shown_clock,
        ),
        (
            &["owner", "reset", "--yes"],
            200,
            r#"{"claim_code":"ABCD-EFGH","keys_kept":false,"revoked":{"sessions":1,"api_keys":2,"ssh_keys":1},"applied":true}"#,
            "POST /api/v1/owner/reset",
            json!({"keep_keys": false}),
            "The box has no owner. Claim it in the portal with the code ABCD-EFGH\nRevoked: 2 keys of programs, 1 of SSH.\n",
        ),
        (
            &["owner", "reset", "--yes", "--keep-keys"],
            200,
            r#"{"claim_code":"ABCD-EFGH","keys_kept":true,"revoked":{"sessions":1,"api_keys":0,"ssh_keys":0},"applied":true}"#,
            "POST /api/v1/owner/reset",
            json!({"keep_keys": true}),
            "The box has no owner. Claim it in the portal with the code ABCD-EFGH\nThe keys of programs and of SSH are as they were.\n",
        ),
        (
            &["power", "poweroff"],
            202,
            r#"{"accepted":true}"#,
            "POST /api/v1/power",
            json!({"action": "poweroff"}),
            "The box switches off.\n",
        ),
        (
            &["models"],
            200,
            models,
            "GET /api/v1/models",
            Value::Null,
            "ID     STATE  SIZE     LANGUAGES  ROLES  LICENCE  NAME\nguide  ready  3.9 MiB  en, es     guide  MIT      Guide\nbroken: not a GGUF file\n",
        ),
    ];
    for (arguments, status, answer, line, body, expected) in cases {
        let fake = FakeBox::new(&[(*status, JSON, answer)]);
        let run = fake.run(arguments);
        assert_eq!((run.code, run.stdout.as_str()), (0, *expected), "{arguments:?}: {}", run.stderr);
        let sent = &fake.sent()[0];
        assert_eq!((sent.line.as_str(), &sent.body, &sent.key), (*line, body, &None), "{arguments:?}");
        // The same with --json is the box's own answer.
        let fake = FakeBox::new(&[(*status, JSON, answer)]);
        let mut arguments = arguments.to_vec();
        arguments.push("--json");
        let printed: Value = serde_json::from_str(&fake.run(&arguments).stdout).unwrap();
        assert_eq!(printed, serde_json::from_str::<Value>(answer).unwrap_or_default(), "{arguments:?}");
    }
}

#[test]
fn a_claim_sends_the_code_and_the_password_from_standard_input() {
    let fake = FakeBox::new(&[(201, JSON, r#"{"owner":{"name":"ana"}}"#)]);
    let arguments = ["claim", "--name", "ana", "--code", "ABCD-EFGH", "--password-stdin"];
    let run = fake.run_with_input(&arguments, "correct horse\n");
    assert_eq!(
        (run.code, run.stdout.as_str()),
        (0, "ana owns this box now. Log in to the portal.\n"),
        "{run:?}"
    );
    let body = json!({"code": "ABCD-EFGH", "name": "ana", "password": "correct horse"});
    assert_eq!(fake.sent()[0].body, body);
}

#[test]
fn a_changed_password_needs_both() {
    let fake = FakeBox::new(&[(204, JSON, "")]);
    let run = fake.run_with_input(&["owner", "password", "--password-stdin"], "only one\n");
    assert_eq!(run.code, 2, "{run:?}");
    assert!(fake.sent().is_empty());
    let run = fake.run_with_input(&["owner", "password", "--password-stdin"], "old one\nnew one\n");
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(fake.sent()[0].body, json!({"current": "old one", "new": "new one"}));
}

#[test]
fn the_recovery_key_needs_no_password_on_the_box() {
    let fake = FakeBox::new(&[(200, JSON, r#"{"recovery_key":"ABCD-EFGH"}"#)]);
    let run = fake.run(&["owner", "recovery-key"]);
    assert_eq!((run.code, run.stdout.as_str()), (0, "ABCD-EFGH\n"), "{run:?}");
    assert_eq!(fake.sent()[0].body, json!({}));
}

#[test]
fn a_reset_that_cannot_reach_ssh_says_what_to_do() {
    for (ssh_keys, words) in [("1", "Restart the box: until then SSH"), ("null", "SSH keys stay")] {
        let answer = format!(
            r#"{{"claim_code":"A-B","keys_kept":false,"revoked":{{"sessions":0,"api_keys":0,"ssh_keys":{ssh_keys}}},"applied":false}}"#
        );
        let run = FakeBox::new(&[(200, JSON, &answer)]).run(&["owner", "reset", "--yes"]);
        assert!(run.code == 0 && run.stdout.contains(words), "{run:?}");
    }
}

#[test]
fn an_answer_streams_to_the_terminal() {
    let events = "event: start\ndata: {\"id\":\"q\",\"models\":[\"guide\"]}\n\n: keep-alive\n\n\
                  event: token\ndata: {\"model\":\"guide\",\"text\":\"Hola\"}\n\n\
                  event: answer\ndata: {\"model\":\"guide\",\"text\":\"Hola\",\"error\":null}\n\n\
                  event: summary\ndata: {\"text\":\"Hola\",\"model\":null,\"method\":\"single\"}\n\n\
                  event: done\ndata: {}\n\n";
    let fake = FakeBox::new(&[(200, EVENTS, events)]);
    let run = fake.run_with_input(&["ask", "-", "--model", "guide", "--max-tokens", "9"], "¿Qué eres?");
    assert_eq!((run.code, run.stdout.as_str()), (0, "Hola\n"), "{run:?}");
    let sent = &fake.sent()[0];
    assert_eq!(sent.line, "POST /query");
    assert_eq!(
        sent.body,
        json!({"prompt": "¿Qué eres?", "models": ["guide"], "max_tokens": 9, "stream": true})
    );
}

#[test]
fn an_answer_that_breaks_off_or_is_none_is_a_failure() {
    let cut =
        "event: start\ndata: {\"id\":\"q\",\"models\":[\"a\"]}\n\nevent: token\ndata: {\"text\":\"Ho\"}\n\n";
    let none =
        r#"{"id":"q","answers":[{"model":"a","text":"","error":"it does not fit"}],"summary":{"text":""}}"#;
    let problem = "event: error\ndata: {\"type\":\"x\",\"detail\":\"The question is too long.\"}\n\n";
    for (kind, body, arguments, words) in [
        (EVENTS, cut, &["ask", "hi"][..], "broke off"),
        (EVENTS, problem, &["ask", "hi"][..], "The question is too long."),
        (JSON, none, &["ask", "hi", "--json"][..], ""),
    ] {
        let run = FakeBox::new(&[(200, kind, body)]).run(arguments);
        assert_eq!(run.code, 1, "{run:?}");
        assert!(run.stderr.contains(words), "{run:?}");
    }
}

#[test]
fn the_exit_status_tells_refused_from_failed_from_absent() {
    let problem = r#"{"type":"t","title":"Title","status":0,"detail":"Do it otherwise."}"#;
    let cases = [(401, 4), (403, 4), (404, 1), (409, 1), (422, 1), (429, 1), (500, 1), (503, 1)];
    for (status, code) in cases {
        let run = FakeBox::new(&[(status, PROBLEM, problem)]).run(&["keys", "list"]);
        assert_eq!((run.code, run.stderr.as_str()), (code, "boosterctl: Do it otherwise.\n"), "{status}");
    }
    let absent = FakeBox::silent().run(&["keys", "list"]);
    assert_eq!(absent.code, 3);
    assert!(absent.stderr.contains("--url"), "{}", absent.stderr);
    let nothing_listens = FakeBox::silent();
    drop(std::os::unix::net::UnixListener::bind(nothing_listens.run_path("monitor.sock")).unwrap());
    let run = nothing_listens.run(&["status"]);
    assert_eq!(run.code, 3);
    assert!(run.stderr.contains("systemctl status booster-monitor"), "{}", run.stderr);
    for arguments in
        [&["keys"][..], &["keys", "create", "x"], &["settings", "set"], &["--url", "x", "status"]]
    {
        assert_eq!(FakeBox::silent().run(arguments).code, 2, "{arguments:?}");
    }
    assert_eq!(FakeBox::silent().run(&["keys", "revoke", "../owner/reset"]).code, 2);
}

#[test]
fn waiting_ends_when_the_box_is_well_or_time_is_up() {
    let fake = FakeBox::new(&[(200, JSON, STARTING), (200, JSON, WELL)]);
    assert_eq!(fake.run(&["health", "--wait", "60"]).code, 0);
    assert_eq!(fake.sent().len(), 2);
    let fake = FakeBox::new(&[(200, JSON, STARTING)]);
    let run = fake.run(&["status"]);
    assert_eq!(run.code, 1);
    assert!(run.stdout.contains("provisioning  starting  soon"), "{}", run.stdout);
    assert_eq!(FakeBox::silent().run(&["status", "--wait", "1"]).code, 3);
}

#[test]
fn a_monitor_that_hangs_is_as_good_as_absent() {
    let fake = FakeBox::silent();
    let _listener = std::os::unix::net::UnixListener::bind(fake.run_path("monitor.sock")).unwrap();
    let run = fake.run(&["status"]);
    assert_eq!(run.code, 3, "{run:?}");
    assert!(run.stderr.contains("too long"), "{run:?}");
}

#[test]
fn nothing_is_asked_where_there_is_no_terminal() {
    for arguments in
        [&["owner", "reset"][..], &["claim", "--name", "a"], &["claim", "--name", "a", "--code", "x"]]
    {
        let fake = FakeBox::new(&[]);
        let run = fake.run(arguments);
        assert_eq!(run.code, 2, "{arguments:?}: {run:?}");
        assert!(fake.sent().is_empty());
    }
}

#[test]
fn reports_are_readable() {
    let fake = FakeBox::new(&[(
        200,
        JSON,
        r#"{"result":"ok","mode":{"name":"dma","title":{"en":"Direct","es":"D"},"reasons":[{"en":"An NPU.","es":"Una NPU."}]},
            "network":{"mdns_name":"box.local","addresses":["192.168.1.7"],"online":false},
            "memory":{"total_bytes":8589934592,"zram_bytes":4294967296,"model_budget_bytes":5368709120},
            "storage":{"data":"ok"},"claim":{"claimed":true},
            "tls":{"ca_sha256":"0aff12","next":{"sha256":"b0"}},
            "missing_firmware":[{"file":"a.bin","advice":{"en":"Install it.","es":"x"}}],
            "steps":[{"name":"firewall","status":"applied","detail":""}]}"#,
    )]);
    let run = fake.run(&["provisioning"]);
    for words in [
        "mode        Direct (dma)",
        "internet    denied",
        "authority   0A:FF:12\nits next    B0\n",
        "  An NPU.",
        "a.bin             Install it.",
        "firewall  applied",
    ] {
        assert!(run.stdout.contains(words), "no {words:?} in\n{}", run.stdout);
    }
    let root = tempfile::tempdir().unwrap();
    actionbooster_hardware::fixture::expand(actionbooster_hardware::fixture::ORANGE_PI_5, root.path())
        .unwrap();
    let run = Run::of(program(root.path()).args(["hardware", "--scan"]).output().unwrap());
    for words in [
        "Xunlong Orange Pi 5 (orange-pi5)",
        "npu   RK3588 NPU   none    none",
        "/dev/mmcblk0  sd   59.5 GiB",
        "mali_csffw.bin",
    ] {
        assert!(run.stdout.contains(words), "no {words:?} in\n{}", run.stdout);
    }
}

#[test]
fn a_wrong_configuration_is_named_and_fails() {
    use std::os::unix::fs::PermissionsExt;
    let fake = FakeBox::silent();
    let programs = fake.root.path().join("bin");
    std::fs::create_dir(&programs).unwrap();
    let own = programs.join("boosterctl");
    std::fs::copy(env!("CARGO_BIN_EXE_boosterctl"), &own).unwrap();
    for (daemon, script) in [
        ("agent", "#!/bin/sh\necho \"agent.toml:3: keep_alive_s: expected a number\" >&2\nexit 64\n"),
        ("monitor", "#!/bin/sh\necho valid\n"),
        ("worker", "#!/bin/sh\necho valid\n"),
    ] {
        let path = programs.join(format!("booster-{daemon}"));
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let output = std::process::Command::new(&own)
        .args(["config", "check"])
        .env("ACTIONBOOSTER_ROOT", fake.root.path())
        .output();
    let run = Run::of(output.unwrap());
    let expected =
        "agent: agent.toml:3: keep_alive_s: expected a number\nmonitor: ok\nworker: ok\nsettings: ok\n";
    assert_eq!(run.stdout, expected);
    assert_eq!(run.code, 1);
}

#[test]
fn what_the_provisioner_decides_is_a_sound_configuration_of_the_real_daemons() {
    let real = RealBox::new();
    // As it writes for an Orange Pi 5 Plus.
    let decided = "[agent]\nmodel_budget_bytes = 11629756416\n\n[runner]\nthreads = 4\ncpus = \"4-7\"\n\n\
                   [worker]\nthreads = 4\ncpus = \"0-3\"\n";
    real.provision(decided);
    let run = real.run(&["config", "check"]);
    assert_eq!(
        (run.code, run.stdout.as_str()),
        (0, "agent: ok\nmonitor: ok\nworker: ok\nsettings: ok\n"),
        "{run:?}"
    );
    real.provision(&decided.replace("\"0-3\"", "3"));
    let run = real.run(&["config", "check"]);
    assert_eq!(run.code, 1, "{run:?}");
    for words in ["agent: ok", "worker: ", "provisioned.toml", "line 10"] {
        assert!(run.stdout.contains(words), "no {words:?} in {run:?}");
    }
}

#[test]
fn the_real_monitor_takes_what_the_rules_allow_and_names_what_they_do_not() {
    let real = RealBox::new().with_monitor();
    let cases: serde_json::Value =
        serde_json::from_str(include_str!("../../../settings/tests/cases.json")).unwrap();
    let keys = cases["ssh_key"]["good"].as_array().unwrap();
    let lines: Vec<&str> = keys.iter().map(|pair| pair[1].as_str().unwrap()).collect();
    let file = real.root().join("keys.pub");
    std::fs::write(&file, lines.join("\n")).unwrap();
    let file = file.to_str().unwrap();
    let run =
        real.run(&["settings", "set", "--hostname", "Kitchen", "--time-zone", "UTC", "--ssh-keys", file]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stdout.contains("hostname   kitchen\n"), "{run:?}");
    for (arguments, words) in [
        (["--hostname", "a.b"], "1 to 63 letters"),
        (["--hostname", "localhost"], "another name"),
        (["--time-zone", "../UTC"], "Europe/Madrid"),
    ] {
        let run = real.run(&[&["settings", "set"][..], &arguments].concat());
        assert!(run.code == 1 && run.stderr.contains(words), "{arguments:?}: {run:?}");
    }
    let settings = real.root().join("var/lib/actionbooster/settings/settings.toml");
    let good = std::fs::read_to_string(&settings).unwrap();
    std::fs::write(&settings, good.replace("\"kitchen\"", "\"a b\"")).unwrap();
    let run = real.run(&["config", "check"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stdout.contains("settings.toml: hostname: A name has 1 to 63"), "{run:?}");
    let run = real.run(&["settings", "get"]);
    assert!(run.stdout.contains("hostname cannot be used"), "{run:?}");
    let run = real.run(&["time"]);
    assert!(run.code == 0 && run.stdout.contains("UTC"), "{run:?}");
    let run = real.run(&["time", "--set", "1999-01-01T00:00:00Z"]);
    assert!(run.code == 1 && run.stderr.contains("before this version"), "{run:?}");
    let run = real.run(&["time", "--set", "now"]);
    assert!(run.code == 1 && run.stderr.contains("do not manage"), "{run:?}");
}
