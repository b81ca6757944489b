//! Management Shells on a real engine: what WinRM is behind its envelopes, a pipe to a PowerShell.
//!
//! A shell is a PowerShell of Microsoft's in server mode, under a restricted session configuration. What comes in an envelope goes
//! into its input as it is, what it says goes out as it is. Its cmdlets are SIMULATED all the same: functions of a module of the
//! lab's (`management-shell/Lync.psm1`) that ask the world what to answer, and make of it what PowerShell has for that.
//!
//! Two things an engine in server mode does not do, so the relay does them: reconnecting (`CONNECT_RUNSPACEPOOL`), which it answers
//! by what it has heard, and holding output that nobody receives, as WinRM does with `BufferMode` Block. A pipeline that nobody has
//! ever received from would stand still at its first record; here it is not given to the engine before. What one Receive has carried
//! comes to nobody else.

mod ask;
mod plain;
mod process;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use psrp::clixml::Value;
use psrp::fragment::{Assembler, Fragmenter};
use psrp::message::{self, Message, PipelineState, kind};
use psrp::server_mode::{Line, Stream};
use psrp::transport::server_mode::Program;
use psrp::wsman::{Element, Envelope, Fault, action};
use tokio::net::UnixListener;
use uuid::Uuid;

use self::process::{Engine, data};
use super::Host;
use super::answers::{
    bad, connected, created, deadline, decoded, done, enumerated, id_of, key_of, negotiated, no_such_shell,
    not_simulated, session_configuration, stops, stream, taken_over, timed_out,
};
use super::pool_of;
use crate::chat::cmdlets;
use crate::scenario::PowerShell;
use crate::world::SharedWorld;
use crate::world::breakpoints::{Arrival, Moment};

const MODULE: [(&str, &str); 2] = [
    ("Lync.psd1", include_str!("../../../management-shell/Lync.psd1")),
    ("Lync.psm1", include_str!("../../../management-shell/Lync.psm1")),
];
const CONFIGURATION: &str = include_str!("../../../management-shell/PersistentChat.Failover.pssc");

/// How the Management Shells of a lab get their engines.
#[derive(Clone)]
pub struct Engines {
    program: Arc<Program>,
    socket: PathBuf,
}

impl Engines {
    /// Puts the module into a directory of the lab's, and a socket that it asks at; the second part is to be run as long as the lab.
    /// An error if there is no engine.
    pub fn prepare(
        directory: &Path,
        world: SharedWorld,
    ) -> Result<(Engines, impl Future<Output = ()> + Send + use<>), String> {
        let directory = directory.join("management-shell");
        let mut program = psrp::engine::find(&directory).ok_or_else(|| {
            format!("the scenario has its Management Shells on engines: {}", psrp::engine::missing())
        })?;
        let failed = |path: &Path, e: std::io::Error| format!("{}: {e}", path.display());
        let module = directory.join("Lync");
        std::fs::create_dir_all(&module).map_err(|e| failed(&module, e))?;
        let configuration = directory.join("PersistentChat.Failover.pssc");
        let files = MODULE.map(|(name, text)| (module.join(name), text));
        for (path, text) in files.iter().chain([&(configuration.clone(), CONFIGURATION)]) {
            std::fs::write(path, text).map_err(|e| failed(path, e))?;
        }
        // Before the last argument, which is the mode.
        let mode = program.arguments.pop();
        program.arguments.extend(["-ConfigurationFile".into(), configuration.into_os_string()]);
        program.arguments.extend(mode);
        let socket = directory.join("ask.sock");
        if socket.exists() {
            std::fs::remove_file(&socket).map_err(|e| failed(&socket, e))?;
        }
        let listener = UnixListener::bind(&socket).map_err(|e| failed(&socket, e))?;
        Ok((Engines { program: Arc::new(program), socket }, ask::serve(listener, world)))
    }
}

/// A command of a shell.
struct Command {
    id: Uuid,
    /// Of its CREATE_PIPELINE, as long as that is not complete.
    incoming: Assembler,
    /// Whether that is complete.
    complete: bool,
    /// If it may change something.
    arrival: Option<Arrival>,
    stage: Stage,
}

