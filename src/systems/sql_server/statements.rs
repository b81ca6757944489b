//! Every T-SQL text that the operator sends, and nothing else.
//!
//! All of them run on a connection whose database is `master`; values travel as parameters (`@P1` …), never as text. The one
//! exception is a database name inside a three-part name, which no parameter can stand for: [`quote_name`] writes it.

mod listed;

pub use listed::{Listed, listed};

/// What every batch ends in: one row with the error of its last statement, and what its procedure returned. An answer without it was cut
/// off, whatever else it holds; and of several errors the driver gives the first one only.
pub const ENDING: &str = " SELECT @@ERROR AS error, 0 AS returned;";
/// The same for a batch that has called procedures.
const ENDING_OF_PROCEDURES: &str = " SELECT @@ERROR AS error, @rc AS returned;";

/// `SET` options of every session: how errors, NULLs and deadlocks behave, and in which language messages come ("The session language
/// determines the datetime formats and system messages": SET LANGUAGE), must not depend on a login's defaults.
pub fn session() -> String {
    ended(
        "SET LANGUAGE us_english; SET NOCOUNT ON; SET XACT_ABORT OFF; SET LOCK_TIMEOUT 10000; SET DEADLOCK_PRIORITY LOW;",
    )
}

/// A batch with the row that it ends in.
pub fn ended(batch: impl Into<String>) -> String {
    batch.into() + ENDING
}

/// A batch that calls procedures one after the other, as long as each returns 0: some fail without an error.
fn calling(guard: &str, declare: &str, calls: &[String]) -> String {
    let mut text = format!("{guard}DECLARE @rc int{declare};");
    for (n, call) in calls.iter().enumerate() {
        text += &format!(" {}EXEC @rc = {call};", if n == 0 { "" } else { "IF @rc = 0 " });
    }
    text + ENDING_OF_PROCEDURES
}

/// Who answers, and what the login may do. No parameters.
pub const IDENTITY: &str = "\
SELECT CAST(SERVERPROPERTY('ServerName') AS nvarchar(256)) AS server_name,
       CAST(SERVERPROPERTY('ProductVersion') AS nvarchar(64)) AS product_version,
       CAST(SERVERPROPERTY('Edition') AS nvarchar(128)) AS edition,
       CAST(ISNULL(IS_SRVROLEMEMBER('sysadmin'), 0) AS int) AS is_sysadmin,
       CAST(@@SPID AS int) AS spid,
       SYSUTCDATETIME() AS utc_now,
       CAST(DATEDIFF(minute, SYSUTCDATETIME(), SYSDATETIME()) AS int) AS zone_minutes;";

/// A database's state. `@P1` database.
pub const DATABASE: &str = "\
SELECT CAST(d.state AS int) AS state, d.state_desc, d.is_in_standby, d.is_read_only,
       CAST(d.user_access AS int) AS user_access, CAST(d.recovery_model AS int) AS recovery_model,
       r.family_guid, r.recovery_fork_guid, r.last_log_backup_lsn,
       m.mirroring_guid, CAST(m.mirroring_state AS int) AS mirroring_state, CAST(m.mirroring_role AS int) AS mirroring_role,
       CAST(m.mirroring_safety_level AS int) AS mirroring_safety_level, m.mirroring_partner_name,
       m.mirroring_partner_instance, m.mirroring_witness_name, CAST(m.mirroring_witness_state AS int) AS mirroring_witness_state
FROM sys.databases AS d
LEFT JOIN sys.database_recovery_status AS r ON r.database_id = d.database_id
LEFT JOIN sys.database_mirroring AS m ON m.database_id = d.database_id
WHERE d.name = @P1;";

/// Where roll forward must go on, for each data file that has such a point: only of a file that is RESTORING or RECOVERY_PENDING it is
/// not NULL (sys.master_files); one that was dropped, or is offline for good, has none and needs none. `@P1` database.
pub const REDO: &str = "\
SELECT CAST(f.file_id AS int) AS file_id, f.redo_start_lsn, f.redo_start_fork_guid
FROM sys.master_files AS f WHERE f.database_id = DB_ID(@P1) AND f.type = 0 AND f.state IN (1, 3) ORDER BY f.file_id;";

/// The secondary half of log shipping. `@P1` database.
pub const SECONDARY_HALF: &str = "\
SELECT CAST(s.secondary_id AS nvarchar(36)) AS secondary_id, s.primary_server, s.primary_database,
       s.backup_source_directory, s.backup_destination_directory, s.file_retention_period,
       CAST(s.copy_job_id AS nvarchar(36)) AS copy_job_id, CAST(s.restore_job_id AS nvarchar(36)) AS restore_job_id,
       s.monitor_server, CAST(s.monitor_server_security_mode AS int) AS monitor_server_security_mode,
       s.last_copied_file, d.restore_delay, CAST(d.restore_all AS int) AS restore_all, CAST(d.restore_mode AS int) AS restore_mode,
       CAST(d.disconnect_users AS int) AS disconnect_users, d.block_size, d.buffer_count, d.max_transfer_size, d.last_restored_file,
       m.restore_threshold, m.threshold_alert, CAST(m.threshold_alert_enabled AS int) AS threshold_alert_enabled,
       m.history_retention_period
