//! Ten thousand random backup histories: what the log chain says of each against a small model that knows how it came about, and some of
//! the chains carried out on the lab's SQL Server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "common/product.rs"]
mod product;

use std::collections::{BTreeMap, BTreeSet};

use lab::scenario::Scenario;
use lab::sql::backup::{self, BackupHeader, Extra, Stripe};
use lab::sql::{self, SQL_PASSWORD, SQL_USER};
use lab::tsql::batch::{self, Progress};
use lab::tsql::{Cell, Event};
use lab::world::World;
use lab::world::files::MemoryFiles;
use product::{
    BackupSet, Chain, Copy, FileHeaders, Folders, Label, Lsn, Problem, Reading, Reason, RedoPoint,
    RestoreHistory, follow, statements,
};

/// Chance that depends on a seed only (xorshift).
struct Chance(u64);

impl Chance {
    fn of(seed: u64) -> Chance {
        let mut c = Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        (0..8).for_each(|_| _ = c.next());
        c
    }
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n
    }
    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// A stretch of log that a life of the database wrote: life, from, to.
type Stretch = (usize, i128, i128);

/// A set as the model knows it.
#[derive(Clone)]
struct Set {
    header: BackupSet,
    /// What is in it.
    log: Vec<Stretch>,
    /// The files that it is striped over.
    files: Vec<String>,
}

/// A life of the database: the recovery that began it, and where.
#[derive(Clone)]
struct Life {
    parent: usize,
    begins: i128,
}

struct History {
    sets: Vec<Set>,
    lives: Vec<Life>,
    /// How many of the sets the copy has: all of the first, of the life that was then.
    applied: usize,
    /// Files that are gone, and files that cannot be read.
    gone: BTreeSet<String>,
    unreadable: BTreeSet<String>,
}

fn fork(life: usize) -> String {
    format!("F{life}")
}

fn start(minute: i64) -> String {
    let at =
        "2026-11-20T00:00:00Z".parse::<jiff::Timestamp>().unwrap() + jiff::SignedDuration::from_mins(minute);
    at.strftime("%Y-%m-%dT%H:%M:%S").to_string()
}

impl History {
    fn new(seed: u64) -> History {
        let mut c = Chance::of(seed);
        let mut h = History {
            sets: vec![],
            lives: vec![Life { parent: 0, begins: 0 }],
            applied: 0,
            gone: BTreeSet::new(),
            unreadable: BTreeSet::new(),
        };
        // Where the log is, where its next backup begins and in which life, what o'clock it is.
        let (mut log, mut from, mut minute) = (1000_i128, (1000_i128, 0_usize), 0_i64);
        let many = 6 + c.below(14);
        for n in 0..many {
            minute += 15 + i64::try_from(c.below(5)).unwrap();
            log += if c.one_in(5) { 0 } else { i128::from(1 + c.below(90)) };
            if c.one_in(25) {
                // It recovers where it is (its mirror took over, it was restarted from a copy): another fork, the same log.
                h.lives.push(Life { parent: h.lives.len() - 1, begins: log });
                log += i128::from(1 + c.below(30));
            } else if c.one_in(40) && log > 1200 {
                // It is restored to an earlier point.
                let back = log - i128::from(1 + c.below(150));
                h.lives.push(Life { parent: h.lives.len() - 1, begins: back });
                from = (back, h.lives.len() - 1);
                log = back + i128::from(1 + c.below(60));
                minute += 60;
            }
            let copy_only = c.one_in(8);
            let set = h.taken(&mut c, n, from, (log, minute));
            h.sets.push(set);
            if !copy_only {
                from = (log, h.lives.len() - 1);
            }
        }
        h.applied = usize::try_from(c.below(many)).unwrap();
        for file in h.sets.iter().flat_map(|s| s.files.clone()).collect::<BTreeSet<String>>() {
            if c.one_in(30) {
                h.gone.insert(file);
            } else if c.one_in(40) {
                h.unreadable.insert(file);
            }
        }
        h
    }

