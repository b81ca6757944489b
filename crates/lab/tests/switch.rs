//! What a planned switch does to SQL Server: the end of mirroring, the tail of the log, and log backups that lead from one recovery fork
//! to the next.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::{COPY, LIVE};
use jiff::SignedDuration;
use lab::scenario::Scenario;
use lab::sql::{self, Database, ForkPoint};
use lab::tsql::{Cell, Event};
use lab::world::World;
use lab::world::journal::{Effect, Outcome};

const MIRROR: &str = "atl-sql-2.litwareinc.com";
const TAIL: &str = r"\\sea-fs-1\mgc-logs\tail.trn";
const NONE: [u32; 0] = [];
const PARTNER_OFF: &str = "ALTER DATABASE [mgc] SET PARTNER OFF";
const STATUS: &str = "SELECT first_recovery_fork_guid, recovery_fork_guid, fork_point_lsn \
     FROM sys.database_recovery_status WHERE database_id = DB_ID(N'mgc')";

struct Bench {
    w: World,
}

impl Bench {
    /// A world whose copy holds all log backups; nobody is connected but by a test.
    fn new() -> Bench {
        let scenario = Scenario { backups: 2, copied: 2, restored: 2, ..Scenario::default() };
        let mut w = common::world(scenario);
        for host in [LIVE, MIRROR, COPY] {
            sql::remove_log_shipping_by_hand(&mut w, host).unwrap();
        }
        Bench { w }
    }

    /// Chat has gone: nobody is in the live database.
    fn without_chat(mut self) -> Bench {
        lab::chat::set_active_by_hand(&mut self.w, &[]).unwrap();
        self.wait(5);
        assert!(self.w.sql[LIVE].sessions.is_empty());
        self
    }

    fn wait(&mut self, seconds: i64) {
        for _ in 0..seconds * 10 {
            let later = self.w.now + SignedDuration::from_millis(100);
            self.w.advance(later);
        }
    }

    fn send(&mut self, host: &str, text: &str) -> Vec<Event> {
        let id = common::log_in(&mut self.w, host);
        let out = self.send_as(host, id, text);
        sql::logout(&mut self.w, host, id);
        out
    }

    fn send_as(&mut self, host: &str, id: u32, text: &str) -> Vec<Event> {
        common::send(&mut self.w, host, id, text, vec![])
    }

    fn errors(&mut self, host: &str, text: &str) -> Vec<u32> {
        let out = self.send(host, text);
        out.iter().filter_map(|e| if let Event::Error(e) = e { Some(e.number) } else { None }).collect()
    }

    fn row(&mut self, host: &str, text: &str) -> Vec<Cell> {
        let out = self.send(host, text);
        let rows =
            out.iter().find_map(|e| if let Event::Rows { rows, .. } = e { Some(rows.clone()) } else { None });
        rows.unwrap_or_else(|| panic!("{text}\n{out:?}")).remove(0)
    }

    fn db(&self, host: &str) -> &Database {
        &self.w.sql[host].databases["mgc"]
    }

    /// Takes a log backup as a client; its header.
    fn log_backup(&mut self, host: &str, path: &str) -> sql::backup::BackupHeader {
        let text = format!("BACKUP LOG mgc TO DISK = N'{path}' WITH INIT, CHECKSUM");
        assert_eq!(self.errors(host, &text), NONE, "{text}");
        sql::backup::read(self.w.files.as_ref(), path).unwrap()
    }

    fn restore(&mut self, host: &str, path: &str) -> Vec<u32> {
        self.errors(host, &format!("RESTORE LOG mgc FROM DISK = N'{path}' WITH NORECOVERY"))
    }

    fn tail(&mut self) -> Vec<u32> {
        let text = format!(
            "BACKUP LOG [mgc] TO DISK = N'{TAIL}' WITH NORECOVERY, CHECKSUM, INIT, FORMAT, STATS = 25"
        );
        self.errors(LIVE, &text)
    }

    /// What `pcf-lab state` tells of a database.
    fn log_end(&self, host: &str) -> String {
        sql::state(&self.w)[host]["databases"][0]["logEnd"].as_str().unwrap().to_string()
    }

