//! File operations beside the runtime, on mounts that may hang for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;

use crate::domain::problem::{Problem, Reason};

/// Longest wait for a folder to be listed, and for the next bytes of a copy.
const FOLDER: Duration = Duration::from_secs(20);
const STALLED_COPY: Duration = Duration::from_secs(60);

/// One thing that is done with one folder. Each may hang by itself, on a mount whose server is gone.
#[derive(Clone, Debug, Default)]
pub(super) struct Slot(Arc<Mutex<()>>);

impl Slot {
    /// Runs a file operation beside the runtime. A mount whose server is gone may hang for ever, and nothing can end such a call: it is
    /// left to itself, and the same thing is not begun again before it has come back. `moved` counts the bytes of a copy, which
    /// may take long as long as it goes on.
    pub async fn run<T: Send + 'static>(
        &self,
        field: &str,
        moved: Option<Arc<AtomicU64>>,
        f: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let hangs = |what: &str| {
            Problem::retry(
                Reason::FolderUnusable,
                format!("The folder of {field} does not answer: {what}"),
                "Check the mount and the file server behind it; the mount may have to be made anew",
            )
        };
        let Ok(held) = self.0.clone().try_lock_owned() else {
            return Err(hangs("an earlier request has not come back"));
        };
        let mut task = tokio::task::spawn_blocking(move || {
            let result = f();
            drop(held);
            result
        });
        let mut before = None;
        loop {
            let limit = if moved.is_some() { STALLED_COPY } else { FOLDER };
            match tokio::time::timeout(limit, &mut task).await {
                Ok(Ok(result)) => return result,
                Ok(Err(e)) => {
                    return Err(Problem::retry(
                        Reason::InternalError,
                        format!("a request to the folder of {field} was cut off: {e}"),
                        "It is tried again",
                    ));
                }
                Err(_) => {
                    let now = moved.as_ref().map(|m| m.load(Ordering::Relaxed));
                    if now == before {
                        return Err(hangs(&format!("nothing within {} s", limit.as_secs())));
                    }
                    before = now;
                }
            }
        }
    }
}
