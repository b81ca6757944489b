//! The cmdlets of the Management Shell. They run in the world: nobody needs to watch them.

use jiff::{SignedDuration, Timestamp};
use psrp::clixml::{Object, Value};
use psrp::message::{Command, ErrorRecord, PipelineState};

use super::{Settings, central_management_is_up, change};
use crate::world::World;
use crate::world::breakpoints::Arrival;
use crate::world::journal::{Effect, Kind, Outcome};

/// A cmdlet that runs, or has ended and not been asked for yet.
pub struct Running {
    /// The host it runs on.
    pub host: String,
    command: Command,
    ends: Timestamp,
    journal: u64,
    result: Option<Finished>,
}

/// How a cmdlet ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Its objects.
    pub objects: Vec<Value>,
    /// Its error records.
    pub errors: Vec<ErrorRecord>,
    /// How its pipeline ended.
    pub state: PipelineState,
}

impl Finished {
    fn objects(objects: Vec<Value>) -> Self {
        Finished { objects, errors: Vec::new(), state: PipelineState::Completed }
    }
    fn error(id: &str, exception: &str, message: impl Into<String>) -> Self {
        let category = exception.rsplit('.').next().unwrap_or_default().to_string();
        let record =
            ErrorRecord { message: message.into(), id: id.into(), exception: exception.into(), category };
        Finished { objects: Vec::new(), errors: vec![record], state: PipelineState::Completed }
    }
    fn terminating(id: &str, exception: &str, message: impl Into<String>) -> Self {
        Finished { state: PipelineState::Failed, ..Finished::error(id, exception, message) }
    }
}

/// The cmdlets, whether each writes, and the parameters that it has.
const KNOWN: &[(&str, bool, &[&str])] = &[
    ("Get-CsPersistentChatState", false, &["Identity", "LocalStore"]),
    ("Set-CsPersistentChatState", true, &["Identity", "PoolState", "Confirm", "Force"]),
    ("Get-CsService", false, &["PersistentChatServer", "PoolFqdn", "Identity"]),
    ("Set-CsPersistentChatActiveServer", true, &["Identity", "ActiveServers", "Confirm", "Force"]),
    ("Get-CsManagementStoreReplicationStatus", false, &["ReplicaFqdn", "CentralManagementStoreStatus"]),
    ("Get-CsWindowsService", false, &["ComputerName", "Name"]),
    ("Test-CsDatabase", false, &["DatabaseType", "SqlServerFqdn", "SqlInstanceName"]),
    (
        "Install-CsMirrorDatabase",
        true,
        &[
            "DatabaseType",
            "SqlServerFqdn",
            "SqlInstanceName",
            "FileShare",
            "DropExistingDatabasesOnMirror",
            "Confirm",
        ],
    ),
];

fn known(command: &Command) -> Option<&'static (&'static str, bool, &'static [&'static str])> {
    KNOWN.iter().find(|(n, _, _)| n.eq_ignore_ascii_case(&command.name))
}

fn target(command: &Command) -> Option<String> {
    ["Identity", "SqlServerFqdn", "ComputerName"].iter().find_map(|n| argument(command, n)).map(Value::shown)
}

/// A cmdlet as something that can be held, if it may change something.
pub fn arrival(host: &str, command: &Command) -> Option<Arrival> {
    known(command).filter(|(_, writes, _)| *writes).map(|_| Arrival {
        server: host.into(),
        name: command.name.clone(),
        target: target(command),
        parameters: std::collections::BTreeMap::new(),
    })
}

/// The same, for one that was started.
pub fn arrival_of(w: &World, id: u64) -> Option<Arrival> {
    w.chat.running.get(&id).and_then(|r| arrival(&r.host, &r.command))
}

/// Starts a cmdlet on a host.
pub fn start(w: &mut World, host: &str, user: &str, command: &Command) -> u64 {
    let known = known(command);
    let effect = if known.is_some_and(|(_, writes, _)| *writes) { Effect::Write } else { Effect::Read };
    let shown: Vec<String> = command.parameters.iter().map(|(n, v)| format!("-{n} {}", show(v))).collect();
    let target = target(command);
    let now = w.now;
    let journal = w.journal.begin(
        now,
        host,
        Kind::Cmdlet,
        effect,
        &command.name,
        target,
        &format!("{} {}", command.name, shown.join(" ")),
        user,
    );
    let takes = if command.name.eq_ignore_ascii_case("Install-CsMirrorDatabase") {
        w.scenario.mirror_ms
    } else {
        w.scenario.cmdlet_ms
    };
    let id = w.chat.next;
    w.chat.next += 1;
    let ends = now + SignedDuration::from_millis(i64::try_from(takes).unwrap_or(0));
    // What a cmdlet refuses it refuses at once.
    let result = refuse(w, command, known).inspect(|r| end(w, journal, r));
    w.chat.running.insert(id, Running { host: host.into(), command: command.clone(), ends, journal, result });
    id
}

