//! From `shaders/` to checked, reflected WGSL. Used by `build.rs` and, through `#[path]`, by the tests.
//!
//! The rules that every kernel obeys (one ABI for burn's source kernels, raw wgpu and the browser) are checked in [`reflect`].

mod permutations;
mod preprocess;
mod reflect;
mod table;

use std::fmt;
use std::path::{Path, PathBuf};

pub use permutations::Permutation;
pub use reflect::Reflection;
pub use table::{source_file, write_table};

/// What is wrong, and where.
#[derive(Debug)]
pub struct ShaderError {
    /// File as it was opened.
    pub file: PathBuf,
    /// Line, counted from 1; 0 when the file as a whole is meant.
    pub line: u32,
    /// What is wrong.
    pub message: String,
}

impl ShaderError {
    fn new(file: &Path, line: u32, message: impl Into<String>) -> Self {
        Self {
            file: file.to_path_buf(),
            line,
            message: message.into(),
        }
    }
}

impl fmt::Display for ShaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.message)
    }
}

/// One permutation of one kernel, ready for the table.
#[derive(Debug)]
pub struct Shader {
    /// File name without `.wgsl`.
    pub kernel: String,
    /// Name of the permutation.
    pub permutation: String,
    /// The WGSL after imports and defines, without comments.
    pub source: String,
    /// Bindings and workgroup size.
    pub reflection: Reflection,
}

/// Every file that the table depends on, sorted.
pub fn inputs(shaders: &Path) -> Result<Vec<PathBuf>, ShaderError> {
    let mut files = list(shaders)?;
    let shared = shaders.join("shared");
    if shared.is_dir() {
        files.extend(list(&shared)?);
    }
    Ok(files)
}

/// Compiles every permutation listed, sorted by kernel and permutation. Every error found is reported, not the first alone.
pub fn compile(shaders: &Path, permutations: &Path) -> Result<Vec<Shader>, Vec<ShaderError>> {
    let listed = permutations::read(permutations).map_err(|e| vec![e])?;
    let mut errors = Vec::new();
    for file in list(shaders).map_err(|e| vec![e])? {
        let stem = file
            .file_stem()
            .and_then(|s| s.to_str())
            .unwrap_or_default();
        if !listed.iter().any(|p| p.kernel == stem) {
            let message = format!(
                "no permutation of this kernel is listed in {}",
                permutations.display()
            );
            errors.push(ShaderError::new(&file, 0, message));
        }
    }
    let mut compiled = Vec::new();
    for permutation in &listed {
        match compile_one(shaders, permutation) {
            Ok(shader) => compiled.push(shader),
            Err(e) => errors.push(e),
        }
    }
    if errors.is_empty() {
        Ok(compiled)
    } else {
        Err(errors)
    }
}

fn compile_one(shaders: &Path, permutation: &Permutation) -> Result<Shader, ShaderError> {
    let expanded = preprocess::expand(shaders, permutation)?;
    let reflection = reflect::reflect(&expanded, permutation)?;
    Ok(Shader {
        kernel: permutation.kernel.clone(),
        permutation: permutation.name.clone(),
        source: expanded.source,
        reflection,
    })
}

/// The `.wgsl` files directly in a folder, sorted.
fn list(folder: &Path) -> Result<Vec<PathBuf>, ShaderError> {
    let fail =
        |e: std::io::Error| ShaderError::new(folder, 0, format!("cannot list the folder: {e}"));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if path.extension().is_some_and(|e| e == "wgsl") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
