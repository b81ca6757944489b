//! A ratchet over the sources: what is long, what takes many arguments, and where our own enums are matched without naming each
//! variant. What is listed in `tests/tidy.yaml`, each with its reason, may stay as it is, but may not grow; what has become better
//! must be listed better. So the list only shrinks.
//!
//! `TIDY_WRITE=1 cargo test --test tidy` writes the list anew from the sources. Reasons survive, also where a function has moved
//! to another file; what is new has no reason, and fails until somebody has written one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "common/sources.rs"]
mod sources;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sources::{attributes, is_of_tests, sources};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

/// The list, from the root of the repository.
const LIST: &str = "tests/tidy.yaml";
/// Lines of a function that need no reason.
const LINES: usize = 70;
/// Lines of a function of `src` for which there is no reason.
const LINES_AT_MOST: usize = 110;
/// Arguments that need a reason, the receiver counted, as clippy does. A struct is mostly what is missing.
const ARGUMENTS: usize = 6;
/// Lines of a file that need a reason.
const FILE_LINES: usize = 600;

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Rule {
    /// Lines of a function, from `fn` to its last brace.
    FunctionLines,
    /// Arguments of a function, the receiver counted. What implements a trait has no choice.
    Arguments,
    /// Lines of a file.
    FileLines,
    /// Uses of `matches!` with a variant of an enum of `src/domain`.
    Matches,
    /// Arms that take the rest, in a match that names a variant of an enum of `src/domain`.
    Wildcards,
}

/// Where something was found, and how much of it.
type Findings = BTreeMap<(Rule, String, String), usize>;

/// One line of the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    rule: Rule,
    file: String,
    /// The function; absent for a file.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    item: String,
    is: usize,
    reason: String,
}

/// Looks through files: path and text.
fn survey(files: &[(String, String)]) -> Findings {
    let parsed: Vec<(&str, &str, syn::File)> = files
        .iter()
        .map(|(path, text)| {
            (path.as_str(), text.as_str(), syn::parse_file(text).unwrap_or_else(|e| panic!("{path}: {e}")))
        })
        .collect();
    let mut ours = OurEnums::default();
    for (_, _, file) in parsed.iter().filter(|(path, ..)| path.starts_with("src/domain/")) {
        ours.visit_file(file);
    }
    let mut findings = Findings::new();
    for (path, text, file) in &parsed {
        // What does not use the operator has enums of its own, some of the same names.
        let uses_domain = path.starts_with("src/") || text.contains("persistent_chat_failover::");
        let enums = if uses_domain { ours.0.clone() } else { BTreeSet::new() };
        let mut look =
            Look { path, enums, scope: vec![], self_type: None, test_lines: 0, findings: Findings::new() };
        look.visit_file(file);
        let lines = text.lines().count() - look.test_lines;
        if lines >= FILE_LINES {
            look.add(Rule::FileLines, String::new(), lines);
        }
        findings.append(&mut look.findings);
    }
    findings
}

/// Names of the enums that a file declares.
#[derive(Default)]
struct OurEnums(BTreeSet<String>);

impl<'ast> Visit<'ast> for OurEnums {
    fn visit_item_mod(&mut self, m: &'ast syn::ItemMod) {
        if !is_of_tests(&m.attrs) {
            visit::visit_item_mod(self, m);
        }
    }
    fn visit_item_enum(&mut self, e: &'ast syn::ItemEnum) {
        self.0.insert(e.ident.to_string());
    }
}

/// A look through one file.
struct Look<'a> {
    path: &'a str,
    enums: BTreeSet<String>,
    /// Modules, types and functions around what is looked at.
    scope: Vec<String>,
    /// What `Self` is.
    self_type: Option<String>,
    test_lines: usize,
    findings: Findings,
}

impl Look<'_> {
    fn add(&mut self, rule: Rule, item: String, is: usize) {
        self.findings.insert((rule, self.path.to_string(), item), is);
    }

    /// Counts one more of something in the function that is looked at.
    fn count(&mut self, rule: Rule) {
        let key = (rule, self.path.to_string(), self.scope.join("::"));
        *self.findings.entry(key).or_default() += 1;
    }

    fn within(&mut self, name: String, look: impl FnOnce(&mut Self)) {
        self.scope.push(name);
        look(self);
        self.scope.pop();
    }

    fn function(&mut self, signature: &syn::Signature, body: Option<&syn::Block>, chosen: bool) {
        let name = self.scope.join("::");
        let arguments = signature.inputs.len();
        if chosen && arguments >= ARGUMENTS {
            self.add(Rule::Arguments, name.clone(), arguments);
        }
        if let Some(body) = body {
            let lines = lines(signature.span().join(body.span()).unwrap_or_else(|| body.span()));
            if lines > LINES {
                self.add(Rule::FunctionLines, name, lines);
            }
        }
    }

    /// Whether a pattern names a variant of one of our enums.
    fn names_ours(&self, pattern: &syn::Pat) -> bool {
        let self_type = self.self_type.as_deref();
        let mut paths = Paths { enums: &self.enums, self_type, found: false };
        paths.visit_pat(pattern);
        paths.found
    }
}

