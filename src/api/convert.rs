//! From the resource to the domain, validated again: an API server with an older definition is no proof.

use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::v1alpha1 as v1;
use crate::domain::consent::Consent;
use crate::domain::pool::{
    Authentication, ConsentPolicy, DataCenter, Folder, ManagementShell, Policy, Pool, Shipping, SqlServer,
    Tls, WhenActiveAnswers,
};
use crate::domain::problem::{Problem, Reason};
use crate::domain::side::Sides;
use crate::domain::situation::Moved;
use crate::domain::text::{self, clean};
use crate::domain::wish::{LastWish, WishState};

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
    fn duration(&mut self, field: &str, text: Option<&String>) -> Option<Duration> {
        text::duration(text?).map_err(|why| self.wrong(field, &why)).ok()
    }
    fn volume(&mut self, field: &str, volume: Option<&String>, smb: Option<&v1::Smb>) -> String {
        match (volume, smb) {
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
    fn shipping(&mut self, field: &str, l: &v1::LogShipping) -> Shipping {
        let (share, copy) = (format!("{field}.backupShare"), format!("{field}.copyFolder"));
        if !l.backup_share.unc.starts_with(r"\\") {
            self.wrong(&format!("{share}.unc"), &format!("{:?} is no UNC", clean(&l.backup_share.unc)));
        }
        Shipping {
            backup_share: Folder {
                path: self.folder(&format!("{share}.unc"), &l.backup_share.unc),
                volume: self.volume(&share, l.backup_share.volume.as_ref(), l.backup_share.smb.as_ref()),
                field: share,
            },
            copy_folder: Folder {
                path: self.folder(&format!("{copy}.path"), &l.copy_folder.path),
                volume: self.volume(&copy, l.copy_folder.volume.as_ref(), l.copy_folder.smb.as_ref()),
                field: copy,
            },
        }
    }
    fn shell(&mut self, field: String, m: &v1::ManagementShell) -> ManagementShell {
        let authentication = match m.authentication {
            v1::Authentication::Basic => Authentication::Basic,
            v1::Authentication::Negotiate => Authentication::Negotiate,
            v1::Authentication::Kerberos => {
                self.unsupported(
                    &format!("{field}.authentication"),
                    &format!("{:?}", m.authentication),
                    "Use Negotiate, or Basic over TLS (port 5986)",
                );
                Authentication::Negotiate
            }
        };
        if m.authentication == v1::Authentication::Basic && m.port == WINRM_HTTP {
            self.wrong(&format!("{field}.port"), "Basic sends the password: use 5986 with TLS");
        }
        ManagementShell {
            host: self.host(&format!("{field}.host"), &m.host),
            port: self.port(&format!("{field}.port"), m.port),
            configuration_name: self.name(&format!("{field}.configurationName"), &m.configuration_name),
            authentication,
            credentials: m.credentials_secret_ref.name.clone(),
            tls: (m.port != WINRM_HTTP).then(|| Checks::tls(m.tls.as_ref())),
            field,
        }
    }
    /// The servers to be active when a data centre is, out of its own and of those near it.
    fn active_servers(&mut self, field: &str, d: &v1::DataCenter, all: &[v1::DataCenter]) -> Vec<String> {
        let servers = d.servers.iter().map(|s| s.to_lowercase());
        let Some(list) = &d.active_servers else {
            let all_of_them: Vec<String> = servers.collect();
            self.count_of_active(field, all_of_them.len());
            return all_of_them;
        };
        let near = all.iter().filter(|o| d.low_latency_to.contains(&o.name)).flat_map(|o| &o.servers);
        let may: Vec<String> = servers.chain(near.map(|s| s.to_lowercase())).collect();
        let active: Vec<String> = list.iter().map(|s| s.to_lowercase()).collect();
        self.count_of_active(field, active.len());
        for (n, s) in active.iter().enumerate().filter(|(_, s)| !may.contains(s)) {
            self.wrong(
                &format!("{field}.activeServers[{n}]"),
                &format!("{:?} is no server of {} or of a low-latency data centre", clean(s), clean(&d.name)),
            );
        }
        active
    }
    fn count_of_active(&mut self, field: &str, count: usize) {
        if !(1..=4).contains(&count) {
            self.wrong(&format!("{field}.activeServers"), &format!("{count} servers; 1 to 4 can be active"));
        }
    }
    fn data_center(&mut self, index: usize, all: &[v1::DataCenter]) -> Option<DataCenter> {
        let d = all.get(index)?;
        let field = format!("spec.dataCenters[{index}]");
        if d.mirror.is_some() && d.mirror_file_share.is_none() {
            self.wrong(&format!("{field}.mirrorFileShare"), "is needed for the mirror");
        }
        let servers = d.servers.iter().enumerate();
        Some(DataCenter {
            name: self.name(&format!("{field}.name"), &d.name),
            index,
            sql_server: self.sql(format!("{field}.sqlServer"), &d.sql_server),
            mirror: d.mirror.as_ref().map(|x| self.sql(format!("{field}.mirror"), x)),
            mirror_file_share: d
                .mirror_file_share
                .as_ref()
                .map(|s| self.folder(&format!("{field}.mirrorFileShare"), s)),
            management_shell: self.shell(format!("{field}.managementShell"), &d.management_shell),
            servers: servers.map(|(n, s)| self.host(&format!("{field}.servers[{n}]"), s)).collect(),
            active_servers: self.active_servers(&field, d, all),
            log_shipping: d.log_shipping.as_ref().map(|l| self.shipping(&format!("{field}.logShipping"), l)),
        })
    }
    /// Both data centres, each on the side of its store.
    fn sites(&mut self, all: &[v1::DataCenter]) -> Option<Sides<DataCenter>> {
        if all.len() != 2 {
            self.wrong("spec.dataCenters", &format!("{} data centres; there must be two", all.len()));
        }
        if let [a, b, ..] = all
            && a.name == b.name
        {
            self.wrong("spec.dataCenters", &format!("both are called {}", clean(&a.name)));
        }
        let of = |store: v1::Store| all.iter().position(|d| d.store == store);
        let (primary, backup) = (of(v1::Store::Primary), of(v1::Store::Backup));
        if primary.is_none() || backup.is_none() {
            self.wrong("spec.dataCenters", "one must have store Primary, the other store Backup");
        }
        let primary = primary.and_then(|i| self.data_center(i, all));
        let backup = backup.and_then(|i| self.data_center(i, all));
        Some(Sides::new(primary?, backup?))
    }
    fn policy(&mut self, p: &v1::Policy) -> Policy {
        Policy {
            consent: match p.consent {
                v1::ConsentPolicy::WhenNeeded => ConsentPolicy::WhenNeeded,
                v1::ConsentPolicy::BeforeRecovery => ConsentPolicy::BeforeRecovery,
            },
            mirror_deadline: self.duration("spec.policy.mirrorDeadline", p.mirror_deadline.as_ref()),
            when_active_answers: match p.when_active_answers {
                v1::WhenActiveAnswers::Refuse => WhenActiveAnswers::Refuse,
                v1::WhenActiveAnswers::Switch => WhenActiveAnswers::Switch,
            },
            drain_deadline: self.duration("spec.policy.drainDeadline", p.drain_deadline.as_ref()),
        }
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
    if !spec.data_centers.iter().any(|d| d.name == spec.active_data_center) {
        c.wrong(
            "spec.activeDataCenter",
            &format!("{:?} is none of the dataCenters", clean(&spec.active_data_center)),
        );
    }
    let sites = c.sites(&spec.data_centers);
    let policy = c.policy(&spec.policy);
    match sites {
        Some(sites) if c.0.is_empty() => Ok(Pool { fqdn, database, sites, policy }),
        Some(_) | None => Err(c.0),
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

/// The last wish that was taken up, as a status has it. None: it has none, or one of a data centre or a state that nobody knows.
pub fn last_wish(pool: &Pool, status: Option<&v1::PersistentChatFailoverStatus>) -> Option<LastWish> {
    let wish = status?.wish.as_ref()?;
    let states =
        [WishState::Accepted, WishState::Planned, WishState::Fulfilled, WishState::Refused, WishState::Drift];
    Some(LastWish {
        active: pool.side_of(&wish.active_data_center)?,
        uid: wish.uid.clone(),
        generation: wish.generation,
        state: states.into_iter().find(|s| word(*s) == wish.state)?,
        // A status has whole seconds. What was said within that second counts as said before: what was refused stays refused.
        at: wish.at.0.checked_add(SignedDuration::new(0, 999_999_999)).unwrap_or(wish.at.0),
        uttered_at: wish.uttered_at.as_ref().map(|t| t.0),
    })
}

/// The newest failover or switch that says where chat is, as a status has it.
pub fn moved(pool: &Pool, status: Option<&v1::PersistentChatFailoverStatus>) -> Option<Moved> {
    let last = status?.last_move.as_ref()?;
    Some(Moved {
        number: u64::try_from(last.number).ok()?,
        started: last.started.0,
        to: pool.side_of(&last.data_center)?,
        ended: last.ended,
        tail: last.tail.as_ref().map(|t| t.0),
        reopened: last.reopened,
    })
}

/// The same, for a status.
pub fn last_move(pool: &Pool, moved: &Moved) -> v1::LastMove {
    v1::LastMove {
        // A pool does not see so many.
        number: i64::try_from(moved.number).unwrap_or(i64::MAX),
        started: Time(moved.started),
        data_center: pool.name(moved.to).into(),
        ended: moved.ended,
        tail: moved.tail.map(Time),
        reopened: moved.reopened,
    }
}

/// The last wish that was taken up, for a status.
pub fn wish_status(pool: &Pool, wish: &LastWish) -> v1::WishStatus {
    v1::WishStatus {
        active_data_center: pool.name(wish.active).into(),
        uid: wish.uid.clone(),
        generation: wish.generation,
        state: word(wish.state).into(),
        at: Time(wish.at),
        uttered_at: wish.uttered_at.map(Time),
    }
}

fn word(state: WishState) -> &'static str {
    match state {
        WishState::Accepted => "Accepted",
        WishState::Planned => "Planned",
        WishState::Fulfilled => "Fulfilled",
        WishState::Refused => "Refused",
        WishState::Drift => "Drift",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use jiff::Timestamp;
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::side::Side;
    use crate::domain::wish::Wished;

    /// Log shipping towards the backup store only, which is named first.
    fn spec() -> Value {
        let data_center = |name: &str, store: &str| {
            json!({
                "name": name, "store": store, "servers": [format!("{name}-cs.x")],
                "sqlServer": {"host": format!("{name}-sql.x"), "credentialsSecretRef": {"name": "s"}},
                "managementShell": {"host": format!("{name}-fe.x"), "authentication": "Basic", "credentialsSecretRef": {"name": "s"}},
            })
        };
        let mut backup = data_center("seattle", "Backup");
        backup["logShipping"] = json!({
            "backupShare": {"unc": r"\\fs\logs", "volume": "logs"},
            "copyFolder": {"path": r"E:\logs", "volume": "copy"},
        });
        json!({
            "pool": "chat.x", "activeDataCenter": "atlanta",
            "dataCenters": [backup, data_center("atlanta", "Primary")],
        })
    }
    fn read(spec: Value) -> Result<Pool, Vec<Problem>> {
        pool(&serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn a_data_centre_stands_on_the_side_of_its_store_and_each_folder_knows_its_field() {
        let pool = read(spec()).unwrap();
        assert_eq!((pool.name(Side::Primary), pool.name(Side::Backup)), ("atlanta", "seattle"));
        assert_eq!(pool.sites[Side::Primary].log_shipping, None);
        let shipping = pool.sites[Side::Backup].log_shipping.as_ref().unwrap();
        let folder = |path: &str, volume: &str, field: &str| Folder {
            path: path.into(),
            volume: volume.into(),
            field: format!("spec.dataCenters[0].logShipping.{field}"),
        };
        assert_eq!(shipping.backup_share, folder(r"\\fs\logs", "logs", "backupShare"));
        assert_eq!(shipping.copy_folder, folder(r"E:\logs", "copy", "copyFolder"));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_field() {
        let share = "/dataCenters/0/logShipping/backupShare";
        let smb = json!({"server": "fs", "share": "logs"});
        let cases = [
            (format!("{share}/unc"), json!(r"E:\logs"), Reason::InvalidSpec, "backupShare.unc"),
            (format!("{share}/unc"), json!(r"\\fs\..\logs"), Reason::InvalidSpec, "backupShare.unc"),
            (share.into(), json!({"unc": r"\\fs\logs"}), Reason::InvalidSpec, "exactly one"),
            (
                share.into(),
                json!({"unc": r"\\fs\logs", "volume": "v", "smb": smb}),
                Reason::InvalidSpec,
                "exactly one",
            ),
            (share.into(), json!({"unc": r"\\fs\logs", "smb": smb}), Reason::NotSupported, "backupShare.smb"),
            ("/policy".into(), json!({"drainDeadline": "soon"}), Reason::InvalidSpec, "drainDeadline"),
            ("/policy".into(), json!({"mirrorDeadline": "soon"}), Reason::InvalidSpec, "mirrorDeadline"),
            ("/dataCenters/1/name".into(), json!("seattle"), Reason::InvalidSpec, "both are called seattle"),
            ("/activeDataCenter".into(), json!("denver"), Reason::InvalidSpec, "none of the dataCenters"),
        ];
        for (path, value, reason, said) in cases {
            let mut bad = spec();
            bad["policy"] = json!({});
            *bad.pointer_mut(&path).unwrap() = value;
            let problems = read(bad).unwrap_err();
            assert!(
                problems.iter().any(|p| p.reason == reason && p.what.contains(said)),
                "{path}: {problems:?}"
            );
        }
        let mut good = spec();
        good["policy"] =
            json!({"whenActiveAnswers": "Switch", "drainDeadline": "5m", "mirrorDeadline": "1h30m"});
        let policy = read(good).unwrap().policy;
        assert_eq!(policy.mirror_deadline, Some(Duration::from_mins(90)));
        assert_eq!(policy.drain_deadline, Some(Duration::from_mins(5)));
        assert_eq!(policy.when_active_answers, WhenActiveAnswers::Switch);
        assert_eq!(read(spec()).unwrap().policy.when_active_answers, WhenActiveAnswers::Refuse);
    }

    fn stored(pool: &Pool, wish: &LastWish) -> v1::PersistentChatFailoverStatus {
        let status = v1::PersistentChatFailoverStatus {
            wish: Some(wish_status(pool, wish)),
            ..v1::PersistentChatFailoverStatus::default()
        };
        serde_json::from_value(serde_json::to_value(status).unwrap()).unwrap()
    }

    #[test]
    fn a_wish_comes_back_from_the_status_and_what_was_refused_stays_refused() {
        let pool = read(spec()).unwrap();
        let said: Timestamp = "2026-01-01T12:00:00.5Z".parse().unwrap();
        let at: Timestamp = "2026-01-01T12:00:00.8Z".parse().unwrap();
        for state in [
            WishState::Accepted,
            WishState::Planned,
            WishState::Fulfilled,
            WishState::Refused,
            WishState::Drift,
        ] {
            let wish = LastWish {
                active: Side::Backup,
                uid: "u".into(),
                generation: 3,
                state,
                at,
                uttered_at: None,
            };
            let back = last_wish(&pool, Some(&stored(&pool, &wish))).unwrap();
            assert!(
                at <= back.at && back.at.duration_since(at) < SignedDuration::from_secs(1),
                "{}",
                back.at
            );
            assert_eq!(LastWish { at, ..back.clone() }, wish);
            let again = Wished { active: Side::Backup, uid: "u", generation: 3, uttered_at: Some(said) };
            assert_eq!(again.is_uttered(Some(&back), at), state == WishState::Accepted, "{state:?}");
            // Written and read again and again, it does not move.
            assert_eq!(last_wish(&pool, Some(&stored(&pool, &back))), Some(back));
        }
    }

    #[test]
    fn a_wish_that_nobody_understands_is_none() {
        let pool = read(spec()).unwrap();
        let wish = wish_status(
            &pool,
            &LastWish {
                active: Side::Backup,
                uid: "u".into(),
                generation: 3,
                state: WishState::Accepted,
                at: Timestamp::UNIX_EPOCH,
                uttered_at: None,
            },
        );
        let of = |wish: Option<v1::WishStatus>| {
            let status = v1::PersistentChatFailoverStatus { wish, ..Default::default() };
            last_wish(&pool, Some(&status))
        };
        assert!(of(Some(wish.clone())).is_some());
        assert_eq!(of(Some(v1::WishStatus { state: "accepted".into(), ..wish.clone() })), None);
        assert_eq!(of(Some(v1::WishStatus { active_data_center: "denver".into(), ..wish })), None);
        assert_eq!(of(None), None);
        assert_eq!(last_wish(&pool, None), None);
    }
}
