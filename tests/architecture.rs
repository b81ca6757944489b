//! The arrows between the modules of `src` run one way, and in no circle. Without exceptions.
//!
//! An arrow is any path of one module in the text of another one: in a `use`, with or without braces, in code, in a type, in the
//! arguments of a macro; by `crate::`, by any number of `super::`, by the name of a module beside it, or through what another
//! module re-exports.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "common/sources.rs"]
mod sources;

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use sources::{attributes, is_of_tests, sources};
use syn::visit::{self, Visit};

/// A module of `src`: the floors below it that it may use, and crates that have no business there.
struct Floor {
    name: &'static str,
    uses: &'static [&'static str],
    foreign: &'static [&'static str],
}

/// Nothing of the network, of Kubernetes or of a runtime: decisions, and what orders them.
const NOTHING_OUTSIDE: &[&str] = &["kube", "tokio", "tiberius", "psrp", "k8s_openapi"];

/// Every module of `src`, from the bottom to the top. What stands beside another one (`controller`, `cli`) does not use it.
const FLOORS: &[Floor] = &[
    Floor { name: "domain", uses: &[], foreign: NOTHING_OUTSIDE },
    Floor { name: "systems", uses: &["domain"], foreign: &["kube", "k8s_openapi"] },
    Floor { name: "permit", uses: &["domain", "systems"], foreign: NOTHING_OUTSIDE },
    Floor { name: "steps", uses: &["domain", "systems", "permit"], foreign: NOTHING_OUTSIDE },
    Floor { name: "procedures", uses: &["domain", "systems", "permit", "steps"], foreign: NOTHING_OUTSIDE },
    Floor {
        name: "engine",
        uses: &["domain", "systems", "permit", "steps", "procedures"],
        foreign: &["kube", "tiberius", "psrp", "k8s_openapi"],
    },
    Floor { name: "api", uses: &["domain"], foreign: &["tokio", "tiberius", "psrp"] },
    Floor {
        name: "status",
        uses: &["domain", "systems", "permit", "steps", "procedures", "engine", "api"],
        foreign: &["tokio", "tiberius", "psrp"],
    },
    Floor {
        name: "telemetry",
        uses: &["domain", "engine", "api", "status"],
        foreign: &["kube", "k8s_openapi", "tiberius", "psrp"],
    },
    Floor {
        name: "controller",
        uses: &["domain", "systems", "permit", "steps", "procedures", "engine", "api", "status", "telemetry"],
        foreign: &["tiberius", "psrp"],
    },
    Floor {
        name: "cli",
        uses: &["domain", "systems", "permit", "steps", "procedures", "engine", "api", "status"],
        foreign: &["tiberius", "psrp"],
    },
    Floor {
        name: "bin",
        uses: &[
            "domain",
            "systems",
            "permit",
            "steps",
            "procedures",
            "engine",
            "api",
            "status",
            "telemetry",
            "controller",
            "cli",
        ],
        foreign: &["tiberius", "psrp"],
    },
];

/// Path of a module from the root of the crate.
type Module = Vec<String>;

/// A path as it stands in a file.
#[derive(Clone, Debug)]
struct Mention {
    /// The module that it stands in; a module within a file counts.
    within: Module,
    path: Vec<String>,
    /// Whether it is for tests only.
    of_tests: bool,
    /// Whether it is a re-export.
    exports: bool,
}

/// What a file of `src` holds.
struct Source {
    path: String,
    /// The module that the file is.
    module: Module,
    mentions: Vec<Mention>,
}

/// What a module offers: names that it declares, and what it re-exports as what.
#[derive(Default)]
struct Offer {
    declares: BTreeSet<String>,
    exports: BTreeMap<String, Vec<String>>,
    /// What it re-exports everything of.
    globs: Vec<Vec<String>>,
    /// What a `use` brought in without offering it to others.
    imports: BTreeMap<String, Vec<String>>,
}

/// All of `src`.
struct House {
    files: Vec<Source>,
    offers: BTreeMap<Module, Offer>,
}

fn module_of(path: &str) -> Module {
    let inside = path.strip_prefix("src/").unwrap_or(path).trim_end_matches(".rs");
    let mut module: Module = inside.split('/').map(String::from).collect();
    if module.last().is_some_and(|m| m == "mod") || module == ["lib"] {
        module.pop();
    }
    module
}

