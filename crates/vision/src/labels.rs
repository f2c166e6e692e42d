//! Names of classes.

/// COCO's 80 classes, in the order in which detectors trained on it tell them.
pub const COCO: [&str; 80] = [
    "person",
    "bicycle",
    "car",
    "motorcycle",
    "airplane",
    "bus",
    "train",
    "truck",
    "boat",
    "traffic light",
    "fire hydrant",
    "stop sign",
    "parking meter",
    "bench",
    "bird",
    "cat",
    "dog",
    "horse",
    "sheep",
    "cow",
    "elephant",
    "bear",
    "zebra",
    "giraffe",
    "backpack",
    "umbrella",
    "handbag",
    "tie",
    "suitcase",
    "frisbee",
    "skis",
    "snowboard",
    "sports ball",
    "kite",
    "baseball bat",
    "baseball glove",
    "skateboard",
    "surfboard",
    "tennis racket",
    "bottle",
    "wine glass",
    "cup",
    "fork",
    "knife",
    "spoon",
    "bowl",
    "banana",
    "apple",
    "sandwich",
    "orange",
    "broccoli",
    "carrot",
    "hot dog",
    "pizza",
    "donut",
    "cake",
    "chair",
    "couch",
    "potted plant",
    "bed",
    "dining table",
    "toilet",
    "tv",
    "laptop",
    "mouse",
    "remote",
    "keyboard",
    "cell phone",
    "microwave",
    "oven",
    "toaster",
    "sink",
    "refrigerator",
    "book",
    "clock",
    "vase",
    "scissors",
    "teddy bear",
    "hair drier",
    "toothbrush",
];

/// Names as Ultralytics' exports carry them under `names`: a Python dictionary of numbers and texts,
/// `{0: 'person', 1: "driver's cab"}`. Nothing when it is not one or leaves numbers out.
pub fn from_metadata(text: &str) -> Option<Vec<String>> {
    let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
    let mut names = Vec::new();
    while !rest.is_empty() {
        let (number, after) = rest.split_once(':')?;
        if number.trim().trim_matches(['\'', '"']).parse() != Ok(names.len()) {
            return None;
        }
        let after = after.trim_start();
        let quote = after.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
        let (name, end) = quoted(&after[1..], quote)?;
        names.push(name);
        rest = after[1 + end..].trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
    (!names.is_empty()).then_some(names)
}

/// The text up to the closing quote, and the place behind that.
fn quoted(text: &str, quote: char) -> Option<(String, usize)> {
    let mut name = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => name.push(characters.next()?.1),
            _ if character == quote => return Some((name, at + 1)),
            _ => name.push(character),
        }
    }
    None
}

/// One name a line, as in the `labels.txt` that comes with many models.
pub fn from_lines(text: &str) -> Vec<String> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_exports_carry_them() {
        let cases: [(&str, Option<&[&str]>); 8] = [
            ("{0: 'person', 1: 'bicycle'}", Some(&["person", "bicycle"])),
            ("{0: \"driver's cab\", 1: 'it\\'s', 2: 'a, b: c'}", Some(&["driver's cab", "it's", "a, b: c"])),
            ("{'0': 'x',}", Some(&["x"])),
            ("{1: 'x'}", None),
            ("{0: x}", None),
            ("{0: 'x", None),
            ("{}", None),
            ("['x']", None),
        ];
        for (text, expected) in cases {
            let names = from_metadata(text);
            assert_eq!(
                names.as_deref().map(|names| names.iter().map(String::as_str).collect()),
                expected.map(<[&str]>::to_vec),
                "{text}"
            );
        }
        assert_eq!(from_lines(" cat \n\n dog\r\n"), ["cat", "dog"]);
    }
}
