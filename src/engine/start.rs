//! Begin: which transition the goal asks for, and whether it may start or go on. Pure.

use jiff::SignedDuration;

use super::goal::Goal;
use crate::domain::acceptance::{self, Acceptance, Asked};
use crate::domain::active::{self, Active};
use crate::domain::decision::Decision;
use crate::domain::fencing::{self, Verdict};
use crate::domain::pool::{Pool, WhenActiveAnswers};
use crate::domain::problem::{Problem, Reason};
use crate::domain::route::{Course, Procedure, Route};
use crate::domain::side::Side;
use crate::domain::situation::Situation;
use crate::domain::sql_server::Database;
use crate::domain::step::StepId;
use crate::domain::tail;
use crate::domain::text::clean;
use crate::domain::transition::{Ended, Transition};
use crate::domain::wish::{LastWish, WishState, Wished};
use crate::steps::view::Said;
use crate::steps::{self, Effect, View};

/// What is asked for, and of which world.
pub struct Ask<'a> {
    /// The pool.
    pub pool: &'a Pool,
    /// What the resource asks for.
    pub goal: &'a Goal,
    /// What was seen.
    pub situation: &'a Situation,
    /// The last wish of this resource that was taken up ([`Wished::last`]).
    last: Option<LastWish>,
    /// The wish as it is remembered.
    heard: Option<&'a LastWish>,
}

/// What becomes of a goal.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The wish, with what became of it; none: nothing can be said yet.
    pub heard: Option<LastWish>,
    /// What happens.
    pub what: What,
}

/// What happens.
#[derive(Clone, Debug)]
pub enum What {
    /// The active side is the wanted one.
    Settled,
    /// A transition is carried on.
    Carry(Transition),
    /// Nothing can be done about the goal; with the transition that is stopped by it, if one has begun.
    Blocked(Problem, Option<Transition>),
}

impl Choice {
    /// The same; where it is about a transition that was already begun in memory, with the time at which it was.
    pub fn resuming(self, known: &Transition) -> Choice {
        let what = match self.what {
            What::Carry(new) if new.id == known.id => {
                let adopted_fork = new.facts.adopted_fork.clone();
                let mut t = known.clone();
                (t.facts.adopted_fork, t.route) = (adopted_fork, new.route);
                What::Carry(t)
            }
            what @ (What::Carry(_) | What::Settled | What::Blocked(..)) => what,
        };
        Choice { what, ..self }
    }
}

fn wished(goal: &Goal) -> Wished<'_> {
    let Goal { active, uid, generation, uttered_at, .. } = goal;
    Wished { active: *active, uid, generation: *generation, uttered_at: *uttered_at }
}

impl<'a> Ask<'a> {
    /// Puts it together.
    pub fn new(
        pool: &'a Pool,
        goal: &'a Goal,
        situation: &'a Situation,
        heard: Option<&'a LastWish>,
    ) -> Self {
        let recorded = situation.transitions().into_iter().filter_map(|t| t.wish.as_ref());
        let recorded = recorded.filter(|w| w.uid == goal.uid).max_by_key(|w| w.generation);
        let last = wished(goal).last(recorded, heard);
        Ask { pool, goal, situation, last, heard }
    }
    fn wished(&self) -> Wished<'_> {
        wished(self.goal)
    }
    /// Whether somebody has asked for this against the world as it is.
    pub fn is_uttered(&self) -> bool {
        self.wished().is_uttered(self.last.as_ref(), self.situation.at)
    }
    fn becomes(&self, state: WishState) -> Option<LastWish> {
        let last = self.heard.or(self.last.as_ref());
        Some(self.wished().becomes(state, last, self.situation.at))
    }
    fn settled(&self) -> Choice {
        Choice { heard: self.becomes(WishState::Fulfilled), what: What::Settled }
    }
    fn blocked(&self, problem: Problem, t: Option<&Transition>) -> Choice {
        Choice { heard: self.last.clone(), what: What::Blocked(problem, t.cloned()) }
    }
    fn carry(&self, state: WishState, t: Transition) -> Choice {
        Choice { heard: self.becomes(state), what: What::Carry(t) }
    }
    /// Whether somebody has asked for a switch, which goes on while both sides live. Where chat has moved since, or that was taken back,
    /// nobody has asked for the next one.
    fn is_planned(&self) -> bool {
        let planned = self.last.as_ref().filter(|l| self.wished().is_planned(Some(l)));
        let moves = self.situation.transitions().into_iter().filter(|t| t.route.procedure.moves_chat());
        let ended = moves.filter_map(|t| t.ended).map(|e| e.at).max();
        planned.is_some_and(|l| ended.is_none_or(|at| at < l.at))
    }
    /// Whether somebody has asked for a transition of a route against the world as it is.
    pub fn asks_for(&self, route: Route) -> bool {
        match route.procedure {
            Procedure::Switch => self.is_uttered() || self.is_planned(),
            Procedure::Failover | Procedure::Protect | Procedure::Align => self.is_uttered(),
        }
    }
    /// What became of a wish that nobody uttered.
    fn unuttered(&self) -> WishState {
        let spent = self.last.as_ref().filter(|l| l.active == self.goal.active && l.uid == self.goal.uid);
        match spent.map(|l| l.state) {
            Some(WishState::Refused) => WishState::Refused,
            Some(WishState::Planned) => WishState::Planned,
            Some(WishState::Accepted | WishState::Fulfilled | WishState::Drift) | None => WishState::Drift,
        }
    }
}