    /// The live database's log is backed up, in the life that it is in.
    fn taken(&self, c: &mut Chance, n: u64, from: (i128, usize), (log, minute): (i128, i64)) -> Set {
        let life = self.lives.len() - 1;
        let (first, first_life) = from;
        let mut stretches = Vec::new();
        let mut at = first;
        for l in first_life..=life {
            let end = if l < life { self.lives[l + 1].begins } else { log };
            stretches.push((l, at, end));
            at = end;
        }
        let mut files = vec![match c.below(4) {
            0 => format!("LOG{n}.BAK"),
            _ => format!("mgc_{}.trn", 20261120000000_u64 + n * 1700),
        }];
        let mut position = 1;
        if c.one_in(6) {
            files.extend((1..=c.below(2) + 1).map(|s| format!("stripe{n}_{s}")));
        } else if let Some(before) = self.sets.last().filter(|s| s.files.len() == 1 && c.one_in(4)) {
            files = before.files.clone();
            position = before.header.position + 1;
        }
        let header = BackupSet {
            position,
            kind: 2,
            database: "mgc".into(),
            server: r"ATL-SQL-1\CHAT".into(),
            family: "FAM".into(),
            first_lsn: Lsn(first),
            last_lsn: Lsn(log),
            first_fork: fork(first_life),
            last_fork: fork(life),
            start: start(minute),
            finish: start(minute + 1),
            guid: Some(format!("set {n}")),
            fork_point: (first_life < life).then(|| Lsn(self.lives[life].begins)),
            incomplete: c.one_in(20),
            tail: c.one_in(30),
            ..BackupSet::default()
        };
        Set { header, log: stretches, files }
    }

    /// The copy's redo point: everything up to the set that was applied last, in the life of that time.
    fn redo(&self) -> RedoPoint {
        let last = &self.sets[self.applied].header;
        RedoPoint { lsn: last.last_lsn, fork: last.last_fork.clone() }
    }

    fn restored(&self) -> Vec<RestoreHistory> {
        let life = self.sets[self.applied].log.last().unwrap().0;
        let own = self.sets[..=self.applied].iter().filter(|s| s.log.iter().all(|x| self.is_in(life, *x)));
        own.rev()
            .take(20)
            .map(|s| RestoreHistory {
                kind: "L".into(),
                last_lsn: Some(s.header.last_lsn),
                last_fork: Some(s.header.last_fork.clone()),
                first_fork: Some(s.header.first_fork.clone()),
                fork_point: s.header.fork_point,
                backup_start: Some(s.header.start.clone()),
                file: None,
                server: Some(s.header.server.clone()),
                zone_minutes: None,
            })
            .collect()
    }

    /// Whether a stretch of log is part of what a life has behind it, itself included.
    fn is_in(&self, life: usize, (l, _, to): Stretch) -> bool {
        let mut limit = i128::MAX;
        let mut at = life;
        loop {
            if at == l {
                return to <= limit;
            }
            if at == 0 {
                return false;
            }
            limit = limit.min(self.lives[at].begins);
            at = self.lives[at].parent;
        }
    }

    fn is_whole(&self, set: &Set) -> bool {
        set.files.iter().all(|f| !self.gone.contains(f) && !self.unreadable.contains(f))
    }

    fn is_there(&self, set: &Set) -> bool {
        set.files.iter().any(|f| !self.gone.contains(f))
    }

    /// Every point at which roll forward may end, whatever is applied in whatever order.
    fn ends(&self) -> BTreeSet<(i128, String)> {
        let redo = self.redo();
        let mut open = vec![(redo.lsn.0, redo.fork)];
        let (mut seen, mut ends) = (BTreeSet::new(), BTreeSet::new());
        while let Some((lsn, fork)) = open.pop() {
            if !seen.insert((lsn, fork.clone())) {
                continue;
            }
            let fits = |s: &&Set| {
                let h = &s.header;
                h.first_lsn.0 <= lsn && lsn < h.last_lsn.0 && h.first_fork == fork && self.is_whole(s)
            };
            let next: Vec<_> = self
                .sets
                .iter()
                .filter(fits)
                .map(|s| (s.header.last_lsn.0, s.header.last_fork.clone()))
                .collect();
            if next.is_empty() {
                ends.insert((lsn, fork));
            }
            open.extend(next);
        }
        ends
    }

