//! Which folder, and what it holds.

use crate::domain::backups::BackupFile;

/// One of the two folders over which log backups reach a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The share that the live side writes to.
    BackupShare,
    /// The folder on the host of the copy.
    CopyFolder,
}

/// What a folder holds.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Every file that may hold a log backup, whatever it is called.
    pub files: Vec<BackupFile>,
    /// Names that cannot be log backups for us, and why.
    pub ignored: Vec<(String, String)>,
}
