//! The cmdlets of the Management Shell. They run in the world: nobody needs to watch them.

mod mirror;
mod read;
mod services;
mod set;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use psrp::clixml::Value;
use psrp::message::{Command, ErrorRecord, PipelineState};

use super::central_management_is_up;
use crate::world::breakpoints::Arrival;
use crate::world::journal::{Begun, Effect, Kind, Outcome};
use crate::world::{SharedWorld, World};

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
    /// Its warnings.
    pub warnings: Vec<String>,
    /// How its pipeline ended.
    pub state: PipelineState,
}

impl Finished {
    fn objects(objects: Vec<Value>) -> Self {
        Finished { objects, errors: Vec::new(), warnings: Vec::new(), state: PipelineState::Completed }
    }
    fn error(id: &str, exception: &str, message: impl Into<String>) -> Self {
        let record = ErrorRecord::new(message, id, exception);
        Finished { errors: vec![record], ..Finished::objects(vec![]) }
    }
    fn warning(self, warnings: Vec<String>) -> Self {
        Finished { warnings, ..self }
    }
    /// What deployment cmdlets of Lync say at their end when they met errors: nothing but warnings tells so, and a report that each run
    /// calls by an id of its own.
    fn reported(self, w: &World, cmdlet: &str, errors: u32) -> Self {
        let id = crate::sql::guid(w.scenario.seed, &format!("report {cmdlet} {}", w.now));
        self.warning(vec![
            format!(
                "{cmdlet} encountered errors. Consult the log file for a detailed analysis, and to make sure that all errors ({errors}) \
                 and warnings (0) are addressed before continuing."
            ),
            format!(r#"Detailed results can be found at "C:\Users\pcf\AppData\Local\Temp\{cmdlet}-{id}.html"."#),
        ])
    }
    fn terminating(id: &str, exception: &str, message: impl Into<String>) -> Self {
        Finished { state: PipelineState::Failed, ..Finished::error(id, exception, message) }
    }
    /// What a pipeline says that was told to stop.
    pub fn stopped() -> Self {
        let mut stopped = Finished::terminating(
            "PipelineStopped",
            "System.Management.Automation.PipelineStoppedException",
            "The pipeline has been stopped.",
        );
        for e in &mut stopped.errors {
            // OperationStopped.
            e.category.number = Some(14);
        }
        Finished { state: PipelineState::Stopped, ..stopped }
    }
    /// PowerShell puts the name of the cmdlet behind the id of each error that it writes.
    fn of(mut self, cmdlet: &str) -> Self {
        for e in &mut self.errors {
            if !e.id.contains(',') && e.id != "CommandNotFoundException" {
                e.id = format!("{},{cmdlet}", e.id);
            }
        }
        self
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
    (
        "Stop-CsWindowsService",
        true,
        &[
            "ComputerName",
            "Name",
            "Graceful",
            "NoWait",
            "Force",
            "Report",
            "Confirm",
            "LeaveClsAgentRunning",
            "LeaveWebServerRunning",
        ],
    ),
    ("Start-CsWindowsService", true, &["ComputerName", "Name", "NoWait", "Force", "Report", "Confirm"]),
    ("Test-CsDatabase", false, &["DatabaseType", "SqlServerFqdn", "SqlInstanceName"]),
    ("Test-NetConnection", false, &["ComputerName", "Port", "InformationLevel"]),
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
        parameters: parameters(command),
    })
}

/// The parameters of a cmdlet, as they are shown.
fn parameters(command: &Command) -> BTreeMap<String, String> {
    command.parameters.iter().map(|(n, v)| (n.clone(), show(v))).collect()
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
    let entry = Begun {
        server: host,
        kind: Kind::Cmdlet,
        effect,
        name: &command.name,
        target,
        text: &format!("{} {}", command.name, shown.join(" ")),
        client: user,
    };
    let journal = w.journal.begin(now, entry);
    if effect == Effect::Write {
        w.journal.with_parameters(journal, parameters(command));
    }
    let takes = duration(w, command);
    let id = w.chat.next;
    w.chat.next += 1;
    let ends = now + SignedDuration::from_millis(i64::try_from(takes).unwrap_or(0));
    let ends = services::ends_at(w, host, command, ends);
    // What a cmdlet refuses it refuses at once.
    let result = refuse(w, command, known).map(|r| r.of(&command.name)).inspect(|r| end(w, journal, r));
    w.chat.running.insert(id, Running { host: host.into(), command: command.clone(), ends, journal, result });
    id
}