/// No failover runs: whether one begins.
pub fn begin(ask: &Ask<'_>, active: &Active) -> Choice {
    let wanted = ask.goal.active;
    match active {
        Active::In(side) if *side == wanted => ask.settled(),
        Active::In(side) => leave(ask, *side),
        Active::RecoveredByOthers { side, fork: Some(fork), problem }
        | Active::LiveAcross { side, fork: Some(fork), problem }
            if *side == wanted =>
        {
            let state = if ask.is_uttered() { WishState::Accepted } else { ask.unuttered() };
            let t = new_transition(ask, Route::failover(wanted), fork);
            match adopt(ask, t, Some(fork), problem) {
                Ok(t) => ask.carry(state, t),
                Err(p) => Choice { heard: ask.becomes(state), ..ask.blocked(p, None) },
            }
        }
        Active::RecoveredByOthers { side, fork: None, problem } if *side == wanted => {
            ask.blocked(problem.clone(), None)
        }
        Active::RecoveredByOthers { side, problem, .. } => {
            let fix = format!(
                "To go on with it as it is, set spec.activeDataCenter to {}; to stay, take that copy offline and set up log shipping again",
                ask.pool.name(*side)
            );
            ask.blocked(Problem { fix, ..problem.clone() }, None)
        }
        Active::Between => ask.blocked(
            Problem::retry(
                Reason::DatabaseState,
                "The database was recovered by a transition whose record is gone",
                "Look into msdb.dbo.persistent_chat_failover on the instances of the side that went live",
            ),
            None,
        ),
        Active::SplitBrain(p) | Active::Unknown(p) | Active::LiveAcross { problem: p, .. } => {
            ask.blocked(p.clone(), None)
        }
    }
}

/// A side is active that is not the wanted one: only what somebody has asked for leaves it.
fn leave(ask: &Ask<'_>, active: Side) -> Choice {
    let (pool, s, wanted) = (ask.pool, ask.situation, ask.goal.active);
    let verdict = fencing::verdict(pool, s, active);
    let lives = matches!(verdict, Verdict::Alive(_));
    let switches = lives && may_switch(pool);
    let state = match (ask.is_uttered(), ask.is_planned(), lives) {
        (true, _, false) => WishState::Accepted,
        (true, _, true) | (false, true, true) if switches => WishState::Planned,
        (true, _, true) | (false, true, true) => WishState::Refused,
        (false, _, _) => ask.unuttered(),
    };
    if lives && state == WishState::Drift {
        return Choice { heard: ask.becomes(state), ..ask.blocked(drifted(ask, active), None) };
    }
    let first = || attended(ask, active).or_else(|| failback(ask, active));
    if let (WishState::Planned, true, Some(t)) = (state, switches, first()) {
        return ask.carry(state, t);
    }
    let route = match state {
        WishState::Planned if switches => Route::switch(wanted),
        WishState::Planned
        | WishState::Accepted
        | WishState::Fulfilled
        | WishState::Refused
        | WishState::Drift => Route::failover(wanted),
    };
    let t = match fork_of(ask, wanted) {
        Ok(fork) => new_transition(ask, route, &fork),
        Err(p) => {
            // Where the active side lives, that is what is in the way: no wait for the other one ends it.
            let p = match verdict {
                Verdict::Alive(alive) if !switches => alive,
                Verdict::Alive(_)
                | Verdict::Dead
                | Verdict::SilentSoFar(_)
                | Verdict::DatabaseUnusable(_)
                | Verdict::Unknown(_) => p,
            };
            return Choice { heard: ask.becomes(state), ..ask.blocked(p, None) };
        }
    };
    ask.carry(state, t)
}

