//! The permit: the only way to write.
//!
//! It holds the application lock of the pool on every instance that answers, each in a session of its own. The record is written in
//! the locked sessions of the side whose database is live in the end; every statement on SQL Server is a batch that checks the lock
//! itself before it acts. Whoever loses the session loses the lock, and the batch says so.

#![warn(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

mod last_moment;
mod records;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::backups::BackupFile;
use crate::domain::database_files::{Listed, Move, Placed, moves, seed_moves};
use crate::domain::decision::Outcome;
use crate::domain::pool::{Pool, SqlServer};
use crate::domain::problem::{Problem, Reason};
use crate::domain::reading::Reading;
use crate::domain::route::Route;
use crate::domain::seed::Lost;
use crate::domain::side::{Place, Seat, Side, Sides};
use crate::domain::situation::Situation;
use crate::domain::transition::{DetachedJob, LogSeen, Transition};
use crate::systems::management_shell::{Cmdlet, ShellError, cmdlets, diagnostics, read as shell_read};
use crate::systems::sql_server::lost_messages::{self, Asked};
use crate::systems::sql_server::{
    Cell, SqlError, Statement, agent, database_files, errors, read, statements,
};
use crate::systems::{Folders, Shell, SqlSession, Systems};
use records::{Sessions, WRITE, agree, is_kept_on_both_sides, not_locked, record};

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

/// An Agent job of ours.
pub struct AgentJob {
    /// Its name.
    pub name: String,
    /// What a human who finds it is told.
    pub description: String,
    /// The text of its one step.
    pub text: String,
}

impl AgentJob {
    /// A job that says what it does, and whose it is.
    pub fn new(name: &str, what: &str, text: String) -> Self {
        AgentJob { name: name.into(), description: format!("{what} (persistent-chat-failover)"), text }
    }
}

/// Leave to write.
pub struct Permit<'w, S: Systems> {
    systems: &'w S,
    pool: &'w Pool,
    watch: Watch<'w>,
    /// Where the record is written first.
    home: Seat,
    /// Locked sessions.
    sessions: Sessions<S::Sql>,
    transition: Mutex<Transition>,
    /// Held from the reading of the transition until what was written of it is remembered: of two effects beside each other, each of which
    /// writes, the later one would take out of the record what the first has put there.
    writing: futures::lock::Mutex<()>,
    /// The same, as the record has it; absent: it has none yet.
    written: Mutex<Option<Transition>>,
    seen: Mutex<LastLook>,
}

/// What the last look saw that an effect must know.
#[derive(Clone, Debug)]
struct LastLook {
    /// Where each side's database is worked on.
    mains: Sides<Place>,
    /// Files of the copy folder of the transition's target.
    copies: Vec<BackupFile>,
    /// Whether the transition was past the point of no return.
    past: bool,
    /// The servers that spoke.
    speaking: Vec<Seat>,
}

