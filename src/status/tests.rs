//! The rules of the projection, each on the smallest world that shows it.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::conditions::{BACKED_UP, FAILOVER_READY, OTHER_SIDE_QUIET, READY, RECONCILING, STALLED};
use super::{essence, status};
use crate::api::convert;
use crate::api::v1alpha1::PersistentChatFailoverStatus;
use crate::domain::active::{Active, active};
use crate::domain::decision::{Decision, Evidence, Waiting};
use crate::domain::log_shipping::Job;
use crate::domain::lync::{ChatService, Lync, PoolState};
use crate::domain::pool::{
    Authentication, ConsentPolicy, DataCenter, ManagementShell, Policy, Pool, SqlServer, Tls,
    WhenActiveAnswers,
};
use crate::domain::problem::{Problem, Reason};
use crate::domain::reading::Reading;
use crate::domain::record::{Record, SCHEMA};
use crate::domain::route::{Course, Procedure, Route};
use crate::domain::side::{Place, Seat, Side, Sides};
use crate::domain::site::{Answer, Partner, Silence, Site};
use crate::domain::situation::{Moved, Situation};
use crate::domain::sql_server::{Database, DatabaseState, Instance, OwnBackups, Session};
use crate::domain::step::StepId;
use crate::domain::transition::{Ended, StepHistory, Tail, Transition};
use crate::domain::wish::{LastWish, WishState};
use crate::engine::goal::Goal;
use crate::engine::plan::{Next, Plan, plan};
use crate::engine::readiness::readiness;
use crate::engine::report::Report;
use crate::procedures;
use crate::steps::Effect;

fn at(minutes: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes)
}

fn data_center(side: Side) -> DataCenter {
    let (name, index) = match side {
        Side::Primary => ("atlanta", 0),
        Side::Backup => ("seattle", 1),
    };
    let tls = Tls::default();
    let server = |what: &str| format!("{name}-{what}.x");
    DataCenter {
        name: name.into(),
        index,
        sql_server: SqlServer {
            host: server("sql"),
            instance: None,
            port: 1433,
            credentials: "s".into(),
            tls,
            field: format!("spec.dataCenters[{index}].sqlServer"),
        },
        mirror: None,
        mirror_file_share: None,
        management_shell: ManagementShell {
            host: server("fe"),
            port: 5986,
            configuration_name: "c".into(),
            authentication: Authentication::Basic,
            credentials: "s".into(),
            tls: None,
            field: "f".into(),
        },
        servers: vec![server("chat")],
        active_servers: vec![server("chat")],
        log_shipping: None,
    }
}

fn pool() -> Pool {
    Pool {
        fqdn: "chat.x".into(),
        database: "mgc".into(),
        sites: Sides::of(data_center),
        policy: Policy {
            consent: ConsentPolicy::WhenNeeded,
            mirror_deadline: None,
            when_active_answers: WhenActiveAnswers::Refuse,
            drain_deadline: None,
        },
    }
}

fn instance(side: Side, live: bool) -> Instance {
    let chat = data_center(side).servers.remove(0);
    Instance {
        server_name: data_center(side).sql_server.host,
        version: "11".into(),
        edition: "e".into(),
        sysadmin: true,
        zone_minutes: 0,
        database: Some(Database {
            state: if live { DatabaseState::Online } else { DatabaseState::Restoring },
            standby: false,
            read_only: false,
            user_access: 0,
            recovery_model: 1,
            family: None,
            fork: Some("F".into()),
            last_log_backup: None,
            redo: None,
            mirroring: None,
        }),
        secondary_half: Reading::Known(None),
        primary_half: Reading::Known(None),
        jobs: Reading::Known(vec![]),
        sessions: Reading::Known(vec![Session {
            id: 51,
            login: "l".into(),
            host: chat.clone(),
            program: "p".into(),
        }]),
        restores: Reading::Known(vec![]),
        full_backup: None,
        history: Reading::Known(vec![]),
        orphaned_users: Reading::Known(vec![]),
        server_identities: Reading::Known(vec![(chat, at(0))]),
        advancing: BTreeSet::new(),
        silent: BTreeSet::new(),
        newest_message: Reading::Known(None),
        own_backups: Reading::Known(OwnBackups::default()),
        records: Reading::Known(vec![]),
    }
}

/// A world in which chat serves from a side.
struct World {
    pool: Pool,
    situation: Situation,
    goal: Goal,
}

