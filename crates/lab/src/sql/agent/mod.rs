//! SQL Server Agent: jobs, the schedules that start them, and what is due.

mod shipping;
mod steps;

use jiff::{SignedDuration, Timestamp};

use crate::tsql::SqlMessage;
use crate::tsql::values::refuse;
use crate::world::World;

use super::{Instance, guid, is_up};
pub(super) use shipping::copy;
pub use shipping::take_log_backup;
pub(super) use steps::lost;
pub(crate) use steps::stop;
pub use steps::{JobHistory, Run, RunOutcome, Step};

/// The login of SQL Server Agent.
pub(crate) const AGENT: &str = r"NT SERVICE\SQLAgent$CHAT";

/// An Agent job.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it belongs to.
    pub category: Category,
    /// Whether its schedules start it.
    pub enabled: bool,
    /// Whether it runs until somebody stops it.
    pub hangs: bool,
    /// Ids of its schedules.
    pub schedules: Vec<i64>,
    /// When a schedule starts it next; absent: none does.
    pub next: Option<Timestamp>,
    /// Somebody has asked for a run that has not begun yet.
    pub asked: bool,
    /// `description`.
    pub description: Option<String>,
    /// Its step of T-SQL. The jobs of log shipping have none, nor have those that do nothing here.
    pub step: Option<Step>,
    /// Whether there is a server for it to run on (`sysjobservers`).
    pub has_server: bool,
    /// Of a job with a step, in this life of the Agent: when its last run began, and when that ended.
    pub activity: Option<(Timestamp, Option<Timestamp>)>,
}

/// Category of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    /// Anybody's.
    Uncategorized,
    /// The backup job of log shipping.
    Backup,
    /// Its copy job.
    Copy,
    /// Its restore job.
    Restore,
}

impl Category {
    /// All of them.
    pub const ALL: [Category; 4] =
        [Category::Uncategorized, Category::Backup, Category::Copy, Category::Restore];

    /// `msdb.dbo.syscategories.name`.
    pub fn name(self) -> &'static str {
        match self {
            Category::Uncategorized => "[Uncategorized (Local)]",
            Category::Backup => "Log Shipping Backup",
            Category::Copy => "Log Shipping Copy",
            Category::Restore => "Log Shipping Restore",
        }
    }

    /// `category_id`. The numbers of log shipping's own are nowhere documented: a client goes by their names.
    pub fn id(self) -> i64 {
        match self {
            Category::Uncategorized => 0,
            Category::Backup => 6,
            Category::Copy => 7,
            Category::Restore => 8,
        }
    }
}

/// A schedule. How often it starts a job is the scenario's choice, whatever it says.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// `schedule_id`.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Values of [`Schedule::COLUMNS`].
    pub settings: [i64; Schedule::COLUMNS.len()],
}

impl Schedule {
    /// The settings, as `msdb.dbo.sysschedules` calls them and `sp_add_schedule` its parameters (with an `@`).
    pub const COLUMNS: [&'static str; 11] = [
        "enabled",
        "freq_type",
        "freq_interval",
        "freq_subday_type",
        "freq_subday_interval",
        "freq_relative_interval",
        "freq_recurrence_factor",
        "active_start_date",
        "active_end_date",
        "active_start_time",
        "active_end_time",
    ];

    /// Every 15 minutes of every day, as log shipping is usually set up.
    pub(super) const USUAL: [i64; Schedule::COLUMNS.len()] =
        [1, 4, 1, 4, 15, 0, 0, 20_260_101, 99_991_231, 0, 235_900];
}

/// The pause between two runs of each job.
pub(crate) fn interval(world: &World) -> SignedDuration {
    SignedDuration::from_millis(i64::try_from(world.scenario.job_interval_ms).unwrap_or(900_000))
}

impl Instance {
    /// A GUID for something new of this instance.
    pub(crate) fn new_id(&mut self, seed: u64, what: &str) -> String {
        self.made += 1;
        guid(seed, &format!("{what} {} of {}", self.made, self.host))
    }

