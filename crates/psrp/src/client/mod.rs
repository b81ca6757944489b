//! The client: single commands with named parameters, in a runspace pool.
//!
//! Several commands may be asked for at once through one client; as many as the pool has runspaces run at once, the others wait
//! their turn. A pool that is lost is replaced by the next command that is asked for.

mod collect;
mod job;
mod pool;
mod run;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

pub(crate) use self::collect::too_much;
pub use self::collect::{MAX_OUTPUT, Output};
pub use self::job::{Found, Job, JobIds, JobState, attach, is_there, start};
use self::pool::Pool;
pub use self::pool::PoolOptions;
use self::run::{Run, run};
pub use crate::error::Error;
use crate::faults::{self, Meaning};
use crate::message::Command;
use crate::transport::Transport;
pub use crate::transport::orphans::ShellName;
use crate::transport::server_mode::{Program, ServerMode};
use crate::transport::wsman::Wsman;
pub use crate::transport::wsman::{Authentication, Endpoint, Password};

/// Windows lets a shell go to *Disconnected* when its client is silent for one to four minutes: one that nobody used for this
/// long is replaced.
const SHELL_IDLE: Duration = Duration::from_secs(45);

/// How long the next pool waits for the end of the one before it.
const REPLACED: Duration = Duration::from_secs(5);

/// Where pools come from.
enum Source {
    Wsman {
        endpoint: Box<Endpoint>,
        /// Logged on already, for the first pool.
        first: Mutex<Option<Wsman>>,
    },
    Program(Program),
    /// There is one engine behind a pair of pipes, and no way to another.
    Pipes(Mutex<Option<ServerMode>>),
}

type Opened = Option<Result<Arc<Pool>, Error>>;

enum State {
    Empty,
    /// Somebody opens one; it is opened for all that wait, and to its end even if they do not.
    Opening(watch::Receiver<Opened>, AbortHandle),
    Open(Arc<Pool>),
    Closed,
}

struct Shared {
    source: Source,
    options: PoolOptions,
    state: Mutex<State>,
    /// What other starts of the process had left on the host is gone.
    tidied: AtomicBool,
}

/// A client of one Management Shell host, or of one engine.
///
/// Dropped, it closes its pool in the background; [`Client::close`] waits for that.
pub struct Client {
    shared: Arc<Shared>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.shared.source {
            Source::Wsman { .. } => "Client(WS-Management)",
            Source::Program(_) => "Client(server mode of a program)",
            Source::Pipes(_) => "Client(server mode over pipes)",
        })
    }
}

/// A WinRM service, whose shell is as the options of its pool say.
async fn wsman(endpoint: &Endpoint, options: &PoolOptions) -> Result<Wsman, Error> {
    Ok(Wsman::connect(endpoint, options.idle_timeout).await?.named(options.name.clone()))
}

impl Client {
    fn new(source: Source, options: PoolOptions) -> Client {
        let (state, tidied) = (Mutex::new(State::Empty), AtomicBool::new(false));
        Client { shared: Arc::new(Shared { source, options, state, tidied }) }
    }

    /// Connects to a WinRM service and logs on; with Basic, the logon is checked with the first command only. The pool is opened
    /// with the first command.
    pub async fn connect(endpoint: &Endpoint) -> Result<Client, Error> {
        Client::connect_with(endpoint, PoolOptions::default()).await
    }

    /// Like [`Client::connect`], with options for the pool.
    pub async fn connect_with(endpoint: &Endpoint, options: PoolOptions) -> Result<Client, Error> {
        let first = wsman(endpoint, &options).await?;
        let source = Source::Wsman { endpoint: Box::new(endpoint.clone()), first: Mutex::new(Some(first)) };
        Ok(Client::new(source, options))
    }

    /// A client of a program that speaks server mode. It is started with the first command, and again after it was lost.
    pub fn program(program: Program, options: PoolOptions) -> Client {
        Client::new(Source::Program(program), options)
    }

