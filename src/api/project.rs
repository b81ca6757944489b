//! Status as a projection of what was seen and of the record: a pure function, written by one writer.

use jiff::Timestamp;

use super::conditions::{self, Is};
use super::v1alpha1::{
    ConsentNeeded, HistoryEntry, LossStatus, PersistentChatFailoverStatus, Progress, StepStatus,
    TransitionStatus,
};
use crate::domain::activity::{Active, live_partner};
use crate::domain::decision::{Decision, Evidence};
use crate::domain::loss::{Loss, to_utc};
use crate::domain::pool::Pool;
use crate::domain::problem::{Class, Problem, Reason};
use crate::domain::situation::{Answer, Database, Instance, Situation};
use crate::domain::step::StepId;
use crate::domain::text::clean;
use crate::domain::transition::Transition;
use crate::engine::plan::Next;
use crate::engine::run::Report;
use crate::steps::{Effect, View, s0_preflight, s8_chat_serving};

/// The status that a report amounts to. `before` is the status as it stands: what has not changed keeps its times.
pub fn status(
    pool: &Pool,
    r: &Report<'_>,
    before: &PersistentChatFailoverStatus,
) -> PersistentChatFailoverStatus {
    let (now, generation, desired) = (r.situation.at, r.generation, r.goal.desired.as_str());
    let mut s = PersistentChatFailoverStatus { observed_generation: generation, ..before.clone() };
    s.active_data_center = match &r.plan.active {
        Active::In(name) => Some(name.clone()),
        // While it cannot be told, the last truth would be a guess.
        Active::Between | Active::SplitBrain(_) | Active::RecoveredByOthers { .. } | Active::Unknown(_) => {
            None
        }
    };
    let records = r.situation.target.known().and_then(|i| i.records.known());
    if let Some(records) = records {
        s.history = records.iter().filter_map(|x| history(&x.transition)).take(10).collect();
    }
    let last = records.and_then(|x| x.iter().map(|x| &x.transition).find(|t| t.ended.is_some()));
    match (&r.plan.transition, last) {
        (Some(t), _) => running(&mut s, pool, r, t, generation, now),
        (None, Some(t)) => {
            let steps: Vec<(StepId, Decision<Effect>)> =
                StepId::ALL.iter().map(|id| (*id, Decision::Done(kept(before, t, *id)))).collect();
            if before.transition.as_ref().is_none_or(|b| b.id != t.id || b.outcome != "Completed") {
                step_conditions(&mut s, &steps, generation, now);
                s.transition = Some(transition(t, &steps, r, "Completed", before));
            }
        }
        (None, None) => s.transition = None,
    }
    s.step = r.plan.transition.as_ref().and_then(|_| at_work(r)).map(|id| id.as_str().to_string());
    summary(&mut s, pool, r, generation, now, desired);
    standing(&mut s, pool, r, generation, now);
    s
}

/// What makes a status worth writing at once.
pub fn essence(s: &PersistentChatFailoverStatus) -> Vec<String> {
    let mut e: Vec<String> =
        s.conditions.iter().map(|c| format!("{} {} {}", c.type_, c.status, c.reason)).collect();
    e.push(format!("{} {:?} {:?}", s.observed_generation, s.active_data_center, s.step));
    e.push(
        s.transition
            .as_ref()
            .map(|t| format!("{} {} {}", t.id, t.outcome, t.point_of_no_return))
            .unwrap_or_default(),
    );
    e
}

/// What a step of a transition that has ended said last; if the status is gone, what the record tells.
fn kept(before: &PersistentChatFailoverStatus, t: &Transition, step: StepId) -> Evidence {
    let c = before.conditions.iter().find(|c| c.type_ == step.as_str() && c.status == "True");
    let reason = match c {
        Some(c) if c.reason == Reason::NotConfigured.as_str() => Reason::NotConfigured,
        Some(_) | None if t.is_own(step) => Reason::Completed,
        Some(_) | None => Reason::AlreadyDone,
    };
    let message = c.map_or_else(|| "Done, as the record says".into(), |c| c.message.clone());
    Evidence { reason, message }
}

fn at_work(r: &Report<'_>) -> Option<StepId> {
    r.plan.steps.iter().find(|(_, d)| !d.is_done()).map(|(id, _)| *id)
}

