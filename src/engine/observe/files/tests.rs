//! What a look makes of slow files, refused ones, and folders that are not listed whole.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::domain::backups::{Lsn, RedoPoint};
use crate::domain::lync::JobState;
use crate::domain::pool::{
    Authentication, ConsentPolicy, DataCenter, Folder, ManagementShell, Policy, Pool, SqlServer, Tls,
    WhenActiveAnswers,
};
use crate::domain::side::Sides;
use crate::domain::sql_server::{Database, DatabaseState};
use crate::domain::transition::DetachedJob;
use crate::engine::Pace;
use crate::systems::management_shell::{Cmdlet, Shell, ShellError, ShellOutput};
use crate::systems::sql_server::{Cell, Parameter, Rows, ServerError, SqlSession, Statement, statements};

/// What there is.
struct There {
    now: Timestamp,
    /// Files of the share as its mount shows them.
    mounted: Vec<String>,
    /// The same as SQL Server sees them.
    seen: Vec<String>,
    /// Files whose header takes longer than anybody waits.
    slow: Vec<String>,
    /// Files that hold no backup.
    other: Vec<String>,
    /// Headers that were asked for.
    asked: Vec<String>,
}

#[derive(Clone)]
struct Fake(Arc<Mutex<There>>);

impl Fake {
    fn of(files: impl IntoIterator<Item = String>) -> Fake {
        let files: Vec<String> = files.into_iter().collect();
        Fake(Arc::new(Mutex::new(There {
            now: Timestamp::UNIX_EPOCH,
            mounted: files.clone(),
            seen: files,
            slow: vec![],
            other: vec![],
            asked: vec![],
        })))
    }
    fn with<T>(&self, f: impl FnOnce(&mut There) -> T) -> T {
        f(&mut self.0.lock().unwrap())
    }
    async fn look(&self, cache: &Cache) -> Folders {
        let (pool, instance) = (pool(), instance());
        let world = World {
            systems: self,
            pool: &pool,
            clock: self,
            pace: Pace { silence: SignedDuration::ZERO, poll: Duration::ZERO },
        };
        self.with(|t| t.asked.clear());
        look_at_folders(&world, (Side::Backup, false), &instance, cache).await.unwrap().unwrap()
    }
    /// A row of `RESTORE HEADERONLY`: a log backup of the LSNs that its name ends in.
    fn header(name: &str) -> Rows {
        let first: i128 = name.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0);
        let columns = [
            ("BackupType", Cell::Int(2)),
            ("Position", Cell::Int(1)),
            ("DatabaseName", Cell::Text("mgc".into())),
            ("ServerName", Cell::Text("A".into())),
            ("FamilyGUID", Cell::Guid("FAM".into())),
            ("FirstLSN", Cell::Numeric(first)),
            ("LastLSN", Cell::Numeric(first + 1)),
            ("FirstRecoveryForkID", Cell::Guid("F".into())),
            ("RecoveryForkID", Cell::Guid("F".into())),
            ("BackupStartDate", Cell::DateTime(jiff::civil::date(2026, 11, 23).at(9, 30, 0, 0))),
            ("BackupFinishDate", Cell::Null),
            ("HasBackupChecksums", Cell::Null),
            ("IsDamaged", Cell::Bool(false)),
            ("HasIncompleteMetaData", Cell::Bool(true)),
            ("IsForceOffline", Cell::Null),
            ("BackupSetGUID", Cell::Null),
            ("ForkPointLSN", Cell::Null),
        ];
        let (columns, row) = columns.map(|(n, c)| (n.to_string(), c)).into_iter().unzip();
        Rows { columns, rows: vec![row] }
    }
}

impl Clock for Fake {
    fn now(&self) -> Timestamp {
        self.with(|t| t.now)
    }
    async fn sleep(&self, _: Duration) {}
}

impl SqlSession for Fake {
    async fn send(&mut self, s: &Statement, _: Option<Duration>) -> Result<Rows, SqlError> {
        let Some(Parameter::Text(path)) = s.parameters.first() else { panic!("{}", s.text) };
        let name = path.rsplit('\\').next().unwrap().to_string();
        // Without the row that every look ends in.
        let asked = s.text.strip_suffix(statements::ENDING).unwrap_or(&s.text);
        self.with(|t| match asked {
            statements::FOLDER_LISTING => {
                let names = if path.contains("share") { t.seen.clone() } else { vec![] };
                let row = |n| vec![Cell::Text(n), Cell::Int(1), Cell::Int(1)];
                let columns = ["subdirectory", "depth", "file"].map(String::from).to_vec();
                Ok(Rows { columns, rows: names.into_iter().map(row).collect() })
            }
            statements::HEADERS => {
                t.asked.push(name.clone());
                let is_slow = t.slow.contains(&name);
                t.now += SignedDuration::from_secs(if is_slow { 20 } else { 1 });
                if is_slow {
                    return Err(SqlError::Lost("nothing within 20 s".into()));
                }
                if t.other.contains(&name) {
                    let message = "incorrectly formed".into();
                    return Err(SqlError::Server(ServerError {
                        number: 3241,
                        state: 1,
                        class: 16,
                        message,
                        last: None,
                    }));
                }
                Ok(Fake::header(&name))
            }
            other => panic!("{other}"),
        })
    }
}

