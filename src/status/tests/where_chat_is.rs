//! Where chat is, and what may be done where that is not certain.

use super::*;

#[test]
fn a_tail_whose_database_somebody_has_recovered_ends_nothing_where_that_is_lost_later() {
    let mut w = World::with(Side::Primary);
    let seat = Seat { side: Side::Primary, place: Place::Store };
    let tail = |minute: i64, fork: &str| Tail {
        at: at(minute) + SignedDuration::from_millis(700),
        seat,
        fork: fork.into(),
        file: format!("mgc_tail_{minute}.trn"),
        undone: false,
    };
    let mut t = transition(Route::switch(Side::Backup));
    t.facts.tail = Some(tail(12, "F"));
    t.steps.insert(StepId::TailTaken, StepHistory { attempts: 1, ..StepHistory::default() });
    let seen = |w: &mut World, t: &Transition, fork: &str, live: bool| {
        w.situation.sites = World::with(Side::Primary).situation.sites;
        w.record(t);
        let db = w.instance(Side::Primary).database.as_mut().unwrap();
        (db.fork, db.state) = (Some(fork.into()), if live { db.state } else { DatabaseState::Restoring });
        w.situation.moved = w.situation.newest_moved().or(w.situation.moved);
    };
    let told = |w: &World, before: &PersistentChatFailoverStatus| {
        let running = Plan { transition: Some(t.clone()), ..w.plan(Next::Finish) };
        w.project(&running, before)
    };
    seen(&mut w, &t, "F", true);
    let as_ever = told(&w, &PersistentChatFailoverStatus::default());
    assert_eq!(as_ever.last_move, None, "its intent is written, and nothing done");
    seen(&mut w, &t, "G", true);
    assert!(w.situation.open_move().is_some(), "beside that database the switch goes on, with another tail");
    let status = told(&w, &as_ever);
    // Then that side is lost, and what is left has the record and the tail.
    seen(&mut w, &t, "F", false);
    w.situation.moved = convert::moved(&w.pool, Some(&status));
    assert!(w.situation.is_overtaken(&t) && w.situation.open_move().is_none());
    assert_eq!(told(&w, &status).last_move, status.last_move, "it stays told");
    // Another tail was taken since.
    t.facts.tail = Some(tail(13, "G"));
    seen(&mut w, &t, "G", false);
    assert!(w.situation.open_move().is_some());
}

#[test]
fn a_tail_that_we_have_undone_ends_nothing_where_only_an_older_record_is_left() {
    let mut t = transition(Route::switch(Side::Backup));
    t.facts.tail = Some(Tail {
        at: at(12),
        seat: Seat { side: Side::Primary, place: Place::Store },
        fork: "F".into(),
        file: "mgc_tail_12.trn".into(),
        undone: false,
    });
    let mut undone = t.clone();
    undone.facts.tail.iter_mut().for_each(|tail| tail.undone = true);
    let seen = |t: &Transition| {
        let mut w = World::with(Side::Primary);
        w.instance(Side::Primary).database.as_mut().unwrap().state = DatabaseState::Restoring;
        w.record(t);
        w
    };
    let mut w = seen(&undone);
    w.situation.moved = w.situation.newest_moved();
    assert!(w.situation.moved.is_some_and(|m| m.reopened && m.to == Side::Primary));
    assert!(w.situation.open_move().is_some(), "the record knows of it: the undoing goes on");
    let moved = w.situation.moved;
    let mut w = seen(&t);
    assert!(w.situation.open_move().is_some());
    w.situation.moved = moved;
    assert!(w.situation.open_move().is_none(), "what was written there since is lost by going on");
}

#[test]
fn a_switch_that_was_being_taken_back_is_overtaken_by_a_failover_to_where_it_had_meant_to_go() {
    let mut w = World::with(Side::Primary);
    let back = Route { course: Course::Back, ..Route::switch(Side::Backup) };
    let t = transition(back);
    w.record(&t);
    assert!(w.situation.open_move().is_some());
    let later = Moved {
        number: t.number + 1,
        started: at(20),
        to: Side::Backup,
        ended: true,
        tail: None,
        reopened: false,
    };
    w.situation.moved = Some(later);
    assert!(w.situation.open_move().is_none(), "chat is there by now, and not where it was to come back to");
}

#[test]
fn a_replica_that_was_away_does_not_say_where_chat_is() {
    let mut w = World::with(Side::Backup);
    let moved =
        Moved { number: 3, started: at(10), to: Side::Primary, ended: true, tail: None, reopened: false };
    assert_eq!(w.situation.used(), Some(Side::Backup));
    w.situation.moved = Some(moved);
    assert_eq!(w.situation.used(), Some(Side::Backup), "the store itself says so: somebody has changed it");
    let state = w.situation.lync.state.known().cloned().unwrap();
    w.situation.lync.state = Reading::Known(PoolState { of_replica: true, ..state });
    assert_eq!(w.situation.used(), Some(Side::Primary));
    // A record in sight that is as new tells the same as what is remembered of it.
    let mut t = transition(Route::failover(Side::Backup));
    (t.number, t.ended) = (4, Some(Ended { at: at(20), aborted: false }));
    w.record(&t);
    assert_eq!(w.situation.used(), Some(Side::Backup));
}

