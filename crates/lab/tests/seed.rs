//! How a copy is seeded by T-SQL alone: jobs of SQL Server Agent that back a database up and restore it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::{COPY, LIVE};
use jiff::SignedDuration;
use lab::scenario::Scenario;
use lab::sql::backup::BackupHeader;
use lab::sql::{self, Database};
use lab::tsql::{Cell, Event};
use lab::world::World;

const FULL: &str = r"\\sea-fs-1\mgc-logs\mgc_seed_1.bak";
const NONE: [u32; 0] = [];

const START: &str = "IF APPLOCK_MODE(N'public', @P1, N'Session') <> N'Exclusive' BEGIN \
     RAISERROR(N'PCF guard: no lock', 16, 201); RETURN; END; \
     IF EXISTS (SELECT 1 FROM msdb.dbo.sysjobs AS j JOIN msdb.dbo.sysjobactivity AS a ON a.job_id = j.job_id \
     WHERE j.name = @P2 AND a.start_execution_date IS NOT NULL AND a.stop_execution_date IS NULL \
     AND a.session_id = (SELECT MAX(session_id) FROM msdb.dbo.syssessions)) \
     BEGIN RAISERROR(N'PCF guard: the job runs', 16, 205); RETURN; END; \
     DECLARE @rc int, @job uniqueidentifier; SET @rc = 0; \
     IF EXISTS (SELECT 1 FROM msdb.dbo.sysjobs WHERE name = @P2) EXEC @rc = msdb.dbo.sp_delete_job @job_name = @P2; \
     IF @rc = 0 EXEC @rc = msdb.dbo.sp_add_job @job_name = @P2, @description = @P3, @job_id = @job OUTPUT; \
     IF @rc = 0 EXEC @rc = msdb.dbo.sp_add_jobstep @job_id = @job, @step_name = @P2, @subsystem = N'TSQL', \
     @command = @P4, @database_name = N'master'; \
     IF @rc = 0 EXEC @rc = msdb.dbo.sp_add_jobserver @job_id = @job; \
     IF @rc = 0 EXEC @rc = msdb.dbo.sp_start_job @job_id = @job; \
     SELECT @@ERROR AS error, @rc AS returned;";

const LOOK: &str = "SELECT CAST(j.job_id AS nvarchar(36)) AS job_id, j.name, CAST(j.enabled AS int) AS enabled, c.name AS category, \
     CAST(CASE WHEN EXISTS (SELECT 1 FROM msdb.dbo.sysjobschedules AS k WHERE k.job_id = j.job_id) THEN 1 ELSE 0 END AS int) AS scheduled, \
     CAST(CASE WHEN a.start_execution_date IS NOT NULL AND a.stop_execution_date IS NULL \
     AND EXISTS (SELECT 1 FROM sys.dm_exec_sessions AS g WHERE g.program_name LIKE N'SQLAgent%') THEN 1 ELSE 0 END AS int) AS running, \
     CAST(h.run_status AS int) AS last_outcome, h.message AS last_message \
     FROM msdb.dbo.sysjobs AS j LEFT JOIN msdb.dbo.syscategories AS c ON c.category_id = j.category_id \
     LEFT JOIN msdb.dbo.sysjobactivity AS a ON a.job_id = j.job_id AND a.session_id = (SELECT MAX(session_id) FROM msdb.dbo.syssessions) \
     LEFT JOIN msdb.dbo.sysjobhistory AS h ON h.job_id = j.job_id AND h.instance_id = (SELECT MAX(x.instance_id) \
     FROM msdb.dbo.sysjobhistory AS x WHERE x.job_id = j.job_id AND x.step_id = 1) \
     WHERE CAST(j.job_id AS nvarchar(36)) IN (@P1, @P2, @P3) OR j.name LIKE N'LS%' OR LEFT(j.name, 4) = N'PCF_' ORDER BY j.name;";

