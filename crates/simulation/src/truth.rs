//! The observer: it sees the whole world, knows what really happened, and says which promise was broken.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use lab::chat::SHELL_PASSWORD;
use lab::sql::{SQL_PASSWORD, backup};
use lab::world::journal::{Effect, Entry, Outcome};
use lab::world::{DataCenterState, World};

use persistent_chat_failover::api::conditions;
use persistent_chat_failover::api::v1alpha1::PersistentChatFailoverStatus as Status;
use persistent_chat_failover::domain::consent::{AcceptedConsent, Statement};

use crate::world::Process;

/// How long after the primary's return a recovery may still begin that was proved before it: the longest look.
const RETURN: SignedDuration = SignedDuration::from_secs(15);
/// How long a change of the resource may take until it is obeyed: one effect that was already decided.
const OBEDIENCE: SignedDuration = SignedDuration::from_secs(2);

/// Readings that a look takes over from the look before it are no older.
const REUSE: SignedDuration = SignedDuration::from_secs(10);
/// How long before an effect something may have happened that its last look could not see: two calls.
const BLINK: SignedDuration = SignedDuration::from_millis(250);

/// What the observer knows.
#[derive(Debug, Default)]
pub struct Truth {
    /// What was broken.
    pub violations: Vec<String>,
    /// How often each promise was checked.
    pub checks: BTreeMap<&'static str, u64>,
    /// How often a human said yes.
    pub consents: u64,
    /// Whether somebody recovered the database by hand.
    pub recovered_by_hand: bool,
    /// When somebody built the mirror by hand.
    pub mirrored_by_hand: Option<Timestamp>,
    /// Log backups that came late, by path, and when.
    pub arrived: BTreeMap<String, Timestamp>,
    /// When chat was last seen to be live in each data centre.
    live: BTreeMap<String, Timestamp>,
    /// Since when the database of the second data centre has been live.
    recovered: Option<Timestamp>,
    seen: usize,
    up_since: Option<Timestamp>,
    lost_since: Option<Timestamp>,
    ever_lost: bool,
}

impl Truth {
    fn check(&mut self, promise: &'static str, holds: bool, what: impl FnOnce() -> String) {
        *self.checks.entry(promise).or_default() += 1;
        if !holds && self.violations.len() < 20 {
            self.violations.push(format!("{promise}: {}", what()));
        }
    }

    /// Looks at everything that is new in the journal.
    pub fn look(&mut self, w: &World, processes: &[Process], now: Timestamp, told: &mut Vec<String>) {
        let (from, to) = (w.scenario.data_centers.first(), w.scenario.data_centers.get(1));
        let (Some(from), Some(to)) = (from, to) else { return };
        let lost = w.data_centers.get(&from.name) == Some(&DataCenterState::Lost);
        if lost {
            self.up_since = None;
            self.lost_since = self.lost_since.or(Some(now));
            self.ever_lost = true;
        } else if self.up_since.is_none() {
            self.up_since = Some(now);
            self.lost_since = None;
        }
        self.look_at_chat(w, now);
        let entries = w.journal.entries();
        while let Some(e) = entries.get(self.seen) {
            self.seen += 1;
            if e.effect == Effect::Read {
                continue;
            }
            told.push(format!(
                "        {} {} {} by {} ",
                e.server,
                e.name,
                e.target.as_deref().unwrap_or(""),
                e.client
            ));
            // `operator-0` of a shell, `program (operator-0)` of a session.
            let who = e.client.split("operator-").nth(1);
            let who = who.and_then(|n| n.trim_end_matches(')').parse::<usize>().ok());
            if let (Some(p), Effect::Write) = (who.and_then(|n| processes.get(n)), e.effect) {
                self.judge(w, e, p, &to.sql_server);
            }
        }
    }

