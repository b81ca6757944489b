//! One engine: its process, its pipes, and what it has said that nobody has taken yet.

use std::collections::{BTreeMap, VecDeque};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use psrp::fragment::Assembler;
use psrp::message::{self, Message, kind};
use psrp::server_mode::{Line, Stream};
use psrp::transport::server_mode::{LineReader, Program, ReadError};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{Notify, mpsc, oneshot};
use uuid::Uuid;

/// How long an engine may take to acknowledge a line. It starts within a second; a pipeline may take a while to stop.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long an engine may take to end after its pool was closed.
const ENDING: Duration = Duration::from_secs(3);
/// What is held of output that nobody receives. An engine that has more to say waits, as behind WinRM with `BufferMode` Block.
const HELD: usize = 1024 * 1024;
/// What one Receive carries, unless a single line is longer: `MaxEnvelopeSizekb` of WinRM is 500, and base64 is a third longer.
const CARRIED: usize = 256 * 1024;

/// What has come for a pipeline, or for the pool (the nil id).
#[derive(Default)]
struct Output {
    chunks: VecDeque<Vec<u8>>,
    assembler: Assembler,
    ended: bool,
}

#[derive(Default)]
struct State {
    outputs: BTreeMap<Uuid, Output>,
    held: usize,
    awaited: Option<(Line, oneshot::Sender<()>)>,
    private_data: Option<String>,
    over: Option<String>,
}

/// What an engine has said.
#[derive(Default)]
struct Said {
    state: Mutex<State>,
    changed: Notify,
}

struct Order {
    line: Line,
    done: oneshot::Sender<Result<(), String>>,
}

/// What is there for one Receive.
pub(super) struct Taken {
    /// Whole fragments, in order.
    pub chunks: Vec<Vec<u8>>,
    /// Whether that was all, and the pipeline has ended.
    pub done: bool,
}

/// An engine. Dropped, it is killed.
pub(super) struct Engine {
    orders: Mutex<Option<mpsc::UnboundedSender<Order>>>,
    said: Arc<Said>,
    child: Mutex<Option<Child>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine {
    /// Starts one. Its input is a pipe of ours: it ends by itself when that is closed, however we end.
    pub fn start(program: &Program, environment: &[(&str, String)]) -> Result<Arc<Engine>, String> {
        let shown = program.path.display();
        let mut child = Command::new(&program.path)
            .args(&program.arguments)
            .envs(program.environment.iter().cloned())
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| format!("{shown} cannot be started: {e}"))?;
        let (Some(input), Some(output), Some(words)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(format!("{shown}: its pipes are missing"));
        };
        let said = Arc::new(Said::default());
        let (orders, queued) = mpsc::unbounded_channel();
        tokio::spawn(write(input, queued, said.clone()));
        tokio::spawn(read(output, said.clone()));
        tokio::spawn(log(words));
        Ok(Arc::new(Engine { orders: Mutex::new(Some(orders)), said, child: Mutex::new(Some(child)) }))
    }

    /// Sends lines one after the other, each when the one before is acknowledged. They are sent also if nobody waits any more.
    pub async fn say(&self, lines: Vec<Line>) -> Result<(), String> {
        let mut answers = Vec::new();
        {
            let orders = lock(&self.orders);
            let orders = orders.as_ref().ok_or("the engine is closed")?;
            for line in lines {
                let (done, answer) = oneshot::channel();
                orders.send(Order { line, done }).map_err(|_| "the engine has ended".to_string())?;
                answers.push(answer);
            }
        }
        for answer in answers {
            answer.await.map_err(|_| "the engine has ended".to_string())??;
        }
        Ok(())
    }

    /// Expects output for a pipeline, or for the pool.
    pub fn expect(&self, id: Uuid) {
        lock(&self.said.state).outputs.entry(id).or_default();
    }

    /// Forgets the output of a pipeline.
    pub fn forget(&self, id: Uuid) {
        let mut state = lock(&self.said.state);
        if let Some(output) = state.outputs.remove(&id) {
            state.held -= output.chunks.iter().map(Vec::len).sum::<usize>();
        }
        self.said.changed.notify_waiters();
    }

    /// Whether a pipeline has ended, whoever knows of it.
    pub fn has_ended(&self, id: Uuid) -> bool {
        let state = lock(&self.said.state);
        state.over.is_some() || state.outputs.get(&id).is_none_or(|o| o.ended)
    }

