//! The courses that everything in [`super::matrix`] is tried on.

use std::path::PathBuf;

use lab::serve::Lab;
use serde_json::Value;

use super::matrix::{AtWork, Course};
use super::scene::{FAILOVER_ONCE, Scene, begun, not_live_in, not_once, runs};

/// The first data centre is lost; its chat goes to the second one.
#[derive(Clone, Copy)]
pub struct Failover;

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
fn last_begun(document: &Value, steps: &[&'static str]) -> Option<&'static str> {
    let begun = |step: &&&str| document["steps"][**step]["attempts"].as_i64().is_some_and(|n| n > 0);
    steps.iter().rfind(begun).copied()
}

/// What is known of a cmdlet's run. How it ended is told to one process only: after a kill, the next one finds it gone.
fn mirror_job(job: &Value) -> &'static str {
    match job["ended"]["errors"].as_array() {
        None => "mirror intended",
        Some(errors) if errors.is_empty() => "mirror ended",
        Some(_) => "mirror never begun",
    }
}

impl Course for Failover {
    fn name(&self) -> &'static str {
        "failover"
    }

    async fn make_ready(&self, scene: &mut Scene) {
        // What would protect the lost data centre is a course of its own.
        scene.leave_unprotected(0).await;
    }

    async fn begin(&self, scene: &mut Scene) {
        scene.lose().await;
        scene.want(1);
    }

    fn active_at_the_end(&self) -> usize {
        1
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
                let files = std::fs::read_dir(&s.lab.copy_folders()[1]).unwrap().flatten();
                let copied = files.filter(|f| f.file_name().to_string_lossy().contains(".trn")).count();
                copied > usize::try_from(s.lab.scenario().copied).unwrap()
            }),
            ("restore", |s, _| runs(&s.lab, "RESTORE LOG")),
            ("recovery", |s, _| runs(&s.lab, "RESTORE DATABASE WITH RECOVERY")),
            ("pool state", |s, since| begun(&s.lab, since, "Set-CsPersistentChatState")),
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

    fn copied_to(&self, lab: &Lab) -> Option<PathBuf> {
        Some(lab.copy_folders()[1].clone())
    }
}
