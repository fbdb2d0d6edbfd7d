//! The files of the built page.

use std::fs::File;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::response::Body;

/// A folder whose files are served, and nothing outside of it.
pub struct WebFolder {
    /// Without symbolic links.
    root: PathBuf,
}

impl WebFolder {
    /// Opens the folder of a built page.
    ///
    /// # Errors
    /// When it is not there or holds no page.
    pub fn open(folder: &Path) -> Result<Self> {
        let build = "`cargo xtask web` in the source tree builds the page into target/web";
        if !folder.is_dir() {
            bail!("there is no folder {}; {build}", folder.display());
        }
        if !folder.join("index.html").is_file() {
            bail!("{} holds no index.html; {build}", folder.display());
        }
        let root = folder
            .canonicalize()
            .with_context(|| format!("cannot open {}", folder.display()))?;
        Ok(Self { root })
    }

    /// The file at a decoded path such as `/app.js`; a folder stands for its `index.html`. Hidden files, and whatever a symbolic link leads to outside of the folder, are not there.
    pub fn find(&self, path: &str) -> Option<Body> {
        let mut file = self.root.clone();
        let name = match path.strip_suffix('/') {
            Some(folder) => format!("{folder}/index.html"),
            None => path.to_owned(),
        };
        for part in name.trim_start_matches('/').split('/') {
            if !is_plain(part) {
                return None;
            }
            file.push(part);
        }
        let file = file.canonicalize().ok()?;
        if !file.starts_with(&self.root) {
            return None;
        }
        Body::file(File::open(&file).ok()?, media_type(&file)).ok()
    }
}

/// Whether a part of a path is the name of a file on every system: no `..`, no drive, no separator, not hidden.
fn is_plain(part: &str) -> bool {
    let mut components = Path::new(part).components();
    let one = matches!(
        (components.next(), components.next()),
        (Some(Component::Normal(_)), None)
    );
    one && !part.starts_with('.') && !part.contains(['/', '\\', ':', '\0'])
}

/// What a browser is told that a file is, by its ending: it looks at nothing else (`nosniff`), and refuses modules and WebAssembly of another type.
pub fn media_type(path: &Path) -> &'static str {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("wasm") => "application/wasm",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("md" | "ts" | "txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_in_the_folder_is_found() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("web");
        std::fs::create_dir_all(root.join("package")).unwrap();
        std::fs::write(outer.path().join("secret"), "x").unwrap();
        assert!(WebFolder::open(&outer.path().join("nowhere")).is_err());
        assert!(WebFolder::open(&root).is_err());
        for file in ["index.html", "package/index.js", ".hidden"] {
            std::fs::write(root.join(file), "x").unwrap();
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("../secret", root.join("link")).unwrap();
            std::os::unix::fs::symlink("package", root.join("inside")).unwrap();
        }
        let web = WebFolder::open(&root).unwrap();
        for path in ["/", "/index.html", "/package/index.js"] {
            assert!(web.find(path).is_some(), "{path}");
        }
        for path in [
            "/../secret",
            "/package/../../secret",
            "/package/../index.html",
            "/./index.html",
            "//index.html/",
            "/..\\secret",
            "/C:/secret",
            "/.hidden",
            "/link",
            "/package",
            "/package/",
            "/package//index.js",
            "/index.html/",
            "/index.html\0",
            "/nothing",
        ] {
            assert!(web.find(path).is_none(), "{path}");
        }
        #[cfg(unix)]
        assert!(web.find("/inside/index.js").is_some());
    }
}