impl House {
    /// Reads files: path and text.
    fn of(files: &[(String, String)]) -> House {
        let mut house = House { files: vec![], offers: BTreeMap::new() };
        let parse = |(path, text): &(String, String)| {
            (path.clone(), syn::parse_file(text).unwrap_or_else(|e| panic!("{path}: {e}")))
        };
        let parsed: Vec<(String, syn::File)> = files.iter().map(parse).collect();
        let mut macros = OurMacros::default();
        parsed.iter().for_each(|(_, file)| macros.visit_file(file));
        for (path, file) in &parsed {
            let module = module_of(path);
            let mut reader = Reader {
                offers: &mut house.offers,
                macros: &macros.0,
                module: module.clone(),
                of_tests: false,
                mentions: vec![],
            };
            reader.offers.entry(module.clone()).or_default();
            reader.visit_file(file);
            let mentions = reader.mentions;
            house.files.push(Source { path: path.clone(), module, mentions });
        }
        house
    }

    /// The absolute path that is meant by one that stands in a module; `None`: a name of something else.
    fn absolute(&self, within: &Module, path: &[String]) -> Option<Vec<String>> {
        let (first, rest) = path.split_first()?;
        let mut at = within.clone();
        match first.as_str() {
            "crate" | "persistent_chat_failover" => at.clear(),
            "self" => {}
            "super" => {
                at.pop();
                let mut rest = rest;
                while let Some(("super", after)) = rest.split_first().map(|(f, r)| (f.as_str(), r)) {
                    at.pop();
                    rest = after;
                }
                at.extend(rest.iter().cloned());
                return Some(at);
            }
            name => {
                let imported = self.offers.get(within).and_then(|o| o.imports.get(name));
                at = match imported.filter(|to| to.first() != Some(first)) {
                    // What a `use` brought in, maybe a module.
                    Some(to) => self.absolute(within, to)?,
                    // A module below it, if there is one of that name; otherwise a crate, a type, a variable.
                    None => at.iter().cloned().chain([name.to_string()]).collect(),
                };
                if imported.is_none() && !self.offers.contains_key(&at) {
                    return None;
                }
            }
        }
        at.extend(rest.iter().cloned());
        Some(at)
    }

    /// The module that something of an absolute path is in, after all re-exports.
    fn home(&self, path: &[String]) -> Option<Module> {
        let mut path = path.to_vec();
        // Each turn follows one re-export; a circle of them would not compile.
        for _ in 0..20 {
            let deepest = (0..=path.len()).rev().find(|n| self.offers.contains_key(&path[..*n]))?;
            let (module, rest) = (path[..deepest].to_vec(), path[deepest..].to_vec());
            let offer = self.offers.get(&module)?;
            let Some(name) = rest.first().filter(|name| !offer.declares.contains(*name)) else {
                return Some(module);
            };
            let exported = offer.exports.get(name).and_then(|to| self.absolute(&module, to));
            let by_glob = || {
                offer.globs.iter().filter_map(|g| self.absolute(&module, g)).find_map(|g| {
                    let there = self.offers.get(&g)?;
                    let offers = there.declares.contains(name) || there.exports.contains_key(name);
                    offers.then(|| g.into_iter().chain([name.clone()]).collect::<Vec<_>>())
                })
            };
            match exported.or_else(by_glob) {
                Some(to) if to != path => path = to.into_iter().chain(rest.into_iter().skip(1)).collect(),
                Some(_) | None => return Some(module),
            }
        }
        None
    }

    /// The file that a module is in: itself, or the file around a module within a file.
    fn file_of(&self, module: &Module) -> Option<&Source> {
        (0..=module.len()).rev().find_map(|n| self.files.iter().find(|f| f.module == module[..n]))
    }
}

/// Names of the macros that we declare.
#[derive(Default)]
struct OurMacros(BTreeSet<String>);

impl<'ast> Visit<'ast> for OurMacros {
    fn visit_item_macro(&mut self, m: &'ast syn::ItemMacro) {
        self.0.extend(m.ident.as_ref().map(ToString::to_string));
    }
}

/// Reads one file.
struct Reader<'h> {
    offers: &'h mut BTreeMap<Module, Offer>,
    macros: &'h BTreeSet<String>,
    module: Module,
    of_tests: bool,
    mentions: Vec<Mention>,
}

