//! Messages of MS-PSRP: their header, and the bodies that both ends write and read.

use std::fmt;

use uuid::Uuid;

use crate::clixml::{Malformed, Object, Value, Writer, read};
pub use crate::error_record::ErrorRecord;

/// Message types (MS-PSRP 2.2.1).
pub mod kind {
    /// SESSION_CAPABILITY
    pub const SESSION_CAPABILITY: u32 = 0x0001_0002;
    /// INIT_RUNSPACEPOOL
    pub const INIT_RUNSPACEPOOL: u32 = 0x0001_0004;
    /// CONNECT_RUNSPACEPOOL
    pub const CONNECT_RUNSPACEPOOL: u32 = 0x0001_0008;
    /// RUNSPACEPOOL_STATE
    pub const RUNSPACEPOOL_STATE: u32 = 0x0002_1005;
    /// CREATE_PIPELINE
    pub const CREATE_PIPELINE: u32 = 0x0002_1006;
    /// APPLICATION_PRIVATE_DATA
    pub const APPLICATION_PRIVATE_DATA: u32 = 0x0002_1009;
    /// RUNSPACEPOOL_INIT_DATA
    pub const RUNSPACEPOOL_INIT_DATA: u32 = 0x0002_100B;
    /// PIPELINE_OUTPUT
    pub const PIPELINE_OUTPUT: u32 = 0x0004_1004;
    /// ERROR_RECORD
    pub const ERROR_RECORD: u32 = 0x0004_1005;
    /// PIPELINE_STATE
    pub const PIPELINE_STATE: u32 = 0x0004_1006;
    /// WARNING_RECORD
    pub const WARNING_RECORD: u32 = 0x0004_1009;
    /// DEBUG_RECORD
    pub const DEBUG_RECORD: u32 = 0x0004_1007;
    /// VERBOSE_RECORD
    pub const VERBOSE_RECORD: u32 = 0x0004_1008;
    /// PROGRESS_RECORD
    pub const PROGRESS_RECORD: u32 = 0x0004_1010;
    /// INFORMATION_RECORD
    pub const INFORMATION_RECORD: u32 = 0x0004_1011;
    /// PIPELINE_HOST_CALL
    pub const PIPELINE_HOST_CALL: u32 = 0x0004_1100;
    /// RUNSPACEPOOL_HOST_CALL
    pub const RUNSPACEPOOL_HOST_CALL: u32 = 0x0002_1100;
}

/// A message.
#[derive(Clone, PartialEq)]
pub struct Message {
    /// Its type, see [`kind`].
    pub kind: u32,
    /// The runspace pool; zero in a server's first message.
    pub pool: Uuid,
    /// The pipeline; zero for the pool itself.
    pub pipeline: Uuid,
    /// Its CLIXML; empty is a null.
    pub body: String,
}

/// A body may hold secrets: its length is shown.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("kind", &format_args!("{:#010x}", self.kind))
            .field("pool", &self.pool)
            .field("pipeline", &self.pipeline)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish()
    }
}

impl Message {
    /// The bytes of a message. `to_server` sets its destination.
    pub fn encode(&self, to_server: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(43 + self.body.len());
        out.extend_from_slice(&(if to_server { 2u32 } else { 1 }).to_le_bytes());
        out.extend_from_slice(&self.kind.to_le_bytes());
        // GUIDs are in .NET's order: the first three fields little-endian.
        out.extend_from_slice(&self.pool.to_bytes_le());
        out.extend_from_slice(&self.pipeline.to_bytes_le());
        if !to_server {
            // Windows puts a byte order mark before every body.
            out.extend_from_slice(&[0xef, 0xbb, 0xbf]);
        }
        out.extend_from_slice(self.body.as_bytes());
        out
    }
    /// Reads a message.
    pub fn decode(bytes: &[u8]) -> Result<Message, Malformed> {
        let short = || Malformed("a message is shorter than its header".into());
        let word = |at: usize| -> Result<u32, Malformed> {
            Ok(u32::from_le_bytes(bytes.get(at..at + 4).ok_or_else(short)?.try_into().map_err(|_| short())?))
        };
        let guid = |at: usize| -> Result<Uuid, Malformed> {
            Ok(Uuid::from_bytes_le(
                bytes.get(at..at + 16).ok_or_else(short)?.try_into().map_err(|_| short())?,
            ))
        };
        let body =
            std::str::from_utf8(bytes.get(40..).ok_or_else(short)?).map_err(|e| Malformed(e.to_string()))?;
        Ok(Message {
            kind: word(4)?,
            pool: guid(8)?,
            pipeline: guid(24)?,
            body: body.trim_start_matches('\u{feff}').into(),
        })
    }
}

