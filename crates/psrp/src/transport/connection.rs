//! One logged-on HTTP connection. It serves one request at a time: NTLM numbers what it seals.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use openssl::ssl::{SslConnector, SslMethod, SslMode};
use openssl::x509::X509;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::channel_binding;
use crate::error::Error;
use crate::sealed::{self, Channel, Initiator, SealError};

/// Largest answer that is read.
const MAX_ANSWER: usize = 8 * 1024 * 1024;

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
    /// NTLM under `Negotiate`; every body is sealed, over TLS as well as without it. Over TLS it is bound to the certificate.
    Negotiate,
}

/// Where a WinRM service is and how to log on to it.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// A logged-on connection. Dropped in the middle of a request, it is closed: what it seals would be out of step.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    logon: Logon,
}

/// What was answered to an envelope.
pub(crate) struct Answer {
    pub status: hyper::StatusCode,
    pub xml: String,
}

impl Connection {
    /// Connects and logs on; with Basic, the logon is checked with the first request only.
    pub async fn open(endpoint: &Endpoint, connector: Option<&SslConnector>) -> Result<Connection, Error> {
        if !endpoint.tls && endpoint.authentication == Authentication::Basic {
            return Err(Error::Tls("Basic sends the password: it is used over TLS only".into()));
        }
        let (stream, binding) = tokio::time::timeout(endpoint.connect_timeout, stream(endpoint, connector))
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
                let logon = log_on(endpoint, &mut sender, binding.as_deref());
                let channel = tokio::time::timeout(endpoint.connect_timeout, logon);
                Logon::Sealed(Box::new(
                    channel.await.map_err(|_| Error::Connect("the logon timed out".into()))??,
                ))
            }
        };
        Ok(Connection { sender, logon })
    }

    /// Sends one envelope and reads its answer.
    pub async fn exchange(&mut self, endpoint: &Endpoint, envelope: &str) -> Result<Answer, Error> {
        let request = post(endpoint);
        let request = match &mut self.logon {
            Logon::Basic(header) => request
                .header("Content-Type", "application/soap+xml;charset=UTF-8")
                .header("Authorization", header.as_str())
                .body(Full::new(Bytes::from(envelope.to_string()))),
            Logon::Sealed(channel) => {
                let sealed = channel.seal(envelope).map_err(|e| Error::Protocol(e.to_string()))?;
                request.header("Content-Type", sealed::CONTENT_TYPE).body(Full::new(Bytes::from(sealed)))
            }
        }
        .map_err(|e| Error::Protocol(e.to_string()))?;
        let limit = endpoint.operation_timeout + Duration::from_secs(10);
        let (head, body) = tokio::time::timeout(limit, exchange(&mut self.sender, request))
            .await
            .map_err(|_| Error::Lost("no answer in time".into()))??;
        match head.status.as_u16() {
            401 => return Err(Error::Unauthorized(offered(&head))),
            404 | 503 => return Err(not_there(&head, &body)),
            _ => {}
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
        Ok(Answer { status: head.status, xml })
    }
}

/// A connection, and what a logon over it is bound by, if it is one of TLS.
async fn stream(
    endpoint: &Endpoint,
    connector: Option<&SslConnector>,
) -> Result<(Box<dyn Stream>, Option<Vec<u8>>), Error> {
    let (host, port) = endpoint.connect_to.clone().unwrap_or((endpoint.host.clone(), endpoint.port));
    let tcp = TcpStream::connect((host.as_str(), port)).await.map_err(|e| Error::Connect(e.to_string()))?;
    tcp.set_nodelay(true).map_err(|e| Error::Connect(e.to_string()))?;
    Ok(match connector {
        Some(connector) => {
            let stream = tls(endpoint, connector, tcp).await?;
            let certificate = stream.ssl().peer_certificate();
            let binding = certificate.and_then(|c| channel_binding::tls_server_end_point(&c));
            (Box::new(stream), binding)
        }
        None => (Box::new(tcp), None),
    })
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
    let answer = sender.try_send_request(request).await.map_err(|mut refused| {
        // It comes back whole if the connection ended before any of it was written.
        match refused.take_message() {
            Some(_) => Error::Connect(format!("the connection is closed: {}", refused.error())),
            None => Error::Lost(refused.error().to_string()),
        }
    })?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|e| Error::Lost(e.to_string()))?;
    Ok((head, body.to_bytes()))
}

