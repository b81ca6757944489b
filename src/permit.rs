//! The permit: the only way to write.
//!
//! It holds the application locks of the pool (on the instance that becomes primary, and on every other one that answers),
//! each in a session of its own. The record is written in the locked session; every statement on SQL Server is a batch that
//! checks the lock itself before it acts. Whoever loses the session loses the lock, and the batch says so.

#![warn(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::backups::{BackupFile, leave_unfinished_twins};
use crate::domain::decision::Outcome;
use crate::domain::pool::{Pool, SqlServer};
use crate::domain::premises::Premises;
use crate::domain::problem::{Problem, Reason};
use crate::domain::record::SCHEMA;
use crate::domain::situation::Situation;
use crate::domain::transition::{DetachedJob, Transition};
use crate::systems::management_shell::{Cmdlet, ShellError, read as shell_read};
use crate::systems::sql_server::{Cell, Parameter, SqlError, Statement, errors, read, statements};
use crate::systems::{Folder, SqlSession, Systems};

/// Longest wait for a statement that writes but does not restore.
const WRITE: Duration = Duration::from_secs(60);
/// Longest wait for a cmdlet that is not detached.
const CMDLET: Duration = Duration::from_secs(180);

/// What a permit asks for at the last moment before an effect.
#[derive(Clone, Copy)]
pub struct Watch<'w> {
    /// The time.
    pub now: &'w (dyn Fn() -> Timestamp + Send + Sync),
    /// Whether the resource still asks for a transition (which may be past its point of no return): a look can take a minute, and
    /// the resource may have changed meanwhile.
    pub wanted: &'w (dyn Fn(&Transition, bool) -> Result<(), Problem> + Send + Sync),
}

/// Leave to write.
pub struct Permit<'w, S: Systems> {
    systems: &'w S,
    pool: &'w Pool,
    watch: Watch<'w>,
    session: futures::lock::Mutex<S::Sql>,
    /// Sessions whose locks keep operators away that reach other instances of the pool only.
    _others: Mutex<Vec<S::Sql>>,
    transition: Mutex<Transition>,
    /// The same, as the record has it; absent: it has none yet.
    written: Mutex<Option<Transition>>,
    /// What the last look saw of the copy folder, and whether the transition was past the point of no return.
    seen: Mutex<(Vec<BackupFile>, bool)>,
}

