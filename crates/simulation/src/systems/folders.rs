//! The share and the copy folder.

use std::time::Duration;

use persistent_chat_failover::domain::backups::BackupFile;
use persistent_chat_failover::domain::problem::{Problem, Reason};
use persistent_chat_failover::systems::{Folder, Listing};

use super::SimSystems;
use crate::world::Fate;

impl SimSystems {
    fn folder(&self, folder: Folder) -> &str {
        match folder {
            Folder::BackupShare => &self.scenario.backup_share,
            Folder::CopyFolder => &self.scenario.copy_folder,
        }
    }

    /// What lies in a folder.
    pub(super) async fn list_folder(&self, folder: Folder) -> Result<Listing, Problem> {
        let lost = || Problem::retry(Reason::FolderUnusable, "Listing in a folder: input/output error", "");
        match self.point(false, || format!("list {}", self.folder(folder))).await {
            Fate::FailBefore | Fate::AnswerLost => return Err(lost()),
            Fate::Hang => {
                tokio::time::sleep(Duration::from_secs(20)).await;
                return Err(lost());
            }
            Fate::KillDuring | Fate::KillAfter => return self.die().await,
            Fate::Ok | Fate::KillBefore => {}
        }
        let s = self.shared.now();
        let listed = s.world.files.list(self.folder(folder)).map_err(|_| lost())?;
        let backup =
            |name: &str| name.to_lowercase().ends_with(".trn") || name.to_lowercase().ends_with(".wrk");
        let mut files = Vec::new();
        for (name, length) in listed.into_iter().filter(|(name, _)| backup(name)) {
            // Memory has no times: another content is another time.
            let content =
                s.world.files.read(&format!(r"{}\{name}", self.folder(folder))).map_err(|_| lost())?;
            let modified = content.iter().fold(0i64, |h, b| h.wrapping_mul(31).wrapping_add(i64::from(*b)));
            files.push(BackupFile { name, length, modified });
        }
        Ok(Listing { files, ignored: vec![] })
    }

    /// Copies a backup from the share into the copy folder.
    pub(super) async fn copy_backup(
        &self,
        file: &BackupFile,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), Problem> {
        let lost = || Problem::retry(Reason::FolderUnusable, "Copying: input/output error", "");
        let fate = self.point(true, || format!("copy {}", file.name)).await;
        match fate {
            Fate::FailBefore | Fate::Hang => return Err(lost()),
            // What is not complete has no name that anybody takes up.
            Fate::KillDuring => return self.die().await,
            Fate::Ok | Fate::AnswerLost | Fate::KillBefore | Fate::KillAfter => {}
        }
        tokio::time::sleep(Duration::from_millis(80)).await;
        {
            let mut s = self.shared.now();
            if s.copy_folder_full {
                return Err(Problem::retry(
                    Reason::DiskFull,
                    "spec.backupFiles.copyFolder: no space left on device",
                    "Make room in the copy folder",
                ));
            }
            let from = format!(r"{}\{}", self.scenario.backup_share, file.name);
            let to = format!(r"{}\{}", self.scenario.copy_folder, file.name);
            let content = s.world.files.read(&from).map_err(|_| lost())?;
            s.world.files.write(&to, &content).map_err(|_| lost())?;
        }
        match fate {
            Fate::KillAfter => self.die().await,
            Fate::AnswerLost => Err(lost()),
            Fate::Ok | Fate::FailBefore | Fate::Hang | Fate::KillBefore | Fate::KillDuring => {
                progress(file.length);
                Ok(())
            }
        }
    }

    /// Writes a text into the copy folder.
    pub(super) fn keep_text(&self, name: &str, text: &str) -> Result<(), Problem> {
        let path = format!(r"{}\{name}", self.scenario.copy_folder);
        let written = self.shared.now().world.files.write(&path, text.as_bytes());
        written.map_err(|e| Problem::retry(Reason::FolderUnusable, e.text, ""))
    }
}
