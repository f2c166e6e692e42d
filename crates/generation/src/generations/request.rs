//! Bodies of the requests, and what is wrong with them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::super::assets::Kind;
use super::super::error::GenerationError;
use super::super::workflows::{Defaults, Library, Made, Selection, Values, is_called};
use super::media::tell;

/// No image model reads more of a prompt.
const MOST_PROMPT_BYTES: usize = 16 * 1024;

/// Body of `POST /image/gen` and `POST /video/gen`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PictureRequest {
    prompt: String,
    negative: Option<String>,
    width: Option<u32>,
    height: Option<u32>,
    steps: Option<u32>,
    seed: Option<u64>,
    cfg: Option<f64>,
    model: Option<String>,
    workflow: Option<String>,
    /// Base64, with or without `data:image/…;base64,` before it, or the id of an asset.
    image: Option<String>,
    strength: Option<f64>,
    frames: Option<u32>,
    fps: Option<u32>,
}

/// Body of `POST /agent/character`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CharacterRequest {
    #[serde(alias = "description")]
    prompt: String,
    seed: Option<u64>,
    /// Language model that writes the text.
    model: Option<String>,
    /// Workflow of the portrait.
    workflow: Option<String>,
    width: Option<u32>,
    height: Option<u32>,
    steps: Option<u32>,
    frames: Option<u32>,
    fps: Option<u32>,
}

/// An image to begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    Asset(String),
    Given(Vec<u8>),
}

/// A picture or a clip to be made.
#[derive(Debug, Clone)]
pub(super) struct Picture {
    pub(super) made: Made,
    pub(super) values: Values,
    pub(super) selection: Selection,
    pub(super) image: Option<Source>,
}

/// A character to be made.
#[derive(Debug, Clone)]
pub(super) struct Character {
    pub(super) description: String,
    pub(super) model: Option<String>,
    pub(super) portrait: Picture,
    pub(super) clip: Picture,
}

impl PictureRequest {
    /// What is to be made, checked against the workflows there are.
    pub(super) fn picture(self, made: Made, library: &Library) -> Result<Picture, GenerationError> {
        if made == Made::Image {
            for (field, given) in [("frames", self.frames), ("fps", self.fps)] {
                if given.is_some() {
                    return Err(invalid(field, format!("An image has no {field}; leave it out.")));
                }
            }
        }
        check_prompt(&self.prompt, self.negative.as_deref())?;
        if self.strength.is_some() && self.image.is_none() {
            return Err(invalid(
                "strength",
                "strength says how much of an image is made anew; give an image.",
            ));
        }
        let image = self.image.as_deref().map(source).transpose()?;
        let selection = Selection { workflow: self.workflow, model: self.model };
        check_selection(&selection, (made, image.is_some()), library)?;
        let values = Values {
            prompt: self.prompt,
            negative: self.negative,
            width: self.width,
            height: self.height,
            steps: self.steps,
            cfg: self.cfg,
            // Small, so that people can repeat it.
            seed: self.seed.unwrap_or_else(|| rand::random::<u32>().into()),
            strength: self.strength,
            frames: self.frames,
            fps: self.fps,
        };
        check_values(&values)?;
        Ok(Picture { made, values, selection, image })
    }
}

impl CharacterRequest {
    /// What is to be made, checked against the workflows there are.
    pub(super) fn character(self, library: &Library) -> Result<Character, GenerationError> {
        check_prompt(&self.prompt, None)?;
        let selection = Selection { workflow: self.workflow, model: None };
        check_selection(&selection, (Made::Image, false), library)?;
        let seed = self.seed.unwrap_or_else(|| rand::random::<u32>().into());
        let still = Values {
            prompt: String::new(),
            width: self.width,
            height: self.height,
            steps: self.steps,
            seed,
            ..Values::default()
        };
        // The clip has the size that its own workflow likes best.
        let moving =
            Values { frames: self.frames, fps: self.fps, steps: self.steps, seed, ..Values::default() };
        check_values(&still)?;
        check_values(&moving)?;
        let picture = |made, values, selection| Picture { made, values, selection, image: None };
        Ok(Character {
            description: self.prompt,
            model: self.model,
            portrait: picture(Made::Image, still, selection),
            clip: picture(Made::Video, moving, Selection::default()),
        })
    }
}

fn check_prompt(prompt: &str, negative: Option<&str>) -> Result<(), GenerationError> {
    if prompt.trim().is_empty() {
        return Err(invalid("prompt", "The prompt is empty; say what is to be made."));
    }
    for (field, text) in [("prompt", Some(prompt)), ("negative", negative)] {
        let bytes = text.map_or(0, str::len);
        if bytes > MOST_PROMPT_BYTES {
            return Err(invalid(
                field,
                format!("{field} has {bytes} bytes; at most {MOST_PROMPT_BYTES} are read."),
            ));
        }
    }
    Ok(())
}

fn check_values(values: &Values) -> Result<(), GenerationError> {
    values.check(&Defaults::default()).map_err(|(field, detail)| invalid(field, detail))
}

