//! Step 2: copy the log backups that log shipping had not copied yet.
//!
//! Which ones is decided by the log chain, not by names. A file of the chain counts when it stands in the copy folder with
//! the length that it has in the share, and SQL Server itself has read its header there.

use serde::Serialize;

use super::{Reads, Step, View};
use crate::domain::backups::BackupFile;
use crate::domain::chain;
use crate::domain::decision::{Decision, Evidence, Left, Outcome, Waiting};
use crate::domain::pool::Pool;
use crate::domain::problem::{Problem, Reason};
use crate::domain::reading::Reading;
use crate::domain::step::StepId;
use crate::domain::text::clean;
use crate::domain::transition::Transition;
use crate::permit::Permit;
use crate::systems::Systems;

/// The step.
pub struct CopyBackups;

/// What it does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Effect {
    /// Copies one file from the share to the copy folder.
    Copy(BackupFile),
}

impl Step for CopyBackups {
    const ID: StepId = StepId::BackupsCopied;
    type Effect = Effect;

    fn reads() -> Reads {
        Reads { source: true, files: true, mirror: false, chat: false }
    }

    fn decide(v: &View<'_>) -> Decision<Effect> {
        let chain = match v.while_restoring() {
            Ok(chain) => chain,
            Err(word) => return word,
        };
        let copy = match v.s.files.copy.get() {
            Ok(copy) => copy,
            Err(p) => return Decision::Blocked(p.clone()),
        };
        let wanted = wanted(v, copy);
        if let Some(next) = wanted.first() {
            let need: u64 = wanted.iter().map(|f| f.length).sum();
            return match v.s.files.copy_free.get() {
                Ok(free) if *free < need => Decision::Blocked(Problem::ask(
                    Reason::DiskFull,
                    format!("The copy folder has {free} bytes free, the log backups to copy need {need}"),
                    "Make room in the folder of spec.backupFiles.copyFolder",
                )),
                Ok(_) | Err(_) => Decision::Act(Effect::Copy((*next).clone())),
            };
        }
        if let Err(problem) = v.accepted.require() {
            return Decision::Blocked(problem);
        }
        if chain.links.iter().any(|l| !read_from_copy(v, &l.file)) {
            return Decision::Wait(Waiting {
                reason: Reason::InProgress,
                message: "SQL Server has not yet read the headers of all copied files".into(),
                until: None,
            });
        }
        let left = chain.links.len();
        Decision::Done(Evidence::new(match left {
            0 => "Every log backup that can follow is in the copy folder".to_string(),
            n => format!(
                "Every log backup that can follow is in the copy folder; {n} of them are still to be applied"
            ),
        }))
    }

    fn ahead(v: &View<'_>) -> Vec<Effect> {
        let (Ok(_), Some(copy)) = (v.while_restoring::<Effect>(), v.s.files.copy.known()) else {
            return vec![];
        };
        wanted(v, copy).into_iter().cloned().map(Effect::Copy).collect()
    }

    fn progress(v: &View<'_>) -> Option<Left> {
        let chain = v.while_restoring::<Effect>().ok()?;
        let pieces = chain.links.iter().filter(|l| !read_from_copy(v, &l.file)).count() as i64;
        Some(Left { pieces, unit: "files", restores: false })
    }

    fn shown(e: &Effect, pool: &Pool) -> Vec<String> {
        let Effect::Copy(f) = e;
        vec![format!(
            r"copy {share}\{name} to {folder}\{name} ({length} bytes)",
            share = clean(&pool.log_shipping.backup_share),
            folder = clean(&pool.log_shipping.copy_folder),
            name = clean(&f.name),
            length = f.length
        )]
    }

    async fn act<S: Systems>(e: &Effect, p: &Permit<'_, S>) -> Outcome {
        let Effect::Copy(file) = e;
        let outcome = p.copy(file).await;
        // Fetched once more because the first copy could not be restored: that has to be remembered, or it would be for ever.
        if outcome == Outcome::Answered && p.transition().damaged.contains_key(&file.name) {
            let name = file.name.clone();
            let note = move |t: &mut Transition| {
                if let Some(damaged) = t.damaged.get_mut(&name) {
                    damaged.fetched = true;
                }
            };
            return p.intend(note).await;
        }
        outcome
    }
}

/// Whether a file of the share is needed: it is a link of the chain, or nobody could read it where it is.
fn matters(v: &View<'_>, name: &str) -> bool {
    let linked = v.chain.as_ref().is_ok_and(|c| c.links.iter().any(|l| l.file == name));
    linked
        || v.s.files.headers.get(name).is_some_and(|h| !h.from_copy && matches!(h.sets, Reading::Unknown(_)))
}

/// The files that are to be copied. A lost share is a loss like a missing file: the chain counts it, and a human may accept it.
fn wanted<'v>(v: &'v View<'_>, copy: &[BackupFile]) -> Vec<&'v BackupFile> {
    let share = v.s.files.share.known().map_or(&[][..], Vec::as_slice);
    let missing = |f: &BackupFile| !copy.iter().any(|c| c.is_copy_of(f)) && matters(v, &f.name);
    let again = |f: &BackupFile| chain::is_fetched_again(v.t, &v.s.files, &f.name);
    share.iter().filter(|f| missing(f) || again(f)).collect()
}

fn read_from_copy(v: &View<'_>, name: &str) -> bool {
    v.s.files.headers.get(name).is_some_and(|h| h.from_copy)
}
