//! The simulated SQL Server understands every statement that the operator sends, and carries it out where it stands.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "common/product.rs"]
mod product;

use std::collections::BTreeMap;

use lab::scenario::Scenario;
use lab::sql::{self, SQL_PASSWORD, SQL_USER};
use lab::tsql::{Cell, Event, Progress, SqlMessage, batch};
use lab::world::World;
use lab::world::files::MemoryFiles;
use product::{Columns, Job, Move, SecondaryHalf, job_steps, script, statements};

const LIVE: &str = "atl-sql-1.litwareinc.com";
const COPY: &str = "sea-sql-1.litwareinc.com";
const LOCK: &str = "pcf chat.litwareinc.com";

/// A world with a session on two servers that holds the lock there.
struct Bench {
    w: World,
    sessions: BTreeMap<&'static str, u32>,
}

impl Bench {
    fn new(scenario: Scenario) -> Bench {
        let start = "2026-03-01T12:00:00Z".parse().unwrap();
        let mut w = World::new(scenario, Box::<MemoryFiles>::default(), start).unwrap();
        let sessions = [LIVE, COPY]
            .map(|host| (host, sql::login(&mut w, host, SQL_USER, SQL_PASSWORD, "host", "test").unwrap()));
        let mut bench = Bench { w, sessions: sessions.into() };
        for host in [LIVE, COPY] {
            bench.works(host, &statements::session(), &[]);
            assert_eq!(bench.rows(host, statements::LOCK, &[text(LOCK)]), vec![vec![Cell::Int(0)]]);
        }
        bench
    }

    fn usual() -> Bench {
        Bench::new(Scenario::default())
    }

    /// Everything that a batch sends back.
    fn send(&mut self, host: &str, batch: &str, parameters: &[Cell]) -> Vec<Event> {
        let id = self.sessions[host];
        let named = (1..).zip(parameters).map(|(n, v)| (format!("@P{n}"), v.clone())).collect();
        let mut out = Vec::new();
        match batch::begin(&mut self.w, host, id, batch, named) {
            Err(e) => out.push(Event::Error(e)),
            Ok(()) => {
                while let Progress::Until(at) = batch::step(&mut self.w, host, id, &mut out) {
                    self.w.advance(at);
                }
            }
        }
        self.w.advance(self.w.now);
        out
    }

    /// The errors of a batch; none of them may be that the simulator does not understand it.
    fn errors(&mut self, host: &str, batch: &str, parameters: &[Cell]) -> Vec<SqlMessage> {
        let out = self.send(host, batch, parameters);
        let errors = out.into_iter().filter_map(|e| if let Event::Error(e) = e { Some(e) } else { None });
        let errors: Vec<SqlMessage> = errors.collect();
        assert!(!errors.iter().any(|e| e.message.starts_with("simulator")), "{batch}\n{errors:#?}");
        errors
    }

    /// A batch that is carried out, and says so in the row that it ends in.
    fn works(&mut self, host: &str, batch: &str, parameters: &[Cell]) {
        let out = self.send(host, batch, parameters);
        let errors: Vec<&Event> = out.iter().filter(|e| matches!(e, Event::Error(_))).collect();
        assert!(errors.is_empty(), "{batch}\n{errors:#?}");
        assert_eq!(ending(&out), Some((0, Cell::Int(0))), "{batch}");
    }

    /// The rows of the one result set of a batch.
    fn rows(&mut self, host: &str, batch: &str, parameters: &[Cell]) -> Vec<Vec<Cell>> {
        let mut sets = self.send(host, batch, parameters).into_iter().map(|e| match e {
            Event::Rows { rows, .. } => rows,
            other => panic!("{batch}\n{other:?}"),
        });
        let rows = sets.next().unwrap_or_default();
        assert_eq!(sets.next(), None, "{batch}");
        rows
    }

    /// A column of the one row that a batch answers with.
    fn column(&mut self, host: &str, batch: &str, parameters: &[Cell], column: &str) -> Cell {
        let out = self.send(host, batch, parameters);
        let [Event::Rows { columns, rows, .. }] = &out[..] else { panic!("{batch}\n{out:?}") };
        let at = columns.iter().position(|(name, _)| name == column).unwrap();
        let [row] = &rows[..] else { panic!("{batch}\n{rows:?}") };
        row[at].clone()
    }

