//! The steps of the runbook, one file for each, all of one shape: what it reads, what it decides (pure), how it acts.
//!
//! `decide` looks at a [`View`] and says done, act, wait or blocked; it has no clock, no I/O and no memory. `act` carries out
//! exactly one effect through a [`Permit`], the only thing that can write. Whether it worked is for the next look to say.

#![warn(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

pub mod apply_log_backups;
pub mod bring_source_online;
pub mod copy_backups;
pub mod drain_chat;
pub mod establish_log_shipping;
pub mod establish_mirror;
pub mod fence_old_side;
pub mod findings;
pub mod preflight;
pub mod recover_database;
pub mod remove_log_shipping;
pub mod see_chat_serving;
pub mod seed_database;
pub mod set_active_servers;
pub mod set_pool_state;
pub mod shape;
pub mod take_tail;
pub mod view;

use serde::Serialize;

use crate::domain::decision::{Decision, Left, Outcome};
use crate::domain::pool::Pool;
use crate::domain::route::Route;
use crate::domain::step::StepId;
use crate::domain::transition::Transition;
use crate::permit::Permit;
use crate::systems::Systems;
pub use shape::{Reads, Step};
pub use view::View;

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
            pub fn shown(&self, pool: &Pool, route: Route) -> Vec<String> {
                match self { $(Effect::$id(e) => $module::$step::shown(e, pool, route)),* }
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
    ChatDrained => drain_chat::DrainChat,
    TailTaken => take_tail::TakeTail,
    DatabaseOnline => recover_database::RecoverDatabase,
    PoolStateSet => set_pool_state::SetPoolState,
    MirrorEstablished => establish_mirror::EstablishMirror,
    ActiveServersSet => set_active_servers::SetActiveServers,
    ChatServing => see_chat_serving::ChatServing,
    SourceOnline => bring_source_online::BringSourceOnline,
    OldSideFenced => fence_old_side::FenceOldSide,
    DatabaseSeeded => seed_database::SeedDatabase,
    LogShippingEstablished => establish_log_shipping::EstablishLogShipping,
}
