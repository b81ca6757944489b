//! What WinRM answers whatever is behind it: its faults, whose a shell is, and the parts of its answers.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use psrp::clixml::{Object, Value, Writer};
use psrp::faults;
use psrp::message::{self, Message, kind};
use psrp::wsman::{self, Element, Envelope, Fault};
use uuid::Uuid;

use super::shells::Registry;
use crate::chat::SHELL_USER;
use crate::scenario::PowerShell;

/// When a Receive is answered although there is nothing.
pub(super) fn deadline(e: &Envelope) -> tokio::time::Instant {
    tokio::time::Instant::now() + Duration::from_secs_f64(e.timeout.unwrap_or(60.0).clamp(0.5, 60.0))
}

pub(super) fn timed_out() -> Fault {
    Fault {
        code: faults::TIMED_OUT,
        subcode: "w:TimedOut".into(),
        message: "The WS-Management service cannot complete the operation within the time specified in OperationTimeout.".into(),
    }
}

pub(super) fn disconnected() -> Fault {
    Fault {
        code: faults::SHELL_DISCONNECTED,
        subcode: "w:InternalError".into(),
        message: "The WinRM Shell client cannot process the request. The shell is disconnected.".into(),
    }
}

/// Whether a PowerShell lets a client of a version connect to a pool: [`PROTOCOL`](psrp::message::PROTOCOL) says which do. `messages`
/// holds what the client has sent.
pub(super) fn negotiated(messages: &[Message], server: PowerShell) -> Result<(), Fault> {
    let [_, _, own] = server.versions();
    let capability = messages.iter().find(|m| m.kind == kind::SESSION_CAPABILITY);
    let version =
        capability.and_then(|m| message::protocol_version(&m.body).ok().flatten()).unwrap_or_default();
    if version == own || (version == "2.2" && own == "2.3") {
        return Ok(());
    }
    Err(Fault {
        code: faults::CONNECT_FAILED,
        subcode: "w:InternalError".into(),
        message: format!(
            "Server could not negotiate: the client's protocolversion is {version:?}, that of the server {own}."
        ),
    })
}

pub(super) fn no_such_shell() -> Fault {
    Fault {
        code: faults::INVALID_SELECTORS,
        subcode: "w:InvalidSelectors".into(),
        message:
            "The request for the Windows Remote Shell failed because the shell was not found on the server."
                .into(),
    }
}

/// Refuses a session configuration that a host does not have.
pub(super) fn session_configuration(e: &Envelope) -> Result<(), Fault> {
    let name = e.resource_uri.strip_prefix(wsman::CONFIGURATION).unwrap_or_default();
    if ["PersistentChat.Failover", "Microsoft.PowerShell"].iter().any(|n| n.eq_ignore_ascii_case(name)) {
        return Ok(());
    }
    Err(Fault {
        code: faults::NO_CONFIGURATION,
        subcode: "w:InvalidResourceURI".into(),
        message: format!("Cannot find the session configuration {name:?} on this host."),
    })
}

pub(super) fn bad(message: impl Into<String>) -> Fault {
    Fault { code: 2_150_858_817, subcode: "w:SchemaValidationError".into(), message: message.into() }
}

/// What a shell's answers say of it besides its state. As recorded; who asks from where is not the lab's to know.
fn described(key: &str, resource: &str, name: Option<&str>, idle: f64) -> String {
    let name = name.map(|n| format!("<rsp:Name>{}</rsp:Name>", wsman::xml(n))).unwrap_or_default();
    format!(
        "<rsp:ShellId>{key}</rsp:ShellId>{name}<rsp:ResourceUri>{}</rsp:ResourceUri><rsp:Owner>{}</rsp:Owner><rsp:ClientIP>127.0.0.1</rsp:ClientIP>\
         <rsp:ProcessId>1640</rsp:ProcessId><rsp:IdleTimeOut>PT{idle:.3}S</rsp:IdleTimeOut><rsp:InputStreams>stdin pr</rsp:InputStreams>\
         <rsp:OutputStreams>stdout</rsp:OutputStreams><rsp:MaxIdleTimeOut>PT2147483.647S</rsp:MaxIdleTimeOut><rsp:Locale>en-US</rsp:Locale>\
         <rsp:DataLocale>en-US</rsp:DataLocale><rsp:CompressionMode>NoCompression</rsp:CompressionMode><rsp:ProfileLoaded>Yes</rsp:ProfileLoaded>\
         <rsp:Encoding>UTF8</rsp:Encoding>",
        wsman::xml(resource),
        wsman::xml(SHELL_USER)
    )
}

/// The answer to Create. Clients take the selectors of later requests from here.
pub(super) fn created(e: &Envelope, key: &str, idle: f64) -> String {
    format!(
        "<x:ResourceCreated xmlns:x=\"http://schemas.xmlsoap.org/ws/2004/09/transfer\"><a:Address>{}</a:Address><a:ReferenceParameters><w:ResourceURI>{}</w:ResourceURI>\
         <w:SelectorSet><w:Selector Name=\"ShellId\">{key}</w:Selector></w:SelectorSet></a:ReferenceParameters></x:ResourceCreated>\
         <rsp:Shell>{}<rsp:State>Connected</rsp:State></rsp:Shell>",
        wsman::xml(&e.to),
        wsman::xml(&e.resource_uri),
        described(key, &e.resource_uri, None, idle)
    )
}