    fn folders(&self) -> Folders {
        let mut headers: BTreeMap<String, FileHeaders> = BTreeMap::new();
        for set in &self.sets {
            for (n, file) in (1..).zip(&set.files).filter(|(_, f)| !self.gone.contains(*f)) {
                let slot = headers
                    .entry(file.clone())
                    .or_insert_with(|| FileHeaders::of(true, Reading::Known(vec![])));
                if self.unreadable.contains(file) {
                    slot.sets = Reading::Unknown(Problem::ask(Reason::BackupDamaged, "3241", ""));
                } else if let Reading::Known(sets) = &mut slot.sets {
                    sets.push(set.header.clone());
                }
                let families = i32::try_from(set.files.len()).unwrap();
                let media_set = set.header.guid.clone().unwrap();
                slot.label = (families > 1).then_some(Label { media_set, families, family: n });
            }
        }
        Folders {
            share: Reading::Known(vec![]),
            copy: Reading::Known(vec![]),
            copy_free: Reading::Known(0),
            headers,
            ignored: vec![],
            unread: 0,
            unlisted: BTreeMap::new(),
        }
    }

    fn chain(&self) -> Chain {
        let (redo, restored) = (self.redo(), self.restored());
        let copy = Copy { redo: &redo, family: Some("FAM"), database: "mgc", restored: &restored };
        follow(&copy, &self.folders(), None)
    }
}

#[test]
fn ten_thousand_histories_end_where_the_model_ends_and_no_loss_is_silent() {
    let (mut clean, mut lossy, mut forked, mut striped) = (0, 0, 0, 0);
    for seed in 0..10_000 {
        let h = History::new(seed);
        let c = h.chain();
        let end = c.end.clone().unwrap();
        let told = || format!("seed {seed}: from {:?} to {end:?}, stuck {:#?}", h.redo(), c.stuck);
        // Each link applies where the one before it ends, and is whole; nothing is left that would apply.
        let mut at = h.redo();
        for link in &c.links {
            let s = &link.set;
            assert!(s.first_lsn <= at.lsn && at.lsn < s.last_lsn && s.first_fork == at.fork, "{}", told());
            let known = h.sets.iter().find(|x| x.header == *s).unwrap();
            assert!(h.is_whole(known), "{}", told());
            let files: BTreeSet<&str> = link.files().collect();
            assert_eq!(files, known.files.iter().map(String::as_str).collect(), "{}", told());
            at = RedoPoint { lsn: s.last_lsn, fork: s.last_fork.clone() };
            striped += usize::from(files.len() > 1);
        }
        assert_eq!(at, end);
        let ends = h.ends();
        assert!(ends.contains(&(end.lsn.0, end.fork.clone())), "{}", told());
        // What the live database wrote and a file still holds is in the copy, or somebody is asked.
        let life: usize = end.fork[1..].parse().unwrap();
        let live = h.lives.len() - 1;
        // Where there are two ways on, and one does not hold what the other leads to, neither is taken in silence.
        let holds = |(lsn, fork): &(i128, String)| {
            let other: usize = fork[1..].parse().unwrap();
            h.is_in(life, (other, 0, *lsn)) && *lsn <= end.lsn.0
        };
        assert!(ends.iter().all(holds) || !c.stuck.is_empty(), "{}", told());
        let has = |s: &Set| s.log.iter().all(|x| h.is_in(life, *x) && (x.0 != life || x.2 <= end.lsn.0));
        let there = || h.sets.iter().filter(|s| h.is_there(s));
        let lost = there().any(|s| !has(s) && s.log.iter().any(|x| x.0 == live && x.1 < x.2));
        assert!(!lost || !c.stuck.is_empty(), "{}", told());
        // Where everything that is there is whole and in the copy, nobody is asked for anything. (Of two changes of the fork between two
        // backups only one shows: that may ask.)
        let shown = h.sets.iter().all(|s| s.log.len() <= 2);
        if shown && there().all(|s| h.is_whole(s) && has(s)) {
            assert!(c.stuck.is_empty(), "{}", told());
            clean += 1;
        }
        lossy += usize::from(lost);
        forked += usize::from(h.lives.len() > 1);
    }
    assert!(
        clean > 1000 && lossy > 1000 && forked > 1000 && striped > 1000,
        "{clean} {lossy} {forked} {striped}"
    );
}

const COPY: &str = "sea-sql-1.litwareinc.com";
const LOCK: &str = "pcf chat.litwareinc.com";

fn text(s: impl Into<String>) -> Cell {
    Cell::Text(s.into())
}

/// A history's files beside the copy on the lab's SQL Server, and a session there that holds the lock.
struct Bench {
    w: World,
    session: u32,
    folder: String,
}

