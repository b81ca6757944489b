//! The mutants that cargo-mutants lists: what it would change, and where.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

/// Line and column, both from 1, in characters.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Position {
    line: usize,
    column: usize,
}

/// From a position to another, which it does not hold.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Span {
    start: Position,
    end: Position,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub enum Genre {
    /// A function that does nothing and returns a value.
    FnValue,
    BinaryOperator,
    UnaryOperator,
    MatchArm,
    MatchArmGuard,
    StructField,
}

#[derive(Deserialize)]
struct Function {
    return_type: String,
    span: Span,
}

#[derive(Deserialize)]
struct Listed {
    file: String,
    function: Option<Function>,
    genre: Genre,
    name: String,
    replacement: String,
    span: Span,
}

/// One mutant, in bytes of its file.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// Its number among all that are listed, from 1.
    pub id: u32,
    /// What changes, and where, without a line: it outlives whatever is written above it.
    pub name: String,
    pub file: String,
    pub genre: Genre,
    pub replacement: String,
    /// What is replaced: an operator, a guard, an arm, a field, the statements of a function.
    pub at: (usize, usize),
    /// The function that it is in.
    pub function: Option<(usize, usize)>,
    /// That function returns something whose type has no name: no two of its ends may return different ones.
    pub is_opaque: bool,
    /// The first line of what is replaced.
    pub line: usize,
}

/// Reads what `cargo mutants --list --json` printed of the sources at `root`.
///
/// # Errors
/// What could not be read, or does not fit the sources.
pub fn read(root: &Path, listing: &Path) -> Result<Vec<Mutant>, String> {
    let text = std::fs::read_to_string(listing).map_err(|e| format!("{}: {e}", listing.display()))?;
    let listed: Vec<Listed> =
        serde_json::from_str(&text).map_err(|e| format!("{}: {e}", listing.display()))?;
    let mut sources: BTreeMap<String, String> = BTreeMap::new();
    let mut named: BTreeMap<String, usize> = BTreeMap::new();
    let mut out = Vec::with_capacity(listed.len());
    for (id, l) in (1u32..).zip(listed) {
        if !sources.contains_key(&l.file) {
            let source =
                std::fs::read_to_string(root.join(&l.file)).map_err(|e| format!("{}: {e}", l.file))?;
            sources.insert(l.file.clone(), source);
        }
        let source = &sources[&l.file];
        let range = |s: Span| Some((offset(source, s.start)?, offset(source, s.end)?));
        let lost = || format!("{}: is not in {}: list the mutants anew", l.name, l.file);
        // `FILE:LINE:COLUMN: what`
        let what = l.name.splitn(4, ':').nth(3).unwrap_or(&l.name).trim();
        let name = format!("{}: {what}", l.file);
        let times = named.entry(name.clone()).or_default();
        *times += 1;
        out.push(Mutant {
            id,
            name: if *times == 1 { name } else { format!("{name} #{times}") },
            genre: l.genre,
            at: range(l.span).ok_or_else(lost)?,
            function: match &l.function {
                Some(f) => Some(range(f.span).ok_or_else(lost)?),
                None => None,
            },
            is_opaque: l.function.as_ref().is_some_and(|f| f.return_type.starts_with("-> impl ")),
            line: l.span.start.line,
            replacement: l.replacement,
            file: l.file,
        });
    }
    Ok(out)
}

impl Mutant {
    /// Whether a byte of its file lies in its function.
    pub fn is_about(&self, at: usize) -> bool {
        self.function.is_some_and(|(start, end)| (start..end).contains(&at))
    }
}

/// Where a position is, in bytes.
fn offset(source: &str, p: Position) -> Option<usize> {
    let before: usize = source.split_inclusive('\n').take(p.line.checked_sub(1)?).map(str::len).sum();
    let line = source.get(before..)?.split_inclusive('\n').next().unwrap_or("");
    let column = p.column.checked_sub(1)?;
    let within: usize = line.chars().take(column).map(char::len_utf8).sum();
    (line.chars().count() >= column).then_some(before + within)
}
