//! What must be in the folders of log shipping. A listing that lacks it is no listing: an unmounted folder is empty, and a client of a
//! file server may leave files out, both without any error.

use super::backups::{BackupFile, Folders};
use super::links::{file_name, is_regular};
use super::log_shipping::SecondaryHalf;
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::reading::Reading;
    use super::*;

    const COPIED: &str = "mgc_20261123094500.trn";

    fn half(copied: &str, restored: &str) -> SecondaryHalf {
        let column = |name: &str, file: &str| (name.to_string(), format!(r"E:\copies\{file}"));
        let columns = [column("last_copied_file", copied), column("last_restored_file", restored)].into();
        SecondaryHalf { columns, schedules: BTreeMap::new() }
    }
    fn folders(share: Option<&[&str]>, copy: &[&str]) -> Folders {
        let list = |names: &[&str]| {
            let file = |n: &&str| BackupFile { name: (*n).to_string(), length: 1, modified: 1 };
            Reading::Known(names.iter().map(file).collect())
        };
        Folders {
            share: share.map_or_else(Reading::not_looked, list),
            copy: list(copy),
            copy_free: Reading::Known(1),
            headers: BTreeMap::new(),
            ignored: vec![],
            unread: 0,
            unlisted: BTreeMap::new(),
        }
    }
    fn lacking(half: &SecondaryHalf, f: &Folders) -> Vec<&'static str> {
        of(half, "mgc", f).into_iter().map(|(folder, _)| folder).collect()
    }

    #[test]
    fn a_listing_without_what_log_shipping_copied_is_not_believed() {
        let behind = half(COPIED, "mgc_20261123093000.trn");
        let newer = "mgc_20261123100000.trn";
        // The mount is gone, and a folder that is empty stands in its place.
        assert_eq!(lacking(&behind, &folders(Some(&[]), &[COPIED])), ["the backup share"]);
        assert_eq!(lacking(&behind, &folders(Some(&[]), &[])), ["the backup share", "the copy folder"]);
        // Short listings: only what is older, only files of others.
        let older = ["mgc_20261123093000.trn", "zzz.trn", "mgccomp_20991123094500.trn"];
        assert_eq!(lacking(&behind, &folders(Some(&older), &[COPIED])), ["the backup share"]);
        // Whole ones: it is there, or retention has taken it and something newer is there.
        for share in [[COPIED], [newer], ["MGC_20261123094500.TRN"]] {
            assert!(lacking(&behind, &folders(Some(&share), &[])).is_empty(), "{share:?}");
        }
        // A lost share, and a copy folder that lacks what the copy still needs, or needs no more.
        assert_eq!(lacking(&behind, &folders(None, &[])), ["the copy folder"]);
        assert!(lacking(&half(COPIED, COPIED), &folders(None, &[])).is_empty());
        // Nothing was ever copied.
        assert!(lacking(&half("", ""), &folders(Some(&[]), &[])).is_empty());
    }
}