    /// The share and the folder of the copy.
    fn folders(&self) -> [String; 2] {
        let s = &self.w.scenario;
        let d = s.opposite(&s.active).unwrap();
        [d.backup_share.clone(), d.copy_folder.clone()]
    }

    /// LSN and recovery fork that roll forward goes on at.
    fn redo(&self) -> [Cell; 2] {
        let (lsn, fork) = self.w.sql[COPY].databases["mgc"].redo.clone().unwrap();
        [text(&lsn.to_string()), text(&fork)]
    }

    /// Id of the job whose name begins so.
    fn job(&self, host: &str, name: &str) -> Cell {
        text(&self.w.sql[host].jobs.iter().find(|j| j.name.starts_with(name)).unwrap().id)
    }

    fn last_log_backup_lsn(&mut self, host: &str) -> Cell {
        self.column(host, statements::DATABASE, &[text("mgc")], "last_log_backup_lsn")
    }
}

/// The row that a batch ends in: error, and what a procedure returned.
fn ending(out: &[Event]) -> Option<(i64, Cell)> {
    let Some(Event::Rows { columns, rows, .. }) = out.last() else { return None };
    match (columns.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().as_slice(), &rows[..]) {
        (["error", "returned"], [row]) => match &row[..] {
            [Cell::Int(error), returned] => Some((*error, returned.clone())),
            other => panic!("{other:?}"),
        },
        _ => None,
    }
}

fn text(s: &str) -> Cell {
    Cell::Text(s.into())
}

fn texts<const N: usize>(all: [&str; N]) -> [Cell; N] {
    all.map(text)
}

#[test]
fn every_statement_is_on_the_list_of_its_module() {
    let listed: Vec<String> = statements::listed().into_iter().map(|l| l.name).collect();
    let all = include_str!("../src/systems/sql_server/statements.rs");
    let names = all.lines().filter_map(|line| {
        let declared = line.strip_prefix("pub const ").or_else(|| line.strip_prefix("pub fn "))?;
        declared.split([':', '(']).next()
    });
    // What texts are made of, and the list itself.
    let other = ["ENDING", "ended", "GUARDS", "SCHEDULE_NUMBERS", "listed", "quote_name", "quote_string"];
    for name in names.filter(|n| !other.contains(n)) {
        assert!(listed.iter().any(|l| l.split('(').next() == Some(name)), "{name} is not listed");
    }
}

#[test]
fn no_statement_is_left_out_here() {
    let all = include_str!("../src/systems/sql_server/statements.rs");
    let here = include_str!("statements.rs");
    let names = all.lines().filter_map(|line| {
        let declared = line.strip_prefix("pub const ").or_else(|| line.strip_prefix("pub fn "))?;
        declared.split([':', '(']).next()
    });
    let names: Vec<&str> = names.collect();
    assert!(names.len() > 30, "{names:?}");
    // What others consist of.
    for name in names.into_iter().filter(|n| !["ENDING", "ended", "GUARDS", "Listed"].contains(n)) {
        assert!(here.contains(&format!("statements::{name}")), "{name} is not sent to the lab");
    }
}

