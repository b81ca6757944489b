//! Cmdlets that read.

use psrp::clixml::{Object, Value};
use psrp::message::Command;

use super::super::{Replica, central_management_is_up};
use super::{Finished, argument, identity, text};
use crate::scenario::Store;
use crate::world::World;

/// The port that every SQL Server of the lab listens on.
const SQL_PORT: &str = "1433";

/// `Get-CsPersistentChatState`: by the Central Management store, or by the replica of the host (`-LocalStore`).
pub(super) fn pool_state(w: &World, host: &str, c: &Command) -> Finished {
    let settings = match argument(c, "LocalStore") {
        Some(_) => w.chat.replicas.get(host).map(|r| &r.settings),
        None => Some(&w.chat.master),
    };
    let state = settings.map(|s| s.pool_state.clone()).unwrap_or_default();
    let state = Value::Object(Box::new(Object {
        type_names: vec![
            "Microsoft.Rtc.Management.PoolState".into(),
            "System.Enum".into(),
            "System.ValueType".into(),
            "System.Object".into(),
        ],
        to_string: Some(state.clone()),
        base: Some(Value::I32(i32::from(Store::of_pool_state(&state) != Some(Store::Primary)))),
        ..Object::default()
    }));
    Finished::objects(vec![Value::object(
        "Deserialized.Microsoft.Rtc.Management.WritableConfig.Settings.PersistentChat.PersistentChatState",
        vec![("Identity", Value::text(identity(w))), ("PoolState", state)],
    )])
}

/// `Get-CsService -PersistentChatServer`.
pub(super) fn service(w: &World) -> Finished {
    let (active, inactive): (Vec<String>, Vec<String>) =
        w.chat.servers.keys().cloned().partition(|h| w.chat.master.active.contains(h));
    Finished::objects(vec![Value::object(
        "Deserialized.Microsoft.Rtc.Management.Xds.DisplayPersistentChatServer",
        vec![
            ("Identity", Value::text(identity(w))),
            ("PoolFqdn", Value::text(&w.scenario.pool)),
            ("ActiveServers", strings(&active)),
            ("InactiveServers", strings(&inactive)),
            ("PersistentChatDatabase", reference(w, Store::Primary, false)),
            ("MirrorPersistentChatDatabase", reference(w, Store::Primary, true)),
            ("BackupPersistentChatDatabase", reference(w, Store::Backup, false)),
            ("BackupMirrorPersistentChatDatabase", reference(w, Store::Backup, true)),
            ("Version", Value::I32(6)),
        ],
    )])
}

/// A database of the pool by its server. In every published example of such an identity the instance is left out: it is a property of
/// the database's own object.
fn reference(w: &World, store: Store, mirror: bool) -> Value {
    let Some(servers) = w.chat.stores.get(&store) else { return Value::Null };
    match if mirror { servers.mirror.as_ref() } else { Some(&servers.sql_server) } {
        Some(host) => Value::text(format!("PersistentChatDatabase:{host}")),
        None => Value::Null,
    }
}

fn strings(list: &[String]) -> Value {
    match list {
        // PowerShell unrolls a list of one.
        [one] => Value::text(one),
        many => Value::List(many.iter().map(Value::text).collect()),
    }
}

/// `Get-CsManagementStoreReplicationStatus -CentralManagementStoreStatus`.
pub(super) fn central_management(w: &World) -> Finished {
    // What it shows of a store that is lost is nowhere documented: with one Front End nobody, with several the row of before.
    let up =
        central_management_is_up(w) || (w.scenario.dialect.front_ends > 1 && w.chat.master_host.is_some());
    let master = w.chat.master_host.clone().filter(|_| up).unwrap_or_default();
    let agents = if up { Value::List(vec![Value::text(&master)]) } else { Value::Null };
    Finished::objects(vec![Value::object(
        "Deserialized.Microsoft.Rtc.Management.Xds.CentralManagementStoreStatusResult",
        vec![
            ("ActiveMasterFqdn", if up { Value::text(master) } else { Value::Null }),
            ("ActiveFileTransferAgents", agents),
            ("LastHeartbeat", Value::text(w.now.to_string())),
        ],
    )])
}

/// `Get-CsManagementStoreReplicationStatus`.
pub(super) fn replication(w: &World) -> Finished {
    let up = central_management_is_up(w);
    let one = |(h, r): (&String, &Replica)| {
        let current = up && w.host_is_up(h) && r.due.is_none() && r.settings == w.chat.master;
        Value::object(
            "Deserialized.Microsoft.Rtc.Management.Xds.ReplicaState",
            vec![
                ("ReplicaFqdn", Value::text(h)),
                ("UpToDate", Value::Bool(current)),
                ("LastStatusReport", Value::text(w.now.to_string())),
            ],
        )
    };
    Finished::objects(w.chat.replicas.iter().map(one).collect())
}

