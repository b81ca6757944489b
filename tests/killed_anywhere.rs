//! Killed anywhere, started anywhere: whatever the course, a new process goes on, and nothing happens twice.
//!
//! By day (`make test`) it is killed before and after a sample of the effects, which moves from run to run (`PCF_SAMPLE=n`
//! repeats one), by night (`make night`) before and after all of them. What else is tried of a failover is the same by day and by
//! night; what else is tried of the shorter courses is tried by night. By night each course is tried in both directions; by day the
//! switches are, and the others in one that moves as well.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::courses::{Align, Failover, Protect, Undo};
use common::matrix::{
    Course, Row, Staged, hold_first, killed_at_every_effect, killed_within_each_step, stopped_and_killed,
    two_operators, until_held,
};
use common::returns::Return;
use common::switches::{Switch, SwitchUndone};

// The names have an order because the tests are started in it, two at a time: the longest ones first.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a1_failover_killed_before_and_after_every_effect_and_every_write_of_the_record() {
    for to in common::directions() {
        killed_at_every_effect(&Failover { to }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a2_failover_killed_within_each_step() {
    for to in common::directions() {
        let course = Failover { to };
        tokio::join!(killed_within_each_step(&course, false), killed_within_each_step(&course, true));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b1_failover_by_two_operators_and_with_the_holder_of_the_lock_stopped_and_killed() {
    for to in common::directions() {
        let course = Failover { to };
        tokio::join!(two_operators(&course), stopped_and_killed(&course));
    }
}

/// By day only a sample of the effects; by night all of them, two operators, and a kill within each step.
async fn a_shorter_course(course: &impl Course) {
    killed_at_every_effect(course).await;
    if common::night() {
        tokio::join!(two_operators(course), killed_within_each_step(course, false));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c1_align_killed_before_and_after_every_effect() {
    for to in common::directions() {
        a_shorter_course(&Align { active: 1 - to }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c2_protect_killed_before_and_after_every_effect() {
    for to in common::directions() {
        a_shorter_course(&Protect { active: 1 - to }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c3_undo_killed_before_and_after_every_effect() {
    for to in common::directions() {
        a_shorter_course(&Undo { to }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a5_return_killed_before_and_after_every_effect() {
    for to in common::directions() {
        a_shorter_course(&Return { of: 1 - to }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a3_switch_killed_before_and_after_every_effect() {
    a_shorter_course(&Switch { to: 1 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a4_switch_to_the_first_killed_before_and_after_every_effect() {
    a_shorter_course(&Switch { to: 0 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c4_switch_undone_killed_before_and_after_every_effect() {
    a_shorter_course(&SwitchUndone { to: 1 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c5_switch_to_the_first_undone_killed_before_and_after_every_effect() {
    a_shorter_course(&SwitchUndone { to: 0 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b2_the_request_of_a_dead_process_is_carried_out_late() {
    for to in common::directions() {
        carried_out_late(&Failover { to }).await;
    }
}

async fn carried_out_late(course: &Failover) {
    const LATE: &str = "Install-CsMirrorDatabase";
    let row =
        Row::begin(format!("{}: kill -9 before {LATE}, carried out when the next one looks", course.name()));
    let mut staged = Staged::ready(course, "late_request").await;
    staged.scene.lab.world().now().breakpoints.outlive_clients(true);
    hold_first(&staged.scene, &[LATE]);
    staged.begin().await;
    until_held(&staged.scene, LATE).await;
    let scene = &mut staged.scene;
    scene.kill_operator();
    scene.start_operator();
    scene.wait_for_text("MirrorEstablished", "False", "WaitingForCmdlet", "may still be on its way").await;
    scene.lab.release();
    staged.until_complete().await;
    row.passed("killed once; the next one waited, and attached to it");
}

#[test]
fn the_samples_of_three_days_in_a_row_cover_everything() {
    common::assert_samples_cover_everything();
}
