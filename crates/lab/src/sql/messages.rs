//! Messages of chat. Which of them a database holds is nowhere stored: it follows from the recovery fork that it is on and from how far its
//! log goes, as everything follows that a log backup or a full backup brings.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{Database, ForkPoint};

/// How much log a message takes.
pub(crate) const LENGTH: i128 = 100;

/// Channels that chat goes on in.
const CHANNELS: i128 = 3;

/// A message: a row of `tblChat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Message {
    /// Where it stands in the log.
    pub lsn: i128,
    /// The number of the fork on which it was written.
    fork: usize,
    /// When it was written.
    pub at: Timestamp,
}

impl Message {
    /// `channelId`.
    pub(crate) fn channel(&self) -> i64 {
        1 + (self.lsn / LENGTH % CHANNELS) as i64
    }

    /// `chatId`: the next one of its channel. Where a database was recovered beside a source that lives on, both give the same ones.
    pub(crate) fn id(&self) -> i64 {
        i64::try_from(self.lsn / LENGTH).unwrap_or(i64::MAX)
    }
}

/// Every message that was ever committed, and where each recovery fork has left the one before it.
#[derive(Debug, Default)]
pub struct Messages {
    all: Vec<Message>,
    forks: Vec<(String, Option<(usize, i128)>)>,
}

impl Messages {
    /// A message is committed to a live database.
    pub(crate) fn commit(&mut self, fork: &str, lsn: i128, at: Timestamp) {
        let fork = self.number(fork);
        self.all.push(Message { lsn, fork, at });
    }

    /// A database goes on on a fork of its own.
    pub(crate) fn fork(&mut self, fork: &str, left: &ForkPoint) {
        let from = self.number(&left.from);
        self.forks.push((fork.into(), Some((from, left.lsn))));
    }

    /// The forks that a database has been on, each with where it left it, or ends.
    fn path(&self, db: &Database) -> Vec<(usize, i128)> {
        let (end, fork) = match &db.redo {
            Some((lsn, fork)) => (*lsn, fork),
            None => (db.log_end, &db.fork),
        };
        let mut path = Vec::new();
        let mut next = self.known(fork).map(|number| (number, end));
        while let Some((number, end)) = next {
            path.push((number, end));
            next = self.forks.get(number).and_then(|(_, left)| *left);
        }
        path
    }

    /// Whether a database has come by a point of a fork.
    pub fn has_come_by(&self, db: &Database, fork: &str, lsn: i128) -> bool {
        let known = self.known(fork);
        self.path(db).into_iter().any(|(fork, end)| Some(fork) == known && lsn <= end)
    }

    /// Those that a database holds, in the order in which they were written.
    pub fn of(&self, db: &Database) -> impl Iterator<Item = &Message> + use<'_> {
        let path = self.path(db);
        self.all.iter().filter(move |m| path.iter().any(|(fork, end)| m.fork == *fork && m.lsn < *end))
    }

    /// How many rows one database has that another one lacks, as `tblChat` shows them: two messages that two servers gave the same place at one
    /// and the same moment are told apart by what they say only, which nobody compares.
    pub fn rows_lacking(&self, holds: &Database, lacks: &Database) -> usize {
        let there: BTreeSet<(i128, Timestamp)> = self.of(lacks).map(|m| (m.lsn, m.at)).collect();
        self.of(holds).filter(|m| !there.contains(&(m.lsn, m.at))).count()
    }

    /// Those of one database that another one lacks.
    pub fn lacking(&self, holds: &Database, lacks: &Database) -> Vec<&Message> {
        let there: BTreeSet<&Message> = self.of(lacks).collect();
        self.of(holds).filter(|m| !there.contains(m)).collect()
    }

    fn known(&self, fork: &str) -> Option<usize> {
        self.forks.iter().rposition(|(name, _)| name.eq_ignore_ascii_case(fork))
    }

    fn number(&mut self, fork: &str) -> usize {
        self.known(fork).unwrap_or_else(|| {
            self.forks.push((fork.into(), None));
            self.forks.len() - 1
        })
    }
}
