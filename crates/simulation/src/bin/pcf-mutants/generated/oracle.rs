//! What a mutant has to survive: unit tests and recordings, then the fixed part of the simulation, then some seeds of every kind of night.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// No number of a mutant: a process that is told it writes down which mutants it would have asked for.
const ALL: u32 = u32::MAX;

/// Programs of tests in which mutants are woken; others are built beside them.
const UNITS: [&str; 4] = ["persistent_chat_failover", "replay", "statements", "crd"];

/// One test, or one run of the simulation.
pub struct Check {
    pub name: String,
    program: PathBuf,
    arguments: Vec<String>,
    folder: PathBuf,
    /// Those that it comes past.
    reaches: BTreeSet<u32>,
    /// How long the sound sources take.
    takes: Duration,
}

/// How a check ended.
enum End {
    Passed,
    Failed,
    /// It took much longer than it does with the sound sources.
    Hung,
}

impl Check {
    fn run(&self, id: u32, reached: Option<&Path>, most: Duration) -> Result<End, String> {
        let text = |e: std::io::Error| format!("{}: {e}", self.name);
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(&self.folder).env("PCF_MUTANT", id.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(file) = reached {
            command.env("PCF_REACHED", file);
        }
        let began = Instant::now();
        let mut child = command.spawn().map_err(text)?;
        loop {
            if let Some(status) = child.try_wait().map_err(text)? {
                return Ok(if status.success() { End::Passed } else { End::Failed });
            }
            if began.elapsed() > most {
                child.kill().map_err(text)?;
                child.wait().map_err(text)?;
                return Ok(End::Hung);
            }
            // Nobody tells when a child has ended without a thread that waits for it; what a run takes is seconds.
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Each check with what it comes past. Each must pass as things are.
///
/// # Errors
/// A check that fails without any mutant, or cannot be run.
pub fn learnt(mut checks: Vec<Check>, scratch: &Path) -> Result<Vec<Check>, String> {
    for check in &mut checks {
        let _ = std::fs::remove_file(scratch);
        let began = Instant::now();
        match check.run(ALL, Some(scratch), Duration::from_secs(1800))? {
            End::Passed => {}
            End::Failed | End::Hung => return Err(format!("{} fails without any mutant", check.name)),
        }
        check.takes = began.elapsed();
        let mut text = String::new();
        if let Ok(mut file) = std::fs::File::open(scratch) {
            file.read_to_string(&mut text).map_err(|e| e.to_string())?;
        }
        check.reaches = text.lines().filter_map(|l| l.parse().ok()).collect();
    }
    Ok(checks)
}

/// What became of a mutant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// By the check of this name.
    Caught(String),
    Survived,
    /// No check comes past it.
    Unreached,
}

/// Wakes one mutant in one check after the other, until one fails.
///
/// # Errors
/// A check that cannot be run.
pub fn judge(checks: &[Check], id: u32) -> Result<Fate, String> {
    let mut fate = Fate::Unreached;
    for check in checks.iter().filter(|c| c.reaches.contains(&id)) {
        fate = Fate::Survived;
        match check.run(id, None, check.takes * 5 + Duration::from_secs(10))? {
            End::Passed => {}
            End::Failed => return Ok(Fate::Caught(check.name.clone())),
            End::Hung => return Ok(Fate::Caught(format!("{} (it hung)", check.name))),
        }
    }
    Ok(fate)
}

/// Every check, from the quick ones to the slow ones.
///
/// # Errors
/// What does not build.
pub fn checks(copy: &Path, build: &Path) -> Result<Vec<Check>, String> {
    let mut out = Vec::new();
    let check = |name: String, program: &Path, arguments: &[&str], folder: &Path| Check {
        name,
        program: program.to_path_buf(),
        arguments: arguments.iter().map(|a| (*a).to_string()).collect(),
        folder: folder.to_path_buf(),
        reaches: BTreeSet::new(),
        takes: Duration::ZERO,
    };
    // With the features that all tests of the workspace are built with: what is lent fits.
    let units = ["--workspace", "--lib", "--test", "replay", "--test", "statements", "--test", "crd"];
    let night = ["--release", "-p", "simulation", "--test", "simulation"];
    let parts: [(&[&str], &[&str], &Path); 2] =
        [(&units, &UNITS, copy), (&night, &["simulation"], &copy.join("crates/simulation"))];
    for (of, wanted, folder) in parts {
        let built = built(copy, build, of)?;
        for (target, program) in built.iter().filter(|(target, _)| wanted.contains(&target.as_str())) {
            for name in tests(program, folder)? {
                let arguments = [name.as_str(), "--exact"];
                out.push(check(format!("{target}: {name}"), program, &arguments, folder));
            }
        }
    }
    let soak = build.join("release/pcf-soak");
    for kind in ["--planned", "--returning", "--weeks"] {
        let arguments = [kind, "--until-failure", "--no-shrink", "--jobs", "1", "--seeds", "24"];
        out.push(check(format!("pcf-soak {}", arguments.join(" ")), &soak, &arguments, copy));
    }
    Ok(out)
}

/// Builds tests. What cargo tells of it, and what it said if it failed.
///
/// # Errors
/// A cargo that cannot be started.
pub fn compiled(copy: &Path, build: &Path, of: &[&str]) -> Result<(Vec<Value>, Option<String>), String> {
    let out = crate::oracle::cargo_test(copy, build)
        .args(["--no-run", "--message-format=json"])
        .args(of)
        .output()
        .map_err(|e| e.to_string())?;
    let lines = String::from_utf8_lossy(&out.stdout);
    let told = lines.lines().filter_map(|l| serde_json::from_str(l).ok()).collect();
    let failed = (!out.status.success()).then(|| String::from_utf8_lossy(&out.stderr).into_owned());
    Ok((told, failed))
}

/// Builds tests, and says where each lies.
fn built(copy: &Path, build: &Path, of: &[&str]) -> Result<BTreeMap<String, PathBuf>, String> {
    let (told, failed) = compiled(copy, build, of)?;
    if let Some(said) = failed {
        return Err(format!("the planted sources do not build:\n{said}"));
    }
    let tests =
        told.into_iter().filter(|v| v["reason"] == "compiler-artifact" && v["profile"]["test"] == true);
    let named = tests.filter_map(|v| {
        let program = v["executable"].as_str()?;
        Some((v["target"]["name"].as_str()?.to_string(), PathBuf::from(program)))
    });
    Ok(named.collect())
}

/// The tests of a program, by name.
fn tests(program: &Path, folder: &Path) -> Result<Vec<String>, String> {
    let out = Command::new(program).arg("--list").current_dir(folder).output().map_err(|e| e.to_string())?;
    let listed = String::from_utf8_lossy(&out.stdout).into_owned();
    Ok(listed.lines().filter_map(|l| l.strip_suffix(": test")).map(str::to_string).collect())
}