fn lines(span: proc_macro2::Span) -> usize {
    span.end().line - span.start().line + 1
}

/// Looks for a path `Enum::Variant` in a pattern.
struct Paths<'a> {
    enums: &'a BTreeSet<String>,
    self_type: Option<&'a str>,
    found: bool,
}

impl<'ast> Visit<'ast> for Paths<'_> {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        let mut last = path.segments.iter().rev().map(|s| s.ident.to_string());
        if let (Some(_), Some(name)) = (last.next(), last.next()) {
            let name = if name == "Self" { self.self_type.unwrap_or_default() } else { &name };
            self.found |= self.enums.contains(name);
        }
    }
}

/// Whether a pattern takes whatever comes.
fn takes_the_rest(pattern: &syn::Pat) -> bool {
    match pattern {
        syn::Pat::Wild(_) => true,
        // A name that binds; constants and variants begin in upper case.
        syn::Pat::Ident(p) => {
            p.subpat.is_none() && p.ident.to_string().starts_with(|c: char| c.is_lowercase() || c == '_')
        }
        syn::Pat::Tuple(p) => p.elems.iter().all(takes_the_rest),
        syn::Pat::Or(p) => p.cases.iter().any(takes_the_rest),
        syn::Pat::Paren(p) => takes_the_rest(&p.pat),
        syn::Pat::Guard(p) => takes_the_rest(&p.pat),
        _ => false,
    }
}

impl<'ast> Visit<'ast> for Look<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if is_of_tests(attributes(item)) {
            self.test_lines += lines(item.span());
        } else {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, m: &'ast syn::ItemMod) {
        self.within(m.ident.to_string(), |look| visit::visit_item_mod(look, m));
    }

    fn visit_item_fn(&mut self, f: &'ast syn::ItemFn) {
        self.within(f.sig.ident.to_string(), |look| {
            look.function(&f.sig, Some(&f.block), true);
            visit::visit_item_fn(look, f);
        });
    }

    fn visit_item_trait(&mut self, t: &'ast syn::ItemTrait) {
        self.within(t.ident.to_string(), |look| visit::visit_item_trait(look, t));
    }

    fn visit_trait_item_fn(&mut self, f: &'ast syn::TraitItemFn) {
        self.within(f.sig.ident.to_string(), |look| {
            look.function(&f.sig, f.default.as_ref(), true);
            visit::visit_trait_item_fn(look, f);
        });
    }

    fn visit_item_impl(&mut self, i: &'ast syn::ItemImpl) {
        let last = |p: &syn::Path| p.segments.last().map(|s| s.ident.to_string()).unwrap_or_default();
        let of = match &*i.self_ty {
            syn::Type::Path(p) => last(&p.path),
            _ => "_".into(),
        };
        let name = match &i.trait_ {
            Some((path, _)) => format!("<{of} as {}>", last(path)),
            None => of.clone(),
        };
        let outside = self.self_type.replace(of);
        self.within(name, |look| {
            for item in &i.items {
                match item {
                    syn::ImplItem::Fn(f) if !is_of_tests(&f.attrs) => {
                        look.within(f.sig.ident.to_string(), |look| {
                            look.function(&f.sig, Some(&f.block), i.trait_.is_none());
                            visit::visit_impl_item_fn(look, f);
                        });
                    }
                    syn::ImplItem::Fn(f) => look.test_lines += lines(f.span()),
                    _ => visit::visit_impl_item(look, item),
                }
            }
        });
        self.self_type = outside;
    }

    fn visit_expr_match(&mut self, m: &'ast syn::ExprMatch) {
        let (rest, others): (Vec<_>, Vec<_>) = m.arms.iter().partition(|arm| takes_the_rest(&arm.pat));
        if others.iter().any(|arm| self.names_ours(&arm.pat)) {
            rest.iter().for_each(|_| self.count(Rule::Wildcards));
        }
        visit::visit_expr_match(self, m);
    }

    fn visit_macro(&mut self, m: &'ast syn::Macro) {
        if m.path.segments.last().is_some_and(|s| s.ident == "matches") {
            let parts = |input: syn::parse::ParseStream<'_>| {
                let value: syn::Expr = input.parse()?;
                input.parse::<syn::Token![,]>()?;
                let pattern = syn::Pat::parse_multi_with_leading_vert(input)?;
                let guard = if input.parse::<Option<syn::Token![if]>>()?.is_some() {
                    Some(input.parse::<syn::Expr>()?)
                } else {
                    None
                };
                input.parse::<Option<syn::Token![,]>>()?;
                Ok((value, pattern, guard))
            };
            let (value, pattern, guard) =
                m.parse_body_with(parts).unwrap_or_else(|e| panic!("{}: matches!: {e}", self.path));
            if self.names_ours(&pattern) {
                self.count(Rule::Matches);
            }
            self.visit_expr_owned(&value);
            if let Some(guard) = guard {
                self.visit_expr_owned(&guard);
            }
            return;
        }
        // Of other macros, those whose arguments are expressions: `format!`, `assert!`, `vec!` …
        let list = syn::punctuated::Punctuated::<syn::Expr, syn::Token![,]>::parse_terminated;
        if let Ok(arguments) = m.parse_body_with(list) {
            for argument in &arguments {
                self.visit_expr_owned(argument);
            }
        }
    }
}

