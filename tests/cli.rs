//! `kubectl pcf` against a real API server and a lab. The same by day and by night.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::process::{Command, Output};

use common::plane;
use common::scene::{Scene, quick};

fn pcf(scene: &Scene, arguments: &[&str]) -> Output {
    // As kubectl runs it: a program `kubectl-pcf` on the PATH.
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_kubectl-pcf"));
    let path =
        format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap_or_default());
    Command::new(plane().kubectl_path())
        .arg("pcf")
        .args(arguments)
        .args(["-n", &scene.namespace])
        .env("PATH", path)
        .env("KUBECONFIG", plane().admin_kubeconfig())
        .envs(scene.lab.operator_env())
        .output()
        .unwrap()
}

fn shown(o: &Output) -> String {
    assert!(o.status.success(), "{}", String::from_utf8_lossy(&o.stderr));
    String::from_utf8_lossy(&o.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_plan_and_report_tell_the_whole_story_and_write_nothing() {
    let mut scene = Scene::ready("cli", quick()).await;
    let file = scene.directory.path().join("resource.yaml");
    std::fs::write(&file, scene.lab.resource("litware")).unwrap();
    let file = file.to_str().unwrap().to_string();

    // Nothing has happened.
    let text = shown(&pcf(&scene, &["status", "litware"]));
    assert!(text.contains("active: atlanta   wanted: atlanta"), "{text}");
    let text = shown(&pcf(&scene, &["plan", "litware"]));
    assert!(text.contains("Nothing: atlanta is active"), "{text}");
    let none = pcf(&scene, &["report", "litware"]);
    assert!(!none.status.success());
    assert!(String::from_utf8_lossy(&none.stderr).contains("no transition"));

    // While the primary lives, a failover would be refused, and it is said why.
    let text = shown(&pcf(&scene, &["plan", "litware", "--to", "seattle"]));
    assert!(text.contains("answers") && text.contains("WHAT STANDS IN THE WAY"), "{text}");

    // After the loss: every statement, without a cluster, and nothing is written.
    scene.lose().await;
    let text = shown(&pcf(&scene, &["plan", "-f", &file, "--to", "seattle"]));
    for part in [
        "sp_delete_log_shipping_secondary_database",
        "RESTORE LOG",
        "THE POINT OF NO RETURN",
        "WITH RECOVERY",
        "Set-CsPersistentChatState",
        "Install-CsMirrorDatabase",
        "Set-CsPersistentChatActiveServer",
        "Nothing that can be seen from here",
    ] {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
    assert_eq!(scene.writes(), Vec::<String>::new());

    scene.patch(r#"{"activeDataCenter":"seattle"}"#);
    scene.wait_for("LogShippingRemoved", "True", "Completed").await;
    let text = shown(&pcf(&scene, &["status", "litware"]));
    assert!(
        text.contains("Failover") && text.contains("from atlanta to seattle") && text.contains("["),
        "{text}"
    );
    scene.wait_until_failed_over().await;
    scene.wait_until_at_rest().await;
    let text = shown(&pcf(&scene, &["report", "litware"]));
    assert!(text.contains("Kept for certain: everything until") && text.contains("mgccomp"), "{text}");
    let json = shown(&pcf(&scene, &["status", "litware", "-o", "json"]));
    let status: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(status["activeDataCenter"], "seattle");

    // What was decided can be decided again, without a cluster and without the servers: from a plan, from the status, from the log.
    let recorded = shown(&pcf(&scene, &["plan", "litware", "-o", "json"]));
    assert!(!recorded.contains(lab::sql::SQL_PASSWORD) && !recorded.contains(lab::chat::SHELL_PASSWORD));
    let object = scene.object().to_string();
    let log = std::fs::read_to_string(scene.log()).unwrap();
    for (name, text, said) in [
        ("plan.json", recorded.as_str(), "next: Settled"),
        ("resource.json", object.as_str(), "next: Settled"),
        ("operator.log", log.as_str(), "next: Act DatabaseOnline"),
    ] {
        let path = scene.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        let text = shown(&pcf(&scene, &["replay", path.to_str().unwrap()]));
        assert!(text.contains(said), "{name}: {said} is missing:\n{text}");
    }

    // Bad input.
    std::fs::write(scene.directory.path().join("bad.json"), "{\"schema\": 99, \"situation\": {}}").unwrap();
    let bad = scene.directory.path().join("bad.json").to_str().unwrap().to_string();
    let no_recording = pcf(&scene, &["replay", &bad]);
    assert!(String::from_utf8_lossy(&no_recording.stderr).contains("schema 99"));
    for (arguments, said) in [
        (vec!["status", "nobody"], "nobody"),
        (vec!["status", "litware", "-o", "xml"], "only json"),
        (vec!["plan", "-f", "/nowhere.yaml"], "/nowhere.yaml"),
    ] {
        let o = pcf(&scene, &arguments);
        assert!(!o.status.success());
        assert!(String::from_utf8_lossy(&o.stderr).contains(said), "{arguments:?}");
    }
}
