//! Shares and folders, as SQL Server names them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Files of the world. Paths are Windows paths (`\\server\share\file`, `E:\folder\file`); names compare without case.
pub trait Files: Send {
    /// Names and lengths (bytes) of the files of a folder, ordered by name.
    fn list(&self, folder: &str) -> Result<Vec<(String, u64)>, FileError>;
    /// The first `length` bytes of a file, or fewer.
    fn head(&self, path: &str, length: usize) -> Result<Vec<u8>, FileError>;
    /// A file's content.
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError>;
    /// Writes a file: complete under its name, or not at all.
    fn write(&mut self, path: &str, content: &[u8]) -> Result<(), FileError>;
    /// Removes a file.
    fn remove(&mut self, path: &str) -> Result<(), FileError>;
}

/// Why a file operation failed: the Windows error code that SQL Server would print, and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// Windows system error code, for example 2 (not found) or 53 (network path not found).
    pub code: u32,
    /// Its text.
    pub text: String,
}

impl FileError {
    /// An error by its code.
    pub fn new(code: u32, text: impl Into<String>) -> Self {
        FileError { code, text: text.into() }
    }
    fn no_path(folder: &str) -> Self {
        FileError::new(53, format!("The network path was not found: {folder}"))
    }
    fn not_found(path: &str) -> Self {
        FileError::new(2, format!("The system cannot find the file specified: {path}"))
    }
}

/// Splits a Windows path into its folder and file name.
pub fn split(path: &str) -> (&str, &str) {
    path.rfind('\\').map_or(("", path), |i| (&path[..i], &path[i + 1..]))
}

/// How folders compare.
fn folder_key(folder: &str) -> String {
    folder.trim_end_matches('\\').to_lowercase()
}

/// Folders that nobody reaches.
#[derive(Clone, Default)]
pub(super) struct Unreachable(Arc<Mutex<BTreeSet<String>>>);

impl Unreachable {
    /// Whether nobody reaches these folders from now on.
    pub(super) fn set<'a>(&self, folders: impl Iterator<Item = &'a str>, unreachable: bool) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for key in folders.map(folder_key) {
            if unreachable {
                all.insert(key);
            } else {
                all.remove(&key);
            }
        }
    }

    fn check(&self, folder: &str) -> Result<(), FileError> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.contains(&folder_key(folder)) { Err(FileError::no_path(folder)) } else { Ok(()) }
    }
}

/// The files of a world, as far as their folders can be reached.
pub(super) struct Volumes {
    files: Box<dyn Files>,
    unreachable: Unreachable,
}

impl Volumes {
    /// Files that can all be reached.
    pub(super) fn new(files: Box<dyn Files>) -> Self {
        Volumes { files, unreachable: Unreachable::default() }
    }

    /// What nobody reaches, to be changed.
    pub(super) fn unreachable(&self) -> Unreachable {
        self.unreachable.clone()
    }
}

impl Files for Volumes {
    fn list(&self, folder: &str) -> Result<Vec<(String, u64)>, FileError> {
        self.unreachable.check(folder)?;
        self.files.list(folder)
    }
    fn head(&self, path: &str, length: usize) -> Result<Vec<u8>, FileError> {
        self.unreachable.check(split(path).0)?;
        self.files.head(path, length)
    }
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        self.unreachable.check(split(path).0)?;
        self.files.read(path)
    }
    fn write(&mut self, path: &str, content: &[u8]) -> Result<(), FileError> {
        self.unreachable.check(split(path).0)?;
        self.files.write(path, content)
    }
    fn remove(&mut self, path: &str) -> Result<(), FileError> {
        self.unreachable.check(split(path).0)?;
        self.files.remove(path)
    }
}

/// Files in memory, for runs of the world in process.
#[derive(Default)]
pub struct MemoryFiles(BTreeMap<(String, String), (String, Vec<u8>)>);

impl MemoryFiles {
    fn key(path: &str) -> (String, String) {
        let (folder, name) = split(path);
        (folder.to_lowercase(), name.to_lowercase())
    }
}

