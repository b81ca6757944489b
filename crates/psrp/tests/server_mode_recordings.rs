//! What a real PowerShell said in server mode, read by our codec, and answered again to our client.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use psrp::client::{Client, Error, Output, PoolOptions};
use psrp::clixml::{self, Value, Writer};
use psrp::error_record::ErrorRecord;
use psrp::fragment::Assembler;
use psrp::message::{self, Command, Message, PipelineState, kind};
use psrp::server_mode::Line;
use psrp::transport::server_mode::LineReader;
use tokio::io::{AsyncWriteExt as _, DuplexStream};
use uuid::Uuid;

#[derive(serde::Deserialize)]
struct Recorded {
    way: char,
    line: String,
}

impl Recorded {
    fn ours(&self) -> bool {
        self.way == '>'
    }
    fn line(&self) -> Line {
        Line::read(&self.line).unwrap()
    }
}

fn recording(name: &str) -> Vec<Recorded> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/server-mode/{name}.jsonl"));
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

const ALL: [&str; 3] = ["cmdlets", "session", "sql-exceptions"];

/// All messages of one side, with the pipeline of the line that they came in.
fn messages(recording: &[Recorded], ours: bool) -> Vec<(Uuid, Message)> {
    let mut assembler = Assembler::default();
    let mut out = Vec::new();
    for line in recording.iter().filter(|r| r.ours() == ours).map(Recorded::line) {
        if let Line::Data { id, bytes, .. } = line {
            for m in assembler.push(&bytes).unwrap() {
                out.push((id, Message::decode(&m).unwrap()));
            }
        }
    }
    out
}

#[test]
fn every_line_message_and_object_is_read_and_survives_our_writer() {
    let mut counts: HashMap<u32, usize> = HashMap::new();
    for name in ALL {
        let recording = recording(name);
        for r in &recording {
            assert_eq!(r.line().write().trim_end(), r.line, "{name}: as PowerShell writes it");
        }
        for (id, m) in messages(&recording, false).into_iter().chain(messages(&recording, true)) {
            assert_eq!(m.pipeline, id, "{name}: a line says whose message it carries");
            let read = clixml::read(&m.body).unwrap_or_else(|e| panic!("{name}: {e}\n{}", m.body));
            let again = clixml::read(&Writer::value(&read)).unwrap();
            // As text: a number that is none is not equal to itself.
            assert_eq!(format!("{again:?}"), format!("{read:?}"), "{name}: {}", m.body);
            *counts.entry(m.kind).or_default() += 1;
        }
    }
    for kind in [
        kind::PIPELINE_OUTPUT,
        kind::ERROR_RECORD,
        kind::WARNING_RECORD,
        kind::DEBUG_RECORD,
        kind::VERBOSE_RECORD,
        kind::PROGRESS_RECORD,
        kind::INFORMATION_RECORD,
        kind::PIPELINE_STATE,
    ] {
        assert!(counts.contains_key(&kind), "{kind:#x} is not in the recordings");
    }
    assert!(!counts.contains_key(&kind::PIPELINE_HOST_CALL), "without a host the engine asks nothing");
}

#[test]
fn a_signal_ends_a_pipeline_as_stopped() {
    let recording = recording("session");
    let stopped = recording.iter().map(Recorded::line).find(|l| matches!(l, Line::Signal(_))).unwrap().id();
    let states: Vec<_> = messages(&recording, false)
        .into_iter()
        .filter(|(id, m)| *id == stopped && m.kind == kind::PIPELINE_STATE)
        .map(|(_, m)| message::parse_pipeline_state(&m.body).unwrap().unwrap())
        .collect();
    let [(PipelineState::Stopped, Some(why))] = states.as_slice() else { panic!("{states:?}") };
    assert_eq!((why.id.as_str(), why.category.number), ("PipelineStopped", Some(14)));
}

/// Plays the engine of a recording: says what it said when our side says what was said to it, with our ids.
async fn play(recording: Vec<Recorded>, pipe: DuplexStream) {
    let (from_client, mut to_client) = tokio::io::split(pipe);
    let mut lines = LineReader::new(from_client);
    let mut ids: HashMap<Uuid, Uuid> = HashMap::from([(Uuid::nil(), Uuid::nil())]);
    for recorded in recording {
        let expected = recorded.line();
        if recorded.ours() {
            let said = lines.next().await.unwrap().expect("the client has gone away");
            assert_eq!(said.name(), expected.name(), "said {said:?} in place of {expected:?}");
            if let Line::Command(theirs) = &expected {
                ids.insert(*theirs, said.id());
            }
            assert_eq!(said.id(), ids[&expected.id()]);
            continue;
        }
        let ours = ids[&expected.id()].to_string();
        let line = recorded.line.replace(&expected.id().to_string(), &ours);
        to_client.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }
}

