//! Somebody who works through the runbook by hand, beside the operators.

use lab::sql::{self, Restored, backup};
use lab::world::World;
use lab::world::files::split;
use persistent_chat_failover::domain::side::Side;
use serde::{Deserialize, Serialize};

use crate::sides;
use crate::world::Shared;

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

/// One step of the runbook that makes a side the active one, done by somebody who looks only at whether it can be done.
pub fn carry_out(s: &mut Shared, side: Side, hand: Hand) -> Result<(), String> {
    let w = &mut s.world;
    let key = w.scenario.database.to_lowercase();
    let to = sides::data_center(&w.scenario, side).clone();
    let target = to.sql_server.as_str();
    let instance = w.sql.get(target).ok_or("no target")?;
    let busy = instance.sessions.values().any(|x| x.running.as_ref().is_some_and(|r| r.database == key));
    let live = instance.databases.get(&key).is_some_and(|d| d.state == 0 && !d.standby);
    let store = lab::chat::central_management_is_up(w);
    let failed_over = w.chat.master.pool_state.eq_ignore_ascii_case(side.pool_state());
    let can = |holds: bool, why: &str| if holds { Ok(()) } else { Err(why.to_string()) };
    match hand {
        Hand::RemoveLogShipping => sql::remove_log_shipping_by_hand(w, target)?,
        Hand::Copy => copy_next(w, side)?,
        Hand::Apply => {
            can(!busy && !live, "the database is in use or live")?;
            apply_next(w, side, &key)?;
        }
        Hand::Recover => {
            can(!busy && !live, "the database is in use or live")?;
            sql::recover_by_hand(w, target)?;
            s.truth.recovered_by_hand = true;
        }
        Hand::SetState => {
            can(live && store, "the database is not live, or the store is down")?;
            s.truth.said_by_hand = Some(s.world.now);
            finish_by_hand(s, side);
        }
        Hand::BuildMirror => {
            can(live, "the database is not live")?;
            sql::mirror_check(w, target, &to.mirror, &key, false)?;
            sql::mirror_establish(w, target, &to.mirror, &key);
            s.truth.mirrored_by_hand = Some(s.world.now);
        }
        Hand::SetActive => {
            can(store && failed_over && live, "the pool has not failed over, or the store is down")?;
            lab::chat::change(w, |x| x.active = to.servers.clone());
        }
    }
    Ok(())
}

/// Does something on both servers of a side.
pub fn on_servers(
    s: &mut Shared,
    side: Side,
    what: impl Fn(&mut World, &str) -> Result<(), String>,
) -> Result<(), String> {
    let d = sides::data_center(&s.world.scenario, side).clone();
    [&d.sql_server, &d.mirror].into_iter().try_for_each(|host| what(&mut s.world, host))
}

/// Does something in the data centre of a side.
pub fn on_data_center(
    s: &mut Shared,
    side: Side,
    what: impl Fn(&mut World, &str) -> Result<(), String>,
) -> Result<(), String> {
    let name = sides::data_center(&s.world.scenario, side).name.clone();
    what(&mut s.world, &name)
}

/// Copies the oldest backup that is not in the copy folder.
fn copy_next(w: &mut World, side: Side) -> Result<(), String> {
    let share = sides::backup_share(&w.scenario, side).to_string();
    let folder = sides::copy_folder(&w.scenario, side).to_string();
    let have = w.files.list(&folder).map_err(|e| e.text)?;
    let all = w.files.list(&share).map_err(|e| e.text)?;
    let next = all.into_iter().map(|(n, _)| n).find(|n| !have.iter().any(|(h, _)| h == n));
    let name = next.ok_or("everything is copied")?;
    let content = w.files.read(&format!(r"{share}\{name}")).map_err(|e| e.text)?;
    w.files.write(&format!(r"{folder}\{name}"), &content).map_err(|e| e.text)
}

/// `RESTORE LOG` of the next log backup in the copy folder, at once.
fn apply_next(w: &mut World, side: Side, key: &str) -> Result<(), String> {
    let folder = sides::copy_folder(&w.scenario, side).to_string();
    let target = sides::data_center(&w.scenario, side).sql_server.clone();
    let db = w.sql.get(&target).and_then(|i| i.databases.get(key)).ok_or("no database")?;
    let (lsn, fork) = db.redo.clone().ok_or("not restoring")?;
    if db.standby && db.undo_lost {
        return Err("its undo file is gone".into());
    }
    let only = db.interrupted.clone();
    for (name, _) in w.files.list(&folder).map_err(|e| e.text)? {
        let path = format!(r"{folder}\{name}");
        let Ok(set) = backup::verify(w.files.as_ref(), &path) else { continue };
        let fits = set.first_lsn <= lsn && lsn < set.last_lsn && set.first_fork.eq_ignore_ascii_case(&fork);
        if !fits || only.as_ref().is_some_and(|f| *f != name.to_lowercase()) {
            continue;
        }
        let now = w.now;
        let i = w.sql.get_mut(&target).ok_or("no target")?;
        let db = i.databases.get_mut(key).ok_or("no database")?;
        db.redo = Some((set.last_lsn, set.last_fork.clone()));
        db.interrupted = None;
        let database = db.name.clone();
        i.restore_history.push(Restored { at: now, database, set, path });
        return Ok(());
    }
    Err("no log backup fits".into())
}