const DELETE: &str = "IF APPLOCK_MODE(N'public', @P1, N'Session') <> N'Exclusive' BEGIN \
     RAISERROR(N'PCF guard: no lock', 16, 201); RETURN; END; \
     DECLARE @rc int; EXEC @rc = msdb.dbo.sp_delete_job @job_name = @P2; SELECT @@ERROR AS error, @rc AS returned;";

struct Bench {
    w: World,
}

impl Bench {
    fn new() -> Bench {
        Bench::of(Scenario::default())
    }

    fn of(usual: Scenario) -> Bench {
        let scenario = Scenario { backups: 2, copied: 2, restored: 2, ..usual };
        let mut w = common::world(scenario);
        for host in [LIVE, COPY] {
            sql::remove_log_shipping_by_hand(&mut w, host).unwrap();
        }
        Bench { w }
    }

    fn send(&mut self, host: &str, text: &str, parameters: &[&str]) -> Vec<Event> {
        let id = common::log_in(&mut self.w, host);
        let parameters = parameters.iter().enumerate();
        let parameters = parameters.map(|(n, p)| (format!("@P{}", n + 1), Cell::Text((*p).into()))).collect();
        let lock = "EXEC sp_getapplock @Resource = N'pcf', @LockMode = N'Exclusive', @LockOwner = N'Session'";
        common::send(&mut self.w, host, id, lock, vec![]);
        let out = common::send(&mut self.w, host, id, text, parameters);
        sql::logout(&mut self.w, host, id);
        out
    }

    fn wait(&mut self, milliseconds: i64) {
        for _ in 0..milliseconds / 50 {
            let later = self.w.now + SignedDuration::from_millis(50);
            self.w.advance(later);
        }
    }

    fn errors(&mut self, host: &str, text: &str) -> Vec<u32> {
        let out = self.send(host, text, &[]);
        out.iter().filter_map(|e| if let Event::Error(e) = e { Some(e.number) } else { None }).collect()
    }

    fn rows(&mut self, host: &str, text: &str, parameters: &[&str]) -> Vec<Vec<Cell>> {
        let out = self.send(host, text, parameters);
        let rows = out.iter().find_map(|e| if let Event::Rows { rows, .. } = e { Some(rows) } else { None });
        rows.unwrap_or_else(|| panic!("{text}\n{out:?}")).clone()
    }

    /// Starts a job as the operator does.
    fn start(&mut self, host: &str, command: &str) {
        let row = self.rows(host, START, &["pcf", JOB, "what for", command]);
        assert_eq!(row, vec![vec![Cell::Int(0), Cell::Int(0)]]);
        self.wait(50);
    }

    /// What the operator sees of the job: whether it runs, how its last run ended, and what it said.
    fn look(&mut self, host: &str) -> (Cell, Cell, String) {
        let id = "00000000-0000-0000-0000-000000000001";
        let mut rows = self.rows(host, LOOK, &[id, id, id]);
        assert_eq!(rows.len(), 1, "{rows:?}");
        let row = rows.remove(0);
        let same = [
            Cell::Text(JOB.into()),
            Cell::Int(1),
            Cell::Text("[Uncategorized (Local)]".into()),
            Cell::Int(0),
        ];
        assert_eq!(row[1..5], same);
        let said = if let Cell::Text(said) = &row[7] { said.clone() } else { String::new() };
        (row[5].clone(), row[6].clone(), said)
    }

    fn db(&self, host: &str) -> &Database {
        &self.w.sql[host].databases["mgc"]
    }

    /// What a full backup says of itself.
    fn headers_tell_of(&mut self, path: &str) {
        for (what, holds) in [
            ("HEADERONLY", Cell::Int(1)),
            ("LABELONLY", Cell::Int(1)),
            ("FILELISTONLY", Cell::Text("mgc_log".into())),
        ] {
            let rows = self.rows(COPY, &format!("RESTORE {what} FROM DISK = N'{path}'"), &[]);
            assert!(rows.iter().any(|r| r.contains(&holds)), "{what} {rows:?}");
        }
    }

