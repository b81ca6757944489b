//! The failover of the whole program on a real API server: what it meets and how it copes. What kills it is in
//! `killed_anywhere.rs`, what is taken away from it in `taken_away.rs`, what stops it in `refuses.rs`.
//!
//! The same by day and by night.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::common::matrix::{hold_first, until_held};
use crate::common::scene::{FAILOVER_ONCE, Scene, backups, begun, not_live_in, not_once, quick, runs};
use lab::scenario::{Authentication, Scenario};
use lab::serve::Lab;
use lab::world::answers::{Answered, End};
use lab::world::journal::{Entry, Outcome};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_backup_that_adds_a_file_where_the_copy_has_no_room_loses_nothing() {
    let mut scene = Scene::ready("file_added", quick()).await;
    let (live, copy) = (scene.data_center(0).sql_server.clone(), scene.data_center(1).sql_server.clone());
    let added = [&live, "more", r"D:\Added\more.ndf"].map(str::to_string);
    scene.lab.fault("add-file", &added).unwrap();
    let newest = {
        let mut world = scene.lab.world().now();
        let now = world.now;
        lab::sql::take_log_backup(&mut world, &live, now).unwrap()
    };
    let newest = newest.rsplit('\\').next().unwrap();
    scene.lose().await;
    scene.want(1);
    scene.wait_until_ready_in(1).await;
    let loss = scene.last_failover()["loss"].clone();
    assert_eq!(loss["lastBackup"], newest, "{loss}");
    assert!(loss["notApplied"].as_array().is_none_or(Vec::is_empty), "{loss}");
    let files: Vec<String> = {
        let world = scene.lab.world().now();
        world.sql[&copy].databases["mgc"].files.iter().map(|f| f.path.clone()).collect()
    };
    assert_eq!(files, [r"F:\Data\mgc.mdf", r"G:\Log\mgc_log.ldf", r"F:\Data\more.ndf"]);
    // It was refused once, and then restored.
    let journal = scene.lab.journal();
    let of_it =
        |e: &&Entry| e.name == "RESTORE LOG" && e.target.as_ref().is_some_and(|t| t.ends_with(newest));
    let ends: Vec<bool> = journal.iter().filter(of_it).map(|e| e.outcome == Outcome::Ok).collect();
    assert_eq!(ends, [false, true]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resource_created_anew_without_status_goes_on_and_an_old_manifest_moves_nothing() {
    let mut scene = Scene::ready("created_anew", quick()).await;
    scene.lose().await;
    hold_first(&scene, &["RESTORE LOG"]);
    scene.patch(r#"{"activeDataCenter":"seattle"}"#);
    until_held(&scene, "RESTORE LOG").await;
    // A process that dies before it has told something has not told it.
    scene.until("an event", || told(&scene).iter().any(|r| r == "LogShippingRemoved")).await;
    scene.kill_operator();
    scene.lab.release();
    let old = scene.lab.resource("litware");
    scene.kubectl(&["delete", "pcf/litware", "--wait=true"], None);
    scene.apply(&old.replace("activeDataCenter: atlanta", "activeDataCenter: seattle"));
    scene.start_operator();
    scene.wait_until_failed_over().await;
    // Whoever watches the namespace is told, once each; a little later than the status.
    const TOLD: [&str; 5] =
        ["LogShippingRemoved", "DatabaseOnline", "MirrorEstablished", "Completed", "ComplianceNotFailedOver"];
    scene.until("the events", || TOLD.iter().all(|reason| told(&scene).iter().any(|r| r == reason))).await;
    let reasons = told(&scene);
    for reason in TOLD {
        assert_eq!(reasons.iter().filter(|r| **r == reason).count(), 1, "{reason}: {reasons:?}");
    }
    let history = scene.object()["status"]["history"].as_array().unwrap().clone();
    let failovers = history.iter().filter(|h| h["procedure"] == "Failover").count();
    assert_eq!(failovers, 1, "the record survived the resource");

    // An old manifest, as a Git revert would apply it: an edit, against a side that lives.
    scene.wait_until_at_rest().await;
    let before = scene.writes();
    scene.apply(&old);
    let message = scene.wait_for("Stalled", "True", "SourceAlive").await;
    assert!(message.contains("seattle is active and lives"), "{message}");
    // The same, as a restored backup would bring it: nobody has decided that here.
    scene.kubectl(&["delete", "pcf/litware", "--wait=true"], None);
    scene.apply(&old);
    let message = scene.wait_for("Stalled", "True", "ActiveDataCenterDrifted").await;
    assert!(message.contains("seattle is active"), "{message}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(scene.writes(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_is_silent_for_longer_than_a_driver_waits_comes_to_its_end() {
    let mut scene = Scene::ready("long_restore", quick()).await;
    scene.lose().await;
    // Drivers give up after half a minute, if nobody tells them otherwise.
    scene.lab.fault("restore-ms", &["40000".into()]).unwrap();
    scene.want(1);
    scene.until("a RESTORE", || runs(&scene.lab, "RESTORE LOG")).await;
    scene.lab.fault("restore-ms", &["300".into()]).unwrap();
    scene.until("the end of the long RESTORE", || !runs(&scene.lab, "RESTORE LOG")).await;
    scene.wait_until_failed_over().await;
    let cut_off = |e: &Entry| e.name == "RESTORE LOG" && e.outcome != Outcome::Ok;
    assert!(!scene.lab.journal().iter().any(cut_off), "a RESTORE was cut off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http_with_ntlm_every_message_is_sealed_and_a_standby_copy_is_taken_over() {
    let scenario = Scenario { authentication: Authentication::Negotiate, standby: true, ..quick() };
    let mut scene = Scene::ready("negotiate", scenario).await;
    scene.lose().await;
    scene.patch(r#"{"activeDataCenter":"seattle"}"#);
    scene.wait_until_failed_over().await;
    assert!(begun(&scene.lab, 0, "Install-CsMirrorDatabase"));
    // What was removed can be set up again by hand.
    let id = scene.last_failover()["id"].as_str().unwrap().to_string();
    let script =
        std::fs::read_to_string(scene.lab.copy_folders()[1].join(format!("log-shipping-{id}.sql"))).unwrap();
    assert!(
        script.contains("sp_add_log_shipping_secondary_primary") && script.contains(r"\\sea-fs-1\mgc-logs"),
        "{script}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_log_backup_is_found_whatever_it_is_called_and_an_agent_that_died_is_not_waited_for() {
    let mut scene = Scene::ready("any_name", quick()).await;
    let names = backups(&scene.lab);
    let share = scene.lab.backup_shares()[1].clone();
    // Rescued by hand, under a name that sorts before all others, with the usual ending of backups, over two files; and one that log
    // shipping had not given its name yet.
    std::fs::rename(share.join(&names[7]), share.join("Tail_mgc.bak")).unwrap();
    scene.lab.fault("stripe-backup", &["Tail_mgc.bak", "Tail_mgc_2.bak"].map(str::to_string)).unwrap();
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
    let copied = scene.lab.copy_folders()[1].join(&names[4]);
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
    assert_eq!(applied, [names[4].as_str(), &names[5], &unfinished, "Tail_mgc.bak"]);
    let loss = scene.last_failover()["loss"].clone();
    assert_eq!(
        (loss["lastBackup"].as_str(), loss["notApplied"].as_array()),
        (Some("Tail_mgc.bak"), None),
        "{loss}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_failed_over_by_hand_gets_what_it_lacks_and_what_is_changed_later_is_set_right() {
    let mut scene = Scene::ready("by_hand", quick()).await;
    scene.lose().await;
    scene.lab.fault("recover-by-hand", &["seattle".into()]).unwrap();
    scene.lab.fault("set-state-by-hand", &["seattle".into()]).unwrap();
    scene.patch(r#"{"activeDataCenter":"seattle"}"#);
    // The pool says itself that it has failed over: nothing is left to fail over.
    scene.wait_until_ready_in(1).await;
    scene.wait_until_at_rest().await;
    assert_eq!(not_live_in(&scene.lab, 1), Vec::<String>::new());
    let procedures: BTreeSet<String> = scene.object()["status"]["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|h| h["procedure"].as_str().unwrap().to_string())
        .collect();
    assert!(procedures.contains("Align") && !procedures.contains("Failover"), "{procedures:?}");
    assert!(!begun(&scene.lab, 0, "Set-CsPersistentChatState"));
    assert!(begun(&scene.lab, 0, "Install-CsMirrorDatabase"));

    let before = scene.writes().len();
    let since = scene.lab.journal().len();
    lab::chat::change(&mut scene.lab.world().now(), |x| x.active.retain(|s| s.contains("sea-cs-1")));
    scene.until("all active servers", || not_live_in(&scene.lab, 1).is_empty()).await;
    scene.wait_for("Ready", "True", "Active").await;
    scene.wait_until_at_rest().await;
    assert!(begun(&scene.lab, since, "Set-CsPersistentChatActiveServer"));
    let done = scene.writes().split_off(before);
    let of_the_record = |w: &&String| w.contains("persistent_chat_failover");
    assert_eq!(done.iter().filter(|w| !of_the_record(w)).count(), 1, "{done:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_does_by_hand_meanwhile_is_gone_on_from_and_the_status_says_whose_work_it_was() {
    let mut scene = Scene::ready("by_hand_meanwhile", quick()).await;
    // What would protect the other side afterwards is not the question here, and its steps would be shown.
    scene.leave_unprotected(0).await;
    scene.lose().await;
    hold_first(&scene, &["RESTORE LOG"]);
    scene.patch(r#"{"activeDataCenter":"seattle"}"#);
    until_held(&scene, "RESTORE LOG").await;
    scene.lab.fault("recover-by-hand", &["seattle".into()]).unwrap();
    scene.lab.fault("set-state-by-hand", &["seattle".into()]).unwrap();
    scene.lab.release();
    scene.wait_until_ready_in(1).await;
    assert_eq!(not_live_in(&scene.lab, 1), Vec::<String>::new());
    // The hand that recovered it left nothing in the journal.
    let not_once = not_once(&scene.lab, 0, FAILOVER_ONCE);
    assert_eq!(not_once, ["RESTORE DATABASE WITH RECOVERY was carried out 0 times"]);
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
    for step in ["DatabaseOnline", "PoolStateSet"] {
        assert!(done_by_others.contains(&step), "{done_by_others:?}");
    }
    assert!(!begun(&scene.lab, 0, "Set-CsPersistentChatState"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_up_without_a_word_is_tried_again_with_pauses_and_not_believed() {
    let mut scene = Scene::ready("without_a_word", quick()).await;
    let tries = Arc::new(AtomicUsize::new(0));
    // A look: nobody takes the database for one that is not there, or the table of records.
    for what in ["is_in_standby, d.is_read_only", "OBJECT_ID(N'msdb.dbo.persistent_chat_failover')"] {
        give_up(&scene.lab, &tries, what);
        scene.until("a lost look", || scene.object()["status"].to_string().contains("was lost while")).await;
        scene.wait_for("FailoverReady", "False", "OutcomeUnknown").await;
        scene.lab.answer_by(None);
        scene.wait_for("FailoverReady", "True", "Completed").await;
    }
    assert_eq!(scene.writes(), Vec::<String>::new());
    // An effect that is never carried out and never refused.
    scene.lose().await;
    give_up(&scene.lab, &tries, "RESTORE LOG @");
    scene.want(1);
    scene.wait_for("LogBackupsApplied", "False", "OutcomeUnknown").await;
    let began = Instant::now();
    scene.until("a few tries", || tries.load(Ordering::Relaxed) >= 4).await;
    // One, two and four seconds, shortened by three tenths at most.
    assert!(began.elapsed() > Duration::from_secs(3), "it is tried without a pause");
    assert!(!begun(&scene.lab, 0, "RESTORE LOG") && !begun(&scene.lab, 0, "RESTORE DATABASE WITH RECOVERY"));
    scene.lab.answer_by(None);
    scene.wait_until_failed_over().await;
}

/// Whatever asks the second data centre's SQL Server for something is given up by it, and counted.
fn give_up(lab: &Lab, tries: &Arc<AtomicUsize>, what: &'static str) {
    tries.store(0, Ordering::Relaxed);
    let (tries, server) = (tries.clone(), lab.scenario().data_centers[1].sql_server.clone());
    lab.answer_by(Some(Box::new(move |request| {
        (request.text.contains(what) && request.server == server).then(|| {
            tries.fetch_add(1, Ordering::Relaxed);
            Answered { instead: Some(vec![]), end: End::GivenUp(0) }
        })
    })));
}

/// The reasons of the events that were told of a failover, each as often as it was told.
fn told(scene: &Scene) -> Vec<String> {
    let text = scene.kubectl(&["get", "events.events.k8s.io", "-o", "json"], None);
    let events: serde_json::Value = serde_json::from_str(&text).unwrap();
    let of_the_failover =
        |e: &&serde_json::Value| !e["note"].as_str().unwrap_or_default().contains("Protect ");
    let told = events["items"].as_array().unwrap().iter().filter(of_the_failover);
    told.filter_map(|e| Some(e["reason"].as_str()?.to_string())).collect()
}
