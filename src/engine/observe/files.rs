//! The folders of log backups, and what SQL Server says of the files that matter.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use super::super::{Clock, World};
use crate::domain::backups::{BackupFile, FileHeaders, Folders, is_document, leave_unfinished_twins};
use crate::domain::chain;
use crate::domain::links::{Copy, is_regular};
use crate::domain::pool::Shipping;
use crate::domain::problem::{Problem, Reason};
use crate::domain::reading::{Reading, not_looked};
use crate::domain::side::Side;
use crate::domain::sql_server::Instance;
use crate::domain::text::clean;
use crate::systems::folders::{Kind, Listing, volume};
use crate::systems::sql_server::{SqlError, errors, read};
use crate::systems::{Folders as _, Systems};

/// How many applied backups in a row, going back from the newest name that log shipping gave, end the reading of headers.
const OVERLAP: usize = 3;
/// How long one look reads headers that were not read before. What is left is read by the next ones.
const READING: SignedDuration = SignedDuration::from_secs(20);
/// How long a file is left alone that SQL Server itself says holds no backup: it must change first.
const NO_BACKUP: SignedDuration = SignedDuration::from_secs(30);
/// How much longer a file is left alone each time that the server did not answer in time, and at most.
const SLOW: (SignedDuration, SignedDuration) = (SignedDuration::from_secs(10), SignedDuration::from_secs(60));
/// How long SQL Server is not asked for a folder that it has failed to list.
const BLIND: SignedDuration = SignedDuration::from_mins(5);
/// How many files are looked into that SQL Server sees and the mount does not.
const UNLISTED: usize = 50;

/// A side, whether the file stands in the copy folder, and the very file.
type Key = (Side, bool, BackupFile);

/// What was heard of files, from look to look: kept as soon as it is heard, whatever becomes of the look.
#[derive(Default)]
pub struct Cache(Mutex<Heard>);

#[derive(Default)]
struct Heard {
    /// Headers that were read.
    headers: BTreeMap<Key, FileHeaders>,
    /// Files that are not asked for again before a time.
    failed: BTreeMap<Key, Failed>,
    /// Folders that SQL Server is not asked for before a time.
    blind: BTreeMap<(Side, bool), Timestamp>,
}

#[derive(Clone)]
struct Failed {
    problem: Problem,
    times: i32,
    until: Timestamp,
}