impl Files for MemoryFiles {
    fn list(&self, folder: &str) -> Result<Vec<(String, u64)>, FileError> {
        let folder = folder_key(folder);
        Ok(self
            .0
            .iter()
            .filter(|((f, _), _)| *f == folder)
            .map(|(_, (name, content))| (name.clone(), content.len() as u64))
            .collect())
    }
    fn head(&self, path: &str, length: usize) -> Result<Vec<u8>, FileError> {
        self.read(path).map(|mut c| {
            c.truncate(length);
            c
        })
    }
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        self.0.get(&Self::key(path)).map(|(_, c)| c.clone()).ok_or_else(|| FileError::not_found(path))
    }
    fn write(&mut self, path: &str, content: &[u8]) -> Result<(), FileError> {
        self.0.insert(Self::key(path), (split(path).1.to_string(), content.to_vec()));
        Ok(())
    }
    fn remove(&mut self, path: &str) -> Result<(), FileError> {
        self.0.remove(&Self::key(path)).map(|_| ()).ok_or_else(|| FileError::not_found(path))
    }
}

/// Files in real directories: each Windows folder is one directory of this machine.
pub struct DirectoryFiles(BTreeMap<String, PathBuf>);

impl DirectoryFiles {
    /// Maps Windows folders to directories. Folders that are not in the map do not exist.
    pub fn new(folders: impl IntoIterator<Item = (String, PathBuf)>) -> Self {
        DirectoryFiles(folders.into_iter().map(|(w, d)| (folder_key(&w), d)).collect())
    }

    fn directory(&self, folder: &str) -> Result<&PathBuf, FileError> {
        self.0.get(&folder_key(folder)).ok_or_else(|| FileError::no_path(folder))
    }

    fn locate(&self, path: &str) -> Result<PathBuf, FileError> {
        let (folder, name) = split(path);
        if name.is_empty() || name == ".." || name.contains('/') {
            return Err(FileError::new(
                123,
                format!("The filename or directory name syntax is incorrect: {path}"),
            ));
        }
        let directory = self.directory(folder)?;
        let exact = directory.join(name);
        if exact.exists() {
            return Ok(exact);
        }
        // Windows finds a file whatever the case of its name.
        let found = self.list(folder)?.into_iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        Ok(found.map_or(exact, |(n, _)| directory.join(n)))
    }
}

fn system_error(path: &str, e: &std::io::Error) -> FileError {
    let code = match e.kind() {
        std::io::ErrorKind::NotFound => 2,
        std::io::ErrorKind::PermissionDenied => 5,
        std::io::ErrorKind::StorageFull => 112,
        _ => 31,
    };
    FileError::new(code, format!("{path}: {e}"))
}

impl Files for DirectoryFiles {
    fn list(&self, folder: &str) -> Result<Vec<(String, u64)>, FileError> {
        let directory = self.directory(folder)?;
        let mut out = Vec::new();
        for entry in std::fs::read_dir(directory).map_err(|e| system_error(folder, &e))? {
            let entry = entry.map_err(|e| system_error(folder, &e))?;
            let meta = entry.metadata().map_err(|e| system_error(folder, &e))?;
            if let (true, Ok(name)) = (meta.is_file(), entry.file_name().into_string()) {
                out.push((name, meta.len()));
            }
        }
        out.sort();
        Ok(out)
    }
    fn head(&self, path: &str, length: usize) -> Result<Vec<u8>, FileError> {
        let mut out = Vec::new();
        std::fs::File::open(self.locate(path)?)
            .and_then(|f| f.take(length as u64).read_to_end(&mut out))
            .map_err(|e| system_error(path, &e))?;
        Ok(out)
    }
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        std::fs::read(self.locate(path)?).map_err(|e| system_error(path, &e))
    }
    fn write(&mut self, path: &str, content: &[u8]) -> Result<(), FileError> {
        let target = self.locate(path)?;
        let temporary = target.with_extension("wrk");
        std::fs::write(&temporary, content)
            .and_then(|()| std::fs::rename(&temporary, &target))
            .map_err(|e| system_error(path, &e))
    }
    fn remove(&mut self, path: &str) -> Result<(), FileError> {
        std::fs::remove_file(self.locate(path)?).map_err(|e| system_error(path, &e))
    }
}