    /// Backs the live database up into a file, as a client.
    fn full(&mut self, path: &str) -> BackupHeader {
        let text = format!("BACKUP DATABASE mgc TO DISK = N'{path}' WITH COPY_ONLY, FORMAT, INIT, CHECKSUM");
        assert_eq!(self.errors(LIVE, &text), NONE);
        sql::backup::read(self.w.files.as_ref(), path).unwrap()
    }
}

const JOB: &str = "PCF_seed_mgc";
const RUNS: (Cell, Cell) = (Cell::Int(1), Cell::Null);
const REQUEST: &str = "SELECT r.command, s.program_name, s.host_name FROM sys.dm_exec_requests AS r \
     JOIN sys.dm_exec_sessions AS s ON s.session_id = r.session_id WHERE r.percent_complete > 0";
const REDO: &str =
    "SELECT redo_start_lsn FROM sys.master_files WHERE database_id = DB_ID(N'mgc') AND type = 0";

fn backup(path: &str) -> String {
    format!("BACKUP DATABASE [mgc] TO DISK = N'{path}' WITH COPY_ONLY, FORMAT, INIT, CHECKSUM, STATS = 5;")
}

fn restore(path: &str) -> String {
    format!(
        "IF EXISTS (SELECT 1 FROM sys.databases WHERE name = N'mgc' AND state IN (0, 2)) \
         RAISERROR(N'PCF guard: the database is open', 16, 202); \
         ELSE RESTORE DATABASE [mgc] FROM DISK = N'{path}' WITH FILE = 1, NORECOVERY, REPLACE, CHECKSUM, \
         MOVE N'mgc' TO N'F:\\Data\\mgc.mdf', MOVE N'mgc_log' TO N'G:\\Log\\mgc.ldf', STATS = 5;"
    )
}

/// RESTORE DATABASE as a client, with these options.
fn by_client(path: &str, options: &str) -> String {
    format!("RESTORE DATABASE mgc FROM DISK = N'{path}' WITH NORECOVERY{options}")
}

