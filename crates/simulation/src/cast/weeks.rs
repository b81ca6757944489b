//! What happens in weeks: one thing after the other, each before or after the one before it has been dealt with.

use persistent_chat_failover::domain::side::Side;

use super::draw::Drawn;
use super::{Act, Hand, Script};
use crate::chance::Chance;

/// Weeks of disasters, returns, maintenance and hands, as far as a simulated clock goes: the quiet days between are left out. Where chat is to
/// be in the end, and when nothing new begins.
pub fn weeks(chance: &mut Chance, begins: Side, operators: usize) -> (Script, Side, f64) {
    let mut night = Drawn { chance, from: begins, to: begins.other(), end: begins, script: vec![] };
    let mut active = begins;
    let mut now = night.at(3, 10);
    for _ in 0..night.chance.between(2, 6) {
        let other = active.other();
        match night.chance.between(0, 5) {
            0 | 1 => {
                disaster(&mut night, now, active, operators);
                active = other;
            }
            2 => {
                everybody_wants(&mut night, now, other, operators);
                active = other;
            }
            3 => daily_work(&mut night, now, active),
            _ => by_hand(&mut night, now, active),
        }
        for who in 0..operators {
            if night.chance.happens(150) {
                let when = now + night.at(0, 60);
                night.then(when, Act::KillOperator(who));
            }
        }
        now += night.at(30, 160);
    }
    // What went down in it starts again, also in the work that goes on by then.
    let now = night.script.iter().map(|(at, _)| *at).fold(now, f64::max);
    for side in Side::BOTH {
        night.then(now, Act::StartSql(side));
    }
    night.script.sort_by(|a, b| a.0.total_cmp(&b.0));
    (night.script, active, now)
}

fn everybody_wants(night: &mut Drawn<'_>, from: f64, side: Side, operators: usize) {
    for who in 0..operators {
        let when = from + night.at(0, 8);
        night.want(when, who, side);
    }
}

/// The active side is lost, and comes back: while chat fails over, before it is protected, or long after.
fn disaster(night: &mut Drawn<'_>, now: f64, active: Side, operators: usize) {
    let (lose, back) = match active == night.from {
        true => (Act::Lose, Act::Return),
        false => (Act::LoseOther, Act::ReturnOther),
    };
    night.then(now, lose);
    everybody_wants(night, now, active.other(), operators);
    let moved = now + night.at(0, 20);
    if active == night.from {
        night.then(moved, Act::MoveCentralManagement);
    }
    let returns = now + night.at(5, 90);
    night.then(returns, back);
    if night.chance.happens(300) {
        // Somebody does not wait for the operator.
        for hand in Hand::ALL {
            if night.chance.happens(400) {
                let when = now + night.at(1, 30);
                night.then(when, Act::StepByHand(active.other(), hand));
            }
        }
    }
}

/// What administrators do on any day, and do not tell anybody.
fn daily_work(night: &mut Drawn<'_>, now: f64, active: Side) {
    for (per_mille, act) in [
        (300, Act::ActiveByHand(active)),
        (300, Act::Unmirror(active)),
        (300, Act::Promote(active)),
        (300, Act::RemoveShipping(active)),
        (300, Act::RemoveShipping(active.other())),
        (200, Act::DisableJobs(active)),
        (200, Act::DisableJobs(active.other())),
        (200, Act::KillSessions),
        (200, Act::KillRestore),
    ] {
        if night.chance.happens(per_mille) {
            let when = now + night.at(0, 40);
            night.then(when, act);
        }
    }
    let up = now + night.at(5, 60);
    night.then(up, Act::StartSql(active));
}

/// Somebody does steps of the runbook by hand where chat is not, at any moment. Not those that make a second live database, or move chat:
/// who does that has asked for a data centre, which is said to the resource.
fn by_hand(night: &mut Drawn<'_>, now: f64, active: Side) {
    let there = active.other();
    for _ in 0..night.chance.between(1, 4) {
        let act = match night.chance.between(0, 4) {
            0 => Act::StepByHand(there, Hand::RemoveLogShipping),
            1 => Act::StepByHand(there, Hand::Copy),
            2 => Act::StepByHand(there, Hand::Apply),
            _ => Act::RestoreAnew(there),
        };
        let when = now + night.at(0, 40);
        night.then(when, act);
    }
}
