//! What the simulated SQL Server does beside what was recorded of single answers: versions, long numbers, sessions that are ended,
//! files of several sets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::{COPY, LIVE};
use lab::scenario::{Dialect, Scenario, SqlServerVersion};
use lab::sql;
use lab::tsql::{Cell, Event, Progress, SqlMessage, batch};
use lab::world::World;

struct Bench {
    w: World,
}

impl Bench {
    fn new(scenario: Scenario) -> Bench {
        Bench { w: common::world(scenario) }
    }

    fn of(sql_server: SqlServerVersion) -> Bench {
        Bench::new(Scenario { dialect: Dialect { sql_server, ..Dialect::default() }, ..Scenario::default() })
    }

    fn log_in(&mut self, host: &str) -> u32 {
        common::log_in(&mut self.w, host)
    }

    fn send(&mut self, host: &str, id: u32, text: &str) -> Vec<Event> {
        common::send(&mut self.w, host, id, text, vec![])
    }

    fn rows(&mut self, host: &str, text: &str) -> Vec<Vec<Cell>> {
        let id = self.log_in(host);
        let out = self.send(host, id, text);
        assert!(!out.iter().any(|e| matches!(e, Event::Error(_))), "{text}\n{out:?}");
        out.into_iter()
            .find_map(|e| if let Event::Rows { rows, .. } = e { Some(rows) } else { None })
            .unwrap()
    }

    fn errors(&mut self, host: &str, text: &str) -> Vec<(u32, u8, u8)> {
        let id = self.log_in(host);
        let out = self.send(host, id, text);
        let errors = out.into_iter().filter_map(|e| if let Event::Error(e) = e { Some(e) } else { None });
        errors.map(|e: SqlMessage| (e.number, e.class, e.state)).collect()
    }

    /// The files of the copy.
    fn files(&self) -> Vec<String> {
        let folder = &self.w.scenario.data_centers[1].copy_folder;
        let names = self.w.files.list(folder).unwrap().into_iter();
        names.map(|(n, _)| format!(r"{folder}\{n}")).collect()
    }
}

#[test]
fn a_version_has_the_columns_and_views_that_it_has() {
    for version in SqlServerVersion::ALL {
        let mut b = Bench::of(version);
        let old = version == SqlServerVersion::V2008R2;
        let column = "SELECT session_id, database_id FROM sys.dm_exec_sessions";
        let expected = if old { vec![(207, 16, 1)] } else { vec![] };
        assert_eq!(b.errors(LIVE, column), expected, "{version:?}");
        let shown = b.rows(LIVE, "SELECT CAST(SERVERPROPERTY('ProductVersion') AS nvarchar(64)) AS v");
        assert_eq!(shown, vec![vec![Cell::Text(version.product_version().into())]]);
    }
    // A file says which version it is for as it is written there.
    let text = "dialect: {sqlServer: \"10.50\"}";
    let scenario: Scenario = serde_saphyr::from_str(text).unwrap();
    assert_eq!(scenario.dialect.sql_server, SqlServerVersion::V2008R2);
    assert_eq!(Scenario::default().dialect.sql_server, SqlServerVersion::V2016);
}

#[test]
fn numbers_of_log_records_are_as_long_as_in_the_wild() {
    for (seed, digits) in [(0, 17), (1, 20), (2, 22)] {
        let mut b = Bench::new(Scenario { seed, ..Scenario::default() });
        let lsn = b.w.sql[COPY].databases["mgc"].redo.as_ref().unwrap().0;
        assert_eq!(lsn.to_string().len(), digits);
        let redo =
            "SELECT redo_start_lsn FROM sys.master_files WHERE database_id = DB_ID(N'mgc') AND type = 0";
        assert_eq!(b.rows(COPY, redo), vec![vec![Cell::Lsn(lsn)]]);
        let guard = format!("{redo} AND redo_start_lsn = CAST(N'{lsn}' AS numeric(25,0))");
        assert_eq!(b.rows(COPY, &guard).len(), 1);
    }
}

#[test]
fn texts_are_equal_without_case_and_blanks_at_the_end() {
    let mut b = Bench::new(Scenario::default());
    for (condition, holds) in [
        ("N'a' = N'A  '", 1),
        ("N'a' = N'á'", 0),
        ("N'🦆' = N''", 1),
        ("N'a🦆b' = N'ab'", 1),
        ("EXISTS (SELECT 1 FROM sys.databases WHERE name = N'MGC ')", 1),
    ] {
        let text = format!("SELECT CASE WHEN {condition} THEN 1 ELSE 0 END AS holds");
        assert_eq!(b.rows(LIVE, &text), vec![vec![Cell::Int(holds)]], "{condition}");
    }
}

