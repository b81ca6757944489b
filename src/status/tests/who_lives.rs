//! Whether the side that is to be left lives, and what is waited for before it is left.

use super::*;
use crate::domain::fencing::{Verdict, verdict};
use crate::domain::lync::Diagnostics;
use crate::domain::sql_server::Mirroring;
use crate::domain::transition::{DetachedJob, JobEnd};

fn mirrored(state: DatabaseState, role: i32) -> Instance {
    let mut i = instance(Side::Primary, true);
    let mirroring = Mirroring {
        state: 4,
        role,
        safety: 2,
        partner: None,
        partner_instance: None,
        witness: None,
        witness_state: None,
    };
    i.database.iter_mut().for_each(|db| (db.state, db.mirroring) = (state, Some(mirroring.clone())));
    i
}

#[test]
fn a_principal_that_is_not_usable_is_no_sign_of_life_and_a_mirror_copy_is() {
    let judged = |store: Answer, mirror: Option<Answer>| {
        let mut w = World::with(Side::Primary);
        let site = &mut w.situation.sites[Side::Primary];
        site.store.answer = store;
        site.mirror = mirror.map(|answer| Partner { server: "m".into(), answer });
        verdict(&w.pool, &w.situation, Side::Primary)
    };
    let why = |v: Verdict| match v {
        Verdict::Alive(p) => p.what,
        Verdict::Dead | Verdict::SilentSoFar(_) | Verdict::DatabaseUnusable(_) | Verdict::Unknown(_) => {
            panic!("{v:?}")
        }
    };
    let principal = judged(speaks(mirrored(DatabaseState::Suspect, 1)), None);
    assert!(matches!(principal, Verdict::DatabaseUnusable(_)), "{principal:?}");
    let copy = why(judged(speaks(mirrored(DatabaseState::Restoring, 2)), None));
    assert!(copy.contains("still holds the mirror copy"), "{copy}");
    let silent = Answer::Silent(Problem::retry(Reason::HostUnreachable, "silent", ""));
    let took_over = why(judged(silent, Some(speaks(mirrored(DatabaseState::Online, 1)))));
    assert!(took_over.contains("has become principal"), "{took_over}");
    let as_ever = why(judged(speaks(mirrored(DatabaseState::Online, 1)), None));
    assert!(as_ever.contains("is active and lives"), "{as_ever}");
}

#[test]
fn a_switch_waits_for_the_cmdlet_that_builds_a_mirror_where_it_leaves() {
    let mut w = World::with(Side::Primary);
    w.pool.policy.when_active_answers = WhenActiveAnswers::Switch;
    w.goal = Goal { active: Side::Backup, ..w.goal };
    let heard = LastWish {
        active: Side::Primary,
        uid: w.goal.uid.clone(),
        generation: 2,
        state: WishState::Fulfilled,
        at: at(1),
        uttered_at: None,
    };
    let carried = |ended: bool| {
        let mut w = World { pool: w.pool.clone(), situation: w.situation.clone(), goal: w.goal.clone() };
        let mut t = transition(Route::align(Side::Primary));
        t.revision = 1;
        let at = at(11);
        let end = JobEnd { at, said: Diagnostics::default() };
        t.facts.mirror_jobs.push(DetachedJob {
            at,
            host: "f".into(),
            shell_id: "s".into(),
            command_id: "c".into(),
            user: None,
            configuration: None,
            ended: ended.then_some(end),
        });
        w.record(&t);
        let p = plan(&w.pool, &w.goal, &w.situation, None, Some(&heard), &BTreeMap::new());
        p.transition.unwrap().route.procedure
    };
    assert_eq!(carried(false), Procedure::Align);
    assert_eq!(carried(true), Procedure::Switch);
}

#[test]
fn releases_are_told_by_their_first_two_numbers_and_log_shippings_jobs_by_their_category() {
    let release =
        |version: &str| Instance { version: version.into(), ..instance(Side::Primary, true) }.release();
    assert_eq!(release("10.50.6000.34"), Some((10, 50)));
    assert!(
        release("10.50.1600.1") > release("10.0.6000.29") && release("11.0.7001.0") > release("10.50.1600.1")
    );
    assert_eq!([release("13"), release("")], [None, None]);
    let of = |category: &str| Job { category: category.into(), ..job("LSCopy_mgc") };
    assert!(of("Log Shipping").is_of_log_shipping());
    assert!(!of("[Uncategorized (Local)]").is_of_log_shipping());
}
