//! Log shipping set up by T-SQL, as an operator sends it: what each procedure leaves behind, what it refuses, what the jobs then do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use jiff::{SignedDuration, Timestamp};
use lab::scenario::Scenario;
use lab::sql::{self, SQL_PASSWORD, SQL_USER, Shipment};
use lab::tsql::{Cell, Event, Progress, batch};
use lab::world::World;
use lab::world::files::MemoryFiles;
use lab::world::journal::{Effect, Outcome};

const FROM: &str = "atl-sql-1.litwareinc.com";
const FROM_MIRROR: &str = "atl-sql-2.litwareinc.com";
const TO: &str = "sea-sql-1.litwareinc.com";
const SHARE: &str = r"\\atl-fs-9\other";
const FOLDER: &str = r"G:\copies";
const POOL: &str = "pcf chat.litwareinc.com";

/// What stands before the effect of every batch.
const GUARD: &str = "IF APPLOCK_MODE(N'public', @P1, N'Session') <> N'Exclusive' \
     BEGIN RAISERROR(N'PCF guard: this session does not hold the lock of the pool', 16, 1); RETURN; END; ";

const ADD_PRIMARY: &str = "DECLARE @rc int, @job uniqueidentifier, @id uniqueidentifier; \
     EXEC @rc = master.dbo.sp_add_log_shipping_primary_database @database = @P2, @backup_directory = @P3, @backup_share = @P4, \
     @backup_job_name = @P5, @backup_retention_period = @P6, @backup_threshold = @P7, @threshold_alert_enabled = @P8, \
     @history_retention_period = @P9, @backup_compression = @P10, @overwrite = 1, @backup_job_id = @job OUTPUT, \
     @primary_id = @id OUTPUT; \
     IF @rc <> 0 RAISERROR(N'PCF: sp_add_log_shipping_primary_database returned an error code', 16, 4); \
     SELECT @rc AS rc, @job AS job, @id AS id;";
const ADD_SCHEDULE: &str = "DECLARE @schedule int; EXEC msdb.dbo.sp_add_schedule @schedule_name = @P3, @enabled = 1, \
     @freq_type = @P4, @freq_interval = @P5, @freq_subday_type = @P6, @freq_subday_interval = @P7, \
     @freq_relative_interval = @P8, @freq_recurrence_factor = @P9, @active_start_date = @P10, @active_end_date = @P11, \
     @active_start_time = @P12, @active_end_time = @P13, @schedule_id = @schedule OUTPUT; \
     EXEC msdb.dbo.sp_attach_schedule @job_id = @P2, @schedule_id = @schedule;";
const ENABLE: &str = "EXEC msdb.dbo.sp_update_job @job_id = @P2, @enabled = 1;";
const START: &str = "EXEC msdb.dbo.sp_start_job @job_id = @P2;";
const ADD_MAPPING: &str = "DECLARE @rc int; EXEC @rc = master.dbo.sp_add_log_shipping_primary_secondary \
     @primary_database = @P2, @secondary_server = @P3, @secondary_database = @P4, @overwrite = 1; \
     IF @rc <> 0 RAISERROR(N'PCF: sp_add_log_shipping_primary_secondary returned an error code', 16, 4);";
const ADD_SECONDARY: &str = "DECLARE @rc int, @copy uniqueidentifier, @restore uniqueidentifier, @id uniqueidentifier; \
     EXEC @rc = master.dbo.sp_add_log_shipping_secondary_primary @primary_server = @P2, @primary_database = @P3, \
     @backup_source_directory = @P4, @backup_destination_directory = @P5, @copy_job_name = @P6, @restore_job_name = @P7, \
     @file_retention_period = @P8, @overwrite = 1, @copy_job_id = @copy OUTPUT, @restore_job_id = @restore OUTPUT, \
     @secondary_id = @id OUTPUT; \
     IF @rc <> 0 RAISERROR(N'PCF: sp_add_log_shipping_secondary_primary returned an error code', 16, 4); \
     SELECT @rc AS rc, @copy AS copy, @restore AS restore, @id AS id;";
