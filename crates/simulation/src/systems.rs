//! The three systems of an operator, answered by the world in process.

use std::time::Duration;

use jiff::SignedDuration;
use lab::chat::cmdlets;
use lab::scenario::Scenario;
use lab::sql::{SQL_PASSWORD, SQL_USER};
use lab::tsql::{Cell as LabCell, Event, Progress, batch};
use persistent_chat_failover::domain::pool::{ManagementShell, SqlServer};
use persistent_chat_failover::domain::problem::{Problem, Reason};
use persistent_chat_failover::domain::situation::{BackupFile, JobState};
use persistent_chat_failover::domain::transition::DetachedJob;
use persistent_chat_failover::engine::Clock;
use persistent_chat_failover::systems::management_shell::{Cmdlet, ShellError, ShellObject, ShellOutput};
use persistent_chat_failover::systems::sql_server::{Cell, Parameter, Rows, SqlError, Statement};
use persistent_chat_failover::systems::{Folder, Listing, SqlSession, Systems};
use psrp::message::PipelineState;

use crate::world::{Fate, Handle};

/// How long a statement without a deadline may hang before the network gives it up.
const NETWORK: Duration = Duration::from_secs(180);

/// Systems of one operator process.
pub struct SimSystems {
    /// Everything shared.
    pub shared: Handle,
    /// Which process.
    pub who: usize,
    /// What the world was made from.
    pub scenario: Scenario,
}

/// A process's clock.
pub struct SimClock {
    /// Everything shared.
    pub shared: Handle,
    /// Which process.
    pub who: usize,
}

impl Clock for SimClock {
    fn now(&self) -> jiff::Timestamp {
        let s = self.shared.now();
        let skew = s.processes.get(self.who).map_or(SignedDuration::ZERO, |p| p.skew);
        s.time() + skew
    }
    async fn sleep(&self, d: Duration) {
        tokio::time::sleep(d).await;
        let mut s = self.shared.now();
        let now = s.time();
        if let Some(p) = s.processes.get_mut(self.who) {
            p.awake = Some(now);
        }
    }
}

impl SimSystems {
    /// The process dies here.
    async fn die<T>(&self) -> T {
        if let Some(p) = self.shared.now().processes.get_mut(self.who) {
            p.kill = true;
        }
        std::future::pending().await
    }

    async fn point(&self, writes: bool, what: impl FnOnce() -> String) -> Fate {
        let (fate, latency) = self.shared.now().point(self.who, writes, what);
        tokio::time::sleep(latency).await;
        if fate == Fate::KillBefore { self.die().await } else { fate }
    }

    fn folder(&self, folder: Folder) -> &str {
        match folder {
            Folder::BackupShare => &self.scenario.backup_share,
            Folder::CopyFolder => &self.scenario.copy_folder,
        }
    }
}

/// A session, as its client holds it.
pub struct SimSession {
    shared: Handle,
    who: usize,
    connection: Option<Connection>,
}

/// A connection that is closed when its client lets go of it. A killed client lets go of nothing.
struct Connection {
    shared: Handle,
    who: usize,
    host: String,
    id: u32,
    open: bool,
}

impl Connection {
    fn cut(mut self) {
        self.open = false;
        let mut s = self.shared.now();
        if let Some(p) = s.processes.get_mut(self.who) {
            p.sessions.remove(&(self.host.clone(), self.id));
        }
        lab::sql::logout(&mut s.world, &self.host, self.id);
        s.observe();
    }
    /// Nobody listens any more, the server goes on for a while.
    fn abandon(mut self, seconds: i64) {
        self.open = false;
        self.shared.now().abandon(self.who, &self.host, self.id, seconds);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.open {
            let mut s = self.shared.now();
            if let Some(p) = s.processes.get_mut(self.who) {
                p.sessions.remove(&(self.host.clone(), self.id));
            }
            lab::sql::logout(&mut s.world, &self.host, self.id);
            s.observe();
        }
    }
}

fn is_write(text: &str) -> bool {
    text.contains("PCF guard")
}