impl LastLook {
    fn of(s: &Situation, t: &Transition) -> LastLook {
        let copies = s.folders[t.route.to].as_ref().and_then(|f| f.copy.known());
        LastLook {
            mains: Sides::of(|side| s.sites[side].main_place()),
            copies: copies.cloned().unwrap_or_default(),
            past: s.is_past(t),
            speaking: Side::BOTH
                .into_iter()
                .flat_map(|side| s.sites[side].instances().map(move |(place, _)| Seat { side, place }))
                .collect(),
        }
    }
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
        let side = t.route.home();
        let home = Seat { side, place: s.sites[side].main_place() };
        let mut sessions = lock_all(systems, pool, s, home).await?;
        if !sessions.contains_key(&home) {
            return Err(match s.sites[side].main() {
                Err(p) => p.clone(),
                Ok(_) => not_locked(pool),
            });
        }
        let both = s.transitions().iter().any(|t| is_kept_on_both_sides(t.route));
        let here = agree(&mut sessions, pool, home, both).await?;
        let here = here.iter().find(|r| r.id == t.id);
        // A copy on the partner may be newer: it was written where this one could not be.
        let newest = [here, s.recorded(&t.id)].into_iter().flatten().max_by_key(|r| r.revision);
        let written = newest.cloned();
        Ok(Permit {
            systems,
            pool,
            watch,
            home,
            sessions,
            transition: Mutex::new(written.clone().map_or_else(|| t.clone(), |w| w.with_times_of(t))),
            writing: futures::lock::Mutex::new(()),
            written: Mutex::new(written),
            seen: Mutex::new(LastLook::of(s, t)),
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
        let mut last = LastLook::of(s, &self.transition());
        let mut seen = locked(&self.seen);
        if s.folders[self.to()].as_ref().and_then(|f| f.copy.known()).is_none() {
            last.copies = std::mem::take(&mut seen.copies);
        }
        *seen = last;
    }
    /// A file of the copy folder, as the last look saw it.
    pub fn in_copy_folder(&self, name: &str) -> Option<BackupFile> {
        locked(&self.seen).copies.iter().find(|f| f.name == name).cloned()
    }
    /// The side that the transition is about.
    fn to(&self) -> Side {
        locked(&self.transition).route.to
    }
    /// Where it goes.
    pub fn route(&self) -> Route {
        locked(&self.transition).route
    }
    /// The server of the side that the transition is about.
    pub fn target(&self) -> Seat {
        self.main(self.to())
    }
    /// The server of the side that is left, or whose database is the live one.
    pub fn source(&self) -> Seat {
        self.main(self.route().from)
    }
    /// Where a side's database is worked on.
    fn main(&self, side: Side) -> Seat {
        Seat { side, place: locked(&self.seen).mains[side] }
    }

    /// Where the record is written first. A switch that is taken back, or goes on after all, changes sides.
    fn home(&self) -> Seat {
        let route = self.route();
        let now = self.main(route.home());
        // On the other side than where the lock was taken first it is no lock without a session there: then it is taken anew.
        let follows = now.side != self.home.side || self.sessions.contains_key(&now);
        if is_kept_on_both_sides(route) && follows { now } else { self.home }
    }

    /// Whether the resource still asks for what is done here.
    fn still_wanted(&self) -> Result<(), Problem> {
        let past = locked(&self.seen).past;
        (self.watch.wanted)(&self.transition(), past)
    }

    /// Writes an intent, or anything else that the world cannot tell, into the record.
    pub async fn intend(&self, f: impl FnOnce(&mut Transition) + Clone + Send) -> Outcome {
        self.write(f).await.0
    }

    /// The same for what may have to be known where home is lost: it counts only once it stands on every server that speaks.
    pub async fn intend_everywhere(&self, f: impl FnOnce(&mut Transition) + Clone + Send) -> Outcome {
        // Who speaks and did not give its lock would miss it.
        if locked(&self.seen).speaking.iter().any(|seat| !self.sessions.contains_key(seat)) {
            return Outcome::Refused(not_locked(self.pool));
        }
        match self.write(f).await {
            (Outcome::Answered, Some(problem)) => Outcome::Unknown(problem),
            (Outcome::Answered, None) => Outcome::Answered,
            (other @ (Outcome::Refused(_) | Outcome::Unknown(_)), _) => other,
        }
    }

    /// Writes the record at home, then its copies: how the first went, and what was in the way of a copy.
    async fn write(&self, f: impl FnOnce(&mut Transition) + Clone + Send) -> (Outcome, Option<Problem>) {
        let turn = self.writing.lock().await;
        let mut next = self.transition();
        f.clone()(&mut next);
        next.revision += 1;
        let statement = match record(self.pool, &next) {
            Ok(statement) => statement,
            Err(problem) => return (Outcome::Refused(problem), None),
        };
        let outcome = self.sql(self.home(), &statement).await;
        if outcome != Outcome::Answered {
            return (outcome, None);
        }
        let (revision, route) = (next.revision, next.route);
        *locked(&self.written) = Some(next);
        // Not as it was written: what was learnt meanwhile stays.
        self.update(|t| {
            f(t);
            t.revision = revision;
        });
        // A copy may hang for long; what is written next has all of this in it.
        drop(turn);
        (outcome, self.copy_record(&statement, route).await)
    }

    /// The same record on the partner of the side's mirror: it may be the principal tomorrow; and of a switch on the other side as well,
    /// which lives and may be all that is left tomorrow. The copy that was written last counts. What was in the way of one.
    async fn copy_record(&self, statement: &Statement, route: Route) -> Option<Problem> {
        let home = self.home();
        let belongs = |seat: &Seat| seat.side == home.side || is_kept_on_both_sides(route);
        let others = self.sessions.iter().filter(|(seat, _)| **seat != home && belongs(seat));
        let sent = others.map(|(seat, session)| async move {
            let Err(e) = session.lock().await.send(statement, Some(WRITE)).await else { return None };
            let server = self.server(*seat);
            let problem = errors::problem(&e, server, "copying the record");
            tracing::warn!(server = server.host, problem = %problem.message(), "the record was not copied");
            Some(problem)
        });
        futures::future::join_all(sent).await.into_iter().flatten().next()
    }

    fn server(&self, seat: Seat) -> &SqlServer {
        self.pool.server(seat).unwrap_or(&self.pool.sites[seat.side].sql_server)
    }

    /// Sends one guarded batch in the locked session of a server.
    pub async fn sql(&self, seat: Seat, statement: &Statement) -> Outcome {
        if let Err(problem) = self.still_wanted() {
            return Outcome::Refused(problem);
        }
        // It did not answer when the locks were taken: they are taken anew.
        let Some(session) = self.sessions.get(&seat) else { return Outcome::Refused(not_locked(self.pool)) };
        let deadline = if statement.long { None } else { Some(WRITE) };
        let result = session.lock().await.send(statement, deadline).await;
        let problem = |e: &SqlError| errors::problem(e, self.server(seat), statement.doing);
        match result {
            Ok(_) => Outcome::Answered,
            // The goal already holds; the next look says whether it does.
            Err(e) if read::already_done(&e) => Outcome::Answered,
            Err(e) if e.outcome_unknown() => Outcome::Unknown(problem(&e)),
            Err(e) => Outcome::Refused(problem(&e)),
        }
    }

    /// Where the files go that a log backup adds to the copy at the target; none: it adds none, or nobody can tell. An error: the
    /// session is lost.
    pub async fn moves(&self, path: &str, position: i32) -> Result<Vec<Move>, Outcome> {
        match self.files(path, position).await {
            Ok((listed, placed)) => Ok(moves(&listed, &placed)),
            Err(Outcome::Refused(problem)) => {
                let server = self.server(self.target());
                tracing::warn!(server = server.host, problem = %problem.message(), "nothing is moved");
                Ok(vec![])
            }
            Err(lost @ (Outcome::Unknown(_) | Outcome::Answered)) => Err(lost),
        }
    }

    /// Where the files go of a full backup that takes the place of the copy at the target. An error: nobody can tell, and nothing is put
    /// anywhere.
    pub async fn seed_moves(&self, path: &str) -> Result<Vec<Move>, Outcome> {
        self.files(path, 1).await.map(|(listed, placed)| seed_moves(&listed, &placed))
    }

    /// Counts the messages of a database that the live one lacks, on sessions that serve nothing else. An error: why nobody can say.
    pub async fn count_lost(&self, seat: Seat, held_until: Timestamp) -> Result<Lost, Problem> {
        let open = |seat| async move {
            let server = self.server(seat);
            let session = self.systems.sql(server).await;
            session
                .map(|session| Asked { session, server })
                .map_err(|e| errors::problem(&e, server, "counting"))
        };
        let (mut old, mut live) = (open(seat).await?, open(self.source()).await?);
        lost_messages::count(&mut old, &mut live, self.pool, held_until).await
    }

    /// The files that a backup lists, and those of the instance of the target. An error: it was refused, or the session is lost.
    async fn files(&self, path: &str, position: i32) -> Result<(Vec<Listed>, Vec<Placed>), Outcome> {
        let (seat, doing) = (self.target(), "looking for the files of a backup");
        let Some(session) = self.sessions.get(&seat) else {
            return Err(Outcome::Refused(not_locked(self.pool)));
        };
        let (mut session, server) = (session.lock().await, self.server(seat));
        let told = async {
            let listed = database_files::listed(&mut *session, server, path, position).await?;
            Ok((listed, database_files::placed(&mut *session, server, self.pool).await?))
        };
        match told.await {
            Ok((Reading::Known(listed), Reading::Known(placed))) => Ok((listed, placed)),
            Ok((Reading::Unknown(p), _) | (Reading::Known(_), Reading::Unknown(p))) => {
                Err(Outcome::Refused(p))
            }
            Err(e) if SqlError::ends_the_session(&e) => {
                Err(Outcome::Unknown(errors::problem(&e, server, doing)))
            }
            Err(e) => Err(Outcome::Refused(errors::problem(&e, server, doing))),
        }
    }

    /// Runs a cmdlet that ends soon and may be repeated. The locks are held until it is known to have ended; or, where the host does not
    /// let itself be asked any more, until all was tried that ends it there (`psrp::client::Client::invoke_to_the_end`, a minute at most).
    /// They are not held for as long as such a host may let it run: a failover would stand still for that time, and whoever holds them
    /// next looks at the world first.
    pub async fn invoke(&self, cmdlet: &Cmdlet) -> Outcome {
        if let Err(problem) = self.still_held().await.and_then(|()| self.still_wanted()) {
            return Outcome::Refused(problem);
        }
        let shell = &self.pool.sites[self.route().home()].management_shell;
        match self.systems.shell().invoke(shell, cmdlet, CMDLET).await {
            Ok(out) => match shell_read::clean_output(&out, cmdlet, shell) {
                Ok(_) => {
                    if let Some(told) = diagnostics::of(&out).told() {
                        tracing::warn!(cmdlet = cmdlet.name, host = shell.host, said = told, "it ended well");
                    }
                    Outcome::Answered
                }
                Err(p) => Outcome::Refused(p),
            },
            Err(e @ (ShellError::Lost(_) | ShellError::Protocol(_))) => {
                Outcome::Unknown(shell_read::problem(&e, shell, cmdlet.name))
            }
            Err(e) => Outcome::Refused(shell_read::problem(&e, shell, cmdlet.name)),
        }
    }

    /// Starts a chat service that a switch had stopped; once it was told to start, it is not held for stopped any more.
    pub async fn start_chat_service(&self, host: &str, service: &str) -> Outcome {
        match self.invoke(&cmdlets::start_service(host, service)).await {
            Outcome::Answered => self.intend(|t| _ = t.facts.stopped_services.remove(host)).await,
            other @ (Outcome::Refused(_) | Outcome::Unknown(_)) => other,
        }
    }

    /// Starts a cmdlet that lives on without us: its ids are in the record before anything is sent.
    pub async fn detach(&self, cmdlet: &Cmdlet, job: DetachedJob) -> Outcome {
        let shell = &self.pool.sites[self.route().home()].management_shell;
        let job = match self.systems.shell().account(shell).await {
            Ok(user) => {
                DetachedJob { user: Some(user), configuration: Some(shell.configuration_name.clone()), ..job }
            }
            Err(e) => return Outcome::Refused(shell_read::problem(&e, shell, cmdlet.name)),
        };
        let recorded = job.clone();
        match self.intend(move |t| t.facts.mirror_jobs.push(recorded)).await {
            Outcome::Answered => {}
            other @ (Outcome::Refused(_) | Outcome::Unknown(_)) => return other,
        }
        if let Err(problem) = self.still_wanted() {
            return Outcome::Refused(problem);
        }
        match self.systems.shell().start(shell, cmdlet, &job).await {
            Ok(()) => Outcome::Answered,
            Err(e) => Outcome::Unknown(shell_read::problem(&e, shell, cmdlet.name)),
        }
    }

    /// Runs a text as an Agent job of ours that lives on without us: what is to be remembered of it is in the record before it is started.
    pub async fn run_job(
        &self,
        seat: Seat,
        job: &AgentJob,
        learn: impl FnOnce(&mut Transition) + Clone + Send,
    ) -> Outcome {
        let (now, name) = (self.now(), job.name.clone());
        let seen = LogSeen { next_backup: None, redo: None };
        let intended = self.intend(move |t| {
            learn(t);
            t.started_job(name, now, seen);
        });
        match intended.await {
            Outcome::Answered => {}
            other @ (Outcome::Refused(_) | Outcome::Unknown(_)) => return other,
        }
        let statement = agent::run_job(self.pool, &job.name, &job.description, job.text.clone());
        self.sql(seat, &statement).await
    }

    /// Copies one log backup into the copy folder of the side that the transition is about.
    pub async fn copy(&self, file: &BackupFile) -> Outcome {
        if let Err(problem) = self.still_wanted() {
            return Outcome::Refused(problem);
        }
        match self.systems.folders().copy(self.to(), file).await {
            Ok(()) => Outcome::Answered,
            Err(p) => Outcome::Refused(p),
        }
    }

    /// Keeps a text for a human beside the copied log backups. What it says is in the record as well: that it cannot be written
    /// is told, and stops nothing.
    pub async fn keep(&self, name: &str, text: &str) {
        if let Err(p) = self.systems.folders().keep(self.to(), name, text).await {
            tracing::warn!(file = name, problem = %p.message(), "a script for the administrator could not be written");
        }
    }

    /// A cmdlet cannot check the lock itself: it is asked for just before.
    async fn still_held(&self) -> Result<(), Problem> {
        let home = self.home();
        let server = self.server(home);
        let Some(session) = self.sessions.get(&home) else { return Err(not_locked(self.pool)) };
        let statement = Statement::read(statements::HELD, vec![self.pool.lock_resource().into()]);
        let rows = session.lock().await.send(&statement, Some(WRITE)).await;
        match rows.map(|r| r.rows.first().and_then(|r| r.first()).cloned()) {
            Ok(Some(Cell::Text(mode))) if mode == "Exclusive" => Ok(()),
            Ok(_) => {
                Err(Problem::retry(Reason::LockHeld, "The lock of the pool was lost", "It is taken again"))
            }
            Err(e) => Err(errors::problem(&e, server, "checking the lock")),
        }
    }
}

/// Takes the lock on every instance that answers. The one at home must give it; another one that has died since it was looked at is
/// left out, but a lock that somebody holds there is a refusal.
async fn lock_all<S: Systems>(
    systems: &S,
    pool: &Pool,
    s: &Situation,
    home: Seat,
) -> Result<Sessions<S::Sql>, Problem> {
    let seats = Side::BOTH.into_iter().flat_map(|side| {
        s.sites[side].instances().map(move |(place, i)| (i.server_name.to_lowercase(), Seat { side, place }))
    });
    let mut seats: Vec<(String, Seat)> = seats.collect();
    seats.sort();
    let mut sessions = BTreeMap::new();
    for (_, seat) in seats {
        let Some(server) = pool.server(seat) else { continue };
        match lock(systems, server, pool).await {
            Ok(session) => drop(sessions.insert(seat, futures::lock::Mutex::new(session))),
            Err(problem) if seat == home || problem.reason == Reason::LockHeld => return Err(problem),
            Err(problem) => {
                tracing::debug!(server = server.host, problem = %problem.message(), "no lock there");
            }
        }
    }
    Ok(sessions)
}

async fn lock<S: Systems>(systems: &S, server: &SqlServer, pool: &Pool) -> Result<S::Sql, Problem> {
    let told = |e: &SqlError| errors::problem(e, server, "taking the lock");
    let mut session = systems.sql(server).await.map_err(|e| told(&e))?;
    let statement = Statement::read(statements::LOCK, vec![pool.lock_resource().into()]);
    let rows = session.send(&statement, Some(WRITE)).await.map_err(|e| told(&e))?;
    if let Some(Cell::Int(0 | 1)) = rows.rows.first().and_then(|r| r.first()) {
        return Ok(session);
    }
    let holder = read::lock_holder(&mut session, server, pool).await;
    Err(Problem::retry(
        Reason::LockHeld,
        format!(
            "Another process holds the lock {} on {}{}",
            pool.lock_resource(),
            server.host,
            holder.map(|h| format!(": {h}")).unwrap_or_default()
        ),
        "Nothing to do if that is another operator at work: it finishes, or its lock ends with it",
    ))
}