impl Cache {
    fn heard<T>(&self, f: impl FnOnce(&mut Heard) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The folders of the copy that stands at a side's store, or is to be seeded there (`seeded`); none where the resource names none, or there
/// is no copy that waits for log backups. An error: that instance can be asked for nothing.
pub async fn look_at_folders<S: Systems, C: Clock>(
    world: &World<'_, S, C>,
    (side, seeded): (Side, bool),
    instance: &Instance,
    cache: &Cache,
) -> Result<Option<Folders>, Problem> {
    let d = &world.pool.sites[side];
    let waits = instance.database.as_ref().is_some_and(|d| !d.is_live());
    let (Some(shipping), true) = (&d.log_shipping, seeded || waits) else {
        return Ok(None);
    };
    let mut reader =
        Reader { world, side, shipping, cache, session: None, until: world.clock.now() + READING, lost: 0 };
    let (mut share, mut copy, copy_free) = futures::join!(
        reader.list(Kind::BackupShare),
        reader.list(Kind::CopyFolder),
        world.systems.folders().free(side)
    );
    let only_there = [
        reader.only_there(Kind::BackupShare, &mut share).await?,
        reader.only_there(Kind::CopyFolder, &mut copy).await?,
    ];
    let mut seen = Folders {
        share: Reading::Known(vec![]),
        copy: Reading::Known(vec![]),
        copy_free: copy_free.into(),
        headers: BTreeMap::new(),
        ignored: vec![],
        unread: 0,
        unlisted: BTreeMap::new(),
    };
    let (mut share, share_problem) = listed(share, &mut seen.ignored);
    let (mut copy, copy_problem) = listed(copy, &mut seen.ignored);
    leave_unfinished_twins(&mut share, &mut copy);
    seen.share = share.ok_or(share_problem).into();
    seen.copy = copy.ok_or(copy_problem).into();
    reader.read_headers(instance, &mut seen).await?;
    for (from_copy, names) in [false, true].into_iter().zip(only_there) {
        reader.read_unlisted(from_copy, names, &mut seen).await?;
    }
    reader.forget(&seen);
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

struct Reader<'a, S: Systems, C> {
    world: &'a World<'a, S, C>,
    side: Side,
    shipping: &'a Shipping,
    cache: &'a Cache,
    session: Option<S::Sql>,
    /// When this look has read enough.
    until: Timestamp,
    /// How often the session was lost in this look.
    lost: u32,
}

impl<S: Systems, C: Clock> Reader<'_, S, C> {
    async fn list(&self, kind: Kind) -> Result<Listing, Problem> {
        self.world.systems.folders().list(self.side, kind).await
    }

    fn path(&self, from_copy: bool, name: &str) -> String {
        if from_copy { self.shipping.copy_folder.file(name) } else { self.shipping.backup_share.file(name) }
    }

    /// A session of its own: what a slow file takes away is this one and nothing else.
    async fn session(&mut self) -> Result<&mut S::Sql, Problem> {
        let session = match self.session.take() {
            Some(session) => session,
            None => {
                let server = &self.world.pool.sites[self.side].sql_server;
                let opened = self.world.systems.sql(server).await;
                opened.map_err(|e| errors::problem(&e, server, "reading headers of log backups"))?
            }
        };
        Ok(self.session.insert(session))
    }

    /// Reads the headers of every file that may matter. Of the names that log shipping itself gives, from the newest back until
    /// files that are surely applied have been met, further only if the chain has a gap: the share may hold a month of them. Every
    /// other name is read always: what somebody rescued by hand may be called anything.
    async fn read_headers(&mut self, instance: &Instance, folders: &mut Folders) -> Result<(), Problem> {
        let redo = chain::redo_of(instance);
        let restored = instance.history.known().map_or(&[][..], Vec::as_slice);
        let copy = redo.as_ref().map(|redo| Copy {
            redo,
            family: instance.database.as_ref().and_then(|d| d.family.as_deref()),
            database: &self.world.pool.database,
            restored,
        });
        let (regular, others): (Vec<_>, Vec<_>) = candidates(folders)
            .into_iter()
            .partition(|(_, f)| is_regular(&f.name, &self.world.pool.database));
        let mut regular = regular.into_iter().rev();
        let mut applied = 0;
        while applied < OVERLAP
            && let Some((from_copy, file)) = regular.next()
        {
            let name = file.name.clone();
            self.read_into(from_copy, file, folders).await?;
            let sets = folders.headers.get(&name).and_then(|h| h.sets.known());
            let behind = copy.is_some_and(|c| sets.is_some_and(|s| chain::is_behind(s, &c)));
            applied = if behind { applied + 1 } else { 0 };
        }
        // What has failed before comes last: a slow one holds up no other.
        let (side, mut others) = (self.side, others);
        self.cache
            .heard(|h| others.sort_by_cached_key(|(c, f)| h.failed.contains_key(&(side, *c, f.clone()))));
        for (from_copy, file) in others {
            self.read_into(from_copy, file, folders).await?;
        }
        let mut many = 1;
        while folders.unread == 0
            && copy.is_some_and(|c| chain::follow(&c, folders, None).gap.is_some())
            && regular.len() > 0
        {
            for (from_copy, file) in regular.by_ref().take(many) {
                self.read_into(from_copy, file, folders).await?;
            }
            many *= 2;
        }
        self.read_labels(copy, folders).await
    }

    /// One file: what is known of it, or that it is not looked into yet. What SQL Server says holds no backup, and is called as a
    /// document, is told and no loss.
    async fn read_into(
        &mut self,
        from_copy: bool,
        file: BackupFile,
        folders: &mut Folders,
    ) -> Result<(), Problem> {
        let name = file.name.clone();
        match self.header(from_copy, file).await? {
            None => folders.unread += 1,
            Some(FileHeaders { sets: Reading::Unknown(p), .. })
                if p.reason == Reason::BackupDamaged && is_document(&name) =>
            {
                folders.ignored.push((name, p.what));
            }
            Some(headers) => drop(folders.headers.insert(name, headers)),
        }
        Ok(())
    }

    /// What SQL Server says of a file, now or before; none: this look has read enough.
    async fn header(&mut self, from_copy: bool, file: BackupFile) -> Result<Option<FileHeaders>, Problem> {
        let now = self.world.clock.now();
        let key: Key = (self.side, from_copy, file);
        let (known, failed) =
            self.cache.heard(|h| (h.headers.get(&key).cloned(), h.failed.get(&key).cloned()));
        if known.is_some() {
            return Ok(known);
        }
        if let Some(failed) = failed.as_ref().filter(|f| f.until > now) {
            return Ok(Some(FileHeaders::of(from_copy, Reading::Unknown(failed.problem.clone()))));
        }
        if now >= self.until {
            return Ok(None);
        }
        let path = self.path(from_copy, &key.2.name);
        let server = &self.world.pool.sites[self.side].sql_server;
        let told = read::headers(self.session().await?, server, from_copy, &path).await;
        let (headers, until) = match told {
            Ok(headers) => match &headers.sets {
                Reading::Known(_) => {
                    self.cache.heard(|h| h.headers.insert(key, headers.clone()));
                    return Ok(Some(headers));
                }
                Reading::Unknown(p) if p.reason == Reason::BackupDamaged => (headers, now + NO_BACKUP),
                Reading::Unknown(_) => (headers, now),
            },
            Err(e) => {
                let problem = self.lose(&e, "reading the header of a log backup");
                let pause = (SLOW.0 * failed.as_ref().map_or(0, |f| f.times)).min(SLOW.1);
                (FileHeaders::of(from_copy, Reading::Unknown(problem)), self.world.clock.now() + pause)
            }
        };
        if let Reading::Unknown(problem) = &headers.sets {
            let times = failed.map_or(0, |f| f.times) + 1;
            let failed = Failed { problem: problem.clone(), times, until };
            self.cache.heard(|h| h.failed.insert(key, failed));
        }
        Ok(Some(headers))
    }

    /// The session is lost. A second time in one look it is not the file: the rest is left to the next look.
    fn lose(&mut self, e: &SqlError, doing: &str) -> Problem {
        self.session = None;
        self.lost += 1;
        if self.lost > 1 {
            self.until = self.world.clock.now();
        }
        errors::problem(e, &self.world.pool.sites[self.side].sql_server, doing)
    }

    /// Files that hold the same set are copies of one another, or it is striped over them: their labels say which.
    async fn read_labels(&mut self, copy: Option<Copy<'_>>, folders: &mut Folders) -> Result<(), Problem> {
        let Some(copy) = copy else { return Ok(()) };
        let mut twins: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, headers) in &folders.headers {
            let sets = headers.sets.known().into_iter().flatten();
            let matters = |s: &&_| copy.lacks(s);
            for guid in sets.filter(matters).filter_map(|s| s.guid.clone()) {
                twins.entry(guid).or_default().push(name.clone());
            }
        }
        let names: BTreeSet<String> = twins.into_values().filter(|names| names.len() > 1).flatten().collect();
        for name in names {
            let Some(headers) = folders.headers.get_mut(&name).filter(|h| h.label.is_none()) else {
                continue;
            };
            if self.world.clock.now() >= self.until {
                folders.unread += 1;
                return Ok(());
            }
            let path = self.path(headers.from_copy, &name);
            let server = &self.world.pool.sites[self.side].sql_server;
            match read::label(self.session().await?, server, &path).await {
                Ok(label) => headers.label = label,
                Err(e) => drop(self.lose(&e, "reading the label of a log backup")),
            }
            let (side, from_copy, label) = (self.side, headers.from_copy, headers.label.clone());
            self.cache.heard(|h| {
                let same =
                    h.headers.iter_mut().filter(|(k, _)| (k.0, k.1) == (side, from_copy) && k.2.name == name);
                same.for_each(|(_, known)| known.label.clone_from(&label));
            });
        }
        Ok(())
    }

