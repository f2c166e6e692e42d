//! How much a model thinks before it answers, in the variables that chat templates know.

use serde_json::{Map, Value, json};

/// The variable of a level.
pub(crate) const LEVEL: &str = "reasoning_effort";

/// Variables for an effort as OpenAI names it: `none` is no thought at all, and templates that know levels know
/// three of them.
pub(crate) fn effort(effort: Option<&str>) -> Map<String, Value> {
    let variables = match effort {
        None | Some("") => json!({}),
        Some("none") => json!({"enable_thinking": false, "thinking": false}),
        Some(effort) => {
            let level = match effort {
                "minimal" => "low",
                "xhigh" | "max" => "high",
                level => level,
            };
            json!({"enable_thinking": true, "thinking": true, LEVEL: level})
        }
    };
    variables.as_object().cloned().unwrap_or_default()
}

/// Tokens that a model may think at an effort: templates of many models know no levels, so their thoughts are cut off.
pub(crate) fn budget(effort: Option<&str>) -> Option<u32> {
    match effort? {
        "none" => Some(0),
        "minimal" => Some(128),
        "low" => Some(1024),
        "medium" => Some(4096),
        _ => None,
    }
}

/// Variables as the runner reads them.
pub(crate) fn template_arguments(variables: Map<String, Value>) -> String {
    if variables.is_empty() { String::new() } else { Value::from(variables).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn efforts_are_levels_that_templates_know_or_no_thought() {
        for (given, expected) in [
            (None, json!({})),
            (Some("none"), json!({"enable_thinking": false, "thinking": false})),
            (Some("minimal"), json!({"enable_thinking": true, "thinking": true, "reasoning_effort": "low"})),
            (
                Some("medium"),
                json!({"enable_thinking": true, "thinking": true, "reasoning_effort": "medium"}),
            ),
            (Some("xhigh"), json!({"enable_thinking": true, "thinking": true, "reasoning_effort": "high"})),
        ] {
            assert_eq!(Value::from(effort(given)), expected, "{given:?}");
        }
        assert_eq!(template_arguments(effort(None)), "");
        assert_eq!(
            [None, Some("none"), Some("low"), Some("high")].map(budget),
            [None, Some(0), Some(1024), None]
        );
    }
}