FROM msdb.dbo.log_shipping_secondary_databases AS d
JOIN msdb.dbo.log_shipping_secondary AS s ON s.secondary_id = d.secondary_id
LEFT JOIN msdb.dbo.log_shipping_monitor_secondary AS m
       ON m.secondary_id = d.secondary_id AND m.secondary_database = d.secondary_database
WHERE d.secondary_database = @P1;";

/// The primary half of log shipping. `@P1` database.
pub const PRIMARY_HALF: &str = "\
SELECT CAST(p.primary_id AS nvarchar(36)) AS primary_id, p.primary_database, p.backup_directory, p.backup_share,
       p.backup_retention_period, CAST(p.backup_job_id AS nvarchar(36)) AS backup_job_id, p.monitor_server, p.last_backup_file
FROM msdb.dbo.log_shipping_primary_databases AS p WHERE p.primary_database = @P1;";

/// The secondaries that the primary half knows. `@P1` database.
pub const PRIMARY_SECONDARIES: &str = "\
SELECT s.secondary_server, s.secondary_database
FROM msdb.dbo.log_shipping_primary_secondaries AS s
JOIN msdb.dbo.log_shipping_primary_databases AS p ON p.primary_id = s.primary_id
WHERE p.primary_database = @P1 ORDER BY s.secondary_server;";

/// The Agent jobs of log shipping, others that are called as if they were (`LS…` is how SQL Server's own scripts call them), and ours
/// (`PCF_…`): whether each runs now, and how the first step of its last run ended. Only the Agent's newest session counts, and only while the Agent lives (it keeps sessions of its own): rows of an
/// Agent that died in the middle of a job look running for ever. `@P1`, `@P2`, `@P3` job ids.
pub const JOBS: &str = "\
SELECT CAST(j.job_id AS nvarchar(36)) AS job_id, j.name, CAST(j.enabled AS int) AS enabled, c.name AS category,
       CAST(CASE WHEN EXISTS (SELECT 1 FROM msdb.dbo.sysjobschedules AS k WHERE k.job_id = j.job_id) THEN 1 ELSE 0 END AS int) AS scheduled,
       CAST(CASE WHEN a.start_execution_date IS NOT NULL AND a.stop_execution_date IS NULL
            AND EXISTS (SELECT 1 FROM sys.dm_exec_sessions AS g WHERE g.program_name LIKE N'SQLAgent%') THEN 1 ELSE 0 END AS int) AS running,
       CAST(h.run_status AS int) AS last_outcome, h.message AS last_message
FROM msdb.dbo.sysjobs AS j
LEFT JOIN msdb.dbo.syscategories AS c ON c.category_id = j.category_id
LEFT JOIN msdb.dbo.sysjobactivity AS a
       ON a.job_id = j.job_id AND a.session_id = (SELECT MAX(session_id) FROM msdb.dbo.syssessions)
LEFT JOIN msdb.dbo.sysjobhistory AS h ON h.job_id = j.job_id AND h.instance_id =
       (SELECT MAX(x.instance_id) FROM msdb.dbo.sysjobhistory AS x WHERE x.job_id = j.job_id AND x.step_id = 1)
WHERE CAST(j.job_id AS nvarchar(36)) IN (@P1, @P2, @P3) OR j.name LIKE N'LS%' OR LEFT(j.name, 4) = N'PCF_' ORDER BY j.name;";

/// Schedules of a job, for re-creating it. `@P1` job id.
pub const SCHEDULES: &str = "\
SELECT c.name, c.enabled, c.freq_type, c.freq_interval, c.freq_subday_type, c.freq_subday_interval,
       c.freq_relative_interval, c.freq_recurrence_factor, c.active_start_date, c.active_end_date,
       c.active_start_time, c.active_end_time
FROM msdb.dbo.sysjobschedules AS k JOIN msdb.dbo.sysschedules AS c ON c.schedule_id = k.schedule_id
WHERE CAST(k.job_id AS nvarchar(36)) = @P1 ORDER BY c.name;";

/// Header of every backup set in a file. `@P1` path.
pub const HEADERS: &str = "RESTORE HEADERONLY FROM DISK = @P1;";

/// The place of a file in its media set. `@P1` path.
pub const LABEL: &str = "RESTORE LABELONLY FROM DISK = @P1;";