/// Whether a changed wish moves chat while the active side lives.
fn may_switch(pool: &Pool) -> bool {
    match pool.policy.when_active_answers {
        WhenActiveAnswers::Switch => true,
        WhenActiveAnswers::Refuse => false,
    }
}

/// The recovery fork that the copy of a side to be made active waits on.
fn fork_of(ask: &Ask<'_>, side: Side) -> Result<String, Problem> {
    let target = ask.situation.sites[side].main().map_err(Clone::clone)?;
    let waits_on = target.database.as_ref().and_then(|d| match &d.redo {
        Some(redo) => Some(redo.fork.clone()),
        None => d.fork.clone(),
    });
    let live = ask.situation.sites[side.other()].live().and_then(|i| i.database.as_ref()?.fork.clone());
    waits_on.or(live).ok_or_else(|| {
        let (server, name) = (clean(&target.server_name), clean(&ask.pool.database));
        match &target.database {
            None => nothing_there(ask, side, format!("{server} holds no {name}")),
            Some(db) if db.is_restoring() => {
                nothing_there(ask, side, format!("The restore of {name} on {server} was not finished"))
            }
            Some(_) => Problem::ask(
                Reason::DatabaseState,
                format!("{server} does not show the recovery fork of {name}"),
                "Give the login VIEW ANY DATABASE, or set up log shipping again",
            ),
        }
    })
}

/// That a side has nothing that could be recovered: a seed was cut off by the loss of the other one, say.
fn nothing_there(ask: &Ask<'_>, side: Side, what: String) -> Problem {
    let other = clean(ask.pool.name(side.other()));
    Problem::ask(
        Reason::DatabaseState,
        format!("{what}: nothing can be recovered there"),
        format!(
            "Wait for {other}, which holds all of it, and set spec.activeDataCenter back to it. If it is gone for good, restore the newest full \
             backup and its log backups there by hand, WITH NORECOVERY (operations.md, A second disaster)"
        ),
    )
}

fn drifted(ask: &Ask<'_>, active: Side) -> Problem {
    let (active, wanted) = (ask.pool.name(active), ask.pool.name(ask.goal.active));
    Problem::ask(
        Reason::ActiveDataCenterDrifted,
        format!("{active} is active, spec.activeDataCenter is {wanted}: nobody has decided that switch here"),
        format!(
            "If {active} is right, set spec.activeDataCenter to it (an old manifest or a restored backup would say otherwise). \
             If {wanted} is meant, say so anew: set spec.utteredAt to the present time"
        ),
    )
}

fn new_transition(ask: &Ask<'_>, route: Route, fork: &str) -> Transition {
    let known = ask.situation.transitions();
    let next = |t: &&Transition| t.number + 1;
    // Only the newest records are read: their count stands still some day, their numbers never do.
    let nth = known.iter().filter(|t| t.route.goes_as(route)).map(next).max().unwrap_or(0);
    let mut t = Transition::begin(&ask.pool.fqdn, route, fork, nth, ask.situation.at);
    let unseen = ask.situation.moved.map(|moved| moved.number + 1);
    t.number = known.iter().map(next).chain(unseen).max().unwrap_or(0);
    t.facts.last_heard = ask.situation.sites[route.from].silence.last_heard;
    t
}