impl Look<'_> {
    /// Looks at an expression that no file owns.
    fn visit_expr_owned(&mut self, e: &syn::Expr) {
        Visit::visit_expr(self, e);
    }
}

/// What is wrong with a list, for what was found.
fn judge(findings: &Findings, list: &[Listed]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut listed: BTreeMap<(Rule, String, String), &Listed> = BTreeMap::new();
    for l in list {
        let key = (l.rule, l.file.clone(), l.item.clone());
        let shown = show(&key);
        match findings.get(&key) {
            None => wrong.push(format!("{shown}: is listed, but is no more: take it off the list")),
            Some(is) if *is < l.is => {
                wrong.push(format!("{shown}: is {is} now, and listed as {}: list it better", l.is))
            }
            Some(_) if l.reason.trim().is_empty() => {
                wrong.push(format!("{shown}: is listed without a reason"))
            }
            Some(_) => {}
        }
        if listed.insert(key, l).is_some() {
            wrong.push(format!("{shown}: is listed twice"));
        }
    }
    for (key, is) in findings {
        let (shown, allowed) = (show(key), listed.get(key).map(|l| l.is));
        let hopeless = key.0 == Rule::FunctionLines && *is > LINES_AT_MOST && key.1.starts_with("src/");
        if hopeless {
            wrong.push(format!(
                "{shown}: {is} lines; in src no function has more than {LINES_AT_MOST}: divide it"
            ));
        } else if allowed.is_none() {
            wrong.push(format!("{shown}: {is}, and not listed: {}", advice(key.0)));
        } else if allowed.is_some_and(|a| a < *is) {
            wrong.push(format!(
                "{shown}: {is}, and listed as {}: it may not grow",
                allowed.unwrap_or_default()
            ));
        }
    }
    wrong.sort();
    wrong
}

fn show((rule, file, item): &(Rule, String, String)) -> String {
    let rule = serde_json::to_value(rule).unwrap();
    let item = if item.is_empty() { String::new() } else { format!(" {item}") };
    format!("{} {file}{item}", rule.as_str().unwrap())
}

fn advice(rule: Rule) -> String {
    match rule {
        Rule::FunctionLines => format!("divide it ({LINES} lines need no reason)"),
        Rule::Arguments => "make a struct of what belongs together".into(),
        Rule::FileLines => format!("divide it (less than {FILE_LINES} lines need no reason)"),
        Rule::Matches => "match on every variant, so that a new one fails to compile".into(),
        Rule::Wildcards => "name the other variants, so that a new one fails to compile".into(),
    }
}

