//! The folders of log backups: a share and a copy folder for each side's copy.

use std::time::Duration;

use persistent_chat_failover::domain::backups::BackupFile;
use persistent_chat_failover::domain::problem::{Problem, Reason};
use persistent_chat_failover::domain::side::Side;
use persistent_chat_failover::systems::folders::{Folders, Kind, Listing};

use super::SimSystems;
use crate::fate::Fate;
use crate::sides;

impl SimSystems {
    fn folder(&self, side: Side, kind: Kind) -> String {
        match kind {
            Kind::BackupShare => sides::backup_share(&self.scenario, side).into(),
            Kind::CopyFolder => sides::copy_folder(&self.scenario, side).into(),
        }
    }
}

fn lost(doing: &str) -> Problem {
    Problem::retry(Reason::FolderUnusable, format!("{doing}: input/output error"), "")
}

impl Folders for SimSystems {
    async fn list(&self, side: Side, kind: Kind) -> Result<Listing, Problem> {
        let folder = self.folder(side, kind);
        match self.point(false, || format!("list {folder}")).await {
            Fate::FailBefore | Fate::AnswerLost => return Err(lost("Listing a folder")),
            Fate::Hang => {
                tokio::time::sleep(Duration::from_secs(20)).await;
                return Err(lost("Listing a folder"));
            }
            Fate::KillDuring | Fate::KillAfter => return self.die().await,
            Fate::Ok | Fate::KillBefore | Fate::Sql(_) => {}
        }
        let s = self.shared.now();
        if s.unmounted == Some(side) {
            return Ok(Listing { files: vec![], ignored: vec![] });
        }
        let listed = s.world.files.list(&folder).map_err(|_| lost("Listing a folder"))?;
        let mut files = Vec::new();
        for (name, length) in listed {
            // Memory has no times: another content is another time.
            let path = format!(r"{folder}\{name}");
            let content = s.world.files.read(&path).map_err(|_| lost("Reading a backup"))?;
            let modified = content.iter().fold(0i64, |h, b| h.wrapping_mul(31).wrapping_add(i64::from(*b)));
            files.push(BackupFile { name, length, modified });
        }
        Ok(Listing { files, ignored: vec![] })
    }

    async fn free(&self, _side: Side) -> Result<u64, Problem> {
        Ok(1 << 40)
    }

    async fn copy(&self, side: Side, file: &BackupFile) -> Result<(), Problem> {
        let fate = self.point(true, || format!("copy {}", file.name)).await;
        match fate {
            Fate::FailBefore | Fate::Hang => return Err(lost("Copying")),
            // What is not complete has no name that anybody takes up.
            Fate::KillDuring => return self.die().await,
            Fate::Ok | Fate::AnswerLost | Fate::KillBefore | Fate::KillAfter | Fate::Sql(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(80)).await;
        {
            let mut s = self.shared.now();
            if s.unmounted == Some(side) {
                return Err(lost("Copying"));
            }
            if s.copy_folder_full {
                return Err(Problem::retry(
                    Reason::DiskFull,
                    "logShipping.copyFolder: no space left on device",
                    "Make room in the copy folder",
                ));
            }
            let [from, to] = [Kind::BackupShare, Kind::CopyFolder]
                .map(|kind| format!(r"{}\{}", self.folder(side, kind), file.name));
            let content = s.world.files.read(&from).map_err(|_| lost("Copying"))?;
            s.world.files.write(&to, &content).map_err(|_| lost("Copying"))?;
        }
        match fate {
            Fate::KillAfter => self.die().await,
            Fate::AnswerLost => Err(lost("Copying")),
            Fate::Ok | Fate::FailBefore | Fate::Hang | Fate::KillBefore | Fate::KillDuring | Fate::Sql(_) => {
                Ok(())
            }
        }
    }

    async fn keep(&self, side: Side, name: &str, text: &str) -> Result<(), Problem> {
        let path = format!(r"{}\{name}", self.folder(side, Kind::CopyFolder));
        let written = self.shared.now().world.files.write(&path, text.as_bytes());
        written.map_err(|e| Problem::retry(Reason::FolderUnusable, e.text, ""))
    }
}
