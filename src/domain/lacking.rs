//! What must be in the folders of log shipping. A listing that lacks it is no listing: an unmounted folder is empty, and a client of a
//! file server may leave files out, both without any error.

use super::backups::{BackupFile, Folders};
use super::chain::is_regular;
use super::log_shipping::SecondaryHalf;
use super::loss::file_name;
use super::problem::{Problem, Reason};
use super::text::clean;

/// Each folder whose listing is not to be believed, and why. Log shipping names the file that it copied last: it was in the share, and
/// as long as nothing newer is there, no retention has taken it away.
pub(super) fn of(half: &SecondaryHalf, database: &str, folders: &Folders) -> Vec<(&'static str, Problem)> {
    let (copied, restored) = (file_name(half.last_copied_file()), file_name(half.last_restored_file()));
    if copied.is_empty() {
        return vec![];
    }
    let reaches = |list: &Vec<BackupFile>| list.iter().any(|f| is_as_new(&f.name, copied, database));
    let (share, copy) = (folders.share.known(), folders.copy.known());
    let mut out = Vec::new();
    if share.is_some_and(|list| !reaches(list)) {
        out.push(("the backup share", lacks("backup share", copied)));
    }
    // What the copy folder lacks is fetched from the share; and what was restored already is needed no more.
    let is_needed = !share.is_some_and(reaches) && !copied.eq_ignore_ascii_case(restored);
    if is_needed && copy.is_some_and(|list| !reaches(list)) {
        out.push(("the copy folder", lacks("copy folder", copied)));
    }
    out
}

/// Whether a name is this one, or one that log shipping gave later.
fn is_as_new(name: &str, copied: &str, database: &str) -> bool {
    let (name, copied) = (name.to_lowercase(), copied.to_lowercase());
    name == copied || (is_regular(&name, database) && is_regular(&copied, database) && name > copied)
}

fn lacks(folder: &str, copied: &str) -> Problem {
    Problem::ask(
        Reason::FolderUnusable,
        format!(
            "The listing of the {folder} has neither {} nor anything newer, and log shipping has copied that file: the folder is not \
             mounted, or its listing is not whole",
            clean(copied)
        ),
        "Check the mount and the file server behind it. If the files are gone indeed, what was in them is lost by consent only",
    )
}
