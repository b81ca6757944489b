//! The pure world: everything that the two data centres consist of, moved by a clock that its owner turns.

pub mod answers;
pub mod breakpoints;
pub mod files;
pub mod journal;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use jiff::Timestamp;

use crate::chat::Deployment;
use crate::scenario::Scenario;
use crate::sql::{Instance, Messages};
use answers::Answers;
use breakpoints::Breakpoints;
use files::{Files, Unreachable, Volumes};
use journal::Journal;

/// The two data centres at one moment.
pub struct World {
    /// The world's clock. Only [`World::advance`] moves it.
    pub now: Timestamp,
    /// What the world was made from: names, topology, durations.
    pub scenario: Scenario,
    /// Whether each data centre still stands; a lost one answers nobody and its jobs do not run.
    pub data_centers: BTreeMap<String, DataCenterState>,
    /// SQL Server instances by the FQDN of their host (one instance a host).
    pub sql: BTreeMap<String, Instance>,
    /// Lync: Central Management store, pool, chat servers.
    pub chat: Deployment,
    /// Shares and folders by the path SQL Server uses (`\\server\share`, `E:\folder`).
    pub files: Box<dyn Files>,
    /// Folders that nobody reaches: those of a data centre that is lost.
    unreachable: Unreachable,
    /// Messages of chat that were ever written.
    pub messages: Messages,
    /// Every statement and cmdlet that anybody ran.
    pub journal: Journal,
    /// What is to be held, and what is.
    pub breakpoints: Breakpoints,
    /// What is answered otherwise than it should be.
    pub answers: Answers,
    /// Nothing has changed since everything that was due had happened: the journal's state and the number of changes then.
    settled: Option<(u64, u64)>,
    changes: u64,
    /// In which of the scenario's data centres hosts stand that were asked for: asked at every moment of a simulated night.
    whereabouts: RefCell<HashMap<String, Option<usize>, foldhash::fast::RandomState>>,
}

/// Whether a data centre stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataCenterState {
    /// Everything in it runs.
    Up,
    /// Power is gone: connections are cut, then refused.
    Lost,
}

impl World {
    /// The world of a scenario at its first moment: databases, log shipping with the backlog that the scenario asks for,
    /// backup files written, chat running in the data centre that is active.
    pub fn new(scenario: Scenario, files: Box<dyn Files>, now: Timestamp) -> Result<Self, String> {
        let scenario = scenario.in_dialect();
        let data_centers =
            scenario.data_centers.iter().map(|d| (d.name.clone(), DataCenterState::Up)).collect();
        let chat = Deployment::new(&scenario)?;
        let volumes = Volumes::new(files);
        let unreachable = volumes.unreachable();
        let files = Box::new(volumes);
        let mut world = World {
            now,
            scenario,
            data_centers,
            sql: BTreeMap::new(),
            chat,
            files,
            unreachable,
            messages: Messages::default(),
            journal: Journal::default(),
            breakpoints: Breakpoints::default(),
            answers: Answers::default(),
            settled: None,
            changes: 0,
            whereabouts: RefCell::default(),
        };
        crate::sql::populate(&mut world)?;
        crate::chat::tick(&mut world);
        Ok(world)
    }

    /// Moves the clock to `now` (never backwards) and lets everything happen that is due until then. Whether anything can have happened.
    pub fn advance(&mut self, now: Timestamp) -> bool {
        // At one and the same moment nothing new is due, unless somebody has changed something.
        if now <= self.now && self.settled == Some((self.journal.changes(), self.changes)) {
            return false;
        }
        if now > self.now {
            self.now = now;
        }
        crate::sql::tick(self);
        crate::chat::tick(self);
        self.settled = Some((self.journal.changes(), self.changes));
        true
    }

    /// Tells that something was changed past the journal: what follows from it happens at the next [`World::advance`], even if the
    /// clock stands.
    pub fn touch(&mut self) {
        self.changes += 1;
    }

    /// Whether the data centre that a host stands in is up. Unknown hosts are down.
    pub fn host_is_up(&self, host: &str) -> bool {
        self.data_center_of(host).is_some_and(|d| self.data_centers.get(d) == Some(&DataCenterState::Up))
    }

    /// Name of the data centre that a host stands in. No host ever moves.
    pub fn data_center_of(&self, host: &str) -> Option<&str> {
        let known = self.whereabouts.borrow().get(host).copied();
        let at = known.unwrap_or_else(|| {
            let at = self.scenario.place_of(host);
            self.whereabouts.borrow_mut().insert(host.into(), at);
            at
        });
        self.scenario.data_centers.get(at?).map(|d| d.name.as_str())
    }

    /// Cuts a data centre off: sessions of its SQL Servers end, its chat servers stop.
    pub fn lose(&mut self, data_center: &str) -> Result<(), String> {
        self.set_state(data_center, DataCenterState::Lost)?;
        crate::sql::data_center_lost(self, data_center);
        crate::chat::data_center_lost(self, data_center);
        Ok(())
    }

    /// Gives a lost data centre its power back: its servers start with the data that they had.
    pub fn restore(&mut self, data_center: &str) -> Result<(), String> {
        self.set_state(data_center, DataCenterState::Up)?;
        crate::chat::data_center_restored(self, data_center);
        Ok(())
    }

    fn set_state(&mut self, data_center: &str, state: DataCenterState) -> Result<(), String> {
        self.touch();
        match self.data_centers.get_mut(data_center) {
            Some(slot) => {
                *slot = state;
                let folders = self.scenario.data_center(data_center).into_iter();
                self.unreachable.set(
                    folders.flat_map(|d| [d.backup_share.as_str(), d.copy_folder.as_str()]),
                    state == DataCenterState::Lost,
                );
                Ok(())
            }
            None => Err(format!("there is no data centre {data_center:?} in this lab")),
        }
    }
}

/// The world as the servers share it.
///
/// Servers lock it for one step of work, never across an `await`.
#[derive(Clone)]
pub struct SharedWorld {
    world: Arc<Mutex<World>>,
    changed: Arc<tokio::sync::Notify>,
}

impl SharedWorld {
    /// Shares a world.
    pub fn new(world: World) -> Self {
        SharedWorld { world: Arc::new(Mutex::new(world)), changed: Arc::new(tokio::sync::Notify::new()) }
    }

    /// Locks the world as it is now by the machine's clock, everything due having happened.
    pub fn now(&self) -> MutexGuard<'_, World> {
        // A panic of one connection's task must not take the whole lab down with it.
        let mut world = self.world.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        world.advance(Timestamp::now());
        world
    }

    /// Wakes everyone who waits in [`SharedWorld::changed`].
    pub fn announce(&self) {
        self.changed.notify_waiters();
    }

    /// Waits until something changed the world from outside of its clock (a data centre lost, a session killed).
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}
