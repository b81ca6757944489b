//! What is true, what would be done with the exact statements, and what stands in the way. Read-only.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use crate::api::convert;
use crate::api::v1alpha1::PersistentChatFailover;
use crate::domain::active::Active;
use crate::domain::chain;
use crate::domain::consent::Consent;
use crate::domain::decision::Decision;
use crate::domain::pool::{Pool, WhenActiveAnswers};
use crate::domain::problem::Reason;
use crate::domain::route::{Course, Procedure};
use crate::domain::side::Side;
use crate::domain::site::{Answer, Partner};
use crate::domain::situation::Situation;
use crate::domain::sql_server::Database;
use crate::domain::step::StepId;
use crate::domain::text::{clean, clean_whole};
use crate::domain::transition::Transition;
use crate::domain::wish::{LastWish, WishState};
use crate::engine::goal::Goal;
use crate::engine::observe::Observer;
use crate::engine::plan::{Next, Plan, plan};
use crate::engine::recording::Recording;
use crate::engine::start::{Ask, after_the_seed};
use crate::engine::{Clock as _, Pace, SystemClock, World};
use crate::procedures::stages;
use crate::steps::findings::findings;
use crate::steps::view::Said;
use crate::steps::{self, Effect, Reads, View};
use crate::systems::real::RealSystems;
use crate::systems::secrets::SecretSource;
use crate::systems::settings::Settings;