fn members(list: Vec<(&str, Value)>) -> Value {
    Value::Object(Box::new(Object {
        extended: list.into_iter().map(|(n, v)| (n.to_string(), v)).collect(),
        ..Object::default()
    }))
}

fn enumeration(type_name: &str, shown: &str, value: i32) -> Value {
    Value::Object(Box::new(Object {
        type_names: vec![
            type_name.into(),
            "System.Enum".into(),
            "System.ValueType".into(),
            "System.Object".into(),
        ],
        to_string: Some(shown.into()),
        base: Some(Value::I32(value)),
        ..Object::default()
    }))
}

/// The version of the protocol that a client declares, when it opens a pool and when it connects to one.
///
/// 2.2 is what every server takes in both: PowerShell 4 speaks it, and PowerShell 5.1 as it was first published lets a client of another
/// version than its own connect only if that is 2.2 and its own 2.3 (`serverremotesession.cs` of PowerShell's first public source). What
/// 2.3 has more is the information stream, which says nothing that a step could use.
pub const PROTOCOL: &str = "2.2";

/// The version of the PowerShell that says so in APPLICATION_PRIVATE_DATA (`[MS-PSRP]` 2.2.2.13): `PSVersion` of its `PSVersionTable`. None: it
/// is absent, or no version.
pub fn power_shell_version(body: &str) -> Option<String> {
    let data = read(body).ok()?;
    let version = data.get("ApplicationPrivateData")?.get("PSVersionTable")?.get("PSVersion")?.shown();
    let is_version = |v: &str| {
        let parts = v.split('.').map(|part| part.parse::<u32>());
        v.len() <= 43 && parts.clone().count() >= 2 && parts.into_iter().all(|part| part.is_ok())
    };
    is_version(&version).then_some(version)
}

/// SESSION_CAPABILITY of a client.
pub fn session_capability() -> String {
    capability(PROTOCOL)
}

/// The protocol version that a SESSION_CAPABILITY declares.
pub fn protocol_version(body: &str) -> Result<Option<String>, Malformed> {
    Ok(read(body)?.get("protocolversion").map(Value::shown))
}

/// SESSION_CAPABILITY of whoever speaks a version.
pub fn capability(version: &str) -> String {
    Writer::value(&members(vec![
        ("protocolversion", Value::Version(version.into())),
        ("PSVersion", Value::Version("2.0".into())),
        ("SerializationVersion", Value::Version("1.1.0.1".into())),
    ]))
}

fn no_host() -> Value {
    members(vec![
        ("_isHostNull", Value::Bool(true)),
        ("_isHostUINull", Value::Bool(true)),
        ("_isHostRawUINull", Value::Bool(true)),
        ("_useRunspaceHost", Value::Bool(true)),
    ])
}

fn apartment() -> Value {
    enumeration("System.Management.Automation.Runspaces.ApartmentState", "UNKNOWN", 2)
}

/// INIT_RUNSPACEPOOL: at most so many runspaces, made when they are needed; no host.
pub fn init_runspacepool(runspaces: u16) -> String {
    Writer::value(&members(vec![
        ("MinRunspaces", Value::I32(1)),
        ("MaxRunspaces", Value::I32(runspaces.max(1).into())),
        (
            "PSThreadOptions",
            enumeration("System.Management.Automation.Runspaces.PSThreadOptions", "Default", 0),
        ),
        ("ApartmentState", apartment()),
        ("HostInfo", no_host()),
        ("ApplicationArguments", Value::Null),
    ]))
}