/// The commands of a recording, asked of its engine again by our client.
async fn replay(name: &str) -> Vec<(Command, Result<Output, Error>)> {
    let recording = recording(name);
    let asked = messages(&recording, true).into_iter().filter(|(_, m)| m.kind == kind::CREATE_PIPELINE);
    let commands: Vec<Command> =
        asked.map(|(_, m)| message::parse_create_pipeline(&m.body).unwrap().remove(0).0).collect();
    let stopped = recording.iter().any(|r| matches!(r.line(), Line::Signal(_)));
    let (engine, client) = tokio::io::duplex(64 * 1024);
    let playing = tokio::spawn(play(recording, engine));
    let (from_engine, to_engine) = tokio::io::split(client);
    let options = PoolOptions { runspaces: 1, ..PoolOptions::default() };
    let client = Client::pipes(from_engine, to_engine, options);
    let mut out = Vec::new();
    for command in commands {
        // The one that was stopped in the recording goes on until it is stopped.
        let deadline = if stopped && command.name == "Start-Long" { 1 } else { 60 };
        let answer = client.invoke(&command, Duration::from_secs(deadline)).await;
        out.push((command, answer));
    }
    client.close().await.unwrap();
    playing.await.unwrap();
    out
}

async fn answered(name: &str) -> Vec<(Command, Output)> {
    let answers = replay(name).await.into_iter();
    answers.map(|(c, out)| (c.clone(), out.unwrap_or_else(|e| panic!("{name} {}: {e}", c.name)))).collect()
}

/// Number, class, server and texts of the SqlException of a record.
fn sql(record: &ErrorRecord) -> (Option<i32>, Option<i32>, Option<&str>, usize) {
    let e = record.exceptions.iter().find(|e| e.type_name() == "System.Data.SqlClient.SqlException").unwrap();
    (e.number, e.class, e.server.as_deref(), e.errors.len())
}

#[tokio::test]
async fn sql_exceptions_keep_their_numbers_whatever_their_words() {
    let answers = answered("sql-exceptions").await;
    let errors: Vec<&ErrorRecord> = answers.iter().flat_map(|(_, out)| &out.errors).collect();
    let silent = Some("tcp:127.0.0.1,14999");
    let reached = Some("tcp:127.0.0.1,40637");
    let expected = [
        // Nothing listens: thrown through a method call, so that it is an inner exception; and written.
        (Some(0), Some(20), Some(""), 1),
        (Some(0), Some(20), Some(""), 1),
        // The host name does not resolve.
        (Some(0), Some(20), Some(""), 1),
        // The port accepts and is silent.
        (Some(-2), Some(11), silent, 1),
        (Some(18456), Some(14), reached, 1),
        // Two errors of a batch: the number is the first one's.
        (Some(50000), Some(16), reached, 2),
        (Some(927), Some(14), reached, 1),
        // The certificate is not trusted.
        (Some(0), Some(20), reached, 1),
    ];
    assert_eq!(errors.iter().map(|e| sql(e)).collect::<Vec<_>>(), expected);
    assert_eq!(errors[0].exception_type(), "System.Management.Automation.MethodInvocationException");
    let socket = errors[2].exceptions.last().unwrap();
    assert_eq!(socket.socket_error_code.as_deref(), Some("HostNotFound"));
    assert!(errors[3].exceptions.iter().any(|e| e.native_error_code == Some(258)));
    let two = errors[5].exceptions.iter().find(|e| !e.errors.is_empty()).unwrap();
    assert!(two.errors[0].ends_with("one") && two.errors[1].ends_with("two"), "{:?}", two.errors);
    assert_eq!(two.state, Some(7));
    for written in &errors[1..] {
        assert_eq!((written.category.number, written.id.as_str()), (Some(27), "SqlFailed,Invoke-Sql"));
        assert_eq!(written.category.target_name.as_deref(), Some("sql"));
        assert_eq!(written.exceptions[0].hresult, Some(-2_146_232_060));
    }
    let states: Vec<PipelineState> = answers.iter().map(|(_, out)| out.state).collect();
    assert_eq!(states[0], PipelineState::Failed);
    assert!(states[1..].iter().all(|s| *s == PipelineState::Completed));
}

/// State, objects, and ids with category numbers of the errors.
fn shape(out: &Output) -> (PipelineState, usize, Vec<(&str, Option<i32>)>) {
    let errors = out.errors.iter().map(|e| (e.id.as_str(), e.category.number)).collect();
    (out.state, out.objects.len(), errors)
}