/// Looks as often as the verdict on the side that is left needs, and says everything; with it the recording that it was decided on.
/// `to`: as if somebody wished for that data centre now.
pub async fn explain(
    resource: &PersistentChatFailover,
    to: Option<String>,
    settings: Settings,
    secrets: Arc<dyn SecretSource>,
) -> Result<(String, Recording), String> {
    let pool = convert::pool(&resource.spec)
        .map_err(|p| p.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    let pool = Arc::new(pool);
    let silence = settings.silence;
    let systems = RealSystems::new(pool.clone(), Arc::new(settings), secrets).watching();
    let clock = SystemClock;
    let (goal, heard) = wish(resource, &pool, to, &clock)?;
    let pace = Pace { silence, poll: Duration::from_millis(500) };
    let world = World { systems: &systems, pool: &pool, clock: &clock, pace };
    let mut observer = Observer::knowing(convert::moved(&pool, resource.status.as_ref()));
    loop {
        let s = observer.look(&world, Reads::ALL, None).await;
        let p = plan(&pool, &goal, &s, None, heard.as_ref(), &BTreeMap::new());
        if is_watching(&p, &s, goal.active.other()) {
            clock.sleep(pace.poll).await;
            continue;
        }
        systems.close().await;
        let recording = Recording::new(&pool, &goal, heard.as_ref(), &s, p.transition.as_ref());
        return Ok((told(&pool, &goal, &s, &p), recording));
    }
}

/// What is wished, and what had been before.
fn wish(
    resource: &PersistentChatFailover,
    pool: &Pool,
    to: Option<String>,
    clock: &SystemClock,
) -> Result<(Goal, Option<LastWish>), String> {
    let (spec, metadata) = (&resource.spec, &resource.metadata);
    let side = |name: &str| {
        pool.side_of(name).ok_or_else(|| format!("the resource names no data centre {}", clean(name)))
    };
    let goal = Goal {
        active: side(to.as_deref().unwrap_or(&spec.active_data_center))?,
        uid: metadata.uid.clone().unwrap_or_default(),
        generation: metadata.generation.unwrap_or(0),
        uttered_at: match &to {
            Some(_) => Some(clock.now()),
            None => spec.uttered_at.as_ref().map(|t| t.0),
        },
        suspend: false,
        consent: convert::consent(spec),
    };
    Ok((goal, convert::last_wish(pool, resource.status.as_ref())))
}

/// One look is not enough to call a side dead.
fn is_watching(p: &Plan, s: &Situation, left: Side) -> bool {
    let waits = match &p.next {
        Next::Wait(w) => w.reason == Reason::WaitingForSilence,
        Next::Blocked(x) => x.reason == Reason::WaitingForSilence,
        Next::Settled | Next::Act(_) | Next::Finish => false,
    };
    waits && s.sites[left].silence.since.is_some()
}

fn told(pool: &Pool, goal: &Goal, s: &Situation, p: &Plan) -> String {
    let is_uttered = p.heard.as_ref().is_some_and(|h| match h.state {
        WishState::Accepted | WishState::Fulfilled => true,
        WishState::Planned => p.transition.as_ref().is_some_and(|t| t.route.procedure == Procedure::Switch),
        WishState::Refused | WishState::Drift => false,
    });
    let begun = p.transition.as_ref().is_some_and(Transition::has_begun);
    let said = Said { consent: goal.consent.as_ref(), is_uttered: begun || is_uttered };
    let view = p.transition.as_ref().map(|t| View::new(pool, s, t, said));
    let copy = view.as_ref().filter(|v| v.route.from != v.route.to).map(|v| v.route.to);
    let copy = copy.unwrap_or_else(|| p.active.side().unwrap_or(goal.active).other());
    let mut out = facts(pool, s, p, copy);
    let _ = writeln!(out, "\nWHAT WOULD BE DONE");
    match (&p.next, &view) {
        (Next::Settled, _) => {
            let name = clean(pool.name(goal.active));
            let _ = writeln!(out, "  Nothing: {name} is active, as the resource asks.");
        }
        (Next::Act(_) | Next::Finish | Next::Wait(_) | Next::Blocked(_), Some(view)) => {
            let yes = yes_to_a_seed(view);
            let agreed = yes
                .as_ref()
                .map(|yes| View::new(pool, s, view.transition, Said { consent: Some(yes), ..said }));
            let view = agreed.as_ref().unwrap_or(view);
            if yes.is_some() {
                let _ = writeln!(out, "  Once somebody has agreed to it:");
            }
            procedure(&mut out, view);
            if pool.policy.when_active_answers == WhenActiveAnswers::Switch {
                switch_that_follows(&mut out, view, goal);
            }
        }
        (Next::Act(_) | Next::Finish | Next::Wait(_) | Next::Blocked(_), None) => {
            let _ = writeln!(out, "  Nothing, as long as something stands in the way.");
        }
    }
    let _ = writeln!(out, "\nWHAT STANDS IN THE WAY");
    let problems = problems(p, view.as_ref());
    if problems.is_empty() {
        let _ = writeln!(out, "  Nothing that can be seen from here.");
    }
    for problem in problems {
        let _ = writeln!(out, "  - {}", clean_whole(&problem));
    }
    out
}

fn problems(p: &Plan, view: Option<&View<'_>>) -> Vec<String> {
    let mut problems = Vec::new();
    if let Next::Blocked(problem) = &p.next {
        problems.push(problem.message());
    }
    let found = view.map(findings).unwrap_or_default();
    problems.extend(
        found.into_iter().map(|f| format!("(holds up {}) {}", f.gates.as_str(), f.problem.message())),
    );
    problems.dedup();
    problems
}

fn facts(pool: &Pool, s: &Situation, p: &Plan, copy: Side) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "WHAT IS TRUE (seen at {})", s.at);
    let active = match &p.active {
        Active::In(side) => pool.name(*side).to_string(),
        Active::Between => "between the two".into(),
        Active::SplitBrain(p)
        | Active::Unknown(p)
        | Active::LiveAcross { problem: p, .. }
        | Active::RecoveredByOthers { problem: p, .. } => {
            format!("not certain: {}", p.what)
        }
    };
    let _ = writeln!(out, "  active: {}", clean(&active));
    for side in Side::BOTH {
        for (_, partner) in s.sites[side].partners() {
            let said = clean(&server(pool, partner));
            let _ = writeln!(out, "  {} {}: {said}", clean(pool.name(side)), clean(&partner.server));
        }
    }
    log_backups(&mut out, pool, s, copy);
    match s.lync.state.get() {
        Ok(x) => {
            let _ = writeln!(out, "  pool state: {} ({})", clean(&x.state), clean(&x.identity));
        }
        Err(p) => {
            let _ = writeln!(out, "  pool state: {}", clean_whole(&p.what));
        }
    }
    out
}

fn server(pool: &Pool, partner: &Partner) -> String {
    match &partner.answer {
        Answer::Speaks(i) => {
            let state = i.database.as_ref().map_or("missing", Database::state_text);
            format!("answers ({}, {}); {} is {state}", i.edition, i.version, pool.database)
        }
        Answer::TurnsAway(x) | Answer::Silent(x) | Answer::NotAsked(x) => x.what.clone(),
    }
}