/// Logs the connection on with requests that have no body: a body would go out in clear.
async fn log_on(
    endpoint: &Endpoint,
    sender: &mut SendRequest<Full<Bytes>>,
    binding: Option<&[u8]>,
) -> Result<Channel, Error> {
    let refused = |e: SealError| match e {
        SealError::UserName(why) => Error::Unauthorized(why.to_string()),
        SealError::Ntlm(_) | SealError::Framing(_) | SealError::Altered(_) => Error::Protocol(e.to_string()),
    };
    let initiator = Initiator::new(&endpoint.user, &endpoint.password.0, &endpoint.host).map_err(refused)?;
    let mut initiator = initiator.bound_to(binding);
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
        let (head, body) = exchange(sender, request).await.map_err(|e| Error::Connect(e.to_string()))?;
        match head.status.as_u16() {
            200..=299 if leg > 0 => return Ok(initiator.channel()),
            401 => {
                let offers = head.headers.get_all("WWW-Authenticate").iter().filter_map(|v| v.to_str().ok());
                let token = offers.filter_map(|v| v.strip_prefix("Negotiate ")).next_back();
                match token.map(|t| BASE64.decode(t.trim())) {
                    Some(Ok(bytes)) => challenge = bytes,
                    Some(Err(e)) => {
                        return Err(Error::Protocol(format!("a challenge that is not base64: {e}")));
                    }
                    None => return Err(Error::Unauthorized(offered(&head))),
                }
            }
            404 | 503 => return Err(not_there(&head, &body)),
            _ => return Err(Error::Protocol(format!("HTTP status {} while logging on", head.status))),
        }
    }
    Err(Error::Unauthorized("it asks for more and more".into()))
}

/// Which ways to log on a host offers that refuses this one: what a policy forbids shows here, a wrong password does not.
fn offered(head: &hyper::http::response::Parts) -> String {
    let offers = head.headers.get_all("WWW-Authenticate").iter().filter_map(|v| v.to_str().ok());
    let schemes: Vec<&str> = offers.filter_map(|v| v.split_whitespace().next()).collect();
    if schemes.is_empty() {
        "it offers no way to log on".into()
    } else {
        format!("it offers {}", schemes.join(", "))
    }
}

/// What HTTP.sys says in the place of WinRM, which is not there: it starts, stops, or nothing listens under this path. Nothing of the
/// request has come to anybody.
fn not_there(head: &hyper::http::response::Parts, body: &[u8]) -> Error {
    let said = String::from_utf8_lossy(&body[..body.len().min(1024)])
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    let said: String = said.chars().take(200).collect();
    Error::Connect(format!("WinRM does not serve: HTTP status {} {said}", head.status).trim_end().to_string())
}

/// What all connections to an endpoint share: whom they trust. Made once, for it takes more memory than a connection.
pub(super) fn connector(endpoint: &Endpoint) -> Result<Option<SslConnector>, Error> {
    if !endpoint.tls {
        return Ok(None);
    }
    let bad = |e: openssl::error::ErrorStack| Error::Tls(e.to_string());
    let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(bad)?;
    // A connection that waits holds no buffers.
    builder.set_mode(SslMode::RELEASE_BUFFERS);
    if let Some(pem) = &endpoint.ca_pem {
        let mut store = openssl::x509::store::X509StoreBuilder::new().map_err(bad)?;
        for certificate in X509::stack_from_pem(pem).map_err(bad)? {
            store.add_cert(certificate).map_err(bad)?;
        }
        builder.set_cert_store(store.build());
    }
    Ok(Some(builder.build()))
}

async fn tls(
    endpoint: &Endpoint,
    connector: &SslConnector,
    tcp: TcpStream,
) -> Result<tokio_openssl::SslStream<TcpStream>, Error> {
    let bad = |e: openssl::error::ErrorStack| Error::Tls(e.to_string());
    let ssl = connector.configure().and_then(|c| c.into_ssl(&endpoint.host)).map_err(bad)?;
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
