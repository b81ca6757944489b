//! Everything that must not move, or not before a human has agreed: the whole program on a real API server.
//!
//! The same by day and by night.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::plane;
use crate::common::scene::{Scene, backups, begun, quick};
use lab::scenario::{Dialect, Scenario};
use lab::tsql::{Cell, ColumnType, Done, Ends, Event, Kind, SqlMessage};
use lab::world::answers::{Answered, End};

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
    let message = scene.wait_for("PreflightPassed", "False", "SourceAlive").await;
    assert!(message.contains("answers"), "{message}");
    scene.wait_for("Stalled", "True", "SourceAlive").await;
    scene.assert_nothing_moves().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_login_is_a_sign_of_life() {
    let scene = Scene::ready("login_refused", quick()).await;
    for host in ["atl-sql-1.litwareinc.com", "atl-sql-2.litwareinc.com"] {
        scene.lab.fault("refuse-login", &[host.into()]).unwrap();
    }
    scene.patch(r#"{"activeDataCenter":"seattle"}"#);
    let message = scene.wait_for("PreflightPassed", "False", "SourceAlive").await;
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
async fn a_port_that_accepts_and_stays_silent_is_not_dead() {
    let scene = Scene::ready("silent_port", quick()).await;
    let here = scene.data_center(0);
    for host in [&here.sql_server, &here.mirror] {
        scene.lab.fault("silent-port", &[host.clone(), "on".into()]).unwrap();
    }
    scene.patch(r#"{"activeDataCenter":"seattle"}"#);
    // By what the operator itself met: it need not be told by anybody else.
    const SAID: &str = "accepts connections, but does not answer";
    let message = scene.wait_for_text("PreflightPassed", "False", "SourceAlive", SAID).await;
    assert!(message.contains("switch it off"), "{message}");
    scene.assert_nothing_moves().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_that_became_principal_is_the_primary() {
    let scene = Scene::ready("mirror_promoted", quick()).await;
    scene.lab.fault("promote-mirror", &["atlanta".into()]).unwrap();
    scene.patch(r#"{"activeDataCenter":"seattle"}"#);
    scene.wait_for_text("PreflightPassed", "False", "SourceAlive", "has become principal").await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_needs_consent_and_a_larger_loss_a_new_one() {
    let mut scene = Scene::ready("gap", quick()).await;
    let names = backups(&scene.lab);
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
    scene.agree(&needed);
    scene.wait_for("PreflightPassed", "False", "ConsentDoesNotFit").await;
    scene.assert_nothing_moves().await;

    // A consent to what is lost now: the failover runs, with that loss and nothing else.
    let needed = scene.object()["status"]["transition"]["consentNeeded"].clone();
    scene.agree(&needed);
    scene.wait_until_failed_over().await;
    let loss = scene.last_failover()["loss"].clone();
    assert_eq!(
        (loss["acceptedBy"].as_str(), loss["lastBackup"].as_str()),
        (Some("Ann"), Some(names[4].as_str()))
    );
    assert_eq!(loss["notApplied"].as_array().unwrap().len(), 1, "{loss}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_and_foreign_backups_and_a_store_that_cannot_be_written_stop_before_recovery() {
    let mut scene = Scene::ready("damaged", quick()).await;
    let names = backups(&scene.lab);
    scene.lab.lose("atlanta").await.unwrap();
    scene.lab.fault("foreign-backup", &["mgc_29990101000000.trn".into()]).unwrap();
    scene.patch(r#"{"activeDataCenter":"seattle"}"#);
    let message = scene.wait_for("PreflightPassed", "False", "ConsentRequired").await;
    assert!(message.contains("mgc_29990101000000.trn"), "{message}");
    scene.assert_nothing_moves().await;
    std::fs::remove_file(scene.lab.backup_shares()[1].join("mgc_29990101000000.trn")).unwrap();

    // The header can be read, the rest is cut off: nobody can know before it is restored.
    scene.lab.fault("truncate-backup", &[names[7].clone()]).unwrap();
    scene.patch(r#"{"policy":{"mirrorDeadline":"1m"}}"#);
    let message = scene.wait_for("LogBackupsApplied", "False", "ConsentRequired").await;
    assert!(message.contains(&names[7]) && message.contains("3203"), "{message}");
    assert!(!begun(&scene.lab, 0, "RESTORE DATABASE WITH RECOVERY"));
    let needed = scene.object()["status"]["transition"]["consentNeeded"].clone();
    scene.agree(&needed);

    // The Central Management store is still down: its gate holds up the recovery, nothing before it.
    scene.wait_for("DatabaseOnline", "False", "CentralManagementDown").await;
    assert!(!begun(&scene.lab, 0, "RESTORE DATABASE WITH RECOVERY"));
    scene.lab.fail_over_central_management("seattle");
    scene.wait_until_failed_over().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_copy_whose_undo_file_is_gone_is_not_tried_for_ever() {
    let mut scene = Scene::ready("undo_file_gone", Scenario { standby: true, ..quick() }).await;
    let copy = scene.data_center(1).sql_server.clone();
    scene.lab.fault("lose-undo-file", &[copy]).unwrap();
    scene.lose().await;
    scene.want(1);
    // The error that tells why comes behind the one that the driver gives.
    let message = scene.wait_for_text("LogBackupsApplied", "False", "DatabaseState", "3441").await;
    assert!(message.contains("3013") && message.contains("Restore it anew"), "{message}");
    scene.wait_for("Stalled", "True", "DatabaseState").await;
    assert!(!begun(&scene.lab, 0, "RESTORE LOG") && !begun(&scene.lab, 0, "RESTORE DATABASE WITH RECOVERY"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recovery_that_fails_when_the_database_is_started_asks_a_human() {
    let mut scene = Scene::ready("start_fails", quick()).await;
    scene.lose().await;
    let tries = Arc::new(AtomicUsize::new(0));
    let seen = tries.clone();
    scene.lab.answer_by(Some(Box::new(move |request| {
        request.text.contains("WITH RECOVERY").then(|| {
            seen.fetch_add(1, Ordering::Relaxed);
            Answered { instead: Some(start_fails()), end: End::Usual }
        })
    })));
    scene.want(1);
    let message = scene.wait_for_text("DatabaseOnline", "False", "DatabaseState", "3441").await;
    assert!(message.contains("3013") && message.contains("Restore it anew"), "{message}");
    scene.wait_for("Stalled", "True", "DatabaseState").await;
    // What only a human can mend is tried again rarely.
    assert_eq!(tries.load(Ordering::Relaxed), 1);
    assert!(!begun(&scene.lab, 0, "Set-CsPersistentChatState"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_backup_that_adds_a_file_and_is_refused_with_a_move_as_well_is_a_loss_by_consent_only() {
    let mut scene = Scene::ready("move_refused", quick()).await;
    let live = scene.data_center(0).sql_server.clone();
    scene.lab.fault("add-file", &[&live, "more", r"D:\Added\more.ndf"].map(str::to_string)).unwrap();
    {
        let mut world = scene.lab.world().now();
        let now = world.now;
        lab::sql::take_log_backup(&mut world, &live, now).unwrap();
    }
    let newest = backups(&scene.lab).pop().unwrap();
    scene.lose().await;
    let tries = Arc::new(AtomicUsize::new(0));
    let seen = tries.clone();
    scene.lab.answer_by(Some(Box::new(move |request| {
        request.text.contains("MOVE @P7 TO @P8").then(|| {
            seen.fetch_add(1, Ordering::Relaxed);
            let taken = SqlMessage::error(1834, 16, "The file cannot be overwritten.");
            Answered { instead: Some(refused_with(vec![taken], 3013)), end: End::Usual }
        })
    })));
    scene.want(1);
    let message = scene.wait_for("LogBackupsApplied", "False", "ConsentRequired").await;
    for part in [newest.as_str(), "1834"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert!(!begun(&scene.lab, 0, "RESTORE DATABASE WITH RECOVERY"));
    assert_eq!(tries.load(Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_that_is_not_mounted_is_no_empty_share() {
    let mut scene = Scene::ready("not_mounted", quick()).await;
    // The pod is given an empty folder in its place.
    let empty = scene.directory.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let volume = format!("{}-logs", scene.data_center(1).name);
    let volumes = scene.lab.operator_env()["PCF_VOLUMES"].clone();
    let volumes = volumes.split(',').map(|v| match v.split_once('=') {
        Some((name, _)) if name == volume => format!("{name}={}", empty.display()),
        Some(_) | None => v.to_string(),
    });
    let without: &'static str = volumes.collect::<Vec<_>>().join(",").leak();
    assert!(without.contains("/empty"), "{without}");
    scene.kill_operator();
    scene.env = vec![("PCF_VOLUMES", without)];
    scene.start_operator();
    scene.wait_for_text("FailoverReady", "False", "FolderUnusable", "mount").await;
    scene.lose().await;
    scene.want(1);
    let message = scene.wait_for("Stalled", "True", "ConsentRequired").await;
    assert!(message.contains("mount") && message.contains("mgc_"), "{message}");
    assert!(!begun(&scene.lab, 0, "RESTORE DATABASE WITH RECOVERY"));
    // Mounted, it loses nothing.
    scene.kill_operator();
    scene.env = vec![];
    scene.start_operator();
    scene.wait_until_failed_over().await;
    let loss = scene.last_failover()["loss"].clone();
    assert_eq!(loss["lastBackup"], backups(&scene.lab).pop().unwrap(), "{loss}");
    assert!(loss["notApplied"].as_array().is_none_or(Vec::is_empty), "{loss}");
}

/// What is recorded of a database that cannot be started: 3013 first.
fn start_fails() -> Vec<Event> {
    let first = SqlMessage::error(3013, 16, "RESTORE DATABASE is terminating abnormally.");
    let then = SqlMessage::error(3441, 17, "The standby file was inaccessible to the RESTORE statement.");
    refused_with(vec![first, then], 3441)
}

/// A RESTORE that fails with these errors, and what `@@ERROR` is after it.
fn refused_with(errors: Vec<SqlMessage>, last: i64) -> Vec<Event> {
    let int = ColumnType { kind: Kind::Int(4), nullable: true };
    let (ends, command) = (Ends::Statement, 229);
    let done = |failed| Event::Done(Done { ends, command, count: None, failed, rows: false, nocount: false });
    let row = Event::Rows {
        columns: vec![("error".into(), int), ("returned".into(), int)],
        rows: vec![vec![Cell::Int(last), Cell::Int(0)]],
        order: vec![],
    };
    errors.into_iter().map(Event::Error).chain([done(true), row, done(false)]).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_whose_master_is_another_front_end_of_the_lost_side_stops_before_recovery() {
    let dialect = Dialect { front_ends: 3, ..Dialect::default() };
    let mut scene = Scene::ready("master_elsewhere", Scenario { dialect, ..quick() }).await;
    let lost = scene.data_center(0).name.clone();
    scene.lab.lose(&lost).await.unwrap();
    scene.want(1);
    let message = scene.wait_for("DatabaseOnline", "False", "CentralManagementDown").await;
    assert!(message.contains("atl-fe-3.litwareinc.com") && message.contains("does not answer"), "{message}");
    assert!(!begun(&scene.lab, 0, "RESTORE DATABASE WITH RECOVERY"));
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
    let mut centers = scene.object()["spec"]["dataCenters"].clone();
    centers[1]["logShipping"]["copyFolder"]["volume"] = "nowhere".into();
    scene.patch(&serde_json::json!({"dataCenters": centers}).to_string());
    let message = scene.wait_for("Stalled", "True", "InvalidSpec").await;
    assert!(
        message.contains("spec.dataCenters[1].logShipping.copyFolder") && message.contains("nowhere"),
        "{message}"
    );
    scene.assert_nothing_moves().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_old_database_of_a_side_that_is_back_is_called_so() {
    let mut scene = Scene::ready("old_side_back", quick()).await;
    scene.lose().await;
    scene.want(1);
    scene.wait_until_failed_over().await;
    scene.wait_until_at_rest().await;
    let before = scene.writes();
    scene.lab.restore("atlanta").await.unwrap();
    let message = scene.wait_for_text("FailoverReady", "False", "DatabaseState", "old database").await;
    for part in ["atlanta", r"ATL-SQL-1\CHAT", "kubectl pcf approve"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert!(!message.contains("find out by whom"), "{message}");
    // It is told of, and left alone.
    scene.wait_for("OtherSideQuiet", "False", "SplitBrain").await;
    scene.wait_for("Ready", "True", "Active").await;
    let touched = scene.writes().split_off(before.len());
    assert!(touched.iter().all(|w| !w.contains("atl-")), "{touched:?}");
}