    /// A client of an engine that somebody else has started, over its standard output and input. When it is lost, every further
    /// command is refused with [`Error::NotBegun`].
    pub fn pipes(
        from_engine: impl AsyncRead + Send + Unpin + 'static,
        to_engine: impl AsyncWrite + Send + Unpin + 'static,
        options: PoolOptions,
    ) -> Client {
        let engine = ServerMode::pipes(from_engine, to_engine);
        Client::new(Source::Pipes(Mutex::new(Some(engine))), options)
    }

    /// Runs a command to its end, at most `deadline`. What it gave before a failure is kept.
    ///
    /// The deadline counts from now. If it passes before a runspace is free, the error is [`Error::NotBegun`]. If it passes
    /// later, or the future is dropped, the command is told to stop; what it did is then unknown.
    pub async fn invoke(&self, command: &Command, deadline: Duration) -> Result<Output, Error> {
        self.run(command, deadline, false).await
    }

    /// The same, for a command that changes something: if it is not known what became of it, that is told only after all was tried that
    /// ends it on the server. It is told to stop, it is freed, and its pool is closed with all that runs there, each for at most as long as
    /// a command may take to stop.
    pub async fn invoke_to_the_end(&self, command: &Command, deadline: Duration) -> Result<Output, Error> {
        self.run(command, deadline, true).await
    }

    async fn run(&self, command: &Command, deadline: Duration, to_the_end: bool) -> Result<Output, Error> {
        let asked = Instant::now();
        let until = asked + deadline;
        let mut again = true;
        loop {
            let waiting = tokio::time::timeout_at(until, self.runspace());
            let (pool, runspace) = waiting.await.map_err(|_| {
                Error::NotBegun(format!("no runspace was free within {deadline:?}, so nothing was sent"))
            })??;
            let (answer, told) = oneshot::channel();
            tokio::spawn(run(Run {
                pool: pool.clone(),
                runspace,
                command: command.clone(),
                until,
                waited: asked.elapsed(),
                to_the_end,
                answer,
            }));
            let told = told.await.unwrap_or_else(|_| Err(Error::Lost("its task ended".into())));
            match told {
                // The pool was gone before: nothing of the command was done, so another is no repetition.
                Err(e) if again && gone(&e) => {
                    pool.retire();
                    again = false;
                }
                other => return other,
            }
        }
    }

    /// The version of the server's PowerShell; none: it does not say. Opens the pool if none is open.
    pub async fn version(&self) -> Result<Option<String>, Error> {
        Ok(self.shared.pool().await?.version.get().cloned())
    }

    /// A pool with a free runspace.
    async fn runspace(&self) -> Result<(Arc<Pool>, OwnedSemaphorePermit), Error> {
        loop {
            let pool = self.shared.pool().await?;
            // Closed meanwhile: then another pool is needed.
            if let Ok(runspace) = pool.runspaces.clone().acquire_owned().await {
                return Ok((pool, runspace));
            }
        }
    }