/// Whether there are workflows for what is wanted, and the named one among them.
fn check_selection(
    selection: &Selection,
    (made, from_image): (Made, bool),
    library: &Library,
) -> Result<(), GenerationError> {
    let there = library.that_make(made, from_image);
    let names = || there.iter().map(|workflow| workflow.name.as_str()).collect::<Vec<_>>().join(", ");
    if there.is_empty() {
        let field = if from_image { "image" } else { "workflow" };
        return Err(invalid(
            field,
            "There is no workflow for this; put one into /etc/actionbooster/workflows.",
        ));
    }
    if let Some(name) = &selection.workflow
        && !there.iter().any(|workflow| workflow.name == *name)
    {
        let detail = format!("There is no workflow {name:?} for this; there are: {}.", names());
        return Err(invalid("workflow", detail));
    }
    if let (Some(model), None) = (&selection.model, &selection.workflow)
        && !there.iter().any(|workflow| is_called(model, &workflow.checkpoint))
    {
        let detail = format!(
            "No workflow is made for the checkpoint {model:?}; name one that suits it as \"workflow\": {}.",
            names()
        );
        return Err(invalid("model", detail));
    }
    Ok(())
}

/// An asset's id or an image in base64.
fn source(text: &str) -> Result<Source, GenerationError> {
    if text.starts_with("a-") {
        return Ok(Source::Asset(text.to_owned()));
    }
    let encoded =
        if text.starts_with("data:") { text.split_once(',').map_or("", |(_, rest)| rest) } else { text };
    let bytes = STANDARD.decode(encoded.trim()).map_err(|error| {
        invalid("image", format!("image is neither the id of an asset nor base64 ({error})."))
    })?;
    match tell(&bytes) {
        Some(media) if media.kind == Kind::Image => Ok(Source::Given(bytes)),
        _ => Err(invalid("image", "image is not a PNG, JPEG, WebP or GIF file.")),
    }
}

fn invalid(param: &'static str, detail: impl Into<String>) -> GenerationError {
    GenerationError::invalid(param, detail)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn library() -> Library {
        Library::read(&[concat!(env!("CARGO_MANIFEST_DIR"), "/../../provisioning/workflows").into()])
    }

    fn param(error: GenerationError) -> &'static str {
        match error {
            GenerationError::Invalid { param, .. } => param,
            other => panic!("{other}"),
        }
    }

    fn refused(made: Made, body: Value) -> Option<&'static str> {
        let request: PictureRequest = serde_json::from_value(body).expect("parses");
        request.picture(made, &library()).err().map(param)
    }

    #[test]
    fn what_cannot_be_made_is_refused_with_the_field() {
        let png = STANDARD.encode(b"\x89PNG\r\n\x1a\nrest");
        let long = "x".repeat(MOST_PROMPT_BYTES + 1);
        let images = [
            (json!({"prompt": "x"}), None),
            (json!({"prompt": "x", "width": 512, "steps": 1, "cfg": 0, "seed": 0, "workflow": "sdxl"}), None),
            (json!({"prompt": "x", "image": format!("data:image/png;base64,{png}"), "strength": 1}), None),
            (json!({"prompt": "x", "image": "a-0123456789abcdef"}), None),
            (json!({"prompt": "x", "model": "own.safetensors", "workflow": "sd15"}), None),
            (json!({"prompt": " "}), Some("prompt")),
            (json!({"prompt": "x", "negative": long}), Some("negative")),
            (json!({"prompt": "x", "width": 500}), Some("width")),
            (json!({"prompt": "x", "steps": 151}), Some("steps")),
            (json!({"prompt": "x", "seed": 1_u64 << 53}), Some("seed")),
            (json!({"prompt": "x", "strength": 0.5}), Some("strength")),
            (json!({"prompt": "x", "image": png, "strength": 2}), Some("strength")),
            (json!({"prompt": "x", "image": "%"}), Some("image")),
            (json!({"prompt": "x", "image": "aGVsbG8="}), Some("image")),
            (json!({"prompt": "x", "workflow": "sdx"}), Some("workflow")),
            (json!({"prompt": "x", "image": png, "workflow": "sdxl"}), Some("workflow")),
            (json!({"prompt": "x", "model": "own.safetensors"}), Some("model")),
            (json!({"prompt": "x", "frames": 8}), Some("frames")),
        ];
        for (body, expected) in images {
            assert_eq!(refused(Made::Image, body.clone()), expected, "{body}");
        }
        assert_eq!(refused(Made::Video, json!({"prompt": "x", "frames": 8, "fps": 8})), None);
        assert_eq!(refused(Made::Video, json!({"prompt": "x", "frames": 65})), Some("frames"));
        assert_eq!(refused(Made::Video, json!({"prompt": "x", "workflow": "sdxl"})), Some("workflow"));
        assert!(serde_json::from_value::<PictureRequest>(json!({"prompt": "x", "step": 3})).is_err());
    }

    #[test]
    fn without_a_workflow_it_says_where_one_goes() {
        let request = PictureRequest { prompt: "x".into(), ..PictureRequest::default() };
        let error = request.picture(Made::Image, &Library::default()).expect_err("nothing there");
        assert!(error.to_string().contains("/etc/actionbooster/workflows"), "{error}");
    }

    #[test]
    fn a_character_has_one_seed_for_all_its_parts() {
        let body = json!({"description": "a knight", "seed": 5, "frames": 8});
        let request: CharacterRequest = serde_json::from_value(body).expect("parses");
        let character = request.character(&library()).expect("can be made");
        assert_eq!(character.description, "a knight");
        assert_eq!((character.portrait.values.seed, character.clip.values.seed), (5, 5));
        assert_eq!((character.portrait.values.frames, character.clip.values.frames), (None, Some(8)));
        let request = CharacterRequest { prompt: "x".into(), fps: Some(0), ..CharacterRequest::default() };
        assert_eq!(param(request.character(&library()).expect_err("no")), "fps");
    }
}
