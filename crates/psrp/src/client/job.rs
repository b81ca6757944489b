//! Detached commands: they live on without us, in a shell of their own. WS-Management only.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use uuid::Uuid;

use super::collect::{Collector, Output};
use super::pool::{self, FRAGMENT};
use crate::error::Error;
use crate::faults;
use crate::fragment::Fragmenter;
use crate::message::{self, Command, Message, kind};
use crate::transport::Transport as _;
use crate::transport::wsman::{Ask, Endpoint, Wsman, text};
use crate::wsman::{self, Element, action};

/// How long a pool may take to open.
const OPEN: Duration = Duration::from_secs(120);
/// How long a job that has ended may take to say so.
const COLLECT: Duration = Duration::from_secs(60);

/// Ids of a detached command, chosen by the caller before anything is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobIds {
    /// The shell.
    pub shell: Uuid,
    /// The command.
    pub command: Uuid,
}

/// A detached command.
#[derive(Clone, Debug, PartialEq)]
pub enum JobState {
    /// It runs.
    Running,
    /// It ended.
    Finished(Output),
    /// The host knows nothing of it (any more).
    Gone,
}

/// Starts a command that lives on without us, under the ids of the caller, and leaves it.
///
/// Output is kept at the server (`BufferMode` Block is the default; a mirror installation writes a few progress records
/// only), so that the final errors can be read when it has ended.
pub async fn start(
    endpoint: &Endpoint,
    command: &Command,
    ids: &JobIds,
    idle_timeout: Duration,
) -> Result<(), Error> {
    let transport = Wsman::connect(endpoint, Some(idle_timeout)).await?;
    let begun = async {
        let opened = tokio::time::timeout(OPEN, pool::open(&transport, ids.shell, 1)).await;
        let opened = opened.map_err(|_| {
            Error::NotBegun(format!("the runspace pool of the job did not open within {OPEN:?}"))
        })?;
        let mut fragmenter = opened.map_err(Error::before_start)?;
        let m = Message {
            kind: kind::CREATE_PIPELINE,
            pool: ids.shell,
            pipeline: ids.command,
            body: message::create_pipeline(command),
        };
        transport.begin(ids.command, fragmenter.fragment(&m.encode(true))).await
    };
    if let Err(e) = begun.await {
        // A shell without a command would stay for as long as its idle time-out.
        if !e.outcome_unknown()
            && let Err(left) = transport.delete().await
        {
            tracing::debug!(error = %left, "the shell of a job that was not begun is left behind");
        }
        return Err(e);
    }
    let left = transport.call(action::DISCONNECT, Some(&ids.shell), &[], "<rsp:Disconnect/>").await;
    left.map(|_| ()).map_err(Error::after_start)
}

/// Looks after a detached command. Starts nothing; if it has ended, reads what it said.
pub async fn look(endpoint: &Endpoint, ids: &JobIds) -> Result<JobState, Error> {
    let transport = Wsman::connect(endpoint, None).await?;
    transport.attach(ids.shell)?;
    let body = format!(
        "<n:Enumerate xmlns:n=\"http://schemas.xmlsoap.org/ws/2004/09/enumeration\"><w:OptimizeEnumeration/><w:MaxElements>32000</w:MaxElements>\
         <w:Filter Dialect=\"http://schemas.dmtf.org/wbem/wsman/1/wsman/SelectorFilter\"><w:SelectorSet><w:Selector Name=\"ShellId\">{}</w:Selector></w:SelectorSet></w:Filter></n:Enumerate>",
        text(&ids.shell)
    );
    let resource = format!("{}/Command", wsman::SHELL);
    let ask = Ask { action: action::ENUMERATE, resource: &resource, shell: None, options: &[], body: &body };
    let answer = match transport.ask(&ask).await {
        Err(Error::Fault(f)) if f.code == faults::INVALID_SELECTORS => return Ok(JobState::Gone),
        other => other?,
    };
    match state_of(&answer.body, ids) {
        None => return Ok(JobState::Gone),
        Some(state) if !state.ends_with("Done") => return Ok(JobState::Running),
        Some(_) => {}
    }
    reconnect(&transport, ids).await?;
    let mut collector = Collector::new(false);
    let collected = async {
        loop {
            if let Some(output) = collector.take(&transport.receive(Some(ids.command)).await?)? {
                return Ok(output);
            }
        }
    };
    let output = tokio::time::timeout(COLLECT, collected)
        .await
        .map_err(|_| Error::Lost(format!("the job has ended, but told nothing within {COLLECT:?}")))??;
    // What it said exists once and is here: a shell that stays behind goes by its idle time-out.
    if let Err(left) = transport.delete().await {
        tracing::debug!(error = %left, "the shell of a job that has ended is left behind");
    }
    Ok(JobState::Finished(output))
}

