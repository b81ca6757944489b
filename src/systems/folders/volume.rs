//! The folders of log backups, through mounted volumes.
//!
//! A file arrives under a temporary name, is flushed, and gets its own name last: neither SQL Server nor a job of log
//! shipping can take up half of it. Nothing of anyone else's is ever deleted.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::listing::Listing;
use crate::domain::backups::BackupFile;
use crate::domain::problem::{Problem, Reason};
use crate::domain::text::clean;

/// Suffix of a file that is not complete. It is not `.trn`: no job takes it up.
pub const PARTIAL: &str = "pcf-partial";

fn io(field: &str, doing: &str, e: &std::io::Error) -> Problem {
    if e.kind() == std::io::ErrorKind::StorageFull || e.raw_os_error() == Some(libc::EFBIG) {
        return Problem::retry(
            Reason::DiskFull,
            format!("{doing} in the folder of {field}: {e}"),
            "Make room in it",
        );
    }
    Problem::retry(
        Reason::FolderUnusable,
        format!("{doing} in the folder of {field}: {e}"),
        "Check that the volume is mounted and that the operator's user may read and write it",
    )
}

/// Why a name cannot be a log backup for us; SQL Server gets the name as part of a Windows path.
fn unusable(name: &str) -> Option<&'static str> {
    if name.len() > 200 {
        Some("the name is too long")
    } else if name.chars().any(|c| c.is_control() || r#"\/:*?"<>|"#.contains(c)) || name.contains("..") {
        Some("the name has characters that a Windows file name cannot have")
    } else {
        None
    }
}

/// Why a file is surely no log backup. What somebody rescued by hand may be called anything: every other name is looked into.
fn never_a_backup(name: &str) -> Option<&'static str> {
    let name = name.to_lowercase();
    if name.ends_with(&format!(".{PARTIAL}")) {
        Some("an operator is copying it, or was stopped while it did")
    } else if name.ends_with(".tuf") {
        // It stands in the copy folder while the copy is in STANDBY (SQL Server's documentation of log shipping).
        Some("it is the undo file of a copy in STANDBY")
    } else {
        None
    }
}

/// Lists a folder: every file of it, whatever it is called.
pub fn list(directory: &Path, field: &str) -> Result<Listing, Problem> {
    let mut out = Listing::default();
    for entry in std::fs::read_dir(directory).map_err(|e| io(field, "Listing", &e))? {
        let entry = entry.map_err(|e| io(field, "Listing", &e))?;
        let Ok(name) = entry.file_name().into_string() else {
            out.ignored.push((clean(&entry.file_name().to_string_lossy()), "the name is not Unicode".into()));
            continue;
        };
        if let Some(why) = unusable(&name).or_else(|| never_a_backup(&name)) {
            out.ignored.push((clean(&name), why.into()));
            continue;
        }
        // A file that vanishes between listing and looking was deleted by retention: it is not there.
        match std::fs::symlink_metadata(entry.path()) {
            Ok(m) if m.is_file() => {
                let modified = m.mtime().saturating_mul(1000).saturating_add(m.mtime_nsec() / 1_000_000);
                out.files.push(BackupFile { name, length: m.len(), modified });
            }
            Ok(_) => out.ignored.push((clean(&name), "it is no regular file".into())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(io(field, "Listing", &e)),
        }
    }
    out.files.sort();
    Ok(out)
}

/// Free bytes of a folder's volume.
pub fn free(directory: &Path, field: &str) -> Result<u64, Problem> {
    let s = rustix::fs::statvfs(directory).map_err(|e| io(field, "Asking for free space", &e.into()))?;
    Ok(s.f_bavail.saturating_mul(s.f_frsize))
}

/// Copies one file, from one folder to the other, each with the field that names it. Blocks; `progress` is told the bytes so far.
pub fn copy(
    ends: &[(PathBuf, String); 2],
    file: &BackupFile,
    progress: &(dyn Fn(u64) + Send + Sync),
) -> Result<(), Problem> {
    if let Some(why) = unusable(&file.name) {
        return Err(Problem::refuse(
            Reason::FolderUnusable,
            format!("{} is not copied: {why}", clean(&file.name)),
            "Rename it where it was written",
        ));
    }
    let [(from, source_field), (to, target_field)] = ends;
    let mut source = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(from.join(&file.name))
        .map_err(|e| io(source_field, &format!("Reading {}", clean(&file.name)), &e))?;
    let partial: PathBuf = to.join(format!("{}.{PARTIAL}", file.name));
    let write = |e: &std::io::Error| io(target_field, &format!("Writing {}", clean(&file.name)), e);
    let mut target = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&partial)
        .map_err(|e| write(&e))?;
    let mut buffer = vec![0; 1024 * 1024];
    let mut done = 0u64;
    loop {
        let n = source
            .read(&mut buffer)
            .map_err(|e| io(source_field, &format!("Reading {}", clean(&file.name)), &e))?;
        if n == 0 {
            break;
        }
        target.write_all(&buffer[..n]).map_err(|e| write(&e))?;
        done += n as u64;
        progress(done);
    }
    if done != file.length {
        return Err(Problem::retry(
            Reason::FolderUnusable,
            format!(
                "{} changed while it was copied ({done} bytes instead of {})",
                clean(&file.name),
                file.length
            ),
            "It is copied again",
        ));
    }
    target.sync_all().map_err(|e| write(&e))?;
    std::fs::rename(&partial, to.join(&file.name)).map_err(|e| write(&e))?;
    // The new name itself must survive a power cut as well. Some network file systems cannot flush a folder.
    match std::fs::File::open(to).and_then(|d| d.sync_all()) {
        Ok(()) => Ok(()),
        Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::ENOTSUP)) => Ok(()),
        Err(e) => Err(write(&e)),
    }
}

