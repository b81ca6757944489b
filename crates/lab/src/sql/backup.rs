//! Backup files: real files with a header of our own, so that truncation, wrong order and foreign files act as they would.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::files::DatabaseFile;
use super::{Database, Instance};
use crate::scenario::SqlServerVersion;
use crate::tsql::SqlMessage;
use crate::world::files::{FileError, Files};

const MAGIC: &[u8] = b"PCF-LAB-BACKUP-1\n";
/// What stands in the file of a backup that is being taken, or was broken off. That a file is left at all, and not deleted, is documented
/// nowhere.
pub const INCOMPLETE: &[u8] = MAGIC;
/// What stands before the sets of a file that may hold several: they follow one another as files of one set would.
const SEVERAL: &[u8] = b"PCF-LAB-BACKUPS\n";

/// What `RESTORE HEADERONLY` tells about a set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupHeader {
    /// `DatabaseName`.
    pub database: String,
    /// `ServerName`.
    pub server: String,
    /// `FamilyGUID`.
    pub family: String,
    /// `FirstLSN`.
    pub first_lsn: i128,
    /// `LastLSN`.
    pub last_lsn: i128,
    /// `FirstRecoveryForkID`.
    pub first_fork: String,
    /// `RecoveryForkID`.
    pub last_fork: String,
    /// `BackupType`.
    pub kind: i32,
    /// `BackupStartDate`.
    pub start: Timestamp,
    /// `BackupFinishDate`.
    pub finish: Timestamp,
    /// `HasBackupChecksums`.
    pub checksums: bool,
    /// Bytes of payload that follow the header.
    pub payload: u64,
    /// What not every set has.
    #[serde(default, skip_serializing_if = "Extra::is_none")]
    pub extra: Extra,
}

/// What not every set has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Extra {
    /// `IsDamaged`: a RESTORE answers 3182.
    pub damaged: bool,
    /// `HasIncompleteMetaData`.
    pub incomplete: bool,
    /// `IsForceOffline`.
    pub tail: bool,
    /// `IsCopyOnly`.
    pub copy_only: bool,
    /// `ForkPointLSN`: where its log goes over from its first fork to its last one.
    pub fork_point: Option<i128>,
    /// `HasBulkLoggedData`.
    pub bulk: bool,
    /// It is behind a password: its row has NULLs.
    pub hidden: bool,
    /// Its place in a media set of several files.
    pub stripe: Option<Stripe>,
    /// The error by which a RESTORE is refused although the backup is sound.
    pub refused: Option<u32>,
    /// The files of its database.
    pub files: Vec<DatabaseFile>,
    /// The version of the server that took it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<SqlServerVersion>,
    /// Of a full backup: the users of its database, and whether their SIDs had logins where it was taken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<(String, bool)>,
}

/// A backup that is to be taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taking {
    /// When it begins.
    pub(crate) at: Timestamp,
    /// Up to where the log is written then.
    pub(crate) log_end: i128,
    /// Of the log rather than of the database.
    pub(crate) log: bool,
    /// `WITH CHECKSUM`
    pub(crate) checksums: bool,
    /// `WITH COPY_ONLY`
    pub(crate) copy_only: bool,
    /// `WITH NORECOVERY`
    pub(crate) tail: bool,
    /// Bytes of payload.
    pub(crate) payload: u64,
}

impl Taking {
    /// The set that it writes. A log backup that begins on the fork before, at or before the point where the database has left it, is on
    /// both; a backup of data has one fork (the documentation of RESTORE HEADERONLY).
    pub(crate) fn of(&self, i: &Instance, db: &Database) -> BackupHeader {
        // Where nothing has happened since the last one, it ends where it begins: such log backups are common.
        let first_lsn = if self.log { db.log_backed_up } else { self.log_end };
        let forked = db.forked.as_ref().filter(|f| self.log && first_lsn <= f.lsn);
        BackupHeader {
            database: db.name.clone(),
            server: i.server_name.clone(),
            family: db.family.clone(),
            first_lsn,
            last_lsn: self.log_end,
            first_fork: forked.map_or(&db.fork, |f| &f.from).clone(),
            last_fork: db.fork.clone(),
            kind: if self.log { 2 } else { 1 },
            start: self.at,
            finish: self.at + SignedDuration::from_secs(1),
            checksums: self.checksums,
            payload: self.payload,
            extra: Extra {
                tail: self.tail,
                copy_only: self.copy_only,
                fork_point: forked.map(|f| f.lsn),
                files: db.files.clone(),
                version: Some(i.version()),
                users: if self.log { Vec::new() } else { db.users.clone() },
                ..Extra::default()
            },
        }
    }
}

