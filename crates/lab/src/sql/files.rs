//! The files of databases: what a backup brings to a copy, and why there may be no room for it.

use serde::{Deserialize, Serialize};

use super::backup::BackupHeader;
use super::{Database, Instance};
use crate::tsql::SqlMessage;
use crate::tsql::values::Errors;
use crate::world::World;
use crate::world::files::split;

/// A file of a database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseFile {
    /// `file_id`.
    pub id: i64,
    /// Whether it holds log.
    pub log: bool,
    /// Its logical name.
    pub name: String,
    /// `physical_name`.
    pub path: String,
    /// `create_lsn`.
    pub created: i128,
}

/// The files of a new database, in these two folders.
pub(super) fn usual(database: &str, data: &str, log: &str) -> Vec<DatabaseFile> {
    let file = |id, log, name: String, path| DatabaseFile { id, log, name, path, created: 0 };
    let log_name = format!("{database}_log");
    let log_path = format!(r"{log}\{database}_log.ldf");
    vec![
        file(1, false, database.into(), format!(r"{data}\{database}.mdf")),
        file(2, true, log_name, log_path),
    ]
}

/// `ALTER DATABASE … ADD FILE` on the server where the scenario's database is live: its next log backup adds it to a copy.
pub fn add_file_by_hand(world: &mut World, host: &str, name: &str, path: &str) -> Result<(), String> {
    world.touch();
    let key = world.scenario.database.to_lowercase();
    let db = world.sql.get_mut(host).and_then(|i| i.databases.get_mut(&key)).filter(|d| d.is_live());
    let db = db.ok_or_else(|| format!("{host} has no live {key}"))?;
    let id = db.files.iter().map(|f| f.id).max().unwrap_or(0) + 1;
    let created = db.log_end;
    db.files.push(DatabaseFile { id, log: false, name: name.into(), path: path.into(), created });
    Ok(())
}

/// The files that a log adds to a database, each where it will lie, or why it cannot: "the MOVE option can be used only to relocate
/// files that were added during the interval covered by the log being restored" (RESTORE arguments).
///
/// The numbers are those that were seen of a path that does not exist or is taken (FirstResponderKit, dbatools); their texts are
/// documented. States: 1834 is 1, 3156 is 4, 3234 is 2 (recorded); that of 5133 is not.
pub(crate) fn added(
    i: &Instance,
    db: &Database,
    set: &BackupHeader,
    moves: &[(String, String)],
) -> Result<Vec<DatabaseFile>, Errors> {
    let listed = &set.extra.files;
    let new: Vec<&DatabaseFile> =
        listed.iter().filter(|f| db.files.iter().all(|own| own.id != f.id)).collect();
    for (name, _) in moves {
        if !listed.iter().any(|f| f.name == *name) {
            return Err(not_part(name, &db.name).into());
        }
        if !new.iter().any(|f| f.name == *name) {
            return Err(
                SqlMessage::simulator("RESTORE LOG WITH MOVE of a file that the log does not add").into()
            );
        }
    }
    laid(i, None, new, moves)
}

/// The files that a full backup brings with it, each where it will lie, or why it cannot. Files of the database whose place it takes stand in
/// no way.
pub(crate) fn placed(
    i: &Instance,
    database: &str,
    set: &BackupHeader,
    moves: &[(String, String)],
) -> Result<Vec<DatabaseFile>, Errors> {
    let listed = &set.extra.files;
    if let Some((name, _)) = moves.iter().find(|(name, _)| !listed.iter().any(|f| f.name == *name)) {
        return Err(not_part(name, database).into());
    }
    laid(i, Some(database), listed, moves)
}

/// Files, each where it is moved to or where it lay, if there is room for all of them.
fn laid<'f>(
    i: &Instance,
    without: Option<&str>,
    files: impl IntoIterator<Item = &'f DatabaseFile>,
    moves: &[(String, String)],
) -> Result<Vec<DatabaseFile>, Errors> {
    let mut out: Vec<DatabaseFile> = Vec::new();
    for file in files {
        let moved = moves.iter().find(|(name, _)| *name == file.name).map(|(_, to)| to.clone());
        let path = moved.unwrap_or_else(|| file.path.clone());
        if let Some(why) = no_room(i, without, &out, &path) {
            return Err(planned(why, &file.name, &path));
        }
        out.push(DatabaseFile { path, ..file.clone() });
    }
    Ok(out)
}

fn not_part(name: &str, database: &str) -> SqlMessage {
    let what = format!(
        "Logical file '{name}' is not part of database '{database}'. Use RESTORE FILELISTONLY to list the logical file names."
    );
    SqlMessage::refusal(3234, what).in_state(2)
}

/// Why a file cannot lie at a path: folders are those that the instance began with, and those that files of it lie in. Files of one database
/// may be left out.
fn no_room(i: &Instance, without: Option<&str>, before: &[DatabaseFile], path: &str) -> Option<SqlMessage> {
    let all = || i.databases.values().flat_map(|d| d.files.iter().map(|f| (&d.name, &f.path)));
    let folder = split(path).0;
    let known = i.folders.contains(&folder.to_lowercase());
    if !known && !all().any(|(_, p)| split(p).0.eq_ignore_ascii_case(folder)) {
        let what = format!(
            "Directory lookup for the file \"{path}\" failed with the operating system error 3(The system cannot find the path specified.)."
        );
        return Some(SqlMessage::refusal(5133, what));
    }
    let others = |name: &str| !without.is_some_and(|own| own.eq_ignore_ascii_case(name));
    let taken = all()
        .filter(|(name, _)| others(name))
        .find(|(_, p)| p.eq_ignore_ascii_case(path))
        .map(|(name, _)| name.clone());
    let twice = || before.iter().any(|f| f.path.eq_ignore_ascii_case(path)).then(String::new);
    taken.or_else(twice).map(|by| {
        let what = format!("The file '{path}' cannot be overwritten.  It is being used by database '{by}'.");
        SqlMessage::refusal(1834, what)
    })
}

/// What is said behind it, before 3013.
fn planned(why: SqlMessage, name: &str, path: &str) -> Errors {
    let cannot = format!(
        "File '{name}' cannot be restored to '{path}'. Use WITH MOVE to identify a valid location for the file."
    );
    let problems = "Problems were identified while planning for the RESTORE statement. Previous messages provide details.";
    vec![why, SqlMessage::refusal(3156, cannot).in_state(4), SqlMessage::refusal(3119, problems)]
}
