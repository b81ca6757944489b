//! The transition: its steps as conditions and as a list, how far it is, what it loses, and those before it.

use super::conditions::{self, ConditionStatus, Conditions};
use crate::api::v1alpha1::{
    ConsentNeeded, HistoryEntry, LossStatus, LostMessages, PersistentChatFailoverStatus, Progress,
    StepStatus, TransitionStatus,
};
use crate::domain::decision::Decision;
use crate::domain::pool::Pool;
use crate::domain::problem::{Class, Reason};
use crate::domain::route::Course;
use crate::domain::seed::Lost;
use crate::domain::side::{Seat, Side};
use crate::domain::situation::Situation;
use crate::domain::step::StepId;
use crate::domain::text::clean;
use crate::domain::transition::{Ended, Loss, Transition};
use crate::engine::report::Report;
use crate::procedures;
use crate::steps::{self, Effect};

/// What is said of one step.
struct Line {
    step: StepId,
    /// `NotStarted`, `Running`, `Waiting`, `Blocked` or `Done`.
    state: String,
    message: String,
    /// The condition; none: it stays as it is.
    condition: Option<(ConditionStatus, Reason, String)>,
}

/// Puts the transition that runs, or the last one, into the status.
pub fn project(s: &mut PersistentChatFailoverStatus, pool: &Pool, r: &Report<'_>) {
    let ended = ended_ones(r.situation);
    let seen = saw_records(r.situation);
    if seen {
        let told = ended.iter().map(|(t, e)| history(pool, t, *e)).collect();
        s.history = remembered(pool, told, std::mem::take(&mut s.history));
    }
    match (&r.plan.transition, ended.first()) {
        (Some(t), _) => running(s, pool, r, t),
        (None, Some((t, e))) => over(s, pool, r, t, *e),
        // Nobody can read the records at the moment: what they told stays. What was never written is not in them.
        (None, None) if !seen && s.transition.as_ref().is_some_and(|t| t.outcome != "Pending") => {}
        (None, None) => {
            s.transition = None;
            keep_only(&mut Conditions::of(s, r.situation.at), &[]);
        }
    }
}

/// How many transitions that have ended a status tells of.
const HISTORY: usize = 10;

/// What the records tell has ended, and what was known to have: a side that comes back may hold only the records from before it was lost,
/// and what is not in those happened all the same.
fn remembered(pool: &Pool, told: Vec<HistoryEntry>, known: Vec<HistoryEntry>) -> Vec<HistoryEntry> {
    let is_ours = |h: &HistoryEntry| pool.side_of(&h.from).is_some() && pool.side_of(&h.to).is_some();
    let unseen: Vec<HistoryEntry> =
        known.into_iter().filter(|k| is_ours(k) && told.iter().all(|t| t.id != k.id)).collect();
    let mut all = [told, unseen].concat();
    all.sort_by_key(|h| std::cmp::Reverse(h.ended.0));
    all.truncate(HISTORY);
    all
}

/// Those that have ended, the last one first.
fn ended_ones(s: &Situation) -> Vec<(&Transition, Ended)> {
    let mut ended: Vec<_> = s.transitions().into_iter().filter_map(|t| Some((t, t.ended?))).collect();
    ended.sort_by_key(|(_, e)| std::cmp::Reverse(e.at));
    ended
}

fn saw_records(s: &Situation) -> bool {
    let known = |side: Side| s.sites[side].instances().any(|(_, i)| i.records.known().is_some());
    Side::BOTH.into_iter().any(known)
}

const fn outcome(e: Ended) -> &'static str {
    if e.aborted { "Aborted" } else { "Completed" }
}

/// The last transition that has ended. What the status says of it already stays as it is.
fn over(s: &mut PersistentChatFailoverStatus, pool: &Pool, r: &Report<'_>, t: &Transition, e: Ended) {
    if s.transition.as_ref().is_some_and(|b| b.id == t.id && b.outcome == outcome(e)) {
        return;
    }
    let lines = procedures::steps(t.route.procedure).map(|step| {
        let was_done = t.steps.get(&step).is_some_and(|h| h.ended.is_some());
        match !e.aborted || was_done {
            true => done_as_recorded(s, t, step),
            false => undone(s, t, step),
        }
    });
    let lines: Vec<Line> = lines.collect();
    Shown { transition: t, lines: &lines, outcome: outcome(e) }.put_into(s, pool, r);
}

/// What a step that was done said last; if the status is gone, what the record tells.
fn done_as_recorded(before: &PersistentChatFailoverStatus, t: &Transition, step: StepId) -> Line {
    let c = condition_of(before, t, step).filter(|c| c.status == "True");
    let reason = match c {
        Some(c) if c.reason == Reason::NotConfigured.as_str() => Reason::NotConfigured,
        Some(_) | None if steps::is_own(step, t) => Reason::Completed,
        Some(_) | None => Reason::AlreadyDone,
    };
    let message = c.map_or_else(|| "Done, as the record says".to_string(), |c| c.message.clone());
    let condition = Some((ConditionStatus::True, reason, message.clone()));
    Line { step, state: "Done".into(), message, condition }
}

