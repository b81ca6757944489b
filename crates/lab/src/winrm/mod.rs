//! A thin WinRM and PSRP server over the world's Management Shell hosts: Basic over TLS, NTLM with sealed bodies, shells that
//! outlive their client.

mod answers;
mod binding;
pub mod engine;
mod http;
mod shells;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use psrp::clixml::Value;
use psrp::fragment::{Assembler, Fragmenter};
use psrp::message::{self, Command, Message, kind};
use psrp::wsman::{self, Element, Envelope, Fault, action};
use tokio::net::TcpListener;
use tokio::sync::watch;
use uuid::Uuid;

use self::answers::{
    bad, connected, created, deadline, decoded, done, enumerated, id_of, key_of, negotiated, no_such_shell,
    not_simulated, session_configuration, stops, stream, taken_over, timed_out,
};
pub use self::http::Transport;
use self::http::connection;
pub use self::shells::Count;
use self::shells::Registry;
use crate::chat::SHELL_USER;
use crate::chat::cmdlets::{self, Finished};
use crate::remoting;
use crate::scenario::{CbtHardeningLevel, PowerShell};
use crate::world::SharedWorld;
use crate::world::breakpoints::{Arrival, Moment};

struct Host {
    name: String,
    world: SharedWorld,
    power_shell: PowerShell,
    cbt: CbtHardeningLevel,
    /// The shells as WinRM knows them.
    registry: Registry,
    /// What is in them, if the lab itself writes what a PowerShell would.
    shells: Mutex<BTreeMap<String, Shell>>,
    /// The same, if they are a real PowerShell's.
    engines: Option<engine::Shells>,
}

struct Shell {
    id: Uuid,
    runspaces: (Value, Value),
    fragmenter: Fragmenter,
    assembler: Assembler,
    /// What the pool itself still has to tell, fragment by fragment.
    pending: Vec<Vec<u8>>,
    /// Whether its first pipeline has begun.
    used: bool,
    commands: BTreeMap<String, Running>,
}

/// What has become of a command.
enum Stage {
    /// Nobody has received from it yet: it stands still at its first record, which it writes before its cmdlet begins.
    Still(Box<Command>),
    /// Its cmdlet.
    Begun(u64),
    /// It was stopped before it began.
    Stopped,
}

struct Running {
    pipeline: Uuid,
    stage: Stage,
    /// Its records before the last: what comes, comes once.
    pending: Vec<Vec<u8>>,
    /// Its end has been told, to whoever it was.
    told: bool,
}

/// One Management Shell host. Its shells are seen through all of its listeners.
#[derive(Clone)]
pub struct Service(Arc<Host>);

impl Service {
    /// Of a host; with engines, its shells are theirs.
    pub fn new(world: SharedWorld, name: &str, engines: Option<engine::Engines>) -> Service {
        let (power_shell, limits) = {
            let world = world.now();
            (world.scenario.dialect.power_shell, world.scenario.win_rm)
        };
        Service(Arc::new(Host {
            name: name.into(),
            world,
            power_shell,
            cbt: limits.cbt_hardening_level,
            registry: Registry::new(limits),
            shells: Mutex::new(BTreeMap::new()),
            engines: engines.map(engine::Shells::new),
        }))
    }

    /// How many shells there are, and were.
    pub fn count(&self) -> Count {
        self.0.pass_time();
        self.0.registry.count()
    }

