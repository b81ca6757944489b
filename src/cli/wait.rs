//! `wait`: ends when something holds, when it will not come without a human, or when it was given up.

use std::time::Duration;

use clap::ValueEnum;
use futures::StreamExt as _;
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::cluster::Place;
use super::failure::Failure;
use super::watch::{Seen, watch};
use crate::api::v1alpha1::{PersistentChatFailover, PersistentChatFailoverStatus, TransitionStatus};
use crate::domain::problem::Reason;
use crate::domain::route::Procedure;
use crate::domain::step::StepId;
use crate::domain::text::{clean, clean_whole};
use crate::status::conditions::{FAILOVER_READY, READY, RECONCILING, STALLED};

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Goal {
    /// The wanted data centre is active, nothing has to be set right in it, and chat serves.
    Ready,
    /// Chat serves from the wanted data centre, whatever else is still at work.
    Serving,
    /// A failover to the other data centre would find nothing in its way.
    Protected,
    /// A human is needed.
    Human,
}

impl Goal {
    const fn as_str(self) -> &'static str {
        match self {
            Goal::Ready => "ready",
            Goal::Serving => "serving",
            Goal::Protected => "protected",
            Goal::Human => "in need of a human",
        }
    }
}

/// What one look at the resource says of a goal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Holds(String),
    /// It does not hold yet; what is so now.
    NotYet(String),
    /// Nothing goes on without a human.
    HumanNeeded(String),
    /// What was waited for was given up.
    GivenUp(String),
}

/// A wait: what must be remembered between two looks.
pub struct Waiting {
    goal: Goal,
    /// The data centre that was wanted when it began.
    wanted: String,
    /// A failover that was seen before its end.
    failover: Option<String>,
}

/// Waits; gives what holds then.
pub async fn wait(
    place: &Place,
    goal: Goal,
    timeout: Duration,
    note: impl Fn(&str),
) -> Result<String, Failure> {
    let deadline = tokio::time::Instant::now() + timeout;
    let first = place.get().await?;
    let mut waiting = Waiting::begin(goal, &first);
    let mut last = match ended(waiting.judge(&first)) {
        Ok(end) => return end,
        Err(now) => now,
    };
    let mut seen = Box::pin(watch(place));
    let mut in_trouble = false;
    while let Ok(next) = tokio::time::timeout_at(deadline, seen.next()).await {
        match next.unwrap_or(Ok(Seen::Gone))? {
            Seen::Object(r) => match ended(waiting.judge(&r)) {
                Ok(end) => return end,
                Err(now) => (last, in_trouble) = (now, false),
            },
            Seen::Gone => return Err(Failure::Refused(format!("{place} was deleted"))),
            Seen::Trouble(why) => {
                if !std::mem::replace(&mut in_trouble, true) {
                    note(&format!("the API server cannot be asked, it is asked again: {why}"));
                }
                last = format!("the API server cannot be asked: {why}");
            }
        }
    }
    let long = SignedDuration::try_from(timeout).unwrap_or(SignedDuration::MAX);
    Err(Failure::TimedOut(format!("{place} is not {} after {long:#}: {last}", goal.as_str())))
}

/// How a verdict ends a wait; an error: it does not, and this is so now.
fn ended(verdict: Verdict) -> Result<Result<String, Failure>, String> {
    match verdict {
        Verdict::Holds(m) => Ok(Ok(m)),
        Verdict::NotYet(m) => Err(m),
        Verdict::HumanNeeded(m) => Ok(Err(Failure::HumanNeeded(m))),
        Verdict::GivenUp(m) => Ok(Err(Failure::Refused(m))),
    }
}

impl Waiting {
    /// Begins with the resource as it is.
    pub fn begin(goal: Goal, r: &PersistentChatFailover) -> Self {
        Waiting { goal, wanted: r.spec.active_data_center.clone(), failover: None }
    }

