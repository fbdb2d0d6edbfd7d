//! The demo's output folder, and where everything in it is.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::training::make_folder;

/// A file that only the demo writes: a folder that holds it may be emptied by the next demo.
const MARKER: &str = "made-by-ptbr-slm-demo.txt";

/// Paths below the output folder, in the order in which they come to be.
#[derive(Debug)]
pub struct DemoFolder {
    root: PathBuf,
}

impl DemoFolder {
    /// Makes the folder, or empties that of an earlier demo.
    ///
    /// # Errors
    /// When there is something else in it, or it cannot be written.
    pub fn prepare(root: &Path) -> Result<Self> {
        if root.join(MARKER).is_file() {
            for part in ["raw", "texts", "data", "run", "quantized"] {
                let old = root.join(part);
                if old.is_dir() {
                    fs::remove_dir_all(&old)
                        .with_context(|| format!("cannot remove {}", old.display()))?;
                }
            }
        } else if root.is_dir()
            && fs::read_dir(root).is_ok_and(|mut entries| entries.next().is_some())
        {
            bail!(
                "{} is not empty, and no demo made it; give --output another folder",
                root.display()
            );
        }
        make_folder(root)?;
        let folder = Self {
            root: root.to_owned(),
        };
        for part in [folder.raw_texts(), folder.data(), root.join("quantized")] {
            make_folder(&part)?;
        }
        write(
            &root.join(MARKER),
            b"The next `ptbr-slm demo` with this folder begins afresh.\n",
        )?;
        Ok(folder)
    }

    /// The dump.
    pub fn dump(&self) -> PathBuf {
        self.root.join("raw").join("demo.xml.bz2")
    }

    /// Text before cleaning: what process-wiki makes, and the novels.
    pub fn raw_texts(&self) -> PathBuf {
        self.root.join("raw").join("texts")
    }

    /// Cleaned text.
    pub fn texts(&self) -> PathBuf {
        self.root.join("texts")
    }

    /// Training and held-out text, tokenizer and token files.
    pub fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// Checkpoints and metrics.
    pub fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    /// The model file that is a quarter of the size.
    pub fn quantized(&self) -> PathBuf {
        self.root.join("quantized").join("nano-int8.safetensors")
    }
}

/// Writes one of the demo's own files.
///
/// # Errors
/// When the folder cannot be written, naming the file.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_folder_is_emptied() -> Result<()> {
        let place = tempfile::tempdir()?;
        let root = place.path().join("demo");
        let folder = DemoFolder::prepare(&root)?;
        fs::create_dir_all(folder.run().join("step-000001"))?;
        fs::write(root.join("notes.txt"), "mine")?;
        DemoFolder::prepare(&root)?;
        assert!(!folder.run().exists() && root.join("notes.txt").exists());

        let other = place.path().join("other");
        fs::create_dir_all(other.join("run"))?;
        assert!(
            DemoFolder::prepare(&other).is_err_and(|e| e.to_string().contains("no demo made it"))
        );
        assert!(other.join("run").exists());
        Ok(())
    }
}
