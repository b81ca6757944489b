//! Everybody else: disaster, administrators at work by hand, clusters that are lost, an on-call human, old manifests.

use jiff::{SignedDuration, Timestamp};
use lab::sql::backup::{self, BackupHeader};
use lab::sql::{self, Restored, SQL_USER};
use lab::world::World;
use persistent_chat_failover::domain::consent::Consent;
use persistent_chat_failover::domain::problem::{Class, Problem, Reason};
use persistent_chat_failover::engine::plan::Goal;
use serde::{Deserialize, Serialize};

use crate::chance::Chance;
use crate::cluster::Refused;
use crate::world::Shared;

/// Something that somebody does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Act {
    /// The primary data centre dies.
    Lose,
    /// It comes back.
    Return,
    /// The Central Management store is moved to the surviving side.
    MoveCentralManagement,
    /// A manifest is applied that asks for a data centre.
    Want(usize, String),
    /// A manifest is applied that suspends the resource, or not any more.
    Suspend(usize, bool),
    /// An operator's API server does not answer any more, or again.
    ApiServer(usize, bool),
    /// The watch of an operator loses its events for so many seconds.
    WatchGap(usize, f64),
    /// An operator's cluster is rolled back to what it was so many seconds ago.
    RollBack(usize, f64),
    /// An operator's cluster is lost, with its operator.
    LoseCluster(usize),
    /// It is set up anew; its manifest asks for a data centre.
    Recreate(usize, String),
    /// An operator is killed.
    KillOperator(usize),
    /// A database administrator kills every session of the operators.
    KillSessions,
    /// A database administrator kills the session whose RESTORE runs.
    KillRestore,
    /// Somebody carries out one step of the runbook by hand.
    ByHand(Hand),
    /// The Agent's jobs hang, or not any more.
    HoldJobs(bool),
    /// An operator's clock jumps: so many seconds ahead of the true one.
    Skew(usize, i64),
    /// The disks of the target are full, or not any more.
    DiskFull(bool),
    /// The copy folder is full for the operators, or not any more.
    CopyFolderFull(bool),
    /// The target refuses the operators' login, or not any more.
    RefuseLogin(bool),
    /// A last log backup of the primary appears in the share late, by replication of files.
    LateBackup,
    /// Somebody rescues the tail of the log and puts it into the share under a name of his own.
    RescuedTail,
    /// A log backup of another database appears in the share.
    OtherDatabase,
    /// A copy that is not finished lies in the share.
    Unfinished,
}

/// A step of the runbook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hand {
    /// Removes log shipping.
    RemoveLogShipping,
    /// Copies the oldest backup that is not in the copy folder.
    Copy,
    /// Applies the next log backup.
    Apply,
    /// Recovers the database.
    Recover,
    /// Sets the pool's state, if the database is live.
    SetState,
    /// Builds the mirror, if the database is live.
    BuildMirror,
    /// Sets the active servers, if the pool has failed over.
    SetActive,
}

impl Hand {
    /// All of them.
    pub const ALL: [Hand; 7] = [
        Hand::RemoveLogShipping,
        Hand::Copy,
        Hand::Apply,
        Hand::Recover,
        Hand::SetState,
        Hand::BuildMirror,
        Hand::SetActive,
    ];
}

/// What happens, and when (seconds).
pub type Script = Vec<(f64, Act)>;

/// A change of a resource that somebody is about to make.
#[derive(Clone, Debug)]
pub struct Edit {
    due: Timestamp,
    who: usize,
    change: Change,
    /// A tool that applies a manifest needs no version; `kubectl edit` reads one first.
    apply: bool,
    read: Option<u64>,
}

#[derive(Clone, Debug)]
enum Change {
    Desired(String),
    Suspend(bool),
    Consent(Consent),
}

/// A disaster without anything else going wrong: what the exhaustive runs vary.
pub fn plain(operators: usize) -> Script {
    let mut script = vec![(3.0, Act::Lose), (3.0, Act::MoveCentralManagement)];
    script.extend((0..operators).map(|who| (4.0, Act::Want(who, "seattle".into()))));
    script
}

fn at(chance: &mut Chance, from: u64, to: u64) -> f64 {
    chance.between(from * 1000, to * 1000) as f64 / 1000.0
}