/// The copy of a side is restored anew from a full backup. Somebody who has been called looks first: it may live by now.
pub fn restore_anew(s: &mut Shared, side: Side) -> Result<(), String> {
    let target = sides::data_center(&s.world.scenario, side).sql_server.clone();
    if sides::principal(&s.world, side).is_some() {
        return Err("the database is live".into());
    }
    sql::restore_anew_by_hand(&mut s.world, &target)
}

/// The pool is told that chat has moved to a side.
pub fn finish_by_hand(s: &mut Shared, side: Side) {
    lab::chat::set_state_by_hand(&mut s.world, sides::store(side));
}

/// The principal of a side gets the other server of that side as its mirror, whatever stands there.
pub fn build_mirror_by_hand(s: &mut Shared, side: Side) {
    let Some((principal, mirror)) = partners(&s.world, side) else { return };
    let key = s.world.scenario.database.to_lowercase();
    sql::mirror_establish(&mut s.world, &principal, &mirror, &key);
    s.truth.mirrored_by_hand = Some(s.world.now);
}

/// What stands on the other server of a side than the principal is moved away.
pub fn clear_mirror(s: &mut Shared, side: Side) {
    let Some((_, mirror)) = partners(&s.world, side) else { return };
    let key = s.world.scenario.database.to_lowercase();
    s.world.sql.get_mut(&mirror).and_then(|i| i.databases.remove(&key));
}

/// The server of a side on which its database is live, and the other one.
fn partners(w: &World, side: Side) -> Option<(String, String)> {
    let (d, principal) = (sides::data_center(&w.scenario, side), sides::principal(w, side)?);
    let mirror = if principal.host == d.mirror { &d.sql_server } else { &d.mirror };
    Some((principal.host.clone(), mirror.clone()))
}

/// Every file in the folders of log shipping is written once more, with what it holds.
pub fn put_again(w: &mut World) {
    for side in Side::BOTH {
        for folder in
            [sides::backup_share(&w.scenario, side), sides::copy_folder(&w.scenario, side)].map(String::from)
        {
            for (name, _) in w.files.list(&folder).unwrap_or_default() {
                let path = format!(r"{folder}\{name}");
                let again = w.files.read(&path).and_then(|content| w.files.write(&path, &content));
                w.touch();
                drop(again);
            }
        }
    }
}

/// Whether a message says that a folder is missing (5133), or room (3257).
pub fn lacks_a_place(message: &str) -> bool {
    ["5133", "Directory lookup", "3257", "free space"].iter().any(|said| message.contains(said))
}

/// Every server gets the folders that the files of any copy of the database lie in.
pub fn make_folders(w: &mut World) -> Result<(), String> {
    let key = w.scenario.database.to_lowercase();
    let files = w.sql.values().filter_map(|i| i.databases.get(&key)).flat_map(|db| &db.files);
    let folders: Vec<String> = files.map(|f| split(&f.path).0.to_string()).collect();
    let hosts: Vec<String> = w.sql.keys().cloned().collect();
    for (host, folder) in hosts.iter().flat_map(|host| folders.iter().map(move |folder| (host, folder))) {
        sql::make_folder_by_hand(w, host, folder)?;
    }
    Ok(())
}

/// Where both servers of a side show a live database, the one is taken offline for good that chat is not in; whether that is so.
pub fn takes_the_unused_offline(w: &mut World, side: Side) -> bool {
    let key = w.scenario.database.to_lowercase();
    let d = sides::data_center(&w.scenario, side).clone();
    let is_live = |host: &&String| {
        let db = w.sql.get(*host).and_then(|i| i.databases.get(&key));
        lab::sql::is_up(w, host) && db.is_some_and(sql::Database::is_live)
    };
    let live: Vec<String> = [&d.sql_server, &d.mirror].into_iter().filter(is_live).cloned().collect();
    let [first, second] = &live[..] else { return false };
    let unused = if sides::is_chatted_on(w, second) { first } else { second };
    w.sql.get_mut(unused).and_then(|i| i.databases.remove(&key));
    w.touch();
    true
}

/// A job is deleted wherever it stands.
pub fn delete_jobs(w: &mut World, name: &str) -> Result<(), String> {
    let has = |i: &sql::Instance| i.jobs.iter().any(|j| j.name == name);
    let hosts: Vec<String> = w.sql.values().filter(|i| has(i)).map(|i| i.host.clone()).collect();
    hosts.iter().try_for_each(|host| sql::delete_job_by_hand(w, host, name))
}

/// The database of a side is taken offline for good.
pub fn take_offline(s: &mut Shared, side: Side) {
    let key = s.world.scenario.database.to_lowercase();
    let d = sides::data_center(&s.world.scenario, side).clone();
    for host in [&d.sql_server, &d.mirror] {
        s.world.sql.get_mut(host).and_then(|i| i.databases.remove(&key));
    }
    s.world.touch();
}
