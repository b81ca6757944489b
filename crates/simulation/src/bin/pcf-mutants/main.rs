//! `pcf-mutants`: defects planted on purpose, each of which the simulation must find, or a test that is named with it.
//!
//! A mutant is a replacement (or several, where one guard stands behind another) in a copy of the sources. If its text is not found exactly once, the sources have moved on and
//! the mutant must follow: that is an error, not a skip.

mod generated;
mod lent;
mod oracle;
mod promises;
mod readings;
mod returning;
mod switching;
mod weeks;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use clap::Parser;
use oracle::{Oracle, one};

/// Plants defects in a copy of the sources and runs the simulation, or a test, on each.
#[derive(Parser)]
struct Arguments {
    /// Only mutants whose name holds this.
    #[arg(long, default_value = "")]
    only: String,
    /// Only a few that are found at once: whether the simulation can find anything at all.
    #[arg(long)]
    short: bool,
    /// Only looks whether each mutant still fits the sources; nothing is built.
    #[arg(long)]
    fits: bool,
    /// Most seeds that are tried on a mutant.
    #[arg(long, default_value_t = 250)]
    seeds: u64,
    /// Not those that were planted by hand, but those of this list (`cargo mutants --list --json`), all in one build.
    #[arg(long)]
    generated: Option<PathBuf>,
    /// Of those only every so many-th.
    #[arg(long, default_value_t = 1)]
    every: usize,
    /// Beginning with this one, from 0.
    #[arg(long, default_value_t = 0)]
    shift: usize,
    /// The workspace.
    #[arg(long, default_value = ".")]
    workspace: PathBuf,
}

struct Mutant {
    name: &'static str,
    /// File, text, and what takes its place. Several where one guard stands behind another.
    edits: &'static [(&'static str, &'static str, &'static str)],
}