/// `Get-CsWindowsService`.
pub(super) fn windows_service(w: &World, c: &Command) -> Finished {
    let computer = text(c, "ComputerName").to_lowercase();
    if !w.host_is_up(&computer) {
        return Finished::error(
            "ConnectFailed",
            "System.InvalidOperationException",
            format!("Cannot connect to computer {computer}."),
        );
    }
    // The service runs on every machine of the pool; only active ones take new connections.
    let Some(server) = w.chat.servers.get(&computer) else { return Finished::objects(vec![]) };
    Finished::objects(vec![Value::object(
        "Deserialized.Microsoft.Rtc.Management.Deployment.Core.NTService",
        vec![
            ("Name", Value::text(super::services::CHAT)),
            ("DisplayName", Value::text("Lync Server Persistent Chat")),
            ("Status", Value::text(if server.stopped { "Stopped" } else { "Running" })),
            ("RoleName", Value::List(vec![Value::text("PersistentChatService")])),
            ("ComputerName", Value::text(computer)),
        ],
    )])
}

/// Whether something accepts connections at a port of a host.
pub(super) fn accepts(w: &World, host: &str, port: &str) -> bool {
    let host = host.to_lowercase();
    match w.sql.contains_key(&host) {
        true => port == SQL_PORT && crate::sql::is_up(w, &host),
        false => w.host_is_up(&host),
    }
}

/// Whether a SQL Server lets somebody in.
pub(super) fn lets_in(w: &World, host: &str) -> bool {
    let host = host.to_lowercase();
    crate::sql::is_up(w, &host) && w.sql.get(&host).is_some_and(|i| !i.silent)
}

/// `Test-NetConnection` with a port: an object in any case, with warnings where nothing answers.
pub(super) fn connection(w: &World, c: &Command) -> Finished {
    let (host, port) = (text(c, "ComputerName"), text(c, "Port"));
    let known = !w.chat.unresolved.iter().any(|h| h.eq_ignore_ascii_case(&host));
    let open = known && accepts(w, &host, &port);
    let pinged = known && w.host_is_up(&host.to_lowercase());
    // Documentation addresses (RFC 5737), one for each host.
    let address = format!("192.0.2.{}", host.bytes().fold(7u8, |n, b| n.wrapping_mul(31).wrapping_add(b)));
    let object = Value::object(
        "Deserialized.TestNetConnectionResult",
        vec![
            ("ComputerName", Value::text(&host)),
            ("RemoteAddress", if known { Value::text(&address) } else { Value::Null }),
            ("RemotePort", argument(c, "Port").filter(|_| known).cloned().unwrap_or(Value::I32(0))),
            ("NameResolutionSucceeded", Value::Bool(known)),
            // It is skipped where the port answers: then it is false.
            ("PingSucceeded", Value::Bool(pinged && !open)),
            ("TcpTestSucceeded", Value::Bool(open)),
        ],
    );
    let mut warnings = vec![];
    if !known {
        warnings.push(format!("Name resolution of {host} failed"));
    } else if !open {
        warnings.push(format!("TCP connect to ({address} : {port}) failed"));
        if !pinged {
            warnings.push(format!("Ping to {address} failed with status: TimedOut"));
        }
    }
    Finished::objects(vec![object]).warning(warnings)
}

/// `Test-CsDatabase`: an object in any case. That a database is not to be had shows in its `Succeed`, and in warnings.
pub(super) fn database(w: &World, c: &Command) -> Finished {
    let sql = text(c, "SqlServerFqdn").to_lowercase();
    let instance = w.sql.get(&sql).filter(|_| lets_in(w, &sql));
    let database = instance.and_then(|i| i.databases.get(&w.scenario.database.to_lowercase()));
    let succeeds = database.is_some_and(|d| d.state == 0 && !d.standby);
    let shown = |text: &str| Value::text(if succeeds { text } else { "" });
    let object = Value::object(
        "Deserialized.Microsoft.Rtc.Management.Deployment.DatabaseTestResult",
        vec![
            ("SqlServerFqdn", Value::text(&sql)),
            ("SqlInstanceName", Value::text(text(c, "SqlInstanceName"))),
            ("MirrorSqlServerFqdn", Value::text("")),
            ("MirrorSqlInstanceName", Value::text("")),
            ("DatabaseName", Value::text(&w.scenario.database)),
            ("DataSource", shown(&sql)),
            ("SQLServerVersion", shown("11.0.7001.0")),
            ("ExpectedVersion", Value::text("1.0.17")),
            ("InstalledVersion", shown("1.0.17")),
            ("Succeed", Value::Bool(succeeds)),
        ],
    );
    let finished = Finished::objects(vec![object]);
    if succeeds { finished } else { finished.reported(w, "Test-CsDatabase", 2) }
}