impl Reader<'_> {
    fn offer(&mut self) -> &mut Offer {
        self.offers.entry(self.module.clone()).or_default()
    }

    fn mention(&mut self, path: Vec<String>, exports: bool) {
        let (within, of_tests) = (self.module.clone(), self.of_tests);
        self.mentions.push(Mention { within, path, of_tests, exports });
    }

    /// Each leaf of a `use`: its path and the name that it gets here; `None`: everything.
    fn leaves(tree: &syn::UseTree, before: &[String], found: &mut Vec<(Vec<String>, Option<String>)>) {
        let with = |ident: &syn::Ident| before.iter().cloned().chain([ident.to_string()]).collect::<Vec<_>>();
        // `a::{self}` is `a`.
        let named = |path: Vec<String>| match path.split_last() {
            Some((last, before)) if last == "self" && !before.is_empty() => before.to_vec(),
            _ => path,
        };
        match tree {
            syn::UseTree::Path(p) => Self::leaves(&p.tree, &with(&p.ident), found),
            syn::UseTree::Name(n) => {
                let path = named(with(&n.ident));
                let name = path.last().cloned();
                found.push((path, name));
            }
            syn::UseTree::Rename(r) => found.push((named(with(&r.ident)), Some(r.rename.to_string()))),
            syn::UseTree::Glob(_) => found.push((before.to_vec(), None)),
            syn::UseTree::Group(g) => g.items.iter().for_each(|t| Self::leaves(t, before, found)),
        }
    }

    /// Paths in the arguments of a macro. In those of a macro of ours, names that stand alone as well: a registry of modules is
    /// made of such; elsewhere they are variables.
    fn tokens(&mut self, tokens: TokenStream, ours: bool) {
        let shortest = if ours { 1 } else { 2 };
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            let goes_on = match &token {
                TokenTree::Ident(_) => colons == 2,
                TokenTree::Punct(p) => p.as_char() == ':' && colons < 2,
                TokenTree::Group(_) | TokenTree::Literal(_) => false,
            };
            if !goes_on {
                let whole = std::mem::take(&mut path);
                if whole.len() >= shortest {
                    self.mention(whole, false);
                }
            }
            colons = match token {
                TokenTree::Punct(p) if p.as_char() == ':' => colons + 1,
                TokenTree::Ident(ident) => {
                    path.push(ident.to_string());
                    0
                }
                TokenTree::Group(group) => {
                    self.tokens(group.stream(), ours);
                    0
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => 0,
            };
        }
        if path.len() >= shortest {
            self.mention(path, false);
        }
    }

    fn declare(&mut self, item: &syn::Item) {
        let name = match item {
            syn::Item::Const(i) => &i.ident,
            syn::Item::Enum(i) => &i.ident,
            syn::Item::Fn(i) => &i.sig.ident,
            syn::Item::Macro(i) => match &i.ident {
                Some(ident) => ident,
                None => return,
            },
            syn::Item::Static(i) => &i.ident,
            syn::Item::Struct(i) => &i.ident,
            syn::Item::Trait(i) => &i.ident,
            syn::Item::Type(i) => &i.ident,
            syn::Item::Union(i) => &i.ident,
            // A module is one of its own, a `use` is looked at by itself, the rest has no name.
            _ => return,
        };
        let name = name.to_string();
        self.offer().declares.insert(name);
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let outside = self.of_tests;
        self.of_tests |= is_of_tests(attributes(item));
        self.declare(item);
        visit::visit_item(self, item);
        self.of_tests = outside;
    }

    fn visit_item_mod(&mut self, m: &'ast syn::ItemMod) {
        if let Some((_, items)) = &m.content {
            self.module.push(m.ident.to_string());
            self.offer();
            items.iter().for_each(|i| self.visit_item(i));
            self.module.pop();
        }
    }

    fn visit_item_use(&mut self, u: &'ast syn::ItemUse) {
        let mut leaves = Vec::new();
        Self::leaves(&u.tree, &[], &mut leaves);
        let exports = !matches!(u.vis, syn::Visibility::Inherited);
        for (path, name) in leaves {
            match name {
                Some(name) if exports => drop(self.offer().exports.insert(name, path.clone())),
                None if exports => self.offer().globs.push(path.clone()),
                Some(name) => drop(self.offer().imports.insert(name, path.clone())),
                None => {}
            }
            self.mention(path, exports);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        // A name alone is a variable or has come by a `use`.
        if path.segments.len() > 1 {
            let names = path.segments.iter().map(|s| s.ident.to_string()).collect();
            self.mention(names, false);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, m: &'ast syn::Macro) {
        visit::visit_macro(self, m);
        let ours = m.path.segments.last().is_some_and(|s| self.macros.contains(&s.ident.to_string()));
        self.tokens(m.tokens.clone(), ours);
    }

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {
        // Paths in attributes are names of lints and derives.
    }
}

/// What stands in a folder: a file, a folder, or the `mod.rs` of the folder itself.
fn standing_in(folder: &[String], module: &[String]) -> String {
    module.get(folder.len()).cloned().unwrap_or_else(|| "mod.rs".into())
}

/// Whatever is wrong with the arrows of a house.
fn judge(files: &[(String, String)]) -> Vec<String> {
    let house = House::of(files);
    let mut wrong = BTreeSet::new();
    // Folder, then who uses whom in it, each arrow with the file that it was found in.
    let mut folders: BTreeMap<Module, BTreeMap<(String, String), String>> = BTreeMap::new();
    for file in &house.files {
        let Some(floor_name) = file.module.first() else { continue };
        let Some(floor) = FLOORS.iter().find(|f| f.name == floor_name) else {
            wrong.insert(format!("{}: {floor_name} has no floor: give it one in FLOORS", file.path));
            continue;
        };
        for m in &file.mentions {
            if let [first, _, ..] = m.path.as_slice()
                && floor.foreign.contains(&first.as_str())
            {
                wrong.insert(format!("{}: {first} has no business in {}", file.path, floor.name));
            }
            let Some(home) = house.absolute(&m.within, &m.path).and_then(|p| house.home(&p)) else {
                continue;
            };
            let Some(to) = house.file_of(&home).filter(|to| to.path != file.path) else { continue };
            let Some(used) = to.module.first() else { continue };
            // What goes through a `use` was told where that stands.
            let through_use = house.offers.get(&m.within).is_some_and(|o| o.imports.contains_key(&m.path[0]));
            if used != floor.name && !floor.uses.contains(&used.as_str()) && !through_use {
                wrong.insert(format!(
                    "{}: {} must not use {used}: {}",
                    file.path,
                    floor.name,
                    m.path.join("::")
                ));
            }
            // Tests may look at each other. A re-export is a door, not a use: what goes through it is counted where it is used.
            if m.of_tests || (m.exports && to.module.starts_with(&file.module)) {
                continue;
            }
            let common = file.module.iter().zip(&to.module).take_while(|(a, b)| a == b).count();
            let folder = file.module[..common].to_vec();
            let arrow = (standing_in(&folder, &file.module), standing_in(&folder, &to.module));
            let found = format!("{} → {}", file.path, m.path.join("::"));
            folders.entry(folder).or_default().entry(arrow).or_insert(found);
        }
    }
    for (folder, arrows) in &folders {
        for circle in circles(arrows.keys()) {
            let within = arrows.iter().filter(|((a, b), _)| circle.contains(a) && circle.contains(b));
            let how: Vec<&str> = within.map(|(_, found)| found.as_str()).collect();
            let names: Vec<&str> = circle.iter().map(String::as_str).collect();
            let folder = [&["src".to_string()], folder.as_slice()].concat().join("/");
            wrong.insert(format!("{folder}: a circle of {}: {}", names.join(", "), how.join("; ")));
        }
    }
    wrong.into_iter().collect()
}

/// Sets of names that each reach each other.
fn circles<'a>(arrows: impl Iterator<Item = &'a (String, String)> + Clone) -> Vec<BTreeSet<String>> {
    let reached_from = |start: &String| {
        let mut reached: BTreeSet<String> = BTreeSet::new();
        let mut next = vec![start.clone()];
        while let Some(at) = next.pop() {
            for (_, to) in arrows.clone().filter(|(from, _)| *from == at) {
                if reached.insert(to.clone()) {
                    next.push(to.clone());
                }
            }
        }
        reached
    };
    let reach: BTreeMap<&String, BTreeSet<String>> =
        arrows.clone().map(|(from, _)| (from, reached_from(from))).collect();
    let mut found: BTreeSet<BTreeSet<String>> = BTreeSet::new();
    for (name, reached) in &reach {
        let back = |other: &&String| reach.get(other).is_some_and(|r| r.contains(*name));
        let circle: BTreeSet<String> = reached.iter().filter(back).cloned().collect();
        if circle.len() > 1 {
            found.insert(circle);
        }
    }
    found.into_iter().collect()
}