    /// Names that SQL Server sees in a folder and its listing lacks, also when it is listed once more: what came between the two
    /// listings is in the second one.
    async fn only_there(
        &mut self,
        kind: Kind,
        listing: &mut Result<Listing, Problem>,
    ) -> Result<Vec<String>, Problem> {
        let from_copy = kind == Kind::CopyFolder;
        let (now, key) = (self.world.clock.now(), (self.side, from_copy));
        if listing.is_err() || self.cache.heard(|h| h.blind.get(&key).is_some_and(|until| *until > now)) {
            return Ok(vec![]);
        }
        let folder = if from_copy { &self.shipping.copy_folder } else { &self.shipping.backup_share };
        let path = folder.path.trim_end_matches('\\').to_string();
        let server = &self.world.pool.sites[self.side].sql_server;
        let names = match read::folder(self.session().await?, server, &path).await {
            Ok(Reading::Known(names)) => names,
            Ok(Reading::Unknown(_)) => vec![],
            Err(_) => {
                self.session = None;
                self.cache.heard(|h| h.blind.insert(key, self.world.clock.now() + BLIND));
                vec![]
            }
        };
        if lacking(listing, &names).is_empty() {
            return Ok(vec![]);
        }
        *listing = self.list(kind).await;
        Ok(lacking(listing, &names))
    }