/// The log backups for a side's copy.
fn log_backups(out: &mut String, pool: &Pool, s: &Situation, copy: Side) {
    let name = clean(pool.name(copy));
    match chain::of(s, copy, &pool.database, None) {
        Ok(c) => {
            let _ = writeln!(out, "  log backups that can be applied in {name}: {}", c.links.len());
            for l in &c.links {
                let header = s.folders[copy].as_ref().and_then(|f| f.headers.get(&l.file));
                let place = if header.is_some_and(|h| h.from_copy) { "copied" } else { "in the share" };
                let (first, last) = (l.set.first_lsn, l.set.last_lsn);
                let files: Vec<String> = l.files().map(clean).collect();
                let note = match (l.set.tail, l.set.incomplete) {
                    (true, _) => ", the tail of a database that nobody could write to any more",
                    (false, true) => ", the tail of a database that could not be opened",
                    (false, false) => "",
                };
                let _ = writeln!(out, "    {} (LSN {first} to {last}, {place}{note})", files.join(" + "));
            }
        }
        Err(p) => {
            let _ = writeln!(out, "  log chain of {name}: {}", clean_whole(&p.what));
        }
    }
    for (file, why) in s.folders[copy].iter().flat_map(|f| &f.ignored) {
        let _ = writeln!(out, "  passed over: {}: {}", clean(file), clean_whole(why));
    }
}

/// Every step with what it would still do, as the step itself says.
fn procedure(out: &mut String, view: &View<'_>) {
    let (route, id) = (view.route, &view.transition.id);
    let (from, to) = (clean(&view.from().name), clean(&view.to().name));
    let _ = writeln!(out, "  {}: transition {id} from {from} to {to}", route.procedure.as_str());
    if route.course == Course::Back {
        let _ = writeln!(out, "  It is undone: its wish was taken back before the point of no return.");
    }
    for (n, step) in stages(route).iter().flat_map(|s| s.steps()).enumerate() {
        let word = steps::decide(*step, view);
        let said = if word.is_done() { "done already" } else { step.as_str() };
        let _ = writeln!(out, "  {n}. {} ({said})", step.title());
        if word.is_done() {
            continue;
        }
        let effects = steps::ahead(*step, view);
        if let (true, Decision::Blocked(p)) = (effects.is_empty(), &word) {
            let _ = writeln!(out, "       blocked: {}", clean_whole(&p.message()));
        }
        if !effects.is_empty() && steps::is_one_way(*step) {
            let _ = writeln!(out, "       -- THE POINT OF NO RETURN");
        }
        show(out, &effects, view);
    }
}

fn show(out: &mut String, effects: &[Effect], view: &View<'_>) {
    for line in effects.iter().flat_map(|e| e.shown(view.pool, view.route)) {
        let _ = writeln!(out, "       {line}");
    }
}

/// The yes that a seed waits for: whoever is to give it must see all that would be done by it.
fn yes_to_a_seed(view: &View<'_>) -> Option<Consent> {
    let terms = view.accepted.terms();
    let asks = !terms.overwrites.is_empty() && view.accepted.accepted().is_none();
    let by = String::new();
    asks.then(|| Consent { transition: view.transition.id.clone(), situation: terms.digest(), by })
}

/// Where a seed comes first because chat is to go back there: the switch that then goes on by itself.
fn switch_that_follows(out: &mut String, seed: &View<'_>, goal: &Goal) {
    let (pool, s, to) = (seed.pool, seed.situation, seed.route.to);
    if seed.route.procedure != Procedure::Protect || goal.active != to {
        return;
    }
    let t = after_the_seed(&Ask::new(pool, goal, s, None), seed.transition);
    let view = View::new(pool, s, &t, Said { consent: None, is_uttered: true });
    let (from, to) = (clean(&view.from().name), clean(&view.to().name));
    let _ = writeln!(out, "  Then, without another question, chat is switched from {from} to {to}:");
    for (n, step) in stages(view.route).iter().flat_map(|s| s.steps()).enumerate() {
        let _ = writeln!(out, "  {n}. {} ({})", step.title(), step.as_str());
        if steps::is_one_way(*step) {
            let _ = writeln!(out, "       -- THE POINT OF NO RETURN");
        }
        match is_known(*step) {
            Known::Now => show(out, &steps::ahead(*step, &view), &view),
            Known::WithTheCopy => {
                let _ = writeln!(out, "       what exactly is known once the copy is there");
            }
            Known::NothingIsDone => {}
        }
    }
}

