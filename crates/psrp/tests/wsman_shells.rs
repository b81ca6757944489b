//! Several commands at once in one shell of a WinRM host, over sealed connections; shells that are lost, and what is left behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use psrp::client::{Authentication, Client, Endpoint, Error, Output, Password, PoolOptions, ShellName};
use psrp::clixml::{Value, Writer, read};
use psrp::faults;
use psrp::fragment::{Assembler, Fragmenter};
use psrp::message::{self, Command, Message, PipelineState, kind};
use psrp::sealed::{self, Acceptor, Channel};
use psrp::wsman::{self, Envelope, Fault, action};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(60);
const USER: (&str, &str) = ("LITWARE\\operator", "secret");

#[derive(Default)]
struct Pipeline {
    name: String,
    pipeline: Uuid,
    stopped: bool,
}

#[derive(Default)]
struct Host {
    connections: usize,
    sessions: Vec<String>,
    shells: BTreeMap<String, BTreeMap<String, Pipeline>>,
    /// Names and owners of shells.
    names: BTreeMap<String, (String, &'static str)>,
    idle_timeouts: Vec<String>,
    max_runspaces: Vec<Option<i64>>,
    asked: Vec<String>,
    /// Requests that the host breaks off, by their action's last part.
    breaks: Vec<&'static str>,
    /// Requests that the host answers with a fault, by their action's last part.
    faults: Vec<(&'static str, u32)>,
    /// HTTP statuses with which the next requests are answered in place of WinRM.
    statuses: Vec<u16>,
}

struct Server {
    host: Mutex<Host>,
    changed: Notify,
}

fn gone() -> Fault {
    Fault { code: faults::INVALID_SELECTORS, subcode: "w:InvalidSelectors".into(), message: "gone".into() }
}

fn streams(messages: Vec<Message>) -> String {
    let mut fragmenter = Fragmenter::new(32 * 1024);
    let fragments = messages.iter().flat_map(|m| fragmenter.fragment(&m.encode(false)));
    fragments.map(|f| format!("<rsp:Stream Name=\"stdout\">{}</rsp:Stream>", BASE64.encode(f))).collect()
}

impl Server {
    fn host(&self) -> std::sync::MutexGuard<'_, Host> {
        self.host.lock().unwrap()
    }

    /// Waits until something is so.
    async fn until(&self, what: impl Fn(&Host) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if what(&self.host()) {
                return;
            }
            tokio::time::timeout(PATIENCE, changed).await.expect("the host never saw it");
        }
    }

    /// Answers an envelope; none breaks the connection off.
    async fn soap(&self, text: &str) -> Option<(StatusCode, String)> {
        let e = Envelope::read(text).unwrap();
        let what = e.action.rsplit('/').next().unwrap().to_string();
        {
            let mut host = self.host();
            let code = e.body.find("Code").map(|c| c.text.rsplit('/').next().unwrap().to_string());
            host.asked.push(code.map_or(what.clone(), |code| format!("{what} {code}")));
            if !host.sessions.contains(&e.session_id) {
                host.sessions.push(e.session_id.clone());
            }
            if let Some(at) = host.breaks.iter().position(|b| *b == what) {
                host.breaks.remove(at);
                return None;
            }
        }
        let planned = {
            let mut host = self.host();
            let at = host.faults.iter().position(|(action, _)| *action == what);
            at.map(|at| host.faults.remove(at).1)
        };
        let answer = match planned {
            Some(code) => Err(Fault { code, subcode: "w:InternalError".into(), message: "planned".into() }),
            None => self.operation(&e).await,
        };
        self.changed.notify_waiters();
        Some(match answer {
            Ok(body) => (StatusCode::OK, wsman::response(&e, &body)),
            Err(fault) => (StatusCode::INTERNAL_SERVER_ERROR, wsman::fault(&e, &fault, wsman::Form::Wsman)),
        })
    }

