//! Everybody else: disaster, administrators at work by hand, clusters that are lost, an on-call human, old manifests.

pub mod confusion;
mod draw;
pub mod edits;
pub mod hands;
pub mod human;
mod weeks;

use jiff::{SignedDuration, Timestamp};
use lab::sql::backup::{self, BackupHeader};
use lab::sql::{self, Instance, SQL_USER};
use lab::world::World;
use persistent_chat_failover::domain::side::Side;
use serde::{Deserialize, Serialize};

use crate::cluster::Cluster;
use crate::sides;
use crate::world::Shared;
use confusion::Confusion;
use edits::Change;

pub use draw::{bad_night, begin_with_a_first_sight, mislead, plain, planned_night, returning_night};
pub use hands::Hand;
pub use weeks::weeks;

/// Something that somebody does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Act {
    /// The side that is active at the beginning dies.
    Lose,
    /// It comes back.
    Return,
    /// The other side dies.
    LoseOther,
    /// It comes back.
    ReturnOther,
    /// The chat services of a side do not stop when they are told to, or do again.
    WillNotStop(Side, bool),
    /// The Central Management store is moved to the other side.
    MoveCentralManagement,
    /// A manifest is applied that asks for a data centre.
    Want(usize, Side),
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
    Recreate(usize, Side),
    /// An operator is killed.
    KillOperator(usize),
    /// A database administrator kills every session of the operators.
    KillSessions,
    /// A database administrator kills the session whose RESTORE runs.
    KillRestore,
    /// Somebody carries out one step of the runbook by hand.
    ByHand(Hand),
    /// The same, of the runbook that makes a side the active one.
    StepByHand(Side, Hand),
    /// Somebody restores the copy of a side from a full backup of his own, unless it lives.
    RestoreAnew(Side),
    /// The undo file of the target's copy is deleted, if that is in STANDBY.
    LoseUndoFile,
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
    /// A last log backup of that side appears in the share late, by replication of files.
    LateBackup,
    /// Somebody rescues the tail of the log and puts it into the share under a name of his own.
    RescuedTail,
    /// The live database gets one more data file, where the other side has no such folder, and a log backup tells of it.
    AddFile,
    /// A log backup of another database appears in the share.
    OtherDatabase,
    /// A copy that is not finished lies in the share.
    Unfinished,
    /// Somebody makes one server of a side the only active one.
    ActiveByHand(Side),
    /// Somebody ends the mirroring of a side.
    Unmirror(Side),
    /// The principal of a side goes down, and its mirror takes over.
    Promote(Side),
    /// The SQL Servers of a side that are down start again.
    StartSql(Side),
    /// Somebody removes log shipping from the servers of a side.
    RemoveShipping(Side),
    /// Somebody disables the jobs of log shipping on the servers of a side.
    DisableJobs(Side),
    /// Something makes it hard to say who lives, or does not any more.
    Confuse(Confusion, bool),
    /// So many of the next runs of `Install-CsMirrorDatabase` end with warnings and without a mirror.
    MirrorWarns(u32),
}

/// What happens, and when (seconds).
pub type Script = Vec<(f64, Act)>;

/// Somebody acts.
pub fn act(s: &mut Shared, act: &Act) {
    s.tell(&format!("{act:?}"));
    *s.acts.entry(name(act)).or_default() += 1;
    if let Err(e) = carry_out(s, act) {
        s.tell(&format!("  which did nothing: {e}"));
    }
    s.world.touch();
    s.observe();
}

