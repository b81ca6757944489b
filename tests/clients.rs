//! The simulator against clients that others wrote: what they understand is not a private agreement of ours.
//! The same by day and by night.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::Command;

use lab::scenario::{CbtHardeningLevel, Scenario, WinRm};
use lab::serve::Lab;
use sha2::{Digest as _, Sha256};

fn run(c: &mut Command) -> String {
    let out = c.output().unwrap_or_else(|e| panic!("{c:?}: {e}"));
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{c:?} failed:\n{said}");
    said
}

/// A Python with the pinned clients, made once and kept in the user's cache.
fn python() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let requirements = folder.join("requirements.txt");
    let hash = Sha256::digest(std::fs::read(&requirements).unwrap());
    let key: String = hash.iter().take(6).map(|b| format!("{b:02x}")).collect();
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache"));
    let venv = cache.join("persistent-chat-failover").join(format!("clients-{key}"));
    let python = venv.join("bin/python");
    if !venv.join("complete").exists() {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
        run(Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
            .arg(&requirements));
        std::fs::write(venv.join("complete"), "").unwrap();
    }
    python
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_others_log_in_ask_and_are_refused_as_by_the_real_servers() {
    let python = tokio::task::block_in_place(python);
    let directory = tempfile::tempdir().unwrap();
    let win_rm = WinRm { cbt_hardening_level: CbtHardeningLevel::Strict, ..WinRm::default() };
    let scenario = Scenario { win_rm, ..Scenario::default() };
    let lab = Lab::start(scenario, directory.path()).await.unwrap();
    let description = directory.path().join("lab.json");
    std::fs::write(
        &description,
        lab.description(None, &directory.path().join("resource.yaml"), &lab.operator_env()).to_string(),
    )
    .unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/check.py");
    let said = tokio::task::block_in_place(|| run(Command::new(python).arg(script).arg(&description)));
    assert_eq!(said.lines().filter(|l| l.starts_with("ok ")).count(), 9, "{said}");
}