    fn judge(&mut self, w: &World, e: &Entry, p: &Process, target: &str) {
        let key = w.scenario.database.to_lowercase();
        let instance = w.sql.get(target);
        let db = instance.and_then(|i| i.databases.get(&key));
        let recovered = db.is_some_and(|d| d.state == 0 && !d.standby);
        let told = || format!("{} {} at {}", e.name, e.target.as_deref().unwrap_or(""), e.time);
        let record = e.text.contains("persistent_chat_failover");
        let since = |at: Option<Timestamp>| at.is_some_and(|t| e.time.duration_since(t) > OBEDIENCE);
        self.check("nothing is begun by a process that has not read its resource", p.heard.anything, told);
        self.check("nothing is begun while suspended", !since(p.heard.suspended), told);
        self.check("nothing is begun for a resource that is gone", !since(p.heard.gone), told);
        self.check(
            "nothing is begun that the resource does not ask for",
            recovered || record || !since(p.heard.unwanted),
            told,
        );
        self.check(
            "only the surviving side is written to",
            w.scenario.data_center_of(&e.server) == w.scenario.data_center_of(target),
            told,
        );
        self.check("mgccomp is never touched", !e.text.to_lowercase().contains("mgccomp"), told);
        let fenced = self.up_since.is_none_or(|t| e.time.duration_since(t) <= RETURN) && self.ever_lost;
        self.check(
            "nothing is touched while the primary lives",
            fenced || recovered || record || self.consents > 0,
            told,
        );
        if let Some(document) = e.parameters.get("@p5").filter(|_| record) {
            let consents: Vec<AcceptedConsent> = serde_json::from_str(document)
                .ok()
                .and_then(|d: serde_json::Value| serde_json::from_value(d.get("consents")?.clone()).ok())
                .unwrap_or_default();
            let fits = |c: &AcceptedConsent| {
                let fenced = Statement { fence: true, ..c.statement.clone() };
                c.situation == c.statement.digest() || c.situation == fenced.digest() || c.statement.policy
            };
            self.check(
                "a consent is used for what was shown and nothing else",
                consents.iter().all(fits),
                told,
            );
        }
        let shipping = instance.is_some_and(|i| !i.log_shipping.is_empty());
        let master = &w.chat.master;
        match e.name.as_str() {
            "RESTORE LOG" => {
                self.check("logs are applied after log shipping was removed", !shipping, told);
            }
            "RESTORE DATABASE WITH RECOVERY" => {
                self.check("recovery comes after log shipping was removed", !shipping, told);
                self.check(
                    "recovery only while the primary is dead or vouched for",
                    fenced || self.consents > 0,
                    told,
                );
                let late = |path: &str| {
                    self.arrived.get(&path.to_lowercase()).is_some_and(|t| e.time.duration_since(*t) < BLINK)
                };
                let missed = applicable(w, db.and_then(|d| d.redo.clone())).filter(|f| !late(f));
                let accepted = self.consents > 0;
                self.check("no applicable log is left out", missed.is_none() || accepted, || {
                    format!("{} was left out", missed.clone().unwrap_or_default())
                });
                let late = |path: &str| {
                    self.arrived.get(&path.to_lowercase()).is_some_and(|t| e.time.duration_since(*t) < BLINK)
                };
                let skipped = beyond(w, db.and_then(|d| d.redo.clone())).filter(|f| !late(f));
                self.check("no log is skipped in silence", skipped.is_none() || accepted, || {
                    format!("{} was skipped and nobody had said yes", skipped.clone().unwrap_or_default())
                });
                self.check("the intent is in the record before the recovery", intended(w, e), told);
                let before =
                    w.journal.entries().iter().filter(|x| x.name == e.name && x.outcome == Outcome::Ok);
                let before = before.filter(|x| x.seq < e.seq && x.client.contains("operator-")).count();
                self.check("recovery happens once", before == 0, told);
            }
            "Set-CsPersistentChatState" => {
                self.check("the pool's state comes after recovery", recovered, told);
            }
            "Install-CsMirrorDatabase" => {
                self.check("the mirror comes after recovery", recovered, told);
                let set = master.pool_state.eq_ignore_ascii_case("FailedOver");
                self.check("the mirror comes after the pool's state", set, told);
                self.check(
                    "the ids of a detached cmdlet are in the record before it starts",
                    intended(w, e),
                    told,
                );
                let others = w.journal.entries().iter().filter(|x| x.name == e.name && x.seq != e.seq);
                let running = others.filter(|x| x.outcome == Outcome::Running).count();
                self.check("a detached cmdlet never runs twice at a time", running == 0, told);
                let mirrored = db.and_then(|d| d.mirroring.as_ref()).is_some_and(|m| m.state == 4);
                let just = self.mirrored_by_hand.is_some_and(|t| e.time.duration_since(t) < OBEDIENCE);
                self.check("a mirror that stands is not built again", !mirrored || just, told);
            }
            "Set-CsPersistentChatActiveServer" => {
                let set = master.pool_state.eq_ignore_ascii_case("FailedOver");
                self.check("active servers come after the pool's state", set && recovered, told);
            }
            _ => {}
        }
    }