/// A bad night, drawn from chance.
pub fn night(chance: &mut Chance, operators: usize) -> Script {
    let loss = at(chance, 4, 12);
    let mut script = vec![(loss, Act::Lose)];
    // Moved beforehand, at once, or late.
    let moved = if chance.happens(150) { at(chance, 1, 4) } else { loss + at(chance, 0, 45) };
    script.push((moved, Act::MoveCentralManagement));
    for who in 0..operators {
        let wanted = if chance.happens(200) { at(chance, 1, 12) } else { loss + at(chance, 0, 15) };
        script.push((wanted, Act::Want(who, "seattle".into())));
        cluster(chance, who, wanted, operators, &mut script);
    }
    if chance.happens(250) {
        let mut back = loss;
        for _ in 0..chance.between(1, 4) {
            back += at(chance, 1, 25);
            script.push((back, Act::Return));
            back += at(chance, 1, 15);
            script.push((back, Act::Lose));
        }
    }
    let somewhen = |chance: &mut Chance| loss + at(chance, 0, 45);
    for (per_mille, on, off) in [
        (60, Act::HoldJobs(true), Act::HoldJobs(false)),
        (50, Act::DiskFull(true), Act::DiskFull(false)),
        (50, Act::CopyFolderFull(true), Act::CopyFolderFull(false)),
        (50, Act::RefuseLogin(true), Act::RefuseLogin(false)),
    ] {
        if chance.happens(per_mille) {
            let from = at(chance, 1, 35);
            script.push((from, on));
            script.push((from + at(chance, 2, 25), off));
        }
    }
    for (per_mille, act) in [
        (100, Act::KillSessions),
        (100, Act::KillSessions),
        (80, Act::KillRestore),
        (80, Act::KillRestore),
        (60, Act::LateBackup),
        (60, Act::RescuedTail),
        (80, Act::OtherDatabase),
        (60, Act::Unfinished),
    ] {
        if chance.happens(per_mille) {
            let when = somewhen(chance);
            script.push((when, act));
        }
    }
    // Most nights nobody is at work by hand; in the others often more than once.
    if chance.happens(250) {
        for _ in 0..chance.between(1, 4) {
            let hand = Hand::ALL.get(usize::try_from(chance.between(0, 7)).unwrap_or(0)).copied();
            let when = somewhen(chance);
            script.extend(hand.map(|h| (when, Act::ByHand(h))));
        }
    }
    script.sort_by(|a, b| a.0.total_cmp(&b.0));
    script
}

/// What befalls one operator and its cluster.
fn cluster(chance: &mut Chance, who: usize, wanted: f64, operators: usize, script: &mut Script) {
    let mut want = |when: f64, name: &str| script.push((when, Act::Want(who, name.into())));
    if chance.happens(100) {
        // A Git revert; mended some time later.
        let back = wanted + at(chance, 1, 40);
        want(back, "atlanta");
        want(back + at(chance, 5, 20), "seattle");
    }
    if chance.happens(80) {
        let from = wanted + at(chance, 0, 40);
        script.push((from, Act::Suspend(who, true)));
        script.push((from + at(chance, 5, 20), Act::Suspend(who, false)));
    }
    for _ in 0..2 {
        if chance.happens(60) {
            script.push((at(chance, 0, 60), Act::Skew(who, chance.between(0, 600) as i64 - 300)));
        }
    }
    if chance.happens(80) {
        script.push((at(chance, 1, 50), Act::WatchGap(who, at(chance, 1, 15))));
    }
    if chance.happens(100) {
        let from = at(chance, 1, 50);
        script.push((from, Act::ApiServer(who, false)));
        // For ever only where another operator can still be told what is wanted.
        if operators == 1 || who == 0 || chance.happens(600) {
            script.push((from + at(chance, 3, 30), Act::ApiServer(who, true)));
        }
    }
    if chance.happens(50) {
        let when = wanted + at(chance, 0, 40);
        script.push((when, Act::RollBack(who, at(chance, 1, 40))));
        script.push((when + at(chance, 5, 20), Act::Want(who, "seattle".into())));
    }
    if chance.happens(60) {
        let when = wanted + at(chance, 0, 40);
        script.push((when, Act::LoseCluster(who)));
        let anew = when + at(chance, 2, 20);
        let manifest = if chance.happens(500) { "atlanta" } else { "seattle" };
        script.push((anew, Act::Recreate(who, manifest.into())));
        // Somebody mends the old manifest, sooner or later.
        script.push((anew + at(chance, 3, 20), Act::Want(who, "seattle".into())));
    }
    if chance.happens(100) {
        script.push((at(chance, 1, 50), Act::KillOperator(who)));
    }
}

