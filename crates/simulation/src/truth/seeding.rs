//! A seed overwrites nothing that nobody has agreed to, and nothing that only the old side holds.

use lab::sql::backup::BackupHeader;
use lab::sql::{Database, Instance};
use lab::world::World;
use lab::world::journal::Entry;
use persistent_chat_failover::domain::seeding::LACKED;
use persistent_chat_failover::domain::side::Side;

use super::{Truth, Write, last_record};
use crate::sides;

/// Whether a write closes a database that is to be overwritten: the name of the tail says so.
pub(super) fn closes(entry: &Entry) -> bool {
    entry.name == "BACKUP LOG" && entry.target.as_deref().is_some_and(|path| path.contains("_saved_"))
}

/// Judges a write of an operator.
pub(super) fn judge(truth: &mut Truth, write: &Write<'_>) {
    let (w, e) = (write.world, write.entry);
    let key = w.scenario.database.to_lowercase();
    let here = w.sql.get(&e.server).and_then(|i| i.databases.get(&key));
    let told = || write.told();
    // Lost since the look that this was decided on: nothing could know it.
    let other = write.active.is_none_or(|active| write.side == Some(active.other()));
    if closes(e) {
        truth.check(
            "an old database is closed by a yes only, beside the live one",
            other && is_agreed(write),
            told,
        );
        let fork = here.map(|db| db.fork.clone()).unwrap_or_default();
        let saved = backups(w, write).any(|set| set.kind == 1 && set.last_fork.eq_ignore_ascii_case(&fork));
        truth.check("a full backup stands before an old database is closed", saved, told);
        judge_count(truth, write, here);
    }
    let text = e.parameters.get("@p4").map(String::as_str).unwrap_or_default();
    if e.name != "EXEC sp_start_job" || !text.contains("RESTORE DATABASE") {
        return;
    }
    truth.check("a copy is seeded by a yes only, beside the live database", other && is_agreed(write), told);
    // A restore of log shipping that ends just now may leave a copy readable again: nobody has written to that, and the text looks once more.
    let open = here.is_some_and(lab::sql::Database::is_live);
    truth.check("a seed overwrites nothing that is open", !open, told);
    let unsaved = here.and_then(|db| unsaved(truth, write, db));
    truth.check("what a seed overwrites was saved", unsaved.is_none(), || {
        format!("{}: {}", write.told(), unsaved.clone().unwrap_or_default())
    });
    let name = w.scenario.data_center_of(&e.server);
    let partners = w.sql.values().filter(|i| w.scenario.data_center_of(&i.host) == name && !i.down);
    let backs_up = |i: &&Instance| {
        i.log_shipping_primary.iter().any(|p| i.jobs.iter().any(|j| j.id == p.job && j.enabled))
    };
    let (mirrored, writes) = partners.fold((false, false), |(mirrored, writes), i| {
        let db = i.databases.get(&key);
        (mirrored || db.is_some_and(|db| db.mirroring.is_some()), writes || backs_up(&i))
    });
    truth.check(
        "an old side is unmirrored, and backs up no log, before it is overwritten",
        !mirrored && !writes,
        told,
    );
}

/// What was lost is counted before the database is closed that holds it, and every one of them that was sent and is nowhere else.
fn judge_count(truth: &mut Truth, write: &Write<'_>, here: Option<&Database>) {
    let (w, e) = (write.world, write.entry);
    let Some(side) = write.side else { return };
    let key = w.scenario.database.to_lowercase();
    let live = sides::principal(w, side.other()).and_then(|i| i.databases.get(&key));
    let Some((old, live)) = here.zip(live).filter(|(old, live)| old.family == live.family) else { return };
    let store = sides::data_center(&w.scenario, side).sql_server == e.server;
    let lost = match store {
        true => "/facts/saved/store/lost",
        false => "/facts/saved/mirror/lost",
    };
    let record = last_record(write, None).unwrap_or_default();
    let lost = record.pointer(lost).cloned().unwrap_or_default();
    truth.check("what was lost is counted before it is closed", !lost.is_null(), || write.told());
    if let Some(counted) = lost.get("messages").and_then(serde_json::Value::as_u64) {
        let lacking = w.messages.rows_lacking(old, live) as u64;
        // Who is told by hand to chat there again adds to it.
        let holds = counted == lacking || super::just(truth.said_by_hand, e.time);
        truth.check("what was lost is counted rightly", holds, || {
            format!("{}: {lost}, and the live one lacks {lacking}", write.told())
        });
    }
}

