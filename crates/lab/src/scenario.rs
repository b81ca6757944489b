//! What a lab is made from: two data centres, their servers, the state of log shipping, and how long things take.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A lab to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Scenario {
    /// FQDN of the Persistent Chat pool.
    pub pool: String,
    /// Name of the content database.
    pub database: String,
    /// Seed of everything that looks random (GUIDs, payloads).
    pub seed: u64,
    /// The two data centres: the one with the topology's primary store, then the one with its backup store.
    pub data_centers: Vec<DataCenter>,
    /// Name of the data centre where chat lives at the start. The other one has the copy.
    pub active: String,
    /// Log backups that exist at the start.
    pub backups: u32,
    /// How many of them the copy job has copied.
    pub copied: u32,
    /// How many of them the restore job has restored (at most `copied`).
    pub restored: u32,
    /// Bytes of payload in each log backup.
    pub backup_bytes: u64,
    /// Milliseconds between two runs of each log shipping job.
    pub job_interval_ms: u64,
    /// Milliseconds that restoring one log backup takes.
    pub restore_ms: u64,
    /// Milliseconds that a full backup takes, and as many that restoring it takes, of a database that is as good as empty.
    pub full_ms: u64,
    /// Gigabytes of the database. Each of them takes [`GIGABYTE_MS`] more in a full backup, in its restore, and twice that in building a
    /// mirror, which is both; none of it in a log backup, its restore or a recovery, which take as long as what was written since.
    pub database_gb: u64,
    /// Milliseconds that recovery takes.
    pub recovery_ms: u64,
    /// Milliseconds that `Install-CsMirrorDatabase` takes, of a database that is as good as empty.
    pub mirror_ms: u64,
    /// Milliseconds until a change of Lync's configuration is replicated to every server.
    pub replication_ms: u64,
    /// Milliseconds that a chat server goes on serving whoever is connected to it when it is no active server any more, or is to stop
    /// gracefully; [`u64::MAX`]: for ever.
    pub drain_ms: u64,
    /// Milliseconds that any other cmdlet takes.
    pub cmdlet_ms: u64,
    /// Milliseconds until a connection to somebody who does not answer is given up, besides: on Windows some 20 seconds, less here.
    pub connect_ms: u64,
    /// Whether the copy is in STANDBY rather than RESTORING.
    pub standby: bool,
    /// How the resource of the lab logs on to the Management Shells.
    pub authentication: Authentication,
    /// A text of an attacker's, put wherever a server's own administrator could put one: users, logins, editions, jobs.
    pub hostile_text: Option<String>,
    /// What WinRM allows, and how long it waits.
    #[serde(skip_serializing_if = "WinRm::is_usual")]
    pub win_rm: WinRm,
    /// What the servers of the lab are.
    #[serde(skip_serializing_if = "Dialect::is_usual")]
    pub dialect: Dialect,
    /// The version of the SQL Servers of a data centre, by its name, where it is another one than that of the dialect.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sql_server_of: BTreeMap<String, SqlServerVersion>,
}

/// Milliseconds that a gigabyte of the database takes in a full backup, and in its restore: 100 GB are a second. A disk takes some two
/// hundred times as long (500 MB in a second); less than that nobody waits for in a lab.
pub const GIGABYTE_MS: u64 = 10;

/// What the servers of a lab are: simulated through and through, or in part what Microsoft wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Dialect {
    /// What the Management Shells are.
    pub power_shell: PowerShell,
    /// Version of every SQL Server of which the scenario does not say another one.
    pub sql_server: SqlServerVersion,
    /// Language of every login, until its session asks for another.
    pub language: Language,
    /// The host names of chat servers are longer than the fifteen characters that NetBIOS keeps.
    pub long_host_names: bool,
    /// How many Front Ends each data centre has: the first is the host of its Management Shell, the Central Management store is on
    /// the last one.
    pub front_ends: u8,
    /// Chat's databases are on named instances; otherwise on default ones.
    pub named_instances: bool,
}

/// The language of SQL Server's messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Language {
    /// `us_english`
    #[default]
    English,
    /// `Français`
    French,
    /// `Deutsch`
    German,
}

impl Default for Dialect {
    fn default() -> Self {
        Dialect {
            power_shell: PowerShell::default(),
            sql_server: SqlServerVersion::default(),
            language: Language::default(),
            long_host_names: false,
            front_ends: 1,
            named_instances: true,
        }
    }
}

impl Dialect {
    fn is_usual(&self) -> bool {
        *self == Dialect::default()
    }
}