    /// The last entry of the journal that wrote.
    fn last_write(&self) -> (String, Outcome) {
        let entries = self.w.journal.entries();
        let entry = entries.iter().rev().find(|e| e.effect == Effect::Write).unwrap();
        (entry.name.clone(), entry.outcome.clone())
    }
}

#[test]
fn the_tail_of_a_log_leaves_its_database_restoring_and_the_copy_complete() {
    let mut b = Bench::new().without_chat();
    assert_eq!(b.errors(LIVE, PARTNER_OFF), NONE);
    let before = b.db(LIVE).clone();
    assert_ne!(b.log_end(LIVE), b.log_end(COPY));
    assert_eq!(b.tail(), NONE);
    let db = b.db(LIVE);
    assert_eq!((db.state, db.is_live()), (1, false));
    assert_eq!(db.redo, Some((before.log_end, before.fork.clone())));
    let set = sql::backup::read(b.w.files.as_ref(), TAIL).unwrap();
    assert_eq!((set.first_lsn, set.last_lsn), (before.log_backed_up, before.log_end));
    assert!(set.extra.tail && set.checksums);
    let headers = b.row(COPY, &format!("RESTORE HEADERONLY FROM DISK = N'{TAIL}'"));
    // Bits 16, 64 and 256 of Flags, beside the one of every set.
    assert!(headers.contains(&Cell::Int(512 + 16 + 64 + 256)), "{headers:?}");
    let msdb = "SELECT TOP (1) is_force_offline FROM msdb.dbo.backupset ORDER BY backup_set_id DESC";
    assert_eq!(b.row(LIVE, msdb), vec![Cell::Bit(true)]);
    // Nobody gets in any more, and nothing more can be backed up.
    assert_eq!(b.errors(LIVE, "USE mgc"), vec![927]);
    assert_eq!(b.tail(), vec![927, 3013]);
    assert_eq!(b.restore(COPY, TAIL), NONE);
    assert_eq!(b.log_end(LIVE), b.log_end(COPY));
}

#[test]
fn a_tail_is_refused_while_others_are_inside_or_the_database_is_mirrored() {
    let mut b = Bench::new();
    assert_eq!(b.tail(), vec![1468, 3013]);
    assert_eq!(b.errors(LIVE, PARTNER_OFF), NONE);
    // Chat is inside.
    assert_eq!(b.tail(), vec![3101, 3013]);
    let mut b = b.without_chat();
    let data = format!("BACKUP DATABASE mgc TO DISK = N'{TAIL}' WITH NORECOVERY");
    assert_eq!(b.errors(LIVE, &data), vec![3032, 3013]);
    let other = common::log_in(&mut b.w, LIVE);
    b.send_as(LIVE, other, "USE mgc");
    assert_eq!(b.tail(), vec![3101, 3013]);
    b.send_as(LIVE, other, "USE master; ALTER DATABASE mgc SET SINGLE_USER WITH ROLLBACK IMMEDIATE");
    assert_eq!(b.tail(), vec![3101, 3013]);
    assert!(b.db(LIVE).is_live());
    // Who has it for himself takes it.
    let own = format!("BACKUP LOG mgc TO DISK = N'{TAIL}' WITH NORECOVERY, INIT");
    let out = b.send_as(LIVE, other, &own);
    assert!(!out.iter().any(|e| matches!(e, Event::Error(_))), "{out:?}");
    assert_eq!((b.db(LIVE).state, b.db(LIVE).user_access), (1, 1));
}

#[test]
fn a_tail_that_cannot_be_written_leaves_its_database_live() {
    let mut b = Bench::new().without_chat();
    assert_eq!(b.errors(LIVE, PARTNER_OFF), NONE);
    b.w.sql.get_mut(LIVE).unwrap().disk_full = true;
    assert_eq!(b.tail(), vec![3202, 3013]);
    b.w.sql.get_mut(LIVE).unwrap().disk_full = false;
    b.w.lose("seattle").unwrap();
    assert_eq!(b.tail(), vec![3201, 3013]);
    assert!(b.db(LIVE).is_live());
    let standby = format!("BACKUP LOG mgc TO DISK = N'{TAIL}' WITH STANDBY = N'D:\\undo.bak'");
    let out = b.send(LIVE, &standby);
    assert!(matches!(&out[0], Event::Error(e) if e.message.contains("simulator")), "{out:?}");
}

