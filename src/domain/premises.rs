//! What a decision rests on and no batch on the target can check.

use serde::Serialize;

use super::backups::BackupFile;
use super::pool::{DataCenter, SqlServer};
use super::site::Answer;
use super::situation::Situation;

/// Both folders and the silence of the other side, as the proofs of a recovery saw them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Premises {
    /// Files of the backup share; absent: it could not be listed.
    pub share: Option<Vec<BackupFile>>,
    /// Files of the copy folder.
    pub copy: Option<Vec<BackupFile>>,
    /// Servers of the other side that did not answer.
    pub silent: Vec<SqlServer>,
}

impl Premises {
    /// What a situation shows of them. `from` is the side that is left.
    pub fn of(s: &Situation, from: &DataCenter) -> Premises {
        let silent = std::iter::once(&from.sql_server).chain(from.mirror.as_ref()).filter(|server| {
            s.source
                .partners
                .iter()
                .any(|p| p.server == server.name() && matches!(p.answer, Answer::Silent(_)))
        });
        Premises {
            share: s.files.share.known().cloned(),
            copy: s.files.copy.known().cloned(),
            silent: silent.cloned().collect(),
        }
    }
}