/// A statement in a word or two.
fn brief(statement: &Statement) -> String {
    let text = statement.text.rsplit("RETURN; END; ").next().unwrap_or(&statement.text);
    let values: Vec<String> = statement
        .parameters
        .iter()
        .map(|p| match p {
            Parameter::Text(t) => t.chars().take(40).collect(),
            Parameter::Int(n) => n.to_string(),
        })
        .collect();
    format!("{} [{}]", text.split_whitespace().take(7).collect::<Vec<_>>().join(" "), values.join(", "))
}

impl SimSession {
    async fn die<T>(&self) -> T {
        if let Some(p) = self.shared.now().processes.get_mut(self.who) {
            p.kill = true;
        }
        std::future::pending().await
    }
}

impl SqlSession for SimSession {
    async fn send(&mut self, statement: &Statement, deadline: Option<Duration>) -> Result<Rows, SqlError> {
        let Some(connection) = self.connection.take() else {
            return Err(SqlError::Lost("the session has ended".into()));
        };
        let (host, id) = (connection.host.clone(), connection.id);
        let (fate, latency) = self
            .shared
            .now()
            .point(self.who, is_write(&statement.text), || format!("{host} {}", brief(statement)));
        tokio::time::sleep(latency).await;
        match fate {
            Fate::KillBefore => {
                let _open = connection;
                return self.die().await;
            }
            Fate::FailBefore => {
                connection.cut();
                return Err(SqlError::Lost("connection reset before anything was sent".into()));
            }
            Fate::Ok | Fate::AnswerLost | Fate::Hang | Fate::KillDuring | Fate::KillAfter => {}
        }
        let mut events = Vec::new();
        {
            let mut s = self.shared.now();
            if !lab::sql::session_alive(&s.world, &host, id) {
                drop(s);
                connection.cut();
                return Err(SqlError::Lost("connection reset by peer".into()));
            }
            let parameters = statement.parameters.iter().enumerate().map(|(n, p)| {
                let value = match p {
                    Parameter::Text(t) => LabCell::Text(t.clone()),
                    Parameter::Int(n) => LabCell::Int(i64::from(*n)),
                };
                (format!("@P{}", n + 1), value)
            });
            if let Err(e) = batch::begin(&mut s.world, &host, id, &statement.text, parameters.collect()) {
                events.push(Event::Error(e));
            }
        }
        let mut waited = Duration::ZERO;
        let mut first = true;
        loop {
            let (progress, alive, now) = {
                let mut s = self.shared.now();
                let progress = s.step(&host, id, &mut events);
                s.observe();
                (progress, lab::sql::session_alive(&s.world, &host, id), s.time())
            };
            if first {
                first = false;
                if fate == Fate::KillDuring {
                    let _open = connection;
                    return self.die().await;
                }
                if fate == Fate::Hang {
                    let patience = deadline.unwrap_or(NETWORK);
                    connection.abandon(i64::try_from(patience.as_secs()).unwrap_or(60) + 5);
                    tokio::time::sleep(patience).await;
                    return Err(SqlError::Lost("no answer in time".into()));
                }
            }
            if !alive {
                connection.cut();
                return Err(SqlError::Lost("connection reset by peer".into()));
            }
            let Progress::Until(until) = progress else { break };
            let pause = Duration::try_from(until.duration_since(now))
                .unwrap_or(Duration::ZERO)
                .clamp(Duration::from_millis(1), Duration::from_millis(500));
            waited += pause;
            if deadline.is_some_and(|d| waited > d) {
                connection.cut();
                return Err(SqlError::Lost("no answer in time".into()));
            }
            tokio::time::sleep(pause).await;
        }
        match fate {
            Fate::AnswerLost => {
                connection.cut();
                return Err(SqlError::Lost("connection reset before the answer".into()));
            }
            Fate::KillAfter => {
                let _open = connection;
                return self.die().await;
            }
            Fate::Ok | Fate::FailBefore | Fate::Hang | Fate::KillBefore | Fate::KillDuring => {}
        }
        self.connection = Some(connection);
        rows(events)
    }
}