#[test]
fn a_killed_restore_is_not_completed_and_only_its_file_goes_on() {
    let mut b = Bench::new(Scenario::default());
    let (victim, other) = (b.log_in(COPY), b.log_in(COPY));
    let before = b.w.sql[COPY].databases["mgc"].redo.clone();
    let file = b.files()[6].clone();
    let text = format!("RESTORE LOG mgc FROM DISK = N'{file}' WITH NORECOVERY");
    batch::begin(&mut b.w, COPY, victim, &text, vec![]).unwrap();
    let mut out = Vec::new();
    assert!(matches!(batch::step(&mut b.w, COPY, victim, &mut out), Progress::Until(_)));
    b.send(COPY, other, &format!("KILL {victim}"));
    let later = b.w.now + jiff::SignedDuration::from_secs(2);
    b.w.advance(later);
    assert!(!sql::session_alive(&b.w, COPY, victim));
    assert_eq!(batch::step(&mut b.w, COPY, victim, &mut out), Progress::Finished);
    let db = &b.w.sql[COPY].databases["mgc"];
    assert_eq!((&db.redo, db.interrupted.is_some()), (&before, true));
}

#[test]
fn a_backup_that_is_cut_off_or_changed_is_refused_as_its_version_was_recorded() {
    for (version, cut_off, changed) in
        [(SqlServerVersion::V2022, "13(The data", 11801), (SqlServerVersion::V2016, "38(Reached", 3183)]
    {
        let mut b = Bench::of(version);
        let (file, id) = (b.files()[6].clone(), b.log_in(COPY));
        let content = b.w.files.read(&file).unwrap();
        let text = format!("RESTORE LOG mgc FROM DISK = N'{file}' WITH NORECOVERY");
        b.w.files.write(&file, &content[..content.len() - 100]).unwrap();
        let out = b.send(COPY, id, &text);
        let [Event::Error(cause), Event::Error(end)] = &out[..] else { panic!("{out:?}") };
        assert_eq!((cause.number, cause.class, cause.state, end.number), (3203, 16, 1, 3013));
        assert!(cause.message.contains(cut_off), "{cause:?}");
        let mut other = content.clone();
        let middle = other.len() - 100;
        other[middle] ^= 1;
        b.w.files.write(&file, &other).unwrap();
        assert_eq!(b.errors(COPY, &text), vec![(changed, 16, 1), (3013, 16, 1)]);
    }
}

#[test]
fn a_standby_copy_without_its_undo_file_says_so_behind_3013() {
    let mut b = Bench::new(Scenario { standby: true, ..Scenario::default() });
    sql::lose_undo_file(&mut b.w, COPY).unwrap();
    for text in ["RESTORE DATABASE mgc WITH RECOVERY", "RESTORE DATABASE mgc WITH NORECOVERY"] {
        assert_eq!(b.errors(COPY, text), vec![(3013, 16, 1), (3441, 17, 1)], "{text}");
    }
    assert!(b.w.sql[COPY].databases["mgc"].standby);
}

#[test]
fn a_log_that_ends_at_the_redo_point_is_applied_again() {
    let mut b = Bench::new(Scenario::default());
    let file = b.files()[5].clone();
    let before = b.w.sql[COPY].databases["mgc"].redo.clone();
    assert_eq!(b.errors(COPY, &format!("RESTORE LOG mgc FROM DISK = N'{file}' WITH NORECOVERY")), vec![]);
    assert_eq!(b.w.sql[COPY].databases["mgc"].redo, before);
}

#[test]
fn a_file_holds_several_sets_and_some_of_them_are_empty() {
    let mut b = Bench::new(Scenario::default());
    let path = format!(r"{}\several.trn", b.w.scenario.data_centers[1].backup_share);
    for _ in 0..3 {
        let text = format!("BACKUP LOG mgc TO DISK = N'{path}' WITH NOINIT");
        assert_eq!(b.errors(LIVE, &text), vec![]);
    }
    let sets = sql::backup::sets(b.w.files.as_ref(), &path).unwrap();
    assert_eq!(sets.len(), 3);
    assert_eq!((sets[1].first_lsn, sets[2].first_lsn), (sets[1].last_lsn, sets[2].last_lsn));
    let positions = |rows: Vec<Vec<Cell>>| rows.into_iter().map(|r| r[5].clone()).collect::<Vec<_>>();
    let all = b.rows(LIVE, &format!("RESTORE HEADERONLY FROM DISK = N'{path}'"));
    assert_eq!(positions(all), [1, 2, 3].map(Cell::Int));
    let second = b.rows(LIVE, &format!("RESTORE HEADERONLY FROM DISK = N'{path}' WITH FILE = 2"));
    assert_eq!(positions(second), [2].map(Cell::Int));
    // One of the sets is damaged: the others can be read.
    let mut content = b.w.files.read(&path).unwrap();
    *content.last_mut().unwrap() ^= 1;
    b.w.files.write(&path, &content).unwrap();
    assert!(sql::backup::verify_set(b.w.files.as_ref(), &path, 2).is_ok());
    assert_eq!(sql::backup::verify_set(b.w.files.as_ref(), &path, 3).unwrap_err().number, 3183);
}

#[test]
fn a_database_that_restores_lets_nobody_in() {
    let mut b = Bench::new(Scenario::default());
    for text in ["USE mgc", "SELECT TOP (1) 1 FROM [mgc].dbo.tblChat"] {
        assert_eq!(b.errors(COPY, text), vec![(927, 14, 2)], "{text}");
    }
    assert_eq!(b.errors(COPY, "USE nowhere"), vec![(911, 16, 1)]);
}
