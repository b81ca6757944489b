//! The courses that everything in [`super::matrix`] is tried on.

use std::path::PathBuf;

use lab::scenario::{Dialect, Scenario};
use lab::serve::Lab;
use serde_json::Value;

use super::matrix::{AtWork, Course, hold_first, until_held, world};
use super::scene::{FAILOVER_ONCE, Scene, backups_for, begun, not_live_in, not_once, runs, server};
use super::switches::{SET_STATE, beside};

/// A data centre is lost; its chat goes to this one of the scenario.
#[derive(Clone, Copy)]
pub struct Failover {
    pub to: usize,
}

/// The steps of a failover, in the order in which each is begun.
const FAILOVER_STEPS: [&str; 9] = [
    "PreflightPassed",
    "LogShippingRemoved",
    "BackupsCopied",
    "LogBackupsApplied",
    "DatabaseOnline",
    "PoolStateSet",
    "MirrorEstablished",
    "ActiveServersSet",
    "ChatServing",
];

/// The step that was begun last, by the record: each step's first effect has a record of its own before it.
pub(super) fn last_begun(document: &Value, steps: &[&'static str]) -> Option<&'static str> {
    let begun = |step: &&&str| document["steps"][**step]["attempts"].as_i64().is_some_and(|n| n > 0);
    steps.iter().rfind(begun).copied()
}

/// What is known of a cmdlet's run. How it ended is told to one process only: after a kill, the next one finds it gone.
pub(super) fn mirror_job(job: &Value) -> &'static str {
    match job["ended"]["errors"].as_array() {
        None => "mirror intended",
        Some(errors) if errors.is_empty() => "mirror ended",
        Some(_) => "mirror never begun",
    }
}

impl Course for Failover {
    fn name(&self) -> &'static str {
        ["failover_to_first", "failover"][self.to]
    }

    fn scenario(&self) -> Scenario {
        beside(self.to, world())
    }

    async fn make_ready(&self, scene: &mut Scene) {
        // What would protect the lost data centre is a course of its own.
        scene.leave_unprotected(1 - self.to).await;
    }

    async fn begin(&self, scene: &mut Scene) {
        scene.lose_data_center(1 - self.to).await;
        scene.want(self.to);
    }

    fn active_at_the_end(&self) -> usize {
        self.to
    }

    fn unfinished(&self, lab: &Lab, since: usize) -> Vec<String> {
        let mut wrong = not_live_in(lab, self.active_at_the_end());
        wrong.extend(not_once(lab, since, FAILOVER_ONCE));
        wrong
    }

    fn once(&self) -> (&'static [&'static str], usize) {
        // Four log backups, the recovery, a table for the record on each partner, and one of each of the others.
        (&["RESTORE", "EXEC sp_delete", "Install-CsMirrorDatabase", "CREATE TABLE"], 9)
    }

    fn detached(&self) -> &'static [&'static str] {
        &["Install-CsMirrorDatabase"]
    }

    fn by_day(&self) -> usize {
        8
    }

    fn early(&self) -> &'static str {
        "RESTORE LOG"
    }

    fn gravest(&self) -> &'static str {
        "RESTORE DATABASE WITH RECOVERY"
    }

    fn moments(&self) -> Vec<AtWork> {
        vec![
            ("preflight", |s, _| s.object()["status"]["step"] == "PreflightPassed"),
            ("log shipping", |s, since| begun(&s.lab, since, "EXEC sp_update_job")),
            ("copy", |s, _| {
                let folders = s.lab.copy_folders();
                let files = folders.iter().flat_map(|f| std::fs::read_dir(f).into_iter().flatten().flatten());
                let copied = files.filter(|f| f.file_name().to_string_lossy().contains(".trn")).count();
                copied > usize::try_from(s.lab.scenario().copied).unwrap()
            }),
            ("restore", |s, _| runs(&s.lab, "RESTORE LOG")),
            ("recovery", |s, _| runs(&s.lab, "RESTORE DATABASE WITH RECOVERY")),
            ("pool state", |s, since| begun(&s.lab, since, SET_STATE)),
            ("mirror", |s, _| runs(&s.lab, "Install-CsMirrorDatabase")),
            ("active servers", |s, since| begun(&s.lab, since, "Set-CsPersistentChatActiveServer")),
            ("serving", |s, _| {
                s.object()["status"]["transition"]["steps"][7]["state"] == "Done"
                    || s.condition("Ready").is_some_and(|c| c["status"] == "True")
            }),
        ]
    }

    fn record_says(&self, document: &Value) -> Vec<String> {
        let step = last_begun(document, &FAILOVER_STEPS);
        let saved = (!document["facts"]["logShipping"].is_null()).then_some("log shipping saved");
        let intended = (!document["facts"]["recovery"].is_null()).then_some("recovery intended");
        let jobs = document["facts"]["mirrorJobs"].as_array().map_or(&[][..], Vec::as_slice);
        let mirror = jobs.last().filter(|_| step != Some("ActiveServersSet")).map(mirror_job);
        [step, saved, intended, mirror].into_iter().flatten().map(String::from).collect()
    }

    fn backups(&self, lab: &Lab) -> Vec<String> {
        backups_for(lab, self.to)
    }

    fn copied_to(&self, lab: &Lab) -> Option<PathBuf> {
        Some(lab.copy_folders()[self.to].clone())
    }
}

