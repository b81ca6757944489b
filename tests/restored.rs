//! A cluster that is restored from an old backup, for real: what etcd held before a failover is put back after it, and Git is as old. What
//! the resource wishes then was true once, and is nobody's wish: nothing moves until somebody says what is true. The whole program on a
//! real API server and etcd, each test on its own.
//!
//! By day one of these and of the other hazards of GitOps, which moves from run to run; by night all of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::gitops::secrets_and_resource;
use common::matrix::{SOON, hold_first, until_held};
use common::returns::{question, until_protected};
use common::scene::{FAILOVER_ONCE, Scene, backups_for, not_live_in, not_once, quick};
use common::switches::SET_STATE;
use common::{Plane, gitops, night};
use lab::control_plane::Options;
use serde_json::{Value, json};

const NOTHING: Vec<String> = vec![];
/// What is said to a wish that nobody has, against a side that is silent.
const NOBODY: &str = "Nobody has asked for this switch";

/// With this a wish moves chat at once, also while it lives.
const SWITCH: &str = "  policy: {whenActiveAnswers: Switch}\n";

/// Whether one of them is done today.
fn is_due(n: u64) -> bool {
    gitops::is_due("restored", n)
}

/// A scene on a control plane of its own whose resource is applied by a tool, and is Ready.
struct Cluster {
    scene: Scene,
    /// The resource as it was committed when the backup was taken.
    old: String,
    backup: PathBuf,
}

impl Cluster {
    async fn ready(test: &str, policy: &str) -> Cluster {
        let mut scene = Scene::set_on(Plane::own(Options::default()), test, quick()).await;
        scene.env = SOON.to_vec();
        let (secrets, resource) = secrets_and_resource(&scene);
        scene.apply(&secrets);
        let (old, backup) = (resource + policy, scene.directory.path().join("backup"));
        let mut cluster = Cluster { scene, old, backup };
        cluster.git_says(&cluster.old);
        cluster.scene.start_operator();
        cluster.scene.wait_for("FailoverReady", "True", "Completed").await;
        cluster.scene.wait_until_at_rest().await;
        cluster
    }

    /// Applies a manifest as tools do that read Git.
    fn git_says(&self, manifest: &str) {
        self.scene.kubectl(&["apply", "--server-side", "--field-manager=git", "-f", "-"], Some(manifest));
    }

    /// What is true after a failover to the second data centre, as it would be committed.
    fn truth(&self) -> String {
        let truth = self.old.replace("activeDataCenter: atlanta", "activeDataCenter: seattle");
        assert_ne!(truth, self.old);
        truth
    }

    fn back_up(&self) {
        self.scene.plane.back_up(&self.backup).unwrap();
    }

    /// The cluster as the backup has it; its operator is not started yet.
    fn restore(&mut self) {
        self.scene.kill_operator();
        self.scene.plane.restore(&self.backup).unwrap();
    }

    /// Begins a failover to the second data centre by a commit.
    async fn begin_failover(&mut self) {
        self.scene.lose().await;
        self.git_says(&self.truth());
    }

    /// A backup is taken, chat fails over, and the side that was lost is back as a copy that is fed: it could take over at any time.
    async fn failed_over_since(test: &str, policy: &str) -> Cluster {
        let mut cluster = Cluster::ready(test, policy).await;
        cluster.back_up();
        cluster.begin_failover().await;
        let scene = &mut cluster.scene;
        scene.wait_until_failed_over().await;
        scene.wait_until_at_rest().await;
        scene.lab.restore("atlanta").await.unwrap();
        let asked = question(scene).await;
        let shipped = backups_for(&scene.lab, 0).len();
        scene.agree(&asked);
        until_protected(scene, shipped).await;
        cluster
    }

    /// Waits until the operator has looked at the pool several times, and asserts that it has written nothing since.
    async fn nothing_moves(&self, since: &[String]) {
        let looks = || {
            let world = self.scene.lab.world().now();
            world.journal.entries().iter().filter(|e| e.name == "Get-CsPersistentChatState").count()
        };
        let before = looks();
        self.scene.until("more looks", || looks() >= before + 5).await;
        assert_eq!(self.scene.writes(), since);
    }
}