impl World {
    fn with(active: Side) -> World {
        let site = |side: Side| Site {
            store: Partner { server: "s".into(), answer: speaks(instance(side, side == active)) },
            mirror: None,
            from_the_other_shell: vec![],
            ports: vec![],
            silence: Silence::default(),
        };
        let servers = data_center(active).active_servers;
        let lync = Lync {
            state: Reading::Known(PoolState {
                identity: "i".into(),
                state: active.pool_state().into(),
                of_replica: false,
            }),
            service: Reading::Known(ChatService {
                identity: "i".into(),
                active: servers.clone(),
                inactive: vec![],
                databases: BTreeMap::new(),
            }),
            services: servers.into_iter().map(|s| (s, Reading::Known(Some(true)))).collect(),
            ..Lync::not_looked()
        };
        let goal =
            Goal { active, uid: "u".into(), generation: 3, uttered_at: None, suspend: false, consent: None };
        let situation =
            Situation { at: at(100), sites: Sides::of(site), folders: Sides::default(), lync, moved: None };
        World { pool: pool(), situation, goal }
    }
    fn instance(&mut self, side: Side) -> &mut Instance {
        match &mut self.situation.sites[side].store.answer {
            Answer::Speaks(i) => i,
            other @ (Answer::TurnsAway(_) | Answer::Silent(_) | Answer::NotAsked(_)) => panic!("{other:?}"),
        }
    }
    fn record(&mut self, t: &Transition) {
        let side = t.route.home();
        if let Reading::Known(records) = &mut self.instance(side).records {
            records.push(Record { schema: SCHEMA, transition: t.clone() });
        }
    }
    fn plan(&self, next: Next) -> Plan {
        Plan {
            active: Active::In(self.goal.active),
            supposed: self.goal.active,
            readiness: Some(readiness(&self.pool, &self.situation, self.goal.active)),
            transition: None,
            steps: vec![],
            consent_needed: None,
            accepted: None,
            left: BTreeMap::new(),
            heard: None,
            next,
        }
    }
    fn with_transition(&self, t: &Transition, step: StepId, word: Decision<Effect>, next: Next) -> Plan {
        let done = procedures::steps(t.route.procedure).take_while(|s| *s != step);
        let mut steps: Vec<_> = done.map(|s| (s, Decision::Done(Evidence::new("Seen")))).collect();
        steps.push((step, word));
        Plan { transition: Some(t.clone()), steps, ..self.plan(next) }
    }
    fn project(&self, plan: &Plan, before: &PersistentChatFailoverStatus) -> PersistentChatFailoverStatus {
        let trouble = BTreeMap::new();
        let (goal, situation) = (&self.goal, &self.situation);
        let r = Report {
            goal,
            heard: None,
            situation,
            took: SignedDuration::ZERO,
            plan,
            restoring: None,
            acting: false,
            trouble: &trouble,
        };
        status(&self.pool, &r, before)
    }
}

fn speaks(i: Instance) -> Answer {
    Answer::Speaks(Box::new(i))
}

/// A job of log shipping that its schedule starts, and that does not run.
fn job(id: &str) -> Job {
    Job {
        id: id.into(),
        name: id.into(),
        enabled: true,
        running: false,
        scheduled: true,
        category: "Log Shipping".into(),
        last: None,
    }
}

fn transition(route: Route) -> Transition {
    Transition::begin(&pool().fqdn, route, "F", 0, at(10))
}

fn waiting(reason: Reason, message: &str) -> Waiting {
    Waiting { reason, message: message.into(), until: None }
}

/// Status and reason of a condition.
fn of<'a>(s: &'a PersistentChatFailoverStatus, kind: &str) -> Option<(&'a str, &'a str)> {
    let c = s.conditions.iter().find(|c| c.type_ == kind)?;
    Some((c.status.as_str(), c.reason.as_str()))
}

fn message<'a>(s: &'a PersistentChatFailoverStatus, kind: &str) -> &'a str {
    s.conditions.iter().find(|c| c.type_ == kind).map_or("", |c| c.message.as_str())
}

fn steps_of(s: &PersistentChatFailoverStatus) -> Vec<StepId> {
    s.conditions.iter().filter_map(|c| c.type_.parse().ok()).collect()
}

fn waits(w: &World, route: Route, step: StepId, reason: Reason) -> Plan {
    let word = waiting(reason, "Waits");
    w.with_transition(&transition(route), step, Decision::Wait(word.clone()), Next::Wait(word))
}

mod in_vain;
mod where_chat_is;
mod who_lives;