#[test]
fn the_arrows_run_down_and_in_no_circle() {
    let files = sources("src");
    assert!(files.len() > 50, "{}", files.len());
    let wrong = judge(&files);
    assert!(wrong.is_empty(), "{}\n\n{} in all", wrong.join("\n"), wrong.len());
}

/// Judges a small house.
fn judged(files: &[(&str, &str)]) -> String {
    let files: Vec<_> = files.iter().map(|(p, t)| (p.to_string(), t.to_string())).collect();
    judge(&files).join("\n")
}

#[test]
fn a_house_whose_arrows_run_down_is_well() {
    let well = judged(&[
        ("src/lib.rs", "pub mod domain; pub mod systems; pub mod steps; pub mod api;"),
        ("src/domain/mod.rs", "pub mod pool; pub mod problem; pub use problem::Problem;"),
        ("src/domain/problem.rs", "pub struct Problem;"),
        ("src/domain/pool.rs", "use super::Problem; pub struct Pool(Problem);"),
        ("src/systems/mod.rs", "pub mod sql; use crate::domain::pool::Pool; pub struct Door(Pool);"),
        ("src/systems/sql.rs", "use super::Door; pub fn f(_: Door) {}"),
        ("src/steps/mod.rs", "pub mod a; pub fn f() { serde_json::json!({\"crate\": 1}); }"),
        (
            "src/steps/a.rs",
            "use crate::{domain::{pool::Pool, problem as p}, systems}; fn f(_: Pool, _: p::Problem) { systems::sql::f() }",
        ),
        ("src/api/mod.rs", "use crate::domain::*;"),
        ("src/bin/x.rs", "use persistent_chat_failover::{api, steps::a};"),
    ]);
    assert_eq!(well, "");
}

