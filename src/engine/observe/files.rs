//! The folders of log backups, and what SQL Server says of the files that matter.

use std::collections::BTreeMap;

use super::super::World;
use crate::domain::backups::{BackupFile, BackupSet, FileHeaders, Folders, leave_unfinished_twins};
use crate::domain::chain;
use crate::domain::pool::{Pool, Shipping};
use crate::domain::problem::Problem;
use crate::domain::reading::{Reading, not_looked};
use crate::domain::side::Side;
use crate::domain::sql_server::Instance;
use crate::systems::folders::{Kind, Listing};
use crate::systems::sql_server::{SqlError, errors, read};
use crate::systems::{Folders as _, SqlSession, Systems};

/// How many applied backups in a row, going back from the newest name that log shipping gave, end the reading of headers.
const OVERLAP: usize = 3;

/// Headers that were read before, by side, whether the file stood in the copy folder, and the very file.
pub type Cache = BTreeMap<(Side, bool, BackupFile), Vec<BackupSet>>;

/// The folders of the copy that stands at a side's store; none where the resource names none, or there is no copy that waits for log
/// backups. An error: the session of that instance is lost.
pub async fn look_at_folders<S: Systems, C>(
    world: &World<'_, S, C>,
    side: Side,
    instance: &Instance,
    cache: &Cache,
) -> Result<Option<Folders>, Problem> {
    let d = &world.pool.sites[side];
    let (Some(shipping), true) = (&d.log_shipping, instance.database.as_ref().is_some_and(|d| !d.is_live()))
    else {
        return Ok(None);
    };
    let folders = world.systems.folders();
    let (share, copy, copy_free) = futures::join!(
        folders.list(side, Kind::BackupShare),
        folders.list(side, Kind::CopyFolder),
        folders.free(side)
    );
    let mut seen = Folders {
        share: Reading::Known(vec![]),
        copy: Reading::Known(vec![]),
        copy_free: copy_free.into(),
        headers: BTreeMap::new(),
        ignored: vec![],
    };
    let (mut share, share_problem) = listed(share, &mut seen.ignored);
    let (mut copy, copy_problem) = listed(copy, &mut seen.ignored);
    leave_unfinished_twins(&mut share, &mut copy);
    seen.share = share.ok_or(share_problem).into();
    seen.copy = copy.ok_or(copy_problem).into();
    let told = |e: SqlError| errors::problem(&e, &d.sql_server, "reading headers of log backups");
    let mut session = world.systems.sql(&d.sql_server).await.map_err(told)?;
    let reader = Reader { pool: world.pool, side, shipping, cache };
    reader.read_headers(&mut session, instance, &mut seen).await.map_err(told)?;
    Ok(Some(seen))
}

/// The files of a folder, or why there are none.
fn listed(
    listing: Result<Listing, Problem>,
    ignored: &mut Vec<(String, String)>,
) -> (Option<Vec<BackupFile>>, Problem) {
    match listing {
        Ok(l) => {
            ignored.extend(l.ignored);
            (Some(l.files), not_looked())
        }
        Err(p) => (None, p),
    }
}

/// Remembers the headers that were read.
pub fn remember(side: Side, files: &Folders, cache: &mut Cache) {
    for (name, h) in &files.headers {
        let folder = if h.from_copy { &files.copy } else { &files.share };
        let file = folder.known().and_then(|list| list.iter().find(|f| f.name == *name));
        if let (Some(file), Some(sets)) = (file, h.sets.known()) {
            cache.insert((side, h.from_copy, file.clone()), sets.clone());
        }
    }
}

struct Reader<'a> {
    pool: &'a Pool,
    side: Side,
    shipping: &'a Shipping,
    cache: &'a Cache,
}

impl Reader<'_> {
    /// Reads the headers of every file that may matter. Of the names that log shipping itself gives, from the newest back until
    /// files that are surely applied have been met, further only if the chain has a gap: the share may hold a month of them. Every
    /// other name is read always: what somebody rescued by hand may be called anything.
    async fn read_headers<Q: SqlSession>(
        &self,
        session: &mut Q,
        instance: &Instance,
        folders: &mut Folders,
    ) -> Result<(), SqlError> {
        let redo = chain::redo_of(instance);
        let family = instance.database.as_ref().and_then(|d| d.family.as_deref());
        let (regular, others): (Vec<_>, Vec<_>) = candidates(folders)
            .into_iter()
            .partition(|(name, _)| chain::is_regular(name, &self.pool.database));
        let mut applied = 0;
        for (is_other, (name, (from_copy, file))) in
            others.into_iter().map(|c| (true, c)).chain(regular.into_iter().rev().map(|c| (false, c)))
        {
            let follow = |r| chain::follow(r, family, &self.pool.database, folders, None);
            if applied >= OVERLAP && redo.as_ref().is_none_or(|r| follow(r).gap.is_none()) {
                break;
            }
            let sets = match self.cache.get(&(self.side, from_copy, file)) {
                Some(sets) => Reading::Known(sets.clone()),
                None => self.header(session, from_copy, &name).await?,
            };
            let behind =
                |r| sets.known().is_some_and(|s| chain::is_behind(s, r, family, &self.pool.database));
            if !is_other {
                applied = if redo.as_ref().is_some_and(behind) { applied + 1 } else { 0 };
            }
            folders.headers.insert(name, FileHeaders { from_copy, sets });
        }
        Ok(())
    }

    async fn header<Q: SqlSession>(
        &self,
        session: &mut Q,
        from_copy: bool,
        name: &str,
    ) -> Result<Reading<Vec<BackupSet>>, SqlError> {
        let folder = if from_copy { &self.shipping.copy_folder } else { &self.shipping.backup_share };
        read::headers(session, &self.pool.sites[self.side].sql_server, &folder.file(name)).await
    }
}

/// The files that may be looked into: one of the copy folder counts if it is complete; otherwise what the share holds.
fn candidates(folders: &Folders) -> BTreeMap<String, (bool, BackupFile)> {
    let of = |r: &Reading<Vec<BackupFile>>| r.known().cloned().unwrap_or_default();
    let (share, copy) = (of(&folders.share), of(&folders.copy));
    let mut out: BTreeMap<String, (bool, BackupFile)> = BTreeMap::new();
    for f in &share {
        out.insert(f.name.clone(), (false, f.clone()));
    }
    for f in &copy {
        if share.iter().find(|s| s.name == f.name).is_none_or(|s| s.is_copy_of(f)) {
            out.insert(f.name.clone(), (true, f.clone()));
        }
    }
    out
}