#[test]
fn what_is_read_of_a_server_is_read_on_either_side() {
    let mut b = Bench::usual();
    let [_, folder] = b.folders();
    let file = format!(r"{folder}\{}", b.w.files.list(&folder).unwrap()[0].0);
    for host in [LIVE, COPY] {
        let mgc = [text("mgc")];
        for (statement, parameters) in [
            (statements::IDENTITY, vec![]),
            (statements::DATABASE, mgc.to_vec()),
            (statements::HEADERS, vec![text(&file)]),
            (statements::LABEL, vec![text(&file)]),
            (statements::FILE_LIST, vec![text(&file), Cell::Int(1)]),
            (statements::INSTANCE_FILES, mgc.to_vec()),
            (statements::FOLDER_LISTING, vec![text(&folder)]),
            (statements::OWN_BACKUPS, mgc.to_vec()),
            (statements::LOCK_HOLDER, vec![text(LOCK)]),
            (statements::RECORD_TABLE, vec![]),
            (statements::HELD, vec![text(LOCK)]),
        ] {
            // A copy takes no backups, and what is live has no redo point.
            let empty = match host {
                COPY => statement == statements::OWN_BACKUPS,
                _ => statement == statements::REDO,
            };
            assert_eq!(b.rows(host, statement, &parameters).is_empty(), empty, "{statement}");
        }
        b.rows(host, statements::RUNNING, &mgc);
        // What does not restore has no file that roll forward would go on from.
        assert_eq!(b.rows(host, statements::REDO, &mgc).is_empty(), host == LIVE);
        b.rows(host, statements::SESSIONS, &mgc);
        b.rows(host, statements::RESTORE_HISTORY, &mgc);
    }
    assert!(!b.rows(LIVE, &statements::orphaned_users("mgc"), &[]).is_empty());
    assert!(!b.rows(LIVE, &statements::server_identities("mgc"), &[]).is_empty());
    assert!(!b.rows(LIVE, &statements::newest_message("mgc"), &[]).is_empty());
    let all = b.rows(LIVE, &statements::messages_since("mgc", 2), &[Cell::Int(0)]);
    let [channel, id, date] = &all[0][..] else { panic!("{all:?}") };
    let range = [channel.clone(), id.clone(), id.clone()];
    let found = b.rows(LIVE, &statements::messages_of_a_channel("mgc", 2), &range);
    assert_eq!(found, [[id.clone(), date.clone()]]);
}

#[test]
fn both_halves_of_log_shipping_are_read_with_their_jobs() {
    let mut b = Bench::usual();
    let mgc = [text("mgc")];
    assert_eq!(b.rows(LIVE, statements::PRIMARY_HALF, &mgc).len(), 1);
    assert_eq!(
        b.rows(LIVE, statements::PRIMARY_SECONDARIES, &mgc),
        vec![vec![text(r"SEA-SQL-1\CHAT"), text("mgc")]]
    );
    assert_eq!(b.rows(LIVE, statements::SECONDARY_HALF, &mgc), Vec::<Vec<Cell>>::new());
    assert_eq!(b.rows(COPY, statements::SECONDARY_HALF, &mgc).len(), 1);
    let [copy, restore, backup] =
        [(COPY, "LSCopy"), (COPY, "LSRestore"), (LIVE, "LSBackup")].map(|(host, name)| b.job(host, name));
    assert_eq!(b.rows(COPY, statements::SCHEDULES, std::slice::from_ref(&copy)).len(), 1);
    // A job that is only called so is among them, with its own category; one of another name is not.
    sql::foreign_job(&mut b.w, COPY, "LSBackup_mgc").unwrap();
    sql::foreign_job(&mut b.w, COPY, "Nightly").unwrap();
    let jobs = b.rows(COPY, statements::JOBS, &[copy, restore, backup]);
    let shown: Vec<(String, String, Vec<Cell>)> = jobs
        .into_iter()
        .map(|row| match &row[..] {
            [
                _,
                Cell::Text(name),
                enabled,
                Cell::Text(category),
                scheduled,
                running,
                Cell::Null,
                Cell::Null,
            ] => (name.clone(), category.clone(), vec![enabled.clone(), scheduled.clone(), running.clone()]),
            other => panic!("{other:?}"),
        })
        .collect();
    let row = |name: &str, category: &str, flags: [i64; 3]| {
        (name.to_string(), category.to_string(), flags.map(Cell::Int).to_vec())
    };
    assert_eq!(
        shown,
        vec![
            row("LSBackup_mgc", "[Uncategorized (Local)]", [0, 0, 0]),
            row(r"LSCopy_ATL-SQL-1\CHAT_mgc", "Log Shipping Copy", [1, 1, 0]),
            row(r"LSRestore_ATL-SQL-1\CHAT_mgc", "Log Shipping Restore", [1, 1, 0]),
        ]
    );
}