/// The files of the database that a set is of. `@P1` path, `@P2` position.
pub const FILE_LIST: &str = "RESTORE FILELISTONLY FROM DISK = @P1 WITH FILE = @P2;";

/// Every file of the instance that the login may see. `@P1` database: whether a file is one of its own.
pub const INSTANCE_FILES: &str = "\
SELECT CAST(CASE WHEN f.database_id = DB_ID(@P1) THEN 1 ELSE 0 END AS int) AS own, CAST(f.file_id AS int) AS file_id,
       CAST(f.type AS int) AS type, f.physical_name
FROM sys.master_files AS f ORDER BY f.database_id, f.file_id;";

/// What SQL Server itself sees in a folder (`systems::assumptions::FOLDER_LISTING`). `@P1` path.
pub const FOLDER_LISTING: &str = "EXEC master.sys.xp_dirtree @P1, 1, 1;";

/// Sessions that are in the database or hold a lock on it; which database a session is in, SQL Server 2008 R2 says in sysprocesses only
/// (`sys.dm_exec_sessions.database_id` came with 2012). `@P1` database.
pub const SESSIONS: &str = "\
SELECT CAST(s.session_id AS int) AS session_id, s.login_name, s.host_name, s.program_name
FROM sys.dm_exec_sessions AS s LEFT JOIN sys.dm_exec_requests AS r ON r.session_id = s.session_id
LEFT JOIN sys.sysprocesses AS p ON p.spid = s.session_id AND p.ecid = 0
WHERE s.is_user_process = 1 AND s.session_id <> @@SPID
  AND (p.dbid = DB_ID(@P1) OR r.database_id = DB_ID(@P1) OR EXISTS
       (SELECT 1 FROM sys.dm_tran_locks AS l WHERE l.request_session_id = s.session_id
         AND l.resource_type = N'DATABASE' AND l.resource_database_id = DB_ID(@P1)))
ORDER BY s.session_id;";

/// Running RESTORE statements that change the database, and full backups of it, and how far they are (`percent_complete` is for those:
/// sys.dm_exec_requests): one that only reads a file (`RESTORE HEADERON`, as the view shows it) changes nothing. One that holds a lock on
/// another database only is that one's. `@P1` database.
pub const RUNNING: &str = "\
SELECT CAST(r.session_id AS int) AS session_id, r.command, CAST(r.percent_complete AS float) AS percent_complete, s.host_name, s.program_name
FROM sys.dm_exec_requests AS r JOIN sys.dm_exec_sessions AS s ON s.session_id = r.session_id
WHERE r.command IN (N'BACKUP DATABASE', N'RESTORE DATABASE', N'RESTORE LOG') AND NOT (
  EXISTS (SELECT 1 FROM sys.dm_tran_locks AS l WHERE l.request_session_id = r.session_id
          AND l.resource_type = N'DATABASE' AND l.resource_database_id > 4 AND l.resource_database_id <> DB_ID(@P1))
  AND NOT EXISTS (SELECT 1 FROM sys.dm_tran_locks AS l WHERE l.request_session_id = r.session_id
          AND l.resource_type = N'DATABASE' AND l.resource_database_id = DB_ID(@P1)))
ORDER BY r.session_id;";

/// The last log backups restored into the database. `@P1` database.
pub const RESTORE_HISTORY: &str = "\
SELECT TOP (20) CAST(h.restore_history_id AS int) AS restore_history_id, h.restore_date, h.restore_type,
       s.last_lsn, s.last_recovery_fork_guid, s.first_recovery_fork_guid, s.fork_point_lsn, s.backup_start_date, s.backup_finish_date,
       CAST(s.time_zone AS int) AS time_zone, s.server_name, m.physical_device_name
FROM msdb.dbo.restorehistory AS h
JOIN msdb.dbo.backupset AS s ON s.backup_set_id = h.backup_set_id
LEFT JOIN msdb.dbo.backupmediafamily AS m ON m.media_set_id = s.media_set_id AND m.mirror = 0
WHERE h.destination_database_name = @P1 ORDER BY h.restore_history_id DESC;";

/// Newest full (`D`) and log (`L`) backup of the database that this server itself took. `@P1` database.
pub const OWN_BACKUPS: &str = "\
SELECT s.type, MAX(s.backup_finish_date) AS newest
FROM msdb.dbo.backupset AS s
WHERE s.database_name = @P1 AND s.server_name = CAST(SERVERPROPERTY('ServerName') AS nvarchar(256)) AND s.is_copy_only = 0
GROUP BY s.type ORDER BY s.type;";