const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "the verdict on the side that is left is not asked for",
        edits: &[(
            "src/steps/preflight.rs",
            "Verdict::Alive(p) => Some(Decision::Blocked(p.clone())),",
            "Verdict::Alive(_) => None,",
        )],
    },
    Mutant {
        name: "an answer is believed without the row that it ends in",
        edits: &[(
            "src/systems/sql_server/mod.rs",
            "            (None, None) => {\n",
            "            (None, None) if proof == Proof::Ending => {}\n            (None, None) => {\n",
        )],
    },
    Mutant {
        name: "a look is believed without the row that it ends in",
        edits: &[
            (
                "src/systems/sql_server/mod.rs",
                "        match (self.error, self.sets.pop()",
                "        let all = self.sets.clone();\n        match (self.error, self.sets.pop()",
            ),
            (
                "src/systems/sql_server/mod.rs",
                "            (None, None) => {\n",
                "            (None, None) if proof == Proof::ResultSet => self.sets = all,\n            (None, None) => {\n",
            ),
        ],
    },
    Mutant {
        name: "of two errors the first decides alone",
        edits: &[(
            "src/systems/sql_server/errors.rs",
            "        Some(last) if wraps(e.number) => of_number(last, e),\n        Some(last) => [first, of_number(last, e)].into_iter().max_by_key(|c| weight(*c)).unwrap_or(first),",
            "        Some(_) => [first].into_iter().max_by_key(|c| weight(*c)).unwrap_or(first),",
        )],
    },
    Mutant {
        name: "of two errors the first is told alone",
        edits: &[(
            "src/systems/sql_server/errors.rs",
            "e.last.map(|last| format!(\", and then error {last}\"))",
            "e.last.filter(|_| false).map(|last| format!(\", and then error {last}\"))",
        )],
    },
    Mutant {
        name: "order swapped: recovery before the logs",
        edits: &[(
            "src/procedures.rs",
            "        Stage::Overlap(&[StepId::BackupsCopied, StepId::LogBackupsApplied]),\n        Stage::One(StepId::DatabaseOnline),",
            "        Stage::One(StepId::DatabaseOnline),\n        Stage::Overlap(&[StepId::BackupsCopied, StepId::LogBackupsApplied]),",
        )],
    },
    Mutant {
        name: "order swapped: mirror before the pool's state",
        edits: &[(
            "src/procedures.rs",
            "        Stage::Overlap(&[StepId::BackupsCopied, StepId::LogBackupsApplied]),\n        Stage::One(StepId::DatabaseOnline),\n        Stage::One(StepId::PoolStateSet),\n        Stage::Overlap(&[StepId::MirrorEstablished, StepId::ActiveServersSet]),",
            "        Stage::Overlap(&[StepId::BackupsCopied, StepId::LogBackupsApplied]),\n        Stage::One(StepId::DatabaseOnline),\n        Stage::One(StepId::MirrorEstablished),\n        Stage::One(StepId::PoolStateSet),\n        Stage::One(StepId::ActiveServersSet),",
        )],
    },
    Mutant {
        name: "log shipping is left in place",
        edits: &[(
            "src/steps/remove_log_shipping.rs",
            "let Some(shipping) = shipping else {",
            "let Some(shipping) = shipping.as_ref().filter(|_| false) else {",
        )],
    },
    Mutant {
        name: "something is begun without the lease",
        edits: &[
            (
                "src/engine/drive.rs",
                "if !wishes.leads() && !memory.has_something_in_hand() {",
                "if false && !memory.has_something_in_hand() {",
            ),
            (
                "src/engine/drive.rs",
                "if !wishes.leads() && !memory.has_in_hand(&plan, &situation) {",
                "if false && !memory.has_in_hand(&plan, &situation) {",
            ),
            ("src/engine/drive.rs", "if leads || t.is_recorded() {", "if true || leads || t.is_recorded() {"),
        ],
    },
    Mutant {
        name: "a failover is taken back though nobody has asked for that",
        edits: &[(
            "src/engine/start.rs",
            "        if !ask.is_uttered() {\n",
            "        if !ask.is_uttered() && false {\n",
        )],
    },
    Mutant {
        name: "a spent wish is revived by another's failover",
        edits: &[(
            "src/engine/start.rs",
            "(true, false) => ask.becomes(ask.unuttered()),",
            "(true, false) => ask.becomes(WishState::Accepted),",
        )],
    },
    Mutant {
        name: "suspend is not obeyed",
        edits: &[
            ("src/engine/plan.rs", "if ask.goal.suspend {", "if ask.goal.suspend && false {"),
            (
                "src/engine/drive.rs",
                "} else if wish.goal.suspend {",
                "} else if wish.goal.suspend && false {",
            ),
        ],
    },
    Mutant {
        name: "a changed wish is not obeyed",
        edits: &[
            (
                "src/engine/start.rs",
                "    if ask.goal.active != to {\n        // Whether",
                "    if ask.goal.active != to && false {\n        // Whether",
            ),
            (
                "src/engine/drive.rs",
                "} else if !past && !is_asked_for(&wish.goal, pool, t) {",
                "} else if !past && !is_asked_for(&wish.goal, pool, t) && false {",
            ),
        ],
    },
    Mutant {
        name: "consent is not asked for",
        edits: &[(
            "src/domain/acceptance.rs",
            "    pub fn require(&self) -> Result<(), Problem> {",
            "    pub fn require(&self) -> Result<(), Problem> {\n        if self.given.is_none() {\n            return Ok(());\n        }",
        )],
    },
    Mutant {
        name: "the chain is followed without its beginning",
        edits: &[(
            "src/domain/chain.rs",
            "l.set.first_lsn <= at.lsn && at.lsn < l.set.last_lsn",
            "at.lsn < l.set.last_lsn",
        )],
    },
    Mutant {
        name: "intent after the effect",
        edits: &[(
            "src/steps/recover_database.rs",
            "        if let Effect::Recover { redo, restored, loss, premises } = e {",
            "        if matches!(e, Effect::Recover { .. }) {\n            let sent = p.sql(p.target(), &statement(e, p.pool())).await;\n            if sent != Outcome::Answered {\n                return sent;\n            }\n        }\n        if let Effect::Recover { redo, restored, loss, premises } = e {",
        )],
    },
    Mutant {
        name: "the ids of a detached cmdlet are not recorded first",
        edits: &[(
            "src/permit.rs",
            "        match self.intend(move |t| t.facts.mirror_jobs.push(recorded)).await {",
            "        self.update(move |t| t.facts.mirror_jobs.push(recorded));\n        match Outcome::Answered {",
        )],
    },
    Mutant {
        name: "a detached cmdlet that runs is started again, and without the pause that follows one in vain",
        edits: &[
            (
                "src/steps/establish_mirror.rs",
                "        Ok(JobState::Running) => waiting(",
                "        Ok(JobState::Running) if age > SignedDuration::from_secs(1) => {\n            Decision::Act(Effect::Close(Diagnostics::default()))\n        }\n        Ok(JobState::Running) => waiting(",
            ),
            (
                "src/steps/establish_mirror.rs",
                "SignedDuration::from_secs((PAUSE << doubled).min(LONGEST));",
                "SignedDuration::from_secs((PAUSE << doubled).min(LONGEST)) * 0;",
            ),
        ],
    },
    Mutant {
        name: "a port that accepts and stays silent is taken for dead",
        edits: &[(
            "src/systems/management_shell/reached.rs",
            "        (Ok(false), Ok(DatabaseTest::NotConnected(_) | DatabaseTest::NotConfirmed(_)) | Err(_)) => Ok(false),",
            "        (Ok(_), Ok(DatabaseTest::NotConnected(_) | DatabaseTest::NotConfirmed(_)) | Err(_)) => Ok(false),",
        )],
    },
    Mutant {
        name: "lock dropped: two operators write beside each other",
        edits: &[
            (
                "src/systems/sql_server/statements.rs",
                "\"IF APPLOCK_MODE(N'public', {lock}, N'Session') <> N'Exclusive' \\\n",
                "\"IF APPLOCK_MODE(N'public', {lock}, N'Session') = N'Shared' \\\n",
            ),
            (
                "src/permit.rs",
                "if let Some(Cell::Int(0 | 1)) = rows.rows.first()",
                "if let Some(_) = rows.rows.first()",
            ),
            (
                "src/permit.rs",
                "Ok(Some(Cell::Text(mode))) if mode == \"Exclusive\" => Ok(()),",
                "Ok(Some(Cell::Text(_))) => Ok(()),",
            ),
        ],
    },
    Mutant {
        name: "consent not compared with what is there now",
        edits: &[(
            "src/domain/acceptance.rs",
            "(None, Some(c)) if c.transition == t.id && terms.is_meant_by(&c.situation) => {",
            "(None, Some(c)) if c.transition == t.id => {",
        )],
    },
    Mutant {
        name: "name instead of LSN: every name says how old a file is",
        edits: &[(
            "src/domain/links.rs",
            "    rest.and_then(|r| r.strip_suffix(\".trn\"))\n        .is_some_and(",
            "    rest.is_none() || rest.and_then(|r| r.strip_suffix(\".trn\"))\n        .is_some_and(",
        )],
    },
    Mutant {
        name: "error swallowed: a backup that cannot be restored is passed over",
        edits: &[(
            "src/domain/chain.rs",
            "chain.stuck.extend(ahead.map(|(link, why)| stuck(&link.file, why.clone())));",
            "drop(ahead.map(|(link, why)| stuck(&link.file, why.clone())));",
        )],
    },
    Mutant {
        name: "a first sight is taken for an edit",
        edits: &[("src/domain/wish.rs", "            None => fresh.is_some(),", "            None => true,")],
    },
    Mutant {
        name: "a wish that was spent counts again",
        edits: &[(
            "src/domain/wish.rs",
            "WishState::Planned | WishState::Fulfilled | WishState::Refused | WishState::Drift => {",
            "WishState::Fulfilled | WishState::Refused | WishState::Drift if true => true,\n                WishState::Planned | WishState::Fulfilled | WishState::Refused | WishState::Drift => {",
        )],
    },
    Mutant {
        name: "a failover is undone past its point of no return",
        edits: &[(
            "src/engine/start.rs",
            "    if ask.situation.is_past(t) && !returns {\n        return taken(",
            "    if ask.situation.is_past(t) && !returns && false {\n        return taken(",
        )],
    },
    Mutant {
        name: "other active servers are left as they are",
        edits: &[(
            "src/engine/start.rs",
            "lacks_mirror || other_servers || ",
            "lacks_mirror || other_servers && false || ",
        )],
    },
    Mutant {
        name: "a missing mirror is left missing",
        edits: &[(
            "src/engine/start.rs",
            "lacks_mirror || other_servers || ",
            "lacks_mirror && false || other_servers || ",
        )],
    },
    Mutant {
        name: "the live log is not backed up",
        edits: &[(
            "src/engine/start.rs",
            "    begins.then_some(t)\n",
            "    begins.then_some(t).filter(|_| false)\n",
        )],
    },
    Mutant {
        name: "jobs of log shipping stay disabled",
        edits: &[(
            "src/steps/establish_log_shipping.rs",
            "Some(j) if !j.enabled => Err(",
            "Some(j) if !j.enabled && false => Err(",
        )],
    },
    Mutant {
        name: "logs are shipped to a copy that does not continue the live log",
        edits: &[(
            "src/steps/view.rs",
            "        (true, true, _) => Continuity::Continues(standby),\n",
            "        (_, _, _) if copy.is_restoring() => Continuity::Continues(standby),\n",
        )],
    },
    Mutant {
        name: "of a mirror only the store is looked at",
        edits: &[(
            "src/domain/site.rs",
            "self.instances().find(|(_, i)| is_live(i))",
            "self.instances().find(|(place, i)| *place == Place::Store && is_live(i))",
        )],
    },
    Mutant {
        name: "what was decided before a record that hung is done all the same",
        edits: &[(
            "src/engine/act.rs",
            "duration_since(before) > HELD_UP {",
            "duration_since(before) > HELD_UP && false {",
        )],
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
    let chosen = |m: &&Mutant| m.name.contains(&a.only) && (!a.short || SHORT.contains(&m.name));
    let nights = MUTANTS.iter().chain(readings::MUTANTS).map(|m| (m, Oracle::Bad));
    let all = nights.chain(switching::MUTANTS.iter().map(|m| (m, Oracle::Planned)));
    let all = all.chain(returning::MUTANTS.iter().map(|m| (m, Oracle::Returning)));
    let all = all.chain(weeks::MUTANTS.iter().map(|m| (m, Oracle::Weeks)));
    let all = all.chain(promises::MUTANTS.iter().map(|(m, oracle)| (m, *oracle)));
    let mutants = all.filter(|(m, _)| chosen(m));
    if a.fits {
        return Ok(fits(&root, mutants.map(|(m, _)| m)));
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    if let Some(listing) = &a.generated {
        let (copy, build) = generated::folders(&target);
        copied(&root, &copy)?;
        lent::lend(&copy, &target.join("debug"), &build.join("debug")).map_err(text)?;
        lent::lend(&copy, &target.join("release"), &build.join("release")).map_err(text)?;
        let wanted = generated::Wanted { listing, every: a.every, shift: a.shift };
        return generated::run(&root, &copy, &build, &wanted);
    }
    let (copy, build) = (target.join("mutants/workspace"), target.join("mutants/target"));
    copied(&root, &copy)?;
    lent::lend(&copy, &target.join("debug"), &build.join("debug")).map_err(text)?;
    let (mut caught, mut tried) = (0, 0);
    for (m, oracle) in mutants {
        tried += 1;
        let began = Instant::now();
        let mut originals = Vec::new();
        for (file, content) in planted(&copy, m)? {
            let path = copy.join(file);
            originals.push((path.clone(), std::fs::read_to_string(&path).map_err(text)?));
            std::fs::write(&path, content).map_err(text)?;
        }
        let result = one(&copy, &build, oracle, a.seeds);
        for (path, original) in originals {
            std::fs::write(path, original).map_err(text)?;
        }
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

/// The files that belong to the workspace.
fn listed(root: &Path) -> Result<BTreeSet<String>, String> {
    let out = Command::new("git").args(["ls-files", "-z"]).current_dir(root).output();
    let names = out.map_err(|e| e.to_string())?.stdout;
    let names = String::from_utf8_lossy(&names);
    Ok(names.split('\0').filter(|n| !n.is_empty()).map(str::to_string).collect())
}

/// Copies what belongs to the workspace, and removes what no longer does.
fn copied(root: &Path, copy: &Path) -> Result<(), String> {
    let text = |e: std::io::Error| e.to_string();
    let listed = listed(root)?;
    remove_others(copy, copy, &listed).map_err(text)?;
    for name in &listed {
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
    Ok(())
}

/// Removes what the copy holds of sources that are gone: a module would stand in two places.
fn remove_others(copy: &Path, folder: &Path, listed: &BTreeSet<String>) -> std::io::Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.strip_prefix(copy).unwrap_or(&path).to_string_lossy().to_string();
        if path.is_dir() {
            remove_others(copy, &path, listed)?;
        } else if !listed.contains(name.as_str()) {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// The files of a mutant, as its edits leave them, one after the other.
fn planted<'m>(root: &Path, m: &'m Mutant) -> Result<BTreeMap<&'m str, String>, String> {
    let mut edited: BTreeMap<&str, String> = BTreeMap::new();
    for (file, find, replace) in m.edits {
        let content = match edited.remove(file) {
            Some(content) => content,
            None => std::fs::read_to_string(root.join(file)).map_err(|e| format!("{file}: {e}"))?,
        };
        if content.matches(find).count() != 1 {
            return Err(format!("{}: {find:?} is not exactly once in {file}", m.name));
        }
        edited.insert(file, content.replace(find, replace));
    }
    Ok(edited)
}

/// Whether the text of each mutant is found; tells each that is not.
fn fits<'m>(root: &Path, mutants: impl Iterator<Item = &'m Mutant>) -> bool {
    let lost: Vec<String> = mutants.filter_map(|m| planted(root, m).err()).collect();
    lost.iter().for_each(|e| println!("{e}"));
    lost.is_empty()
}
