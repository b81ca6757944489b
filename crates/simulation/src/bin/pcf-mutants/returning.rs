//! Defects of the way back, each of which nights in which the lost side returns must find.

use super::Mutant;

/// They are.
pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "a copy is seeded without a yes",
        edits: &[
            (
                "src/steps/view.rs",
                "        let agreed = !self.accepted.terms().overwrites.is_empty() && self.accepted.accepted().is_some();",
                "        let agreed = !self.accepted.terms().overwrites.is_empty();",
            ),
            ("src/steps/fence_old_side.rs", "    v.accepted.require().map_err(Decision::Blocked)?;\n", ""),
        ],
    },
    Mutant {
        name: "a backup is believed that nobody has read",
        edits: &[(
            "src/domain/seeding.rs",
            "        (None, false) | (Some(_), _) => FileIs::Missing,",
            "        (None, false) | (Some(_), _) => FileIs::Whole,",
        )],
    },
    Mutant {
        name: "the job that backs up the log of the old side is left on",
        edits: &[(
            "src/steps/fence_old_side.rs",
            "    without_log_backups(i, |job| Effect::DisableJob(place, job))?;\n",
            "    if false {\n        without_log_backups(i, |job| Effect::DisableJob(place, job))?;\n    }\n",
        )],
    },
    Mutant {
        name: "the mirroring of the old side is left",
        edits: &[(
            "src/steps/fence_old_side.rs",
            "    if i.database.as_ref().is_some_and(|db| db.mirroring.is_some()) {",
            "    if i.database.as_ref().is_some_and(|db| db.mirroring.is_some() && false) {",
        )],
    },
    Mutant {
        name: "jobs of a seed are left behind",
        edits: &[(
            "src/domain/seeding.rs",
            "    let ours = |j: &&Job| names.contains(&j.name.to_lowercase()) && !j.running;",
            "    let ours = |j: &&Job| names.contains(&j.name.to_lowercase()) && !j.running && false;",
        )],
    },
    Mutant {
        name: "what was lost is counted by its numbers alone",
        edits: &[(
            "src/systems/sql_server/lost_messages.rs",
            "        messages += there.difference(&here).count() as u64;",
            "        messages += there.iter().filter(|m| !here.iter().any(|h| h.0 == m.0)).count() as u64;",
        )],
    },
    Mutant {
        name: "what was lost is not counted before it is closed",
        edits: &[(
            "src/steps/fence_old_side.rs",
            "            if let Some(count) = count(v, place, db).filter(|_| is_recorded) {",
            "            if let Some(count) = count(v, place, db).filter(|_| is_recorded && false) {",
        )],
    },
    Mutant {
        name: "a seed counts as restored once that was about to be",
        edits: &[(
            "src/domain/seeding.rs",
            "    let reaches = |redo: Lsn| seed.begins.is_some_and(|first| first <= redo);",
            "    let reaches = |_: Lsn| true;",
        )],
    },
    Mutant {
        name: "a database that is open is overwritten",
        edits: &[
            (
                "src/steps/fence_old_side.rs",
                "        DatabaseState::Online if !db.standby => save(v, place, i, db),",
                "        DatabaseState::Online if !db.standby => Ok(None),",
            ),
            ("src/systems/sql_server/job_steps.rs", "AND state IN (0, 2)) \\", "AND state IN (2)) \\"),
        ],
    },
    Mutant {
        name: "a set is applied beyond the point where it leaves its fork",
        edits: &[(
            "src/domain/chain.rs",
            "l.set.fork_point.is_some_and(|point| at.lsn > point);",
            "l.set.fork_point.is_some_and(|point| at.lsn > point && false);",
        )],
    },
];