/// A failover or a switch that has begun.
pub fn go_on(ask: &Ask<'_>, t: &Transition, active: &Active) -> Choice {
    let to = t.route.to;
    let onward = Transition { route: Route { course: Course::Onward, ..t.route }, ..t.clone() };
    let taken = |r: Result<Transition, Problem>| match r {
        Ok(t) => Choice { heard: heard_of(ask, t.route), what: What::Carry(t) },
        Err(p) => ask.blocked(p, Some(t)),
    };
    let returns = ask.goal.active != to && ask.is_uttered() && ask.situation.may_be_taken_back(t);
    if ask.situation.is_past(t) && !returns {
        return taken(match active::recovered_elsewhere(ask.pool, ask.situation, t) {
            None => Ok(onward),
            Some((fork, problem)) => adopt(ask, onward, fork.as_ref(), &problem),
        });
    }
    if ask.goal.active != to {
        // Whether that point was passed is for the side to say that it makes live: another copy of the record may be an old one. The
        // intent to recover stands on both sides of a switch before anything is recovered.
        if let (Procedure::Failover, Err(unseen)) = (t.route.procedure, ask.situation.sites[to].main()) {
            return ask.blocked(unseen.clone(), Some(t));
        }
        if !ask.is_uttered() {
            // Another resource's failover, or an old manifest: nobody has asked here that it be taken back, nor that it go on.
            return Choice { heard: ask.becomes(ask.unuttered()), ..ask.blocked(under_way(ask, t), Some(t)) };
        }
        // Before the point of no return a wish that is taken back takes the transition back.
        let route = Route { course: Course::Back, ..t.route };
        return ask.carry(WishState::Accepted, Transition { route, ..onward });
    }
    taken(match active {
        // Somebody recovered it while we were at work: taken over only by a human's word.
        Active::RecoveredByOthers { side, fork, problem } if *side == to => {
            adopt(ask, onward, fork.as_ref(), problem)
        }
        // Somebody went on by hand until the pool itself said that it has failed over.
        Active::In(side) if *side == to => take_over(ask, onward),
        // Which of two a switch would take the tail of, nobody can say; nor where to, where somebody has recovered its target.
        Active::SplitBrain(p) => Err(p.clone()),
        Active::RecoveredByOthers { .. }
        | Active::LiveAcross { .. }
        | Active::In(_)
        | Active::Between
        | Active::Unknown(_) => match lost_meanwhile(ask, t) {
            Some(failover) => return failover,
            None => Ok(onward),
        },
    })
}

/// The side that a switch leaves was lost before the tail of its log was taken: nothing is lost by a switch, so what is left is a failover,
/// which nobody has asked for. A human's word, or a new utterance, makes it one; if the side comes back before that, the switch goes on.
fn lost_meanwhile(ask: &Ask<'_>, t: &Transition) -> Option<Choice> {
    let (pool, s) = (ask.pool, ask.situation);
    match t.route.procedure {
        Procedure::Switch => {}
        Procedure::Failover | Procedure::Protect | Procedure::Align => return None,
    }
    if s.sites[t.route.from].live().is_some() || tail::taken(s, t, &pool.database).is_some() {
        return None;
    }
    match fencing::verdict(pool, s, t.route.from) {
        // What it is, its own steps say: it answers and turns us away, or it is watched.
        Verdict::Alive(_) | Verdict::SilentSoFar(_) => return None,
        // Its database takes no changes by our own hand: the file is looked for.
        Verdict::DatabaseUnusable(_) if closed_by_us(s, t) => return None,
        Verdict::Dead | Verdict::DatabaseUnusable(_) | Verdict::Unknown(_) => {}
    }
    let fork = fork_of(ask, t.route.to).unwrap_or_else(|_| t.fork.clone());
    let state = if ask.is_uttered() { WishState::Accepted } else { ask.unuttered() };
    Some(ask.carry(state, new_transition(ask, Route::failover(t.route.to), &fork)))
}

/// Whether the server whose tail a switch was about to take answers, and waits for log backups.
fn closed_by_us(s: &Situation, t: &Transition) -> bool {
    s.ended_by_tail(t).and_then(|i| i.database.as_ref()).is_some_and(Database::is_restoring)
}

