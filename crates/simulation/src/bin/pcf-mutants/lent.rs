//! What is built already of the libraries of others, lent to the builds of mutants: it is the same for all of them, and takes longer than
//! all that is ours.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::process::Command;

/// Links what a target folder holds of the libraries of others into another, if that is still empty. What it lacks is built there as ever;
/// what is of the workspace itself is left out, since that is what is built anew.
///
/// # Errors
/// Those of the file system, and of `cargo metadata`.
pub fn lend(workspace: &Path, from: &Path, to: &Path) -> io::Result<()> {
    if to.exists() || !from.exists() {
        return Ok(());
    }
    let ours = ours(workspace)?;
    for folder in [".fingerprint", "build", "deps"] {
        if from.join(folder).exists() {
            link(&from.join(folder), &to.join(folder), &|name| !ours.contains(library(name)))?;
        }
    }
    Ok(())
}

/// The library that a file or folder of a target folder is of: `libname-0123456789abcdef.rlib`, `name-0123456789abcdef`.
fn library(name: &str) -> &str {
    let name = name.rsplit_once('-').map_or(name, |(name, _)| name);
    name.strip_prefix("lib").unwrap_or(name)
}

/// Names of the workspace's packages and of all that they build.
fn ours(workspace: &Path) -> io::Result<BTreeSet<String>> {
    let out = Command::new("cargo")
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(workspace)
        .output()?;
    let told: serde_json::Value = serde_json::from_slice(&out.stdout).map_err(|e| {
        io::Error::other(format!("cargo metadata: {e}: {}", String::from_utf8_lossy(&out.stderr)))
    })?;
    let packages = told["packages"].as_array().into_iter().flatten();
    let names = packages.flat_map(|p| {
        let targets = p["targets"].as_array().into_iter().flatten();
        targets.chain(std::iter::once(p)).filter_map(|named| named["name"].as_str())
    });
    // As files are called, and as folders are.
    Ok(names.flat_map(|name| [name.to_string(), name.replace('-', "_")]).collect())
}

fn link(from: &Path, to: &Path, wanted: &dyn Fn(&str) -> bool) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if !wanted(&name.to_string_lossy()) {
            continue;
        }
        let target = to.join(&name);
        if entry.file_type()?.is_dir() {
            // Below, everything belongs to the library that its folder is named after.
            link(&entry.path(), &target, &|_| true)?;
        } else {
            std::fs::hard_link(entry.path(), target)?;
        }
    }
    Ok(())
}
