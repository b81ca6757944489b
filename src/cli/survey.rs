//! What a pool shows of what is believed of the products. Read-only.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::table::{self, Column};
use crate::api::convert;
use crate::api::v1alpha1::PersistentChatFailover;
use crate::domain::belief::{self, Asked, Belief, Seen};
use crate::domain::pool::Pool;
use crate::domain::problem::Reason;
use crate::domain::reading::Reading;
use crate::domain::side::{Place, Side, Sides};
use crate::domain::site::{Answer, Partner};
use crate::domain::situation::Situation;
use crate::domain::sql_server::Instance;
use crate::domain::text::{clean, clean_whole};
use crate::engine::{Pace, SystemClock, World, survey as look};
use crate::systems::Systems as _;
use crate::systems::management_shell::{ShellError, read as shell_read};
use crate::systems::real::RealSystems;
use crate::systems::secrets::SecretSource;
use crate::systems::settings::Settings;

/// How long a Management Shell host may take to open a shell.
const VERSION: Duration = Duration::from_secs(30);

/// What was found. No name of anything in the pool, and nothing of its content, stands in it: it may be sent to strangers.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Survey {
    /// Version of the program.
    pub version: &'static str,
    /// Each SQL Server of the resource.
    pub servers: Vec<Server>,
    /// The Management Shell of each side.
    pub management_shells: Vec<Shell>,
    /// What of Lync could not be read, by reason.
    pub lync: Vec<Reason>,
    /// Each belief.
    pub beliefs: Vec<Told>,
}

/// A SQL Server.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Server {
    /// The side, by the store that lives there.
    pub side: Side,
    /// Its place there.
    pub place: Place,
    /// What it shows; absent: nothing, or it was not asked.
    pub shows: Option<Shown>,
    /// Why it shows nothing.
    pub why: Option<Reason>,
}

/// A Management Shell.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shell {
    /// The side.
    pub side: Side,
    /// Version of its PowerShell, as the host tells it; absent: nothing, or it was not told.
    pub power_shell: Option<String>,
    /// Why it tells nothing.
    pub why: Option<Reason>,
}

/// What each Management Shell host says of its PowerShell's version, if it says anything.
pub type Versions = Sides<Reading<Option<String>>>;

/// What a SQL Server shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// Product version.
    pub version: String,
    /// Edition.
    pub edition: String,
    /// Whether the login is sysadmin.
    pub sysadmin: bool,
    /// State of the database; absent: it has none of that name.
    pub database: Option<&'static str>,
    /// Whether it is mirrored, as far as the login may see.
    pub mirrored: bool,
    /// What could not be read of it, by reason.
    pub unknown: Vec<Reason>,
}

/// What was found of a belief.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// Which one.
    pub belief: Belief,
    /// What shows it, or does not.
    #[serde(flatten)]
    pub seen: Seen,
}