/// When it is known what a step of a switch does whose target has no copy yet.
enum Known {
    Now,
    WithTheCopy,
    NothingIsDone,
}

fn is_known(step: StepId) -> Known {
    match step {
        StepId::ChatDrained | StepId::TailTaken | StepId::PoolStateSet | StepId::ActiveServersSet => {
            Known::Now
        }
        StepId::LogShippingRemoved
        | StepId::BackupsCopied
        | StepId::LogBackupsApplied
        | StepId::DatabaseOnline
        | StepId::MirrorEstablished
        | StepId::SourceOnline
        | StepId::OldSideFenced
        | StepId::DatabaseSeeded
        | StepId::LogShippingEstablished => Known::WithTheCopy,
        StepId::PreflightPassed | StepId::ChatServing => Known::NothingIsDone,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    /// The old database is open again where chat was, and overwriting it is asked for.
    fn recorded() -> Recording {
        let text = include_str!("../../tests/recordings/decisions/an-old-database-is-back.json");
        Recording::read(text).unwrap()
    }

    fn told(r: &Recording) -> String {
        super::told(&r.pool, &r.goal, &r.situation, &r.decide())
    }

    /// That a text holds these parts, one behind the other.
    fn assert_in_order(text: &str, parts: &[&str]) {
        let mut rest = text;
        for part in parts {
            let at = rest.find(part).unwrap_or_else(|| panic!("no {part} in its place: {text}"));
            rest = &rest[at + part.len()..];
        }
    }

    #[test]
    fn whoever_is_to_agree_to_a_seed_sees_all_of_it() {
        let text = told(&recorded());
        assert_in_order(
            &text,
            &[
                "WHAT WOULD BE DONE",
                "agreed",
                "(OldSideFenced)",
                "SET PARTNER OFF",
                "sp_update_job",
                "BACKUP DATABASE [mgc]",
                "_saved_",
                "tblChat",
                "_tail_",
                "(DatabaseSeeded)",
                "sp_start_job",
                "BACKUP DATABASE [mgc]",
                "_seed_",
                "RESTORE DATABASE [mgc] FROM DISK",
                "MOVE",
                "sp_delete_job",
                "PCF_save_",
                "PCF_restore_",
                "PCF_backup_",
                "(LogShippingEstablished)",
                "sp_add_log_shipping_secondary_database",
                "sp_add_log_shipping_primary_secondary",
                "sp_start_job",
                "WHAT STANDS IN THE WAY",
                "A human must agree",
            ],
        );
        assert!(!text.contains("chat is switched"), "nobody has asked for a switch: {text}");
    }

    #[test]
    fn a_seed_that_comes_before_a_switch_shows_that_as_well() {
        let mut r = recorded();
        r.goal.active = r.goal.active.other();
        r.goal.generation += 1;
        r.pool.policy.when_active_answers = WhenActiveAnswers::Switch;
        assert_in_order(
            &told(&r),
            &[
                "(LogShippingEstablished)",
                "sp_start_job",
                "chat is switched from seattle to atlanta",
                "(ChatDrained)",
                "-ActiveServers $null",
                "(TailTaken)",
                "SET PARTNER OFF",
                "_tail_",
                "THE POINT OF NO RETURN",
                "-PoolState 'Normal'",
                "atl-cs-1.litwareinc.com",
                "WHAT STANDS IN THE WAY",
            ],
        );
        // Nothing of it follows where chat would not be switched.
        r.pool.policy.when_active_answers = WhenActiveAnswers::Refuse;
        assert!(!told(&r).contains("chat is switched"));
    }

    #[test]
    fn what_does_not_stand_there_is_neither_saved_nor_closed() {
        let mut r = recorded();
        let there = &mut r.situation.sites[Side::Primary];
        for partner in std::iter::once(&mut there.store).chain(&mut there.mirror) {
            if let Answer::Speaks(i) = &mut partner.answer {
                i.database = None;
            }
        }
        let text = told(&r);
        for part in ["_saved_", "SET PARTNER OFF", "tblChat", "REPLACE, CHECKSUM"] {
            assert!(!text.contains(part), "{part}: {text}");
        }
    }
}