/// The list as it has to be for what was found. A reason stays with its function, also where that has moved to another file.
fn renew(findings: &Findings, list: &[Listed]) -> Vec<Listed> {
    let is_there = |l: &Listed| findings.contains_key(&(l.rule, l.file.clone(), l.item.clone()));
    let file_name = |path: &str| path.rsplit('/').next().map(str::to_string);
    let reason = |rule: Rule, file: &str, item: &str| {
        let mut same = list.iter().filter(|l| l.rule == rule && l.item == item);
        let here = same.clone().find(|l| l.file == file);
        let moved = |l: &&Listed| !is_there(l) && (!item.is_empty() || file_name(&l.file) == file_name(file));
        here.or_else(|| same.find(moved)).map(|l| l.reason.clone()).unwrap_or_default()
    };
    findings
        .iter()
        .filter(|((rule, file, _), is)| {
            !(*rule == Rule::FunctionLines && **is > LINES_AT_MOST && file.starts_with("src/"))
        })
        .map(|((rule, file, item), is)| Listed {
            rule: *rule,
            file: file.clone(),
            item: item.clone(),
            is: *is,
            reason: reason(*rule, file, item),
        })
        .collect()
}

/// One line for each, so that two branches can be merged.
fn write(list: &[Listed]) -> String {
    let mut text = String::from(
        "# What tests/tidy.rs lets stand, and why. `TIDY_WRITE=1 cargo test --test tidy` writes it anew; a reason is written by hand.\n",
    );
    for l in list {
        let quoted = |s: &str| serde_json::to_string(s).unwrap();
        let rule = serde_json::to_value(l.rule).unwrap();
        let item = if l.item.is_empty() { String::new() } else { format!("item: {}, ", quoted(&l.item)) };
        text.push_str(&format!(
            "- {{rule: {}, file: {}, {item}is: {}, reason: {}}}\n",
            rule.as_str().unwrap(),
            l.file,
            l.is,
            quoted(&l.reason)
        ));
    }
    if list.is_empty() {
        text.push_str("[]\n");
    }
    text
}

fn read(text: &str) -> Vec<Listed> {
    serde_saphyr::from_str(text).unwrap_or_else(|e| panic!("{LIST}: {e}"))
}

/// Sources of the operator and of the crates beside it.
fn everything() -> Vec<(String, String)> {
    let mut files = sources("src");
    files.extend(sources("crates").into_iter().filter(|(path, _)| path.split('/').nth(2) == Some("src")));
    files
}

#[test]
fn what_is_long_wide_or_takes_the_rest_is_listed_with_its_reason() {
    let path = format!("{}/{LIST}", env!("CARGO_MANIFEST_DIR"));
    let findings = survey(&everything());
    let mut list = read(&std::fs::read_to_string(&path).unwrap());
    if std::env::var("TIDY_WRITE").is_ok_and(|v| v == "1") {
        list = renew(&findings, &list);
        std::fs::write(&path, write(&list)).unwrap();
    }
    let wrong = judge(&findings, &list);
    assert!(wrong.is_empty(), "{}\n\n{} in all; {LIST}", wrong.join("\n"), wrong.len());
}

fn one(path: &str, text: &str) -> Findings {
    survey(&[("src/domain/step.rs".into(), "pub enum Step { A, B, C }".into()), (path.into(), text.into())])
}

fn found(findings: &Findings) -> Vec<String> {
    findings.iter().map(|(key, is)| format!("{} = {is}", show(key))).collect()
}

#[test]
fn a_long_function_is_found_by_its_name_and_that_of_a_test_is_not() {
    let (body, shorter) = ("    work();\n".repeat(69), "    work();\n".repeat(68));
    let long =
        format!("impl T {{\n    fn long(&self)\n    {{\n{body}    }}\n    fn short() {{\n{shorter}}}\n}}\n");
    assert_eq!(found(&one("src/a.rs", &long)), ["function-lines src/a.rs T::long = 72"]);
    let test = format!("#[cfg(test)]\nmod tests {{\n    fn long() {{\n{body}{body}    }}\n}}\n");
    assert_eq!(found(&one("src/a.rs", &test)), Vec::<String>::new());
}

#[test]
fn arguments_are_counted_where_they_can_be_chosen() {
    let six = "fn six(&self, a: u8, b: u8, c: u8, d: u8, e: u8)";
    let text =
        format!("trait T {{ {six}; }} struct S; impl T for S {{ {six} {{}} }} impl S {{ {six} {{}} }}");
    assert_eq!(
        found(&one("src/a.rs", &text)),
        ["arguments src/a.rs S::six = 6", "arguments src/a.rs T::six = 6"]
    );
}

#[test]
fn the_lines_of_a_file_are_counted_without_its_tests() {
    let text = |lines: usize| {
        format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", "//\n".repeat(lines), "//\n".repeat(500))
    };
    assert_eq!(found(&one("crates/x/src/a.rs", &text(599))), Vec::<String>::new());
    assert_eq!(found(&one("crates/x/src/a.rs", &text(600))), ["file-lines crates/x/src/a.rs = 600"]);
}