const ADD_DATABASE: &str = "DECLARE @rc int; EXEC @rc = master.dbo.sp_add_log_shipping_secondary_database \
     @secondary_database = @P2, @primary_server = @P3, @primary_database = @P4, @restore_delay = @P5, @restore_all = @P6, \
     @restore_mode = @P7, @disconnect_users = @P8, @restore_threshold = @P9, @threshold_alert = @P10, \
     @threshold_alert_enabled = @P11, @history_retention_period = @P12, @overwrite = 1; \
     IF @rc <> 0 RAISERROR(N'PCF: sp_add_log_shipping_secondary_database returned an error code', 16, 4);";

fn text(s: &str) -> Cell {
    Cell::Text(s.into())
}

/// A world without log shipping, its copy standing where the live database's log begins; a session on each side.
struct Bench {
    w: World,
    from: u32,
    to: u32,
}

impl Bench {
    fn new() -> Bench {
        let scenario = Scenario { backups: 0, copied: 0, restored: 0, ..Scenario::default() };
        let start = "2026-03-01T12:00:00Z".parse::<Timestamp>().unwrap();
        let mut w = World::new(scenario, Box::<MemoryFiles>::default(), start).unwrap();
        for host in [FROM, FROM_MIRROR, TO] {
            sql::remove_log_shipping_by_hand(&mut w, host).unwrap();
        }
        let mut login = |host| sql::login(&mut w, host, SQL_USER, SQL_PASSWORD, "client", "test").unwrap();
        let (from, to) = (login(FROM), login(TO));
        let mut bench = Bench { w, from, to };
        for host in [FROM, TO] {
            let lock = "DECLARE @rc int; EXEC @rc = sys.sp_getapplock @Resource = @P1, @LockMode = N'Exclusive', \
                 @LockOwner = N'Session', @LockTimeout = 0; SELECT @rc AS rc;";
            assert_eq!(bench.rows(host, lock, vec![text(POOL)]), vec![vec![Cell::Int(0)]]);
        }
        bench
    }

    fn run(&mut self, host: &str, batch: &str, parameters: Vec<Cell>) -> Vec<Event> {
        let id = if host == FROM { self.from } else { self.to };
        let named = (1..).zip(parameters).map(|(n, v)| (format!("@P{n}"), v)).collect();
        let mut out = Vec::new();
        if let Err(e) = batch::begin(&mut self.w, host, id, batch, named) {
            return vec![Event::Error(e)];
        }
        assert_eq!(batch::step(&mut self.w, host, id, &mut out), Progress::Finished);
        self.w.advance(self.w.now);
        out
    }

    /// A guarded effect; numbers of its errors.
    fn errors(&mut self, host: &str, effect: &str, parameters: Vec<Cell>) -> Vec<u32> {
        let out = self.guarded(host, effect, parameters);
        out.iter().filter_map(|e| if let Event::Error(e) = e { Some(e.number) } else { None }).collect()
    }

    fn guarded(&mut self, host: &str, effect: &str, parameters: Vec<Cell>) -> Vec<Event> {
        let all = [text(POOL)].into_iter().chain(parameters).collect();
        self.run(host, &format!("{GUARD}{effect}"), all)
    }

    /// A guarded effect that must succeed; the values of its one row, if it has one.
    fn values(&mut self, host: &str, effect: &str, parameters: Vec<Cell>) -> Vec<String> {
        let out = self.guarded(host, effect, parameters);
        assert!(!out.iter().any(|e| matches!(e, Event::Error(_))), "{out:?}");
        let row =
            out.into_iter().find_map(|e| if let Event::Rows { rows, .. } = e { Some(rows) } else { None });
        let shown = |c: Cell| match c {
            Cell::Int(n) => n.to_string(),
            Cell::Text(s) => s,
            other => panic!("{other:?}"),
        };
        row.into_iter().flatten().flatten().map(shown).collect()
    }