impl Instance {
    /// Remembers a backup of a database, by its lower-case name, that has been written. The tail of a log leaves it waiting for more.
    pub(crate) fn has_taken(&mut self, key: &str, set: BackupHeader) {
        if let Some(db) = self.databases.get_mut(key) {
            db.log_end = set.last_lsn;
            match set.kind {
                2 if !set.extra.copy_only => db.log_backed_up = set.last_lsn,
                1 if !set.extra.copy_only => db.log_broken = false,
                _ => {}
            }
            if set.extra.tail {
                db.state = 1;
                db.redo = Some((set.last_lsn, db.fork.clone()));
            }
        }
        self.backups.push(set);
    }
}

impl BackupHeader {
    /// Whether it goes on from a point of a fork: on its first fork up to where that ends in it, on its last one from there.
    pub(crate) fn is_on_the_path_of(&self, lsn: i128, fork: &str) -> bool {
        let [on_first, on_last] = [&self.first_fork, &self.last_fork].map(|f| f.eq_ignore_ascii_case(fork));
        match self.extra.fork_point {
            Some(point) => (on_first && lsn <= point) || (on_last && lsn >= point),
            None => on_first,
        }
    }
}

impl Extra {
    fn is_none(&self) -> bool {
        *self == Extra::default()
    }
}

/// A place in a media set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stripe {
    /// `MediaSetId`.
    pub media_set: String,
    /// `FamilyCount`.
    pub families: u32,
    /// `FamilySequenceNumber`, from 1.
    pub family: u32,
}

/// Longest header line of a file, with what stands before it.
const LONGEST_HEADER: usize = 64 * 1024;

/// The file of a set: magic, header line, payload, digest.
pub fn encode(header: &BackupHeader, seed: u64) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend(serde_json::to_vec(header).unwrap_or_default());
    out.push(b'\n');
    // The lower half of a long number is as good a seed as the whole of a short one.
    let mut x = seed ^ (header.first_lsn as u64) | 1;
    for _ in 0..header.payload {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        out.push((x & 0xff) as u8);
    }
    let digest = Sha256::digest(&out);
    out.extend_from_slice(&digest);
    out
}

/// The contents of the files that the first set of this content stands in when it is striped over so many, as `BACKUP LOG … TO DISK =
/// …, DISK = …` writes them: each of them has the whole header, and none can be restored without the others.
pub fn striped(content: &[u8], families: u32, seed: u64) -> Result<Vec<Vec<u8>>, SqlMessage> {
    let (set, _) = header(content, "the backup")?;
    let media_set = crate::sql::guid(seed, &format!("stripes {} {}", set.first_lsn, set.start));
    let file = |family| {
        let stripe = Some(Stripe { media_set: media_set.clone(), families, family });
        encode(&BackupHeader { extra: Extra { stripe, ..set.extra.clone() }, ..set.clone() }, seed)
    };
    Ok((1..=families).map(file).collect())
}

/// The content of a file that gets one set more.
pub fn append(content: &[u8], set: &[u8]) -> Vec<u8> {
    let before = content.strip_prefix(SEVERAL).unwrap_or(content);
    [SEVERAL, before, set].concat()
}

fn cannot_open(path: &str, e: &FileError) -> SqlMessage {
    let what = format!("Cannot open backup device '{path}'. Operating system error {}({}).", e.code, e.text);
    SqlMessage::refusal(3201, what).in_state(2)
}

/// Reads the header of a file, as `RESTORE HEADERONLY` would: that of its first set. The rest of the file may still be damaged.
pub fn read(files: &dyn Files, path: &str) -> Result<BackupHeader, SqlMessage> {
    sets(files, path).map(|mut sets| sets.swap_remove(0))
}

/// Reads the headers of all sets in a file, at least one.
pub fn sets(files: &dyn Files, path: &str) -> Result<Vec<BackupHeader>, SqlMessage> {
    let content = files.head(path, LONGEST_HEADER).map_err(|e| cannot_open(path, &e))?;
    if !content.starts_with(SEVERAL) {
        return header(&content, path).map(|(h, _)| vec![h]);
    }
    let content = files.read(path).map_err(|e| cannot_open(path, &e))?;
    Ok(several(&content, path)?.into_iter().map(|(h, _)| h).collect())
}

/// The sets of a file that may hold several, each with its bytes.
fn several<'a>(content: &'a [u8], path: &str) -> Result<Vec<(BackupHeader, &'a [u8])>, SqlMessage> {
    let mut rest = content.strip_prefix(SEVERAL).unwrap_or(content);
    let mut sets = Vec::new();
    loop {
        let (set, body) = header(rest, path)?;
        let length = usize::try_from(set.payload).unwrap_or(usize::MAX).saturating_add(32);
        let begins = rest.len() - body.len();
        let (own, after) = rest.split_at(begins.saturating_add(length).min(rest.len()));
        sets.push((set, own));
        if after.is_empty() {
            return Ok(sets);
        }
        rest = after;
    }
}

