//! ONNX files: refused or looked through, never a panic, an abort or a lot of memory.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = actionbooster_models::onnx::read(bytes);
});
