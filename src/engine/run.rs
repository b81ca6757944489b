//! The loop: observe, decide, permit, act, observe.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, join_all, select};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::Clock;
use super::observe::Eyes;
use super::permit::Permit;
use super::plan::{Goal, Next, Plan, Trouble, back_off, jitter, note_times, plan};
use crate::domain::consent::AcceptedConsent;
use crate::domain::decision::{Decision, Outcome, Waiting};
use crate::domain::pool::Pool;
use crate::domain::problem::{Class, Problem, Reason};
use crate::domain::situation::{Answer, RunningRestore, Situation};
use crate::domain::step::StepId;
use crate::domain::text::clean;
use crate::domain::transition::Transition;
use crate::procedures::stages;
use crate::steps::{self, Effect, Reads};
use crate::systems::sql_server::{Cell, Statement, statements};
use crate::systems::{SqlSession, Systems};

/// What the resource says at the moment, and whether to stop.
#[derive(Clone, Debug)]
pub struct Intent {
    /// The pool.
    pub pool: Arc<Pool>,
    /// What is wanted.
    pub goal: Goal,
    /// The generation of the resource that says so.
    pub generation: i64,
    /// No new effect; return.
    pub stop: bool,
}

/// What the loop tells after each look and during an effect.
pub struct Report<'a> {
    /// What the resource asked for when this was decided.
    pub goal: &'a Goal,
    /// The generation of the resource that asked for it.
    pub generation: i64,
    /// What was seen.
    pub situation: &'a Situation,
    /// What follows.
    pub plan: &'a Plan,
    /// A RESTORE of ours that runs.
    pub restoring: Option<RunningRestore>,
    /// Effects that are at work.
    pub acting: bool,
    /// Steps in trouble.
    pub trouble: &'a BTreeMap<StepId, Trouble>,
}

/// How patient the loop is.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long the primary must be silent.
    pub silence: SignedDuration,
    /// Pause between two looks while nothing happens.
    pub poll: Duration,
}

/// What a worker keeps while it lives. Losing it costs time only.
#[derive(Default)]
pub struct Memory {
    eyes: Eyes,
    begun: Option<Transition>,
    trouble: BTreeMap<StepId, Trouble>,
    /// Each step's last effect that was answered without complaint.
    answered: BTreeMap<StepId, Effect>,
    denied: u32,
    asked: Option<Reason>,
    unwell: u32,
    looked: Option<Timestamp>,
}

