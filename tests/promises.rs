//! What `docs/promises.md` says stands and exists: the sentences, the observer's checks, the tests. And no check is left out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[allow(dead_code, reason = "only the texts are read here")]
#[path = "common/sources.rs"]
mod sources;

use sources::sources;

const PAGE: &str = "docs/promises.md";
const OBSERVER: &str = "crates/simulation/src/truth";
const PLANTED: &str = "crates/simulation/src/bin/pcf-mutants";

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A text without emphasis and line breaks.
fn plain(text: &str) -> String {
    text.replace("**", "").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What stands between two marks, again and again.
fn between<'t>(text: &'t str, from: &str, to: &str) -> Vec<&'t str> {
    text.split(from).skip(1).filter_map(|rest| Some(rest.split_once(to)?.0)).collect()
}

/// What the observer checks in one of its files: the first argument of each `check`, a text or the name that one was given just before.
fn checks(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut before = 0;
    while let Some(at) = source[before..].find(".check(").map(|at| before + at) {
        let argument = source[at + ".check(".len()..].trim_start();
        let text = match argument.strip_prefix('"') {
            Some(text) => text.split('"').next().unwrap(),
            None => {
                let name = argument.split(',').next().unwrap();
                let given =
                    source[..at].rsplit_once(&format!("let {name} = \"")).expect("a name of a text").1;
                given.split('"').next().unwrap()
            }
        };
        found.push(text.to_string());
        before = at + 1;
    }
    found
}

/// Whether a function of a name is there, and is a test.
fn is_test(code: &str, name: &str) -> bool {
    let before = code.split_once(&format!("fn {name}(")).map(|(before, _)| before.trim_end_matches("async "));
    before.and_then(|b| b.trim_end().lines().next_back()).is_some_and(|line| line.contains("test"))
}

/// A row of the tables.
struct Row<'p> {
    sentence: &'p str,
    /// The page that it is said to stand on.
    place: &'p str,
    /// What fails if it is broken.
    proofs: &'p str,
    /// Defects that break it.
    planted: Vec<&'p str>,
}

fn rows(page: &str) -> Vec<Row<'_>> {
    let lines = page.lines().filter_map(|line| line.strip_prefix("| “"));
    lines
        .map(|line| {
            let (sentence, rest) = line.split_once("” | ").expect("a sentence");
            let (place, rest) = rest.split_once(" | ").expect("a place");
            let (proofs, planted) = rest.split_once(" | ").expect("proofs");
            let planted = planted.split('`').skip(1).step_by(2).collect();
            Row { sentence, place: between(place, "](", ")")[0], proofs, planted }
        })
        .collect()
}

#[test]
fn each_promise_stands_where_the_page_says_and_something_would_tell() {
    let page = read(PAGE);
    let code: String =
        ["src", "tests", "crates"].into_iter().flat_map(sources).map(|(_, text)| text).collect();
    let checked: BTreeSet<String> = sources(OBSERVER).iter().flat_map(|(_, text)| checks(text)).collect();
    assert!(checked.len() > 50, "{checked:?}");
    let planted: String = sources(PLANTED).into_iter().map(|(_, text)| text).collect();
    let planted: BTreeSet<&str> = between(&planted, "name: \"", "\"").into_iter().collect();
    let rows = rows(&page);
    assert!(rows.len() > 30, "{}", rows.len());
    let mut wrong = Vec::new();
    let mut told = BTreeSet::new();
    for Row { sentence, place, proofs, planted: breaking } in rows {
        if breaking.is_empty() {
            wrong.push(format!("no planted defect breaks: {sentence}"));
        }
        let unknown = breaking.iter().filter(|name| !planted.contains(**name));
        wrong.extend(unknown.map(|name| format!("no such planted defect: {name}")));
        if !plain(&read(Path::new("docs").join(place))).contains(&plain(sentence)) {
            wrong.push(format!("{place} does not say: {sentence}"));
        }
        let (observer, tests) = (between(proofs, "observer: `", "`"), between(proofs, "test: `", "`"));
        if observer.is_empty() && tests.is_empty() {
            wrong.push(format!("nothing would tell: {sentence}"));
        }
        wrong.extend(
            observer.iter().filter(|c| !checked.contains(**c)).map(|c| format!("no such check: {c}")),
        );
        wrong.extend(
            tests.iter().filter(|name| !is_test(&code, name)).map(|name| format!("no such test: {name}")),
        );
        told.extend(observer.into_iter().map(String::from));
    }
    wrong.extend(checked.difference(&told).map(|check| format!("{PAGE} does not have the check: {check}")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_check_is_found_by_its_text_and_by_the_name_of_its_text() {
    let source = "t.check(\n \"one\", x); let told = \"two\"; t.check(told, y); t.check(\"three\", z)";
    assert_eq!(checks(source), ["one", "two", "three"]);
}