/// State of a job in the list of its shell's commands; none if it is not in it. Recorded Windows hosts write an element
/// `CommandState` with a bare word; the documents show an attribute.
fn state_of(body: &Element, ids: &JobIds) -> Option<String> {
    let mut commands: Vec<&Element> = Vec::new();
    body.all("Command", &mut commands);
    let ours = commands.iter().find(|c| {
        let id = c.attribute("CommandId").or_else(|| c.find("CommandId").map(|e| e.text.as_str()));
        id.is_some_and(|id| id.trim().eq_ignore_ascii_case(&text(&ids.command)))
    })?;
    let state = ["State", "CommandState"].iter().find_map(|name| ours.find(name)).map(|e| e.text.as_str());
    Some(ours.attribute("State").or(state).unwrap_or_default().trim().to_string())
}

/// Takes over the shell and the command.
async fn reconnect(transport: &Wsman, ids: &JobIds) -> Result<(), Error> {
    let mut fragmenter = Fragmenter::new(FRAGMENT);
    let bytes = pool::greeting(&mut fragmenter, ids.shell, kind::CONNECT_RUNSPACEPOOL, "<S/>".into());
    let connect = format!(
        "<rsp:Connect><connectXml xmlns=\"http://schemas.microsoft.com/powershell\">{}</connectXml></rsp:Connect>",
        BASE64.encode(bytes)
    );
    transport
        .call(action::CONNECT, Some(&ids.shell), &[("protocolversion", message::PROTOCOL)], &connect)
        .await?;
    let connect = format!("<rsp:Connect CommandId=\"{}\"/>", text(&ids.command));
    transport.call(action::CONNECT, Some(&ids.shell), &[], &connect).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::wsman::Envelope;

    #[test]
    fn the_state_of_a_job_is_read_as_windows_writes_it_and_as_the_documents_do() {
        let ids = JobIds { shell: Uuid::from_u128(1), command: Uuid::from_u128(2) };
        let other = text(&Uuid::from_u128(3));
        let list = |commands: &str| {
            let xml =
                format!("<s:Envelope xmlns:s=\"s\" xmlns:rsp=\"r\"><s:Body>{commands}</s:Body></s:Envelope>");
            state_of(&Envelope::read(&xml).unwrap().body, &ids)
        };
        let windows = |id: &str, state: &str| {
            format!(
                "<rsp:Command><rsp:CommandId>{id}</rsp:CommandId><rsp:CommandLine></rsp:CommandLine><rsp:CommandState>{state}</rsp:CommandState></rsp:Command>"
            )
        };
        let ours = text(&ids.command);
        assert_eq!(list(&windows(&ours, "Running")).as_deref(), Some("Running"));
        let both = format!("{}{}", windows(&other, "Running"), windows(&ours.to_lowercase(), "Done"));
        assert_eq!(list(&both).as_deref(), Some("Done"));
        assert_eq!(list(&windows(&other, "Done")), None);
        let documents = format!("<rsp:Command CommandId=\"{ours}\" State=\"{}\"/>", crate::wsman::DONE);
        assert_eq!(list(&documents).as_deref(), Some(crate::wsman::DONE));
    }
}
