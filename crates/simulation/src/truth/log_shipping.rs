//! Log shipping runs from the side where chat is to the other one, and nothing is shipped over a database that lives.

use lab::sql::Database;
use lab::sql::backup::BackupHeader;
use lab::world::World;
use persistent_chat_failover::domain::side::Side;

use super::{Truth, Write, just};
use crate::sides;

/// Judges a write of an operator.
pub(super) fn judge(truth: &mut Truth, write: &Write<'_>) {
    let (w, e) = (write.world, write.entry);
    let key = w.scenario.database.to_lowercase();
    let copy = w.sql.get(&e.server).and_then(|i| i.databases.get(&key));
    let told = || write.told();
    match e.name.as_str() {
        "EXEC sp_add_log_shipping_primary_database" | "EXEC sp_add_log_shipping_primary_secondary" => {
            // Said by somebody since the look that this was decided on: nothing could know it.
            let just = just(truth.said_by_hand, e.time);
            let holds = copy.is_some_and(Database::is_live) && (write.side == write.active || just);
            truth.check("a log is shipped from the live database of the active side", holds, told);
        }
        "EXEC sp_add_log_shipping_secondary_primary" | "EXEC sp_add_log_shipping_secondary_database" => {
            // Lost since the look that this was decided on: nothing could know it.
            let looked = write.operator.look.map(|(_, began)| began);
            let just_lost = |side| {
                truth.has_just_lost(side, e.time) || looked.is_some_and(|at| truth.was_lost_since(side, at))
            };
            if write.active.is_none() && Side::BOTH.into_iter().any(just_lost) {
                return;
            }
            let waits = copy.is_some_and(|d| !d.is_live() && d.mirroring.is_none());
            let other = write.active.is_some_and(|active| write.side == Some(active.other()));
            truth.check(
                "a log is shipped to a copy that waits for it, on the other side",
                waits && other,
                told,
            );
            let fits = write.side.is_some_and(|side| can_be_fed(w, side));
            truth.check("a log is shipped to a copy that continues the live one", fits, told);
        }
        _ => {}
    }
}

/// Whether log backups that can be reached, by their headers, bring the copy of a side up to the live database of the other one.
pub(super) fn can_be_fed(w: &World, side: Side) -> bool {
    let (d, key) = (sides::data_center(&w.scenario, side), w.scenario.database.to_lowercase());
    // An old copy that is open beside the one that waits is in the way; one that is down is found when it is back.
    if sides::principal(w, side).is_some_and(|i| lab::sql::is_up(w, &i.host)) {
        return false;
    }
    let live = sides::principal(w, side.other()).and_then(|i| i.databases.get(&key));
    let copy = w.sql.get(&d.sql_server).filter(|i| !i.down).and_then(|i| i.databases.get(&key));
    let (Some(live), Some(copy), true) = (live, copy, sides::stands(w, side)) else { return false };
    let Some((mut lsn, mut fork)) = copy.redo.clone().filter(|_| copy.mirroring.is_none()) else {
        return false;
    };
    let mut sets: Vec<BackupHeader> = [&d.backup_share, &d.copy_folder]
        .into_iter()
        .flat_map(|folder| sides::backups(w, folder))
        // What leads away from the live database's path, or was the tail of one that was overwritten, is no part of it.
        .filter(|set| set.family == live.family && w.messages.has_come_by(live, &set.last_fork, set.last_lsn))
        .collect();
    sets.sort_by_key(|set| set.last_lsn);
    for set in sets {
        let is_left = set.extra.fork_point.is_some_and(|point| lsn > point);
        let fits = set.first_lsn <= lsn && lsn < set.last_lsn && !is_left;
        if fits && set.first_fork.eq_ignore_ascii_case(&fork) {
            (lsn, fork) = (set.last_lsn, set.last_fork);
        }
    }
    // It was recovered, on a fork of its own, where the copy's log ends or further on.
    let parted = live.forked.as_ref().is_some_and(|f| f.from.eq_ignore_ascii_case(&fork) && lsn <= f.lsn);
    (live.fork.eq_ignore_ascii_case(&fork) || parted) && lsn >= live.log_backed_up
}