    /// Serves one listener until `stop` says so.
    pub async fn serve(self, listener: TcpListener, transport: Transport, mut stop: watch::Receiver<bool>) {
        let host = self.0;
        let mut connections = tokio::task::JoinSet::new();
        // What stays too long goes also if nobody asks.
        let mut clock = tokio::time::interval(Duration::from_millis(250));
        loop {
            tokio::select! {
                _ = clock.tick() => host.pass_time(),
                _ = stop.wait_for(|s| *s) => break,
                accepted = listener.accept() => match accepted {
                    Ok((tcp, _)) => {
                        let (host, transport) = (host.clone(), transport.clone());
                        connections.spawn(async move {
                            if let Err(e) = connection(host.clone(), tcp, transport).await {
                                tracing::debug!(host = host.name, error = %e, "WinRM connection ended");
                            }
                        });
                    }
                    Err(e) => tracing::warn!(host = host.name, error = %e, "cannot accept"),
                },
                Some(_) = connections.join_next() => {}
            }
        }
        connections.shutdown().await;
        host.power_off();
    }
}

impl Host {
    /// One envelope and its answer.
    async fn soap(&self, text: &str) -> (StatusCode, String) {
        let envelope = match Envelope::read(text) {
            Ok(e) => e,
            Err(e) => return (StatusCode::BAD_REQUEST, e.to_string()),
        };
        match self.operation(&envelope).await {
            Ok(body) => (StatusCode::OK, wsman::response(&envelope, &body)),
            Err(fault) => {
                // What newer WinRM says of its quotas is recorded in the other form.
                let quota = fault.subcode == "w:QuotaLimit" && self.power_shell != PowerShell::V4;
                let form = if quota { wsman::Form::Wmi } else { wsman::Form::Wsman };
                (StatusCode::INTERNAL_SERVER_ERROR, wsman::fault(&envelope, &fault, form))
            }
        }
    }

    fn shells(&self) -> MutexGuard<'_, BTreeMap<String, Shell>> {
        self.shells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is in the shell of a request.
    fn with<T>(&self, e: &Envelope, f: impl FnOnce(&mut Shell) -> Result<T, Fault>) -> Result<T, Fault> {
        let mut shells = self.shells();
        f(e.shell_id.as_ref().and_then(|id| shells.get_mut(id)).ok_or_else(no_such_shell)?)
    }

    /// Lets go what nobody has asked for for too long.
    fn pass_time(&self) {
        for key in self.registry.pass_time() {
            self.end(&key);
            if let Some(engines) = &self.engines {
                engines.end(&key);
            }
        }
    }

    /// Nothing runs any more where there is no power. What a cmdlet has begun in the world is the world's to end.
    fn power_off(&self) {
        self.registry.clear();
        self.shells().clear();
        if let Some(engines) = &self.engines {
            engines.power_off();
        }
    }

    /// Ends what runs in a shell.
    fn end(&self, key: &str) {
        let shell = self.shells().remove(key);
        for r in shell.into_iter().flat_map(|s| s.commands.into_values()) {
            if let Stage::Begun(c) = r.stage {
                cmdlets::abort(&mut self.world.now(), c);
            }
        }
    }

    async fn operation(&self, e: &Envelope) -> Result<String, Fault> {
        self.pass_time();
        let _asking = self.registry.ask(e)?;
        if e.action == action::DELETE {
            // From here on it is gone for everybody, also if who asked does not wait for the end.
            e.shell_id.iter().for_each(|key| self.registry.remove(key));
        }
        match e.action.as_str() {
            action::DISCONNECT => {
                self.registry.disconnect(e)?;
                Ok("<rsp:DisconnectResponse/>".into())
            }
            action::RECONNECT => {
                self.registry.reconnect(e)?;
                Ok("<rsp:ReconnectResponse/>".into())
            }
            _ => match &self.engines {
                Some(engines) => engines.operation(self, e).await,
                None => self.simulated(e).await,
            },
        }
    }

    async fn simulated(&self, e: &Envelope) -> Result<String, Fault> {
        match e.action.as_str() {
            action::CREATE => self.create(e),
            action::COMMAND => self.command(e).await,
            action::SEND => Err(bad("simulator: pipelines longer than one fragment are not simulated")),
            action::RECEIVE => self.receive(e).await,
            action::SIGNAL => {
                self.signal(e)?;
                Ok("<rsp:SignalResponse/>".into())
            }
            action::DELETE => {
                e.shell_id.iter().for_each(|key| self.end(key));
                Ok(String::new())
            }
            action::CONNECT => self.connect(e),
            action::ENUMERATE => self.enumerate(e),
            other => Err(not_simulated(other)),
        }
    }

