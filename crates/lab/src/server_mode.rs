//! The lab's own PowerShell in server mode: the other end of PowerShell's own client (`New-PSSession -HostName`).
//!
//! It runs the lab's SIMULATED cmdlets, one to a pipeline, by name and with named parameters, and no script text: what the operator
//! asks for, and what its session configuration allows. That a client which Microsoft wrote can read what it says is what it is for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use psrp::clixml::{Value, read};
use psrp::fragment::{Assembler, Fragmenter};
use psrp::message::{self, Command, ErrorRecord, Message, PipelineState, kind};
use psrp::server_mode::{Line, Stream};
use psrp::transport::server_mode::LineReader;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{Semaphore, mpsc};
use uuid::Uuid;

use crate::chat::SHELL_USER;
use crate::chat::cmdlets::{self, Finished, Started};
use crate::remoting;
use crate::world::SharedWorld;

/// Data of a fragment: a line that carries one stays below the 44 KiB of an engine's.
const FRAGMENT: usize = 32 * 1024;

/// A pipeline.
struct Pipeline {
    incoming: Assembler,
    running: Option<Running>,
}

/// A cmdlet, or the task that waits for a runspace for it.
struct Running {
    task: tokio::task::AbortHandle,
    /// Whether its final state has been told.
    told: Arc<Mutex<bool>>,
}

/// The end of a server: what it writes, and what runs.
struct Server {
    world: SharedWorld,
    host: String,
    lines: mpsc::UnboundedSender<Line>,
    fragmenter: Arc<Mutex<Fragmenter>>,
    pool: Uuid,
    incoming: Assembler,
    /// A permit for each runspace; more pipelines wait.
    runspaces: Arc<Semaphore>,
    pipelines: BTreeMap<Uuid, Pipeline>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Speaks server mode until the client closes the pool or the pipe.
pub async fn serve(
    world: SharedWorld,
    host: &str,
    input: impl AsyncRead + Unpin,
    mut output: impl AsyncWrite + Send + Unpin + 'static,
) -> Result<(), String> {
    let (lines, mut queued) = mpsc::unbounded_channel::<Line>();
    let writer = tokio::spawn(async move {
        while let Some(line) = queued.recv().await {
            output.write_all(line.write().as_bytes()).await?;
            output.flush().await?;
        }
        Ok::<(), std::io::Error>(())
    });
    let mut server = Server {
        world,
        host: host.into(),
        lines,
        fragmenter: Arc::new(Mutex::new(Fragmenter::new(FRAGMENT))),
        pool: Uuid::nil(),
        incoming: Assembler::default(),
        runspaces: Arc::new(Semaphore::new(1)),
        pipelines: BTreeMap::new(),
    };
    let mut reader = LineReader::new(input);
    while let Some(line) = reader.next().await.map_err(|e| e.to_string())? {
        let last = line == Line::Close(Uuid::nil());
        server.take(line)?;
        if last {
            break;
        }
    }
    drop(server);
    writer.await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())
}

impl Drop for Server {
    fn drop(&mut self) {
        for id in self.pipelines.keys().copied().collect::<Vec<_>>() {
            self.stop(id);
        }
    }
}

impl Server {
    fn say(&self, line: Line) {
        // A client that does not read any more is gone; its pipe says so.
        let _ = self.lines.send(line);
    }

    fn take(&mut self, line: Line) -> Result<(), String> {
        let acknowledgement = line.acknowledgement();
        match line {
            Line::Data { stream: Stream::PromptResponse, .. } => {}
            Line::Data { stream: Stream::Default, id, bytes } => {
                // The acknowledgement says that it was taken, and comes before what follows from it.
                acknowledgement.into_iter().for_each(|a| self.say(a));
                return self.data(id, &bytes);
            }
            Line::Command(id) => {
                self.pipelines.insert(id, Pipeline { incoming: Assembler::default(), running: None });
            }
            Line::Signal(id) => {
                if self.stop(id) {
                    let stopped = Finished::stopped();
                    tell(&self.lines, &self.fragmenter, id, remoting::ending(&stopped, self.pool, id));
                }
            }
            Line::Close(id) => {
                self.stop(id);
                self.pipelines.remove(&id);
            }
            Line::DataAck(_) | Line::CommandAck(_) | Line::SignalAck(_) | Line::CloseAck(_) => {}
        }
        acknowledgement.into_iter().for_each(|a| self.say(a));
        Ok(())
    }

