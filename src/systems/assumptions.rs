//! What is believed of the products without a source that shows it, each with the reason why it cannot decide anything alone.
//!
//! A page of the manufacturer, recorded traffic or public code that shows it makes an assumption a fact, and takes it out of here.

use crate::domain::belief::Belief;

/// Something that is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assumption {
    /// Its name.
    pub belief: Belief,
    /// The names or values that it is about.
    pub values: &'static [&'static str],
    /// What is believed, and what speaks for it.
    pub believed: &'static str,
    /// Where it is used.
    pub used: &'static str,
    /// How a real pool shows it, without anything being changed.
    pub shown_by: &'static str,
    /// Why it does not decide alone: what happens if it does not hold.
    pub not_alone: &'static str,
}

/// The role by which the Windows service of Persistent Chat is found.
pub const CHAT_ROLE: Assumption = Assumption {
    belief: Belief::ChatRole,
    values: &["PersistentChatService"],
    believed: "Get-CsWindowsService shows this role in the RoleName of the chat service. Microsoft names the role so (\"What's new in \
               Persistent Chat Server\", Lync Server 2013), and shows other roles of the topology in RoleName (on the pages about \
               the status of services). No listing of a chat server was found, and no source for a service name such as RTCCHAT",
    used: "management_shell::read::service_runs, domain::serving",
    shown_by: "Get-CsWindowsService -ComputerName of each active chat server",
    not_alone: "A service that runs proves nothing: its server needs a session and fresh reports in the database. Where no service has \
                the role, these alone are asked for",
};

/// The property with the hosts that replicate the Central Management store.
pub const FILE_TRANSFER_AGENTS: Assumption = Assumption {
    belief: Belief::FileTransferAgents,
    values: &["ActiveFileTransferAgents", "ActiveFileTransferAgentFqdn"],
    believed: "Get-CsManagementStoreReplicationStatus -CentralManagementStoreStatus shows one of these properties. The prose of \"Failing \
               over a pool\" writes the first, the one public script that reads the object the second",
    used: "management_shell::read::central_management",
    shown_by: "Get-CsManagementStoreReplicationStatus -CentralManagementStoreStatus",
    not_alone: "Either is taken. With neither the store is not known, not down",
};

/// Whom `Test-CsDatabase` asks where the topology names a mirror.
pub const TEST_DATABASE_MIRROR: Assumption = Assumption {
    belief: Belief::TestDatabaseMirror,
    values: &[],
    believed: "Test-CsDatabase -SqlServerFqdn asks the server that is named, also where that is a mirror. Its object has columns for the \
               mirror: it may as well ask the failover partner, or refuse a mirror's name",
    used: "management_shell::reached",
    shown_by: "Test-CsDatabase with the name of the server that is the mirror at this moment",
    not_alone: "Succeed = True of either partner is a sign of life of their side, whichever answered; anything else leaves it to the TCP \
                test, which names host and port",
};

/// How `Install-CsMirrorDatabase` tells that it failed.
pub const MIRROR_WARNINGS: Assumption = Assumption {
    belief: Belief::MirrorWarnings,
    values: &[],
    believed: "Install-CsMirrorDatabase may end as completed, with its errors told as warnings, as Microsoft shows it of Test-CsDatabase",
    used: "steps::establish_mirror",
    shown_by: "Not without installing a mirror",
    not_alone: "How it ended decides nothing: the mirror stands when sys.database_mirroring shows it. Until then every end is followed by \
                a pause, and all that was said is shown",
};

/// What `@@ERROR` is after a statement that failed with several errors.
pub const LAST_ERROR: Assumption = Assumption {
    belief: Belief::LastError,
    values: &[],
    believed: "@@ERROR after a statement that failed with several errors is the number of the last one. Recorded: after one error it is that \
               one's, a RESTORE that fails ends its statement and not its batch, and a CATCH sees the last of several. Nobody has \
               recorded @@ERROR itself after several",
    used: "sql_server::statements::ENDING, sql_server::errors::classify",
    shown_by: "RESTORE HEADERONLY of a file that does not exist, followed by SELECT @@ERROR in the same batch",
    not_alone: "It chooses what is told, and whether a human is asked; it begins nothing. Whatever it says, the database is looked at \
                before anything else is done, and without it the first error decides, as it did before",
};

/// How SQL Server lists a folder.
pub const FOLDER_LISTING: Assumption = Assumption {
    belief: Belief::FolderListing,
    values: &["master.sys.xp_dirtree", "subdirectory", "depth", "file"],
    believed: "EXEC master.sys.xp_dirtree path, 1, 1 gives a row for each entry of a folder, with file = 1 for a file. Microsoft documents the \
               procedure nowhere; SQL Server First Responder Kit (sp_DatabaseRestore) reads folders of backups by it, in all versions",
    used: "sql_server::statements::FOLDER_LISTING, engine::observe::files",
    shown_by: "xp_dirtree of both folders of log backups, beside the list of the mount",
    not_alone: "It only adds: a file that it shows and the mount does not is a loss that a human must accept, unless its header shows that it \
                has been applied. An empty or refused answer says nothing, and without it the mount's listing stands as before",
};