    /// Where chat is live, and since when the second database.
    fn look_at_chat(&mut self, w: &World, now: Timestamp) {
        for (host, _) in w.chat.servers.values().filter_map(|c| c.session.as_ref()) {
            if let Some(d) = w.scenario.data_center_of(host) {
                match self.live.get_mut(d) {
                    Some(at) => *at = now,
                    None => drop(self.live.insert(d.into(), now)),
                }
            }
        }
        let key = w.scenario.database.to_lowercase();
        let target = w.scenario.data_centers.get(1).and_then(|d| w.sql.get(&d.sql_server));
        let live = target.and_then(|i| i.databases.get(&key)).is_some_and(|d| d.state == 0 && !d.standby);
        self.recovered = if live { self.recovered.or(Some(now)) } else { None };
    }

    /// Judges a status that is stored: what it says must have been true since the look that it comes from began.
    #[allow(clippy::too_many_arguments)]
    pub fn stored(
        &mut self,
        w: &World,
        who: usize,
        status: &Status,
        desired: &str,
        since: Timestamp,
        now: Timestamp,
        highest: i64,
    ) {
        let since = since - REUSE;
        let is = |kind: &str| status.conditions.iter().any(|c| c.type_ == kind && c.status == "True");
        let told = || format!("operator {who}, at {now}: active {:?}", status.active_data_center);
        // What the status says of whose work the recovery was is what the report says. A recovery by hand at the very point that our
        // intent names, before our own statement came, cannot be told from ours.
        let online = status.conditions.iter().find(|c| c.type_ == "DatabaseOnline" && c.status == "True");
        if let Some(c) = online {
            self.check(
                "a recovery of ours is never called somebody else's",
                c.reason != "AlreadyDone" || self.recovered_by_hand,
                || format!("{}: {} {}", told(), c.reason, c.message),
            );
        }
        let both = is(conditions::STALLED) && is(conditions::RECONCILING);
        self.check("Stalled and Reconciling are never both True", !both, told);
        if is(conditions::READY) {
            let active = status.active_data_center.as_deref();
            let live = active.and_then(|a| self.live.get(a)).is_some_and(|t| *t >= since);
            self.check(
                "Ready only while chat is live where it is wanted",
                live && active == Some(desired),
                || format!("{}, wanted {desired}", told()),
            );
        }
        // What only says that a generation is looked at repeats what stood there: it comes from no look.
        if desired.is_empty() {
            return;
        }
        let names = w.scenario.data_centers.iter().map(|d| d.name.as_str());
        let second = names.clone().nth(1);
        match status.active_data_center.as_deref() {
            // Recovered after the look began: the status could not know it.
            Some(name) if Some(name) == second => {
                self.check(
                    "a status names only a side whose database is live",
                    self.recovered.is_some(),
                    told,
                );
            }
            Some(_) => {
                // While it stands and the pool says Normal, the chat servers use it, whoever recovered the other copy.
                let gone = self.lost_since.is_some_and(|t| t < since)
                    || w.chat.master.pool_state.eq_ignore_ascii_case("FailedOver");
                let stale = gone && self.recovered.is_some_and(|t| t < since);
                self.check("a status names only a side whose database is live", !stale, told);
            }
            None => {}
        }
        self.check(
            "a status speaks of no generation that never was",
            status.observed_generation <= highest,
            || format!("{}: {} of {highest}", told(), status.observed_generation),
        );
        let text = serde_json::to_string(status).unwrap_or_default();
        // JSON writes what stands in quotes and backslashes in its own way.
        let secret = [SQL_PASSWORD, SHELL_PASSWORD]
            .iter()
            .filter_map(|p| serde_json::to_string(p).ok())
            .any(|p| text.contains(p.trim_matches('"')));
        self.check("no status holds a secret", !secret, told);
    }

