//! The courses of a switch, in which both data centres live: to the other one, and taken back in time.

use std::path::PathBuf;

use lab::scenario::Scenario;
use lab::serve::Lab;
use lab::world::journal::{Effect, Entry};
use serde_json::{Value, json};

use super::courses::{ADD_SECONDARY, BUILD_MIRROR, last_begun, mirror_job, not_protected};
use super::matrix::{AtWork, Course, hold_the_tail, until_held, world};
use super::scene::{FAILOVER_ONCE, Scene, backups_for, begun, not_live_in, not_once, runs};

pub const RECOVER: &str = "RESTORE DATABASE WITH RECOVERY";
pub const SET_STATE: &str = "Set-CsPersistentChatState";
pub const SET_SERVERS: &str = "Set-CsPersistentChatActiveServer";

/// Chat moves to this data centre of the scenario.
#[derive(Clone, Copy)]
pub struct Switch {
    pub to: usize,
}

/// The steps of a switch that have effects, in the order in which each is begun; the last one is that of the way back.
const SWITCH_STEPS: [&str; 10] = [
    "LogShippingRemoved",
    "BackupsCopied",
    "LogBackupsApplied",
    "ChatDrained",
    "TailTaken",
    "DatabaseOnline",
    "PoolStateSet",
    "MirrorEstablished",
    "ActiveServersSet",
    "SourceOnline",
];

/// The world that a switch to a data centre is played in: chat begins in the other one.
pub fn beside(to: usize, usual: Scenario) -> Scenario {
    Scenario { active: usual.data_centers[1 - to].name.clone(), ..usual }
}

/// A changed wish moves chat from now on, also while both sides live.
pub fn may_switch(scene: &Scene) {
    scene.patch(&json!({"policy": {"whenActiveAnswers": "Switch"}}).to_string());
}

/// What is wrong with where the logs of both sides ended: whatever was written on the side that was left is on the other one, which goes
/// on from there.
pub fn lost(lab: &Lab, from: usize, to: usize) -> Vec<String> {
    let (world, scenario) = (lab.world().now(), lab.scenario());
    let key = scenario.database.to_lowercase();
    let of = |n: usize| world.sql[&scenario.data_centers[n].sql_server].databases.get(&key).unwrap();
    let end = of(from).redo.as_ref().map(|(lsn, _)| *lsn);
    let went_on = of(to).forked.as_ref().map(|f| f.lsn);
    match of(from).state {
        _ if end.is_none() || end != went_on => {
            vec![format!(
                "the log of the side that was left ends at {end:?}, the other one goes on from {went_on:?}"
            )]
        }
        1 => vec![],
        state => vec![format!("the database of the side that was left is in state {state}")],
    }
}

/// What a write of the record is called: what was begun last, and what is remembered.
fn says(document: &Value) -> Vec<String> {
    let procedure = document["route"]["procedure"].as_str().unwrap_or_default();
    let course = document["route"]["course"].as_str().filter(|c| *c != "Onward").unwrap_or_default();
    let facts = &document["facts"];
    let known = [
        ("logShipping", "log shipping saved"),
        ("chatStopped", "chat stopped"),
        ("tail", "tail intended"),
        ("recovery", "recovery intended"),
    ];
    let known = known.into_iter().filter(|(key, _)| !facts[*key].is_null()).map(|(_, said)| said);
    let undone = (facts["tail"]["undone"] == true).then_some("tail undone");
    let step = match procedure {
        "Protect" => last_begun(document, &["LogShippingEstablished"]),
        _ => last_begun(document, &SWITCH_STEPS),
    };
    let jobs = facts["mirrorJobs"].as_array().map_or(&[][..], Vec::as_slice);
    let mirror = jobs.last().map(mirror_job);
    [procedure, course]
        .into_iter()
        .filter(|w| !w.is_empty())
        .chain(step)
        .chain(known)
        .chain(undone)
        .chain(mirror)
        .map(String::from)
        .collect()
}

