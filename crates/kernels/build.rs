//! Checks and reflects `shaders/` and writes the typed table of kernels. A broken shader is a compile error with file and line.

#[path = "build/shaders/mod.rs"]
mod shaders;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(messages) => {
            for message in messages {
                println!("cargo::error={}", message.replace('\n', " "));
            }
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Vec<String>> {
    let folder = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .ok_or(vec![format!("cargo did not set {name}")])
    };
    let (here, out) = (folder("CARGO_MANIFEST_DIR")?, folder("OUT_DIR")?);
    let sources = here.join("../../shaders");
    let sources = sources
        .canonicalize()
        .map_err(|e| vec![format!("{}: {e}", sources.display())])?;
    let permutations = here.join("permutations.txt");

    // The folders too, so that a new file is noticed.
    for path in [&sources, &sources.join("shared"), &permutations] {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    for file in shaders::inputs(&sources).map_err(|e| vec![e.to_string()])? {
        println!("cargo::rerun-if-changed={}", file.display());
    }

    let compiled = shaders::compile(&sources, &permutations)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    for shader in &compiled {
        write(&out.join(shaders::source_file(shader)), &shader.source)?;
    }
    write(&out.join("kernels.rs"), &shaders::write_table(&compiled))
}

fn write(path: &Path, text: &str) -> Result<(), Vec<String>> {
    std::fs::write(path, text).map_err(|e| vec![format!("cannot write {}: {e}", path.display())])
}