/// Users of the database, by quoted name, that no login of the instance stands behind. A database and its server may have different
/// collations (error 468 where they meet): names are compared in that of `master`.
pub fn orphaned_users(database: &str) -> String {
    let q = quote_name(database);
    format!(
        "SELECT u.name, CAST(CASE WHEN n.name IS NULL THEN 0 ELSE 1 END AS int) AS has_login \
         FROM {q}.sys.database_principals AS u LEFT JOIN sys.server_principals AS l ON l.sid = u.sid \
         LEFT JOIN sys.server_principals AS n ON n.name = u.name COLLATE DATABASE_DEFAULT WHERE u.type IN ('S', 'U', 'G') AND u.principal_id > 4 AND l.sid IS NULL ORDER BY u.name;"
    )
}

/// When each chat server last said that it is alive, from the schema of the content database. Whoever locks the product's tables is
/// not waited for.
pub fn server_identities(database: &str) -> String {
    let q = quote_name(database);
    format!(
        "SET LOCK_TIMEOUT 1000; SELECT i.serverAddress, i.serverLastPingTime FROM {q}.dbo.tblServerIdentity AS i ORDER BY i.serverAddress;"
    )
}

/// When the newest message was written. No documented index leads on the date: it may read the whole table, the largest of the product,
/// and is never sent to a database that chat uses.
pub fn newest_message(database: &str) -> String {
    let q = quote_name(database);
    format!("SET LOCK_TIMEOUT 1000; SELECT MAX(c.chatDate) AS newest FROM {q}.dbo.tblChat AS c;")
}

/// Messages of an old database from a date on (`@P1`, in the unit of the table), at most so many. It reads the whole table, and is never sent to a database
/// that chat uses.
pub fn messages_since(database: &str, most: usize) -> String {
    let q = quote_name(database);
    format!(
        "SET LOCK_TIMEOUT 1000; SELECT TOP ({}) c.channelId, c.chatId, c.chatDate FROM {q}.dbo.tblChat AS c WHERE c.chatDate >= @P1;",
        most
    )
}

/// Messages of one channel (`@P1`) whose numbers are in a range (`@P2` to `@P3`), which is a range of the table's key; at most so many.
/// Whoever locks it is not waited for.
pub fn messages_of_a_channel(database: &str, most: usize) -> String {
    let q = quote_name(database);
    format!(
        "SET LOCK_TIMEOUT 1000; SELECT TOP ({}) c.chatId, c.chatDate FROM {q}.dbo.tblChat AS c WHERE c.channelId = @P1 \
         AND c.chatId BETWEEN @P2 AND @P3;",
        most
    )
}

/// Takes the application lock of a pool for the session, or says at once that it cannot. `@P1` resource.
pub const LOCK: &str = "\
DECLARE @rc int;
EXEC @rc = sys.sp_getapplock @Resource = @P1, @LockMode = N'Exclusive', @LockOwner = N'Session', @LockTimeout = 0;
SELECT @rc AS rc;";

/// Whether this session holds the application lock. `@P1` resource.
pub const HELD: &str = "SELECT APPLOCK_MODE(N'public', @P1, N'Session') AS mode;";

/// Who holds the application lock of a pool. `@P1` resource.
pub const LOCK_HOLDER: &str = "\
SELECT CAST(s.session_id AS int) AS session_id, s.host_name, s.program_name, s.login_name
FROM sys.dm_tran_locks AS l JOIN sys.dm_exec_sessions AS s ON s.session_id = l.request_session_id
WHERE l.resource_type = N'APPLICATION' AND l.request_status = N'GRANT' AND l.resource_description LIKE N'%' + @P1 + N'%';";

/// Whether the record's table exists. No parameters.
pub const RECORD_TABLE: &str = "SELECT CAST(CASE WHEN OBJECT_ID(N'msdb.dbo.persistent_chat_failover') IS NULL THEN 0 ELSE 1 END AS int) AS present;";

/// The records of a pool that can still matter, newest first: the last eleven, and of each kind the last one, however long ago that
/// was. Their numbers say what came later, not times: clocks jump. `@P1` pool.
pub const RECORDS: &str = "\
SELECT r.transition, r.schema_version, r.document FROM (
SELECT transition, schema_version, document, number, ROW_NUMBER() OVER (ORDER BY number DESC, started DESC) AS nth,
ROW_NUMBER() OVER (PARTITION BY kind ORDER BY number DESC, started DESC) AS nth_of_kind
FROM msdb.dbo.persistent_chat_failover WHERE pool = @P1) AS r
WHERE r.nth <= 11 OR r.nth_of_kind = 1 ORDER BY r.nth;";

/// States of the error 50000 that our guards raise: what else raises that number (a trigger of somebody's) uses others.
pub const GUARDS: std::ops::RangeInclusive<u8> = GUARD_LOCK..=GUARD_JOB;
const GUARD_LOCK: u8 = 201;
pub(super) const GUARD_STATE: u8 = 202;
const GUARD_REDO: u8 = 203;
const GUARD_FORK: u8 = 204;
const GUARD_JOB: u8 = 205;

