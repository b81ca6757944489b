//! The container image, packed from this build's programs, unpacked, and what is in it at work against the lab: its operator, with its own
//! loader and libraries, carries out a failover. What else must hold of the image is in `scripts/image-test.sh`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::image::unpack;
use common::manifests;
use common::scene::{Scene, quick};

/// Packs an image of the programs that are tested, and gives its OCI layout.
fn packed(into: &Path) -> PathBuf {
    let programs = Path::new(env!("CARGO_BIN_EXE_pcf-operator")).parent().unwrap();
    let out = into.join("image");
    let packed = Command::new(manifests().join("scripts/image.py"))
        .args(["--profile", "debug", "--binaries"])
        .arg(programs)
        .arg("--out")
        .arg(&out)
        .current_dir(manifests())
        .output()
        .unwrap();
    assert!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));
    std::fs::read_dir(&out)
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(|p| p.join("oci-layout").exists())
        .unwrap_or(out)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_the_image_fails_over() {
    let directory = tempfile::tempdir().unwrap();
    let layout = packed(directory.path());
    let root = directory.path().join("root");
    let config = unpack(&layout, &root);
    assert_eq!(config["config"]["User"], "65532:65532");
    assert_eq!(config["config"]["Cmd"], serde_json::json!(["run"]));
    let program = config["config"]["Entrypoint"][0].as_str().unwrap().trim_start_matches('/').to_string();
    // The image's own loader and libraries, without what only root may do.
    let wrapper = directory.path().join("operator");
    let script = format!(
        "#!/bin/sh\nexec '{root}/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2' --inhibit-cache --library-path '{root}/lib/x86_64-linux-gnu:{root}/usr/lib/x86_64-linux-gnu' '{root}/{program}' \"$@\"\n",
        root = root.display()
    );
    std::fs::write(&wrapper, script).unwrap();
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();

    let mut scene = Scene::set("image", quick()).await;
    scene.program = wrapper;
    scene.begin().await;
    let pid = scene.operator.as_ref().unwrap().id();
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let files = maps.lines().filter_map(|l| l.split_whitespace().nth(5)).filter(|f| f.contains(".so"));
    let foreign: Vec<&str> = files.filter(|f| !f.starts_with(root.to_str().unwrap())).collect();
    assert!(foreign.is_empty(), "libraries of this machine: {foreign:?}");
    scene.lose().await;
    scene.want(1);
    scene.wait_until_failed_over().await;
}
