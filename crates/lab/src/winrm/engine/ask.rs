//! The socket that an engine's module asks the lab at: one line for a cmdlet, one line back when it has ended. A cmdlet whose
//! connection is closed before, by a pipeline that was stopped or a process that is gone, is aborted.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::plain::{Question, answer};
use crate::chat::SHELL_USER;
use crate::chat::cmdlets::{self, Finished, Started};
use crate::world::SharedWorld;

/// Longest question.
const MAX_QUESTION: u64 = 256 * 1024;

/// Answers whoever asks, until it is dropped.
pub(super) async fn serve(listener: UnixListener, world: SharedWorld) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let world = world.clone();
                    connections.spawn(async move {
                        if let Err(e) = one(stream, world).await {
                            tracing::warn!(error = e, "a cmdlet of an engine");
                        }
                    });
                }
                Err(e) => tracing::warn!(error = %e, "cannot accept an engine's question"),
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn one(stream: UnixStream, world: SharedWorld) -> Result<(), String> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = String::new();
    (&mut reader).take(MAX_QUESTION).read_line(&mut line).await.map_err(|e| e.to_string())?;
    let question: Question = serde_json::from_str(&line).map_err(|e| e.to_string())?;
    let id = {
        let mut now = world.now();
        // Its process has a moment left at most.
        if !now.host_is_up(&question.host) {
            return Err(format!("{} has no power", question.host));
        }
        cmdlets::start(&mut now, &question.host, SHELL_USER, &question.command())
    };
    let started = Started::new(world, id);
    let Some(finished) = ended(&started, &mut reader).await? else { return Ok(()) };
    let text = format!("{}\n", answer(&finished)?);
    writer.write_all(text.as_bytes()).await.map_err(|e| e.to_string())
}

/// Waits for the end of a cmdlet; none if who asked has hung up.
async fn ended(started: &Started, reader: &mut BufReader<OwnedReadHalf>) -> Result<Option<Finished>, String> {
    let mut more = [0; 1];
    loop {
        if let Some(finished) = started.poll() {
            return Ok(Some(finished));
        }
        tokio::select! {
            // The world has no bell for what its clock brings.
            () = tokio::time::sleep(Duration::from_millis(10)) => {}
            () = started.world().changed() => {}
            read = reader.read(&mut more) => match read {
                Ok(0) | Err(_) => return Ok(None),
                Ok(_) => return Err("a module asks one thing for each connection".into()),
            },
        }
    }
}