/// The failover that the topology has in mind: from the primary store to the backup one.
const USUAL: Failover = Failover { to: 1 };

/// A failover in a world of its own.
#[derive(Clone, Copy)]
pub struct FailoverIn {
    pub name: &'static str,
    pub dialect: Dialect,
    /// The copy is in STANDBY.
    pub standby: bool,
}

impl Course for FailoverIn {
    fn name(&self) -> &'static str {
        self.name
    }
    fn scenario(&self) -> Scenario {
        Scenario { dialect: self.dialect, standby: self.standby, ..USUAL.scenario() }
    }
    async fn make_ready(&self, scene: &mut Scene) {
        USUAL.make_ready(scene).await;
    }
    async fn begin(&self, scene: &mut Scene) {
        USUAL.begin(scene).await;
    }
    fn active_at_the_end(&self) -> usize {
        USUAL.active_at_the_end()
    }
    fn unfinished(&self, lab: &Lab, since: usize) -> Vec<String> {
        USUAL.unfinished(lab, since)
    }
    fn once(&self) -> (&'static [&'static str], usize) {
        let (verbs, how_many) = USUAL.once();
        // A copy in STANDBY is made to wait for log backups again first.
        (verbs, how_many + usize::from(self.standby))
    }
    fn detached(&self) -> &'static [&'static str] {
        USUAL.detached()
    }
    fn early(&self) -> &'static str {
        USUAL.early()
    }
    fn gravest(&self) -> &'static str {
        USUAL.gravest()
    }
    fn moments(&self) -> Vec<AtWork> {
        USUAL.moments()
    }
    fn record_says(&self, document: &Value) -> Vec<String> {
        USUAL.record_says(document)
    }
}

/// The mirror of the active data centre was removed and its active servers were changed; both are set right.
#[derive(Clone, Copy)]
pub struct Align {
    pub active: usize,
}

/// The steps of it that have effects, in the order in which each is begun.
const ALIGN_STEPS: [&str; 2] = ["MirrorEstablished", "ActiveServersSet"];

pub const BUILD_MIRROR: &str = "Install-CsMirrorDatabase";