/// What a step says whose transition was undone before it was done: what it waited for, or that it was at work.
fn undone(before: &PersistentChatFailoverStatus, t: &Transition, step: StepId) -> Line {
    let nothing = t.attempts(step) == 0;
    let is_over = |reason: &str| reason == Reason::InProgress.as_str();
    let kept = condition_of(before, t, step).filter(|c| c.status != "True" && !is_over(&c.reason));
    let message = match (kept, nothing) {
        (Some(c), _) => c.message.clone(),
        (None, true) => "The transition was undone before this began".into(),
        (None, false) => "The transition was undone before this was done".into(),
    };
    let condition = match kept {
        Some(_) => None,
        None => Some((ConditionStatus::False, Reason::Aborted, message.clone())),
    };
    let state = old_step(before, t, step).map(|o| o.state.as_str());
    let state = state.filter(|state| ["Waiting", "Blocked"].contains(state)).unwrap_or("NotStarted");
    Line { step, state: state.into(), message, condition }
}

/// The condition of a step, if the status speaks of this transition.
fn condition_of<'a>(
    before: &'a PersistentChatFailoverStatus,
    t: &Transition,
    step: StepId,
) -> Option<&'a k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition> {
    before.transition.as_ref().filter(|b| b.id == t.id)?;
    before.conditions.iter().find(|c| c.type_ == step.as_str())
}

fn old_step<'a>(
    before: &'a PersistentChatFailoverStatus,
    t: &Transition,
    step: StepId,
) -> Option<&'a StepStatus> {
    let old = before.transition.as_ref().filter(|b| b.id == t.id)?;
    old.steps.iter().find(|s| s.name == step.as_str())
}

fn running(s: &mut PersistentChatFailoverStatus, pool: &Pool, r: &Report<'_>, t: &Transition) {
    let lines: Vec<Line> = procedures::steps(t.route.procedure)
        .map(|step| match r.plan.steps.iter().find(|(id, _)| *id == step) {
            Some((_, word)) => said(r, step, word),
            None => not_at_work(s, t, step),
        })
        .collect();
    let outcome = if t.has_begun() { "Running" } else { "Pending" };
    let shown = Shown { transition: t, lines: &lines, outcome }.put_into(s, pool, r);
    shown.consent_needed = r.plan.consent_needed.as_ref().map(|terms| ConsentNeeded {
        transition: t.id.clone(),
        situation: terms.digest(),
        why: terms.why.iter().take(64).map(|w| clean(w)).collect(),
    });
    progress(shown, r);
}

/// A step's word.
fn said(r: &Report<'_>, step: StepId, word: &Decision<Effect>) -> Line {
    let trouble = r.trouble.get(&step).map(|x| &x.problem);
    let at_work = || format!("{}: at work", step.title());
    let (state, message, condition) = match word {
        Decision::Done(e) => {
            ("Done", e.message.clone(), (ConditionStatus::True, e.reason, e.message.clone()))
        }
        Decision::Wait(w) => {
            ("Waiting", w.message.clone(), (ConditionStatus::False, w.reason, w.message.clone()))
        }
        Decision::Blocked(p) => ("Blocked", p.message(), (ConditionStatus::False, p.reason, p.message())),
        // A step that has more to say than that its last effect went wrong says it itself.
        Decision::Act(_) => match trouble {
            Some(p) => {
                let state = match p.class {
                    Class::Retry => "Waiting",
                    Class::AskHuman | Class::Refuse => "Blocked",
                };
                let (state, message) =
                    if r.acting { ("Running", String::new()) } else { (state, p.message()) };
                (state, message, (ConditionStatus::False, p.reason, p.message()))
            }
            None => ("Running", String::new(), (ConditionStatus::False, Reason::InProgress, at_work())),
        },
    };
    Line { step, state: state.into(), message, condition: Some(condition) }
}

/// A step behind the stage at work, or one of a transition that is being undone.
fn not_at_work(before: &PersistentChatFailoverStatus, t: &Transition, step: StepId) -> Line {
    let was_done = t.steps.get(&step).is_some_and(|h| h.ended.is_some());
    let known = condition_of(before, t, step).is_some();
    let line = match (t.route.course, was_done) {
        (Course::Back, true) => return done_as_recorded(before, t, step),
        (Course::Back, false) => return undone(before, t, step),
        (Course::Onward, true) => done_as_recorded(before, t, step),
        // The write that begins a transition makes all of its steps unknown.
        (Course::Onward, false) => Line {
            step,
            state: String::new(),
            message: String::new(),
            condition: Some((ConditionStatus::Unknown, Reason::NotStarted, "Not begun".into())),
        },
    };
    let condition = line.condition.filter(|_| !known);
    Line { state: "NotStarted".into(), message: String::new(), condition, ..line }
}

/// Steps that another procedure has are none of this one's conditions.
fn keep_only(c: &mut Conditions<'_>, own: &[StepId]) {
    for step in StepId::ALL.iter().filter(|step| !own.contains(step)) {
        c.remove(step.as_str());
    }
}

