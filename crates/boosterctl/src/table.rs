//! Text for people.

use serde_json::Value;

/// Prints JSON, or the text made of it.
pub fn show(value: &Value, json: bool, text: impl FnOnce(&Value) -> String) {
    if json {
        println!("{value:#}");
    } else {
        print!("{}", text(value));
    }
}

/// Columns as wide as their widest cell, two spaces apart.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut lines: Vec<Vec<String>> = vec![head.iter().map(|cell| (*cell).to_owned()).collect()];
    lines.extend(rows.iter().map(|row| row.iter().map(|cell| plain(cell)).collect()));
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            lines.iter().filter_map(|line| line.get(column)).map(|cell| width(cell)).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for line in lines {
        let cells = line.iter().zip(&widths);
        let padded: String =
            cells.map(|(cell, wide)| format!("{cell}{}  ", " ".repeat(wide - width(cell)))).collect();
        text.push_str(padded.trim_end());
        text.push('\n');
    }
    text
}

/// `name   value` lines; pairs without a value are left out.
pub fn pairs(pairs: &[(&str, String)]) -> String {
    let shown: Vec<_> = pairs.iter().filter(|(_, value)| !value.is_empty()).collect();
    let wide = shown.iter().map(|(name, _)| width(name)).max().unwrap_or(0);
    shown.iter().map(|(name, value)| format!("{name:<wide$}  {}\n", plain(value))).collect()
}

/// Text that cannot speak to the terminal, whatever a model or a device is called.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { ' ' } else { c }).collect()
}

/// A member as text: strings without quotes, nothing for `null`, lists joined.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// Bytes in the unit a person would use: powers of 1024 for memory and files, as the kernel counts.
pub fn bytes(value: &Value) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let Some(bytes) = value.as_u64() else { return String::new() };
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    if unit == 0 || size >= 100.0 {
        format!("{size:.0} {}", UNITS[unit])
    } else {
        format!("{size:.1} {}", UNITS[unit])
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_line_up_and_cannot_break_the_terminal() {
        let rows = [vec!["ñandú".into(), "x\x1b[2J".into()], vec!["b".into(), "y".into()]];
        assert_eq!(table(&["NAME", "STATE"], &rows), "NAME   STATE\nñandú  x [2J\nb      y\n");
        assert_eq!(
            pairs(&[("a", "1".into()), ("none", String::new()), ("bcd", "2".into())]),
            "a    1\nbcd  2\n"
        );
    }

    #[test]
    fn sizes_are_short() {
        let cases = [
            (json!(0), "0 B"),
            (json!(1023), "1023 B"),
            (json!(4_063_232), "3.9 MiB"),
            (json!(8_107_360_256_u64), "7.6 GiB"),
            (json!(500_107_862_016_u64), "466 GiB"),
            (json!(null), ""),
        ];
        for (value, expected) in cases {
            assert_eq!(bytes(&value), expected);
        }
    }
}
