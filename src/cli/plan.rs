//! What is true, what would be done with the exact statements, and what stands in the way. Read-only.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use crate::api::convert;
use crate::api::v1alpha1::PersistentChatFailoverSpec;
use crate::domain::activity::Active;
use crate::domain::chain;
use crate::domain::decision::Decision;
use crate::domain::pool::Pool;
use crate::domain::problem::Reason;
use crate::domain::situation::{Answer, Situation};
use crate::domain::step::StepId;
use crate::domain::text::clean;
use crate::domain::transition::Transition;
use crate::engine::observe::Eyes;
use crate::engine::plan::{Goal, Next, plan};
use crate::engine::recording::Recording;
use crate::engine::{Clock as _, SystemClock};
use crate::steps::{Effect, Reads, View, s0_preflight};
use crate::systems::management_shell::cmdlets;
use crate::systems::real::{RealSystems, SecretSource, Settings};
use crate::systems::sql_server::statements;

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
    let mut eyes = Eyes::default();
    loop {
        let s = eyes.look(&systems, &pool, &clock, Reads::ALL, true, None).await;
        let p = plan(&pool, &goal, &s, None, &std::collections::BTreeMap::new(), silence);
        // One look is not enough to call a primary dead.
        let watching = match &p.next {
            Next::Wait(w) => w.reason == Reason::WaitingForSilence,
            Next::Blocked(x) => x.reason == Reason::WaitingForSilence,
            Next::Settled | Next::Act(_) | Next::Finish => false,
        };
        if watching && s.source.silent_since.is_some() {
            clock.sleep(Duration::from_millis(500)).await;
            continue;
        }
        let mut out = facts(&pool, &s);
        let _ = writeln!(out, "\nWHAT WOULD BE DONE");
        match (&p.next, &p.transition) {
            (Next::Settled, _) => {
                let _ = writeln!(out, "  Nothing: {} is active, as the resource asks.", clean(&goal.desired));
            }
            (_, None) => {}
            (_, Some(t)) => procedure(&mut out, &pool, &s, t, &goal, silence),
        }
        let _ = writeln!(out, "\nWHAT STANDS IN THE WAY");
        let mut problems = Vec::new();
        if let Next::Blocked(problem) = &p.next {
            problems.push(problem.message());
        }
        if let Some(t) = &p.transition {
            let view = View::new(&pool, &s, t, goal.consent.as_ref(), silence);
            problems.extend(
                s0_preflight::findings(&view)
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
    let active = match crate::domain::activity::active(pool, s, None) {
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
            let state = i.database.as_ref().map_or("missing", crate::domain::situation::Database::state_text);
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

/// Every step with its statements. What cannot be known before (redo points after each file) is said in words.
fn procedure(
    out: &mut String,
    pool: &Pool,
    s: &Situation,
    t: &Transition,
    goal: &Goal,
    silence: jiff::SignedDuration,
) {
    let view = View::new(pool, s, t, goal.consent.as_ref(), silence);
    let chain = view.chain.clone().unwrap_or_default();
    let _ = writeln!(out, "  transition {} from {} to {}", t.id, clean(&t.from), clean(&t.to));
    for (n, step) in StepId::ALL.iter().enumerate() {
        let word = crate::steps::decide(*step, &view);
        let _ = writeln!(
            out,
            "  {n}. {} ({})",
            step.title(),
            if word.is_done() { "done already" } else { step.as_str() }
        );
        if word.is_done() {
            continue;
        }
        let lines: Vec<String> = match step {
            StepId::PreflightPassed | StepId::ChatServing => vec![],
            StepId::LogShippingRemoved => {
                use crate::steps::s1_remove_log_shipping::Effect as E;
                let jobs = s.target.known().and_then(|i| i.jobs.known()).cloned().unwrap_or_default();
                let disable = jobs.into_iter().filter(|j| j.enabled).map(|j| E::DisableJob(j.id));
                disable
                    .chain([E::Remove { ignore_monitor: false }])
                    .flat_map(|e| Effect::LogShippingRemoved(e).shown(pool))
                    .collect()
            }
            StepId::BackupsCopied => {
                let share = s.files.share.known().cloned().unwrap_or_default();
                let missing =
                    chain.links.iter().filter(|l| !s.files.headers.get(&l.file).is_some_and(|h| h.from_copy));
                missing
                    .filter_map(|l| share.iter().find(|f| f.name == l.file))
                    .flat_map(|f| {
                        Effect::BackupsCopied(crate::steps::s2_copy_backups::Effect::Copy(f.clone()))
                            .shown(pool)
                    })
                    .collect()
            }
            StepId::LogBackupsApplied => {
                let mut redo =
                    s.target.known().and_then(|i| i.database.as_ref()).and_then(|d| d.redo.clone());
                let mut lines = Vec::new();
                for l in &chain.links {
                    if let Some(at) = redo.clone() {
                        let e = crate::steps::s3_apply_log_backups::Effect::Apply(l.clone(), at);
                        lines.extend(Effect::LogBackupsApplied(e).shown(pool));
                    }
                    redo = Some(crate::domain::situation::RedoPoint {
                        lsn: l.set.last_lsn,
                        fork: l.set.last_fork.clone(),
                    });
                }
                lines
            }
            StepId::DatabaseOnline => match &chain.end {
                Some(end) => {
                    let loss = Box::new(crate::domain::loss::expected(s, t, &chain));
                    let mut lines = vec!["-- THE POINT OF NO RETURN".to_string()];
                    lines.extend(
                        Effect::DatabaseOnline(crate::steps::s4_recover_database::Effect::Recover(
                            end.clone(),
                            loss,
                            Box::default(),
                        ))
                        .shown(pool),
                    );
                    lines
                }
                None => vec![format!("{} -- at the redo point of then", statements::recover())],
            },
            StepId::PoolStateSet => {
                let identity = s.chat.state.known().map_or("<identity read back>", |x| x.identity.as_str());
                vec![cmdlets::set_state(identity, "FailedOver").shown()]
            }
            StepId::MirrorEstablished => {
                use crate::steps::s6_establish_mirror::Effect as E;
                let existing =
                    s.target_mirror.as_ref().and_then(|r| r.known()).is_some_and(|i| i.database.is_some());
                Effect::MirrorEstablished(E::Install { drop_existing: existing }).shown(pool)
            }
            StepId::ActiveServersSet => {
                let identity = s.chat.service.known().map_or("<identity read back>", |x| x.identity.as_str());
                vec![cmdlets::set_active_servers(identity, &pool.backup.active_servers).shown()]
            }
        };
        if let (true, Decision::Blocked(p)) = (lines.is_empty(), &word) {
            let _ = writeln!(out, "       blocked: {}", p.message());
        }
        for l in lines {
            let _ = writeln!(out, "       {l}");
        }
    }
}
