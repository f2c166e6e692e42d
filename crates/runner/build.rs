//! The engine's libraries lie beside the program: `../lib/actionbooster`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bins=-Wl,-rpath,$ORIGIN/../lib/actionbooster");
}