pub(super) fn not_simulated(action: &str) -> Fault {
    Fault {
        code: 2_150_858_767,
        subcode: "a:ActionNotSupported".into(),
        message: format!("simulator: action {action} is not simulated"),
    }
}

pub(super) fn decoded(e: Option<&Element>) -> Result<Vec<u8>, Fault> {
    let text = e.map(|e| e.text.split_whitespace().collect::<String>()).unwrap_or_default();
    BASE64.decode(text).map_err(|x| bad(x.to_string()))
}

pub(super) fn id_of(e: &Element, name: &str) -> Option<Uuid> {
    e.attribute(name).and_then(|i| Uuid::parse_str(i).ok())
}

pub(super) fn key_of(id: Uuid) -> String {
    id.to_string().to_uppercase()
}

/// Whether a Signal asks for the end of what runs, rather than says that nobody asks for its output any more.
pub(super) fn stops(signal: &Element) -> bool {
    signal.find("Code").is_some_and(|c| c.text.trim().ends_with(wsman::SIGNAL_STOP))
}

/// What a PowerShell says to a client that connects to its pool (`[MS-PSRP]` 3.2.5.4.13): the first part in the answer, the second
/// through the next Receive. As recorded.
pub(super) fn taken_over(pool: Uuid, server: PowerShell, runspaces: (Value, Value)) -> (Message, Message) {
    let [_, _, own] = server.versions();
    let of = |kind, pool, body| Message { kind, pool, pipeline: Uuid::nil(), body };
    let (min, max) = runspaces;
    let init = Value::Object(Box::new(Object {
        extended: vec![("MinRunspaces".into(), min), ("MaxRunspaces".into(), max)],
        ..Object::default()
    }));
    (
        of(kind::SESSION_CAPABILITY, Uuid::nil(), message::capability(own)),
        of(kind::RUNSPACEPOOL_INIT_DATA, pool, Writer::value(&init)),
    )
}

/// The answer to Connect, with what the pool says to a client that takes it over.
pub(super) fn connected(fragments: &[u8]) -> String {
    format!(
        "<rsp:ConnectResponse><rsp:InputStreams>stdin pr</rsp:InputStreams><rsp:OutputStreams>stdout</rsp:OutputStreams>\
         <connectResponseXml xmlns=\"http://schemas.microsoft.com/powershell\">{}</connectResponseXml></rsp:ConnectResponse>",
        BASE64.encode(fragments)
    )
}

/// How a Receive says that its command has ended.
pub(super) fn done(attribute: &str) -> String {
    format!(
        "<rsp:CommandState{attribute} State=\"{}\"><rsp:ExitCode>0</rsp:ExitCode></rsp:CommandState>",
        wsman::DONE
    )
}

/// The answer to Enumerate: the commands of one shell, each with whether it has ended, or the shells. As recorded: without
/// attributes, and the state is a bare word.
pub(super) fn enumerated(
    e: &Envelope,
    shells: &Registry,
    commands: impl FnOnce(&str) -> Option<Vec<(String, bool)>>,
) -> Result<String, Fault> {
    let mut items = String::new();
    if e.resource_uri.ends_with("/Command") {
        let mut selectors = Vec::new();
        e.body.all("Selector", &mut selectors);
        let id = selectors.first().map(|s| s.text.trim().to_uppercase()).unwrap_or_default();
        for (key, ended) in commands(&id).ok_or_else(no_such_shell)? {
            let state = if ended { "Done" } else { "Running" };
            items.push_str(&format!(
                "<rsp:Command><rsp:CommandId>{key}</rsp:CommandId><rsp:CommandLine></rsp:CommandLine><rsp:CommandState>{state}</rsp:CommandState></rsp:Command>"
            ));
        }
    } else {
        for shell in shells.each(|id, s| {
            format!(
                "<rsp:Shell>{}<rsp:BufferMode>{}</rsp:BufferMode><rsp:State>{}</rsp:State><rsp:ShellRunTime>P0DT0H0M1S</rsp:ShellRunTime><rsp:ShellInactivity>P0DT0H0M0S</rsp:ShellInactivity></rsp:Shell>",
                described(id, s.resource(), s.name.as_deref(), s.idle),
                s.buffer,
                s.state()
            )
        }) {
            items.push_str(&shell);
        }
    }
    Ok(format!(
        "<n:EnumerateResponse xmlns:n=\"http://schemas.xmlsoap.org/ws/2004/09/enumeration\"><n:EnumerationContext></n:EnumerationContext><w:Items>{items}</w:Items><w:EndOfSequence/></n:EnumerateResponse>"
    ))
}

pub(super) fn stream(attribute: &str, fragment: &[u8]) -> String {
    format!("<rsp:Stream Name=\"stdout\"{attribute}>{}</rsp:Stream>", BASE64.encode(fragment))
}