#[tokio::test]
async fn a_session_is_understood_command_by_command() {
    use PipelineState::{Completed, Failed};
    let answers = replay("session").await;
    let find = |name: &str| -> Vec<&Output> {
        answers.iter().filter(|(c, _)| c.name == name).map(|(_, out)| out.as_ref().unwrap()).collect()
    };
    for (name, expected) in [
        ("Throw-Nested", (Failed, 0, vec![("SqlDown,Throw-Nested", Some(27))])),
        ("Throw-Plain", (Failed, 0, vec![("plain", Some(14))])),
        ("No-SuchCmdlet", (Failed, 0, vec![("CommandNotFoundException", Some(13))])),
        ("Ask-Choice", (Failed, 0, vec![("HostException", Some(0))])),
        (
            "Ask-User",
            (
                Failed,
                0,
                vec![("HostFunctionNotImplemented,Microsoft.PowerShell.Commands.ReadHostCommand", Some(11))],
            ),
        ),
        (
            "Write-Errors",
            (
                Failed,
                1,
                vec![
                    ("E1,Write-Errors", Some(13)),
                    ("E2,Write-Errors", Some(0)),
                    ("Microsoft.PowerShell.Commands.WriteErrorException,Write-Errors", Some(0)),
                    ("RuntimeException,Write-Errors", Some(0)),
                ],
            ),
        ),
        ("Show-Streams", (Completed, 1, vec![])),
        ("Install-CsMirrorDatabase", (Completed, 0, vec![])),
    ] {
        assert_eq!(shape(find(name)[0]), expected, "{name}");
    }
    let first = &find("Write-Errors")[0].errors[0];
    assert_eq!(first.details.message.as_deref(), Some("first"));
    assert_eq!(first.details.recommended_action.as_deref(), Some("do this"));
    assert_eq!(first.category.target_type.as_deref(), Some("Hashtable"));
    assert_eq!(find("Write-Errors")[0].errors[1].exceptions[0].hresult, Some(-2_147_024_784));
    let nested = &find("Throw-Nested")[0].errors[0].exceptions;
    assert_eq!((nested.len(), nested[1].native_error_code), (2, Some(53)));
    assert_eq!(find("Show-Streams")[0].warnings, ["w"]);
    let install = find("Install-CsMirrorDatabase")[0];
    assert_eq!(install.warnings, ["the mirror share is empty"]);
    let progress = install.progress.as_ref().unwrap();
    assert_eq!(
        (progress.activity.as_str(), progress.status.as_str(), progress.percent),
        ("Installing mirror", "step 5", Some(100))
    );
    // Stopped by the deadline; the next was answered in the same pool.
    let (last, before) = (answers.last().unwrap(), &answers[answers.len() - 2]);
    assert!(matches!(&before.1, Err(Error::Lost(why)) if why.contains("deadline")), "{:?}", before.1);
    assert_eq!((before.0.name.as_str(), last.0.name.as_str()), ("Start-Long", "Get-CsPersistentChatState"));
    assert_eq!(shape(last.1.as_ref().unwrap()), (Completed, 1, vec![]));
}

#[tokio::test]
async fn every_type_of_value_is_read() {
    let answers = replay("session").await;
    let (_, out) = answers.iter().find(|(c, _)| c.name == "Get-Values").unwrap();
    let out = out.as_ref().unwrap();
    assert_eq!((out.state, out.errors.len()), (PipelineState::Completed, 0));
    let o = &out.objects;
    assert_eq!(o[0], Value::text("2026-11-25T01:02:03.1234567Z"));
    assert_eq!(o[3], Value::text("P1DT2H3M4.5S"));
    assert_eq!(o[4], Value::Guid("00112233-4455-6677-8899-aabbccddeeff".into()));
    assert_eq!(o[5], Value::text("http://x/?a=<&>"));
    assert_eq!(o[6], Value::Version("1.2.3".into()));
    assert_eq!(o[7..10], [Value::I32(0), Value::I32(1), Value::I32(255)]);
    assert_eq!(o[12], Value::text("😀 _x0041_ _X0041_ \0 \u{7} \r\n \t"));
    assert_eq!(o[13], Value::text("1234567890123460000000"));
    assert!(matches!(o[14], Value::Double(d) if d.is_nan()));
    assert_eq!(o[16..19], [Value::I64(i64::MAX), Value::U64(u64::MAX), Value::I32(-1)]);
    assert_eq!((o[19].shown(), o[19].as_i64()), ("Friday".into(), Some(5)));
    // A null among the objects is an object, and what follows it is not lost.
    assert_eq!(o[20..22], [Value::Bool(true), Value::Null]);
    assert_eq!(o[22].as_list(), [Value::I32(1), Value::I32(2), Value::I32(3)]);
    assert_eq!(o[23].as_list(), []);
    assert!(o.iter().any(|v| v.shown().len() == 200_000));
    assert_eq!(o.last().unwrap().get("Message"), Some(&Value::text("as output")));
}

#[tokio::test]
async fn each_cmdlet_in_each_form_is_answered() {
    let answers = answered("cmdlets").await;
    assert_eq!(answers.len(), 24);
    for (command, out) in &answers {
        let terminating = out.state == PipelineState::Failed;
        assert!(!terminating || !out.errors.is_empty(), "{}: failed without a reason", command.name);
        for e in &out.errors {
            assert!(!e.id.is_empty() && e.category.number.is_some() && !e.exceptions.is_empty(), "{e:?}");
        }
    }
}