    async fn operation(&self, e: &Envelope) -> Result<String, Fault> {
        let shell = e.shell_id.clone().unwrap_or_default();
        if ![action::CREATE, action::ENUMERATE].contains(&e.action.as_str())
            && !self.host().shells.contains_key(&shell)
        {
            return Err(gone());
        }
        match e.action.as_str() {
            action::CREATE => {
                let bytes = BASE64.decode(&e.body.find("creationXml").unwrap().text).unwrap();
                let init = Assembler::default().push(&bytes).unwrap().remove(1);
                let max = read(&Message::decode(&init).unwrap().body).unwrap().get("MaxRunspaces").cloned();
                let mut host = self.host();
                host.max_runspaces.push(max.and_then(|m| m.as_i64()));
                host.idle_timeouts.extend(e.body.find("IdleTimeOut").map(|i| i.text.clone()));
                let shell = e.body.find("Shell").unwrap();
                let id = shell.attribute("ShellId").unwrap().to_string();
                let name = shell.attribute("Name").unwrap().to_string();
                host.names.insert(id.clone(), (name, r"LITWARE\operator"));
                host.shells.insert(id, BTreeMap::new());
                Ok(String::new())
            }
            action::ENUMERATE => Ok(self.list()),
            action::COMMAND => {
                let line = e.body.find("CommandLine").unwrap();
                let bytes = BASE64.decode(&line.find("Arguments").unwrap().text).unwrap();
                let m = Message::decode(&Assembler::default().push(&bytes).unwrap()[0]).unwrap();
                let name = message::parse_create_pipeline(&m.body).unwrap().remove(0).0.name;
                let id = line.attribute("CommandId").unwrap().to_string();
                let run = Pipeline { name, pipeline: m.pipeline, stopped: false };
                self.host().shells.get_mut(&shell).unwrap().insert(id, run);
                Ok("<rsp:CommandResponse/>".into())
            }
            action::RECEIVE => self.receive(e, &shell).await,
            action::SIGNAL => {
                let id = e.body.find("Signal").unwrap().attribute("CommandId").unwrap();
                let stop = e.body.find("Code").unwrap().text == wsman::SIGNAL_STOP;
                let mut host = self.host();
                let commands = host.shells.get_mut(&shell).unwrap();
                match commands.get_mut(id) {
                    None => return Err(gone()),
                    Some(run) if stop => run.stopped = true,
                    Some(_) => drop(commands.remove(id)),
                }
                Ok("<rsp:SignalResponse/>".into())
            }
            action::DELETE => {
                self.host().shells.remove(&shell);
                Ok(String::new())
            }
            other => panic!("{other}"),
        }
    }

    /// The shells, with the elements of a recorded list that count.
    fn list(&self) -> String {
        let host = self.host();
        let shell = |id: &String| {
            let (name, owner) = &host.names[id];
            format!(
                "<rsp:Shell><rsp:ShellId>{id}</rsp:ShellId><rsp:Name>{name}</rsp:Name>\
                 <rsp:ResourceUri>http://schemas.microsoft.com/powershell/Microsoft.PowerShell</rsp:ResourceUri><rsp:Owner>{owner}</rsp:Owner></rsp:Shell>"
            )
        };
        let items: String = host.shells.keys().map(shell).collect();
        format!(
            "<n:EnumerateResponse xmlns:n=\"http://schemas.xmlsoap.org/ws/2004/09/enumeration\"><w:Items>{items}</w:Items><w:EndOfSequence/></n:EnumerateResponse>"
        )
    }

    async fn receive(&self, e: &Envelope, shell: &str) -> Result<String, Fault> {
        let until = tokio::time::Instant::now() + Duration::from_secs_f64(e.timeout.unwrap());
        let id = e.body.find("DesiredStream").unwrap().attribute("CommandId");
        let m = |kind, pipeline, body| Message { kind, pool: Uuid::nil(), pipeline, body };
        let Some(id) = id else {
            let opened = m(kind::RUNSPACEPOOL_STATE, Uuid::nil(), message::runspacepool_state(2));
            return Ok(format!("<rsp:ReceiveResponse>{}</rsp:ReceiveResponse>", streams(vec![opened])));
        };
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let answer = {
                let host = self.host();
                let run = host.shells.get(shell).and_then(|s| s.get(id)).ok_or_else(gone)?;
                let state = |s| m(kind::PIPELINE_STATE, run.pipeline, message::pipeline_state(s, None));
                match (run.stopped, run.name.as_str()) {
                    (_, "Deaf") | (false, "Wait") => None,
                    (true, _) => Some(vec![state(PipelineState::Stopped)]),
                    (false, _) => {
                        let object = Writer::value(&Value::text("answer"));
                        Some(vec![
                            m(kind::PIPELINE_OUTPUT, run.pipeline, object),
                            state(PipelineState::Completed),
                        ])
                    }
                }
            };
            if let Some(messages) = answer {
                return Ok(format!(
                    "<rsp:ReceiveResponse>{}<rsp:CommandState CommandId=\"{id}\" State=\"{}\"/></rsp:ReceiveResponse>",
                    streams(messages),
                    wsman::DONE
                ));
            }
            if tokio::time::timeout_at(until, changed).await.is_err() {
                return Err(Fault {
                    code: faults::TIMED_OUT,
                    subcode: "w:TimedOut".into(),
                    message: String::new(),
                });
            }
        }
    }
}