/// What has become of a command.
enum Stage {
    /// Nobody has received from it yet: these lines are its engine's when somebody does.
    Still(Vec<Line>),
    /// Its engine has it.
    Begun,
    /// It was stopped before it began, and whether that has been told.
    Stopped { told: bool },
}

struct Shell {
    id: Uuid,
    runspaces: (Value, Value),
    engine: Arc<Engine>,
    commands: BTreeMap<String, Command>,
}

/// What a Receive finds.
enum Next {
    /// A command that has begun.
    Nothing,
    /// One that was stopped before it began: its end.
    Tell(String),
    /// One that stood still: what its engine is to be told.
    Say(Arc<Engine>, Uuid, Vec<Line>, Option<Arrival>),
}

/// The shells of a host.
pub(super) struct Shells {
    engines: Engines,
    shells: Mutex<BTreeMap<String, Shell>>,
}

/// What became of an engine, for a client: the shell is gone.
fn gone(host: &Host, why: &str) -> Fault {
    tracing::warn!(host = host.name, why, "a shell is gone");
    no_such_shell()
}

impl Command {
    /// Keeps a line for when the command begins; gives it back if it has.
    fn queue(&mut self, line: Line) -> Option<Line> {
        match &mut self.stage {
            Stage::Still(lines) => {
                lines.push(line);
                None
            }
            Stage::Begun => Some(line),
            Stage::Stopped { .. } => None,
        }
    }

