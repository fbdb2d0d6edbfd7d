//! The revision that the program is built from, for the records of its training runs: `PTBR_REVISION` at compile time, where the sources
//! are a checkout. Reads git's files, not git: a tarball, or a machine without git, builds all the same and knows no revision.

use std::fs;
use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    if let Some(revision) = git_folder(&root).and_then(|folder| revision(&folder)) {
        println!("cargo::rustc-env=PTBR_REVISION={revision}");
    }
}

/// `.git`, or where a worktree's file of that name leads.
fn git_folder(root: &Path) -> Option<PathBuf> {
    let path = root.join(".git");
    if path.is_dir() {
        return Some(path);
    }
    let text = fs::read_to_string(path).ok()?;
    let folder = text.strip_prefix("gitdir:")?.trim();
    Some(root.join(folder))
}

/// The commit that is checked out.
fn revision(folder: &Path) -> Option<String> {
    let head = fs::read_to_string(watched(folder.join("HEAD"))).ok()?;
    let Some(name) = head.strip_prefix("ref:").map(str::trim) else {
        return hash(&head);
    };
    // The refs of a worktree are those of the repository that it belongs to.
    let common = fs::read_to_string(folder.join("commondir"));
    let common = common.map_or_else(|_| folder.to_owned(), |path| folder.join(path.trim()));
    let single = fs::read_to_string(watched(common.join(name)));
    if let Some(revision) = single.ok().and_then(|text| hash(&text)) {
        return Some(revision);
    }
    let packed = fs::read_to_string(watched(common.join("packed-refs"))).ok()?;
    let line = packed.lines().find(|line| line.ends_with(name))?;
    hash(line.split(' ').next()?)
}

/// Runs this again when `path` changes; a file that is not there would have it run every time.
fn watched(path: PathBuf) -> PathBuf {
    if path.exists() {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    path
}

fn hash(text: &str) -> Option<String> {
    let text = text.trim();
    let whole = text.len() >= 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    whole.then(|| text.to_owned())
}