fn locked<T>(m: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'w, S: Systems> Permit<'w, S> {
    /// Takes the locks, in the order of the servers' names; any refusal gives all of them back. Reads the record in the
    /// locked session: what another operator has done since is in the transition that comes out.
    pub async fn obtain(
        systems: &'w S,
        pool: &'w Pool,
        s: &Situation,
        t: &Transition,
        watch: Watch<'w>,
    ) -> Result<Self, Problem> {
        let mut servers: Vec<(String, &SqlServer, bool)> = vec![];
        let target = s.target.get().map_err(Clone::clone)?;
        servers.push((target.server_name.to_lowercase(), &pool.backup.sql_server, true));
        if let (Some(mirror), Some(Ok(i))) =
            (&pool.backup.mirror, s.target_mirror.as_ref().map(crate::domain::reading::Reading::get))
        {
            servers.push((i.server_name.to_lowercase(), mirror, false));
        }
        servers.sort_by(|a, b| a.0.cmp(&b.0));
        let (mut main, mut others) = (None, Vec::new());
        for (_, server, is_target) in servers {
            let mut session =
                systems.sql(server).await.map_err(|e| errors::problem(&e, server, "taking the lock"))?;
            lock(&mut session, server, pool, target.lock_holder.known().and_then(Option::as_ref)).await?;
            if is_target { main = Some(session) } else { others.push(session) }
        }
        let Some(mut session) = main else {
            return Err(Problem::retry(
                Reason::LockHeld,
                "The lock of the pool was not taken",
                "It is tried again",
            ));
        };
        let records = read::records(&mut session, &pool.backup.sql_server, pool)
            .await
            .map_err(|e| errors::problem(&e, &pool.backup.sql_server, "reading the record"))?;
        let written = records
            .get()
            .map_err(Clone::clone)?
            .iter()
            .find(|r| r.transition.id == t.id)
            .map(|r| r.transition.clone());
        Ok(Permit {
            systems,
            pool,
            watch,
            session: futures::lock::Mutex::new(session),
            _others: Mutex::new(others),
            transition: Mutex::new(written.clone().map_or_else(|| t.clone(), |w| w.with_times_of(t))),
            written: Mutex::new(written),
            seen: Mutex::new((s.files.copy.known().cloned().unwrap_or_default(), s.is_past(t))),
        })
    }

    /// The pool.
    pub fn pool(&self) -> &Pool {
        self.pool
    }
    /// Now.
    pub fn now(&self) -> Timestamp {
        (self.watch.now)()
    }
    /// A new id for a detached cmdlet.
    pub fn new_id(&self) -> String {
        self.systems.new_id()
    }
    /// The transition as the record has it, with what was learnt since.
    pub fn transition(&self) -> Transition {
        locked(&self.transition).clone()
    }
    /// The transition as the record has it; none: nothing has been written yet.
    pub fn written(&self) -> Option<Transition> {
        locked(&self.written).clone()
    }
    /// Takes over what the engine has learnt (times of steps) without writing it yet.
    pub fn update(&self, f: impl FnOnce(&mut Transition)) {
        f(&mut locked(&self.transition));
    }
    /// Tells what is there now.
    pub fn seen(&self, s: &Situation) {
        let past = s.is_past(&self.transition());
        let mut seen = locked(&self.seen);
        seen.1 = past;
        if let Some(files) = s.files.copy.known() {
            seen.0.clone_from(files);
        }
    }
    /// A file of the copy folder, as the last look saw it.
    pub fn in_copy_folder(&self, name: &str) -> Option<BackupFile> {
        locked(&self.seen).0.iter().find(|f| f.name == name).cloned()
    }

    /// Whether the resource still asks for what is done here.
    fn still_wanted(&self) -> Result<(), Problem> {
        let past = locked(&self.seen).1;
        (self.watch.wanted)(&self.transition(), past)
    }

    /// Writes an intent, or anything else that the world cannot tell, into the record.
    pub async fn intend(&self, f: impl FnOnce(&mut Transition) + Send) -> Outcome {
        let mut next = self.transition();
        f(&mut next);
        let document = match serde_json::to_string(&next) {
            Ok(document) => document,
            Err(e) => {
                return Outcome::Refused(Problem::ask(
                    Reason::InternalError,
                    e.to_string(),
                    "Report this as a defect",
                ));
            }
        };
        let statement = Statement::new(
            statements::write_record(),
            vec![
                self.pool.lock_resource().into(),
                self.pool.fqdn.clone().into(),
                next.id.clone().into(),
                SCHEMA.into(),
                Parameter::Text(document),
            ],
        );
        let outcome = self.sql(&statement).await;
        if outcome == Outcome::Answered {
            *locked(&self.written) = Some(next.clone());
            self.update(|t| *t = next);
        }
        outcome
    }

    /// Sends one guarded batch in the locked session.
    pub async fn sql(&self, statement: &Statement) -> Outcome {
        if let Err(problem) = self.still_wanted() {
            return Outcome::Refused(problem);
        }
        let deadline = if statement.long { None } else { Some(WRITE) };
        let result = self.session.lock().await.send(statement, deadline).await;
        match result {
            Ok(_) => Outcome::Answered,
            // The goal already holds; the next look says whether it does.
            Err(e) if read::already_done(&e) => Outcome::Answered,
            Err(e @ SqlError::Lost(_)) => Outcome::Unknown(self.problem(&e, statement)),
            Err(e) => Outcome::Refused(self.problem(&e, statement)),
        }
    }

    fn problem(&self, e: &SqlError, statement: &Statement) -> Problem {
        // The verb behind the guards says what was tried.
        let doing = [
            "RESTORE LOG",
            "RESTORE DATABASE",
            "sp_delete_log_shipping",
            "sp_update_job",
            "sp_stop_job",
            "ALTER",
        ]
        .into_iter()
        .find(|v| statement.text.contains(v))
        .unwrap_or("writing the record");
        errors::problem(e, &self.pool.backup.sql_server, doing)
    }

    /// Runs a cmdlet that ends soon and may be repeated.
    pub async fn invoke(&self, cmdlet: &Cmdlet) -> Outcome {
        if let Err(problem) = self.still_held().await.and_then(|()| self.still_wanted()) {
            return Outcome::Refused(problem);
        }
        let shell = &self.pool.backup.management_shell;
        match self.systems.invoke(shell, cmdlet, CMDLET).await {
            Ok(out) => match shell_read::clean_output(&out, cmdlet, shell) {
                Ok(_) => Outcome::Answered,
                Err(p) => Outcome::Refused(p),
            },
            Err(e @ (ShellError::Lost(_) | ShellError::Protocol(_))) => {
                Outcome::Unknown(shell_read::problem(&e, shell, cmdlet.name))
            }
            Err(e) => Outcome::Refused(shell_read::problem(&e, shell, cmdlet.name)),
        }
    }

    /// Starts a cmdlet that lives on without us: its ids are in the record before anything is sent.
    pub async fn detach(&self, cmdlet: &Cmdlet, job: DetachedJob) -> Outcome {
        let recorded = job.clone();
        match self.intend(move |t| t.mirror_jobs.push(recorded)).await {
            Outcome::Answered => {}
            other => return other,
        }
        if let Err(problem) = self.still_wanted() {
            return Outcome::Refused(problem);
        }
        let shell = &self.pool.backup.management_shell;
        match self.systems.start(shell, cmdlet, &job).await {
            Ok(()) => Outcome::Answered,
            Err(e) => Outcome::Unknown(shell_read::problem(&e, shell, cmdlet.name)),
        }
    }

    /// Copies one log backup into the copy folder.
    pub async fn copy(&self, file: &BackupFile) -> Outcome {
        if let Err(problem) = self.still_wanted() {
            return Outcome::Refused(problem);
        }
        match self.systems.copy(file, &|_| {}).await {
            Ok(()) => Outcome::Answered,
            Err(p) => Outcome::Refused(p),
        }
    }

    /// Whether the folders hold what they held, and the servers that were silent still are: asked at the last moment, and quickly.
    pub async fn still_so(&self, seen: &Premises) -> Result<(), Problem> {
        let changed = |what: String| {
            Problem::retry(Reason::EffectFailed, what, "It is looked at again before anything is done")
        };
        let (share, copy) =
            futures::join!(self.systems.list(Folder::BackupShare), self.systems.list(Folder::CopyFolder));
        let (mut share, mut copy) = (share.ok().map(|l| l.files), copy.ok().map(|l| l.files));
        leave_unfinished_twins(&mut share, &mut copy);
        for (field, before, now) in [
            ("spec.backupFiles.backupShare", &seen.share, share),
            ("spec.backupFiles.copyFolder", &seen.copy, copy),
        ] {
            if *before != now {
                return Err(changed(format!("The folder of {field} has changed since it was looked at")));
            }
        }
        let asked =
            futures::future::join_all(seen.silent.iter().map(|server| self.systems.sql(server))).await;
        for (server, answer) in seen.silent.iter().zip(asked) {
            match answer {
                Err(SqlError::Unreachable(_)) => {}
                Ok(_) | Err(_) => {
                    return Err(changed(format!("{} answers again ({})", server.name(), server.field)));
                }
            }
        }
        Ok(())
    }

    /// Keeps a text for a human beside the copied log backups. What it says is in the record as well: that it cannot be written
    /// is told, and stops nothing.
    pub async fn keep(&self, name: &str, text: &str) {
        if let Err(p) = self.systems.keep(name, text).await {
            tracing::warn!(file = name, problem = %p.message(), "a script for the administrator could not be written");
        }
    }

    /// A cmdlet cannot check the lock itself: it is asked for just before.
    async fn still_held(&self) -> Result<(), Problem> {
        let server = &self.pool.backup.sql_server;
        let statement = Statement::new(statements::HELD, vec![self.pool.lock_resource().into()]);
        let rows = self.session.lock().await.send(&statement, Some(WRITE)).await;
        match rows.map(|r| r.rows.first().and_then(|r| r.first()).cloned()) {
            Ok(Some(Cell::Text(mode))) if mode == "Exclusive" => Ok(()),
            Ok(_) => {
                Err(Problem::retry(Reason::LockHeld, "The lock of the pool was lost", "It is taken again"))
            }
            Err(e) => Err(errors::problem(&e, server, "checking the lock")),
        }
    }
}

async fn lock<Q: SqlSession>(
    session: &mut Q,
    server: &SqlServer,
    pool: &Pool,
    holder: Option<&String>,
) -> Result<(), Problem> {
    let statement = Statement::new(statements::LOCK, vec![pool.lock_resource().into()]);
    let rows = session
        .send(&statement, Some(WRITE))
        .await
        .map_err(|e| errors::problem(&e, server, "taking the lock"))?;
    match rows.rows.first().and_then(|r| r.first()) {
        Some(Cell::Int(0 | 1)) => Ok(()),
        _ => Err(Problem::retry(
            Reason::LockHeld,
            format!(
                "Another process holds the lock {} on {}{}",
                pool.lock_resource(),
                server.host,
                holder.map(|h| format!(": {h}")).unwrap_or_default()
            ),
            "Nothing to do if that is another operator at work: it finishes, or its lock ends with it",
        )),
    }
}
