//! What is true, what would be done with the exact statements, and what stands in the way. Read-only.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use crate::api::convert;
use crate::api::v1alpha1::PersistentChatFailoverSpec;
use crate::domain::active::{Active, active};
use crate::domain::chain;
use crate::domain::decision::Decision;
use crate::domain::pool::Pool;
use crate::domain::problem::Reason;
use crate::domain::site::Answer;
use crate::domain::situation::Situation;
use crate::domain::sql_server::Database;
use crate::domain::text::clean;
use crate::engine::observe::Observer;
use crate::engine::plan::{Goal, Next, plan};
use crate::engine::recording::Recording;
use crate::engine::{Clock as _, Pace, SystemClock, World};
use crate::procedures::stages;
use crate::steps::findings::findings;
use crate::steps::{self, Reads, View};
use crate::systems::real::RealSystems;
use crate::systems::secrets::SecretSource;
use crate::systems::settings::Settings;

/// Looks as often as the verdict on the primary needs, and says everything; with it the recording that it was decided on. `to`
/// overrides the data centre that is wanted.
pub async fn explain(
    spec: &PersistentChatFailoverSpec,
    to: Option<String>,
    settings: Settings,
    secrets: Arc<dyn SecretSource>,
) -> Result<(String, Recording), String> {
    let pool = Arc::new(
        convert::pool(spec).map_err(|p| p.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?,
    );
    let silence = settings.silence;
    let systems = RealSystems::new(pool.clone(), Arc::new(settings), secrets);
    let goal = Goal {
        desired: to.unwrap_or_else(|| spec.active_data_center.clone()),
        suspend: false,
        consent: convert::consent(spec),
    };
    let clock = SystemClock;
    let pace = Pace { silence, poll: Duration::from_millis(500) };
    let world = World { systems: &systems, pool: &pool, clock: &clock, pace };
    let mut observer = Observer::default();
    loop {
        let s = observer.look(&world, Reads::ALL, None).await;
        let p = plan(&pool, &goal, &s, None, &std::collections::BTreeMap::new(), silence);
        // One look is not enough to call a primary dead.
        let watching = match &p.next {
            Next::Wait(w) => w.reason == Reason::WaitingForSilence,
            Next::Blocked(x) => x.reason == Reason::WaitingForSilence,
            Next::Settled | Next::Act(_) | Next::Finish => false,
        };
        if watching && s.source.silent_since.is_some() {
            clock.sleep(pace.poll).await;
            continue;
        }
        let view = p.transition.as_ref().map(|t| View::new(&pool, &s, t, goal.consent.as_ref(), silence));
        let mut out = facts(&pool, &s);
        let _ = writeln!(out, "\nWHAT WOULD BE DONE");
        match (&p.next, &view) {
            (Next::Settled, _) => {
                let _ = writeln!(out, "  Nothing: {} is active, as the resource asks.", clean(&goal.desired));
            }
            (_, None) => {}
            (_, Some(view)) => procedure(&mut out, view),
        }
        let _ = writeln!(out, "\nWHAT STANDS IN THE WAY");
        let mut problems = Vec::new();
        if let Next::Blocked(problem) = &p.next {
            problems.push(problem.message());
        }
        if let Some(view) = &view {
            problems.extend(
                findings(view)
                    .into_iter()
                    .map(|f| format!("(holds up {}) {}", f.gates.as_str(), f.problem.message())),
            );
        }
        problems.dedup();
        if problems.is_empty() {
            let _ = writeln!(out, "  Nothing that can be seen from here.");
        }
        for problem in problems {
            let _ = writeln!(out, "  - {problem}");
        }
        return Ok((out, Recording::new(&pool, &goal, silence, &s, p.transition.as_ref())));
    }
}

fn facts(pool: &Pool, s: &Situation) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "WHAT IS TRUE (seen at {})", s.at);
    let active = match active(pool, s, None) {
        Active::In(name) => name,
        Active::Between => "between the two".into(),
        Active::SplitBrain(p) | Active::Unknown(p) | Active::RecoveredByOthers { problem: p, .. } => {
            format!("not certain: {}", p.what)
        }
    };
    let _ = writeln!(out, "  active: {}", clean(&active));
    for p in &s.source.partners {
        let said = match &p.answer {
            Answer::Speaks(i) => match &i.database {
                Some(d) => format!("answers; {} is {}", pool.database, d.state_text()),
                None => format!("answers; it has no {}", pool.database),
            },
            Answer::TurnsAway(x) | Answer::Silent(x) | Answer::NotAsked(x) => x.what.clone(),
        };
        let _ = writeln!(out, "  primary side {}: {}", clean(&p.server), clean(&said));
    }
    match s.target.get() {
        Ok(i) => {
            let state = i.database.as_ref().map_or("missing", Database::state_text);
            let _ = writeln!(
                out,
                "  backup store {} ({}, {}): {} is {state}",
                clean(&i.server_name),
                clean(&i.edition),
                clean(&i.version),
                pool.database
            );
        }
        Err(p) => {
            let _ = writeln!(out, "  backup store: {}", p.what);
        }
    }
    match chain::of(s, &pool.database, None) {
        Ok(c) => {
            let _ = writeln!(out, "  log backups that can be applied: {}", c.links.len());
            for l in &c.links {
                let from = if s.files.headers.get(&l.file).is_some_and(|h| h.from_copy) {
                    "copied"
                } else {
                    "in the share"
                };
                let _ = writeln!(
                    out,
                    "    {} (LSN {} to {}, {from})",
                    clean(&l.file),
                    l.set.first_lsn,
                    l.set.last_lsn
                );
            }
        }
        Err(p) => {
            let _ = writeln!(out, "  log chain: {}", p.what);
        }
    }
    for (name, why) in &s.files.ignored {
        let _ = writeln!(out, "  passed over: {name}: {why}");
    }
    match s.chat.state.get() {
        Ok(x) => {
            let _ = writeln!(out, "  pool state: {} ({})", clean(&x.state), clean(&x.identity));
        }
        Err(p) => {
            let _ = writeln!(out, "  pool state: {}", p.what);
        }
    }
    out
}

/// Every step with what it would still do, as the step itself says.
fn procedure(out: &mut String, view: &View<'_>) {
    let t = view.t;
    let _ = writeln!(out, "  transition {} from {} to {}", t.id, clean(&t.from), clean(&t.to));
    for (n, step) in stages(t.procedure).iter().flat_map(|s| s.steps()).enumerate() {
        let word = steps::decide(*step, view);
        let said = if word.is_done() { "done already" } else { step.as_str() };
        let _ = writeln!(out, "  {n}. {} ({said})", step.title());
        if word.is_done() {
            continue;
        }
        let effects = steps::ahead(*step, view);
        if let (true, Decision::Blocked(p)) = (effects.is_empty(), &word) {
            let _ = writeln!(out, "       blocked: {}", p.message());
        }
        if !effects.is_empty() && steps::is_one_way(*step) {
            let _ = writeln!(out, "       -- THE POINT OF NO RETURN");
        }
        for line in effects.iter().flat_map(|e| e.shown(view.pool)) {
            let _ = writeln!(out, "       {line}");
        }
    }
}
