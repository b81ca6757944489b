//! PowerShell's server mode: [lines](crate::server_mode) over a pair of pipes, usually those of a child process.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::process::{Child, Command};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{AbortHandle, JoinHandle};
use uuid::Uuid;

use super::{Doing, Received, Transport};
use crate::client::{MAX_OUTPUT, too_much};
use crate::error::Error;
use crate::server_mode::{Line, MAX_LINE, NoLine, Stream};

/// How long an engine may take to close its pool, and then to end.
const ENDING: Duration = Duration::from_secs(5);
/// What is kept of an engine's standard error, from its end.
const LAST_WORDS: usize = 2048;
/// How long is waited for the end of it when the engine has ended.
const LAST_WORDS_TIME: Duration = Duration::from_secs(1);

/// A program that speaks server mode on its standard input and output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The program; a bare name is looked up on the PATH.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Environment variables besides those of this process.
    pub environment: Vec<(OsString, OsString)>,
}

/// Why no line could be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The pipe failed, or ended in the middle of a line.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// What came is no line of the protocol.
    #[error(transparent)]
    NoLine(#[from] NoLine),
}

/// Reads lines, at most [`MAX_LINE`] bytes each. Of either end.
pub struct LineReader<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    /// Of a pipe.
    pub fn new(pipe: R) -> Self {
        LineReader { reader: BufReader::new(pipe), line: Vec::new() }
    }

    /// The next line, or none at the end of the pipe. Nothing is lost if the future is dropped. Empty lines are passed over.
    pub async fn next(&mut self) -> Result<Option<Line>, ReadError> {
        loop {
            let came = self.reader.fill_buf().await?;
            if came.is_empty() {
                if self.line.trim_ascii().is_empty() {
                    return Ok(None);
                }
                let cut = "the pipe ended in the middle of a line";
                return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, cut).into());
            }
            let end = came.iter().position(|b| *b == b'\n');
            let part = came.get(..end.unwrap_or(came.len())).unwrap_or_default();
            if self.line.len() + part.len() > MAX_LINE {
                return Err(NoLine::TooLong.into());
            }
            self.line.extend_from_slice(part);
            let consumed = part.len() + usize::from(end.is_some());
            self.reader.consume(consumed);
            if end.is_some() {
                let line = std::mem::take(&mut self.line);
                let line = String::from_utf8_lossy(&line);
                if !line.trim().is_empty() {
                    return Ok(Some(Line::read(&line)?));
                }
            }
        }
    }
}

/// What has come for a pipeline, or for the pool, and was not taken yet.
#[derive(Default)]
struct Queue {
    fragments: Vec<Vec<u8>>,
    /// Bytes of them. More than [`MAX_OUTPUT`] are not held.
    held: usize,
    /// Whether something was thrown away.
    overflown: bool,
    came: Arc<Notify>,
}