/// A failover past its point of no return goes on whatever is wished; only its own wish is one that is being made true. A wish that was
/// spent is not revived by a failover that others have asked for: that one may be taken back.
fn heard_of(ask: &Ask<'_>, route: Route) -> Option<LastWish> {
    let taken_up = match route.procedure {
        Procedure::Switch => WishState::Planned,
        Procedure::Failover | Procedure::Protect | Procedure::Align => WishState::Accepted,
    };
    match (ask.goal.active == route.to, ask.asks_for(route)) {
        (true, true) => ask.becomes(taken_up),
        (true, false) => ask.becomes(ask.unuttered()),
        (false, _) => ask.last.clone(),
    }
}

/// A failover that somebody else has asked for, beside a resource that asks for something else because nobody has changed it.
fn under_way(ask: &Ask<'_>, t: &Transition) -> Problem {
    let (to, what) = (t.route.to, t.route.procedure.as_str().to_lowercase());
    let (to, wanted) = (ask.pool.name(to), ask.pool.name(ask.goal.active));
    Problem::ask(
        Reason::ActiveDataCenterDrifted,
        format!(
            "A {what} to {to} is under way that this resource did not ask for; its spec.activeDataCenter is {wanted}, and nobody has \
             said that anew"
        ),
        format!(
            "If {to} is right, set spec.activeDataCenter to it: then it goes on from here as well. If it is to be \
             taken back, say so: set spec.utteredAt to the present time"
        ),
    )
}

/// A failover that goes on from a pool that somebody else has failed over. Not beside a live database on the side that is left.
fn take_over(ask: &Ask<'_>, mut t: Transition) -> Result<Transition, Problem> {
    let target = ask.situation.sites[t.route.to].main().map_err(Clone::clone)?;
    if let Some(live) = ask.situation.sites[t.route.from].live() {
        return Err(active::split_brain(ask.pool, live, target, t.route.to.pool_state()));
    }
    t.facts.adopted_fork = target.database.as_ref().and_then(|d| d.fork.clone());
    Ok(t)
}

/// A failover that goes on with a database that somebody else recovered, if a human agrees to that. What is known about the side that
/// is left is part of what the human agrees to.
fn adopt(
    ask: &Ask<'_>,
    mut t: Transition,
    fork: Option<&String>,
    problem: &Problem,
) -> Result<Transition, Problem> {
    let Some(fork) = fork else { return Err(problem.clone()) };
    let verdict = fencing::verdict(ask.pool, ask.situation, t.route.from);
    match &verdict {
        Verdict::Alive(p) => {
            return Err(Problem { what: format!("{}; and: {}", problem.what, p.what), ..p.clone() });
        }
        Verdict::SilentSoFar(until) => {
            return Err(Problem::retry(
                Reason::WaitingForSilence,
                format!(
                    "{}; the side that is left is watched until {until} before anything goes on",
                    problem.what
                ),
                "Nothing to do: it is looked at again",
            ));
        }
        Verdict::Dead | Verdict::DatabaseUnusable(_) | Verdict::Unknown(_) => {}
    }
    let terms = acceptance::terms(&Asked {
        chain: None,
        verdict: &verdict,
        site: &ask.situation.sites[t.route.from],
        policy: ask.pool.policy.consent,
        is_uttered: t.has_begun() || ask.is_uttered(),
        adopt: Some(fork),
        overwrites: vec![],
    });
    match Acceptance::of(terms, &t, ask.goal.consent.as_ref()).require() {
        Err(asks) => Err(Problem {
            reason: problem.reason,
            what: format!("{}. {}", problem.what.trim_end_matches('.'), asks.what),
            ..asks
        }),
        Ok(()) => {
            t.facts.adopted_fork = Some(fork.clone());
            Ok(t)
        }
    }
}

/// What sets the active side right, if it has not what the resource names.
pub fn align(ask: &Ask<'_>) -> Option<Transition> {
    let (side, s) = (ask.goal.active, ask.situation);
    let here = &ask.pool.sites[side];
    if let Some(t) = s.open(Procedure::Align, side) {
        return Some(t.clone());
    }
    let live = s.sites[side].live()?.database.as_ref()?;
    let lacks_mirror = here.mirror.is_some() && live.mirroring.is_none();
    let other_servers = s.lync.service.known().is_some_and(|service| {
        let (mut wanted, mut active) = (here.active_servers.clone(), service.active.clone());
        wanted.sort();
        active.sort();
        wanted != active
    });
    let fork = live.fork.as_ref()?;
    let lacks = lacks_mirror || other_servers || left_stopped(s, &here.active_servers);
    lacks.then(|| new_transition(ask, Route::align(side), fork))
}