#[test]
fn mirroring_ends_at_either_partner_and_leaves_the_mirror_restoring() {
    for host in [LIVE, MIRROR] {
        let mut b = Bench::new();
        b.wait(5);
        assert_eq!(b.log_end(LIVE), b.log_end(MIRROR));
        let end = b.db(LIVE).log_end;
        assert_eq!(b.errors(host, PARTNER_OFF), NONE);
        assert_eq!(b.last_write(), ("ALTER DATABASE".into(), Outcome::Ok));
        assert!(b.db(LIVE).is_live());
        let (principal, mirror) = (b.db(LIVE), b.db(MIRROR));
        assert!(principal.mirroring.is_none() && mirror.mirroring.is_none());
        assert_eq!((mirror.state, mirror.redo.as_ref()), (1, Some(&(end, mirror.fork.clone()))));
        // What a live database writes by itself stands in its own log only.
        assert!(principal.log_end > end);
        let row = b
            .row(host, "SELECT mirroring_guid FROM sys.database_mirroring WHERE database_id = DB_ID(N'mgc')");
        assert_eq!(row, vec![Cell::Null]);
        // It is on its own from now on.
        b.wait(5);
        assert_ne!(b.log_end(LIVE), b.log_end(MIRROR));
        for again in [LIVE, MIRROR] {
            assert_eq!(b.errors(again, PARTNER_OFF), vec![1416, 5069]);
        }
        assert_eq!(b.errors(LIVE, "ALTER DATABASE nowhere SET PARTNER OFF"), vec![5011, 5069]);
        assert!(sql::remove_mirror_by_hand(&mut b.w, "atlanta").is_err());
    }
}

#[test]
fn a_partner_that_is_down_learns_of_the_end_when_it_is_back() {
    let mut b = Bench::new();
    b.w.sql.get_mut(MIRROR).unwrap().down = true;
    b.wait(1);
    assert_eq!(b.errors(LIVE, PARTNER_OFF), NONE);
    b.wait(1);
    assert!(b.db(LIVE).mirroring.is_none() && b.db(MIRROR).mirroring.is_some());
    sql::start_sql(&mut b.w, MIRROR).unwrap();
    assert!(b.db(LIVE).is_live());
    assert_eq!((b.db(MIRROR).state, b.db(MIRROR).mirroring.is_some()), (1, false));
}

#[test]
fn a_recovered_database_says_where_it_forked_and_so_does_its_first_log_backup() {
    let mut b = Bench::new();
    let (lsn, old) = b.db(COPY).redo.clone().unwrap();
    assert_eq!(b.row(LIVE, STATUS), vec![Cell::Guid(old.clone()), Cell::Guid(old.clone()), Cell::Null]);
    assert_eq!(b.errors(COPY, "RESTORE DATABASE mgc WITH RECOVERY"), NONE);
    let new = b.db(COPY).fork.clone();
    assert_ne!(new, old);
    assert_eq!(b.db(COPY).forked, Some(ForkPoint { from: old.clone(), lsn }));
    assert_eq!(b.row(COPY, STATUS), vec![Cell::Guid(old.clone()), Cell::Guid(new.clone()), Cell::Lsn(lsn)]);
    let path = |n: u32| format!(r"F:\mgc-logs\{n}.trn");
    let first = b.log_backup(COPY, &path(1));
    assert_eq!((first.first_lsn, first.extra.fork_point), (lsn, Some(lsn)));
    assert_eq!((&first.first_fork, &first.last_fork), (&old, &new));
    let headers = b.row(COPY, &format!("RESTORE HEADERONLY FROM DISK = N'{}'", path(1)));
    assert!(headers.contains(&Cell::Guid(old.clone())) && headers.contains(&Cell::Guid(new.clone())));
    // The first LSN, those of the checkpoint and of the backup of data, and the fork point.
    assert_eq!(headers.iter().filter(|c| **c == Cell::Lsn(lsn)).count(), 4, "{headers:?}");
    let msdb = "SELECT TOP (1) fork_point_lsn FROM msdb.dbo.backupset ORDER BY backup_set_id DESC";
    assert_eq!(b.row(COPY, msdb), vec![Cell::Lsn(lsn)]);
    // Whatever comes later is on the new fork alone, also where a client takes it after a job has.
    let job = sql::take_log_backup(&mut b.w, COPY, "2026-03-01T13:00:00Z".parse().unwrap()).unwrap();
    let job = sql::backup::read(b.w.files.as_ref(), &job).unwrap();
    let third = b.log_backup(COPY, &path(3));
    for set in [&job, &third] {
        assert_eq!((&set.first_fork, &set.last_fork, set.extra.fork_point), (&new, &new, None));
    }
    assert_eq!((job.first_lsn, third.first_lsn), (first.last_lsn, job.last_lsn));
}