/// Milliseconds that a cmdlet takes.
fn duration(w: &World, c: &Command) -> u64 {
    match c.name.to_lowercase().as_str() {
        "install-csmirrordatabase" => w.scenario.mirror_takes(),
        // Who asks for a host that does not answer waits until the connection is given up.
        "test-netconnection" if !read::accepts(w, &text(c, "ComputerName"), &text(c, "Port")) => {
            w.scenario.cmdlet_ms + w.scenario.connect_ms
        }
        "test-csdatabase" if !read::lets_in(w, &text(c, "SqlServerFqdn")) => {
            w.scenario.cmdlet_ms + w.scenario.connect_ms
        }
        _ => w.scenario.cmdlet_ms,
    }
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
        None => Some(Finished::stopped()),
    }
}

/// A cmdlet that was started for somebody. Whatever becomes of who asked, it is not left behind.
pub struct Started {
    world: SharedWorld,
    id: u64,
}

impl Started {
    /// Of a cmdlet that [`start`] has given.
    pub fn new(world: SharedWorld, id: u64) -> Started {
        Started { world, id }
    }
    /// What it has given, once it has ended.
    pub fn poll(&self) -> Option<Finished> {
        poll(&self.world.now(), self.id)
    }
    /// The world that it runs in.
    pub fn world(&self) -> &SharedWorld {
        &self.world
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        abort(&mut self.world.now(), self.id);
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
        let result = run(w, &host, &command).of(&command.name);
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

/// A command that the session configuration does not have or does not show.
fn not_found(name: &str) -> Finished {
    let mut finished = Finished::terminating(
        "CommandNotFoundException",
        "System.Management.Automation.CommandNotFoundException",
        format!("simulator: the term '{name}' is not recognized as the name of a cmdlet."),
    );
    for e in &mut finished.errors {
        // ObjectNotFound, as an engine writes it.
        (e.category.number, e.category.target_name) = (Some(13), Some(name.into()));
    }
    finished
}

fn refuse(w: &World, c: &Command, known: Option<&(&str, bool, &[&str])>) -> Option<Finished> {
    let Some((_, writes, parameters)) = known else { return Some(not_found(&c.name)) };
    if w.chat.hidden.iter().any(|h| h.eq_ignore_ascii_case(&c.name)) {
        return Some(not_found(&c.name));
    }
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

/// What a cmdlet does and answers when its time is over.
fn run(w: &mut World, host: &str, c: &Command) -> Finished {
    match c.name.to_lowercase().as_str() {
        "get-cspersistentchatstate" => read::pool_state(w, host, c),
        "get-csservice" => read::service(w),
        "get-csmanagementstorereplicationstatus" if argument(c, "CentralManagementStoreStatus").is_some() => {
            read::central_management(w)
        }
        "get-csmanagementstorereplicationstatus" => read::replication(w),
        "get-cswindowsservice" => read::windows_service(w, c),
        "stop-cswindowsservice" => services::set(w, host, c, services::Wanted::Stopped),
        "start-cswindowsservice" => services::set(w, host, c, services::Wanted::Started),
        "test-csdatabase" => read::database(w, c),
        "test-netconnection" => read::connection(w, c),
        "set-cspersistentchatstate" => set::pool_state(w, c),
        "set-cspersistentchatactiveserver" => set::active_servers(w, c),
        "install-csmirrordatabase" => mirror::install(w, c),
        other => Finished::terminating(
            "NotSimulated",
            "System.NotImplementedException",
            format!("simulator: {other} is not simulated"),
        ),
    }
}

/// `Identity` of the pool's Persistent Chat service.
fn identity(w: &World) -> String {
    format!("PersistentChatServer:{}", w.scenario.pool)
}