/// Somebody acts.
pub fn act(s: &mut Shared, act: &Act) {
    s.tell(&format!("{act:?}"));
    *s.acts.entry(name(act)).or_default() += 1;
    let names: Vec<String> = s.world.scenario.data_centers.iter().map(|d| d.name.clone()).collect();
    let (Some(first), Some(second)) = (names.first(), names.get(1)) else { return };
    let target = s.world.scenario.data_centers.get(1).map(|d| d.sql_server.clone()).unwrap_or_default();
    let now = s.time();
    let share = s.world.scenario.backup_share.clone();
    let done: Result<(), String> = match act {
        Act::Lose => s.world.lose(first),
        Act::Return => s.world.restore(first),
        Act::MoveCentralManagement => {
            lab::chat::fail_over_central_management(&mut s.world, second);
            Ok(())
        }
        Act::Want(who, name) => {
            apply(s, *who, Change::Desired(name.clone()));
            Ok(())
        }
        Act::Suspend(who, on) => {
            apply(s, *who, Change::Suspend(*on));
            Ok(())
        }
        Act::ApiServer(who, up) => {
            // A cluster that was lost does not come back by itself.
            if let Some(c) = s.clusters.get_mut(*who).filter(|c| c.object.is_some()) {
                c.down = !up;
            }
            Ok(())
        }
        Act::WatchGap(who, seconds) => {
            if let Some(c) = s.clusters.get_mut(*who) {
                c.deafen(now + SignedDuration::from_secs_f64(*seconds));
            }
            Ok(())
        }
        Act::RollBack(who, seconds) => {
            let standing = s.clusters.get_mut(*who).filter(|c| !c.down && c.object.is_some());
            let done = standing.is_some_and(|c| c.roll_back(now, *seconds));
            if done { Ok(()) } else { Err("there is nothing to roll back to".into()) }
        }
        Act::LoseCluster(who) => {
            if let (Some(c), Some(p)) = (s.clusters.get_mut(*who), s.processes.get_mut(*who)) {
                c.lose(now);
                p.kill = true;
            }
            Ok(())
        }
        Act::Recreate(who, desired) => {
            if let Some(c) = s.clusters.get_mut(*who).filter(|c| c.object.is_none()) {
                c.create(desired, now, SignedDuration::ZERO);
            }
            Ok(())
        }
        Act::KillOperator(who) => {
            if let Some(p) = s.processes.get_mut(*who) {
                p.kill = true;
            }
            Ok(())
        }
        Act::KillSessions => {
            end_sessions(s, &target, |x| x.host.contains("operator-"));
            Ok(())
        }
        Act::KillRestore => {
            end_sessions(s, &target, |x| x.running.is_some());
            Ok(())
        }
        Act::ByHand(hand) => by_hand(s, *hand, &target),
        Act::HoldJobs(on) => {
            for job in s.world.sql.get_mut(&target).into_iter().flat_map(|i| i.jobs.iter_mut()) {
                job.hangs = *on;
            }
            Ok(())
        }
        Act::Skew(who, seconds) => {
            if let Some(p) = s.processes.get_mut(*who) {
                p.skew = SignedDuration::from_secs(*seconds);
            }
            Ok(())
        }
        Act::DiskFull(on) => {
            if let Some(i) = s.world.sql.get_mut(&target) {
                i.disk_full = *on;
            }
            Ok(())
        }
        Act::CopyFolderFull(on) => {
            s.copy_folder_full = *on;
            Ok(())
        }
        Act::RefuseLogin(on) => {
            if let Some(i) = s.world.sql.get_mut(&target) {
                i.refused.clear();
                i.refused.extend(on.then(|| SQL_USER.to_string()));
            }
            Ok(())
        }
        Act::LateBackup => tail(s, None),
        Act::RescuedTail => tail(s, Some("Tail_mgc.trn")),
        Act::OtherDatabase => {
            let header = BackupHeader {
                database: "mgccomp".into(),
                server: "ATL-SQL-1\\CHAT".into(),
                family: sql::guid(7, "family of another database"),
                first_lsn: 1,
                last_lsn: i64::MAX,
                first_fork: sql::guid(7, "fork of another database"),
                last_fork: sql::guid(7, "fork of another database"),
                kind: 2,
                start: now,
                finish: now,
                checksums: false,
                payload: 64,
            };
            let path = format!(r"{share}\mgccomp_{}.trn", now.strftime("%Y%m%d%H%M%S"));
            s.world.files.write(&path, &backup::encode(&header, 7)).map_err(|e| e.text)
        }
        Act::Unfinished => {
            let path = format!(r"{share}\mgc_{}.wrk", now.strftime("%Y%m%d%H%M%S"));
            s.world.files.write(&path, b"half of a log backup").map_err(|e| e.text)
        }
    };
    if let Err(e) = done {
        s.tell(&format!("  which did nothing: {e}"));
    }
    s.world.touch();
    s.observe();
}