enum Session {
    Fresh,
    Negotiating(Acceptor),
    Sealed(Channel),
}

async fn answer(
    server: Arc<Server>,
    session: Arc<Mutex<Session>>,
    r: Request<hyper::body::Incoming>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    // Of the logon as little as of anything else.
    let status = {
        let mut host = server.host();
        if host.statuses.is_empty() { None } else { Some(host.statuses.remove(0)) }
    };
    if let Some(status) = status {
        let mut response = Response::new(Full::new(Bytes::from("<h2>Service Unavailable</h2>")));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        if status == 401 {
            response.headers_mut().append("WWW-Authenticate", "Negotiate".parse().unwrap());
            response.headers_mut().append("WWW-Authenticate", "Kerberos".parse().unwrap());
        }
        return Ok(response);
    }
    let token = r.headers().get("Authorization").and_then(|v| v.to_str().ok()).map(str::to_string);
    let body = r.into_body().collect().await.unwrap().to_bytes();
    let before = std::mem::replace(&mut *session.lock().unwrap(), Session::Fresh);
    let mut response = Response::new(Full::new(Bytes::new()));
    let after = match (before, token) {
        (Session::Sealed(mut channel), None) => {
            let plain = channel.unseal(&body).expect("in step on every connection");
            let Some((status, text)) = server.soap(&plain).await else {
                return Err(std::io::Error::other("broken off"));
            };
            response = Response::new(Full::new(Bytes::from(channel.seal(&text).unwrap())));
            *response.status_mut() = status;
            response.headers_mut().insert("Content-Type", sealed::CONTENT_TYPE.parse().unwrap());
            Session::Sealed(channel)
        }
        (before, Some(token)) => {
            let mut acceptor = match before {
                Session::Negotiating(a) => a,
                Session::Fresh | Session::Sealed(_) => Acceptor::new(USER.0, USER.1).unwrap(),
            };
            let token = BASE64.decode(token.strip_prefix("Negotiate ").unwrap()).unwrap();
            let leg = acceptor.step(&token).unwrap();
            if leg.complete {
                Session::Sealed(acceptor.channel())
            } else {
                *response.status_mut() = StatusCode::UNAUTHORIZED;
                let challenge = format!("Negotiate {}", BASE64.encode(&leg.token));
                response.headers_mut().insert("WWW-Authenticate", challenge.parse().unwrap());
                Session::Negotiating(acceptor)
            }
        }
        (Session::Fresh | Session::Negotiating(_), None) => panic!("a request without a logon"),
    };
    *session.lock().unwrap() = after;
    Ok(response)
}

async fn start(options: PoolOptions) -> (Arc<Server>, Client) {
    let server = Arc::new(Server { host: Mutex::new(Host::default()), changed: Notify::new() });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = server.clone();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            serving.host().connections += 1;
            let (server, session) = (serving.clone(), Arc::new(Mutex::new(Session::Fresh)));
            tokio::spawn(async move {
                let service = service_fn(|r| answer(server.clone(), session.clone(), r));
                // The client closes when it has what it wants, and the host when it is told to.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(tcp), service).await;
            });
        }
    });
    let endpoint = Endpoint {
        host: "127.0.0.1".into(),
        port,
        path: "/wsman".into(),
        connect_to: None,
        tls: false,
        ca_pem: None,
        configuration_name: "Microsoft.PowerShell".into(),
        authentication: Authentication::Negotiate,
        user: USER.0.into(),
        password: Password(USER.1.into()),
        connect_timeout: Duration::from_secs(5),
        operation_timeout: Duration::from_secs(20),
    };
    (server, Client::connect_with(&endpoint, options).await.unwrap())
}

async fn ask(client: &Client, name: &str) -> Result<Output, Error> {
    client.invoke(&Command { name: name.into(), parameters: vec![] }, PATIENCE).await
}

