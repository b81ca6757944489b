//! What real Windows hosts said to pypsrp, read by our codec and answered to our client.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::pin::Pin;
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
use openssl::ssl::{Ssl, SslAcceptor, SslMethod};
use psrp::client::{Authentication, Client, Endpoint, Output, Password};
use psrp::clixml::{self, Value, Writer};
use psrp::fragment::Assembler;
use psrp::message::{Command, Message, PipelineState};
use psrp::wsman::{Element, Envelope, action};

#[derive(serde::Deserialize)]
struct Recording {
    messages: Vec<Exchange>,
}

#[derive(serde::Deserialize, Clone)]
struct Exchange {
    request: String,
    response: String,
}

fn recordings() -> BTreeMap<String, Recording> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let mut out = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "yml") {
            let text = std::fs::read_to_string(&path).unwrap();
            let name = path.file_stem().unwrap().to_str().unwrap().to_string();
            out.insert(name, serde_saphyr::from_str(&text).unwrap());
        }
    }
    out
}

/// Everything base64 that an envelope carries as PSRP, in order.
fn payloads(e: &Envelope) -> Vec<Vec<u8>> {
    let mut found: Vec<&Element> = Vec::new();
    for name in ["creationXml", "connectXml", "connectResponseXml", "Arguments", "Stream"] {
        e.body.all(name, &mut found);
    }
    let text = |x: &Element| x.text.split_whitespace().collect::<String>();
    found.iter().map(|x| text(x)).filter(|t| !t.is_empty()).map(|t| BASE64.decode(t).unwrap()).collect()
}

#[test]
fn every_envelope_fragment_message_and_object_is_read_and_survives_our_writer() {
    let (mut envelopes, mut messages, mut bodies) = (0, 0, 0);
    for (name, recording) in recordings() {
        let (mut to_server, mut to_client) = (Assembler::default(), Assembler::default());
        for exchange in &recording.messages {
            for (xml, assembler) in
                [(&exchange.request, &mut to_server), (&exchange.response, &mut to_client)]
            {
                let envelope = Envelope::read(xml).unwrap_or_else(|e| panic!("{name}: {e}\n{xml}"));
                envelopes += 1;
                assert!(!envelope.action.is_empty() && !envelope.message_id.is_empty(), "{name}");
                for bytes in payloads(&envelope) {
                    for m in assembler.push(&bytes).unwrap_or_else(|e| panic!("{name}: {e}")) {
                        let m = Message::decode(&m).unwrap_or_else(|e| panic!("{name}: {e}"));
                        messages += 1;
                        if m.body.is_empty() {
                            continue;
                        }
                        let read =
                            clixml::read(&m.body).unwrap_or_else(|e| panic!("{name}: {e}\n{}", m.body));
                        let again = clixml::read(&Writer::value(&read)).unwrap();
                        assert_eq!(read, again, "{name}: {}", m.body);
                        bodies += 1;
                    }
                }
            }
        }
    }
    println!("{envelopes} envelopes, {messages} messages, {bodies} bodies");
    assert!(envelopes > 200 && messages > 200, "{envelopes} {messages}");
}

/// Answers our client with what a recording holds: the next answer to the same action, with our ids in it.
struct Replay {
    answers: BTreeMap<String, VecDeque<String>>,
    shell: String,
    command: String,
    asked: Vec<String>,
}

impl Replay {
    fn new(recording: &Recording) -> Replay {
        let mut answers: BTreeMap<String, VecDeque<String>> = BTreeMap::new();
        let (mut shell, mut command) = (String::new(), String::new());
        for x in &recording.messages {
            let request = Envelope::read(&x.request).unwrap();
            let find = |name: &str| {
                let mut all = Vec::new();
                request.body.all(name, &mut all);
                all.first().copied().cloned()
            };
            if request.action == action::CREATE {
                shell = find("Shell").unwrap().attribute("ShellId").unwrap().to_string();
            }
            if request.action == action::COMMAND {
                command = find("CommandLine").unwrap().attribute("CommandId").unwrap().to_string();
            }
            answers.entry(request.action).or_default().push_back(x.response.clone());
        }
        Replay { answers, shell, command, asked: Vec::new() }
    }

    fn answer(&mut self, body: &str) -> (StatusCode, String) {
        let request = Envelope::read(body).unwrap();
        self.asked.push(request.action.rsplit('/').next().unwrap().to_string());
        let next = self.answers.get_mut(&request.action).and_then(VecDeque::pop_front);
        let Some(recorded) = next else {
            assert_eq!(
                request.action,
                action::SIGNAL,
                "the recording has no more answers to {}",
                request.action
            );
            return (StatusCode::OK, psrp::wsman::response(&request, "<rsp:SignalResponse/>"));
        };
        let mut text = recorded;
        let relates = Envelope::read(&text).unwrap().relates_to;
        text = text.replace(&relates, &request.message_id);
        let mut ids = Vec::new();
        request.body.all("DesiredStream", &mut ids);
        request.body.all("CommandLine", &mut ids);
        let ours = ids.iter().find_map(|e| e.attribute("CommandId"));
        if let Some(ours) = ours {
            text = text.replace(&self.command, ours);
        }
        if let Some(ours) = &request.shell_id {
            text = text.replace(&self.shell, ours);
        }
        let fault = Envelope::read(&text).unwrap().fault().is_some();
        (if fault { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }, text)
    }
}