/// Guard of every write: the lock is held by this very session. The text is followed by the effect in the same batch, so
/// that nothing can come between the look and the act. `{lock}` is the parameter that carries the resource.
fn locked(lock: &str) -> String {
    format!(
        "IF APPLOCK_MODE(N'public', {lock}, N'Session') <> N'Exclusive' \
         BEGIN RAISERROR(N'PCF guard: this session does not hold the lock of the pool', 16, {GUARD_LOCK}); RETURN; END; "
    )
}

/// Guard: the database is still in the state that the decision was made on (state, standby).
fn in_state(database: &str, state: &str, standby: &str) -> String {
    format!(
        "IF NOT EXISTS (SELECT 1 FROM sys.databases WHERE name = {database} AND state = {state} AND is_in_standby = {standby}) \
         BEGIN RAISERROR(N'PCF guard: the database is not in the expected state', 16, {GUARD_STATE}); RETURN; END; "
    )
}

/// Guard: the database waits for log backups still, or is read between them. Somebody may have recovered it while the look went on.
fn is_copy(database: &str) -> String {
    format!(
        "IF NOT EXISTS (SELECT 1 FROM sys.databases WHERE name = {database} AND (state = 1 OR is_in_standby = 1)) \
         BEGIN RAISERROR(N'PCF guard: the database is not in the expected state', 16, {GUARD_STATE}); RETURN; END; "
    )
}

/// Guard: roll forward still begins where the decision says (LSN and recovery fork), in every data file that [`REDO`] looks at, and there
/// is one.
fn at_redo_point(database: &str, lsn: &str, fork: &str) -> String {
    let files = format!(
        "SELECT 1 FROM sys.master_files WHERE database_id = DB_ID({database}) AND type = 0 AND state IN (1, 3)"
    );
    format!(
        "IF NOT EXISTS ({files}) OR EXISTS ({files} \
         AND (redo_start_lsn IS NULL OR redo_start_lsn <> CAST({lsn} AS numeric(25,0)) \
         OR redo_start_fork_guid IS NULL OR CAST(redo_start_fork_guid AS nvarchar(36)) <> {fork})) \
         BEGIN RAISERROR(N'PCF guard: the redo point of the database has moved', 16, {GUARD_REDO}); RETURN; END; "
    )
}

/// Guard: it is the very life of the database that was looked at, and nobody mirrors it.
fn on_fork_unmirrored(database: &str, fork: &str) -> String {
    format!(
        "IF NOT EXISTS (SELECT 1 FROM sys.database_recovery_status AS r JOIN sys.database_mirroring AS m ON m.database_id = r.database_id \
         WHERE r.database_id = DB_ID({database}) AND CAST(r.recovery_fork_guid AS nvarchar(36)) = {fork} AND m.mirroring_guid IS NULL) \
         BEGIN RAISERROR(N'PCF guard: it is another recovery fork of the database, or it is mirrored', 16, {GUARD_FORK}); RETURN; END; "
    )
}

/// Writes the record of a transition. `@P1` lock, `@P2` pool, `@P3` transition, `@P4` schema version, `@P5` document, `@P6` its number,
/// `@P7` its kind.
pub fn write_record() -> String {
    let guard = locked("@P1");
    ended(format!(
        "{guard}IF OBJECT_ID(N'msdb.dbo.persistent_chat_failover') IS NULL \
         CREATE TABLE msdb.dbo.persistent_chat_failover (pool nvarchar(255) NOT NULL, transition nvarchar(64) NOT NULL, \
         schema_version int NOT NULL, started datetime2 NOT NULL, document nvarchar(max) NOT NULL, number int NOT NULL, \
         kind nvarchar(64) NOT NULL, PRIMARY KEY (pool, transition)); \
         IF EXISTS (SELECT 1 FROM msdb.dbo.persistent_chat_failover WHERE pool = @P2 AND transition = @P3) \
         UPDATE msdb.dbo.persistent_chat_failover SET schema_version = @P4, document = @P5, kind = @P7 \
         WHERE pool = @P2 AND transition = @P3; \
         ELSE \
         INSERT INTO msdb.dbo.persistent_chat_failover (pool, transition, schema_version, started, document, number, kind) \
         VALUES (@P2, @P3, @P4, SYSUTCDATETIME(), @P5, @P6, @P7);"
    ))
}

/// Lets a job's schedule start it, or not any more. `@P1` lock, `@P2` job id.
pub fn enable_job(on: bool) -> String {
    let call = format!("msdb.dbo.sp_update_job @job_id = @P2, @enabled = {}", i32::from(on));
    calling(&locked("@P1"), "", &[call])
}