#[test]
fn a_copy_is_seeded_by_two_jobs_and_goes_on_with_the_logs() {
    for there in [true, false] {
        let mut b = Bench::new();
        if !there {
            b.w.sql.get_mut(COPY).unwrap().databases.clear();
        }
        let before = b.db(LIVE).log_end;
        b.start(LIVE, &backup(FULL));
        let (running, outcome, _) = b.look(LIVE);
        assert_eq!((running, outcome), RUNS);
        b.wait(100);
        let request = b.rows(LIVE, REQUEST, &[]);
        let [command, Cell::Text(program), host] = &request[0][..] else { panic!("{request:?}") };
        assert_eq!(
            (command, host),
            (&Cell::Text("BACKUP DATABASE".into()), &Cell::Text("ATL-SQL-1\\CHAT".into()))
        );
        assert!(program.starts_with("SQLAgent - TSQL JobStep (Job 0x") && program.ends_with(" : Step 1)"));
        b.wait(2000);
        let (running, outcome, said) = b.look(LIVE);
        assert_eq!((running, outcome), (Cell::Int(0), Cell::Int(1)), "{said}");
        assert!(said.contains("5 percent processed. [SQLSTATE 01000] (Message 3211)  10 percent"), "{said}");
        assert!(
            said.ends_with("processed 0 pages. [SQLSTATE 01000] (Message 3014).  The step succeeded."),
            "{said}"
        );
        let set = sql::backup::read(b.w.files.as_ref(), FULL).unwrap();
        assert_eq!((set.kind, set.extra.copy_only, set.checksums), (1, true, true));
        assert!(set.first_lsn == before && set.last_lsn > before);
        b.headers_tell_of(FULL);
        b.start(COPY, &restore(FULL));
        assert_eq!((b.db(COPY).state, &b.db(COPY).redo), (1, &None));
        assert_eq!(b.rows(COPY, REDO, &[]), vec![vec![Cell::Null]]);
        b.wait(100);
        assert_eq!(b.rows(COPY, REQUEST, &[])[0][0], Cell::Text("RESTORE DATABASE".into()));
        b.wait(2000);
        let (running, outcome, said) = b.look(COPY);
        assert_eq!((running, outcome), (Cell::Int(0), Cell::Int(1)), "{said}");
        assert_eq!(b.rows(COPY, REDO, &[]), vec![vec![Cell::Lsn(set.last_lsn)]]);
        let db = b.db(COPY);
        assert_eq!(
            (db.redo.as_ref(), &db.family),
            (Some(&(set.last_lsn, set.last_fork.clone())), &set.family)
        );
        assert_eq!(
            (db.files[0].path.as_str(), db.files[1].path.as_str()),
            (r"F:\Data\mgc.mdf", r"G:\Log\mgc.ldf")
        );
        assert!(db.users.iter().all(|(_, mapped)| !mapped) && !db.users.is_empty());
        let history =
            "SELECT TOP (1) restore_type FROM msdb.dbo.restorehistory ORDER BY restore_history_id DESC";
        assert_eq!(b.rows(COPY, history, &[]), vec![vec![Cell::Text("D".into())]]);
        let later = r"\\sea-fs-1\mgc-logs\later.trn";
        assert_eq!(b.errors(LIVE, &format!("BACKUP LOG mgc TO DISK = N'{later}' WITH INIT")), NONE);
        let log = format!("RESTORE LOG mgc FROM DISK = N'{later}' WITH NORECOVERY");
        assert_eq!(b.errors(COPY, &log), NONE);
        assert!(b.db(COPY).redo.as_ref().unwrap().0 > set.last_lsn);
        for host in [LIVE, COPY] {
            assert_eq!(b.rows(host, DELETE, &["pcf", JOB]), vec![vec![Cell::Int(0), Cell::Int(0)]]);
            let left = "SELECT (SELECT COUNT(*) FROM msdb.dbo.sysjobs) AS jobs, (SELECT COUNT(*) FROM msdb.dbo.sysjobhistory) AS rows_";
            assert_eq!(b.rows(host, left, &[]), vec![vec![Cell::Int(0), Cell::Int(0)]]);
        }
    }
}

#[test]
fn a_job_that_fails_says_why() {
    let mut b = Bench::new();
    let atlanta = r"\\atl-fs-1\mgc-logs\seed.bak";
    b.full(atlanta);
    // There is an open database.
    b.w.sql.get_mut(COPY).unwrap().databases.get_mut("mgc").unwrap().state = 0;
    b.start(COPY, &restore(atlanta));
    b.wait(100);
    let (running, outcome, said) = b.look(COPY);
    assert_eq!((running, outcome), (Cell::Int(0), Cell::Int(0)));
    let agent = r"NT SERVICE\SQLAgent$CHAT";
    let guard = "PCF guard: the database is open [SQLSTATE 42000] (Error 50000).  The step failed.";
    assert_eq!(said, format!("Executed as user: {agent}. {guard}"));
    b.w.sql.get_mut(COPY).unwrap().databases.get_mut("mgc").unwrap().state = 1;
    // The share is gone, before the restore and in the middle of it.
    b.start(COPY, &restore(atlanta));
    b.w.lose("atlanta").unwrap();
    b.wait(2000);
    let (_, outcome, said) = b.look(COPY);
    assert!(outcome == Cell::Int(0) && said.contains("(Error 3203)  RESTORE DATABASE is"), "{said}");
    assert!(b.db(COPY).is_half_restored());
    b.start(COPY, &restore(atlanta));
    b.wait(100);
    let (_, outcome, said) = b.look(COPY);
    assert!(outcome == Cell::Int(0) && said.contains("(Error 3201)  RESTORE DATABASE is"), "{said}");
    let rows = "SELECT step_id, sql_message_id, sql_severity, run_status, run_date FROM msdb.dbo.sysjobhistory ORDER BY instance_id";
    let row = |n: [i64; 5]| n.map(Cell::Int).to_vec();
    assert_eq!(
        b.rows(COPY, rows, &[]),
        vec![row([1, 3013, 16, 0, 20_260_301]), row([0, 0, 0, 0, 20_260_301])]
    );
}

