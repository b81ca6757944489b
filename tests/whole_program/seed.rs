//! The way back: the data centre that was lost is there again with its old database. That is saved and overwritten by a copy of the live
//! one, by a human's yes, while chat runs; then chat can go back. The whole program on a real API server.

use std::process::Command;

use crate::common;
use crate::common::returns::{
    BACKUP, SEED, database, is_saved, left_behind, question, returned, until_protected,
};
use crate::common::scene::{RESOURCE, Scene, backups_for, begun, not_live_in, quick, runs, server};
use crate::common::switches::may_switch;
use lab::scenario::Scenario;
use lab::world::journal::{Entry, Outcome};

const NOTHING: Vec<String> = vec![];

/// The entries of the journal of a name that were carried out.
fn carried_out(scene: &Scene, name: &str) -> Vec<Entry> {
    scene.lab.journal().into_iter().filter(|e| e.name == name && e.outcome == Outcome::Ok).collect()
}

/// How many messages the old database of the first data centre holds that the live one lacks.
fn lost_messages(scene: &Scene) -> usize {
    let [old, live] = [0, 1].map(|n| database(scene, &scene.data_center(n).sql_server));
    scene.lab.world().now().messages.lacking(&old, &live).len()
}

/// What a command of the plugin says about the resource.
fn said(scene: &Scene, command: &str) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_kubectl-pcf"))
        .args([command, RESOURCE, "-n", &scene.namespace])
        .envs(scene.lab.operator_env())
        .env("KUBECONFIG", common::plane().admin_kubeconfig())
        .output()
        .unwrap();
    assert!(out.status.success(), "{out:?}");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// All that a yes would do, in its order, is to be read before it is given.
fn assert_planned(scene: &Scene) {
    let plan = said(scene, "plan");
    let mut rest = plan.as_str();
    for part in [
        "SET PARTNER OFF",
        "sp_update_job",
        "BACKUP DATABASE [mgc] TO DISK = N'\\\\atl-fs-1\\mgc-logs\\mgc_saved_",
        "tblChat",
        "BACKUP LOG",
        "sp_start_job",
        "BACKUP DATABASE [mgc] TO DISK = N'\\\\atl-fs-1\\mgc-logs\\mgc_seed_",
        "RESTORE DATABASE [mgc] FROM DISK",
        "MOVE",
        "sp_delete_job",
        "sp_add_log_shipping_secondary_database",
    ] {
        let at = rest.find(part).unwrap_or_else(|| panic!("no {part} in its place: {plan}"));
        rest = &rest[at + part.len()..];
    }
}