/// What the driver makes of an answer: the first error, or the first result set that has rows.
fn rows(events: Vec<Event>) -> Result<Rows, SqlError> {
    let error = events.iter().find_map(|e| match e {
        Event::Error(m) => Some(m.clone()),
        Event::Rows { .. } | Event::Info(_) | Event::Count(_) => None,
    });
    if let Some(m) = error {
        return Err(SqlError::Server {
            number: m.number,
            state: m.state,
            class: m.class,
            message: m.message,
        });
    }
    let first = events.into_iter().find_map(|e| match e {
        Event::Rows { columns, rows } if !rows.is_empty() => Some((columns, rows)),
        Event::Rows { .. } | Event::Info(_) | Event::Count(_) | Event::Error(_) => None,
    });
    let Some((columns, cells)) = first else { return Ok(Rows::default()) };
    Ok(Rows {
        columns: columns.into_iter().map(|(n, _)| n).collect(),
        rows: cells.into_iter().map(|r| r.into_iter().map(cell).collect()).collect(),
    })
}

fn cell(c: LabCell) -> Cell {
    match c {
        LabCell::Null => Cell::Null,
        LabCell::Int(n) => Cell::Int(n),
        LabCell::Lsn(n) => Cell::Numeric(n.into()),
        LabCell::Bit(b) => Cell::Bool(b),
        LabCell::Float(f) => Cell::Float(f),
        LabCell::Text(t) => Cell::Text(t),
        LabCell::Guid(g) => Cell::Guid(g.to_uppercase()),
        LabCell::Time(t) => t.parse().map_or(Cell::Text(t), Cell::DateTime),
    }
}

impl SimSystems {
    fn shell_up(&self, host: &str) -> Result<(), ShellError> {
        if self.shared.now().world.host_is_up(host) {
            Ok(())
        } else {
            Err(ShellError::Unreachable("connection refused".into()))
        }
    }
}

impl Systems for SimSystems {
    type Sql = SimSession;

    async fn sql(&self, server: &SqlServer) -> Result<SimSession, SqlError> {
        match self.point(false, || format!("connect {}", server.host)).await {
            Fate::FailBefore => return Err(SqlError::Unreachable("timed out".into())),
            Fate::Hang => {
                tokio::time::sleep(Duration::from_secs(8)).await;
                return Err(SqlError::Unreachable("timed out".into()));
            }
            Fate::Ok | Fate::AnswerLost | Fate::KillBefore | Fate::KillDuring | Fate::KillAfter => {}
        }
        let mut s = self.shared.now();
        if !lab::sql::is_up(&s.world, &server.host) {
            return Err(SqlError::Unreachable("connection refused".into()));
        }
        let client = format!("operator-{}", self.who);
        let id = lab::sql::login(
            &mut s.world,
            &server.host,
            SQL_USER,
            SQL_PASSWORD,
            &client,
            "persistent-chat-failover",
        )
        .map_err(|(number, message)| SqlError::Login { number, message })?;
        if let Some(p) = s.processes.get_mut(self.who) {
            p.sessions.insert((server.host.clone(), id));
        }
        drop(s);
        let connection = Connection {
            shared: self.shared.clone(),
            who: self.who,
            host: server.host.clone(),
            id,
            open: true,
        };
        Ok(SimSession { shared: self.shared.clone(), who: self.who, connection: Some(connection) })
    }