/// What WinRM allows on every Management Shell host, and how long it waits. Windows waits longer than a lab has time for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WinRm {
    /// Shells that a user may have on a host (`MaxShellsPerUser`).
    pub shells: usize,
    /// Requests of a user that a host works at at once (`MaxConcurrentOperationsPerUser`).
    pub operations: u32,
    /// Milliseconds after which a shell that nobody asks any more becomes *Disconnected* by itself: on Windows one to two minutes.
    pub disconnect_ms: u64,
    /// Milliseconds that a second of an IdleTimeOut lasts.
    pub idle_second_ms: u64,
    /// What becomes of a logon by NTLM over TLS that is not bound to it.
    pub cbt_hardening_level: CbtHardeningLevel,
}

/// WinRM's setting of that name. Microsoft, Policy CSP RemoteManagement, `SpecifyChannelBindingTokenHardeningLevel`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CbtHardeningLevel {
    /// Nobody looks at channel bindings.
    None,
    /// Wrong ones are refused, none are taken.
    #[default]
    Relaxed,
    /// Wrong ones and none are refused.
    Strict,
}

impl Default for WinRm {
    fn default() -> Self {
        WinRm {
            shells: 25,
            operations: 1500,
            disconnect_ms: 5_000,
            idle_second_ms: 1_000,
            cbt_hardening_level: CbtHardeningLevel::default(),
        }
    }
}

impl WinRm {
    fn is_usual(&self) -> bool {
        *self == WinRm::default()
    }
}

/// What a Management Shell is. Its cmdlets are simulated in either case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PowerShell {
    /// The lab itself writes what a PowerShell 5.1 would, as it was first published.
    #[default]
    #[serde(alias = "5.1")]
    Simulated,
    /// The lab itself writes what the PowerShell 4 of Windows Server 2012 R2 would.
    #[serde(rename = "4")]
    V4,
    /// A real PowerShell, started for each shell; see [`crate::winrm::engine`].
    Engine,
}

/// A version of SQL Server: it decides which columns and views there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SqlServerVersion {
    /// 2008 R2
    #[serde(rename = "10.50")]
    V2008R2,
    /// 2012
    #[serde(rename = "11")]
    V2012,
    /// 2014
    #[serde(rename = "12")]
    V2014,
    /// 2016
    #[default]
    #[serde(rename = "13")]
    V2016,
    /// 2017
    #[serde(rename = "14")]
    V2017,
    /// 2019
    #[serde(rename = "15")]
    V2019,
    /// 2022
    #[serde(rename = "16")]
    V2022,
}

impl PowerShell {
    /// The version of PowerShell, of Windows, and of the remoting protocol, as `$PSVersionTable` has them.
    pub(crate) fn versions(self) -> [&'static str; 3] {
        match self {
            PowerShell::V4 => ["4.0", "6.3.9600.17400", "2.2"],
            PowerShell::Simulated | PowerShell::Engine => ["5.1.14393.2248", "10.0.14393.2248", "2.3"],
        }
    }
}

impl SqlServerVersion {
    /// Every version, the oldest first.
    pub const ALL: [SqlServerVersion; 7] = [
        SqlServerVersion::V2008R2,
        SqlServerVersion::V2012,
        SqlServerVersion::V2014,
        SqlServerVersion::V2016,
        SqlServerVersion::V2017,
        SqlServerVersion::V2019,
        SqlServerVersion::V2022,
    ];

    /// `ProductVersion`: of the last service pack or an update that was public; of 2022 the recorded one.
    pub fn product_version(self) -> &'static str {
        match self {
            SqlServerVersion::V2008R2 => "10.50.6000.34",
            SqlServerVersion::V2012 => "11.0.7001.0",
            SqlServerVersion::V2014 => "12.0.6024.0",
            SqlServerVersion::V2016 => "13.0.6300.2",
            SqlServerVersion::V2017 => "14.0.3456.2",
            SqlServerVersion::V2019 => "15.0.4261.1",
            SqlServerVersion::V2022 => "16.0.4236.2",
        }
    }

    /// The same as messages show it: `13.00.6300`, as it was seen in those of error 3169.
    pub(crate) fn in_messages(self) -> String {
        let (major, minor, build) = self.numbers();
        format!("{major:02}.{minor:02}.{build:04}")
    }

    /// Major number, minor number and build.
    pub(crate) fn numbers(self) -> (u8, u8, u16) {
        let mut parts = self.product_version().split('.');
        let mut next = || parts.next().and_then(|p| p.parse::<u16>().ok()).unwrap_or(0);
        let (major, minor, build) = (next(), next(), next());
        (u8::try_from(major).unwrap_or(0), u8::try_from(minor).unwrap_or(0), build)
    }
}

