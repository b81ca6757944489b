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
use psrp::client::{
    Authentication, Client, Endpoint, Found, JobIds, JobState, Output, Password, attach, start,
};
use psrp::clixml::{self, Value, Writer};
use psrp::faults::{self, Meaning};
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
        Replay::of(&recording.messages)
    }

    fn of(exchanges: &[Exchange]) -> Replay {
        let mut answers: BTreeMap<String, VecDeque<String>> = BTreeMap::new();
        let (mut shell, mut command) = (String::new(), String::new());
        for x in exchanges {
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
        // Who connects to what was recorded asks with the ids that were recorded.
        if let Some(ours) = ours.filter(|_| !self.command.is_empty()) {
            text = text.replace(&self.command, ours);
        }
        if let Some(ours) = request.shell_id.as_ref().filter(|_| !self.shell.is_empty()) {
            text = text.replace(&self.shell, ours);
        }
        let fault = Envelope::read(&text).unwrap().fault().is_some();
        (if fault { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }, text)
    }
}

/// Answers with what a recording holds.
async fn serve(replay: Replay) -> (Endpoint, Arc<Mutex<Replay>>) {
    let replay = Arc::new(Mutex::new(replay));
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
    (endpoint, replay)
}

#[tokio::test]
async fn the_version_of_powershell_is_what_real_hosts_say_and_unknown_where_they_say_none() {
    for (name, version) in [
        ("test_psrp_long_running_cmdlet", Some("5.1.14393.2248")),
        ("test_psrp_multiple_invocations", Some("5.1.26236.5000")),
        ("test_psrp_run_protocol_version_2.1", Some("2.0")),
    ] {
        let (endpoint, _replay) = serve(Replay::new(&recordings().remove(name).unwrap())).await;
        let client = Client::connect(&endpoint).await.unwrap();
        assert_eq!(client.version().await.unwrap().as_deref(), version, "{name}");
    }
    let told = |table: &str| {
        let data = format!("<DCT><En><S N=\"Key\">PSVersionTable</S>{table}</En></DCT>");
        let data = format!("<Obj RefId=\"1\" N=\"ApplicationPrivateData\">{data}</Obj>");
        psrp::message::power_shell_version(&format!("<Obj RefId=\"0\"><MS>{data}</MS></Obj>"))
    };
    let table = |value: &str| {
        told(&format!(
            "<Obj N=\"Value\" RefId=\"2\"><DCT><En><S N=\"Key\">PSVersion</S>{value}</En></DCT></Obj>"
        ))
    };
    assert_eq!(table("<Version N=\"Value\">4.0</Version>").as_deref(), Some("4.0"));
    for strange in
        ["<Nil N=\"Value\"/>", "<S N=\"Value\">of mgc at atl-fe-1</S>", "<Version N=\"Value\">5</Version>"]
    {
        assert_eq!(table(strange), None, "{strange}");
    }
    for strange in ["<Nil N=\"Value\"/>", "<S N=\"Value\">5.1</S>"] {
        assert_eq!(told(strange), None, "{strange}");
    }
    assert_eq!(psrp::message::power_shell_version("not even XML"), None);
}

