//! What is made of rows whose values are not what they should be: another type, or NULL where there is none.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::product::{Cell, Rows, SqlError, SqlSession, Statement, content, read, statements};
use crate::server::Server;

/// A session that keeps what it is answered.
struct Keeping<S> {
    session: S,
    kept: Vec<(Statement, Rows)>,
}

impl<S: SqlSession> SqlSession for Keeping<S> {
    async fn send(&mut self, statement: &Statement, deadline: Option<Duration>) -> Result<Rows, SqlError> {
        let rows = self.session.send(statement, deadline).await?;
        self.kept.push((statement.clone(), rows.clone()));
        Ok(rows)
    }
}

/// A session that answers what was kept, but for one value.
struct Answering<'k> {
    kept: &'k [(Statement, Rows)],
    /// Which of the answers, which column, and what stands there in every row.
    otherwise: Option<(usize, usize, Cell)>,
}

impl SqlSession for Answering<'_> {
    async fn send(&mut self, statement: &Statement, _: Option<Duration>) -> Result<Rows, SqlError> {
        let found = self.kept.iter().position(|(asked, _)| asked == statement);
        let Some(at) = found else { return Err(SqlError::Lost("nobody has asked for that".into())) };
        let mut rows = self.kept[at].1.clone();
        if let Some((answer, column, cell)) = self.otherwise.as_ref().filter(|(answer, ..)| *answer == at) {
            assert_eq!(*answer, at);
            rows.rows.iter_mut().for_each(|row| row[*column] = cell.clone());
        }
        Ok(rows)
    }
}

/// What is made of answers, for comparison; none: it is told that they cannot be read.
async fn made<S: SqlSession>(server: &Server, of: &Of, session: &mut S) -> Option<Value> {
    let at = &of.at;
    match &of.file {
        None => {
            let mut read = read::instance(session, at, &server.pool).await.ok()?;
            if read.database.as_ref().is_some_and(|d| d.is_live()) {
                let all = content::Content { reports: true, newest_message: true };
                content::read(session, at, &server.pool, all, &mut read).await;
            }
            Some(serde_json::to_value(read).unwrap())
        }
        Some(path) => {
            let read = read::headers(session, at, true, path).await.ok()?;
            Some(serde_json::to_value(read).unwrap())
        }
    }
}

/// What is read: an instance, or a file of one.
struct Of {
    at: crate::product::SqlServer,
    file: Option<String>,
}