/// RUNSPACEPOOL_STATE.
pub fn runspacepool_state(state: i32) -> String {
    Writer::value(&members(vec![("RunspaceState", Value::I32(state))]))
}

/// A command with named parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// Name of the cmdlet.
    pub name: String,
    /// Its parameters.
    pub parameters: Vec<(String, Value)>,
}

/// CREATE_PIPELINE with one command and no input.
pub fn create_pipeline(command: &Command) -> String {
    let none = || enumeration("System.Management.Automation.Runspaces.PipelineResultTypes", "None", 0);
    let args = command
        .parameters
        .iter()
        .map(|(n, v)| members(vec![("N", Value::text(n)), ("V", v.clone())]))
        .collect();
    let mut cmd = vec![
        ("Cmd", Value::text(&command.name)),
        ("IsScript", Value::Bool(false)),
        ("UseLocalScope", Value::Null),
    ];
    for merge in [
        "MergeMyResult",
        "MergeToResult",
        "MergePreviousResults",
        "MergeError",
        "MergeWarning",
        "MergeVerbose",
        "MergeDebug",
        "MergeInformation",
    ] {
        cmd.push((merge, none()));
    }
    cmd.push(("Args", typed_list(args)));
    let power_shell = members(vec![
        ("Cmds", typed_list(vec![members(cmd)])),
        ("IsNested", Value::Bool(false)),
        ("History", Value::Null),
        ("RedirectShellErrorOutputPipe", Value::Bool(false)),
    ]);
    Writer::value(&members(vec![
        ("NoInput", Value::Bool(true)),
        ("ApartmentState", apartment()),
        ("RemoteStreamOptions", enumeration("System.Management.Automation.RemoteStreamOptions", "0", 0)),
        ("AddToHistory", Value::Bool(false)),
        ("HostInfo", no_host()),
        ("PowerShell", power_shell),
        ("IsNested", Value::Bool(false)),
    ]))
}

fn typed_list(items: Vec<Value>) -> Value {
    let t = "System.Collections.Generic.List`1[[System.Management.Automation.PSObject, System.Management.Automation, \
             Version=1.0.0.0, Culture=neutral, PublicKeyToken=31bf3856ad364e35]]";
    Value::Object(Box::new(Object {
        type_names: vec![t.into(), "System.Object".into()],
        base: Some(Value::List(items)),
        ..Object::default()
    }))
}

/// The commands of a CREATE_PIPELINE, as a server reads them. The flag says whether one is script text.
pub fn parse_create_pipeline(body: &str) -> Result<Vec<(Command, bool)>, Malformed> {
    let v = read(body)?;
    let commands = v
        .get("PowerShell")
        .and_then(|p| p.get("Cmds"))
        .ok_or_else(|| Malformed("CREATE_PIPELINE has no commands".into()))?;
    Ok(commands
        .as_list()
        .iter()
        .map(|c| {
            let parameters = c.get("Args").map(Value::as_list).unwrap_or_default();
            let parameters = parameters
                .iter()
                .map(|a| {
                    (
                        a.get("N").map(Value::shown).unwrap_or_default(),
                        a.get("V").cloned().unwrap_or(Value::Null),
                    )
                })
                .collect();
            let script = c.get("IsScript").and_then(Value::as_bool).unwrap_or(false);
            (Command { name: c.get("Cmd").map(Value::shown).unwrap_or_default(), parameters }, script)
        })
        .collect())
}

/// How a pipeline ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PipelineState {
    /// Stopped on request.
    Stopped,
    /// Ran to its end; it may still have written errors.
    Completed,
    /// A terminating error.
    Failed,
}

/// PIPELINE_STATE, with the error of a failed one.
pub fn pipeline_state(state: PipelineState, error: Option<&ErrorRecord>) -> String {
    let number = match state {
        PipelineState::Stopped => 3,
        PipelineState::Completed => 4,
        PipelineState::Failed => 5,
    };
    let mut list = vec![("PipelineState", Value::I32(number))];
    if let Some(e) = error {
        list.push(("ExceptionAsErrorRecord", e.to_value()));
    }
    Writer::value(&members(list))
}

