//! Everything that was seen of the world in one look. One serialisable value: a recorded situation makes any incident a test.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::backups::Folders;
use super::lync::Chat;
use super::reading::Reading;
use super::site::Source;
use super::sql_server::{Database, Instance};
use super::transition::Transition;

/// What was seen, all of it at about the same time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Situation {
    /// When the look was finished, by the operator's clock.
    pub at: Timestamp,
    /// The side that is to be left: the primary store's data centre.
    pub source: Source,
    /// The instance that is to become primary: the backup store.
    pub target: Reading<Instance>,
    /// Its mirror-to-be; absent: the resource names none.
    pub target_mirror: Option<Reading<Instance>>,
    /// The log backups.
    pub files: Folders,
    /// Lync.
    pub chat: Chat,
}

impl Situation {
    /// A transition as a record has it.
    pub fn recorded(&self, id: &str) -> Option<&Transition> {
        let records = self.target.known()?.records.known()?;
        records.iter().map(|r| &r.transition).find(|t| t.id == id)
    }
    /// Whether a transition's point of no return was, or may have been, passed. The intent of a recovery alone does not pass it:
    /// whoever wrote it may have died, or looked once more and held back, before the statement was sent. A database that waits for
    /// log backups has not been recovered.
    pub fn is_past(&self, t: &Transition) -> bool {
        let database = self.target.known().and_then(|i| i.database.as_ref());
        let restoring = database.is_some_and(Database::is_restoring);
        t.adopted_fork.is_some() || (t.recovery.is_some() && !restoring)
    }
}
