//! The lab's own PowerShell, asked by PowerShell's own client: `New-PSSession -HostName` over a program called `ssh` that is
//! `pcf-lab psrp-server`. What a client which Microsoft wrote cannot read, the lab says wrongly.
//!
//! Without an engine this test says that it is not run; with `PCF_ENGINES_REQUIRED=1` it fails.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use psrp::client::{Client, Error, PoolOptions};
use psrp::message::PipelineState;
use psrp::transport::server_mode::Program;
use serde_json::{Value, json};

/// A scenario whose mirror is installed long enough to be stopped within it; and two of the other cmdlets at once take less than one
/// after the other.
fn slow(directory: &Path) -> PathBuf {
    let scenario = directory.join("scenario.yaml");
    std::fs::write(&scenario, "mirrorMs: 60000\ncmdletMs: 400\n").unwrap();
    scenario
}

/// Runs the script with a fake `ssh` on its PATH; what it found, by what was tried.
fn found_by_the_script() -> Option<BTreeMap<String, Value>> {
    let engine = psrp::engine::for_tests(Path::new("")).expect("an engine is required")?;
    psrp::engine::driven("powershell_client", 1).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let scenario = slow(directory.path());
    let ssh = directory.path().join("ssh");
    let server = env!("CARGO_BIN_EXE_pcf-lab");
    let text = format!("#!/bin/sh\nexec {server} psrp-server --scenario {}\n", scenario.display());
    std::fs::write(&ssh, text).unwrap();
    std::fs::set_permissions(&ssh, std::fs::Permissions::from_mode(0o700)).unwrap();
    let path = std::env::join_paths(
        [directory.path().to_path_buf()]
            .into_iter()
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    )
    .unwrap();
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/powershell_client.ps1");
    // The same engine as in server mode, which is its last argument.
    let arguments = engine.arguments.iter().take(engine.arguments.len() - 1);
    let output = Command::new(&engine.path)
        .args(arguments)
        .arg("-File")
        .arg(script)
        .env("PATH", path)
        .output()
        .unwrap();
    let (said, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{said}\n{failed}", output.status);
    let lines = said.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok());
    Some(lines.map(|v| (v["what"].as_str().unwrap().to_string(), v["found"].clone())).collect())
}

#[test]
fn powershells_own_client_reads_all_that_the_lab_says() {
    let Some(found) = found_by_the_script() else { return };
    let of = |what: &str| found.get(what).unwrap_or_else(|| panic!("{what} is missing: {found:#?}"));
    assert_eq!(
        *of("session"),
        json!({"state": "Opened", "version": "5.1.14393.2248", "availability": "Available"})
    );
    assert_eq!(
        *of("answers"),
        json!({
            "count": 1, "type": "Deserialized.Microsoft.Rtc.Management.Xds.DisplayPersistentChatServer",
            "identity": "PersistentChatServer:chat.litwareinc.com", "pool": "chat.litwareinc.com",
            "active": ["atl-cs-1.litwareinc.com", "atl-cs-2.litwareinc.com"], "version": 6, "state": "Completed",
        })
    );
    assert_eq!(
        *of("enumeration"),
        json!({"shown": "Normal", "value": 0, "identity": "PersistentChatServer:chat.litwareinc.com"})
    );
    let error = of("writes an error");
    assert_eq!(error["id"], "ItemNotFound,Set-CsPersistentChatState");
    assert_eq!((&error["reason"], &error["written"]), (&json!("ItemNotFoundException"), &json!(1)));
    assert_eq!(
        (&error["message"], &error["state"]),
        (&json!("Cannot find the identity."), &json!("Completed"))
    );
    let error = of("fails: Set-CsPersistentChatState");
    assert_eq!(
        (&error["id"], &error["state"]),
        (&json!("InvalidOperation,Set-CsPersistentChatState"), &json!("Failed"))
    );
    let error = of("fails: Get-Nothing");
    assert_eq!((&error["id"], &error["state"]), (&json!("CommandNotFoundException"), &json!("Failed")));
    let script = of("script");
    assert_eq!(script["id"], "ScriptsNotAllowed");
    assert!(script["message"].as_str().unwrap().contains("not supported by this runspace"), "{script}");
    let warns = of("warns");
    assert_eq!((&warns["objects"], &warns["errors"]), (&json!(1), &json!(0)), "{warns}");
    let warnings: Vec<&str> =
        warns["warnings"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(
        matches!(warnings[..], [first, second] if first.starts_with("Test-CsDatabase encountered errors.")
        && second.starts_with("Detailed results can be found")),
        "{warnings:?}"
    );
    assert_eq!(*of("stops"), json!({"state": "Stopped", "thrown": "RemoteException", "soon": true}));
    assert_eq!(*of("goes on"), json!({"count": 1}));
    assert_eq!(of("closed")["state"], "Closed");
    let two = of("two at once");
    assert_eq!(two["counts"], json!([6, 6]));
    // One after the other they would take twice 400 ms.
    assert!(two["milliseconds"].as_u64().unwrap() < 800, "{two}");
    assert_eq!(*of("both closed"), json!({"states": ["Closed", "Closed"]}));
}

/// What PowerShell's own client has no use for over SSH: several pipelines in one pool. The operator's client has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operators_client_runs_two_at_once_in_one_pool_and_stops_one() {
    let directory = tempfile::tempdir().unwrap();
    let program = Program {
        path: env!("CARGO_BIN_EXE_pcf-lab").into(),
        arguments: vec!["psrp-server".into(), "--scenario".into(), slow(directory.path()).into()],
        environment: vec![],
    };
    let client = Client::program(program, PoolOptions { runspaces: 2, ..PoolOptions::default() });
    let command = |name: &str| psrp::message::Command { name: name.into(), parameters: vec![] };
    let limit = Duration::from_secs(20);
    let state = command("Get-CsPersistentChatState");
    client.invoke(&state, limit).await.unwrap();
    let began = Instant::now();
    let (one, other) = tokio::join!(client.invoke(&state, limit), client.invoke(&state, limit));
    assert_eq!(
        (one.unwrap().state, other.unwrap().state),
        (PipelineState::Completed, PipelineState::Completed)
    );
    assert!(began.elapsed() < Duration::from_millis(800), "{:?}", began.elapsed());
    let text = |t: &str| psrp::clixml::Value::text(t);
    let install = psrp::message::Command {
        name: "Install-CsMirrorDatabase".into(),
        parameters: vec![
            ("SqlServerFqdn".into(), text("atl-sql-1.litwareinc.com")),
            ("Confirm".into(), psrp::clixml::Value::Bool(false)),
        ],
    };
    let stopped = client.invoke(&install, Duration::from_millis(500)).await;
    assert!(matches!(stopped, Err(Error::Lost(_))), "{stopped:?}");
    // Its runspace is free again: two at once, as before.
    let (one, other) = tokio::join!(client.invoke(&state, limit), client.invoke(&state, limit));
    assert!(one.is_ok() && other.is_ok());
    client.close().await.unwrap();
}
