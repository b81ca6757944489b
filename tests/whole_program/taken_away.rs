//! What is taken away from the whole program on a real API server: the API server itself, etcd's space, the watch, rights, the
//! time to end. A transition that has begun goes on, and nothing happens twice. Success is read from the lab.
//!
//! The same by day and by night.

use std::time::{Duration, Instant};

use crate::common::courses::Failover;
use crate::common::matrix::{Row, SOON, Staged, hold_first, until_held, world};
use crate::common::proxy::behind_a_proxy;
use crate::common::scene::{Scene, runs};
use crate::common::{Plane, signal};
use lab::control_plane::Options;
use lab::world::journal::Outcome;

/// A failover that has not begun, on a control plane that may be the test's own. Its operator holds the lease: what takes the API
/// server away takes that away as well.
async fn on(plane: &Plane, test: &str) -> Staged<'static, Failover> {
    with_lease_of(plane, test, "3s").await
}

async fn with_lease_of(plane: &Plane, test: &str, lease: &'static str) -> Staged<'static, Failover> {
    let mut scene = Scene::set_on(plane.clone(), test, world()).await;
    (scene.env, scene.lease) = (SOON.to_vec(), Some(lease));
    scene.begin().await;
    Staged::in_scene(&Failover { to: 1 }, scene).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b1_the_api_server_dies_in_a_transition() {
    let plane = Plane::own(Options::default());
    killed_and_restarted(&plane).await;
    gone_for_the_whole_transition(&plane).await;
    hangs_for_the_whole_transition(&plane).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b3_the_api_server_dies_before_a_stop_and_before_a_change() {
    let plane = Plane::own(Options::default());
    a_stop_without_an_api_server(&plane).await;
    the_watch_is_too_old(&plane).await;
}

async fn killed_and_restarted(plane: &Plane) {
    let row = Row::begin("API server killed and restarted in the middle, again and again");
    let mut staged = on(plane, "api_server_killed").await;
    const AT: [&str; 6] = [
        "CREATE TABLE",
        "EXEC sp_update_job",
        "EXEC sp_delete_log_shipping_secondary_database",
        "RESTORE LOG",
        "RESTORE DATABASE WITH RECOVERY",
        "Set-CsPersistentChatState",
    ];
    hold_first(&staged.scene, &AT);
    staged.begin().await;
    for pair in AT.chunks(2) {
        until_held(&staged.scene, pair[0]).await;
        plane.kill_api_server().unwrap();
        staged.scene.lab.release();
        until_held(&staged.scene, pair[1]).await;
        plane.start_api_server().unwrap();
        staged.scene.lab.release();
    }
    staged.until_complete().await;
    row.passed("before the record, before log shipping goes, before the recovery");
}

async fn gone_for_the_whole_transition(plane: &Plane) {
    let row = Row::begin("API server gone for the whole transition");
    let mut staged = on(plane, "api_server_gone").await;
    hold_first(&staged.scene, &["CREATE TABLE"]);
    staged.begin().await;
    until_held(&staged.scene, "CREATE TABLE").await;
    plane.kill_api_server().unwrap();
    assert_eq!(staged.scene.writes(), Vec::<String>::new());
    staged.scene.lab.release();
    staged.until_complete_in_the_lab().await;
    staged.assert_nothing_happened_twice();
    assert!(plane.kubectl(&["get", "--raw", "/readyz"], None).is_err());
    let log = std::fs::read_to_string(staged.scene.log()).unwrap();
    assert_eq!(log.matches("the Secrets that were read last are used").count(), 1, "{log}");
    assert!(!log.contains(lab::sql::SQL_PASSWORD) && !log.contains(lab::chat::SHELL_PASSWORD));
    plane.start_api_server().unwrap();
    staged.until_complete().await;
    row.passed("killed before the first effect, back after the last");
}

async fn hangs_for_the_whole_transition(plane: &Plane) {
    let row = Row::begin("API server hangs (SIGSTOP) for the whole transition");
    let mut staged = on(plane, "api_server_hangs").await;
    hold_first(&staged.scene, &["CREATE TABLE"]);
    staged.begin().await;
    until_held(&staged.scene, "CREATE TABLE").await;
    signal(plane.api_server_pid().unwrap(), "STOP");
    let began = Instant::now();
    staged.scene.lab.release();
    staged.until_complete_in_the_lab().await;
    let took = began.elapsed();
    staged.assert_nothing_happened_twice();
    signal(plane.api_server_pid().unwrap(), "CONT");
    staged.until_complete().await;
    row.passed(format!("from the first effect to the last, {:.1} s", took.as_secs_f64()));
}

async fn a_stop_without_an_api_server(plane: &Plane) {
    let row = Row::begin("SIGTERM while the API server is dead");
    // Long enough to be held still when there is something to write: who does not hold it writes nothing.
    let mut staged = with_lease_of(plane, "stop_without_api_server", "20s").await;
    plane.kill_api_server().unwrap();
    // Something that the status has to tell.
    staged.scene.lose().await;
    staged
        .scene
        .until("a write of the status that fails", || staged.scene.log_says("cannot write the status"))
        .await;
    staged.scene.operator.as_ref().unwrap().signal("TERM");
    let took = until_ended(&mut staged.scene).await;
    plane.start_api_server().unwrap();
    staged.scene.start_operator();
    staged.scene.want(1);
    staged.until_complete().await;
    row.passed(format!("ended {:.1} s after the signal", took.as_secs_f64()));
}

/// Waits until the operator has ended by itself, as it should; gives how long that took.
async fn until_ended(scene: &mut Scene) -> Duration {
    let asked = Instant::now();
    loop {
        if let Some(status) = scene.operator.as_mut().unwrap().ended() {
            assert!(status.success(), "{status}");
            return asked.elapsed();
        }
        assert!(asked.elapsed() < Duration::from_secs(15), "it does not end:\n{}", scene.log_tail());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn the_watch_is_too_old(plane: &Plane) {
    let row = Row::begin("watch cut, etcd compacted, API server restarted: 410 Gone");
    let mut scene = Scene::set_on(plane.clone(), "watch_too_old", world()).await;
    let proxy = behind_a_proxy(&mut scene).await;
    scene.env = SOON.to_vec();
    // What the watch is told is not worth a line in the log otherwise.
    scene.env.push(("RUST_LOG", "info,kube=debug,persistent_chat_failover=debug"));
    scene.begin().await;
    let mut staged = Staged::in_scene(&Failover { to: 1 }, scene).await;
    proxy.cut();
    staged.begin().await;
    for n in 0..3 {
        staged.scene.kubectl(&["create", "configmap", &format!("other-{n}")], None);
    }
    plane.compact().unwrap();
    plane.kill_api_server().unwrap();
    plane.start_api_server().unwrap();
    assert!(!staged.scene.log_says("too old resource version"));
    assert_eq!(staged.scene.writes(), Vec::<String>::new());
    proxy.mend();
    staged.until_complete().await;
    assert!(staged.scene.log_says("too old resource version"), "{}", staged.scene.log_tail());
    row.passed("cut before the spec was changed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b2_etcd_is_out_of_space() {
    let row = Row::begin("etcd out of space");
    let plane = Plane::own(Options { quota: Some(24 * 1024 * 1024) });
    let mut staged = on(&plane, "out_of_space").await;
    hold_first(&staged.scene, &["RESTORE LOG"]);
    staged.begin().await;
    until_held(&staged.scene, "RESTORE LOG").await;
    let fill = "x".repeat(900 * 1024);
    let mut written = 0;
    let refused = loop {
        let map = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": format!("fill-{written}"), "namespace": staged.scene.namespace}, "data": {"fill": fill}});
        match plane.kubectl(&["create", "-f", "-"], Some(&map.to_string())) {
            Ok(_) => written += 1,
            Err(e) => break e.stderr,
        }
        assert!(written < 60, "etcd takes everything");
    };
    assert!(refused.contains("database space exceeded"), "{refused}");
    staged.scene.lab.release();
    staged.until_complete_in_the_lab().await;
    staged.assert_nothing_happened_twice();
    assert!(staged.scene.log_says("database space exceeded"));
    let wanted = staged.scene.data_center(1).name.as_str();
    assert_ne!(staged.scene.object()["status"]["activeDataCenter"], wanted);
    // What an administrator does: delete, compact, defragment, disarm.
    staged.scene.kubectl(&["delete", "configmap", "--all"], None);
    plane.compact().unwrap();
    plane.etcd("/v3/maintenance/defragment", &serde_json::json!({})).unwrap();
    let alarms = plane.etcd("/v3/maintenance/alarm", &serde_json::json!({"action": "GET"})).unwrap();
    for alarm in alarms["alarms"].as_array().unwrap() {
        let disarm = serde_json::json!({"action": "DEACTIVATE", "memberID": alarm["memberID"], "alarm": alarm["alarm"]});
        plane.etcd("/v3/maintenance/alarm", &disarm).unwrap();
    }
    staged.until_complete().await;
    row.passed("full before the first RESTORE LOG, mended after the last effect");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c1_cut_off_from_the_api_server_and_told_to_stop() {
    tokio::join!(
        the_watch_is_cut(),
        the_rights_are_revoked_for_a_while(),
        a_stop_lets_a_restore_end_and_a_deadline_does_not()
    );
}

async fn the_watch_is_cut() {
    let row = Row::begin("watch cut while the spec is changed");
    let mut scene = Scene::set("watch_cut", world()).await;
    let proxy = behind_a_proxy(&mut scene).await;
    scene.env = SOON.to_vec();
    scene.begin().await;
    let mut staged = Staged::in_scene(&Failover { to: 1 }, scene).await;
    proxy.cut();
    staged.begin().await;
    staged.scene.until("attempts to connect", || proxy.turned_away() >= 3).await;
    assert_eq!(staged.scene.writes(), Vec::<String>::new(), "it cannot know of the change");
    proxy.mend();
    staged.until_complete().await;
    row.passed(format!("turned away {} times", proxy.turned_away()));
}

async fn the_rights_are_revoked_for_a_while() {
    let row = Row::begin("RoleBinding deleted in the middle, created again");
    let mut staged = on(&Plane::Shared, "rights_revoked").await;
    hold_first(&staged.scene, &["RESTORE LOG"]);
    staged.begin().await;
    until_held(&staged.scene, "RESTORE LOG").await;
    let binding = staged.scene.kubectl(&["get", "rolebinding/pcf-operator", "-o", "json"], None);
    staged.scene.kubectl(&["delete", "rolebinding/pcf-operator"], None);
    staged.scene.lab.release();
    staged.scene.until("a refusal", || staged.scene.log_says("is forbidden")).await;
    let mut binding: serde_json::Value = serde_json::from_str(&binding).unwrap();
    binding["metadata"] = serde_json::json!({"name": "pcf-operator"});
    staged.scene.apply(&binding.to_string());
    staged.until_complete().await;
    row.passed("gone before the first RESTORE LOG, back after a refusal");
}

async fn a_stop_lets_a_restore_end_and_a_deadline_does_not() {
    let row = Row::begin("SIGTERM during a long RESTORE; then SIGKILL before its end");
    let mut staged = on(&Plane::Shared, "stop_in_restore").await;
    staged.scene.lab.fault("restore-ms", &["6000".into()]).unwrap();
    staged.begin().await;
    staged.scene.until("a RESTORE", || runs(&staged.scene.lab, "RESTORE LOG")).await;
    staged.scene.operator.as_ref().unwrap().signal("TERM");
    staged
        .scene
        .until("its word that it stops", || staged.scene.log_says("stopping: no new effect begins"))
        .await;
    tokio::time::sleep(Duration::from_secs(1)).await; // the kubelet's deadline
    assert!(staged.scene.operator.as_mut().unwrap().ended().is_none(), "it does not wait for the RESTORE");
    assert!(runs(&staged.scene.lab, "RESTORE LOG"));
    staged.scene.kill_operator();
    staged.scene.until("the end of its session", || !runs(&staged.scene.lab, "RESTORE LOG")).await;
    staged.scene.lab.fault("restore-ms", &["2500".into()]).unwrap();

    // The next one goes on, and is given the time it needs.
    let begun = staged.effects().len();
    staged.scene.start_operator();
    staged.scene.until("a RESTORE of the next one", || runs(&staged.scene.lab, "RESTORE LOG")).await;
    staged.scene.operator.as_ref().unwrap().signal("TERM");
    until_ended(&mut staged.scene).await;
    let done = staged.effects().split_off(begun);
    assert_eq!(done.len(), 1, "nothing but the RESTORE that ran: {done:#?}");
    assert_eq!(done[0].outcome, Outcome::Ok);
    staged.scene.lab.fault("restore-ms", &["300".into()]).unwrap();
    staged.scene.start_operator();
    staged.until_complete().await;
    row.passed("killed once in its RESTORE, ended by itself once after it");
}