impl Course for Align {
    fn name(&self) -> &'static str {
        ["align", "align_of_second"][self.active]
    }

    fn scenario(&self) -> Scenario {
        beside(1 - self.active, world())
    }

    async fn make_ready(&self, scene: &mut Scene) {
        // So that everything is found at once, and every run is the same.
        scene.suspend().await;
    }

    async fn begin(&self, scene: &mut Scene) {
        let here = scene.data_center(self.active).clone();
        scene.lab.fault("remove-mirror", std::slice::from_ref(&here.name)).unwrap();
        scene.lab.fault("set-active", &here.servers[..1]).unwrap();
        let differs = format!("is missing; the active servers are {}", here.servers[0]);
        scene.wait_for_text("Ready", "False", "Suspended", &differs).await;
        scene.patch(r#"{"suspend":false}"#);
    }

    fn active_at_the_end(&self) -> usize {
        self.active
    }

    fn unfinished(&self, lab: &Lab, since: usize) -> Vec<String> {
        let mut wrong = not_live_in(lab, self.active);
        wrong.extend(not_once(lab, since, &[BUILD_MIRROR]));
        wrong
    }

    fn once(&self) -> (&'static [&'static str], usize) {
        (&[BUILD_MIRROR], 1)
    }

    fn detached(&self) -> &'static [&'static str] {
        &[BUILD_MIRROR]
    }

    fn early(&self) -> &'static str {
        "CREATE TABLE"
    }

    fn gravest(&self) -> &'static str {
        BUILD_MIRROR
    }

    fn moments(&self) -> Vec<AtWork> {
        vec![
            ("mirror", |s, _| runs(&s.lab, BUILD_MIRROR)),
            ("active servers", |s, since| begun(&s.lab, since, "Set-CsPersistentChatActiveServer")),
        ]
    }

    fn record_says(&self, document: &Value) -> Vec<String> {
        let step = last_begun(document, &ALIGN_STEPS);
        let jobs = document["facts"]["mirrorJobs"].as_array().map_or(&[][..], Vec::as_slice);
        [step, jobs.last().map(mirror_job)].into_iter().flatten().map(String::from).collect()
    }

    fn backups(&self, lab: &Lab) -> Vec<String> {
        backups_for(lab, 1 - self.active)
    }
}

/// Somebody removed log shipping from both servers; it is set up anew.
#[derive(Clone, Copy)]
pub struct Protect {
    pub active: usize,
}

const ADD_PRIMARY: &str = "EXEC sp_add_log_shipping_primary_database";
pub(super) const ADD_SECONDARY: &str = "EXEC sp_add_log_shipping_secondary_database";

/// What is not yet so where log shipping to a data centre should run, and has shipped something new.
pub fn not_protected(lab: &Lab, n: usize, shipped_before: usize) -> Vec<String> {
    let to = &lab.scenario().data_centers[n].sql_server;
    let (standby, all) = (server(lab, to), backups_for(lab, n));
    let newest = all.last().filter(|_| all.len() > shipped_before);
    let restored = standby["logShipping"][0]["lastRestored"].as_str().unwrap_or_default();
    let jobs = standby["jobs"].as_array().map_or(&[][..], Vec::as_slice);
    let enabled = jobs.iter().filter(|j| j["enabled"] == true).count();
    let expected = [
        ("no new log backup was restored", newest.is_some_and(|n| restored.ends_with(n.as_str()))),
        ("the copy is not RESTORING", standby["databases"][0]["state"] == "RESTORING"),
        ("the jobs are not enabled", enabled == 2),
    ];
    expected.into_iter().filter(|(_, holds)| !holds).map(|(what, _)| format!("{to}: {what}")).collect()
}

/// What a write of the record of a protection is called.
fn protection_says(document: &Value) -> Vec<String> {
    last_begun(document, &["LogShippingEstablished"]).into_iter().map(String::from).collect()
}

impl Course for Protect {
    fn name(&self) -> &'static str {
        ["protect", "protect_second"][self.active]
    }

    fn scenario(&self) -> Scenario {
        beside(1 - self.active, world())
    }

    async fn make_ready(&self, scene: &mut Scene) {
        scene.suspend().await;
    }

    async fn begin(&self, scene: &mut Scene) {
        for n in [0, 1] {
            let host = scene.data_center(n).sql_server.clone();
            scene.lab.fault("remove-log-shipping", &[host]).unwrap();
        }
        scene.wait_for("FailoverReady", "False", "NotProtected").await;
        scene.patch(r#"{"suspend":false}"#);
    }

    fn active_at_the_end(&self) -> usize {
        self.active
    }

    fn unfinished(&self, lab: &Lab, since: usize) -> Vec<String> {
        let shipped_before = usize::try_from(lab.scenario().backups).unwrap();
        let mut wrong = not_live_in(lab, self.active);
        wrong.extend(not_protected(lab, 1 - self.active, shipped_before));
        wrong.extend(not_once(lab, since, &[ADD_PRIMARY, ADD_SECONDARY]));
        wrong
    }

    fn once(&self) -> (&'static [&'static str], usize) {
        // Not the tables for the record: who is killed after each of the few writes at home never writes its copy on the partner.
        (&[ADD_PRIMARY, ADD_SECONDARY], 2)
    }

    fn detached(&self) -> &'static [&'static str] {
        &[]
    }

    fn early(&self) -> &'static str {
        ADD_PRIMARY
    }

    fn gravest(&self) -> &'static str {
        ADD_SECONDARY
    }

    fn takes_a_while(&self) -> bool {
        false
    }

    fn makes_jobs(&self) -> bool {
        true
    }

    fn moments(&self) -> Vec<AtWork> {
        vec![
            ("primary half", |s, since| begun(&s.lab, since, ADD_PRIMARY)),
            ("secondary half", |s, since| begun(&s.lab, since, ADD_SECONDARY)),
            ("a job", |s, since| begun(&s.lab, since, "EXEC sp_start_job")),
        ]
    }

    fn record_says(&self, document: &Value) -> Vec<String> {
        protection_says(document)
    }

    fn backups(&self, lab: &Lab) -> Vec<String> {
        backups_for(lab, 1 - self.active)
    }
}

