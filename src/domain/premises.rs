//! What a decision rests on and no batch on the target can check.

use serde::Serialize;

use super::backups::BackupFile;
use super::pool::{Pool, SqlServer};
use super::route::Procedure;
use super::side::Seat;
use super::site::Answer;
use super::situation::Situation;
use super::transition::Transition;

/// Both folders, and the other side's silence or closed database, as the proofs of a recovery saw them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Premises {
    /// Files of the backup share; absent: it could not be listed.
    pub share: Option<Vec<BackupFile>>,
    /// Files of the copy folder.
    pub copy: Option<Vec<BackupFile>>,
    /// Servers of the other side that did not answer.
    pub silent: Vec<SqlServer>,
    /// The server of the other side whose database a switch has closed by the tail of its log, if it answered.
    pub closed: Option<Seat>,
}

impl Premises {
    /// What a situation shows of them.
    pub fn of(pool: &Pool, s: &Situation, t: &Transition) -> Premises {
        let route = t.route;
        let partners = s.sites[route.from].partners();
        let silent = partners.filter(|(_, p)| matches!(p.answer, Answer::Silent(_)));
        let tail = t.facts.tail.as_ref().filter(|_| route.procedure == Procedure::Switch);
        let folders = s.folders[route.to].as_ref();
        Premises {
            share: folders.and_then(|f| f.share.known().cloned()),
            copy: folders.and_then(|f| f.copy.known().cloned()),
            silent: silent.filter_map(|(place, _)| pool.sites[route.from].server(place).cloned()).collect(),
            closed: tail.filter(|_| s.ended_by_tail(t).is_some()).map(|tail| tail.seat),
        }
    }
}