/// The names of the data centres that the spec and the status have as active.
fn active(scene: &Scene) -> [Value; 2] {
    let mut object = scene.object();
    ["spec", "status"].map(|part| object[part]["activeDataCenter"].take())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_old_backup_wishes_moves_nothing_while_chat_lives_nor_when_it_falls_silent_until_git_is_true()
{
    if !is_due(0) {
        return;
    }
    let mut cluster = Cluster::failed_over_since("restored_alive", SWITCH).await;
    let before = cluster.scene.writes();
    cluster.restore();
    assert_eq!(active(&cluster.scene), ["atlanta", "atlanta"]);
    cluster.scene.start_operator();
    let message = cluster.scene.wait_for("Stalled", "True", "ActiveDataCenterDrifted").await;
    for said in
        ["seattle is active", "nobody has decided that switch here", "If seattle is right", "spec.utteredAt"]
    {
        assert!(message.contains(said), "{said}: {message}");
    }
    cluster.git_says(&cluster.old);
    cluster.nothing_moves(&before).await;
    assert_eq!(active(&cluster.scene), ["atlanta", "seattle"]);
    assert_eq!(not_live_in(&cluster.scene.lab, 1), NOTHING);

    // The side that lived falls silent, and the other one could take over.
    cluster.scene.lose_data_center(1).await;
    cluster.scene.wait_for_text("Stalled", "True", "ConsentRequired", NOBODY).await;
    cluster.git_says(&cluster.old);
    cluster.nothing_moves(&before).await;
    cluster.scene.lab.restore("seattle").await.unwrap();
    cluster.scene.wait_for("Stalled", "True", "ActiveDataCenterDrifted").await;
    cluster.nothing_moves(&before).await;

    // What is true is committed.
    cluster.git_says(&cluster.truth());
    cluster.scene.wait_until_ready_in(1).await;
    cluster.scene.until("chat in seattle", || not_live_in(&cluster.scene.lab, 1).is_empty()).await;
    assert_eq!(cluster.scene.times("Failover", "Completed"), 1, "{:?}", cluster.scene.history());
    assert_eq!(cluster.scene.times("Switch", "Completed"), 0, "{:?}", cluster.scene.history());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_comes_back_while_chat_is_silent_asks_before_it_follows_its_old_wish() {
    if !is_due(1) {
        return;
    }
    let mut cluster = Cluster::failed_over_since("restored_silent", "").await;
    let before = cluster.scene.writes();
    cluster.scene.kill_operator();
    cluster.scene.lose_data_center(1).await;
    cluster.restore();
    cluster.git_says(&cluster.old);
    cluster.scene.start_operator();
    cluster.scene.wait_for_text("Stalled", "True", "ConsentRequired", NOBODY).await;
    cluster.git_says(&cluster.old);
    cluster.nothing_moves(&before).await;
    // Whoever has read it may still want it.
    let asked = cluster.scene.object()["status"]["transition"]["consentNeeded"].take();
    cluster.scene.agree(&asked);
    cluster.scene.wait_until_ready_in(0).await;
    assert_eq!(not_live_in(&cluster.scene.lab, 0), NOTHING);
    assert_eq!(cluster.scene.last_failover()["loss"]["acceptedBy"], "Ann");
}

/// The backup was taken while a failover was held at an effect; since then it has ended. What is true by Git is where it went.
async fn taken_in_the_middle(test: &str, at: &'static str) -> Cluster {
    let mut cluster = Cluster::ready(test, "").await;
    hold_first(&cluster.scene, &[at]);
    cluster.begin_failover().await;
    until_held(&cluster.scene, at).await;
    let begun = || cluster.scene.object()["status"]["transition"]["outcome"] == "Running";
    cluster.scene.until("a status that says so", begun).await;
    if at == SET_STATE {
        cluster.scene.until_no_return().await;
    }
    cluster.back_up();
    cluster.scene.let_go();
    cluster.scene.wait_until_failed_over().await;
    cluster.scene.wait_until_at_rest().await;
    cluster
}

async fn nothing_is_done_twice(cluster: &mut Cluster) {
    let before = cluster.scene.writes();
    cluster.restore();
    let status = cluster.scene.object()["status"].take();
    assert_eq!(status["transition"]["outcome"], "Running", "{status}");
    cluster.git_says(&cluster.truth());
    cluster.scene.start_operator();
    cluster.scene.wait_until_failed_over().await;
    cluster.scene.wait_until_at_rest().await;
    cluster.nothing_moves(&before).await;
    assert_eq!(cluster.scene.times("Failover", "Completed"), 1, "{:?}", cluster.scene.history());
    assert_eq!(not_once(&cluster.scene.lab, 0, FAILOVER_ONCE), NOTHING);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_failover_that_was_at_work_in_the_backup_and_has_ended_since_nothing_is_done_twice() {
    if !is_due(2) {
        return;
    }
    let mut cluster = taken_in_the_middle("restored_before", "RESTORE LOG").await;
    nothing_is_done_twice(&mut cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_of_one_that_was_past_its_point_of_no_return_and_an_older_git_is_refused_first() {
    if !is_due(3) {
        return;
    }
    let mut cluster = taken_in_the_middle("restored_past", SET_STATE).await;
    cluster.restore();
    // By the status of that time; nobody has looked at the pool yet.
    let apply = ["-n", &cluster.scene.namespace, "apply", "--server-side", "--field-manager=git", "-f", "-"];
    let refused = cluster.scene.plane.kubectl(&apply, Some(&cluster.old)).unwrap_err().stderr;
    assert!(refused.contains("the database has been recovered"), "{refused}");
    nothing_is_done_twice(&mut cluster).await;
}

/// The cluster as the backup has it, in which other fields than `activeDataCenter` are edited before an operator runs, until the generation is
/// past the one with which chat was wished where it is.
fn restore_and_edit(cluster: &mut Cluster) {
    let generation = |scene: &Scene| scene.object()["metadata"]["generation"].as_i64().unwrap();
    let last = generation(&cluster.scene);
    cluster.restore();
    // Whoever restores a cluster holds everything, mends this and that, and lets it go.
    for suspend in [true, false].into_iter().cycle() {
        cluster.scene.patch(&json!({ "suspend": suspend }).to_string());
        if generation(&cluster.scene) > last && !suspend {
            break;
        }
    }
    assert_eq!(active(&cluster.scene), ["atlanta", "atlanta"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edits_of_anything_else_before_the_operator_has_looked_make_no_wish_of_what_the_backup_says() {
    if !is_due(4) {
        return;
    }
    let mut cluster = Cluster::failed_over_since("restored_edited", SWITCH).await;
    let before = cluster.scene.writes();
    restore_and_edit(&mut cluster);
    cluster.scene.start_operator();
    cluster.scene.wait_for("Stalled", "True", "ActiveDataCenterDrifted").await;
    cluster.nothing_moves(&before).await;
    assert_eq!(active(&cluster.scene), ["atlanta", "seattle"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_do_they_when_chat_is_silent_after_a_switch_whose_record_the_other_side_keeps_as_well() {
    if !is_due(5) {
        return;
    }
    let mut cluster = Cluster::ready("restored_edited_silent", SWITCH).await;
    cluster.back_up();
    cluster.git_says(&cluster.truth());
    cluster.scene.wait_until_ready_in(1).await;
    cluster.scene.wait_for("FailoverReady", "True", "Completed").await;
    cluster.scene.wait_until_at_rest().await;
    let before = cluster.scene.writes();
    cluster.scene.kill_operator();
    cluster.scene.lose_data_center(1).await;
    restore_and_edit(&mut cluster);
    cluster.scene.start_operator();
    cluster.scene.wait_for_text("Stalled", "True", "ConsentRequired", NOBODY).await;
    cluster.nothing_moves(&before).await;
}

/// What etcd counts begins anew where the backup ends: a watch that was opened before is shown nothing until it has caught up. So an operator
/// that was not started anew hears of the old object when it next asks for it, a minute later at most. Too long for a day.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_that_lives_through_the_restore_moves_nothing_and_hears_of_the_old_wish_within_two_minutes()
 {
    if !night() {
        return;
    }
    let mut cluster = Cluster::failed_over_since("restored_beside", "").await;
    let before = cluster.scene.writes();
    cluster.scene.plane.restore(&cluster.backup).unwrap();
    cluster.git_says(&cluster.old);
    cluster.nothing_moves(&before).await;
    let drifted = || {
        let stalled = cluster.scene.condition("Stalled");
        stalled.is_some_and(|c| c["status"] == "True" && c["reason"] == "ActiveDataCenterDrifted")
    };
    let deadline = Instant::now() + Duration::from_secs(120);
    while !drifted() {
        assert!(Instant::now() < deadline, "it does not hear\n{}", cluster.scene.log_tail());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    cluster.nothing_moves(&before).await;
    // Started anew, it hears at once.
    cluster.scene.kill_operator();
    cluster.scene.start_operator();
    cluster.git_says(&cluster.truth());
    cluster.scene.wait_until_ready_in(1).await;
    cluster.nothing_moves(&before).await;
}
