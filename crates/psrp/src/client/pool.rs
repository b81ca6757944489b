//! A runspace pool, opened through a transport.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::clixml::Value;
use crate::error::Error;
use crate::fragment::{Assembler, Fragmenter};
use crate::message::{self, ErrorRecord, Message, kind};
use crate::transport::Transport;
use crate::transport::orphans::ShellName;

/// How long deleting what other starts of the process have left may take: whoever asked for the pool waits for it.
const TIDY: Duration = Duration::from_secs(5);

/// Data of a fragment so that its base64 and the envelope stay below 150 KiB.
pub(crate) const FRAGMENT: usize = 32 * 1024;

/// What a runspace pool is opened with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    /// MaxRunspaces: how many commands run at once; more wait here, in order, and nothing of them is sent. The server makes a
    /// runspace only when one is needed.
    pub runspaces: u16,
    /// How long opening may take: logon, process start, profile.
    pub open_timeout: Duration,
    /// How long a command may take to stop. If it does not, its pool is left to itself and replaced.
    pub stop_timeout: Duration,
    /// IdleTimeOut of a shell on the host, at least a minute; absent: the host's default, two hours. WS-Management only.
    pub idle_timeout: Option<Duration>,
    /// What its shell is called on the host; absent: `persistent-chat-failover`. WS-Management only.
    pub name: Option<ShellName>,
}

impl Default for PoolOptions {
    fn default() -> Self {
        PoolOptions {
            runspaces: 8,
            open_timeout: Duration::from_secs(120),
            stop_timeout: Duration::from_secs(20),
            idle_timeout: None,
            name: None,
        }
    }
}

/// An open pool. Dropped, by the last that uses it, it is closed.
pub(crate) struct Pool {
    pub id: Uuid,
    pub transport: Arc<dyn Transport>,
    fragmenter: Mutex<Fragmenter>,
    /// A permit for each runspace. Closed when the pool takes no more commands.
    pub runspaces: Arc<Semaphore>,
    pub options: PoolOptions,
    /// The version of the server's PowerShell, if it said so.
    pub version: OnceLock<String>,
    retired: AtomicBool,
    closed: AtomicBool,
    used: Mutex<Instant>,
}

/// The first two messages of a client about a pool: what it can, and what it wants.
pub(crate) fn greeting(fragmenter: &mut Fragmenter, pool: Uuid, kind: u32, body: String) -> Vec<u8> {
    let messages = [(kind::SESSION_CAPABILITY, message::session_capability()), (kind, body)];
    let fragments = messages.into_iter().flat_map(|(kind, body)| {
        let m = Message { kind, pool, pipeline: Uuid::nil(), body };
        fragmenter.fragment(&m.encode(true))
    });
    fragments.flatten().collect()
}

/// What an opened pool goes on with.
pub(crate) struct Opened {
    /// It counts on.
    pub fragmenter: Fragmenter,
    /// The version of the server's PowerShell, if it said so before the pool was open, as recorded ones do.
    version: Option<String>,
}

/// What came for the pool.
#[derive(Default)]
struct Told {
    /// Its states, with their reasons.
    states: Vec<(i64, String)>,
    version: Option<String>,
}

/// Opens a pool and waits until it is open.
pub(crate) async fn open(transport: &dyn Transport, id: Uuid, runspaces: u16) -> Result<Opened, Error> {
    let mut fragmenter = Fragmenter::new(FRAGMENT);
    let bytes = greeting(&mut fragmenter, id, kind::INIT_RUNSPACEPOOL, message::init_runspacepool(runspaces));
    transport.open(id, bytes).await?;
    let (mut assembler, mut version) = (Assembler::default(), None);
    loop {
        // From here on there is a shell: a fault about it is no refusal to make one.
        let told = told(transport, &mut assembler).await.map_err(|e| match e {
            Error::Fault(_) => Error::NotBegun(e.to_string()),
            other @ (Error::Connect(_)
            | Error::Tls(_)
            | Error::Unauthorized(_)
            | Error::NotBegun(_)
            | Error::Lost(_)
            | Error::Protocol(_)) => other,
        })?;
        version = told.version.or(version);
        for state in told.states {
            match state {
                (2, _) => return Ok(Opened { fragmenter, version }),
                (3..=5, why) => {
                    return Err(Error::Protocol(format!("the runspace pool did not open: {why}")));
                }
                _ => {}
            }
        }
    }
}

/// What comes for the pool next.
async fn told(transport: &dyn Transport, assembler: &mut Assembler) -> Result<Told, Error> {
    let mut told = Told::default();
    for bytes in transport.receive(None).await?.fragments {
        for m in assembler.push(&bytes).map_err(Error::Protocol)? {
            let m = Message::decode(&m).map_err(|e| Error::Protocol(e.to_string()))?;
            if m.kind == kind::RUNSPACEPOOL_HOST_CALL {
                let call = message::host_call_that_waits(&m.body);
                let call = call.map_err(|e| Error::Protocol(e.to_string()))?;
                // As good as broken: it would wait for ever.
                told.states.extend(
                    call.map(|call| (5, format!("it asks its host (call {call}), and there is none"))),
                );
            }
            if m.kind == kind::APPLICATION_PRIVATE_DATA {
                told.version = message::power_shell_version(&m.body);
            }
            if m.kind != kind::RUNSPACEPOOL_STATE {
                continue;
            }
            let v = crate::clixml::read(&m.body).map_err(|e| Error::Protocol(e.to_string()))?;
            let why = v.get("ExceptionAsErrorRecord").map(ErrorRecord::from_value).unwrap_or_default();
            told.states.extend(v.get("RunspaceState").and_then(Value::as_i64).map(|s| (s, why.message)));
        }
    }
    Ok(told)
}

