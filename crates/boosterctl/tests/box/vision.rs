//! Detection from the command line: with a real worker, and with one that finds the wrong things.

use serde_json::{Value, json};

use crate::daemons::{RealBox, shipped};
use crate::support::{FakeBox, JSON, PROBLEM};

/// What a worker that does its work right would answer, with one thing changed.
pub fn answer(change: impl FnOnce(&mut Vec<Value>)) -> String {
    let sample: Value =
        serde_json::from_slice(&std::fs::read(shipped("tests/models/shapes/sample.json")).unwrap()).unwrap();
    let side = |thing: &Value, name: &str| thing[name].as_f64().unwrap();
    let told = |thing: &Value| {
        let (x, y) = (side(thing, "x1"), side(thing, "y1"));
        let (width, height) = (side(thing, "x2") - x, side(thing, "y2") - y);
        json!({"label": thing["name"], "score": thing["score"],
               "box": {"x": x, "y": y, "width": width, "height": height}})
    };
    let mut detections: Vec<Value> =
        sample["found_by_shapes_onnx"].as_array().unwrap().iter().map(told).collect();
    change(&mut detections);
    json!({"model": "shapes", "model_id": "5581", "providers": ["CPU"], "detections": detections,
           "timings": {"queue_us": 0, "decode_us": 300, "resize_us": 100, "inference_us": 2000,
                       "postprocess_us": 100}})
    .to_string()
}

#[test]
fn the_self_test_passes_on_a_real_worker() {
    let real = RealBox::new().with_shapes().with_worker(None);
    let run = real.run(&["vision", "selftest"]);
    assert_eq!(run.code, 0, "{run:?}");
    for words in ["circle", "square", "triangle", "as expected", "inference", "detection works"] {
        assert!(run.stdout.contains(words), "no {words:?} in\n{}", run.stdout);
    }
    let run = real.run(&["vision", "selftest", "--json"]);
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((run.code, &report["ok"], &report["problems"]), (0, &json!(true), &json!([])), "{report}");
    assert!(report["timings"]["inference_us"].as_u64() > Some(0), "{report}");
    let found = report["found"].as_array().unwrap();
    assert_eq!(found.len(), 3, "{report}");
    assert!(found.iter().all(|thing| thing["iou"].as_f64() >= Some(0.9)), "{report}");
}

#[test]
fn a_picture_of_ones_own_is_looked_at_and_detectors_are_listed() {
    let real = RealBox::new().with_shapes().with_worker(None);
    let detectors = real.run(&["vision", "detectors"]);
    assert!(detectors.stdout.contains("shapes  on the disk  551 KiB  MIT"), "{detectors:?}");
    let picture = shipped("tests/models/shapes/sample.jpg");
    let picture = picture.to_str().unwrap();
    let run = real.run(&["vision", "detect", picture]);
    assert_eq!(run.code, 0, "{run:?}");
    for words in ["WHAT", "circle", "model    shapes", "picture  160x160"] {
        assert!(run.stdout.contains(words), "no {words:?} in\n{}", run.stdout);
    }
    let strict = real.run(&["vision", "detect", picture, "--model", "shapes", "--threshold", "1", "--json"]);
    let strict: Value = serde_json::from_str(&strict.stdout).unwrap();
    assert_eq!(strict["detections"], json!([]), "nothing is that sure");
    assert!(real.run(&["vision", "detectors"]).stdout.contains("shapes  loaded"));
    for (arguments, code, words) in [
        (&["vision", "detect", picture, "--model", "cats"][..], 1, "no detector cats"),
        (&["vision", "detect", picture, "--model", "../cats"], 2, "no name of a detector"),
        (&["vision", "detect", picture, "--threshold", "2"], 2, "between 0 and 1"),
        (&["vision", "detect", "/dev/null"], 2, "neither a JPEG"),
        (&["vision", "detect", "/nowhere.jpg"], 1, "/nowhere.jpg"),
    ] {
        let run = real.run(arguments);
        assert_eq!(run.code, code, "{arguments:?}: {run:?}");
        assert!(run.stderr.contains(words), "{arguments:?}: {run:?}");
    }
}

#[test]
fn the_self_test_says_why_detection_does_not_work() {
    let absent = FakeBox::silent().run(&["vision", "selftest"]);
    assert_eq!(absent.code, 3, "{absent:?}");
    assert!(absent.stderr.contains("cannot reach the worker"), "{absent:?}");
    let without_model = RealBox::new().with_worker(None).run(&["vision", "selftest"]);
    assert_eq!(without_model.code, 1, "{without_model:?}");
    assert!(without_model.stderr.contains("no detector shapes"), "{without_model:?}");
    let without_library = RealBox::new().with_shapes().with_worker(Some("/nowhere/libonnxruntime.so"));
    let run = without_library.run(&["vision", "selftest"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("ONNX Runtime"), "{run:?}");
    let refused = FakeBox::new(&[(403, PROBLEM, r#"{"detail":"The key may not."}"#)]);
    assert_eq!(refused.run(&["vision", "selftest"]).code, 4);
}

#[test]
fn the_self_test_fails_on_a_worker_that_finds_the_wrong_things() {
    let right = answer(|_| {});
    let run = FakeBox::new(&[(200, JSON, &right), (200, JSON, &right)]).run(&["vision", "selftest"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stdout.contains("computed by    CPU"), "{}", run.stdout);
    let cases: [(String, &str); 4] = [
        (answer(|found| drop(found.pop())), "the circle was not found"),
        (answer(|found| found[0]["label"] = json!("star")), "a star was found that is not there"),
        (answer(|found| found[1]["box"]["x"] = json!(99.0)), "the square is not where it should be"),
        (answer(|found| found.push(found[1].clone())), "a square was found that is not there"),
    ];
    for (wrong, words) in cases {
        let fake = FakeBox::new(&[(200, JSON, &wrong), (200, JSON, &wrong)]);
        let run = fake.run(&["vision", "selftest"]);
        assert_eq!(run.code, 1, "{run:?}");
        assert!(
            run.stdout.contains("FAILED") && run.stdout.contains(words),
            "no {words:?} in\n{}",
            run.stdout
        );
    }
    let strange = FakeBox::new(&[(200, JSON, "{}"), (200, JSON, "{}")]).run(&["vision", "selftest"]);
    assert_eq!(strange.code, 1, "{strange:?}");
    assert!(strange.stderr.contains("same version"), "{strange:?}");
}