/// The kind of an act, for counting.
fn name(act: &Act) -> &'static str {
    match act {
        Act::Lose => "the primary data centre is lost",
        Act::Return => "the primary data centre comes back",
        Act::MoveCentralManagement => "the Central Management store is moved",
        Act::Want(..) => "a manifest is applied",
        Act::Suspend(..) => "suspended, or not any more",
        Act::ApiServer(..) => "an API server goes away or comes back",
        Act::WatchGap(..) => "a watch loses events",
        Act::RollBack(..) => "a cluster is rolled back",
        Act::LoseCluster(_) => "a cluster is lost",
        Act::Recreate(..) => "a cluster is set up anew",
        Act::KillOperator(_) => "an operator is killed",
        Act::KillSessions => "sessions are killed",
        Act::KillRestore => "a RESTORE is killed",
        Act::ByHand(_) => "a step is done by hand",
        Act::HoldJobs(_) => "the Agent's jobs hang, or not any more",
        Act::Skew(..) => "a clock jumps",
        Act::DiskFull(_) => "the target's disk is full, or not any more",
        Act::CopyFolderFull(_) => "the copy folder is full, or not any more",
        Act::RefuseLogin(_) => "the login is refused, or not any more",
        Act::LateBackup => "a backup arrives late",
        Act::RescuedTail => "a tail is rescued under another name",
        Act::OtherDatabase => "a backup of another database arrives",
        Act::Unfinished => "an unfinished copy lies in the share",
    }
}

fn end_sessions(s: &mut Shared, host: &str, which: impl Fn(&sql::Session) -> bool) {
    let sessions: Vec<u32> = s
        .world
        .sql
        .get(host)
        .map(|i| i.sessions.iter().filter(|(_, x)| which(x)).map(|(id, _)| *id).collect())
        .unwrap_or_default();
    for id in sessions {
        sql::logout(&mut s.world, host, id);
    }
}

/// The last log of the primary, as somebody saved it, appears in the share.
fn tail(s: &mut Shared, name: Option<&str>) -> Result<(), String> {
    let source = s.world.scenario.data_centers.first().map(|d| d.sql_server.clone()).unwrap_or_default();
    let now = s.world.now;
    let mut path = sql::take_log_backup(&mut s.world, &source, now)?;
    if let Some(name) = name {
        let content = s.world.files.read(&path).map_err(|e| e.text)?;
        s.world.files.remove(&path).map_err(|e| e.text)?;
        path = format!(r"{}\{name}", s.world.scenario.backup_share);
        s.world.files.write(&path, &content).map_err(|e| e.text)?;
    }
    s.truth.arrived.insert(path.to_lowercase(), now);
    Ok(())
}