#[test]
fn where_the_next_log_backup_begins_is_told_of_a_database_whose_log_can_be_backed_up() {
    let mut b = Bench::usual();
    assert_eq!(b.last_log_backup_lsn(COPY), Cell::Null);
    let before = b.last_log_backup_lsn(LIVE);
    let now = b.w.now;
    let path = sql::take_log_backup(&mut b.w, LIVE, now).unwrap();
    let set = sql::backup::read(b.w.files.as_ref(), &path).unwrap();
    assert_eq!(before, Cell::Lsn(set.first_lsn));
    assert_eq!(b.last_log_backup_lsn(LIVE), Cell::Lsn(set.last_lsn));
    sql::foreign_database_by_hand(&mut b.w, "atl-sql-2.litwareinc.com").unwrap();
    sql::break_log_chain_by_hand(&mut b.w, LIVE).unwrap();
    assert_eq!(b.last_log_backup_lsn(LIVE), Cell::Null);
    let redo = b.redo();
    b.works(COPY, &statements::recover(), &[text(LOCK), text("mgc"), redo[0].clone(), redo[1].clone()]);
    let Cell::Lsn(next) = b.last_log_backup_lsn(COPY) else { panic!("it goes on with its log") };
    assert_eq!(redo[0], text(&next.to_string()));
}

#[test]
fn the_lock_is_taken_held_and_given_back() {
    let mut b = Bench::usual();
    let lock = [text(LOCK)];
    assert_eq!(b.rows(COPY, statements::HELD, &lock), vec![texts(["Exclusive"]).to_vec()]);
    b.send(COPY, "EXEC sys.sp_releaseapplock @Resource = @P1, @LockOwner = N'Session';", &lock);
    assert_eq!(b.rows(COPY, statements::HELD, &lock), vec![texts(["NoLock"]).to_vec()]);
    // And no effect goes without it.
    let job = b.job(COPY, "LSCopy");
    let [error] = &b.errors(COPY, &statements::start_job(), &[text(LOCK), job])[..] else { panic!() };
    assert!(error.number == 50000 && statements::GUARDS.contains(&error.state), "{error:?}");
}

#[test]
fn the_record_is_written_and_written_again() {
    let mut b = Bench::usual();
    for document in ["{}", "{\"a\": 1}"] {
        b.works(COPY, &statements::write_record(), &record_of("t-1", document, 1, "Failover Backup open"));
        let rows = b.rows(COPY, statements::RECORDS, &[text("chat.litwareinc.com")]);
        assert_eq!(rows, vec![vec![text("t-1"), Cell::Int(1), text(document)]]);
    }
    assert_eq!(b.rows(COPY, statements::RECORD_TABLE, &[]), vec![vec![Cell::Int(1)]]);
}

/// What a record is written with.
fn record_of(id: &str, document: &str, number: i32, kind: &str) -> Vec<Cell> {
    let [lock, pool] = [LOCK, "chat.litwareinc.com"].map(text);
    vec![lock, pool, text(id), Cell::Int(1), text(document), Cell::Int(number.into()), text(kind)]
}

#[test]
fn the_last_record_of_each_kind_is_read_however_many_have_come_since() {
    let mut b = Bench::usual();
    b.works(COPY, &statements::write_record(), &record_of("old", "{}", 0, "Failover Backup completed"));
    b.works(COPY, &statements::write_record(), &record_of("last", "{}", 1, "Failover Backup completed"));
    for n in 2..30 {
        let of = record_of(&format!("align-{n}"), "{}", n, "Align Backup completed");
        b.works(COPY, &statements::write_record(), &of);
    }
    let rows = b.rows(COPY, statements::RECORDS, &[text("chat.litwareinc.com")]);
    let expected: Vec<String> = (19..30).rev().map(|n| format!("align-{n}")).chain(["last".into()]).collect();
    let read: Vec<Cell> = rows.iter().map(|r| r[0].clone()).collect();
    assert_eq!(read, expected.iter().map(|id| text(id)).collect::<Vec<_>>());
}

#[test]
fn log_shipping_is_removed() {
    for ignore_monitor in [false, true] {
        let mut b = Bench::usual();
        let job = b.job(COPY, "LSCopy");
        b.works(COPY, &statements::enable_job(false), &[text(LOCK), job.clone()]);
        b.works(COPY, &statements::start_job(), &[text(LOCK), job.clone()]);
        b.works(COPY, &statements::stop_job(), &[text(LOCK), job]);
        let remove = statements::remove_log_shipping(ignore_monitor);
        b.works(COPY, &remove, &[text(LOCK), text("mgc")]);
        assert!(b.w.sql[COPY].log_shipping.is_empty());
        let again: Vec<u32> =
            b.errors(COPY, &remove, &[text(LOCK), text("mgc")]).iter().map(|e| e.number).collect();
        assert_eq!(again, vec![32014]);
        let out = b.send(COPY, &remove, &[text(LOCK), text("mgc")]);
        // What the procedure returned is told beside the error.
        assert_eq!(ending(&out).map(|(_, returned)| returned), Some(Cell::Int(1)));
    }
}

