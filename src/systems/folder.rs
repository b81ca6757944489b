//! The two folders of log shipping, and what they hold.

use crate::domain::backups::BackupFile;

/// One of the two folders of log shipping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folder {
    /// The share that the primary writes to.
    BackupShare,
    /// The folder on the backup instance's host.
    CopyFolder,
}

/// What a folder holds.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Files whose name ends in `.trn`.
    pub files: Vec<BackupFile>,
    /// Names that cannot be log backups for us, and why.
    pub ignored: Vec<(String, String)>,
}
