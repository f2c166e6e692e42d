//! `boosterctl vision selftest`: the built-in detector, a known picture, and what must be found in it.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::{score, timings};
use crate::client::{Client, Daemon};
use crate::table::{cell, pairs, show, table};

/// A drawing of a circle, a square and a triangle.
const PICTURE: &[u8] = include_bytes!("../../../../../tests/models/shapes/sample.jpg");
/// What the detector finds in it.
const ANSWER: &str = include_str!("../../../../../tests/models/shapes/sample.json");
/// Below the scores of everything in the picture, and far above those of nothing.
const PATH: &str = "/v1/detection?model=shapes&threshold=0.5";
/// A box that overlaps less (intersection over union) is another one. Processors round differently; that moves
/// a box by less than a pixel.
const ALIKE: f64 = 0.9;

/// A thing in the picture: its class and its box, in pixels.
#[derive(Debug, Clone, PartialEq)]
struct Thing {
    label: String,
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
}

/// Tells what the worker finds, and judges it.
pub async fn run(client: &Client, json: bool) -> Result<ExitCode> {
    let report = examine(client).await?;
    show(&report, json, text);
    Ok(if report["ok"] == true { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Has the worker look twice, since the first time loads the model, and compares what it found with what
/// it must find.
pub async fn examine(client: &Client) -> Result<Value> {
    let expected = expected()?;
    let (_, first) = look(client).await?;
    let (answer, again) = look(client).await?;
    let found = found(&answer)?;
    let verdict = compare(&expected, &found);
    let rows: Vec<Value> = found
        .iter()
        .zip(answer["detections"].as_array().into_iter().flatten())
        .zip(&verdict.overlaps)
        .map(|((thing, told), overlap)| {
            json!({
                "label": thing.label,
                "score": told["score"],
                "box": told["box"],
                "iou": overlap.map(|iou| (iou * 1e4).round() / 1e4),
            })
        })
        .collect();
    let ms = |time: Duration| (time.as_secs_f64() * 1e4).round() / 10.0;
    Ok(json!({
        "ok": verdict.problems.is_empty(),
        "problems": verdict.problems,
        "model": answer["model"],
        "model_id": answer["model_id"],
        "providers": answer["providers"],
        "first_ms": ms(first),
        "again_ms": ms(again),
        "timings": answer["timings"],
        "found": rows,
    }))
}

/// Sends the picture; gives the answer and how long it took.
async fn look(client: &Client) -> Result<(Value, Duration)> {
    let started = Instant::now();
    let answer = client.post_picture(Daemon::Worker, PATH, Bytes::from_static(PICTURE)).await;
    Ok((answer.context("detection does not work")?, started.elapsed()))
}

fn expected() -> Result<Vec<Thing>> {
    let sample: Value = serde_json::from_str(ANSWER).context("this program is damaged")?;
    let thing = |told: &Value| {
        let side = |name: &str| told[name].as_f64();
        let label = told["name"].as_str()?.to_owned();
        Some(Thing { label, left: side("x1")?, top: side("y1")?, right: side("x2")?, bottom: side("y2")? })
    };
    let things = sample["found_by_shapes_onnx"].as_array().into_iter().flatten().map(thing);
    things.collect::<Option<_>>().ok_or_else(|| anyhow!("this program is damaged: its sample says nothing"))
}

fn found(answer: &Value) -> Result<Vec<Thing>> {
    let thing = |told: &Value| {
        let side = |name: &str| told["box"][name].as_f64();
        let (label, left, top) = (told["label"].as_str()?.to_owned(), side("x")?, side("y")?);
        Some(Thing { label, left, top, right: left + side("width")?, bottom: top + side("height")? })
    };
    let things = answer["detections"].as_array().and_then(|list| list.iter().map(thing).collect());
    things.ok_or_else(|| anyhow!("the worker's answer has no detections with label and box; are worker and boosterctl of the same version?"))
}

/// What follows from a comparison.
#[derive(Debug, PartialEq)]
struct Verdict {
    /// For each thing that was found, how well it covers one that is in the picture; none where it covers none.
    overlaps: Vec<Option<f64>>,
    /// What is wrong, in sentences.
    problems: Vec<String>,
}

/// Every thing in the picture must be found once, and nothing else.
fn compare(expected: &[Thing], found: &[Thing]) -> Verdict {
    let mut overlaps = vec![None; found.len()];
    let mut problems = Vec::new();
    for wanted in expected {
        let free = found
            .iter()
            .enumerate()
            .filter(|(index, thing)| overlaps[*index].is_none() && thing.label == wanted.label);
        let best = free
            .map(|(index, thing)| (index, iou(wanted, thing)))
            .max_by(|left, right| left.1.total_cmp(&right.1));
        match best {
            Some((index, iou)) => {
                overlaps[index] = Some(iou);
                if iou < ALIKE {
                    problems.push(format!("the {} is not where it should be (IoU {iou:.2})", wanted.label));
                }
            }
            None => problems.push(format!("the {} was not found", wanted.label)),
        }
    }
    for (thing, _) in found.iter().zip(&overlaps).filter(|(_, overlap)| overlap.is_none()) {
        problems.push(format!("a {} was found that is not there", thing.label));
    }
    Verdict { overlaps, problems }
}

/// Intersection over union.
fn iou(one: &Thing, other: &Thing) -> f64 {
    let area = |thing: &Thing| (thing.right - thing.left).max(0.0) * (thing.bottom - thing.top).max(0.0);
    let common = Thing {
        label: String::new(),
        left: one.left.max(other.left),
        top: one.top.max(other.top),
        right: one.right.min(other.right),
        bottom: one.bottom.min(other.bottom),
    };
    let (common, all) = (area(&common), area(one) + area(other));
    if all > common { common / (all - common) } else { 0.0 }
}

fn text(report: &Value) -> String {
    let row = |found: &Value| {
        let overlap = &found["iou"];
        let state = match overlap.as_f64() {
            Some(iou) if iou >= ALIKE => "as expected",
            Some(_) => "displaced",
            None => "not there",
        };
        vec![cell(&found["label"]), score(&found["score"]), score(overlap), state.to_owned()]
    };
    let rows: Vec<_> = report["found"].as_array().into_iter().flatten().map(row).collect();
    let time = |name: &str| format!("{:.1} ms", report[name].as_f64().unwrap_or_default());
    let problems = cell(&report["problems"]);
    let verdict = if report["ok"] == true { "detection works".into() } else { format!("FAILED: {problems}") };
    let facts = pairs(&[
        ("model", cell(&report["model"])),
        ("computed by", cell(&report["providers"])),
        ("first answer", format!("{}, with loading where it was not loaded", time("first_ms"))),
        ("next answer", time("again_ms")),
        ("in the worker", timings(&report["timings"])),
        ("verdict", verdict),
    ]);
    format!("{}\n{facts}", table(&["FOUND", "SCORE", "IOU", "PLACE"], &rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thing(label: &str, left: f64, top: f64, right: f64, bottom: f64) -> Thing {
        Thing { label: label.into(), left, top, right, bottom }
    }

    #[test]
    fn the_sample_has_its_three_shapes() {
        let labels: Vec<String> =
            expected().expect("the sample").into_iter().map(|thing| thing.label).collect();
        assert_eq!(labels, ["triangle", "square", "circle"]);
    }

    #[test]
    fn overlaps_are_shares_of_both() {
        let square = thing("a", 0.0, 0.0, 10.0, 10.0);
        for (other, expected) in [
            (thing("a", 0.0, 0.0, 10.0, 10.0), 1.0),
            (thing("a", 5.0, 0.0, 15.0, 10.0), 1.0 / 3.0),
            (thing("a", 20.0, 0.0, 30.0, 10.0), 0.0),
            (thing("a", 10.0, 0.0, 0.0, 10.0), 0.0),
        ] {
            assert!((iou(&square, &other) - expected).abs() < 1e-9, "{other:?}");
        }
        let nothing = thing("a", 0.0, 0.0, 0.0, 0.0);
        assert!(iou(&nothing, &nothing).abs() < 1e-9, "no division by nothing");
    }

    #[test]
    fn what_is_missing_displaced_or_too_much_is_told() {
        let (circle, square) =
            (thing("circle", 0.0, 0.0, 10.0, 10.0), thing("square", 20.0, 0.0, 30.0, 10.0));
        let expected = [circle.clone(), square.clone()];
        let moved = thing("circle", 2.0, 0.0, 12.0, 10.0);
        let star = thing("star", 0.0, 0.0, 10.0, 10.0);
        let cases: [(&[Thing], &[&str]); 6] = [
            (&[square.clone(), circle.clone()], &[]),
            (&[], &["the circle was not found", "the square was not found"]),
            (std::slice::from_ref(&circle), &["the square was not found"]),
            (&[moved, square.clone()], &["the circle is not where it should be (IoU 0.67)"]),
            (&[star, square.clone()], &["the circle was not found", "a star was found that is not there"]),
            (&[circle.clone(), circle.clone(), square], &["a circle was found that is not there"]),
        ];
        for (found, problems) in cases {
            assert_eq!(compare(&expected, found).problems, problems, "{found:?}");
        }
    }
}