fn running(
    s: &mut PersistentChatFailoverStatus,
    pool: &Pool,
    r: &Report<'_>,
    t: &Transition,
    generation: i64,
    now: Timestamp,
) {
    let is_new = s.transition.as_ref().is_none_or(|x| x.id != t.id);
    if is_new {
        // The write that begins a transition makes all of its steps unknown.
        for step in StepId::ALL {
            conditions::set(
                &mut s.conditions,
                step.as_str(),
                Is::Unknown,
                Reason::NotStarted,
                "Not begun",
                generation,
                now,
            );
        }
    }
    step_conditions(s, &r.plan.steps, generation, now);
    for (step, trouble) in r.trouble {
        // A step that has more to say than that its last effect went wrong says it itself.
        if !r.plan.steps.iter().any(|(id, d)| id == step && matches!(d, Decision::Act(_))) {
            continue;
        }
        conditions::set(
            &mut s.conditions,
            step.as_str(),
            Is::False,
            trouble.problem.reason,
            &trouble.problem.message(),
            generation,
            now,
        );
    }
    let begun =
        t.steps.values().any(|h| h.attempts > 0) || t.recovery.is_some() || t.saved_log_shipping.is_some();
    let before = s.clone();
    let mut shown = transition(t, &r.plan.steps, r, if begun { "Running" } else { "Pending" }, &before);
    shown.consent_needed = r.plan.consent_needed.as_ref().map(|statement| ConsentNeeded {
        transition: t.id.clone(),
        situation: statement.digest(),
        why: statement.why.iter().take(64).map(|w| clean(w)).collect(),
    });
    progress(&mut shown, pool, r, t);
    s.transition = Some(shown);
}

fn step_conditions(
    s: &mut PersistentChatFailoverStatus,
    steps: &[(StepId, Decision<Effect>)],
    generation: i64,
    now: Timestamp,
) {
    for (step, d) in steps {
        let (is, reason, message) = match d {
            Decision::Done(e) => (Is::True, e.reason, e.message.clone()),
            Decision::Act(_) => (Is::False, Reason::InProgress, format!("{}: at work", step.title())),
            Decision::Wait(w) => (Is::False, w.reason, w.message.clone()),
            Decision::Blocked(p) => (Is::False, p.reason, p.message()),
        };
        conditions::set(&mut s.conditions, step.as_str(), is, reason, &message, generation, now);
    }
}

fn transition(
    t: &Transition,
    steps: &[(StepId, Decision<Effect>)],
    r: &Report<'_>,
    outcome: &str,
    before: &PersistentChatFailoverStatus,
) -> TransitionStatus {
    let old = before.transition.as_ref().filter(|x| x.id == t.id);
    let list = StepId::ALL.iter().map(|id| {
        let h = t.steps.get(id).cloned().unwrap_or_default();
        let word = steps.iter().find(|(step, _)| step == id).map(|(_, d)| d);
        let (state, message) = match (word, r.trouble.get(id)) {
            (Some(Decision::Act(_)), Some(x)) if !r.acting => {
                (if x.problem.class == Class::Retry { "Waiting" } else { "Blocked" }, x.problem.message())
            }
            (Some(Decision::Done(e)), _) => ("Done", e.message.clone()),
            (Some(Decision::Act(_)), _) => ("Running", String::new()),
            (Some(Decision::Wait(w)), _) => ("Waiting", w.message.clone()),
            (Some(Decision::Blocked(p)), _) => ("Blocked", p.message()),
            (None, _) => ("NotStarted", String::new()),
        };
        StepStatus {
            name: id.as_str().into(),
            state: state.into(),
            message: message.chars().take(4000).collect(),
            attempts: h.attempts,
            already_done: matches!(word, Some(Decision::Done(e)) if e.reason == Reason::AlreadyDone),
            started: h.started.map(conditions::time),
            ended: h.ended.map(conditions::time),
            waited: h.waited,
            progress: old
                .and_then(|o| o.steps.iter().find(|s| s.name == id.as_str()))
                .and_then(|s| s.progress.clone()),
        }
    });
    TransitionStatus {
        id: t.id.clone(),
        procedure: t.procedure.as_str().into(),
        from: t.from.clone(),
        to: t.to.clone(),
        started: conditions::time(t.started),
        ended: t.ended.map(conditions::time),
        outcome: outcome.into(),
        point_of_no_return: t.is_past(r.situation),
        steps: list.collect(),
        consent_needed: None,
        loss: t.loss.as_ref().map(|l| loss(l, t)),
    }
}

fn loss(l: &Loss, t: &Transition) -> LossStatus {
    LossStatus {
        kept_until: l.kept_until.map(conditions::time),
        lost_at_most_until: l.lost_at_most_until.map(conditions::time),
        last_backup: l.last_file.as_deref().map(|f| clean(f).chars().take(400).collect()),
        last_lsn: l.last_lsn.map(|x| x.to_string()),
        not_applied: l.not_applied.iter().take(64).map(|x| clean(x)).collect(),
        newest_message: l.newest_message.map(conditions::time),
        accepted_by: t.consents.last().map(|c| clean(&c.by).chars().take(253).collect()),
    }
}

