//! Seeding: the side that is not active gets a copy of the live database where none stands that log backups could be applied to.
//!
//! It overwrites a database, so it is done by a human's word only; and what an open database holds is saved before it is overwritten.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::backups::{BackupSet, Lsn};
use super::log_shipping::Job;
use super::pool::Pool;
use super::reading::Reading;
use super::seed::Seed;
use super::side::{Place, Side};
use super::situation::Situation;
use super::sql_server::{Database, DatabaseState, Instance};
use super::text::clean;
use super::transition::Transition;

/// `run_status` of a run that ended well.
const SUCCEEDED: i32 = 1;
/// How long a job that was started may take to show that it runs.
pub const PATIENCE: SignedDuration = SignedDuration::from_secs(10);
/// How long nobody tries again what has failed again and again.
const REST: SignedDuration = SignedDuration::from_mins(10);

/// What an Agent job of ours does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Work {
    /// Saves what stands where the copy is to stand.
    Save,
    /// Takes the full backup of the live database.
    Backup,
    /// Restores it.
    Restore,
}

impl Work {
    /// All of them.
    pub const ALL: [Work; 3] = [Work::Save, Work::Backup, Work::Restore];

    /// The name of the job: it tells what it does and for which transition, so that it is found again.
    pub fn job(self, transition: &str) -> String {
        let what = match self {
            Work::Save => "save",
            Work::Backup => "backup",
            Work::Restore => "restore",
        };
        format!("PCF_{what}_{transition}")
    }
}

/// The next seed of a transition: the one that is being taken, or another one if that was restored in vain.
pub fn next_seed(pool: &Pool, t: &Transition, at: Timestamp) -> Seed {
    let number = t.facts.seed.as_ref().map_or(0, |seed| seed.number + u32::from(seed.is_used()));
    let file = format!("{}_seed_{}_{number}.bak", pool.database, t.id);
    let (restored, begins) =
        t.facts.seed.as_ref().map_or((None, None), |seed| (seed.restored.clone(), seed.begins));
    Seed { at, file, number, restored, begins }
}

/// The file that an open database is saved into.
pub fn saved_file(pool: &Pool, t: &Transition, place: Place) -> String {
    format!("{}_saved_{}_{}.bak", pool.database, t.id, place_word(place))
}

/// The file of the tail of its log. Not called as a log backup is: the jobs of log shipping would take it for one.
pub fn saved_tail(pool: &Pool, t: &Transition, place: Place, attempts: i32) -> String {
    format!("{}_saved_{}_{}_tail_{attempts}.bak", pool.database, t.id, place_word(place))
}

/// Whether a seed has been restored into a copy that is on this fork. That it was about to be says nothing: the job may never have begun, or was
/// refused, and what stood there before is on the same fork where log backups are missing.
pub fn is_restored_into(seed: &Seed, copy: &Database, fork: &str) -> bool {
    let reaches = |redo: Lsn| seed.begins.is_some_and(|first| first <= redo);
    let redo = copy.redo.as_ref().filter(|_| copy.is_restoring());
    seed.is_used() && redo.is_some_and(|r| reaches(r.lsn) && r.fork.eq_ignore_ascii_case(fork))
}

/// A file of the share from which log shipping feeds the copy of a side, as SQL Server names it; empty: the resource names no folders any
/// more.
pub fn in_share(pool: &Pool, side: Side, file: &str) -> String {
    let shipping = pool.sites[side].log_shipping.as_ref();
    shipping.map_or_else(String::new, |s| s.backup_share.file(file))
}

/// Whether so much time has passed since then.
pub fn is_past(then: Timestamp, span: SignedDuration, now: Timestamp) -> bool {
    now.duration_since(then) >= span
}

fn place_word(place: Place) -> &'static str {
    match place {
        Place::Store => "store",
        Place::Mirror => "mirror",
    }
}