impl Course for Switch {
    fn name(&self) -> &'static str {
        ["switch_to_first", "switch"][self.to]
    }

    fn scenario(&self) -> Scenario {
        beside(self.to, world())
    }

    async fn make_ready(&self, scene: &mut Scene) {
        may_switch(scene);
        // What protects the side that was left is a course of its own.
        scene.leave_unprotected(1 - self.to).await;
    }

    async fn begin(&self, scene: &mut Scene) {
        scene.want(self.to);
    }

    fn active_at_the_end(&self) -> usize {
        self.to
    }

    fn unfinished(&self, lab: &Lab, since: usize) -> Vec<String> {
        let mut wrong = not_live_in(lab, self.to);
        wrong.extend(not_once(lab, since, FAILOVER_ONCE));
        wrong.extend(lost(lab, 1 - self.to, self.to));
        wrong
    }

    fn once(&self) -> (&'static [&'static str], usize) {
        // Four log backups, the tail, the recovery, and one of each of the others.
        (&["RESTORE", "BACKUP LOG", "ALTER DATABASE", "EXEC sp_delete", BUILD_MIRROR], 10)
    }

    fn detached(&self) -> &'static [&'static str] {
        &[BUILD_MIRROR]
    }

    fn ends(&self) -> usize {
        4
    }

    fn by_day(&self) -> usize {
        8
    }

    fn early(&self) -> &'static str {
        "RESTORE LOG"
    }

    fn gravest(&self) -> &'static str {
        RECOVER
    }

    fn moments(&self) -> Vec<AtWork> {
        vec![
            ("log shipping", |s, since| begun(&s.lab, since, "EXEC sp_update_job")),
            ("restore", |s, _| runs(&s.lab, "RESTORE LOG")),
            ("the end of chat", |s, since| begun(&s.lab, since, SET_SERVERS)),
            ("tail", |s, since| begun(&s.lab, since, "BACKUP LOG")),
            ("recovery", |s, _| runs(&s.lab, RECOVER)),
            ("pool state", |s, since| begun(&s.lab, since, SET_STATE)),
            ("mirror", |s, _| runs(&s.lab, BUILD_MIRROR)),
            ("active servers", |s, since| {
                let world = s.lab.world().now();
                let set = |e: &&Entry| e.name == SET_SERVERS && e.effect == Effect::Write;
                world.journal.entries().iter().skip(since).filter(set).count() > 1
            }),
        ]
    }

    fn record_says(&self, document: &Value) -> Vec<String> {
        says(document)
    }

    fn backups(&self, lab: &Lab) -> Vec<String> {
        backups_for(lab, self.to)
    }

    fn copied_to(&self, lab: &Lab) -> Option<PathBuf> {
        Some(lab.copy_folders()[self.to].clone())
    }
}

/// A switch to this data centre of the scenario is taken back when the tail of the log was taken and applied: the database is brought
/// online where it was, and what the side and its protection have lost stands again.
#[derive(Clone, Copy)]
pub struct SwitchUndone {
    pub to: usize,
}

impl SwitchUndone {
    fn from(self) -> usize {
        1 - self.to
    }
}

/// What is not yet so where a switch was taken back.
pub fn not_taken_back(lab: &Lab, from: usize, to: usize) -> Vec<String> {
    let shipped_before = usize::try_from(lab.scenario().backups).unwrap();
    let mut wrong = not_live_in(lab, from);
    wrong.extend(not_protected(lab, to, shipped_before));
    let world = lab.world().now();
    let tried = |e: &Entry| e.name == RECOVER && e.server == lab.scenario().data_centers[to].sql_server;
    if world.journal.entries().iter().any(tried) {
        wrong.push("it was recovered on the other side all the same".into());
    }
    wrong
}

impl Course for SwitchUndone {
    fn name(&self) -> &'static str {
        ["switch_to_first_undone", "switch_undone"][self.to]
    }

    fn scenario(&self) -> Scenario {
        beside(self.to, world())
    }

    async fn make_ready(&self, scene: &mut Scene) {
        may_switch(scene);
        hold_the_tail(scene);
        scene.want(self.to);
        until_held(scene, "RESTORE LOG").await;
        scene.patch(r#"{"suspend":true}"#);
        scene.let_go();
        scene.wait_for("Ready", "False", "Suspended").await;
        scene.until("the end of what ran", || !runs(&scene.lab, "RESTORE LOG")).await;
    }

    async fn begin(&self, scene: &mut Scene) {
        let home = scene.data_center(self.from()).name.clone();
        scene.patch(&json!({"activeDataCenter": home, "suspend": false}).to_string());
    }

    fn active_at_the_end(&self) -> usize {
        self.from()
    }

    fn unfinished(&self, lab: &Lab, since: usize) -> Vec<String> {
        let mut wrong = not_taken_back(lab, self.from(), self.to);
        wrong.extend(not_once(lab, since, &[RECOVER, BUILD_MIRROR, ADD_SECONDARY]));
        wrong
    }

    fn once(&self) -> (&'static [&'static str], usize) {
        (&[RECOVER, BUILD_MIRROR, ADD_SECONDARY], 3)
    }

    fn detached(&self) -> &'static [&'static str] {
        &[BUILD_MIRROR]
    }

    fn ends(&self) -> usize {
        // The switch is written down on four servers, the others on the partners of a mirror.
        8
    }

    fn early(&self) -> &'static str {
        RECOVER
    }

    fn gravest(&self) -> &'static str {
        BUILD_MIRROR
    }

    fn makes_jobs(&self) -> bool {
        true
    }

    fn moments(&self) -> Vec<AtWork> {
        vec![
            ("recovery", |s, _| runs(&s.lab, RECOVER)),
            ("closing", |s, _| s.times("Switch", "Aborted") == 1),
            ("mirror", |s, _| runs(&s.lab, BUILD_MIRROR)),
            ("secondary half", |s, since| begun(&s.lab, since, ADD_SECONDARY)),
        ]
    }

    fn record_says(&self, document: &Value) -> Vec<String> {
        says(document)
    }

    fn backups(&self, lab: &Lab) -> Vec<String> {
        backups_for(lab, self.to)
    }
}