fn history(t: &Transition) -> Option<HistoryEntry> {
    Some(HistoryEntry {
        id: t.id.clone(),
        from: t.from.clone(),
        to: t.to.clone(),
        started: conditions::time(t.started),
        ended: conditions::time(t.ended?),
        loss: t.loss.as_ref().map(|l| loss(l, t)),
    })
}

/// Files copied and applied, out of those that the chain had when the transition began.
fn progress(shown: &mut TransitionStatus, pool: &Pool, r: &Report<'_>, t: &Transition) {
    if t.is_past(r.situation) {
        return;
    }
    let Ok(chain) = crate::domain::chain::of(r.situation, &pool.database, Some(t)) else { return };
    let copied = |f: &str| r.situation.files.headers.get(f).is_some_and(|h| h.from_copy);
    let left = chain.links.len() as i64;
    let to_copy = chain.links.iter().filter(|l| !copied(&l.file)).count() as i64;
    for (step, todo) in [(StepId::BackupsCopied, to_copy), (StepId::LogBackupsApplied, left)] {
        let Some(slot) = shown.steps.iter_mut().find(|s| s.name == step.as_str()) else { continue };
        let total = slot.progress.as_ref().map_or(todo, |p| p.total.max(todo));
        let percent = r
            .restoring
            .as_ref()
            .filter(|_| step == StepId::LogBackupsApplied)
            .map(|x| x.percent.clamp(0.0, 100.0) as i32);
        slot.progress = Some(Progress { done: total - todo, total, unit: "files".into(), percent });
    }
}

/// Ready, Reconciling, Stalled. Never both of the latter.
fn summary(
    s: &mut PersistentChatFailoverStatus,
    pool: &Pool,
    r: &Report<'_>,
    generation: i64,
    now: Timestamp,
    desired: &str,
) {
    let list = &mut s.conditions;
    let (is, reason, message, stalled) = match &r.plan.next {
        Next::Settled => match serving(pool, r.situation, desired) {
            Ok(message) => (Is::True, Reason::Active, message, None),
            Err(message) => (
                Is::False,
                Reason::WaitingForChat,
                format!("{desired} is active, but chat does not serve: {message}"),
                None,
            ),
        },
        Next::Act(_) | Next::Finish => (Is::False, Reason::Switching, moving(r), None),
        Next::Wait(w) => (Is::False, w.reason, w.message.clone(), None),
        Next::Blocked(p) => (Is::False, p.reason, p.message(), (p.class != Class::Retry).then(|| p.clone())),
    };
    conditions::set(list, conditions::READY, is, reason, &message, generation, now);
    match (is, stalled) {
        (Is::True, _) => {
            conditions::remove(list, conditions::RECONCILING);
            conditions::remove(list, conditions::STALLED);
        }
        (_, Some(p)) => {
            conditions::remove(list, conditions::RECONCILING);
            conditions::set(list, conditions::STALLED, Is::True, p.reason, &p.message(), generation, now);
        }
        (_, None) => {
            conditions::remove(list, conditions::STALLED);
            conditions::set(list, conditions::RECONCILING, Is::True, reason, &message, generation, now);
        }
    }
}

fn moving(r: &Report<'_>) -> String {
    match (&r.plan.transition, at_work(r)) {
        (Some(t), Some(step)) => {
            format!("{} from {} to {}: {}", t.procedure.as_str(), t.from, t.to, step.title())
        }
        (Some(t), None) => {
            format!("{} from {} to {}: closing the record", t.procedure.as_str(), t.from, t.to)
        }
        (None, _) => "At work".into(),
    }
}

/// The live instance of the primary side, if one speaks.
fn live_source(s: &Situation) -> Option<&Instance> {
    s.source.partners.iter().find_map(|p| match &p.answer {
        Answer::Speaks(i) if i.database.as_ref().is_some_and(Database::is_live) => Some(i.as_ref()),
        Answer::Speaks(_) | Answer::TurnsAway(_) | Answer::Silent(_) | Answer::NotAsked(_) => None,
    })
}

fn serving(pool: &Pool, s: &Situation, desired: &str) -> Result<String, String> {
    let (instance, here) = if desired == pool.backup.name {
        (s.target.known(), &pool.backup)
    } else {
        (live_source(s), &pool.primary)
    };
    let instance = instance.ok_or("no live database was seen there")?;
    s8_chat_serving::serving(&s.chat, instance, here, s8_chat_serving::Pings::NotSilent)
        .map(|_| format!("Chat serves from {desired}"))
}

