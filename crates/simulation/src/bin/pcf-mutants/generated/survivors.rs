//! What survives, and why: the file that says so, and whether it is right.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::Outcomes;
use super::oracle::Fate;

/// Those that are known to survive, a line each: what it is called, a bar, the reason.
const KNOWN: &str = "crates/simulation/survivors.txt";
/// Between a name and what is said of it. No name holds it: the operator has no spaces around it twice.
const BAR: &str = "  |  ";

/// Reads the known survivors: name and reason.
///
/// # Errors
/// A line that has no reason, or stands there twice.
pub fn read(root: &Path) -> Result<BTreeMap<String, String>, String> {
    let text = std::fs::read_to_string(root.join(KNOWN)).map_err(|e| format!("{KNOWN}: {e}"))?;
    let mut out = BTreeMap::new();
    for (n, line) in (1..).zip(text.lines()) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, reason) = line
            .split_once(BAR)
            .filter(|(_, reason)| !reason.trim().is_empty())
            .ok_or_else(|| format!("{KNOWN}:{n}: has no reason: write it behind {BAR:?}"))?;
        if out.insert(name.to_string(), reason.to_string()).is_some() {
            return Err(format!("{KNOWN}:{n}: {name} stands there twice"));
        }
    }
    Ok(out)
}

/// What was found, as far as runs have come: a line each. What was caught stays caught while the sources that hold mutants are the same;
/// what survived is tried again as soon as anything has changed, a test above all.
pub struct Log {
    file: PathBuf,
    /// Digests of the sources that mutants are planted in, and of all that belongs to the workspace.
    sources: String,
    all: String,
}

impl Log {
    /// The log in `file`, for the workspace as it is.
    ///
    /// # Errors
    /// What git or the file system says.
    pub fn of(root: &Path, file: &Path) -> Result<Self, String> {
        let listed = crate::listed(root)?;
        let (mut sources, mut all) = (DefaultHasher::new(), DefaultHasher::new());
        for name in listed.iter().filter(|n| n.ends_with(".rs") || n.ends_with(".json")) {
            let content = std::fs::read(root.join(name)).map_err(|e| format!("{name}: {e}"))?;
            (name, &content).hash(&mut all);
            if name.starts_with("src/") && !name.contains("tests") {
                (name, &content).hash(&mut sources);
            }
        }
        let digest = |h: DefaultHasher| format!("{:016x}", h.finish());
        Ok(Self { file: file.to_path_buf(), sources: digest(sources), all: digest(all) })
    }

    /// What earlier runs found that is still so, by name.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn before(&self) -> Result<BTreeMap<String, Fate>, String> {
        let text = match std::fs::read_to_string(&self.file) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(e) => return Err(format!("{}: {e}", self.file.display())),
        };
        // A line that was cut off says nothing: its mutant is tried again.
        let lines = text.split_inclusive('\n').filter_map(|l| l.strip_suffix('\n'));
        let known = lines.filter_map(|l| {
            let (name, said) = l.split_once(BAR)?;
            let (digest, said) = said.split_once(' ')?;
            let fate = match (said.strip_prefix("caught: "), said) {
                (Some(by), _) if digest == self.sources => Fate::Caught(by.to_string()),
                (None, "survived") if digest == self.all => Fate::Survived,
                (None, "unreached") if digest == self.all => Fate::Unreached,
                _ => return None,
            };
            Some((name.to_string(), fate))
        });
        Ok(known.collect())
    }

    /// Adds what was found of one.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn add(&self, name: &str, fate: &Fate) -> Result<(), String> {
        let line = match fate {
            Fate::Caught(by) => format!("{name}{BAR}{} caught: {by}\n", self.sources),
            Fate::Survived => format!("{name}{BAR}{} survived\n", self.all),
            Fate::Unreached => format!("{name}{BAR}{} unreached\n", self.all),
        };
        let text = |e: std::io::Error| format!("{}: {e}", self.file.display());
        let mut file = std::fs::File::options().create(true).append(true).open(&self.file).map_err(text)?;
        file.write_all(line.as_bytes()).map_err(text)
    }
}

/// What is not as the file says.
pub fn tell(known: &BTreeMap<String, String>, outcomes: &Outcomes<'_>) -> Vec<String> {
    let told = outcomes.iter().filter_map(|(m, fate)| match (fate, known.contains_key(&m.name)) {
        (Some(Fate::Survived), false) => Some(format!("SURVIVED   {} (line {})", m.name, m.line)),
        (Some(Fate::Unreached), false) => Some(format!("UNREACHED  {} (line {})", m.name, m.line)),
        (Some(Fate::Caught(by)), true) => {
            Some(format!("CAUGHT     {}, by {by}: take it out of {KNOWN}", m.name))
        }
        (None, true) => Some(format!("GONE       {} does not compile: take it out of {KNOWN}", m.name)),
        (Some(Fate::Survived | Fate::Unreached), true) | (Some(Fate::Caught(_)) | None, false) => None,
    });
    told.collect()
}

/// Prints, by module, how many there are and what became of them.
pub fn table(outcomes: &Outcomes<'_>) {
    let mut rows: BTreeMap<String, [usize; 5]> = BTreeMap::new();
    for (m, fate) in outcomes {
        let deep = if m.file.starts_with("src/systems/") { 3 } else { 2 };
        let module = m.file.split('/').take(deep).collect::<Vec<_>>().join("/");
        let at = match fate {
            None => 0,
            Some(Fate::Caught(by)) if by.starts_with("simulation") || by.starts_with("pcf-soak") => 2,
            Some(Fate::Caught(_)) => 1,
            Some(Fate::Survived) => 3,
            Some(Fate::Unreached) => 4,
        };
        for row in [module, "all".into()] {
            rows.entry(row).or_default()[at] += 1;
        }
    }
    println!(
        "| Module | Not viable | Caught by a test | Caught by the simulation | Survived | Unreached | Caught, of those that are viable |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for (module, n) in rows {
        let viable: usize = n[1..].iter().sum();
        let percent = (n[1] + n[2]) * 100 / viable.max(1);
        println!("| {module} | {} | {} | {} | {} | {} | {percent} % |", n[0], n[1], n[2], n[3], n[4]);
    }
}
