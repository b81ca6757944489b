//! Mutants that nobody chose: cargo-mutants lists them, one build holds all of them, and each is woken alone in test after test until one
//! fails. What survives stands in one file with its reason; a run fails if that file is not right.

mod list;
mod oracle;
mod plant;
mod survivors;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use list::Mutant;
use oracle::Fate;
use plant::Planted;

/// What asks, put at the end of the crate that is planted.
const AWAKE: &str = include_str!("awake.rs.txt");
/// Where it is put.
const ROOT: &str = "src/lib.rs";

/// What is to be done.
pub struct Wanted<'a> {
    /// What `cargo mutants --list --json` printed.
    pub listing: &'a Path,
    /// Only every so many-th.
    pub every: usize,
    /// Beginning with this one, from 0.
    pub shift: usize,
}

/// Plants, builds, wakes each of those that are wanted, and prints what became of them by module. True if the survivors are those that are
/// known.
///
/// # Errors
/// What could not be read or built.
pub fn run(root: &Path, copy: &Path, build: &Path, wanted: &Wanted<'_>) -> Result<bool, String> {
    let known = survivors::read(root)?;
    let mutants = list::read(root, wanted.listing)?;
    let planted = planted(copy, build, &mutants)?;
    println!("{} mutants listed, {} planted: the others do not compile", mutants.len(), planted.len());
    let checks = oracle::learnt(oracle::checks(copy, build)?, &build.join("reached"))?;
    println!("{} checks, each of which passes with all mutants asleep", checks.len());
    let chosen: Vec<&Mutant> = mutants.iter().skip(wanted.shift).step_by(wanted.every.max(1)).collect();
    let log = survivors::Log::of(root, &build.join("outcomes.txt"))?;
    let outcomes = judged(&chosen, &planted, &checks, &log)?;
    let told = survivors::tell(&known, &outcomes);
    survivors::table(&outcomes);
    told.iter().for_each(|line| println!("{line}"));
    Ok(told.is_empty())
}

/// What became of each that was chosen; `None`: it does not compile.
pub type Outcomes<'m> = Vec<(&'m Mutant, Option<Fate>)>;

/// Wakes one after the other, as many beside each other as there are cores. What is known goes into a file at once: a run that is stopped
/// is gone on with.
fn judged<'m>(
    chosen: &[&'m Mutant],
    planted: &BTreeSet<u32>,
    checks: &[oracle::Check],
    log: &survivors::Log,
) -> Result<Outcomes<'m>, String> {
    let before = log.before()?;
    let (log, next) = (Mutex::new(log), AtomicUsize::new(0));
    let out: Mutex<Vec<(usize, Option<Fate>)>> = Mutex::default();
    let work = || -> Result<(), String> {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let Some(m) = chosen.get(n) else { return Ok(()) };
            let fate = match (planted.contains(&m.id), before.get(&m.name)) {
                (false, _) => None,
                (true, Some(fate)) => Some(fate.clone()),
                (true, None) => {
                    let fate = oracle::judge(checks, m.id)?;
                    log.lock().map_err(|e| e.to_string())?.add(&m.name, &fate)?;
                    Some(fate)
                }
            };
            out.lock().map_err(|e| e.to_string())?.push((n, fate));
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|s| {
        let all: Vec<_> = (0..workers).map(|_| s.spawn(work)).collect();
        all.into_iter().try_for_each(|w| w.join().unwrap_or_else(|_| Err("a worker panicked".into())))
    })?;
    let mut out = out.into_inner().map_err(|e| e.to_string())?;
    out.sort_by_key(|(n, _)| *n);
    Ok(out.into_iter().filter_map(|(n, fate)| Some((*chosen.get(n)?, fate))).collect())
}

