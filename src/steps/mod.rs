//! The steps of the runbook, one file for each, all of one shape: what it reads, what it decides (pure), how it acts.
//!
//! `decide` looks at a [`View`] and says done, act, wait or blocked; it has no clock, no I/O and no memory. `act` carries out
//! exactly one effect through a [`Permit`], the only thing that can write. Whether it worked is for the next look to say.

#![warn(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

pub mod apply_log_backups;
pub mod copy_backups;
pub mod establish_mirror;
pub mod findings;
pub mod preflight;
pub mod recover_database;
pub mod remove_log_shipping;
pub mod see_chat_serving;
pub mod set_active_servers;
pub mod set_pool_state;
pub mod view;

use std::fmt::Debug;
use std::future::Future;

use serde::Serialize;

use crate::domain::decision::{Decision, Left, Outcome};
use crate::domain::pool::Pool;
use crate::domain::step::StepId;
use crate::domain::transition::Transition;
use crate::permit::Permit;
use crate::systems::Systems;
pub use view::View;

/// One step.
pub trait Step {
    /// Which one.
    const ID: StepId;
    /// Whether it cannot be undone.
    const ONE_WAY: bool = false;
    /// What it can do to the world. Effects are decided again after a restart, never replayed.
    type Effect: Clone + Debug + PartialEq + Serialize + Send + Sync;
    /// What it must have seen to decide.
    fn reads() -> Reads;
    /// Its word on what was seen. Pure.
    fn decide(v: &View<'_>) -> Decision<Self::Effect>;
    /// What it would still do, in order, as far as that can be known now: what a plan on paper shows.
    fn ahead(v: &View<'_>) -> Vec<Self::Effect>;
    /// How much is left of what it does piece by piece; none: it has no pieces, or nobody can tell.
    fn progress(_v: &View<'_>) -> Option<Left> {
        None
    }
    /// Whether its goal was reached by this operator. What only looks is always its own.
    fn is_own(t: &Transition) -> bool {
        t.attempts(Self::ID) > 0
    }
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
        /// What a step would still do.
        pub fn ahead(step: StepId, v: &View<'_>) -> Vec<Effect> {
            match step { $(StepId::$id => $module::$step::ahead(v).into_iter().map(Effect::$id).collect()),* }
        }
        /// How much is left of a step.
        pub fn progress(step: StepId, v: &View<'_>) -> Option<Left> {
            match step { $(StepId::$id => $module::$step::progress(v)),* }
        }
        /// Whether a step's goal was reached by this operator.
        pub fn is_own(step: StepId, t: &Transition) -> bool {
            match step { $(StepId::$id => $module::$step::is_own(t)),* }
        }
        /// Whether a step cannot be undone.
        pub fn is_one_way(step: StepId) -> bool {
            match step { $(StepId::$id => $module::$step::ONE_WAY),* }
        }
        /// A step's word on a view.
        pub fn decide(step: StepId, v: &View<'_>) -> Decision<Effect> {
            match step { $(StepId::$id => $module::$step::decide(v).map(Effect::$id)),* }
        }
    };
}

steps! {
    PreflightPassed => preflight::Preflight,
    LogShippingRemoved => remove_log_shipping::RemoveLogShipping,
    BackupsCopied => copy_backups::CopyBackups,
    LogBackupsApplied => apply_log_backups::ApplyLogBackups,
    DatabaseOnline => recover_database::RecoverDatabase,
    PoolStateSet => set_pool_state::SetPoolState,
    MirrorEstablished => establish_mirror::EstablishMirror,
    ActiveServersSet => set_active_servers::SetActiveServers,
    ChatServing => see_chat_serving::ChatServing,
}
