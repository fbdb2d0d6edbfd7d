//! Which files a configuration means.

use std::path::{Path, PathBuf};

use ptbr_model::DataSource;

use crate::document::{TextFile, list_files};
use crate::error::CorpusError;

/// The files of `source` below the data folder `root`, by path; each is called by its path below `root`. `owner` is who names the source, for messages.
pub(crate) fn files_of(
    owner: &str,
    root: &Path,
    source: &DataSource,
    list: fn(&Path) -> Result<Vec<TextFile>, CorpusError>,
) -> Result<Vec<TextFile>, CorpusError> {
    let missing = |path: PathBuf| CorpusError::Unsupported {
        path,
        reason: format!(
            "{owner} names \"{source}\", and the data folder {} holds no such text",
            root.display()
        ),
    };
    let top = source.root();
    let path = root.join(top);
    if !path.exists() {
        return Err(missing(path));
    }
    let is_file = path.is_file();
    let mut files = list(&path)?;
    for file in &mut files {
        file.name = match (is_file, top) {
            (true, _) => top.to_owned(),
            (false, "") => std::mem::take(&mut file.name),
            (false, _) => format!("{top}/{}", file.name),
        };
    }
    files.retain(|file| source.takes(&file.name));
    if files.is_empty() {
        return Err(missing(path));
    }
    Ok(files)
}

/// The dumps of `path`, sorted by name.
pub(crate) fn list_dumps(path: &Path) -> Result<Vec<TextFile>, CorpusError> {
    let is_dump = |path: &Path| {
        let extension = path.extension()?.to_str()?;
        (extension.eq_ignore_ascii_case("xml") || extension.eq_ignore_ascii_case("bz2"))
            .then_some(false)
    };
    list_files(path, is_dump, ".xml or .xml.bz2")
}