    /// Waits for the commands that still run or stop, and closes the pool: nothing is left behind on the server. A pool that is
    /// still being opened, for a command that nobody waits for any more, is closed in the background.
    pub async fn close(&self) -> Result<(), Error> {
        match self.shared.close() {
            Some(pool) => pool.close().await,
            None => Ok(()),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // The last that uses the pool closes it.
        drop(self.shared.close());
    }
}

/// Whether an error says that the pool does not exist any more, and that nothing of the command was done.
fn gone(e: &Error) -> bool {
    match e {
        Error::NotBegun(_) => true,
        Error::Fault(f) => match faults::meaning(f.code) {
            Some(Meaning::Gone | Meaning::Disconnected | Meaning::Elsewhere) => true,
            Some(
                Meaning::TimedOut
                | Meaning::Shells
                | Meaning::Operations
                | Meaning::BrokenOff
                | Meaning::RunAs
                | Meaning::IdleTimeOut
                | Meaning::Denied
                | Meaning::Configuration,
            )
            | None => false,
        },
        Error::Connect(_) | Error::Tls(_) | Error::Unauthorized(_) | Error::Lost(_) | Error::Protocol(_) => {
            false
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens no more pools; gives the one that is open.
    fn close(&self) -> Option<Arc<Pool>> {
        let state = std::mem::replace(&mut *self.state(), State::Closed);
        match state {
            State::Open(pool) => Some(pool),
            State::Opening(_, task) => {
                task.abort();
                None
            }
            State::Empty | State::Closed => None,
        }
    }

    /// The pool, opened if there is none that can be used.
    async fn pool(self: &Arc<Self>) -> Result<Arc<Pool>, Error> {
        let idle = match &self.source {
            Source::Wsman { .. } => Some(SHELL_IDLE),
            Source::Program(_) | Source::Pipes(_) => None,
        };
        let mut opening = {
            let mut state = self.state();
            match &*state {
                State::Closed => return Err(Error::NotBegun("the client is closed".into())),
                State::Open(pool) if pool.usable(idle) => return Ok(pool.clone()),
                State::Opening(opening, _) => opening.clone(),
                State::Open(_) | State::Empty => {
                    let (done, opening) = watch::channel(None);
                    let old = match std::mem::replace(&mut *state, State::Empty) {
                        State::Open(old) => Some(old),
                        State::Empty | State::Opening(..) | State::Closed => None,
                    };
                    old.iter().for_each(|old| old.retire());
                    let task = tokio::spawn(self.clone().open(old, done));
                    *state = State::Opening(opening.clone(), task.abort_handle());
                    opening
                }
            }
        };
        let opened = opening.wait_for(Option::is_some).await.map(|o| o.clone());
        match opened {
            Ok(Some(opened)) => opened,
            Ok(None) | Err(_) => {
                *self.state() = State::Empty;
                Err(Error::NotBegun("opening the runspace pool was given up".into()))
            }
        }
    }

    async fn open(self: Arc<Self>, old: Option<Arc<Pool>>, done: watch::Sender<Opened>) {
        // Two shells would count against the account where one is enough. One in which something still runs is closed when that ends.
        if let Some(old) = old.filter(|old| old.is_free())
            && tokio::time::timeout(REPLACED, old.close()).await.is_err()
        {
            tracing::debug!("a pool that is replaced was not closed in time");
        }
        let opened = self.transport().await;
        let opened = match opened {
            Ok(transport) => Pool::open(transport, self.options.clone()).await,
            Err(e) => Err(e),
        };
        // Whatever was lost here was not a command.
        let opened = opened.map_err(Error::before_start);
        if let Ok(pool) = &opened
            && !self.tidied.load(Ordering::SeqCst)
        {
            self.tidied.store(pool.tidy().await, Ordering::SeqCst);
        }
        {
            let mut state = self.state();
            match (&*state, &opened) {
                // Nobody wants it any more.
                (State::Closed, _) => {}
                (_, Ok(pool)) => *state = State::Open(pool.clone()),
                (_, Err(_)) => *state = State::Empty,
            }
        }
        // Sent also if nobody waits: then nobody needs to know.
        let _ = done.send(Some(opened));
    }

    async fn transport(&self) -> Result<Arc<dyn Transport>, Error> {
        Ok(match &self.source {
            Source::Wsman { endpoint, first } => {
                let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
                match first {
                    Some(transport) => Arc::new(transport),
                    None => Arc::new(wsman(endpoint, &self.options).await?),
                }
            }
            Source::Program(program) => Arc::new(ServerMode::spawn(program)?),
            Source::Pipes(engine) => {
                let engine = engine.lock().unwrap_or_else(PoisonError::into_inner).take();
                Arc::new(engine.ok_or_else(|| {
                    Error::NotBegun("the engine behind the pipes is lost, and there is no other".into())
                })?)
            }
        })
    }
}
