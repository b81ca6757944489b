//! The two sides of a night: the only place that says which of a scenario's data centres is which.

use lab::scenario::{DataCenter, Scenario, Store};
use lab::sql::backup::{self, BackupHeader};
use lab::sql::{Database, Instance};
use lab::world::{DataCenterState, World};
use persistent_chat_failover::domain::side::Side;

/// No data centre. A scenario that lacks one begins no night: no pool fits it.
static NOWHERE: DataCenter = DataCenter {
    name: String::new(),
    sql_server: String::new(),
    mirror: String::new(),
    management_shell: String::new(),
    servers: Vec::new(),
    instance: String::new(),
    backup_share: String::new(),
    copy_folder: String::new(),
};

/// The side that is active at the beginning, and that the night takes away.
pub fn from_side(scenario: &Scenario) -> Side {
    match scenario.store_of(&scenario.active) {
        Some(Store::Backup) => Side::Backup,
        Some(Store::Primary) | None => Side::Primary,
    }
}

/// The other one: where chat is to be live in the end.
pub fn to_side(scenario: &Scenario) -> Side {
    from_side(scenario).other()
}

/// Lets chat begin on a side.
pub fn begin_on(scenario: &mut Scenario, side: Side) {
    scenario.active = data_center(scenario, side).name.clone();
}

/// The data centre of a side: a scenario has two, the one with the primary store first.
pub fn data_center(scenario: &Scenario, side: Side) -> &DataCenter {
    scenario.with_store(store(side)).unwrap_or(&NOWHERE)
}

/// The store of a side, as the lab calls it.
pub fn store(side: Side) -> Store {
    match side {
        Side::Primary => Store::Primary,
        Side::Backup => Store::Backup,
    }
}

/// The data centre that is active at the beginning.
pub fn from(scenario: &Scenario) -> &DataCenter {
    data_center(scenario, from_side(scenario))
}

/// The other one.
pub fn to(scenario: &Scenario) -> &DataCenter {
    data_center(scenario, to_side(scenario))
}

/// The pool's state while chat lives on the side that [`to`] names.
pub fn pool_state_there(scenario: &Scenario) -> &'static str {
    to_side(scenario).pool_state()
}

/// Whether the pool's state says that chat has moved to the side that [`to`] names.
pub fn has_moved(w: &World) -> bool {
    w.chat.master.pool_state.eq_ignore_ascii_case(pool_state_there(&w.scenario))
}

/// The server of a side on which its database is live.
pub fn principal(w: &World, side: Side) -> Option<&Instance> {
    let (d, name) = (data_center(&w.scenario, side), &w.scenario.database);
    let mut partners = [&d.sql_server, &d.mirror].into_iter().filter_map(|host| w.sql.get(host));
    // Asked at every moment of a night, so it makes no texts.
    let is_live = |(key, db): (&String, &Database)| key.eq_ignore_ascii_case(name) && db.is_live();
    partners.find(|i| i.databases.iter().any(is_live))
}

/// The side whose database chat uses: the pool's state says so, and one of its partners is live.
pub fn active(w: &World) -> Option<Side> {
    let side = Side::of_pool_state(&w.chat.master.pool_state)?;
    (stands(w, side) && principal(w, side).is_some()).then_some(side)
}

/// Whether the data centre of a side stands.
pub fn stands(w: &World, side: Side) -> bool {
    w.data_centers.get(&data_center(&w.scenario, side).name) == Some(&DataCenterState::Up)
}

/// The share that log backups for a side's copy are written to.
pub fn backup_share(scenario: &Scenario, side: Side) -> &str {
    &data_center(scenario, side).backup_share
}

/// The folder that they are copied to.
pub fn copy_folder(scenario: &Scenario, side: Side) -> &str {
    &data_center(scenario, side).copy_folder
}

/// The share that log backups are written to at the beginning.
pub fn share(scenario: &Scenario) -> &str {
    backup_share(scenario, to_side(scenario))
}

/// The folder that they are copied to.
pub fn copies(scenario: &Scenario) -> &str {
    copy_folder(scenario, to_side(scenario))
}

/// The side that a host stands on; none: it is no host of the pool.
pub fn of_host(scenario: &Scenario, host: &str) -> Option<Side> {
    scenario.data_center_of(host).and_then(|name| called(scenario, name))
}

/// Whether a chat server is in the database of a SQL Server.
pub fn is_chatted_on(w: &World, host: &str) -> bool {
    w.chat.servers.values().any(|c| c.session.as_ref().is_some_and(|(h, _)| h == host))
}

/// The side that a data centre's name means.
pub fn called(scenario: &Scenario, name: &str) -> Option<Side> {
    Side::BOTH.into_iter().find(|side| data_center(scenario, *side).name == name)
}

/// The backups in a folder, as far as they can be read.
pub fn backups<'w>(w: &'w World, folder: &'w str) -> impl Iterator<Item = BackupHeader> + 'w {
    let names = w.files.list(folder).unwrap_or_default().into_iter();
    names.filter_map(move |(name, _)| backup::read(w.files.as_ref(), &format!(r"{folder}\{name}")).ok())
}