    /// Takes fragments; says whether the pipeline is complete with them.
    fn take_in(&mut self, host: &str, bytes: &[u8]) -> Result<bool, Fault> {
        let messages = self.incoming.push(bytes).map_err(bad)?;
        for m in messages.iter().filter_map(|m| Message::decode(m).ok()) {
            if m.kind == kind::CREATE_PIPELINE {
                let commands = message::parse_create_pipeline(&m.body).map_err(|x| bad(x.to_string()))?;
                self.arrival = commands.iter().find_map(|(c, _)| cmdlets::arrival(host, c));
                self.complete = true;
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Shells {
    pub(super) fn new(engines: Engines) -> Shells {
        Shells { engines, shells: Mutex::new(BTreeMap::new()) }
    }

    /// Nothing runs any more where there is no power.
    pub(super) fn power_off(&self) {
        for shell in std::mem::take(&mut *self.shells()).into_values() {
            shell.engine.kill();
        }
    }

    fn shells(&self) -> MutexGuard<'_, BTreeMap<String, Shell>> {
        self.shells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends what was in a shell that is gone.
    pub(super) fn end(&self, key: &str) {
        if let Some(shell) = self.shells().remove(key) {
            // To its end, also if nobody waits for it.
            drop(tokio::spawn(async move { shell.engine.close().await }));
        }
    }

    /// What is in the shell of a request: see [`Host::with`].
    fn with<T>(&self, e: &Envelope, f: impl FnOnce(&mut Shell) -> Result<T, Fault>) -> Result<T, Fault> {
        let mut shells = self.shells();
        f(e.shell_id.as_ref().and_then(|id| shells.get_mut(id)).ok_or_else(no_such_shell)?)
    }

    pub(super) async fn operation(&self, host: &Host, e: &Envelope) -> Result<String, Fault> {
        match e.action.as_str() {
            action::CREATE => self.create(host, e).await,
            action::COMMAND => self.command(host, e).await,
            action::SEND => self.send(host, e).await,
            action::RECEIVE => self.receive(host, e).await,
            action::SIGNAL => self.signal(host, e).await,
            action::DELETE => self.delete(e).await,
            action::CONNECT => self.connect(host, e),
            action::ENUMERATE => self.enumerate(host, e),
            other => Err(not_simulated(other)),
        }
    }

    async fn create(&self, host: &Host, e: &Envelope) -> Result<String, Fault> {
        session_configuration(e)?;
        let wanted = e.body.find("Shell").ok_or_else(|| bad("no Shell"))?;
        let id = id_of(wanted, "ShellId").unwrap_or_else(Uuid::new_v4);
        let bytes = decoded(wanted.find("creationXml"))?;
        let messages = Assembler::default().push(&bytes).map_err(bad)?;
        let messages: Vec<Message> = messages.iter().filter_map(|m| Message::decode(m).ok()).collect();
        let runspaces = pool_of(&messages)?;
        let key = key_of(id);
        let environment = [
            ("PCF_LAB_SOCKET", self.engines.socket.display().to_string()),
            ("PCF_LAB_HOST", host.name.clone()),
        ];
        let idle = host.registry.create(e, &key, wanted)?;
        let engine = Engine::start(&self.engines.program, &environment).map_err(|why| {
            host.registry.remove(&key);
            gone(host, &why)
        })?;
        engine.expect(Uuid::nil());
        let shell = Shell { id, runspaces, engine: engine.clone(), commands: BTreeMap::new() };
        self.shells().insert(key.clone(), shell);
        let opened = engine.say(vec![data(Uuid::nil(), Stream::Default, bytes)]).await;
        opened.map_err(|why| {
            host.registry.remove(&key);
            self.shells().remove(&key);
            gone(host, &why)
        })?;
        host.registry.made(&key);
        Ok(created(e, &key, idle))
    }

    async fn command(&self, host: &Host, e: &Envelope) -> Result<String, Fault> {
        let line = e.body.find("CommandLine").ok_or_else(|| bad("no CommandLine"))?;
        let id = id_of(line, "CommandId").unwrap_or_else(Uuid::new_v4);
        let key = key_of(id);
        let bytes = decoded(line.find("Arguments"))?;
        let mut command = Command {
            id,
            incoming: Assembler::default(),
            complete: false,
            arrival: None,
            stage: Stage::Still(vec![Line::Command(id)]),
        };
        let complete = command.take_in(&host.name, &bytes)?;
        if self.with(e, |s| Ok(s.commands.contains_key(&key)))? {
            return Err(bad("the CommandId is taken"));
        }
        if complete {
            // A client that is gone while its request is held takes the request with it, unless that outlives it.
            host.hold(Moment::Before, command.arrival.as_ref()).await;
        }
        command.queue(data(id, Stream::Default, bytes));
        self.with(e, |s| {
            s.engine.expect(id);
            s.commands.insert(key.clone(), command);
            Ok(())
        })?;
        Ok(format!("<rsp:CommandResponse><rsp:CommandId>{key}</rsp:CommandId></rsp:CommandResponse>"))
    }

    async fn send(&self, host: &Host, e: &Envelope) -> Result<String, Fault> {
        let body = e.body.find("Stream").ok_or_else(|| bad("no Stream"))?;
        let of = match body.attribute("Name") {
            Some("pr") => Stream::PromptResponse,
            _ => Stream::Default,
        };
        let bytes = decoded(Some(body))?;
        let key = body.attribute("CommandId").map(str::to_uppercase);
        let (line, complete, arrival) = self.with(e, |s| {
            let Some(key) = &key else { return Ok((data(Uuid::nil(), of, bytes), false, None)) };
            let command = s.commands.get_mut(key).ok_or_else(no_such_shell)?;
            let complete =
                of == Stream::Default && !command.complete && command.take_in(&host.name, &bytes)?;
            Ok((data(command.id, of, bytes), complete, command.arrival.clone()))
        })?;
        if complete {
            host.hold(Moment::Before, arrival.as_ref()).await;
        }
        let direct = self.with(e, |s| {
            let command = key.as_ref().and_then(|key| s.commands.get_mut(key));
            Ok(match command {
                Some(command) => command.queue(line),
                None => Some(line),
            }
            .map(|line| (s.engine.clone(), line)))
        })?;
        if let Some((engine, line)) = direct {
            engine.say(vec![line]).await.map_err(|why| gone(host, &why))?;
        }
        Ok("<rsp:SendResponse/>".into())
    }

    /// Somebody receives: a command that stood still is its engine's from now on. Gives its end if it was stopped before.
    async fn begin(&self, host: &Host, e: &Envelope, key: &str) -> Result<Option<String>, Fault> {
        let began = journal_length(host);
        let next = self.with(e, |s| {
            let pool = s.id;
            let command = s.commands.get_mut(key).ok_or_else(no_such_shell)?;
            // What is not complete yet is no pipeline that could begin.
            if !command.complete {
                return Ok(Next::Nothing);
            }
            match std::mem::replace(&mut command.stage, Stage::Begun) {
                Stage::Still(lines) => {
                    Ok(Next::Say(s.engine.clone(), command.id, lines, command.arrival.clone()))
                }
                Stage::Begun => Ok(Next::Nothing),
                Stage::Stopped { told } => {
                    command.stage = Stage::Stopped { told: true };
                    // What was told once comes to nobody else.
                    if told { Err(timed_out()) } else { Ok(Next::Tell(stopped(pool, command.id, key))) }
                }
            }
        })?;
        match next {
            Next::Nothing => Ok(None),
            Next::Tell(body) => Ok(Some(body)),
            Next::Say(engine, id, lines, arrival) => {
                engine.say(lines).await.map_err(|why| gone(host, &why))?;
                started(host, &engine, id, arrival.as_ref().map(|a| (began, a))).await;
                Ok(None)
            }
        }
    }

    async fn receive(&self, host: &Host, e: &Envelope) -> Result<String, Fault> {
        let wanted = e.body.find("DesiredStream").ok_or_else(|| bad("no DesiredStream"))?;
        let key = wanted.attribute("CommandId").map(str::to_uppercase);
        if let Some(key) = &key
            && let Some(body) = self.begin(host, e, key).await?
        {
            return Ok(body);
        }
        let (engine, id, arrival) = self.with(e, |s| {
            let Some(key) = &key else { return Ok((s.engine.clone(), Uuid::nil(), None)) };
            let command = s.commands.get(key).ok_or_else(no_such_shell)?;
            Ok((s.engine.clone(), command.id, command.arrival.clone()))
        })?;
        let deadline = deadline(e);
        let ended = loop {
            host.registry.still(e)?;
            let next = deadline.min(tokio::time::Instant::now() + Duration::from_millis(100));
            match tokio::time::timeout_at(next, engine.ready(id)).await {
                Ok(ready) => break ready.map_err(|why| gone(host, &why))?,
                Err(_) if next == deadline => return Err(timed_out()),
                Err(_) => {}
            }
        };
        if ended {
            host.hold(Moment::After, arrival.as_ref()).await;
        }
        // From here on it is this answer's.
        let taken = engine.take(id);
        let attribute = key.map(|k| format!(" CommandId=\"{k}\"")).unwrap_or_default();
        let mut body: String = taken.chunks.iter().map(|c| stream(&attribute, c)).collect();
        if taken.done {
            body.push_str(&done(&attribute));
        }
        Ok(format!("<rsp:ReceiveResponse>{body}</rsp:ReceiveResponse>"))
    }

    async fn signal(&self, host: &Host, e: &Envelope) -> Result<String, Fault> {
        let signal = e.body.find("Signal").ok_or_else(|| bad("no Signal"))?;
        let stops = stops(signal);
        let key = signal.attribute("CommandId").unwrap_or_default().to_uppercase();
        let found = self.with(e, |s| {
            let command = s.commands.get_mut(&key).ok_or_else(no_such_shell)?;
            let (id, begun) = (command.id, matches!(command.stage, Stage::Begun));
            if !stops {
                s.commands.remove(&key);
            } else if !begun {
                command.stage = Stage::Stopped { told: false };
            }
            Ok(begun.then(|| (s.engine.clone(), id)))
        })?;
        if let Some((engine, id)) = found {
            let line = if stops { Line::Signal(id) } else { Line::Close(id) };
            let told = engine.say(vec![line]).await;
            if !stops {
                engine.forget(id);
            }
            told.map_err(|why| gone(host, &why))?;
        }
        Ok("<rsp:SignalResponse/>".into())
    }

    async fn delete(&self, e: &Envelope) -> Result<String, Fault> {
        if let Some(shell) = e.shell_id.as_ref().and_then(|id| self.shells().remove(id)) {
            // To its end, also if the client does not wait for it.
            let closing = tokio::spawn(async move { shell.engine.close().await });
            closing.await.map_err(|x| bad(x.to_string()))?;
        }
        Ok(String::new())
    }

    fn connect(&self, host: &Host, e: &Envelope) -> Result<String, Fault> {
        let body: &Element = e.body.find("Connect").ok_or_else(|| bad("no Connect"))?;
        if let Some(key) = body.attribute("CommandId").map(str::to_uppercase) {
            host.registry.still(e)?;
            self.with(e, |s| if s.commands.contains_key(&key) { Ok(()) } else { Err(no_such_shell()) })?;
            return Ok("<rsp:ConnectResponse/>".into());
        }
        let sent = Assembler::default().push(&decoded(body.find("connectXml"))?).map_err(bad)?;
        let sent: Vec<Message> = sent.iter().filter_map(|m| Message::decode(m).ok()).collect();
        negotiated(&sent, PowerShell::Engine)?;
        if self.with(e, |s| Ok(s.engine.over().is_some()))? {
            return Err(no_such_shell());
        }
        host.registry.connect(e)?;
        self.with(e, |s| {
            let (capability, init) = taken_over(s.id, PowerShell::Engine, s.runspaces.clone());
            let mut fragmenter = Fragmenter::new(32 * 1024);
            let mut fragments = |m: &Message| {
                fragmenter.fragment(&m.encode(false)).into_iter().flatten().collect::<Vec<u8>>()
            };
            let answer = [capability, init].iter().flat_map(&mut fragments).collect::<Vec<u8>>();
            if let Some(body) = s.engine.private_data() {
                let m =
                    Message { kind: kind::APPLICATION_PRIVATE_DATA, pool: s.id, pipeline: Uuid::nil(), body };
                s.engine.put(Uuid::nil(), fragments(&m));
            }
            Ok(connected(&answer))
        })
    }

    fn enumerate(&self, host: &Host, e: &Envelope) -> Result<String, Fault> {
        let mut shells = self.shells();
        // A shell whose engine has ended is no more.
        shells.retain(|key, s| {
            let lives = s.engine.over().is_none();
            if !lives {
                host.registry.remove(key);
            }
            lives
        });
        enumerated(e, &host.registry, |id| {
            let shell = shells.get(id)?;
            let ended = |c: &Command| match c.stage {
                Stage::Still(_) => false,
                Stage::Begun => shell.engine.has_ended(c.id),
                Stage::Stopped { .. } => true,
            };
            Some(shell.commands.iter().map(|(key, c)| (key.clone(), ended(c))).collect())
        })
    }
}

/// The end of a command that was stopped before its engine had it.
fn stopped(pool: Uuid, pipeline: Uuid, key: &str) -> String {
    let body = message::pipeline_state(PipelineState::Stopped, None);
    let m = Message { kind: kind::PIPELINE_STATE, pool, pipeline, body };
    let attribute = format!(" CommandId=\"{key}\"");
    let fragments = Fragmenter::new(32 * 1024).fragment(&m.encode(false));
    let streams: String = fragments.iter().map(|f| stream(&attribute, f)).collect();
    format!("<rsp:ReceiveResponse>{streams}{}</rsp:ReceiveResponse>", done(&attribute))
}

fn journal_length(host: &Host) -> usize {
    host.world.now().journal.entries().len()
}

/// Holds a command that has started, if a breakpoint says so. The engine has taken the pipeline; that its cmdlet runs, the journal
/// tells.
async fn started(host: &Host, engine: &Engine, id: Uuid, arrival: Option<(usize, &Arrival)>) {
    let Some((began, arrival)) = arrival.filter(|_| host.world.now().breakpoints.are_set()) else { return };
    let runs = || {
        let world = host.world.now();
        let mut new = world.journal.entries().iter().skip(began);
        new.any(|entry| entry.server == host.name && entry.name.eq_ignore_ascii_case(&arrival.name))
    };
    while !runs() && !engine.has_ended(id) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    host.hold(Moment::Started, Some(arrival)).await;
}