/// Writes a small file under a temporary name, and renames it.
pub fn keep(directory: &Path, field: &str, name: &str, text: &str) -> Result<(), Problem> {
    let write = |e: std::io::Error| io(field, &format!("Writing {}", clean(name)), &e);
    let partial = directory.join(format!("{name}.{PARTIAL}"));
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&partial)
        .map_err(write)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(write)?;
    std::fs::rename(&partial, directory.join(name)).map_err(write)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn copies_whole_files_under_their_name_and_leaves_others_alone() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(from.path().join("a.trn"), b"content").unwrap();
        std::fs::write(to.path().join("other.txt"), b"mine").unwrap();
        let file = BackupFile { name: "a.trn".into(), length: 7, modified: 0 };
        copy(&[(from.path().into(), "f".into()), (to.path().into(), "t".into())], &file, &|_| {}).unwrap();
        assert_eq!(std::fs::read(to.path().join("a.trn")).unwrap(), b"content");
        assert_eq!(std::fs::read(to.path().join("other.txt")).unwrap(), b"mine");
        let listed = list(to.path(), "f").unwrap().files;
        let copied: Vec<_> = listed.iter().filter(|f| f.is_copy_of(&file) && f.modified > 0).collect();
        assert_eq!((listed.len(), copied.len()), (2, 1));
    }

    #[test]
    fn a_file_that_changes_is_not_given_its_name() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(from.path().join("a.trn"), b"longer than listed").unwrap();
        assert!(
            copy(
                &[(from.path().into(), "f".into()), (to.path().into(), "t".into())],
                &BackupFile { name: "a.trn".into(), length: 3, modified: 0 },
                &|_| {}
            )
            .is_err()
        );
        assert!(!to.path().join("a.trn").exists());
    }

    #[test]
    fn hostile_names_and_links_are_passed_over_and_told() {
        let d = tempfile::tempdir().unwrap();
        for name in ["ok.TRN", "a\\..\\b.trn", "x\u{1b}[2J.trn", "b\n.trn", "half.wrk", "note.txt"] {
            std::fs::write(d.path().join(name), b"x").unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", d.path().join("link.trn")).unwrap();
        let l = list(d.path(), "f").unwrap();
        let names: Vec<&str> = l.files.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["half.wrk", "note.txt", "ok.TRN"]);
        assert_eq!(l.ignored.len(), 4);
        assert!(l.ignored.iter().all(|(n, _)| !n.chars().any(char::is_control)));
    }
}