/// Surveys a pool: a look, and what only a survey asks. With what a human reads: there the servers bear their names.
pub async fn survey(
    resource: &PersistentChatFailover,
    settings: Settings,
    secrets: Arc<dyn SecretSource>,
) -> Result<(Survey, String), String> {
    let pool = convert::pool(&resource.spec)
        .map_err(|p| p.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    let pool = Arc::new(pool);
    let silence = settings.silence;
    let systems = RealSystems::new(pool.clone(), Arc::new(settings), secrets).watching();
    let pace = Pace { silence, poll: Duration::from_millis(500) };
    let world = World { systems: &systems, pool: &pool, clock: &SystemClock, pace };
    let (s, asked) = look::survey(&world).await;
    let versions = versions(&systems, &pool).await;
    systems.close().await;
    let found = Survey::of(&pool, &s, &asked, &versions);
    let text = found.told(&pool, &s, &versions);
    Ok((found, text))
}

/// Asks the shells that a look has used, or opens them.
async fn versions(systems: &RealSystems, pool: &Pool) -> Versions {
    let of = |side: Side| async move {
        let shell = &pool.sites[side].management_shell;
        let told = tokio::time::timeout(VERSION, systems.shell().version(shell)).await;
        let told = told.unwrap_or_else(|_| {
            Err(ShellError::Unreachable(format!("it opened no shell within {} s", VERSION.as_secs())))
        });
        told.map_err(|e| shell_read::problem(&e, shell, "opening a shell")).into()
    };
    let (primary, backup) = futures::join!(of(Side::Primary), of(Side::Backup));
    Sides::new(primary, backup)
}

impl Survey {
    /// What a situation shows.
    pub fn of(pool: &Pool, s: &Situation, asked: &Asked, versions: &Versions) -> Survey {
        let servers = Side::BOTH.into_iter().flat_map(|side| {
            s.sites[side].partners().map(move |(place, p)| Server::of(side, place, &p.answer))
        });
        let lync = [
            unknown(&s.lync.state),
            unknown(&s.lync.service),
            unknown(&s.lync.central_management),
            unknown(&s.lync.replicas),
        ];
        let told = |b: &Belief| Told { belief: *b, seen: belief::seen(*b, pool, s, asked) };
        Survey {
            version: env!("CARGO_PKG_VERSION"),
            servers: servers.collect(),
            management_shells: versions.iter().map(|(side, said)| Shell::of(side, said)).collect(),
            lync: lync.into_iter().flatten().collect(),
            beliefs: Belief::ALL.iter().map(told).collect(),
        }
    }

    /// How many beliefs do not hold here.
    pub fn contradicted(&self) -> usize {
        self.beliefs.iter().filter(|t| t.seen.is_contradicted()).count()
    }

    fn told(&self, pool: &Pool, s: &Situation, versions: &Versions) -> String {
        let mut out = format!("WHAT WAS LOOKED AT (at {})\n", s.at);
        for side in Side::BOTH {
            for (_, partner) in s.sites[side].partners() {
                let name = format!("{} {}", clean(pool.name(side)), clean(&partner.server));
                let _ = writeln!(out, "  {name}: {}", server(pool, partner));
            }
            let name =
                format!("{} {}", clean(pool.name(side)), clean(&pool.sites[side].management_shell.host));
            let _ = writeln!(out, "  {name}: {}", power_shell(&versions[side]));
        }
        let _ = writeln!(out, "\nWHAT IS BELIEVED, AND WHAT SHOWS IT HERE (docs/assumptions.md)");
        let rows = self.beliefs.iter().map(|t| {
            let (verdict, what) = match &t.seen {
                Seen::Confirmed { what } => ("confirmed", what.clone()),
                Seen::Contradicted { what, stops: None } => ("CONTRADICTED", what.clone()),
                Seen::Contradicted { what, stops: Some(step) } => {
                    ("CONTRADICTED", format!("{what}; {} cannot reach its goal", step.as_str()))
                }
                Seen::NotSeen { what, why: None } => ("not seen", what.clone()),
                Seen::NotSeen { what, why: Some(why) } => {
                    ("not seen", format!("{what}; it could not be read ({})", why.as_str()))
                }
            };
            vec![format!("  {verdict}"), format!("{:?}", t.belief), what]
        });
        let lines = table::lines(&[Column::Left, Column::Left, Column::Left], rows);
        let _ = writeln!(out, "{}", lines.join("\n"));
        out
    }
}

impl Server {
    fn of(side: Side, place: Place, answer: &Answer) -> Server {
        let instance = answer.instance();
        Server { side, place, shows: instance.ok().map(Shown::of), why: instance.err().map(|p| p.reason) }
    }
}

impl Shell {
    fn of(side: Side, said: &Reading<Option<String>>) -> Shell {
        Shell { side, power_shell: said.known().cloned().flatten(), why: unknown(said) }
    }
}

impl Shown {
    fn of(i: &Instance) -> Shown {
        let database = i.database.as_ref();
        let parts = [
            unknown(&i.secondary_half),
            unknown(&i.primary_half),
            unknown(&i.jobs),
            unknown(&i.sessions),
            unknown(&i.restores),
            unknown(&i.history),
            unknown(&i.own_backups),
            unknown(&i.records),
        ];
        Shown {
            version: i.version.clone(),
            edition: i.edition.clone(),
            sysadmin: i.sysadmin,
            database: database.map(|d| d.state_text()),
            mirrored: database.is_some_and(|d| d.mirroring.is_some()),
            unknown: parts.into_iter().flatten().collect(),
        }
    }
}

fn unknown<T>(r: &Reading<T>) -> Option<Reason> {
    r.get().err().map(|p| p.reason)
}

fn server(pool: &Pool, partner: &Partner) -> String {
    match partner.answer.instance() {
        Ok(i) => {
            let state = i.database.as_ref().map_or("missing", |d| d.state_text());
            let rights = if i.sysadmin { "sysadmin" } else { "no sysadmin" };
            let (edition, version) = (clean(&i.edition), clean(&i.version));
            format!("{edition}, {version}; the login is {rights}; {} is {state}", clean(&pool.database))
        }
        Err(p) => clean_whole(&p.message()),
    }
}

fn power_shell(said: &Reading<Option<String>>) -> String {
    match said {
        Reading::Known(Some(version)) => format!("PowerShell {}", clean(version)),
        Reading::Known(None) => "a PowerShell that does not tell its version".into(),
        Reading::Unknown(p) => format!("no answer: {}", clean_whole(&p.message())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::domain::problem::Problem;
    use crate::domain::step::StepId;
    use crate::engine::readiness::readiness;
    use crate::engine::recording::Recording;

    fn recorded() -> (Pool, Situation) {
        let text = include_str!("../../tests/recordings/decisions/the-primary-answers.json");
        let r = Recording::read(text).unwrap();
        (r.pool, r.situation)
    }

    fn instance(answer: &mut Answer) -> &mut Instance {
        match answer {
            Answer::Speaks(i) => i,
            other @ (Answer::TurnsAway(_) | Answer::Silent(_) | Answer::NotAsked(_)) => panic!("{other:?}"),
        }
    }

    /// What a change of a pool that confirms something makes of it, and whether a failover could begin then.
    fn after(belief: Belief, change: impl FnOnce(&mut Situation)) -> (Seen, Option<Problem>) {
        let (pool, mut s) = recorded();
        let before = belief::seen(belief, &pool, &s, &Asked::default());
        assert!(matches!(before, Seen::Confirmed { .. }), "{before:?}");
        assert_eq!(readiness(&pool, &s, Side::Primary), Ok(()));
        change(&mut s);
        (belief::seen(belief, &pool, &s, &Asked::default()), readiness(&pool, &s, Side::Primary).err())
    }

    fn addresses(list: &'static [&'static str]) -> impl FnOnce(&mut Situation) {
        move |s| {
            let reports = list.iter().map(|a| (a.to_string(), s.at)).collect();
            instance(&mut s.sites[Side::Primary].store.answer).server_identities = Reading::Known(reports);
        }
    }

    #[test]
    fn what_a_step_rests_on_holds_up_readiness_where_a_pool_contradicts_it() {
        let (seen, problem) = after(Belief::ServerAddress, addresses(&["net.tcp://elsewhere:8011/x"]));
        assert!(matches!(seen, Seen::Contradicted { stops: Some(StepId::ChatServing), .. }), "{seen:?}");
        let problem = problem.unwrap();
        assert_eq!(problem.reason, Reason::AssumptionContradicted);
        assert!(problem.what.contains("ServerAddress") && problem.fix.contains("survey"), "{problem}");
    }

    #[test]
    fn what_nothing_rests_on_alone_is_told_and_holds_nothing_up() {
        let (seen, problem) = after(Belief::ServerAddress, addresses(&["net.tcp://10.1.2.3:8011/x", "{0}"]));
        assert!(matches!(seen, Seen::Contradicted { stops: None, .. }), "{seen:?}");
        assert_eq!(problem, None);
        let (seen, problem) = after(Belief::ServerAddress, addresses(&[]));
        assert!(matches!(seen, Seen::NotSeen { .. }) && problem.is_none(), "{seen:?}");
        let no_role = |s: &mut Situation| {
            s.lync.services.values_mut().for_each(|role| *role = Reading::Known(None));
        };
        let (seen, problem) = after(Belief::ChatRole, no_role);
        assert!(matches!(seen, Seen::Contradicted { stops: None, .. }) && problem.is_none(), "{seen:?}");
    }

    #[test]
    fn a_copy_whose_files_show_no_redo_point_is_told_and_a_login_that_may_not_see_them_is_not() {
        let without = |sysadmin: bool| {
            move |s: &mut Situation| {
                let i = instance(&mut s.sites[Side::Backup].store.answer);
                i.sysadmin = sysadmin;
                i.database.as_mut().unwrap().redo = None;
            }
        };
        let (seen, problem) = after(Belief::RedoFiles, without(true));
        assert!(
            matches!(seen, Seen::Contradicted { stops: Some(StepId::LogBackupsApplied), .. }),
            "{seen:?}"
        );
        assert!(problem.is_some());
        assert!(matches!(after(Belief::RedoFiles, without(false)).0, Seen::NotSeen { .. }));
    }

    #[test]
    fn what_is_asked_for_a_survey_has_three_answers() {
        let (pool, s) = recorded();
        let verdict = |belief: Belief, asked: Asked| match belief::seen(belief, &pool, &s, &asked) {
            Seen::Confirmed { .. } => Some(true),
            Seen::Contradicted { stops, .. } => Some(stops.is_some()).filter(|stops| *stops),
            Seen::NotSeen { .. } => panic!("{belief:?}"),
        };
        let numbers = |last| Asked { missing_file: Some(Reading::Known((3201, last))), ..Asked::default() };
        assert_eq!(verdict(Belief::LastError, numbers(Some(3013))), Some(true));
        assert_eq!(verdict(Belief::LastError, numbers(Some(50000))), None);
        let cut_off = belief::seen(Belief::LastError, &pool, &s, &numbers(None));
        assert!(
            matches!(cut_off, Seen::NotSeen { why: None, .. }),
            "what is absent contradicts nothing: {cut_off:?}"
        );
        let listed = |n| Asked { listings: vec![Reading::Known((7, n))], ..Asked::default() };
        assert_eq!(verdict(Belief::FolderListing, listed(7)), Some(true));
        assert_eq!(verdict(Belief::FolderListing, listed(0)), None);
        let away = Problem::retry(Reason::HostUnreachable, "a folder", "");
        let away = Asked { listings: vec![Reading::Unknown(away)], ..Asked::default() };
        let not_seen = belief::seen(Belief::FolderListing, &pool, &s, &away);
        assert!(matches!(not_seen, Seen::NotSeen { why: Some(Reason::HostUnreachable), .. }), "{not_seen:?}");
        let strange = Problem::ask(Reason::UnexpectedAnswer, "a date", "");
        let dated = |r| Asked { newest_message: Some(r), ..Asked::default() };
        assert_eq!(verdict(Belief::ChatDate, dated(Reading::Known(Some(s.at)))), Some(true));
        assert_eq!(verdict(Belief::ChatDate, dated(Reading::Unknown(strange))), None);
        let shown = |b| matches!(belief::seen(b, &pool, &s, &Asked::default()), Seen::NotSeen { .. });
        assert!(
            [Belief::LastError, Belief::FolderListing, Belief::ChatDate, Belief::MasterPort]
                .map(shown)
                .iter()
                .all(|x| *x)
        );
    }

    #[test]
    fn a_report_bears_no_name() {
        let (pool, s) = recorded();
        let unreachable = Problem::retry(Reason::HostUnreachable, "litware atl-fe-1 is away", "");
        let versions = Sides::new(Reading::Unknown(unreachable), Reading::Known(Some("5.1".into())));
        let survey = Survey::of(&pool, &s, &Asked::default(), &versions);
        let report = serde_json::to_string(&survey).unwrap().to_lowercase();
        assert!(report.contains(r#"{"side":"backup","powershell":"5.1","why":null}"#), "{report}");
        assert!(
            report.contains(r#"{"side":"primary","powershell":null,"why":"hostunreachable"}"#),
            "{report}"
        );
        for name in ["litware", "atl-", "sea-", "atlanta", "seattle", "mgc", "chat\\\\", ".trn"] {
            assert!(!report.contains(name), "{name}: {report}");
        }
    }
}