    /// What the resource says of the goal now.
    pub fn judge(&mut self, r: &PersistentChatFailover) -> Verdict {
        let look = Look::at(r);
        let (wanted, now) = (clean(&self.wanted), clean(&r.spec.active_data_center));
        // Ready in another data centre than the one that was waited for is not what was waited for.
        if self.goal != Goal::Human && r.spec.active_data_center != self.wanted {
            return Verdict::GivenUp(format!("{wanted} is not wanted any more: activeDataCenter is {now}"));
        }
        let Some(look) = look else {
            return Verdict::NotYet("the operator has not yet seen the last change of the resource".into());
        };
        if let Some(message) = look.holds(self.goal) {
            return Verdict::Holds(message);
        }
        if self.goal == Goal::Human {
            return Verdict::NotYet(look.now());
        }
        if let Some(c) = look.is_true(STALLED) {
            return Verdict::HumanNeeded(said(c));
        }
        if let Some(t) = look.failover_at_work() {
            self.failover = Some(t.id.clone());
        }
        if let Some(id) = self.failover.as_ref().filter(|id| look.was_aborted(id)) {
            return Verdict::GivenUp(format!(
                "the failover to {wanted} (transition {}) was given up",
                clean(id)
            ));
        }
        if look.rests(r.spec.suspend) {
            return Verdict::GivenUp(format!(
                "spec.suspend is true, and nothing goes on until it is taken away: {}",
                look.of(self.goal)
            ));
        }
        if self.goal == Goal::Protected && look.waits_for_a_human_to_protect() {
            return Verdict::HumanNeeded(look.of(self.goal));
        }
        Verdict::NotYet(look.of(self.goal))
    }
}

/// A status that speaks of the resource as it is.
struct Look<'a> {
    status: &'a PersistentChatFailoverStatus,
    generation: Option<i64>,
}

fn said(c: &Condition) -> String {
    format!("{} is {} ({}): {}", clean(&c.type_), clean(&c.status), clean(&c.reason), clean_whole(&c.message))
}

impl<'a> Look<'a> {
    /// None: the operator has not seen the resource's last change, so nothing of its status is an answer to it.
    fn at(r: &'a PersistentChatFailover) -> Option<Self> {
        let status = r.status.as_ref().filter(|s| r.metadata.generation == Some(s.observed_generation))?;
        Some(Look { status, generation: r.metadata.generation })
    }

