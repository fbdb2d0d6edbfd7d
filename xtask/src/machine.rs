//! Is everything there that the checks need: rustfmt, clippy and a Vulkan driver (a software one will do)?
//! It looks for files rather than asking the driver: that would need wgpu, and minutes of build, in xtask. A driver that is
//! installed and does not work is found by the GPU tests themselves, which fail.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::command::{self, Workspace};
use crate::report::Done;

const DEBIAN_PACKAGES: [&str; 2] = ["mesa-vulkan-drivers", "libvulkan1"];

/// Installs what is missing when it may (root on Debian), otherwise fails with what to install.
pub fn check(workspace: &Workspace) -> Result<Done> {
    for (tool, component) in [("rustfmt", "rustfmt"), ("clippy-driver", "clippy")] {
        if !command::succeeds(workspace.command(tool).arg("--version")) {
            bail!("`{tool}` is missing: run `rustup component add {component}`");
        }
    }
    // Metal and DirectX 12 come with the system.
    if !cfg!(target_os = "linux") {
        return Ok(Done::Yes(
            "rustfmt, clippy; GPU interface of the system".into(),
        ));
    }
    if let Some(driver) = vulkan_driver(workspace) {
        return Ok(Done::Yes(format!(
            "rustfmt, clippy, Vulkan ({})",
            driver.display()
        )));
    }
    if may_install(workspace) {
        apt_get(workspace, &DEBIAN_PACKAGES)?;
        if let Some(driver) = vulkan_driver(workspace) {
            return Ok(Done::Yes(format!("installed {}", driver.display())));
        }
    }
    bail!(
        "no Vulkan driver found, and the GPU tests need one (a software driver will do). Install it and run this again:\n  \
         Debian, Ubuntu  apt-get install {}\n  \
         Fedora          dnf install mesa-vulkan-drivers vulkan-loader\n  \
         Arch            pacman -S vulkan-swrast vulkan-icd-loader",
        DEBIAN_PACKAGES.join(" ")
    )
}

/// Installs Debian packages; call only where [`may_install`].
pub fn apt_get(workspace: &Workspace, packages: &[&str]) -> Result<()> {
    let apt = |arguments: &[&str]| {
        let mut command = workspace.command("apt-get");
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .arg("-q")
            .args(arguments);
        command
    };
    command::run(&mut apt(&["update"]))?;
    command::run(apt(&["install", "--yes", "--no-install-recommends"]).args(packages))
}

/// Makes sure that a program is there: installs Debian's package of it when that may be done, otherwise fails with what to install.
pub fn program(workspace: &Workspace, name: &str, package: &str) -> Result<()> {
    let is_there = || command::succeeds(workspace.command(name).arg("--version"));
    if is_there() {
        return Ok(());
    }
    if may_install(workspace) {
        apt_get(workspace, &[package])?;
        if is_there() {
            return Ok(());
        }
    }
    bail!(
        "`{name}` is missing: install it (Debian, Ubuntu: apt-get install {package}) and run this again"
    )
}

/// Node with the packages of `web/package.json` in `web/node_modules`; returns that folder.
pub fn node_packages(workspace: &Workspace) -> Result<PathBuf> {
    program(workspace, "node", "nodejs")?;
    let web = workspace.root.join("web");
    let packages = web.join("node_modules");
    let changed = |path: PathBuf| std::fs::metadata(path).and_then(|file| file.modified());
    let installed = changed(packages.join(".package-lock.json"));
    let locked = changed(web.join("package-lock.json"));
    if !matches!((installed, locked), (Ok(installed), Ok(locked)) if installed >= locked) {
        program(workspace, "npm", "npm")?;
        let mut install = workspace.command("npm");
        install.args(["ci", "--no-audit", "--no-fund"]);
        command::run(install.current_dir(&web))?;
    }
    Ok(packages)
}

/// True for root on a Debian system, where a missing package can simply be installed.
pub fn may_install(workspace: &Workspace) -> bool {
    let root = command::output(workspace.command("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    root && Path::new("/etc/debian_version").exists()
}

/// The first driver description whose library is there, when the Vulkan loader is there too.
fn vulkan_driver(workspace: &Workspace) -> Option<PathBuf> {
    // The dynamic linker's own list; without it (musl) every library counts as present and the tests decide.
    let libraries = ["ldconfig", "/sbin/ldconfig"]
        .iter()
        .find_map(|program| command::output(workspace.command(program).arg("-p")).ok());
    let known = |name: &str| libraries.as_ref().is_none_or(|list| list.contains(name));
    if !known("libvulkan.so.1") {
        return None;
    }
    driver_files().into_iter().find(|file| {
        let Ok(text) = std::fs::read_to_string(file) else {
            return false;
        };
        let Some(library) = library_path(&text) else {
            return false;
        };
        match (Path::new(library).is_absolute(), library.contains('/')) {
            (true, _) => Path::new(library).exists(),
            (false, true) => file
                .parent()
                .is_some_and(|folder| folder.join(library).exists()),
            (false, false) => known(library),
        }
    })
}

/// Where the Vulkan loader looks for driver descriptions, in its order.
fn driver_files() -> Vec<PathBuf> {
    for variable in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"] {
        if let Some(list) = std::env::var_os(variable) {
            return std::env::split_paths(&list).collect();
        }
    }
    let mut folders: Vec<PathBuf> = ["/etc", "/usr/local/etc", "/usr/local/share", "/usr/share"]
        .map(PathBuf::from)
        .to_vec();
    for variable in ["XDG_CONFIG_DIRS", "XDG_DATA_DIRS", "XDG_DATA_HOME"] {
        folders.extend(
            std::env::var_os(variable)
                .iter()
                .flat_map(std::env::split_paths),
        );
    }
    let mut files: Vec<PathBuf> = folders
        .iter()
        .filter_map(|folder| std::fs::read_dir(folder.join("vulkan/icd.d")).ok())
        .flat_map(|entries| entries.flatten().map(|entry| entry.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    // The software driver first: the one that is sure to give an adapter.
    files.sort_by_key(|path| {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        (!name.starts_with("lvp"), path.clone())
    });
    files
}

/// The value of `"library_path"`; these files are one small object, so a JSON reader would be more than is needed.
fn library_path(description: &str) -> Option<&str> {
    let (_, rest) = description.split_once("\"library_path\"")?;
    let (_, rest) = rest.split_once('"')?;
    let (path, _) = rest.split_once('"')?;
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_library_of_a_driver() {
        let text = r#"{ "ICD": { "api_version": "1.3.230", "library_path": "/usr/lib/libvulkan_lvp.so" }, "file_format_version": "1.0.0" }"#;
        assert_eq!(library_path(text), Some("/usr/lib/libvulkan_lvp.so"));
        assert_eq!(library_path("{}"), None);
        assert_eq!(library_path("\"library_path\": \"cut"), None);
    }
}
