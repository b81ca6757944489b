//! A switch: both data centres live, chat moves from the one to the other, and no message is lost. The whole program on a real API
//! server.
//!
//! The same by day and by night, but for the directions of one.

use crate::common;
use crate::common::courses::not_protected;
use crate::common::matrix::{hold_first, hold_the_tail, until_held};
use crate::common::scene::{Scene, backups_for, begun, not_live_in, quick, server};
use crate::common::switches::{RECOVER, beside, may_switch, not_taken_back};
use lab::scenario::Scenario;
use serde_json::{Value, json};

const NOTHING: Vec<String> = vec![];

/// A scene that may switch, in which chat lives in the other data centre than this one.
async fn ready(test: &str, to: usize, scenario: Scenario) -> Scene {
    let scene = Scene::ready(&format!("{test}_{to}"), beside(to, scenario)).await;
    may_switch(&scene);
    scene
}

/// Up to where the log of a data centre's database reaches.
fn log_end(scene: &Scene, n: usize) -> String {
    let of = server(&scene.lab, &scene.data_center(n).sql_server);
    of["databases"][0]["logEnd"].as_str().unwrap().to_string()
}

/// Switches to a data centre, by an edit. Before the recovery nobody can write to what is left any more, and the other side has all of it.
async fn switch(scene: &Scene, to: usize) {
    let from = 1 - to;
    let (switched, shipped) = (scene.times("Switch", "Completed"), backups_for(&scene.lab, from).len());
    hold_first(scene, &[RECOVER]);
    scene.want(to);
    until_held(scene, RECOVER).await;
    let left = server(&scene.lab, &scene.data_center(from).sql_server)["databases"][0].take();
    assert_eq!(left["state"], "RESTORING", "{left}");
    assert_eq!(log_end(scene, from), log_end(scene, to));
    let end: i128 = log_end(scene, from).parse().unwrap();
    scene.let_go();
    scene.wait_until_ready_in(to).await;
    let forked = {
        let world = scene.lab.world().now();
        world.sql[&scene.data_center(to).sql_server].databases["mgc"].forked.clone().unwrap()
    };
    assert_eq!(forked.lsn, end, "it goes on from elsewhere");
    scene.until("its end", || scene.times("Switch", "Completed") == switched + 1).await;
    scene.wait_for("FailoverReady", "True", "Completed").await;
    scene.wait_until_at_rest().await;
    assert_eq!(not_live_in(&scene.lab, to), NOTHING);
    assert_eq!(not_protected(&scene.lab, from, shipped), NOTHING);
    assert_eq!(scene.condition("Ready").unwrap()["status"], "True");
    assert!(scene.condition("Stalled").is_none_or(|c| c["status"] == "False"));
    assert_eq!(scene.object()["status"]["activeDataCenter"], scene.data_center(to).name.as_str());
}

/// The last switch, as the history has it.
fn last_switch(scene: &Scene) -> Value {
    let history = scene.object()["status"]["history"].take();
    let switch = history.as_array().into_iter().flatten().find(|h| h["procedure"] == "Switch");
    switch.unwrap_or_else(|| panic!("no switch in {history}")).clone()
}