#[derive(Default)]
struct State {
    queues: HashMap<Uuid, Queue>,
    /// Who waits for which acknowledgement.
    awaited: HashMap<(&'static str, Uuid), oneshot::Sender<()>>,
    broken: Option<Error>,
    /// Tells all that wait for nothing but the end.
    over: Arc<Notify>,
}

/// The engine's process, if it is one, and the end of what it wrote to standard error.
#[derive(Clone, Default)]
struct Engine {
    child: Arc<tokio::sync::Mutex<Option<Child>>>,
    last_words: Arc<Mutex<Option<JoinHandle<String>>>>,
}

/// An engine behind a pair of pipes.
pub(crate) struct ServerMode {
    state: Arc<Mutex<State>>,
    /// Whole lines, for the task that writes: a sender that is dropped leaves no half of one.
    lines: Mutex<Option<mpsc::UnboundedSender<String>>>,
    engine: Engine,
    reader: AbortHandle,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ServerMode {
    /// Starts a program and speaks to it. It is killed when it does not end by itself.
    pub fn spawn(program: &Program) -> Result<ServerMode, Error> {
        let refused = |e: std::io::Error| {
            Error::Connect(format!("{} cannot be started: {e}", program.path.to_string_lossy()))
        };
        let mut child = Command::new(&program.path)
            .args(&program.arguments)
            .envs(program.environment.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(refused)?;
        let (Some(input), Some(output), Some(words)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(refused(std::io::Error::other("its pipes are missing")));
        };
        let engine = Engine {
            child: Arc::new(tokio::sync::Mutex::new(Some(child))),
            last_words: Arc::new(Mutex::new(Some(tokio::spawn(last_words(words))))),
        };
        Ok(ServerMode::over(output, input, engine))
    }

    /// Speaks over pipes to an engine that somebody else has started.
    pub fn pipes(
        from_engine: impl AsyncRead + Send + Unpin + 'static,
        to_engine: impl AsyncWrite + Send + Unpin + 'static,
    ) -> ServerMode {
        ServerMode::over(from_engine, to_engine, Engine::default())
    }

    fn over(
        from_engine: impl AsyncRead + Send + Unpin + 'static,
        mut to_engine: impl AsyncWrite + Send + Unpin + 'static,
        engine: Engine,
    ) -> ServerMode {
        let state = Arc::new(Mutex::new(State::default()));
        let (lines, mut queued) = mpsc::unbounded_channel::<String>();
        let writing = state.clone();
        tokio::spawn(async move {
            while let Some(line) = queued.recv().await {
                let written = async {
                    to_engine.write_all(line.as_bytes()).await?;
                    to_engine.flush().await
                };
                if let Err(e) = written.await {
                    // The reader says more, if the engine has ended; it comes later, so this stands only without it.
                    tracing::debug!(error = %e, "the engine does not read any more");
                    let patience = tokio::time::timeout(ENDING, until_broken(&writing)).await;
                    if patience.is_err() {
                        break_off(&writing, Error::Lost(format!("the engine does not read any more: {e}")));
                    }
                    return;
                }
            }
        });
        let reader = tokio::spawn(read(LineReader::new(from_engine), state.clone(), engine.clone()));
        ServerMode { state, lines: Mutex::new(Some(lines)), engine, reader: reader.abort_handle() }
    }

    /// Sends a line and waits until the engine has taken it.
    async fn say(&self, line: Line) -> Result<(), Error> {
        let text = line.write();
        let Some(acknowledgement) = line.acknowledgement() else {
            return Err(Error::Protocol(format!("a {} is not ours to send", line.name())));
        };
        let (taken, waiting) = oneshot::channel();
        {
            let mut state = lock(&self.state);
            if let Some(why) = &state.broken {
                return Err(why.clone());
            }
            state.awaited.insert((acknowledgement.name(), acknowledgement.id()), taken);
        }
        let sent = lock(&self.lines).as_ref().is_some_and(|lines| lines.send(text).is_ok());
        if sent && waiting.await.is_ok() {
            return Ok(());
        }
        Err(self.broken().unwrap_or_else(|| Error::Lost("the pipe to the engine is closed".into())))
    }

    async fn data(&self, id: Uuid, bytes: Vec<u8>) -> Result<(), Error> {
        self.say(Line::Data { stream: Stream::Default, id, bytes }).await
    }

    async fn start(&self, pipeline: Uuid, fragments: Vec<Vec<u8>>) -> Result<(), Error> {
        lock(&self.state).queues.insert(pipeline, Queue::default());
        // A pipeline that was only announced does nothing.
        let announced = self.say(Line::Command(pipeline)).await;
        announced.map_err(|e| Error::NotBegun(e.to_string()))?;
        for fragment in fragments {
            self.data(pipeline, fragment).await.map_err(Error::after_start)?;
        }
        Ok(())
    }

    async fn take(&self, id: Uuid) -> Result<Received, Error> {
        loop {
            let came = {
                let mut state = lock(&self.state);
                let broken = state.broken.clone();
                let Some(queue) = state.queues.get_mut(&id) else {
                    return Err(Error::Protocol("nothing runs under that id".into()));
                };
                if std::mem::take(&mut queue.overflown) {
                    queue.fragments.clear();
                    queue.held = 0;
                    return Err(too_much());
                }
                if !queue.fragments.is_empty() {
                    queue.held = 0;
                    return Ok(Received { fragments: std::mem::take(&mut queue.fragments), done: false });
                }
                if let Some(why) = broken {
                    return Err(why);
                }
                queue.came.clone()
            };
            came.notified().await;
        }
    }

    async fn end(&self) -> Result<(), Error> {
        let told = match self.broken() {
            None => tokio::time::timeout(ENDING, self.say(Line::Close(Uuid::nil())))
                .await
                .is_ok_and(|r| r.is_ok()),
            Some(_) => false,
        };
        // The end of its input is what an engine ends by.
        lock(&self.lines).take();
        let mut child = self.engine.child.lock().await;
        if let Some(child) = child.as_mut() {
            let ended = told && tokio::time::timeout(ENDING, child.wait()).await.is_ok();
            if !ended {
                child.kill().await.map_err(|e| Error::Lost(format!("the engine cannot be killed: {e}")))?;
            }
        }
        *child = None;
        // An engine behind pipes may keep its end open.
        self.reader.abort();
        break_off(&self.state, Error::Lost("the runspace pool is closed".into()));
        Ok(())
    }
}

impl Drop for ServerMode {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn until_broken(state: &Mutex<State>) {
    let over = lock(state).over.clone();
    let told = over.notified();
    if lock(state).broken.is_none() {
        told.await;
    }
}

fn break_off(state: &Mutex<State>, why: Error) {
    let mut state = lock(state);
    state.broken.get_or_insert(why);
    // Whoever waits for an acknowledgement learns it by this.
    state.awaited.clear();
    state.over.notify_waiters();
    for queue in state.queues.values() {
        queue.came.notify_one();
    }
}

fn route(state: &Mutex<State>, line: Line) {
    let mut state = lock(state);
    match line {
        Line::Data { id, bytes, .. } => {
            // Of a pipeline that nobody looks after any more.
            let Some(queue) = state.queues.get_mut(&id) else { return };
            if queue.overflown || queue.held + bytes.len() > MAX_OUTPUT {
                queue.overflown = true;
            } else {
                queue.held += bytes.len();
                queue.fragments.push(bytes);
            }
            queue.came.notify_one();
        }
        Line::DataAck(_) | Line::CommandAck(_) | Line::SignalAck(_) | Line::CloseAck(_) => {
            if let Some(waiting) = state.awaited.remove(&(line.name(), line.id())) {
                // Nobody waits any more: then nobody needs to know.
                let _ = waiting.send(());
            }
        }
        Line::Command(_) | Line::Signal(_) | Line::Close(_) => {
            tracing::debug!(?line, "an engine does not send that: passed over");
        }
    }
}

/// Reads all that the engine sends, to its end.
async fn read<R: AsyncRead + Unpin>(mut lines: LineReader<R>, state: Arc<Mutex<State>>, engine: Engine) {
    let why = loop {
        match lines.next().await {
            Ok(Some(line)) => route(&state, line),
            Ok(None) => break Error::Lost(format!("the engine ended{}", engine.last_words().await)),
            Err(ReadError::Io(e)) => {
                break Error::Lost(format!("the pipe of the engine: {e}{}", engine.last_words().await));
            }
            // What stood in the line, or was pushed aside by it, cannot be known: nothing after it is believed.
            Err(ReadError::NoLine(e)) => break Error::Lost(format!("the engine wrote {e}")),
        }
    };
    break_off(&state, why);
}

impl Engine {
    /// How it ended and what it said last, as the end of a sentence.
    async fn last_words(&self) -> String {
        let status = match self.child.lock().await.as_mut() {
            Some(child) => match tokio::time::timeout(ENDING, child.wait()).await {
                Ok(Ok(status)) => format!(" ({status})"),
                Ok(Err(e)) => format!(" ({e})"),
                Err(_) => " (it still runs)".into(),
            },
            None => String::new(),
        };
        // Its standard error may still be open in a process that it has left behind.
        let words = lock(&self.last_words).take();
        let words = match words {
            Some(words) => tokio::time::timeout(LAST_WORDS_TIME, words).await,
            None => return status,
        };
        let words = words.ok().and_then(Result::ok).unwrap_or_default();
        if words.is_empty() { status } else { format!("{status}: {words}") }
    }
}

/// The end of what an engine writes to standard error, on one line.
async fn last_words(mut pipe: impl AsyncRead + Unpin) -> String {
    let (mut kept, mut buffer) = (Vec::new(), [0; 1024]);
    loop {
        match pipe.read(&mut buffer).await {
            Ok(0) => break,
            Ok(n) => {
                kept.extend_from_slice(buffer.get(..n).unwrap_or_default());
                let surplus = kept.len().saturating_sub(LAST_WORDS);
                kept.drain(..surplus);
            }
            Err(e) => {
                tracing::debug!(error = %e, "standard error of the engine");
                break;
            }
        }
    }
    String::from_utf8_lossy(&kept).split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Transport for ServerMode {
    fn open(&self, _pool: Uuid, opening: Vec<u8>) -> Doing<'_, ()> {
        lock(&self.state).queues.entry(Uuid::nil()).or_default();
        Box::pin(self.data(Uuid::nil(), opening))
    }
    fn begin(&self, pipeline: Uuid, fragments: Vec<Vec<u8>>) -> Doing<'_, ()> {
        Box::pin(self.start(pipeline, fragments))
    }
    fn receive(&self, of: Option<Uuid>) -> Doing<'_, Received> {
        Box::pin(self.take(of.unwrap_or_default()))
    }
    fn stop(&self, pipeline: Uuid) -> Doing<'_, ()> {
        Box::pin(self.say(Line::Signal(pipeline)))
    }
    fn finish(&self, pipeline: Uuid) -> Doing<'_, ()> {
        lock(&self.state).queues.remove(&pipeline);
        Box::pin(self.say(Line::Close(pipeline)))
    }
    fn close(&self) -> Doing<'_, ()> {
        Box::pin(self.end())
    }
    fn tidy(&self) -> Doing<'_, usize> {
        // Its engine ends with it: there is nothing that could be left.
        Box::pin(std::future::ready(Ok(0)))
    }
    fn broken(&self) -> Option<Error> {
        lock(&self.state).broken.clone()
    }
    fn pushes(&self) -> bool {
        true
    }
}