/// Plants all that compile, and says which. What an error of the compiler points at is left out, until there is none.
fn planted(copy: &Path, build: &Path, mutants: &[Mutant]) -> Result<BTreeSet<u32>, String> {
    let mut by_file: BTreeMap<&str, Vec<&Mutant>> = BTreeMap::new();
    for m in mutants {
        by_file.entry(&m.file).or_default().push(m);
    }
    let mut sources = BTreeMap::new();
    for file in by_file.keys() {
        let source = std::fs::read_to_string(copy.join(file)).map_err(|e| format!("{file}: {e}"))?;
        sources.insert(*file, source);
    }
    let root = copy.join(ROOT);
    let lib = std::fs::read_to_string(&root).map_err(|e| format!("{ROOT}: {e}"))?;
    std::fs::write(&root, format!("{lib}{AWAKE}")).map_err(|e| format!("{ROOT}: {e}"))?;
    let (mut out, mut constants) = (BTreeSet::new(), BTreeSet::new());
    loop {
        let mut texts: BTreeMap<&str, Planted> = BTreeMap::new();
        for (file, mutants) in &by_file {
            let left: Vec<&Mutant> = mutants.iter().copied().filter(|m| !out.contains(&m.id)).collect();
            let text = plant::plant(&sources[file], &left, &constants).map_err(|e| format!("{file}: {e}"))?;
            std::fs::write(copy.join(file), &text.text).map_err(|e| format!("{file}: {e}"))?;
            texts.insert(file, text);
        }
        let errors = errors(copy, build)?;
        if errors.is_empty() {
            return Ok(texts.values().flat_map(|t| t.ids.iter().copied()).collect());
        }
        let before = (out.len(), constants.len());
        for e in &errors {
            constants.extend(e.not_const.clone());
            for (file, byte) in &e.at {
                match texts.get(file.as_str()).map(|t| t.at_fault(*byte)) {
                    Some(Ok(ids)) => out.extend(ids),
                    // Nobody's construct: what else was planted into that function.
                    Some(Err(at)) => {
                        let near = by_file[file.as_str()].iter().filter(|m| m.is_about(at));
                        out.extend(near.map(|m| m.id));
                    }
                    None => {}
                }
            }
        }
        println!("{} errors of the compiler, {} mutants left out", errors.len(), out.len());
        if (out.len(), constants.len()) == before {
            return Err(format!("the planted sources do not compile:\n{}", errors[0].text));
        }
    }
}

/// An error of the compiler.
struct Error {
    text: String,
    /// File and byte.
    at: Vec<(String, usize)>,
    /// The function that something constant calls, and that is no longer constant.
    not_const: Option<String>,
}

fn errors(copy: &Path, build: &Path) -> Result<Vec<Error>, String> {
    let (told, failed) = oracle::compiled(copy, build, &["--workspace", "--lib"])?;
    let messages =
        told.into_iter().filter(|v| v["reason"] == "compiler-message" && v["message"]["level"] == "error");
    let errors: Vec<Error> = messages
        .filter_map(|v| {
            let m = &v["message"];
            let text = m["rendered"].as_str().unwrap_or("").to_string();
            let spans = m["spans"].as_array().into_iter().flatten().filter(|s| s["is_primary"] == true);
            let at = spans.filter_map(|s| {
                let byte = usize::try_from(s["byte_start"].as_u64()?).ok()?;
                Some((s["file_name"].as_str()?.to_string(), byte))
            });
            let at: Vec<(String, usize)> = at.collect();
            let not_const = (m["code"]["code"] == "E0015").then(|| {
                let named = m["message"].as_str().unwrap_or("").split('`').nth(1).unwrap_or("");
                named.rsplit("::").next().unwrap_or(named).to_string()
            });
            // The last line, which counts the others, is nowhere.
            (!at.is_empty()).then_some(Error { text, at, not_const })
        })
        .collect();
    match failed {
        Some(said) if errors.is_empty() => Err(format!("cargo test --no-run:\n{said}")),
        Some(_) | None => Ok(errors),
    }
}

/// Where outcomes, copies and builds lie.
pub fn folders(target: &Path) -> (PathBuf, PathBuf) {
    (target.join("mutants/generated"), target.join("mutants/generated-target"))
}