/// One step of the runbook, done by somebody who looks only at whether it can be done.
fn by_hand(s: &mut Shared, hand: Hand, target: &str) -> Result<(), String> {
    let w = &mut s.world;
    let key = w.scenario.database.to_lowercase();
    let second = w.scenario.data_centers.get(1).cloned().ok_or("no second data centre")?;
    let instance = w.sql.get(target).ok_or("no target")?;
    let busy = instance.sessions.values().any(|x| x.running.as_ref().is_some_and(|r| r.database == key));
    let live = instance.databases.get(&key).is_some_and(|d| d.state == 0 && !d.standby);
    let store = lab::chat::central_management_is_up(w);
    let failed_over = w.chat.master.pool_state.eq_ignore_ascii_case("FailedOver");
    let can = |holds: bool, why: &str| if holds { Ok(()) } else { Err(why.to_string()) };
    match hand {
        Hand::RemoveLogShipping => {
            if let Some(i) = w.sql.get_mut(target) {
                i.log_shipping.clear();
                i.jobs.clear();
            }
        }
        Hand::Copy => {
            let (share, folder) = (w.scenario.backup_share.clone(), w.scenario.copy_folder.clone());
            let have = w.files.list(&folder).map_err(|e| e.text)?;
            let all = w.files.list(&share).map_err(|e| e.text)?;
            let next = all.into_iter().map(|(n, _)| n).find(|n| !have.iter().any(|(h, _)| h == n));
            let name = next.ok_or("everything is copied")?;
            let content = w.files.read(&format!(r"{share}\{name}")).map_err(|e| e.text)?;
            w.files.write(&format!(r"{folder}\{name}"), &content).map_err(|e| e.text)?;
        }
        Hand::Apply => {
            can(!busy && !live, "the database is in use or live")?;
            apply_next(w, target, &key)?;
        }
        Hand::Recover => {
            can(!busy && !live, "the database is in use or live")?;
            sql::recover_by_hand(w, target)?;
            s.truth.recovered_by_hand = true;
        }
        Hand::SetState => {
            can(live && store, "the database is not live, or the store is down")?;
            lab::chat::change(w, |x| x.pool_state = "FailedOver".into());
        }
        Hand::BuildMirror => {
            can(live, "the database is not live")?;
            sql::mirror_check(w, target, &second.mirror, &key, false)?;
            sql::mirror_establish(w, target, &second.mirror, &key);
            s.truth.mirrored_by_hand = Some(s.world.now);
        }
        Hand::SetActive => {
            can(store && failed_over && live, "the pool has not failed over, or the store is down")?;
            lab::chat::change(w, |x| x.active = second.servers.clone());
        }
    }
    Ok(())
}

/// `RESTORE LOG` of the next log backup in the copy folder, at once.
fn apply_next(w: &mut World, target: &str, key: &str) -> Result<(), String> {
    let folder = w.scenario.copy_folder.clone();
    let db = w.sql.get(target).and_then(|i| i.databases.get(key)).ok_or("no database")?;
    let (lsn, fork) = db.redo.clone().ok_or("not restoring")?;
    let only = db.interrupted.clone();
    for (name, _) in w.files.list(&folder).map_err(|e| e.text)? {
        let path = format!(r"{folder}\{name}");
        let Ok(set) = backup::verify(w.files.as_ref(), &path) else { continue };
        let fits = set.first_lsn <= lsn && lsn < set.last_lsn && set.first_fork.eq_ignore_ascii_case(&fork);
        if !fits || only.as_ref().is_some_and(|f| *f != name.to_lowercase()) {
            continue;
        }
        let now = w.now;
        let i = w.sql.get_mut(target).ok_or("no target")?;
        let db = i.databases.get_mut(key).ok_or("no database")?;
        db.redo = Some((set.last_lsn, set.last_fork.clone()));
        db.interrupted = None;
        db.newest_message = Some(set.start - SignedDuration::from_secs(20));
        let database = db.name.clone();
        i.restore_history.push(Restored { at: now, database, set, path });
        return Ok(());
    }
    Err("no log backup fits".into())
}

/// A tool applies a manifest: it needs no version, and tries again until it is answered.
fn apply(s: &mut Shared, who: usize, change: Change) {
    let due = s.time();
    // What was to be applied before is overtaken by what is applied now.
    let same = |e: &Edit| {
        e.who == who && e.apply && std::mem::discriminant(&e.change) == std::mem::discriminant(&change)
    };
    s.edits.retain(|e| !same(e));
    s.edits.push(Edit { due, who, change, apply: true, read: None });
    edit(s);
}

/// A human changes the resource: reads it, thinks for a moment, writes it back.
fn change(s: &mut Shared, who: usize, change: Change) {
    let due = s.time();
    s.edits.push(Edit { due, who, change, apply: false, read: None });
}

/// Whether a change of a resource is still to come. Where no API server answers none ever will.
pub fn edits_wait(s: &Shared) -> bool {
    s.edits.iter().any(|e| s.clusters.get(e.who).is_some_and(|c| !c.down))
}