#[test]
fn an_arrow_that_runs_up_is_found_however_it_is_written() {
    for text in [
        "use crate::engine::run::drive;",
        "use crate::{domain::pool, engine::run};",
        "use super::super::engine::run;",
        "use super::super::{engine::{self}};",
        "fn f() { crate::engine::run::drive() }",
        "fn f(_: &crate::engine::run::Memory) {}",
        "fn f() { assert!(crate::engine::run::is_well()); }",
        "use crate::engine as e; fn f() { e::run::drive() }",
        "mod inner { fn f() { super::super::super::engine::run::drive() } }",
        "#[cfg(test)] mod tests { use crate::engine::run::drive; }",
    ] {
        let wrong = judged(&[
            ("src/engine/mod.rs", "pub mod run;"),
            ("src/engine/run.rs", ""),
            ("src/domain/mod.rs", "pub mod pool;"),
            ("src/domain/pool.rs", ""),
            ("src/steps/mod.rs", "pub mod a;"),
            ("src/steps/a.rs", text),
        ]);
        assert!(wrong.starts_with("src/steps/a.rs: steps must not use engine: "), "{text}: {wrong:?}");
        assert_eq!(wrong.lines().count(), 1, "{text}: {wrong:?}");
    }
}

#[test]
fn an_arrow_goes_where_a_re_export_leads() {
    // `systems` offers what is really the engine's: both arrows are wrong.
    let wrong = judged(&[
        ("src/engine/mod.rs", "pub struct Clock;"),
        ("src/systems/mod.rs", "pub use crate::engine::Clock;"),
        ("src/steps/mod.rs", "use crate::systems::Clock;"),
    ]);
    assert!(wrong.contains("steps must not use engine: crate::systems::Clock"), "{wrong}");
    assert!(wrong.contains("systems must not use engine: crate::engine::Clock"), "{wrong}");
}

#[test]
fn neighbours_do_not_use_each_other_and_every_module_has_a_floor() {
    let wrong = judged(&[
        ("src/cli/mod.rs", "use crate::controller::run;"),
        ("src/controller/mod.rs", "pub fn run() {}"),
        ("src/api/mod.rs", "use crate::engine;"),
        ("src/engine/mod.rs", ""),
        ("src/cellar.rs", ""),
    ]);
    let all: Vec<&str> = wrong.lines().collect();
    assert_eq!(
        all,
        [
            "src/api/mod.rs: api must not use engine: crate::engine",
            "src/cellar.rs: cellar has no floor: give it one in FLOORS",
            "src/cli/mod.rs: cli must not use controller: crate::controller::run",
        ]
    );
}

