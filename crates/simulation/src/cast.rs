//! Everybody else: disaster, administrators, an on-call human, old manifests.

use jiff::SignedDuration;
use lab::sql;
use persistent_chat_failover::domain::consent::Consent;
use persistent_chat_failover::domain::problem::{Class, Problem, Reason};
use persistent_chat_failover::engine::plan::Goal;

use crate::chance::Chance;
use crate::world::Shared;

/// Something that somebody does.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// The primary data centre dies.
    Lose,
    /// It comes back.
    Return,
    /// The Central Management store is moved to the surviving side.
    MoveCentralManagement,
    /// An operator's resource asks for a data centre.
    Want(usize, &'static str),
    /// An operator's resource is suspended, or not any more.
    Suspend(usize, bool),
    /// A database administrator kills every session of the operators.
    KillSessions,
    /// Somebody recovers the database by hand.
    RecoverByHand,
    /// Somebody removes log shipping by hand, as the runbook says.
    RemoveLogShippingByHand,
    /// Somebody sets the pool's state by hand, as the runbook says, after a recovery.
    SetStateByHand,
    /// An operator's clock jumps by so many seconds.
    Skew(usize, i64),
}

/// What happens, and when (seconds).
pub type Script = Vec<(f64, Act)>;

/// A disaster without anything else going wrong: what the exhaustive runs vary.
pub fn plain(operators: usize) -> Script {
    let mut script = vec![(3.0, Act::Lose), (3.0, Act::MoveCentralManagement)];
    script.extend((0..operators).map(|who| (4.0, Act::Want(who, "seattle"))));
    script
}

/// A bad night, drawn from chance.
pub fn night(chance: &mut Chance, operators: usize) -> Script {
    let at = |chance: &mut Chance, from: u64, to: u64| chance.between(from * 1000, to * 1000) as f64 / 1000.0;
    let loss = at(chance, 2, 12);
    let mut script = vec![(loss, Act::Lose), (loss + at(chance, 0, 60), Act::MoveCentralManagement)];
    for who in 0..operators {
        let wanted = if chance.happens(200) { at(chance, 1, 12) } else { loss + at(chance, 0, 20) };
        script.push((wanted, Act::Want(who, "seattle")));
        if chance.happens(120) {
            // A Git revert, or a backup of the cluster that was played back; mended some time later.
            let back = wanted + at(chance, 1, 60);
            script.push((back, Act::Want(who, "atlanta")));
            script.push((back + at(chance, 5, 60), Act::Want(who, "seattle")));
        }
        if chance.happens(100) {
            let from = wanted + at(chance, 0, 40);
            script.push((from, Act::Suspend(who, true)));
            script.push((from + at(chance, 5, 30), Act::Suspend(who, false)));
        }
        if chance.happens(60) {
            script.push((at(chance, 0, 60), Act::Skew(who, chance.between(0, 240) as i64 - 120)));
        }
    }
    if chance.happens(200) {
        let back = loss + at(chance, 1, 50);
        script.push((back, Act::Return));
        script.push((back + at(chance, 1, 40), Act::Lose));
    }
    for (per_mille, act) in [
        (100, Act::KillSessions),
        (100, Act::KillSessions),
        (40, Act::RecoverByHand),
        (60, Act::RemoveLogShippingByHand),
        (60, Act::SetStateByHand),
    ] {
        if chance.happens(per_mille) {
            script.push((loss + at(chance, 1, 60), act));
        }
    }
    script.sort_by(|a, b| a.0.total_cmp(&b.0));
    script
}

