//! Models computed by ONNX Runtime.

use std::borrow::Cow;
use std::path::Path;

use half::f16;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::{DynValue, Outlet, TensorElementType, TensorRef, ValueType};

use super::providers::{self, Provider};
use super::{About, Backend, Load};
use crate::Error;
use crate::head::{Output, Shape};
use crate::runtime::Runtime;

/// Side of the input of models that take any, when nothing else is wanted.
const USUAL_SIDE: u32 = 640;
/// Pictures that models of a free batch are given together at most.
const MOST_TOGETHER: usize = 8;
/// Sides of inputs, at most and in steps of.
const MOST_SIDE: u32 = 2048;
const STEP: u32 = 32;

/// What a model's input holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    Float,
    Half,
    /// The model normalises them itself.
    Byte,
}

/// What the input is like.
#[derive(Debug, PartialEq, Eq)]
struct Input {
    name: String,
    element: Element,
    /// The three values of a pixel lie together, as TensorFlow has them; else each channel does.
    channels_last: bool,
}

/// Where inputs are made that are not as they come.
#[derive(Debug, Default)]
struct Room {
    floats: Vec<f32>,
    halves: Vec<f16>,
    bytes: Vec<u8>,
}

/// A session.
pub(crate) struct Onnx {
    session: Session,
    input: Input,
    room: Room,
    about: About,
    /// Sizes of the outputs of the last run, without the batch.
    dimensions: Vec<Vec<usize>>,
}

impl Onnx {
    /// Loads a model onto the fastest of what is there; what fails at it is told in the log and passed over.
    pub(crate) fn open(file: &Path, load: &Load) -> Result<Self, Error> {
        let runtime = Runtime::load(None)?;
        for provider in providers::usable() {
            match Self::open_on(&runtime, file, load, Some(provider)) {
                Ok(model) => return Ok(model),
                Err(error) => tracing::warn!(%error, "{} cannot compute this model", provider.name),
            }
        }
        Self::open_on(&runtime, file, load, None)
    }

    fn open_on(runtime: &Runtime, file: &Path, load: &Load, on: Option<Provider>) -> Result<Self, Error> {
        let wrong = |error: ort::Error| Error::Model(error.to_string());
        let mut builder = Session::builder(runtime.environment())
            .map_err(wrong)?
            .with_optimization_level(GraphOptimizationLevel::All)
            .map_err(|error| wrong(error.into()))?
            .with_intra_threads(load.threads.max(1))
            .map_err(|error| wrong(error.into()))?
            // Between two pictures of a camera the threads have nothing to do.
            .with_intra_op_spinning(false)
            .map_err(|error| wrong(error.into()))?;
        if let Some(provider) = on {
            (provider.register)(&mut builder).map_err(wrong)?;
        }
        let session = builder.commit_from_file(file).map_err(|error| refused(&error))?;
        let [input] = session.inputs() else {
            return Err(Error::Model(format!(
                "it has {} inputs; a detector has one",
                session.inputs().len()
            )));
        };
        let (input, shape) = described(input)?;
        let (input_size, most_together) = input_of(shape, load.input)?;
        let names = session.metadata().ok().and_then(|metadata| metadata.custom("names"));
        let about = About {
            input: input_size,
            most_together,
            outputs: Vec::new(),
            names,
            // What a provider cannot compute, the processor does.
            providers: on
                .map(|provider| provider.name)
                .into_iter()
                .chain(["CPU"])
                .map(str::to_owned)
                .collect(),
            takes_bytes: input.element == Element::Byte,
        };
        let room = Room::default();
        let mut model = Self { session, input, room, about, dimensions: Vec::new() };
        model.warm()?;
        Ok(model)
    }

    /// Runs once on an empty picture: the first run is the slow one, and it tells the true shapes.
    fn warm(&mut self) -> Result<(), Error> {
        let (width, height) = self.about.input;
        let empty = vec![0.0; width as usize * height as usize * 3];
        let mut shapes = Vec::new();
        self.run(&empty, 1, &mut |_, outputs| {
            shapes = outputs.iter().map(|output| output.dimensions.to_vec()).collect();
        })?;
        let names = self.session.outputs().iter().map(|output| output.name().to_owned());
        self.about.outputs = names.zip(shapes).map(|(name, dimensions)| Shape { name, dimensions }).collect();
        Ok(())
    }
}

