//! The operator's own configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;

use super::Folder;
use crate::domain::pool::Pool;
use crate::domain::problem::{Problem, Reason};
use crate::domain::text::clean;

/// The operator's own configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where connections to `host:port` really go (like curl's `--connect-to`).
    pub connect_to: BTreeMap<(String, u16), (String, u16)>,
    /// Directories of volumes by alias.
    pub volumes: BTreeMap<String, PathBuf>,
    /// How long the primary must be silent before it is taken for dead.
    pub silence: SignedDuration,
    /// Pause between two looks while nothing happens.
    pub poll: Duration,
}

impl Settings {
    /// From `PCF_CONNECT_TO`, `PCF_VOLUMES`, `PCF_PRIMARY_SILENCE` and `PCF_POLL`.
    pub fn from_env() -> Result<Self, String> {
        let get = |name: &str| std::env::var(name).unwrap_or_default();
        let mut settings = Settings {
            connect_to: BTreeMap::new(),
            volumes: BTreeMap::new(),
            silence: SignedDuration::from_secs(30),
            poll: Duration::from_secs(10),
        };
        for entry in get("PCF_CONNECT_TO").split(',').filter(|e| !e.is_empty()) {
            let bad = || format!("PCF_CONNECT_TO: {entry:?} is not host:port=host:port");
            let (from, to) = entry.split_once('=').ok_or_else(bad)?;
            let address = |s: &str| -> Result<(String, u16), String> {
                let (host, port) = s.rsplit_once(':').ok_or_else(bad)?;
                Ok((host.to_lowercase(), port.parse().map_err(|_| bad())?))
            };
            settings.connect_to.insert(address(from)?, address(to)?);
        }
        for entry in get("PCF_VOLUMES").split(',').filter(|e| !e.is_empty()) {
            let (alias, path) =
                entry.split_once('=').ok_or_else(|| format!("PCF_VOLUMES: {entry:?} is not alias=path"))?;
            settings.volumes.insert(alias.into(), path.into());
        }
        if let Some(silence) = duration("PCF_PRIMARY_SILENCE", &get("PCF_PRIMARY_SILENCE"))? {
            settings.silence = silence;
        }
        if let Some(poll) = duration("PCF_POLL", &get("PCF_POLL"))? {
            settings.poll = Duration::try_from(poll).map_err(|e| format!("PCF_POLL: {e}"))?;
        }
        Ok(settings)
    }
    /// The volumes that a pool names and this configuration does not know.
    pub fn unknown_volumes(&self, pool: &Pool) -> Vec<Problem> {
        [Folder::BackupShare, Folder::CopyFolder]
            .into_iter()
            .map(|folder| volume(pool, folder))
            .filter(|(alias, _)| !self.volumes.contains_key(*alias))
            .map(|(alias, field)| self.unknown_volume(alias, field))
            .collect()
    }
    pub(super) fn unknown_volume(&self, alias: &str, field: &str) -> Problem {
        let known: Vec<&str> = self.volumes.keys().map(String::as_str).collect();
        Problem::ask(
            Reason::InvalidSpec,
            format!("{field}.volume is {:?}, which the operator's configuration does not know", clean(alias)),
            format!("Use one of: {}; or add it to PCF_VOLUMES of the operator", known.join(", ")),
        )
    }
    /// Where a connection really goes.
    pub fn destination(&self, host: &str, port: u16) -> (String, u16) {
        self.connect_to.get(&(host.to_lowercase(), port)).cloned().unwrap_or((host.into(), port))
    }
}

/// Alias of a folder's volume, and where in the resource it stands.
pub(super) fn volume(pool: &Pool, folder: Folder) -> (&str, &'static str) {
    match folder {
        Folder::BackupShare => (&pool.backup_files.backup_share, "spec.backupFiles.backupShare"),
        Folder::CopyFolder => (&pool.backup_files.copy_folder, "spec.backupFiles.copyFolder"),
    }
}

fn duration(name: &str, text: &str) -> Result<Option<SignedDuration>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse::<SignedDuration>()
        .map(Some)
        .map_err(|e| format!("{name}: {text:?} is no duration like 30s or 5m: {e}"))
}