    fn signal(&self, e: &Envelope) -> Result<(), Fault> {
        let signal = e.body.find("Signal").ok_or_else(|| bad("no Signal"))?;
        let id = signal.attribute("CommandId").unwrap_or_default().to_uppercase();
        // What was told to stop still says so through Receive.
        let stops = stops(signal);
        let cmdlet = self.with(e, |s| {
            let command = s.commands.get_mut(&id).ok_or_else(no_such_shell)?;
            let cmdlet = match command.stage {
                Stage::Begun(cmdlet) => Some(cmdlet),
                Stage::Still(_) | Stage::Stopped => None,
            };
            if !stops {
                s.commands.remove(&id);
            } else if cmdlet.is_none() {
                command.stage = Stage::Stopped;
            }
            Ok(cmdlet)
        })?;
        let Some(cmdlet) = cmdlet else { return Ok(()) };
        let mut world = self.world.now();
        // What has ended is not stopped any more.
        if !stops || cmdlets::poll(&world, cmdlet).is_none() {
            cmdlets::abort(&mut world, cmdlet);
        }
        Ok(())
    }

    fn create(&self, e: &Envelope) -> Result<String, Fault> {
        session_configuration(e)?;
        let wanted = e.body.find("Shell").ok_or_else(|| bad("no Shell"))?;
        let id = id_of(wanted, "ShellId").unwrap_or_else(Uuid::new_v4);
        let bytes = decoded(wanted.find("creationXml"))?;
        let mut assembler = Assembler::default();
        let messages = assembler.push(&bytes).map_err(bad)?;
        let messages: Vec<Message> = messages.iter().filter_map(|m| Message::decode(m).ok()).collect();
        let runspaces = pool_of(&messages)?;
        let mut shell = Shell {
            id,
            runspaces,
            fragmenter: Fragmenter::new(32 * 1024),
            assembler,
            pending: Vec::new(),
            used: false,
            commands: BTreeMap::new(),
        };
        shell.tell(remoting::opening(id, self.power_shell));
        let key = key_of(id);
        let idle = self.registry.create(e, &key, wanted)?;
        self.shells().insert(key.clone(), shell);
        Ok(created(e, &key, idle))
    }

    async fn command(&self, e: &Envelope) -> Result<String, Fault> {
        let line = e.body.find("CommandLine").ok_or_else(|| bad("no CommandLine"))?;
        let id = id_of(line, "CommandId").unwrap_or_else(Uuid::new_v4);
        let bytes = decoded(line.find("Arguments"))?;
        let pipeline = self.with(e, |s| {
            let messages = s.assembler.push(&bytes).map_err(bad)?;
            let m = messages
                .first()
                .ok_or_else(|| bad("simulator: pipelines longer than one fragment are not simulated"))?;
            Message::decode(m).map_err(|x| bad(x.to_string()))
        })?;
        let commands = message::parse_create_pipeline(&pipeline.body).map_err(|x| bad(x.to_string()))?;
        let key = key_of(id);
        let [(command, false)] = commands.as_slice() else {
            return Err(bad("simulator: this restricted endpoint runs single commands, no scripts"));
        };
        if self.with(e, |s| Ok(s.commands.contains_key(&key)))? {
            return Err(bad("the CommandId is taken"));
        }
        // A client that is gone while its request is held takes the request with it, unless that outlives it.
        let arrival = cmdlets::arrival(&self.name, command);
        self.hold(Moment::Before, arrival.as_ref()).await;
        let stage = Stage::Still(Box::new(command.clone()));
        let running = Running { pipeline: pipeline.pipeline, stage, pending: Vec::new(), told: false };
        self.with(e, |s| {
            s.commands.insert(key.clone(), running);
            Ok(())
        })?;
        Ok(format!("<rsp:CommandResponse><rsp:CommandId>{key}</rsp:CommandId></rsp:CommandResponse>"))
    }