async fn is_usable(client: &Client) {
    assert_eq!(ask(client, "Answer").await.unwrap().objects, [Value::text("answer")]);
}

#[tokio::test]
async fn commands_that_run_at_once_share_a_shell_over_connections_of_their_own() {
    let options =
        PoolOptions { runspaces: 4, idle_timeout: Some(Duration::from_secs(180)), ..PoolOptions::default() };
    let (server, client) = start(options).await;
    tokio::select! {
        biased;
        long = ask(&client, "Wait") => panic!("{long:?}"),
        () = async {
            server.until(|h| h.shells.values().any(|s| s.values().any(|p| p.name == "Wait"))).await;
            tokio::join!(is_usable(&client), is_usable(&client), is_usable(&client), is_usable(&client));
        } => {}
    }
    // Nobody waits for the long one any more: it is stopped, and freed only when it has ended.
    server.until(|h| h.shells.values().all(BTreeMap::is_empty)).await;
    {
        let host = server.host();
        assert_eq!((host.shells.len(), host.sessions.len()), (1, 1));
        assert_eq!(
            (host.max_runspaces.as_slice(), host.idle_timeouts.as_slice()),
            ([Some(4)].as_slice(), ["PT180.000S".to_string()].as_slice())
        );
        assert!((2..=5).contains(&host.connections), "{}", host.connections);
        let signals: Vec<_> = host.asked.iter().filter(|a| a.starts_with("Signal")).collect();
        assert_eq!(signals.iter().filter(|s| **s == "Signal crtl_c").count(), 1);
        assert_eq!(*signals[signals.len() - 1], "Signal terminate");
    }
    is_usable(&client).await;
    client.close().await.unwrap();
    assert!(server.host().shells.is_empty(), "no shell is left behind");
}

#[tokio::test]
async fn a_shell_that_is_gone_is_replaced_and_nothing_is_run_twice() {
    let (server, client) = start(PoolOptions::default()).await;
    is_usable(&client).await;
    server.until(|h| h.shells.values().all(BTreeMap::is_empty)).await;
    server.host().shells.clear();
    is_usable(&client).await;
    assert_eq!(server.host().shells.len(), 1);
    drop(client);
    server.until(|h| h.shells.is_empty()).await;
}

#[tokio::test]
async fn a_connection_that_breaks_in_mid_request_leaves_the_outcome_unknown_and_the_shell_usable() {
    for broken in ["Command", "Receive"] {
        let (server, client) = start(PoolOptions::default()).await;
        is_usable(&client).await;
        server.host().breaks.push(broken);
        let e = ask(&client, "Answer").await.unwrap_err();
        assert!(matches!(e, Error::Lost(_)) && e.outcome_unknown(), "{broken}: {e}");
        is_usable(&client).await;
        client.close().await.unwrap();
        assert!(server.host().shells.is_empty(), "{broken}");
    }
}

#[tokio::test]
async fn a_pool_that_does_not_open_leaves_no_command_in_doubt() {
    let (server, client) = start(PoolOptions::default()).await;
    server.host().breaks.push("Create");
    let e = ask(&client, "Answer").await.unwrap_err();
    assert!(matches!(e, Error::NotBegun(_)) && !e.outcome_unknown(), "{e}");
    is_usable(&client).await;
    // An answer that is there is not spoiled by what is lost after it.
    server.host().breaks.push("Signal");
    is_usable(&client).await;
    is_usable(&client).await;
    client.close().await.unwrap();
}

#[tokio::test]
async fn a_deadline_stops_the_command_on_the_host_before_it_is_told() {
    let (server, client) = start(PoolOptions::default()).await;
    let command = Command { name: "Wait".into(), parameters: vec![] };
    let e = client.invoke(&command, Duration::from_millis(500)).await.unwrap_err();
    assert!(matches!(&e, Error::Lost(why) if why.ends_with("it has stopped")), "{e}");
    let stopped = |h: &Host| h.asked.iter().any(|a| a == "Signal crtl_c");
    assert!(stopped(&server.host()), "it was told before it was stopped");
    is_usable(&client).await;
    client.close().await.unwrap();
}

