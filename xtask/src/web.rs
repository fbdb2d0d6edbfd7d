//! `cargo xtask web`: the page with everything that it needs, in one folder that any web server can serve.
//!
//! ```text
//! target/web/index.html, app.js, …        web/page
//!            precache.js                  what the service worker keeps: all files but models, and their hash
//!            package/index.js, worker.js  web/package
//!            package/wasm/                ptbr-web through wasm-bindgen and wasm-opt
//!            models/                      web/models: models.json, model files, adapters
//! ```

use std::hash::Hasher;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::args::WebOptions;
use crate::command::{self, Workspace};
use crate::machine;
use crate::wasm::{self, Compiler};

/// Profile of the root Cargo.toml.
const PROFILE: &str = "web";
/// Name of the wasm-bindgen crate's library.
const MODULE: &str = "ptbr_web";
/// Most bytes of the compressed module: what a visitor on a slow line waits for before the model.
const MOST_COMPRESSED: usize = 500_000;
/// What the compiler is allowed to use and the optimizer must understand; every browser with WebGPU has it, and since 2023 all others.
const WASM_FEATURES: [&str; 7] = [
    "--enable-simd",
    "--enable-bulk-memory",
    "--enable-mutable-globals",
    "--enable-nontrapping-float-to-int",
    "--enable-reference-types",
    "--enable-sign-ext",
    "--enable-multivalue",
];

/// Builds the page, then serves it.
pub fn run(options: &WebOptions) -> Result<bool> {
    let workspace = Workspace::find()?;
    let site = build(&workspace)?;
    eprintln!("the page is in {}", site.display());
    if options.serve {
        serve(&workspace, &site, options)?;
    }
    Ok(true)
}

/// Builds the page anew and returns its folder.
pub fn build(workspace: &Workspace) -> Result<PathBuf> {
    let module = compile(workspace)?;
    let site = workspace.root.join("target/web");
    if site.exists() {
        std::fs::remove_dir_all(&site)
            .with_context(|| format!("cannot remove {}", site.display()))?;
    }
    copy_folder(&workspace.root.join("web/page"), &site)?;
    copy_folder(&workspace.root.join("web/package"), &site.join("package"))?;
    bind(workspace, &module, &site.join("package/wasm"))?;
    write_precache(&site)?;
    let models = workspace.root.join("web/models");
    if models.is_dir() {
        copy_folder(&models, &site.join("models"))?;
    }
    Ok(site)
}

fn compile(workspace: &Workspace) -> Result<PathBuf> {
    let compiler = Compiler::find(workspace)?;
    let mut cargo = compiler.cargo(workspace, "build", PROFILE);
    cargo.args(["--package", "ptbr-web"]).env(
        "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS",
        "-Ctarget-feature=+simd128",
    );
    command::run(&mut cargo)?;
    Ok(compiler.module(workspace, PROFILE, MODULE))
}

/// Writes the module and its JavaScript side into `folder`.
fn bind(workspace: &Workspace, module: &Path, folder: &Path) -> Result<()> {
    let bindgen = wasm::bindgen(workspace, "wasm-bindgen")?;
    command::run(
        workspace
            .command(bindgen)
            .args(["--target", "web", "--out-name", MODULE])
            .arg("--out-dir")
            .arg(folder)
            .arg(module),
    )?;
    // Not the system's: Debian 12 has a release that does not know what wasm-bindgen writes (`table.fill`).
    let optimizer = machine::node_packages(workspace)?.join("binaryen/bin/wasm-opt");
    let bound = folder.join(MODULE.to_owned() + "_bg.wasm");
    command::run(
        workspace
            .command("node")
            .arg(optimizer)
            .arg("-O3")
            .args(WASM_FEATURES)
            .arg("--output")
            .arg(&bound)
            .arg(&bound),
    )?;
    let bytes = std::fs::read(&bound).with_context(|| format!("reading {}", bound.display()))?;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&bytes)?;
    let compressed = encoder.finish()?.len();
    eprintln!(
        "{MODULE}_bg.wasm: {} bytes, {compressed} compressed",
        bytes.len()
    );
    if compressed >= MOST_COMPRESSED {
        bail!("the compressed module has {compressed} bytes, not under {MOST_COMPRESSED}");
    }
    Ok(())
}

/// The list for the service worker (`web/page/sw.js`): another hash is another version of the page.
fn write_precache(site: &Path) -> Result<()> {
    let mut files = Vec::new();
    list(site, site, &mut files)?;
    files.retain(|file| file != "sw.js");
    let mut hasher = std::hash::DefaultHasher::new();
    for file in &files {
        hasher.write(file.as_bytes());
        hasher.write(&std::fs::read(site.join(file))?);
    }
    let names: Vec<String> = files
        .iter()
        .map(|file| format!("    {file:?},\n"))
        .collect();
    let text = format!(
        "self.PRECACHE = {{\n  version: \"{:016x}\",\n  files: [\n{}  ],\n}};\n",
        hasher.finish(),
        names.concat()
    );
    std::fs::write(site.join("precache.js"), text).context("writing precache.js")
}

/// The files below `folder`, by name, with slashes and without `root`.
fn list(root: &Path, folder: &Path, files: &mut Vec<String>) -> Result<()> {
    for path in entries(folder)? {
        if path.is_dir() {
            list(root, &path, files)?;
        } else {
            let name = path.strip_prefix(root)?;
            let parts: Vec<_> = name.iter().map(|part| part.to_string_lossy()).collect();
            files.push(parts.join("/"));
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let cannot = || format!("cannot look into {}", folder.display());
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(cannot)? {
        paths.push(entry.with_context(cannot)?.path());
    }
    paths.sort();
    Ok(paths)
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for path in entries(from)? {
        let copy = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy_folder(&path, &copy)?;
        } else {
            std::fs::copy(&path, &copy)
                .with_context(|| format!("cannot copy {} to {}", path.display(), copy.display()))?;
        }
    }
    Ok(())
}

/// With the program's own server, built without the trainer: a minute instead of half an hour.
fn serve(workspace: &Workspace, site: &Path, options: &WebOptions) -> Result<()> {
    let mut serve = workspace.cargo();
    serve
        .args([
            "run",
            "--release",
            "--package",
            "ptbr-slm",
            "--no-default-features",
            "--",
            "serve",
        ])
        .arg("--web")
        .arg(site)
        .args(["--port", &options.port.to_string()]);
    if let Some(model) = &options.model {
        // Named from where the user is, and commands here run in the root.
        serve.arg("--model").arg(std::path::absolute(model)?);
    }
    command::run(&mut serve)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_precache_list_names_every_file_and_changes_with_them() -> Result<()> {
        let site = std::env::temp_dir().join(format!("ptbr-xtask-web-{}", std::process::id()));
        std::fs::create_dir_all(site.join("package/wasm"))?;
        for file in ["sw.js", "index.html", "package/wasm/x.wasm"] {
            std::fs::write(site.join(file), file)?;
        }
        let precache = || -> Result<String> {
            let _ = std::fs::remove_file(site.join("precache.js"));
            write_precache(&site)?;
            Ok(std::fs::read_to_string(site.join("precache.js"))?)
        };
        let (first, again) = (precache()?, precache()?);
        assert_eq!(first, again);
        assert!(
            first.contains("files: [\n    \"index.html\",\n    \"package/wasm/x.wasm\",\n  ]"),
            "{first}"
        );
        std::fs::write(site.join("index.html"), "other")?;
        assert_ne!(first, precache()?);
        std::fs::remove_dir_all(&site)?;
        Ok(())
    }
}
