//! The list of permutations: which defines each kernel is compiled with.
//!
//! ```text
//! # comment
//! wkv_forward                      a kernel: its file is shaders/wkv_forward.wgsl
//!   read INPUT_ACCESS=read         a permutation: its name, then defines with or without a value
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::ShaderError;

/// One line of the list.
#[derive(Debug)]
pub struct Permutation {
    /// Kernel, the file name without `.wgsl`.
    pub kernel: String,
    /// Name, unique within the kernel.
    pub name: String,
    /// Defines; the value is empty where none is given.
    pub defines: BTreeMap<String, String>,
    /// Where it is listed.
    pub file: PathBuf,
    /// Line there.
    pub line: u32,
}

/// Reads the list, sorted by kernel and name.
pub fn read(file: &Path) -> Result<Vec<Permutation>, ShaderError> {
    let text = std::fs::read_to_string(file)
        .map_err(|e| ShaderError::new(file, 0, format!("cannot read: {e}")))?;
    let mut kernel: Option<String> = None;
    let mut found: Vec<Permutation> = Vec::new();
    for (line, content) in (1u32..).zip(text.lines()) {
        let content = content.split('#').next().unwrap_or_default();
        let mut words = content.split_whitespace();
        let Some(name) = words.next() else { continue };
        if !name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        {
            let message = format!("`{name}`: names are lower-case letters, digits and underscores");
            return Err(ShaderError::new(file, line, message));
        }
        if !content.starts_with([' ', '\t']) {
            if let Some(word) = words.next() {
                let message = format!(
                    "unexpected `{word}` after kernel `{name}`; permutations go on indented lines below"
                );
                return Err(ShaderError::new(file, line, message));
            }
            kernel = Some(name.to_owned());
            continue;
        }
        let Some(kernel) = &kernel else {
            return Err(ShaderError::new(
                file,
                line,
                format!("permutation `{name}` comes before any kernel"),
            ));
        };
        if found.iter().any(|p| p.kernel == *kernel && p.name == name) {
            return Err(ShaderError::new(
                file,
                line,
                format!("permutation `{name}` of {kernel} is listed twice"),
            ));
        }
        let defines = words
            .map(|word| word.split_once('=').unwrap_or((word, "")))
            .map(|(define, value)| (define.to_owned(), value.to_owned()))
            .collect();
        found.push(Permutation {
            kernel: kernel.clone(),
            name: name.to_owned(),
            defines,
            file: file.to_path_buf(),
            line,
        });
    }
    found.sort_by(|a, b| (&a.kernel, &a.name).cmp(&(&b.kernel, &b.name)));
    Ok(found)
}
