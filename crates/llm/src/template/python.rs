//! Python's methods of strings and dictionaries, which templates call.

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, State, Value};

/// Calls `method` of `value`.
pub(super) fn method(
    _state: &mut State,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    let unknown = || Error::new(ErrorKind::UnknownMethod, format!("{} has no method {method}", value.kind()));
    if value.kind() == ValueKind::Map {
        return of_map(value, method, arguments).ok_or_else(unknown)?;
    }
    of_text(value.as_str().ok_or_else(unknown)?, method, arguments).ok_or_else(unknown)
}

fn of_map(map: &Value, method: &str, arguments: &[Value]) -> Option<Result<Value, Error>> {
    let keys = || -> Result<Vec<Value>, Error> { Ok(map.try_iter()?.collect()) };
    let values = || -> Result<Vec<(Value, Value)>, Error> {
        keys()?.into_iter().map(|key| Ok((key.clone(), map.get_item(&key)?))).collect()
    };
    Some(match (method, arguments) {
        ("keys", []) => keys().map(Value::from),
        ("values", []) => {
            values().map(|all| all.into_iter().map(|(_, value)| value).collect::<Vec<_>>().into())
        }
        ("items", []) => values()
            .map(|all| all.into_iter().map(|(key, value)| vec![key, value]).collect::<Vec<_>>().into()),
        ("get", [key, rest @ ..]) => map.get_item(key).map(|value| {
            let missing = || rest.first().cloned().unwrap_or_else(|| Value::from(()));
            if value.is_undefined() { missing() } else { value }
        }),
        _ => return None,
    })
}

fn of_text(text: &str, method: &str, arguments: &[Value]) -> Option<Value> {
    let first = arguments.first().and_then(Value::as_str);
    let second = arguments.get(1).and_then(Value::as_str);
    let limit = arguments.get(1).and_then(Value::as_i64);
    Some(match (method, first) {
        ("strip", None) => text.trim().into(),
        ("lstrip", None) => text.trim_start().into(),
        ("rstrip", None) => text.trim_end().into(),
        ("strip", Some(characters)) => text.trim_matches(|c| characters.contains(c)).into(),
        ("lstrip", Some(characters)) => text.trim_start_matches(|c| characters.contains(c)).into(),
        ("rstrip", Some(characters)) => text.trim_end_matches(|c| characters.contains(c)).into(),
        ("startswith", Some(prefix)) => text.starts_with(prefix).into(),
        ("endswith", Some(suffix)) => text.ends_with(suffix).into(),
        ("find", Some(part)) => {
            text.find(part).map_or(-1, |at| text[..at].chars().count().cast_signed() as i64).into()
        }
        ("count", Some(part)) if !part.is_empty() => text.matches(part).count().into(),
        ("replace", Some(part)) => text.replace(part, second?).into(),
        ("split", None) => text.split_whitespace().map(Value::from).collect::<Vec<_>>().into(),
        ("split", Some(separator)) if !separator.is_empty() => match limit {
            Some(times) if times >= 0 => {
                text.splitn(times as usize + 1, separator).map(Value::from).collect::<Vec<_>>().into()
            }
            _ => text.split(separator).map(Value::from).collect::<Vec<_>>().into(),
        },
        ("upper", None) => text.to_uppercase().into(),
        ("lower", None) => text.to_lowercase().into(),
        ("title", None) => title(text).into(),
        ("capitalize", None) => capitalize(text).into(),
        _ => return None,
    })
}

fn title(text: &str) -> String {
    text.split_inclusive(|c: char| !c.is_alphabetic()).map(capitalize).collect()
}

fn capitalize(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(char::to_uppercase);
    first.into_iter().flatten().chain(characters.flat_map(char::to_lowercase)).collect()
}

#[cfg(test)]
mod tests {
    use minijinja::Environment;

    #[test]
    fn methods_do_what_they_do_in_python() {
        let mut environment = Environment::new();
        environment.set_unknown_method_callback(super::method);
        for (expression, expected) in [
            ("' x '.strip()", " x ".trim()),
            ("'##a#'.strip('#')", "a"),
            ("'a</think>b'.split('</think>')[-1]", "b"),
            ("'a-b-c'.split('-', 1)[1]", "b-c"),
            ("'one two'.split()[1]", "two"),
            ("'añb'.find('b')", "2"),
            ("'b'.find('x')", "-1"),
            ("'aXa'.replace('X', 'y')", "aya"),
            ("'hello wORLD'.title()", "Hello World"),
            ("{'a': 1}.get('a')", "1"),
            ("{'a': 1}.get('b', 'none')", "none"),
            ("{'a': 1}.items() | list | first | last", "1"),
            ("{'a': 1}.keys() | first", "a"),
            ("'aaa'.count('a')", "3"),
        ] {
            let rendered = environment.render_str(&format!("{{{{ {expression} }}}}"), ());
            assert_eq!(rendered.expect(expression), expected, "{expression}");
        }
        assert!(environment.render_str("{{ 'x'.nothing() }}", ()).is_err());
    }
}