#[test]
fn a_log_backup_is_applied_and_the_copy_recovered() {
    for checksum in [false, true] {
        let mut b = Bench::usual();
        let [_, folder] = b.folders();
        let name = b.w.files.list(&folder).unwrap()[6].0.clone();
        let [lsn, fork] = b.redo();
        let file = text(&format!(r"{folder}\{name}"));
        let parameters = [text(LOCK), text("mgc"), lsn, fork, file, Cell::Int(1)];
        b.works(COPY, &statements::restore_log(checksum, 1, 0), &parameters);
        let [error] = &b.errors(COPY, &statements::restore_log(checksum, 1, 0), &parameters)[..] else {
            panic!()
        };
        assert!(error.number == 50000 && statements::GUARDS.contains(&error.state), "{error:?}");
        assert!(error.message.ends_with("the redo point of the database has moved"), "{error:?}");
        let [lsn, fork] = b.redo();
        b.works(COPY, &statements::recover(), &[text(LOCK), text("mgc"), lsn, fork]);
        assert_eq!(b.w.sql[COPY].databases["mgc"].state, 0);
        b.works(COPY, &statements::set_multi_user("mgc"), &[text(LOCK)]);
        b.works(COPY, &statements::map_user("mgc", "RTCComponentService"), &[text(LOCK)]);
        assert!(
            b.w.sql[COPY].databases["mgc"]
                .users
                .iter()
                .any(|(n, known)| n == "RTCComponentService" && *known)
        );
    }
}

/// The numbers of errors.
fn numbers(errors: &[SqlMessage]) -> Vec<u32> {
    errors.iter().map(|e| e.number).collect()
}

#[test]
fn a_log_backup_that_adds_a_file_is_restored_with_a_move() {
    let mut b = Bench::usual();
    sql::add_file_by_hand(&mut b.w, LIVE, "more", r"D:\Added\more.ndf").unwrap();
    // What was backed up before comes first.
    let [share, _] = b.folders();
    let restored = usize::try_from(b.w.scenario.restored).unwrap();
    for (name, _) in b.w.files.list(&share).unwrap().split_off(restored) {
        let [lsn, fork] = b.redo();
        let file = text(&format!(r"{share}\{name}"));
        let parameters = [text(LOCK), text("mgc"), lsn, fork, file, Cell::Int(1)];
        b.works(COPY, &statements::restore_log(false, 1, 0), &parameters);
    }
    let now = b.w.now;
    let path = sql::take_log_backup(&mut b.w, LIVE, now).unwrap();
    let listed = b.rows(COPY, statements::FILE_LIST, &[text(&path), Cell::Int(1)]);
    assert_eq!(listed.len(), 3);
    let [lsn, fork] = b.redo();
    let mut parameters = vec![text(LOCK), text("mgc"), lsn, fork, text(&path), Cell::Int(1)];
    let refused = b.errors(COPY, &statements::restore_log(false, 1, 0), &parameters);
    assert_eq!(numbers(&refused), [5133, 3156, 3119, 3013]);
    // Where another file is it cannot lie, and a file that is none of the set's cannot be moved.
    for (name, to, number) in [("more", r"f:\data\MGC.mdf", 1834), ("else", r"F:\Data\more.ndf", 3234)] {
        let moved: Vec<Cell> = parameters.iter().cloned().chain(texts([name, to])).collect();
        let refused = b.errors(COPY, &statements::restore_log(false, 1, 1), &moved);
        assert_eq!(refused.first().map(|e| e.number), Some(number), "{refused:?}");
    }
    parameters.extend(texts(["more", r"F:\Data\more.ndf"]));
    b.works(COPY, &statements::restore_log(false, 1, 1), &parameters);
    let own: Vec<Vec<Cell>> = b.rows(COPY, statements::INSTANCE_FILES, &[text("mgc")]);
    let own: Vec<&Cell> = own.iter().filter(|r| r[0] == Cell::Int(1)).map(|r| &r[3]).collect();
    assert_eq!(own, [&text(r"F:\Data\mgc.mdf"), &text(r"G:\Log\mgc_log.ldf"), &text(r"F:\Data\more.ndf")]);
}

