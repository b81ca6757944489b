//! Commands that live on without us, in a shell of their own. WS-Management only.
//!
//! A server hands nothing out before somebody has received: a pipeline that nobody ever received from stands still at its first record,
//! and PowerShell writes one before the cmdlet begins ("Preparing modules for first use": a recorded host stood still there;
//! `WSManPluginTransportManager.SendDataToClient` waits for the first Receive). So a job is *attended*: from its start somebody
//! receives, in a task that the process owns. It is left in order, with BufferMode Drop, or by the death of its client; then another
//! process connects to it, and receives from there on. What was handed out once comes to nobody else.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::collect::{Collector, Output};
use super::pool::{self, FRAGMENT};
use crate::error::Error;
use crate::faults::{self, Meaning};
use crate::fragment::Fragmenter;
use crate::message::{self, Command, Message, kind};
use crate::transport::Transport as _;
use crate::transport::wsman::{Ask, Endpoint, Wsman, text};
use crate::wsman::{self, Element, action};

/// How long a pool may take to open.
const OPEN: Duration = Duration::from_secs(120);
/// How long it may take to find a job and to connect to it.
const FIND: Duration = Duration::from_secs(30);
/// How long a shell may take to be deleted that nobody needs any more.
const TIDY: Duration = Duration::from_secs(10);
/// OperationTimeout of what is asked about a job: who leaves it waits for no longer than that.
const RECEIVE: Duration = Duration::from_secs(3);
/// How often in a row the answer to a Receive may be lost before somebody has to look at the job anew.
const LOST: u32 = 4;

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
    /// It runs, as far as is known.
    Running,
    /// It ended, and said this.
    Finished(Output),
    /// It ended. What it said last was handed to somebody else, or lost.
    Ended,
    /// The host knows nothing of it (any more).
    Gone,
}

/// What is found of a job.
#[derive(Debug)]
pub enum Found {
    /// It is attended from now on.
    Attended(Job),
    /// Somebody else is connected to it; or the host has not noticed yet that who was is not any more, which takes Windows one to two
    /// minutes. It is there, and to be looked at again.
    Elsewhere,
    /// The host knows nothing of it (any more).
    Gone,
}

/// How an attended job stands.
#[derive(Clone, Debug)]
enum Standing {
    Runs,
    Is(JobState),
    /// Nobody attends it any more, for this reason.
    Lost(Error),
    /// It was left.
    Left,
}

/// A job that this process attends. Dropped, it is left, in the background.
#[derive(Debug)]
pub struct Job {
    standing: watch::Receiver<Standing>,
    leave: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
    /// The host said that it has ended, before anything was received.
    ended: bool,
}

/// Starts a command under the ids of the caller, and attends it.
pub async fn start(
    endpoint: &Endpoint,
    command: &Command,
    ids: &JobIds,
    idle_timeout: Duration,
) -> Result<Job, Error> {
    match begin(endpoint, command, ids, Some(idle_timeout)).await {
        // Longer than this host lets a shell wait. Nothing was made: as long as the host sees fit, then.
        Err(Error::Fault(f)) if faults::meaning(f.code) == Some(Meaning::IdleTimeOut) => {
            begin(endpoint, command, ids, None).await
        }
        other => other,
    }
}

async fn begin(
    endpoint: &Endpoint,
    command: &Command,
    ids: &JobIds,
    idle_timeout: Option<Duration>,
) -> Result<Job, Error> {
    let transport = connect(endpoint, idle_timeout).await?;
    let begun = async {
        let opened = tokio::time::timeout(OPEN, pool::open(&transport, ids.shell, 1)).await;
        let opened = opened.map_err(|_| {
            Error::NotBegun(format!("the runspace pool of the job did not open within {OPEN:?}"))
        })?;
        let mut fragmenter = opened.map_err(Error::before_start)?.fragmenter;
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
        if !e.outcome_unknown() {
            tidy(&transport).await;
        }
        return Err(e);
    }
    Ok(Job::attend(transport, *ids, Collector::new(false), false))
}

async fn connect(endpoint: &Endpoint, idle_timeout: Option<Duration>) -> Result<Wsman, Error> {
    let patient = Endpoint { operation_timeout: endpoint.operation_timeout.min(RECEIVE), ..endpoint.clone() };
    Wsman::connect(&patient, idle_timeout).await
}

