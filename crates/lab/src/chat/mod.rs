//! The pure world of Lync: the Central Management store, the pool, the chat servers.

pub mod cmdlets;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::scenario::{Scenario, Store};
use crate::world::World;

/// Account of the Management Shell hosts.
pub const SHELL_USER: &str = r"LITWARE\pcf";
/// Its password.
pub const SHELL_PASSWORD: &str = "Shell-word2<&>\"";

/// Settings of the pool, as the Central Management store and each replica hold them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `Normal` or `FailedOver`.
    pub pool_state: String,
    /// Active servers.
    pub active: Vec<String>,
}

/// A server's replica of the Central Management store.
#[derive(Clone, Debug)]
pub struct Replica {
    /// What it holds.
    pub settings: Settings,
    /// When the master's newest change arrives; absent: it has it.
    pub due: Option<Timestamp>,
}

/// A chat server.
#[derive(Clone, Debug, Default)]
pub struct ChatServer {
    /// The database server that it is connected to, and its session there.
    pub session: Option<(String, u32)>,
    /// When it last said that it is alive.
    pub last_ping: Option<Timestamp>,
    /// Until when it serves those that are connected to it although it is no active server any more.
    pub leaves: Option<Timestamp>,
    /// Its service runs and has its session, and does not say so any more.
    pub hangs: bool,
    /// Its service was stopped.
    pub stopped: bool,
    /// Fault: its service does not stop when it is told to.
    pub will_not_stop: bool,
}

/// The SQL Servers of a store, as the published topology names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreServers {
    /// Host of the store.
    pub sql_server: String,
    /// Host of its mirror, if it has one.
    pub mirror: Option<String>,
    /// Instance name on both.
    pub instance: String,
}

impl ChatServer {
    /// Whether it is time to say that it is alive.
    fn is_to_ping(&self, now: Timestamp) -> bool {
        !self.hangs && self.last_ping.is_none_or(|p| now.duration_since(p) >= PING)
    }
}

/// Lync as one organisation.
pub struct Deployment {
    /// The writable copy.
    pub master: Settings,
    /// Front End that holds it; absent: the store is down.
    pub master_host: Option<String>,
    /// Fault: it cannot be written.
    pub read_only: bool,
    /// Fault: hosts that refuse the logon.
    pub refused: Vec<String>,
    /// Fault: commands that no session configuration shows.
    pub hidden: Vec<String>,
    /// Fault: hosts whose names no Management Shell host resolves.
    pub unresolved: Vec<String>,
    /// Fault: so many of the next runs of `Install-CsMirrorDatabase` end as completed, with warnings and without a mirror.
    pub mirror_warns: u32,
    /// The stores of the published topology.
    pub stores: BTreeMap<Store, StoreServers>,
    /// Replicas by host.
    pub replicas: BTreeMap<String, Replica>,
    /// Chat servers by host.
    pub servers: BTreeMap<String, ChatServer>,
    /// Cmdlets that run.
    pub running: BTreeMap<u64, cmdlets::Running>,
    /// Number of the next cmdlet.
    pub next: u64,
}

impl Deployment {
    /// A deployment of a scenario: chat runs in the data centre that is active.
    pub fn new(scenario: &Scenario) -> Result<Self, String> {
        let name = &scenario.active;
        let (Some(here), Some(store)) = (scenario.data_center(name), scenario.store_of(name)) else {
            return Err(format!("there is no data centre {name:?} that could be active"));
        };
        let master = Settings { pool_state: store.pool_state().into(), active: here.servers.clone() };
        let dialect = scenario.dialect;
        let hosts =
            scenario.data_centers.iter().flat_map(|d| d.servers.iter().cloned().chain(d.front_ends(dialect)));
        let stores = scenario.data_centers.iter().filter_map(|d| {
            let servers = StoreServers {
                sql_server: d.sql_server.clone(),
                mirror: Some(d.mirror.clone()),
                instance: d.instance.clone(),
            };
            Some((scenario.store_of(&d.name)?, servers))
        });
        Ok(Deployment {
            stores: stores.collect(),
            replicas: hosts.map(|h| (h, Replica { settings: master.clone(), due: None })).collect(),
            servers: scenario
                .data_centers
                .iter()
                .flat_map(|d| &d.servers)
                .map(|h| (h.clone(), ChatServer::default()))
                .collect(),
            master,
            master_host: here.front_ends(dialect).pop(),
            read_only: false,
            refused: Vec::new(),
            hidden: Vec::new(),
            unresolved: Vec::new(),
            mirror_warns: 0,
            running: BTreeMap::new(),
            next: 1,
        })
    }
}