#[test]
fn a_single_user_that_holds_the_database_is_ended() {
    let mut b = Bench::usual();
    let [lsn, fork] = b.redo();
    b.works(COPY, &statements::recover(), &[text(LOCK), text("mgc"), lsn, fork]);
    let other = sql::login(&mut b.w, COPY, SQL_USER, SQL_PASSWORD, "somebody", "ssms").unwrap();
    let copy = b.w.sql.get_mut(COPY).unwrap();
    copy.sessions.get_mut(&other).unwrap().database = "mgc".into();
    copy.databases.get_mut("mgc").unwrap().user_access = 1;
    let out =
        b.send(COPY, "ALTER DATABASE [mgc] SET MULTI_USER; SELECT @@ERROR AS error, 0 AS returned;", &[]);
    let numbers: Vec<u32> =
        out.iter().filter_map(|e| if let Event::Error(e) = e { Some(e.number) } else { None }).collect();
    assert_eq!((numbers, ending(&out)), (vec![5064, 5069], Some((5069, Cell::Int(0)))));
    b.works(COPY, &statements::set_multi_user("mgc"), &[text(LOCK)]);
    assert_eq!(b.w.sql[COPY].databases["mgc"].user_access, 0);
    assert!(!sql::session_alive(&b.w, COPY, other));
}

#[test]
fn the_tail_of_a_log_is_taken_once_of_what_is_no_mirror_and_is_undone() {
    let mut b = Bench::new(Scenario { drain_ms: u64::MAX, ..Scenario::default() });
    // Chat is inside.
    let later = b.w.now + jiff::SignedDuration::from_secs(5);
    b.w.advance(later);
    assert!(b.w.sql[LIVE].sessions.values().any(|s| s.database == "mgc"));
    lab::chat::set_active_by_hand(&mut b.w, &[]).unwrap();
    let live = |b: &Bench| b.w.sql[LIVE].databases["mgc"].clone();
    let path = format!(r"{}\tail.trn", b.folders()[0]);
    let fork = text(&live(&b).fork);
    let [lock, mgc, path] = [LOCK, "mgc", &path].map(text);
    let tail = [lock.clone(), mgc.clone(), fork.clone(), path.clone()];
    let refused = |b: &mut Bench, parameters: &[Cell]| {
        let [error] = &b.errors(LIVE, &statements::take_tail(), parameters)[..] else { panic!() };
        assert!(error.number == 50000 && statements::GUARDS.contains(&error.state), "{error:?}");
        assert!(live(b).is_live());
    };
    refused(&mut b, &tail);
    b.works(LIVE, &statements::remove_mirroring("mgc"), std::slice::from_ref(&lock));
    assert!(live(&b).mirroring.is_none());
    refused(&mut b, &[lock.clone(), mgc.clone(), text("00000000-0000-0000-0000-000000000000"), path.clone()]);
    let ends = live(&b).log_end;
    b.works(LIVE, &statements::take_tail(), &tail);
    assert_eq!((live(&b).state, live(&b).redo.clone()), (1, Some((ends, live(&b).fork))));
    let Cell::Text(file) = &path else { panic!() };
    let set = sql::backup::read(b.w.files.as_ref(), file).unwrap();
    assert_eq!((set.last_lsn, set.checksums), (ends, true));
    // And not twice.
    let [error] = &b.errors(LIVE, &statements::take_tail(), &tail)[..] else { panic!() };
    assert_eq!(error.number, 50000, "{error:?}");
    b.works(LIVE, &statements::bring_back_online(), &[lock.clone(), mgc.clone()]);
    assert!(live(&b).is_live() && live(&b).log_end > ends);
    let [error] = &b.errors(LIVE, &statements::bring_back_online(), &[lock, mgc])[..] else { panic!() };
    assert_eq!(error.number, 50000, "{error:?}");
}