/// Deletes a shell that nobody needs any more. What it said is here: one that stays behind goes by its idle time-out.
async fn tidy(transport: &Wsman) {
    match tokio::time::timeout(TIDY, transport.delete()).await {
        Ok(Ok(())) => {}
        Ok(Err(left)) => tracing::debug!(error = %left, "the shell of a job is left behind"),
        Err(_) => tracing::debug!("the shell of a job is left behind: it was not deleted in time"),
    }
}

/// Whether the host knows a job. Takes nothing over, and reads nothing of what it said.
pub async fn is_there(endpoint: &Endpoint, ids: &JobIds) -> Result<bool, Error> {
    let listed = async { listed(&connect(endpoint, None).await?, ids).await };
    let listed = tokio::time::timeout(FIND, listed).await;
    listed.map_err(|_| not_found_in_time())?.map(|state| state.is_some())
}

/// Looks for a job, and attends it if nobody else does.
pub async fn attach(endpoint: &Endpoint, ids: &JobIds) -> Result<Found, Error> {
    let found = async {
        let transport = connect(endpoint, None).await?;
        transport.attach(ids.shell)?;
        let Some(state) = listed(&transport, ids).await? else { return Ok(Found::Gone) };
        match take_over(&transport, ids).await {
            Ok(()) => {}
            Err(Error::Fault(f)) if faults::meaning(f.code) == Some(Meaning::Elsewhere) => {
                return Ok(Found::Elsewhere);
            }
            Err(e) => return Err(e),
        }
        // What came before us may be cut off in the middle.
        let collector = Collector::after_a_gap();
        Ok(Found::Attended(Job::attend(transport, *ids, collector, state.ends_with("Done"))))
    };
    tokio::time::timeout(FIND, found).await.map_err(|_| not_found_in_time())?
}

fn not_found_in_time() -> Error {
    Error::Lost(format!("the job was not found within {FIND:?}"))
}

