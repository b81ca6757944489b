//! Engines that do not behave: the client says what happened, never takes a lost answer for a failure, holds no more than it
//! says, and serves the next command.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use psrp::client::{Client, Error, Output, PoolOptions};
use psrp::clixml::{Secret, Value, Writer, read};
use psrp::error_record::{Category, ErrorRecord};
use psrp::fragment::{Assembler, Fragmenter};
use psrp::message::{self, Command, Message, PipelineState, kind};
use psrp::server_mode::{Line, Stream};
use psrp::transport::server_mode::{LineReader, Program};
use tokio::io::{AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::Notify;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(60);

/// What the engine saw.
#[derive(Default)]
struct Seen {
    max_runspaces: Option<i64>,
    commands: Vec<String>,
    signals: usize,
    closed: HashSet<Uuid>,
}

/// A scripted engine: what it answers depends on the command's name.
struct Engine {
    lines: LineReader<ReadHalf<DuplexStream>>,
    pipe: WriteHalf<DuplexStream>,
    fragmenter: Fragmenter,
    seen: Arc<Mutex<Seen>>,
    changed: Arc<Notify>,
    deaf: HashSet<Uuid>,
}

struct Peer {
    client: Client,
    seen: Arc<Mutex<Seen>>,
    changed: Arc<Notify>,
}

impl Peer {
    fn new(options: PoolOptions) -> Peer {
        let (seen, changed) = (Arc::new(Mutex::new(Seen::default())), Arc::new(Notify::new()));
        let (engine, client) = tokio::io::duplex(256 * 1024);
        let (lines, pipe) = tokio::io::split(engine);
        let engine = Engine {
            lines: LineReader::new(lines),
            pipe,
            fragmenter: Fragmenter::new(32 * 1024),
            seen: seen.clone(),
            changed: changed.clone(),
            deaf: HashSet::new(),
        };
        tokio::spawn(engine.serve());
        let (from_engine, to_engine) = tokio::io::split(client);
        Peer { client: Client::pipes(from_engine, to_engine, options), seen, changed }
    }

    async fn ask(&self, name: &str) -> Result<Output, Error> {
        self.ask_within(name, PATIENCE).await
    }

    async fn ask_within(&self, name: &str, deadline: Duration) -> Result<Output, Error> {
        self.client.invoke(&Command { name: name.into(), parameters: vec![] }, deadline).await
    }

    /// Waits until the engine has seen what is asked for.
    async fn until(&self, what: impl Fn(&Seen) -> bool) {
        loop {
            let changed = self.changed.notified();
            if what(&self.seen.lock().unwrap()) {
                return;
            }
            tokio::time::timeout(PATIENCE, changed).await.expect("the engine never saw it");
        }
    }

    /// The pool serves the next command.
    async fn is_usable(&self) {
        let out = self.ask("Answer").await.unwrap();
        assert_eq!((out.objects, out.state), (vec![Value::text("answer")], PipelineState::Completed));
    }
}

impl Engine {
    async fn line(&mut self, line: &Line) {
        // A client that has gone away is no matter of the engine's.
        let _ = self.pipe.write_all(line.write().as_bytes()).await;
    }

    async fn say(&mut self, id: Uuid, kind: u32, body: String) {
        let m = Message { kind, pool: Uuid::nil(), pipeline: id, body };
        for bytes in self.fragmenter.fragment(&m.encode(false)) {
            self.line(&Line::Data { stream: Stream::Default, id, bytes }).await;
        }
    }

    async fn object(&mut self, id: Uuid, v: &Value) {
        self.say(id, kind::PIPELINE_OUTPUT, Writer::value(v)).await;
    }

    async fn ends(&mut self, id: Uuid, state: PipelineState) {
        self.say(id, kind::PIPELINE_STATE, message::pipeline_state(state, None)).await;
    }

    async fn serve(mut self) {
        let mut assembler = Assembler::default();
        while let Ok(Some(line)) = self.lines.next().await {
            match &line {
                Line::Data { id, bytes, .. } => {
                    for m in assembler.push(bytes).unwrap() {
                        let m = Message::decode(&m).unwrap();
                        if !self.message(*id, &m).await {
                            return;
                        }
                    }
                }
                Line::Signal(id) => {
                    self.seen.lock().unwrap().signals += 1;
                    if self.deaf.contains(id) {
                        self.changed.notify_waiters();
                        continue;
                    }
                    self.ends(*id, PipelineState::Stopped).await;
                }
                Line::Close(id) => {
                    self.seen.lock().unwrap().closed.insert(*id);
                }
                _ => {}
            }
            let acknowledgement = line.acknowledgement().unwrap();
            self.line(&acknowledgement).await;
            self.changed.notify_waiters();
        }
    }

    /// Takes a message; says whether the engine goes on.
    async fn message(&mut self, id: Uuid, m: &Message) -> bool {
        match m.kind {
            kind::INIT_RUNSPACEPOOL => {
                let max = read(&m.body).unwrap().get("MaxRunspaces").and_then(Value::as_i64);
                self.seen.lock().unwrap().max_runspaces = max;
                self.say(id, kind::RUNSPACEPOOL_STATE, message::runspacepool_state(2)).await;
                true
            }
            kind::CREATE_PIPELINE => {
                let name = message::parse_create_pipeline(&m.body).unwrap().remove(0).0.name;
                self.seen.lock().unwrap().commands.push(name.clone());
                self.changed.notify_waiters();
                self.command(id, &name).await
            }
            _ => true,
        }
    }

    async fn command(&mut self, id: Uuid, name: &str) -> bool {
        match name {
            "Answer" => self.object(id, &Value::text("answer")).await,
            // Until it is told to stop.
            "Wait" => return true,
            "Deaf" => {
                self.deaf.insert(id);
                return true;
            }
            "Nulls" => {
                self.object(id, &Value::I32(1)).await;
                for kind in [
                    kind::PIPELINE_OUTPUT,
                    kind::ERROR_RECORD,
                    kind::WARNING_RECORD,
                    kind::PROGRESS_RECORD,
                    kind::PIPELINE_STATE,
                    kind::PIPELINE_HOST_CALL,
                    kind::INFORMATION_RECORD,
                    kind::VERBOSE_RECORD,
                ] {
                    self.say(id, kind, String::new()).await;
                }
                self.object(id, &Value::I32(2)).await;
            }
            "Errors" => {
                for (text, number) in [("first", 13), ("second", 27)] {
                    let mut e = ErrorRecord::new(text, format!("{text},Errors"), "System.Exception");
                    e.category = Category { number: Some(number), ..Category::default() };
                    self.say(id, kind::ERROR_RECORD, Writer::value(&e.to_value())).await;
                }
            }
            "Secret" => self.object(id, &Value::Secret(Secret::new("c2VjcmV0"))).await,
            "Million" => {
                let graph = format!("<Obj RefId=\"0\"><LST>{}</LST></Obj>", "<I32>1</I32>".repeat(1_000_000));
                self.say(id, kind::PIPELINE_OUTPUT, graph).await;
            }
            "Thirty" => {
                let graph = (0..30).fold(Value::text("deep"), |v, _| Value::object("N", vec![("next", v)]));
                self.object(id, &graph).await;
            }
            "Flood" => {
                // 200 MiB, or until the client has heard enough.
                let text = format!("<S>{}</S>", "x".repeat(30 * 1024));
                for _ in 0..200 * 1024 / 30 {
                    self.say(id, kind::PIPELINE_OUTPUT, text.clone()).await;
                }
                // Signal ends it.
                return true;
            }
            "Prompt" => {
                let call = Value::object("C", vec![("ci", Value::I32(1)), ("mi", Value::I32(11))]);
                self.say(id, kind::PIPELINE_HOST_CALL, Writer::value(&call)).await;
                return true;
            }
            "Write-Host" => {
                let call = Value::object("C", vec![("ci", Value::I32(-100)), ("mi", Value::I32(16))]);
                self.say(id, kind::PIPELINE_HOST_CALL, Writer::value(&call)).await;
            }
            "Exit" => {
                self.object(id, &Value::text("half of it")).await;
                return false;
            }
            "Cut" => {
                let _ = self.pipe.write_all(b"<Data Stream='Default' PSGuid='").await;
                return false;
            }
            "Garbage" => {
                let _ = self.pipe.write_all(b"Welcome to the shell!\n").await;
                return true;
            }
            "Long-Line" => {
                let part = vec![b'x'; 64 * 1024];
                let _ = self.pipe.write_all(b"<Data Stream='Default' PSGuid='").await;
                for _ in 0..1024 {
                    if self.pipe.write_all(&part).await.is_err() {
                        break;
                    }
                }
                return true;
            }
            other => panic!("{other} is not scripted"),
        }
        self.ends(id, PipelineState::Completed).await;
        true
    }
}

#[tokio::test]
async fn empty_data_is_a_null_whatever_the_message() {
    let peer = Peer::new(PoolOptions::default());
    let out = peer.ask("Nulls").await.unwrap();
    assert_eq!(out.objects, [Value::I32(1), Value::Null, Value::I32(2)]);
    assert_eq!((out.errors, out.warnings), (vec![ErrorRecord::default()], vec![String::new()]));
    assert_eq!((out.progress, out.state), (Some(message::Progress::default()), PipelineState::Completed));
}

#[tokio::test]
async fn all_errors_of_a_command_are_kept_with_their_categories() {
    let out = Peer::new(PoolOptions::default()).ask("Errors").await.unwrap();
    let errors: Vec<_> = out.errors.iter().map(|e| (e.message.as_str(), e.category.number)).collect();
    assert_eq!(errors, [("first", Some(13)), ("second", Some(27))]);
}

#[tokio::test]
async fn a_secret_is_never_shown() {
    let out = Peer::new(PoolOptions::default()).ask("Secret").await.unwrap();
    let secret = out.objects[0].clone();
    assert_eq!(secret, Value::Secret(Secret::new("c2VjcmV0")));
    for shown in [format!("{out:?}"), format!("{out:#?}"), secret.shown(), format!("{:?}", secret.as_list())]
    {
        assert!(!shown.contains("c2VjcmV0"), "{shown}");
    }
    let command = Command { name: "Set-It".into(), parameters: vec![("Password".into(), secret.clone())] };
    let m = Message {
        kind: 0,
        pool: Uuid::nil(),
        pipeline: Uuid::nil(),
        body: message::create_pipeline(&command),
    };
    assert!(m.body.contains("<SS N=\"V\">c2VjcmV0</SS>"), "the codec writes it again");
    assert!(!format!("{command:?} {m:?}").contains("c2VjcmV0"));
}

#[tokio::test]
async fn several_commands_run_at_once_beside_one_that_takes_long() {
    let peer = Peer::new(PoolOptions { runspaces: 6, ..PoolOptions::default() });
    let (long, short) = tokio::join!(peer.ask_within("Wait", Duration::from_secs(2)), async {
        peer.until(|s| s.commands.contains(&"Wait".to_string())).await;
        let (a, b, c, d, e) = tokio::join!(
            peer.ask("Answer"),
            peer.ask("Answer"),
            peer.ask("Answer"),
            peer.ask("Answer"),
            peer.ask("Answer")
        );
        let signals = peer.seen.lock().unwrap().signals;
        ([a, b, c, d, e].map(Result::unwrap), signals)
    });
    assert_eq!(short.1, 0, "all were answered before the long one was told to stop");
    assert!(short.0.iter().all(|out| out.state == PipelineState::Completed));
    assert!(matches!(long, Err(Error::Lost(_))), "{long:?}");
    assert_eq!(peer.seen.lock().unwrap().max_runspaces, Some(6));
    peer.is_usable().await;
}

#[tokio::test]
async fn a_deadline_in_the_queue_says_that_nothing_was_sent() {
    let peer = Peer::new(PoolOptions { runspaces: 1, ..PoolOptions::default() });
    let (long, queued) = tokio::join!(peer.ask_within("Wait", Duration::from_secs(2)), async {
        peer.until(|s| s.commands.len() == 1).await;
        peer.ask_within("Answer", Duration::from_millis(50)).await
    });
    let queued = queued.unwrap_err();
    assert!(matches!(queued, Error::NotBegun(_)) && !queued.outcome_unknown(), "{queued}");
    assert!(long.unwrap_err().outcome_unknown());
    assert_eq!(peer.seen.lock().unwrap().commands, ["Wait"]);
    peer.is_usable().await;
}

#[tokio::test]
async fn a_command_that_nobody_waits_for_is_stopped_and_freed() {
    let peer = Peer::new(PoolOptions { runspaces: 1, ..PoolOptions::default() });
    tokio::select! {
        out = peer.ask("Wait") => panic!("{out:?}"),
        () = peer.until(|s| s.commands.len() == 1) => {}
    }
    peer.until(|s| s.signals == 1 && s.closed.len() == 1).await;
    peer.is_usable().await;
}

#[tokio::test]
async fn one_that_does_not_stop_costs_its_pool_and_no_outcome_is_made_up() {
    let options = PoolOptions { stop_timeout: Duration::from_millis(100), ..PoolOptions::default() };
    let peer = Peer::new(options);
    let e = peer.ask_within("Deaf", Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(&e, Error::Lost(why) if why.contains("deadline")) && e.outcome_unknown(), "{e}");
    peer.until(|s| s.signals == 1 && !s.closed.is_empty()).await;
    // Pipes cannot be replaced: that is said, and that nothing was sent.
    let refused = loop {
        match peer.ask("Answer").await {
            // Not left yet.
            Ok(_) => tokio::task::yield_now().await,
            Err(e) => break e,
        }
    };
    assert!(matches!(refused, Error::NotBegun(_)), "{refused}");
}

#[tokio::test]
async fn a_graph_of_thirty_levels_is_read_and_one_of_a_million_nodes_costs_its_command_only() {
    let peer = Peer::new(PoolOptions::default());
    let out = peer.ask("Thirty").await.unwrap();
    let deepest = (0..30).try_fold(&out.objects[0], |v, _| v.get("next"));
    assert_eq!(deepest, Some(&Value::text("deep")));
    let e = peer.ask("Million").await.unwrap_err();
    assert!(matches!(&e, Error::Protocol(why) if why.contains("nodes")) && e.outcome_unknown(), "{e}");
    peer.is_usable().await;
}

#[tokio::test]
async fn a_flood_is_stopped_at_its_bound_and_the_pool_serves_on() {
    let peer = Peer::new(PoolOptions::default());
    let e = peer.ask("Flood").await.unwrap_err();
    assert!(matches!(&e, Error::Protocol(why) if why.contains("50 MiB")) && e.outcome_unknown(), "{e}");
    peer.is_usable().await;
    assert_eq!(peer.seen.lock().unwrap().signals, 1);
}

#[tokio::test]
async fn a_question_to_the_host_ends_the_command_at_once_and_a_mere_word_to_it_does_not() {
    let peer = Peer::new(PoolOptions::default());
    assert_eq!(peer.ask("Write-Host").await.unwrap().state, PipelineState::Completed);
    let e = peer.ask("Prompt").await.unwrap_err();
    assert!(matches!(&e, Error::Protocol(why) if why.contains("host")), "{e}");
    peer.is_usable().await;
}

#[tokio::test]
async fn an_engine_that_breaks_in_mid_answer_leaves_the_outcome_unknown_and_all_others_too() {
    for (name, word) in
        [("Exit", "ended"), ("Cut", "middle of a line"), ("Garbage", "Welcome"), ("Long-Line", "longer than")]
    {
        let peer = Peer::new(PoolOptions::default());
        let (beside, broken) = tokio::join!(peer.ask("Wait"), async {
            peer.until(|s| s.commands.len() == 1).await;
            peer.ask(name).await
        });
        for e in [beside.unwrap_err(), broken.unwrap_err()] {
            assert!(matches!(&e, Error::Lost(why) if why.contains(word)), "{name}: {e}");
            assert!(e.outcome_unknown(), "{name}: {e}");
        }
        let next = peer.ask("Answer").await.unwrap_err();
        assert!(matches!(next, Error::NotBegun(_)), "{name}: {next}");
    }
}

fn shell(script: &str) -> Program {
    Program { path: "sh".into(), arguments: vec!["-c".into(), script.into()], environment: vec![] }
}

/// What a program that never serves a command makes of one.
async fn refused(program: Program, deadline: Duration) -> Error {
    let options = PoolOptions { stop_timeout: Duration::from_millis(200), ..PoolOptions::default() };
    let client = Client::program(program, options);
    let command = Command { name: "Get-It".into(), parameters: vec![] };
    let e = client.invoke(&command, deadline).await.unwrap_err();
    assert!(!e.outcome_unknown(), "nothing was begun: {e}");
    client.close().await.unwrap();
    e
}

#[tokio::test]
async fn a_program_that_is_no_engine_never_leaves_a_command_in_doubt() {
    let missing = Program { path: "/no/such/engine".into(), arguments: vec![], environment: vec![] };
    let e = refused(missing, PATIENCE).await;
    assert!(matches!(&e, Error::Connect(why) if why.contains("/no/such/engine")), "{e}");
    for (script, words) in [
        ("exit 3", vec!["ended", "exit status: 3"]),
        ("echo no licence >&2; exit 1", vec!["ended", "no licence"]),
        ("echo Welcome; cat >/dev/null", vec!["no line of the protocol", "Welcome"]),
        ("head -c 67108864 /dev/zero | tr '\\0' x; cat >/dev/null", vec!["longer than"]),
        ("printf \"<Data Stream='Default' PSGuid='0\"", vec!["middle of a line"]),
    ] {
        let e = refused(shell(script), PATIENCE).await;
        assert!(matches!(e, Error::NotBegun(_)), "{script}: {e}");
        assert!(words.iter().all(|w| e.to_string().contains(w)), "{script}: {e}");
    }
    // Writes nothing.
    let e = refused(shell("cat >/dev/null"), Duration::from_millis(200)).await;
    assert!(matches!(&e, Error::NotBegun(why) if why.contains("nothing was sent")), "{e}");
}