#[test]
fn a_transition_takes_the_conditions_of_other_procedures_steps_away() {
    let w = World::with(Side::Backup);
    let failover = waits(&w, Route::failover(Side::Backup), StepId::ChatServing, Reason::WaitingForChat);
    let s = w.project(&failover, &PersistentChatFailoverStatus::default());
    assert_eq!(steps_of(&s), procedures::steps(Procedure::Failover).collect::<Vec<_>>());
    assert_eq!(s.transition.as_ref().unwrap().outcome, "Pending");
    let route = Route::protect(Side::Primary);
    let protect = waits(&w, route, StepId::LogShippingEstablished, Reason::WaitingForJob);
    let s = w.project(&protect, &s);
    assert_eq!(steps_of(&s), procedures::steps(Procedure::Protect).collect::<Vec<_>>());
    let t = s.transition.as_ref().unwrap();
    assert_eq!((t.from.as_str(), t.to.as_str(), t.steps.len()), ("seattle", "atlanta", 4));
    // It was never written: nothing of it stays.
    let s = w.project(&w.plan(Next::Settled), &s);
    assert_eq!((steps_of(&s), s.transition), (vec![], None));
}

#[test]
fn chat_is_ready_while_its_other_side_is_protected_and_while_only_a_human_can_help_with_that() {
    let mut w = World::with(Side::Backup);
    let (route, step) = (Route::protect(Side::Primary), StepId::LogShippingEstablished);
    let nothing = PersistentChatFailoverStatus::default();
    let s = w.project(&waits(&w, route, step, Reason::WaitingForJob), &nothing);
    assert_eq!(of(&s, READY), Some(("True", "Active")));
    assert!(message(&s, READY).starts_with("Chat serves from seattle; Protect from seattle to atlanta"));
    assert_eq!(of(&s, RECONCILING), Some(("True", "Protecting")));
    assert_eq!(of(&s, STALLED), None);

    let stuck = Problem::ask(Reason::LogShippingDiffers, "Somebody else's job", "Rename it");
    let blocked =
        w.with_transition(&transition(route), step, Decision::Blocked(stuck.clone()), Next::Blocked(stuck));
    let s = w.project(&blocked, &s);
    assert_eq!(of(&s, READY), Some(("True", "Active")));
    assert_eq!((of(&s, RECONCILING), of(&s, STALLED)), (None, None));
    assert_eq!(of(&s, FAILOVER_READY).unwrap().0, "False");
    assert!(message(&s, FAILOVER_READY).contains("Somebody else's job. Rename it"));

    // Chat that does not serve is not hidden by it.
    w.situation.lync.services.clear();
    let s = w.project(&blocked, &s);
    assert_eq!(of(&s, READY), Some(("False", "WaitingForChat")));
    assert_eq!((of(&s, RECONCILING).unwrap().0, of(&s, STALLED)), ("True", None));
}

#[test]
fn a_chat_server_that_is_long_silent_speaks_for_no_other_where_an_address_names_nobody() {
    const NOBODY: [&str; 2] =
        ["{6F9619FF-8B86-D011-B42D-00C04FC964FF}", "{00000000-0000-0000-0000-000000000001}"];
    let ready = |reports: &[&str], silent: &[&str]| {
        let mut w = World::with(Side::Backup);
        let i = w.instance(Side::Backup);
        i.server_identities = Reading::Known(reports.iter().map(|a| (a.to_string(), at(0))).collect());
        i.silent = silent.iter().map(|a| a.to_string()).collect();
        let s = w.project(&w.plan(Next::Settled), &PersistentChatFailoverStatus::default());
        of(&s, READY).map(|(status, _)| status == "True").unwrap()
    };
    let own = data_center(Side::Backup).servers.remove(0);
    assert!(ready(&NOBODY, &[]) && ready(&NOBODY, &NOBODY[..1]));
    assert!(!ready(&NOBODY, &NOBODY) && !ready(&[], &[]) && !ready(&["other.x"], &[]));
    assert!(ready(&[&own, "other.x"], &["other.x"]) && !ready(&[&own, "other.x"], &[&own]));
}

#[test]
fn what_is_set_right_is_told_and_suspended_it_calls_nobody() {
    let mut w = World::with(Side::Backup);
    if let Reading::Known(service) = &mut w.situation.lync.service {
        service.active = vec!["other-chat.x".into()];
    }
    let (t, step) = (transition(Route::align(Side::Backup)), StepId::ActiveServersSet);
    let done = Decision::Done(Evidence::new("Seen"));
    let act = w.with_transition(&t, step, done, Next::Finish);
    let s = w.project(&act, &PersistentChatFailoverStatus::default());
    assert_eq!(of(&s, READY), Some(("False", "Aligning")));
    assert!(
        message(&s, READY).contains("active servers are other-chat.x, the resource names seattle-chat.x")
    );
    assert_eq!(of(&s, RECONCILING), Some(("True", "Aligning")));
    assert_eq!(of(&s, FAILOVER_READY), None, "stays as it was");
    let suspended = Plan { next: Next::Wait(waiting(Reason::Suspended, "spec.suspend is set")), ..act };
    let s = w.project(&suspended, &s);
    assert_eq!(of(&s, READY), Some(("False", "Suspended")));
    assert!(message(&s, READY).contains("spec.suspend is set"));
    assert_eq!((of(&s, RECONCILING), of(&s, STALLED)), (None, None));
}

