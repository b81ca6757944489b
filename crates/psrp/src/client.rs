//! The client: single commands with named parameters, on one pinned connection.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use openssl::ssl::{SslConnector, SslMethod};
use openssl::x509::X509;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::clixml::Value;
use crate::fragment::{Assembler, Fragmenter};
use crate::message::{self, Command, ErrorRecord, Message, PipelineState, kind};
use crate::sealed::{self, Channel, Initiator, SealError};
use crate::wsman::{self, Element, Envelope, Request, action};

/// Largest answer that is read.
const MAX_ANSWER: usize = 8 * 1024 * 1024;
/// Data of a fragment so that its base64 and the envelope stay below 150 KiB.
const FRAGMENT: usize = 32 * 1024;
/// Bytes of output that one command may give in all.
const MAX_OUTPUT: usize = 50 * 1024 * 1024;

/// A secret. Its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How to log on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// User and password with every request: only ever over TLS.
    Basic,
    /// NTLM under `Negotiate`; every body is sealed, over TLS as well as without it.
    Negotiate,
}

/// Where a WinRM service is and how to log on to it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The host's name: in the certificate, the `Host` header and the URL.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// URL path, usually `/wsman`.
    pub path: String,
    /// Where the TCP connection really goes, if not to `host` and `port`.
    pub connect_to: Option<(String, u16)>,
    /// Whether to speak TLS. Without it only [`Authentication::Negotiate`] is possible.
    pub tls: bool,
    /// PEM of the CAs to trust; absent: those of the system.
    pub ca_pem: Option<Vec<u8>>,
    /// PowerShell session configuration.
    pub configuration_name: String,
    /// How to log on.
    pub authentication: Authentication,
    /// User name; `DOMAIN\user` or `user@domain` for Negotiate.
    pub user: String,
    /// Password.
    pub password: Password,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// OperationTimeout: how long one Receive waits at the server.
    pub operation_timeout: Duration,
}

/// Why a command could not be run, or its answer was lost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nobody there. Nothing was sent.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// TLS failed: certificate, name, or no TLS at all. Nothing was sent.
    #[error("TLS: {0}")]
    Tls(String),
    /// The logon was refused.
    #[error("the logon was refused")]
    Unauthorized,
    /// The service answered with a fault.
    #[error("WS-Man fault {:#x} {}: {}", .0.code, .0.subcode, .0.message)]
    Fault(wsman::Fault),
    /// The connection was lost, or the deadline passed, after a request was sent.
    #[error("the answer was lost: {0}")]
    Lost(String),
    /// The server said something that cannot be read.
    #[error("unexpected answer: {0}")]
    Protocol(String),
}

impl Error {
    /// Once a command has been handed over, whatever goes wrong says nothing about what it did.
    fn after_start(self) -> Error {
        match self {
            Error::Lost(why) => Error::Lost(why),
            other @ (Error::Connect(_)
            | Error::Tls(_)
            | Error::Unauthorized
            | Error::Fault(_)
            | Error::Protocol(_)) => Error::Lost(other.to_string()),
        }
    }

    /// Whether the request may have been executed all the same.
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Error::Connect(_) | Error::Tls(_) | Error::Unauthorized | Error::Fault(_) => false,
            Error::Lost(_) | Error::Protocol(_) => true,
        }
    }
}

/// All that a command gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Its objects.
    pub objects: Vec<Value>,
    /// Its error records, the terminating one last.
    pub errors: Vec<ErrorRecord>,
    /// Its warnings.
    pub warnings: Vec<String>,
    /// How the pipeline ended.
    pub state: PipelineState,
}

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

/// A logged-on connection, with the runspace pool it opened.
pub struct Client {
    endpoint: Endpoint,
    sender: SendRequest<Full<Bytes>>,
    logon: Logon,
    session: String,
    url: String,
    resource: String,
    pool: Option<Pool>,
}

/// What goes with every request.
enum Logon {
    /// A header.
    Basic(String),
    /// The connection itself is logged on; bodies are sealed.
    Sealed(Box<Channel>),
}

/// A connection, with TLS or without.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

struct Pool {
    shell: Uuid,
    fragmenter: Fragmenter,
}