/// What an address in `tblServerIdentity` looks like.
pub const SERVER_ADDRESS: Assumption = Assumption {
    belief: Belief::ServerAddress,
    values: &["net.tcp://host:port/path"],
    believed: "tblServerIdentity.serverAddress is a URI with the server's FQDN as its host. The page of the table says \"Server address \
               using the Windows Communication Foundation address\", and shows none",
    used: "domain::serving",
    shown_by: "The addresses in tblServerIdentity of the live database, beside the chat servers of the resource",
    not_alone: "A server also needs a session in the database. An address that names no host is nobody's in particular: then the sessions \
                say whose the database is",
};

/// What `tblChat.chatDate` counts.
pub const CHAT_DATE: Assumption = Assumption {
    belief: Belief::ChatDate,
    values: &["ticks", "FILETIME", "milliseconds", "seconds"],
    believed: "tblChat.chatDate, a bigint by the page of the table, is one of the units that Windows programs write; the size of the \
               number says which",
    used: "sql_server::read",
    shown_by: "The newest chatDate of the live database, asked once, on a session of its own, for five seconds at most",
    not_alone: "It is told in the report of what a failover has lost, and decides nothing. A number of another size is not known",
};

/// Which locks a RESTORE holds while it runs.
pub const RESTORE_LOCK: Assumption = Assumption {
    belief: Belief::RestoreLock,
    values: &["DATABASE"],
    believed: "A session that restores a database holds a lock on it that sys.dm_tran_locks shows. Nobody has recorded one",
    used: "sql_server::statements::RUNNING",
    shown_by: "Not without a RESTORE that runs",
    not_alone: "Only a RESTORE that holds another database and not ours is passed over; one without any lock is waited for",
};

/// Which state the files of a database have while it waits for log backups.
pub const REDO_FILES: Assumption = Assumption {
    belief: Belief::RedoFiles,
    values: &["RESTORING", "RECOVERY_PENDING"],
    believed: "sys.master_files shows a redo point for data files in these states and for no others: its page says so of redo_start_lsn, and \
               not what the files of a database in STANDBY show",
    used: "sql_server::statements::REDO",
    shown_by: "sys.master_files of the copy, if the login is sysadmin",
    not_alone: "Without a file that has a redo point the history of restores says where roll forward goes on; each RESTORE checks the point \
                again in its own batch, and SQL Server refuses what does not fit",
};

/// At which port the master of the Central Management store answers.
pub const MASTER_PORT: Assumption = Assumption {
    belief: Belief::MasterPort,
    values: &["5061"],
    believed: "The active master of the Central Management store is a Front End, and a Front End accepts SIP at port 5061 (both documented; \
               that nothing between two sites filters it is not)",
    used: "steps::findings, engine::observe::lync",
    shown_by: "Test-NetConnection to the active master, from the Management Shell host of the other data centre",
    not_alone: "A master that does not answer there holds up the recovery before it begins, and is told with both ways out: move the store, \
                or let the port be reached. Not known holds up nothing",
};

/// What a log backup that was taken across a change of the recovery fork holds.
pub const FORK_SPAN: Assumption = Assumption {
    belief: Belief::ForkSpan,
    values: &["FirstRecoveryForkID", "RecoveryForkID", "ForkPointLSN"],
    believed: "The first log backup after a change of the recovery fork spans both forks and says where they part: its page names the three \
               columns for that, and no published chain shows it",
    used: "domain::lives",
    shown_by: "RESTORE HEADERONLY of the log backups at hand, if one was taken across a recovery",
    not_alone: "Where no set shows how two forks hang together, only what was certainly taken earlier counts as old; everything else is a \
                loss that a human must accept",
};

/// How the parts of a striped backup are known for such.
pub const STRIPES: Assumption = Assumption {
    belief: Belief::Stripes,
    values: &["BackupSetGUID", "MediaSetId", "FamilyCount", "FamilySequenceNumber"],
    believed: "All files of a striped backup show the same BackupSetGUID, and so do copies of one file; RESTORE LABELONLY tells which is which \
               by MediaSetId and FamilySequenceNumber",
    used: "domain::links, sql_server::statements::LABEL",
    shown_by: "RESTORE LABELONLY of log backups that hold the same set, if some are striped",
    not_alone: "SQL Server refuses a media set that is not whole or not one (3132, 3231, 3258); a file that is refused is a loss by consent only",
};