/// A failover to this data centre of the scenario that has removed log shipping and applied a log backup is taken back; the one that was lost
/// is there again.
#[derive(Clone, Copy)]
pub struct Undo {
    pub to: usize,
}

impl Undo {
    fn from(self) -> usize {
        1 - self.to
    }
}

impl Course for Undo {
    fn name(&self) -> &'static str {
        ["undo_to_first", "undo"][self.to]
    }

    fn scenario(&self) -> Scenario {
        beside(self.to, world())
    }

    async fn make_ready(&self, scene: &mut Scene) {
        scene.lose_data_center(self.from()).await;
        hold_first(scene, &["RESTORE LOG"]);
        scene.want(self.to);
        until_held(scene, "RESTORE LOG").await;
        scene.patch(r#"{"suspend":true}"#);
        scene.let_go();
        scene.wait_for("Ready", "False", "Suspended").await;
        scene.until("the end of what ran", || !runs(&scene.lab, "RESTORE LOG")).await;
        let back = scene.data_center(self.from()).name.clone();
        scene.lab.restore(&back).await.unwrap();
    }

    async fn begin(&self, scene: &mut Scene) {
        let home = scene.data_center(self.from()).name.clone();
        scene.patch(&serde_json::json!({"activeDataCenter": home, "suspend": false}).to_string());
    }

    fn active_at_the_end(&self) -> usize {
        self.from()
    }

    fn unfinished(&self, lab: &Lab, since: usize) -> Vec<String> {
        let shipped_before = usize::try_from(lab.scenario().backups).unwrap();
        let mut wrong = not_live_in(lab, self.from());
        wrong.extend(not_protected(lab, self.to, shipped_before));
        wrong.extend(not_once(lab, since, &[ADD_SECONDARY]));
        if begun(lab, 0, "RESTORE DATABASE WITH RECOVERY") {
            wrong.push("it was recovered all the same".into());
        }
        wrong
    }

    fn once(&self) -> (&'static [&'static str], usize) {
        (&[ADD_SECONDARY], 1)
    }

    fn detached(&self) -> &'static [&'static str] {
        &[]
    }

    fn early(&self) -> &'static str {
        "CREATE TABLE"
    }

    fn gravest(&self) -> &'static str {
        ADD_SECONDARY
    }

    fn takes_a_while(&self) -> bool {
        false
    }

    fn makes_jobs(&self) -> bool {
        true
    }

    fn ends(&self) -> usize {
        4
    }

    fn moments(&self) -> Vec<AtWork> {
        vec![
            ("closing", |s, _| s.times("Failover", "Aborted") == 1),
            ("secondary half", |s, since| begun(&s.lab, since, ADD_SECONDARY)),
            ("a job", |s, since| begun(&s.lab, since, "EXEC sp_start_job")),
        ]
    }

    fn record_says(&self, document: &Value) -> Vec<String> {
        protection_says(document)
    }

    fn backups(&self, lab: &Lab) -> Vec<String> {
        backups_for(lab, self.to)
    }
}