#[test]
fn a_standby_copy_waits_for_logs_again() {
    let mut b = Bench::new(Scenario { standby: true, ..Scenario::default() });
    b.works(COPY, &statements::leave_standby(), &[text(LOCK), text("mgc")]);
    let db = &b.w.sql[COPY].databases["mgc"];
    assert_eq!((db.state, db.standby), (1, false));
}

/// Both halves are set up anew after somebody removed them: what the operator sends to protect a side.
fn set_up(b: &mut Bench) {
    for host in [LIVE, COPY] {
        sql::remove_log_shipping_by_hand(&mut b.w, host).unwrap();
    }
    let [share, folder] = b.folders();
    let mut primary = texts([LOCK, "mgc", &share, &share, "LSBackup_mgc"]).to_vec();
    primary.extend([4320, 60, 5760].map(Cell::Int));
    b.works(LIVE, &statements::add_primary_half(), &primary);
    b.works(LIVE, &statements::add_primary_secondary(), &texts([LOCK, "mgc", r"SEA-SQL-1\CHAT", "mgc"]));
    let mut secondary =
        texts([LOCK, r"ATL-SQL-1\CHAT", "mgc", &share, &folder, "LSCopy_x", "LSRestore_x"]).to_vec();
    secondary.extend([Cell::Int(4320), text("mgc")]);
    secondary.extend([0, 1, 0, 0, 45, 5760].map(Cell::Int));
    b.works(COPY, &statements::add_secondary_half(), &secondary);
}

#[test]
fn log_shipping_is_set_up() {
    let mut b = Bench::usual();
    set_up(&mut b);
    let i = &b.w.sql[COPY];
    assert_eq!(i.log_shipping[0].databases.len(), 1);
    for (host, name) in [(LIVE, "LSBackup"), (COPY, "LSCopy"), (COPY, "LSRestore")] {
        let job = b.job(host, name);
        let mut schedule = vec![text(LOCK), job.clone(), text("log shipping")];
        schedule.extend(statements::SCHEDULE_NUMBERS.map(|(_, n)| Cell::Int(n.into())));
        b.works(host, &statements::add_schedule(), &schedule);
        b.works(host, &statements::enable_job(true), &[text(LOCK), job.clone()]);
        b.works(host, &statements::start_job(), &[text(LOCK), job]);
    }
    assert_eq!(b.redo()[0], text(&b.w.sql[LIVE].databases["mgc"].log_backed_up.to_string()));
}

/// Runs a text as a job of ours until it is over: how it ended, and what it said.
fn run(b: &mut Bench, host: &str, name: &str, job: String) -> (Cell, Cell) {
    let told = [text(LOCK), text(name), text("of a test"), text(&job)];
    b.works(host, &statements::run_job(), &told);
    b.w.advance(b.w.now + jiff::SignedDuration::from_millis(10));
    // While it runs nobody makes it anew.
    let [error] = &b.errors(host, &statements::run_job(), &told)[..] else { panic!() };
    assert!(error.number == 50000 && statements::GUARDS.contains(&error.state), "{error:?}");
    for _ in 0..600 {
        b.w.advance(b.w.now + jiff::SignedDuration::from_millis(100));
    }
    let jobs = b.rows(host, statements::JOBS, &[text(""), text(""), text("")]);
    let row = jobs.into_iter().find(|row| row[1] == text(name)).unwrap();
    b.works(host, &statements::delete_job(), &[text(LOCK), text(name)]);
    assert!(!b.w.sql[host].jobs.iter().any(|j| j.name == name));
    (row[6].clone(), row[7].clone())
}