#[test]
fn the_history_tells_outcomes_and_what_was_not_done_is_not_said_to_be() {
    let mut w = World::with(Side::Primary);
    let done =
        StepHistory { attempts: 1, started: Some(at(11)), ended: Some(at(12)), ..StepHistory::default() };
    let mut t = transition(Route::failover(Side::Backup));
    t.steps.insert(StepId::LogShippingRemoved, done);
    let running = waits(
        &w,
        Route { course: Course::Onward, ..t.route },
        StepId::LogBackupsApplied,
        Reason::WaitingForRestore,
    );
    let running = Plan { transition: Some(t.clone()), ..running };
    let before = w.project(&running, &PersistentChatFailoverStatus::default());
    assert_eq!(before.transition.as_ref().unwrap().outcome, "Running");

    // On its way back, and when it is over.
    let back = Route { course: Course::Back, ..t.route };
    let undoing = Plan { transition: Some(Transition { route: back, ..t.clone() }), ..w.plan(Next::Finish) };
    let undoing = w.project(&undoing, &before);
    t.ended = Some(Ended { at: at(20), aborted: true });
    w.record(&t);
    let mut older = Transition::begin(&w.pool.fqdn, Route::protect(Side::Backup), "F", 1, at(1));
    older.ended = Some(Ended { at: at(5), aborted: false });
    w.record(&older);
    let settled = w.plan(Next::Settled);
    for before in [&before, &undoing, &PersistentChatFailoverStatus::default()] {
        let s = w.project(&settled, before);
        let shown = s.transition.as_ref().unwrap();
        assert_eq!((shown.id.as_str(), shown.outcome.as_str()), (t.id.as_str(), "Aborted"));
        let state = |step: StepId| {
            shown.steps.iter().find(|x| x.name == step.as_str()).map(|x| x.state.as_str()).unwrap()
        };
        assert_eq!(state(StepId::LogShippingRemoved), "Done");
        assert!(!["Done", "Running"].contains(&state(StepId::LogBackupsApplied)));
        assert_eq!(state(StepId::DatabaseOnline), "NotStarted");
        assert_ne!(of(&s, "DatabaseOnline").unwrap().0, "True");
        assert!(!shown.point_of_no_return);
        let told: Vec<_> =
            s.history.iter().map(|h| (h.procedure.as_str(), h.outcome.as_str(), h.to.as_str())).collect();
        assert_eq!(told, [("Failover", "Aborted", "seattle"), ("Protect", "Completed", "seattle")]);
        assert_eq!(w.project(&settled, &s), s, "told once, it stays");
    }
    // Nobody can read the records for a while.
    let known = w.project(&settled, &before);
    for side in Side::BOTH {
        let lost = Problem::retry(Reason::HostUnreachable, "gone", "");
        w.situation.sites[side].store.answer = Answer::Silent(lost);
    }
    let s = w.project(&settled, &known);
    assert_eq!((&s.history, &s.transition), (&known.history, &known.transition));
}

#[test]
fn what_was_told_to_have_ended_is_not_forgotten_where_an_older_record_is_seen_alone() {
    let mut w = World::with(Side::Primary);
    // Times of a record are finer than those of a status.
    let begun = Transition {
        started: at(10) + SignedDuration::from_millis(300),
        ..transition(Route::switch(Side::Backup))
    };
    for (aborted, chat) in [(true, Side::Primary), (false, Side::Backup)] {
        let ended = Transition { ended: Some(Ended { at: at(20), aborted }), ..begun.clone() };
        w.situation.sites = World::with(Side::Primary).situation.sites;
        w.record(&ended);
        w.situation.moved = w.situation.newest_moved();
        let settled = w.plan(Next::Settled);
        let told = w.project(&settled, &PersistentChatFailoverStatus::default());
        // The side that knows of the end is lost, and the other one has the record as it was.
        w.situation.sites = World::with(Side::Primary).situation.sites;
        w.record(&begun);
        w.situation.moved = None;
        let blocked = w.plan(Next::Blocked(Problem::retry(Reason::HostUnreachable, "lost", "")));
        let kept = w.project(&blocked, &told);
        assert_eq!(kept.history, told.history);
        let moved = convert::moved(&w.pool, Some(&kept)).unwrap();
        assert_eq!((moved.to, moved.ended), (chat, true));
        w.situation.moved = Some(moved);
        assert_eq!(w.situation.is_overtaken(&begun), aborted, "what was completed is no other way");
        assert_eq!(w.situation.open_move().is_none(), aborted);
    }
}