impl Bench {
    fn of(h: &History) -> Bench {
        let now = "2026-12-01T12:00:00Z".parse().unwrap();
        let mut w = World::new(Scenario::default(), Box::<MemoryFiles>::default(), now).unwrap();
        let folder = w.scenario.data_centers[1].copy_folder.clone();
        let db = w.sql.get_mut(COPY).unwrap().databases.get_mut("mgc").unwrap();
        let redo = h.redo();
        (db.redo, db.family, db.state, db.standby) = (Some((redo.lsn.0, redo.fork)), "FAM".into(), 1, false);
        for set in &h.sets {
            for (n, file) in (1..).zip(&set.files).filter(|(_, f)| !h.gone.contains(*f)) {
                let path = format!(r"{folder}\{file}");
                let own = backup::encode(&header(set, n), 1);
                let content = match w.files.read(&path) {
                    _ if h.unreadable.contains(file) => b"nothing that could be read".to_vec(),
                    Ok(before) => backup::append(&before, &own),
                    Err(_) => own,
                };
                w.files.write(&path, &content).unwrap();
            }
        }
        let session = sql::login(&mut w, COPY, SQL_USER, SQL_PASSWORD, "host", "test").unwrap();
        let mut bench = Bench { w, session, folder };
        bench.send(&statements::session(), &[]);
        bench.send(statements::LOCK, &[text(LOCK)]);
        bench
    }

    /// The errors of a batch.
    fn send(&mut self, batch: &str, parameters: &[Cell]) -> Vec<u32> {
        let named = (1..).zip(parameters).map(|(n, v)| (format!("@P{n}"), v.clone())).collect();
        let mut out = Vec::new();
        batch::begin(&mut self.w, COPY, self.session, batch, named).unwrap();
        while let Progress::Until(at) = batch::step(&mut self.w, COPY, self.session, &mut out) {
            self.w.advance(at);
        }
        out.into_iter().filter_map(|e| if let Event::Error(e) = e { Some(e.number) } else { None }).collect()
    }

    fn redo(&self) -> (i128, String) {
        self.w.sql[COPY].databases["mgc"].redo.clone().unwrap()
    }

    /// Applies a set from files, as the operator does.
    fn apply(&mut self, files: &[&str], position: i32) -> Vec<u32> {
        let (lsn, fork) = self.redo();
        let path = |file: &str| text(format!(r"{}\{file}", self.folder));
        let (first, others) = files.split_first().unwrap();
        let mut parameters = vec![text(LOCK), text("mgc"), text(lsn.to_string()), text(fork), path(first)];
        parameters.push(Cell::Int(position.into()));
        parameters.extend(others.iter().map(|file| path(file)));
        self.send(&statements::restore_log(false, files.len(), 0), &parameters)
    }
}

fn header(set: &Set, family: u32) -> BackupHeader {
    let h = &set.header;
    let at = |local: &str| format!("{local}Z").parse().unwrap();
    let families = u32::try_from(set.files.len()).unwrap();
    let stripe = (families > 1).then(|| Stripe { media_set: h.guid.clone().unwrap(), families, family });
    BackupHeader {
        database: h.database.clone(),
        server: h.server.clone(),
        family: h.family.clone(),
        first_lsn: h.first_lsn.0,
        last_lsn: h.last_lsn.0,
        first_fork: h.first_fork.clone(),
        last_fork: h.last_fork.clone(),
        kind: 2,
        start: at(&h.start),
        finish: at(&h.finish),
        checksums: false,
        payload: 16,
        extra: Extra { incomplete: h.incomplete, tail: h.tail, stripe, ..Extra::default() },
    }
}

#[test]
fn chains_carried_out_on_the_lab_end_where_the_model_ends() {
    let (mut links, mut striped) = (0, 0);
    for seed in (0..10_000).step_by(97) {
        let h = History::new(seed);
        let mut b = Bench::of(&h);
        for link in h.chain().links {
            let files: Vec<&str> = link.files().collect();
            if files.len() > 1 {
                assert_eq!(b.apply(&files[..1], link.set.position).first(), Some(&3132), "seed {seed}");
                striped += 1;
            }
            assert_eq!(b.apply(&files, link.set.position), [] as [u32; 0], "seed {seed}: {link:?}");
            links += 1;
        }
        let end = b.redo();
        assert!(h.ends().contains(&end), "seed {seed}: {end:?}");
    }
    assert!(links > 200 && striped > 20, "{links} {striped}");
}