/// Whether the Central Management store answers.
pub fn central_management_is_up(w: &World) -> bool {
    w.chat.master_host.as_ref().is_some_and(|h| w.host_is_up(h))
}

/// Changes the master; replicas follow later.
pub fn change(w: &mut World, f: impl FnOnce(&mut Settings)) {
    w.touch();
    f(&mut w.chat.master);
    let due = w.now + SignedDuration::from_millis(i64::try_from(w.scenario.replication_ms).unwrap_or(0));
    for r in w.chat.replicas.values_mut() {
        r.due = Some(due);
    }
}

/// Sets the pool's active servers past any operator.
pub fn set_active_by_hand(w: &mut World, servers: &[String]) -> Result<(), String> {
    if let Some(foreign) = servers.iter().find(|s| !w.chat.servers.contains_key(*s)) {
        return Err(format!("{foreign} is no server of the pool"));
    }
    change(w, |s| s.active = servers.to_vec());
    Ok(())
}

/// Sets the pool's state past any operator: chat is to live on a store.
pub fn set_state_by_hand(w: &mut World, store: Store) {
    change(w, |s| s.pool_state = store.pool_state().into());
}

/// Publishes a topology that names other SQL Servers for a store.
pub fn publish_store(w: &mut World, store: Store, servers: StoreServers) {
    w.touch();
    w.chat.stores.insert(store, servers);
}

/// Publishes a topology that does not know a chat server any more.
pub fn unpublish_server(w: &mut World, host: &str) -> Result<(), String> {
    let gone = w.chat.servers.remove(host).ok_or_else(|| format!("{host} is no server of the pool"))?;
    w.chat.replicas.remove(host);
    change(w, |s| s.active.retain(|h| h != host));
    if let Some((sql, id)) = gone.session {
        crate::sql::logout(w, &sql, id);
    }
    Ok(())
}

/// Fault: the chat service of a host does not stop when it is told to, or does again.
pub fn will_not_stop(w: &mut World, host: &str, on: bool) -> Result<(), String> {
    w.touch();
    let server = w.chat.servers.get_mut(host).ok_or_else(|| format!("{host} is no server of the pool"))?;
    server.will_not_stop = on;
    Ok(())
}

/// Moves the Central Management store to a data centre, as its administrator does.
pub fn fail_over_central_management(w: &mut World, data_center: &str) {
    w.touch();
    let dialect = w.scenario.dialect;
    w.chat.master_host = w.scenario.data_center(data_center).and_then(|d| d.front_ends(dialect).pop());
}

/// Lets everything happen that is due: replication, chat servers that connect, disconnect and ping, cmdlets that end.
pub fn tick(w: &mut World) {
    let now = w.now;
    // Asked at every moment of a simulated night: what is seldom so comes first.
    if w.chat.replicas.values().any(|r| r.due.is_some_and(|d| d <= now)) && central_management_is_up(w) {
        let hosts: Vec<String> = w.chat.replicas.keys().filter(|h| w.host_is_up(h)).cloned().collect();
        for host in hosts {
            let master = w.chat.master.clone();
            if let Some(r) = w.chat.replicas.get_mut(&host).filter(|r| r.due.is_some_and(|d| d <= now)) {
                r.settings = master;
                r.due = None;
            }
        }
    }
    connect(w);
    cmdlets::tick(w);
}

/// Lets every chat server connect, disconnect and ping, by what its replica says.
fn connect(w: &mut World) {
    let now = w.now;
    // Most of the time nothing is new for a chat server: looked at first, without copying anything.
    let restless: Vec<String> = {
        let busy = |host: &String, current: &ChatServer| {
            let Some(replica) = w.chat.replicas.get(host) else { return false };
            if is_leaving(host, current, &replica.settings) != current.leaves.is_some() {
                return true;
            }
            let wanted = wanted_server(w, host, current, &replica.settings);
            match (&current.session, wanted) {
                (None, None) => false,
                (Some((sql, id)), Some(wanted)) => {
                    sql != wanted || !crate::sql::session_alive(w, sql, *id) || current.is_to_ping(now)
                }
                (Some(_), None) | (None, Some(_)) => true,
            }
        };
        w.chat.servers.iter().filter(|(h, c)| busy(h, c)).map(|(h, _)| h.clone()).collect()
    };
    let database = w.scenario.database.clone();
    for host in restless {
        let Some(settings) = w.chat.replicas.get(&host).map(|r| r.settings.clone()) else { continue };
        let Some(current) = w.chat.servers.get(&host).cloned() else { continue };
        let mut next = current.clone();
        let leaving = is_leaving(&host, &current, &settings);
        next.leaves = leaving.then(|| current.leaves.unwrap_or_else(|| after(now, w.scenario.drain_ms)));
        let wanted = wanted_server(w, &host, &next, &settings).cloned();
        if let Some((sql, id)) = &current.session
            && (Some(sql) != wanted.as_ref() || !crate::sql::session_alive(w, sql, *id))
        {
            crate::sql::logout(w, sql, *id);
            (next.session, next.leaves) = (None, None);
        }
        if let (None, Some(sql)) = (&next.session, &wanted)
            && let Ok(id) = crate::sql::chat_connect(w, sql, &database, &host, "Lync Server Persistent Chat")
        {
            next.session = Some((sql.clone(), id));
            next.last_ping = None;
        }
        if let Some((sql, _)) = next.session.as_ref().filter(|_| next.is_to_ping(now)) {
            crate::sql::chat_ping(w, sql, &database, &host);
            next.last_ping = Some(now);
        }
        w.chat.servers.insert(host, next);
    }
}

