//! What a status says must have been true since the look that it comes from began.

use jiff::{SignedDuration, Timestamp};
use lab::chat::SHELL_PASSWORD;
use lab::sql::SQL_PASSWORD;
use lab::world::World;
use lab::world::journal::Entry;
use persistent_chat_failover::api::v1alpha1::PersistentChatFailoverStatus as Status;
use persistent_chat_failover::domain::side::Side;
use persistent_chat_failover::status::conditions;

use super::{Truth, operator};
use crate::sides;

/// Readings that a look takes over from the look before it are no older.
const REUSE: SignedDuration = SignedDuration::from_secs(10);

/// A status that is stored.
pub struct Stored<'a> {
    /// The world at that moment.
    pub world: &'a World,
    /// Whose it is.
    pub who: usize,
    /// The status.
    pub status: &'a Status,
    /// What was wanted when the look began; none: it comes from no look.
    pub wanted: Option<Side>,
    /// When the look that it comes from began.
    pub since: Timestamp,
    /// When it is stored.
    pub now: Timestamp,
    /// The highest generation that its object ever had.
    pub highest: i64,
}

impl Stored<'_> {
    fn is(&self, kind: &str) -> bool {
        self.status.conditions.iter().any(|c| c.type_ == kind && c.status == "True")
    }
    fn active(&self) -> Option<&str> {
        self.status.active_data_center.as_deref()
    }
    /// Since when what it says must have been true.
    fn since(&self) -> Timestamp {
        self.since - REUSE
    }
    fn told(&self) -> String {
        format!("operator {}, at {}: active {:?}", self.who, self.now, self.status.active_data_center)
    }
}

impl Truth {
    /// Judges a status that is stored.
    pub fn stored(&mut self, stored: &Stored<'_>) {
        self.names_whose_work_it_was(stored);
        let both = stored.is(conditions::STALLED) && stored.is(conditions::RECONCILING);
        self.check("Stalled and Reconciling are never both True", !both, || stored.told());
        self.is_ready_only_where_wanted(stored);
        // What only says that a generation is looked at repeats what stood there: it comes from no look.
        if stored.wanted.is_none() {
            return;
        }
        self.names_a_live_side(stored);
        self.check(
            "a status speaks of no generation that never was",
            stored.status.observed_generation <= stored.highest,
            || format!("{}: {} of {}", stored.told(), stored.status.observed_generation, stored.highest),
        );
        self.check("no status holds a secret", !holds_a_secret(stored.status), || stored.told());
    }

    /// What the status says of whose work the recovery was is what the report says. A recovery by hand at the very point that our
    /// intent names, before our own statement came, cannot be told from ours.
    fn names_whose_work_it_was(&mut self, stored: &Stored<'_>) {
        let conditions = &stored.status.conditions;
        if let Some(c) = conditions.iter().find(|c| c.type_ == "DatabaseOnline" && c.status == "True") {
            // A database that was never recovered by us is nobody's work of ours: the old one of a side that was left.
            let w = stored.world;
            let names = |e: &Entry| {
                w.sql.get(&e.server).is_some_and(|i| c.message.contains(&format!("{} is", i.server_name)))
            };
            let is_ours = |e: &&Entry| e.name == "RESTORE DATABASE WITH RECOVERY" && operator(e).is_some();
            // One that chat has left since is gone on with by a human's word.
            let is_left = |e: &Entry| {
                let side = sides::of_host(&w.scenario, &e.server);
                side.and_then(|side| self.left[side]).is_some_and(|t| t > e.time)
            };
            let last = w.journal.entries().iter().rfind(is_ours);
            let ours = !self.switches || last.is_some_and(|e| names(e) && !is_left(e));
            self.check(
                "a recovery of ours is never called somebody else's",
                c.reason != "AlreadyDone" || self.recovered_by_hand || !ours,
                || format!("{}: {} {}", stored.told(), c.reason, c.message),
            );
        }
    }

    fn is_ready_only_where_wanted(&mut self, stored: &Stored<'_>) {
        if stored.is(conditions::READY) {
            let active = stored.active();
            let wanted = stored.wanted.map(|s| sides::data_center(&stored.world.scenario, s).name.as_str());
            let live = active.and_then(|a| self.live.get(a)).is_some_and(|t| *t >= stored.since());
            self.check("Ready only while chat is live where it is wanted", live && active == wanted, || {
                format!("{}, wanted {wanted:?}", stored.told())
            });
        }
    }

    fn names_a_live_side(&mut self, stored: &Stored<'_>) {
        let w = stored.world;
        let Some(name) = stored.active() else { return };
        if self.switches {
            let side = sides::called(&w.scenario, name);
            let seen = |side: Side| self.seen_live[side].is_some_and(|t| t >= stored.since());
            // Between the tail of one side's log and the recovery of the other one nothing is live.
            let knew = |side: Side| self.live_since[side].is_some_and(|t| t < stored.since());
            let holds = side.is_some_and(|side| seen(side) || !knew(side.other()));
            self.check("a status names only a side whose database is live", holds, || stored.told());
            return;
        }
        let live = if name == sides::to(&w.scenario).name {
            // Recovered after the look began: the status could not know it.
            self.recovered.is_some()
        } else {
            // While it stands and the pool's state says so, the chat servers use it, whoever recovered the other copy. What came after
            // the look began, the status could not know.
            let lost = self.power[sides::from_side(&w.scenario)].lost_since;
            let gone = [lost, self.moved].iter().any(|t| t.is_some_and(|t| t < stored.since()));
            !gone || self.recovered.is_none_or(|t| t >= stored.since())
        };
        self.check("a status names only a side whose database is live", live, || stored.told());
    }
}

/// Whether a password stands somewhere in a status. JSON writes what stands in quotes and backslashes in its own way.
fn holds_a_secret(status: &Status) -> bool {
    let text = serde_json::to_string(status).unwrap_or_default();
    [SQL_PASSWORD, SHELL_PASSWORD]
        .iter()
        .filter_map(|p| serde_json::to_string(p).ok())
        .any(|p| text.contains(p.trim_matches('"')))
}
