//! One loaded model and everything around it.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::backend::{self, Backend, Load};
use crate::frame::{Decoded, Decoder, Frame};
use crate::head::{Candidate, Head, HeadKind};
use crate::letterbox::{Changes, Fit, Letterbox, Placement, Preprocessing};
use crate::{Error, labels, nms};

/// What the owner or the manifest knows of a model beyond what its file says. Everything may be left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The family of its outputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<HeadKind>,
    /// How pictures are prepared, where that is not the family's usual way.
    pub preprocessing: Changes,
    /// Names of its classes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
}

/// Which detections count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// The smallest score, between 0 and 1.
    pub threshold: f32,
    /// Boxes of a class that overlap more (intersection over union) are one.
    pub iou: f32,
    /// Detections of a picture at most.
    pub most: usize,
    /// Numbers of the classes that count; all when empty. Others take nobody's place.
    pub classes: Vec<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { threshold: 0.35, iou: 0.45, most: 100, classes: Vec::new() }
    }
}

/// Something that was seen, in pixels of the picture, inside of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// Number of its class.
    pub class: u32,
    /// Between 0 and 1.
    pub score: f32,
    /// The left side.
    pub x: f32,
    /// The upper side.
    pub y: f32,
    /// In pixels.
    pub width: f32,
    /// In pixels.
    pub height: f32,
}

/// Where the time of a picture went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// JPEG to pixels.
    pub decode: Duration,
    /// Scaling, padding and normalising.
    pub resize: Duration,
    /// The model, for all pictures that went together.
    pub inference: Duration,
    /// Boxes out of the model's numbers.
    pub postprocess: Duration,
}

/// A picture that lies in the input, and what it came to.
#[derive(Debug, Clone)]
struct Place {
    placement: Placement,
    /// Pixels of the picture for one that was decoded, across and down.
    scale: (f32, f32),
    spent: Spent,
}

/// A loaded detector with its buffers.
pub struct Detector {
    backend: Box<dyn Backend>,
    head: Head,
    preprocessing: Preprocessing,
    labels: Vec<String>,
    letterbox: Letterbox,
    decoder: Decoder,
    /// Inputs of all pictures that go together.
    input: Vec<f32>,
    places: Vec<Place>,
    /// Where pictures lay in each part of the input the last time.
    before: Vec<Placement>,
}

impl std::fmt::Debug for Detector {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Detector").field("head", &self.head).finish_non_exhaustive()
    }
}

impl Detector {
    /// Loads a model and runs it once, so that the first picture is as quick as the others.
    pub fn open(file: &Path, settings: &Settings, load: &Load) -> Result<Self, Error> {
        let mut backend = backend::open(file, load)?;
        let about = backend.about();
        let own = if settings.labels.is_empty() {
            about.names.as_deref().and_then(labels::from_metadata)
        } else {
            Some(settings.labels.clone())
        };
        let (width, height) = about.input;
        let input = (width as usize, height as usize);
        let head = Head::of(&about.outputs, input, settings.head, own.as_ref().map(Vec::len))?;
        let takes_bytes = about.takes_bytes;
        let input = vec![0.0; input.0 * input.1 * 3];
        // Whoever names the head knows it.
        let head = match settings.head {
            Some(_) => head,
            None => settled(head, backend.as_mut(), &input)?,
        };
        let labels = own.unwrap_or_else(|| usual_labels(&head));
        let mut usual = usual_preprocessing(head.kind());
        if takes_bytes {
            usual = Preprocessing { bgr: false, mean: [0.0; 3], std: [1.0; 3], ..usual };
        }
        let preprocessing = settings.preprocessing.of(&usual);
        if preprocessing.std.iter().any(|std| !std.is_normal()) {
            return Err(Error::Model("a std of its preprocessing is 0 or no number".into()));
        }
        if takes_bytes && (preprocessing.mean, preprocessing.std) != ([0.0; 3], [1.0; 3]) {
            let why = "it normalises pictures itself; leave mean and std out of its preprocessing";
            return Err(Error::Model(why.into()));
        }
        let letterbox = Letterbox::new((width, height), preprocessing.clone());
        Ok(Self {
            input,
            backend,
            head,
            preprocessing,
            labels,
            letterbox,
            decoder: Decoder::default(),
            places: Vec::new(),
            before: Vec::new(),
        })
    }

    /// Names of the classes.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The name of a class; its number where it has none.
    pub fn label(&self, class: u32) -> String {
        self.labels.get(class as usize).cloned().unwrap_or_else(|| class.to_string())
    }

    /// Width and height of the input in pixels.
    pub fn input_size(&self) -> (u32, u32) {
        self.backend.about().input
    }