    /// Operators at rest leave the API server alone.
    pub fn at_rest(&mut self, writing: &[usize]) {
        self.check("an idle operator does not write", writing.is_empty(), || {
            format!("operators {writing:?} still write their status although nothing changes")
        });
    }

    /// What must hold of the whole journal when a run has ended.
    pub fn at_end(&mut self, w: &World) {
        let mut applied: BTreeMap<String, u64> = BTreeMap::new();
        for e in
            w.journal.entries().iter().filter(|e| e.client.contains("operator-") && e.outcome == Outcome::Ok)
        {
            if e.name == "RESTORE LOG" {
                *applied.entry(e.target.clone().unwrap_or_default()).or_default() += 1;
            }
        }
        let twice: Vec<&String> = applied.iter().filter(|(_, n)| **n > 1).map(|(f, _)| f).collect();
        self.check("a log is applied once", twice.is_empty(), || format!("{twice:?}"));
    }
}

/// Whether the last thing that this operator wrote before was the record.
fn intended(w: &World, e: &Entry) -> bool {
    let who = |x: &Entry| x.client.split("operator-").nth(1).map(|n| n.trim_end_matches(')').to_string());
    let mut before = w.journal.entries().iter().rev().filter(|x| x.seq < e.seq && x.effect == Effect::Write);
    before.find(|x| who(x) == who(e)).is_some_and(|x| x.text.contains("persistent_chat_failover"))
}

/// A log backup in one of the folders that reaches further than roll forward did.
fn beyond(w: &World, redo: Option<(i64, String)>) -> Option<String> {
    let (lsn, _) = redo?;
    for folder in [&w.scenario.copy_folder, &w.scenario.backup_share] {
        for (name, _) in w.files.list(folder).unwrap_or_default() {
            let path = format!(r"{folder}\{name}");
            if backup::read(w.files.as_ref(), &path)
                .is_ok_and(|h| h.last_lsn > lsn && h.database.eq_ignore_ascii_case(&w.scenario.database))
            {
                return Some(path);
            }
        }
    }
    None
}

/// A log backup in one of the folders that could be applied at a redo point and is whole.
fn applicable(w: &World, redo: Option<(i64, String)>) -> Option<String> {
    let (lsn, fork) = redo?;
    for folder in [&w.scenario.copy_folder, &w.scenario.backup_share] {
        for (name, _) in w.files.list(folder).unwrap_or_default() {
            let path = format!(r"{folder}\{name}");
            let Ok(h) = backup::read(w.files.as_ref(), &path) else { continue };
            let fits = h.first_lsn <= lsn && lsn < h.last_lsn && h.first_fork.eq_ignore_ascii_case(&fork);
            if fits && backup::verify(w.files.as_ref(), &path).is_ok() {
                return Some(path);
            }
        }
    }
    None
}

/// What is missing for chat to be live in the second data centre; empty: nothing.
pub fn missing(w: &World) -> Vec<String> {
    let mut out = Vec::new();
    let Some(to) = w.scenario.data_centers.get(1) else { return out };
    let key = w.scenario.database.to_lowercase();
    let mut expect = |holds: bool, what: &str| {
        if !holds {
            out.push(what.to_string());
        }
    };
    let db = w.sql.get(&to.sql_server).and_then(|i| i.databases.get(&key));
    expect(
        db.is_some_and(|d| d.state == 0 && !d.standby && !d.read_only && d.user_access == 0),
        "the database is online",
    );
    expect(db.and_then(|d| d.mirroring.as_ref()).is_some_and(|m| m.state == 4), "the mirror is synchronized");
    expect(w.chat.master.pool_state == "FailedOver", "the pool's state is FailedOver");
    expect(w.chat.master.active == to.servers, "the active servers are those of the second data centre");
    let serving = to.servers.iter().any(|s| {
        let session = w.chat.servers.get(s).and_then(|c| c.session.as_ref());
        session.is_some_and(|(host, _)| *host == to.sql_server)
    });
    expect(serving, "a chat server is in the database");
    out
}