/// They were counted before it was overwritten: the status and the report say so.
fn assert_counted(scene: &Scene, lost: usize) {
    assert!(lost > 0, "nothing was lost: there is nothing to count");
    let status = scene.object()["status"].take();
    let all = status["history"].as_array().unwrap().iter().chain([&status["transition"]]);
    let told: Vec<_> = all.filter_map(|t| t["lostMessages"][0]["messages"].as_u64()).collect();
    assert!(!told.is_empty() && told.iter().all(|n| *n == lost as u64), "{lost} were lost: {status:#}");
    let report = said(scene, "report");
    assert!(report.contains(&format!("{lost} messages")), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_database_is_saved_and_overwritten_by_a_yes_only_and_chat_can_go_back() {
    let (scene, old) = returned("seeded", quick()).await;
    let (first, second) = (scene.data_center(0).clone(), scene.data_center(1).clone());
    let asked = question(&scene).await;
    let why = asked["why"][0].as_str().unwrap();
    assert!(why.contains(&old) && why.contains("overwritten, saved before"), "{asked}");
    // It is a question, and no failure: chat serves.
    scene.wait_for("Ready", "True", "Active").await;
    let told = scene.condition("FailoverReady").unwrap();
    assert_eq!(told["status"], "False", "{told}");
    assert!(scene.condition("Stalled").is_none_or(|c| c["status"] == "False"));
    assert_eq!(database(&scene, &first.sql_server).fork, old);
    assert!(!begun(&scene.lab, 0, BACKUP) && !begun(&scene.lab, 0, SEED));
    // The live database's log is backed up meanwhile.
    assert!(begun(&scene.lab, 0, "EXEC sp_add_log_shipping_primary_database"));

    assert_planned(&scene);

    let shipped = backups_for(&scene.lab, 0).len();
    let lost = lost_messages(&scene);
    scene.agree(&asked);
    until_protected(&scene, shipped).await;
    assert_counted(&scene, lost);
    assert!(is_saved(&scene.lab, 0, &old), "what only the old side held is gone");
    assert_eq!(scene.times("Protect", "Completed"), 2, "{:?}", scene.history());
    assert_eq!(carried_out(&scene, SEED).len(), 1);
    let live = database(&scene, &second.sql_server);
    assert_eq!(database(&scene, &first.sql_server).redo.unwrap().1, live.fork);
    assert_eq!(not_live_in(&scene.lab, 1), NOTHING);

    may_switch(&scene);
    scene.want(0);
    // The seeded copy came without logins of its own: whoever has one here is mapped to it, whoever has none is named.
    let users = r"no login of this instance stands behind the users LITWARE\old-admin";
    scene.wait_for_text("DatabaseOnline", "True", "Completed", users).await;
    scene.wait_until_ready_in(0).await;
    scene.wait_for("FailoverReady", "True", "Completed").await;
    assert_eq!(not_live_in(&scene.lab, 0), NOTHING);
    assert_eq!(scene.times("Switch", "Completed"), 1, "{:?}", scene.history());
    assert_eq!(carried_out(&scene, SEED).len(), 1, "the way back needs no second seed");
    let users = database(&scene, &first.sql_server).users;
    assert!(users.contains(&("RTCComponentService".into(), true)), "{users:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wish_to_go_back_waits_until_the_copy_is_seeded_through_restarts_and_then_chat_moves() {
    let scenario = Scenario { restore_ms: 1500, full_ms: 3000, ..quick() };
    let (mut scene, _) = returned("failback", scenario).await;
    may_switch(&scene);
    scene.want(0);
    // Somebody waits for it: that is told as loudly as any other question.
    scene.wait_for("Stalled", "True", "ConsentRequired").await;
    let asked = question(&scene).await;
    scene.agree(&asked);
    // A full backup takes its time: how far it is stands in the status.
    scene.wait_for_text("OldSideFenced", "False", "WaitingForJob", " %)").await;
    for (work, step) in [(BACKUP, Some("DatabaseSeeded")), (SEED, None)] {
        scene.until(work, || runs(&scene.lab, work)).await;
        scene.kill_operator();
        scene.start_operator();
        if let Some(step) = step {
            scene.wait_for_text(step, "False", "WaitingForJob", " %)").await;
        }
    }
    scene.wait_until_ready_in(0).await;
    scene.wait_for("FailoverReady", "True", "Completed").await;
    scene.wait_until_at_rest().await;
    assert_eq!(not_live_in(&scene.lab, 0), NOTHING);
    assert_eq!(left_behind(&scene.lab), NOTHING);
    // One backup to save what was there, one to seed; neither was begun twice.
    assert_eq!((carried_out(&scene, BACKUP).len(), carried_out(&scene, SEED).len()), (2, 1));
    assert_eq!(scene.times("Switch", "Completed"), 1, "{:?}", scene.history());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_disaster_before_there_is_a_copy_goes_back_to_the_old_database_by_a_yes_that_names_the_loss()
{
    let (mut scene, old) = returned("second_disaster", quick()).await;
    let (first, second) = (scene.data_center(0).clone(), scene.data_center(1).clone());
    question(&scene).await;
    scene.lab.lose(&second.name).await.unwrap();
    scene.lab.fail_over_central_management(&first.name);
    scene.want(0);
    let told = scene.wait_for_text("Stalled", "True", "DatabaseState", "situation: ").await;
    for part in [&format!("no live database is to be seen in {}", second.name), &old, "is lost"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    scene.agree_as_told(&told);
    scene.wait_until_ready_in(0).await;
    assert_eq!(not_live_in(&scene.lab, 0), NOTHING);
    assert_eq!(database(&scene, &first.sql_server).fork, old, "it was restored or recovered once more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seed_that_fails_says_why_and_goes_on_once_that_is_mended() {
    let (scene, old) = returned("seed_fails", quick()).await;
    let first = scene.data_center(0).clone();
    scene.lab.world().now().sql.get_mut(&first.sql_server).unwrap().disk_full = true;
    let asked = question(&scene).await;
    let shipped = backups_for(&scene.lab, 0).len();
    scene.agree(&asked);
    // It cannot even be saved: nothing of it is touched.
    scene.until("an attempt", || begun(&scene.lab, 0, BACKUP)).await;
    assert_eq!(database(&scene, &first.sql_server).fork, old);
    assert!(!begun(&scene.lab, 0, SEED));
    scene.lab.world().now().sql.get_mut(&first.sql_server).unwrap().disk_full = false;
    until_protected(&scene, shipped).await;
    assert!(is_saved(&scene.lab, 0, &old));
    assert_eq!(server(&scene.lab, &first.sql_server)["databases"][0]["state"], "RESTORING");
}