async fn there_and_back(to: usize) {
    let scene = ready("there_and_back", to, quick()).await;
    let since = scene.lab.journal().len();
    for (there, times) in [(to, 1), (1 - to, 2), (to, 3)] {
        switch(&scene, there).await;
        let told = last_switch(&scene);
        assert_eq!(told["outcome"], "Completed", "{told}");
        assert_eq!(told["to"], scene.data_center(there).name.as_str(), "{told}");
        assert!(told["loss"].is_null(), "{told}");
        assert_eq!(scene.times("Switch", "Completed"), times, "{:?}", scene.history());
        assert_eq!(scene.times("Protect", "Completed"), times, "{:?}", scene.history());
    }
    assert!(!begun(&scene.lab, since, "RESTORE DATABASE"), "a copy was seeded anew");
    assert_eq!(scene.times("Failover", "Completed"), 0, "{:?}", scene.history());
    assert!(!begun(&scene.lab, since, "Stop-CsWindowsService"), "chat that ends by itself was stopped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chat_is_switched_there_and_back_and_there_again_and_every_message_is_kept() {
    tokio::join!(there_and_back(1), there_and_back(0));
}

/// In the data centre that is left the mirror has become the principal: the tail is taken there, and the copy at the store lacks it.
async fn from_its_mirror(test: &str, to: usize) -> Scene {
    let scene = ready(test, to, quick()).await;
    let from = scene.data_center(1 - to).clone();
    scene.lab.fault("promote-mirror", std::slice::from_ref(&from.name)).unwrap();
    scene.wait_for_text("Redundant", "False", "WaitingForMirror", "DISCONNECTED").await;
    scene.lab.fault("start-sql", std::slice::from_ref(&from.sql_server)).unwrap();
    scene.wait_for("Redundant", "True", "Completed").await;
    scene.wait_for("FailoverReady", "True", "Completed").await;
    scene.wait_until_at_rest().await;
    scene
}

/// The tails that were restored in a data centre.
fn tails_restored(scene: &Scene, n: usize) -> usize {
    let (host, journal) = (&scene.data_center(n).sql_server, scene.lab.journal());
    let is_tail = |e: &&lab::world::journal::Entry| {
        e.server == *host
            && e.name == "RESTORE LOG"
            && e.target.as_ref().is_some_and(|t| t.contains("_tail_"))
    };
    journal.iter().filter(is_tail).count()
}

async fn protected_by_the_tail(to: usize) {
    let scene = from_its_mirror("protected_by_the_tail", to).await;
    let (from, since) = (1 - to, scene.lab.journal().len());
    let shipped = backups_for(&scene.lab, from).len();
    scene.want(to);
    scene.wait_until_ready_in(to).await;
    scene.wait_for("FailoverReady", "True", "Completed").await;
    scene.wait_until_at_rest().await;
    assert_eq!(not_live_in(&scene.lab, to), NOTHING);
    assert_eq!(not_protected(&scene.lab, from, shipped), NOTHING);
    assert_eq!(tails_restored(&scene, from), 1);
    assert!(!begun(&scene.lab, since, "RESTORE DATABASE"), "a copy was seeded anew");
    assert!(scene.object()["spec"]["consent"].is_null());
    switch(&scene, from).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_side_whose_mirror_was_the_principal_is_protected_by_the_tail_and_nobody_has_to_agree() {
    futures::future::join_all(common::directions().into_iter().map(protected_by_the_tail)).await;
}

async fn without_the_tail(to: usize) {
    let scene = from_its_mirror("without_the_tail", to).await;
    let since = scene.lab.journal().len();
    hold_first(&scene, &[RECOVER]);
    scene.want(to);
    until_held(&scene, RECOVER).await;
    hold_first(&scene, &["RESTORE LOG"]);
    scene.lab.release();
    until_held(&scene, "RESTORE LOG").await;
    let tail = scene.lab.held().into_iter().find_map(|(_, a)| a.target).unwrap();
    assert!(tail.contains("_tail_"), "{tail}");
    scene.lab.world().now().files.remove(&tail).unwrap();
    scene.let_go();
    // What will not pass by itself is told, and nothing is overwritten without a yes.
    scene.wait_for("OldSideFenced", "False", "ConsentRequired").await;
    scene.wait_until_ready_in(to).await;
    assert_eq!(scene.condition("FailoverReady").unwrap()["status"], "False");
    assert_eq!(not_live_in(&scene.lab, to), NOTHING);
    assert!(!begun(&scene.lab, since, "RESTORE DATABASE"), "a copy was seeded without a yes");
    assert_eq!(scene.times("Switch", "Completed"), 1, "{:?}", scene.history());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_that_is_not_to_be_had_any_more_makes_a_seed_a_question() {
    futures::future::join_all(common::directions().into_iter().map(without_the_tail)).await;
}

async fn sessions_that_stay(to: usize) {
    let scenario = Scenario { drain_ms: u64::MAX, ..quick() };
    let scene = ready("sessions_that_stay", to, scenario).await;
    scene.patch(r#"{"policy":{"drainDeadline":"2s"}}"#);
    let from = scene.data_center(1 - to).clone();
    hold_first(&scene, &["Stop-CsWindowsService"]);
    scene.want(to);
    scene.wait_for_text("ChatDrained", "False", "WaitingForSessions", &from.servers[0]).await;
    until_held(&scene, "Stop-CsWindowsService").await;
    assert!(!begun(&scene.lab, 0, "BACKUP LOG"));
    scene.let_go();
    scene.wait_until_ready_in(to).await;
    scene.wait_for("FailoverReady", "True", "Completed").await;
    scene.wait_until_at_rest().await;
    assert_eq!(not_live_in(&scene.lab, to), NOTHING);
    let servers = scene.lab.state()["chat"]["servers"].take();
    for host in &from.servers {
        let stopped =
            |e: &lab::world::journal::Entry, name: &str| e.name == name && e.target.as_ref() == Some(host);
        let journal = scene.lab.journal();
        for name in ["Stop-CsWindowsService", "Start-CsWindowsService"] {
            assert_eq!(journal.iter().filter(|e| stopped(e, name)).count(), 1, "{name} on {host}");
        }
        assert_eq!(servers[host]["stopped"], false, "{servers}");
        assert!(servers[host]["connectedTo"].is_null(), "{servers}");
    }
    assert_eq!(scene.times("Switch", "Completed"), 1, "{:?}", scene.history());
    // It serves where it ran before, once it is switched back.
    scene.patch(r#"{"policy":{"drainDeadline":"1s"}}"#);
    switch(&scene, 1 - to).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_outlive_the_deadline_are_ended_with_their_services_which_run_again_afterwards() {
    tokio::join!(sessions_that_stay(1), sessions_that_stay(0));
}

/// Waits until a switch that was taken back is closed and everything stands as before; and switches once more.
async fn until_taken_back(scene: &Scene, to: usize, end: &str) {
    let from = 1 - to;
    scene.until("its end as aborted", || scene.times("Switch", "Aborted") == 1).await;
    scene.wait_until_ready_in(from).await;
    scene.wait_for("Redundant", "True", "Completed").await;
    scene.wait_for("FailoverReady", "True", "Completed").await;
    scene.wait_until_at_rest().await;
    assert_eq!(not_taken_back(&scene.lab, from, to), NOTHING);
    let forked = {
        let world = scene.lab.world().now();
        world.sql[&scene.data_center(from).sql_server].databases["mgc"].forked.clone().unwrap()
    };
    assert_eq!(forked.lsn.to_string(), end, "something is missing");
    for (procedure, outcome, times) in
        [("Switch", "Completed", 0), ("Align", "Completed", 1), ("Protect", "Completed", 1)]
    {
        assert_eq!(scene.times(procedure, outcome), times, "{procedure}: {:?}", scene.history());
    }
    switch(scene, to).await;
    assert_eq!(scene.times("Switch", "Aborted"), 1, "{:?}", scene.history());
}

async fn taken_back_with_the_tail_applied(to: usize) {
    let scene = ready("taken_back_tail", to, quick()).await;
    hold_the_tail(&scene);
    scene.want(to);
    until_held(&scene, "RESTORE LOG").await;
    let end = log_end(&scene, 1 - to);
    scene.want(1 - to);
    scene.let_go();
    until_taken_back(&scene, to, &end).await;
}

/// The process dies in the middle of the recovery, which is never carried out; the wish is taken back before the next one looks.
async fn taken_back_with_the_recovery_intended(to: usize) {
    let mut scene = ready("taken_back_recovery", to, quick()).await;
    hold_first(&scene, &[RECOVER]);
    scene.want(to);
    until_held(&scene, RECOVER).await;
    let end = log_end(&scene, 1 - to);
    scene.kill_operator();
    scene.until("the end of what was sent", || scene.lab.held().is_empty()).await;
    scene.lab.break_at(None);
    scene.want(1 - to);
    scene.start_operator();
    until_taken_back(&scene, to, &end).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_taken_back_after_the_tail_was_taken_leaves_everything_as_it_was_and_the_next_one_works() {
    tokio::join!(taken_back_with_the_tail_applied(1), taken_back_with_the_tail_applied(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_taken_back_after_its_recovery_was_intended_and_not_carried_out_is_undone_as_well() {
    tokio::join!(taken_back_with_the_recovery_intended(1), taken_back_with_the_recovery_intended(0));
}

/// The wish is taken back while the recovery is on its way: it is carried out, and the switch goes on to its end. Then chat is switched
/// back, for that is what the resource asks for.
async fn taken_back_too_late(to: usize) {
    let scene = ready("taken_back_too_late", to, quick()).await;
    hold_first(&scene, &[RECOVER]);
    scene.want(to);
    until_held(&scene, RECOVER).await;
    scene.want(1 - to);
    let shipped = backups_for(&scene.lab, to).len();
    scene.let_go();
    scene.until("both ends", || scene.times("Switch", "Completed") == 2).await;
    scene.wait_until_ready_in(1 - to).await;
    scene.wait_for("FailoverReady", "True", "Completed").await;
    scene.wait_until_at_rest().await;
    assert_eq!(not_live_in(&scene.lab, 1 - to), NOTHING);
    assert_eq!(not_protected(&scene.lab, to, shipped), NOTHING);
    assert_eq!(scene.times("Switch", "Aborted"), 0, "{:?}", scene.history());
    assert!(last_switch(&scene)["loss"].is_null());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_taken_back_too_late_goes_on_and_is_followed_by_one_back() {
    tokio::join!(taken_back_too_late(1), taken_back_too_late(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_refused_is_not_switched_by_a_changed_policy_and_is_when_it_is_said_anew() {
    let scene = Scene::ready("refused_then_said_anew", quick()).await;
    scene.patch(
        &json!({"policy": {"whenActiveAnswers": "Refuse"}, "activeDataCenter": "seattle"}).to_string(),
    );
    let message = scene.wait_for("Stalled", "True", "SourceAlive").await;
    assert!(message.contains("answers"), "{message}");
    scene.assert_nothing_moves().await;
    may_switch(&scene);
    scene.wait_for("Stalled", "True", "SourceAlive").await;
    scene.assert_nothing_moves().await;
    // In whole seconds: later than what was refused.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    scene.patch(&json!({"utteredAt": jiff::Timestamp::now().to_string()}).to_string());
    scene.wait_until_ready_in(1).await;
    scene.wait_until_at_rest().await;
    assert_eq!(not_live_in(&scene.lab, 1), NOTHING);
    assert_eq!(scene.times("Switch", "Completed"), 1, "{:?}", scene.history());
}
