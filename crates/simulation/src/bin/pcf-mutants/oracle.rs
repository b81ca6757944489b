//! What is to find a planted defect, and whether it does.

use std::path::Path;
use std::process::Command;

/// What is to find a defect: nights of a kind, and what other nights and kept plans there are; or a test.
#[derive(Clone, Copy)]
pub(super) enum Oracle {
    /// The active side is lost.
    Bad,
    /// Chat is to move while both sides live.
    Planned,
    /// The side that was lost comes back.
    Returning,
    /// No single one: plans that are kept, then weeks.
    Weeks,
    /// What no simulated night shows, a test does.
    Test {
        /// Its test program, or `lib` for unit tests.
        of: &'static str,
        /// Its name.
        name: &'static str,
    },
}

/// A week takes as long as so many nights.
const WEEKS: u64 = 4;

/// What finds a defect that was planted, if something does.
pub(super) fn one(copy: &Path, build: &Path, oracle: Oracle, seeds: u64) -> Result<Option<String>, String> {
    match oracle {
        Oracle::Bad => simulated(copy, build, Some(&[]), seeds),
        Oracle::Planned => simulated(copy, build, Some(&["--planned"]), seeds),
        Oracle::Returning => simulated(copy, build, Some(&["--returning"]), seeds),
        Oracle::Weeks => simulated(copy, build, None, seeds),
        Oracle::Test { of, name } => tested(copy, build, of, name),
    }
}

/// `cargo test` on the copy of the sources, as far as it is the same whatever is tested.
pub(super) fn cargo_test(copy: &Path, build: &Path) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--locked"]).current_dir(copy).env("CARGO_TARGET_DIR", build);
    cargo
}

/// A test that fails, or the program that it is in.
fn tested(copy: &Path, build: &Path, of: &str, name: &str) -> Result<Option<String>, String> {
    let program = if of == "lib" { vec!["--lib"] } else { vec!["--test", of] };
    built(copy, build, &program)?;
    let out = cargo_test(copy, build)
        .args(["--quiet", "--workspace"])
        .args(&program)
        .arg(name)
        .output()
        .map_err(|e| e.to_string())?;
    let said = String::from_utf8_lossy(&out.stdout);
    match said.matches(&format!("{name} stdout ----")).count() {
        0 if out.status.success() && said.contains("test result: ok. 1 passed") => Ok(None),
        1 => Ok(Some(format!("by the test {name}"))),
        _ => Err(format!("{of} has no test {name}, or has not come to its end:\n{said}")),
    }
}

/// Builds tests with the features that all of the workspace are built with: what is lent fits.
fn built(copy: &Path, build: &Path, programs: &[&str]) -> Result<(), String> {
    let cargo = cargo_test(copy, build)
        .args(["--no-run", "--quiet", "--workspace"])
        .args(programs)
        .output()
        .map_err(|e| e.to_string())?;
    if cargo.status.success() {
        return Ok(());
    }
    Err(format!("a mutant does not compile:\n{}", String::from_utf8_lossy(&cargo.stderr)))
}

/// What the simulation finds in so many nights of a kind, in plans that are kept, and in weeks, if it finds something.
fn simulated(copy: &Path, build: &Path, kind: Option<&[&str]>, seeds: u64) -> Result<Option<String>, String> {
    // A test of the simulation brings its programs with it.
    built(copy, build, &["--test", "simulation"])?;
    let soak = |arguments: &[&str]| {
        let out = Command::new(build.join("debug/pcf-soak")).args(arguments).output();
        out.map(|o| String::from_utf8_lossy(&o.stdout).to_string()).map_err(|e| e.to_string())
    };
    let broken = |said: &str| {
        let violation = said.lines().find_map(|l| l.strip_prefix("VIOLATION "));
        violation.map(|v| v.split_once("): ").map_or(v, |(_, p)| p).chars().take(90).collect::<String>())
    };
    let said = match kind {
        Some(kind) => soak(&[kind, &["--until-failure", "--seeds", &seeds.to_string()]].concat())?,
        None => String::new(),
    };
    if let Some(promise) = broken(&said) {
        let runs = said.lines().next().and_then(|l| l.split(' ').next()).unwrap_or("?");
        return Ok(Some(format!("after {runs} seeds: {promise}")));
    }
    // What no night of those has: plans that are kept.
    let plans = copy.join("crates/simulation/regressions");
    for entry in std::fs::read_dir(&plans).map_err(|e| format!("{}: {e}", plans.display()))? {
        let path = entry.map_err(|e| e.to_string())?.path();
        let kept = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let kept: serde_json::Value =
            serde_json::from_str(&kept).map_err(|e| format!("{}: {e}", path.display()))?;
        if let Some(promise) = broken(&soak(&["--no-shrink", "--plan", &kept["plan"].to_string()])?) {
            let name = path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            return Ok(Some(format!("by the plan {name}: {promise}")));
        }
    }
    // One disaster after the other.
    let said = soak(&["--weeks", "--until-failure", "--seeds", &(seeds / WEEKS).to_string()])?;
    Ok(broken(&said).map(|promise| format!("in weeks: {promise}")))
}
