//! One command, from its first request to the last word about it on the server.
//!
//! It is a task of its own: whoever waits for the answer may go away at any time, and the command is stopped all the same, in
//! step with the protocol.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;
use uuid::Uuid;

use super::collect::{Collector, Output};
use super::pool::Pool;
use crate::error::Error;
use crate::message::{self, Command, PipelineState, kind};
use crate::transport::{Doing, Received, Transport};

/// A command that has its runspace.
pub(crate) struct Run {
    pub pool: Arc<Pool>,
    /// Held until the server has forgotten the command.
    pub runspace: OwnedSemaphorePermit,
    pub command: Command,
    pub until: Instant,
    /// Time that went by before it had its runspace.
    pub waited: Duration,
    /// Whether nobody is told of a doubt before all was tried that ends the command on the host.
    pub to_the_end: bool,
    pub answer: oneshot::Sender<Result<Output, Error>>,
}

/// The one that waits for the answer.
struct Caller {
    answer: Option<oneshot::Sender<Result<Output, Error>>>,
    until: Instant,
    waited: Duration,
    /// Why there is no use in going on; it is told when the command has stopped, or has not.
    gave_up: Option<String>,
    /// What it gave was lost in part: an end that comes is no answer any more.
    spoiled: bool,
    to_the_end: bool,
}

impl Caller {
    fn tell(&mut self, result: Result<Output, Error>) {
        if let Some(answer) = self.answer.take() {
            // Who has gone away wants no answer.
            let _ = answer.send(result);
        }
    }

    /// Waits until there is no use in going on, and says why; for ever once that is known, or the caller has its answer.
    async fn gives_up(&mut self) -> String {
        let Some(answer) = self.answer.as_mut().filter(|_| self.gave_up.is_none()) else {
            return std::future::pending().await;
        };
        tokio::select! {
            () = tokio::time::sleep_until(self.until) => {
                let waited = self.waited.as_secs_f64();
                format!("the deadline passed, {waited:.1} s of it before a runspace was free; the command was told to stop")
            }
            () = answer.closed() => "nobody waits for it any more".into(),
        }
    }

    /// What it gave is lost, in part or whole. Who waits to the end is told when nothing more can be done about it.
    fn lost(&mut self, e: Error) {
        self.spoiled = true;
        if self.to_the_end && e.outcome_unknown() && self.answer.is_some() {
            let why = if let Error::Lost(why) = e { why } else { e.to_string() };
            self.gave_up.get_or_insert(why);
        } else {
            self.gave_up = None;
            self.tell(Err(e));
        }
    }

    /// The end of a command that was told to stop: what it did may be undone, done in part, or whole.
    fn told_to_stop(&mut self, how: &str) {
        if let Some(why) = self.gave_up.take() {
            self.tell(Err(Error::Lost(format!("{why}; {how}"))));
        }
    }

    /// Its output is here. That of a command which was told to stop counts if it had come to its end before.
    fn has(&mut self, output: Output) {
        if self.spoiled {
            return self.told_to_stop("it has ended");
        }
        if self.gave_up.is_none() || output.state == PipelineState::Completed {
            self.gave_up = None;
            self.tell(Ok(output));
        }
    }
}

/// How it stands with the pipeline on the server when nothing more is received for it.
enum End {
    /// It has ended.
    Ended,
    /// It may still run.
    Unknown,
    /// It was told to stop and goes on.
    Runs,
}