/// How the resource of the lab logs on to the Management Shells. The hosts themselves take both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Authentication {
    /// Basic over TLS.
    Basic,
    /// NTLM over HTTP, messages sealed.
    Negotiate,
}

/// A store of the pool: which of the topology's databases a data centre has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Store {
    /// The primary one.
    Primary,
    /// The backup one.
    Backup,
}

impl Store {
    /// The pool's state while chat lives on it.
    pub fn pool_state(self) -> &'static str {
        match self {
            Store::Primary => "Normal",
            Store::Backup => "FailedOver",
        }
    }

    /// The store that chat lives on while the pool is in a state.
    pub fn of_pool_state(state: &str) -> Option<Store> {
        [Store::Primary, Store::Backup].into_iter().find(|s| s.pool_state().eq_ignore_ascii_case(state))
    }
}

/// One data centre.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DataCenter {
    /// Name, as the resource uses it.
    pub name: String,
    /// Host (FQDN) of the SQL Server of the store.
    pub sql_server: String,
    /// Host of its mirror.
    pub mirror: String,
    /// Host of the Management Shell (a Front End).
    pub management_shell: String,
    /// Chat servers.
    pub servers: Vec<String>,
    /// Instance name on both SQL Server hosts.
    pub instance: String,
    /// The share that log backups for this data centre's copy are written to, while the other one is live. It stands here: while
    /// this data centre is lost, nobody reaches it.
    pub backup_share: String,
    /// The folder on this data centre's SQL Server that they are copied to. A lab knows folders by their path alone, whatever host
    /// they are on: no two data centres have the same.
    pub copy_folder: String,
}

impl Default for Scenario {
    fn default() -> Self {
        let data_center = |name: &str, p: &str, copies: &str| DataCenter {
            name: name.into(),
            sql_server: format!("{p}-sql-1.litwareinc.com"),
            mirror: format!("{p}-sql-2.litwareinc.com"),
            management_shell: format!("{p}-fe-1.litwareinc.com"),
            servers: vec![format!("{p}-cs-1.litwareinc.com"), format!("{p}-cs-2.litwareinc.com")],
            instance: "CHAT".into(),
            backup_share: format!(r"\\{p}-fs-1\mgc-logs"),
            copy_folder: copies.into(),
        };
        Scenario {
            pool: "chat.litwareinc.com".into(),
            database: "mgc".into(),
            seed: 1,
            data_centers: vec![
                data_center("atlanta", "atl", r"F:\mgc-logs"),
                data_center("seattle", "sea", r"E:\mgc-logs"),
            ],
            active: "atlanta".into(),
            backups: 12,
            copied: 8,
            restored: 6,
            backup_bytes: 200_000,
            job_interval_ms: 900_000,
            restore_ms: 200,
            full_ms: 1_000,
            database_gb: 0,
            recovery_ms: 400,
            mirror_ms: 3_000,
            replication_ms: 500,
            drain_ms: 300,
            cmdlet_ms: 50,
            connect_ms: 400,
            standby: false,
            authentication: Authentication::Basic,
            hostile_text: None,
            win_rm: WinRm::default(),
            dialect: Dialect::default(),
            sql_server_of: BTreeMap::new(),
        }
    }
}

impl DataCenter {
    /// Its Front Ends: the host of its Management Shell, and as many more as its dialect says, named after it.
    pub fn front_ends(&self, dialect: Dialect) -> Vec<String> {
        let (name, domain) = self.management_shell.split_once('.').unwrap_or((&self.management_shell, ""));
        let more = (2..=dialect.front_ends).map(|n| {
            let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
            format!("{stem}{n}.{domain}")
        });
        std::iter::once(self.management_shell.clone()).chain(more).collect()
    }

    /// Whether a host is one of its Front Ends. Asked at every moment of a simulated night, so it makes no texts.
    fn has_front_end(&self, host: &str, dialect: Dialect) -> bool {
        if host.eq_ignore_ascii_case(&self.management_shell) {
            return true;
        }
        let (name, domain) = self.management_shell.split_once('.').unwrap_or((&self.management_shell, ""));
        let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let Some((named, within)) = host.split_once('.') else { return false };
        let Some((start, number)) = named.split_at_checked(stem.len()) else { return false };
        let number = number.parse::<u8>().ok().filter(|_| !number.starts_with(['0', '+']));
        within.eq_ignore_ascii_case(domain)
            && start.eq_ignore_ascii_case(stem)
            && number.is_some_and(|n| (2..=dialect.front_ends).contains(&n))
    }
}

impl Scenario {
    /// Milliseconds that a full backup takes, and as many that restoring it takes.
    pub fn full_takes(&self) -> u64 {
        self.full_ms.saturating_add(self.database_gb.saturating_mul(GIGABYTE_MS))
    }

