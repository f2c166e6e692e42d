//! Options of the command line as settings of a camera.

use anyhow::Result;
use serde_json::{Map, Value, json};

use crate::arguments::CameraOptions;
use crate::errors::Usage;

/// The settings that were named. Whether they make sense is for the box to say.
pub fn wanted(options: &CameraOptions) -> Result<Map<String, Value>> {
    let numbers = [
        ("fps_idle", options.fps_idle),
        ("fps_active", options.fps_active),
        ("dwell_ms", options.dwell_ms),
        ("silence_ms", options.silence_ms),
        ("post_roll_ms", options.post_roll_ms),
        ("pre_roll_ms", options.pre_roll_ms),
    ];
    let mut wanted = Map::new();
    let mut put = |name: &str, value: Value| drop(wanted.insert(name.to_owned(), value));
    for (name, number) in numbers {
        if let Some(number) = number {
            put(name, json!(number));
        }
    }
    if let Some(name) = &options.name {
        put("name", json!(name));
    }
    if let Some(threshold) = options.threshold {
        // As it was written, not as the nearest number of twice its size: 0.4 and not 0.4000000059604645.
        let written = threshold.to_string().parse::<f64>();
        put("threshold", written.map_or(Value::Null, |number| json!(number)));
    }
    if let Some(record) = options.record {
        put("record", json!(record));
    }
    if !options.classes.is_empty() || options.all_classes {
        put("classes", json!(options.classes));
    }
    if !options.masks.is_empty() || options.no_masks {
        let masks: Vec<Value> = options.masks.iter().map(|text| mask(text)).collect::<Result<_>>()?;
        put("masks", json!(masks));
    }
    Ok(wanted)
}

/// `0,0 0.5,0 0.5,1` as a polygon.
fn mask(text: &str) -> Result<Value> {
    let wrong = || Usage(format!("--mask {text:?}: write its corners such as \"0,0 0.5,0 0.5,1\""));
    let corner = |corner: &str| {
        let (x, y) = corner.split_once(',').ok_or_else(wrong)?;
        let number = |text: &str| text.trim().parse::<f64>().map_err(|_| wrong());
        Ok::<_, Usage>([number(x)?, number(y)?])
    };
    let points: Vec<[f64; 2]> = text.split_whitespace().map(corner).collect::<Result<_, _>>()?;
    Ok(json!({"points": points}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_named_is_changed() {
        assert!(wanted(&CameraOptions::default()).expect("nothing").is_empty());
        let options = CameraOptions {
            name: Some("Door".into()),
            classes: vec!["person".into()],
            threshold: Some(0.4),
            fps_idle: Some(2),
            record: Some(false),
            masks: vec!["0,0 0.5,0 0.5,1".into()],
            ..CameraOptions::default()
        };
        let expected = json!({
            "fps_idle": 2, "name": "Door", "threshold": 0.4, "record": false, "classes": ["person"],
            "masks": [{"points": [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0]]}],
        });
        assert_eq!(Value::Object(wanted(&options).expect("sound")), expected);
        let all = CameraOptions { all_classes: true, no_masks: true, ..CameraOptions::default() };
        assert_eq!(Value::Object(wanted(&all).expect("sound")), json!({"classes": [], "masks": []}));
        for wrong in ["0 1", "a,b", "0,0 1"] {
            let options = CameraOptions { masks: vec![wrong.into()], ..CameraOptions::default() };
            assert!(wanted(&options).is_err(), "{wrong}");
        }
    }
}
