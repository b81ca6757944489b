//! Databases: their state, their recovery, their mirroring, their files.

use rusqlite::types::Value as Sqlite;

use super::{Table, lsn, n, numbered, o, s, table};
use crate::sql::{Instance, guid, is_up};
use crate::world::World;

pub(super) fn databases(_: &World, i: &Instance) -> Table {
    let columns = [
        "database_id",
        "name",
        "state",
        "state_desc",
        "is_in_standby",
        "is_read_only",
        "user_access",
        "user_access_desc",
        "recovery_model",
        "recovery_model_desc",
    ];
    let rows = numbered(i).map(|(id, d)| {
        let state = if d.state == 0 { "ONLINE" } else { "RESTORING" };
        let access = ["MULTI_USER", "SINGLE_USER", "RESTRICTED_USER"];
        let access = access.get(usize::try_from(d.user_access).unwrap_or(0)).unwrap_or(&"");
        vec![
            n(id),
            s(&d.name),
            n(d.state),
            s(state),
            n(d.standby),
            n(d.read_only),
            n(d.user_access),
            s(access),
            n(1),
            s("FULL"),
        ]
    });
    table(&columns, rows)
}

pub(super) fn recovery_status(_: &World, i: &Instance) -> Table {
    let columns = [
        "database_id",
        "family_guid",
        "last_log_backup_lsn",
        "recovery_fork_guid",
        "first_recovery_fork_guid",
        "fork_point_lsn",
    ];
    // Where a database has never left a fork, its first one is the one that it is on, and there is no fork point. That the first one goes
    // on being the one before when a log backup has told of both is documented nowhere, nor that it does not.
    let rows = numbered(i).map(|(id, d)| {
        let next = d.next_log_backup().map_or(Sqlite::Null, lsn);
        let first = d.forked.as_ref().map_or(&d.fork, |f| &f.from);
        let point = d.forked.as_ref().map_or(Sqlite::Null, |f| lsn(f.lsn));
        vec![n(id), s(&d.family), next, s(&d.fork), s(first), point]
    });
    table(&columns, rows)
}

pub(super) fn mirroring(w: &World, i: &Instance) -> Table {
    let columns = [
        "database_id",
        "mirroring_guid",
        "mirroring_state",
        "mirroring_role",
        "mirroring_safety_level",
        "mirroring_partner_name",
        "mirroring_partner_instance",
        "mirroring_witness_name",
        "mirroring_witness_state",
    ];
    let rows = numbered(i).map(|(id, d)| match &d.mirroring {
        Some(m) => {
            let state = if m.state == 4 && !is_up(w, &m.partner) { 1 } else { m.state };
            let partner = w.sql.get(&m.partner).map(|p| &p.server_name);
            vec![
                n(id),
                s(&guid(w.scenario.seed, "mirroring")),
                n(state),
                n(m.role),
                n(2),
                s(&format!("TCP://{}:5022", m.partner)),
                o(partner),
                Sqlite::Null,
                Sqlite::Null,
            ]
        }
        None => {
            let mut row = vec![n(id)];
            row.resize(columns.len(), Sqlite::Null);
            row
        }
    });
    table(&columns, rows)
}

pub(super) fn master_files(_: &World, i: &Instance) -> Table {
    let columns = [
        "database_id",
        "file_id",
        "type",
        "name",
        "physical_name",
        "state",
        "redo_start_lsn",
        "redo_start_fork_guid",
    ];
    let rows = numbered(i).flat_map(|(id, d)| {
        let (redo, fork) = match &d.redo {
            Some((at, fork)) if d.state == 1 => (lsn(*at), s(fork)),
            Some(_) | None => (Sqlite::Null, Sqlite::Null),
        };
        // Of a database in STANDBY nothing public shows the state of its files: here they are what it is.
        d.files.iter().map(move |f| {
            let (redo, fork) =
                if f.log { (Sqlite::Null, Sqlite::Null) } else { (redo.clone(), fork.clone()) };
            vec![n(id), n(f.id), n(f.log), s(&f.name), s(&f.path), n(d.state), redo, fork]
        })
    });
    table(&columns, rows)
}
