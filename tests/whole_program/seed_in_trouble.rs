//! The way back where something is in the way of it, or breaks in the middle: each is told so that a human can answer, and nothing is lost.
//! By night all of them. By day of those that take longest one, which moves from run to run (`PCF_SAMPLE=n` repeats it).

use crate::common;
use crate::common::returns::{
    BACKUP, SEED, database, is_saved, left_behind, question, returned, until_protected,
};
use crate::common::scene::{Scene, backups_for, begun, not_live_in, quick};
use lab::scenario::{Scenario, SqlServerVersion};
use lab::world::journal::Outcome;

const NOTHING: Vec<String> = vec![];

/// A world in which jobs run long enough to be met at work.
fn slow() -> Scenario {
    Scenario { full_ms: 2500, restore_ms: 1500, ..quick() }
}

/// Waits until a statement is at work on the SQL Server of a data centre.
async fn until_at_work(scene: &Scene, n: usize, name: &str) {
    let host = scene.data_center(n).sql_server.clone();
    let at_work = || {
        let world = scene.lab.world().now();
        let mut entries = world.journal.entries().iter();
        entries.any(|e| e.server == host && e.name == name && e.outcome == Outcome::Running)
    };
    scene.until(&format!("{name} on {host}"), at_work).await;
}

/// Whoever has mended what a job of ours says deletes it: then it is tried again at once.
fn delete_our_jobs(scene: &Scene) {
    for left in left_behind(&scene.lab) {
        let (job, host) = left.split_once(" on ").unwrap();
        scene.lab.fault("delete-job", &[host.into(), job.into()]).unwrap();
    }
}

/// Whether one of three is tried in this run.
fn is_its_turn(n: u64) -> bool {
    let turn = common::night() || common::sample_number() % 3 == n;
    if !turn {
        println!("by night, or with PCF_SAMPLE={n}");
    }
    turn
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_an_older_version_is_told_before_anything_is_asked_or_touched() {
    let older = [("atlanta".to_string(), SqlServerVersion::V2014)].into();
    let (scene, old) = returned("seed_too_old", Scenario { sql_server_of: older, ..quick() }).await;
    let told = scene.wait_for_text("OldSideFenced", "False", "BackupRefused", "older than").await;
    for part in ["12.0.6024.0", "13.0.6300.2", "dataCenters[0].sqlServer"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let told = scene.condition("FailoverReady").unwrap().to_string();
    assert!(told.contains("to the version of SEA-SQL-1") && !told.contains("approve"), "{told}");
    assert!(scene.object()["status"]["transition"]["consentNeeded"].is_null(), "{:#}", scene.object());
    scene.wait_for("Ready", "True", "Active").await;
    assert_eq!(database(&scene, &scene.data_center(0).sql_server).fork, old);
    assert!(!begun(&scene.lab, 0, BACKUP) && !begun(&scene.lab, 0, SEED));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_is_not_there_is_named_and_once_it_is_there_the_copy_is_seeded() {
    if !is_its_turn(0) {
        return;
    }
    let (scene, _) = returned("seed_no_folder", quick()).await;
    let first = scene.data_center(0).clone();
    // Its servers were set up anew: there is no old database by whose files the new ones could go.
    for host in [&first.sql_server, &first.mirror] {
        scene.lab.world().now().sql.get_mut(host).unwrap().databases.clear();
    }
    let asked = question(&scene).await;
    assert!(asked["why"][0].as_str().unwrap().contains("does not hold it yet"), "{asked}");
    let shipped = backups_for(&scene.lab, 0).len();
    scene.agree(&asked);
    let told = scene.wait_for_text("DatabaseSeeded", "False", "EffectFailed", "5133").await;
    for part in [r"F:\Data\mgc.mdf", "PCF_restore_", "ATL-SQL-1"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    scene.wait_for("Ready", "True", "Active").await;
    for folder in [r"F:\Data", r"G:\Log"] {
        scene.lab.fault("make-folder", &[first.sql_server.clone(), folder.into()]).unwrap();
    }
    delete_our_jobs(&scene);
    until_protected(&scene, shipped).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_finds_no_room_is_told_and_goes_on_once_there_is_some() {
    if !is_its_turn(1) {
        return;
    }
    let (scene, old) = returned("seed_no_room", slow()).await;
    let first = scene.data_center(0).clone();
    let shipped = backups_for(&scene.lab, 0).len();
    scene.agree(&question(&scene).await);
    // The old database is saved and closed by now, and the live one has grown.
    until_at_work(&scene, 1, BACKUP).await;
    scene.lab.fault("disk-full", &[first.sql_server.clone(), "on".into()]).unwrap();
    let told = scene.wait_for_text("DatabaseSeeded", "False", "EffectFailed", "3257").await;
    for part in ["insufficient free space", "ATL-SQL-1"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(is_saved(&scene.lab, 0, &old));
    scene.wait_for("Ready", "True", "Active").await;
    scene.lab.fault("disk-full", &[first.sql_server, "off".into()]).unwrap();
    delete_our_jobs(&scene);
    until_protected(&scene, shipped).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_side_that_is_lost_while_it_is_saved_and_while_it_is_restored_goes_on_when_it_is_back() {
    if !is_its_turn(2) {
        return;
    }
    let (mut scene, old) = returned("seed_lost_again", slow()).await;
    let first = scene.data_center(0).name.clone();
    let shipped = backups_for(&scene.lab, 0).len();
    scene.agree(&question(&scene).await);
    for work in [BACKUP, SEED] {
        until_at_work(&scene, 0, work).await;
        scene.lab.lose(&first).await.unwrap();
        scene.wait_for("FailoverReady", "False", "HostUnreachable").await;
        scene.wait_for("Ready", "True", "Active").await;
        scene.lab.restore(&first).await.unwrap();
    }
    until_protected(&scene, shipped).await;
    assert!(is_saved(&scene.lab, 0, &old));
    assert_eq!(not_live_in(&scene.lab, 1), NOTHING);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_side_that_is_lost_before_the_restore_leaves_the_old_database_to_a_human() {
    let (mut scene, old) = returned("seed_live_lost", slow()).await;
    let (first, second) = (scene.data_center(0).clone(), scene.data_center(1).name.clone());
    scene.agree(&question(&scene).await);
    until_at_work(&scene, 1, BACKUP).await;
    assert!(is_saved(&scene.lab, 0, &old) && !begun(&scene.lab, 0, SEED));
    scene.lab.lose(&second).await.unwrap();
    scene.lab.fail_over_central_management(&first.name);
    scene.want(0);
    // It was closed, and holds everything that was ever written to it: what is lost is what only the live one had.
    let told = scene.wait_for_text("Stalled", "True", "ConsentDoesNotFit", "situation: ").await;
    assert!(told.contains("is on another recovery path"), "{told}");
    assert_eq!(database(&scene, &first.sql_server).fork, old);
    scene.agree_as_told(&told);
    scene.wait_until_ready_in(0).await;
    assert_eq!(not_live_in(&scene.lab, 0), NOTHING);
    let forked = database(&scene, &first.sql_server).forked.unwrap();
    assert_eq!(forked.from, old, "another database was opened than the one that was closed");
}
