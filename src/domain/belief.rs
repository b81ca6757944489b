//! What is believed of the products without a source that shows it, and what a pool shows of each belief. Read-only, and a pure function
//! of what was seen. The words say which, where used, and what if not: `systems::assumptions`.
//!
//! No name of anything in a pool stands in what is told here: it may be sent to strangers.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::backups::{BackupSet, Folders};
use super::lync::Lync;
use super::pool::Pool;
use super::problem::{Problem, Reason};
use super::reading::Reading;
use super::serving::{Address, address_of};
use super::side::Side;
use super::situation::Situation;
use super::sql_server::{DatabaseState, Instance};
use super::step::StepId;

macro_rules! beliefs {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Something that is believed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
        pub enum Belief { $($(#[$doc])* $name),* }
        impl Belief {
            /// All of them, in the order of this file.
            pub const ALL: &'static [Belief] = &[$(Belief::$name),*];
        }
    };
}

beliefs! {
    /// The role by which the Windows service of Persistent Chat is found.
    ChatRole,
    /// The property with the hosts that replicate the Central Management store.
    FileTransferAgents,
    /// Whom `Test-CsDatabase` asks where the topology names a mirror.
    TestDatabaseMirror,
    /// How `Install-CsMirrorDatabase` tells that it failed.
    MirrorWarnings,
    /// What `@@ERROR` is after a statement that failed with several errors.
    LastError,
    /// What an address in `tblServerIdentity` looks like.
    ServerAddress,
    /// What `tblChat.chatDate` counts.
    ChatDate,
    /// Which locks a RESTORE holds while it runs.
    RestoreLock,
    /// Which state the files of a database have while it waits for log backups.
    RedoFiles,
    /// At which port the master of the Central Management store answers.
    MasterPort,
    /// How SQL Server lists a folder.
    FolderListing,
    /// What a log backup that was taken across a change of the recovery fork holds.
    ForkSpan,
    /// How the parts of a striped backup are known for such.
    Stripes,
    /// Who may read the tail of a log in the share of the other side.
    TailAcross,
    /// Which refusals are about one backup and not about the server.
    Refusals,
    /// What WinRM does with a shell or a command that its client has left.
    LeftShells,
    /// Who answers 404 and 503 at WinRM's port.
    HttpSys,
}

/// What a pool shows of a belief.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "camelCase")]
pub enum Seen {
    /// It holds here.
    Confirmed {
        /// What shows it.
        what: String,
    },
    /// It does not hold here.
    Contradicted {
        /// What shows it.
        what: String,
        /// The step that cannot reach its goal then; absent: something else decides instead.
        stops: Option<StepId>,
    },
    /// Nothing shows it at this moment.
    NotSeen {
        /// What would.
        what: String,
        /// Why that could not be read, where it was tried.
        #[serde(skip_serializing_if = "Option::is_none")]
        why: Option<Reason>,
    },
}

impl Seen {
    /// Whether the belief does not hold here.
    pub fn is_contradicted(&self) -> bool {
        match self {
            Seen::Contradicted { .. } => true,
            Seen::Confirmed { .. } | Seen::NotSeen { .. } => false,
        }
    }
}

/// What is asked for the sake of beliefs alone, by whoever surveys a pool. Default: nothing was.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Asked {
    /// The first number and `@@ERROR` of a RESTORE HEADERONLY of a file that does not exist.
    pub missing_file: Option<Reading<(u32, Option<u32>)>>,
    /// Whether `Test-CsDatabase` asked a mirror itself when it was told its name.
    pub mirror_test: Option<Reading<bool>>,
    /// Whether the master of the Central Management store accepts connections from another Management Shell host.
    pub master_answers: Option<Reading<bool>>,
    /// The newest message of the live database.
    pub newest_message: Option<Reading<Option<Timestamp>>>,
    /// Of each folder of log backups: the files that the mount lists, and how many of them SQL Server lists too.
    pub listings: Vec<Reading<(usize, usize)>>,
}

fn confirmed(what: impl Into<String>) -> Seen {
    Seen::Confirmed { what: what.into() }
}

fn contradicted(what: impl Into<String>) -> Seen {
    Seen::Contradicted { what: what.into(), stops: None }
}

fn not_seen(what: impl Into<String>) -> Seen {
    Seen::NotSeen { what: what.into(), why: None }
}

/// Not seen, where what would show it is among what could not be read.
fn unread<'r, T: 'r>(what: &str, readings: impl IntoIterator<Item = &'r Reading<T>>) -> Seen {
    let reasons = readings.into_iter().filter_map(|r| r.get().err()).map(|p| p.reason);
    // What was not looked at has not failed.
    Seen::NotSeen { what: what.into(), why: reasons.into_iter().find(|r| *r != Reason::NotStarted) }
}

/// What a look shows of a belief.
pub fn seen(belief: Belief, pool: &Pool, s: &Situation, asked: &Asked) -> Seen {
    match belief {
        Belief::ChatRole => chat_role(&s.lync),
        Belief::FileTransferAgents => file_transfer_agents(&s.lync),
        Belief::TestDatabaseMirror => answered(
            asked.mirror_test.as_ref(),
            "told the name of a mirror, Test-CsDatabase was turned away by that server",
            "told the name of a mirror, which nobody gets into, Test-CsDatabase was in a database: that of the partner",
            "the mirror of a live principal shows it, if an error names the server that was asked",
        ),
        Belief::MirrorWarnings => not_seen("only an Install-CsMirrorDatabase that fails shows it"),
        Belief::LastError => last_error(asked.missing_file.as_ref()),
        Belief::ServerAddress => server_address(pool, s),
        Belief::ChatDate => chat_date(asked.newest_message.as_ref()),
        Belief::RestoreLock => not_seen("only a RESTORE that runs shows it"),
        Belief::RedoFiles => redo_files(s),
        Belief::MasterPort => answered(
            asked.master_answers.as_ref(),
            "the master of the Central Management store answers at the SIP port of a Front End",
            "the master of the Central Management store accepts no connection at the SIP port of a Front End, from the other data centre",
            "a Management Shell host that is not the master, and knows who is, shows it",
        ),
        Belief::FolderListing => folder_listing(&asked.listings),
        Belief::ForkSpan => fork_span(s),
        Belief::Stripes => stripes(s),
        Belief::TailAcross => not_seen("only a switch from a principal on the server of the mirror shows it"),
        Belief::Refusals => not_seen("only a log backup that SQL Server refuses shows it"),
        Belief::LeftShells => not_seen("only a client that dies shows it"),
        Belief::HttpSys => not_seen("only a host whose WinRM does not run shows it"),
    }
}

/// What stands in the way of a failover, since this pool contradicts what a step rests on.
pub fn contradiction(belief: Belief, pool: &Pool, s: &Situation) -> Option<Problem> {
    match seen(belief, pool, s, &Asked::default()) {
        Seen::Contradicted { what, stops: Some(step) } => Some(Problem::ask(
            Reason::AssumptionContradicted,
            format!("What {} rests on does not hold in this pool ({belief:?}): {what}", step.as_str()),
            "Run `kubectl pcf survey`, and report what it says as a defect; until then fail over by hand",
        )),
        Seen::Contradicted { stops: None, .. } | Seen::Confirmed { .. } | Seen::NotSeen { .. } => None,
    }
}

/// The verdict of something that was asked, by yes or no.
fn answered(said: Option<&Reading<bool>>, yes: &str, no: &str, otherwise: &str) -> Seen {
    match said.and_then(Reading::known) {
        Some(true) => confirmed(yes),
        Some(false) => contradicted(no),
        None => unread(otherwise, said),
    }
}

/// Whether something was answered in a form that cannot be read.
fn is_strange<T>(r: &Reading<T>) -> bool {
    r.get().is_err_and(|p| p.reason == Reason::UnexpectedAnswer)
}

fn chat_role(lync: &Lync) -> Seen {
    let listed: Vec<Option<bool>> = lync.services.values().filter_map(Reading::known).copied().collect();
    let (hosts, with_role) = (listed.len(), listed.iter().flatten().count());
    match (hosts, with_role) {
        (0, _) => unread("a chat server that lets its services be listed shows it", lync.services.values()),
        (_, 0) => {
            contradicted(format!("of {hosts} chat servers whose services were listed none shows the role"))
        }
        (_, _) => confirmed(format!("{with_role} of {hosts} chat servers show the role")),
    }
}

fn file_transfer_agents(lync: &Lync) -> Seen {
    let store = &lync.central_management;
    match store.known().map(|c| c.file_transfer_agents.len()) {
        Some(0) => not_seen("a store that somebody replicates shows it"),
        Some(hosts) => confirmed(format!("it holds {hosts} hosts")),
        None if is_strange(store) => contradicted("the state of the store shows neither property"),
        None => unread("a Management Shell that answers shows it", [store]),
    }
}

fn last_error(said: Option<&Reading<(u32, Option<u32>)>>) -> Seen {
    match said.and_then(Reading::known) {
        // 3201, then 3013 (recorded of a file that does not exist).
        Some((first, Some(last @ 3013))) => {
            confirmed(format!("a RESTORE whose first error was {first} left @@ERROR at {last}"))
        }
        Some((first, Some(last))) => {
            contradicted(format!("a RESTORE whose first error was {first} left @@ERROR at {last}"))
        }
        // The first one, or a batch that ended before it could tell: which of both nobody knows.
        Some((_, None)) | None => unread("a SQL Server that answers shows it", said),
    }
}

fn chat_date(said: Option<&Reading<Option<Timestamp>>>) -> Seen {
    match said {
        Some(Reading::Known(Some(_))) => confirmed("the newest message has a date of this century"),
        Some(strange) if is_strange(strange) => {
            contradicted("the newest message has no date in a known unit")
        }
        Some(Reading::Known(None) | Reading::Unknown(_)) | None => {
            unread("a live database with messages shows it", said)
        }
    }
}

/// Chat serves where its servers report themselves alive: an address that names a host, and none of the pool's, is nobody's report.
fn server_address(pool: &Pool, s: &Situation) -> Seen {
    let servers = || Side::BOTH.into_iter().flat_map(|side| &pool.sites[side].servers);
    let live = Side::BOTH.into_iter().filter_map(|side| s.sites[side].live());
    let tables: Vec<_> = live.map(|i| &i.server_identities).collect();
    let reports = tables.iter().filter_map(|table| table.known()).flatten();
    let [mut own, mut unknown, mut others] = [0, 0, 0];
    for (address, _) in reports {
        match servers().map(|server| address_of(address, server)).find(|whose| *whose != Address::Another) {
            Some(Address::Its) => own += 1,
            Some(Address::Unknown) => unknown += 1,
            Some(Address::Another) | None => others += 1,
        }
    }
    let told = format!("of {} addresses {own} name a chat server of the resource", own + unknown + others);
    match (own, unknown, others) {
        (0, 0, 0) => unread("the table of a database that chat uses shows it", tables),
        (0, 0, _) => Seen::Contradicted { what: told, stops: Some(StepId::ChatServing) },
        (0, _, _) => contradicted(told),
        (_, _, _) => confirmed(told),
    }
}

fn instances(s: &Situation) -> impl Iterator<Item = &Instance> {
    Side::BOTH.into_iter().flat_map(|side| s.sites[side].instances()).map(|(_, i)| i)
}

/// Who is no sysadmin may not see the files.
fn redo_files(s: &Situation) -> Seen {
    let databases = instances(s).filter(|i| i.sysadmin).filter_map(|i| i.database.as_ref());
    let copies: Vec<_> = databases.filter(|d| d.is_restoring() && d.mirroring.is_none()).collect();
    let without = |state| copies.iter().any(|d| d.redo.is_none() && d.state == state);
    if without(DatabaseState::Restoring) {
        let what = "no file of a database that is RESTORING shows a redo point".to_string();
        return Seen::Contradicted { what, stops: Some(StepId::LogBackupsApplied) };
    }
    if without(DatabaseState::Online) {
        return contradicted("no file of a database in STANDBY shows a redo point");
    }
    match copies.first() {
        Some(d) => confirmed(format!("the files of a database in {} show a redo point", d.state_text())),
        None => {
            let why = Side::BOTH.into_iter().find_map(|side| s.sites[side].unseen()).map(|p| p.reason);
            Seen::NotSeen { what: "a copy that waits for log backups shows it".into(), why }
        }
    }
}

fn folder_listing(listings: &[Reading<(usize, usize)>]) -> Seen {
    let known: Vec<&(usize, usize)> =
        listings.iter().filter_map(Reading::known).filter(|(n, _)| *n > 0).collect();
    let (files, both) = known.iter().fold((0, 0), |(a, b), (n, m)| (a + n, b + m));
    match (files, both) {
        (0, _) => unread("a folder with log backups that SQL Server lists shows it", listings),
        (_, 0) => contradicted(format!("SQL Server lists none of {files} files")),
        (_, _) => confirmed(format!("SQL Server lists {both} of {files} files")),
    }
}

fn folders(s: &Situation) -> impl Iterator<Item = &Folders> {
    Side::BOTH.into_iter().filter_map(|side| s.folders[side].as_ref())
}

fn sets(s: &Situation) -> impl Iterator<Item = &BackupSet> {
    folders(s).flat_map(|f| f.headers.values()).filter_map(|h| h.sets.known()).flatten()
}

/// Not seen: no log backup that was read shows it. A folder that could not be listed may hold one that does.
fn no_backup(s: &Situation, what: &str) -> Seen {
    unread(what, folders(s).flat_map(|f| [&f.share, &f.copy]))
}

fn fork_span(s: &Situation) -> Seen {
    let spans: Vec<&BackupSet> = sets(s).filter(|set| set.first_fork != set.last_fork).collect();
    let is_within =
        |set: &&&BackupSet| set.fork_point.is_some_and(|at| set.first_lsn <= at && at <= set.last_lsn);
    match (spans.len(), spans.iter().filter(is_within).count()) {
        (0, _) => no_backup(s, "the first log backup after a recovery shows it"),
        (all, within) if all == within => confirmed(format!("{all} log backups show where two forks part")),
        (all, within) => {
            contradicted(format!("of {all} log backups over two forks {within} show where they part"))
        }
    }
}

fn stripes(s: &Situation) -> Seen {
    let mut guids: BTreeMap<&str, Vec<Option<&String>>> = BTreeMap::new();
    for headers in folders(s).flat_map(|f| f.headers.values()) {
        let Some(label) = headers.label.as_ref().filter(|label| label.families > 1) else { continue };
        let guid = headers.sets.known().and_then(|sets| sets.first()?.guid.as_ref());
        guids.entry(&label.media_set).or_default().push(guid);
    }
    let agree = |of_one: &&Vec<Option<&String>>| of_one.windows(2).all(|pair| pair[0] == pair[1]);
    let (together, apart): (Vec<_>, Vec<_>) = guids.values().partition(agree);
    let files = |media_sets: Vec<&Vec<_>>| media_sets.into_iter().map(Vec::len).sum::<usize>();
    match (files(together), files(apart)) {
        (0, 0) => no_backup(s, "a log backup over several files shows it"),
        (all, 0) => confirmed(format!("{all} files of striped backups agree")),
        (together, apart) => contradicted(format!(
            "{apart} of {} files of striped backups hold another set than their media set",
            together + apart
        )),
    }
}