fn carry_out(s: &mut Shared, act: &Act) -> Result<(), String> {
    let (from, to) = (sides::from(&s.world.scenario).clone(), sides::to(&s.world.scenario).clone());
    let now = s.time();
    match act {
        Act::Lose => s.world.lose(&from.name)?,
        Act::Return => s.world.restore(&from.name)?,
        Act::LoseOther => s.world.lose(&to.name)?,
        Act::ReturnOther => s.world.restore(&to.name)?,
        Act::WillNotStop(side, on) => will_not_stop(s, *side, *on)?,
        Act::MoveCentralManagement => lab::chat::fail_over_central_management(&mut s.world, &to.name),
        Act::Want(who, side) => edits::apply(s, *who, Change::Active(*side)),
        Act::Suspend(who, on) => edits::apply(s, *who, Change::Suspend(*on)),
        Act::ApiServer(who, up) => {
            // A cluster that was lost does not come back by itself.
            if let Some(c) = s.clusters.get_mut(*who).filter(|c| c.object.is_some()) {
                if *up { c.down = None } else { c.goes_down(now) }
            }
        }
        Act::WatchGap(who, seconds) => {
            on_cluster(s, *who, |c| c.deafen(now + SignedDuration::from_secs_f64(*seconds)));
        }
        Act::RollBack(who, seconds) => {
            let standing = s.clusters.get_mut(*who).filter(|c| c.down.is_none() && c.object.is_some());
            if !standing.is_some_and(|c| c.roll_back(now, *seconds)) {
                return Err("there is nothing to roll back to".into());
            }
        }
        Act::LoseCluster(who) => {
            on_cluster(s, *who, |c| c.lose(now));
            s.kill(*who);
        }
        Act::Recreate(who, side) => {
            if let Some(c) = s.clusters.get_mut(*who).filter(|c| c.object.is_none()) {
                c.create(*side, now, SignedDuration::ZERO);
            }
        }
        Act::KillOperator(who) => s.kill(*who),
        Act::KillSessions => end_sessions(s, &to.sql_server, |x| x.host.contains("operator-")),
        Act::KillRestore => end_sessions(s, &to.sql_server, |x| x.running.is_some()),
        Act::ByHand(hand) => hands::carry_out(s, sides::to_side(&s.world.scenario), *hand)?,
        Act::StepByHand(side, hand) => hands::carry_out(s, *side, *hand)?,
        Act::RestoreAnew(side) => hands::restore_anew(s, *side)?,
        Act::LoseUndoFile => sql::lose_undo_file(&mut s.world, &to.sql_server)?,
        Act::HoldJobs(on) => on_target(s, |i| i.jobs.iter_mut().for_each(|job| job.hangs = *on)),
        Act::Skew(who, seconds) => skew(s, *who, *seconds),
        Act::DiskFull(on) => on_target(s, |i| i.disk_full = *on),
        Act::CopyFolderFull(on) => s.copy_folder_full = *on,
        Act::RefuseLogin(on) => refuse_login(s, *on),
        Act::LateBackup => tail(s, None)?,
        Act::RescuedTail => tail(s, Some("Tail_mgc.trn"))?,
        Act::AddFile => add_file(s, &from.sql_server)?,
        Act::OtherDatabase => other_database(s, now)?,
        Act::ActiveByHand(side) => {
            let one = sides::data_center(&s.world.scenario, *side).servers.first().cloned();
            lab::chat::set_active_by_hand(&mut s.world, one.as_slice())?;
        }
        Act::Unmirror(side) => hands::on_data_center(s, *side, sql::remove_mirror_by_hand)?,
        Act::Promote(side) => hands::on_data_center(s, *side, sql::promote_mirror)?,
        Act::StartSql(side) => hands::on_servers(s, *side, sql::start_sql)?,
        Act::RemoveShipping(side) => hands::on_servers(s, *side, sql::remove_log_shipping_by_hand)?,
        Act::DisableJobs(side) => hands::on_servers(s, *side, disable_jobs)?,
        Act::Confuse(confusion, on) => confusion.befall(s, *on)?,
        Act::MirrorWarns(runs) => s.world.chat.mirror_warns = *runs,
        Act::Unfinished => unfinished(s, now)?,
    }
    Ok(())
}

/// The clock of an operator jumps.
fn skew(s: &mut Shared, who: usize, seconds: i64) {
    if let Some(o) = s.operators.get_mut(who) {
        o.skew = SignedDuration::from_secs(seconds);
    }
}

/// The chat services of a side do not stop when they are told to, or do again.
fn will_not_stop(s: &mut Shared, side: Side, on: bool) -> Result<(), String> {
    let hosts = sides::data_center(&s.world.scenario, side).servers.clone();
    hosts.iter().try_for_each(|host| lab::chat::will_not_stop(&mut s.world, host, on))
}

/// Nothing starts the jobs of a server any more.
fn disable_jobs(w: &mut World, host: &str) -> Result<(), String> {
    w.sql.get_mut(host).into_iter().flat_map(|i| &mut i.jobs).for_each(|job| job.enabled = false);
    Ok(())
}

