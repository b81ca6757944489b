//! What the Agent jobs of ours run: texts of T-SQL steps, which take no parameters. Values are quoted by the one quoting function.
//!
//! Nobody holds the lock of the pool while a job runs: each text looks itself whether what it is about to do still may be done. Without STATS:
//! what the history keeps of a step is short, and what matters stands at its end.

use super::statements::{GUARD_STATE, quote_name, quote_string};
use crate::domain::database_files::Move;

/// A full backup of a database into one file, with checksums. `copy_only`: what others base their differential backups on stays as it is
/// ("A copy-only backup is created independently of your regularly scheduled, conventional backups": BACKUP arguments). FORMAT: what an
/// attempt that was cut off has left in the file is written over.
pub fn full_backup(database: &str, path: &str, copy_only: bool) -> String {
    let copy_only = if copy_only { "COPY_ONLY, " } else { "" };
    format!(
        "BACKUP DATABASE {} TO DISK = {} WITH {copy_only}FORMAT, INIT, CHECKSUM;",
        quote_name(database),
        quote_string(path)
    )
}

/// Restores a full backup as a copy that waits for log backups. Not over a database that somebody may use: that one is saved and closed
/// before. `replace`: a database stands there; where none does, a file of its name is somebody's, and is not written over.
pub fn seed(database: &str, path: &str, moves: &[Move], replace: bool) -> String {
    let replace = if replace { "REPLACE, " } else { "" };
    let moves: String = moves
        .iter()
        .map(|m| format!(", MOVE {} TO {}", quote_string(&m.name), quote_string(&m.path)))
        .collect();
    format!(
        "IF EXISTS (SELECT 1 FROM sys.databases WHERE name = {} AND state IN (0, 2)) \
         RAISERROR(N'PCF guard: the database is open', 16, {GUARD_STATE}); \
         ELSE RESTORE DATABASE {} FROM DISK = {} WITH FILE = 1, NORECOVERY, {replace}CHECKSUM{moves};",
        quote_string(database),
        quote_name(database),
        quote_string(path)
    )
}

/// Every text of this module, in every variant, with names that need quoting.
pub fn listed() -> Vec<(String, String)> {
    let moves = [Move { name: "it's [a] file".into(), path: r"F:\it's\mgc.mdf".into() }];
    let path = r"\\fs\it's [a] share\mgc.bak";
    ["mgc", "it's [the] \"chat\"; --"]
        .into_iter()
        .flat_map(|name| {
            [
                (format!("full_backup({name}, true)"), full_backup(name, path, true)),
                (format!("full_backup({name}, false)"), full_backup(name, path, false)),
                (format!("seed({name}, 0, false)"), seed(name, path, &[], false)),
                (format!("seed({name}, 1, true)"), seed(name, path, &moves, true)),
            ]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_stay_inside_their_quotes_and_nothing_open_is_written_over() {
        let text = seed("it's]", r"\\fs\o'k.bak", &[], true);
        assert!(text.contains("name = N'it''s]'") && text.contains("[it's]]]") && text.contains("o''k.bak'"));
        assert!(
            text.starts_with("IF EXISTS (SELECT 1 FROM sys.databases")
                && text.contains("ELSE RESTORE DATABASE")
        );
        assert!(!seed("mgc", "x", &[], false).contains("REPLACE"));
    }
}