    fn condition(&self, kind: &str) -> Option<&'a Condition> {
        self.status.conditions.iter().find(|c| c.type_ == kind)
    }

    /// A condition that is True, and was said of the resource as it is.
    fn is_true(&self, kind: &str) -> Option<&'a Condition> {
        self.condition(kind).filter(|c| {
            c.status == "True" && c.observed_generation.is_none_or(|g| Some(g) == self.generation)
        })
    }

    fn at_work(&self) -> Option<&'a TransitionStatus> {
        self.status.transition.as_ref().filter(|t| t.ended.is_none())
    }

    fn failover_at_work(&self) -> Option<&'a TransitionStatus> {
        self.at_work().filter(|t| Procedure::name_moves_chat(&t.procedure))
    }

    fn holds(&self, goal: Goal) -> Option<String> {
        match goal {
            Goal::Ready => self.is_true(READY).map(said),
            Goal::Serving => self.is_true(READY).map(said).or_else(|| self.serves_already()),
            // While a failover runs, the condition stays as it was before: it says nothing of the other side then.
            Goal::Protected => {
                self.is_true(FAILOVER_READY).filter(|_| self.failover_at_work().is_none()).map(said)
            }
            Goal::Human => self.is_true(STALLED).map(said),
        }
    }

    /// The transition at work has seen chat serve, and has something left to do.
    fn serves_already(&self) -> Option<String> {
        let t = self.at_work()?;
        let step = t.steps.iter().find(|s| s.name == StepId::ChatServing.as_str() && s.state == "Done")?;
        Some(format!("ChatServing: {}", clean_whole(&step.message)))
    }

    fn was_aborted(&self, id: &str) -> bool {
        let now = self.status.transition.iter().map(|t| (&t.id, &t.outcome));
        let past = self.status.history.iter().map(|h| (&h.id, &h.outcome));
        now.chain(past).any(|(of, outcome)| of == id && outcome == "Aborted")
    }

    /// Whether nothing is at work because the resource says so.
    fn rests(&self, is_suspended: bool) -> bool {
        let ready = self.condition(READY);
        is_suspended
            && self.is_true(RECONCILING).is_none()
            && (self.at_work().is_some() || ready.is_some_and(|c| c.reason == Reason::Suspended.as_str()))
    }

    /// What protects the other side has begun, and nothing is at work: chat serves, so nothing is Stalled either.
    fn waits_for_a_human_to_protect(&self) -> bool {
        let protects = self.at_work().is_some_and(|t| t.procedure == Procedure::Protect.as_str());
        protects && self.is_true(READY).is_some() && self.is_true(RECONCILING).is_none()
    }

    /// What is said of a goal now.
    fn of(&self, goal: Goal) -> String {
        let kind = match goal {
            Goal::Ready | Goal::Serving | Goal::Human => READY,
            Goal::Protected => FAILOVER_READY,
        };
        self.condition(kind).map_or_else(|| format!("nothing is said of {kind} yet"), said)
    }

    fn now(&self) -> String {
        self.of(Goal::Ready)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use serde_json::{Value, json};

    use super::*;

    /// A resource of generation 3: conditions (type, status, reason) and a transition.
    fn resource(conditions: &[(&str, &str, &str)], transition: Value) -> Value {
        let conditions: Vec<Value> = conditions
            .iter()
            .map(|(kind, status, reason)| {
                json!({"type": kind, "status": status, "reason": reason, "message": format!("{kind}\u{1b}[2J"),
                       "observedGeneration": 3, "lastTransitionTime": "2026-01-01T00:00:00Z"})
            })
            .collect();
        json!({"apiVersion": "persistentchat.dev/v1alpha1", "kind": "PersistentChatFailover",
               "metadata": {"name": "x", "generation": 3}, "spec": {"pool": "p", "activeDataCenter": "b", "dataCenters": []},
               "status": {"observedGeneration": 3, "conditions": conditions, "transition": transition}})
    }

    fn transition(procedure: &str, outcome: &str, chat: &str) -> Value {
        let mut t = json!({"id": "77", "procedure": procedure, "from": "a", "to": "b", "started": "2026-01-01T00:00:00Z",
            "outcome": outcome, "pointOfNoReturn": false,
            "steps": [{"name": "ChatServing", "state": chat, "message": "chat", "attempts": 0}]});
        if !["Running", "Pending"].contains(&outcome) {
            t["ended"] = json!("2026-01-01T00:10:00Z");
        }
        t
    }

    fn read(value: &Value) -> PersistentChatFailover {
        serde_json::from_value(value.clone()).unwrap()
    }

    fn word(v: &Verdict) -> &'static str {
        match v {
            Verdict::Holds(_) => "holds",
            Verdict::NotYet(_) => "not yet",
            Verdict::HumanNeeded(_) => "human",
            Verdict::GivenUp(_) => "given up",
        }
    }

    /// What is said for ready, serving, protected, human.
    fn judged(value: &Value) -> [&'static str; 4] {
        let r = read(value);
        [Goal::Ready, Goal::Serving, Goal::Protected, Goal::Human].map(|goal| {
            let verdict = Waiting::begin(goal, &r).judge(&r);
            assert!(!format!("{verdict:?}").contains('\u{1b}'));
            word(&verdict)
        })
    }

    #[test]
    fn each_goal_holds_where_the_status_says_so_and_nowhere_else() {
        let (ready, protected) = (("Ready", "True", "Active"), ("FailoverReady", "True", "Completed"));
        let (not_ready, reconciling) =
            (("Ready", "False", "Switching"), ("Reconciling", "True", "Switching"));
        let unprotected = ("FailoverReady", "False", "NotProtected");
        let stalled = ("Stalled", "True", "SourceAlive");
        let failover = |outcome, chat| transition("Failover", outcome, chat);
        let none = Value::Null;
        for (conditions, t, wanted) in [
            (vec![], none.clone(), ["not yet"; 4]),
            (vec![ready, protected], none.clone(), ["holds", "holds", "holds", "not yet"]),
            (vec![not_ready, reconciling, protected], failover("Running", "Running"), ["not yet"; 4]),
            (
                vec![not_ready, reconciling],
                failover("Running", "Done"),
                ["not yet", "holds", "not yet", "not yet"],
            ),
            // Chat served when the transition ended, and does not now.
            (vec![not_ready, reconciling], failover("Completed", "Done"), ["not yet"; 4]),
            (vec![not_ready, stalled, protected], none.clone(), ["human", "human", "holds", "holds"]),
            (
                vec![not_ready, stalled],
                failover("Pending", "NotStarted"),
                ["human", "human", "human", "holds"],
            ),
            (
                vec![ready, unprotected, reconciling],
                transition("Protect", "Running", ""),
                ["holds", "holds", "not yet", "not yet"],
            ),
            (
                vec![ready, unprotected],
                transition("Protect", "Pending", ""),
                ["holds", "holds", "human", "not yet"],
            ),
            (
                vec![ready, unprotected],
                transition("Protect", "Completed", ""),
                ["holds", "holds", "not yet", "not yet"],
            ),
        ] {
            assert_eq!(judged(&resource(&conditions, t.clone())), wanted, "{conditions:?} {t}");
        }
    }

    #[test]
    fn a_status_of_another_generation_says_nothing() {
        let conditions =
            [("Ready", "True", "Active"), ("FailoverReady", "True", "Completed"), ("Stalled", "True", "X")];
        let mut value = resource(&conditions, Value::Null);
        value["metadata"]["generation"] = json!(4);
        assert_eq!(judged(&value), ["not yet"; 4]);
        // Nor does a condition that was left over.
        value["status"]["observedGeneration"] = json!(4);
        assert_eq!(judged(&value), ["not yet"; 4]);
        value["status"] = json!({"observedGeneration": -1});
        assert_eq!(judged(&value), ["not yet"; 4]);
    }

    #[test]
    fn what_rests_by_somebodys_wish_is_not_waited_for() {
        let mut value = resource(&[("Ready", "False", "Suspended")], Value::Null);
        value["spec"]["suspend"] = json!(true);
        assert_eq!(judged(&value), ["given up", "given up", "given up", "not yet"]);
        // Suspended, and as it is wanted: nothing is missing.
        let mut value =
            resource(&[("Ready", "True", "Active"), ("FailoverReady", "True", "Completed")], Value::Null);
        value["spec"]["suspend"] = json!(true);
        assert_eq!(judged(&value), ["holds", "holds", "holds", "not yet"]);
    }

    #[test]
    fn a_wish_that_is_taken_back_or_a_failover_that_is_given_up_ends_it() {
        let running =
            resource(&[("Ready", "False", "Switching")], transition("Failover", "Running", "NotStarted"));
        let begin = |goal| {
            let mut waiting = Waiting::begin(goal, &read(&running));
            assert_eq!(word(&waiting.judge(&read(&running))), "not yet");
            waiting
        };
        let mut back =
            resource(&[("Ready", "True", "Active")], transition("Failover", "Aborted", "NotStarted"));
        back["spec"]["activeDataCenter"] = json!("a");
        let verdict = begin(Goal::Ready).judge(&read(&back));
        assert!(
            matches!(&verdict, Verdict::GivenUp(m) if m.contains("activeDataCenter is a")),
            "{verdict:?}"
        );
        assert_eq!(word(&begin(Goal::Human).judge(&read(&back))), "not yet");

        let reconciling = [("Ready", "False", "Switching")];
        let mut over = resource(&reconciling, transition("Failover", "Aborted", "NotStarted"));
        assert_eq!(word(&begin(Goal::Serving).judge(&read(&over))), "given up");
        // Also where the next one has begun already.
        let mut past = over["status"]["transition"].take();
        past.as_object_mut().unwrap().remove("steps");
        over["status"]["history"] = json!([past]);
        assert_eq!(word(&begin(Goal::Serving).judge(&read(&over))), "given up");
        // One that ended before the wait began is not what is waited for.
        assert_eq!(judged(&over)[0], "not yet");
    }
}