impl crate::systems::Folders for Fake {
    async fn list(&self, _: Side, kind: Kind) -> Result<Listing, Problem> {
        let names = match kind {
            Kind::BackupShare => self.with(|t| t.mounted.clone()),
            Kind::CopyFolder => vec![],
        };
        let file = |name| BackupFile { name, length: 1, modified: 1 };
        Ok(Listing { files: names.into_iter().map(file).collect(), ignored: vec![] })
    }
    async fn free(&self, _: Side) -> Result<u64, Problem> {
        Ok(1)
    }
    async fn copy(&self, _: Side, _: &BackupFile) -> Result<(), Problem> {
        panic!("a look copies nothing")
    }
    async fn keep(&self, _: Side, _: &str, _: &str) -> Result<(), Problem> {
        panic!("a look writes nothing")
    }
}

impl Shell for Fake {
    async fn invoke(&self, _: &ManagementShell, _: &Cmdlet, _: Duration) -> Result<ShellOutput, ShellError> {
        panic!("no cmdlets")
    }
    async fn account(&self, _: &ManagementShell) -> Result<String, ShellError> {
        panic!("no cmdlets")
    }
    async fn start(&self, _: &ManagementShell, _: &Cmdlet, _: &DetachedJob) -> Result<(), ShellError> {
        panic!("no cmdlets")
    }
    async fn state_of(&self, _: &ManagementShell, _: &DetachedJob) -> Result<JobState, ShellError> {
        panic!("no cmdlets")
    }
}

impl Systems for Fake {
    type Sql = Fake;
    type Shell = Fake;
    type Folders = Fake;
    async fn sql(&self, _: &SqlServer) -> Result<Fake, SqlError> {
        Ok(self.clone())
    }
    fn shell(&self) -> &Fake {
        self
    }
    fn folders(&self) -> &Fake {
        self
    }
    async fn listens(&self, _: &str, _: u16) -> Result<bool, Problem> {
        Ok(false)
    }
    fn new_id(&self) -> String {
        String::new()
    }
}

fn pool() -> Pool {
    let folder = |path: &str| Folder { path: path.into(), volume: "v".into(), field: "f".into() };
    let site = |_| DataCenter {
        name: "d".into(),
        index: 0,
        sql_server: SqlServer {
            host: "s".into(),
            instance: None,
            port: 1433,
            credentials: "c".into(),
            tls: Tls::default(),
            field: "f".into(),
        },
        mirror: None,
        mirror_file_share: None,
        management_shell: ManagementShell {
            host: "m".into(),
            port: 5986,
            configuration_name: "c".into(),
            authentication: Authentication::Basic,
            credentials: "c".into(),
            tls: None,
            field: "f".into(),
        },
        servers: vec![],
        active_servers: vec![],
        log_shipping: Some(Shipping {
            backup_share: folder(r"\\s\share"),
            copy_folder: folder(r"E:\copies"),
        }),
    };
    Pool {
        fqdn: "chat.x".into(),
        database: "mgc".into(),
        sites: Sides::of(site),
        policy: Policy {
            consent: ConsentPolicy::WhenNeeded,
            mirror_deadline: None,
            when_active_answers: WhenActiveAnswers::Refuse,
            drain_deadline: None,
        },
    }
}

fn instance() -> Instance {
    Instance {
        server_name: "S".into(),
        version: "13".into(),
        edition: "e".into(),
        sysadmin: true,
        zone_minutes: 0,
        database: Some(Database {
            state: DatabaseState::Restoring,
            standby: false,
            read_only: false,
            user_access: 0,
            recovery_model: 1,
            family: Some("FAM".into()),
            fork: None,
            last_log_backup: None,
            redo: Some(RedoPoint { lsn: Lsn(10), fork: "F".into() }),
            mirroring: None,
        }),
        secondary_half: Reading::Known(None),
        primary_half: Reading::Known(None),
        jobs: Reading::Known(vec![]),
        sessions: Reading::Known(vec![]),
        restores: Reading::Known(vec![]),
        full_backup: None,
        history: Reading::Known(vec![]),
        orphaned_users: Reading::Known(vec![]),
        server_identities: Reading::Known(vec![]),
        advancing: BTreeSet::new(),
        silent: BTreeSet::new(),
        newest_message: Reading::Known(None),
        own_backups: Reading::not_looked(),
        records: Reading::Known(vec![]),
    }
}

