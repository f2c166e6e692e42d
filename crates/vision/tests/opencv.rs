//! The same detections as those of OpenCV and onnxruntime in Python.
//!
//! `test_data/opencv.json` holds what YOLOX-nano and NanoDet-m find in two photographs, in parts of them, and in
//! every second, third or fourth pixel of each, when their authors' pipeline is written down with `cv2.resize`
//! (opencv-python 5.0.0): class, left, top, right, bottom, score.

use std::path::Path;

use actionbooster_vision::{Changes, Detection, Detector, Fit, Format, Frame, Limits, Load, Settings};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    model: String,
    photo: String,
    /// Left, top, width and height of a part.
    crop: [usize; 4],
    step: usize,
    found: Vec<[f32; 6]>,
}

/// Every pixel of a part of a photograph, or every second and so on, in BGR, with its width and height.
fn picture(photo: &[u8], [left, top, width, height]: [usize; 4], step: usize) -> (Vec<u8>, u32, u32) {
    let whole = turbojpeg::decompress(photo, turbojpeg::PixelFormat::BGR).expect("a JPEG");
    let mut pixels = Vec::new();
    for line in (top..top + height).step_by(step) {
        for column in (left..left + width).step_by(step) {
            let at = line * whole.pitch + column * 3;
            pixels.extend_from_slice(&whole.pixels[at..at + 3]);
        }
    }
    (pixels, width.div_ceil(step) as u32, height.div_ceil(step) as u32)
}

fn look(detector: &mut Detector, (data, width, height): &(Vec<u8>, u32, u32)) -> Vec<Detection> {
    detector.add(&Frame { format: Format::Bgr, width: *width, height: *height, data }).expect("a picture");
    let (limits, mut seen) = (Limits::default(), Vec::new());
    detector.detect(&|_| &limits, &mut |_, found, _| seen = found).expect("looked at");
    seen
}

fn overlap(found: &Detection, [left, top, right, bottom]: [f32; 4]) -> f32 {
    let width = (found.x + found.width).min(right) - found.x.max(left);
    let height = (found.y + found.height).min(bottom) - found.y.max(top);
    let both = width.max(0.0) * height.max(0.0);
    both / (found.width * found.height + (right - left) * (bottom - top) - both)
}

/// Whether it is this one: class, place, score.
fn same(found: &Detection, expected: &[f32; 6]) -> bool {
    let [class, left, top, right, bottom, score] = *expected;
    found.class == class as u32
        && overlap(found, [left, top, right, bottom]) >= 0.98
        && (found.score - score).abs() <= 0.01
}

#[test]
fn what_opencv_and_onnxruntime_find_is_found() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let assets = root.join("../../../shared/assets");
    if !assets.is_dir() {
        eprintln!("skipped: the photographs and models are not at hand");
        return;
    }
    let told = std::fs::read_to_string(root.join("test_data/opencv.json")).expect("part of the repository");
    let cases: Vec<Case> = serde_json::from_str(&told).expect("JSON");
    let (mut models, mut count) = (std::collections::BTreeMap::new(), 0);
    for case in &cases {
        let detector = models.entry(&case.model).or_insert_with(|| {
            let file = assets.join(&case.model);
            Detector::open(&file, &Settings::default(), &Load::default()).expect("loads")
        });
        let photo = std::fs::read(assets.join(&case.photo)).expect("a photograph");
        let seen = look(detector, &picture(&photo, case.crop, case.step));
        let what = format!("{} {} {:?} {}", case.model, case.photo, case.crop, case.step);
        for expected in &case.found {
            assert!(seen.iter().any(|found| same(found, expected)), "{what}: {expected:?} not in {seen:?}");
        }
        // What lies on the threshold may be on either side of it.
        for found in seen.iter().filter(|found| found.score >= 0.37) {
            assert!(case.found.iter().any(|expected| same(found, expected)), "{what}: {found:?}");
        }
        count += case.found.len();
    }
    assert_eq!((cases.len(), count), (64, 265));
}

#[test]
fn how_pictures_are_prepared_can_be_changed_in_part() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/models/shapes/shapes.onnx");
    let usual = Detector::open(&file, &Settings::default(), &Load::default()).expect("loads");
    let preprocessing = Changes { fit: Some(Fit::Stretch), ..Changes::default() };
    let changed = Settings { preprocessing, ..Settings::default() };
    let changed = Detector::open(&file, &changed, &Load::default()).expect("loads");
    let mut expected = usual.preprocessing().clone();
    expected.fit = Fit::Stretch;
    assert_eq!(changed.preprocessing(), &expected);
}