    /// Waits until there is something to take; says whether a pipeline's end is part of it. An error: nothing will come.
    pub async fn ready(&self, id: Uuid) -> Result<bool, String> {
        loop {
            let changed = self.said.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let state = lock(&self.said.state);
                let output = state.outputs.get(&id).ok_or("nothing runs under that id")?;
                if !output.chunks.is_empty() || output.ended {
                    return Ok(output.ended);
                }
                if let Some(why) = &state.over {
                    return Err(why.clone());
                }
            }
            changed.await;
        }
    }

    /// Takes what is there, as much as one answer carries.
    pub fn take(&self, id: Uuid) -> Taken {
        let mut state = lock(&self.said.state);
        let State { outputs, held, .. } = &mut *state;
        let Some(output) = outputs.get_mut(&id) else { return Taken { chunks: vec![], done: true } };
        let (mut chunks, mut size) = (Vec::new(), 0);
        while let Some(next) = output.chunks.front() {
            if !chunks.is_empty() && size + next.len() > CARRIED {
                break;
            }
            size += next.len();
            chunks.extend(output.chunks.pop_front());
        }
        *held -= size;
        let done = output.ended && output.chunks.is_empty();
        self.said.changed.notify_waiters();
        Taken { chunks, done }
    }

    /// Something that WinRM says in the engine's place.
    pub fn put(&self, id: Uuid, bytes: Vec<u8>) {
        let mut state = lock(&self.said.state);
        let State { outputs, held, .. } = &mut *state;
        let Some(output) = outputs.get_mut(&id) else { return };
        *held += bytes.len();
        output.chunks.push_back(bytes);
        self.said.changed.notify_waiters();
    }

    /// Its APPLICATION_PRIVATE_DATA.
    pub fn private_data(&self) -> Option<String> {
        lock(&self.said.state).private_data.clone()
    }

    /// Why it has ended, if it has.
    pub fn over(&self) -> Option<String> {
        lock(&self.said.state).over.clone()
    }

    /// Closes the pool with all that runs in it, and the process.
    pub async fn close(&self) {
        let told = tokio::time::timeout(ENDING, self.say(vec![Line::Close(Uuid::nil())])).await;
        // The end of its input.
        lock(&self.orders).take();
        let child = lock(&self.child).take();
        if let (Some(mut child), Ok(Ok(()))) = (child, told)
            && let Err(e) = tokio::time::timeout(ENDING, child.wait()).await
        {
            tracing::debug!(error = %e, "an engine does not end by itself: it is killed");
        }
    }

    /// Kills it.
    pub fn kill(&self) {
        lock(&self.orders).take();
        // By its being dropped.
        lock(&self.child).take();
    }
}

impl Said {
    fn end(&self, why: String) {
        let mut state = lock(&self.state);
        if state.over.is_none() {
            tracing::debug!(why, "an engine has ended");
            state.over = Some(why);
        }
        state.awaited = None;
        self.changed.notify_waiters();
    }

    /// Waits until there is room for more, or somebody waits for an acknowledgement, which may stand behind the rest.
    async fn room(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let state = lock(&self.state);
                if state.held < HELD || state.awaited.is_some() {
                    return;
                }
            }
            changed.await;
        }
    }

    fn take_in(&self, line: Line) -> Result<(), String> {
        let mut state = lock(&self.state);
        match line {
            Line::Data { id, bytes, .. } => {
                let State { outputs, held, private_data, .. } = &mut *state;
                // Of a pipeline that was closed meanwhile.
                let Some(output) = outputs.get_mut(&id) else { return Ok(()) };
                for m in output.assembler.push(&bytes)? {
                    let m = Message::decode(&m).map_err(|e| e.to_string())?;
                    match m.kind {
                        kind::PIPELINE_STATE => {
                            let state = message::parse_pipeline_state(&m.body).map_err(|e| e.to_string())?;
                            output.ended |= state.is_some();
                        }
                        kind::APPLICATION_PRIVATE_DATA => *private_data = Some(m.body),
                        _ => {}
                    }
                }
                *held += bytes.len();
                output.chunks.push_back(bytes);
            }
            Line::DataAck(_) | Line::CommandAck(_) | Line::SignalAck(_) | Line::CloseAck(_) => {
                if let Some((_, done)) = state.awaited.take_if(|(expected, _)| *expected == line) {
                    // Nobody waits any more: then nobody needs to know.
                    let _ = done.send(());
                }
            }
            Line::Command(_) | Line::Signal(_) | Line::Close(_) => {
                return Err(format!("an engine does not send {line:?}"));
            }
        }
        self.changed.notify_waiters();
        Ok(())
    }

    async fn exchange(&self, input: &mut ChildStdin, line: &Line) -> Result<(), String> {
        let expected = line.acknowledgement().ok_or("an acknowledgement is not ours to send")?;
        let (done, acknowledged) = oneshot::channel();
        {
            let mut state = lock(&self.state);
            if let Some(why) = &state.over {
                return Err(why.clone());
            }
            state.awaited = Some((expected, done));
        }
        self.changed.notify_waiters();
        let written = async {
            input.write_all(line.write().as_bytes()).await?;
            input.flush().await
        };
        written.await.map_err(|e| format!("the engine does not read any more: {e}"))?;
        acknowledged
            .await
            .map_err(|_| lock(&self.state).over.clone().unwrap_or_else(|| "the engine has ended".into()))
    }
}

