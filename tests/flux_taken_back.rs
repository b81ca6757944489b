//! The commit that takes a failover or a switch back, in each step of it: with the real kustomize-controller, over a Git repository
//! (`common::flux` says what is a stand-in). In time it is closed as aborted, and chat serves where it was; too late it is refused or told.
//!
//! By day at most one of the steps, which moves from run to run; by night all of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::courses::BUILD_MIRROR;
use common::flux::{Flux, ready, until_wished, wanting, wished};
use common::gitops;
use common::matrix::until_held;
use common::scene::{Scene, begun, not_live_in};
use common::switches::{RECOVER, SET_SERVERS, SET_STATE};
use lab::world::breakpoints::Moment;

/// What becomes of a commit that comes while an effect is held.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    /// It is in time.
    TakenBack,
    /// The statement after which there is no return is on its way: whether it is carried out nobody knows yet, so that nobody refuses.
    TooLateToRefuse,
    /// The API server refuses it.
    Refused,
}
use Then::{Refused, TakenBack, TooLateToRefuse};

/// An effect, the how manieth of its name, and what becomes of a commit that comes meanwhile.
type Case = (&'static str, usize, Then);

const OF_A_FAILOVER: [Case; 8] = [
    ("CREATE TABLE", 1, TakenBack),
    ("EXEC sp_update_job", 1, TakenBack),
    ("EXEC sp_delete_log_shipping_secondary_database", 1, TakenBack),
    ("RESTORE LOG", 1, TakenBack),
    (RECOVER, 1, TooLateToRefuse),
    (SET_STATE, 1, Refused),
    (BUILD_MIRROR, 1, Refused),
    (SET_SERVERS, 1, Refused),
];

const OF_A_SWITCH: [Case; 8] = [
    ("EXEC sp_update_job", 1, TakenBack),
    ("RESTORE LOG", 1, TakenBack),
    // The list is emptied, and chat ends.
    (SET_SERVERS, 1, TakenBack),
    ("BACKUP LOG", 1, TakenBack),
    (RECOVER, 1, TooLateToRefuse),
    (SET_STATE, 1, Refused),
    (BUILD_MIRROR, 1, Refused),
    // The list of the other side.
    (SET_SERVERS, 2, Refused),
];

/// Those that are done today, of all that there are from a number on.
fn due(cases: &'static [Case], first: usize) -> impl Iterator<Item = (usize, Case)> {
    let numbered = cases.iter().copied().enumerate();
    numbered.filter(move |(n, _)| gitops::is_due("flux_taken_back", (first + n) as u64))
}

fn hold(scene: &Scene, (name, nth, _): Case) {
    let mut met = 0;
    scene.lab.break_at(Some(Box::new(move |moment, a| {
        let is_one = moment == Moment::Before && a.name == name;
        met += usize::from(is_one);
        is_one && met == nth
    })));
}

/// Reverts the commit, as it is to be met; gives the revert when nothing is held any more.
async fn revert(scene: &Scene, flux: &Flux, then: Then) -> String {
    if then == Refused {
        scene.until_no_return().await;
    }
    let back = flux.revert();
    if then == Refused {
        let message = flux.until_failed_at(&back, "ReconciliationFailed").await;
        assert!(message.contains("the database has been recovered"), "{message}");
        assert_eq!(wished(scene), "seattle");
    } else {
        until_wished(scene, "atlanta").await;
    }
    scene.let_go();
    back
}

/// Chat serves in a data centre, by the lab's own word, and the next failover would work.
async fn assert_chat_serves_in(scene: &Scene, n: usize) {
    assert_eq!(not_live_in(&scene.lab, n), Vec::<String>::new());
    scene.wait_for("FailoverReady", "True", "Completed").await;
}

async fn in_a_failover(case: Case, test: &str) {
    let (name, _, then) = case;
    println!("a failover is taken back in {name}");
    let (mut scene, flux, resource) = ready(test, "").await;
    hold(&scene, case);
    scene.lose().await;
    flux.commit_resource("atlanta is lost", &wanting(&resource, "seattle"));
    until_held(&scene, name).await;
    let back = revert(&scene, &flux, then).await;
    let times = |scene: &Scene| (scene.times("Failover", "Completed"), scene.times("Failover", "Aborted"));
    if then == TakenBack {
        scene.until("its end as aborted", || times(&scene).1 == 1).await;
        assert!(!flux.is_ready_at(&back), "chat is lost with atlanta");
        scene.lab.restore("atlanta").await.unwrap();
        flux.until_ready_at(&back).await;
        assert_chat_serves_in(&scene, 0).await;
        assert!(!begun(&scene.lab, 0, RECOVER), "recovered all the same");
        return assert_eq!(times(&scene), (0, 1), "{:?}", scene.history());
    }
    // To its end; then it is a wish against a side that lives.
    scene.wait_for("Stalled", "True", "SourceAlive").await;
    flux.until_failed_at(&back, "HealthCheckFailed").await;
    let truth = flux.commit_resource("seattle it is", &wanting(&resource, "seattle"));
    flux.until_ready_at(&truth).await;
    assert_eq!(not_live_in(&scene.lab, 1), Vec::<String>::new());
    assert_eq!(times(&scene), (1, 0), "{:?}", scene.history());
}

async fn in_a_switch(case: Case, test: &str) {
    let (name, nth, then) = case;
    println!("a switch is taken back in {name} ({nth})");
    let (scene, flux, resource) = ready(test, "policy: {whenActiveAnswers: Switch}").await;
    hold(&scene, case);
    flux.commit_resource("seattle this weekend", &wanting(&resource, "seattle"));
    until_held(&scene, name).await;
    let back = revert(&scene, &flux, then).await;
    flux.until_ready_at(&back).await;
    assert_chat_serves_in(&scene, 0).await;
    let times = |outcome: &str| scene.times("Switch", outcome);
    // Too late, it is carried out when the switch is over, as what it is then: a switch back.
    let expected = if then == TakenBack { (0, 1) } else { (2, 0) };
    assert_eq!((times("Completed"), times("Aborted")), expected, "{:?}", scene.history());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_is_taken_back_by_a_commit_in_each_step() {
    for (n, case) in due(&OF_A_FAILOVER, 0) {
        in_a_failover(case, &format!("flux_back_{n}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_is_taken_back_by_a_commit_in_each_step() {
    for (n, case) in due(&OF_A_SWITCH, OF_A_FAILOVER.len()) {
        in_a_switch(case, &format!("flux_home_{n}")).await;
    }
}