/// Conditions that stand whether or not a transition runs.
fn standing(
    s: &mut PersistentChatFailoverStatus,
    pool: &Pool,
    r: &Report<'_>,
    generation: i64,
    now: Timestamp,
) {
    if r.plan.transition.is_some() {
        return;
    }
    let on_backup = s.active_data_center.as_deref() == Some(pool.backup.name.as_str());
    let list = &mut s.conditions;
    let live = if on_backup { r.situation.target.known() } else { live_source(r.situation) };
    let mut put = |kind: &str, is: Is, reason: Reason, message: &str| {
        conditions::set(list, kind, is, reason, message, generation, now)
    };
    let mirrored = live.and_then(|i| i.database.as_ref()).and_then(|d| d.mirroring.as_ref());
    match (live, mirrored) {
        (None, _) => {
            put(conditions::REDUNDANT, Is::Unknown, Reason::DatabaseState, "No live database was seen")
        }
        (Some(_), Some(m)) if m.is_synchronized() => {
            put(conditions::REDUNDANT, Is::True, Reason::Completed, "The mirror is SYNCHRONIZED")
        }
        (Some(_), Some(m)) => put(
            conditions::REDUNDANT,
            Is::False,
            Reason::WaitingForMirror,
            &format!("The mirror is {}", m.state_text()),
        ),
        (Some(_), None) => {
            put(conditions::REDUNDANT, Is::False, Reason::NotConfigured, "The live database has no mirror")
        }
    }
    if on_backup {
        put(
            conditions::FAILOVER_READY,
            Is::False,
            Reason::NotSupported,
            "The pool has failed over; set up log shipping in the other direction by hand. Going back is not part of this version",
        );
        let backups = live.and_then(|i| Some((i, i.own_backups.known()?)));
        // Building the mirror takes backups of its own, into another share: only what came after the end counts.
        let ended = r
            .situation
            .target
            .known()
            .and_then(|i| i.records.known())
            .and_then(|x| x.iter().filter_map(|x| x.transition.ended).max());
        let since = |i: &Instance, local: &Option<String>| {
            let at = local.as_deref().and_then(|text| to_utc(text, Some(i.zone_minutes)));
            at.is_some_and(|at| ended.is_none_or(|ended| at > ended))
        };
        match backups {
            Some((i, b)) if since(i, &b.full) && since(i, &b.log) => put(
                conditions::PROTECTED,
                Is::True,
                Reason::Completed,
                "Full and log backups exist since the recovery",
            ),
            Some(_) => put(
                conditions::PROTECTED,
                Is::False,
                Reason::NotStarted,
                "No full and log backup since the recovery: schedule them, or the log fills the disk in days",
            ),
            None => put(
                conditions::PROTECTED,
                Is::Unknown,
                Reason::DatabaseState,
                "The backup history was not seen",
            ),
        }
        let not_seen = r.situation.source.partners.iter().find_map(|p| match &p.answer {
            Answer::TurnsAway(x) | Answer::NotAsked(x) => Some(x.clone()),
            Answer::Speaks(_) | Answer::Silent(_) => None,
        });
        match (live_partner(r.situation), not_seen) {
            (Some(server), _) => put(
                conditions::OLD_PRIMARY_QUIET,
                Is::False,
                Reason::SplitBrain,
                &format!(
                    "{} shows a live database of the old side: take it offline before anything writes to it",
                    clean(&server)
                ),
            ),
            // It answers, or nobody could ask it: that is not quiet.
            (None, Some(p)) => put(conditions::OLD_PRIMARY_QUIET, Is::Unknown, p.reason, &p.message()),
            (None, None) => put(
                conditions::OLD_PRIMARY_QUIET,
                Is::True,
                Reason::Completed,
                "No live database was seen on the old side",
            ),
        }
    } else {
        conditions::remove(list, conditions::PROTECTED);
        conditions::remove(list, conditions::OLD_PRIMARY_QUIET);
        let (is, reason, message) = match readiness(pool, r.situation) {
            Ok(()) => (
                Is::True,
                Reason::Completed,
                "The last look found nothing that would stop a failover".to_string(),
            ),
            Err(p) => (Is::False, p.reason, p.message()),
        };
        conditions::set(list, conditions::FAILOVER_READY, is, reason, &message, generation, now);
    }
}

/// What would stop a failover if the primary were lost now.
fn readiness(pool: &Pool, s: &Situation) -> Result<(), Problem> {
    let t = Transition::begin(&pool.fqdn, &pool.primary.name, &pool.backup.name, "", 0, s.at);
    let view = View::new(pool, s, &t, None, jiff::SignedDuration::ZERO);
    if let Some(f) = s0_preflight::findings(&view).into_iter().next() {
        return Err(f.problem);
    }
    match &view.chain {
        Err(p) => Err(p.clone()),
        // A `.wrk` is a backup that the living primary is writing at this moment.
        Ok(chain) => {
            let stuck = chain.stuck.iter().find(|x| !x.file.to_lowercase().ends_with(".wrk"));
            stuck.map_or(Ok(()), |x| Err(x.problem.clone()))
        }
    }
}
