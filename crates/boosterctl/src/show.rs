//! JSON as a person reads it: one `name: value` a line, indented, without braces.

use serde_json::Value;

/// The text of a value, ending with a newline unless it is empty.
pub(crate) fn text(value: &Value) -> String {
    let mut out = String::new();
    write(value, 0, &mut out);
    out
}

fn write(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Null if depth == 0 => {}
        Value::Object(members) => {
            for (name, value) in members {
                indent(depth, out);
                out.push_str(name);
                out.push(':');
                nested(value, depth, out);
            }
        }
        Value::Array(items) => {
            for item in items {
                indent(depth, out);
                out.push('-');
                nested(item, depth, out);
            }
        }
        plain => {
            out.push_str(&scalar(plain));
            out.push('\n');
        }
    }
}

fn nested(value: &Value, depth: usize, out: &mut String) {
    let empty = match value {
        Value::Object(members) => members.is_empty(),
        Value::Array(items) => items.is_empty(),
        plain => {
            out.push(' ');
            out.push_str(&scalar(plain));
            out.push('\n');
            return;
        }
    };
    if empty {
        out.push_str(" none\n");
    } else {
        out.push('\n');
        write(value, depth + 1, out);
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Null => "none".into(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn indent(depth: usize, out: &mut String) {
    for _ in 0..depth {
        out.push_str("  ");
    }
}

#[cfg(test)]
mod tests {
    use super::text;
    use serde_json::json;

    #[test]
    fn values_are_indented_lines() {
        let cases = [
            (json!(null), ""),
            (json!({"a": 1, "b": {"c": true}}), "a: 1\nb:\n  c: yes\n"),
            (json!({"list": ["x", {"y": null}], "none": []}), "list:\n  - x\n  -\n    y: none\nnone: none\n"),
        ];
        for (value, expected) in cases {
            assert_eq!(text(&value), expected);
        }
    }
}