/// Whether somebody may write to a database, or read it: it is saved and closed before it is overwritten.
pub fn is_open(db: &Database) -> bool {
    db.state == DatabaseState::Online && !db.standby
}

/// The fork that a database is on, open or not.
pub fn fork_of(db: &Database) -> Option<&str> {
    db.redo.as_ref().map(|r| r.fork.as_str()).or(db.fork.as_deref())
}

/// What seeding the copy of a transition's side overwrites or closes, one line for each database: the server, the fork that it is on, and
/// whether it is saved before. The same lines as long as it is the same database: saving and closing it changes nothing of them.
pub fn overwritten(pool: &Pool, s: &Situation, t: &Transition) -> Vec<String> {
    let begun = t.facts.seed.as_ref().is_some_and(|seed| seed.restored.is_some());
    let live = s.sites[t.route.from].live();
    let mut out = Vec::new();
    for (place, i) in s.sites[t.route.to].instances() {
        let saved = t.facts.saved.get(&place);
        let line = |db: &Database| {
            let fork = fork_of(db).or(saved.map(|s| s.fork.as_str())).unwrap_or("unknown");
            let how = match (saved.is_some() || is_open(db), live.and_then(|live| holds_more(live, db))) {
                (true, _) => "saved before".into(),
                (false, None) => "not saved".into(),
                (false, Some(parted)) => {
                    format!("not saved, although it holds log beyond LSN {parted}, {LACKED}")
                }
            };
            let what = match place {
                Place::Store => "overwritten",
                Place::Mirror => "closed",
            };
            format!("{} on {}, fork {}: {what}, {how}", pool.database, clean(&i.server_name), clean(fork))
        };
        match (place, &i.database) {
            (Place::Store, _) if begun => {}
            (Place::Store, Some(db)) => out.push(line(db)),
            (Place::Store, None) => out.push(format!("{} does not hold it yet", clean(&i.server_name))),
            (Place::Mirror, Some(db)) if is_open(db) || saved.is_some() => out.push(line(db)),
            (Place::Mirror, Some(_) | None) => {}
        }
    }
    out
}

/// What is said of log that only a database has which is overwritten.
pub const LACKED: &str = "which the live one lacks";

/// Where the live database parted from a copy that waits for log backups, if that copy holds more: it was a switch's source, its log closed by
/// the tail, and the other one was recovered without that tail.
fn holds_more(live: &Instance, copy: &Database) -> Option<Lsn> {
    let redo = copy.redo.as_ref()?;
    let last = live.restored_logs()?.next()?;
    let same = last.last_fork.as_ref()?.eq_ignore_ascii_case(&redo.fork);
    last.last_lsn.filter(|parted| same && *parted < redo.lsn)
}

/// How a file is that a full backup is taken into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileIs {
    /// A full backup of that life of the database stands in it, whole, as SQL Server reads it.
    Whole,
    /// It has changed not long ago, and SQL Server has not yet read it since.
    Unread,
    /// It is not there, or holds something else.
    Missing,
}

/// The full backup of that life of a database that stands in a file of the share, whole, as SQL Server reads it.
pub fn full_backup<'s>(
    s: &'s Situation,
    t: &Transition,
    file: &str,
    database: &str,
    fork: &str,
) -> Option<&'s BackupSet> {
    let sets = s.folders[t.route.to].as_ref()?.headers.get(file)?.sets.known()?;
    // One that does not say where it begins cannot be told from what it is restored over.
    sets.iter().find(|set| {
        set.is_full_of(database)
            && !set.damaged
            && set.first_lsn > Lsn::default()
            && set.last_fork.eq_ignore_ascii_case(fork)
    })
}