fn chain(folders: &Folders) -> chain::Chain {
    let redo = RedoPoint { lsn: Lsn(10), fork: "F".into() };
    chain::follow(&Copy { redo: &redo, family: Some("FAM"), database: "mgc", restored: &[] }, folders, None)
}

#[tokio::test]
async fn one_slow_header_makes_its_file_unknown_and_nothing_else() {
    let names: Vec<String> = (10..50).map(|n| format!("rescued {n}")).collect();
    let fake = Fake::of(names.clone());
    fake.with(|t| t.slow.push("rescued 13".into()));
    let cache = Cache::default();
    let mut looks = Vec::new();
    for _ in 0..6 {
        let seen = fake.look(&cache).await;
        looks.push((seen.unread, seen.headers.len(), fake.with(|t| t.asked.len())));
        assert!(looks.last().is_some_and(|(_, _, asked)| *asked <= 21), "{looks:?}");
    }
    // Everything else is read in the end, each of them once, and the slow one is asked for less and less.
    let seen = fake.look(&cache).await;
    let unknown: Vec<&str> = seen
        .headers
        .iter()
        .filter(|(_, h)| h.sets.known().is_none())
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!((unknown, seen.unread), (vec!["rescued 13"], 0), "{looks:?}");
    assert!(fake.with(|t| t.asked.iter().all(|n| n == "rescued 13")));
    let c = chain(&seen);
    assert_eq!(
        (c.links.len(), c.stuck.iter().map(|s| s.file.as_str()).collect::<Vec<_>>()),
        (3, vec!["rescued 13", "rescued 14"])
    );
    // It answers again.
    fake.with(|t| {
        t.slow.clear();
        t.now += SignedDuration::from_mins(2);
    });
    let c = chain(&fake.look(&cache).await);
    assert_eq!((c.links.len(), c.stuck.len()), (40, 0));
}

#[tokio::test]
async fn what_was_read_stays_read_where_a_look_is_cut_off() {
    let fake = Fake::of((10..15).map(|n| format!("rescued {n}")));
    fake.with(|t| t.slow.push("rescued 12".into()));
    let cache = Cache::default();
    fake.look(&cache).await;
    let first = fake.with(|t| t.asked.clone());
    assert_eq!(first, ["rescued 10", "rescued 11", "rescued 12"]);
    fake.look(&cache).await;
    let second = fake.with(|t| t.asked.clone());
    assert!(!second.contains(&"rescued 10".to_string()) && second.contains(&"rescued 12".to_string()));
}

#[tokio::test]
async fn a_document_is_told_and_any_other_unreadable_file_may_be_the_last_link() {
    let fake = Fake::of(["readme.txt", "mgc_tail", "LOG10.BAK"].map(String::from));
    fake.with(|t| t.other = vec!["readme.txt".into(), "mgc_tail".into()]);
    let seen = fake.look(&Cache::default()).await;
    assert_eq!(seen.ignored.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>(), ["readme.txt"]);
    let c = chain(&seen);
    let stuck: Vec<&str> = c.stuck.iter().map(|s| s.file.as_str()).collect();
    assert_eq!((c.links.len(), stuck), (1, vec!["mgc_tail"]));
    // The tail of a database that could not be opened: only its metadata is incomplete.
    assert!(c.links[0].set.incomplete && !c.links[0].set.damaged);
}

#[tokio::test]
async fn a_file_that_sql_server_sees_and_the_mount_does_not_is_no_silent_loss() {
    let cache = Cache::default();
    let fake = Fake::of(["rescued 9", "rescued 10"].map(String::from));
    fake.with(|t| t.seen.extend(["rescued 11".to_string(), "half.wrk".into(), "rescued 5".into()]));
    let c = chain(&fake.look(&cache).await);
    // One that was applied long ago takes nothing away.
    assert_eq!(
        (c.links.len(), c.stuck.iter().map(|s| s.file.as_str()).collect::<Vec<_>>()),
        (1, vec!["rescued 11"])
    );
    // An empty answer says nothing.
    fake.with(|t| t.seen.clear());
    let c = chain(&fake.look(&cache).await);
    assert_eq!((c.links.len(), c.stuck.len()), (1, 0));
}