/// How long after a switch was taken back the services that it had stopped are started by what sets the side right.
const STARTED_AFTERWARDS: SignedDuration = SignedDuration::from_hours(1);

/// Whether a switch that was taken back left chat services stopped on servers that are to serve: they were not to be seen then, or did not
/// start, and nothing has set that side right since. Later on a service that does not run is somebody else's doing.
fn left_stopped(s: &Situation, serve: &[String]) -> bool {
    let sets_servers = |t: &&Transition| match t.route.procedure {
        Procedure::Failover | Procedure::Switch | Procedure::Align => true,
        Procedure::Protect => false,
    };
    let newest = s.transitions().into_iter().find(sets_servers);
    let was_just_taken_back = newest.filter(|t| !t.facts.stopped_services.is_empty()).and_then(|t| t.ended);
    let is_due = |e: Ended| e.aborted && s.at.duration_since(e.at) < STARTED_AFTERWARDS;
    let rests = |host: &String| serve.contains(host) && s.lync.service_at_rest(host).is_some();
    was_just_taken_back.is_some_and(is_due) && s.stopped_services().any(rests)
}

/// What protects the side that is not the active one, if there is something to do for it, or to be asked of a human.
pub fn protect(ask: &Ask<'_>, active: Side) -> Option<Transition> {
    let (s, there) = (ask.situation, active.other());
    ask.pool.sites[there].log_shipping.as_ref()?;
    if let Some(t) = s.open(Procedure::Protect, active) {
        return Some(t.clone());
    }
    let fork = s.sites[active].live()?.database.as_ref()?.fork.clone()?;
    let t = new_transition(ask, Route::protect(there), &fork);
    let view = View::new(ask.pool, s, &t, Said { consent: None, is_uttered: true });
    let steps = [StepId::DatabaseSeeded, StepId::LogShippingEstablished];
    // What only a human can put out of the way is told as well.
    let has_to_do = |step| match steps::decide(step, &view) {
        Decision::Act(_) => true,
        Decision::Blocked(problem) => problem.reason == Reason::CentralManagementDown,
        Decision::Done(_) | Decision::Wait(_) => false,
    };
    let begins = steps.into_iter().any(has_to_do) || overwrites(&view);
    begins.then_some(t)
}

/// Whether a transition overwrites something, or would if a human agreed. What is not all to be seen is not asked about.
fn overwrites(view: &View<'_>) -> bool {
    view.target_site().unseen().is_none() && !view.accepted.terms().overwrites.is_empty()
}

/// What comes before a switch whose target holds no copy that it could go to: that is seeded first, by a human's word, while chat runs. The
/// wish waits in its record.
fn failback(ask: &Ask<'_>, active: Side) -> Option<Transition> {
    let t = protect(ask, active)?;
    let view = View::new(ask.pool, ask.situation, &t, Said { consent: None, is_uttered: true });
    let comes_first = t.has_begun_to_seed() || overwrites(&view);
    comes_first.then_some(t)
}

/// What comes before a switch that would leave a side whose mirror is being built: the cmdlet works on that very database, and is looked
/// after until it has ended.
fn attended(ask: &Ask<'_>, active: Side) -> Option<Transition> {
    ask.situation.open(Procedure::Align, active).filter(|t| t.open_job().is_some()).cloned()
}

/// The switch that a seed comes before, as it would begin once the copy stands.
pub fn after_the_seed(ask: &Ask<'_>, seed: &Transition) -> Transition {
    new_transition(ask, Route::switch(seed.route.to), &seed.fork)
}

/// What log shipping says to a transition that protects a side: whether something is to be done, or in the way.
pub(super) fn protection(pool: &Pool, s: &Situation, t: &Transition) -> Decision<Effect> {
    let view = View::new(pool, s, t, Said { consent: None, is_uttered: true });
    steps::decide(StepId::LogShippingEstablished, &view)
}