#[tokio::test]
async fn a_host_that_gives_up_or_breaks_off_has_perhaps_begun_and_one_at_its_limit_has_not() {
    for (action, code, unknown) in [
        ("Command", faults::TIMED_OUT, true),
        ("Command", 995, true),
        ("Command", faults::MAX_OPERATIONS, false),
        ("Create", faults::MAX_SHELLS, false),
        ("Create", faults::TIMED_OUT, false),
    ] {
        let (server, client) = start(PoolOptions::default()).await;
        server.host().faults.push((action, code));
        let e = ask(&client, "Answer").await.unwrap_err();
        assert_eq!(e.outcome_unknown(), unknown, "{action} {code}: {e}");
        is_usable(&client).await;
        client.close().await.unwrap();
        assert!(server.host().shells.is_empty(), "{action} {code}: a shell is left behind");
    }
}

#[tokio::test]
async fn a_shell_that_was_lost_before_anything_was_sent_is_replaced_and_there_is_only_one_at_a_time() {
    for code in [faults::SHELL_DISCONNECTED, faults::INVALID_SELECTORS, faults::SESSION_MISMATCH] {
        let (server, client) = start(PoolOptions::default()).await;
        is_usable(&client).await;
        server.until(|h| h.shells.values().all(BTreeMap::is_empty)).await;
        server.host().faults.push(("Command", code));
        is_usable(&client).await;
        let asked = server.host().asked.clone();
        let at = |what: &str| asked.iter().rposition(|a| a == what);
        assert!(at("Delete") < at("Create"), "the old one goes before the new one comes: {asked:?}");
        client.close().await.unwrap();
    }
}

#[tokio::test]
async fn an_answer_that_is_there_is_not_spoiled_by_a_signal_that_fails() {
    for code in [faults::INVALID_SELECTORS, 995, faults::TIMED_OUT, 0x8007_03FA] {
        let (server, client) = start(PoolOptions::default()).await;
        server.host().faults.push(("Signal", code));
        is_usable(&client).await;
        is_usable(&client).await;
        client.close().await.unwrap();
    }
}

#[tokio::test]
async fn who_is_to_log_on_again_does_and_what_http_sys_says_in_the_place_of_winrm_has_done_nothing() {
    let (server, client) = start(PoolOptions::default()).await;
    is_usable(&client).await;
    server.until(|h| h.shells.values().all(BTreeMap::is_empty)).await;
    // A logon that has run out: another one, and the same request. (Not where the connection is new: then it is refused.)
    let mut again = 0;
    while again == 0 {
        server.host().statuses.push(401);
        match ask(&client, "Answer").await {
            Ok(_) => again += 1,
            Err(e) => assert!(matches!(e, Error::Unauthorized(_)), "{e}"),
        }
    }
    // A logon that is refused.
    server.host().statuses.extend([401; 9]);
    let e = ask(&client, "Answer").await.unwrap_err();
    assert_eq!(e, Error::Unauthorized("it offers Negotiate, Kerberos".into()));
    for status in [503, 404] {
        server.host().statuses = vec![status; 9];
        let e = ask(&client, "Answer").await.unwrap_err();
        assert!(matches!(&e, Error::Connect(why) if why.contains("Service Unavailable")), "{status}: {e}");
        assert!(!e.outcome_unknown());
        server.host().statuses.clear();
        is_usable(&client).await;
    }
    client.close().await.unwrap();
}

/// A host on which others have left shells, and who asks there.
async fn with_shells_of_others(tidies: bool) -> (Arc<Server>, Client, BTreeMap<&'static str, String>) {
    let name = ShellName::new("operator pod-1", Uuid::from_u128(1), tidies);
    let (server, client) = start(PoolOptions { name: Some(name), ..PoolOptions::default() }).await;
    let start = Uuid::from_u128(2);
    let others = [
        ("left", format!("operator pod-1 {start}"), USER.0),
        ("left, and used", format!("operator pod-1 {}", Uuid::from_u128(3)), USER.0),
        ("of another pod", format!("operator pod-2 {start}"), USER.0),
        ("of another account", format!("operator pod-1 {start}"), r"LITWARE\another"),
        ("of a job", "persistent-chat-failover".into(), USER.0),
    ];
    let mut ids = BTreeMap::new();
    for (who, name, owner) in others {
        let id = Uuid::new_v4().to_string().to_uppercase();
        server.host().shells.insert(id.clone(), BTreeMap::new());
        server.host().names.insert(id.clone(), (name, owner));
        ids.insert(who, id);
    }
    (server, client, ids)
}

