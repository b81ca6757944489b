//! An image, unpacked.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A blob of a layout, by its digest.
fn blob(layout: &Path, digest: &Value) -> PathBuf {
    let (algorithm, hash) = digest.as_str().unwrap().split_once(':').unwrap();
    layout.join("blobs").join(algorithm).join(hash)
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Unpacks every layer, in order, and gives the image's configuration.
pub fn unpack(layout: &Path, root: &Path) -> Value {
    let index = json(&layout.join("index.json"));
    let manifest = json(&blob(layout, &index["manifests"][0]["digest"]));
    std::fs::create_dir_all(root).unwrap();
    for layer in manifest["layers"].as_array().unwrap() {
        let unpacked = Command::new("tar")
            .args(["--extract", "--gzip", "--no-same-owner", "--file"])
            .arg(blob(layout, &layer["digest"]))
            .arg("--directory")
            .arg(root)
            .status()
            .unwrap();
        assert!(unpacked.success());
    }
    json(&blob(layout, &manifest["config"]["digest"]))
}