fn text(id: &Uuid) -> String {
    id.to_string().to_uppercase()
}

impl Client {
    /// Connects and logs on; with Basic, the logon is checked with the first request only.
    pub async fn connect(endpoint: &Endpoint) -> Result<Client, Error> {
        if !endpoint.tls && endpoint.authentication == Authentication::Basic {
            return Err(Error::Tls("Basic sends the password: it is used over TLS only".into()));
        }
        let (host, port) = endpoint.connect_to.clone().unwrap_or((endpoint.host.clone(), endpoint.port));
        let stream = tokio::time::timeout(endpoint.connect_timeout, async {
            let tcp =
                TcpStream::connect((host.as_str(), port)).await.map_err(|e| Error::Connect(e.to_string()))?;
            tcp.set_nodelay(true).map_err(|e| Error::Connect(e.to_string()))?;
            let stream: Box<dyn Stream> =
                if endpoint.tls { Box::new(tls(endpoint, tcp).await?) } else { Box::new(tcp) };
            Ok(stream)
        })
        .await
        .map_err(|_| Error::Connect("timed out".into()))??;
        let (mut sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|e| Error::Connect(e.to_string()))?;
        // The driver of the connection ends with it; its error reaches us through the request that it breaks.
        tokio::spawn(async move {
            if let Err(e) = connection.await {
                tracing::debug!(error = %e, "WinRM connection ended");
            }
        });
        let logon = match endpoint.authentication {
            Authentication::Basic => {
                let credentials = BASE64.encode(format!("{}:{}", endpoint.user, endpoint.password.0));
                Logon::Basic(format!("Basic {credentials}"))
            }
            Authentication::Negotiate => {
                let channel = tokio::time::timeout(endpoint.connect_timeout, log_on(endpoint, &mut sender));
                Logon::Sealed(Box::new(
                    channel.await.map_err(|_| Error::Connect("the logon timed out".into()))??,
                ))
            }
        };
        let scheme = if endpoint.tls { "https" } else { "http" };
        Ok(Client {
            url: format!("{scheme}://{}:{}{}", endpoint.host, endpoint.port, endpoint.path),
            resource: format!("{}{}", wsman::CONFIGURATION, endpoint.configuration_name),
            logon,
            session: text(&Uuid::new_v4()),
            endpoint: endpoint.clone(),
            sender,
            pool: None,
        })
    }