#[test]
fn the_old_primary_goes_on_from_its_tail_with_the_logs_of_the_new_one() {
    let mut b = Bench::new().without_chat();
    assert_eq!(b.errors(LIVE, PARTNER_OFF), NONE);
    assert_eq!(b.tail(), NONE);
    assert_eq!(b.restore(COPY, TAIL), NONE);
    assert_eq!(b.errors(COPY, "RESTORE DATABASE mgc WITH RECOVERY"), NONE);
    // By a job, as well as by a client.
    let now = b.w.now;
    let first = sql::take_log_backup(&mut b.w, COPY, now).unwrap();
    let second = r"F:\mgc-logs\second.trn";
    b.log_backup(COPY, second);
    // Before the first one, the second is too recent.
    assert_eq!(b.restore(LIVE, second), vec![4305, 3013]);
    assert_eq!(b.restore(LIVE, &first), NONE);
    let (old, new) = (b.db(LIVE).clone(), b.db(COPY).clone());
    assert_eq!((&old.fork, &old.forked), (&new.fork, &new.forked));
    assert_eq!(b.restore(LIVE, second), NONE);
    assert_eq!(b.log_end(LIVE), b.log_end(COPY));
    // The mirror that was left behind on the old fork lacks the tail: it takes them once it has that.
    assert_eq!(b.restore(MIRROR, &first), vec![4305, 3013]);
    assert_eq!(b.restore(MIRROR, TAIL), NONE);
    assert_eq!(b.restore(MIRROR, &first), NONE);
}

#[test]
fn who_has_gone_on_beyond_the_fork_point_or_elsewhere_is_refused() {
    let mut b = Bench::new();
    b.wait(5);
    assert_eq!(b.errors(LIVE, PARTNER_OFF), NONE);
    assert_eq!(b.errors(COPY, "RESTORE DATABASE mgc WITH RECOVERY"), NONE);
    let path = r"F:\mgc-logs\first.trn";
    let mut set = b.log_backup(COPY, path);
    // What was the mirror holds more of the old fork than the recovered copy ever had.
    assert!(b.db(MIRROR).redo.as_ref().unwrap().0 > set.extra.fork_point.unwrap());
    assert_eq!(b.restore(MIRROR, path), vec![4326, 3013]);
    // So it is for one that reaches further.
    set.last_lsn += 1_000_000_000;
    let write = |b: &mut Bench, set: &sql::backup::BackupHeader| {
        b.w.files.write(path, &sql::backup::encode(set, 1)).unwrap();
    };
    write(&mut b, &set);
    assert_eq!(b.restore(MIRROR, path), vec![4330, 3013]);
    // At the fork point, but on another fork.
    let point = set.extra.fork_point.unwrap();
    let mirror = b.w.sql.get_mut(MIRROR).unwrap().databases.get_mut("mgc").unwrap();
    let fork = mirror.fork.clone();
    mirror.redo = Some((point, "00000000-0000-0000-0000-000000000001".into()));
    assert_eq!(b.restore(MIRROR, path), vec![4330, 3013]);
    let redo = |b: &mut Bench, lsn: i128, fork: &str| {
        b.w.sql.get_mut(MIRROR).unwrap().databases.get_mut("mgc").unwrap().redo = Some((lsn, fork.into()));
    };
    // On the new fork already, in the middle of the set; on the old one, at the point itself or before.
    redo(&mut b, point + 1, &set.last_fork);
    assert_eq!(b.restore(MIRROR, path), NONE);
    redo(&mut b, point, &fork);
    assert_eq!(b.restore(MIRROR, path), NONE);
    set.first_lsn -= 100;
    write(&mut b, &set);
    redo(&mut b, point - 50, &fork);
    assert_eq!(b.restore(MIRROR, path), NONE);
}