#[test]
fn a_server_that_goes_down_finishes_nothing() {
    let mut b = Bench::new();
    let usual = b.full(FULL);
    let other = r"\\sea-fs-1\mgc-logs\other.bak";
    b.start(LIVE, &backup(other));
    b.wait(300);
    b.w.lose("atlanta").unwrap();
    b.w.restore("atlanta").unwrap();
    b.wait(2000);
    let (running, outcome, _) = b.look(LIVE);
    assert_eq!((running, outcome), (Cell::Int(0), Cell::Null));
    assert_eq!(b.errors(COPY, &by_client(other, ", REPLACE")), [3256, 3013]);
    assert!(b.w.sql[LIVE].backups.iter().filter(|s| s.kind == 1).count() == 1);
    // Another server, and an Agent that is stopped.
    for agent in [false, true] {
        b.start(COPY, &restore(FULL));
        b.wait(300);
        let i = b.w.sql.get_mut(COPY).unwrap();
        (i.down, i.agent_stopped) = (!agent, agent);
        b.wait(2000);
        let i = b.w.sql.get_mut(COPY).unwrap();
        (i.down, i.agent_stopped) = (false, false);
        b.wait(100);
        let (running, outcome, _) = b.look(COPY);
        assert_eq!((running, outcome), (Cell::Int(0), Cell::Null));
        assert!(b.db(COPY).is_half_restored());
        assert_eq!(b.errors(COPY, "RESTORE DATABASE mgc WITH RECOVERY"), [4333, 3013]);
        let log = r"\\sea-fs-1\mgc-logs\later.trn";
        assert_eq!(b.errors(LIVE, &format!("BACKUP LOG mgc TO DISK = N'{log}' WITH INIT")), NONE);
        let log = format!("RESTORE LOG mgc FROM DISK = N'{log}' WITH NORECOVERY");
        assert_eq!(b.errors(COPY, &log), [3117, 3013]);
    }
    b.start(COPY, &restore(FULL));
    b.wait(2000);
    assert_eq!(b.db(COPY).redo, Some((usual.last_lsn, usual.last_fork)));
}

#[test]
fn a_job_runs_once_at_a_time_and_can_be_stopped() {
    let mut b = Bench::new();
    b.start(LIVE, &backup(FULL));
    let again = b.send(LIVE, START, &["pcf", JOB, "what for", "PRINT N'other'"]);
    assert!(matches!(&again[..], [Event::Error(e)] if (e.number, e.state) == (50000, 205)), "{again:?}");
    let call = |name: &str| format!("EXEC msdb.dbo.{name} @job_name = N'{JOB}'");
    assert_eq!(b.errors(LIVE, &call("sp_start_job")), [22022]);
    assert_eq!(b.errors(LIVE, &backup(r"\\sea-fs-1\mgc-logs\other.bak")), [3023, 3013]);
    assert_eq!(b.errors(LIVE, &call("sp_stop_job")), NONE);
    let (running, outcome, _) = b.look(LIVE);
    assert_eq!((running, outcome), (Cell::Int(0), Cell::Int(3)));
    assert_eq!(b.errors(LIVE, &call("sp_stop_job")), [22022]);
    assert_eq!(b.errors(LIVE, &call("sp_start_job")), NONE);
    b.wait(300);
    // Its session is killed.
    let session = b.w.sql[LIVE].runs[0].session;
    assert_eq!(b.errors(LIVE, &format!("KILL {session}")), NONE);
    b.wait(50);
    let (running, outcome, said) = b.look(LIVE);
    assert_eq!((running, outcome), (Cell::Int(0), Cell::Int(0)), "{said}");
    // Deleted in the middle of it, its statement goes on.
    assert_eq!(b.errors(LIVE, &call("sp_start_job")), NONE);
    b.wait(50);
    assert_eq!(b.errors(LIVE, &call("sp_delete_job")), NONE);
    b.wait(2000);
    assert_eq!(sql::backup::read(b.w.files.as_ref(), FULL).unwrap().kind, 1);
    assert!(b.w.sql[LIVE].runs.is_empty() && b.w.sql[LIVE].job_history.is_empty());
}

