//! What a decision rests on and no batch on the target can check.

use serde::Serialize;

use super::backups::BackupFile;
use super::pool::{Pool, SqlServer};
use super::route::Route;
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
    /// What a situation shows of them.
    pub fn of(pool: &Pool, s: &Situation, route: Route) -> Premises {
        let partners = s.sites[route.from].partners();
        let silent = partners.filter(|(_, p)| matches!(p.answer, Answer::Silent(_)));
        let folders = s.folders[route.to].as_ref();
        Premises {
            share: folders.and_then(|f| f.share.known().cloned()),
            copy: folders.and_then(|f| f.copy.known().cloned()),
            silent: silent.filter_map(|(place, _)| pool.sites[route.from].server(place).cloned()).collect(),
        }
    }
}