/// How a file of the share is.
pub fn file_is(s: &Situation, t: &Transition, file: &str, database: &str, fork: &str) -> FileIs {
    if full_backup(s, t, file, database, fork).is_some() {
        return FileIs::Whole;
    }
    let Some(folders) = s.folders[t.route.to].as_ref() else { return FileIs::Missing };
    let sets = folders.headers.get(file).and_then(|h| h.sets.known());
    let listed = folders.share.known().and_then(|share| share.iter().find(|f| f.name == file));
    let age = listed.map(|f| s.at.as_millisecond().saturating_sub(f.modified));
    let is_new = age.is_some_and(|age| i128::from(age) < REST.as_millis());
    match (sets, is_new) {
        (None, true) => FileIs::Unread,
        (None, false) | (Some(_), _) => FileIs::Missing,
    }
}

/// How an Agent job of ours is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobIs {
    /// It was not started, or is over and may be started again.
    Idle,
    /// It runs, or was started a moment ago.
    Running,
    /// It has failed again and again: what it said last.
    Failing(String),
}

/// How a job is on an instance, or that nobody can say; and how the file is that it is to make, if it makes one.
pub fn job_is(
    s: &Situation,
    t: &Transition,
    (on, name): (&Instance, &str),
    file: Option<FileIs>,
) -> Reading<JobIs> {
    let jobs = match on.jobs.get() {
        Ok(jobs) => jobs,
        Err(p) => return Reading::Unknown(p.clone()),
    };
    let job = jobs.iter().find(|j| j.name.eq_ignore_ascii_case(name));
    let started = t.facts.started_jobs.get(name);
    let over = |span: SignedDuration| started.is_none_or(|x| is_past(x.at, span, s.at));
    let last = job.and_then(|j| j.last.as_ref());
    let ended_well = last.is_some_and(|run| run.status == SUCCEEDED);
    Reading::Known(match job {
        Some(Job { running: true, .. }) => JobIs::Running,
        // An Agent writes down how a run ended; one that died, nothing.
        _ if last.is_none() && !over(PATIENCE) => JobIs::Running,
        // What it has made is about to be looked into.
        _ if ended_well && file == Some(FileIs::Unread) => JobIs::Running,
        // What never ended was cut off, with whoever made it or with its server: that is no failure of its own.
        _ => match last.filter(|_| t.is_in_vain(name, None) && !over(REST)) {
            Some(_) if ended_well => JobIs::Failing(match file {
                Some(_) => "its job ends well, and nothing of it is to be seen in the share".into(),
                None => "its job ends well, and what it makes does not stay: somebody changes it".into(),
            }),
            Some(run) => JobIs::Failing(end_of(&run.message)),
            None => JobIs::Idle,
        },
    })
}

/// The end of what a step said: there stands what it ended with.
fn end_of(message: &str) -> String {
    const KEPT: usize = 600;
    let characters = message.chars().count();
    clean(&message.chars().skip(characters.saturating_sub(KEPT)).collect::<String>())
}

/// When a job that runs is looked at again: more and more rarely, for it takes as long as the database is large.
pub fn next_look(s: &Situation, t: &Transition, name: &str) -> Option<Timestamp> {
    let runs_for = t.facts.started_jobs.get(name).map(|job| s.at.duration_since(job.at))?;
    let pause = (runs_for / 20).clamp(SignedDuration::from_secs(1), SignedDuration::from_secs(30));
    s.at.checked_add(pause).ok()
}

/// Jobs of ours on an instance, of this transition or an earlier one that the records tell of, which do not run: nothing of them is to be
/// left behind.
pub fn left_behind(s: &Situation, t: &Transition, on: &Instance) -> Option<String> {
    let all = s.transitions();
    let ids = all.iter().map(|t| &t.id).chain([&t.id]);
    let names: BTreeSet<String> = ids.flat_map(|id| Work::ALL.map(|w| w.job(id).to_lowercase())).collect();
    let jobs = on.jobs.known()?;
    let ours = |j: &&Job| names.contains(&j.name.to_lowercase()) && !j.running;
    jobs.iter().find(ours).map(|j| j.name.clone())
}