/// Writes what is ordered, until nobody can order any more: that closes the engine's input.
async fn write(mut input: ChildStdin, mut orders: mpsc::UnboundedReceiver<Order>, said: Arc<Said>) {
    while let Some(Order { line, done }) = orders.recv().await {
        let told = match tokio::time::timeout(PATIENCE, said.exchange(&mut input, &line)).await {
            Ok(told) => told,
            Err(_) => Err(format!("the engine did not acknowledge a {} within {PATIENCE:?}", line.name())),
        };
        if let Err(why) = &told {
            said.end(why.clone());
        }
        // Whoever has gone away does not need to know.
        let _ = done.send(told);
    }
}

async fn read(output: impl AsyncRead + Unpin, said: Arc<Said>) {
    let mut lines = LineReader::new(output);
    let why = loop {
        said.room().await;
        match lines.next().await {
            Ok(Some(line)) => {
                if let Err(e) = said.take_in(line) {
                    break e;
                }
            }
            Ok(None) => break "the engine has ended".into(),
            Err(ReadError::Io(e)) => break format!("the pipe of the engine: {e}"),
            Err(ReadError::NoLine(e)) => break format!("the engine wrote {e}"),
        }
    };
    said.end(why);
}

/// What it writes to standard error: one line at its normal end, and what it could not tell otherwise.
async fn log(words: impl AsyncRead + Unpin) {
    let mut lines = BufReader::new(words).lines();
    loop {
        match lines.next_line().await {
            Ok(Some(line)) => tracing::debug!(line, "standard error of an engine"),
            Ok(None) => return,
            Err(e) => return tracing::debug!(error = %e, "standard error of an engine"),
        }
    }
}

/// A line that carries whole fragments.
pub(super) fn data(id: Uuid, stream: Stream, bytes: Vec<u8>) -> Line {
    Line::Data { stream, id, bytes }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use psrp::fragment::Fragmenter;
    use psrp::message::PipelineState;

    use super::*;

    /// An engine that is told of a pipeline, writes what is in a file, and only then reads on.
    fn flood(id: Uuid, file: &std::path::Path) -> Arc<Engine> {
        let script = format!(
            "read a; echo \"<CommandAck PSGuid='{id}' />\"; cat {}; read b; echo \"<SignalAck PSGuid='{id}' />\"; cat >/dev/null",
            file.display()
        );
        let program = Program {
            path: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment: vec![],
        };
        Engine::start(&program, &[]).unwrap()
    }

    #[tokio::test]
    async fn output_that_nobody_receives_is_held_up_to_a_limit_and_does_not_hold_up_a_signal() {
        let id = Uuid::from_u128(7);
        let mut fragmenter = Fragmenter::new(32 * 1024);
        let of = |kind, body| Message { kind, pool: Uuid::nil(), pipeline: id, body }.encode(false);
        let mut fragments = fragmenter.fragment(&of(kind::PIPELINE_OUTPUT, "x".repeat(4 * HELD)));
        let state = message::pipeline_state(PipelineState::Completed, None);
        fragments.extend(fragmenter.fragment(&of(kind::PIPELINE_STATE, state)));
        let lines = fragments.iter().map(|f| data(id, Stream::Default, f.clone()).write());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), lines.collect::<String>()).unwrap();
        let engine = flood(id, file.path());
        engine.expect(id);
        engine.say(vec![Line::Command(id)]).await.unwrap();
        let held = || lock(&engine.said.state).held;
        while held() < HELD {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // It would go on at once, if it did.
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(held() < HELD + 64 * 1024 && !engine.has_ended(id), "{} bytes are held", held());
        // Its acknowledgement stands behind all of it.
        engine.say(vec![Line::Signal(id)]).await.unwrap();
        assert!(engine.has_ended(id));
        let mut taken = Vec::new();
        loop {
            let one = engine.take(id);
            let size: usize = one.chunks.iter().map(Vec::len).sum();
            assert!(size <= CARRIED, "{size} bytes in one answer");
            taken.extend(one.chunks);
            if one.done {
                break;
            }
        }
        assert_eq!((taken, held()), (fragments, 0));
        // What was taken comes to nobody else.
        assert!(engine.take(id).chunks.is_empty());
        engine.forget(id);
        assert!(engine.ready(id).await.is_err() && held() == 0);
        engine.kill();
    }
}
