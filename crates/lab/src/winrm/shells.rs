//! The shells of a host as WinRM itself knows them, whatever is behind them: whose they are, who is connected to them, how many there
//! may be, and how long they stay when nobody asks.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use psrp::faults;
use psrp::wsman::{Element, Envelope, Fault, action};

use super::answers::{disconnected, no_such_shell};
use crate::scenario::WinRm;

/// IdleTimeOut of a shell that asks for none: recorded, `PT7200.000S`.
const USUAL_IDLE: f64 = 7200.0;
/// Least and most that a host takes (`[MS-WSMV]` 3.1.4.5.2; recorded, `MaxIdleTimeOut PT2147483.647S`).
const IDLE: std::ops::RangeInclusive<f64> = 60.0..=2_147_483.647;

/// How many shells a host has, had at most at once, and has made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Count {
    /// Shells that are there now.
    pub open: usize,
    /// Most that were there at once.
    pub most: usize,
    /// Shells that were ever made.
    pub created: u64,
}

/// Whose a shell is, and how it stands with its client.
pub(super) struct Owned {
    resource: String,
    session: String,
    /// Its client has not left it.
    connected: bool,
    /// Requests about it that are being answered: who waits is there.
    serving: u32,
    /// Since when nobody has asked; while it is disconnected, since when it is.
    since: Instant,
    /// IdleTimeOut, in seconds of its own.
    pub(super) idle: f64,
    /// BufferMode.
    pub(super) buffer: &'static str,
    /// Its name, if its client gave it one.
    pub(super) name: Option<String>,
}

impl Owned {
    /// Same resource URI as its Create, and its session, unless it is being taken over.
    fn admits(&self, e: &Envelope) -> Result<(), Fault> {
        if !self.resource.eq_ignore_ascii_case(&e.resource_uri) {
            return Err(no_such_shell());
        }
        let free = e.action == action::CONNECT || e.action == action::DELETE;
        if e.session_id.is_empty() || (!free && self.session != e.session_id) {
            return Err(Fault {
                code: faults::SESSION_MISMATCH,
                subcode: "w:InternalError".into(),
                message: "The SessionId is missing or another client's.".into(),
            });
        }
        let left = free || e.action == action::RECONNECT;
        if !left && !self.connected {
            return Err(disconnected());
        }
        Ok(())
    }

    /// As Enumerate shows it.
    pub(super) fn state(&self) -> &'static str {
        if self.connected { "Connected" } else { "Disconnected" }
    }

    /// Its resource URI.
    pub(super) fn resource(&self) -> &str {
        &self.resource
    }
}

#[derive(Default)]
struct Inner {
    shells: BTreeMap<String, Owned>,
    operations: u32,
    most: usize,
    created: u64,
}

/// The shells of a host.
pub(super) struct Registry {
    limits: WinRm,
    inner: Mutex<Inner>,
}

/// A request that is being answered. Dropped, it is not any more.
pub(super) struct Asking<'a> {
    registry: &'a Registry,
    shell: Option<String>,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut inner = self.registry.inner();
        inner.operations = inner.operations.saturating_sub(1);
        if let Some(shell) = self.shell.as_ref().and_then(|id| inner.shells.get_mut(id)) {
            shell.serving = shell.serving.saturating_sub(1);
            shell.since = Instant::now();
        }
    }
}

