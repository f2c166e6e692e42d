//! Models for the NPU of RK3588 and its kin, computed by Rockchip's runtime (`librknnrt`), loaded when it is first
//! needed.
//!
//! Types and numbers follow `rknn_api.h` of RKNPU2 1.5 to 2.x on 64 bits, which has kept them.
#![expect(unsafe_code, reason = "a C library that is loaded at run time")]

use std::ffi::{c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr::null_mut;

use libloading::Library;

use super::{About, Backend};
use crate::Error;
use crate::head::{Output, Shape};

/// Names the library, for tests and unusual layouts.
const VARIABLE: &str = "ACTIONBOOSTER_RKNNRT";
/// Where vendors and owners install it; the loader looks at its own places after these.
const PLACES: [&str; 2] = ["/usr/lib/actionbooster/librknnrt.so", "/var/lib/actionbooster/lib/librknnrt.so"];
const NAME: &str = "librknnrt.so";

const MOST_DIMENSIONS: usize = 16;
const QUERY_COUNTS: c_int = 0;
const QUERY_INPUT: c_int = 1;
const QUERY_OUTPUT: c_int = 2;
const QUERY_VERSION: c_int = 5;
const NHWC: c_int = 1;
const UINT8: c_int = 3;

type Context = u64;

#[repr(C)]
#[derive(Default)]
struct Counts {
    inputs: u32,
    outputs: u32,
}

#[repr(C)]
struct Attributes {
    index: u32,
    dimension_count: u32,
    dimensions: [u32; MOST_DIMENSIONS],
    name: [c_char; 256],
    elements: u32,
    size: u32,
    format: c_int,
    kind: c_int,
    quantisation: c_int,
    fraction: i8,
    zero_point: i32,
    scale: f32,
    width_stride: u32,
    size_with_stride: u32,
    pass_through: u8,
    height_stride: u32,
}

#[repr(C)]
struct Version {
    api: [c_char; 256],
    driver: [c_char; 256],
}

#[repr(C)]
struct Input {
    index: u32,
    data: *const c_void,
    size: u32,
    pass_through: u8,
    kind: c_int,
    format: c_int,
}

/// Where an output is to be put.
#[repr(C)]
struct Wanted {
    want_float: u8,
    is_ours: u8,
    index: u32,
    data: *mut c_void,
    size: u32,
}

/// The functions that are called.
struct Calls {
    init: unsafe extern "C" fn(*mut Context, *mut c_void, u32, u32, *mut c_void) -> c_int,
    destroy: unsafe extern "C" fn(Context) -> c_int,
    query: unsafe extern "C" fn(Context, c_int, *mut c_void, u32) -> c_int,
    inputs_set: unsafe extern "C" fn(Context, u32, *mut Input) -> c_int,
    run: unsafe extern "C" fn(Context, *mut c_void) -> c_int,
    outputs_get: unsafe extern "C" fn(Context, u32, *mut Wanted, *mut c_void) -> c_int,
    outputs_release: unsafe extern "C" fn(Context, u32, *mut Wanted) -> c_int,
    /// They belong to it, and it stays as long as they do.
    _library: Library,
}

impl Calls {
    fn load(file: &Path) -> Result<Self, Error> {
        let unfit = |error: libloading::Error| {
            Error::Runtime(format!(
                "{} cannot be loaded: {error}; models for the NPU need Rockchip's runtime, RKNPU2 1.5 or newer: \
                 install it as {} or name it in {VARIABLE}",
                file.display(),
                PLACES[1],
            ))
        };
        // SAFETY: the library's initialisers run; it is the vendor's, named by the owner of the machine.
        let library = unsafe { Library::new(file) }.map_err(unfit)?;
        macro_rules! call {
            ($name:literal) => {
                // SAFETY: the type is the one that the vendor's header gives the function.
                *unsafe { library.get($name) }.map_err(unfit)?
            };
        }
        Ok(Self {
            init: call!(b"rknn_init\0"),
            destroy: call!(b"rknn_destroy\0"),
            query: call!(b"rknn_query\0"),
            inputs_set: call!(b"rknn_inputs_set\0"),
            run: call!(b"rknn_run\0"),
            outputs_get: call!(b"rknn_outputs_get\0"),
            outputs_release: call!(b"rknn_outputs_release\0"),
            _library: library,
        })
    }

    fn ask<T>(&self, context: Context, what: c_int, about: &mut T) -> Result<(), Error> {
        let size = size_of::<T>() as u32;
        // SAFETY: `about` is what the header wants for this question, and of the size that is told.
        let code = unsafe { (self.query)(context, what, std::ptr::from_mut(about).cast(), size) };
        checked(code, "describes").map_err(Error::Model)
    }
}

/// A model on the NPU.
pub(super) struct Rknn {
    calls: Calls,
    context: Context,
    about: About,
    /// The picture as the NPU takes it: rows of pixels of three bytes.
    bytes: Vec<u8>,
    /// Room for what comes out.
    outputs: Vec<Vec<f32>>,
}

impl Rknn {
    pub(super) fn open(file: &Path) -> Result<Self, Error> {
        Self::open_with(&library(), file)
    }

    fn open_with(library: &Path, file: &Path) -> Result<Self, Error> {
        let mut model =
            std::fs::read(file).map_err(|error| Error::Model(format!("it cannot be read: {error}")))?;
        let size = u32::try_from(model.len()).map_err(|_| Error::Model("it is larger than 4 GiB".into()))?;
        let calls = Calls::load(library)?;
        let mut context = 0;
        // SAFETY: the model's bytes are there while it is read; the library keeps its own copy.
        let code = unsafe { (calls.init)(&raw mut context, model.as_mut_ptr().cast(), size, 0, null_mut()) };
        checked(code, "loads").map_err(Error::Model)?;
        let about = About {
            input: (0, 0),
            most_together: 1,
            outputs: Vec::new(),
            names: None,
            providers: Vec::new(),
            takes_bytes: true,
        };
        // From here on the context is given back whatever happens.
        let mut model = Self { calls, context, about, bytes: Vec::new(), outputs: Vec::new() };
        model.describe()?;
        model.warm()?;
        Ok(model)
    }

    fn describe(&mut self) -> Result<(), Error> {
        let mut counts = Counts::default();
        self.calls.ask(self.context, QUERY_COUNTS, &mut counts)?;
        if counts.inputs != 1 || !(1..=64).contains(&counts.outputs) {
            let (inputs, outputs) = (counts.inputs, counts.outputs);
            return Err(Error::Model(format!(
                "it has {inputs} inputs and {outputs} outputs; a detector has one input"
            )));
        }
        let input = self.attributes(QUERY_INPUT, 0)?;
        let dimensions = input.dimensions()?;
        self.about.input = match (input.format, dimensions.as_slice()) {
            (NHWC, &[1, height, width, 3]) | (_, &[1, 3, height, width]) => (width as u32, height as u32),
            _ => {
                return Err(Error::Model(format!(
                    "its input has the shape {dimensions:?}; one picture of three channels is needed"
                )));
            }
        };
        self.bytes = vec![0; dimensions.iter().product()];
        for index in 0..counts.outputs {
            let output = self.attributes(QUERY_OUTPUT, index)?;
            let dimensions = output.dimensions()?;
            let [1, rest @ ..] = dimensions.as_slice() else {
                return Err(Error::Model(format!(
                    "an output has the shape {dimensions:?}; it is for several pictures"
                )));
            };
            self.about.outputs.push(Shape { name: text(&output.name), dimensions: rest.to_vec() });
            self.outputs.push(vec![0.0; rest.iter().product()]);
        }
        let mut version = Version { api: [0; 256], driver: [0; 256] };
        self.calls.ask(self.context, QUERY_VERSION, &mut version)?;
        tracing::info!(runtime = text(&version.api), driver = text(&version.driver), "computing on the NPU");
        self.about.providers = vec!["RKNN".into()];
        Ok(())
    }

    fn attributes(&self, what: c_int, index: u32) -> Result<Attributes, Error> {
        let mut attributes = Attributes {
            index,
            dimension_count: 0,
            dimensions: [0; MOST_DIMENSIONS],
            name: [0; 256],
            elements: 0,
            size: 0,
            format: 0,
            kind: 0,
            quantisation: 0,
            fraction: 0,
            zero_point: 0,
            scale: 0.0,
            width_stride: 0,
            size_with_stride: 0,
            pass_through: 0,
            height_stride: 0,
        };
        self.calls.ask(self.context, what, &mut attributes)?;
        Ok(attributes)
    }

    fn warm(&mut self) -> Result<(), Error> {
        self.compute()
    }

    /// From the bytes to the outputs.
    fn compute(&mut self) -> Result<(), Error> {
        let failed = |code, does| checked(code, does).map_err(Error::Inference);
        let mut input = Input {
            index: 0,
            data: self.bytes.as_mut_ptr().cast(),
            size: self.bytes.len() as u32,
            pass_through: 0,
            kind: UINT8,
            format: NHWC,
        };
        // SAFETY: one input, whose bytes are there and as many as told; the library copies them.
        failed(unsafe { (self.calls.inputs_set)(self.context, 1, &raw mut input) }, "takes a picture")?;
        // SAFETY: the context is open and has its input.
        failed(unsafe { (self.calls.run)(self.context, null_mut()) }, "computes")?;
        let mut wanted: Vec<Wanted> = (0..)
            .zip(&mut self.outputs)
            .map(|(index, output)| Wanted {
                want_float: 1,
                is_ours: 1,
                index,
                data: output.as_mut_ptr().cast(),
                size: size_of_val(output.as_slice()) as u32,
            })
            .collect();
        let count = wanted.len() as u32;
        // SAFETY: as many places as told, each with room for its output in floats.
        let code = unsafe { (self.calls.outputs_get)(self.context, count, wanted.as_mut_ptr(), null_mut()) };
        failed(code, "gives its outputs")?;
        // SAFETY: they were got just now; the memory behind them is ours and stays.
        failed(unsafe { (self.calls.outputs_release)(self.context, count, wanted.as_mut_ptr()) }, "lets go")
    }
}

impl Drop for Rknn {
    fn drop(&mut self) {
        // SAFETY: it was opened once and is not used after this.
        let code = unsafe { (self.calls.destroy)(self.context) };
        if let Err(why) = checked(code, "ends") {
            tracing::warn!("{why}");
        }
    }
}

impl Backend for Rknn {
    fn about(&self) -> &About {
        &self.about
    }

    fn run(
        &mut self,
        input: &[f32],
        together: usize,
        read: &mut dyn FnMut(usize, &[Output<'_>]),
    ) -> Result<(), Error> {
        let plane = self.bytes.len() / 3;
        for picture in 0..together {
            let planes = &input[picture * self.bytes.len()..][..self.bytes.len()];
            for (index, pixel) in self.bytes.as_chunks_mut::<3>().0.iter_mut().enumerate() {
                // Ends of the range stay in it.
                *pixel = [0, 1, 2].map(|channel| planes[channel * plane + index].round() as u8);
            }
            self.compute()?;
            let outputs: Vec<Output<'_>> = self
                .outputs
                .iter()
                .zip(&self.about.outputs)
                .map(|(data, shape)| Output { dimensions: &shape.dimensions, data })
                .collect();
            read(picture, &outputs);
        }
        Ok(())
    }
}

impl Attributes {
    fn dimensions(&self) -> Result<Vec<usize>, Error> {
        let told = self.dimensions.get(..self.dimension_count as usize).unwrap_or_default();
        let dimensions: Vec<usize> = told.iter().map(|size| *size as usize).collect();
        let product = dimensions.iter().try_fold(1_usize, |product, size| product.checked_mul(*size));
        match product {
            Some(1..=0x1000_0000) if !dimensions.is_empty() => Ok(dimensions),
            _ => Err(Error::Model(format!("a shape of {told:?}"))),
        }
    }
}

/// Where the library is: what the environment names, else the first place that has it, else what the loader finds.
fn library() -> PathBuf {
    let named = std::env::var_os(VARIABLE).map(PathBuf::from);
    let installed = || PLACES.into_iter().map(PathBuf::from).find(|place| place.exists());
    named.or_else(installed).unwrap_or_else(|| NAME.into())
}

fn text(characters: &[c_char]) -> String {
    let bytes = characters.iter().map(|byte| byte.cast_unsigned()).take_while(|byte| *byte != 0);
    String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned()
}

/// What a code of the library means.
fn checked(code: c_int, does: &str) -> Result<(), String> {
    let meaning = match code {
        0 => return Ok(()),
        -2 => "it took too long",
        -3 => "there is no NPU, or its driver is missing",
        -4 => "its memory is full",
        -6 => "the model is damaged or no RKNN model",
        -10 | -13 => "the model was made for another chip",
        -11 | -12 => "the model was made with another version of the toolkit",
        _ => "the library says no more",
    };
    Err(format!("the NPU's runtime refuses when it {does}: {meaning} (code {code})"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// A library with the interface of the vendor's, which no machine without the NPU can run. Its model of 4x2
    /// pixels gives back some of the bytes that came in as a box.
    const STAND_IN: &str = include_str!("rknn/stand_in.c");

    fn opened(version: &str, model: &[u8]) -> Result<Rknn, Error> {
        let folder = tempfile::tempdir().expect("folder");
        let (source, library, file) =
            (folder.path().join("a.c"), folder.path().join("librknnrt.so"), folder.path().join("a.rknn"));
        std::fs::write(&source, STAND_IN).expect("written");
        std::fs::write(&file, model).expect("written");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-Wall", "-Werror", version, "-o"]).arg(&library).arg(&source);
        assert!(compiler.status().expect("a C compiler").success());
        Rknn::open_with(&library, &file)
    }

    #[test]
    fn a_picture_goes_in_as_bytes_and_numbers_come_out() {
        let mut model = opened("-DVERSION=\"2.3\"", b"RKNN").expect("loaded");
        let about = model.about();
        assert_eq!((about.input, about.most_together, about.takes_bytes), ((4, 2), 1, true));
        assert_eq!(about.outputs, [Shape { name: "boxes".into(), dimensions: vec![2, 6] }]);
        assert_eq!(about.providers, ["RKNN"]);
        // Planes of red 0 to 7, green 10 to 17 and blue 20 to 27; one beyond what a byte holds.
        let mut planes: Vec<f32> = (0..24).map(|index| (index % 8 + index / 8 * 10) as f32).collect();
        planes[23] = 300.0;
        let mut seen = Vec::new();
        model
            .run(&planes, 1, &mut |index, outputs| {
                assert_eq!((index, outputs.len(), outputs[0].dimensions), (0, 1, &[2, 6][..]));
                seen = outputs[0].data.to_vec();
            })
            .expect("computed");
        // The first pixel, the second one's red, and the last one's red and blue.
        assert_eq!(seen[..6], [0.0, 10.0, 20.0, 1.0, 7.0, 255.0]);
    }

    #[test]
    fn what_is_no_model_or_no_library_is_refused_with_what_to_do() {
        let error = opened("-DVERSION=\"2.3\"", b"other").err().expect("refused").to_string();
        assert!(error.contains("damaged") && error.contains("-6"), "{error}");
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("a.rknn");
        std::fs::write(&file, b"RKNN").expect("written");
        let error =
            Rknn::open_with(Path::new("/nowhere/librknnrt.so"), &file).err().expect("refused").to_string();
        assert!(error.contains("RKNPU2 1.5 or newer") && error.contains(VARIABLE), "{error}");
    }
}