fn header<'a>(content: &'a [u8], path: &str) -> Result<(BackupHeader, &'a [u8]), SqlMessage> {
    if content.is_empty() {
        return Err(SqlMessage::error(3254, 16, format!("The volume on device '{path}' is empty.")));
    }
    let malformed = || {
        SqlMessage::error(
            3241,
            16,
            format!(
                "The media family on device '{path}' is incorrectly formed. SQL Server cannot process this media family."
            ),
        )
    };
    let rest = content.strip_prefix(MAGIC).ok_or_else(malformed)?;
    if rest.is_empty() {
        // That not only a RESTORE says so, but who reads headers as well, is documented nowhere.
        let what = format!(
            "The backup set on device '{path}' was terminated while it was being created and is incomplete. RESTORE sequence is terminated abnormally."
        );
        return Err(SqlMessage::refusal(3256, what));
    }
    let end = rest.iter().position(|b| *b == b'\n').ok_or_else(malformed)?;
    let header = serde_json::from_slice(&rest[..end]).map_err(|_| malformed())?;
    Ok((header, &rest[end + 1..]))
}

/// Reads the first set of a file whole, as `RESTORE LOG` does.
pub fn verify(files: &dyn Files, path: &str) -> Result<BackupHeader, SqlMessage> {
    verify_set(files, path, 1)
}

/// Reads the header of one set of a file: the first one has the position 1.
pub fn set_at(files: &dyn Files, path: &str, position: usize) -> Result<BackupHeader, SqlMessage> {
    let found = sets(files, path)?;
    position.checked_sub(1).and_then(|n| found.into_iter().nth(n)).ok_or_else(|| {
        let what =
            format!("The file ID {position} on device '{path}' is incorrectly formed and can not be read.");
        SqlMessage::refusal(3287, what)
    })
}

/// Reads one set of a file whole.
pub fn verify_set(files: &dyn Files, path: &str, position: usize) -> Result<BackupHeader, SqlMessage> {
    let header_only = set_at(files, path, position)?;
    let content = files.read(path).map_err(|e| {
        SqlMessage::refusal(3203, format!("Read on \"{path}\" failed: {}({})", e.code, e.text))
    })?;
    let all = several(&content, path)?;
    let content = all.get(position - 1).map_or(content.as_slice(), |(_, own)| own);
    let (_, rest) = header(content, path)?;
    let expected = usize::try_from(header_only.payload).unwrap_or(usize::MAX).saturating_add(32);
    if rest.len() < expected {
        let what = format!("Read on \"{path}\" failed: 38(Reached the end of the file.)");
        return Err(SqlMessage::refusal(3203, what));
    }
    let (body, digest) = content.split_at(content.len() - 32);
    if Sha256::digest(body).as_slice() != digest {
        let what = format!(
            "RESTORE detected an error on page (0:0) in database \"{}\" as read from the backup set.",
            header_only.database
        );
        return Err(SqlMessage::refusal(3183, what));
    }
    Ok(header_only)
}

/// Reads one set whole from all files that it is striped over, as `RESTORE LOG` does.
pub fn verify_striped(
    files: &dyn Files,
    path: &str,
    others: &[String],
    position: usize,
) -> Result<BackupHeader, SqlMessage> {
    let set = verify_set(files, path, position)?;
    let mut families: Vec<u32> = set.extra.stripe.iter().map(|s| s.family).collect();
    for other in others {
        let own = verify_set(files, other, position)?.extra.stripe;
        let same = |s: &&Stripe| set.extra.stripe.as_ref().is_some_and(|x| x.media_set == s.media_set);
        families.extend(own.iter().filter(same).map(|s| s.family));
    }
    families.sort_unstable();
    families.dedup();
    let needed = set.extra.stripe.as_ref().map_or(0, |s| s.families);
    if u32::try_from(families.len()).is_ok_and(|given| given < needed) {
        let what = format!(
            "The media set has {needed} media families but only {} are provided. All members must be provided.",
            families.len()
        );
        return Err(SqlMessage::refusal(3132, what));
    }
    if set.extra.damaged {
        let what = "The backup set was written with damaged data by a BACKUP WITH CONTINUE_AFTER_ERROR.";
        return Err(SqlMessage::refusal(3182, what).in_state(2));
    }
    match set.extra.refused {
        Some(number) => Err(SqlMessage::refusal(number, "It cannot be restored here as things stand.")),
        None => Ok(set),
    }
}