/// Whether a human has agreed to what is overwritten, by the record that stands beside the live database.
fn is_agreed(write: &Write<'_>) -> bool {
    !agreed_overwrites(write).is_empty()
}

/// The lines of what is overwritten that a human has agreed to, by the record that stands beside the live database.
fn agreed_overwrites(write: &Write<'_>) -> Vec<serde_json::Value> {
    let record = last_record(write, None).unwrap_or_default();
    let consents = record.pointer("/consents").and_then(|c| c.as_array()).cloned().unwrap_or_default();
    let lines = consents.iter().filter_map(|c| c.pointer("/terms/overwrites")?.as_array());
    lines.flatten().cloned().collect()
}

/// Whether a human has agreed to lose what only the database holds that is overwritten, as far as the operator can tell that.
fn is_given_up(write: &Write<'_>) -> bool {
    agreed_overwrites(write).iter().any(|line| line.as_str().is_some_and(|line| line.contains(LACKED)))
}

/// What of a database that was live on a server stands in no backup: where its log ends, if that was not saved.
fn unsaved(truth: &Truth, write: &Write<'_>, db: &Database) -> Option<String> {
    let fork = db.fork.to_lowercase();
    if !truth.was_live(&write.entry.server, &fork) {
        return None;
    }
    let sets: Vec<BackupHeader> =
        backups(write.world, write).filter(|s| s.last_fork.to_lowercase() == fork).collect();
    let full = sets.iter().any(|s| s.kind == 1);
    let end = db.redo.as_ref().map_or(db.log_end, |(lsn, _)| *lsn);
    let tail = sets.iter().any(|s| s.kind == 2 && s.last_lsn >= end);
    // What the tail of a switch has closed lives on in the other one, all of it.
    let w = write.world;
    let key = w.scenario.database.to_lowercase();
    let live = write.side.and_then(|side| sides::principal(w, side.other())?.databases.get(&key));
    let lacks = live.is_none_or(|live| !w.messages.lacking(db, live).is_empty());
    (lacks && (!full || !tail) && !is_given_up(write)).then(|| format!("fork {fork} up to {end}"))
}

/// The backups in the share that feeds the copy of the side that is written to.
fn backups<'w>(w: &'w World, write: &Write<'_>) -> impl Iterator<Item = BackupHeader> + 'w {
    sides::backups(w, write.side.map_or("", |side| sides::backup_share(&w.scenario, side)))
}

/// Whether a copy can be seeded on a side, whatever stands there: every server of it can be seen, and nothing hinders its jobs.
pub(super) fn can_be_seeded(w: &World, side: Side) -> bool {
    let d = sides::data_center(&w.scenario, side);
    let servers = [&d.sql_server, &d.mirror].into_iter().filter(|host| !host.is_empty());
    let works = |host: &String| {
        let i = w.sql.get(host).filter(|_| lab::sql::is_up(w, host));
        i.is_some_and(|i| !i.agent_stopped && !i.disk_full && !i.silent && !i.jobs.iter().any(|j| j.hangs))
    };
    sides::stands(w, side) && servers.into_iter().all(works)
}

/// Jobs of ours that stand on a server that can be seen.
pub(super) fn left_behind(w: &World) -> Vec<String> {
    // What a mirror has is looked at once it is the principal again.
    let key = w.scenario.database.to_lowercase();
    let is_mirror = |i: &&Instance| {
        i.databases.get(&key).and_then(|db| db.mirroring.as_ref()).is_some_and(|m| m.role == 2)
    };
    let up = w.sql.values().filter(|i| lab::sql::is_up(w, &i.host) && !is_mirror(i));
    let ours =
        up.flat_map(|i| i.jobs.iter().filter(|j| j.name.starts_with("PCF_")).map(move |j| (j, &i.host)));
    ours.map(|(j, host)| format!("{} on {host}", j.name)).collect()
}