    fn data(&mut self, id: Uuid, bytes: &[u8]) -> Result<(), String> {
        let messages = if id.is_nil() {
            self.incoming.push(bytes)?
        } else {
            let Some(pipeline) = self.pipelines.get_mut(&id) else { return Ok(()) };
            pipeline.incoming.push(bytes)?
        };
        for m in messages {
            let m = Message::decode(&m).map_err(|e| e.to_string())?;
            match m.kind {
                kind::INIT_RUNSPACEPOOL => self.open(&m)?,
                kind::CREATE_PIPELINE => self.begin(id, &m)?,
                // The client's capability, input for a pipeline that takes none, and what is said of a host that is not used.
                _ => tracing::debug!(kind = m.kind, "a message that says nothing here"),
            }
        }
        Ok(())
    }

    fn open(&mut self, m: &Message) -> Result<(), String> {
        self.pool = m.pool;
        let init = read(&m.body).map_err(|e| e.to_string())?;
        let runspaces = init.get("MaxRunspaces").and_then(Value::as_i64).unwrap_or(1);
        self.runspaces = Arc::new(Semaphore::new(usize::try_from(runspaces).unwrap_or(1).max(1)));
        tell(
            &self.lines,
            &self.fragmenter,
            Uuid::nil(),
            remoting::opening(m.pool, crate::scenario::PowerShell::Simulated),
        );
        Ok(())
    }

    fn begin(&mut self, id: Uuid, m: &Message) -> Result<(), String> {
        let commands = message::parse_create_pipeline(&m.body).map_err(|e| e.to_string())?;
        let command = match <[_; 1]>::try_from(commands) {
            Ok([(command, false)]) => Some(command),
            Ok([(_, true)]) | Err(_) => None,
        };
        let told = Arc::new(Mutex::new(false));
        let (world, host, lines, fragmenter) =
            (self.world.clone(), self.host.clone(), self.lines.clone(), self.fragmenter.clone());
        let (runspaces, pool, over) = (self.runspaces.clone(), self.pool, told.clone());
        let task = tokio::spawn(async move {
            // Never closed.
            let Ok(_runspace) = runspaces.acquire_owned().await else { return };
            let finished = match command {
                Some(command) => run(world, &host, &command).await,
                None => refused(),
            };
            let mut over = lock(&over);
            if !*over {
                *over = true;
                tell(&lines, &fragmenter, id, remoting::ending(&finished, pool, id));
            }
        });
        if let Some(pipeline) = self.pipelines.get_mut(&id) {
            pipeline.running = Some(Running { task: task.abort_handle(), told });
        }
        Ok(())
    }

    /// Stops a pipeline; says whether it ran.
    fn stop(&mut self, id: Uuid) -> bool {
        let Some(running) = self.pipelines.get_mut(&id).and_then(|p| p.running.take()) else { return false };
        running.task.abort();
        !std::mem::replace(&mut *lock(&running.told), true)
    }
}

/// Sends messages about a pipeline, or about the pool.
fn tell(
    lines: &mpsc::UnboundedSender<Line>,
    fragmenter: &Mutex<Fragmenter>,
    id: Uuid,
    messages: Vec<Message>,
) {
    let mut fragmenter = lock(fragmenter);
    for m in messages {
        for bytes in fragmenter.fragment(&m.encode(false)) {
            // A client that does not read any more is gone; its pipe says so.
            let _ = lines.send(Line::Data { stream: Stream::Default, id, bytes });
        }
    }
}

async fn run(world: SharedWorld, host: &str, command: &Command) -> Finished {
    let id = cmdlets::start(&mut world.now(), host, SHELL_USER, command);
    let started = Started::new(world, id);
    loop {
        if let Some(finished) = started.poll() {
            return finished;
        }
        // The world has no bell for what its clock brings.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What a restricted session says to script text, or to more than one command.
fn refused() -> Finished {
    let message = "The syntax is not supported by this runspace. This can occur if the runspace is in no-language mode.";
    let kind = "System.Management.Automation.ParseException";
    let mut record = ErrorRecord::new(message, "ScriptsNotAllowed", kind);
    // ParserError.
    record.category.number = Some(17);
    Finished { objects: vec![], errors: vec![record], warnings: vec![], state: PipelineState::Failed }
}
