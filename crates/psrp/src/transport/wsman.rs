//! WS-Management: every step is a request, and what comes is asked for.
//!
//! One connection serves one request at a time, so commands that run at once are served by several connections to the *same*
//! shell, as the Windows client does it: each pipeline listens on a connection of its own, logged on for itself (a maintainer of
//! pypsrp in its issue 166). What binds a request to its shell is the user, the ShellId and the SessionId of the client, not the
//! connection (`[MS-WSMV]` 3.1.4.1; recorded Windows hosts let even another session take over and delete a shell). The other
//! way, a shell for each command at once, would cost a process on the host each, of which one user may have 25.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use openssl::ssl::SslConnector;
use uuid::Uuid;

pub use super::connection::{Authentication, Endpoint, Password};
use super::connection::{Connection, connector};
use super::orphans::{ShellName, orphans};
use super::{Doing, Received, Transport};
use crate::error::Error;
use crate::faults::{self, Meaning};
use crate::message;
use crate::wsman::{self, Envelope, Request, action};

/// HTTP.sys closes idle connections after about two minutes, in silence: a connection is not used again after half of that.
const CONNECTION_IDLE: Duration = Duration::from_secs(60);

/// Connections that are kept while they serve nothing. What comes at once, with each look, opens others for as long as it lasts: an
/// operator with many pools would hold thousands.
const KEPT: usize = 2;

/// Least time that a Receive takes which brings nothing.
const NOTHING: Duration = Duration::from_millis(100);

/// As Windows writes ids.
pub(crate) fn text(id: &Uuid) -> String {
    id.to_string().to_uppercase()
}

/// A request.
pub(crate) struct Ask<'a> {
    /// Action URI.
    pub action: &'a str,
    /// Resource URI.
    pub resource: &'a str,
    /// The shell that it is about.
    pub shell: Option<&'a Uuid>,
    /// Options of the header.
    pub options: &'a [(&'a str, &'a str)],
    /// The body's XML.
    pub body: &'a str,
}

/// A WinRM service, logged on to.
pub(crate) struct Wsman {
    endpoint: Endpoint,
    /// None: without TLS.
    connector: Option<SslConnector>,
    session: String,
    url: String,
    resource: String,
    /// IdleTimeOut of the shell: how long the host keeps it when nobody asks any more.
    idle_timeout: Option<Duration>,
    /// What the shell is called.
    name: Option<ShellName>,
    shell: OnceLock<Uuid>,
    /// Connections that serve nothing now, with the time of their last use.
    kept: Mutex<Vec<(Connection, Instant)>>,
}

impl Wsman {
    /// Connects and logs on; with Basic, the logon is checked with the first request only.
    pub async fn connect(endpoint: &Endpoint, idle_timeout: Option<Duration>) -> Result<Wsman, Error> {
        let connector = connector(endpoint)?;
        let connection = Connection::open(endpoint, connector.as_ref()).await?;
        let scheme = if endpoint.tls { "https" } else { "http" };
        Ok(Wsman {
            url: format!("{scheme}://{}:{}{}", endpoint.host, endpoint.port, endpoint.path),
            resource: format!("{}{}", wsman::CONFIGURATION, endpoint.configuration_name),
            session: text(&Uuid::new_v4()),
            endpoint: endpoint.clone(),
            connector,
            idle_timeout,
            name: None,
            shell: OnceLock::new(),
            kept: Mutex::new(vec![(connection, Instant::now())]),
        })
    }

    /// The same, for a shell that is called so.
    pub fn named(self, name: Option<ShellName>) -> Wsman {
        Wsman { name, ..self }
    }

    fn kept(&self) -> MutexGuard<'_, Vec<(Connection, Instant)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest connection that still lives, as far as is known.
    fn take(&self) -> Option<Connection> {
        let mut kept = self.kept();
        kept.retain(|(_, used)| used.elapsed() < CONNECTION_IDLE);
        kept.pop().map(|(connection, _)| connection)
    }

    fn keep(&self, connection: Connection) {
        let mut kept = self.kept();
        if kept.len() < KEPT {
            kept.push((connection, Instant::now()));
        }
    }

    /// Sends one request about the configuration's own resource and reads its answer.
    pub async fn call(
        &self,
        action: &str,
        shell: Option<&Uuid>,
        options: &[(&str, &str)],
        body: &str,
    ) -> Result<Envelope, Error> {
        self.ask(&Ask { action, resource: &self.resource, shell, options, body }).await
    }