async fn replay(name: &str) -> (Result<Output, psrp::client::Error>, Vec<String>) {
    let recording = recordings().remove(name).unwrap();
    let replay = Arc::new(Mutex::new(Replay::new(&recording)));
    let certificate = rcgen::generate_simple_self_signed(vec!["windows.host".into()]).unwrap();
    let mut tls = SslAcceptor::mozilla_intermediate(SslMethod::tls_server()).unwrap();
    let key = openssl::pkey::PKey::private_key_from_pem(certificate.signing_key.serialize_pem().as_bytes())
        .unwrap();
    tls.set_private_key(&key).unwrap();
    tls.set_certificate(&openssl::x509::X509::from_pem(certificate.cert.pem().as_bytes()).unwrap()).unwrap();
    let tls = tls.build();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = replay.clone();
    tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut stream = tokio_openssl::SslStream::new(Ssl::new(tls.context()).unwrap(), tcp).unwrap();
        Pin::new(&mut stream).accept().await.unwrap();
        let service = service_fn(|r: Request<hyper::body::Incoming>| {
            let replay = serving.clone();
            async move {
                assert!(r.headers().contains_key("Authorization"));
                let body = r.into_body().collect().await?.to_bytes();
                let (status, text) = replay.lock().unwrap().answer(std::str::from_utf8(&body).unwrap());
                let mut response = Response::new(Full::new(Bytes::from(text)));
                *response.status_mut() = status;
                Ok::<_, hyper::Error>(response)
            }
        });
        // The client closes when it has what it wants.
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    });
    let endpoint = Endpoint {
        host: "windows.host".into(),
        port: 5986,
        path: "/wsman".into(),
        connect_to: Some(("127.0.0.1".into(), port)),
        tls: true,
        ca_pem: Some(certificate.cert.pem().into_bytes()),
        configuration_name: "Microsoft.PowerShell".into(),
        authentication: Authentication::Basic,
        user: "vagrant".into(),
        password: Password("vagrant".into()),
        connect_timeout: Duration::from_secs(5),
        operation_timeout: Duration::from_secs(20),
    };
    let client = Client::connect(&endpoint).await.unwrap();
    let command = Command { name: "Get-Anything".into(), parameters: vec![] };
    let out = client.invoke(&command, Duration::from_secs(10)).await;
    if out.is_ok() {
        client.close().await.unwrap();
    }
    let asked = replay.lock().unwrap().asked.clone();
    (out, asked)
}

async fn completed(name: &str) -> (Vec<String>, Output) {
    let (out, asked) = replay(name).await;
    let out = out.unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_eq!(asked.first().map(String::as_str), Some("Create"), "{name}");
    assert_eq!(asked[asked.len() - 2..], ["Signal", "Delete"], "{name}: nothing is left behind on the host");
    (out.objects.iter().map(Value::shown).collect(), out)
}

#[tokio::test]
async fn our_client_understands_what_windows_hosts_of_three_generations_answer() {
    for (name, expected) in [
        // Silent for longer than OperationTimeout: two timeouts that are none.
        ("test_psrp_long_running_cmdlet", vec!["hi"]),
        ("test_psrp_no_profile", vec![r"C:\WINDOWS\SYSTEM32\CONFIG\SYSTEMPROFILE"]),
        ("test_psrp_run_protocol_version_2.1", vec!["error", "message 1", "2", "3 3"]),
        ("test_psrp_run_protocol_version_2.3", vec!["error", "message 1", "2", "3 3"]),
        (
            "test_psrp_multiple_commands",
            vec![
                "Hello World",
                // A secure string: what it holds is not shown.
                "System.Security.SecureString",
                "こんにちは - actual_x000A_string\nnewline: 𐐷",
                "hi\"",
                r"win-nnmu24vvkj0\vagrant",
                "123",
                "winrm",
            ],
        ),
        ("test_psrp_with_jea_configuration", vec!["Microsoft.WSMan.Management.WSManConfigLeafElement"]),
    ] {
        let (objects, out) = completed(name).await;
        assert_eq!(objects, expected, "{name}");
        assert_eq!((out.state, out.errors.len()), (PipelineState::Completed, 0), "{name}");
    }
    // One object over many fragments.
    let (objects, _) = completed("test_psrp_small_msg_size").await;
    assert_eq!((objects[0].as_str(), objects.last().unwrap().chars().all(|c| c == 'a')), ("input", true));
}

#[tokio::test]
async fn errors_are_errors_whether_the_pipeline_failed_or_completed() {
    let (_, failed) = completed("test_client_execute_ps_failure").await;
    assert_eq!(failed.state, PipelineState::Failed);
    assert_eq!(failed.errors.len(), 1);
    assert!(failed.errors[0].message.contains("'Get-ServiceTypo' is not recognized"));
    assert_eq!(failed.errors[0].exception_type(), "System.Management.Automation.CommandNotFoundException");
    assert_eq!(failed.errors[0].category.number, Some(13), "ObjectNotFound");
    // Completed, with an error record all the same: that is not success.
    for name in [
        "test_psrp_stream_output_invocation",
        "test_psrp_stream_no_output_invocation",
        "test_psrp_merge_commands",
    ] {
        let (_, out) = completed(name).await;
        assert_eq!(out.state, PipelineState::Completed, "{name}");
        assert_eq!(
            out.errors.iter().map(|e| e.message.as_str()).collect::<Vec<_>>(),
            ["error stream"],
            "{name}"
        );
        assert_eq!(out.warnings, ["warning stream"], "{name}");
    }
}

#[test]
fn faults_are_told_apart_by_number() {
    let recordings = recordings();
    let codes = |name: &str| -> Vec<u32> {
        let answers = recordings[name].messages.iter().map(|x| Envelope::read(&x.response).unwrap());
        answers.filter_map(|e| e.fault()).map(|f| f.code).collect()
    };
    assert_eq!(codes("test_psrp_receive_failure"), [psrp::faults::INVALID_SELECTORS]);
    assert_eq!(codes("test_psrp_long_running_cmdlet"), [psrp::faults::TIMED_OUT; 2]);
}