/// How often a chat server says that it is alive.
const PING: SignedDuration = SignedDuration::from_secs(1);

/// A moment so many milliseconds later; none is later than the last one that there is.
fn after(now: Timestamp, milliseconds: u64) -> Timestamp {
    let length = i64::try_from(milliseconds).ok().map(SignedDuration::from_millis);
    length.and_then(|length| now.checked_add(length).ok()).unwrap_or(Timestamp::MAX)
}

/// Whether a chat server is connected although its replica does not have it on the list of active servers.
fn is_leaving(host: &str, current: &ChatServer, settings: &Settings) -> bool {
    current.session.is_some() && !settings.active.iter().any(|a| a == host)
}

/// The database server that a chat server is to be connected to, by what its replica says.
///
/// One that is taken off the list goes on with the connections that it has (the page of `Set-CsPersistentChatActiveServer`), so with its
/// own session as well. Another database server is nothing that it goes on with. How long it takes until the last of its users has left
/// is the scenario's choice.
fn wanted_server<'w>(
    w: &'w World,
    host: &str,
    current: &ChatServer,
    settings: &Settings,
) -> Option<&'w String> {
    let active = settings.active.iter().any(|a| a == host);
    let goes_on = || current.session.is_some() && current.leaves.is_none_or(|at| w.now < at);
    if current.stopped || !(active || goes_on()) || !w.host_is_up(host) {
        return None;
    }
    let server = database_server(w, settings)?;
    let is_ours = |(sql, id): &(String, u32)| sql == server && crate::sql::session_alive(w, sql, *id);
    (active || current.session.as_ref().is_some_and(is_ours)).then_some(server)
}

/// The instance that the pool's state points to: the principal of the primary or of the backup store.
fn database_server<'w>(w: &'w World, settings: &Settings) -> Option<&'w String> {
    let store = w.chat.stores.get(&Store::of_pool_state(&settings.pool_state)?)?;
    let key = w.scenario.database.to_lowercase();
    [Some(&store.sql_server), store.mirror.as_ref()].into_iter().flatten().find(|h| {
        crate::sql::is_up(w, h)
            && w.sql
                .get(*h)
                .and_then(|i| i.databases.get(&key))
                .is_some_and(|db| db.state == 0 && !db.standby)
    })
}

/// Stops what stands in a lost data centre.
pub fn data_center_lost(w: &mut World, data_center: &str) {
    let lost: Vec<u64> = w
        .chat
        .running
        .iter()
        .filter(|(_, r)| w.scenario.data_center_of(&r.host) == Some(data_center))
        .map(|(id, _)| *id)
        .collect();
    for id in lost {
        cmdlets::abort(w, id);
    }
    tick(w);
}

/// Starts what stands in a restored data centre: with the replicas that it had.
pub fn data_center_restored(w: &mut World, _data_center: &str) {
    tick(w);
}

/// What Lync looks like from outside.
pub fn state(w: &World) -> serde_json::Value {
    let servers: serde_json::Map<String, serde_json::Value> = w
        .chat
        .servers
        .iter()
        .map(|(h, s)| {
            let shown = json!({
                "connectedTo": s.session.as_ref().map(|(sql, _)| sql),
                "lastPing": s.last_ping.map(|t| t.to_string()),
                "up": w.host_is_up(h),
                "stopped": s.stopped,
            });
            (h.clone(), shown)
        })
        .collect();
    let serving =
        w.chat.master.active.iter().any(|h| w.chat.servers.get(h).is_some_and(|s| s.session.is_some()));
    json!({
        "poolState": w.chat.master.pool_state,
        "activeServers": w.chat.master.active,
        "centralManagement": {"master": w.chat.master_host, "up": central_management_is_up(w)},
        "servers": servers,
        "serving": serving,
    })
}
