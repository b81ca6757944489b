//! Jobs with a step of T-SQL: the Agent sends it in a session of its own, and msdb remembers how it ended.

use jiff::Timestamp;

use crate::tsql::batch::{Asked, begin_as, step};
use crate::tsql::{Event, Progress, SqlMessage, Wanted};
use crate::world::World;

use super::super::sessions::open_for_agent;
use super::super::{Instance, is_up, logout};
use super::{AGENT, Job};

/// The step of a job: T-SQL, the only subsystem that is simulated.
#[derive(Clone, Debug)]
pub struct Step {
    /// `step_name`.
    pub name: String,
    /// Its statements.
    pub command: String,
    /// The database that it is run in.
    pub database: String,
}

/// A run that is under way.
pub struct Run {
    /// Id of its job. Where the job was deleted meanwhile, the run goes on: that it ends then is documented nowhere.
    pub job: String,
    /// Its step, as it was when the run began.
    step: Step,
    /// The session that it is carried out in.
    pub session: u32,
    began: Timestamp,
    /// When its batch is to be looked at again.
    until: Timestamp,
    said: Vec<SqlMessage>,
}

/// How a run has ended: `sysjobhistory.run_status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunOutcome {
    /// It has failed.
    Failed,
    /// It has succeeded.
    Succeeded,
    /// Somebody has stopped it.
    Canceled,
}

impl RunOutcome {
    /// `run_status`.
    pub(crate) fn status(self) -> i64 {
        match self {
            RunOutcome::Failed => 0,
            RunOutcome::Succeeded => 1,
            RunOutcome::Canceled => 3,
        }
    }
}

/// A row of `msdb.dbo.sysjobhistory`: of a step, or of its job as a whole (step 0).
#[derive(Clone, Debug)]
pub struct JobHistory {
    /// `instance_id`: grows with every row.
    pub id: i64,
    /// Id of the job.
    pub job: String,
    /// `step_id`.
    pub step: i64,
    /// `step_name`.
    pub name: String,
    /// `sql_message_id`: of a failed step the last of its errors. Which of several it is, is documented nowhere.
    pub error: i64,
    /// `sql_severity`.
    pub severity: i64,
    /// `message`.
    pub message: String,
    /// `run_status`.
    pub outcome: RunOutcome,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
}

impl JobHistory {
    /// `run_date`: yyyymmdd. The servers' clocks show UTC.
    pub(crate) fn date(&self) -> i64 {
        self.began.strftime("%Y%m%d").to_string().parse().unwrap_or(0)
    }

    /// `run_time`: hhmmss.
    pub(crate) fn time(&self) -> i64 {
        self.began.strftime("%H%M%S").to_string().parse().unwrap_or(0)
    }

    /// `run_duration`: hhmmss.
    pub(crate) fn duration(&self) -> i64 {
        let seconds = self.ended.duration_since(self.began).as_secs();
        seconds / 3600 * 10_000 + seconds / 60 % 60 * 100 + seconds % 60
    }
}

/// Most characters of a message in the history (documented).
const LONGEST: usize = 4000;

impl Instance {
    /// The run of a job that is under way.
    pub(crate) fn run_of(&self, job: &str) -> Option<&Run> {
        self.runs.iter().find(|r| r.job.eq_ignore_ascii_case(job))
    }

    /// Remembers a run that has ended: a row for its step, then one for the job. A job that is gone has no history.
    fn remember(&mut self, run: Run, outcome: RunOutcome, ended: Timestamp) {
        let Some(job) = self.job_mut(&run.job) else { return };
        job.activity = Some((run.began, Some(ended)));
        let name = run.step.name.clone();
        let error = run.said.iter().rev().find(|m| m.is_error());
        let numbers = error.map_or((0, 0), |e| (i64::from(e.number), i64::from(e.class)));
        let of_step = told(&run.said, outcome);
        let of_job = job_told(&name, outcome);
        for (step, name, (error, severity), message) in
            [(1, name, numbers, of_step), (0, "(Job outcome)".into(), (0, 0), of_job)]
        {
            self.next_history += 1;
            self.job_history.push(JobHistory {
                id: self.next_history,
                job: run.job.clone(),
                step,
                name,
                error,
                severity,
                message,
                outcome,
                began: run.began,
                ended,
            });
        }
    }
}

/// What the history says of a step: everything that its statements have said, each with its SQLSTATE and number. The form is that of
/// histories that people have published, the end of a step that was stopped is not.
fn told(said: &[SqlMessage], outcome: RunOutcome) -> String {
    let one = |m: &SqlMessage| {
        let (state, kind) = if m.is_error() { ("42000", "Error") } else { ("01000", "Message") };
        format!("{} [SQLSTATE {state}] ({kind} {})", m.message, m.number)
    };
    let all = said.iter().map(one).collect::<Vec<_>>().join("  ");
    let end = match outcome {
        RunOutcome::Failed => "The step failed.",
        RunOutcome::Succeeded => "The step succeeded.",
        RunOutcome::Canceled => "The step was cancelled (stopped) as the result of a stop job request.",
    };
    let stop = if all.is_empty() { "" } else { ".  " };
    format!("Executed as user: {AGENT}. {all}{stop}{end}").chars().take(LONGEST).collect()
}

/// What it says of the job. By whom it was started is not kept here: nobody but the operator's login starts any.
fn job_told(step: &str, outcome: RunOutcome) -> String {
    let how = match outcome {
        RunOutcome::Failed => "The job failed.",
        RunOutcome::Succeeded => "The job succeeded.",
        RunOutcome::Canceled => "The job was stopped prior to completion by a user.",
    };
    let user = super::super::SQL_USER;
    format!("{how}  The Job was invoked by User {user}.  The last step to run was step 1 ({step}).")
}

