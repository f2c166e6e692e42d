//! Compiles `proto/*.proto` without a protoc binary.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = "../../proto";
    println!("cargo::rerun-if-changed={folder}");
    let descriptors = protox::compile(["runner.proto", "ai.proto"], [folder])?;
    // Pictures are shared with the buffer they arrived in, not copied out of it.
    tonic_prost_build::configure().bytes(".actionbooster.ai.v1.Frame.data").compile_fds(descriptors)?;
    Ok(())
}
