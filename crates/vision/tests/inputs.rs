//! Models whose inputs are not 32-bit floats in planes, and models that no library can compute.

use std::path::Path;

use actionbooster_vision::{Changes, Detector, Format, Frame, Limits, Load, Settings};

/// Opens a detector that sees a box as wide as the mean of the red and as high as the mean of the green.
fn open(name: &str) -> Result<Detector, actionbooster_vision::Error> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/models/colours");
    let preprocessing = Changes { std: Some([1.0; 3]), ..Changes::default() };
    let settings = Settings { preprocessing, ..Settings::default() };
    Detector::open(&folder.join(name), &settings, &Load::default())
}

#[test]
fn floats_of_both_widths_and_bytes_go_in_and_pixels_as_well_as_planes() {
    for name in ["colours.onnx", "colours-half.onnx", "colours-bytes.onnx", "colours-last.onnx"] {
        let mut detector = open(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((detector.input_size(), detector.most_together()), ((320, 320), 8), "{name}");
        let pictures = [[200_u8, 100, 3], [40, 250, 9]].map(|colour| colour.repeat(320 * 320));
        for data in &pictures {
            let frame = Frame { format: Format::Rgb, width: 320, height: 320, data };
            detector.add(&frame).expect("a picture");
        }
        let (limits, mut seen) = (Limits::default(), Vec::new());
        detector.detect(&|_| &limits, &mut |_, found, _| seen.push(found)).expect("looked at");
        for (found, (width, height)) in seen.iter().zip([(200.0, 100.0), (40.0, 250.0)]) {
            let [found] = found[..] else { panic!("{name}: {found:?}") };
            // Halves have eleven bits.
            let close = (found.width - width).abs() < 0.2 && (found.height - height).abs() < 0.2;
            assert!(close && (found.score - 0.9).abs() < 0.001, "{name}: {found:?}");
        }
        assert_eq!(seen.len(), 2, "{name}");
    }
}

#[test]
fn a_model_that_is_too_new_is_told_as_one() {
    let error = open("colours-newer.onnx").expect_err("no library knows it").to_string();
    assert!(error.contains("export it again") && error.contains("opset"), "{error}");
}
