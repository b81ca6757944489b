//! Backup files: real files with a header of our own, so that truncation, wrong order and foreign files act as they would.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::tsql::SqlMessage;
use crate::world::files::Files;

const MAGIC: &[u8] = b"PCF-LAB-BACKUP-1\n";

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
    pub first_lsn: i64,
    /// `LastLSN`.
    pub last_lsn: i64,
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
}

/// Longest header line of a file, with what stands before it.
const LONGEST_HEADER: usize = 64 * 1024;

/// The file of a set: magic, header line, payload, digest.
pub fn encode(header: &BackupHeader, seed: u64) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend(serde_json::to_vec(header).unwrap_or_default());
    out.push(b'\n');
    let mut x = seed ^ u64::try_from(header.first_lsn).unwrap_or(1) | 1;
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

/// Reads the header of a file, as `RESTORE HEADERONLY` would; the rest of the file may still be damaged.
pub fn read(files: &dyn Files, path: &str) -> Result<BackupHeader, SqlMessage> {
    let content = files.head(path, LONGEST_HEADER).map_err(|e| {
        SqlMessage::error(
            3201,
            16,
            format!("Cannot open backup device '{path}'. Operating system error {}({}).", e.code, e.text),
        )
    })?;
    header(&content, path).map(|(h, _)| h)
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
    let end = rest.iter().position(|b| *b == b'\n').ok_or_else(malformed)?;
    let header = serde_json::from_slice(&rest[..end]).map_err(|_| malformed())?;
    Ok((header, &rest[end + 1..]))
}

/// Reads a whole file, as `RESTORE LOG` does.
pub fn verify(files: &dyn Files, path: &str) -> Result<BackupHeader, SqlMessage> {
    let header_only = read(files, path)?;
    let content = files.read(path).map_err(|e| {
        SqlMessage::error(3203, 16, format!("Read on \"{path}\" failed: {}({})", e.code, e.text))
    })?;
    let (_, rest) = header(&content, path)?;
    let expected = usize::try_from(header_only.payload).unwrap_or(usize::MAX).saturating_add(32);
    if rest.len() < expected {
        return Err(SqlMessage::error(
            3203,
            16,
            format!("Read on \"{path}\" failed: 38(Reached the end of the file.)"),
        ));
    }
    let (body, digest) = content.split_at(content.len() - 32);
    if Sha256::digest(body).as_slice() != digest {
        return Err(SqlMessage::error(
            3183,
            16,
            format!(
                "RESTORE detected an error on page (0:0) in database \"{}\" as read from the backup set.",
                header_only.database
            ),
        ));
    }
    Ok(header_only)
}