impl Registry {
    pub(super) fn new(limits: WinRm) -> Registry {
        Registry { limits, inner: Mutex::new(Inner::default()) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets time do what it does: a shell that nobody asks becomes disconnected, one that is disconnected for longer than its idle
    /// time-out is gone. Gives the ids of those: the caller ends what runs in them.
    pub(super) fn pass_time(&self) -> Vec<String> {
        let now = Instant::now();
        let mut inner = self.inner();
        let silent = Duration::from_millis(self.limits.disconnect_ms);
        let mut gone = Vec::new();
        for (id, shell) in &mut inner.shells {
            if shell.connected && shell.serving == 0 && now.duration_since(shell.since) >= silent {
                (shell.connected, shell.since) = (false, now);
            }
            let idle = Duration::from_millis(self.limits.idle_second_ms).mul_f64(shell.idle);
            if !shell.connected && now.duration_since(shell.since) >= idle {
                gone.push(id.clone());
            }
        }
        inner.shells.retain(|id, _| !gone.contains(id));
        gone
    }

    /// Begins to answer a request about a shell, or about the host.
    pub(super) fn ask(&self, e: &Envelope) -> Result<Asking<'_>, Fault> {
        let mut inner = self.inner();
        if inner.operations >= self.limits.operations {
            return Err(Fault {
                code: faults::MAX_OPERATIONS,
                subcode: "w:QuotaLimit".into(),
                message: format!(
                    "The WS-Management service cannot process the request. This user is allowed a maximum number of {} concurrent operations, which has been exceeded.",
                    self.limits.operations
                ),
            });
        }
        let about_host = e.action == action::CREATE || e.action == action::ENUMERATE;
        let shell = if about_host {
            None
        } else {
            let id = e.shell_id.clone().ok_or_else(no_such_shell)?;
            let shell = inner.shells.get_mut(&id).ok_or_else(no_such_shell)?;
            shell.admits(e)?;
            // What others ask about it is no sign of life of its client's.
            let own = shell.session == e.session_id;
            shell.serving += u32::from(own);
            own.then_some(id)
        };
        inner.operations += 1;
        Ok(Asking { registry: self, shell })
    }

    /// Whether a shell is still its client's: a request that waits asks again and again.
    pub(super) fn still(&self, e: &Envelope) -> Result<(), Fault> {
        let inner = self.inner();
        let shell = e.shell_id.as_ref().and_then(|id| inner.shells.get(id)).ok_or_else(no_such_shell)?;
        shell.admits(e)
    }

    /// Takes a new shell in.
    pub(super) fn create(&self, e: &Envelope, key: &str, shell: &Element) -> Result<f64, Fault> {
        let mut inner = self.inner();
        if inner.shells.len() >= self.limits.shells {
            return Err(Fault {
                code: faults::MAX_SHELLS,
                subcode: "w:QuotaLimit".into(),
                message: format!(
                    "The WS-Management service cannot process the request. This user is allowed a maximum number of {} concurrent shells, which has been exceeded. Close existing shells or raise the quota for this user.",
                    self.limits.shells
                ),
            });
        }
        if inner.shells.contains_key(key) {
            return Err(super::answers::bad("the ShellId is taken"));
        }
        let idle = idle_timeout(shell)?.unwrap_or(USUAL_IDLE);
        let owned = Owned {
            resource: e.resource_uri.clone(),
            session: e.session_id.clone(),
            connected: true,
            serving: 0,
            since: Instant::now(),
            idle,
            buffer: "Block",
            name: shell.attribute("Name").map(str::to_string),
        };
        inner.shells.insert(key.into(), owned);
        inner.created += 1;
        inner.most = inner.most.max(inner.shells.len());
        Ok(idle)
    }

    /// A shell is made, and its client knows it: what it took to make it counts for nothing.
    pub(super) fn made(&self, key: &str) {
        if let Some(shell) = self.inner().shells.get_mut(key) {
            (shell.connected, shell.since) = (true, Instant::now());
        }
    }

    /// Forgets a shell.
    pub(super) fn remove(&self, key: &str) {
        self.inner().shells.remove(key);
    }

    /// Its client leaves a shell (`[MS-WSMV]` 3.1.4.15).
    pub(super) fn disconnect(&self, e: &Envelope) -> Result<(), Fault> {
        let wanted = e.body.find("Disconnect").cloned().unwrap_or_default();
        let idle = idle_timeout(&wanted)?;
        let buffer = wanted.find("BufferMode").map(|b| b.text.trim().to_string());
        self.change(e, |shell| {
            (shell.connected, shell.since) = (false, Instant::now());
            shell.idle = idle.unwrap_or(shell.idle);
            match buffer.as_deref() {
                None => {}
                Some("Block") => shell.buffer = "Block",
                Some("Drop") => shell.buffer = "Drop",
                Some(other) => return Err(super::answers::bad(format!("{other:?} is no BufferMode"))),
            }
            Ok(())
        })
    }

    /// A client connects to a shell that was left (`[MS-WSMV]` 3.1.4.17).
    pub(super) fn connect(&self, e: &Envelope) -> Result<(), Fault> {
        self.change(e, |shell| {
            if shell.connected {
                return Err(Fault {
                    code: faults::CONNECTED_ELSEWHERE,
                    subcode: "w:InternalError".into(),
                    message: "The WinRM Shell client cannot process the request. The shell is currently connected to a different client.".into(),
                });
            }
            (shell.session, shell.connected, shell.since) = (e.session_id.clone(), true, Instant::now());
            Ok(())
        })
    }

    /// The same client comes back. That it had not left is recorded to be no error after a Connect.
    pub(super) fn reconnect(&self, e: &Envelope) -> Result<(), Fault> {
        self.change(e, |shell| {
            shell.connected = true;
            Ok(())
        })
    }

    fn change(&self, e: &Envelope, f: impl FnOnce(&mut Owned) -> Result<(), Fault>) -> Result<(), Fault> {
        let mut inner = self.inner();
        let shell = e.shell_id.as_ref().and_then(|id| inner.shells.get_mut(id)).ok_or_else(no_such_shell)?;
        f(shell)
    }

    /// Every shell, for Enumerate.
    pub(super) fn each<T>(&self, mut f: impl FnMut(&str, &Owned) -> T) -> Vec<T> {
        self.inner().shells.iter().map(|(id, shell)| f(id, shell)).collect()
    }

    /// Nothing is left where there is no power.
    pub(super) fn clear(&self) {
        self.inner().shells.clear();
    }

    pub(super) fn count(&self) -> Count {
        let inner = self.inner();
        Count { open: inner.shells.len(), most: inner.most, created: inner.created }
    }
}

/// The IdleTimeOut that a request asks for, in seconds, if it does.
fn idle_timeout(e: &Element) -> Result<Option<f64>, Fault> {
    let text = e.find("IdleTimeOut").or_else(|| e.find("IdleTimeout"));
    let text = text.map(|i| i.text.as_str()).or_else(|| e.attribute("IdleTimeOut"));
    let Some(text) = text.map(str::trim).filter(|t| !t.is_empty()) else { return Ok(None) };
    let seconds =
        text.strip_prefix("PT").and_then(|t| t.strip_suffix('S')).and_then(|t| t.parse::<f64>().ok());
    match seconds {
        Some(seconds) if IDLE.contains(&seconds) => Ok(Some(seconds)),
        Some(_) | None => Err(Fault {
            code: faults::IDLE_TIMEOUT_OUT_OF_BOUNDS,
            subcode: "w:InvalidParameter".into(),
            message: format!(
                "The WS-Management service cannot process the request because the idle timeout {text} is out of bounds."
            ),
        }),
    }
}
