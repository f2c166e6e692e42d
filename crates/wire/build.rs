//! Compiles `proto/*.proto` without a protoc binary.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = "../../proto";
    println!("cargo::rerun-if-changed={folder}");
    let descriptors = protox::compile(["runner.proto"], [folder])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
