//! What WinRM answers whatever is behind it: its faults, whose a shell is, and the parts of its answers.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use psrp::wsman::{self, Element, Envelope, Fault, action};
use uuid::Uuid;

/// When a Receive is answered although there is nothing.
pub(super) fn deadline(e: &Envelope) -> tokio::time::Instant {
    tokio::time::Instant::now() + Duration::from_secs_f64(e.timeout.unwrap_or(60.0).clamp(0.5, 60.0))
}

pub(super) fn timed_out() -> Fault {
    Fault {
        code: wsman::TIMED_OUT,
        subcode: "w:TimedOut".into(),
        message: "The WS-Management service cannot complete the operation within the time specified in OperationTimeout.".into(),
    }
}

pub(super) fn no_such_shell() -> Fault {
    Fault {
        code: wsman::INVALID_SELECTORS,
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
        code: 2_150_859_173,
        subcode: "w:InvalidResourceURI".into(),
        message: format!("Cannot find the session configuration {name:?} on this host."),
    })
}

pub(super) fn bad(message: impl Into<String>) -> Fault {
    Fault { code: 2_150_858_817, subcode: "w:SchemaValidationError".into(), message: message.into() }
}

/// The answer to Create. Clients take the selectors of later requests from here.
pub(super) fn created(e: &Envelope, key: &str) -> String {
    format!(
        "<x:ResourceCreated xmlns:x=\"http://schemas.xmlsoap.org/ws/2004/09/transfer\"><a:Address>{}</a:Address><a:ReferenceParameters><w:ResourceURI>{}</w:ResourceURI>\
         <w:SelectorSet><w:Selector Name=\"ShellId\">{key}</w:Selector></w:SelectorSet></a:ReferenceParameters></x:ResourceCreated>\
         <rsp:Shell><rsp:ShellId>{key}</rsp:ShellId><rsp:ResourceUri>{1}</rsp:ResourceUri><rsp:State>Connected</rsp:State></rsp:Shell>",
        wsman::xml(&e.to),
        wsman::xml(&e.resource_uri)
    )
}

/// What a request about a shell must agree with.
pub(super) struct Owned {
    resource: String,
    session: String,
    /// Its client has not left it.
    pub(super) connected: bool,
}

/// Whether a request may be about a shell of another session's, or of one that was left.
pub(super) fn takes_over(e: &Envelope) -> bool {
    e.action == action::CONNECT || e.action == action::DELETE
}

impl Owned {
    /// By whoever creates it.
    pub(super) fn by(e: &Envelope) -> Owned {
        Owned { resource: e.resource_uri.clone(), session: e.session_id.clone(), connected: true }
    }

    /// Taken over by another client.
    pub(super) fn connect(&mut self, e: &Envelope) {
        (self.session, self.connected) = (e.session_id.clone(), true);
    }

    /// Same resource URI as its Create, and its session, unless it is being taken over.
    pub(super) fn admits(&self, e: &Envelope) -> Result<(), Fault> {
        if !self.resource.eq_ignore_ascii_case(&e.resource_uri) {
            return Err(no_such_shell());
        }
        if e.session_id.is_empty() || (!takes_over(e) && self.session != e.session_id) {
            return Err(Fault {
                code: 0x8033_810F,
                subcode: "w:InternalError".into(),
                message: "The SessionId is missing or another client's.".into(),
            });
        }
        Ok(())
    }
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

/// The answer to Connect, with what the pool says to a client that takes it over.
pub(super) fn connected(fragments: &[u8]) -> String {
    format!(
        "<rsp:ConnectResponse><pwsh:connectResponseXml xmlns:pwsh=\"http://schemas.microsoft.com/powershell\">{}</pwsh:connectResponseXml></rsp:ConnectResponse>",
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

/// The answer to Enumerate: the commands of one shell, each with whether it has ended, or the shells.
pub(super) fn enumerated<S>(
    e: &Envelope,
    shells: &BTreeMap<String, S>,
    owned: impl Fn(&S) -> &Owned,
    commands: impl Fn(&S) -> Vec<(String, bool)>,
) -> Result<String, Fault> {
    let mut items = String::new();
    if e.resource_uri.ends_with("/Command") {
        let mut selectors = Vec::new();
        e.body.all("Selector", &mut selectors);
        let id = selectors.first().map(|s| s.text.trim().to_uppercase()).unwrap_or_default();
        for (key, ended) in commands(shells.get(&id).ok_or_else(no_such_shell)?) {
            let state = if ended { "Done" } else { "Running" };
            items.push_str(&format!(
                "<rsp:Command ShellId=\"{id}\" CommandId=\"{key}\" State=\"{}/CommandState/{state}\"><rsp:CommandId>{key}</rsp:CommandId></rsp:Command>",
                wsman::SHELL
            ));
        }
    } else {
        for (id, s) in shells {
            let state = if owned(s).connected { "Connected" } else { "Disconnected" };
            items.push_str(&format!(
                "<rsp:Shell><rsp:ShellId>{id}</rsp:ShellId><rsp:State>{state}</rsp:State></rsp:Shell>"
            ));
        }
    }
    Ok(format!(
        "<n:EnumerateResponse xmlns:n=\"http://schemas.xmlsoap.org/ws/2004/09/enumeration\"><n:EnumerationContext/><w:Items>{items}</w:Items><w:EndOfSequence/></n:EnumerateResponse>"
    ))
}

pub(super) fn stream(attribute: &str, fragment: &[u8]) -> String {
    format!("<rsp:Stream Name=\"stdout\"{attribute}>{}</rsp:Stream>", BASE64.encode(fragment))
}