impl Backend for Onnx {
    fn about(&self) -> &About {
        &self.about
    }

    fn run(
        &mut self,
        input: &[f32],
        together: usize,
        read: &mut dyn FnMut(usize, &[Output<'_>]),
    ) -> Result<(), Error> {
        let wrong = |error: ort::Error| Error::Inference(error.to_string());
        let batch = i64::try_from(together).unwrap_or(i64::MAX);
        let (width, height) = self.about.input;
        let (width, height) = (i64::from(width), i64::from(height));
        let name = self.input.name.as_str();
        let Room { floats, halves, bytes } = &mut self.room;
        let (shape, input) = if self.input.channels_last {
            interleave(input, together, floats);
            ([batch, height, width, 3], floats.as_slice())
        } else {
            ([batch, 3, height, width], input)
        };
        let tensor = match self.input.element {
            Element::Float => TensorRef::from_array_view((shape, input)).map_err(wrong)?.into_dyn(),
            Element::Half => {
                halves.clear();
                halves.extend(input.iter().map(|value| f16::from_f32(*value)));
                TensorRef::from_array_view((shape, halves.as_slice())).map_err(wrong)?.into_dyn()
            }
            Element::Byte => {
                bytes.clear();
                bytes.extend(input.iter().map(|value| value.round() as u8));
                TensorRef::from_array_view((shape, bytes.as_slice())).map_err(wrong)?.into_dyn()
            }
        };
        let values = self.session.run(ort::inputs![name => tensor]).map_err(wrong)?;
        let mut whole = Vec::with_capacity(values.len());
        self.dimensions.resize_with(values.len(), Vec::new);
        for (index, dimensions) in self.dimensions.iter_mut().enumerate() {
            let (shape, data) = floats_of(&values[index])?;
            let Some((_, rest)) = shape.split_first().filter(|(first, _)| **first == batch) else {
                return Err(Error::Inference(format!(
                    "an output has the shape {shape:?} for {together} pictures"
                )));
            };
            dimensions.clear();
            dimensions.extend(rest.iter().map(|size| usize::try_from(*size).unwrap_or(0)));
            whole.push(data);
        }
        for picture in 0..together {
            let part = |data: &[f32]| {
                let size = data.len() / together;
                picture * size..(picture + 1) * size
            };
            let outputs: Vec<Output<'_>> = whole
                .iter()
                .zip(&self.dimensions)
                .map(|(data, dimensions)| Output { dimensions, data: &data[part(data)] })
                .collect();
            read(picture, &outputs);
        }
        Ok(())
    }
}

/// Why the library does not load a file, and what to do where that is known.
fn refused(error: &ort::Error) -> Error {
    let told = error.to_string();
    let newer =
        ["opset", "IR version", "is not a registered function"].iter().any(|word| told.contains(word));
    Error::Model(if newer {
        format!("it is newer than ONNX Runtime here; export it again for an older opset, such as 17 ({told})")
    } else {
        told
    })
}

/// Planes of each picture into pixels.
fn interleave(input: &[f32], together: usize, pixels: &mut Vec<f32>) {
    pixels.clear();
    for picture in input.chunks_exact(input.len() / together) {
        let (first, rest) = picture.split_at(picture.len() / 3);
        let (second, third) = rest.split_at(rest.len() / 2);
        let planes = first.iter().zip(second).zip(third);
        pixels.extend(planes.flat_map(|((first, second), third)| [*first, *second, *third]));
    }
}

/// The numbers of an output, and its shape.
fn floats_of(value: &DynValue) -> Result<(&[i64], Cow<'_, [f32]>), Error> {
    let wrong = |error: ort::Error| Error::Inference(error.to_string());
    if let Ok((shape, halves)) = value.try_extract_tensor::<f16>() {
        return Ok((shape, halves.iter().map(|value| value.to_f32()).collect()));
    }
    let (shape, floats) = value.try_extract_tensor::<f32>().map_err(wrong)?;
    Ok((shape, Cow::Borrowed(floats)))
}

/// What an input is like, and its shape as `[batch, 3, height, width]`; free dimensions are negative.
fn described(input: &Outlet) -> Result<(Input, [i64; 4]), Error> {
    let (element, shape) = match input.dtype() {
        ValueType::Tensor { ty: TensorElementType::Float32, shape, .. } => (Element::Float, shape),
        ValueType::Tensor { ty: TensorElementType::Float16, shape, .. } => (Element::Half, shape),
        ValueType::Tensor { ty: TensorElementType::Uint8, shape, .. } => (Element::Byte, shape),
        other => {
            let why = format!("its input is {other}; 32-bit or 16-bit floats or bytes are needed");
            return Err(Error::Model(why));
        }
    };
    let (shape, channels_last) = match shape[..] {
        [batch, first, second, 3] if first != 3 => ([batch, 3, first, second], true),
        [batch, channels, height, width] => ([batch, channels, height, width], false),
        _ => {
            return Err(Error::Model(format!(
                "its input has the shape {:?}; [batch, 3, height, width] or [batch, height, width, 3] is needed",
                &shape[..]
            )));
        }
    };
    Ok((Input { name: input.name().to_owned(), element, channels_last }, shape))
}

/// Width, height and batch of an input `[batch, 3, height, width]`.
fn input_of(
    [batch, channels, height, width]: [i64; 4],
    wanted: Option<(u32, u32)>,
) -> Result<((u32, u32), usize), Error> {
    if channels > 0 && channels != 3 {
        return Err(Error::Model(format!("its input has {channels} channels; a picture has 3")));
    }
    let most_together = if batch > 0 { 1 } else { MOST_TOGETHER };
    if batch > 1 {
        return Err(Error::Model(format!(
            "it takes exactly {batch} pictures at once; export it for one or for any"
        )));
    }
    let length = |own: i64, wanted: Option<u32>, name: &str| match (u32::try_from(own).ok(), wanted) {
        (Some(own), Some(wanted)) if own > 0 && own != wanted => {
            Err(Error::Model(format!("its input's {name} is {own} pixels and cannot be {wanted}")))
        }
        (Some(own), _) if own > 0 => Ok(own),
        (_, wanted) => {
            let side = wanted.unwrap_or(USUAL_SIDE);
            let fits = (STEP..=MOST_SIDE).contains(&side) && side.is_multiple_of(STEP);
            fits.then_some(side).ok_or_else(|| {
                Error::Model(format!(
                    "an input {name} of {side}; it must be {STEP} to {MOST_SIDE} in steps of {STEP}"
                ))
            })
        }
    };
    let size = (
        length(width, wanted.map(|(width, _)| width), "width")?,
        length(height, wanted.map(|(_, height)| height), "height")?,
    );
    Ok((size, most_together))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_input_s_shape_says_the_size_and_whether_pictures_go_together() {
        type Case<'a> = ([i64; 4], Option<(u32, u32)>, Result<((u32, u32), usize), &'a str>);
        let cases: [Case<'_>; 8] = [
            ([1, 3, 320, 416], None, Ok(((416, 320), 1))),
            ([1, 3, 320, 416], Some((416, 320)), Ok(((416, 320), 1))),
            ([1, 3, 320, 416], Some((640, 640)), Err("cannot be 640")),
            ([-1, 3, -1, -1], None, Ok(((640, 640), 8))),
            ([-1, 3, -1, -1], Some((320, 192)), Ok(((320, 192), 8))),
            ([-1, 3, -1, -1], Some((333, 320)), Err("steps of 32")),
            ([4, 3, 320, 320], None, Err("exactly 4")),
            ([1, 1, 320, 320], None, Err("1 channels")),
        ];
        for (shape, wanted, expected) in cases {
            match (input_of(shape, wanted), expected) {
                (Ok(have), Ok(want)) => assert_eq!(have, want, "{shape:?}"),
                (Err(error), Err(word)) => assert!(error.to_string().contains(word), "{error}"),
                (have, want) => panic!("{shape:?}: {have:?} instead of {want:?}"),
            }
        }
    }
}