/// Somebody acts.
pub fn act(s: &mut Shared, act: &Act, goals: &mut [Goal]) {
    s.tell(&format!("{act:?}"));
    let names: Vec<String> = s.world.scenario.data_centers.iter().map(|d| d.name.clone()).collect();
    let target = s.world.scenario.data_centers.get(1).map(|d| d.sql_server.clone()).unwrap_or_default();
    let key = s.world.scenario.database.to_lowercase();
    let now = s.time();
    let done: Result<(), String> = match act {
        Act::Lose => s.world.lose(&names[0]),
        Act::Return => s.world.restore(&names[0]),
        Act::MoveCentralManagement => {
            lab::chat::fail_over_central_management(&mut s.world, &names[1]);
            Ok(())
        }
        Act::Want(who, name) => {
            want(s, *who, name, goals);
            Ok(())
        }
        Act::Suspend(who, on) => {
            if let (Some(g), Some(p)) = (goals.get_mut(*who), s.processes.get_mut(*who)) {
                g.suspend = *on;
                p.suspended = on.then_some(now);
            }
            Ok(())
        }
        Act::KillSessions => {
            let sessions: Vec<u32> = s
                .world
                .sql
                .get(&target)
                .map(|i| {
                    i.sessions
                        .iter()
                        .filter(|(_, x)| x.host.contains("operator-"))
                        .map(|(id, _)| *id)
                        .collect()
                })
                .unwrap_or_default();
            for id in sessions {
                sql::logout(&mut s.world, &target, id);
            }
            Ok(())
        }
        Act::RecoverByHand => {
            let result = sql::recover_by_hand(&mut s.world, &target);
            s.truth.recovered_by_hand |= result.is_ok();
            result
        }
        Act::RemoveLogShippingByHand => {
            if let Some(i) = s.world.sql.get_mut(&target) {
                i.log_shipping.clear();
                i.jobs.clear();
            }
            Ok(())
        }
        Act::SetStateByHand => {
            let live = s
                .world
                .sql
                .get(&target)
                .and_then(|i| i.databases.get(&key))
                .is_some_and(|d| d.state == 0 && !d.standby);
            if live && lab::chat::central_management_is_up(&s.world) {
                lab::chat::change(&mut s.world, |x| x.pool_state = "FailedOver".into());
            }
            Ok(())
        }
        Act::Skew(who, seconds) => {
            if let Some(p) = s.processes.get_mut(*who) {
                p.skew = SignedDuration::from_secs(*seconds);
            }
            Ok(())
        }
    };
    if let Err(e) = done {
        s.tell(&format!("  which did nothing: {e}"));
    }
    s.observe();
}

fn want(s: &mut Shared, who: usize, name: &str, goals: &mut [Goal]) {
    let now = s.time();
    if let (Some(g), Some(p)) = (goals.get_mut(who), s.processes.get_mut(who)) {
        g.desired = name.into();
        p.desired = name.into();
        p.unwanted = (name == "atlanta").then_some(now);
    }
}

/// What the human on call does about a problem: exactly what its message says. `None`: the message names no fix that we know.
pub fn mend(s: &mut Shared, who: usize, problem: &Problem, goals: &mut [Goal]) -> Option<String> {
    let needed = s.processes.get(who).and_then(|p| p.consent_needed.clone());
    let consent = |goals: &mut [Goal], (transition, situation): (String, String)| {
        if let Some(g) = goals.get_mut(who) {
            g.consent = Some(Consent { transition, situation, by: "on call".into() });
        }
    };
    let done = match problem.reason {
        Reason::ConsentRequired
        | Reason::ConsentDoesNotFit
        | Reason::PrimaryUnknown
        | Reason::PrimaryUnusable
            if needed.is_some() =>
        {
            let needed = needed?;
            consent(goals, needed.clone());
            s.truth.consents += 1;
            format!("consents to {} {}", needed.0, needed.1)
        }
        Reason::RecoveredByOthers => {
            // The message carries the three values.
            let value = |name: &str| {
                let at = problem.fix.find(&format!("{name}: "))? + name.len() + 2;
                let text: String =
                    problem.fix.get(at..)?.chars().take_while(char::is_ascii_alphanumeric).collect();
                Some(text)
            };
            match (value("transition"), value("situation")) {
                (Some(transition), Some(situation)) => {
                    consent(goals, (transition.clone(), situation.clone()));
                    s.truth.consents += 1;
                    format!("adopts the database: {transition} {situation}")
                }
                _ if problem.fix.contains("set spec.activeDataCenter to seattle") => {
                    want(s, who, "seattle", goals);
                    "goes on with the database that was recovered".into()
                }
                _ => return None,
            }
        }
        Reason::PrimaryAlive | Reason::SplitBrain => {
            act(s, &Act::Lose, goals);
            "fences the primary".into()
        }
        Reason::CentralManagementDown => {
            act(s, &Act::MoveCentralManagement, goals);
            "moves the Central Management store".into()
        }
        Reason::ActiveDataCenterDrifted => {
            want(s, who, "seattle", goals);
            "sets activeDataCenter to what is true".into()
        }
        Reason::NotSupported if problem.what.contains("cannot take it back") => {
            want(s, who, "seattle", goals);
            "sets activeDataCenter back to the target".into()
        }
        _ if problem.class == Class::Retry => return Some(String::new()),
        _ => return None,
    };
    s.tell(&format!("the human on call of operator {who} {done}"));
    Some(done)
}
