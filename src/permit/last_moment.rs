//! What is asked once more at the last moment before an effect that cannot be taken back.

use super::Permit;
use super::records::not_locked;
use crate::domain::backups::leave_unfinished_twins;
use crate::domain::pool::SqlServer;
use crate::domain::premises::Premises;
use crate::domain::problem::{Problem, Reason};
use crate::domain::side::Seat;
use crate::systems::folders::Kind;
use crate::systems::sql_server::{SqlError, errors, read};
use crate::systems::{Folders, Systems};

impl<S: Systems> Permit<'_, S> {
    /// Whether the servers that were silent still are, and the folders hold what they held: asked at the last moment, and quickly. The folders
    /// after the servers: one that comes back while its silence is waited for, which takes seconds, backs up its log first of all.
    pub async fn still_so(&self, seen: &Premises) -> Result<(), Problem> {
        self.still_silent(&seen.silent).await?;
        if let Some(seat) = seen.closed {
            self.still_closed(seat).await?;
        }
        let (side, folders) = (self.to(), self.systems.folders());
        let (share, copy) =
            futures::join!(folders.list(side, Kind::BackupShare), folders.list(side, Kind::CopyFolder));
        let (mut share, mut copy) = (share.ok().map(|l| l.files), copy.ok().map(|l| l.files));
        leave_unfinished_twins(&mut share, &mut copy);
        let shipping = self.pool.sites[side].log_shipping.as_ref();
        let field = |kind: Kind| match (shipping, kind) {
            (Some(s), Kind::BackupShare) => s.backup_share.field.clone(),
            (Some(s), Kind::CopyFolder) => s.copy_folder.field.clone(),
            (None, Kind::BackupShare | Kind::CopyFolder) => self.pool.sites[side].field(),
        };
        for (kind, before, now) in
            [(Kind::BackupShare, &seen.share, share), (Kind::CopyFolder, &seen.copy, copy)]
        {
            if *before != now {
                return Err(changed(format!(
                    "The folder of {} has changed since it was looked at",
                    field(kind)
                )));
            }
        }
        Ok(())
    }

    /// Whether the database whose log ends in a switch's tail still takes no changes. A write of the record may have hung since it was looked at.
    async fn still_closed(&self, seat: Seat) -> Result<(), Problem> {
        let server = self.server(seat);
        let Some(session) = self.sessions.get(&seat) else { return Err(not_locked(self.pool)) };
        let seen = read::database(&mut *session.lock().await, self.pool).await;
        match seen.map_err(|e| errors::problem(&e, server, "looking once more"))? {
            Some(db) if db.is_live() => Err(changed(format!(
                "Somebody has opened the database on {} ({}), whose log had ended",
                server.name(),
                server.field
            ))),
            // Taken offline, or dropped, it takes no changes either.
            Some(_) | None => Ok(()),
        }
    }

    /// Whether servers that were silent still are.
    pub async fn still_silent(&self, silent: &[SqlServer]) -> Result<(), Problem> {
        let asked = futures::future::join_all(silent.iter().map(|server| self.systems.sql(server))).await;
        for (server, answer) in silent.iter().zip(asked) {
            match answer {
                Err(SqlError::Unreachable(_)) => {}
                Ok(_) | Err(_) => {
                    return Err(changed(format!("{} answers again ({})", server.name(), server.field)));
                }
            }
        }
        Ok(())
    }
}

/// What was seen is not so any more.
fn changed(what: String) -> Problem {
    Problem::retry(Reason::EffectFailed, what, "It is looked at again before anything is done")
}
