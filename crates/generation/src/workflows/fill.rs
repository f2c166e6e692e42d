//! Puts a request's values into a workflow's graph.

use serde_json::{Map, Value, json};

use super::{Defaults, Input, Workflow, word};

/// Bounds of the numbers, both included.
mod limits {
    /// Pixels of a side; also a multiple of [`SIDE_STEP`].
    pub(super) const SIDE: (u32, u32) = (64, 2048);
    /// The models work in squares of so many pixels.
    pub(super) const SIDE_STEP: u32 = 8;
    /// Pixels of one picture.
    pub(super) const MOST_PIXELS: u32 = 2048 * 1536;
    /// Steps of the sampler.
    pub(super) const STEPS: (u32, u32) = (1, 150);
    /// How closely the prompt is followed.
    pub(super) const CFG: (f64, f64) = (0.0, 30.0);
    /// Share of an image that is made anew.
    pub(super) const STRENGTH: (f64, f64) = (0.01, 1.0);
    /// Frames of a clip.
    pub(super) const FRAMES: (u32, u32) = (1, 64);
    /// Frames in a second.
    pub(super) const FPS: (u32, u32) = (1, 60);
    /// The largest whole number that every JSON reader keeps exactly.
    pub(super) const MOST_SEED: u64 = (1 << 53) - 1;
}

/// What a request asks for; what it leaves out comes from the workflow.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Values {
    pub(crate) prompt: String,
    pub(crate) negative: Option<String>,
    pub(crate) width: Option<u32>,
    pub(crate) height: Option<u32>,
    pub(crate) steps: Option<u32>,
    pub(crate) cfg: Option<f64>,
    pub(crate) seed: u64,
    pub(crate) strength: Option<f64>,
    pub(crate) frames: Option<u32>,
    pub(crate) fps: Option<u32>,
}

/// A field and what is wrong with it.
type Mistake = (&'static str, String);

impl Values {
    /// The same with what is left out taken from `defaults`.
    fn or(&self, defaults: &Defaults) -> Self {
        Self {
            prompt: self.prompt.clone(),
            negative: self.negative.clone().or_else(|| defaults.negative.clone()),
            width: self.width.or(defaults.width),
            height: self.height.or(defaults.height),
            steps: self.steps.or(defaults.steps),
            cfg: self.cfg.or(defaults.cfg),
            seed: self.seed,
            strength: self.strength.or(defaults.strength),
            frames: self.frames.or(defaults.frames),
            fps: self.fps.or(defaults.fps),
        }
    }

    /// Whether every number is within its bounds.
    pub(crate) fn check(&self, defaults: &Defaults) -> Result<(), Mistake> {
        let all = self.or(defaults);
        if all.seed > limits::MOST_SEED {
            let most = limits::MOST_SEED;
            return Err(("seed", format!("seed is {}; it must be between 0 and {most}.", all.seed)));
        }
        for (field, side) in [("width", all.width), ("height", all.height)] {
            within(field, side, limits::SIDE)?;
            if let Some(side) = side.filter(|side| side % limits::SIDE_STEP != 0) {
                let step = limits::SIDE_STEP;
                return Err((field, format!("{field} is {side}; it must be a multiple of {step}.")));
            }
        }
        if let (Some(width), Some(height)) = (all.width, all.height)
            && width * height > limits::MOST_PIXELS
        {
            let most = limits::MOST_PIXELS;
            return Err((
                "height",
                format!("width × height is {}; at most {most} are made.", width * height),
            ));
        }
        within("steps", all.steps, limits::STEPS)?;
        within("cfg", all.cfg, limits::CFG)?;
        within("strength", all.strength, limits::STRENGTH)?;
        within("frames", all.frames, limits::FRAMES)?;
        within("fps", all.fps, limits::FPS)
    }
}

fn within<T: PartialOrd + Copy + std::fmt::Display>(
    field: &'static str,
    number: Option<T>,
    (least, most): (T, T),
) -> Result<(), Mistake> {
    match number {
        // The comparison is false for what is not a number.
        Some(number) if !(least <= number && number <= most) => {
            Err((field, format!("{field} is {number}; it must be between {least} and {most}.")))
        }
        _ => Ok(()),
    }
}

impl Workflow {
    /// The graph to send, and the values that went into it by name.
    ///
    /// `image` is the name of the image on the server. What the workflow does not take is left out of both.
    pub(crate) fn fill(
        &self,
        values: &Values,
        checkpoint: &str,
        image: Option<&str>,
    ) -> (Value, Map<String, Value>) {
        let all = values.or(&self.defaults);
        let (mut graph, mut used) = (self.graph.clone(), Map::new());
        for (input, (node, name)) in &self.inputs {
            let value = match input {
                Input::Checkpoint => json!(checkpoint),
                Input::Prompt => json!(all.prompt),
                Input::Negative => json!(all.negative),
                Input::Seed => json!(all.seed),
                Input::Steps => json!(all.steps),
                Input::Cfg => json!(all.cfg),
                Input::Width => json!(all.width),
                Input::Height => json!(all.height),
                Input::Image => json!(image),
                Input::Strength => json!(all.strength),
                Input::Frames => json!(all.frames),
                Input::Fps => json!(all.fps),
            };
            if value.is_null() {
                continue;
            }
            if let Some(node) = graph.get_mut(node) {
                node["inputs"][name] = value.clone();
                used.insert(word(*input), value);
            }
        }
        (Value::Object(graph), used)
    }
}