impl Pool {
    /// Opens a pool. If that fails, nothing is left behind, as far as the server lets itself be told.
    pub async fn open(transport: Arc<dyn Transport>, options: PoolOptions) -> Result<Arc<Pool>, Error> {
        let id = Uuid::new_v4();
        let pool = Pool {
            id,
            transport: transport.clone(),
            fragmenter: Mutex::new(Fragmenter::new(FRAGMENT)),
            runspaces: Arc::new(Semaphore::new(options.runspaces.max(1).into())),
            options,
            version: OnceLock::new(),
            retired: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            used: Mutex::new(Instant::now()),
        };
        let opening = open(transport.as_ref(), id, pool.options.runspaces.max(1));
        let opened = tokio::time::timeout(pool.options.open_timeout, opening).await.map_err(|_| {
            Error::NotBegun(format!("the runspace pool did not open within {:?}", pool.options.open_timeout))
        })?;
        if let Err(Error::Connect(_) | Error::Tls(_) | Error::Unauthorized(_) | Error::Fault(_)) = &opened {
            // There is no pool to close, and another logon would count as one more failure.
            pool.closed.store(true, Ordering::SeqCst);
        }
        let Opened { fragmenter, version } = opened?;
        if let Some(version) = version {
            pool.version.get_or_init(|| version);
        }
        *pool.fragmenter.lock().unwrap_or_else(PoisonError::into_inner) = fragmenter;
        let pool = Arc::new(pool);
        if pool.transport.pushes() {
            tokio::spawn(watch(pool.transport.clone(), Arc::downgrade(&pool)));
        }
        Ok(pool)
    }

    /// The fragments of a message.
    pub fn fragments(&self, kind: u32, pipeline: Uuid, body: String) -> Vec<Vec<u8>> {
        let m = Message { kind, pool: self.id, pipeline, body };
        self.fragmenter.lock().unwrap_or_else(PoisonError::into_inner).fragment(&m.encode(true))
    }

    /// Takes no more commands. Those that run go on; who waits for a runspace turns to another pool.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::SeqCst);
        self.runspaces.close();
    }

    /// Whether a command may be given to it. A shell that nobody asked for as long as `idle` is not trusted: the host may have
    /// disconnected it.
    pub fn usable(&self, idle: Option<Duration>) -> bool {
        let free = self.is_free();
        let unused = self.used.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
        let stale = free && idle.is_some_and(|idle| unused > idle);
        !self.retired.load(Ordering::SeqCst) && !stale && self.transport.broken().is_none()
    }

    /// Whether nothing runs in it.
    pub fn is_free(&self) -> bool {
        self.runspaces.available_permits() >= usize::from(self.options.runspaces.max(1))
    }

    /// It was used now.
    pub fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Deletes what other starts of the process have left, and what still runs there with it: before anything is asked for, so that
    /// what is looked at is not changed by a cmdlet that nobody waits for any more. Whether it could be done.
    pub async fn tidy(&self) -> bool {
        match tokio::time::timeout(TIDY, self.transport.tidy()).await {
            Ok(Ok(0)) => true,
            Ok(Ok(left)) => {
                tracing::debug!(shells = left, "what another start of this process had left was deleted");
                true
            }
            Ok(Err(e)) => {
                tracing::debug!(error = %e, "what another start of this process may have left stays");
                false
            }
            Err(_) => {
                tracing::debug!("what another start of this process may have left stays: it took too long");
                false
            }
        }
    }

    /// Closes the pool now, with all that runs in it: a server that closes one ends its commands. Whether the server says so.
    pub async fn end(&self) -> bool {
        self.retire();
        self.closed.store(true, Ordering::SeqCst);
        matches!(tokio::time::timeout(self.options.stop_timeout, self.transport.close()).await, Ok(Ok(())))
    }

    /// Waits for what runs, at most as long as a command may take to stop, and closes the pool.
    pub async fn close(&self) -> Result<(), Error> {
        let all = u32::from(self.options.runspaces.max(1));
        let idle = tokio::time::timeout(self.options.stop_timeout, self.runspaces.acquire_many(all)).await;
        if idle.is_err() {
            tracing::debug!("the pool is closed with a command that did not stop");
        }
        self.retire();
        self.closed.store(true, Ordering::SeqCst);
        self.transport.close().await
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.closed.load(Ordering::SeqCst) {
            return;
        }
        let (transport, limit) = (self.transport.clone(), self.options.stop_timeout);
        // Without a runtime there is nothing that could send a word; the server's idle time-out does it then.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            match tokio::time::timeout(limit, transport.close()).await {
                Ok(Ok(())) => {}
                Ok(Err(e)) => tracing::debug!(error = %e, "a runspace pool was not closed"),
                Err(_) => tracing::debug!("a runspace pool was not closed in time"),
            }
        });
    }
}

/// Looks after the pool's own messages, where they come unasked.
async fn watch(transport: Arc<dyn Transport>, pool: std::sync::Weak<Pool>) {
    let mut assembler = Assembler::default();
    loop {
        let over = match told(transport.as_ref(), &mut assembler).await {
            Ok(told) => told.states.iter().any(|(state, _)| matches!(state, 3..=5)),
            Err(_) => true,
        };
        let Some(pool) = pool.upgrade() else { return };
        if over {
            pool.retire();
            return;
        }
    }
}
