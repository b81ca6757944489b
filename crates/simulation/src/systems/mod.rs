//! The three systems of an operator, answered by the world in process: a file for each.

mod folders;
mod shell;
mod sql;

use std::time::Duration;

use jiff::SignedDuration;
use lab::scenario::Scenario;
use persistent_chat_failover::domain::pool::SqlServer;
use persistent_chat_failover::domain::problem::Problem;
use persistent_chat_failover::engine::Clock;
use persistent_chat_failover::systems::Systems;
use persistent_chat_failover::systems::sql_server::SqlError;

use crate::fate::{Call, Fate};
use crate::world::Handle;

pub use sql::SimSession;

/// Systems of one operator process.
pub struct SimSystems {
    /// Everything shared.
    pub shared: Handle,
    /// Which process.
    pub who: usize,
    /// What the world was made from.
    pub scenario: Scenario,
}

/// A process's clock.
pub struct SimClock {
    /// Everything shared.
    pub shared: Handle,
    /// Which process.
    pub who: usize,
}

impl Clock for SimClock {
    fn now(&self) -> jiff::Timestamp {
        let s = self.shared.now();
        let skew = s.operators.get(self.who).map_or(SignedDuration::ZERO, |p| p.skew);
        s.time() + skew
    }
    async fn sleep(&self, d: Duration) {
        tokio::time::sleep(d).await;
        let mut s = self.shared.now();
        let now = s.time();
        if let Some(p) = s.operators.get_mut(self.who) {
            p.awake = Some(now);
        }
    }
}

/// The process dies here.
pub(crate) async fn die<T>(shared: &Handle, who: usize) -> T {
    shared.now().kill(who);
    std::future::pending().await
}

impl SimSystems {
    /// The process dies here.
    async fn die<T>(&self) -> T {
        die(&self.shared, self.who).await
    }

    /// Every call that is no statement passes here: its latency, and its fate.
    async fn point(&self, writes: bool, what: impl FnOnce() -> String) -> Fate {
        let (fate, latency) = self.shared.now().point(self.who, (Call::Other, writes), what);
        tokio::time::sleep(latency).await;
        if fate == Fate::KillBefore { self.die().await } else { fate }
    }
}

impl Systems for SimSystems {
    type Sql = SimSession;
    type Shell = Self;
    type Folders = Self;

    async fn sql(&self, server: &SqlServer) -> Result<SimSession, SqlError> {
        self.connect(server).await
    }

    fn shell(&self) -> &Self {
        self
    }

    fn folders(&self) -> &Self {
        self
    }

    async fn listens(&self, host: &str, port: u16) -> Result<bool, Problem> {
        self.answers(host, port).await
    }

    fn new_id(&self) -> String {
        let mut s = self.shared.now();
        let (a, b) = (s.chance.number(), s.chance.number());
        format!(
            "{:08X}-{:04X}-4{:03X}-8{:03X}-{:012X}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0xfff,
            b >> 52,
            b & 0xffff_ffff_ffff
        )
    }
}