    /// Somebody receives: a command that stood still goes on, and its cmdlet begins.
    async fn begin(&self, e: &Envelope, command: &str) -> Result<(), Fault> {
        let began = self.with(e, |s| {
            let (pool, first) = (s.id, !s.used);
            let running = s.commands.get_mut(command).ok_or_else(no_such_shell)?;
            let Stage::Still(cmdlet) = &running.stage else { return Ok(None) };
            let arrival = cmdlets::arrival(&self.name, cmdlet);
            let id = cmdlets::start(&mut self.world.now(), &self.name, SHELL_USER, cmdlet);
            running.stage = Stage::Begun(id);
            if first {
                let m = remoting::preparing(pool, running.pipeline);
                running.pending.extend(s.fragmenter.fragment(&m.encode(false)));
                s.used = true;
            }
            Ok(Some(arrival))
        })?;
        if let Some(arrival) = began {
            self.hold(Moment::Started, arrival.as_ref()).await;
        }
        Ok(())
    }

    /// The cmdlet of a command, if it may change something.
    fn arrival_of(&self, e: &Envelope, command: &str) -> Option<Arrival> {
        let cmdlet = self.with(e, |s| {
            Ok(match s.commands.get(command).map(|r| &r.stage) {
                Some(Stage::Begun(cmdlet)) => Some(*cmdlet),
                Some(Stage::Still(_) | Stage::Stopped) | None => None,
            })
        });
        cmdlets::arrival_of(&self.world.now(), cmdlet.ok().flatten()?)
    }