/// Carries out the changes of resources that are due.
pub fn edit(s: &mut Shared) {
    let now = s.time();
    for mut e in std::mem::take(&mut s.edits) {
        if e.due > now {
            s.edits.push(e);
            continue;
        }
        let late =
            if s.chance.happens(150) { s.chance.between(1000, 8000) } else { s.chance.between(2, 150) };
        let millis = |n: u64| SignedDuration::from_millis(i64::try_from(n).unwrap_or(0));
        let thinks = millis(s.chance.between(200, 1500));
        let Some(c) = s.clusters.get_mut(e.who) else { continue };
        let stored = match c.get() {
            Ok(stored) => stored,
            Err(Refused::Down) => {
                e.due = now + SignedDuration::from_secs(2);
                s.edits.push(e);
                continue;
            }
            Err(Refused::NotFound | Refused::Conflict | Refused::Rule) => continue,
        };
        if !e.apply && e.read.is_none() {
            (e.read, e.due) = (Some(stored.version), now + thinks);
            s.edits.push(e);
            continue;
        }
        let mut spec: Goal = stored.spec.clone();
        match &e.change {
            Change::Desired(name) => spec.desired.clone_from(name),
            Change::Suspend(on) => spec.suspend = *on,
            Change::Consent(consent) => spec.consent = Some(consent.clone()),
        }
        match c.put(now, spec, e.read, millis(late)) {
            Ok(()) => {
                if let Change::Consent(_) = &e.change {
                    s.truth.consents += 1;
                }
                s.tell(&format!("  the resource of operator {} is changed: {:?}", e.who, e.change));
            }
            Err(Refused::Conflict) => {
                s.tell(&format!("  the resource of operator {} has changed meanwhile", e.who));
                (e.read, e.due) = (None, now + millis(200));
                s.edits.push(e);
            }
            Err(why) => s.tell(&format!("  the resource of operator {} is not changed: {why:?}", e.who)),
        }
    }
}

/// What the human on call does about a problem: exactly what its message says. `None`: the message names no fix that we know.
pub fn mend(s: &mut Shared, who: usize, problem: &Problem) -> Option<String> {
    let needed = s.processes.get(who).and_then(|p| p.consent_needed.clone());
    let consent = |s: &mut Shared, (transition, situation): (String, String)| {
        change(s, who, Change::Consent(Consent { transition, situation, by: "on call".into() }));
    };
    let want = |s: &mut Shared, name: &str| change(s, who, Change::Desired(name.into()));
    let done = match problem.reason {
        Reason::ConsentRequired
        | Reason::ConsentDoesNotFit
        | Reason::PrimaryUnknown
        | Reason::PrimaryUnusable
            if needed.is_some() =>
        {
            let needed = needed?;
            consent(s, needed.clone());
            format!("consents to {} {}", needed.0, needed.1)
        }
        Reason::RecoveredByOthers => {
            // The message carries the three values.
            let value = |name: &str| {
                let at = problem.fix.find(&format!("{name}: "))? + name.len() + 2;
                let text: String =
                    problem.fix.get(at..)?.chars().take_while(char::is_ascii_alphanumeric).collect();
                Some(text)
            };
            match (value("transition"), value("situation")) {
                (Some(transition), Some(situation)) => {
                    consent(s, (transition.clone(), situation.clone()));
                    format!("adopts the database: {transition} {situation}")
                }
                _ if problem.fix.contains("set spec.activeDataCenter to seattle") => {
                    want(s, "seattle");
                    "goes on with the database that was recovered".into()
                }
                _ => return None,
            }
        }
        Reason::PrimaryAlive | Reason::SplitBrain => {
            act(s, &Act::Lose);
            "fences the primary".into()
        }
        Reason::CentralManagementDown => {
            act(s, &Act::MoveCentralManagement);
            "moves the Central Management store".into()
        }
        Reason::ActiveDataCenterDrifted => {
            want(s, "seattle");
            "sets activeDataCenter to what is true".into()
        }
        Reason::NotSupported if problem.what.contains("cannot take it back") => {
            want(s, "seattle");
            "sets activeDataCenter back to the target".into()
        }
        Reason::DiskFull => {
            act(s, &Act::DiskFull(false));
            act(s, &Act::CopyFolderFull(false));
            "makes room".into()
        }
        Reason::LoginRefused => {
            act(s, &Act::RefuseLogin(false));
            "lets the login in again".into()
        }
        _ if problem.class == Class::Retry => return Some(String::new()),
        _ => return None,
    };
    s.tell(&format!("the human on call of operator {who} {done}"));
    Some(done)
}