/// The state of a job in the host's list; none if it is not in it. What it says is no proof: a job that stands still is listed as one
/// that runs.
async fn listed(transport: &Wsman, ids: &JobIds) -> Result<Option<String>, Error> {
    let body = format!(
        "<n:Enumerate xmlns:n=\"http://schemas.xmlsoap.org/ws/2004/09/enumeration\"><w:OptimizeEnumeration/><w:MaxElements>32000</w:MaxElements>\
         <w:Filter Dialect=\"http://schemas.dmtf.org/wbem/wsman/1/wsman/SelectorFilter\"><w:SelectorSet><w:Selector Name=\"ShellId\">{}</w:Selector></w:SelectorSet></w:Filter></n:Enumerate>",
        text(&ids.shell)
    );
    let resource = format!("{}/Command", wsman::SHELL);
    let ask = Ask { action: action::ENUMERATE, resource: &resource, shell: None, options: &[], body: &body };
    match transport.ask(&ask).await {
        Err(Error::Fault(f)) if faults::meaning(f.code) == Some(Meaning::Gone) => Ok(None),
        other => Ok(state_of(&other?.body, ids)),
    }
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

/// Takes over the shell and the command, in the steps of the clients that were recorded: the pool, what it says to who connects, the
/// command.
async fn take_over(transport: &Wsman, ids: &JobIds) -> Result<(), Error> {
    let mut fragmenter = Fragmenter::new(FRAGMENT);
    let bytes = pool::greeting(&mut fragmenter, ids.shell, kind::CONNECT_RUNSPACEPOOL, "<S/>".into());
    let connect = format!(
        "<rsp:Connect><connectXml xmlns=\"http://schemas.microsoft.com/powershell\">{}</connectXml></rsp:Connect>",
        BASE64.encode(bytes)
    );
    let options = [("protocolversion", message::PROTOCOL)];
    transport.call(action::CONNECT, Some(&ids.shell), &options, &connect).await?;
    // Its application's data, again: nothing that a job needs.
    transport.receive(None).await?;
    let connect = format!("<rsp:Connect CommandId=\"{}\"/>", text(&ids.command));
    transport.call(action::CONNECT, Some(&ids.shell), &[], &connect).await?;
    Ok(())
}

impl Job {
    fn attend(transport: Wsman, ids: JobIds, collector: Collector, ended: bool) -> Job {
        let (told, standing) = watch::channel(Standing::Runs);
        let (leave, leaving) = watch::channel(false);
        let task = tokio::spawn(attend(transport, ids, collector, told, leaving));
        Job { standing, leave, task: Mutex::new(Some(task)), ended }
    }

    /// How it stands, waiting for at most so long until it has ended. An error: nobody attends it any more, and it is to be looked for
    /// anew.
    pub async fn state(&self, at_most: Duration) -> Result<JobState, Error> {
        let mut standing = self.standing.clone();
        let ended = tokio::time::timeout(at_most, standing.wait_for(|s| !matches!(s, Standing::Runs))).await;
        match ended {
            Ok(Ok(standing)) => match &*standing {
                Standing::Is(state) => Ok(state.clone()),
                Standing::Lost(e) => Err(e.clone()),
                Standing::Runs | Standing::Left => Err(Error::Lost("the job was left".into())),
            },
            Ok(Err(_)) => Err(Error::Lost("who attended the job has ended".into())),
            // The host itself lists it as ended, and whatever it had to say was not there: somebody else has heard it.
            Err(_) if self.ended => Ok(JobState::Ended),
            Err(_) => Ok(JobState::Running),
        }
    }

    /// Leaves it in order, so that it goes on without us, and others need not wait. At most a few seconds.
    pub async fn leave(&self) {
        self.leave.send_replace(true);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task
            && tokio::time::timeout(RECEIVE + TIDY, task).await.is_err()
        {
            tracing::debug!("a job was not left in time");
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.leave.send_replace(true);
    }
}

/// What a failed Receive says about a job.
fn after_failure(e: Error, failures: u32) -> Option<Standing> {
    match e {
        Error::Fault(f) if faults::meaning(f.code) == Some(Meaning::Gone) => {
            Some(Standing::Is(JobState::Gone))
        }
        e @ Error::Fault(_) => Some(Standing::Lost(e)),
        // The shell stays ours for a minute at least: the same is asked on another connection.
        Error::Connect(_)
        | Error::Tls(_)
        | Error::Unauthorized(_)
        | Error::NotBegun(_)
        | Error::Lost(_)
        | Error::Protocol(_)
            if failures < LOST =>
        {
            None
        }
        e @ (Error::Connect(_)
        | Error::Tls(_)
        | Error::Unauthorized(_)
        | Error::NotBegun(_)
        | Error::Lost(_)
        | Error::Protocol(_)) => Some(Standing::Lost(e)),
    }
}

/// Receives from a job until it has ended, or is to be left.
async fn attend(
    transport: Wsman,
    ids: JobIds,
    mut collector: Collector,
    told: watch::Sender<Standing>,
    mut leaving: watch::Receiver<bool>,
) {
    let transport = Arc::new(transport);
    let mut failures = 0;
    loop {
        // Never broken off: what a Receive brings exists once. And one is out before the shell is left, or the command stands still.
        match transport.receive(Some(ids.command)).await {
            Ok(received) => {
                failures = 0;
                let ended = match collector.take(&received) {
                    Ok(output) => output.map(JobState::Finished),
                    Err(_) if received.done => Some(JobState::Ended),
                    Err(e) => {
                        tracing::debug!(error = %e, "what a job says cannot be read: only its end counts");
                        collector = Collector::after_a_gap();
                        None
                    }
                };
                if let Some(state) = ended {
                    // First the result: nothing that fails after it can spoil it.
                    told.send_replace(Standing::Is(state));
                    tidy(&transport).await;
                    return;
                }
            }
            Err(e) => {
                failures += 1;
                collector.gap();
                tracing::debug!(error = %e, failures, "the answer to a Receive of a job was lost");
                if let Some(standing) = after_failure(e, failures) {
                    told.send_replace(standing);
                    return;
                }
                let pause = tokio::time::sleep(Duration::from_secs(1 << failures.min(3)));
                tokio::select! {
                    () = pause => {}
                    _ = leaving.wait_for(|l| *l) => {}
                }
            }
        }
        if *leaving.borrow() {
            disconnect(&transport, &ids).await;
            told.send_replace(Standing::Left);
            return;
        }
    }
}

/// Leaves the shell. With Drop, the host throws away what it cannot keep in place of holding up the command (`[MS-WSMV]` 3.1.4.15): a
/// mirror that is not built is worse than progress that nobody reads.
async fn disconnect(transport: &Wsman, ids: &JobIds) {
    let body = "<rsp:Disconnect><rsp:BufferMode>Drop</rsp:BufferMode></rsp:Disconnect>";
    let left = transport.call(action::DISCONNECT, Some(&ids.shell), &[], body);
    match tokio::time::timeout(TIDY, left).await {
        Ok(Ok(_)) => {}
        Ok(Err(e)) => tracing::debug!(error = %e, "a job was not left in order"),
        Err(_) => tracing::debug!("a job was not left in order in time"),
    }
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