    /// How pictures are prepared.
    pub const fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
    }

    /// The family of the outputs.
    pub const fn head(&self) -> HeadKind {
        self.head.kind()
    }

    /// What computes, in the order of preference.
    pub fn providers(&self) -> &[String] {
        &self.backend.about().providers
    }

    /// Pictures that may go together.
    pub fn most_together(&self) -> usize {
        self.backend.about().most_together
    }

    /// Forgets the pictures that were added and not detected in.
    pub fn clear(&mut self) {
        self.places.clear();
    }

    /// Puts a picture into the input and tells its size; [`Self::detect`] then looks at all that were added.
    ///
    /// One more than [`Self::most_together`] is a mistake of the caller.
    pub fn add(&mut self, frame: &Frame<'_>) -> Result<(u32, u32), Error> {
        if self.places.len() == self.most_together() {
            return Err(Error::Inference(format!("{} pictures are there already", self.places.len())));
        }
        let size = self.size();
        let started = Instant::now();
        let Decoded { pixels, size: frame_size } = self.decoder.decode(frame)?;
        let decoded = Instant::now();
        let from = self.places.len() * size;
        if self.input.len() < from + size {
            self.input.resize(from + size, 0.0);
        }
        let scale = (frame_size.0 as f32 / pixels.width as f32, frame_size.1 as f32 / pixels.height as f32);
        let part = self.places.len();
        let before = self.before.get(part).copied();
        let placement = self.letterbox.fill(&pixels, &mut self.input[from..from + size], before);
        match self.before.get_mut(part) {
            Some(before) => *before = placement,
            None => self.before.push(placement),
        }
        let spent = Spent { decode: decoded - started, resize: decoded.elapsed(), ..Spent::default() };
        self.places.push(Place { placement, scale, spent });
        Ok(frame_size)
    }

    /// Looks at the pictures that were added, and gives `tell` the number of each, its detections, best
    /// first, and where its time went. The pictures are forgotten, also when the model fails.
    ///
    /// `limits` tells what counts in each picture.
    pub fn detect<'l>(
        &mut self,
        limits: &dyn Fn(usize) -> &'l Limits,
        tell: &mut dyn FnMut(usize, Vec<Detection>, Spent),
    ) -> Result<(), Error> {
        let places = std::mem::take(&mut self.places);
        if places.is_empty() {
            return Ok(());
        }
        let filled = places.len() * self.size();
        let (head, started) = (&self.head, Instant::now());
        let mut inferred = None;
        let mut candidates = Vec::new();
        self.backend.run(&self.input[..filled], places.len(), &mut |index, outputs| {
            let inference = *inferred.get_or_insert_with(|| started.elapsed());
            let begun = Instant::now();
            let (limits, place) = (limits(index), &places[index]);
            head.read(outputs, limits.threshold, &mut candidates);
            if !limits.classes.is_empty() {
                candidates.retain(|found| limits.classes.contains(&found.class));
            }
            if head.is_final() {
                nms::sort(&mut candidates);
                candidates.truncate(limits.most);
            } else {
                nms::suppress(&mut candidates, limits.iou, limits.most);
            }
            let found = candidates.iter().filter_map(|found| in_frame(found, place)).collect();
            tell(index, found, Spent { inference, postprocess: begun.elapsed(), ..place.spent });
        })?;
        // The list of pictures is the only thing that would be made anew for each.
        self.places = places;
        self.places.clear();
        Ok(())
    }

    fn size(&self) -> usize {
        let (width, height) = self.input_size();
        width as usize * height as usize * 3
    }
}

/// A head that has seen what the model says of an empty picture.
fn settled(head: Head, backend: &mut dyn Backend, empty: &[f32]) -> Result<Head, Error> {
    let mut seen = None;
    backend.run(empty, 1, &mut |_, outputs| seen = Some(head.clone().after(outputs)))?;
    Ok(seen.unwrap_or(head))
}

/// A box in pixels of the picture; nothing where it lies outside.
fn in_frame(found: &Candidate, place: &Place) -> Option<Detection> {
    let scaled = |(x, y): (f32, f32)| (x * place.scale.0, y * place.scale.1);
    let (left, top) = scaled(place.placement.to_frame(found.left, found.top));
    let (right, bottom) = scaled(place.placement.to_frame(found.right, found.bottom));
    (right > left && bottom > top).then(|| Detection {
        class: found.class,
        score: found.score.clamp(0.0, 1.0),
        x: left,
        y: top,
        width: right - left,
        height: bottom - top,
    })
}

/// How the families' authors prepare pictures.
fn usual_preprocessing(kind: HeadKind) -> Preprocessing {
    match kind {
        HeadKind::Yolo | HeadKind::Yolov5 | HeadKind::EndToEnd => Preprocessing {
            bgr: false,
            mean: [0.0; 3],
            std: [255.0; 3],
            padding: 114,
            centred: true,
            fit: Fit::Round,
        },
        HeadKind::Yolox | HeadKind::YoloxDecoded => Preprocessing {
            bgr: true,
            mean: [0.0; 3],
            std: [1.0; 3],
            padding: 114,
            centred: false,
            fit: Fit::Truncate,
        },
        HeadKind::Nanodet => Preprocessing {
            bgr: true,
            mean: [103.53, 116.28, 123.675],
            std: [57.375, 57.12, 58.395],
            padding: 0,
            centred: true,
            fit: Fit::Round,
        },
    }
}

/// COCO's names for models that tell 80 classes apart and do not name them; else none.
fn usual_labels(head: &Head) -> Vec<String> {
    match head.classes() {
        Some(80) => labels::COCO.map(str::to_owned).to_vec(),
        _ => Vec::new(),
    }
}