    fn rows(&mut self, host: &str, select: &str, parameters: Vec<Cell>) -> Vec<Vec<Cell>> {
        let out = self.run(host, select, parameters);
        match &out[..] {
            [Event::Rows { rows, .. }] => rows.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn add_primary(&mut self) -> Vec<String> {
        self.values(FROM, ADD_PRIMARY, primary("mgc", "LSBackup_mgc"))
    }

    fn add_secondary(&mut self) -> Vec<String> {
        self.values(TO, ADD_SECONDARY, secondary("LSCopy_mgc", "LSRestore_mgc"))
    }

    fn add_database(&mut self, standby: bool) {
        self.values(TO, ADD_DATABASE, database(standby));
    }

    /// Everything; ids of the backup, copy and restore jobs, which are on schedules and enabled.
    fn set_up(&mut self, standby: bool) -> [String; 3] {
        let [_, backup, _] = self.add_primary().try_into().unwrap();
        self.values(FROM, ADD_MAPPING, vec![text("mgc"), text(r"SEA-SQL-1\CHAT"), text("mgc")]);
        let [_, copy, restore, _] = self.add_secondary().try_into().unwrap();
        self.add_database(standby);
        for (host, job) in [(FROM, &backup), (TO, &copy), (TO, &restore)] {
            self.values(host, ADD_SCHEDULE, schedule(job));
            self.values(host, ENABLE, vec![text(job)]);
        }
        [backup, copy, restore]
    }

    fn files(&self, folder: &str) -> Vec<String> {
        self.w.files.list(folder).unwrap().into_iter().map(|(n, _)| n).collect()
    }

    fn wait(&mut self, minutes: i64) {
        let later = self.w.now + SignedDuration::from_mins(minutes);
        self.w.advance(later);
    }

    fn redo(&self) -> i128 {
        self.w.sql[TO].databases["mgc"].redo.as_ref().unwrap().0
    }
}

fn primary(database: &str, job: &str) -> Vec<Cell> {
    let numbers = [4320, 60, 1, 5760, 2].map(Cell::Int);
    [database, SHARE, SHARE, job].map(text).into_iter().chain(numbers).collect()
}

fn secondary(copy: &str, restore: &str) -> Vec<Cell> {
    let names = [r"ATL-SQL-1\CHAT", "mgc", SHARE, FOLDER, copy, restore].map(text);
    names.into_iter().chain([Cell::Int(4320)]).collect()
}

fn database(standby: bool) -> Vec<Cell> {
    let numbers = [0, 1, i64::from(standby), 0, 45, 14420, 1, 5760].map(Cell::Int);
    ["mgc", r"ATL-SQL-1\CHAT", "mgc"].map(text).into_iter().chain(numbers).collect()
}

fn schedule(job: &str) -> Vec<Cell> {
    let numbers = [4, 1, 4, 15, 0, 0, 20_260_301, 99_991_231, 0, 235_900].map(Cell::Int);
    [text(job), text("every 15 minutes")].into_iter().chain(numbers).collect()
}

#[test]
fn what_is_set_up_backs_up_copies_and_restores() {
    let mut b = Bench::new();
    let began = b.redo();
    b.set_up(false);
    assert_eq!(b.files(SHARE), Vec::<String>::new(), "a schedule starts nothing at once");
    b.wait(15);
    assert_eq!(b.files(SHARE), vec!["mgc_20260301121500.trn"]);
    b.wait(15);
    assert_eq!(b.files(FOLDER).len(), 2);
    let end = b.w.sql[FROM].databases["mgc"].log_backed_up;
    assert_eq!(b.redo(), end, "began at {began}");
    let last = format!(r"{FOLDER}\mgc_20260301123000.trn");
    let shown = b.rows(
        TO,
        "SELECT s.last_copied_file, s.last_copied_date, d.last_restored_file, d.last_restored_date \
         FROM msdb.dbo.log_shipping_secondary AS s JOIN msdb.dbo.log_shipping_secondary_databases AS d \
         ON d.secondary_id = s.secondary_id WHERE d.secondary_database = N'mgc';",
        vec![],
    );
    let at = Cell::Time("2026-03-01T12:30:00.000000".into());
    assert_eq!(shown, vec![vec![text(&last), at.clone(), text(&last), at.clone()]]);
    let shown = b.rows(
        FROM,
        "SELECT p.primary_database, p.backup_directory, p.last_backup_file, p.last_backup_date, m.backup_threshold, \
         s.secondary_server FROM msdb.dbo.log_shipping_primary_databases AS p \
         JOIN msdb.dbo.log_shipping_monitor_primary AS m ON m.primary_id = p.primary_id \
         JOIN msdb.dbo.log_shipping_primary_secondaries AS s ON s.primary_id = p.primary_id;",
        vec![],
    );
    let file = text(&format!(r"{SHARE}\mgc_20260301123000.trn"));
    let server = text(r"SEA-SQL-1\CHAT");
    assert_eq!(shown, vec![vec![text("mgc"), text(SHARE), file, at, Cell::Int(60), server]]);
    assert_eq!(b.w.sql[TO].databases["mgc"].state, 1);
}

#[test]
fn jobs_come_disabled_with_their_category_and_without_a_schedule() {
    let mut b = Bench::new();
    let [rc, backup, id] = b.add_primary().try_into().unwrap();
    assert_eq!((rc.as_str(), backup.len(), id.len()), ("0", 36, 36));
    let jobs = "SELECT j.name, CAST(j.enabled AS int) AS enabled, c.name AS category FROM msdb.dbo.sysjobs AS j \
         JOIN msdb.dbo.syscategories AS c ON c.category_id = j.category_id ORDER BY j.name;";
    let row = |name, category| vec![text(name), Cell::Int(0), text(category)];
    assert_eq!(b.rows(FROM, jobs, vec![]), vec![row("LSBackup_mgc", "Log Shipping Backup")]);
    b.add_secondary();
    let expected = vec![row("LSCopy_mgc", "Log Shipping Copy"), row("LSRestore_mgc", "Log Shipping Restore")];
    assert_eq!(b.rows(TO, jobs, vec![]), expected);
    let schedules = "SELECT COUNT(*) AS n FROM msdb.dbo.sysjobschedules AS k;";
    assert_eq!(b.rows(FROM, schedules, vec![]), vec![vec![Cell::Int(0)]]);
    b.wait(60);
    assert_eq!(b.files(SHARE), Vec::<String>::new());
    // With a schedule it is still disabled.
    b.values(FROM, ADD_SCHEDULE, schedule(&backup));
    b.wait(60);
    assert_eq!(b.files(SHARE), Vec::<String>::new());
    b.values(FROM, ENABLE, vec![text(&backup)]);
    b.wait(14);
    assert_eq!(b.files(SHARE), Vec::<String>::new(), "what it has missed is not made up for");
    b.wait(1);
    assert_eq!(b.files(SHARE).len(), 1);
    let shown = b.rows(
        FROM,
        "SELECT c.name, c.freq_type, c.freq_subday_interval, c.active_end_time FROM msdb.dbo.sysjobschedules AS k \
         JOIN msdb.dbo.sysschedules AS c ON c.schedule_id = k.schedule_id WHERE CAST(k.job_id AS nvarchar(36)) = @P1;",
        vec![text(&backup)],
    );
    let numbers = [4, 15, 235_900].map(Cell::Int);
    assert_eq!(shown, vec![[text("every 15 minutes")].into_iter().chain(numbers).collect::<Vec<_>>()]);
}

#[test]
fn a_job_that_is_started_runs_once_whether_it_is_enabled_or_not() {
    let mut b = Bench::new();
    let [_, backup, _] = b.add_primary().try_into().unwrap();
    b.values(FROM, START, vec![text(&backup)]);
    assert_eq!(b.files(SHARE).len(), 1);
    // Within the same second: no backup overwrites another.
    b.values(FROM, START, vec![text(&backup)]);
    assert_eq!(b.files(SHARE).len(), 2);
    b.wait(60);
    assert_eq!(b.files(SHARE).len(), 2);
}

#[test]
fn a_job_cannot_be_started_while_it_runs_or_the_agent_does_not() {
    let mut b = Bench::new();
    let [_, backup, _] = b.add_primary().try_into().unwrap();
    assert_eq!(b.errors(FROM, START, vec![text("00000000-0000-0000-0000-000000000000")]), vec![14262]);
    b.w.sql.get_mut(FROM).unwrap().jobs[0].hangs = true;
    assert_eq!(b.errors(FROM, START, vec![text(&backup)]), vec![22022]);
    b.values(FROM, "EXEC msdb.dbo.sp_stop_job @job_id = @P2;", vec![text(&backup)]);
    b.w.sql.get_mut(FROM).unwrap().agent_stopped = true;
    assert_eq!(b.errors(FROM, START, vec![text(&backup)]), vec![22022]);
    assert_eq!(b.files(SHARE), Vec::<String>::new());
}

#[test]
fn the_chain_decides_what_is_restored_next_not_the_names() {
    let mut b = Bench::new();
    let [backup, copy, restore] = b.set_up(false);
    for _ in 0..3 {
        b.values(FROM, START, vec![text(&backup)]);
    }
    let names = b.files(SHARE);
    let first = b.w.files.read(&format!(r"{SHARE}\{}", names[0])).unwrap();
    b.w.files.remove(&format!(r"{SHARE}\{}", names[0])).unwrap();
    b.w.files.write(&format!(r"{SHARE}\zzz.trn"), &first).unwrap();
    b.values(TO, START, vec![text(&copy)]);
    b.values(TO, START, vec![text(&restore)]);
    assert_eq!(b.redo(), b.w.sql[FROM].databases["mgc"].log_backed_up);
}

#[test]
fn a_restore_job_leaves_standby_behind_if_it_is_told_to() {
    let mut b = Bench::new();
    let [backup, copy, restore] = b.set_up(true);
    for (host, job) in [(FROM, backup), (TO, copy), (TO, restore)] {
        b.values(host, START, vec![text(&job)]);
    }
    let db = &b.w.sql[TO].databases["mgc"];
    assert_eq!((db.state, db.standby, db.read_only), (0, true, true));
    b.wait(30);
    assert_eq!(b.redo(), b.w.sql[FROM].databases["mgc"].log_backed_up);
}

#[test]
fn the_primary_half_needs_an_online_database() {
    let mut b = Bench::new();
    let on_the_copy = b.errors(TO, ADD_PRIMARY, primary("mgc", "LSBackup_mgc"));
    assert_eq!(on_the_copy, vec![32007, 50000], "the cause, and then its return code is not 0");
    assert!(b.w.sql[TO].jobs.is_empty() && b.w.sql[TO].log_shipping_primary.is_empty());
    assert_eq!(b.errors(FROM, ADD_PRIMARY, primary("other", "x")), vec![32007, 50000]);
    assert_eq!(b.errors(FROM, ADD_PRIMARY, primary("", "x")), vec![32052, 50000]);
}

#[test]
fn a_foreign_job_of_the_same_name_blocks_each_half() {
    let mut b = Bench::new();
    sql::foreign_job(&mut b.w, FROM, "LSBackup_mgc").unwrap();
    sql::foreign_job(&mut b.w, TO, "LSRestore_mgc").unwrap();
    assert_eq!(b.errors(FROM, ADD_PRIMARY, primary("mgc", "LSBackup_mgc")), vec![32022, 50000]);
    assert_eq!(b.errors(TO, ADD_SECONDARY, secondary("LSCopy_mgc", "LSRestore_mgc")), vec![32022, 50000]);
    assert_eq!(b.w.sql[TO].jobs.len(), 1, "nothing of the half was made");
    sql::delete_job_by_hand(&mut b.w, FROM, "LSBackup_mgc").unwrap();
    b.add_primary();
}

#[test]
fn the_database_comes_after_its_primary() {
    let mut b = Bench::new();
    assert_eq!(b.errors(TO, ADD_DATABASE, database(false)), vec![32023, 50000]);
    assert_eq!(b.errors(FROM, ADD_MAPPING, ["mgc", "x", "mgc"].map(text).into()), vec![32010, 50000]);
    b.add_secondary();
    b.add_database(false);
}

#[test]
fn everything_can_be_sent_again() {
    let mut b = Bench::new();
    b.set_up(false);
    let before = b.w.sql[TO].log_shipping[0].id.clone();
    b.set_up(false);
    let (from, to) = (&b.w.sql[FROM], &b.w.sql[TO]);
    assert_eq!((from.jobs.len(), from.log_shipping_primary.len()), (1, 1));
    assert_eq!(from.log_shipping_primary[0].secondaries.len(), 1);
    assert_eq!((to.jobs.len(), to.log_shipping.len(), to.log_shipping[0].databases.len()), (2, 1, 1));
    assert_eq!(to.log_shipping[0].id, before);
    assert_eq!(
        (from.schedules.len(), to.schedules.len()),
        (1, 2),
        "schedules go with the jobs that had them"
    );
    b.wait(30);
    assert_eq!(b.redo(), b.w.sql[FROM].databases["mgc"].log_backed_up);
}

#[test]
fn without_overwrite_what_stands_is_refused() {
    let mut b = Bench::new();
    b.set_up(false);
    let again = |t: &str| t.replace("@overwrite = 1", "@overwrite = 0");
    let mapping: Vec<Cell> = ["mgc", r"SEA-SQL-1\CHAT", "mgc"].map(text).into();
    let cases = [
        (FROM, ADD_PRIMARY, primary("mgc", "LSBackup_mgc"), 32009),
        (FROM, ADD_MAPPING, mapping, 32012),
        (TO, ADD_SECONDARY, secondary("LSCopy_mgc", "LSRestore_mgc"), 32024),
        (TO, ADD_DATABASE, database(false), 32013),
    ];
    for (host, effect, parameters, number) in cases {
        assert_eq!(b.errors(host, &again(effect), parameters), vec![number, 50000]);
    }
    // A job of log shipping that stands alone has its name all the same.
    sql::remove_log_shipping_by_hand(&mut b.w, FROM).unwrap();
    sql::foreign_job(&mut b.w, FROM, "LSBackup_mgc").unwrap();
    b.w.sql.get_mut(FROM).unwrap().jobs[0].category = sql::Category::Backup;
    let parameters = primary("mgc", "LSBackup_mgc");
    assert_eq!(b.errors(FROM, &again(ADD_PRIMARY), parameters), vec![14261, 50000]);
}

#[test]
fn what_stands_can_be_removed_in_its_order() {
    let mut b = Bench::new();
    b.set_up(false);
    let delete = "DECLARE @rc int; EXEC @rc = master.dbo.sp_delete_log_shipping_primary_database @database = @P2; \
         IF @rc <> 0 RAISERROR(N'PCF: returned an error code', 16, 4);";
    assert_eq!(b.errors(FROM, delete, vec![text("mgc")]), vec![32011, 50000]);
    let unmap = "EXEC master.dbo.sp_delete_log_shipping_primary_secondary @primary_database = @P2, \
         @secondary_server = @P3, @secondary_database = @P4;";
    b.values(FROM, unmap, vec![text("mgc"), text(r"SEA-SQL-1\CHAT"), text("mgc")]);
    b.values(FROM, delete, vec![text("mgc")]);
    assert_eq!(b.errors(FROM, delete, vec![text("mgc")]), vec![32010, 50000]);
    let secondary = "EXEC master.dbo.sp_delete_log_shipping_secondary_database @secondary_database = @P2;";
    b.values(TO, secondary, vec![text("mgc")]);
    assert_eq!(b.errors(TO, secondary, vec![text("mgc")]), vec![32014]);
    for host in [FROM, TO] {
        let i = &b.w.sql[host];
        assert!(i.jobs.is_empty() && i.schedules.is_empty() && i.log_shipping.is_empty());
        assert!(i.log_shipping_primary.is_empty());
    }
}

#[test]
fn parameters_and_places_are_checked_as_the_real_server_does() {
    let mut b = Bench::new();
    let job = vec![text("x")];
    let one = "EXEC msdb.dbo.sp_update_job @job_id = @P2, @enable = 1;";
    assert_eq!(b.errors(FROM, one, job.clone()), vec![8145]);
    let one = "EXEC master.dbo.sp_delete_log_shipping_secondary_database @ignoreremotemonitor = 1;";
    assert_eq!(b.errors(TO, one, vec![]), vec![201]);
    let one = "DECLARE @x int; EXEC msdb.dbo.sp_update_job @job_id = @P2, @enabled = @x OUTPUT;";
    assert_eq!(b.errors(FROM, one, job.clone()), vec![8162]);
    assert_eq!(b.errors(FROM, "EXEC sp_start_job @job_id = @P2;", job.clone()), vec![2812]);
    let one = "EXEC msdb.dbo.sp_delete_log_shipping_secondary_database @secondary_database = @P2;";
    assert_eq!(b.errors(TO, one, job.clone()), vec![5001]);
    let one = "EXEC msdb.dbo.sp_attach_schedule @job_id = @P2, @schedule_id = 7;";
    assert_eq!(b.errors(FROM, one, job), vec![14262]);
    let [_, backup, _] = b.add_primary().try_into().unwrap();
    assert_eq!(b.errors(FROM, one, vec![text(&backup)]), vec![14262]);
    let one = "EXEC msdb.dbo.sp_add_schedule @schedule_name = @P2, @freq_type = 3;";
    assert_eq!(b.errors(FROM, one, vec![text("x")]), vec![14266]);
    let one = "EXEC msdb.dbo.sp_update_job @job_id = @P2, @new_name = N'other';";
    assert_eq!(b.errors(FROM, one, vec![text(&backup)]), vec![50000]);
}

#[test]
fn each_effect_stands_in_the_journal_with_what_it_acts_on() {
    let mut b = Bench::new();
    let [backup, copy, restore] = b.set_up(false);
    let entries = b.w.journal.entries().iter();
    let written: Vec<_> = entries
        .filter(|e| e.effect == Effect::Write && e.client != "SQLAgent" && e.outcome == Outcome::Ok)
        .map(|e| (e.name.as_str(), e.target.as_deref().unwrap_or_default()))
        .collect();
    let started = |job| {
        [
            ("EXEC sp_add_schedule", "every 15 minutes"),
            ("EXEC sp_attach_schedule", job),
            ("EXEC sp_update_job", job),
        ]
    };
    let mut expected = vec![
        ("EXEC sp_add_log_shipping_primary_database", "mgc"),
        ("EXEC sp_add_log_shipping_primary_secondary", "mgc"),
        ("EXEC sp_add_log_shipping_secondary_primary", "mgc"),
        ("EXEC sp_add_log_shipping_secondary_database", "mgc"),
    ];
    for job in [&backup, &copy, &restore] {
        expected.extend(started(job));
    }
    assert_eq!(written, expected);
}

#[test]
fn log_shipping_that_somebody_sets_up_by_hand_runs_and_what_somebody_removes_is_gone() {
    let mut b = Bench::new();
    let shipment = Shipment { from: FROM, to: TO, share: SHARE, folder: FOLDER };
    sql::set_up_log_shipping_by_hand(&mut b.w, &shipment).unwrap();
    b.wait(15);
    b.wait(15);
    assert_eq!(b.redo(), b.w.sql[FROM].databases["mgc"].log_backed_up);
    let state = sql::state(&b.w);
    assert_eq!(state[FROM]["logShippingPrimary"][0]["backupDirectory"], SHARE);
    assert_eq!(state[TO]["logShipping"][0]["lastRestored"], format!(r"{FOLDER}\mgc_20260301123000.trn"));
    assert_eq!(state[TO]["jobs"][0]["category"], "Log Shipping Copy");
    sql::remove_log_shipping_by_hand(&mut b.w, TO).unwrap();
    assert_eq!(sql::state(&b.w)[TO]["jobs"].as_array().unwrap().len(), 0);
    let redo = b.redo();
    b.wait(60);
    assert_eq!(b.redo(), redo);
}

#[test]
fn a_mirror_takes_over_without_loss_and_goes_back_to_being_followed() {
    let mut b = Bench::new();
    b.set_up(false);
    b.wait(20);
    let before = b.w.sql[FROM].databases["mgc"].clone();
    sql::promote_mirror(&mut b.w, "atlanta").unwrap();
    let mirror = b.w.sql[FROM_MIRROR].databases["mgc"].clone();
    assert_eq!(
        (mirror.state, mirror.log_end, mirror.log_backed_up),
        (0, before.log_end, before.log_backed_up)
    );
    let held = |db| b.w.messages.of(db).count();
    assert_eq!(held(&mirror), held(&before));
    assert_eq!(mirror.mirroring.as_ref().map(|m| (m.role, m.state)), Some((1, 1)));
    b.wait(1);
    assert_eq!(b.w.sql[FROM_MIRROR].databases["mgc"].mirroring.as_ref().unwrap().state, 1);
    sql::start_sql(&mut b.w, FROM).unwrap();
    let pair = [FROM_MIRROR, FROM].map(|h| b.w.sql[h].databases["mgc"].mirroring.clone().unwrap());
    assert_eq!(pair.each_ref().map(|m| (m.role, m.state)), [(1, 4), (2, 4)]);
    assert_eq!(b.w.sql[FROM].databases["mgc"].state, 1);
    // What the old principal did not know when it fell is on it again.
    let end = |b: &Bench, h: &str| b.w.sql[h].databases["mgc"].log_end;
    assert_eq!(end(&b, FROM), end(&b, FROM_MIRROR));
}