#[tokio::test]
async fn what_another_start_has_left_is_deleted_before_anything_is_asked_and_once() {
    let (server, client, ids) = with_shells_of_others(true).await;
    is_usable(&client).await;
    {
        let host = server.host();
        let there = |who: &&str| host.shells.contains_key(&ids[*who]);
        let stay: Vec<&str> = ids.keys().copied().filter(there).collect();
        assert_eq!(stay, ["of a job", "of another account", "of another pod"]);
        let first = |what: &str| host.asked.iter().rposition(|a| a == what).unwrap();
        assert!(first("Delete") < host.asked.iter().position(|a| a == "Command").unwrap());
    }
    // Another shell, of the same client: it was tidied already.
    server.host().shells.retain(|id, _| ids.values().any(|other| other == id));
    is_usable(&client).await;
    assert_eq!(server.host().asked.iter().filter(|a| *a == "Enumerate").count(), 1);
    client.close().await.unwrap();
    assert_eq!(server.host().shells.len(), 3);
}

#[tokio::test]
async fn who_only_looks_deletes_nothing_and_a_list_that_fails_fails_nothing_else() {
    let (server, client, ids) = with_shells_of_others(false).await;
    is_usable(&client).await;
    assert!(!server.host().asked.iter().any(|a| a == "Enumerate" || a == "Delete"));
    client.close().await.unwrap();
    assert_eq!(server.host().shells.len(), ids.len());
    for failing in ["Enumerate", "Delete"] {
        let (server, client, _) = with_shells_of_others(true).await;
        server.host().breaks.push(failing);
        is_usable(&client).await;
        client.close().await.unwrap();
        let (server, client, _) = with_shells_of_others(true).await;
        server.host().faults.push((failing, 5));
        is_usable(&client).await;
        client.close().await.unwrap();
    }
}

/// What the host was asked after a command began, as far as it ends that, until its outcome was told.
fn asked_to_end(server: &Server) -> Vec<String> {
    let host = server.host();
    let begun = host.asked.iter().position(|a| a == "Command").unwrap();
    host.asked[begun..].iter().filter(|a| a.starts_with("Signal") || *a == "Delete").cloned().collect()
}

#[tokio::test]
async fn of_a_change_in_doubt_nothing_is_told_before_all_was_tried_that_ends_it_on_the_host() {
    let options = || PoolOptions { stop_timeout: Duration::from_millis(500), ..PoolOptions::default() };
    let everything = ["Signal crtl_c", "Signal terminate", "Delete"];
    for (name, breaks, asked, told) in [
        ("Wait", vec![], vec!["Signal crtl_c"], "it has stopped"),
        ("Deaf", vec![], everything.to_vec(), "it was ended on the host, with its shell"),
        ("Answer", vec!["Receive"], everything[1..].to_vec(), "it was ended on the host, with its shell"),
        ("Answer", vec!["Command"], everything[1..].to_vec(), "it was ended on the host, with its shell"),
        ("Answer", vec!["Receive", "Signal", "Delete"], everything[1..].to_vec(), "idle time-out has passed"),
    ] {
        let (server, client) = start(options()).await;
        is_usable(&client).await;
        server.until(|h| h.shells.values().all(BTreeMap::is_empty)).await;
        server.host().asked.clear();
        server.host().breaks.extend(&breaks);
        let command = Command { name: name.into(), parameters: vec![] };
        let e = client.invoke_to_the_end(&command, Duration::from_millis(500)).await.unwrap_err();
        let ends = asked_to_end(&server);
        assert!(matches!(&e, Error::Lost(why) if why.ends_with(told)), "{name} {breaks:?}: {e}");
        // A command that has ended is freed behind its answer's back.
        assert_eq!(ends[..asked.len()], asked, "{name} {breaks:?}");
        is_usable(&client).await;
        client.close().await.unwrap();
    }
    // What is known is told at once, and so is that nothing was begun.
    let (server, client) = start(options()).await;
    let command = Command { name: "Answer".into(), parameters: vec![] };
    server.host().faults.push(("Command", faults::MAX_OPERATIONS));
    let refused = client.invoke_to_the_end(&command, PATIENCE).await.unwrap_err();
    assert!(!refused.outcome_unknown(), "{refused}");
    assert_eq!(client.invoke_to_the_end(&command, PATIENCE).await.unwrap().objects, [Value::text("answer")]);
    client.close().await.unwrap();
}