/// Who may read the tail of a log in the share of the other side.
pub const TAIL_ACROSS: Assumption = Assumption {
    belief: Belief::TailAcross,
    values: &[],
    believed: "The service accounts of the SQL Servers that a switch leaves may read the share that the tail was written to, and a mirror \
               that was left RESTORING takes that tail as it takes any log backup (\"Removing Database Mirroring\" says so of log backups \
               before mirroring is resumed). Log shipping needs the right to write there only of the one that takes backups",
    used: "domain::tail, steps::seed_database",
    shown_by: "Not without a switch from a principal on the server of the mirror",
    not_alone: "What refuses the tail is remembered, and a seed is asked for, as for any copy that does not continue the log; the copy \
                counts as protected only once its redo point shows that the tail was applied",
};

/// Which refusals are about one backup and not about the server.
pub const REFUSALS: Assumption = Assumption {
    belief: Belief::Refusals,
    values: &["5105", "3176", "1834", "4328", "3187"],
    believed: "These numbers, documented without their circumstances, are given by RESTORE LOG for what is wrong with one backup",
    used: "sql_server::numbers",
    shown_by: "Not without a log backup that SQL Server refuses",
    not_alone: "A backup that is refused is tried again every five minutes, and left out by a human's consent only",
};

/// What WinRM does with a shell or a command that its client has left.
pub const LEFT_SHELLS: Assumption = Assumption {
    belief: Belief::LeftShells,
    values: &["Delete", "Done", "TimedOut"],
    believed: "A shell can be deleted by another session of its account, disconnected or still connected, and what runs in it ends with it; a \
               command whose output was read shows as Done, and a further Receive on it times out; a Connect that is refused does not keep a \
               shell alive",
    used: "management_shell::remoting",
    shown_by: "Not without a client that dies",
    not_alone: "A shell that stays goes by its idle time-out; one that is deleted bears our own name with another start, and our account. How a \
                cmdlet ended decides nothing: the mirror stands when SQL Server shows it, and another one is begun after a pause only",
};

/// Who answers 404 and 503 at WinRM's port.
pub const HTTP_SYS: Assumption = Assumption {
    belief: Belief::HttpSys,
    values: &["404", "503"],
    believed: "These HTTP statuses come from HTTP.sys while WinRM does not listen behind it, before anything was carried out",
    used: "management_shell::remoting",
    shown_by: "Not without a host whose WinRM does not run",
    not_alone: "Whatever was asked is looked at again before it is asked again",
};

/// All of them.
pub const ALL: &[Assumption] = &[
    CHAT_ROLE,
    FILE_TRANSFER_AGENTS,
    TEST_DATABASE_MIRROR,
    MIRROR_WARNINGS,
    LAST_ERROR,
    SERVER_ADDRESS,
    CHAT_DATE,
    RESTORE_LOCK,
    REDO_FILES,
    MASTER_PORT,
    FOLDER_LISTING,
    FORK_SPAN,
    STRIPES,
    TAIL_ACROSS,
    REFUSALS,
    LEFT_SHELLS,
    HTTP_SYS,
];

/// `docs/assumptions.md`.
pub fn page() -> String {
    let mut out = String::from(
        "# What is believed of the products\n\n\
         Nobody who builds this can run SQL Server, Lync or Skype for Business. What the operator takes for true of them comes from their\n\
         documentation, from recordings and from public code; what has no such source stands here, and decides nothing alone. Made from\n\
         the table in `systems::assumptions`; `PCF_WRITE=1 cargo test --lib assumptions` writes it anew.\n\n\
         `kubectl pcf survey` ([operations.md](operations.md#before-you-rely-on-it)) says of each whether your pool confirms it, contradicts it, or does not show it. It changes nothing, and\n\
         with `-o yaml` it writes a report without any name that you can send us: each line of it closes a gap that no test of ours can.\n",
    );
    for a in ALL {
        out += &format!("\n## {:?}\n\n{}.\n\n", a.belief, a.believed);
        if !a.values.is_empty() {
            out += &format!("- Names and values: `{}`\n", a.values.join("`, `"));
        }
        out += &format!("- Used in: `{}`\n", a.used.replace(", ", "`, `"));
        out += &format!("- Shown by: {}.\n- If it does not hold: {}.\n", a.shown_by, a.not_alone);
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_belief_stands_in_the_table_once() {
        let mut told: Vec<Belief> = ALL.iter().map(|a| a.belief).collect();
        told.sort_unstable();
        let mut all = Belief::ALL.to_vec();
        all.sort_unstable();
        assert_eq!(told, all);
    }

    #[test]
    fn the_page_is_made_from_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/assumptions.md");
        if std::env::var_os("PCF_WRITE").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(path).unwrap(),
            page(),
            "PCF_WRITE=1 cargo test --lib assumptions"
        );
    }

    #[test]
    fn each_assumption_says_what_where_and_why_it_does_not_decide_alone() {
        for a in ALL {
            assert!(a.believed.len() > 40 && a.used.contains("::") && a.not_alone.len() > 40, "{a:?}");
        }
    }
}
