//! What the lab's own PowerShell says (`[MS-PSRP]`): when a runspace pool is opened, and when a pipeline has ended. The same behind
//! WinRM and in server mode. And how a client gets to it.

use std::time::Duration;

use psrp::client::{Authentication, Endpoint, Password};
use psrp::clixml::{Object, Value, Writer};
use psrp::message::{self, Message, PipelineState, kind};
use uuid::Uuid;

use crate::chat::cmdlets::Finished;
use crate::chat::{SHELL_PASSWORD, SHELL_USER};
use crate::scenario::PowerShell;

/// How a client logs on to a Management Shell of a lab on this machine: Basic, over TLS.
pub fn endpoint(ca_pem: Vec<u8>, host: &str, port: u16) -> Endpoint {
    Endpoint {
        host: host.into(),
        port: 5986,
        path: "/wsman".into(),
        connect_to: Some(("127.0.0.1".into(), port)),
        tls: true,
        ca_pem: Some(ca_pem),
        configuration_name: "PersistentChat.Failover".into(),
        authentication: Authentication::Basic,
        user: SHELL_USER.into(),
        password: Password(SHELL_PASSWORD.into()),
        connect_timeout: Duration::from_secs(8),
        operation_timeout: Duration::from_secs(5),
    }
}

/// What a server says when it has opened a pool.
pub fn opening(pool: Uuid, power_shell: PowerShell) -> Vec<Message> {
    let [_, _, protocol] = power_shell.versions();
    let of_pool = |kind, pool, body| Message { kind, pool, pipeline: Uuid::nil(), body };
    vec![
        // Windows sends its capability with a zero pool id.
        of_pool(kind::SESSION_CAPABILITY, Uuid::nil(), message::capability(protocol)),
        private_data(pool, power_shell),
        of_pool(kind::RUNSPACEPOOL_STATE, pool, message::runspacepool_state(2)),
    ]
}

/// APPLICATION_PRIVATE_DATA: which PowerShell this is, as one of Windows Server 2012 R2 writes it.
pub fn private_data(pool: Uuid, power_shell: PowerShell) -> Message {
    let [own, build, protocol] = power_shell.versions();
    let dictionary = |entries: Vec<(&str, Value)>| {
        Value::Object(Box::new(Object {
            type_names: vec![
                "System.Management.Automation.PSPrimitiveDictionary".into(),
                "System.Collections.Hashtable".into(),
                "System.Object".into(),
            ],
            base: Some(Value::Dict(entries.into_iter().map(|(k, v)| (Value::text(k), v)).collect())),
            ..Object::default()
        }))
    };
    let version = |v: &str| Value::Version(v.into());
    let table = dictionary(vec![
        ("PSVersion", version(own)),
        ("CLRVersion", version("4.0.30319.42000")),
        ("BuildVersion", version(build)),
        ("PSRemotingProtocolVersion", version(protocol)),
        ("WSManStackVersion", version("3.0")),
        ("SerializationVersion", version("1.1.0.1")),
    ]);
    let data = dictionary(vec![("PSVersionTable", table)]);
    let body = Writer::value(&Value::Object(Box::new(Object {
        extended: vec![("ApplicationPrivateData".into(), data)],
        ..Object::default()
    })));
    Message { kind: kind::APPLICATION_PRIVATE_DATA, pool, pipeline: Uuid::nil(), body }
}

/// The first record of the first pipeline of a pool, before its cmdlet begins: recorded Windows hosts write it, and stand still at it
/// until somebody receives.
pub fn preparing(pool: Uuid, pipeline: Uuid) -> Message {
    let text = |t: &str| Value::text(t);
    let types = [
        "System.Management.Automation.ProgressRecordType",
        "System.Enum",
        "System.ValueType",
        "System.Object",
    ];
    let kind_of_progress = Value::Object(Box::new(Object {
        type_names: types.map(String::from).into(),
        to_string: Some("Completed".into()),
        base: Some(Value::I32(1)),
        ..Object::default()
    }));
    let body = Writer::value(&Value::Object(Box::new(Object {
        extended: vec![
            ("Activity".into(), text("Preparing modules for first use.")),
            ("ActivityId".into(), Value::I32(0)),
            ("StatusDescription".into(), text(" ")),
            ("CurrentOperation".into(), Value::Null),
            ("ParentActivityId".into(), Value::I32(-1)),
            ("PercentComplete".into(), Value::I32(-1)),
            ("Type".into(), kind_of_progress),
            ("SecondsRemaining".into(), Value::I32(-1)),
        ],
        ..Object::default()
    })));
    Message { kind: kind::PROGRESS_RECORD, pool, pipeline, body }
}

/// What a pipeline says of a cmdlet that has ended, its state last. The error that ended it comes with the state.
pub fn ending(finished: &Finished, pool: Uuid, pipeline: Uuid) -> Vec<Message> {
    let of_pipeline = |kind, body| Message { kind, pool, pipeline, body };
    let (written, last) = match (finished.state, finished.errors.split_last()) {
        (PipelineState::Failed | PipelineState::Stopped, Some((last, written))) => (written, Some(last)),
        (PipelineState::Completed, _) | (PipelineState::Failed | PipelineState::Stopped, None) => {
            (finished.errors.as_slice(), None)
        }
    };
    let warnings = finished.warnings.iter().map(|w| of_pipeline(kind::WARNING_RECORD, warning(w)));
    let objects = finished.objects.iter().map(|o| of_pipeline(kind::PIPELINE_OUTPUT, Writer::value(o)));
    let errors = written.iter().map(|e| of_pipeline(kind::ERROR_RECORD, Writer::value(&e.to_value())));
    let state = of_pipeline(kind::PIPELINE_STATE, message::pipeline_state(finished.state, last));
    objects.chain(warnings).chain(errors).chain([state]).collect()
}

/// A record of the warning stream.
fn warning(text: &str) -> String {
    Writer::value(&Value::Object(Box::new(Object {
        type_names: vec![
            "System.Management.Automation.WarningRecord".into(),
            "System.Management.Automation.InformationalRecord".into(),
            "System.Object".into(),
        ],
        to_string: Some(text.into()),
        extended: vec![
            ("InformationalRecord_Message".into(), Value::text(text)),
            ("InformationalRecord_SerializeInvocationInfo".into(), Value::Bool(false)),
        ],
        ..Object::default()
    })))
}
