//! The one writer of a status: writes only what differs from what stands, progress at most once in five seconds.
//!
//! It knows no Kubernetes: a [`StatusStore`] does, so that a simulation runs this very writer over an API server of its own.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::api::v1alpha1::PersistentChatFailoverStatus;
use crate::status::essence;

/// Least time between two writes that only tell progress.
const PROGRESS: Duration = Duration::from_secs(5);
/// How long a write may take to come back through the watch.
const ECHO: Duration = Duration::from_secs(3);
/// Pause after a write that failed.
const AGAIN: Duration = Duration::from_secs(2);

/// A status that is to be published, with what its store wants to know beside it.
pub trait Published: Clone + Send + Sync {
    /// The status.
    fn status(&self) -> &PersistentChatFailoverStatus;
}

impl Published for PersistentChatFailoverStatus {
    fn status(&self) -> &PersistentChatFailoverStatus {
        self
    }
}

/// Where a status is stored.
pub trait StatusStore<P: Published>: Send + Sync {
    /// Stores a whole status, whatever stood there.
    fn put(&self, wanted: &P) -> impl Future<Output = Result<(), NotWritten>> + Send;
    /// Tells what has happened between two statuses that were stored. That it is lost changes nothing.
    fn tell(
        &self,
        before: &PersistentChatFailoverStatus,
        after: &PersistentChatFailoverStatus,
    ) -> impl Future<Output = ()> + Send;
}

/// Why a status was not written.
#[derive(Debug)]
pub enum NotWritten {
    /// The object is not there any more: nobody will ever read it.
    Gone,
    /// It may go well another time: no answer, no right, no space.
    Failed(String),
    /// Another replica may hold the lease: the status is its to write.
    NotLeading,
}

impl std::fmt::Display for NotWritten {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NotWritten::Gone => f.write_str("cannot write the status: the resource is gone"),
            NotWritten::Failed(why) => write!(f, "cannot write the status: {why}"),
            NotWritten::NotLeading => {
                f.write_str("the status is written by the replica that holds the lease")
            }
        }
    }
}

/// Publishes what `next` says until nobody says anything any more, or the object is gone. `stored` is the status as the API server
/// last showed it.
pub async fn publish<P: Published>(
    store: &impl StatusStore<P>,
    mut stored: watch::Receiver<PersistentChatFailoverStatus>,
    mut next: watch::Receiver<P>,
) {
    // None: nothing was written yet, so that the first progress need not wait.
    let mut last: Option<Instant> = None;
    let mut standing = stored.borrow_and_update().clone();
    let (mut open, mut watched, mut compare) = (true, true, None);
    // What a status said when the worker began is not its word: it has not looked yet, and writes nothing.
    let mut told = false;
    while open {
        let at = compare.unwrap_or_else(Instant::now);
        // In a fixed order: the same events must give the same writes.
        tokio::select! {
            biased;
            changed = next.changed() => {
                open = changed.is_ok();
                told |= open;
            }
            changed = stored.changed(), if watched => {
                watched = changed.is_ok();
                compare = Some(last.map_or_else(Instant::now, |l| l + ECHO));
                continue;
            }
            // What our own writes brought about has come back by now; what still differs is somebody else's doing: a cluster that was
            // restored from a backup shows an old status.
            () = tokio::time::sleep_until(at), if compare.is_some() => {
                compare = None;
                standing = stored.borrow_and_update().clone();
            }
        }
        let mut wanted = next.borrow_and_update().clone();
        if *wanted.status() == standing || !told {
            continue;
        }
        if essence(wanted.status()) == essence(&standing) && open {
            open = progress_is_due(&mut next, &standing, last).await;
            wanted = next.borrow_and_update().clone();
        }
        // A write that fails is tried again with what is true by then; the failover itself never waits for it.
        while let Err(e) = store.put(&wanted).await {
            match e {
                NotWritten::Gone => return,
                NotWritten::Failed(_) | NotWritten::NotLeading if !open => return,
                NotWritten::Failed(_) => tracing::warn!(error = %e, "status"),
                NotWritten::NotLeading => tracing::debug!(error = %e, "status"),
            }
            tokio::time::sleep(AGAIN).await;
            wanted = next.borrow_and_update().clone();
        }
        let now = Instant::now();
        last = Some(now);
        compare = compare.map(|_| now + ECHO);
        store.tell(&standing, wanted.status()).await;
        standing = wanted.status().clone();
    }
}

/// Waits until progress may be written again, or there is more than progress to tell. Whether somebody is left to tell it.
async fn progress_is_due<P: Published>(
    next: &mut watch::Receiver<P>,
    standing: &PersistentChatFailoverStatus,
    last: Option<Instant>,
) -> bool {
    let due = last.map_or_else(Instant::now, |l| l + PROGRESS);
    tokio::select! {
        biased;
        () = tokio::time::sleep_until(due) => true,
        changed = next.wait_for(|p| essence(p.status()) != essence(standing)) => changed.is_ok(),
    }
}