    /// Sends one request and reads its answer.
    pub async fn ask(&self, ask: &Ask<'_>) -> Result<Envelope, Error> {
        let id = text(&Uuid::new_v4());
        let shell = ask.shell.map(text);
        let envelope = Request {
            to: &self.url,
            action: ask.action,
            resource_uri: ask.resource,
            message_id: &id,
            session_id: &self.session,
            timeout: self.endpoint.operation_timeout.as_secs().max(1),
            shell_id: shell.as_deref(),
            options: ask.options,
            body: ask.body,
        }
        .write();
        let old = match self.take() {
            Some(mut connection) => match connection.exchange(&self.endpoint, &envelope).await {
                // The host closed it meanwhile, so nothing was sent; or it wants another logon, so nothing was done: a new one is no
                // repetition.
                Err(Error::Connect(_) | Error::Unauthorized(_)) => None,
                other => Some((other?, connection)),
            },
            None => None,
        };
        let (answer, connection) = match old {
            Some(answered) => answered,
            None => {
                let mut connection = Connection::open(&self.endpoint, self.connector.as_ref()).await?;
                (connection.exchange(&self.endpoint, &envelope).await?, connection)
            }
        };
        self.keep(connection);
        // Faults come with status 500: the body counts, not the status.
        let status = answer.status;
        let answer = match Envelope::read(&answer.xml) {
            Ok(answer) => answer,
            Err(_) if !status.is_success() => {
                return Err(Error::Protocol(format!("HTTP status {status}")));
            }
            Err(e) => return Err(Error::Protocol(e)),
        };
        if let Some(fault) = answer.fault() {
            return Err(Error::Fault(fault));
        }
        if !answer.relates_to.eq_ignore_ascii_case(&format!("uuid:{id}")) {
            return Err(Error::Protocol("the answer belongs to another request".into()));
        }
        Ok(answer)
    }

    /// Says which shell it is about, for one that exists already.
    pub fn attach(&self, shell: Uuid) -> Result<(), Error> {
        self.shell.set(shell).map_err(|_| Error::Protocol("there is a shell already".into()))
    }

    fn of_pool(&self) -> Result<&Uuid, Error> {
        self.shell.get().ok_or_else(|| Error::Protocol("no runspace pool".into()))
    }

    async fn signal(&self, pipeline: Uuid, code: &str) -> Result<(), Error> {
        let body =
            format!("<rsp:Signal CommandId=\"{}\"><rsp:Code>{code}</rsp:Code></rsp:Signal>", text(&pipeline));
        match self.call(action::SIGNAL, Some(self.of_pool()?), &[], &body).await {
            // It has ended and is gone already.
            Err(Error::Fault(f)) if faults::meaning(f.code) == Some(Meaning::Gone) => Ok(()),
            other => other.map(|_| ()).map_err(in_doubt),
        }
    }

    async fn create(&self, pool: Uuid, opening: Vec<u8>) -> Result<(), Error> {
        let idle = self
            .idle_timeout
            .map(|d| format!("<rsp:IdleTimeOut>PT{}.000S</rsp:IdleTimeOut>", d.as_secs()))
            .unwrap_or_default();
        let name = self.name.as_ref().map_or("persistent-chat-failover".into(), ShellName::text);
        let body = format!(
            "<rsp:Shell ShellId=\"{}\" Name=\"{}\">{idle}<rsp:InputStreams>stdin pr</rsp:InputStreams><rsp:OutputStreams>stdout</rsp:OutputStreams>\
             <creationXml xmlns=\"http://schemas.microsoft.com/powershell\">{}</creationXml></rsp:Shell>",
            text(&pool),
            wsman::xml(&name),
            BASE64.encode(opening)
        );
        // Known from before it is sent: a shell whose answer is lost has to be deleted too.
        self.attach(pool)?;
        self.call(action::CREATE, None, &[("protocolversion", message::PROTOCOL)], &body)
            .await
            .map(|_| ())
            .map_err(in_doubt)
    }

    async fn command(&self, pipeline: Uuid, fragments: Vec<Vec<u8>>) -> Result<(), Error> {
        let shell = self.of_pool()?;
        let mut fragments = fragments.into_iter();
        let body = format!(
            "<rsp:CommandLine CommandId=\"{}\"><rsp:Command/><rsp:Arguments>{}</rsp:Arguments></rsp:CommandLine>",
            text(&pipeline),
            BASE64.encode(fragments.next().unwrap_or_default())
        );
        let options = [("WINRS_SKIP_CMD_SHELL", "FALSE")];
        self.call(action::COMMAND, Some(shell), &options, &body).await.map_err(in_doubt)?;
        for fragment in fragments {
            let body = format!(
                "<rsp:Send><rsp:Stream Name=\"stdin\" CommandId=\"{}\">{}</rsp:Stream></rsp:Send>",
                text(&pipeline),
                BASE64.encode(fragment)
            );
            self.call(action::SEND, Some(shell), &[], &body).await.map_err(Error::after_start)?;
        }
        Ok(())
    }