    async fn invoke(
        &self,
        shell: &ManagementShell,
        cmdlet: &Cmdlet,
        deadline: Duration,
    ) -> Result<ShellOutput, ShellError> {
        let writes = cmdlet.name.starts_with("Set-") || cmdlet.name.starts_with("Install-");
        let fate = self.point(writes, || format!("{} {}", shell.host, cmdlet.shown())).await;
        if fate == Fate::FailBefore {
            return Err(ShellError::Unreachable("timed out".into()));
        }
        self.shell_up(&shell.host)?;
        let user = format!("operator-{}", self.who);
        let id = {
            let mut s = self.shared.now();
            let id = cmdlets::start(&mut s.world, &shell.host, &user, &cmdlet.command());
            s.observe();
            id
        };
        if fate == Fate::KillDuring {
            return self.die().await;
        }
        if fate == Fate::Hang {
            tokio::time::sleep(deadline).await;
            return Err(ShellError::Lost("no answer in time".into()));
        }
        let mut waited = Duration::ZERO;
        let finished = loop {
            {
                let mut s = self.shared.now();
                if !s.world.host_is_up(&shell.host) {
                    return Err(ShellError::Lost("connection reset by peer".into()));
                }
                if let Some(f) = cmdlets::poll(&s.world, id) {
                    // It has ended: as WinRM does when its shell is deleted, the world forgets it.
                    cmdlets::abort(&mut s.world, id);
                    break f;
                }
            }
            let pause = Duration::from_millis(20);
            waited += pause;
            if waited > deadline {
                return Err(ShellError::Lost("no answer in time".into()));
            }
            tokio::time::sleep(pause).await;
        };
        match fate {
            Fate::AnswerLost => return Err(ShellError::Lost("connection reset before the answer".into())),
            Fate::KillAfter => return self.die().await,
            Fate::Ok | Fate::FailBefore | Fate::Hang | Fate::KillBefore | Fate::KillDuring => {}
        }
        Ok(ShellOutput {
            objects: finished.objects.into_iter().map(ShellObject).collect(),
            errors: finished.errors.iter().map(|e| format!("{} [{}]", e.message, e.id)).collect(),
            completed: finished.state == PipelineState::Completed,
        })
    }

    async fn start(
        &self,
        shell: &ManagementShell,
        cmdlet: &Cmdlet,
        job: &DetachedJob,
    ) -> Result<(), ShellError> {
        let fate = self.point(true, || format!("{} start {}", shell.host, cmdlet.shown())).await;
        if fate == Fate::FailBefore {
            return Err(ShellError::Lost("connection reset before anything was sent".into()));
        }
        self.shell_up(&shell.host)?;
        {
            let mut s = self.shared.now();
            let key = (job.shell_id.clone(), job.command_id.clone());
            if s.jobs.contains_key(&key) {
                return Err(ShellError::Refused("the ShellId is taken".into()));
            }
            let user = format!("operator-{}", self.who);
            let id = cmdlets::start(&mut s.world, &shell.host, &user, &cmdlet.command());
            s.jobs.insert(key, id);
            s.observe();
        }
        match fate {
            Fate::KillDuring | Fate::KillAfter => self.die().await,
            Fate::AnswerLost => Err(ShellError::Lost("connection reset before the answer".into())),
            Fate::Hang => {
                tokio::time::sleep(Duration::from_secs(30)).await;
                Err(ShellError::Lost("no answer in time".into()))
            }
            Fate::Ok | Fate::FailBefore | Fate::KillBefore => Ok(()),
        }
    }

    async fn look(&self, shell: &ManagementShell, job: &DetachedJob) -> Result<JobState, ShellError> {
        let fate = self.point(false, || format!("{} look after a job", shell.host)).await;
        match fate {
            Fate::FailBefore => return Err(ShellError::Unreachable("timed out".into())),
            Fate::Hang => {
                tokio::time::sleep(Duration::from_secs(30)).await;
                return Err(ShellError::Lost("no answer in time".into()));
            }
            Fate::Ok | Fate::AnswerLost | Fate::KillBefore | Fate::KillDuring | Fate::KillAfter => {}
        }
        self.shell_up(&shell.host)?;
        let state = {
            let mut s = self.shared.now();
            let key = (job.shell_id.clone(), job.command_id.clone());
            match s.jobs.get(&key).copied().filter(|id| s.world.chat.running.contains_key(id)) {
                None => JobState::Gone,
                Some(id) => match cmdlets::poll(&s.world, id) {
                    None => JobState::Running,
                    Some(f) => {
                        // What it said is read once; then its shell is deleted.
                        s.jobs.remove(&key);
                        JobState::Finished(
                            f.errors.iter().map(|e| format!("{} [{}]", e.message, e.id)).collect(),
                        )
                    }
                },
            }
        };
        match fate {
            Fate::KillDuring | Fate::KillAfter => self.die().await,
            Fate::AnswerLost => Err(ShellError::Lost("connection reset before the answer".into())),
            Fate::Ok | Fate::FailBefore | Fate::Hang | Fate::KillBefore => Ok(state),
        }
    }

