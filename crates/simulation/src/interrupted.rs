//! Everything that can befall a pool, at every moment of everything that is done: of what chance brings together only now and then, each
//! pair once.

use std::collections::BTreeMap;

use persistent_chat_failover::domain::side::Side;

use crate::cast::confusion::Confusion;
use crate::cast::hands::Hand;
use crate::cast::{Act, Script};
use crate::plan::{Kind, Plan};
use crate::world::Fates;

/// How long something lasts that passes again.
const LASTS: f64 = 6.0;

/// A night of one kind, as long as its parts are on real servers: what befalls it meets each of them.
fn night(kind: Kind, begins: Side) -> Plan {
    let mut plan = Plan::clean(kind, begins, 1);
    plan.switches = true;
    plan.scenario.mirror_ms = 8_000;
    plan.scenario.full_ms = 5_000;
    plan.scenario.recovery_ms = 1_500;
    plan.scenario.restore_ms = plan.scenario.restore_ms.max(1_000);
    plan
}

/// What befalls it, each with the moments of its parts after the first.
fn interruptions(kind: Kind, begins: Side) -> Vec<Script> {
    let lasting = |begins: Act, ends: Act| vec![(0.0, begins), (LASTS, ends)];
    let mut all = vec![
        vec![(0.0, Act::KillOperator(0))],
        vec![(0.0, Act::KillSessions)],
        vec![(0.0, Act::KillRestore)],
        vec![(0.0, Act::MirrorWarns(1))],
        vec![(0.0, Act::AddFile)],
        vec![(0.0, Act::OtherDatabase)],
        vec![(0.0, Act::Unfinished)],
        lasting(Act::Suspend(0, true), Act::Suspend(0, false)),
        lasting(Act::ApiServer(0, false), Act::ApiServer(0, true)),
        lasting(Act::HoldJobs(true), Act::HoldJobs(false)),
        lasting(Act::DiskFull(true), Act::DiskFull(false)),
        lasting(Act::CopyFolderFull(true), Act::CopyFolderFull(false)),
        lasting(Act::RefuseLogin(true), Act::RefuseLogin(false)),
        lasting(Act::LoseOther, Act::ReturnOther),
    ];
    // Where that side is lost already, it comes back when the night says.
    if !kind.loses() {
        all.push(lasting(Act::Lose, Act::Return));
    }
    for side in Side::BOTH {
        all.push(vec![(0.0, Act::ActiveByHand(side))]);
        all.push(vec![(0.0, Act::Unmirror(side))]);
        all.push(vec![(0.0, Act::Promote(side)), (LASTS, Act::StartSql(side))]);
        all.push(vec![(0.0, Act::RemoveShipping(side))]);
        all.push(vec![(0.0, Act::DisableJobs(side))]);
        all.push(vec![(0.0, Act::RestoreAnew(side))]);
        all.push(lasting(Act::WillNotStop(side, true), Act::WillNotStop(side, false)));
        all.extend(Hand::ALL.map(|hand| vec![(0.0, Act::StepByHand(side, hand))]));
        let confusions = [
            Confusion::SilentPorts(side),
            Confusion::SilentBehindAWall(side),
            Confusion::Unresolved(side),
            Confusion::OtherInstance(side),
            Confusion::Unmounted(side),
            Confusion::ChatHangs(side),
        ];
        all.extend(confusions.map(|c| lasting(Act::Confuse(c, true), Act::Confuse(c, false))));
        // Nobody goes back to a side that is lost for good.
        if kind != Kind::Failover || side != begins {
            all.push(vec![(0.0, Act::Want(0, side))]);
        }
    }
    all
}

/// Every night of a kind with everything that can befall it at every moment of it, so many seconds apart, each with what it is.
pub fn nights(kind: Kind, begins: Side, apart: f64) -> impl Iterator<Item = (String, Plan)> {
    let plan = night(kind, begins);
    let lasts = crate::night::run(&plan).seconds;
    let moments = (0u32..).map(move |n| f64::from(n) * apart).take_while(move |at| *at < lasts);
    moments.flat_map(move |at| {
        let plan = plan.clone();
        interruptions(kind, begins).into_iter().map(move |what| {
            let name =
                format!("{kind:?} from {begins:?}, after {at:.1} s {:?}", what.first().map(|(_, a)| a));
            (name, interrupted(&plan, at, what))
        })
    })
}

fn interrupted(plan: &Plan, at: f64, what: Script) -> Plan {
    let mut script = plan.script.clone();
    script.extend(what.into_iter().map(|(after, act)| (at + after, act)));
    script.sort_by(|a, b| a.0.total_cmp(&b.0));
    // What is wanted last is where chat is in the end.
    let last = script.iter().rev().find_map(|(_, a)| match a {
        Act::Want(_, side) => Some(*side),
        _ => None,
    });
    let begins = crate::sides::from_side(&plan.scenario);
    let stays = last.map_or(plan.stays, |side| side == begins);
    let end = script.last().map_or(0.0, |(t, _)| *t);
    Plan { script, stays, until: end, fates: Fates::At(BTreeMap::new()), ..plan.clone() }
}