async fn replay(name: &str) -> (Result<Output, psrp::client::Error>, Vec<String>) {
    let (endpoint, replay) = serve(Replay::new(&recordings().remove(name).unwrap())).await;
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

/// What a command said that was recorded while it was left and taken over: `Write-Output 'a'; Start-Sleep 5; Write-Output 'b'`.
fn said_a_and_b(state: JobState) {
    match state {
        JobState::Finished(out) => {
            let objects: Vec<String> = out.objects.iter().map(Value::shown).collect();
            assert_eq!((objects, out.state), (vec!["a".to_string(), "b".into()], PipelineState::Completed));
            let progress = out.progress.unwrap();
            assert_eq!(progress.activity, "Preparing modules for first use.");
        }
        other => panic!("{other:?}"),
    }
}

async fn until_deleted(replay: &Mutex<Replay>) -> Vec<String> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        let asked = replay.lock().unwrap().asked.clone();
        if asked.last().is_some_and(|a| a == "Delete") {
            return asked;
        }
        assert!(tokio::time::Instant::now() < deadline, "{asked:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_command_that_was_left_on_a_real_host_is_found_taken_over_and_read_to_its_end() {
    let recording = recordings().remove("test_psrp_disconnected_commands").unwrap();
    let all = &recording.messages;
    // The second of its two shells; its client left it at once, so the host held everything back.
    let about = |x: &Exchange| {
        let request = Envelope::read(&x.request).unwrap();
        let ids = format!("{}{:?}", request.shell_id.clone().unwrap_or_default(), request.body);
        let response = Envelope::read(&x.response).unwrap();
        let in_answer = format!("{:?}", response.body);
        (ids.contains("BCEF62AD") || in_answer.contains("DB4E8DCF"), request)
    };
    let ours: Vec<Exchange> = all.iter().filter(|x| about(x).0).cloned().collect();
    let of = |action: &str| ours.iter().filter(|x| about(x).1.action.ends_with(action)).count();
    assert_eq!((of("/Command"), of("/Disconnect"), of("/Connect"), of("/Receive")), (1, 1, 2, 5));
    let left = ours.iter().position(|x| about(x).1.action == action::DISCONNECT).unwrap();
    let received_before = |x: &&Exchange| {
        let request = about(x).1;
        request.body.find("DesiredStream").is_some_and(|d| d.attribute("CommandId").is_some())
    };
    assert_eq!(ours[..left].iter().filter(received_before).count(), 0, "it was left without a Receive");
    let after = &ours[left + 1..];
    let mut replay = Replay::of(after);
    let ids = JobIds {
        shell: "BCEF62AD-380E-4314-B2A4-EB6748019B41".parse().unwrap(),
        command: "DB4E8DCF-51CC-423F-A7DF-5D0EA0D6FA08".parse().unwrap(),
    };
    // Two lists were asked for, of the shells and of the commands: ours asks for the second.
    replay.answers.get_mut(action::ENUMERATE).unwrap().retain(|x| x.contains("CommandState"));
    let (endpoint, replay) = serve(replay).await;
    let Found::Attended(job) = attach(&endpoint, &ids).await.unwrap() else { panic!("it was there") };
    said_a_and_b(job.state(Duration::from_secs(10)).await.unwrap());
    let asked = until_deleted(&replay).await;
    assert_eq!(
        asked,
        ["Enumerate", "Connect", "Receive", "Connect", "Receive", "Receive", "Delete"],
        "as the client did that was recorded"
    );
    // What it said is kept for whoever asks later: the host has it no more.
    said_a_and_b(job.state(Duration::ZERO).await.unwrap());
}

#[tokio::test]
async fn a_job_is_received_from_at_once_and_deleted_when_it_has_ended() {
    let recording = recordings().remove("test_psrp_disconnected_commands").unwrap();
    // The same shell, as if its client had stayed: it receives in place of what it did in between.
    let stays = |x: &&Exchange| {
        let request = Envelope::read(&x.request).unwrap();
        let about = format!("{}{:?}", request.shell_id.clone().unwrap_or_default(), request.body);
        let left = [action::DISCONNECT, action::CONNECT, action::RECONNECT, action::ENUMERATE];
        about.contains("BCEF62AD") && !left.contains(&request.action.as_str())
    };
    // Besides what the pool says to who connects: the third answer about the pool itself.
    let of_pool = |x: &Exchange| {
        let request = Envelope::read(&x.request).unwrap();
        request.body.find("DesiredStream").is_some_and(|d| d.attribute("CommandId").is_none())
    };
    let mut pool = 0;
    let kept = recording.messages.iter().filter(stays).filter(|x| {
        pool += usize::from(of_pool(x));
        !of_pool(x) || pool < 3
    });
    let kept: Vec<Exchange> = kept.cloned().collect();
    let (endpoint, replay) = serve(Replay::of(&kept)).await;
    let ids = JobIds { shell: uuid::Uuid::new_v4(), command: uuid::Uuid::new_v4() };
    let command = Command { name: "Get-Anything".into(), parameters: vec![] };
    let job = start(&endpoint, &command, &ids, Duration::from_secs(24 * 3600)).await.unwrap();
    said_a_and_b(job.state(Duration::from_secs(10)).await.unwrap());
    let asked = until_deleted(&replay).await;
    assert_eq!(asked, ["Create", "Receive", "Receive", "Command", "Receive", "Receive", "Delete"]);
}

#[test]
fn faults_of_real_hosts_are_read_in_both_forms() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/faults");
    let fault = |name: &str| {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        Envelope::read(&text).unwrap().fault().unwrap()
    };
    for name in ["soap_fault_v1.xml", "soap_fault_v2.xml"] {
        let f = fault(name);
        assert_eq!((f.code, f.subcode.as_str()), (2_150_858_778, "n:CannotProcessFilter"), "{name}");
        assert!(f.message.starts_with("The specified class does not exist in the given namespace."), "{f:?}");
    }
    let quota = fault("wmi_error_v2.xml");
    assert_eq!((quota.code, quota.subcode.as_str()), (faults::MAX_SHELLS, "w:QuotaLimit"));
    assert_eq!(faults::meaning(quota.code), Some(Meaning::Shells));
    assert!(quota.message.contains("maximum number of 30 concurrent shells"), "{}", quota.message);
}

#[test]
fn every_fault_that_was_recorded_is_known() {
    let mut codes = std::collections::BTreeSet::new();
    for (name, recording) in recordings() {
        for x in &recording.messages {
            if let Some(f) = Envelope::read(&x.response).unwrap().fault() {
                assert!(faults::meaning(f.code).is_some(), "{name}: {f:?}");
                codes.insert(f.code);
            }
        }
    }
    assert!(codes.contains(&faults::TIMED_OUT) && codes.contains(&faults::INVALID_SELECTORS), "{codes:?}");
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
