//! Asks an address over HTTP, for images that have nothing else to ask with.

use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderValue};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long everything may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of an answer at most.
const LONGEST: usize = 16 * 1024 * 1024;

/// What was answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The answer was 200.
    pub well: bool,
    /// Its status, for a human.
    pub status: String,
    /// Its body.
    pub body: Bytes,
}

/// Gets an `http://` URL.
pub async fn get(url: &str) -> Result<Answer, String> {
    let target = Target::of(url)?;
    match timeout(PATIENCE, target.get()).await {
        Ok(answer) => answer.map_err(|e| format!("{url}: {e}")),
        Err(_) => Err(format!("{url}: no answer within {} s", PATIENCE.as_secs())),
    }
}

/// Where to ask, and for what.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    /// Host and port for a connection.
    at: (String, u16),
    /// Host and port as the URL has them.
    authority: String,
    path: String,
}

impl Target {
    fn of(url: &str) -> Result<Target, String> {
        let not = |why: &str| format!("{url:?} {why}: give one like http://127.0.0.1:8080/healthz");
        let uri: Uri = url.parse().map_err(|e| not(&format!("is no URL ({e})")))?;
        if uri.scheme_str() != Some("http") {
            return Err(not("does not begin with http://, and nothing else is spoken here"));
        }
        let authority = uri.authority().ok_or_else(|| not("names no host"))?;
        if authority.as_str().contains('@') {
            return Err(not("holds a user, and nobody logs on here"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(not("names no host"));
        }
        let path = uri.path_and_query().map_or("/", |p| p.as_str());
        Ok(Target {
            at: (host.into(), authority.port_u16().unwrap_or(80)),
            authority: authority.as_str().into(),
            path: path.into(),
        })
    }

    async fn get(&self) -> Result<Answer, String> {
        let (host, port) = &self.at;
        let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(|e| e.to_string())?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.uri_mut() = self.path.parse().map_err(|e| format!("{}: {e}", self.path))?;
        let host = HeaderValue::from_str(&self.authority).map_err(|e| e.to_string())?;
        request.headers_mut().insert(HOST, host);
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        let asking = async {
            let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
            let status = response.status();
            let body = Limited::new(response.into_body(), LONGEST).collect().await;
            let body = body.map_err(|e| e.to_string())?.to_bytes();
            Ok(Answer { well: status == StatusCode::OK, status: status.to_string(), body })
        };
        // The connection is driven beside it; what ails it is seen by whoever asks.
        let (answer, _) = futures::join!(asking, connection);
        answer
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_url_is_taken_apart_or_refused_with_a_word() {
        let target = Target::of("http://[::1]:8080/healthz?x=1").unwrap();
        assert_eq!(target.at, ("::1".to_string(), 8080));
        assert_eq!((target.authority.as_str(), target.path.as_str()), ("[::1]:8080", "/healthz?x=1"));
        assert_eq!(Target::of("http://operator").unwrap().at, ("operator".to_string(), 80));
        for (url, why) in [
            ("https://operator/healthz", "nothing else is spoken here"),
            ("operator:8080", "nothing else is spoken here"),
            ("/healthz", "nothing else is spoken here"),
            ("http://me:secret@operator/", "nobody logs on here"),
            ("http://", "is no URL"),
            ("http://:8080/", "names no host"),
            ("http://operator/a b", "is no URL"),
            ("", "is no URL"),
        ] {
            let told = Target::of(url).unwrap_err();
            assert!(told.contains(why), "{url}: {told}");
        }
    }
}
