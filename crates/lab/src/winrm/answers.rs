//! Faults of WinRM, and parts of its answers.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use psrp::wsman::{self, Envelope, Fault};

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

pub(super) fn stream(attribute: &str, fragment: &[u8]) -> String {
    format!("<rsp:Stream Name=\"stdout\"{attribute}>{}</rsp:Stream>", BASE64.encode(fragment))
}