#[test]
fn the_procedures_of_the_agent_refuse_what_is_not_there_or_is_there_already() {
    let mut b = Bench::new();
    let x = "EXEC msdb.dbo.";
    for (text, errors) in [
        ("sp_delete_job @job_name = N'a'", &[14262][..]),
        ("sp_add_jobstep @job_name = N'a', @step_name = N's'", &[14262]),
        ("sp_add_job @job_name = N'a', @category_name = N'none'", &[14262]),
        ("sp_add_job @job_name = N'a'", &[]),
        ("sp_add_job @job_name = N'A'", &[14261]),
        ("sp_start_job @job_name = N'a'", &[14256]),
        ("sp_add_jobserver @job_name = N'a'", &[]),
        ("sp_add_jobserver @job_name = N'a', @server_name = N'(local)'", &[14269]),
        ("sp_add_jobstep @job_name = N'a', @step_name = N's', @subsystem = N'CmdExec'", &[50000]),
        ("sp_add_jobstep @job_name = N'a', @step_name = N's', @command = N'SELECT'", &[]),
        ("sp_start_job @job_name = N'a'", &[]),
    ] {
        assert_eq!(b.errors(LIVE, &format!("{x}{text}")), errors, "{text}");
    }
    let tables = "SELECT j.description, s.step_name, s.subsystem, s.command, v.server_id FROM msdb.dbo.sysjobs AS j \
         JOIN msdb.dbo.sysjobsteps AS s ON s.job_id = j.job_id JOIN msdb.dbo.sysjobservers AS v ON v.job_id = j.job_id";
    let texts = ["No description available.", "s", "TSQL", "SELECT"].map(|t| Cell::Text(t.into()));
    assert_eq!(b.rows(LIVE, tables, &[]), vec![[&texts[..], &[Cell::Int(0)]].concat()]);
    b.w.sql.get_mut(LIVE).unwrap().agent_stopped = true;
    assert_eq!(b.errors(LIVE, "EXEC msdb.dbo.sp_start_job @job_name = N'a'"), [22022]);
}