fn show(v: &Value) -> String {
    match v {
        Value::Dict(d) => {
            let entries: Vec<String> = d
                .iter()
                .map(|(k, v)| {
                    format!(
                        "{}={}",
                        k.shown(),
                        v.as_list().iter().map(Value::shown).collect::<Vec<_>>().join(",")
                    )
                })
                .collect();
            format!("@{{{}}}", entries.join(";"))
        }
        Value::Object(o) if o.base.is_some() => o.base.as_ref().map(show).unwrap_or_default(),
        other => other.shown(),
    }
}

/// What a cmdlet has given, once it has ended.
pub fn poll(w: &World, id: u64) -> Option<Finished> {
    match w.chat.running.get(&id) {
        Some(r) => r.result.clone(),
        None => Some(Finished::terminating(
            "PipelineStopped",
            "System.Management.Automation.PipelineStoppedException",
            "The pipeline has been stopped.",
        )),
    }
}

/// Forgets a cmdlet; one that still runs is stopped.
pub fn abort(w: &mut World, id: u64) {
    let now = w.now;
    if let Some(r) = w.chat.running.remove(&id)
        && r.result.is_none()
    {
        w.journal.end(r.journal, now, Outcome::Aborted);
    }
}

fn end(w: &mut World, journal: u64, r: &Finished) {
    let now = w.now;
    let outcome = r.errors.first().map_or(Outcome::Ok, |e| Outcome::Failed(e.message.clone()));
    w.journal.end(journal, now, outcome);
}

/// Ends the cmdlets that are due.
pub(super) fn tick(w: &mut World) {
    let now = w.now;
    let due: Vec<u64> = w
        .chat
        .running
        .iter()
        .filter(|(_, r)| r.result.is_none() && r.ends <= now)
        .map(|(id, _)| *id)
        .collect();
    for id in due {
        let Some((host, command, journal)) =
            w.chat.running.get(&id).map(|r| (r.host.clone(), r.command.clone(), r.journal))
        else {
            continue;
        };
        let result = run(w, &host, &command);
        end(w, journal, &result);
        if let Some(r) = w.chat.running.get_mut(&id) {
            r.result = Some(result);
        }
    }
}

fn argument<'a>(c: &'a Command, name: &str) -> Option<&'a Value> {
    c.parameters.iter().find(|(n, _)| n.trim_start_matches('-').eq_ignore_ascii_case(name)).map(|(_, v)| v)
}

fn text(c: &Command, name: &str) -> String {
    argument(c, name).map(Value::shown).unwrap_or_default()
}

fn refuse(w: &World, c: &Command, known: Option<&(&str, bool, &[&str])>) -> Option<Finished> {
    let Some((_, writes, parameters)) = known else {
        return Some(Finished::terminating(
            "CommandNotFoundException",
            "System.Management.Automation.CommandNotFoundException",
            format!("simulator: the term '{}' is not recognized as the name of a cmdlet.", c.name),
        ));
    };
    if let Some((unknown, _)) =
        c.parameters.iter().find(|(n, _)| !parameters.iter().any(|p| p.eq_ignore_ascii_case(n)))
    {
        return Some(Finished::terminating(
            &format!("NamedParameterNotFound,{}", c.name),
            "System.Management.Automation.ParameterBindingException",
            format!("A parameter cannot be found that matches parameter name '{unknown}'."),
        ));
    }
    if *writes && argument(c, "Confirm").and_then(Value::as_bool) != Some(false) {
        return Some(Finished::terminating(
            &format!("InvalidOperation,{}", c.name),
            "System.Management.Automation.PSInvalidOperationException",
            "A command that prompts the user failed because the host program or the command type does not support user interaction.",
        ));
    }
    let store = ["Set-CsPersistentChatState", "Set-CsPersistentChatActiveServer", "Get-CsService"];
    let reads_store =
        c.name.eq_ignore_ascii_case("Get-CsPersistentChatState") && argument(c, "LocalStore").is_none();
    if (reads_store || store.iter().any(|n| c.name.eq_ignore_ascii_case(n))) && !central_management_is_up(w) {
        return Some(Finished::terminating(
            &format!("SqlConnectionError,{}", c.name),
            "System.Data.SqlClient.SqlException",
            "Cannot connect to the Central Management store.",
        ));
    }
    if *writes && w.chat.read_only && c.name.starts_with("Set-") {
        return Some(Finished::terminating(
            &format!("ReadOnly,{}", c.name),
            "Microsoft.Rtc.Management.Xds.XdsException",
            "The Central Management store is in read-only mode.",
        ));
    }
    None
}

