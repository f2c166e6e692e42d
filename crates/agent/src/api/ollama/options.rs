//! Fields that Ollama's requests share: options, the shape of the answer, how long a model stays loaded.

use actionbooster_chassis::Problem;
use actionbooster_wire::runner::v1 as wire;
use actionbooster_wire::runner::v1::generate_request::{Format, Input};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::lenient::Integer;
use crate::api::reasoning::{budget, effort, template_arguments};
use crate::api::validation::{self, invalid, within};

/// Beyond this temperature every token is as likely as any other.
const HOTTEST: f32 = 100.0;

/// Ollama's `options`. `num_ctx` and what concerns threads and memory are the box's own business and ignored.
#[derive(Deserialize)]
pub(super) struct Options {
    num_predict: Option<Integer>,
    temperature: Option<f32>,
    top_k: Option<Integer>,
    top_p: Option<f32>,
    min_p: Option<f32>,
    repeat_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    seed: Option<Integer>,
    stop: Option<Stop>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Stop {
    One(String),
    Several(Vec<String>),
}

impl Options {
    /// Nothing is asked for.
    pub(super) const fn none() -> Self {
        Self {
            num_predict: None,
            temperature: None,
            top_k: None,
            top_p: None,
            min_p: None,
            repeat_penalty: None,
            presence_penalty: None,
            frequency_penalty: None,
            seed: None,
            stop: None,
        }
    }

    /// A checked request to the runner, about this input.
    pub(super) fn generation(
        &self,
        input: Input,
        format: Option<&Value>,
        shift: bool,
    ) -> Result<wire::GenerateRequest, Problem> {
        // What goes beyond its bounds is brought back to them, as Ollama does.
        let bounded = |value: Option<f32>, most: f32| value.map(|value| value.clamp(0.0, most));
        let sampling = wire::Sampling {
            temperature: bounded(self.temperature, HOTTEST),
            top_p: bounded(self.top_p, 1.0),
            top_k: self.top_k.map(validation::top_k),
            min_p: bounded(self.min_p, 1.0),
            repeat_penalty: within("repeat_penalty", self.repeat_penalty, 0.0, 10.0)?,
            frequency_penalty: within("frequency_penalty", self.frequency_penalty, -2.0, 2.0)?,
            presence_penalty: within("presence_penalty", self.presence_penalty, -2.0, 2.0)?,
            // Negative means another one each time.
            seed: self.seed.filter(|seed| *seed >= Integer(0)).map(validation::seed),
            logit_bias: Vec::new(),
        };
        let stops = match &self.stop {
            None => Vec::new(),
            Some(Stop::One(stop)) => vec![stop.clone()],
            Some(Stop::Several(stops)) => stops.clone(),
        };
        let context_full = if shift { wire::ContextFull::Shift } else { wire::ContextFull::Error };
        Ok(wire::GenerateRequest {
            input: Some(input),
            sampling: Some(sampling),
            // Negative means until the model ends.
            max_tokens: self.num_predict.map_or(0, |Integer(count)| u32::try_from(count).unwrap_or(0)),
            stop: validation::stops("stop", stops)?,
            context_full: context_full.into(),
            format: format.map(shape).transpose()?.flatten(),
            ..wire::GenerateRequest::default()
        })
    }
}

/// `"json"` or a JSON Schema.
fn shape(format: &Value) -> Result<Option<Format>, Problem> {
    match format {
        Value::Null => Ok(None),
        Value::String(word) if word.is_empty() => Ok(None),
        Value::String(word) if word == "json" => Ok(Some(Format::JsonObject(true))),
        Value::Object(_) => validation::schema("format", format).map(Some),
        other => {
            Err(invalid("format", format!("`format` is {other}; it must be \"json\" or a JSON Schema.")))
        }
    }
}

/// Variables for the template that say whether to think: `think` is a bool or a level.
pub(super) fn thinking(think: Option<&Value>) -> String {
    match think {
        Some(Value::Bool(wanted)) => json!({"enable_thinking": wanted, "thinking": wanted}).to_string(),
        Some(Value::String(level)) => template_arguments(effort(Some(level))),
        _ => String::new(),
    }
}

/// Tokens that the model may think.
pub(super) fn reasoning_limit(think: Option<&Value>) -> Option<u32> {
    match think {
        Some(Value::Bool(false)) => Some(0),
        Some(Value::String(level)) => budget(Some(level)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(options: &Value, format: &Value) -> Result<wire::GenerateRequest, Problem> {
        let options: Options = serde_json::from_value(options.clone()).expect("parses");
        options.generation(Input::Prompt("x".into()), Some(format), false)
    }

    #[test]
    fn options_reach_the_runner() {
        let options = json!({"num_predict": 7, "temperature": 0.5, "seed": 3, "stop": ["a"], "num_ctx": 1, "mirostat": 2});
        let generation = asked(&options, &json!("json")).expect("accepted");
        assert_eq!((generation.max_tokens, generation.stop), (7, vec!["a".to_owned()]));
        assert_eq!(generation.format, Some(Format::JsonObject(true)));
        assert_eq!(generation.sampling.expect("sampling").seed, Some(3));
        let odd =
            asked(&json!({"temperature": 3, "top_p": 1.5, "min_p": -1}), &Value::Null).expect("accepted");
        let sampling = odd.sampling.expect("sampling");
        assert_eq!((sampling.temperature, sampling.top_p, sampling.min_p), (Some(3.0), Some(1.0), Some(0.0)));
        let endless = asked(&json!({"num_predict": -1, "seed": -1}), &Value::Null).expect("accepted");
        assert_eq!((endless.max_tokens, endless.sampling.expect("sampling").seed), (0, None));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(asked(&json!({"presence_penalty": 9}), &Value::Null).is_err());
        assert!(asked(&json!({"stop": [""]}), &Value::Null).is_err());
        assert!(asked(&json!({}), &json!("yaml")).is_err());
        assert!(asked(&json!({}), &json!(3)).is_err());
    }
}