/// The program name of the session of a step. The id of the job stands there as its bytes: the first three groups of a GUID are stored
/// with the lowest byte first.
fn program(job: &str) -> String {
    let reversed = |group: &str| {
        let bytes: Vec<char> = group.chars().collect();
        bytes.chunks(2).rev().flatten().collect::<String>()
    };
    let groups = job.split('-').enumerate();
    let hex: String = groups.map(|(n, g)| if n < 3 { reversed(g) } else { g.into() }).collect();
    format!("SQLAgent - TSQL JobStep (Job 0x{hex} : Step 1)")
}

/// Begins a run of a job that has a step; whether it has one.
pub(super) fn begin(world: &mut World, host: &str, job: &str) -> bool {
    let now = world.now;
    let found = world.sql.get_mut(host).and_then(|i| i.job_mut(job));
    let Some((job, step)) = found.and_then(|j: &mut Job| Some((j.id.clone(), j.step.clone()?))) else {
        return false;
    };
    let Some(session) = open_for_agent(world, host, &program(&job), &step.database) else { return true };
    let asked = Asked {
        text: step.command.clone(),
        parameters: Vec::new(),
        types: std::collections::BTreeMap::new(),
        outputs: Vec::new(),
        wanted: Wanted::Batch,
    };
    // What does not compile is said as what fails later.
    let said = begin_as(world, host, session, asked).err().into_iter().collect();
    if let Some(i) = world.sql.get_mut(host) {
        if let Some(j) = i.job_mut(&job) {
            j.activity = Some((now, None));
        }
        i.runs.push(Run { job, step, session, began: now, until: now, said });
    }
    true
}

/// Lets the runs of all servers go on as far as they can. Those of a server or an Agent that is down end with it: that there is no row in
/// the history then is documented nowhere, but nobody is there to write one.
pub(super) fn tick(world: &mut World) {
    let now = world.now;
    let due = |i: &Instance| {
        let stuck = |j: &Job| matches!(j.activity, Some((_, None))) && i.run_of(&j.id).is_none();
        let ends = (i.down || i.agent_stopped) && !i.runs.is_empty();
        let goes_on = |r: &Run| r.until <= now || !i.sessions.contains_key(&r.session);
        ends || i.runs.iter().any(goes_on) || i.jobs.iter().any(stuck)
    };
    let hosts: Vec<String> = world.sql.iter().filter(|(_, i)| due(i)).map(|(h, _)| h.clone()).collect();
    for host in hosts {
        if !is_up(world, &host) {
            lost(world, &host);
            continue;
        }
        let Some(i) = world.sql.get_mut(&host) else { continue };
        if i.agent_stopped {
            lost(world, &host);
            continue;
        }
        // In a new life of the Agent no job runs that ran in the one before.
        let running: Vec<String> = i.runs.iter().map(|r| r.job.clone()).collect();
        for job in i.jobs.iter_mut().filter(|j| !running.contains(&j.id)) {
            job.activity = job.activity.filter(|(_, ended)| ended.is_some());
        }
        go_on(world, &host);
    }
}

/// Lets the runs of a server go on.
fn go_on(world: &mut World, host: &str) {
    let now = world.now;
    let Some(i) = world.sql.get_mut(host) else { return };
    let runs = std::mem::take(&mut i.runs);
    for mut run in runs {
        let alive = world.sql.get(host).is_some_and(|i| i.sessions.contains_key(&run.session));
        let progress = if !alive {
            // Somebody has killed the session. By which words the history tells of that is documented nowhere.
            let killed = "Cannot continue the execution because the session is in the kill state.";
            run.said.push(SqlMessage::refusal(596, killed));
            Progress::Finished
        } else if run.until > now {
            Progress::Until(run.until)
        } else {
            let mut out = Vec::new();
            let progress = step(world, host, run.session, &mut out);
            run.said.extend(out.into_iter().filter_map(message));
            progress
        };
        match progress {
            Progress::Until(until) => {
                run.until = until;
                if let Some(i) = world.sql.get_mut(host) {
                    i.runs.push(run);
                }
            }
            Progress::Finished => {
                let failed = run.said.iter().any(SqlMessage::is_error);
                let outcome = if failed { RunOutcome::Failed } else { RunOutcome::Succeeded };
                logout(world, host, run.session);
                if let Some(i) = world.sql.get_mut(host) {
                    i.remember(run, outcome, now);
                }
            }
        }
    }
}

/// What a statement of a step has said.
fn message(event: Event) -> Option<SqlMessage> {
    match event {
        Event::Error(m) | Event::Info(m) => Some(m),
        Event::Rows { .. }
        | Event::Count(_)
        | Event::Done(_)
        | Event::Returned(_)
        | Event::Environment(..)
        | Event::Ended(..)
        | Event::Output(..) => None,
    }
}

/// The runs of a server end with it, or with its Agent.
pub(in crate::sql) fn lost(world: &mut World, host: &str) {
    let runs = world.sql.get_mut(host).map(|i| std::mem::take(&mut i.runs)).unwrap_or_default();
    for run in runs {
        logout(world, host, run.session);
    }
}

/// Somebody stops a run; whether there was one.
pub(crate) fn stop(world: &mut World, host: &str, job: &str) -> bool {
    let now = world.now;
    let Some(i) = world.sql.get_mut(host) else { return false };
    let Some(at) = i.runs.iter().position(|r| r.job.eq_ignore_ascii_case(job)) else { return false };
    let run = i.runs.remove(at);
    logout(world, host, run.session);
    if let Some(i) = world.sql.get_mut(host) {
        i.remember(run, RunOutcome::Canceled, now);
    }
    true
}