#[test]
fn our_enums_are_found_where_the_rest_is_taken() {
    for (body, wanted) in [
        ("match s { Step::A => 1, _ => 2 }", "wildcards src/a.rs f = 1"),
        ("match s { step::Step::A => 1, other => 2 }", "wildcards src/a.rs f = 1"),
        ("match (s, n) { (Step::A, 1) => 1, (_, _) => 2 }", "wildcards src/a.rs f = 1"),
        ("match s { Some(Step::A) => 1, Some(_) | None => 2 }", ""),
        ("match s { Step::A => 1, Step::B | Step::C => 2 }", ""),
        ("match s { Other::A => 1, _ => 2 }", ""),
        ("assert!(matches!(s, Step::A | Step::B))", "matches src/a.rs f = 1"),
        ("matches!(s, Some(Step::A) if matches!(t, Step::B))", "matches src/a.rs f = 2"),
        ("matches!(s, Other::A)", ""),
    ] {
        let text = format!("fn f() {{ {body}; }}");
        assert_eq!(found(&one("src/a.rs", &text)).join("; "), wanted, "{body}");
    }
    let own = "enum Step { A, B } impl Step { fn f(self) -> bool { matches!(self, Self::A) } }";
    assert_eq!(
        found(&survey(&[("src/domain/s.rs".into(), own.into())])),
        ["matches src/domain/s.rs Step::f = 1"]
    );
    // A crate that does not use the operator has a `Step` of its own.
    let text = "fn f() { matches!(s, Step::A); }";
    assert_eq!(found(&one("crates/x/src/a.rs", text)), Vec::<String>::new());
    let text = format!("use persistent_chat_failover::domain::step::Step; {text}");
    assert_eq!(found(&one("crates/x/src/a.rs", &text)), ["matches crates/x/src/a.rs f = 1"]);
}

#[test]
fn the_list_can_only_shrink() {
    let key = |file: &str| (Rule::FunctionLines, file.to_string(), "f".to_string());
    let findings = |file: &str, is: usize| Findings::from([(key(file), is)]);
    let listed = |is: usize, reason: &str| Listed {
        rule: Rule::FunctionLines,
        file: "src/a.rs".into(),
        item: "f".into(),
        is,
        reason: reason.into(),
    };
    let judged = |findings: &Findings, list: &[Listed]| judge(findings, list).join("; ");
    assert_eq!(judged(&findings("src/a.rs", 80), &[listed(80, "why")]), "");
    for (is, list, said) in [
        (80, vec![], "not listed: divide it"),
        (81, vec![listed(80, "why")], "it may not grow"),
        (79, vec![listed(80, "why")], "list it better"),
        (80, vec![listed(80, "")], "without a reason"),
        (80, vec![listed(80, "why"), listed(80, "why")], "listed twice"),
        (111, vec![listed(111, "why")], "no function has more than 110"),
    ] {
        let wrong = judged(&findings("src/a.rs", is), &list);
        assert!(wrong.contains(said), "{said}: {wrong}");
    }
    assert!(judged(&Findings::new(), &[listed(80, "why")]).contains("is no more"));
    let outside = Listed { file: "crates/x/src/a.rs".into(), ..listed(111, "why") };
    assert_eq!(judged(&findings("crates/x/src/a.rs", 111), &[outside]), "");

    // Written anew: the reason stays, moves along with its function, and is not made up.
    let renewed = |file: &str, is: usize, list: &[Listed]| renew(&findings(file, is), list);
    assert_eq!(renewed("src/a.rs", 75, &[listed(80, "why")]), [listed(75, "why")]);
    assert_eq!(
        renewed("src/b.rs", 75, &[listed(80, "why")]),
        [Listed { file: "src/b.rs".into(), ..listed(75, "why") }]
    );
    assert_eq!(renewed("src/a.rs", 75, &[]), [listed(75, "")]);
    let both = Findings::from([(key("src/a.rs"), 80), (key("src/b.rs"), 80)]);
    assert_eq!(
        renew(&both, &[listed(80, "why")])[1].reason,
        "",
        "another function of the same name is none that moved"
    );
    assert_eq!(renewed("src/a.rs", 111, &[listed(80, "why")]), []);
    let list = vec![
        listed(75, "it says \"why\""),
        Listed { item: String::new(), rule: Rule::FileLines, ..listed(700, "x") },
    ];
    assert_eq!(read(&write(&list)), list);
    assert_eq!(read(&write(&[])), []);
}