/// Starts a job once, at once. `@P1` lock, `@P2` job id.
pub fn start_job() -> String {
    calling(&locked("@P1"), "", &["msdb.dbo.sp_start_job @job_id = @P2".into()])
}

/// Runs a text as an Agent job of its own, which lives on without us: one of that name is made anew, unless it runs. `@P1` lock, `@P2` name
/// of the job, `@P3` description, `@P4` the text.
pub fn run_job() -> String {
    let running = "SELECT 1 FROM msdb.dbo.sysjobs AS j JOIN msdb.dbo.sysjobactivity AS a ON a.job_id = j.job_id WHERE j.name = @P2 \
         AND a.start_execution_date IS NOT NULL AND a.stop_execution_date IS NULL \
         AND a.session_id = (SELECT MAX(session_id) FROM msdb.dbo.syssessions)";
    let guards = format!(
        "{}IF EXISTS ({running}) BEGIN RAISERROR(N'PCF guard: the job runs', 16, {GUARD_JOB}); RETURN; END; ",
        locked("@P1")
    );
    let calls = [
        "msdb.dbo.sp_add_job @job_name = @P2, @description = @P3, @job_id = @job OUTPUT",
        "msdb.dbo.sp_add_jobstep @job_id = @job, @step_name = @P2, @subsystem = N'TSQL', @command = @P4, @database_name = N'master'",
        "msdb.dbo.sp_add_jobserver @job_id = @job",
        "msdb.dbo.sp_start_job @job_id = @job",
    ];
    let calls: String = calls.iter().map(|call| format!(" IF @rc = 0 EXEC @rc = {call};")).collect();
    format!(
        "{guards}DECLARE @rc int, @job uniqueidentifier; SET @rc = 0; \
         IF EXISTS (SELECT 1 FROM msdb.dbo.sysjobs WHERE name = @P2) EXEC @rc = msdb.dbo.sp_delete_job @job_name = @P2;\
         {calls}{ENDING_OF_PROCEDURES}"
    )
}

/// Deletes a job of ours. `@P1` lock, `@P2` name of the job.
pub fn delete_job() -> String {
    calling(&locked("@P1"), "", &["msdb.dbo.sp_delete_job @job_name = @P2".into()])
}

/// Gives a job a schedule. `@P1` lock, `@P2` job id, `@P3` name of the schedule, `@P4` … the numbers of [`SCHEDULE_NUMBERS`].
pub fn add_schedule() -> String {
    let numbers: Vec<String> =
        SCHEDULE_NUMBERS.iter().zip(4..).map(|((name, _), n)| format!("@{name} = @P{n}")).collect();
    let add = format!(
        "msdb.dbo.sp_add_schedule @schedule_name = @P3, @enabled = 1, {}, @schedule_id = @schedule OUTPUT",
        numbers.join(", ")
    );
    let attach = "msdb.dbo.sp_attach_schedule @job_id = @P2, @schedule_id = @schedule".into();
    calling(&locked("@P1"), ", @schedule int", &[add, attach])
}

/// The numbers of a schedule with what they are where nobody has said otherwise: every 15 minutes, day and night, as the script does
/// that SQL Server Management Studio generates.
pub const SCHEDULE_NUMBERS: [(&str, i32); 10] = [
    ("freq_type", 4),
    ("freq_interval", 1),
    ("freq_subday_type", 4),
    ("freq_subday_interval", 15),
    ("freq_relative_interval", 0),
    ("freq_recurrence_factor", 0),
    ("active_start_date", 20_000_101),
    ("active_end_date", 99_991_231),
    ("active_start_time", 0),
    ("active_end_time", 235_900),
];

/// The primary half: the live database's log is backed up into a share. The job is made disabled. `@P1` lock, `@P2` database, `@P3`
/// backup directory, `@P4` backup share, `@P5` name of the job, `@P6` minutes that backups are kept, `@P7` threshold, `@P8` history.
pub fn add_primary_half() -> String {
    let call = "master.dbo.sp_add_log_shipping_primary_database \
         @database = @P2, @backup_directory = @P3, @backup_share = @P4, @backup_job_name = @P5, \
         @backup_retention_period = @P6, @backup_threshold = @P7, @threshold_alert_enabled = 1, @history_retention_period = @P8, \
         @backup_compression = 2, @overwrite = 1, @backup_job_id = @job OUTPUT, @primary_id = @id OUTPUT";
    calling(&locked("@P1"), ", @job uniqueidentifier, @id uniqueidentifier", &[call.into()])
}

