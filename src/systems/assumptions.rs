//! What is believed of the products without a source that shows it, each with the reason why it cannot decide anything alone.
//!
//! A page of the manufacturer, recorded traffic or public code that shows it makes an assumption a fact, and takes it out of here.

/// Something that is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assumption {
    /// The names or values that it is about.
    pub values: &'static [&'static str],
    /// What is believed, and what speaks for it.
    pub believed: &'static str,
    /// Where it is used.
    pub used: &'static str,
    /// Why it does not decide alone.
    pub not_alone: &'static str,
}

/// The role by which the Windows service of Persistent Chat is found.
pub const CHAT_ROLE: Assumption = Assumption {
    values: &["PersistentChatService"],
    believed: "Get-CsWindowsService shows this role in the RoleName of the chat service. Microsoft names the role so (\"What's new in \
               Persistent Chat Server\", Lync Server 2013), and shows other roles of the topology in RoleName (on the pages about \
               the status of services). No listing of a chat server was found, and no source for a service name such as RTCCHAT",
    used: "management_shell::read::service_runs, domain::serving",
    not_alone: "A service that runs proves nothing: its server needs a session and fresh reports in the database. Where no service has \
                the role, these alone are asked for",
};

/// The property with the hosts that replicate the Central Management store.
pub const FILE_TRANSFER_AGENTS: Assumption = Assumption {
    values: &["ActiveFileTransferAgents", "ActiveFileTransferAgentFqdn"],
    believed: "Get-CsManagementStoreReplicationStatus -CentralManagementStoreStatus shows one of these properties. The prose of \"Failing \
               over a pool\" writes the first, the one public script that reads the object the second",
    used: "management_shell::read::central_management",
    not_alone: "Either is taken. With neither the store is not known, not down",
};

/// Whom `Test-CsDatabase` asks where the topology names a mirror.
pub const TEST_DATABASE_MIRROR: Assumption = Assumption {
    values: &[],
    believed: "Test-CsDatabase -SqlServerFqdn asks the server that is named, also where that is a mirror. Its object has columns for the \
               mirror: it may as well ask the failover partner, or refuse a mirror's name",
    used: "management_shell::reached",
    not_alone: "Succeed = True of either partner is a sign of life of their side, whichever answered; anything else leaves it to the TCP \
                test, which names host and port",
};

/// How `Install-CsMirrorDatabase` tells that it failed.
pub const MIRROR_WARNINGS: Assumption = Assumption {
    values: &[],
    believed: "Install-CsMirrorDatabase may end as completed, with its errors told as warnings, as Microsoft shows it of Test-CsDatabase",
    used: "steps::establish_mirror",
    not_alone: "How it ended decides nothing: the mirror stands when sys.database_mirroring shows it. Until then every end is followed by \
                a pause, and all that was said is shown",
};

/// What `@@ERROR` is after a statement that failed with several errors.
pub const LAST_ERROR: Assumption = Assumption {
    values: &[],
    believed: "@@ERROR after a statement that failed with several errors is the number of the last one. Recorded: after one error it is that \
               one's, a RESTORE that fails ends its statement and not its batch, and a CATCH sees the last of several. Nobody has \
               recorded @@ERROR itself after several",
    used: "sql_server::statements::ENDING, sql_server::errors::classify",
    not_alone: "It chooses what is told, and whether a human is asked; it begins nothing. Whatever it says, the database is looked at \
                before anything else is done, and without it the first error decides, as it did before",
};

/// How SQL Server lists a folder.
pub const FOLDER_LISTING: Assumption = Assumption {
    values: &["master.sys.xp_dirtree", "subdirectory", "depth", "file"],
    believed: "EXEC master.sys.xp_dirtree path, 1, 1 gives a row for each entry of a folder, with file = 1 for a file. Microsoft documents the \
               procedure nowhere; SQL Server First Responder Kit (sp_DatabaseRestore) reads folders of backups by it, in all versions",
    used: "sql_server::statements::FOLDER_LISTING, engine::observe::files",
    not_alone: "It only adds: a file that it shows and the mount does not is a loss that a human must accept, unless its header shows that it \
                has been applied. An empty or refused answer says nothing, and without it the mount's listing stands as before",
};

/// All of them.
pub const ALL: &[Assumption] =
    &[CHAT_ROLE, FILE_TRANSFER_AGENTS, TEST_DATABASE_MIRROR, MIRROR_WARNINGS, LAST_ERROR, FOLDER_LISTING];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_assumption_says_what_where_and_why_it_does_not_decide_alone() {
        for a in ALL {
            assert!(a.believed.len() > 40 && a.used.contains("::") && a.not_alone.len() > 40, "{a:?}");
        }
    }
}
