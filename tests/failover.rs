//! The whole program on a real API server: the failover, killed anywhere, and everything that must not move.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::time::{Duration, Instant};

use common::{Scene, plane, quick};
use lab::scenario::{Authentication, Scenario};
use lab::serve::Lab;
use lab::world::journal::{Effect, Outcome};

fn running(lab: &Lab, name: &str) -> bool {
    lab.journal().iter().any(|e| e.name == name && e.outcome == Outcome::Running)
}
fn begun(lab: &Lab, name: &str) -> bool {
    lab.journal().iter().any(|e| e.name == name && e.effect == Effect::Write && e.client != "SQLAgent")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_within_each_step_a_new_process_completes_the_failover() {
    killed_within_each_step("killed_within_each_step", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_within_each_step_and_the_resource_created_anew_the_failover_completes() {
    killed_within_each_step("created_anew_within_each_step", true).await;
}

/// kill -9 once within each step, and a new process each time; with `anew`, the resource is deleted meanwhile and created
/// again without its status.
async fn killed_within_each_step(test: &str, anew: bool) {
    let scenario = Scenario {
        restore_ms: 600,
        recovery_ms: 900,
        mirror_ms: 3000,
        replication_ms: 1500,
        cmdlet_ms: 150,
        ..quick()
    };
    let mut scene = Scene::ready(test, scenario).await;
    scene.lose().await;
    scene.patch(r#"{"activeDataCenter":"seattle"}"#);
    type Moment = (&'static str, fn(&Scene) -> bool);
    let moments: [Moment; 9] = [
        ("0 preflight", |s| s.object()["status"]["step"] == "PreflightPassed"),
        ("1 log shipping", |s| begun(&s.lab, "EXEC sp_update_job")),
        ("2 copy", |s| {
            let files = std::fs::read_dir(s.lab.copy_folder()).unwrap().flatten();
            files.filter(|f| f.file_name().to_string_lossy().contains(".trn")).count() > 5
        }),
        ("3 restore", |s| running(&s.lab, "RESTORE LOG")),
        ("4 recovery", |s| running(&s.lab, "RESTORE DATABASE WITH RECOVERY")),
        ("5 pool state", |s| begun(&s.lab, "Set-CsPersistentChatState")),
        ("6 mirror", |s| running(&s.lab, "Install-CsMirrorDatabase")),
        ("7 active servers", |s| begun(&s.lab, "Set-CsPersistentChatActiveServer")),
        ("8 serving", |s| {
            s.object()["status"]["transition"]["steps"][7]["state"] == "Done"
                || s.condition("Ready").is_some_and(|c| c["status"] == "True")
        }),
    ];
    for (name, moment) in moments {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !moment(&scene) {
            assert!(Instant::now() < deadline, "the moment {name:?} did not come: {:?}", scene.writes());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        scene.kill_operator();
        if anew {
            scene.kubectl(&["delete", "pcf/litware", "--wait=true"], None);
            let wanted = scene
                .lab
                .resource("litware")
                .replace("activeDataCenter: atlanta", "activeDataCenter: seattle");
            scene.apply(&wanted);
        }
        scene.start_operator();
    }
    scene.wait_until_failed_over().await;
    // The long cmdlet was started once and never again, whoever looked after it.
    assert_eq!(scene.lab.journal().iter().filter(|e| e.name == "Install-CsMirrorDatabase").count(), 1);
    // One log backup was cut off with its session; each was applied exactly once.
    let mut applied: Vec<_> = scene
        .lab
        .journal()
        .into_iter()
        .filter(|e| e.name == "RESTORE LOG" && e.outcome == Outcome::Ok)
        .map(|e| e.target.unwrap())
        .collect();
    let all = applied.len();
    applied.dedup();
    assert_eq!((all, applied.len()), (4, 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resource_created_anew_without_status_goes_on_and_an_old_manifest_moves_nothing() {
    let mut scene = Scene::ready("created_anew", quick()).await;
    scene.lose().await;
    scene.patch(r#"{"activeDataCenter":"seattle"}"#);
    let deadline = Instant::now() + Duration::from_secs(60);
    while !running(&scene.lab, "RESTORE LOG") {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    scene.kill_operator();
    let old = scene.lab.resource("litware");
    scene.kubectl(&["delete", "pcf/litware", "--wait=true"], None);
    scene.apply(&old.replace("activeDataCenter: atlanta", "activeDataCenter: seattle"));
    scene.start_operator();
    scene.wait_until_failed_over().await;
    // Whoever watches the namespace was told, once each.
    let events: serde_json::Value =
        serde_json::from_str(&scene.kubectl(&["get", "events.events.k8s.io", "-o", "json"], None)).unwrap();
    let reasons: Vec<&str> =
        events["items"].as_array().unwrap().iter().filter_map(|e| e["reason"].as_str()).collect();
    for reason in
        ["LogShippingRemoved", "DatabaseOnline", "MirrorEstablished", "Completed", "ComplianceNotFailedOver"]
    {
        assert_eq!(reasons.iter().filter(|r| **r == reason).count(), 1, "{reason}: {reasons:?}");
    }
    let history = scene.object()["status"]["history"].as_array().unwrap().clone();
    assert_eq!(history.len(), 1, "the record survived the resource");

    // An old manifest, as a Git revert or a restored backup would apply it.
    let before = scene.writes();
    scene.apply(&old);
    let message = scene.wait_for("Stalled", "True", "ActiveDataCenterDrifted").await;
    assert!(message.contains("seattle is active"), "{message}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(scene.writes(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http_with_ntlm_every_message_is_sealed_and_a_standby_copy_is_taken_over() {
    let scenario = Scenario { authentication: Authentication::Negotiate, standby: true, ..quick() };
    let mut scene = Scene::ready("negotiate", scenario).await;
    scene.lose().await;
    scene.patch(r#"{"activeDataCenter":"seattle"}"#);
    scene.wait_until_failed_over().await;
    assert!(begun(&scene.lab, "Install-CsMirrorDatabase"));
    // What was removed can be set up again by hand.
    let id = scene.object()["status"]["history"][0]["id"].as_str().unwrap().to_string();
    let script =
        std::fs::read_to_string(scene.lab.copy_folder().join(format!("log-shipping-{id}.sql"))).unwrap();
    assert!(
        script.contains("sp_add_log_shipping_secondary_primary") && script.contains(r"\\sea-fs-1\mgc-logs"),
        "{script}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_operators_do_each_thing_once() {
    let mut scene = Scene::ready("two_operators", quick()).await;
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_pcf-operator"));
    let log = scene.directory.path().join("second.log");
    let mut second =
        lab::serve::demo::start_operator(&scene.lab, plane(), program, &scene.namespace, &log).unwrap();
    scene.lose().await;
    scene.patch(r#"{"activeDataCenter":"seattle"}"#);
    scene.wait_until_failed_over().await;
    second.kill().unwrap();
    second.wait().unwrap();
    assert_eq!(scene.lab.journal().iter().filter(|e| e.name == "Install-CsMirrorDatabase").count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_its_target_a_new_resource_is_ready_idle_and_writes_nothing() {
    let scene = Scene::ready("at_target", quick()).await;
    scene.assert_nothing_moves().await;
    // Idle means no write to the API server either.
    let version = scene.object()["metadata"]["resourceVersion"].clone();
    let account = format!("system:serviceaccount:{}:pcf-operator", scene.namespace);
    let writes = || {
        plane()
            .audit_log()
            .lines()
            .filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok())
            .filter(|e| {
                e["user"]["username"] == account.as_str()
                    && ["create", "update", "patch", "delete"]
                        .contains(&e["verb"].as_str().unwrap_or_default())
            })
            .count()
    };
    let before = writes();
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!((scene.object()["metadata"]["resourceVersion"].clone(), writes()), (version, before));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_that_a_restored_cluster_rolled_back_is_written_again() {
    let scene = Scene::ready("rolled_back", quick()).await;
    let old = r#"{"status":{"activeDataCenter":"seattle","conditions":[{"type":"Ready","status":"False","reason":"Old","message":"",
        "lastTransitionTime":"2026-01-01T00:00:00Z"}]}}"#;
    scene.kubectl(&["patch", "pcf/litware", "--subresource=status", "--type=merge", "-p", old], None);
    scene.wait_for("Ready", "True", "Active").await;
    assert_eq!(scene.object()["status"]["activeDataCenter"], "atlanta");
    scene.assert_nothing_moves().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_answers_is_not_failed_over() {
    let scene = Scene::ready("primary_answers", quick()).await;
    scene.patch(r#"{"activeDataCenter":"seattle"}"#);
    let message = scene.wait_for("PreflightPassed", "False", "PrimaryAlive").await;
    assert!(message.contains("answers"), "{message}");
    scene.wait_for("Stalled", "True", "PrimaryAlive").await;
    scene.assert_nothing_moves().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_login_is_a_sign_of_life() {
    let scene = Scene::ready("login_refused", quick()).await;
    for host in ["atl-sql-1.litwareinc.com", "atl-sql-2.litwareinc.com"] {
        scene.lab.fault("refuse-login", &[host.into()]).unwrap();
    }
    scene.patch(r#"{"activeDataCenter":"seattle"}"#);
    let message = scene.wait_for("PreflightPassed", "False", "PrimaryAlive").await;
    assert!(
        message.contains("atl-sql-1.litwareinc.com")
            && message.contains("atlanta-sql")
            && message.contains("spec.dataCenters[0].sqlServer"),
        "{message}"
    );
    assert!(!message.contains(lab::sql::SQL_PASSWORD));
    scene.assert_nothing_moves().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_that_became_principal_is_the_primary() {
    let scene = Scene::ready("mirror_promoted", quick()).await;
    scene.lab.fault("promote-mirror", &["atlanta".into()]).unwrap();
    scene.patch(r#"{"activeDataCenter":"seattle"}"#);
    scene.wait_for_text("PreflightPassed", "False", "PrimaryAlive", "has become principal").await;
    scene.assert_nothing_moves().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_recovered_by_somebody_else_is_not_taken_for_ours() {
    let mut scene = Scene::ready("recovered_by_others", quick()).await;
    scene.lose().await;
    scene.lab.fault("recover-by-hand", &["seattle".into()]).unwrap();
    scene.patch(r#"{"activeDataCenter":"seattle"}"#);
    let message = scene.wait_for("Stalled", "True", "RecoveredByOthers").await;
    assert!(message.contains("spec.consent"), "{message}");
    scene.assert_nothing_moves().await;
}

/// Names of the log backups, oldest first.
fn backups(scene: &Scene) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(scene.lab.backup_share())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_needs_consent_and_a_larger_loss_a_new_one() {
    let mut scene = Scene::ready("gap", quick()).await;
    let names = backups(&scene);
    // Five are copied, four restored: the seventh is in the share only.
    scene.lab.fault("remove-backup", &[names[6].clone()]).unwrap();
    scene.lose().await;
    scene.patch(r#"{"activeDataCenter":"seattle"}"#);
    let message = scene.wait_for("PreflightPassed", "False", "ConsentRequired").await;
    assert!(message.contains("gap") && message.contains(&names[7]), "{message}");
    scene.assert_nothing_moves().await;
    let needed = scene.object()["status"]["transition"]["consentNeeded"].clone();

    // One more is lost, then the first consent arrives: it was given for less.
    scene.lab.fault("remove-backup", &[names[5].clone()]).unwrap();
    scene.patch(&format!(
        r#"{{"consent":{{"transition":{},"situation":{},"by":"Ann"}}}}"#,
        needed["transition"], needed["situation"]
    ));
    scene.wait_for("PreflightPassed", "False", "ConsentDoesNotFit").await;
    scene.assert_nothing_moves().await;

    // A consent to what is lost now: the failover runs, with that loss and nothing else.
    let needed = scene.object()["status"]["transition"]["consentNeeded"].clone();
    scene.patch(&format!(
        r#"{{"consent":{{"transition":{},"situation":{},"by":"Ann"}}}}"#,
        needed["transition"], needed["situation"]
    ));
    scene.wait_until_failed_over().await;
    let loss = scene.object()["status"]["transition"]["loss"].clone();
    assert_eq!(
        (loss["acceptedBy"].as_str(), loss["lastBackup"].as_str()),
        (Some("Ann"), Some(names[4].as_str()))
    );
    assert_eq!(loss["notApplied"].as_array().unwrap().len(), 1, "{loss}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_log_backup_is_found_whatever_it_is_called_and_an_agent_that_died_is_not_waited_for() {
    let mut scene = Scene::ready("any_name", quick()).await;
    let names = backups(&scene);
    let share = scene.lab.backup_share();
    // Rescued by hand, under a name that sorts before all others; and one that log shipping had not given its name yet.
    std::fs::rename(share.join(&names[7]), share.join("Tail_mgc.trn")).unwrap();
    let unfinished = names[6].replace(".trn", ".wrk");
    std::fs::rename(share.join(&names[6]), share.join(&unfinished)).unwrap();
    // Beside a finished backup, what a job left unfinished says nothing.
    std::fs::write(share.join(names[5].replace(".trn", ".wrk")), b"half").unwrap();
    // Another database's backups in the same share, with names that sort behind and LSNs that lie behind us.
    let content = std::fs::read(share.join(&names[0])).unwrap();
    let at = content.windows(5).position(|w| w == b"\"mgc\"").unwrap();
    let other = [&content[..at], b"\"mgccomp\"", &content[at + 5..]].concat();
    for n in 0..5 {
        std::fs::write(share.join(format!("mgccomp_2099010100000{n}.trn")), &other).unwrap();
    }
    // The copy on the way to SQL Server went bad; the share still has it.
    let copied = scene.lab.copy_folder().join(&names[4]);
    let mut bad = std::fs::read(&copied).unwrap();
    let last = bad.len() - 100;
    bad[last] ^= 1;
    std::fs::write(&copied, bad).unwrap();
    scene.lab.fault("stop-agent", &["sea-sql-1.litwareinc.com".into()]).unwrap();
    scene.lose().await;
    scene.patch(r#"{"activeDataCenter":"seattle"}"#);
    scene.wait_until_failed_over().await;
    let applied: Vec<String> = scene
        .lab
        .journal()
        .into_iter()
        .filter(|e| e.name == "RESTORE LOG" && e.outcome == Outcome::Ok)
        .map(|e| e.target.unwrap().replace(r"E:\mgc-logs\", ""))
        .collect();
    assert_eq!(applied, [names[4].as_str(), &names[5], &unfinished, "Tail_mgc.trn"]);
    let loss = scene.object()["status"]["transition"]["loss"].clone();
    assert_eq!(
        (loss["lastBackup"].as_str(), loss["notApplied"].as_array()),
        (Some("Tail_mgc.trn"), None),
        "{loss}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_began_by_hand_is_finished_and_the_report_says_whose_work_it_was() {
    let mut scene = Scene::ready("by_hand", quick()).await;
    scene.lose().await;
    scene.lab.fault("recover-by-hand", &["seattle".into()]).unwrap();
    scene.lab.fault("set-state-by-hand", &[]).unwrap();
    scene.patch(r#"{"activeDataCenter":"seattle"}"#);
    // The hand that recovered it left nothing in the journal.
    let wrong = scene.wait_until_ready_in_seattle().await;
    assert_eq!(wrong, ["RESTORE DATABASE WITH RECOVERY was carried out 0 times"]);
    let recovered = scene.condition("DatabaseOnline").unwrap();
    assert_eq!(recovered["reason"], "AlreadyDone", "{recovered}");
    let steps = scene.object()["status"]["transition"]["steps"].clone();
    let done_by_others: Vec<&str> = steps
        .as_array()
        .unwrap()
        .iter()
        .filter(|s| s["alreadyDone"] == true)
        .map(|s| s["name"].as_str().unwrap())
        .collect();
    assert_eq!(done_by_others, ["BackupsCopied", "LogBackupsApplied", "DatabaseOnline", "PoolStateSet"]);
    assert!(!begun(&scene.lab, "Set-CsPersistentChatState"));
    // What has been completed once is not touched again, whoever changes it.
    lab::chat::change(&mut scene.lab.world().now(), |x| x.active.retain(|s| s.contains("sea-cs-1")));
    let before = scene.writes();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(scene.writes(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_and_foreign_backups_and_a_store_that_cannot_be_written_stop_before_recovery() {
    let mut scene = Scene::ready("damaged", quick()).await;
    let names = backups(&scene);
    scene.lab.lose("atlanta").await.unwrap();
    scene.lab.fault("foreign-backup", &["mgc_29990101000000.trn".into()]).unwrap();
    scene.patch(r#"{"activeDataCenter":"seattle"}"#);
    let message = scene.wait_for("PreflightPassed", "False", "ConsentRequired").await;
    assert!(message.contains("mgc_29990101000000.trn"), "{message}");
    scene.assert_nothing_moves().await;
    std::fs::remove_file(scene.lab.backup_share().join("mgc_29990101000000.trn")).unwrap();

    // The header can be read, the rest is cut off: nobody can know before it is restored.
    scene.lab.fault("truncate-backup", &[names[7].clone()]).unwrap();
    scene.patch(r#"{"policy":{"mirrorDeadline":"1m"}}"#);
    let message = scene.wait_for("LogBackupsApplied", "False", "ConsentRequired").await;
    assert!(message.contains(&names[7]) && message.contains("3203"), "{message}");
    assert!(!begun(&scene.lab, "RESTORE DATABASE WITH RECOVERY"));
    let needed = scene.object()["status"]["transition"]["consentNeeded"].clone();
    scene.patch(&format!(
        r#"{{"consent":{{"transition":{},"situation":{},"by":"Ann"}}}}"#,
        needed["transition"], needed["situation"]
    ));

    // The Central Management store is still down: its gate holds up the recovery, nothing before it.
    scene.wait_for("DatabaseOnline", "False", "CentralManagementDown").await;
    assert!(!begun(&scene.lab, "RESTORE DATABASE WITH RECOVERY"));
    scene.lab.fail_over_central_management("seattle");
    scene.wait_until_failed_over().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suspended_nothing_is_done_until_it_is_taken_away() {
    let mut scene = Scene::ready("suspended", quick()).await;
    scene.lose().await;
    scene.patch(r#"{"activeDataCenter":"seattle","suspend":true}"#);
    scene.wait_for("Ready", "False", "Suspended").await;
    scene.assert_nothing_moves().await;
    scene.patch(r#"{"suspend":false}"#);
    scene.wait_until_failed_over().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_secrets_and_an_unknown_volume_are_named() {
    let mut scene = Scene::set("wrong_secrets", quick()).await;
    let good = scene.lab.resource("litware");
    // Not meant for the backup store's host.
    scene.apply(
        &good.replace("sea-sql-1.litwareinc.com,sea-sql-2.litwareinc.com", "elsewhere.litwareinc.com"),
    );
    scene.start_operator();
    let message = scene.wait_for("FailoverReady", "False", "SecretUnusable").await;
    assert!(message.contains("seattle-sql") && message.contains("sea-sql-1.litwareinc.com"), "{message}");
    scene.apply(&good);
    scene.wait_for("FailoverReady", "True", "Completed").await;
    scene.patch(r#"{"backupFiles":{"copyFolder":{"volume":"nowhere"}}}"#);
    let message = scene.wait_for("Stalled", "True", "InvalidSpec").await;
    assert!(message.contains("spec.backupFiles.copyFolder") && message.contains("nowhere"), "{message}");
    scene.assert_nothing_moves().await;
}
