//! Management Shells on a real engine: what WinRM is behind its envelopes, a pipe to a PowerShell.
//!
//! A shell is a PowerShell of Microsoft's in server mode, under a restricted session configuration. What comes in an envelope goes
//! into its input as it is, what it says goes out as it is. Its cmdlets are SIMULATED all the same: functions of a module of the
//! lab's (`management-shell/Lync.psm1`) that ask the world what to answer, and make of it what PowerShell has for that.
//!
//! Two things an engine in server mode does not do, so the relay does them: reconnecting (`CONNECT_RUNSPACEPOOL`), which it answers
//! by what it has heard, and holding output that nobody receives, as WinRM does with `BufferMode` Block. What one Receive has
//! carried is repeated for a client that takes the command over: it may have been lost with the one before.

mod ask;
mod plain;
mod process;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use psrp::clixml::{Object, Value, Writer, read};
use psrp::fragment::{Assembler, Fragmenter};
use psrp::message::{self, Message, kind};
use psrp::server_mode::{Line, Stream};
use psrp::transport::server_mode::Program;
use psrp::wsman::{self, Element, Envelope, Fault, action};
use tokio::net::UnixListener;
use uuid::Uuid;

use self::process::{Engine, data};
use super::Host;
use super::answers::{
    Owned, bad, connected, created, deadline, decoded, done, enumerated, id_of, key_of, no_such_shell,
    not_simulated, session_configuration, stops, stream, takes_over, timed_out,
};
use crate::chat::cmdlets;
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
    /// If it may change something.
    arrival: Option<Arrival>,
}