#[test]
fn a_crate_that_has_no_business_on_a_floor_is_found() {
    let wrong = judged(&[
        ("src/domain/mod.rs", "fn f() { tokio::spawn(async {}); }"),
        ("src/engine/mod.rs", "use kube::{Api, Client}; use tokio::time;"),
        ("src/controller/mod.rs", "use kube::Client;"),
    ]);
    assert_eq!(
        wrong,
        "src/domain/mod.rs: tokio has no business in domain\nsrc/engine/mod.rs: kube has no business in engine"
    );
}

#[test]
fn a_circle_between_files_is_found_also_through_a_re_export_and_between_folders() {
    let wrong = judged(&[
        ("src/domain/mod.rs", "pub mod a; pub mod b; pub mod c; pub use b::B;"),
        ("src/domain/a.rs", "use super::B; pub struct A;"),
        ("src/domain/b.rs", "use super::c::C; pub struct B;"),
        ("src/domain/c.rs", "fn f() { super::a::A; } pub struct C;"),
    ]);
    assert_eq!(
        wrong,
        "src/domain: a circle of a, b, c: src/domain/a.rs → super::B; src/domain/b.rs → super::c::C; src/domain/c.rs → super::a::A"
    );
    let wrong = judged(&[
        ("src/engine/mod.rs", "pub mod run; pub mod observe;"),
        ("src/engine/run.rs", "use super::observe::site::Site;"),
        ("src/engine/observe/mod.rs", "pub mod site; pub mod files;"),
        ("src/engine/observe/site.rs", "pub struct Site;"),
        ("src/engine/observe/files.rs", "use crate::engine::run;"),
    ]);
    assert!(wrong.starts_with("src/engine: a circle of observe, run: "), "{wrong}");
    // A module that a `use` has brought in leads to its files.
    let wrong = judged(&[
        ("src/domain/mod.rs", "pub mod a; pub mod b;"),
        ("src/domain/a.rs", "use crate::domain; fn f() { domain::b::g() }"),
        ("src/domain/b.rs", "use super::a; pub fn g() { a::f() }"),
    ]);
    assert!(wrong.starts_with("src/domain: a circle of a, b: "), "{wrong}");
    // Between floors it is an arrow that runs up and a circle.
    let wrong = judged(&[
        ("src/steps/mod.rs", "use crate::engine::E;"),
        ("src/engine/mod.rs", "use crate::steps; pub struct E;"),
    ]);
    assert!(wrong.contains("src: a circle of engine, steps: "), "{wrong}");
    assert!(wrong.contains("src/steps/mod.rs: steps must not use engine"), "{wrong}");
    // What only tests use makes no circle.
    let wrong = judged(&[
        ("src/domain/mod.rs", "pub mod a; pub mod b;"),
        ("src/domain/a.rs", "use super::b::B; pub struct A;"),
        ("src/domain/b.rs", "pub struct B; #[cfg(test)] mod tests { use super::super::a::A; }"),
    ]);
    assert_eq!(wrong, "");
}

#[test]
fn a_folder_whose_mod_rs_is_used_by_what_it_uses_is_a_circle() {
    let registry = "pub mod a; pub trait Step {} macro_rules! steps { ($m:ident) => { fn f() { $m::g() } } } steps! { a }";
    let wrong =
        judged(&[("src/steps/mod.rs", registry), ("src/steps/a.rs", "use super::Step; pub fn g() {}")]);
    assert!(wrong.starts_with("src/steps: a circle of a, mod.rs: "), "{wrong}");
    // One that only declares, or only puts together, is none; nor is a variable that is called like a module.
    let variable = "pub mod a; pub trait Step {} fn f(a: u8) -> u8 { println!(\"{}\", a); a }";
    assert_eq!(judged(&[("src/steps/mod.rs", variable), ("src/steps/a.rs", "use super::Step;")]), "");
    let declares = "pub mod a; pub trait Step {}";
    assert_eq!(judged(&[("src/steps/mod.rs", declares), ("src/steps/a.rs", "use super::Step;")]), "");
    let puts_together = "pub mod a; fn f() { a::g() }";
    assert_eq!(judged(&[("src/steps/mod.rs", puts_together), ("src/steps/a.rs", "pub fn g() {}")]), "");
}
