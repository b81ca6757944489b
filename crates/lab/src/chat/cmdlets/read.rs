//! Cmdlets that read.

use psrp::clixml::{Object, Value};
use psrp::message::Command;

use super::super::{Replica, central_management_is_up};
use super::{Finished, argument, identity, text};
use crate::scenario::Store;
use crate::world::World;

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

fn reference(w: &World, store: Store, mirror: bool) -> Value {
    let Some(servers) = w.chat.stores.get(&store) else { return Value::Null };
    match if mirror { servers.mirror.as_ref() } else { Some(&servers.sql_server) } {
        Some(host) => Value::text(format!(r"PersistentChatDatabase:{host}\{}", servers.instance)),
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
    let up = central_management_is_up(w);
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
    if !w.chat.servers.contains_key(&computer) {
        return Finished::objects(vec![]);
    }
    Finished::objects(vec![Value::object(
        "Deserialized.Microsoft.Rtc.Management.Deployment.Core.NTService",
        vec![
            ("Name", Value::text("RTCCHAT")),
            ("DisplayName", Value::text("Lync Server Persistent Chat")),
            ("Status", Value::text("Running")),
            ("RoleName", Value::List(vec![Value::text("PersistentChatService")])),
            ("ComputerName", Value::text(computer)),
        ],
    )])
}

/// `Test-CsDatabase`.
pub(super) fn database(w: &World, c: &Command) -> Finished {
    let sql = text(c, "SqlServerFqdn").to_lowercase();
    if !crate::sql::is_up(w, &sql) {
        return Finished::error(
            "SqlConnectionError,Test-CsDatabase",
            "System.Data.SqlClient.SqlException",
            format!(
                "A network-related or instance-specific error occurred while establishing a connection to SQL Server {sql}. The server was not found or was not accessible."
            ),
        );
    }
    Finished::objects(vec![Value::object(
        "Deserialized.Microsoft.Rtc.Management.Deployment.DatabaseTestResult",
        vec![
            ("SqlServerFqdn", Value::text(sql)),
            ("DatabaseName", Value::text(&w.scenario.database)),
            ("Succeed", Value::Bool(true)),
        ],
    )])
}
