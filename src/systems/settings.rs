//! The operator's own configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;

use crate::domain::pool::{Folder, Pool};
use crate::domain::problem::{Problem, Reason};
use crate::domain::text::{self, clean};

/// The operator's own configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where connections to `host:port` really go (like curl's `--connect-to`).
    pub connect_to: BTreeMap<(String, u16), (String, u16)>,
    /// Directories of volumes by alias.
    pub volumes: BTreeMap<String, PathBuf>,
    /// How long a side must be silent before it is taken for dead.
    pub silence: SignedDuration,
    /// Pause between two looks while nothing happens.
    pub poll: Duration,
}

impl Settings {
    /// From `PCF_CONNECT_TO`, `PCF_VOLUMES`, `PCF_SILENCE` and `PCF_POLL`.
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
        if let Some(silence) = duration("PCF_SILENCE", &get("PCF_SILENCE"))? {
            settings.silence = SignedDuration::try_from(silence).map_err(|e| format!("PCF_SILENCE: {e}"))?;
        }
        if let Some(poll) = duration("PCF_POLL", &get("PCF_POLL"))? {
            settings.poll = poll;
        }
        Ok(settings)
    }
    /// The volumes that a pool names and this configuration does not know.
    pub fn unknown_volumes(&self, pool: &Pool) -> Vec<Problem> {
        let shipping = pool.sites.iter().filter_map(|(_, d)| d.log_shipping.as_ref());
        let folders = shipping.flat_map(|s| [&s.backup_share, &s.copy_folder]);
        folders.filter_map(|f| self.directory(f).err()).collect()
    }
    /// The directory of a folder's volume.
    pub(super) fn directory(&self, folder: &Folder) -> Result<PathBuf, Problem> {
        self.volumes.get(&folder.volume).cloned().ok_or_else(|| {
            let known: Vec<&str> = self.volumes.keys().map(String::as_str).collect();
            Problem::ask(
                Reason::InvalidSpec,
                format!(
                    "{}.volume is {:?}, which the operator's configuration does not know",
                    folder.field,
                    clean(&folder.volume)
                ),
                format!("Use one of: {}; or add it to PCF_VOLUMES of the operator", known.join(", ")),
            )
        })
    }
    /// Where a connection really goes.
    pub fn destination(&self, host: &str, port: u16) -> (String, u16) {
        self.connect_to.get(&(host.to_lowercase(), port)).cloned().unwrap_or((host.into(), port))
    }
}

fn duration(name: &str, text: &str) -> Result<Option<Duration>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    match text::duration(text) {
        // Whoever is silent for no time at all would be dead at once, and looks without a pause take all there is.
        Ok(Duration::ZERO) => Err(format!("{name}: {text:?} is nothing: give it like 30s or 5m")),
        Ok(told) => Ok(Some(told)),
        Err(e) => Err(format!("{name}: {e}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_of_no_time_and_one_that_is_negative_are_refused() {
        for text in ["0s", "-30s", "30"] {
            assert!(duration("PCF_SILENCE", text).is_err_and(|e| e.starts_with("PCF_SILENCE: ")), "{text}");
        }
        assert_eq!(duration("PCF_SILENCE", ""), Ok(None));
        assert_eq!(duration("PCF_SILENCE", "2s"), Ok(Some(Duration::from_secs(2))));
    }
}
