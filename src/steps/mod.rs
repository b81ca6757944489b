//! The steps of the runbook, one file for each, all of one shape: what it reads, what it decides (pure), how it acts.
//!
//! `decide` looks at a [`View`] and says done, act, wait or blocked; it has no clock, no I/O and no memory. `act` carries out
//! exactly one effect through a [`Permit`], the only thing that can write. Whether it worked is for the next look to say.

#![warn(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

pub mod s0_preflight;
pub mod s1_remove_log_shipping;
pub mod s2_copy_backups;
pub mod s3_apply_log_backups;
pub mod s4_recover_database;
pub mod s5_set_pool_state;
pub mod s6_establish_mirror;
pub mod s7_set_active_servers;
pub mod s8_chat_serving;

use std::fmt::Debug;
use std::future::Future;

use jiff::SignedDuration;
use serde::Serialize;

use crate::domain::chain::{self, Chain};
use crate::domain::consent::{Acceptance, Consent, Statement};
use crate::domain::decision::{Decision, Outcome};
use crate::domain::pool::{DataCenter, Pool};
use crate::domain::primary::{self, Verdict};
use crate::domain::problem::{Problem, Reason};
use crate::domain::situation::{Database, Instance, Situation};
use crate::domain::step::StepId;
use crate::domain::transition::Transition;
use crate::engine::permit::Permit;
use crate::systems::Systems;

/// One step.
pub trait Step {
    /// Which one.
    const ID: StepId;
    /// What it can do to the world. Effects are decided again after a restart, never replayed.
    type Effect: Clone + Debug + PartialEq + Serialize + Send + Sync;
    /// What it must have seen to decide.
    fn reads() -> Reads;
    /// Its word on what was seen. Pure.
    fn decide(v: &View<'_>) -> Decision<Self::Effect>;
    /// The exact statements and cmdlets of an effect, for a human to read.
    fn shown(e: &Self::Effect, pool: &Pool) -> Vec<String>;
    /// Carries out one effect.
    fn act<S: Systems>(e: &Self::Effect, p: &Permit<'_, S>) -> impl Future<Output = Outcome> + Send;
}

/// Parts of the world that a step must have seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// The side that is left, from all vantage points.
    pub source: bool,
    /// Both folders, and headers of the backups that matter.
    pub files: bool,
    /// The mirror-to-be.
    pub mirror: bool,
    /// Lync: topology, Central Management store, replicas, services.
    pub chat: bool,
}

impl Reads {
    /// Everything.
    pub const ALL: Reads = Reads { source: true, files: true, mirror: true, chat: true };
    /// Whether these are at least as much as others.
    pub fn covers(self, other: Reads) -> bool {
        self.and(other) == self
    }
    /// Both.
    pub fn and(self, other: Reads) -> Reads {
        Reads {
            source: self.source || other.source,
            files: self.files || other.files,
            mirror: self.mirror || other.mirror,
            chat: self.chat || other.chat,
        }
    }
}

/// What a step decides on: a situation, the transition, and what follows from both.
pub struct View<'a> {
    /// The pool.
    pub pool: &'a Pool,
    /// What was seen.
    pub s: &'a Situation,
    /// What has been done.
    pub t: &'a Transition,
    /// The log chain from the target's redo point.
    pub chain: Result<Chain, Problem>,
    /// What is known about the primary.
    pub verdict: Verdict,
    /// What a human would have to agree to, and whether one did.
    pub accepted: Acceptance,
    /// How long the primary must be silent.
    pub silence: SignedDuration,
}

impl<'a> View<'a> {
    /// Puts the view together.
    pub fn new(
        pool: &'a Pool,
        s: &'a Situation,
        t: &'a Transition,
        consent: Option<&Consent>,
        silence: SignedDuration,
    ) -> Self {
        let chain = chain::of(s, &pool.database, Some(t));
        let verdict = primary::verdict(&s.source, s.at, silence);
        let statement = Statement::new(chain.as_ref().ok(), &verdict, &s.source, pool.policy.consent, None);
        let accepted = Acceptance::of(statement, t, consent);
        View { pool, s, t, chain, verdict, accepted, silence }
    }
    /// The data centre that becomes active.
    pub fn to(&self) -> &DataCenter {
        &self.pool.backup
    }
    /// The instance that becomes primary, or why it could not be read.
    pub fn target(&self) -> Result<&Instance, Problem> {
        self.s.target.get().map_err(Clone::clone)
    }
    /// Its database, or what is wrong.
    pub fn database(&self) -> Result<&Database, Problem> {
        let target = self.target()?;
        target.database.as_ref().ok_or_else(|| {
            Problem::ask(
                Reason::DatabaseState,
                format!("{} has no database {}", target.server_name, self.pool.database),
                "Set up log shipping again from a full backup of the primary",
            )
        })
    }
    /// Whether the database is beyond the reach of log backups.
    pub fn is_beyond(&self) -> bool {
        self.t.is_past(self.s)
    }
    /// Whether the database of the target was recovered by us and is live.
    pub fn is_recovered(&self) -> bool {
        self.is_beyond() && self.database().is_ok_and(Database::is_live)
    }
}

macro_rules! steps {
    ($($id:ident => $module:ident::$step:ident),* $(,)?) => {
        /// An effect of any step.
        #[derive(Clone, Debug, PartialEq, Serialize)]
        pub enum Effect {
            $(
                #[doc = concat!("Of the step `", stringify!($id), "`.")]
                $id(<$module::$step as Step>::Effect)
            ),*
        }
        impl Effect {
            /// The step that it belongs to.
            pub fn step(&self) -> StepId {
                match self { $(Effect::$id(_) => StepId::$id),* }
            }
            /// The exact statements and cmdlets, for a human to read.
            pub fn shown(&self, pool: &Pool) -> Vec<String> {
                match self { $(Effect::$id(e) => $module::$step::shown(e, pool)),* }
            }
            /// Carries it out.
            pub async fn act<S: Systems>(&self, p: &Permit<'_, S>) -> Outcome {
                match self { $(Effect::$id(e) => $module::$step::act(e, p).await),* }
            }
        }
        /// What a step must have seen.
        pub fn reads(step: StepId) -> Reads {
            match step { $(StepId::$id => $module::$step::reads()),* }
        }
        /// A step's word on a view.
        pub fn decide(step: StepId, v: &View<'_>) -> Decision<Effect> {
            match step { $(StepId::$id => $module::$step::decide(v).map(Effect::$id)),* }
        }
    };
}

steps! {
    PreflightPassed => s0_preflight::Preflight,
    LogShippingRemoved => s1_remove_log_shipping::RemoveLogShipping,
    BackupsCopied => s2_copy_backups::CopyBackups,
    LogBackupsApplied => s3_apply_log_backups::ApplyLogBackups,
    DatabaseOnline => s4_recover_database::RecoverDatabase,
    PoolStateSet => s5_set_pool_state::SetPoolState,
    MirrorEstablished => s6_establish_mirror::EstablishMirror,
    ActiveServersSet => s7_set_active_servers::SetActiveServers,
    ChatServing => s8_chat_serving::ChatServing,
}
