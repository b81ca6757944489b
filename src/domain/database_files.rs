//! The files of databases: which of them a log backup adds to a copy, and where that copy has room for them.

use std::collections::BTreeSet;

use super::links::file_name;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Rows.
    Data,
    /// Log.
    Log,
    /// Anything else (FILESTREAM, a full-text catalog): the product has none, and it is put nowhere.
    Other,
}

/// A file of the live database, as a backup of it lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its number, unique within the database.
    pub id: i32,
    /// What it holds.
    pub holds: Holds,
    /// Its logical name.
    pub name: String,
    /// Where the live database has it.
    pub path: String,
    /// Whether it is gone there by now.
    pub dropped: bool,
}

/// A file of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Whether it is one of the copy's, and not of another database.
    pub own: bool,
    /// Its number within its database.
    pub id: i32,
    /// What it holds.
    pub holds: Holds,
    /// Where it is.
    pub path: String,
}

/// `MOVE name TO path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// The logical name of the file.
    pub name: String,
    /// Where the copy is to have it.
    pub path: String,
}

/// Where the files go that a backup lists and the copy does not have: beside the first of the copy's own that holds the same, under a
/// name that no file of the instance has, whatever its folder.
///
/// By their numbers only: with RESTORE LOG "the MOVE option can be used only to relocate files that were added during the interval
/// covered by the log being restored" (RESTORE arguments), and a file can get another logical name at any time.
pub fn moves(listed: &[Listed], placed: &[Placed]) -> Vec<Move> {
    let mut taken: BTreeSet<String> = placed.iter().map(|p| file_name(&p.path).to_lowercase()).collect();
    let own = || placed.iter().filter(|p| p.own);
    let mut out = Vec::new();
    for file in listed.iter().filter(|f| !f.dropped && own().all(|p| p.id != f.id)) {
        let first = own().filter(|p| p.holds == file.holds && p.holds != Holds::Other).min_by_key(|p| p.id);
        let Some(folder) = first.and_then(|p| p.path.strip_suffix(file_name(&p.path))) else { continue };
        let name = free(file_name(&file.path), &taken);
        taken.insert(name.to_lowercase());
        out.push(Move { name: file.name.clone(), path: format!("{folder}{name}") });
    }
    out
}

/// Where the files go of a full backup that takes the place of a copy: where that has the file of the same number; what it does not have,
/// beside those (as [`moves`]). None: it has no files to go by, and each goes where the live database has it.
pub fn seed_moves(listed: &[Listed], placed: &[Placed]) -> Vec<Move> {
    let same = |f: &Listed| placed.iter().find(|p| p.own && p.id == f.id && p.holds == f.holds);
    let stays = listed.iter().filter(|f| !f.dropped).filter_map(|f| {
        let own = same(f)?;
        Some(Move { name: f.name.clone(), path: own.path.clone() })
    });
    let stays: Vec<Move> = stays.collect();
    let added: Vec<Listed> = listed.iter().filter(|f| same(f).is_none()).cloned().collect();
    stays.into_iter().chain(moves(&added, placed)).collect()
}

/// A name for a file that no other has: its own, or that with a number.
fn free(name: &str, taken: &BTreeSet<String>) -> String {
    let (stem, extension) = name.rfind('.').map_or((name, ""), |dot| name.split_at(dot));
    let mut free = name.to_string();
    let mut n = 1;
    while taken.contains(&free.to_lowercase()) {
        n += 1;
        free = format!("{stem}_{n}{extension}");
    }
    free
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(id: i32, holds: Holds, name: &str, path: &str) -> Listed {
        Listed { id, holds, name: name.into(), path: path.into(), dropped: false }
    }
    fn placed(own: bool, id: i32, holds: Holds, path: &str) -> Placed {
        Placed { own, id, holds, path: path.into() }
    }
    /// The live database: two files as ever, and more.
    fn live(more: Vec<Listed>) -> Vec<Listed> {
        let usual = [
            listed(1, Holds::Data, "mgc", r"D:\SQL\mgc.mdf"),
            listed(2, Holds::Log, "mgc_log", r"L:\SQL\mgc.ldf"),
        ];
        usual.into_iter().chain(more).collect()
    }
    /// The instance of the copy.
    fn instance(more: Vec<Placed>) -> Vec<Placed> {
        let usual = [
            placed(false, 1, Holds::Data, r"C:\DATA\master.mdf"),
            placed(true, 2, Holds::Log, r"G:\Log\mgc.ldf"),
            placed(true, 1, Holds::Data, r"F:\Data\mgc.mdf"),
        ];
        usual.into_iter().chain(more).collect()
    }
    fn paths(listed: &[Listed], placed: &[Placed]) -> Vec<(String, String)> {
        moves(listed, placed).into_iter().map(|m| (m.name, m.path)).collect()
    }
    fn to(name: &str, path: &str) -> (String, String) {
        (name.into(), path.into())
    }

    #[test]
    fn a_file_that_the_copy_lacks_lies_beside_its_own_of_that_kind() {
        let more = vec![
            listed(3, Holds::Data, "more", r"D:\SQL\more.ndf"),
            listed(4, Holds::Log, "more_log", r"X:\more.ldf"),
        ];
        assert_eq!(
            paths(&live(more.clone()), &instance(vec![])),
            [to("more", r"F:\Data\more.ndf"), to("more_log", r"G:\Log\more.ldf")]
        );
        // What it has already is none of them, whatever it is called by now, and another database's file of that number is not its own.
        let has = instance(vec![
            placed(true, 3, Holds::Data, r"F:\Data\else.ndf"),
            placed(false, 4, Holds::Log, r"G:\Log\other.ldf"),
        ]);
        assert_eq!(paths(&live(more), &has), [to("more_log", r"G:\Log\more.ldf")]);
        assert_eq!(paths(&live(vec![]), &instance(vec![])), []);
    }

    #[test]
    fn no_two_files_of_the_instance_get_one_name() {
        let more = vec![
            listed(3, Holds::Data, "a", r"D:\one\MGC.mdf"),
            listed(4, Holds::Data, "b", r"D:\two\mgc.mdf"),
            listed(5, Holds::Data, "c", r"D:\two\c"),
        ];
        let others = instance(vec![placed(false, 1, Holds::Data, r"Z:\C")]);
        assert_eq!(
            paths(&live(more), &others),
            [to("a", r"F:\Data\MGC_2.mdf"), to("b", r"F:\Data\mgc_3.mdf"), to("c", r"F:\Data\c_2")]
        );
    }

    #[test]
    fn what_is_dropped_or_has_nothing_to_lie_beside_goes_nowhere() {
        let dropped = Listed { dropped: true, ..listed(3, Holds::Data, "a", r"D:\SQL\a.ndf") };
        let other = listed(4, Holds::Other, "b", r"D:\SQL\b");
        let has = instance(vec![placed(true, 9, Holds::Other, r"F:\Stream\x")]);
        assert_eq!(paths(&live(vec![dropped, other]), &has), []);
        // A login that may not see the copy's files learns nothing of where they are.
        assert_eq!(paths(&live(vec![]), &[]), []);
    }
}