#[test]
fn a_copy_is_seeded_by_jobs_that_tell_how_they_ended_and_are_deleted() {
    for copy_only in [true, false] {
        let mut b = Bench::usual();
        let path = format!(r"{}\seed.bak", b.folders()[0]);
        let (status, said) =
            run(&mut b, LIVE, "PCF_backup_1", job_steps::full_backup("mgc", &path, copy_only));
        assert_eq!(status, Cell::Int(1), "{said:?}");
        let files = b.rows(COPY, statements::FILE_LIST, &[text(&path), Cell::Int(1)]);
        let moves: Vec<Move> = files
            .iter()
            .zip([r"F:\Data\mgc.mdf", r"G:\Log\mgc.ldf"])
            .map(|(row, to)| match &row[0] {
                Cell::Text(name) => Move { name: name.clone(), path: to.into() },
                other => panic!("{other:?}"),
            })
            .collect();
        let seed = |replace| job_steps::seed("mgc", &path, &moves, replace);
        // Not over one that is open.
        b.w.sql.get_mut(COPY).unwrap().databases.get_mut("mgc").unwrap().state = 0;
        let (status, said) = run_quick(&mut b, COPY, "PCF_restore_1", seed(true));
        assert!(status == Cell::Int(0) && format!("{said:?}").contains("the database is open"), "{said:?}");
        b.w.sql.get_mut(COPY).unwrap().databases.get_mut("mgc").unwrap().state = 1;
        let (status, said) = run(&mut b, COPY, "PCF_restore_1", seed(true));
        assert_eq!(status, Cell::Int(1), "{said:?}");
        assert_eq!(b.redo()[1], text(&b.w.sql[LIVE].databases["mgc"].fork));
    }
}

/// The same for a text that is over at once.
fn run_quick(b: &mut Bench, host: &str, name: &str, job: String) -> (Cell, Cell) {
    b.works(host, &statements::run_job(), &[text(LOCK), text(name), text("of a test"), text(&job)]);
    for _ in 0..10 {
        b.w.advance(b.w.now + jiff::SignedDuration::from_millis(100));
    }
    let jobs = b.rows(host, statements::JOBS, &[text(""), text(""), text("")]);
    let row = jobs.into_iter().find(|row| row[1] == text(name)).unwrap();
    (row[6].clone(), row[7].clone())
}

#[test]
fn the_second_half_of_a_set_up_does_not_follow_a_first_that_failed() {
    let mut b = Bench::usual();
    sql::remove_log_shipping_by_hand(&mut b.w, COPY).unwrap();
    sql::foreign_job(&mut b.w, COPY, "LSCopy_x").unwrap();
    let mut secondary = texts([LOCK, "a", "mgc", "s", "f", "LSCopy_x", "LSRestore_x"]).to_vec();
    secondary.extend([Cell::Int(4320), text("mgc")]);
    secondary.extend([0, 1, 0, 0, 45, 5760].map(Cell::Int));
    let numbers: Vec<u32> =
        b.errors(COPY, &statements::add_secondary_half(), &secondary).iter().map(|e| e.number).collect();
    assert_eq!(numbers, vec![32022]);
    assert!(b.w.sql[COPY].log_shipping.is_empty());
}

#[test]
fn the_script_for_a_person_sets_the_secondary_half_up() {
    let mut b = Bench::usual();
    let saved = b.w.sql[COPY].log_shipping[0].clone();
    let out = b.send(COPY, statements::SECONDARY_HALF, &[text("mgc")]);
    let [Event::Rows { columns, rows, .. }] = &out[..] else { panic!("{out:?}") };
    let shown = |c: &Cell| match c {
        Cell::Int(n) => Some(n.to_string()),
        Cell::Text(s) => Some(s.clone()),
        Cell::Null => None,
        other => panic!("{other:?}"),
    };
    let columns: Columns =
        columns.iter().zip(&rows[0]).filter_map(|((name, _), c)| Some((name.clone(), shown(c)?))).collect();
    let schedule = Columns::from([("name".to_string(), statements::quote_name("it's"))]);
    let half = SecondaryHalf {
        columns,
        schedules: [&saved.copy_job, &saved.restore_job]
            .map(|id| (id.clone(), vec![schedule.clone()]))
            .into(),
    };
    let jobs: Vec<Job> = vec![];
    sql::remove_log_shipping_by_hand(&mut b.w, COPY).unwrap();
    let script = script(&half, &jobs, "mgc");
    assert!(script.contains(&statements::quote_string(&saved.source)));
    assert_eq!(b.errors(COPY, &script, &[]), vec![]);
    let i = &b.w.sql[COPY];
    let new = &i.log_shipping[0];
    assert_eq!((&new.source, &new.destination), (&saved.source, &saved.destination));
    assert!(i.jobs.iter().all(|j| j.enabled && j.schedules.len() == 1), "{:?}", i.jobs);
}
