//! `pcf-mutants`: defects planted on purpose, each of which the simulation must find.
//!
//! A mutant is one replacement in a copy of the sources. If its text is not found exactly once, the sources have moved on and
//! the mutant must follow: that is an error, not a skip.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use clap::Parser;

/// Plants defects in a copy of the sources and runs the simulation on each.
#[derive(Parser)]
struct Arguments {
    /// Only mutants whose name holds this.
    #[arg(long, default_value = "")]
    only: String,
    /// Only a few that are found at once: whether the simulation can find anything at all.
    #[arg(long)]
    short: bool,
    /// Most seeds that are tried on a mutant.
    #[arg(long, default_value_t = 250)]
    seeds: u64,
    /// The workspace.
    #[arg(long, default_value = ".")]
    workspace: PathBuf,
}

struct Mutant {
    name: &'static str,
    file: &'static str,
    find: &'static str,
    replace: &'static str,
}

const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "the verdict on the primary is not asked for",
        file: "src/steps/s0_preflight.rs",
        find: "Verdict::Alive(p) => return Decision::Blocked(p.clone()),",
        replace: "Verdict::Alive(_) => {}",
    },
    Mutant {
        name: "order swapped: recovery before the logs",
        file: "src/procedures.rs",
        find: "    Stage::Overlap(&[StepId::BackupsCopied, StepId::LogBackupsApplied]),\n    Stage::One(StepId::DatabaseOnline),",
        replace: "    Stage::One(StepId::DatabaseOnline),\n    Stage::Overlap(&[StepId::BackupsCopied, StepId::LogBackupsApplied]),",
    },
    Mutant {
        name: "order swapped: mirror before the pool's state",
        file: "src/procedures.rs",
        find: "    Stage::One(StepId::PoolStateSet),\n    Stage::Overlap(&[StepId::MirrorEstablished, StepId::ActiveServersSet]),",
        replace: "    Stage::One(StepId::MirrorEstablished),\n    Stage::One(StepId::PoolStateSet),\n    Stage::One(StepId::ActiveServersSet),",
    },
    Mutant {
        name: "log shipping is left in place",
        file: "src/steps/s1_remove_log_shipping.rs",
        find: "let Some(shipping) = shipping else {",
        replace: "let Some(shipping) = shipping.as_ref().filter(|_| false) else {",
    },
    Mutant {
        name: "suspend is not obeyed",
        file: "src/engine/plan.rs",
        find: "if goal.suspend {",
        replace: "if goal.suspend && false {",
    },
    Mutant {
        name: "a changed wish is not obeyed",
        file: "src/engine/plan.rs",
        find: "Some(t) if t.to == goal.desired => match &active {",
        replace: "Some(t) if t.to == goal.desired || !goal.desired.is_empty() => match &active {",
    },
    Mutant {
        name: "consent is not asked for",
        file: "src/domain/consent.rs",
        find: "    pub fn require(&self) -> Result<(), Problem> {",
        replace: "    pub fn require(&self) -> Result<(), Problem> {\n        if self.given.is_none() {\n            return Ok(());\n        }",
    },
    Mutant {
        name: "the chain is followed without its beginning",
        file: "src/domain/chain.rs",
        find: "l.set.first_lsn <= at.lsn && at.lsn < l.set.last_lsn",
        replace: "at.lsn < l.set.last_lsn",
    },
    Mutant {
        name: "intent after the effect",
        file: "src/steps/s4_recover_database.rs",
        find: "        if let Effect::Recover(redo, loss, seen) = e {",
        replace: "        if matches!(e, Effect::Recover(..)) {\n            let sent = p.sql(&statement(e, p.pool())).await;\n            if sent != Outcome::Answered {\n                return sent;\n            }\n        }\n        if let Effect::Recover(redo, loss, seen) = e {",
    },
    Mutant {
        name: "the ids of a detached cmdlet are not recorded first",
        file: "src/engine/permit.rs",
        find: "        match self.intend(move |t| t.mirror_jobs.push(recorded)).await {",
        replace: "        self.update(move |t| t.mirror_jobs.push(recorded));\n        match Outcome::Answered {",
    },
    Mutant {
        name: "a detached cmdlet that runs is started again",
        file: "src/steps/s6_establish_mirror.rs",
        find: "                Ok(JobState::Running) => {\n                    return Decision::Wait",
        replace: "                Ok(JobState::Running) if age > SignedDuration::from_secs(1) => {\n                    return Decision::Act(Effect::Close(vec![\"given up\".into()]));\n                }\n                Ok(JobState::Running) => {\n                    return Decision::Wait",
    },
    Mutant {
        name: "what one process remembers wins over the record",
        file: "src/engine/run.rs",
        find: "None => current.map(|t|",
        replace: "None if true => current,\n            None => current.map(|t|",
    },
    Mutant {
        name: "an adoption is not recorded",
        file: "src/engine/run.rs",
        find: "if t.adopted_fork.is_some() && leave.written().and_then(|w| w.adopted_fork) != t.adopted_fork {",
        replace: "if t.adopted_fork.is_some() && false {",
    },
    Mutant {
        name: "an intent counts as a recovery",
        file: "src/domain/transition.rs",
        find: "(self.recovery.is_some() && !restoring)",
        replace: "(self.recovery.is_some() || restoring && false)",
    },
    Mutant {
        name: "nothing is looked at again at the last moment",
        file: "src/steps/s4_recover_database.rs",
        find: "if let Err(problem) = p.still_so(seen).await {",
        replace: "if let Err(problem) = p.still_so(seen).await.or(Ok::<(), crate::domain::problem::Problem>(())) {",
    },
];