/// Runs a command.
pub(crate) async fn run(run: Run) {
    let Run { pool, runspace, command, until, waited, to_the_end, answer } = run;
    let mut caller =
        Caller { answer: Some(answer), until, waited, gave_up: None, spoiled: false, to_the_end };
    let pipeline = Uuid::new_v4();
    let fragments = pool.fragments(kind::CREATE_PIPELINE, pipeline, message::create_pipeline(&command));
    let limit = pool.options.stop_timeout;
    let mut begin = pool.transport.begin(pipeline, fragments);
    let begun = tokio::select! {
        biased;
        begun = &mut begin => Ok(begun),
        why = caller.gives_up() => {
            caller.gave_up = Some(why);
            tokio::time::timeout(limit, &mut begin).await
        }
    };
    drop(begin);
    let end = match begun {
        Ok(Ok(())) => collect(pool.transport.as_ref(), pipeline, &mut caller, limit).await,
        Ok(Err(e)) => {
            let unknown = e.outcome_unknown();
            caller.lost(e);
            if !unknown {
                return;
            }
            End::Unknown
        }
        Err(_) => End::Runs,
    };
    match (&end, to_the_end) {
        (End::Ended, _) => caller.told_to_stop("it has stopped"),
        (End::Unknown, false) => caller.told_to_stop("whether it has stopped is not known"),
        (End::Runs, false) => caller.told_to_stop("it does not stop"),
        (End::Unknown | End::Runs, true) => {}
    }
    // Frees the command on the server: a shell may hold a thousand only. What is told already nothing here can spoil.
    let finished = tokio::time::timeout(limit, pool.transport.finish(pipeline)).await;
    match (end, finished) {
        (End::Ended | End::Unknown, Ok(Ok(()))) => pool.touch(),
        (End::Runs, _) | (End::Ended | End::Unknown, Ok(Err(_)) | Err(_)) => {
            tracing::debug!(command = command.name, "a command was not freed: its runspace pool is left");
            pool.retire();
        }
    }
    // Whoever still waits here waits to the end. A command that is freed is asked to stop, no more, and may go on in its process; that
    // ends with the shell (Microsoft on `Remove-PSSession`: it stops what runs; each recorded shell has a process of its own).
    if caller.gave_up.is_some() {
        caller.told_to_stop(match pool.end().await {
            true => "it was ended on the host, with its shell",
            // A host that hears nothing from the client disconnects the shell after one to four minutes, and deletes it after its idle
            // time-out.
            false => {
                "whether it goes on is not known: the host ends it when its shell's idle time-out has passed"
            }
        });
    }
    drop(runspace);
}

/// Receives until the pipeline has ended.
async fn collect(transport: &dyn Transport, pipeline: Uuid, caller: &mut Caller, limit: Duration) -> End {
    let mut collector = Collector::new(transport.pushes());
    let begin_stop = || Some(Stop { told: Some(transport.stop(pipeline)), by: Instant::now() + limit });
    let mut stop: Option<Stop<'_>> = if caller.gave_up.is_some() { begin_stop() } else { None };
    // Never dropped in the middle: what a Receive brings exists once.
    let mut receive = transport.receive(Some(pipeline));
    loop {
        let received = tokio::select! {
            // First what a flood of output must not hold up.
            biased;
            why = caller.gives_up() => {
                caller.gave_up = Some(why);
                stop = begin_stop();
                continue;
            }
            end = stopping(&mut stop) => return end,
            received = &mut receive => received,
        };
        match received {
            Ok(received) if caller.answer.is_none() => {
                if collector.discard(&received) {
                    return End::Ended;
                }
            }
            Ok(received) => match collector.take(&received) {
                Ok(None) => {}
                Ok(Some(output)) => {
                    caller.has(output);
                    return End::Ended;
                }
                Err(e) => {
                    caller.lost(e.after_start());
                    if collector.discard(&Received { done: received.done, ..Received::default() }) {
                        return End::Ended;
                    }
                    if stop.is_none() {
                        stop = begin_stop();
                    }
                }
            },
            // More than is held came at once; it still runs.
            Err(e) if transport.pushes() && transport.broken().is_none() => {
                caller.lost(e.after_start());
                if stop.is_none() {
                    stop = begin_stop();
                }
            }
            Err(e) => {
                if caller.gave_up.is_none() {
                    caller.lost(e.after_start());
                }
                return End::Unknown;
            }
        }
        receive = transport.receive(Some(pipeline));
    }
}

/// A command that was told to stop.
struct Stop<'a> {
    /// The telling; none when it is done.
    told: Option<Doing<'a, ()>>,
    /// When there is no use in waiting any longer.
    by: Instant,
}

/// Tells a command to stop and waits for its end, which comes through Receive; ends when that is to no purpose. For ever if it
/// was not told to.
async fn stopping(stop: &mut Option<Stop<'_>>) -> End {
    let Some(stop) = stop else { return std::future::pending().await };
    if let Some(told) = &mut stop.told {
        match tokio::time::timeout_at(stop.by, told).await {
            Ok(Ok(())) => stop.told = None,
            Ok(Err(_)) => return End::Unknown,
            Err(_) => return End::Runs,
        }
    }
    tokio::time::sleep_until(stop.by).await;
    End::Runs
}
