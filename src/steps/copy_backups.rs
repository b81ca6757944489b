//! Copy the log backups that log shipping had not copied yet.
//!
//! Which ones is decided by the log chain, not by names. A file of the chain counts when it stands in the copy folder with
//! the length that it has in the share, and SQL Server itself has read its header there.

use serde::Serialize;

use super::{Reads, Step, View};
use crate::domain::backups::{BackupFile, FileHeaders, Folders};
use crate::domain::chain;
use crate::domain::decision::{Decision, Evidence, Left, Outcome, Waiting};
use crate::domain::pool::Pool;
use crate::domain::problem::{Problem, Reason};
use crate::domain::reading::Reading;
use crate::domain::route::Route;
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
        Reads { other: true, files: true, ..Reads::default() }
    }

    fn decide(v: &View<'_>) -> Decision<Effect> {
        let chain = match v.while_restoring() {
            Ok(chain) => chain,
            Err(word) => return word,
        };
        let folders = match v.folders() {
            Ok(folders) => folders,
            Err(p) => return Decision::Blocked(p),
        };
        if let Err(p) = folders.copy.get() {
            return Decision::Blocked(p.clone());
        }
        let wanted = wanted(v, folders);
        if v.is_near() && v.losses_accepted().is_ok() {
            return Decision::Done(Evidence::new(
                "All but the last log backups were copied; they come faster than they are applied",
            ));
        }
        if let Some(next) = wanted.first() {
            let need: u64 = wanted.iter().map(|f| f.length).sum();
            return match folders.copy_free.get() {
                Ok(free) if *free < need => Decision::Blocked(Problem::ask(
                    Reason::DiskFull,
                    format!("The copy folder has {free} bytes free, the log backups to copy need {need}"),
                    format!("Make room in the folder of {}.logShipping.copyFolder", v.to().field()),
                )),
                Ok(_) | Err(_) => Decision::Act(Effect::Copy((*next).clone())),
            };
        }
        if let Err(problem) = v.losses_accepted() {
            return Decision::Blocked(problem);
        }
        if chain.links.iter().any(|l| !v.is_read_from_copy(l)) {
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
        let (Ok(_), Ok(folders)) = (v.while_restoring::<Effect>(), v.folders()) else {
            return vec![];
        };
        wanted(v, folders).into_iter().cloned().map(Effect::Copy).collect()
    }

    fn progress(v: &View<'_>) -> Option<Left> {
        let chain = v.while_restoring::<Effect>().ok()?;
        let pieces = chain.links.iter().filter(|l| !v.is_read_from_copy(l)).count() as i64;
        Some(Left { pieces, unit: "files", restores: false })
    }

    fn shown(e: &Effect, pool: &Pool, route: Route) -> Vec<String> {
        let Effect::Copy(f) = e;
        let Some(shipping) = &pool.sites[route.to].log_shipping else { return vec![] };
        let (from, to) = (shipping.backup_share.file(&f.name), shipping.copy_folder.file(&f.name));
        vec![format!("copy {} to {} ({} bytes)", clean(&from), clean(&to), f.length)]
    }

    async fn act<S: Systems>(e: &Effect, p: &Permit<'_, S>) -> Outcome {
        let Effect::Copy(file) = e;
        let outcome = p.copy(file).await;
        // Fetched once more because the first copy could not be restored: that has to be remembered, or it would be for ever.
        let is_known = p.transition().facts.damaged.values().any(|d| d.file.name == file.name);
        if outcome == Outcome::Answered && is_known {
            let name = file.name.clone();
            let note = move |t: &mut Transition| {
                let of_file = t.facts.damaged.values_mut().filter(|d| d.file.name == name);
                of_file.for_each(|damaged| damaged.fetched = true);
            };
            return p.intend(note).await;
        }
        outcome
    }
}

/// The files that are to be copied. A lost share is a loss like a missing file: the chain counts it, and a human may accept it.
fn wanted<'v>(v: &View<'_>, folders: &'v Folders) -> Vec<&'v BackupFile> {
    let share = folders.share.known().map_or(&[][..], Vec::as_slice);
    let copies = folders.copy.known().map_or(&[][..], Vec::as_slice);
    let missing = |f: &BackupFile| !copies.iter().any(|c| c.is_copy_of(f)) && matters(v, folders, &f.name);
    let again = |f: &BackupFile| chain::is_fetched_again(v.transition, folders, &f.name);
    share.iter().filter(|f| missing(f) || again(f)).collect()
}

/// Whether a file of the share is needed: it is a link of the chain, or nobody could read it where it is.
fn matters(v: &View<'_>, folders: &Folders, name: &str) -> bool {
    let linked = v.chain.as_ref().is_ok_and(|c| c.links.iter().any(|l| l.files().any(|f| f == name)));
    // What SQL Server has read, and says holds no backup, is somebody's file of any size, unless log shipping calls its backups so.
    let name_of_ours = [".trn", ".wrk"].iter().any(|end| name.to_lowercase().ends_with(end));
    let unread = |h: &FileHeaders| match &h.sets {
        Reading::Unknown(p) => !h.from_copy && (name_of_ours || p.reason != Reason::BackupDamaged),
        Reading::Known(_) => false,
    };
    linked || folders.headers.get(name).is_some_and(unread)
}