/// Mutants that a short run tries.
const SHORT: &[&str] = &["log shipping is left in place", "order swapped: mirror before the pool's state"];

fn main() -> ExitCode {
    let a = Arguments::parse();
    match all(&a) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("pcf-mutants: {e}");
            ExitCode::FAILURE
        }
    }
}

fn all(a: &Arguments) -> Result<bool, String> {
    let text = |e: std::io::Error| e.to_string();
    let root = a.workspace.canonicalize().map_err(text)?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let (copy, build) = (target.join("mutants/workspace"), target.join("mutants/target"));
    let files = Command::new("git").args(["ls-files", "-z"]).current_dir(&root).output().map_err(text)?;
    for name in String::from_utf8_lossy(&files.stdout).split('\0').filter(|n| !n.is_empty()) {
        let to = copy.join(name);
        if let Some(folder) = to.parent() {
            std::fs::create_dir_all(folder).map_err(text)?;
        }
        let content = std::fs::read(root.join(name)).map_err(text)?;
        // A file that has not changed keeps its time: what is built from it is not built again.
        if std::fs::read(&to).ok().as_ref() != Some(&content) {
            std::fs::write(&to, content).map_err(text)?;
        }
    }
    let (mut caught, mut tried) = (0, 0);
    let chosen = |m: &&Mutant| m.name.contains(&a.only) && (!a.short || SHORT.contains(&m.name));
    for m in MUTANTS.iter().filter(chosen) {
        tried += 1;
        let began = Instant::now();
        let path = copy.join(m.file);
        let original = std::fs::read_to_string(&path).map_err(text)?;
        if original.matches(m.find).count() != 1 {
            return Err(format!("{}: its text is not exactly once in {}", m.name, m.file));
        }
        std::fs::write(&path, original.replace(m.find, m.replace)).map_err(text)?;
        let result = one(&copy, &build, a.seeds);
        std::fs::write(&path, original).map_err(text)?;
        let seconds = began.elapsed().as_secs();
        match result? {
            Some(what) => {
                caught += 1;
                println!("caught    {:55} {what} ({seconds} s)", m.name);
            }
            None => println!("SURVIVED  {:55} {} seeds ({seconds} s)", m.name, a.seeds),
        }
    }
    println!("{caught} of {tried} mutants caught");
    Ok(caught == tried && tried > 0)
}

/// What the simulation finds, if it finds something.
fn one(copy: &Path, build: &Path, seeds: u64) -> Result<Option<String>, String> {
    let cargo = Command::new("cargo")
        .args(["build", "--quiet", "--locked", "-p", "simulation", "--bin", "pcf-soak"])
        .current_dir(copy)
        .env("CARGO_TARGET_DIR", build)
        .output()
        .map_err(|e| e.to_string())?;
    if !cargo.status.success() {
        return Err(format!("a mutant does not compile:\n{}", String::from_utf8_lossy(&cargo.stderr)));
    }
    let out = Command::new(build.join("debug/pcf-soak"))
        .args(["--until-failure", "--seeds", &seeds.to_string()])
        .output()
        .map_err(|e| e.to_string())?;
    let said = String::from_utf8_lossy(&out.stdout);
    let violation = said.lines().find(|l| l.starts_with("VIOLATION"));
    let runs = said.lines().next().and_then(|l| l.split(' ').next()).unwrap_or("?").to_string();
    Ok(violation.map(|v| {
        let promise: String = v.split_once("): ").map_or(v, |(_, p)| p).chars().take(90).collect();
        format!("after {runs} seeds: {promise}")
    }))
}
