//! What a night is made of. A [`Plan`] is data: drawn from a seed, written down, made smaller; a night carries it out.

use std::collections::BTreeMap;

use lab::scenario::{Dialect, Language, Scenario, SqlServerVersion};
use lab::world::World;
use persistent_chat_failover::api::convert;
use persistent_chat_failover::cli;
use persistent_chat_failover::domain::pool::{Pool, WhenActiveAnswers};
use persistent_chat_failover::domain::side::Side;
use serde::{Deserialize, Serialize};

use crate::cast::{self, Script};
use crate::chance::Chance;
use crate::sides;
use crate::truth::DRAIN;
use crate::world::Fates;

/// Seconds within which calls go wrong in a bad night.
const FAULTS: f64 = 60.0;

/// What a run is made of. As JSON it is what `pcf-soak --plan` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Seed of latencies, fates and the world.
    pub seed: u64,
    /// Who decides the fates.
    pub fates: Fates,
    /// Seconds until which calls may go wrong: it must be well some time after that.
    pub until: f64,
    /// What everybody else does.
    pub script: Script,
    /// What the world is made from.
    pub scenario: Scenario,
    /// How many operators there are.
    pub operators: usize,
    /// Whether a killed operator stays dead as long as another one lives.
    pub other_takes_over: bool,
    /// Whether chat is to stay where it begins in the end, unless it has moved for good by then.
    #[serde(default)]
    pub stays: bool,
    /// Whether a changed wish switches while both sides live.
    #[serde(default)]
    pub switches: bool,
    /// Backups that are not as they should be.
    pub spoilt: Vec<Spoilt>,
    /// Whether trace, points and the moments of the resources are kept.
    #[serde(skip)]
    pub keep: bool,
}

/// What a night without anything else going wrong is about: one procedure each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum Kind {
    /// The active side is lost.
    Failover,
    /// The same, but it comes back, and what was wished is taken back in time.
    Undo,
    /// Both sides live, and chat moves.
    Switch,
    /// The same, and what was wished is taken back in time.
    SwitchUndone,
    /// Somebody sets other active servers and takes the mirror away.
    Align,
    /// Somebody removes log shipping.
    Protect,
    /// The active side is lost, and comes back with its old database: that is overwritten by a copy.
    Return,
    /// The same, and chat goes back there.
    Failback,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 8] = [
        Kind::Failover,
        Kind::Undo,
        Kind::Switch,
        Kind::SwitchUndone,
        Kind::Align,
        Kind::Protect,
        Kind::Return,
        Kind::Failback,
    ];

    /// Whether both sides live and chat is to move.
    pub fn switches(self) -> bool {
        match self {
            Kind::Switch | Kind::SwitchUndone | Kind::Failback => true,
            Kind::Failover | Kind::Undo | Kind::Align | Kind::Protect | Kind::Return => false,
        }
    }
    /// Each of them, begun on either side.
    pub fn on_both_sides() -> impl Iterator<Item = (Kind, Side)> {
        Kind::ALL.into_iter().flat_map(|kind| Side::BOTH.map(|begins| (kind, begins)))
    }
    /// Whether the side where chat begins is lost.
    pub fn loses(self) -> bool {
        match self {
            Kind::Failover | Kind::Undo | Kind::Return | Kind::Failback => true,
            Kind::Switch | Kind::SwitchUndone | Kind::Align | Kind::Protect => false,
        }
    }
    /// Whether chat is where it began in the end.
    fn stays(self) -> bool {
        match self {
            Kind::Failover | Kind::Switch | Kind::Return => false,
            Kind::Undo | Kind::SwitchUndone | Kind::Align | Kind::Protect | Kind::Failback => true,
        }
    }
}

/// A backup that is not as it should be; counted from the newest, 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Spoilt {
    /// It is gone from the share (and, if it was copied, still in the copy folder).
    Missing(usize),
    /// Its second half is gone.
    Truncated(usize),
    /// A file of another program lies beside the backups.
    Foreign,
}

/// A small world that fails over in about ten simulated seconds.
pub fn small() -> Scenario {
    Scenario {
        backups: 6,
        copied: 4,
        restored: 3,
        backup_bytes: 64,
        restore_ms: 300,
        recovery_ms: 400,
        mirror_ms: 1500,
        replication_ms: 300,
        cmdlet_ms: 30,
        job_interval_ms: 900_000,
        ..Scenario::default()
    }
}