/// How many parts of it are unknown, or told as hiding something.
fn unknown(v: &Value) -> usize {
    match v {
        Value::Object(all) => all
            .iter()
            .map(|(key, v)| usize::from(key == "unknown" || key == "hidden" && !v.is_null()) + unknown(v))
            .sum(),
        Value::Array(all) => all.iter().map(unknown).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// What may stand there instead of a value: NULL, and values of other types.
fn others(value: &Cell) -> Vec<Cell> {
    let all = [
        Cell::Null,
        Cell::Text("\u{fffd}x".into()),
        Cell::Int(77_777),
        Cell::Int(i64::MAX),
        Cell::Numeric(i128::MAX),
        Cell::Float(7.5),
        Cell::Bytes(vec![0, 255]),
        Cell::DateTime(jiff::civil::date(1, 1, 1).at(0, 0, 0, 0)),
    ];
    // A number stays a number, and a text a text: what such a value says is another matter.
    let number = |c: &Cell| matches!(c, Cell::Int(_) | Cell::Bool(_) | Cell::Numeric(_));
    let text = |c: &Cell| matches!(c, Cell::Text(_) | Cell::Guid(_));
    let date = |c: &Cell| matches!(c, Cell::DateTime(_));
    let float = |c: &Cell| matches!(c, Cell::Float(_));
    if *value == Cell::Null {
        return vec![];
    }
    let same = |other: &Cell| [number, text, date, float].iter().any(|of| of(value) && of(other));
    all.into_iter().filter(|other| !same(other)).collect()
}

/// Where NULL says something (there is none, or it is not known), or nothing is decided by it: statement, column.
const NULL_SAYS_SOMETHING: &[(&str, &str)] = &[
    // A database that is not open tells neither its family nor its fork nor where its next log backup begins.
    ("DATABASE", "family_guid"),
    ("DATABASE", "recovery_fork_guid"),
    ("DATABASE", "last_log_backup_lsn"),
    ("DATABASE", "mirroring_guid"),
    ("DATABASE", "mirroring_partner_name"),
    ("DATABASE", "mirroring_partner_instance"),
    ("DATABASE", "recovery_model"),
    ("REDO", "redo_start_lsn"),
    ("REDO", "redo_start_fork_guid"),
    ("HEADERS", "ServerName"),
    // A date that is not there proves no age, and a backup without an identity is none that was met before.
    ("HEADERS", "BackupFinishDate"),
    ("HEADERS", "BackupSetGUID"),
    ("HEADERS", "BackupStartDate"),
    ("JOBS", "category"),
    ("OWN_BACKUPS", "newest"),
    ("RESTORE_HISTORY", "backup_start_date"),
    ("RESTORE_HISTORY", "first_recovery_fork_guid"),
    ("RESTORE_HISTORY", "last_lsn"),
    ("RESTORE_HISTORY", "server_name"),
    ("RESTORE_HISTORY", "time_zone"),
    ("RESTORE_HISTORY", "last_recovery_fork_guid"),
    ("RESTORE_HISTORY", "physical_device_name"),
    ("SESSIONS", "host_name"),
    ("SESSIONS", "program_name"),
    ("newest_message(mgc)", "newest"),
    ("server_identities(mgc)", "serverLastPingTime"),
    // What msdb's tables let be NULL.
    ("PRIMARY_HALF", "last_backup_file"),
    ("SECONDARY_HALF", "block_size"),
    ("SECONDARY_HALF", "buffer_count"),
    ("SECONDARY_HALF", "history_retention_period"),
    ("SECONDARY_HALF", "last_copied_file"),
    ("SECONDARY_HALF", "last_restored_file"),
    ("SECONDARY_HALF", "max_transfer_size"),
    ("SECONDARY_HALF", "restore_threshold"),
    ("SECONDARY_HALF", "threshold_alert"),
    ("SECONDARY_HALF", "threshold_alert_enabled"),
];

/// The same where a number or a text stands for the other: these columns are kept to be written again as they were.
const KEPT_AS_TEXT: &[&str] = &["SECONDARY_HALF", "PRIMARY_HALF", "SCHEDULES"];

fn name_of(statement: &Statement) -> String {
    let listed = statements::listed().into_iter().find(|l| l.text == statement.text);
    listed.map(|l| l.name).unwrap_or_default()
}

/// What is believed of answers in which one value is another one, without being the same.
async fn believed(server: &Server, of: &Of) -> BTreeSet<(String, String, String)> {
    let session = server.open_at(&of.at).await.unwrap();
    let mut keeping = Keeping { session, kept: vec![] };
    let usual = made(server, of, &mut keeping).await.unwrap();
    let kept = keeping.kept;
    let again = made(server, of, &mut Answering { kept: &kept, otherwise: None }).await;
    assert_eq!(again.as_ref(), Some(&usual));
    let mut found = BTreeSet::new();
    for (answer, (statement, rows)) in kept.iter().enumerate() {
        for (column, name) in rows.columns.iter().enumerate() {
            let Some(value) = rows.rows.first().and_then(|row| row.get(column)) else { continue };
            for other in others(value).into_iter().filter(|other| other != value) {
                let shown = format!("{other:?}");
                let otherwise = Some((answer, column, other));
                let made = made(server, of, &mut Answering { kept: &kept, otherwise }).await;
                if made.is_some_and(|m| m != usual && unknown(&m) <= unknown(&usual)) {
                    found.insert((name_of(statement), name.clone(), shown));
                }
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_is_not_what_it_should_be_is_told_and_not_believed() {
    let server = Server::start().await;
    let mut all = BTreeSet::new();
    for (n, (_, site)) in server.pool.sites.iter().enumerate() {
        let at = site.sql_server.clone();
        all.extend(believed(&server, &Of { at: at.clone(), file: None }).await);
        if n == 1 {
            let folder = server.lab.scenario().data_centers[1].copy_folder.clone();
            let file = server.lab.world().now().files.list(&folder).unwrap()[0].0.clone();
            let file = Some(format!(r"{folder}\{file}"));
            all.extend(believed(&server, &Of { at, file }).await);
        }
    }
    let unexpected: Vec<_> = all
        .iter()
        .filter(|(statement, column, other)| {
            let null =
                other == "Null" && NULL_SAYS_SOMETHING.contains(&(statement.as_str(), column.as_str()));
            let kept = other != "Null" && KEPT_AS_TEXT.contains(&statement.as_str());
            !null && !kept
        })
        .collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    let never =
        |(s, c): &&(&str, &str)| !all.iter().any(|(statement, column, _)| statement == s && column == c);
    let never: Vec<_> = NULL_SAYS_SOMETHING.iter().filter(never).collect();
    assert!(never.is_empty(), "these are told now, and no exceptions any more: {never:?}");
}
