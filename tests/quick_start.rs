//! The quick start of README, as it stands: what a newcomer types, typed by a test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{count, manifests};
use serde_json::Value;

/// The blocks of commands in a section of README.
fn blocks(section: &str) -> Vec<String> {
    let readme = std::fs::read_to_string(manifests().join("README.md")).unwrap();
    let from = readme.find(section).unwrap_or_else(|| panic!("README has no section {section:?}"));
    let rest = &readme[from + section.len()..];
    let text = &rest[..rest.find("\n## ").unwrap_or(rest.len())];
    text.split("```").skip(1).step_by(2).map(|block| block.trim_start_matches("sh").to_string()).collect()
}

/// Where the lab's files are, as the Makefile has it.
fn lab() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    manifests().join(target).join("lab")
}

/// `make lab`, in a group of its own: Ctrl-C reaches all of it.
struct Terminal(Child);

impl Terminal {
    fn interrupt(&mut self) {
        common::signal_group(self.0.id(), "INT");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        common::signal_group(self.0.id(), "KILL");
        self.0.wait().unwrap();
    }
}

fn run(commands: &str) -> String {
    // As they stand, but for where somebody has put the build.
    let text = commands.replace("target/lab", &lab().display().to_string());
    let mut shell = Command::new("bash")
        .args(["-euo", "pipefail"])
        .current_dir(manifests())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    shell.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let out = shell.wait_with_output().unwrap();
    let told = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{}:\n{told}", out.status);
    told
}

fn wait_until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: did not come");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_newcomer_plays_with_a_lost_data_centre() {
    count("a_newcomer_plays_with_a_lost_data_centre");
    let [start, play] = &blocks("\n## Play with it\n")[..] else {
        panic!("two blocks, one for each terminal")
    };
    assert_eq!(start.trim(), "make lab");
    let env = lab().join("env");
    if env.exists() {
        std::fs::remove_file(&env).unwrap();
    }
    let mut command = Command::new("make");
    command.arg("lab").current_dir(manifests()).process_group(0).stdin(Stdio::null());
    let log = std::fs::File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("make-lab.log")).unwrap();
    command.stdout(log.try_clone().unwrap()).stderr(log);
    let mut terminal = Terminal(command.spawn().unwrap());
    wait_until("a lab to play with", Duration::from_secs(300), || {
        assert!(terminal.0.try_wait().unwrap().is_none(), "make lab has ended");
        env.exists()
    });
    let told = run(play);
    assert!(told.contains("seattle"), "{told}");
    let state: Value = serde_json::from_str(&run(". target/lab/env; pcf-lab state")).unwrap();
    assert_eq!(state["chat"]["serving"], true, "{state}");
    assert_eq!(state["chat"]["poolState"], "FailedOver");
    terminal.interrupt();
    let socket = lab().join("control.sock");
    wait_until("the end of the lab", Duration::from_secs(30), || {
        std::os::unix::net::UnixStream::connect(&socket).is_err()
    });
}