    /// A job by its id.
    pub(crate) fn job_mut(&mut self, id: &str) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|j| j.id.eq_ignore_ascii_case(id))
    }

    /// Whether a job of log shipping may be made: its name is free, or it may take the place of one of its kind.
    ///
    /// That one of the same category is refused unless `overwrite` says otherwise is nowhere documented.
    pub(crate) fn job_name_is_free(
        &self,
        name: &str,
        category: Category,
        overwrite: bool,
    ) -> Result<(), SqlMessage> {
        match self.jobs.iter().find(|j| j.name.eq_ignore_ascii_case(name)) {
            Some(other) if other.category != category => refuse(
                32022,
                format!(
                    "Cannot add a log shipping job with name {name}. A job with same name already exists in the system and this job does not belong to log shipping category."
                ),
            ),
            Some(_) if !overwrite => refuse(14261, format!("The specified @name ('{name}') already exists.")),
            Some(_) | None => Ok(()),
        }
    }

    /// Makes a job as the procedures of log shipping do: disabled, without a schedule. One of the same name goes.
    pub(crate) fn make_job(&mut self, id: String, name: &str, category: Category) -> String {
        let old = self.jobs.iter().find(|j| j.name.eq_ignore_ascii_case(name)).map(|j| j.id.clone());
        if let Some(old) = old {
            self.delete_job(&old);
        }
        self.jobs.push(Job {
            id: id.clone(),
            name: name.into(),
            category,
            enabled: false,
            hangs: false,
            schedules: Vec::new(),
            next: None,
            asked: false,
            description: None,
            step: None,
            has_server: true,
            activity: None,
        });
        id
    }

    /// Enables a job, with a schedule of its own that starts it first at `next`.
    pub(super) fn put_on_schedule(&mut self, id: &str, next: Timestamp) {
        let Some(job) = self.job_mut(id) else { return };
        job.enabled = true;
        let name = format!("{} schedule", job.name);
        let schedule = self.add_schedule(&name, Schedule::USUAL);
        self.attach_schedule(id, schedule, next);
    }

    /// Deletes a job with its history, and the schedules that no other job has.
    pub(crate) fn delete_job(&mut self, id: &str) {
        let (gone, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.jobs).into_iter().partition(|j| j.id.eq_ignore_ascii_case(id));
        self.jobs = kept;
        self.job_history.retain(|h| !h.job.eq_ignore_ascii_case(id));
        let unused = |s: i64| {
            gone.iter().any(|j| j.schedules.contains(&s))
                && !self.jobs.iter().any(|j| j.schedules.contains(&s))
        };
        self.schedules.retain(|s| !unused(s.id));
    }

    /// Makes a schedule.
    pub(crate) fn add_schedule(&mut self, name: &str, settings: [i64; Schedule::COLUMNS.len()]) -> i64 {
        let id = self.next_schedule;
        self.next_schedule += 1;
        self.schedules.push(Schedule { id, name: name.into(), settings });
        id
    }

    /// Lets a schedule start a job, first at `next`. A job that has it already stays as it is.
    pub(crate) fn attach_schedule(&mut self, job: &str, schedule: i64, next: Timestamp) {
        if let Some(j) = self.job_mut(job)
            && !j.schedules.contains(&schedule)
        {
            j.schedules.push(schedule);
            j.next = j.next.or(Some(next));
        }
    }
}

/// Lets everything happen that is due: the jobs of log shipping, and those that somebody has given a step.
pub(super) fn tick(world: &mut World) {
    start_due(world);
    steps::tick(world);
}

/// Begins the runs that are due.
fn start_due(world: &mut World) {
    let now = world.now;
    let next = now + interval(world);
    let due = |j: &Job| j.asked || (j.enabled && j.next.is_some_and(|n| n <= now));
    let hosts: Vec<String> =
        world.sql.iter().filter(|(_, i)| i.jobs.iter().any(due)).map(|(h, _)| h.clone()).collect();
    for host in hosts {
        if !is_up(world, &host) {
            continue;
        }
        let Some(i) = world.sql.get_mut(&host).filter(|i| !i.agent_stopped) else { continue };
        let mut begun = Vec::new();
        for job in i.jobs.iter_mut().filter(|j| due(j)) {
            job.asked = false;
            if job.next.is_some_and(|n| n <= now) {
                job.next = Some(next);
            }
            begun.push(job.id.clone());
        }
        for job in begun {
            if !steps::begin(world, &host, &job) {
                shipping::run(world, &host, &job);
            }
        }
    }
}