/// What is true where chat has gone to the backup store, by a failover that this record tells of, and the primary store is live too.
fn with_both_live(t: &Transition, old_fork: &str) -> Active {
    let mut w = World::with(Side::Backup);
    w.instance(Side::Primary).database.as_mut().unwrap().state = DatabaseState::Online;
    for (side, fork) in [(Side::Primary, old_fork), (Side::Backup, "new")] {
        w.instance(side).database.as_mut().unwrap().fork = Some(fork.into());
    }
    w.record(t);
    active(&w.pool, &w.situation, None)
}

#[test]
fn an_old_database_that_is_back_is_told_from_a_copy_that_somebody_recovered() {
    let mut t = transition(Route::failover(Side::Backup));
    t.ended = Some(Ended { at: at(20), aborted: false });
    t.facts.live_fork = Some("new".into());
    assert_eq!(with_both_live(&t, "F"), Active::In(Side::Backup));
    assert!(matches!(with_both_live(&t, "recovered"), Active::SplitBrain(_)));
    // A failover that began with a database somebody had recovered knows only the fork of that one.
    (t.fork, t.facts.adopted_fork) = ("new".into(), Some("new".into()));
    assert_eq!(with_both_live(&t, "F"), Active::In(Side::Backup));
}

#[test]
fn a_transition_that_is_over_is_never_begun_again_however_many_there_were() {
    let mut w = World::with(Side::Primary);
    let Reading::Known(service) = &mut w.situation.lync.service else { panic!() };
    service.active.clear();
    let mut before = BTreeSet::new();
    for n in 0..40 {
        let plan = plan(&w.pool, &w.goal, &w.situation, None, None, &BTreeMap::new());
        let mut t = plan.transition.unwrap();
        assert_eq!((t.route.procedure, t.number), (Procedure::Align, n));
        assert!(before.insert(t.id.clone()), "the {n}th is called like one that is over");
        t.ended = Some(Ended { at: at(20), aborted: false });
        w.record(&t);
        // A server gives the newest only.
        let Reading::Known(records) = &mut w.instance(Side::Primary).records else { panic!() };
        records.sort_by_key(|r| std::cmp::Reverse(r.transition.number));
        records.truncate(11);
    }
}

#[test]
fn nothing_is_set_right_and_nothing_protected_beside_a_failover() {
    let mut w = World::with(Side::Primary);
    let Reading::Known(service) = &mut w.situation.lync.service else { panic!() };
    service.active.clear();
    let at_work = |w: &World| {
        let plan = plan(&w.pool, &w.goal, &w.situation, None, None, &BTreeMap::new());
        plan.transition.map(|t| t.route.procedure)
    };
    assert_eq!(at_work(&w), Some(Procedure::Align));
    let mut failover = transition(Route::failover(Side::Backup));
    failover.steps.insert(StepId::LogShippingRemoved, StepHistory { attempts: 1, ..StepHistory::default() });
    w.record(&failover);
    for wanted in Side::BOTH {
        w.goal.active = wanted;
        assert_eq!(at_work(&w), Some(Procedure::Failover), "{wanted:?}");
    }
}

#[test]
fn a_replica_alone_lets_nothing_be_set_right_on_a_side_that_may_be_the_old_one() {
    let mut w = World::with(Side::Primary);
    let Reading::Known(service) = &mut w.situation.lync.service else { panic!() };
    service.active.clear();
    let reason = |w: &World| match plan(&w.pool, &w.goal, &w.situation, None, None, &BTreeMap::new()).next {
        Next::Blocked(p) => Some(p.reason),
        Next::Act(_) | Next::Wait(_) | Next::Finish | Next::Settled => None,
    };
    let unseen = Problem::retry(Reason::HostUnreachable, "Does not answer", "It is asked again");
    let state = w.situation.lync.state.known().cloned().unwrap();
    w.situation.lync.state = Reading::Known(PoolState { of_replica: true, ..state.clone() });
    assert_ne!(reason(&w), Some(Reason::CentralManagementDown), "what came since would be seen");
    w.situation.sites[Side::Backup].store.answer = Answer::Silent(unseen);
    assert_eq!(reason(&w), Some(Reason::CentralManagementDown));
    w.situation.lync.state = Reading::Known(state);
    assert_ne!(reason(&w), Some(Reason::CentralManagementDown), "the store itself says so");
}
