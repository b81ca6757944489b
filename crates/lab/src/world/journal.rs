//! What was done to the world, in order: each statement and each cmdlet with its effect and outcome.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

/// The journal. It only grows; an entry's outcome is filled in when it is known.
#[derive(Default)]
pub struct Journal {
    entries: Vec<Entry>,
    changes: u64,
}

/// One statement or cmdlet.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Position in the journal, from 1.
    pub seq: u64,
    /// When it began.
    pub time: Timestamp,
    /// When its outcome was known; absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// FQDN of the SQL Server or Management Shell host.
    pub server: String,
    /// Statement or cmdlet.
    pub kind: Kind,
    /// What it may change.
    pub effect: Effect,
    /// `RESTORE LOG`, `SELECT`, `Set-CsPersistentChatState` …
    pub name: String,
    /// The database, file or identity that it acts on, if it names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The statement as it was sent, or the cmdlet with its parameters.
    pub text: String,
    /// Values of the parameters of a batch or of a cmdlet, if it may change something.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// Who sent it: host and program name of the session, or the user of the shell.
    pub client: String,
    /// How it ended.
    pub outcome: Outcome,
}

/// What is known of a statement or cmdlet when it begins.
pub struct Begun<'a> {
    /// FQDN of the SQL Server or Management Shell host.
    pub server: &'a str,
    /// Statement or cmdlet.
    pub kind: Kind,
    /// What it may change.
    pub effect: Effect,
    /// `RESTORE LOG`, `SELECT`, `Set-CsPersistentChatState` …
    pub name: &'a str,
    /// The database, file or identity that it acts on, if it names one.
    pub target: Option<String>,
    /// The statement as it was sent, or the cmdlet with its parameters.
    pub text: &'a str,
    /// Who sent it.
    pub client: &'a str,
}

/// Statement or cmdlet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// T-SQL.
    Statement,
    /// PowerShell.
    Cmdlet,
}

/// What an entry may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Effect {
    /// Nothing.
    Read,
    /// Application locks of its own session.
    Lock,
    /// Databases, msdb, jobs, sessions of others, Lync's configuration.
    Write,
}

/// How an entry ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Not yet.
    Running,
    /// As asked.
    Ok,
    /// Refused or failed, with the error.
    Failed(String),
    /// Its session or shell ended before it did.
    Aborted,
}

impl Entry {
    /// Whether it is an operator's: neither a job's of SQL Server Agent nor somebody's by hand.
    pub fn is_an_operators(&self) -> bool {
        !self.client.starts_with("SQLAgent") && self.client != "someone"
    }
}

impl Journal {
    /// Begins an entry; its number closes it with [`Journal::end`].
    pub fn begin(&mut self, time: Timestamp, begun: Begun<'_>) -> u64 {
        let seq = self.entries.len() as u64 + 1;
        self.changes += 1;
        self.entries.push(Entry {
            seq,
            time,
            ended: None,
            server: begun.server.into(),
            kind: begun.kind,
            effect: begun.effect,
            name: begun.name.into(),
            target: begun.target,
            text: begun.text.into(),
            parameters: BTreeMap::new(),
            client: begun.client.into(),
            outcome: Outcome::Running,
        });
        seq
    }

    /// Adds what the parameters of an entry's batch were.
    pub fn with_parameters(&mut self, seq: u64, parameters: BTreeMap<String, String>) {
        if let Some(entry) = self.at(seq) {
            entry.parameters = parameters;
        }
    }

    fn at(&mut self, seq: u64) -> Option<&mut Entry> {
        self.entries.get_mut(usize::try_from(seq).ok()?.checked_sub(1)?)
    }

    /// Ends an entry.
    pub fn end(&mut self, seq: u64, time: Timestamp, outcome: Outcome) {
        if let Some(entry) = self.at(seq) {
            entry.ended = Some(time);
            entry.outcome = outcome;
            self.changes += 1;
        }
    }

    /// How often an entry was begun or ended.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// All entries, oldest first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}