    /// Holds a request for as long as a breakpoint says, or until its client is gone.
    async fn hold(&self, moment: Moment, arrival: Option<&Arrival>) {
        let asked = arrival.and_then(|a| self.world.now().breakpoints.ask(moment, a));
        let Some(id) = asked else { return };
        let held = Held { world: &self.world, id };
        while held.world.now().breakpoints.holds(id) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn receive(&self, e: &Envelope) -> Result<String, Fault> {
        let command =
            e.body.find("DesiredStream").and_then(|d| d.attribute("CommandId")).map(str::to_uppercase);
        let deadline = deadline(e);
        if let Some(command) = command.as_deref() {
            self.begin(e, command).await?;
        }
        loop {
            self.registry.still(e)?;
            if let Some((body, ended)) = self.output(e, command.as_deref())? {
                if ended {
                    let ended = command.as_deref().and_then(|c| self.arrival_of(e, c));
                    self.hold(Moment::After, ended.as_ref()).await;
                }
                return Ok(body);
            }
            let wait = Duration::from_millis(20);
            if tokio::time::Instant::now() + wait >= deadline {
                return Err(timed_out());
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.world.changed() => {}
            }
        }
    }

    /// What is there for a Receive, and whether it is a command's end. From here on it is this answer's, and comes to nobody else.
    fn output(&self, e: &Envelope, command: Option<&str>) -> Result<Option<(String, bool)>, Fault> {
        let Some(command) = command else {
            return self.with(e, |s| {
                if s.pending.is_empty() {
                    return Ok(None);
                }
                let streams: String = s.pending.drain(..).map(|f| stream("", &f)).collect();
                Ok(Some((format!("<rsp:ReceiveResponse>{streams}</rsp:ReceiveResponse>"), false)))
            });
        };
        self.with(e, |s| {
            let running = s.commands.get_mut(command).ok_or_else(no_such_shell)?;
            let finished = if running.told { None } else { finished(&self.world, &running.stage) };
            let mut fragments = std::mem::take(&mut running.pending);
            if let Some(finished) = &finished {
                running.told = true;
                let said = remoting::ending(finished, s.id, running.pipeline);
                fragments.extend(said.iter().flat_map(|m| s.fragmenter.fragment(&m.encode(false))));
            }
            if fragments.is_empty() {
                return Ok(None);
            }
            let attribute = format!(" CommandId=\"{command}\"");
            let streams: String = fragments.iter().map(|f| stream(&attribute, f)).collect();
            let done = if finished.is_some() { done(&attribute) } else { String::new() };
            Ok(Some((
                format!("<rsp:ReceiveResponse>{streams}{done}</rsp:ReceiveResponse>"),
                finished.is_some(),
            )))
        })
    }

    fn connect(&self, e: &Envelope) -> Result<String, Fault> {
        let body: &Element = e.body.find("Connect").ok_or_else(|| bad("no Connect"))?;
        if let Some(id) = body.attribute("CommandId").map(str::to_uppercase) {
            self.registry.still(e)?;
            self.with(e, |s| if s.commands.contains_key(&id) { Ok(()) } else { Err(no_such_shell()) })?;
            return Ok("<rsp:ConnectResponse/>".into());
        }
        let sent = Assembler::default().push(&decoded(body.find("connectXml"))?).map_err(bad)?;
        let sent: Vec<Message> = sent.iter().filter_map(|m| Message::decode(m).ok()).collect();
        negotiated(&sent, self.power_shell)?;
        self.registry.connect(e)?;
        self.with(e, |s| {
            // The client counts its objects anew, the server goes on counting: recorded.
            s.assembler = Assembler::default();
            let said: [Message; 2] = taken_over(s.id, self.power_shell, s.runspaces.clone()).into();
            let answer = said.iter().flat_map(|m| s.fragmenter.fragment(&m.encode(false)));
            let answer = answer.flatten().collect::<Vec<u8>>();
            s.pending.clear();
            s.tell(vec![remoting::private_data(s.id, self.power_shell)]);
            Ok(connected(&answer))
        })
    }

    fn enumerate(&self, e: &Envelope) -> Result<String, Fault> {
        enumerated(e, &self.registry, |id| {
            let shells = self.shells();
            let commands = shells.get(id)?.commands.iter();
            Some(commands.map(|(key, r)| (key.clone(), finished(&self.world, &r.stage).is_some())).collect())
        })
    }
}

/// How a command has ended, if it has. One that stands still has not.
fn finished(world: &SharedWorld, stage: &Stage) -> Option<Finished> {
    match stage {
        Stage::Still(_) => None,
        Stage::Begun(cmdlet) => cmdlets::poll(&world.now(), *cmdlet),
        Stage::Stopped => Some(Finished::stopped()),
    }
}

/// What a pool is opened with: how many runspaces it has at least and at most.
fn pool_of(messages: &[Message]) -> Result<(Value, Value), Fault> {
    let wanted = || bad("creationXml must hold SESSION_CAPABILITY and INIT_RUNSPACEPOOL");
    let [capability, init] = messages else { return Err(wanted()) };
    if (capability.kind, init.kind) != (kind::SESSION_CAPABILITY, kind::INIT_RUNSPACEPOOL) {
        return Err(wanted());
    }
    let init = psrp::clixml::read(&init.body).map_err(|x| bad(x.to_string()))?;
    let runspaces = |name: &str| init.get(name).cloned().unwrap_or(Value::I32(1));
    Ok((runspaces("MinRunspaces"), runspaces("MaxRunspaces")))
}

/// Nothing is held any more for a client that is gone.
struct Held<'a> {
    world: &'a SharedWorld,
    id: u64,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.world.now().breakpoints.release(self.id);
    }
}

impl Shell {
    fn tell(&mut self, messages: Vec<Message>) {
        for m in messages {
            self.pending.extend(self.fragmenter.fragment(&m.encode(false)));
        }
    }
}