struct Shell {
    id: Uuid,
    owned: Owned,
    runspaces: (Value, Value),
    engine: Arc<Engine>,
    commands: BTreeMap<String, Command>,
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
    /// Takes fragments; says whether the pipeline is complete with them.
    fn take_in(&mut self, host: &str, bytes: &[u8]) -> Result<bool, Fault> {
        let messages = self.incoming.push(bytes).map_err(bad)?;
        for m in messages.iter().filter_map(|m| Message::decode(m).ok()) {
            if m.kind == kind::CREATE_PIPELINE {
                let commands = message::parse_create_pipeline(&m.body).map_err(|x| bad(x.to_string()))?;
                self.arrival = commands.iter().find_map(|(c, _)| cmdlets::arrival(host, c));
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

    /// The shell of a request: see [`Host::with`]. One that was left is asked for nothing but to be taken over, or deleted.
    fn with<T>(&self, e: &Envelope, f: impl FnOnce(&mut Shell) -> Result<T, Fault>) -> Result<T, Fault> {
        let mut shells = self.shells();
        let shell = e.shell_id.as_ref().and_then(|id| shells.get_mut(id)).ok_or_else(no_such_shell)?;
        shell.owned.admits(e)?;
        if !takes_over(e) && !shell.owned.connected {
            return Err(Fault {
                code: wsman::SHELL_DISCONNECTED,
                subcode: "w:InternalError".into(),
                message: "The shell is disconnected.".into(),
            });
        }
        f(shell)
    }

    pub(super) async fn operation(&self, host: &Host, e: &Envelope) -> Result<String, Fault> {
        match e.action.as_str() {
            action::CREATE => self.create(host, e).await,
            action::COMMAND => self.command(host, e).await,
            action::SEND => self.send(host, e).await,
            action::RECEIVE => self.receive(host, e).await,
            action::SIGNAL => self.signal(host, e).await,
            action::DELETE => self.delete(e).await,
            action::DISCONNECT => {
                self.with(e, |s| {
                    s.owned.connected = false;
                    Ok(())
                })?;
                Ok("<rsp:DisconnectResponse/>".into())
            }
            action::CONNECT => self.connect(e),
            action::ENUMERATE => self.enumerate(e),
            other => Err(not_simulated(other)),
        }
    }

    async fn create(&self, host: &Host, e: &Envelope) -> Result<String, Fault> {
        session_configuration(e)?;
        let shell = e.body.find("Shell").ok_or_else(|| bad("no Shell"))?;
        let id = id_of(shell, "ShellId").unwrap_or_else(Uuid::new_v4);
        let bytes = decoded(shell.find("creationXml"))?;
        let messages = Assembler::default().push(&bytes).map_err(bad)?;
        let messages: Vec<Message> = messages.iter().filter_map(|m| Message::decode(m).ok()).collect();
        let [capability, init] = messages.as_slice() else {
            return Err(bad("creationXml must hold SESSION_CAPABILITY and INIT_RUNSPACEPOOL"));
        };
        if (capability.kind, init.kind) != (kind::SESSION_CAPABILITY, kind::INIT_RUNSPACEPOOL) {
            return Err(bad("creationXml must hold SESSION_CAPABILITY and INIT_RUNSPACEPOOL"));
        }
        let init = read(&init.body).map_err(|x| bad(x.to_string()))?;
        let runspaces = |name: &str| init.get(name).cloned().unwrap_or(Value::I32(1));
        let key = key_of(id);
        let environment = [
            ("PCF_LAB_SOCKET", self.engines.socket.display().to_string()),
            ("PCF_LAB_HOST", host.name.clone()),
        ];
        let engine = {
            let mut shells = self.shells();
            if shells.contains_key(&key) {
                return Err(bad("the ShellId is taken"));
            }
            let engine =
                Engine::start(&self.engines.program, &environment).map_err(|why| gone(host, &why))?;
            engine.expect(Uuid::nil());
            let shell = Shell {
                id,
                owned: Owned::by(e),
                runspaces: (runspaces("MinRunspaces"), runspaces("MaxRunspaces")),
                engine: engine.clone(),
                commands: BTreeMap::new(),
            };
            shells.insert(key.clone(), shell);
            engine
        };
        let opened = engine.say(vec![data(Uuid::nil(), Stream::Default, bytes)]).await;
        opened.map_err(|why| {
            self.shells().remove(&key);
            gone(host, &why)
        })?;
        Ok(created(e, &key))
    }

    async fn command(&self, host: &Host, e: &Envelope) -> Result<String, Fault> {
        let line = e.body.find("CommandLine").ok_or_else(|| bad("no CommandLine"))?;
        let id = id_of(line, "CommandId").unwrap_or_else(Uuid::new_v4);
        let key = key_of(id);
        let bytes = decoded(line.find("Arguments"))?;
        let mut command = Command { id, incoming: Assembler::default(), arrival: None };
        let complete = command.take_in(&host.name, &bytes)?;
        if self.with(e, |s| Ok(s.commands.contains_key(&key)))? {
            return Err(bad("the CommandId is taken"));
        }
        let arrival = command.arrival.clone();
        if complete {
            // A client that is gone while its request is held takes the request with it, unless that outlives it.
            host.hold(Moment::Before, arrival.as_ref()).await;
        }
        let engine = self.with(e, |s| {
            s.commands.insert(key.clone(), command);
            s.engine.expect(id);
            Ok(s.engine.clone())
        })?;
        let lines = vec![Line::Command(id), data(id, Stream::Default, bytes)];
        let began = journal_length(host);
        engine.say(lines).await.map_err(|why| gone(host, &why))?;
        if complete {
            started(host, &engine, id, arrival.as_ref().map(|a| (began, a))).await;
        }
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
        let (engine, id, complete, arrival) = self.with(e, |s| {
            let Some(key) = &key else { return Ok((s.engine.clone(), Uuid::nil(), false, None)) };
            let command = s.commands.get_mut(key).ok_or_else(no_such_shell)?;
            let complete = of == Stream::Default && command.take_in(&host.name, &bytes)?;
            Ok((s.engine.clone(), command.id, complete, command.arrival.clone()))
        })?;
        if complete {
            host.hold(Moment::Before, arrival.as_ref()).await;
        }
        let began = journal_length(host);
        engine.say(vec![data(id, of, bytes)]).await.map_err(|why| gone(host, &why))?;
        if complete {
            started(host, &engine, id, arrival.as_ref().map(|a| (began, a))).await;
        }
        Ok("<rsp:SendResponse/>".into())
    }

    async fn receive(&self, host: &Host, e: &Envelope) -> Result<String, Fault> {
        let wanted = e.body.find("DesiredStream").ok_or_else(|| bad("no DesiredStream"))?;
        let key = wanted.attribute("CommandId").map(str::to_uppercase);
        let (engine, id, arrival) = self.with(e, |s| {
            let Some(key) = &key else { return Ok((s.engine.clone(), Uuid::nil(), None)) };
            let command = s.commands.get(key).ok_or_else(no_such_shell)?;
            Ok((s.engine.clone(), command.id, command.arrival.clone()))
        })?;
        let ready = tokio::time::timeout_at(deadline(e), engine.ready(id)).await.map_err(|_| timed_out())?;
        if ready.map_err(|why| gone(host, &why))? {
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
            let command = if stops {
                s.commands.get(&key).map(|c| c.id)
            } else {
                s.commands.remove(&key).map(|c| c.id)
            };
            Ok(command.map(|id| (s.engine.clone(), id)))
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
        self.with(e, |_| Ok(()))?;
        if let Some(shell) = e.shell_id.as_ref().and_then(|id| self.shells().remove(id)) {
            // To its end, also if the client does not wait for it.
            let closing = tokio::spawn(async move { shell.engine.close().await });
            closing.await.map_err(|x| bad(x.to_string()))?;
        }
        Ok(String::new())
    }

    fn connect(&self, e: &Envelope) -> Result<String, Fault> {
        let body: &Element = e.body.find("Connect").ok_or_else(|| bad("no Connect"))?;
        if let Some(key) = body.attribute("CommandId").map(str::to_uppercase) {
            self.with(e, |s| {
                let command = s.commands.get(&key).ok_or_else(no_such_shell)?;
                s.engine.rewind(command.id);
                Ok(())
            })?;
            return Ok("<rsp:ConnectResponse/>".into());
        }
        self.with(e, |s| {
            if s.engine.over().is_some() {
                return Err(no_such_shell());
            }
            s.owned.connect(e);
            Ok(connected(&s.connected_again()))
        })
    }

    fn enumerate(&self, e: &Envelope) -> Result<String, Fault> {
        let mut shells = self.shells();
        // A shell whose engine has ended is no more.
        shells.retain(|_, s| s.engine.over().is_none());
        let ended =
            |s: &Shell| s.commands.iter().map(|(key, c)| (key.clone(), s.engine.has_ended(c.id))).collect();
        enumerated(e, &shells, |s| &s.owned, ended)
    }
}

impl Shell {
    /// What a server answers to CONNECT_RUNSPACEPOOL (`[MS-PSRP]` 3.2.5.4.13): SESSION_CAPABILITY, RUNSPACEPOOL_INIT_DATA, and the
    /// APPLICATION_PRIVATE_DATA that the engine sent when the pool was opened.
    fn connected_again(&self) -> Vec<u8> {
        let (min, max) = self.runspaces.clone();
        let init = Value::Object(Box::new(Object {
            extended: vec![("MinRunspaces".into(), min), ("MaxRunspaces".into(), max)],
            ..Object::default()
        }));
        let mut messages = vec![
            (kind::SESSION_CAPABILITY, Uuid::nil(), message::session_capability()),
            (kind::RUNSPACEPOOL_INIT_DATA, self.id, Writer::value(&init)),
        ];
        messages
            .extend(self.engine.private_data().map(|body| (kind::APPLICATION_PRIVATE_DATA, self.id, body)));
        let mut fragmenter = Fragmenter::new(32 * 1024);
        messages
            .into_iter()
            .flat_map(|(kind, pool, body)| {
                let m = Message { kind, pool, pipeline: Uuid::nil(), body };
                fragmenter.fragment(&m.encode(false)).concat()
            })
            .collect()
    }
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