#[test]
fn the_other_side_and_the_backups_are_judged_in_both_directions() {
    for active in Side::BOTH {
        let mut w = World::with(active);
        let settled = w.plan(Next::Settled);
        let s = w.project(&settled, &PersistentChatFailoverStatus::default());
        assert_eq!(of(&s, READY), Some(("True", "Active")));
        assert_eq!(s.active_data_center.as_deref(), Some(w.pool.name(active)));
        assert_eq!(of(&s, OTHER_SIDE_QUIET), Some(("True", "Completed")));
        assert_eq!(of(&s, BACKED_UP), Some(("False", "NotStarted")));
        let taken = Some("1970-01-01T00:30:00".to_string());
        w.instance(active).own_backups = Reading::Known(OwnBackups { full: taken.clone(), log: taken });
        assert_eq!(of(&w.project(&settled, &s), BACKED_UP), Some(("True", "Completed")));
        // An aborted failover and a protection are no recovery; a completed failover is.
        for (route, aborted, expected) in [
            (Route::failover(active), true, "True"),
            (Route::protect(active.other()), false, "True"),
            (Route::failover(active), false, "False"),
        ] {
            let mut t = transition(route);
            t.id = format!("{route:?}{aborted}");
            t.ended = Some(Ended { at: at(60), aborted });
            w.record(&t);
            assert_eq!(of(&w.project(&settled, &s), BACKED_UP).unwrap().0, expected, "{route:?}");
        }
        w.situation.sites[active.other()].store.answer =
            Answer::NotAsked(Problem::ask(Reason::SecretUnusable, "no Secret", ""));
        assert_eq!(of(&w.project(&settled, &s), OTHER_SIDE_QUIET), Some(("Unknown", "SecretUnusable")));
        w.situation.sites[active.other()].store.answer = speaks(instance(active.other(), true));
        assert_eq!(of(&w.project(&settled, &s), OTHER_SIDE_QUIET), Some(("False", "SplitBrain")));
    }
}

#[test]
fn a_wish_is_kept_until_there_is_more_to_say_of_it_and_is_written_at_once() {
    let w = World::with(Side::Backup);
    let heard = LastWish {
        active: Side::Backup,
        uid: "u".into(),
        generation: 3,
        state: WishState::Refused,
        at: at(1) + SignedDuration::from_millis(5),
        uttered_at: None,
    };
    let silent = w.plan(Next::Settled);
    let none = w.project(&silent, &PersistentChatFailoverStatus::default());
    let s = w.project(&Plan { heard: Some(heard), ..silent.clone() }, &none);
    let wish = s.wish.clone().unwrap();
    assert_eq!((wish.active_data_center.as_str(), wish.state.as_str()), ("seattle", "Refused"));
    assert_eq!(wish.at.0, at(1), "as the API server keeps it");
    assert_ne!(essence(&none), essence(&s));
    assert_eq!(w.project(&silent, &s).wish, Some(wish));
}

#[test]
fn a_wait_that_lasts_is_told_more_and_more_rarely_and_in_full_once_it_is_over() {
    let w = World::with(Side::Backup);
    let step = StepId::LogShippingEstablished;
    let mut t = transition(Route::protect(Side::Primary));
    let mut told = |seconds: i64, ended: bool| {
        let h = t.steps.entry(step).or_default();
        h.waited = [("ConsentRequired".to_string(), seconds)].into();
        h.ended = ended.then(|| at(0));
        let word = waiting(Reason::ConsentRequired, "A human must agree");
        let plan = w.with_transition(&t, step, Decision::Wait(word.clone()), Next::Wait(word));
        let s = w.project(&plan, &PersistentChatFailoverStatus::default());
        let steps = s.transition.unwrap().steps;
        steps.iter().find(|s| s.name == step.as_str()).unwrap().waited["ConsentRequired"]
    };
    assert_eq!([0, 7, 15, 17, 90].map(|n| told(n, false)), [0, 7, 15, 16, 88]);
    let day = 86_400;
    let writes: std::collections::BTreeSet<i64> = (0..day).map(|n| told(n, false)).collect();
    assert!(writes.len() < 130, "{}", writes.len());
    assert_eq!(told(day - 1, true), day - 1);
}