/// The kind of an act, for counting.
fn name(act: &Act) -> &'static str {
    match act {
        Act::Lose => "the data centre that was active first is lost",
        Act::Return => "the data centre that was active first comes back",
        Act::LoseOther => "the other data centre is lost",
        Act::ReturnOther => "the other data centre comes back",
        Act::WillNotStop(..) => "chat services do not stop, or do again",
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
        Act::ByHand(_) | Act::StepByHand(..) => "a step is done by hand",
        Act::RestoreAnew(_) => "a copy is restored anew by hand",
        Act::LoseUndoFile => "an undo file is deleted, if there is one",
        Act::HoldJobs(_) => "the Agent's jobs hang, or not any more",
        Act::Skew(..) => "a clock jumps",
        Act::DiskFull(_) => "the target's disk is full, or not any more",
        Act::CopyFolderFull(_) => "the copy folder is full, or not any more",
        Act::RefuseLogin(_) => "the login is refused, or not any more",
        Act::LateBackup => "a backup arrives late",
        Act::RescuedTail => "a tail is rescued under another name",
        Act::AddFile => "a data file is added",
        Act::OtherDatabase => "a backup of another database arrives",
        Act::Unfinished => "an unfinished copy lies in the share",
        Act::ActiveByHand(_) => "other active servers are set by hand",
        Act::Unmirror(_) => "a mirror is taken away",
        Act::Promote(_) => "a mirror takes over within its side",
        Act::StartSql(_) => "SQL Servers start again",
        Act::RemoveShipping(_) => "log shipping is removed by hand",
        Act::DisableJobs(_) => "jobs of log shipping are disabled",
        Act::Confuse(confusion, _) => confusion.name(),
        Act::MirrorWarns(_) => "Install-CsMirrorDatabase ends with warnings only",
    }
}

/// Something that happens to the cluster of an operator.
fn on_cluster(s: &mut Shared, who: usize, change: impl FnOnce(&mut Cluster)) {
    if let Some(c) = s.clusters.get_mut(who) {
        change(c);
    }
}

/// Something that happens to the instance that is to become the live one.
fn on_target(s: &mut Shared, change: impl FnOnce(&mut Instance)) {
    let target = sides::to(&s.world.scenario).sql_server.clone();
    if let Some(i) = s.world.sql.get_mut(&target) {
        change(i);
    }
}

/// The target refuses the operators' login, or not any more.
fn refuse_login(s: &mut Shared, on: bool) {
    on_target(s, |i| {
        i.refused.clear();
        i.refused.extend(on.then(|| SQL_USER.to_string()));
    });
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

/// The last log of the side that was lost, as somebody saved it, appears in the share.
fn tail(s: &mut Shared, name: Option<&str>) -> Result<(), String> {
    let source = sides::from(&s.world.scenario).sql_server.clone();
    let now = s.world.now;
    let mut path = sql::take_log_backup(&mut s.world, &source, now)?;
    if let Some(name) = name {
        let content = s.world.files.read(&path).map_err(|e| e.text)?;
        s.world.files.remove(&path).map_err(|e| e.text)?;
        path = format!(r"{}\{name}", sides::share(&s.world.scenario));
        s.world.files.write(&path, &content).map_err(|e| e.text)?;
    }
    s.truth.arrived.insert(path.to_lowercase(), now);
    Ok(())
}

/// The live database gets a file where the other side has no such folder, and the next log backup tells of it.
fn add_file(s: &mut Shared, live: &str) -> Result<(), String> {
    sql::add_file_by_hand(&mut s.world, live, "more", r"X:\Added\more.ndf")?;
    tail(s, None)
}

/// A log backup of another database appears in the share. By its numbers alone it would fit anywhere.
fn other_database(s: &mut Shared, now: Timestamp) -> Result<(), String> {
    let source = s.world.sql.get(&sides::from(&s.world.scenario).sql_server);
    let header = BackupHeader {
        database: "mgccomp".into(),
        server: source.map(|i| i.server_name.clone()).unwrap_or_default(),
        family: sql::guid(7, "family of another database"),
        first_lsn: 1,
        last_lsn: i64::MAX.into(),
        first_fork: sql::guid(7, "fork of another database"),
        last_fork: sql::guid(7, "fork of another database"),
        kind: 2,
        start: now,
        finish: now,
        checksums: false,
        payload: 64,
        extra: backup::Extra::default(),
    };
    let name = format!("mgccomp_{}.trn", now.strftime("%Y%m%d%H%M%S"));
    into_share(s, &name, &backup::encode(&header, 7))
}

/// A copy that is not finished lies in the share.
fn unfinished(s: &mut Shared, now: Timestamp) -> Result<(), String> {
    let name = format!("mgc_{}.wrk", now.strftime("%Y%m%d%H%M%S"));
    into_share(s, &name, b"half of a log backup")
}

/// A file appears in the share.
fn into_share(s: &mut Shared, name: &str, content: &[u8]) -> Result<(), String> {
    let path = format!(r"{}\{name}", sides::share(&s.world.scenario));
    s.world.files.write(&path, content).map_err(|e| e.text)
}
