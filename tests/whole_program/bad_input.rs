//! Wrong Secrets, certificates, hosts, disks and hostile texts: each is told by its name, and nothing irreversible happens.
//! The same by day and by night.

use crate::common::matrix::{hold_first, until_held};
use crate::common::scene::{Scene, active_servers, backups, begun, quick, quick_in_the_other, server};
use crate::common::{Plane, manifests};
use lab::chat::SHELL_PASSWORD;
use lab::control_plane::Options;
use lab::scenario::Scenario;
use lab::sql::SQL_PASSWORD;
use lab::world::journal::Effect;

/// Nothing that the operator says anywhere holds a password.
fn assert_no_secret_is_told(scene: &Scene) {
    let said = [
        scene.object().to_string(),
        std::fs::read_to_string(scene.log()).unwrap(),
        scene.kubectl(&["get", "events", "-o", "yaml"], None),
        serde_json::to_string(&scene.lab.journal()).unwrap(),
    ];
    for text in said {
        for secret in [SQL_PASSWORD, SHELL_PASSWORD] {
            assert!(!text.contains(secret), "a password is told: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_logins_and_hosts_are_named_with_field_and_user() {
    let mut scene = Scene::set("certificates", quick()).await;
    let good = scene.lab.resource("litware");

    // Another CA: neither the SQL Servers nor the Management Shells can be trusted.
    let other = rcgen::generate_simple_self_signed(vec!["someone.else".into()]).unwrap().cert.pem();
    let at = good.find("ca.crt: ").unwrap() + 8;
    let end = at + good[at..].find('\n').unwrap();
    let foreign = format!("{}{}{}", &good[..at], serde_json::Value::String(other), &good[end..]);
    scene.apply(&foreign);
    scene.start_operator();
    let message = scene.wait_for("FailoverReady", "False", "CertificateInvalid").await;
    for part in ["spec.dataCenters[1].sqlServer", "sea-sql-1.litwareinc.com", "caRef"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert_no_secret_is_told(&scene);

    // Mended: the operator sees it by itself.
    scene.apply(&good);
    scene.wait_for("FailoverReady", "True", "Completed").await;

    // The Management Shell refuses the logon.
    scene.lab.fault("refuse-shell-login", &["sea-fe-1.litwareinc.com".into()]).unwrap();
    let message = scene.wait_for("FailoverReady", "False", "LoginRefused").await;
    for part in ["spec.dataCenters[1].managementShell", "sea-fe-1.litwareinc.com", r"LITWARE\pcf"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    scene.lab.fault("accept-shell-login", &["sea-fe-1.litwareinc.com".into()]).unwrap();
    scene.wait_for("FailoverReady", "True", "Completed").await;

    // SQL Server refuses the login.
    scene.lab.fault("refuse-login", &["sea-sql-1.litwareinc.com".into()]).unwrap();
    let message = scene.wait_for("FailoverReady", "False", "LoginRefused").await;
    for part in
        ["spec.dataCenters[1].sqlServer", "sea-sql-1.litwareinc.com", "seattle-sql", "Login failed for user"]
    {
        assert!(message.contains(part), "{part}: {message}");
    }
    scene.lab.fault("accept-login", &["sea-sql-1.litwareinc.com".into()]).unwrap();
    scene.wait_for("FailoverReady", "True", "Completed").await;

    // A Secret that is gone.
    scene.kubectl(&["delete", "secret", "seattle-sql"], None);
    let message = scene.wait_for("FailoverReady", "False", "SecretUnusable").await;
    assert!(
        message.contains("seattle-sql") && message.contains("spec.dataCenters[1].sqlServer"),
        "{message}"
    );
    scene.apply(&good);
    scene.wait_for("FailoverReady", "True", "Completed").await;

    // A side that cannot be reached.
    scene.lab.lose("seattle").await.unwrap();
    let message = scene.wait_for("FailoverReady", "False", "HostUnreachable").await;
    for part in ["spec.dataCenters[1].sqlServer", "sea-sql-1.litwareinc.com:1433"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert_eq!(scene.writes(), Vec::<String>::new());
    assert_no_secret_is_told(&scene);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disks_close_the_right_gate_and_are_waited_for() {
    let mut scene = Scene::ready("disks", quick()).await;
    let names = backups(&scene.lab);
    let last = scene.lab.backup_shares()[1].join(names.last().unwrap());
    let length = std::fs::metadata(&last).unwrap().len();
    // A backup that no disk of this machine can take.
    scene.lab.fault("grow-backup", &[names.last().unwrap().clone(), "8000000000000".into()]).unwrap();
    scene.lose().await;
    scene.patch(r#"{"activeDataCenter":"seattle"}"#);
    let message = scene.wait_for("PreflightPassed", "False", "DiskFull").await;
    assert!(
        message.contains("spec.dataCenters[1].logShipping.copyFolder") && message.contains("bytes free"),
        "{message}"
    );
    scene.assert_nothing_moves().await;
    std::fs::OpenOptions::new().write(true).open(&last).unwrap().set_len(length).unwrap();

    // The disk of the SQL Server is full: nothing is applied, nothing is recovered, and the moment there is room it goes on.
    scene.lab.fault("disk-full", &["sea-sql-1.litwareinc.com".into(), "on".into()]).unwrap();
    let message = scene.wait_for("LogBackupsApplied", "False", "DiskFull").await;
    assert!(message.contains("sea-sql-1.litwareinc.com"), "{message}");
    assert!(!scene.writes().iter().any(|w| w.contains("WITH RECOVERY")));
    // A Central Management store that takes no change: told, and waited for.
    scene.lab.fault("cms-read-only", &["on".into()]).unwrap();
    scene.lab.fault("disk-full", &["sea-sql-1.litwareinc.com".into(), "off".into()]).unwrap();
    scene.wait_for_text("PoolStateSet", "False", "EffectFailed", "read-only mode").await;
    scene.lab.fault("cms-read-only", &["off".into()]).unwrap();
    scene.wait_until_failed_over().await;
    assert_no_secret_is_told(&scene);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_texts_of_the_outside_systems_stay_texts() {
    // Names as an attacker would give them: in the world, in files, in what servers answer.
    let hostile = "x'; DROP DATABASE mgc; --\u{1b}[2J\n{\"level\":\"ERROR\",\"forged\":true}";
    let scenario = Scenario { hostile_text: Some(hostile.into()), ..quick() };
    let mut scene = Scene::ready("hostile", scenario).await;
    std::fs::write(scene.lab.backup_shares()[1].join("mgc_\u{1b}[2J'; SHUTDOWN --.trn"), b"x").unwrap();
    scene.lose().await;
    scene.patch(r#"{"activeDataCenter":"seattle"}"#);
    scene.wait_until_failed_over().await;
    let texts = [scene.object().to_string(), std::fs::read_to_string(scene.log()).unwrap()];
    for text in texts {
        // As JSON a control character would be written \u001b; decoded it must not be there at all.
        assert!(!text.contains("\\u001b") && !text.contains('\u{1b}'), "{text}");
    }
    for line in std::fs::read_to_string(scene.log()).unwrap().lines() {
        let entry: serde_json::Value =
            serde_json::from_str(line).expect("every line of the log is one JSON object");
        assert!(entry.get("forged").is_none(), "{line}");
    }
    // Whatever was sent, the servers understood nothing that is not ours.
    let understood: std::collections::BTreeSet<String> =
        scene.lab.journal().into_iter().filter(|e| e.effect == Effect::Write).map(|e| e.name).collect();
    for name in &understood {
        assert!(!name.contains("DROP DATABASE") && !name.contains("SHUTDOWN"), "{understood:?}");
    }
    assert!(understood.contains("ALTER USER"), "the hostile user was mapped to its login: {understood:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_shipping_that_somebody_changes_during_a_failover_stops_it_before_anything_is_missed() {
    let mut scene = Scene::ready("shipping_changed", quick()).await;
    let host = scene.data_center(1).sql_server.clone();
    let reads_from = |scene: &Scene, share: &str| {
        let mut world = scene.lab.world().now();
        let half = &mut world.sql.get_mut(&host).unwrap().log_shipping[0];
        std::mem::replace(&mut half.source, share.into())
    };
    hold_first(&scene, &["EXEC sp_update_job"]);
    scene.lab.lose("atlanta").await.unwrap();
    scene.lab.fail_over_central_management("seattle");
    scene.want(1);
    until_held(&scene, "EXEC sp_update_job").await;
    let was = reads_from(&scene, r"\\new-fs-1\mgc-logs");
    scene.let_go();
    let message = scene.wait_for("Stalled", "True", "InvalidSpec").await;
    for part in ["spec.dataCenters[1].logShipping.backupShare", r"\\new-fs-1\mgc-logs", "Correct"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    for effect in ["EXEC sp_delete_log_shipping_secondary_database", "RESTORE LOG"] {
        assert!(!begun(&scene.lab, 0, effect), "{effect}");
    }
    reads_from(&scene, &was);
    scene.wait_until_failed_over().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_of_somebody_else_with_a_name_of_log_shipping_is_named_and_not_touched() {
    let scene = Scene::ready("foreign_job", quick()).await;
    let host = scene.data_center(1).sql_server.clone();
    const NAME: &str = r"LSRestore_ATL-SQL-1\CHAT_mgc";
    scene.suspend().await;
    scene.lab.fault("remove-log-shipping", std::slice::from_ref(&host)).unwrap();
    scene.lab.fault("foreign-job", &[host.clone(), NAME.into()]).unwrap();
    scene.patch(r#"{"suspend":false}"#);
    let message = scene.wait_for("FailoverReady", "False", "LogShippingDiffers").await;
    for part in [NAME, r"SEA-SQL-1\CHAT", "Rename or delete that job"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    // Chat serves all the same.
    scene.wait_for("Ready", "True", "Active").await;
    scene.assert_nothing_moves().await;
    let jobs = server(&scene.lab, &host)["jobs"].take();
    assert_eq!(jobs.as_array().unwrap().len(), 1, "{jobs}");
    scene.lab.fault("delete-job", &[host.clone(), NAME.into()]).unwrap();
    scene.wait_for("FailoverReady", "True", "Completed").await;
    assert_eq!(server(&scene.lab, &host)["logShipping"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_active_server_that_the_topology_does_not_know_is_named_and_nothing_is_set() {
    let scene = Scene::ready("unknown_server", quick()).await;
    let gone = scene.data_center(0).servers[1].clone();
    scene.lab.fault("unpublish-server", std::slice::from_ref(&gone)).unwrap();
    let message = scene.wait_for("Stalled", "True", "TopologyMismatch").await;
    for part in [gone.as_str(), "spec.dataCenters[0].servers", "activeServers"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    scene.assert_nothing_moves().await;
    let mut centers = scene.object()["spec"]["dataCenters"].take();
    centers[0]["servers"].as_array_mut().unwrap().retain(|s| *s != gone.as_str());
    scene.patch(&serde_json::json!({"dataCenters": centers}).to_string());
    scene.wait_for("Ready", "True", "Active").await;
    assert_eq!(active_servers(&scene.lab), scene.data_center(0).servers[..1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_somebody_else_where_the_mirror_should_be_is_named_and_not_touched() {
    let beginnings = [(0, quick()), (1, quick_in_the_other())];
    let [first, second] = beginnings.map(|(n, scenario)| async move {
        let scene = Scene::ready(&format!("foreign_mirror_{n}"), scenario).await;
        let host = scene.data_center(n).mirror.clone();
        scene.lab.fault("foreign-mirror-database", std::slice::from_ref(&host)).unwrap();
        let foreign = server(&scene.lab, &host)["databases"].take();
        let message = scene.wait_for("Stalled", "True", "DatabaseState").await;
        let name = server(&scene.lab, &host)["serverName"].as_str().unwrap().to_string();
        for part in [name, "mgc".into(), format!("spec.dataCenters[{n}].mirror"), "move it away".into()] {
            assert!(message.contains(&part), "{part}: {message}");
        }
        scene.wait_for("Redundant", "False", "NotConfigured").await;
        scene.assert_nothing_moves().await;
        assert_eq!(server(&scene.lab, &host)["databases"], foreign);
        // Its owner moves it away: the mirror is built.
        scene.lab.world().now().sql.get_mut(&host).unwrap().databases.clear();
        scene.wait_for("Ready", "True", "Active").await;
        assert!(begun(&scene.lab, 0, "Install-CsMirrorDatabase"));
    });
    tokio::join!(first, second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_definition_an_old_one_a_newer_one_and_a_missing_right_are_told_in_one_sentence() {
    let plane = Plane::own(Options::default());
    let mut scene = Scene::set_on(plane.clone(), "bad_cluster", quick()).await;
    let crd = "crd/persistentchatfailovers.persistentchat.dev";
    plane.kubectl(&["delete", crd, "--wait=true"], None).unwrap();
    scene.start_operator();
    scene.until("a word on the definition", || scene.log_says("its definition is missing")).await;

    // Mended, but with the definition of another version, which knows less of a status.
    let file = manifests().join("crds/persistentchatfailovers.persistentchat.dev.yaml");
    let text = std::fs::read_to_string(file).unwrap();
    let json = plane.kubectl(&["create", "--dry-run=client", "-o", "json", "-f", "-"], Some(&text)).unwrap();
    let mut old: serde_json::Value = serde_json::from_str(&json).unwrap();
    let status = &mut old["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"];
    assert!(status["properties"].as_object_mut().unwrap().remove("wish").is_some());
    plane.kubectl(&["apply", "--server-side", "-f", "-"], Some(&old.to_string())).unwrap();
    plane.kubectl(&["wait", "--for=condition=Established", crd, "--timeout=30s"], None).unwrap();
    scene.apply(&scene.lab.resource("litware"));
    scene
        .until("a word on the old definition", || {
            scene.log_says("the definition of the resource is older than the operator")
        })
        .await;
    plane.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "-"], Some(&text)).unwrap();
    scene.wait_for("Ready", "True", "Active").await;

    // A newer one, and a resource that uses what is new in it: what that asks for, this operator cannot know.
    let mut newer: serde_json::Value = serde_json::from_str(&json).unwrap();
    let schema = &mut newer["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    schema["properties"]["quorum"] = serde_json::json!({"type": "integer"});
    plane
        .kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "-"], Some(&newer.to_string()))
        .unwrap();
    scene
        .until("the newer definition is served", || {
            // The API server takes it up by and by; until then it prunes the field.
            scene.patch(r#"{"quorum":3}"#);
            scene.object()["spec"]["quorum"] == 3
        })
        .await;
    let message = scene.wait_for("Stalled", "True", "NotSupported").await;
    assert!(
        message.contains("does not know spec.quorum") && message.contains("Upgrade the operator"),
        "{message}"
    );
    scene.patch(r#"{"quorum":null}"#);
    scene.wait_for("Ready", "True", "Active").await;
    scene.kill_operator();

    let role = r#"[{"op":"remove","path":"/rules/0"}]"#;
    scene.kubectl(&["patch", "role/pcf-operator", "--type=json", "-p", role], None);
    scene.start_operator();
    scene
        .until("a word on the right", || scene.log_says("may not list and watch persistentchatfailovers"))
        .await;
    let log = std::fs::read_to_string(scene.log()).unwrap();
    assert_eq!(log.matches("may not list and watch").count(), 1, "once, not with every try");
}