impl Plan {
    /// A night with nothing else in it, begun with chat on a side, by so many operators.
    pub fn clean(kind: Kind, begins: Side, operators: usize) -> Plan {
        let mut scenario = small();
        sides::begin_on(&mut scenario, begins);
        if [Kind::Undo, Kind::SwitchUndone].contains(&kind) {
            // Long enough to change one's mind.
            scenario.restore_ms = 4000;
        }
        Plan {
            seed: 1,
            fates: Fates::At(BTreeMap::new()),
            until: 0.0,
            script: cast::plain(kind, begins, operators),
            scenario,
            operators,
            other_takes_over: false,
            stays: kind.stays(),
            switches: kind.switches(),
            spoilt: vec![],
            keep: false,
        }
    }

    /// A bad night, wholly drawn from a seed. The order of what is drawn is part of what a seed means.
    pub fn bad_night(seed: u64) -> Plan {
        let mut chance = Chance::new(seed ^ 0x6e69_6768_7400);
        let operators = if chance.happens(500) { 2 } else { 1 };
        let mut scenario = small();
        let begins = if chance.happens(500) { Side::Primary } else { Side::Backup };
        sides::begin_on(&mut scenario, begins);
        let stays = chance.happens(300);
        let mut script = cast::bad_night(&mut chance, begins, stays, operators);
        vary(&mut chance, &mut scenario);
        let spoilt = Spoilt::draw(&mut chance);
        let rate = match chance.between(0, 4) {
            0 => (0, 0),
            1 => (30, 2),
            2 => (150, 5),
            _ => (60, 25),
        };
        if chance.happens(60) {
            cast::begin_with_a_first_sight(&mut chance, &mut script, begins, operators);
        }
        // From streams of chance of their own: everything else that a seed means stays.
        cast::mislead(&mut Chance::new(seed ^ 0x6d69_736c_6561_6400), &mut script, begins);
        scenario.dialect = dialect(&mut Chance::new(seed ^ 0x6469_616c_6563_7400));
        Plan {
            seed,
            fates: Fates::Random { per_mille: rate, until: FAULTS },
            until: FAULTS,
            script,
            scenario,
            operators,
            other_takes_over: chance.happens(300),
            stays,
            switches: false,
            spoilt,
            keep: false,
        }
    }
}

impl Plan {
    /// A night of a planned switch, wholly drawn from a seed.
    pub fn planned_night(seed: u64) -> Plan {
        let mut chance = Chance::new(seed ^ 0x0070_6c61_6e6e_6564);
        let operators = if chance.happens(500) { 2 } else { 1 };
        let mut scenario = small();
        let begins = if chance.happens(500) { Side::Primary } else { Side::Backup };
        sides::begin_on(&mut scenario, begins);
        let stays = chance.happens(300);
        let script = cast::planned_night(&mut chance, begins, stays, operators);
        vary(&mut chance, &mut scenario);
        // Where log backups come faster than they are restored, nobody catches up with a side that lives.
        scenario.job_interval_ms = scenario.job_interval_ms.max(8_000);
        scenario.drain_ms = [0, 300, 2_500, u64::MAX]
            .get(usize::try_from(chance.between(0, 4)).unwrap_or(0))
            .copied()
            .unwrap_or(300);
        scenario.dialect = dialect(&mut chance);
        let rate = match chance.between(0, 4) {
            0 => (0, 0),
            1 => (30, 2),
            2 => (100, 5),
            _ => (60, 20),
        };
        Plan {
            seed,
            fates: Fates::Random { per_mille: rate, until: FAULTS },
            until: FAULTS,
            script,
            scenario,
            operators,
            other_takes_over: chance.happens(300),
            stays,
            switches: true,
            spoilt: vec![],
            keep: false,
        }
    }
}

/// What tells the nights apart in which a lost side comes back.
struct Returns {
    script: Script,
    /// Chat is where it began in the end.
    stays: bool,
    /// Seconds after which nothing new happens.
    until: f64,
    /// Faults in a thousand calls and writes: of a bad night, and of a very bad one.
    rates: [(u64, u64); 2],
}

impl Plan {
    /// A night in which the side that was lost comes back, wholly drawn from a seed.
    pub fn returning_night(seed: u64) -> Plan {
        Plan::of_returns(seed, seed ^ 0x7265_7475_726e_0000, |chance, begins, operators| {
            let stays = chance.happens(600);
            let script = cast::returning_night(chance, begins, stays, operators);
            Returns { script, stays, until: 2.0 * FAULTS, rates: [(30, 2), (60, 15)] }
        })
    }

    /// Weeks, wholly drawn from a seed: one disaster, return, switch or piece of work after the other.
    pub fn weeks(seed: u64) -> Plan {
        Plan::of_returns(seed, seed ^ 0x7765_656b_7300, |chance, begins, operators| {
            let (script, end, until) = cast::weeks(chance, begins, operators);
            Returns { script, stays: end == begins, until, rates: [(20, 2), (40, 10)] }
        })
    }

