//! The HTTP of WinRM: TLS or sealed bodies, and who is logged on.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::HeaderValue;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use openssl::ssl::{Ssl, SslAcceptor};
use psrp::sealed::{self, Acceptor, Channel, SealError};
use tokio::net::TcpStream;

use super::Host;
use super::binding::{self, Hash};
use crate::chat::{SHELL_PASSWORD, SHELL_USER};

/// What one connection is logged on as. NTLM authenticates connections, not requests.
enum Session {
    Fresh,
    Negotiating(Box<Acceptor>),
    Sealed(Box<Channel>),
}

/// How a listener speaks: over TLS, or in clear, where only sealed bodies are taken (`AllowUnencrypted` is false).
#[derive(Clone)]
pub enum Transport {
    /// Port 5986.
    Https(SslAcceptor),
    /// Port 5985.
    Http,
}

pub(super) async fn connection(
    host: Arc<Host>,
    tcp: TcpStream,
    transport: Transport,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    tcp.set_nodelay(true)?;
    let session = Arc::new(Mutex::new(Session::Fresh));
    match transport {
        Transport::Https(tls) => {
            let mut stream = tokio_openssl::SslStream::new(Ssl::new(tls.context())?, tcp)?;
            Pin::new(&mut stream).accept().await?;
            let hash =
                stream.ssl().certificate().ok_or("a server without a certificate").map(binding::of)??;
            let service = service_fn(|r| answer(host.clone(), session.clone(), Some(hash), r));
            http1::Builder::new().serve_connection(TokioIo::new(stream), service).await?;
        }
        Transport::Http => {
            let service = service_fn(|r| answer(host.clone(), session.clone(), None, r));
            http1::Builder::new().serve_connection(TokioIo::new(tcp), service).await?;
        }
    }
    Ok(())
}

const SOAP: &str = "application/soap+xml;charset=UTF-8";

fn make(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert("Content-Type", HeaderValue::from_static(content_type));
    response
}

/// 401 with what may be tried; `token` goes on with a Negotiate logon.
fn challenge(tls: bool, token: Option<&[u8]>) -> Response<Full<Bytes>> {
    let mut response = make(StatusCode::UNAUTHORIZED, SOAP, Vec::new());
    let negotiate = token.map_or("Negotiate".to_string(), |t| format!("Negotiate {}", BASE64.encode(t)));
    // Base64 is always a header value.
    if let Ok(value) = HeaderValue::from_str(&negotiate) {
        response.headers_mut().append("WWW-Authenticate", value);
    }
    if tls && token.is_none() {
        response.headers_mut().append("WWW-Authenticate", HeaderValue::from_static("Basic realm=\"WSMAN\""));
    }
    response
}

/// `binding`: of the TLS connection, if it is one.
async fn answer(
    host: Arc<Host>,
    session: Arc<Mutex<Session>>,
    binding: Option<Hash>,
    r: Request<hyper::body::Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let tls = binding.is_some();
    let (head, body) = r.into_parts();
    let header =
        |name: &str| head.headers.get(name).and_then(|h| h.to_str().ok()).unwrap_or_default().to_string();
    let body = match Limited::new(body, 512 * 1024).collect().await {
        Ok(b) => b.to_bytes(),
        Err(e) => return Ok(make(StatusCode::PAYLOAD_TOO_LARGE, SOAP, e.to_string().into_bytes())),
    };
    let refused = host.world.now().chat.refused.contains(&host.name);
    let take =
        || std::mem::replace(&mut *session.lock().unwrap_or_else(PoisonError::into_inner), Session::Fresh);
    let keep = |s: Session| *session.lock().unwrap_or_else(PoisonError::into_inner) = s;
    let authorization = header("Authorization");
    if refused {
        return Ok(challenge(tls, None));
    }
    if let Some(token) = authorization.strip_prefix("Negotiate ") {
        if !body.is_empty() {
            // A body would have come in clear.
            return Ok(make(StatusCode::BAD_REQUEST, SOAP, Vec::new()));
        }
        let (next, response) = negotiate(&host, binding, take(), token);
        keep(next);
        return Ok(response);
    }
    if header("Content-Type").starts_with("multipart/encrypted") {
        let Session::Sealed(mut channel) = take() else { return Ok(challenge(tls, None)) };
        let Ok(plain) = channel.unseal(&body) else {
            // What Windows says to a body that it cannot unseal.
            return Ok(make(StatusCode::BAD_REQUEST, SOAP, Vec::new()));
        };
        let (status, text) = soap(host, plain).await;
        let Ok(sealed) = channel.seal(&text) else {
            return Ok(make(StatusCode::INTERNAL_SERVER_ERROR, SOAP, Vec::new()));
        };
        keep(Session::Sealed(channel));
        return Ok(make(status, sealed::CONTENT_TYPE, sealed));
    }
    let expected = format!("Basic {}", BASE64.encode(format!("{SHELL_USER}:{SHELL_PASSWORD}")));
    if !tls || authorization != expected {
        return Ok(challenge(tls, None));
    }
    Ok(match std::str::from_utf8(&body) {
        Ok(text) => {
            let (status, text) = soap(host, text.into()).await;
            make(status, SOAP, text.into_bytes())
        }
        Err(e) => make(StatusCode::BAD_REQUEST, SOAP, e.to_string().into_bytes()),
    })
}

/// One leg of a logon.
fn negotiate(
    host: &Host,
    binding: Option<Hash>,
    session: Session,
    token: &str,
) -> (Session, Response<Full<Bytes>>) {
    let tls = binding.is_some();
    let acceptor = match session {
        Session::Negotiating(a) => Ok(*a),
        Session::Fresh | Session::Sealed(_) => Acceptor::new(SHELL_USER, SHELL_PASSWORD),
    };
    let stepped = acceptor.and_then(|mut a| {
        let token = BASE64.decode(token.trim()).map_err(|e| SealError::Ntlm(e.to_string()))?;
        let leg = a.step(&token)?;
        // The proof of the password covers it: it is looked at when that holds.
        if let Some(of_connection) = binding.filter(|_| leg.complete)
            && !binding::admits(host.cbt, of_connection, binding::presented(&token))
        {
            return Err(SealError::Ntlm("it is not bound to this TLS connection".into()));
        }
        Ok((a, leg))
    });
    match stepped {
        Ok((a, leg)) if leg.complete => {
            (Session::Sealed(Box::new(a.channel())), make(StatusCode::OK, SOAP, Vec::new()))
        }
        Ok((a, leg)) => (Session::Negotiating(Box::new(a)), challenge(tls, Some(&leg.token))),
        Err(e) => {
            tracing::debug!(host = host.name, error = %e, "logon refused");
            (Session::Fresh, challenge(tls, None))
        }
    }
}

/// One envelope and its answer. The future of a request is dropped when its client is gone; what may outlive it needs a task.
async fn soap(host: Arc<Host>, text: String) -> (StatusCode, String) {
    if !host.world.now().breakpoints.outlives_its_client() {
        return host.soap(&text).await;
    }
    match tokio::spawn(async move { host.soap(&text).await }).await {
        Ok(answer) => answer,
        Err(e) => (StatusCode::INTERNAL_SERVER_ERROR, e.to_string()),
    }
}
