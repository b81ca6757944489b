//! `/metrics`, `/healthz` and `/readyz` over HTTP.
//!
//! One request for each connection, few connections, and none of them for long: whoever can reach the port can ask, and must not be able
//! to keep the operator busy.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::instruments::Instruments;

/// What OpenMetrics text calls itself.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";
/// Connections at a time; more of them wait.
const CONNECTIONS: usize = 32;
/// How long a request may take to arrive. Short: whoever opens connections and says nothing keeps a probe waiting for so long.
const HEADERS: Duration = Duration::from_secs(2);
/// How long a connection may live.
const CONNECTION: Duration = Duration::from_secs(10);
/// Bytes of a request's head at most.
const HEAD: usize = 16 * 1024;
/// Pause after a connection that could not be taken: there are no file handles left, for example.
const AGAIN: Duration = Duration::from_millis(500);
/// How often the timer ticks.
const TICK: Duration = Duration::from_secs(1);

/// Takes the port of an address like `0.0.0.0:8080`.
pub async fn listen(address: &str) -> Result<TcpListener, String> {
    let parsed: SocketAddr = address.parse().map_err(|_| {
        format!(
            "--metrics-address (PCF_METRICS_ADDRESS): {address:?} is no address and port like 0.0.0.0:8080 or [::]:8080"
        )
    })?;
    TcpListener::bind(parsed).await.map_err(|e| cannot_listen(parsed, &e))
}

fn cannot_listen(address: SocketAddr, e: &io::Error) -> String {
    let fix = match e.kind() {
        io::ErrorKind::AddrInUse => "another process has this port: choose another one",
        io::ErrorKind::PermissionDenied => "ports below 1024 need a right: choose a higher one",
        io::ErrorKind::AddrNotAvailable => "no interface here has this address: choose 0.0.0.0 or [::]",
        // What there is besides is the system's own, and new in any version of Rust.
        _ => "choose another one",
    };
    format!(
        "cannot listen on {address} for metrics and health ({e}): {fix} with --metrics-address (PCF_METRICS_ADDRESS)"
    )
}

/// Answers until nobody waits for it any more. The timer that health watches ticks as long.
pub async fn serve(listener: TcpListener, instruments: Arc<Instruments>) {
    let ticking = instruments.clone();
    // A task of its own: it must get its turn among all others, or the process is not well.
    let timer = tokio::spawn(async move {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            ticking.health().tick();
        }
    });
    let _timer = Aborted(timer);
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    // The semaphore is never closed.
    while let Ok(slot) = slots.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let instruments = instruments.clone();
                tokio::spawn(async move {
                    talk(stream, &instruments).await;
                    drop(slot);
                });
            }
            Err(e) => {
                tracing::warn!(error = %e, "a connection for metrics and health could not be taken");
                sleep(AGAIN).await;
            }
        }
    }
}

/// A task that does not outlive whoever began it.
struct Aborted(tokio::task::JoinHandle<()>);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn talk(stream: TcpStream, instruments: &Instruments) {
    let service = service_fn(async |request: Request<Incoming>| {
        Ok::<_, Infallible>(answer(request.method(), request.uri().path(), instruments))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION, connection).await {
        Ok(Ok(())) => {}
        // A client that goes away, or speaks something else, is no trouble of ours.
        Ok(Err(e)) => tracing::debug!(error = %e, "a connection for metrics and health"),
        Err(_) => tracing::debug!("a connection for metrics and health took too long"),
    }
}

fn answer(method: &Method, path: &str, instruments: &Instruments) -> Response<Full<Bytes>> {
    let health = instruments.health();
    match (method, path) {
        (&Method::GET | &Method::HEAD, "/metrics") => match instruments.text() {
            Ok(text) => respond(StatusCode::OK, OPEN_METRICS, text),
            Err(e) => respond(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, format!("{e}\n")),
        },
        (&Method::GET | &Method::HEAD, "/healthz") => state(health.alive()),
        (&Method::GET | &Method::HEAD, "/readyz") => state(health.ready()),
        _ => respond(StatusCode::NOT_FOUND, PLAIN, "there is /metrics, /healthz and /readyz\n".into()),
    }
}

fn state(is: Result<(), String>) -> Response<Full<Bytes>> {
    match is {
        Ok(()) => respond(StatusCode::OK, PLAIN, "ok\n".into()),
        Err(why) => respond(StatusCode::SERVICE_UNAVAILABLE, PLAIN, format!("{why}\n")),
    }
}

fn respond(code: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, hyper::header::HeaderValue::from_static("no-store"));
    response
}