    async fn read_unlisted(
        &mut self,
        from_copy: bool,
        mut names: Vec<String>,
        folders: &mut Folders,
    ) -> Result<(), Problem> {
        names.sort_by(|a, b| b.cmp(a));
        for (n, name) in names.into_iter().enumerate() {
            let file = BackupFile { name: name.clone(), length: 0, modified: 0 };
            let headers = if n < UNLISTED { self.header(from_copy, file).await? } else { None };
            match headers {
                // In one of the folders the mount shows it.
                Some(_) if folders.headers.contains_key(&name) => {}
                Some(headers) => drop(folders.unlisted.insert(name, headers)),
                None => folders.unread += 1,
            }
        }
        Ok(())
    }

    /// Forgets what is not there any more.
    fn forget(&self, seen: &Folders) {
        let (Some(share), Some(copy)) = (seen.share.known(), seen.copy.known()) else { return };
        let there: BTreeSet<(bool, &BackupFile)> =
            share.iter().map(|f| (false, f)).chain(copy.iter().map(|f| (true, f))).collect();
        let stays = |k: &Key| {
            k.0 != self.side || there.contains(&(k.1, &k.2)) || seen.unlisted.contains_key(&k.2.name)
        };
        self.cache.heard(|h| {
            h.headers.retain(|k, _| stays(k));
            h.failed.retain(|k, _| stays(k));
        });
    }
}

/// Names that a listing lacks. What is being written, by log shipping or by us, is about to change its name.
fn lacking(listing: &Result<Listing, Problem>, names: &[String]) -> Vec<String> {
    let Ok(listing) = listing else { return vec![] };
    // As the names of files that are not looked into are kept.
    let kept = |name: &str| clean(name).to_lowercase();
    let files = listing.files.iter().map(|f| kept(&f.name));
    let shown: BTreeSet<String> =
        files.chain(listing.ignored.iter().map(|(name, _)| name.to_lowercase())).collect();
    let passes = |name: &str| [".wrk", ".tuf", volume::PARTIAL].iter().any(|end| name.ends_with(end));
    let lacks = |name: &&String| {
        let name = kept(name);
        !passes(&name) && !shown.contains(&name)
    };
    names.iter().filter(lacks).cloned().collect()
}

/// The files that may be looked into, by name: one of the copy folder counts if it is complete; otherwise what the share holds.
fn candidates(folders: &Folders) -> Vec<(bool, BackupFile)> {
    let of = |r: &Reading<Vec<BackupFile>>| r.known().cloned().unwrap_or_default();
    let (share, copy) = (of(&folders.share), of(&folders.copy));
    let mut out: BTreeMap<String, (bool, BackupFile)> = BTreeMap::new();
    for f in share {
        out.insert(f.name.clone(), (false, f));
    }
    for f in copy {
        if out.get(&f.name).is_none_or(|(_, s)| s.is_copy_of(&f)) {
            out.insert(f.name.clone(), (true, f));
        }
    }
    out.into_values().collect()
}

#[cfg(test)]
mod tests;