    fn of_returns(seed: u64, number: u64, draw: impl FnOnce(&mut Chance, Side, usize) -> Returns) -> Plan {
        let mut chance = Chance::new(number);
        let operators = if chance.happens(400) { 2 } else { 1 };
        let mut scenario = small();
        let begins = if chance.happens(500) { Side::Primary } else { Side::Backup };
        sides::begin_on(&mut scenario, begins);
        let Returns { script, stays, until, rates: [bad, very_bad] } = draw(&mut chance, begins, operators);
        vary(&mut chance, &mut scenario);
        scenario.job_interval_ms = scenario.job_interval_ms.max(8_000);
        scenario.full_ms = chance.between(300, 20_000);
        scenario.dialect = dialect(&mut chance);
        let rate = match chance.between(0, 3) {
            0 => (0, 0),
            1 => bad,
            _ => very_bad,
        };
        Plan {
            seed,
            fates: Fates::Random { per_mille: rate, until },
            until,
            script,
            scenario,
            operators,
            other_takes_over: chance.happens(300),
            stays,
            switches: true,
            spoilt: vec![],
            keep: false,
        }
    }
}

/// How far log shipping has come, and how long things take.
fn vary(chance: &mut Chance, scenario: &mut Scenario) {
    scenario.standby = chance.happens(250);
    scenario.restored = u32::try_from(chance.between(1, 6)).unwrap_or(3);
    scenario.copied = scenario.restored.max(u32::try_from(chance.between(1, 6)).unwrap_or(4));
    if chance.happens(300) {
        scenario.job_interval_ms = chance.between(2_000, 30_000);
    }
    scenario.restore_ms = chance.between(50, 3000);
    scenario.recovery_ms = chance.between(50, 5000);
    scenario.mirror_ms = chance.between(200, 20_000);
    scenario.replication_ms = chance.between(50, 10_000);
}

/// What the servers of a night are. Its `powerShell` is the usual one: cmdlets are called here without a PowerShell between.
fn dialect(chance: &mut Chance) -> Dialect {
    let mut below = |n: usize| usize::try_from(chance.between(0, n as u64)).unwrap_or(0);
    Dialect {
        sql_server: SqlServerVersion::ALL
            .get(below(SqlServerVersion::ALL.len()))
            .copied()
            .unwrap_or_default(),
        language: LANGUAGES.get(below(LANGUAGES.len())).copied().unwrap_or_default(),
        front_ends: [1, 2, 3].get(below(3)).copied().unwrap_or(1),
        long_host_names: below(2) == 1,
        named_instances: below(3) > 0,
        ..Dialect::default()
    }
}

/// Those that a login can have.
const LANGUAGES: [Language; 3] = [Language::English, Language::French, Language::German];

impl Spoilt {
    fn draw(chance: &mut Chance) -> Vec<Spoilt> {
        let mut spoilt = vec![];
        if chance.happens(120) {
            spoilt.push(Spoilt::Missing(usize::try_from(chance.between(0, 4)).unwrap_or(0)));
        }
        if chance.happens(100) {
            spoilt.push(Spoilt::Truncated(usize::try_from(chance.between(0, 3)).unwrap_or(0)));
        }
        if chance.happens(80) {
            spoilt.push(Spoilt::Foreign);
        }
        spoilt
    }

    /// Spoils a backup before the night begins. One that is not there cannot be spoilt: then the night is a little better.
    pub fn spoil(self, world: &mut World) {
        let share = sides::share(&world.scenario).to_string();
        let names: Vec<String> =
            world.files.list(&share).unwrap_or_default().into_iter().map(|(n, _)| n).rev().collect();
        let path = |n: usize| names.get(n).map(|name| format!(r"{share}\{name}"));
        match self {
            Spoilt::Missing(n) => {
                if let Some(p) = path(n) {
                    let _ = world.files.remove(&p);
                }
            }
            Spoilt::Truncated(n) => {
                if let Some((p, content)) = path(n).and_then(|p| world.files.read(&p).ok().map(|c| (p, c))) {
                    let _ = world.files.write(&p, &content[..content.len().saturating_sub(20)]);
                }
            }
            Spoilt::Foreign => {
                let _ = world
                    .files
                    .write(&format!(r"{share}\mgc_99990101000000.trn"), b"TAPE of another program");
            }
        }
    }
}

/// The pool that fits a scenario.
pub fn pool(scenario: &Scenario, switches: bool) -> Result<Pool, String> {
    let text = lab::serve::resource(scenario, "-----BEGIN CERTIFICATE-----", "litware");
    let (resource, _) = cli::from_file(&text)?;
    let mut pool = convert::pool(&resource.spec)
        .map_err(|p| p.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    if switches {
        pool.policy.when_active_answers = WhenActiveAnswers::Switch;
        pool.policy.drain_deadline = DRAIN.try_into().ok();
    }
    Ok(pool)
}