/// Names the secondary to the primary half. `@P1` lock, `@P2` database, `@P3` server, `@P4` its database.
pub fn add_primary_secondary() -> String {
    let call = "master.dbo.sp_add_log_shipping_primary_secondary \
         @primary_database = @P2, @secondary_server = @P3, @secondary_database = @P4, @overwrite = 1";
    calling(&locked("@P1"), "", &[call.into()])
}

/// The secondary half, of a copy: backups are copied and restored. The jobs are made disabled. `@P1` lock, `@P2` primary server, `@P3` primary
/// database, `@P4` source, `@P5` destination, `@P6`, `@P7` names of the jobs, `@P8` minutes that copies are kept, `@P9` secondary
/// database, `@P10` restore delay, `@P11` restore all, `@P12` restore mode, `@P13` disconnect users, `@P14` restore threshold, `@P15`
/// history.
pub fn add_secondary_half() -> String {
    let server = "master.dbo.sp_add_log_shipping_secondary_primary \
         @primary_server = @P2, @primary_database = @P3, @backup_source_directory = @P4, \
         @backup_destination_directory = @P5, @copy_job_name = @P6, @restore_job_name = @P7, @file_retention_period = @P8, \
         @overwrite = 1, @copy_job_id = @copy OUTPUT, @restore_job_id = @restore OUTPUT, @secondary_id = @id OUTPUT";
    let database = "master.dbo.sp_add_log_shipping_secondary_database \
         @secondary_database = @P9, @primary_server = @P2, @primary_database = @P3, @restore_delay = @P10, \
         @restore_all = @P11, @restore_mode = @P12, @disconnect_users = @P13, @restore_threshold = @P14, \
         @threshold_alert_enabled = 1, @history_retention_period = @P15, @overwrite = 1";
    let declare = ", @copy uniqueidentifier, @restore uniqueidentifier, @id uniqueidentifier";
    calling(&(locked("@P1") + &is_copy("@P9")), declare, &[server.into(), database.into()])
}

/// Stops a copy job that hangs on a dead share. `@P1` lock, `@P2` job id.
pub fn stop_job() -> String {
    calling(&locked("@P1"), "", &["msdb.dbo.sp_stop_job @job_id = @P2".into()])
}

/// Removes the secondary half of log shipping. `@P1` lock, `@P2` database.
///
/// The procedure also tells a monitor server; one that was lost with the side that is left is left out (`ignore_monitor`: the parameter
/// `@ignoreremotemonitor` of the log shipping procedures).
pub fn remove_log_shipping(ignore_monitor: bool) -> String {
    let ignore = if ignore_monitor { ", @ignoreremotemonitor = 1" } else { "" };
    let name = "master.dbo.sp_delete_log_shipping_secondary_database";
    calling(&locked("@P1"), "", &[format!("{name} @secondary_database = @P2{ignore}")])
}

/// Ends every session that is in the database or holds a lock on it. Sessions come back within milliseconds: only what follows in the
/// same batch is quick enough.
fn kill_sessions(database: &str) -> String {
    format!(
        "DECLARE @k nvarchar(max); SET @k = N''; \
         SELECT @k = @k + N'BEGIN TRY KILL ' + CONVERT(nvarchar(10), s.session_id) + N'; END TRY BEGIN CATCH END CATCH; ' \
         FROM sys.dm_exec_sessions AS s WHERE s.is_user_process = 1 AND s.session_id <> @@SPID \
         AND (s.session_id IN (SELECT p.spid FROM sys.sysprocesses AS p WHERE p.dbid = DB_ID({database})) \
         OR s.session_id IN (SELECT l.request_session_id FROM sys.dm_tran_locks AS l \
         WHERE l.resource_type = N'DATABASE' AND l.resource_database_id = DB_ID({database}))); \
         EXEC (@k);"
    )
}

/// Takes a STANDBY copy back to RESTORING. `@P1` lock, `@P2` database.
pub fn leave_standby() -> String {
    let guards = locked("@P1") + &in_state("@P2", "0", "1");
    ended(guards + &kill_sessions("@P2") + " RESTORE DATABASE @P2 WITH NORECOVERY;")
}

/// Applies one log backup. `@P1` lock, `@P2` database, `@P3` redo LSN, `@P4` fork, `@P5` path, `@P6` position, `@P7` … the other files
/// that it is striped over, then of each file that it adds and that goes elsewhere the logical name and the path.
pub fn restore_log(checksum: bool, files: usize, moves: usize) -> String {
    let others = files.saturating_sub(1);
    let moved: String =
        (7 + others..).step_by(2).take(moves).map(|n| format!(", MOVE @P{n} TO @P{}", n + 1)).collect();
    let others: String = (7..).take(others).map(|n| format!(", DISK = @P{n}")).collect();
    let guards = locked("@P1") + &in_state("@P2", "1", "0") + &at_redo_point("@P2", "@P3", "@P4");
    let checksum = if checksum { ", CHECKSUM" } else { "" };
    ended(format!(
        "{guards}RESTORE LOG @P2 FROM DISK = @P5{others} WITH FILE = @P6, NORECOVERY{moved}{checksum}, STATS = 5;"
    ))
}

