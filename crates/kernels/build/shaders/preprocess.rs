//! `#import`, `#ifdef`, `#ifndef`, `#else`, `#endif` and defines with a value, on lines of WGSL.
//!
//! Comments and blank lines are dropped, because the text ends up in the binary and in the wasm module; a map from the remaining
//! lines to file and line keeps errors pointing at what was written. WGSL has no strings, so `//` always starts a comment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Permutation, ShaderError};

/// WGSL without directives, and where each of its lines comes from.
#[derive(Debug)]
pub struct Expanded {
    /// The text.
    pub source: String,
    /// The kernel's own file.
    pub file: PathBuf,
    /// File and line of each line of `source`.
    origins: Vec<(PathBuf, u32)>,
}

impl Expanded {
    /// An error at a line of `source`, counted from 1; at the kernel's file when there is no such line.
    pub fn error_at(&self, line: u32, message: impl Into<String>) -> ShaderError {
        let origin = (line as usize)
            .checked_sub(1)
            .and_then(|i| self.origins.get(i));
        match origin {
            Some((file, line)) => ShaderError::new(file, *line, message),
            None => ShaderError::new(&self.file, 0, message),
        }
    }
}

/// Expands a kernel's file for one permutation.
pub fn expand(shaders: &Path, permutation: &Permutation) -> Result<Expanded, ShaderError> {
    let file = shaders.join(format!("{}.wgsl", permutation.kernel));
    if !file.is_file() {
        let message = format!(
            "kernel `{}` has no file {}",
            permutation.kernel,
            file.display()
        );
        return Err(ShaderError::new(
            &permutation.file,
            permutation.line,
            message,
        ));
    }
    let mut state = State {
        shared: shaders.join("shared"),
        defines: &permutation.defines,
        imported: Vec::new(),
        out: Expanded {
            source: String::new(),
            file: file.clone(),
            origins: Vec::new(),
        },
    };
    state.include(&file)?;
    Ok(state.out)
}

struct State<'a> {
    shared: PathBuf,
    defines: &'a BTreeMap<String, String>,
    /// Imports seen: each is included once, so circles end.
    imported: Vec<String>,
    out: Expanded,
}

/// An open `#ifdef`.
struct Branch {
    line: u32,
    /// The text is kept as far as this condition is concerned.
    active: bool,
    has_else: bool,
}

impl State<'_> {
    fn include(&mut self, file: &Path) -> Result<(), ShaderError> {
        let text = std::fs::read_to_string(file)
            .map_err(|e| ShaderError::new(file, 0, format!("cannot read: {e}")))?;
        let mut branches: Vec<Branch> = Vec::new();
        for (line, raw) in (1u32..).zip(text.lines()) {
            let content = raw.split("//").next().unwrap_or_default().trim_end();
            let fail = |message: String| Err(ShaderError::new(file, line, message));
            let active = branches.iter().all(|b| b.active);
            let Some(directive) = content.trim_start().strip_prefix('#') else {
                if active && !content.is_empty() {
                    self.out.source.push_str(&substitute(content, self.defines));
                    self.out.source.push('\n');
                    self.out.origins.push((file.to_path_buf(), line));
                }
                continue;
            };
            let mut words = directive.split_whitespace();
            let (name, argument, rest) =
                (words.next().unwrap_or_default(), words.next(), words.next());
            if let Some(word) = rest {
                return fail(format!("unexpected `{word}` after #{name}"));
            }
            match (name, argument) {
                ("ifdef", Some(define)) => {
                    branches.push(Branch {
                        line,
                        active: self.defines.contains_key(define),
                        has_else: false,
                    });
                }
                ("ifndef", Some(define)) => {
                    branches.push(Branch {
                        line,
                        active: !self.defines.contains_key(define),
                        has_else: false,
                    });
                }
                ("else", None) => match branches.last_mut() {
                    Some(branch) if !branch.has_else => {
                        branch.active = !branch.active;
                        branch.has_else = true;
                    }
                    _ => return fail("#else without #ifdef".into()),
                },
                ("endif", None) => {
                    if branches.pop().is_none() {
                        return fail("#endif without #ifdef".into());
                    }
                }
                ("import", Some(import)) => {
                    let path = self.shared.join(format!("{import}.wgsl"));
                    if !path.is_file() {
                        return fail(format!("#import {import}: there is no {}", path.display()));
                    }
                    if active && !self.imported.iter().any(|i| i == import) {
                        self.imported.push(import.to_owned());
                        self.include(&path)?;
                    }
                }
                _ => {
                    return fail(format!(
                        "`{}`: expected #import NAME, #ifdef NAME, #ifndef NAME, #else or #endif",
                        content.trim()
                    ));
                }
            }
        }
        match branches.last() {
            Some(open) => Err(ShaderError::new(
                file,
                open.line,
                "this #ifdef has no #endif",
            )),
            None => Ok(()),
        }
    }
}

/// Replaces every identifier that is a define with a value.
fn substitute(line: &str, defines: &BTreeMap<String, String>) -> String {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(start) = rest.find(is_word) {
        out.push_str(&rest[..start]);
        let word = &rest[start..];
        let end = word.find(|c| !is_word(c)).unwrap_or(word.len());
        match defines.get(&word[..end]) {
            Some(value) if !value.is_empty() => out.push_str(value),
            _ => out.push_str(&word[..end]),
        }
        rest = &word[end..];
    }
    out.push_str(rest);
    out
}