    /// Milliseconds that building a mirror takes: a full backup and its restore are part of that.
    pub fn mirror_takes(&self) -> u64 {
        self.mirror_ms.saturating_add(self.database_gb.saturating_mul(2 * GIGABYTE_MS))
    }

    /// The scenario with its data centres as its dialect has them.
    pub(crate) fn in_dialect(mut self) -> Scenario {
        for d in &mut self.data_centers {
            if self.dialect.long_host_names {
                for server in &mut d.servers {
                    let (name, domain) = server.split_once('.').unwrap_or((server, ""));
                    let long = name.replacen("-cs-", "-persistentchat-", 1);
                    *server = format!("{long}.{domain}");
                }
            }
            if !self.dialect.named_instances {
                d.instance.clear();
            }
        }
        self
    }

    /// Name of the data centre that a host stands in.
    pub fn data_center_of(&self, host: &str) -> Option<&str> {
        self.data_centers.get(self.place_of(host)?).map(|d| d.name.as_str())
    }

    /// The same as its place among the data centres.
    pub(crate) fn place_of(&self, host: &str) -> Option<usize> {
        self.data_centers.iter().position(|d| {
            [&d.sql_server, &d.mirror, &d.management_shell]
                .into_iter()
                .chain(&d.servers)
                .any(|h| h.eq_ignore_ascii_case(host))
                || d.has_front_end(host, self.dialect)
        })
    }

    /// The version of the SQL Servers of a data centre.
    pub(crate) fn version_of(&self, data_center: &str) -> SqlServerVersion {
        self.sql_server_of.get(data_center).copied().unwrap_or(self.dialect.sql_server)
    }

    /// A data centre by its name.
    pub fn data_center(&self, name: &str) -> Option<&DataCenter> {
        self.data_centers.iter().find(|d| d.name == name)
    }

    /// The data centre that is not the one of this name.
    pub fn opposite(&self, name: &str) -> Option<&DataCenter> {
        self.data_center(name).and_then(|_| self.data_centers.iter().find(|d| d.name != name))
    }

    /// The data centre that has a store.
    pub fn with_store(&self, store: Store) -> Option<&DataCenter> {
        match store {
            Store::Primary => self.data_centers.first(),
            Store::Backup => self.data_centers.get(1),
        }
    }

    /// The store that a data centre has, by the name of that.
    pub fn store_of(&self, data_center: &str) -> Option<Store> {
        let has = |s: &Store| self.with_store(*s).is_some_and(|d| d.name == data_center);
        [Store::Primary, Store::Backup].into_iter().find(has)
    }
}

#[cfg(test)]
mod tests {
    use super::{Dialect, Scenario};

    #[test]
    fn what_copies_a_whole_database_takes_as_long_as_that_is_large() {
        let of = |database_gb| Scenario { database_gb, ..Scenario::default() };
        let (empty, small, big) = (of(0), of(1), of(500));
        assert_eq!((empty.full_takes(), empty.mirror_takes()), (empty.full_ms, empty.mirror_ms));
        for takes in [Scenario::full_takes, Scenario::mirror_takes] {
            let more = |s: &Scenario| takes(s) - takes(&empty);
            assert!(more(&small) > 0);
            assert_eq!(more(&big), 500 * more(&small));
        }
        assert_eq!(big.mirror_takes() - empty.mirror_takes(), 2 * (big.full_takes() - empty.full_takes()));
    }

    #[test]
    fn whoever_is_listed_as_a_front_end_is_one_and_nobody_else() {
        let dialect = Dialect { front_ends: 3, ..Dialect::default() };
        let scenario = Scenario { dialect, ..Scenario::default() };
        let ours = &scenario.data_centers[0];
        let listed = ours.front_ends(scenario.dialect);
        assert_eq!(listed.len(), 3);
        for host in &listed {
            assert!(ours.has_front_end(host, scenario.dialect), "{host}");
            assert!(ours.has_front_end(&host.to_uppercase(), scenario.dialect), "{host}");
        }
        let (first, second) = (listed[0].as_str(), listed[1].as_str());
        let (named, within) = second.split_once('.').expect("a name with its domain");
        let stem = named.trim_end_matches('2');
        for foreign in [
            format!("{stem}4.{within}"),
            format!("{stem}02.{within}"),
            format!("{stem}+2.{within}"),
            format!("{stem}.{within}"),
            format!("{named}.elsewhere.example"),
            named.to_string(),
            String::new(),
            "é".into(),
            first.replace('.', ""),
        ] {
            assert!(!ours.has_front_end(&foreign, scenario.dialect), "{foreign}");
            assert!(!listed.contains(&foreign));
        }
    }
}