    /// One Receive: what it brought, and whether the command has ended. Nothing within the timeout is no error.
    async fn take_output(&self, command: Option<Uuid>) -> Result<Received, Error> {
        let id = command.map(|c| format!(" CommandId=\"{}\"", text(&c))).unwrap_or_default();
        let body = format!("<rsp:Receive><rsp:DesiredStream{id}>stdout</rsp:DesiredStream></rsp:Receive>");
        let options = [("WSMAN_CMDSHELL_OPTION_KEEPALIVE", "TRUE")];
        let asked = Instant::now();
        let answer = match self.call(action::RECEIVE, Some(self.of_pool()?), &options, &body).await {
            Err(Error::Fault(f)) if faults::meaning(f.code) == Some(Meaning::TimedOut) => {
                return Ok(Received::default());
            }
            other => other?,
        };
        let (mut streams, mut states) = (Vec::new(), Vec::new());
        answer.body.all("Stream", &mut streams);
        answer.body.all("CommandState", &mut states);
        let fragments = streams
            .iter()
            .map(|s| BASE64.decode(s.text.split_whitespace().collect::<String>()))
            .collect::<Result<_, _>>()
            .map_err(|e| Error::Protocol(e.to_string()))?;
        let received =
            Received { fragments, done: states.iter().any(|s| s.attribute("State") == Some(wsman::DONE)) };
        if received.fragments.is_empty() && !received.done {
            // A host that says nothing at once, again and again, is not asked faster than this.
            tokio::time::sleep(NOTHING.saturating_sub(asked.elapsed())).await;
        }
        Ok(received)
    }

    /// Deletes the shell. One that is gone already is no error.
    pub async fn delete(&self) -> Result<(), Error> {
        match self.shell.get() {
            Some(shell) => self.delete_shell(shell, &self.resource).await,
            None => Ok(()),
        }
    }

    async fn delete_shell(&self, shell: &Uuid, resource: &str) -> Result<(), Error> {
        let ask = Ask { action: action::DELETE, resource, shell: Some(shell), options: &[], body: "" };
        match self.ask(&ask).await {
            Err(Error::Fault(f)) if faults::meaning(f.code) == Some(Meaning::Gone) => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Deletes the shells that other starts of the same process have left. The list is asked for as recorded clients do it; a host
    /// gives a list that does not fit in parts, and what does not stand in the first is left.
    async fn delete_orphans(&self) -> Result<usize, Error> {
        let (Some(own), Some(name)) = (self.shell.get(), self.name.as_ref().filter(|n| n.tidies())) else {
            return Ok(0);
        };
        let body = "<n:Enumerate xmlns:n=\"http://schemas.xmlsoap.org/ws/2004/09/enumeration\"><w:OptimizeEnumeration/><w:MaxElements>32000</w:MaxElements></n:Enumerate>";
        let resource = wsman::SHELL;
        let ask = Ask { action: action::ENUMERATE, resource, shell: None, options: &[], body };
        let found = orphans(&self.ask(&ask).await?.body, own, name);
        for orphan in &found {
            self.delete_shell(&orphan.shell, &orphan.resource).await?;
        }
        Ok(found.len())
    }
}

/// A fault that is no refusal: the host gave up waiting for itself, or broke the request off, and may have begun.
fn in_doubt(e: Error) -> Error {
    match e {
        Error::Fault(f) => match faults::meaning(f.code) {
            Some(Meaning::TimedOut | Meaning::BrokenOff) => Error::Lost(Error::Fault(f).to_string()),
            Some(
                Meaning::Gone
                | Meaning::Disconnected
                | Meaning::Elsewhere
                | Meaning::Shells
                | Meaning::Operations
                | Meaning::RunAs
                | Meaning::IdleTimeOut
                | Meaning::Denied
                | Meaning::Configuration,
            )
            | None => Error::Fault(f),
        },
        e @ (Error::Connect(_)
        | Error::Tls(_)
        | Error::Unauthorized(_)
        | Error::NotBegun(_)
        | Error::Lost(_)
        | Error::Protocol(_)) => e,
    }
}

impl Transport for Wsman {
    fn open(&self, pool: Uuid, opening: Vec<u8>) -> Doing<'_, ()> {
        Box::pin(self.create(pool, opening))
    }
    fn begin(&self, pipeline: Uuid, fragments: Vec<Vec<u8>>) -> Doing<'_, ()> {
        Box::pin(self.command(pipeline, fragments))
    }
    fn receive(&self, of: Option<Uuid>) -> Doing<'_, Received> {
        Box::pin(self.take_output(of))
    }
    fn stop(&self, pipeline: Uuid) -> Doing<'_, ()> {
        Box::pin(self.signal(pipeline, wsman::SIGNAL_STOP))
    }
    fn finish(&self, pipeline: Uuid) -> Doing<'_, ()> {
        Box::pin(self.signal(pipeline, wsman::SIGNAL_TERMINATE))
    }
    fn close(&self) -> Doing<'_, ()> {
        Box::pin(self.delete())
    }
    fn tidy(&self) -> Doing<'_, usize> {
        Box::pin(self.delete_orphans())
    }
    fn broken(&self) -> Option<Error> {
        None
    }
    fn pushes(&self) -> bool {
        false
    }
}