/// Works until the pool's description changes or the intent says stop.
pub async fn drive<S: Systems, C: Clock>(
    systems: &S,
    pool: &Pool,
    clock: &C,
    pace: Pace,
    memory: &mut Memory,
    intent: &mut watch::Receiver<Intent>,
    report: &(dyn Fn(&Report<'_>) + Send + Sync),
) {
    let now = || clock.now();
    let latest = intent.clone();
    let wanted = |t: &Transition, past: bool| still_wanted(&latest.borrow(), pool, t, past);
    let mut permit: Option<Permit<'_, S>> = None;
    let mut reads = Reads::ALL;
    loop {
        let wish = intent.borrow_and_update().clone();
        if wish.stop || *wish.pool != *pool {
            return;
        }
        let current = permit.as_ref().map(Permit::transition).or_else(|| memory.begun.clone());
        let fresh = reads.chat;
        let s = memory.eyes.look(systems, pool, clock, reads, fresh, current.as_ref()).await;
        // Under a permit nobody else can have gone on; without one, what the record says now is newer than what we remember.
        let current = match &permit {
            Some(_) => current,
            None => current.map(|t| recorded(&s, &t.id).map_or_else(|| t.clone(), |r| r.with_times_of(&t))),
        };
        let mut p = plan(pool, &wish.goal, &s, current.as_ref(), &memory.trouble, pace.silence);
        // A look is no snapshot: what was read first may be older than what was read last. Nobody is called for what one look
        // saw; the second one decides.
        let asks = match &p.next {
            Next::Blocked(x) if x.class != Class::Retry => Some(x.clone()),
            Next::Blocked(_) | Next::Settled | Next::Act(_) | Next::Finish | Next::Wait(_) => None,
        };
        if let Some(x) = asks.as_ref().filter(|x| memory.asked != Some(x.reason)) {
            p.next = Next::Wait(Waiting { reason: x.reason, message: x.message(), until: None });
        }
        memory.asked = asks.map(|x| x.reason);
        if let Some(t) = p.transition.as_mut() {
            note_times(t, &p.steps, s.at, memory.looked);
        }
        memory.looked = Some(s.at);
        memory.begun = p.transition.clone();
        memory.trouble.retain(|step, _| p.steps.iter().any(|(id, d)| id == step && !d.is_done()));
        // The first trouble is looked at again soon; only what stays is looked at more and more rarely.
        memory.unwell = if is_unwell(&s, &p) { memory.unwell.saturating_add(1) } else { 0 };
        let looked = reads;
        reads = next_reads(&p);
        let (goal, generation) = (&wish.goal, wish.generation);
        report(&Report {
            goal,
            generation,
            situation: &s,
            plan: &p,
            restoring: None,
            acting: matches!(p.next, Next::Act(_)),
            trouble: &memory.trouble,
        });

        let Some(t) = p.transition.clone() else {
            permit = None;
            pause(clock, intent, settled_pause(&p, pace, s.at, memory.unwell)).await;
            continue;
        };
        if let Next::Act(_) | Next::Finish = p.next
            && permit.is_none()
        {
            match Permit::obtain(systems, pool, &s, &t, &now, &wanted).await {
                Ok(obtained) => {
                    memory.denied = 0;
                    permit = Some(obtained);
                    // Decided again with the lock in hand: what was seen before it may be another's doing.
                    reads = Reads::ALL;
                    continue;
                }
                Err(problem) => {
                    memory.denied = memory.denied.saturating_add(1);
                    let wait = back_off(memory.denied.saturating_sub(1), Class::Retry, s.at);
                    let blocked = Plan { next: Next::Blocked(problem), ..p };
                    report(&Report {
                        goal,
                        generation,
                        situation: &s,
                        plan: &blocked,
                        restoring: None,
                        acting: false,
                        trouble: &memory.trouble,
                    });
                    pause(clock, intent, wait).await;
                    continue;
                }
            }
        }
        let Some(leave) = permit.as_ref() else {
            pause(clock, intent, settled_pause(&p, pace, s.at, memory.unwell)).await;
            continue;
        };
        leave.seen(&s);
        if t.adopted_fork.is_some() && leave.written().and_then(|w| w.adopted_fork) != t.adopted_fork {
            // Before anything follows from it: after a crash nobody could tell whose database it is.
            let fork = t.adopted_fork.clone();
            if leave.intend(move |x| x.adopted_fork = fork).await != Outcome::Answered {
                permit = None;
                pause(clock, intent, back_off(1, Class::Retry, s.at)).await;
            }
            continue;
        }
        leave.update(|x| {
            x.steps = t.steps.clone();
            // Read before anybody can write again: the newest message that was kept.
            if let (Some(loss), Some(i)) = (x.loss.as_mut(), s.target.known())
                && let (None, Some(Some(at))) = (loss.newest_message, i.newest_message.known())
            {
                loss.newest_message = Some(*at);
            }
            if let Some((c, statement)) = &p.accepted
                && !x.consents.iter().any(|known| known.situation == c.situation)
            {
                x.consents.push(AcceptedConsent {
                    situation: c.situation.clone(),
                    by: c.by.clone(),
                    at: s.at,
                    why: statement.why.clone(),
                    statement: statement.clone(),
                });
            }
        });
        match &p.next {
            Next::Act(effects) => {
                // A stage that has just begun decides on what the one before it looked at: hours may lie between.
                let needed =
                    effects.iter().map(|e| steps::reads(e.step())).fold(Reads::default(), Reads::and);
                if !looked.covers(needed) {
                    reads = reads.and(needed);
                    continue;
                }
                let written = leave.written();
                let attempts = |step: StepId| {
                    written.as_ref().and_then(|w| w.steps.get(&step)).map_or(0, |h| h.attempts)
                };
                let begins = effects.iter().any(|e| attempts(e.step()) == 0);
                leave.update(|x| {
                    for e in effects {
                        x.steps.entry(e.step()).or_default().attempts += 1;
                    }
                });
                // Before a step's first effect: whoever comes next knows that the transition runs, and whose work the step is.
                if begins && leave.intend(|_| {}).await != Outcome::Answered {
                    permit = None;
                    pause(clock, intent, back_off(1, Class::Retry, s.at)).await;
                    continue;
                }
                let acts = join_all(effects.iter().map(|e| async move { (e.step(), e.act(leave).await) }));
                let trouble = memory.trouble.clone();
                let told = Report {
                    goal,
                    generation,
                    situation: &s,
                    plan: &p,
                    restoring: None,
                    acting: true,
                    trouble: &trouble,
                };
                let telling = tell_progress(systems, pool, clock, &told, report);
                futures::pin_mut!(telling);
                let outcomes = match select(acts, telling).await {
                    Either::Left((outcomes, _)) => outcomes,
                    Either::Right(((), acts)) => acts.await,
                };
                memory.begun = Some(leave.transition());
                let mut doubt = false;
                for (effect, (step, outcome)) in effects.iter().zip(outcomes) {
                    match outcome {
                        // Decided once more although it was answered: whatever that answer meant, the world has not changed.
                        Outcome::Answered
                            if memory.answered.insert(step, effect.clone()).as_ref() == Some(effect) =>
                        {
                            note_trouble(memory, step, without_effect(effect, pool), s.at);
                        }
                        Outcome::Answered => drop(memory.trouble.remove(&step)),
                        // It is in the record, and the next decision follows from that: no reason to wait.
                        Outcome::Refused(problem) if problem.reason == Reason::BackupDamaged => {
                            drop(memory.trouble.remove(&step));
                        }
                        Outcome::Refused(problem) => {
                            doubt = true;
                            note_trouble(memory, step, problem, s.at);
                        }
                        Outcome::Unknown(problem) => {
                            doubt = true;
                            note_trouble(memory, step, problem, s.at);
                        }
                    }
                }
                if doubt {
                    // After any doubt a fresh session: the old one may have lost its lock or its place in an answer.
                    permit = None;
                }
            }
            Next::Finish => {
                let ended = clock.now();
                let fork = s.target.known().and_then(|i| i.database.as_ref()).and_then(|d| d.fork.clone());
                let close = move |x: &mut Transition| {
                    x.ended = Some(ended);
                    x.recovered_fork = fork;
                };
                match leave.intend(close).await {
                    Outcome::Answered => {
                        memory.begun = Some(leave.transition());
                        permit = None;
                        reads = Reads::ALL;
                    }
                    Outcome::Refused(_) | Outcome::Unknown(_) => permit = None,
                }
            }
            Next::Settled | Next::Wait(_) | Next::Blocked(_) => {
                // Who waits for a human must not keep others from going on: another cluster's resource may not be suspended.
                let for_a_human = match &p.next {
                    Next::Blocked(problem) => problem.class != Class::Retry,
                    Next::Wait(w) => w.reason == Reason::Suspended,
                    Next::Settled | Next::Act(_) | Next::Finish => false,
                };
                if for_a_human {
                    permit = None;
                }
                pause(clock, intent, settled_pause(&p, pace, s.at, memory.unwell)).await;
            }
        }
    }
}

/// A transition as the record of the target has it.
fn recorded(s: &Situation, id: &str) -> Option<Transition> {
    let records = s.target.known()?.records.known()?;
    records.iter().map(|r| &r.transition).find(|t| t.id == id).cloned()
}

/// Whether the resource still asks for a transition, at the last moment before an effect.
fn still_wanted(wish: &Intent, pool: &Pool, t: &Transition, past: bool) -> Result<(), Problem> {
    let not = |what: &str| Err(Problem::retry(Reason::Suspended, what, "It is looked at again"));
    if wish.stop || *wish.pool != *pool {
        not("The operator stops, or the resource describes the pool in another way now")
    } else if wish.goal.suspend {
        not("spec.suspend was set meanwhile")
    } else if !past && wish.goal.desired != t.to {
        not("spec.activeDataCenter was changed meanwhile")
    } else {
        Ok(())
    }
}

fn without_effect(effect: &Effect, pool: &Pool) -> Problem {
    let shown = effect.shown(pool).join("; ");
    Problem::retry(
        Reason::EffectFailed,
        format!(
            "{} was answered without complaint, but nothing has changed: {}",
            effect.step().title(),
            clean(&shown)
        ),
        "It is tried again with growing pauses; look into the server's own log if it stays so",
    )
}

fn note_trouble(memory: &mut Memory, step: StepId, problem: Problem, at: Timestamp) {
    let attempts = memory.trouble.get(&step).map_or(1, |t| t.attempts.saturating_add(1));
    // What only a human can mend is still looked at again, rarely.
    let next = at.checked_add(back_off(attempts - 1, problem.class, at)).unwrap_or(at);
    tracing::warn!(step = step.as_str(), attempts, reason = problem.reason.as_str(), problem = %problem.message(), "an effect did not go well");
    memory.trouble.insert(step, Trouble { problem, attempts, next });
}

/// The stage at work says what must be seen next; with no transition, everything.
fn next_reads(p: &Plan) -> Reads {
    let Some(t) = &p.transition else { return Reads::ALL };
    let at_work = stages(t.procedure).iter().find(|stage| {
        stage.steps().iter().any(|id| !p.steps.iter().any(|(step, d)| step == id && d.is_done()))
    });
    let mut reads = at_work.map_or(Reads::ALL, |stage| {
        stage.steps().iter().map(|s| steps::reads(*s)).fold(Reads::default(), Reads::and)
    });
    // A stage that has just ended hands over to one that wants to see everything of its own.
    if p.steps.iter().filter(|(_, d)| matches!(d, Decision::Done(_))).count() == p.steps.len() {
        reads = Reads::ALL;
    }
    reads
}

/// How long to wait until the next look. `unwell` counts the looks in a row that met a problem: a server that refuses a login is
/// not asked every few seconds for ever, or it locks the account.
fn settled_pause(p: &Plan, pace: Pace, at: Timestamp, unwell: u32) -> SignedDuration {
    let poll = SignedDuration::try_from(pace.poll).unwrap_or(SignedDuration::from_secs(10));
    let rarely = (poll * 30).min(SignedDuration::from_secs(300));
    let growing = (poll * (1 << unwell.min(5))).min(rarely).min(SignedDuration::from_secs(60));
    match &p.next {
        Next::Settled => jitter(growing, at),
        Next::Wait(w) => {
            let usual = poll.min(SignedDuration::from_secs(1));
            w.until.map_or(usual, |u| {
                u.duration_since(at).clamp(SignedDuration::from_millis(100), SignedDuration::from_secs(60))
            })
        }
        Next::Blocked(problem) => match problem.class {
            Class::Retry => jitter(growing, at),
            Class::AskHuman | Class::Refuse => jitter(rarely, at),
        },
        Next::Act(_) | Next::Finish => SignedDuration::ZERO,
    }
}

/// Whether a look met something that did not answer as it should.
fn is_unwell(s: &Situation, p: &Plan) -> bool {
    let turned_away = s.source.partners.iter().any(|x| match &x.answer {
        Answer::TurnsAway(_) | Answer::NotAsked(_) => true,
        Answer::Speaks(_) | Answer::Silent(_) => false,
    });
    turned_away
        || s.target.known().is_none()
        || s.chat.target_shell.is_some()
        || s.chat.state.known().is_none()
        || matches!(p.next, Next::Blocked(_))
}

/// Waits, or until the resource changes.
async fn pause<C: Clock>(clock: &C, intent: &mut watch::Receiver<Intent>, d: SignedDuration) {
    let d = Duration::try_from(d).unwrap_or(Duration::from_secs(1));
    let (sleep, changed) = (clock.sleep(d), intent.changed());
    futures::pin_mut!(sleep, changed);
    // An error of `changed` means that nobody is left to change anything: the next round sees `stop` or simply waits.
    match select(sleep, changed).await {
        Either::Left(_) | Either::Right((Ok(()), _)) => {}
        Either::Right((Err(_), sleep)) => sleep.await,
    }
}

/// While an effect runs: how far a RESTORE is, from a second connection. Never ends by itself while it can still look.
async fn tell_progress<S: Systems, C: Clock>(
    systems: &S,
    pool: &Pool,
    clock: &C,
    told: &Report<'_>,
    report: &(dyn Fn(&Report<'_>) + Send + Sync),
) {
    clock.sleep(Duration::from_secs(1)).await;
    let Ok(mut session) = systems.sql(&pool.backup.sql_server).await else { return };
    loop {
        let Ok(rows) =
            session.send(&Statement::new(statements::RESTORES, vec![]), Some(Duration::from_secs(10))).await
        else {
            return;
        };
        let at = |row: &[Cell], name: &str| {
            rows.columns.iter().position(|c| c.eq_ignore_ascii_case(name)).and_then(|i| row.get(i).cloned())
        };
        let restoring = rows.rows.first().map(|row| RunningRestore {
            session: 0,
            command: match at(row, "command") {
                Some(Cell::Text(t)) => t,
                _ => String::new(),
            },
            percent: match at(row, "percent_complete") {
                Some(Cell::Float(f)) => f,
                _ => 0.0,
            },
            by: String::new(),
        });
        report(&Report { restoring, ..*told });
        clock.sleep(Duration::from_secs(2)).await;
    }
}