/// A final PIPELINE_STATE, or none if it is not final.
pub fn parse_pipeline_state(body: &str) -> Result<Option<(PipelineState, Option<ErrorRecord>)>, Malformed> {
    let v = read(body)?;
    let state = match v.get("PipelineState").and_then(Value::as_i64) {
        Some(3) => PipelineState::Stopped,
        Some(4) => PipelineState::Completed,
        Some(5) => PipelineState::Failed,
        Some(_) => return Ok(None),
        // No data at all is a null like any other: it says nothing of a state.
        None if v == Value::Null => return Ok(None),
        None => return Err(Malformed("PIPELINE_STATE has no state".into())),
    };
    Ok(Some((
        state,
        v.get("ExceptionAsErrorRecord").filter(|e| **e != Value::Null).map(ErrorRecord::from_value),
    )))
}

/// The text of a warning, verbose or debug record.
pub fn record_text(body: &str) -> Result<String, Malformed> {
    let v = read(body)?;
    Ok(v.get("InformationalRecord_Message").map_or_else(|| v.shown(), Value::shown))
}

/// A progress record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub activity: String,
    /// How it stands, in words.
    pub status: String,
    /// Per cent that are done; none if it does not know.
    pub percent: Option<u8>,
}

impl Progress {
    /// From CLIXML. A record of nothing is an empty record.
    pub fn from_value(v: &Value) -> Progress {
        let text = |name: &str| v.get(name).map(Value::shown).unwrap_or_default();
        // -1 means that it does not know.
        let percent = v.get("PercentComplete").and_then(Value::as_i64).and_then(|p| u8::try_from(p).ok());
        Progress { activity: text("Activity"), status: text("StatusDescription"), percent }
    }
}

/// What PowerShell writes as the call id of a host method that has no result (`ServerDispatchTable.VoidCallId`).
const NO_RESULT: i64 = -100;

/// The method (`[MS-PSRP]` 2.2.3.17) of a host call that waits for a result; none if it does not wait.
pub fn host_call_that_waits(body: &str) -> Result<Option<String>, Malformed> {
    let v = read(body)?;
    let waits = v.get("ci").and_then(Value::as_i64).is_some_and(|id| id != NO_RESULT);
    Ok(waits.then(|| v.get("mi").map(Value::shown).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_command_survives_with_hostile_parameters() {
        let command = Command {
            name: "Set-CsPersistentChatActiveServer".into(),
            parameters: vec![
                ("Identity".into(), Value::text("x'; Remove-Item $(calc) `\"_x0041_\r€😀")),
                (
                    "ActiveServers".into(),
                    Value::Dict(vec![(
                        Value::text("Replace"),
                        Value::List(vec![Value::text("a"), Value::text("b")]),
                    )]),
                ),
                ("Confirm".into(), Value::Bool(false)),
            ],
        };
        let parsed = parse_create_pipeline(&create_pipeline(&command)).unwrap();
        let (back, script) = parsed.first().unwrap();
        assert!(!script);
        assert_eq!(back.name, command.name);
        assert_eq!(back.parameters[0], command.parameters[0]);
        assert_eq!(
            back.parameters[1].1.get("replace").unwrap().as_list(),
            vec![Value::text("a"), Value::text("b")]
        );
    }

    #[test]
    fn messages_carry_guids_in_dot_net_order() {
        let m = Message {
            kind: kind::PIPELINE_OUTPUT,
            pool: Uuid::from_u128(1),
            pipeline: Uuid::from_u128(0x0102_0304 << 96),
            body: "<S>ü</S>".into(),
        };
        let bytes = m.encode(false);
        assert_eq!(&bytes[24..28], &[4, 3, 2, 1]);
        assert_eq!(Message::decode(&bytes).unwrap(), m);
        assert!(Message::decode(&bytes[..30]).is_err());
    }
}