/// The one-way door: recovers the database. `@P1` lock, `@P2` database, `@P3` redo LSN, `@P4` fork.
pub fn recover() -> String {
    let guards = locked("@P1") + &in_state("@P2", "1", "0") + &at_redo_point("@P2", "@P3", "@P4");
    ended(guards + "RESTORE DATABASE @P2 WITH RECOVERY;")
}

/// Takes the tail of the log and leaves the database RESTORING: whoever is still in it is ended, for that needs exclusive access. `@P1`
/// lock, `@P2` database, `@P3` fork, `@P4` path.
pub fn take_tail() -> String {
    let guards = locked("@P1") + &in_state("@P2", "0", "0") + &on_fork_unmirrored("@P2", "@P3");
    ended(
        guards
            + &kill_sessions("@P2")
            + " BACKUP LOG @P2 TO DISK = @P4 WITH NORECOVERY, INIT, CHECKSUM, STATS = 5;",
    )
}

/// Undoes a tail: the database is live again where it was. `@P1` lock, `@P2` database.
pub fn bring_back_online() -> String {
    ended(locked("@P1") + &in_state("@P2", "1", "0") + "RESTORE DATABASE @P2 WITH RECOVERY;")
}

/// Removes the mirroring of a database: the partner's copy is left RESTORING. `@P1` lock; the database by quoted name.
pub fn remove_mirroring(database: &str) -> String {
    ended(format!("{}ALTER DATABASE {} SET PARTNER OFF;", locked("@P1"), quote_name(database)))
}

/// Lets everybody in again after a recovery that kept users out. A database for a single user is held by one session, which neither
/// `NO_WAIT` nor `ROLLBACK IMMEDIATE` throws out (error 5064): it is ended first. `@P1` lock; the database by quoted name.
pub fn set_multi_user(database: &str) -> String {
    let (name, kill) = (quote_string(database), kill_sessions(&quote_string(database)));
    ended(format!(
        "{}IF EXISTS (SELECT 1 FROM sys.databases WHERE name = {name} AND user_access = 1) BEGIN {kill} END; \
         ALTER DATABASE {} SET MULTI_USER;",
        locked("@P1"),
        quote_name(database)
    ))
}

/// Maps a user of the database to the login of the same name again. `@P1` lock; names are quoted.
pub fn map_user(database: &str, user: &str) -> String {
    let statement = format!("ALTER USER {u} WITH LOGIN = {u};", u = quote_name(user));
    let call = format!("{}.sys.sp_executesql {}", quote_name(database), quote_string(&statement));
    calling(&locked("@P1"), "", &[call])
}

/// A name as a bracketed identifier: the one quoting function for identifiers.
pub fn quote_name(name: &str) -> String {
    format!("[{}]", name.replace(']', "]]"))
}

/// A text as a Unicode literal, where the grammar allows no parameter.
pub fn quote_string(text: &str) -> String {
    format!("N'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_stay_inside_their_quotes() {
        assert_eq!(quote_name("mgc]; DROP TABLE x --"), "[mgc]]; DROP TABLE x --]");
        assert_eq!(quote_string("it's [x]"), "N'it''s [x]'");
        assert!(
            map_user("m]gc", "o'brien]").contains("N'ALTER USER [o''brien]]] WITH LOGIN = [o''brien]]];'")
        );
    }

    #[test]
    fn every_write_checks_the_lock_first_and_ends_in_the_row_that_proves_it() {
        let writes: Vec<String> =
            listed().into_iter().filter(|l| !l.looks && l.name != "session").map(|l| l.text).collect();
        assert!(writes.len() > 16);
        for text in writes {
            assert!(
                text.starts_with("IF APPLOCK_MODE(N'public', @P1, N'Session') <> N'Exclusive'"),
                "{text}"
            );
            assert!(text.ends_with(ENDING) || text.ends_with(ENDING_OF_PROCEDURES), "{text}");
            // Whatever is called returns into the variable of that row.
            assert_eq!(
                text.matches("EXEC ").count(),
                text.matches("EXEC @rc = ").count() + text.matches("EXEC (@k)").count()
            );
        }
    }

    #[test]
    fn no_batch_holds_both_a_log_restore_and_recovery() {
        // A failed RESTORE ends its statement, not its batch: recovery behind it would run over the gap.
        assert!(!restore_log(true, 1, 1).contains("WITH RECOVERY"));
        assert!(!recover().contains("RESTORE LOG"));
        assert!(!leave_standby().contains("WITH RECOVERY"));
    }
}
