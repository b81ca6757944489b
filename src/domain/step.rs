//! The steps of all procedures.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident => $title:literal),* $(,)?) => {
        /// One step of a procedure; each is a condition of the resource and a file in `steps/`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum StepId { $($(#[$doc])* $name),* }
        impl StepId {
            /// All of them. Their order within a procedure is the procedure's.
            pub const ALL: &'static [StepId] = &[$(StepId::$name),*];
            /// The condition type.
            pub const fn as_str(self) -> &'static str { match self { $(StepId::$name => stringify!($name)),* } }
            /// What the step does, in the words of the runbook.
            pub const fn title(self) -> &'static str { match self { $(StepId::$name => $title),* } }
        }
    };
}

steps! {
    /// Everything that must hold before anything is touched.
    PreflightPassed => "Check everything",
    /// Log shipping is gone from the instance whose copy goes live.
    LogShippingRemoved => "Remove log shipping",
    /// Every log backup that can follow stands in the copy folder.
    BackupsCopied => "Copy the last log backups",
    /// All of them are applied.
    LogBackupsApplied => "Apply the log backups",
    /// Nobody chats on the side that is left.
    ChatDrained => "Let chat end",
    /// The tail of its log is taken: nothing can be written there any more.
    TailTaken => "Take the tail of the log",
    /// The database is recovered. The point of no return.
    DatabaseOnline => "Recover the database",
    /// The pool's state says which side it uses, and the servers know.
    PoolStateSet => "Set the pool's state",
    /// The live database has a mirror.
    MirrorEstablished => "Build the new mirror",
    /// The chat servers of the active side are active.
    ActiveServersSet => "Set the active servers",
    /// People can chat.
    ChatServing => "See chat serving",
    /// A switch is undone: the database is live again where it was.
    SourceOnline => "Bring the database back online where it was",
    /// What stands where the copy is to stand is saved, closed, and no job writes from it.
    OldSideFenced => "Save and close the old database",
    /// A copy of the live database waits for log backups.
    DatabaseSeeded => "Seed the copy",
    /// The live database's log is backed up, and log shipping feeds the copy of the side that is not active.
    LogShippingEstablished => "Establish log shipping",
}

impl FromStr for StepId {
    type Err = ();
    fn from_str(name: &str) -> Result<Self, ()> {
        StepId::ALL.iter().find(|id| id.as_str() == name).copied().ok_or(())
    }
}