#[test]
fn a_full_restore_is_refused_where_it_would_destroy_something_or_does_not_fit() {
    let mut b = Bench::new();
    let set = b.full(FULL);
    let with = |options: &str| by_client(FULL, options);
    let moved = ", MOVE N'mgc' TO N'F:\\Data\\new.mdf', MOVE N'mgc_log' TO N'G:\\Log\\new.ldf'";
    assert_eq!(b.errors(LIVE, &with(", REPLACE")), [3104, 3013]);
    assert_eq!(b.errors(LIVE, "ALTER DATABASE [mgc] SET PARTNER OFF"), NONE);
    assert_eq!(b.errors(LIVE, &with("")), [3159, 3013]);
    // Chat is inside.
    assert_eq!(b.errors(LIVE, &with(", REPLACE")), [3101, 3013]);
    assert!(b.db(LIVE).is_live());
    let log = r"\\sea-fs-1\mgc-logs\log.trn";
    assert_eq!(b.errors(LIVE, &format!("BACKUP LOG mgc TO DISK = N'{log}' WITH INIT")), NONE);
    assert_eq!(b.errors(COPY, &by_client(log, ", REPLACE")), [3135, 3013]);
    assert_eq!(
        b.errors(COPY, &format!("RESTORE LOG mgc FROM DISK = N'{FULL}' WITH NORECOVERY")),
        [3135, 3013]
    );
    assert_eq!(b.errors(COPY, &by_client(log, ", REPLACE, CHECKSUM")), [3187, 3013]);
    assert_eq!(b.errors(COPY, &by_client(r"F:\nothing.bak", ", REPLACE")), [3201, 3013]);
    // Its folders are none of this server.
    assert_eq!(b.errors(COPY, &with("")), [5133, 3156, 3119, 3013]);
    assert_eq!(b.errors(COPY, &with(", MOVE N'x' TO N'F:\\Data\\x.mdf'")), [3234, 3013]);
    assert_eq!(b.errors(COPY, &by_client(FULL, ", RESTART")), [50000, 3013]);
    let own = b.db(COPY).clone();
    let taken = sql::Database { name: "other".into(), ..own };
    b.w.sql.get_mut(COPY).unwrap().databases.insert("other".into(), taken);
    let path = ", MOVE N'mgc' TO N'F:\\Data\\mgc.mdf', MOVE N'mgc_log' TO N'G:\\Log\\new.ldf'";
    assert_eq!(b.errors(COPY, &with(path)), [1834, 3156, 3119, 3013]);
    b.w.sql.get_mut(COPY).unwrap().databases.get_mut("mgc").unwrap().family = "another".into();
    assert_eq!(b.errors(COPY, &with(moved)), [3154, 3013]);
    assert_eq!(b.errors(COPY, &with(&format!("{moved}, REPLACE"))), NONE);
    assert_eq!(b.db(COPY).family, set.family);
    // One that waits for more, of the same family, is restored anew without REPLACE.
    assert_eq!(b.errors(COPY, &with(moved)), NONE);
    b.w.sql.get_mut(COPY).unwrap().disk_full = true;
    assert_eq!(b.errors(COPY, &with(moved)), [3257, 3013]);
    assert_eq!(b.errors(LIVE, "BEGIN TRANSACTION; BACKUP DATABASE mgc TO DISK = N'F:\\x.bak'"), [3021, 3013]);
}

#[test]
fn what_a_newer_server_has_taken_no_older_one_restores() {
    use lab::scenario::SqlServerVersion::{V2012, V2019};
    for (live, copy, refused) in [(V2019, V2012, &[3169, 3013][..]), (V2012, V2019, &[]), (V2019, V2019, &[])]
    {
        let of = [("atlanta", live), ("seattle", copy)].map(|(name, version)| (name.to_string(), version));
        let mut b = Bench::of(Scenario { sql_server_of: of.into(), ..Scenario::default() });
        b.full(FULL);
        // Whoever looks into it is told which server has taken it, also by one that cannot restore it.
        let headers = b.rows(COPY, "RESTORE HEADERONLY FROM DISK = @P1", &[FULL]);
        assert_eq!(headers.len(), 1);
        let before = b.db(COPY).clone();
        let errors = b.errors(COPY, &restore(FULL));
        assert_eq!(errors, refused, "{live:?} to {copy:?}");
        if !refused.is_empty() {
            assert_eq!((b.db(COPY).state, &b.db(COPY).fork), (before.state, &before.fork));
            assert!(b.db(COPY).redo.is_some(), "a refused restore has touched it");
            let log = r"\\sea-fs-1\mgc-logs\log.trn";
            assert_eq!(b.errors(LIVE, &format!("BACKUP LOG mgc TO DISK = N'{log}' WITH INIT")), NONE);
            let restored = format!("RESTORE LOG mgc FROM DISK = N'{log}' WITH NORECOVERY");
            assert_eq!(b.errors(COPY, &restored), refused);
        }
    }
}