/// A transition, with what is said of each of its steps.
struct Shown<'t> {
    transition: &'t Transition,
    lines: &'t [Line],
    /// `Pending`, `Running`, `Completed` or `Aborted`.
    outcome: &'static str,
}

impl Shown<'_> {
    fn put_into<'s>(
        &self,
        s: &'s mut PersistentChatFailoverStatus,
        pool: &Pool,
        r: &Report<'_>,
    ) -> &'s mut TransitionStatus {
        let (t, lines) = (self.transition, self.lines);
        let steps = lines.iter().map(|line| step_status(s, t, line)).collect();
        let mut c = Conditions::of(s, r.situation.at);
        keep_only(&mut c, &lines.iter().map(|line| line.step).collect::<Vec<_>>());
        for line in lines {
            if let Some((is, reason, message)) = &line.condition {
                c.set(line.step.as_str(), *is, *reason, message);
            }
        }
        let is_irrevocable = procedures::courses(t.route.procedure).one_way.is_some();
        let completed = t.ended.is_some_and(|e| !e.aborted);
        s.transition.insert(TransitionStatus {
            id: t.id.clone(),
            number: i64::try_from(t.number).ok(),
            procedure: t.route.procedure.as_str().into(),
            from: pool.name(t.route.from).into(),
            to: pool.name(t.route.to).into(),
            started: conditions::time(t.started),
            ended: t.ended.map(|e| conditions::time(e.at)),
            outcome: self.outcome.into(),
            point_of_no_return: (r.situation.is_past(t) && !r.situation.may_be_taken_back(t))
                || (completed && is_irrevocable),
            steps,
            consent_needed: None,
            loss: t.facts.loss.as_ref().map(|l| loss(l, t)),
            outage_seconds: t.outage().map(|o| o.as_secs()),
            lost_messages: lost_messages(pool, t),
        })
    }
}

fn step_status(before: &PersistentChatFailoverStatus, t: &Transition, line: &Line) -> StepStatus {
    let mut h = t.steps.get(&line.step).cloned().unwrap_or_default();
    if h.ended.is_none() && t.ended.is_none() {
        h.waited.values_mut().for_each(|seconds| *seconds = coarse(*seconds));
    }
    let not_by_us = line.condition.as_ref().is_some_and(|(_, reason, _)| *reason == Reason::AlreadyDone);
    StepStatus {
        name: line.step.as_str().into(),
        state: line.state.clone(),
        message: line.message.chars().take(4000).collect(),
        attempts: h.attempts,
        already_done: not_by_us && line.state == "Done",
        started: h.started.map(conditions::time),
        ended: h.ended.map(conditions::time),
        waited: h.waited,
        progress: old_step(before, t, line.step).and_then(|s| s.progress.clone()),
    }
}

/// How long something has been waited for, as long as it goes on: an eighth more is told, and not each look of a wait that may last
/// for days.
fn coarse(seconds: i64) -> i64 {
    let eighth = (seconds / 8).max(1);
    let step = 1 << eighth.ilog2();
    seconds / step * step
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

fn history(pool: &Pool, t: &Transition, e: Ended) -> HistoryEntry {
    HistoryEntry {
        id: t.id.clone(),
        number: i64::try_from(t.number).ok(),
        procedure: t.route.procedure.as_str().into(),
        from: pool.name(t.route.from).into(),
        to: pool.name(t.route.to).into(),
        outcome: outcome(e).into(),
        started: conditions::time(t.started),
        ended: conditions::time(e.at),
        loss: t.facts.loss.as_ref().map(|l| loss(l, t)),
        outage_seconds: t.outage().map(|o| o.as_secs()),
        lost_messages: lost_messages(pool, t),
    }
}

fn lost_messages(pool: &Pool, t: &Transition) -> Vec<LostMessages> {
    let counted =
        t.facts.saved.iter().filter_map(|(place, saved)| Some((place, saved, saved.lost.as_ref()?)));
    counted
        .map(|(place, saved, lost)| {
            let seat = Seat { side: t.route.to, place: *place };
            let (messages, more, reason) = match lost {
                Lost::Counted { messages, more } => (i64::try_from(*messages).ok(), *more, None),
                Lost::Unknown { why, .. } => (None, false, Some(clean(why).chars().take(1000).collect())),
            };
            LostMessages {
                server: pool.server(seat).map(|server| server.host.clone()).unwrap_or_default(),
                messages,
                more,
                reason,
                files: std::iter::once(&saved.file).chain(&saved.tail).map(|f| clean(f)).collect(),
            }
        })
        .collect()
}

/// Pieces done, out of those that there were when the transition began.
fn progress(shown: &mut TransitionStatus, r: &Report<'_>) {
    for (step, left) in &r.plan.left {
        let Some(slot) = shown.steps.iter_mut().find(|s| s.name == step.as_str()) else { continue };
        let total = slot.progress.as_ref().map_or(left.pieces, |p| p.total.max(left.pieces));
        let restoring = r.restoring.as_ref().filter(|_| left.restores);
        let percent = restoring.map(|x| x.percent.clamp(0.0, 100.0) as i32);
        slot.progress = Some(Progress { done: total - left.pieces, total, unit: left.unit.into(), percent });
    }
}
