//! The folders of log backups, as mounted volumes.

mod guard;
mod listing;
pub mod volume;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use guard::Slot;
pub use listing::{Kind, Listing};

use super::settings::Settings;
use crate::domain::backups::BackupFile;
use crate::domain::pool::{Folder, Pool};
use crate::domain::problem::{Problem, Reason};
use crate::domain::side::{Side, Sides};
use crate::domain::text::clean;

/// The folders of log backups of a pool, two for each side's copy.
pub trait Folders: Send + Sync {
    /// Lists the log backups of a folder, ordered by name, and the names that were passed over.
    fn list(&self, side: Side, kind: Kind) -> impl Future<Output = Result<Listing, Problem>> + Send;
    /// Free bytes of the copy folder's volume.
    fn free(&self, side: Side) -> impl Future<Output = Result<u64, Problem>> + Send;
    /// Copies a log backup from the share to the copy folder: under a temporary name, flushed, renamed; never deletes
    /// anything of anyone else's.
    fn copy(&self, side: Side, file: &BackupFile) -> impl Future<Output = Result<(), Problem>> + Send;
    /// Keeps a text for a human as a file of that name beside the copied log backups. An older one of ours is replaced.
    fn keep(&self, side: Side, name: &str, text: &str) -> impl Future<Output = Result<(), Problem>> + Send;
}

/// What is done with the folders of one side.
#[derive(Default)]
struct Slots {
    list_share: Slot,
    list_copies: Slot,
    free: Slot,
    keep: Slot,
    copy: Slot,
}

/// The folders of a pool on mounted volumes.
pub struct MountedFolders {
    pool: Arc<Pool>,
    settings: Arc<Settings>,
    slots: Sides<Slots>,
}

impl MountedFolders {
    /// The folders of a pool.
    pub fn new(pool: Arc<Pool>, settings: Arc<Settings>) -> Self {
        MountedFolders { pool, settings, slots: Sides::default() }
    }

    fn folder(&self, side: Side, kind: Kind) -> Result<&Folder, Problem> {
        let data_center = &self.pool.sites[side];
        let shipping = data_center.log_shipping.as_ref().ok_or_else(|| {
            Problem::ask(
                Reason::InvalidSpec,
                format!("{}.logShipping is missing", data_center.field()),
                format!("Say in it how log backups reach the copy in {}", clean(&data_center.name)),
            )
        })?;
        Ok(match kind {
            Kind::BackupShare => &shipping.backup_share,
            Kind::CopyFolder => &shipping.copy_folder,
        })
    }

    fn directory(&self, side: Side, kind: Kind) -> Result<(PathBuf, &str), Problem> {
        let folder = self.folder(side, kind)?;
        self.settings.directory(folder).map(|path| (path, folder.field.as_str()))
    }
}

impl Folders for MountedFolders {
    async fn list(&self, side: Side, kind: Kind) -> Result<Listing, Problem> {
        let (directory, field) = self.directory(side, kind)?;
        let slots = &self.slots[side];
        let slot = match kind {
            Kind::BackupShare => &slots.list_share,
            Kind::CopyFolder => &slots.list_copies,
        };
        let told = field.to_string();
        slot.run(field, None, move || volume::list(&directory, &told)).await
    }

    async fn free(&self, side: Side) -> Result<u64, Problem> {
        let (directory, field) = self.directory(side, Kind::CopyFolder)?;
        let told = field.to_string();
        self.slots[side].free.run(field, None, move || volume::free(&directory, &told)).await
    }

    async fn copy(&self, side: Side, file: &BackupFile) -> Result<(), Problem> {
        let (from, field) = self.directory(side, Kind::BackupShare)?;
        let (to, to_field) = self.directory(side, Kind::CopyFolder)?;
        let ends = [(from, field.to_string()), (to, to_field.to_string())];
        let file = file.clone();
        let done = Arc::new(AtomicU64::new(0));
        let told = done.clone();
        let tell = move |n| told.store(n, Ordering::Relaxed);
        self.slots[side].copy.run(field, Some(done), move || volume::copy(&ends, &file, &tell)).await
    }

    async fn keep(&self, side: Side, name: &str, text: &str) -> Result<(), Problem> {
        let (directory, field) = self.directory(side, Kind::CopyFolder)?;
        let (name, text, told) = (name.to_string(), text.to_string(), field.to_string());
        self.slots[side].keep.run(field, None, move || volume::keep(&directory, &told, &name, &text)).await
    }
}