fn reference(w: &World, index: usize, mirror: bool) -> Value {
    match w.scenario.data_centers.get(index) {
        Some(d) => {
            let host = if mirror { &d.mirror } else { &d.sql_server };
            Value::text(format!(r"PersistentChatDatabase:{host}\{}", d.instance))
        }
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

fn run(w: &mut World, host: &str, c: &Command) -> Finished {
    let identity = format!("PersistentChatServer:{}", w.scenario.pool);
    match c.name.to_lowercase().as_str() {
        "get-cspersistentchatstate" => {
            let settings = if argument(c, "LocalStore").is_some() {
                w.chat.replicas.get(host).map(|r| r.settings.clone())
            } else {
                Some(w.chat.master.clone())
            };
            let state = settings.map(|s: Settings| s.pool_state).unwrap_or_default();
            let state = Value::Object(Box::new(Object {
                type_names: vec![
                    "Microsoft.Rtc.Management.PoolState".into(),
                    "System.Enum".into(),
                    "System.Object".into(),
                ],
                to_string: Some(state.clone()),
                base: Some(Value::I32(i32::from(state != "Normal"))),
                ..Object::default()
            }));
            let t = "Deserialized.Microsoft.Rtc.Management.WritableConfig.Settings.PersistentChat.PersistentChatState";
            Finished::objects(vec![Value::object(
                t,
                vec![("Identity", Value::text(identity)), ("PoolState", state)],
            )])
        }
        "set-cspersistentchatstate" => {
            let state = text(c, "PoolState");
            let state = ["Normal", "FailedOver"].into_iter().find(|s| s.eq_ignore_ascii_case(&state));
            match state {
                Some(state) if text(c, "Identity").eq_ignore_ascii_case(&identity) => {
                    change(w, |s| s.pool_state = state.into());
                    Finished::objects(vec![])
                }
                Some(_) => Finished::error(
                    "ItemNotFound,Set-CsPersistentChatState",
                    "System.Management.Automation.ItemNotFoundException",
                    "Cannot find the identity.",
                ),
                None => Finished::terminating(
                    "CannotConvertArgument,Set-CsPersistentChatState",
                    "System.Management.Automation.ParameterBindingException",
                    "Cannot bind parameter 'PoolState'.",
                ),
            }
        }
        "get-csservice" => {
            let all: Vec<String> = w.chat.servers.keys().cloned().collect();
            let (active, inactive): (Vec<String>, Vec<String>) =
                all.into_iter().partition(|h| w.chat.master.active.contains(h));
            Finished::objects(vec![Value::object(
                "Deserialized.Microsoft.Rtc.Management.Xds.DisplayPersistentChatServer",
                vec![
                    ("Identity", Value::text(identity)),
                    ("PoolFqdn", Value::text(&w.scenario.pool)),
                    ("ActiveServers", strings(&active)),
                    ("InactiveServers", strings(&inactive)),
                    ("PersistentChatDatabase", reference(w, 0, false)),
                    ("MirrorPersistentChatDatabase", reference(w, 0, true)),
                    ("BackupPersistentChatDatabase", reference(w, 1, false)),
                    ("BackupMirrorPersistentChatDatabase", reference(w, 1, true)),
                    ("Version", Value::I32(6)),
                ],
            )])
        }
        "set-cspersistentchatactiveserver" => {
            let list = argument(c, "ActiveServers");
            let values = |k: &str| {
                list.and_then(|l| l.get(k)).map(|v| v.as_list().iter().map(Value::shown).collect::<Vec<_>>())
            };
            let mut active = w.chat.master.active.clone();
            if let Some(replace) = values("Replace") {
                active = replace;
            }
            active.extend(values("Add").unwrap_or_default());
            let remove = values("Remove").unwrap_or_default();
            active.retain(|h| !remove.contains(h));
            active.sort();
            active.dedup();
            if active.len() > 4 {
                return Finished::error(
                    "TooManyActiveServers",
                    "System.ArgumentException",
                    "A pool can have at most 4 active servers.",
                );
            }
            if let Some(foreign) = active.iter().find(|h| !w.chat.servers.contains_key(*h)) {
                return Finished::error(
                    "UnknownServer",
                    "System.ArgumentException",
                    format!("{foreign} is not a server of the pool."),
                );
            }
            change(w, |s| s.active = active);
            Finished::objects(vec![])
        }
        "get-csmanagementstorereplicationstatus" if argument(c, "CentralManagementStoreStatus").is_some() => {
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
        "get-csmanagementstorereplicationstatus" => {
            let up = central_management_is_up(w);
            let one = |(h, r): (&String, &super::Replica)| {
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
        "get-cswindowsservice" => {
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
        "test-csdatabase" => {
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
        "install-csmirrordatabase" => {
            let principal = text(c, "SqlServerFqdn").to_lowercase();
            let Some(mirror) = w
                .scenario
                .data_centers
                .iter()
                .find(|d| d.sql_server.eq_ignore_ascii_case(&principal))
                .map(|d| d.mirror.clone())
            else {
                return Finished::error(
                    "NoMirror",
                    "System.InvalidOperationException",
                    format!("The topology defines no mirror for {principal}."),
                );
            };
            let drop_existing =
                argument(c, "DropExistingDatabasesOnMirror").and_then(Value::as_bool).unwrap_or(false);
            let database = w.scenario.database.clone();
            match crate::sql::mirror_check(w, &principal, &mirror, &database, drop_existing) {
                Ok(()) => {
                    crate::sql::mirror_establish(w, &principal, &mirror, &database);
                    Finished::objects(vec![])
                }
                Err(e) => Finished::error("InstallMirrorFailed", "System.InvalidOperationException", e),
            }
        }
        other => Finished::terminating(
            "NotSimulated",
            "System.NotImplementedException",
            format!("simulator: {other} is not simulated"),
        ),
    }
}