    /// Sends one request and reads its answer.
    async fn call(
        &mut self,
        action: &str,
        resource: &str,
        shell: Option<&Uuid>,
        options: &[(&str, &str)],
        body: &str,
    ) -> Result<Envelope, Error> {
        let timeout = self.endpoint.operation_timeout;
        let id = text(&Uuid::new_v4());
        let shell = shell.map(text);
        let envelope = Request {
            to: &self.url,
            action,
            resource_uri: resource,
            message_id: &id,
            session_id: &self.session,
            timeout: timeout.as_secs().max(1),
            shell_id: shell.as_deref(),
            options,
            body,
        }
        .write();
        let request = post(&self.endpoint);
        let request = match &mut self.logon {
            Logon::Basic(header) => request
                .header("Content-Type", "application/soap+xml;charset=UTF-8")
                .header("Authorization", header.as_str())
                .body(Full::new(Bytes::from(envelope))),
            Logon::Sealed(channel) => {
                let sealed = channel.seal(&envelope).map_err(|e| Error::Protocol(e.to_string()))?;
                request.header("Content-Type", sealed::CONTENT_TYPE).body(Full::new(Bytes::from(sealed)))
            }
        }
        .map_err(|e| Error::Protocol(e.to_string()))?;
        let exchange = exchange(&mut self.sender, request);
        let (head, body) = tokio::time::timeout(timeout + Duration::from_secs(10), exchange)
            .await
            .map_err(|_| Error::Lost("no answer in time".into()))??;
        if head.status.as_u16() == 401 {
            return Err(Error::Unauthorized);
        }
        let xml = match &mut self.logon {
            Logon::Basic(_) => {
                std::str::from_utf8(&body).map_err(|e| Error::Protocol(e.to_string()))?.to_string()
            }
            Logon::Sealed(channel) => {
                let kind = head.headers.get("Content-Type").and_then(|v| v.to_str().ok()).unwrap_or_default();
                if !kind.trim().to_ascii_lowercase().starts_with("multipart/encrypted") {
                    // 400 with an empty body is what a host says to a body that it cannot unseal.
                    return Err(Error::Protocol(format!(
                        "the answer to a sealed request is not sealed (HTTP status {})",
                        head.status
                    )));
                }
                channel.unseal(&body).map_err(|e| Error::Protocol(e.to_string()))?
            }
        };
        // Faults come with status 500: the body counts, not the status.
        let answer = match Envelope::read(&xml) {
            Ok(answer) => answer,
            Err(_) if !head.status.is_success() => {
                return Err(Error::Protocol(format!("HTTP status {}", head.status)));
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

    async fn open(&mut self, shell: Uuid, idle_timeout: Option<Duration>) -> Result<(), Error> {
        let mut fragmenter = Fragmenter::new(FRAGMENT);
        let mut bytes = Vec::new();
        for (kind, body) in [
            (kind::SESSION_CAPABILITY, message::session_capability()),
            (kind::INIT_RUNSPACEPOOL, message::init_runspacepool()),
        ] {
            let m = Message { kind, pool: shell, pipeline: Uuid::nil(), body };
            bytes.extend(fragmenter.fragment(&m.encode(true)).concat());
        }
        let idle = idle_timeout
            .map(|d| format!("<rsp:IdleTimeOut>PT{}.000S</rsp:IdleTimeOut>", d.as_secs()))
            .unwrap_or_default();
        let body = format!(
            "<rsp:Shell ShellId=\"{}\" Name=\"persistent-chat-failover\">{idle}<rsp:InputStreams>stdin pr</rsp:InputStreams><rsp:OutputStreams>stdout</rsp:OutputStreams>\
             <creationXml xmlns=\"http://schemas.microsoft.com/powershell\">{}</creationXml></rsp:Shell>",
            text(&shell),
            BASE64.encode(bytes)
        );
        let resource = self.resource.clone();
        self.call(action::CREATE, &resource, None, &[("protocolversion", "2.3")], &body).await?;
        self.pool = Some(Pool { shell, fragmenter });
        let mut assembler = Assembler::default();
        loop {
            let (messages, _) = self.receive(shell, None, &mut assembler).await?;
            for m in messages.iter().filter(|m| m.kind == kind::RUNSPACEPOOL_STATE) {
                let v = crate::clixml::read(&m.body).map_err(|e| Error::Protocol(e.to_string()))?;
                match v.get("RunspaceState").and_then(Value::as_i64) {
                    Some(2) => return Ok(()),
                    Some(3..=5) => {
                        let why =
                            v.get("ExceptionAsErrorRecord").map(ErrorRecord::from_value).unwrap_or_default();
                        return Err(Error::Protocol(format!(
                            "the runspace pool did not open: {}",
                            why.message
                        )));
                    }
                    Some(_) | None => {}
                }
            }
        }
    }

    /// One Receive: its messages, and whether the command has ended. Nothing within the timeout is no error.
    async fn receive(
        &mut self,
        shell: Uuid,
        command: Option<Uuid>,
        assembler: &mut Assembler,
    ) -> Result<(Vec<Message>, bool), Error> {
        let id = command.map(|c| format!(" CommandId=\"{}\"", text(&c))).unwrap_or_default();
        let body = format!("<rsp:Receive><rsp:DesiredStream{id}>stdout</rsp:DesiredStream></rsp:Receive>");
        let resource = self.resource.clone();
        let options = [("WSMAN_CMDSHELL_OPTION_KEEPALIVE", "TRUE")];
        let answer = match self.call(action::RECEIVE, &resource, Some(&shell), &options, &body).await {
            Err(Error::Fault(f)) if f.code == wsman::TIMED_OUT => return Ok((Vec::new(), false)),
            other => other?,
        };
        let (mut streams, mut states) = (Vec::new(), Vec::new());
        answer.body.all("Stream", &mut streams);
        answer.body.all("CommandState", &mut states);
        let mut messages = Vec::new();
        for stream in streams {
            let bytes = BASE64
                .decode(stream.text.split_whitespace().collect::<String>())
                .map_err(|e| Error::Protocol(e.to_string()))?;
            for m in assembler.push(&bytes).map_err(Error::Protocol)? {
                messages.push(Message::decode(&m).map_err(|e| Error::Protocol(e.to_string()))?);
            }
        }
        Ok((messages, states.iter().any(|s| s.attribute("State") == Some(wsman::DONE))))
    }

    async fn begin(&mut self, command: &Command, id: Uuid) -> Result<Uuid, Error> {
        let Some(pool) = self.pool.as_mut() else { return Err(Error::Protocol("no runspace pool".into())) };
        let shell = pool.shell;
        let m = Message {
            kind: kind::CREATE_PIPELINE,
            pool: shell,
            pipeline: id,
            body: message::create_pipeline(command),
        };
        let mut fragments = pool.fragmenter.fragment(&m.encode(true)).into_iter();
        let first = fragments.next().unwrap_or_default();
        let body = format!(
            "<rsp:CommandLine CommandId=\"{}\"><rsp:Command/><rsp:Arguments>{}</rsp:Arguments></rsp:CommandLine>",
            text(&id),
            BASE64.encode(first)
        );
        let resource = self.resource.clone();
        self.call(action::COMMAND, &resource, Some(&shell), &[("WINRS_SKIP_CMD_SHELL", "FALSE")], &body)
            .await?;
        for fragment in fragments {
            let body = format!(
                "<rsp:Send><rsp:Stream Name=\"stdin\" CommandId=\"{}\">{}</rsp:Stream></rsp:Send>",
                text(&id),
                BASE64.encode(fragment)
            );
            self.call(action::SEND, &resource, Some(&shell), &[], &body).await?;
        }
        Ok(shell)
    }

    async fn collect(&mut self, shell: Uuid, id: Uuid) -> Result<Output, Error> {
        let mut assembler = Assembler::default();
        let mut out = Output {
            objects: Vec::new(),
            errors: Vec::new(),
            warnings: Vec::new(),
            state: PipelineState::Failed,
        };
        let mut ended = None;
        let mut size = 0;
        loop {
            let (messages, done) = self.receive(shell, Some(id), &mut assembler).await?;
            for m in messages {
                size += m.body.len();
                if size > MAX_OUTPUT {
                    return Err(Error::Protocol("the command gave more than 50 MiB".into()));
                }
                let bad = |e: crate::clixml::Malformed| Error::Protocol(e.to_string());
                match m.kind {
                    kind::PIPELINE_OUTPUT => out.objects.push(crate::clixml::read(&m.body).map_err(bad)?),
                    kind::ERROR_RECORD => {
                        out.errors.push(ErrorRecord::from_value(&crate::clixml::read(&m.body).map_err(bad)?));
                    }
                    kind::WARNING_RECORD => out.warnings.push(message::record_text(&m.body).map_err(bad)?),
                    kind::PIPELINE_STATE => {
                        if let Some((state, error)) = message::parse_pipeline_state(&m.body).map_err(bad)? {
                            out.errors.extend(error);
                            ended = Some(state);
                        }
                    }
                    // Verbose, debug, progress and information say nothing that a step could use.
                    _ => {}
                }
            }
            if done {
                // Done without a final pipeline state is no success: the output was cut off.
                out.state =
                    ended.ok_or_else(|| Error::Protocol("the command ended without a final state".into()))?;
                return Ok(out);
            }
        }
    }

    /// Runs a command to its end, at most `deadline`. Output before a failure is kept.
    pub async fn invoke(&mut self, command: &Command, deadline: Duration) -> Result<Output, Error> {
        let run = async {
            if self.pool.is_none() {
                self.open(Uuid::new_v4(), None).await?;
            }
            let id = Uuid::new_v4();
            let shell = self.begin(command, id).await?;
            let out = self.collect(shell, id).await.map_err(Error::after_start)?;
            // Frees the command on the server: a long-lived pool may hold a thousand only.
            let body = format!(
                "<rsp:Signal CommandId=\"{}\"><rsp:Code>{}</rsp:Code></rsp:Signal>",
                text(&id),
                wsman::SIGNAL_TERMINATE
            );
            let resource = self.resource.clone();
            self.call(action::SIGNAL, &resource, Some(&shell), &[], &body)
                .await
                .map_err(Error::after_start)?;
            Ok(out)
        };
        tokio::time::timeout(deadline, run).await.map_err(|_| Error::Lost("the deadline passed".into()))?
    }

    /// Deletes the shell.
    pub async fn close(mut self) -> Result<(), Error> {
        let Some(pool) = self.pool.take() else { return Ok(()) };
        let resource = self.resource.clone();
        self.call(action::DELETE, &resource, Some(&pool.shell), &[], "").await.map(|_| ())
    }

    async fn delete(&mut self, shell: Uuid) -> Result<(), Error> {
        let resource = self.resource.clone();
        match self.call(action::DELETE, &resource, Some(&shell), &[], "").await {
            Err(Error::Fault(f)) if f.code == wsman::INVALID_SELECTORS => Ok(()),
            other => other.map(|_| ()),
        }
    }
}

fn post(endpoint: &Endpoint) -> hyper::http::request::Builder {
    hyper::Request::post(&endpoint.path).header("Host", format!("{}:{}", endpoint.host, endpoint.port))
}

async fn exchange(
    sender: &mut SendRequest<Full<Bytes>>,
    request: hyper::Request<Full<Bytes>>,
) -> Result<(hyper::http::response::Parts, Bytes), Error> {
    // A connection that the host has closed in the meantime shows here: nothing was sent on it.
    sender.ready().await.map_err(|e| Error::Connect(format!("the connection is closed: {e}")))?;
    let answer = sender.send_request(request).await.map_err(|e| Error::Lost(e.to_string()))?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|e| Error::Lost(e.to_string()))?;
    Ok((head, body.to_bytes()))
}

/// Logs the connection on with requests that have no body: a body would go out in clear.
async fn log_on(endpoint: &Endpoint, sender: &mut SendRequest<Full<Bytes>>) -> Result<Channel, Error> {
    let refused = |e: SealError| match e {
        SealError::UserName(_) => Error::Unauthorized,
        SealError::Ntlm(_) | SealError::Framing(_) | SealError::Altered(_) => Error::Protocol(e.to_string()),
    };
    let mut initiator =
        Initiator::new(&endpoint.user, &endpoint.password.0, &endpoint.host).map_err(refused)?;
    let mut challenge = Vec::new();
    // Two legs for NTLM; a server that goes on asking is refusing.
    for leg in 0..3 {
        let token = initiator.step(&challenge).map_err(refused)?.token;
        let request = post(endpoint)
            .header("Authorization", format!("Negotiate {}", BASE64.encode(token)))
            .header("Content-Type", "application/soap+xml;charset=UTF-8")
            .body(Full::new(Bytes::new()))
            .map_err(|e| Error::Protocol(e.to_string()))?;
        // Nothing was asked for yet: whatever goes wrong here has changed nothing.
        let (head, _) = exchange(sender, request).await.map_err(|e| Error::Connect(e.to_string()))?;
        match head.status.as_u16() {
            200..=299 if leg > 0 => return Ok(initiator.channel()),
            401 => {
                let offered = head.headers.get_all("WWW-Authenticate").iter().filter_map(|v| v.to_str().ok());
                let token = offered.filter_map(|v| v.strip_prefix("Negotiate ")).next_back();
                match token.map(|t| BASE64.decode(t.trim())) {
                    Some(Ok(bytes)) => challenge = bytes,
                    Some(Err(e)) => {
                        return Err(Error::Protocol(format!("a challenge that is not base64: {e}")));
                    }
                    None => return Err(Error::Unauthorized),
                }
            }
            _ => return Err(Error::Protocol(format!("HTTP status {} while logging on", head.status))),
        }
    }
    Err(Error::Unauthorized)
}

async fn tls(endpoint: &Endpoint, tcp: TcpStream) -> Result<tokio_openssl::SslStream<TcpStream>, Error> {
    let bad = |e: openssl::error::ErrorStack| Error::Tls(e.to_string());
    let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(bad)?;
    if let Some(pem) = &endpoint.ca_pem {
        let mut store = openssl::x509::store::X509StoreBuilder::new().map_err(bad)?;
        for certificate in X509::stack_from_pem(pem).map_err(bad)? {
            store.add_cert(certificate).map_err(bad)?;
        }
        builder.set_cert_store(store.build());
    }
    let ssl = builder.build().configure().and_then(|c| c.into_ssl(&endpoint.host)).map_err(bad)?;
    let mut stream = tokio_openssl::SslStream::new(ssl, tcp).map_err(bad)?;
    std::pin::Pin::new(&mut stream).connect().await.map_err(|e| {
        // A refused connection inside TLS is the network's doing, a bad certificate is not.
        match e.io_error() {
            Some(io) => Error::Connect(io.to_string()),
            None => Error::Tls(e.to_string()),
        }
    })?;
    Ok(stream)
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
    let mut client = Client::connect(endpoint).await?;
    client.open(ids.shell, Some(idle_timeout)).await?;
    client.begin(command, ids.command).await?;
    let resource = client.resource.clone();
    let left = client.call(action::DISCONNECT, &resource, Some(&ids.shell), &[], "<rsp:Disconnect/>").await;
    left.map(|_| ()).map_err(Error::after_start)
}

/// Looks after a detached command. Starts nothing; if it has ended, reads what it said.
pub async fn look(endpoint: &Endpoint, ids: &JobIds) -> Result<JobState, Error> {
    let mut client = Client::connect(endpoint).await?;
    let body = format!(
        "<n:Enumerate xmlns:n=\"http://schemas.xmlsoap.org/ws/2004/09/enumeration\"><w:OptimizeEnumeration/><w:MaxElements>32000</w:MaxElements>\
         <w:Filter Dialect=\"http://schemas.dmtf.org/wbem/wsman/1/wsman/SelectorFilter\"><w:SelectorSet><w:Selector Name=\"ShellId\">{}</w:Selector></w:SelectorSet></w:Filter></n:Enumerate>",
        text(&ids.shell)
    );
    let resource = format!("{}/Command", wsman::SHELL);
    let answer = match client.call(action::ENUMERATE, &resource, None, &[], &body).await {
        Err(Error::Fault(f)) if f.code == wsman::INVALID_SELECTORS => return Ok(JobState::Gone),
        other => other?,
    };
    let mut commands: Vec<&Element> = Vec::new();
    answer.body.all("Command", &mut commands);
    let ours = commands.iter().find(|c| {
        let id = c.attribute("CommandId").or_else(|| c.find("CommandId").map(|e| e.text.as_str()));
        id.is_some_and(|id| id.trim().eq_ignore_ascii_case(&text(&ids.command)))
    });
    let Some(ours) = ours else { return Ok(JobState::Gone) };
    let state =
        ours.attribute("State").map(str::to_string).or_else(|| ours.find("State").map(|e| e.text.clone()));
    if !state.is_some_and(|s| s.trim().ends_with("Done")) {
        return Ok(JobState::Running);
    }
    let mut fragmenter = Fragmenter::new(FRAGMENT);
    let mut bytes = Vec::new();
    for (kind, body) in [
        (kind::SESSION_CAPABILITY, message::session_capability()),
        (kind::CONNECT_RUNSPACEPOOL, "<S/>".to_string()),
    ] {
        let m = Message { kind, pool: ids.shell, pipeline: Uuid::nil(), body };
        bytes.extend(fragmenter.fragment(&m.encode(true)).concat());
    }
    let connect = format!(
        "<rsp:Connect><connectXml xmlns=\"http://schemas.microsoft.com/powershell\">{}</connectXml></rsp:Connect>",
        BASE64.encode(bytes)
    );
    let resource = client.resource.clone();
    client
        .call(action::CONNECT, &resource, Some(&ids.shell), &[("protocolversion", "2.3")], &connect)
        .await?;
    let connect = format!("<rsp:Connect CommandId=\"{}\"/>", text(&ids.command));
    client.call(action::CONNECT, &resource, Some(&ids.shell), &[], &connect).await?;
    let output = client.collect(ids.shell, ids.command).await?;
    client.delete(ids.shell).await?;
    Ok(JobState::Finished(output))
}