    async fn listens(&self, host: &str, port: u16) -> Result<bool, Problem> {
        match self.point(false, || format!("connect {host}:{port}")).await {
            Fate::FailBefore | Fate::AnswerLost => return Ok(false),
            Fate::Hang => {
                tokio::time::sleep(Duration::from_secs(5)).await;
                return Ok(false);
            }
            Fate::KillDuring | Fate::KillAfter => return self.die().await,
            Fate::Ok | Fate::KillBefore => {}
        }
        Ok(self.shared.now().world.host_is_up(host))
    }

    async fn list(&self, folder: Folder) -> Result<Listing, Problem> {
        let lost = || Problem::retry(Reason::FolderUnusable, "Listing in a folder: input/output error", "");
        match self.point(false, || format!("list {}", self.folder(folder))).await {
            Fate::FailBefore | Fate::AnswerLost => return Err(lost()),
            Fate::Hang => {
                tokio::time::sleep(Duration::from_secs(20)).await;
                return Err(lost());
            }
            Fate::KillDuring | Fate::KillAfter => return self.die().await,
            Fate::Ok | Fate::KillBefore => {}
        }
        let s = self.shared.now();
        let listed = s.world.files.list(self.folder(folder)).map_err(|_| lost())?;
        let backup =
            |name: &str| name.to_lowercase().ends_with(".trn") || name.to_lowercase().ends_with(".wrk");
        let mut files = Vec::new();
        for (name, length) in listed.into_iter().filter(|(name, _)| backup(name)) {
            // Memory has no times: another content is another time.
            let content =
                s.world.files.read(&format!(r"{}\{name}", self.folder(folder))).map_err(|_| lost())?;
            let modified = content.iter().fold(0i64, |h, b| h.wrapping_mul(31).wrapping_add(i64::from(*b)));
            files.push(BackupFile { name, length, modified });
        }
        Ok(Listing { files, ignored: vec![] })
    }

    async fn free(&self, _folder: Folder) -> Result<u64, Problem> {
        Ok(1 << 40)
    }

    async fn copy(&self, file: &BackupFile, progress: &(dyn Fn(u64) + Send + Sync)) -> Result<(), Problem> {
        let lost = || Problem::retry(Reason::FolderUnusable, "Copying: input/output error", "");
        let fate = self.point(true, || format!("copy {}", file.name)).await;
        match fate {
            Fate::FailBefore | Fate::Hang => return Err(lost()),
            // What is not complete has no name that anybody takes up.
            Fate::KillDuring => return self.die().await,
            Fate::Ok | Fate::AnswerLost | Fate::KillBefore | Fate::KillAfter => {}
        }
        tokio::time::sleep(Duration::from_millis(80)).await;
        {
            let mut s = self.shared.now();
            if s.copy_folder_full {
                return Err(Problem::retry(
                    Reason::DiskFull,
                    "spec.backupFiles.copyFolder: no space left on device",
                    "Make room in the copy folder",
                ));
            }
            let from = format!(r"{}\{}", self.scenario.backup_share, file.name);
            let to = format!(r"{}\{}", self.scenario.copy_folder, file.name);
            let content = s.world.files.read(&from).map_err(|_| lost())?;
            s.world.files.write(&to, &content).map_err(|_| lost())?;
        }
        match fate {
            Fate::KillAfter => self.die().await,
            Fate::AnswerLost => Err(lost()),
            Fate::Ok | Fate::FailBefore | Fate::Hang | Fate::KillBefore | Fate::KillDuring => {
                progress(file.length);
                Ok(())
            }
        }
    }

    async fn keep(&self, name: &str, text: &str) -> Result<(), Problem> {
        let path = format!(r"{}\{name}", self.scenario.copy_folder);
        let written = self.shared.now().world.files.write(&path, text.as_bytes());
        written.map_err(|e| Problem::retry(Reason::FolderUnusable, e.text, ""))
    }

    fn new_id(&self) -> String {
        let mut s = self.shared.now();
        let (a, b) = (s.chance.number(), s.chance.number());
        format!(
            "{:08X}-{:04X}-4{:03X}-8{:03X}-{:012X}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0xfff,
            b >> 52,
            b & 0xffff_ffff_ffff
        )
    }
}
