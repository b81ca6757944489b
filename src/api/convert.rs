//! From the resource to the domain, validated again: an API server with an older definition is no proof.

use std::time::Duration;

use super::v1alpha1 as v1;
use crate::domain::consent::Consent;
use crate::domain::pool::{
    Authentication, BackupFiles, ConsentPolicy, DataCenter, LogShippingFolders, ManagementShell, Policy,
    Pool, SqlServer, Store, Tls,
};
use crate::domain::problem::{Problem, Reason};
use crate::domain::text::clean;

/// WinRM over HTTP.
const WINRM_HTTP: i32 = 5985;

struct Checks(Vec<Problem>);

impl Checks {
    fn wrong(&mut self, field: &str, what: &str) {
        self.0.push(Problem::ask(Reason::InvalidSpec, format!("{field}: {what}"), "Correct the resource"));
    }
    fn unsupported(&mut self, field: &str, what: &str, fix: &str) {
        self.0.push(Problem::refuse(
            Reason::NotSupported,
            format!("{field}: {what} is not part of this version"),
            fix,
        ));
    }
    fn host(&mut self, field: &str, s: &str) -> String {
        let label = |l: &str| {
            !l.is_empty()
                && l.len() <= 63
                && !l.starts_with('-')
                && !l.ends_with('-')
                && l.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        };
        if s.is_empty() || s.len() > 253 || !s.split('.').all(label) {
            self.wrong(field, &format!("{:?} is no host name", clean(s)));
        }
        s.to_lowercase()
    }
    fn folder(&mut self, field: &str, s: &str) -> String {
        let bad = |c: char| c.is_control() || "'\"[]<>|*?/;`".contains(c);
        if s.len() < 3
            || s.contains("..")
            || s.chars().any(bad)
            || !(s.starts_with(r"\\") || s.get(1..3) == Some(r":\"))
        {
            self.wrong(field, &format!("{:?} is no Windows folder", clean(s)));
        }
        s.to_string()
    }
    /// A name of letters, digits and a few signs that mean nothing anywhere.
    fn name(&mut self, field: &str, s: &str) -> String {
        let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if s.is_empty() || s.len() > 128 || !s.chars().all(good) {
            self.wrong(field, &format!("{:?} is no name of letters, digits, '.', '_' and '-'", clean(s)));
        }
        s.to_string()
    }
    fn port(&mut self, field: &str, port: i32) -> u16 {
        u16::try_from(port).ok().filter(|p| *p > 0).unwrap_or_else(|| {
            self.wrong(field, &format!("{port} is no port"));
            0
        })
    }
    fn tls(t: Option<&v1::Tls>) -> Tls {
        Tls { ca: t.and_then(|t| t.ca_ref.as_ref()).map(|c| (c.name.clone(), c.key.clone())) }
    }
    fn sql(&mut self, field: String, s: &v1::SqlServer) -> SqlServer {
        if s.instance.as_ref().is_some_and(|i| {
            i.is_empty() || i.len() > 16 || !i.chars().all(|c| c.is_ascii_alphanumeric() || "_$#".contains(c))
        }) {
            self.wrong(&format!("{field}.instance"), "is no instance name");
        }
        SqlServer {
            host: self.host(&format!("{field}.host"), &s.host),
            instance: s.instance.clone(),
            port: self.port(&format!("{field}.port"), s.port),
            credentials: s.credentials_secret_ref.name.clone(),
            tls: Checks::tls(s.tls.as_ref()),
            field,
        }
    }
    fn files(&mut self, field: &str, f: &v1::Files) -> String {
        match (&f.volume, &f.smb) {
            (Some(volume), None) => volume.clone(),
            (None, Some(_)) => {
                self.unsupported(&format!("{field}.smb"), "smb", "Mount the share, and name the volume");
                String::new()
            }
            (Some(_), Some(_)) | (None, None) => {
                self.wrong(field, "give exactly one of volume and smb");
                String::new()
            }
        }
    }
    fn data_center(&mut self, index: usize, all: &[v1::DataCenter]) -> Option<DataCenter> {
        let d = all.get(index)?;
        let field = format!("spec.dataCenters[{index}]");
        let servers: Vec<String> = d
            .servers
            .iter()
            .enumerate()
            .map(|(n, s)| self.host(&format!("{field}.servers[{n}]"), s))
            .collect();
        let low_latency: Vec<String> = all
            .iter()
            .filter(|o| d.low_latency_to.contains(&o.name))
            .flat_map(|o| o.servers.iter().map(|s| s.to_lowercase()))
            .collect();
        let active: Vec<String> = match &d.active_servers {
            Some(list) => list.iter().map(|s| s.to_lowercase()).collect(),
            None => servers.clone(),
        };
        if active.is_empty() || active.len() > 4 {
            self.wrong(
                &format!("{field}.activeServers"),
                &format!("{} servers; 1 to 4 can be active", active.len()),
            );
        }
        for (n, s) in active.iter().enumerate() {
            if !servers.contains(s) && !low_latency.contains(s) {
                self.wrong(
                    &format!("{field}.activeServers[{n}]"),
                    &format!(
                        "{:?} is no server of {} or of a low-latency data centre",
                        clean(s),
                        clean(&d.name)
                    ),
                );
            }
        }
        if d.mirror.is_some() && d.mirror_file_share.is_none() {
            self.wrong(&format!("{field}.mirrorFileShare"), "is needed for the mirror");
        }
        let m = &d.management_shell;
        let shell = format!("{field}.managementShell");
        let authentication = match m.authentication {
            v1::Authentication::Basic => Authentication::Basic,
            v1::Authentication::Negotiate => Authentication::Negotiate,
            v1::Authentication::Kerberos => {
                self.unsupported(
                    &format!("{shell}.authentication"),
                    &format!("{:?}", m.authentication),
                    "Use Negotiate, or Basic over TLS (port 5986)",
                );
                Authentication::Negotiate
            }
        };
        if m.authentication == v1::Authentication::Basic && m.port == WINRM_HTTP {
            self.wrong(&format!("{shell}.port"), "Basic sends the password: use 5986 with TLS");
        }
        Some(DataCenter {
            name: self.name(&format!("{field}.name"), &d.name),
            store: match d.store {
                v1::Store::Primary => Store::Primary,
                v1::Store::Backup => Store::Backup,
            },
            index,
            sql_server: self.sql(format!("{field}.sqlServer"), &d.sql_server),
            mirror: d.mirror.as_ref().map(|x| self.sql(format!("{field}.mirror"), x)),
            mirror_file_share: d
                .mirror_file_share
                .as_ref()
                .map(|s| self.folder(&format!("{field}.mirrorFileShare"), s)),
            management_shell: ManagementShell {
                host: self.host(&format!("{shell}.host"), &m.host),
                port: self.port(&format!("{shell}.port"), m.port),
                configuration_name: self.name(&format!("{shell}.configurationName"), &m.configuration_name),
                authentication,
                credentials: m.credentials_secret_ref.name.clone(),
                tls: (m.port != WINRM_HTTP).then(|| Checks::tls(m.tls.as_ref())),
                field: shell,
            },
            servers,
            active_servers: active,
        })
    }
}

/// The pool that a resource describes, or everything that is wrong with it.
pub fn pool(spec: &v1::PersistentChatFailoverSpec) -> Result<Pool, Vec<Problem>> {
    let mut c = Checks(Vec::new());
    let fqdn = c.host("spec.pool", &spec.pool);
    let database = spec.database.clone();
    let regular = |x: char| x.is_ascii_alphanumeric() || "_@$#-".contains(x);
    if database.is_empty() || database.len() > 128 || !database.chars().all(regular) {
        c.wrong("spec.database", &format!("{:?} is no database name", clean(&database)));
    }
    if ["master", "msdb", "model", "tempdb", "mgccomp"].contains(&database.to_lowercase().as_str()) {
        c.wrong("spec.database", &format!("{database} is never touched; name the content database"));
    }
    let all = &spec.data_centers;
    if all.len() != 2 {
        c.wrong("spec.dataCenters", &format!("{} data centres; there must be two", all.len()));
    }
    if !all.iter().any(|d| d.name == spec.active_data_center) {
        c.wrong(
            "spec.activeDataCenter",
            &format!("{:?} is none of the dataCenters", clean(&spec.active_data_center)),
        );
    }
    let of = |store: v1::Store| all.iter().position(|d| d.store == store);
    let (primary, backup) = (of(v1::Store::Primary), of(v1::Store::Backup));
    if primary.is_none() || backup.is_none() {
        c.wrong("spec.dataCenters", "one must have store Primary, the other store Backup");
    }
    let primary = primary.and_then(|i| c.data_center(i, all));
    let backup = backup.and_then(|i| c.data_center(i, all));
    let log_shipping = LogShippingFolders {
        backup_share: c.folder("spec.logShipping.backupShare", &spec.log_shipping.backup_share),
        copy_folder: c.folder("spec.logShipping.copyFolder", &spec.log_shipping.copy_folder),
    };
    let backup_files = BackupFiles {
        backup_share: c.files("spec.backupFiles.backupShare", &spec.backup_files.backup_share),
        copy_folder: c.files("spec.backupFiles.copyFolder", &spec.backup_files.copy_folder),
    };
    match spec.policy.when_primary_answers {
        v1::WhenPrimaryAnswers::Refuse => {}
        v1::WhenPrimaryAnswers::PlannedSwitch => {
            c.unsupported("spec.policy.whenPrimaryAnswers", "PlannedSwitch", "Use Refuse");
        }
    }
    let mirror_deadline = spec.policy.mirror_deadline.as_ref().and_then(|text| {
        let parsed = text.parse::<jiff::SignedDuration>().ok().and_then(|d| Duration::try_from(d).ok());
        if parsed.is_none() {
            c.wrong("spec.policy.mirrorDeadline", &format!("{:?} is no duration like 15m", clean(text)));
        }
        parsed
    });
    match (primary, backup) {
        (Some(primary), Some(backup)) if c.0.is_empty() => Ok(Pool {
            fqdn,
            database,
            primary,
            backup,
            log_shipping,
            backup_files,
            policy: Policy {
                consent: match spec.policy.consent {
                    v1::ConsentPolicy::WhenNeeded => ConsentPolicy::WhenNeeded,
                    v1::ConsentPolicy::BeforeRecovery => ConsentPolicy::BeforeRecovery,
                },
                mirror_deadline,
            },
        }),
        _ => Err(c.0),
    }
}

/// The consent that a resource carries.
pub fn consent(spec: &v1::PersistentChatFailoverSpec) -> Option<Consent> {
    spec.consent.as_ref().map(|c| Consent {
        transition: c.transition.clone(),
        situation: c.situation.clone(),
        by: c.by.clone(),
    })
}
