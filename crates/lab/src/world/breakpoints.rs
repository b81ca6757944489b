//! Breakpoints: whatever changes the world can be held when it has arrived and is not carried out yet, or when it was carried
//! out and its answer has not gone out yet. That is where a client is killed to see whether its successor can go on.
//!
//! A batch whose session ends while it is held dies with it, as on a real SQL Server: it is not carried out later. A cmdlet whose
//! client is gone is dropped as well, as if its request had never arrived; or it outlives its client, as a request does that
//! WinRM had taken up.

use std::collections::BTreeMap;

/// Where something is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// It has arrived, nothing of it was done.
    Before,
    /// A cmdlet runs, and the client does not know yet that it does.
    Started,
    /// It was done, and the client does not know it.
    After,
}

/// Something that changes the world: a statement of a batch, or a cmdlet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// FQDN of the SQL Server or Management Shell host.
    pub server: String,
    /// The name that the journal gives it.
    pub name: String,
    /// The target that the journal gives it.
    pub target: Option<String>,
    /// Parameters of its batch.
    pub parameters: BTreeMap<String, String>,
}

/// Says for each moment of each arrival whether it is to be held.
pub type Choice = Box<dyn FnMut(Moment, &Arrival) -> bool + Send>;

/// The breakpoints of a world, and what is held at them.
#[derive(Default)]
pub struct Breakpoints {
    choice: Option<Choice>,
    held: BTreeMap<u64, (Moment, Arrival)>,
    next: u64,
    outlive: bool,
}

impl Breakpoints {
    /// Sets what is to be held from now on; `None`: nothing more. What is held stays so.
    pub fn set(&mut self, choice: Option<Choice>) {
        self.choice = choice;
    }

    /// Whether a cmdlet that is held is carried out although its client is gone meanwhile.
    pub fn outlive_clients(&mut self, outlive: bool) {
        self.outlive = outlive;
    }

    /// The same, to be asked.
    pub fn outlives_its_client(&self) -> bool {
        self.outlive
    }

    /// Whether anything may be held at all.
    pub fn are_set(&self) -> bool {
        self.choice.is_some()
    }

    /// Asks whether something is to be held; it is, until its number is released.
    pub fn ask(&mut self, moment: Moment, arrival: &Arrival) -> Option<u64> {
        if !self.choice.as_mut().is_some_and(|choose| choose(moment, arrival)) {
            return None;
        }
        let id = self.next;
        self.next += 1;
        self.held.insert(id, (moment, arrival.clone()));
        Some(id)
    }

    /// Whether it is still held.
    pub fn holds(&self, id: u64) -> bool {
        self.held.contains_key(&id)
    }

    /// Lets one go on, or forgets it because its client is gone.
    pub fn release(&mut self, id: u64) {
        self.held.remove(&id);
    }

    /// Lets everything go on.
    pub fn release_all(&mut self) {
        self.held.clear();
    }

    /// What is held, in the order of its arrival.
    pub fn held(&self) -> Vec<(Moment, Arrival)> {
        self.held.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use jiff::{SignedDuration, Timestamp};

    use super::Moment;
    use crate::scenario::Scenario;
    use crate::sql::{self, SQL_PASSWORD, SQL_USER};
    use crate::tsql::batch;
    use crate::world::World;
    use crate::world::files::MemoryFiles;
    use crate::world::journal::Effect;

    const HOST: &str = "sea-sql-1.litwareinc.com";

    fn writes(w: &World) -> Vec<&str> {
        w.journal.entries().iter().filter(|e| e.effect == Effect::Write).map(|e| e.name.as_str()).collect()
    }

    fn held_at(moment: Moment) -> (World, u32) {
        let mut w =
            World::new(Scenario::default(), Box::<MemoryFiles>::default(), Timestamp::UNIX_EPOCH).unwrap();
        w.breakpoints.set(Some(Box::new(move |m, a| m == moment && a.name.starts_with("EXEC sp_delete"))));
        let id = sql::login(&mut w, HOST, SQL_USER, SQL_PASSWORD, "client", "test").unwrap();
        let text = "EXEC master.dbo.sp_delete_log_shipping_secondary_database @secondary_database = N'mgc';";
        batch::begin(&mut w, HOST, id, text, vec![]).unwrap();
        for _ in 0..3 {
            // However often it is asked to go on.
            let progress = batch::step(&mut w, HOST, id, &mut vec![]);
            assert!(matches!(progress, batch::Progress::Until(_)), "{progress:?}");
            let later = w.now + SignedDuration::from_secs(60);
            w.advance(later);
        }
        assert_eq!(w.breakpoints.held().len(), 1);
        (w, id)
    }

    #[test]
    fn a_batch_that_is_held_before_it_is_carried_out_dies_with_its_session() {
        let (mut w, id) = held_at(Moment::Before);
        sql::logout(&mut w, HOST, id);
        assert_eq!(w.breakpoints.held(), vec![]);
        let _ = batch::step(&mut w, HOST, id, &mut vec![]);
        assert!(!writes(&w).contains(&"EXEC sp_delete_log_shipping_secondary_database"), "{:?}", writes(&w));
    }

    #[test]
    fn a_batch_that_is_held_afterwards_was_carried_out_once_whatever_becomes_of_its_session() {
        let (mut w, id) = held_at(Moment::After);
        let done = |w: &World| {
            writes(w).iter().filter(|n| **n == "EXEC sp_delete_log_shipping_secondary_database").count()
        };
        assert_eq!(done(&w), 1);
        w.breakpoints.release_all();
        assert_eq!(batch::step(&mut w, HOST, id, &mut vec![]), batch::Progress::Finished);
        assert_eq!(done(&w), 1);
        sql::logout(&mut w, HOST, id);
        assert_eq!(done(&w), 1);
    }
}
