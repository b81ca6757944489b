//! The one type for everything that stands in the way.

use serde::{Deserialize, Serialize};

/// What stands in the way, said so that a human can act on it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// One word for machines: becomes a condition's reason.
    pub reason: Reason,
    /// What we do about it.
    pub class: Class,
    /// What is wrong and where: host, user, field of the resource.
    pub what: String,
    /// What to do about it.
    pub fix: String,
}

/// What the operator does about a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Class {
    /// It may pass by itself: try again, with pauses.
    Retry,
    /// Only a human can decide or mend it; looked at again on a change, and every five minutes.
    AskHuman,
    /// It will never be done, whatever is tried; the resource must change.
    Refuse,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Reasons of conditions and problems: a closed vocabulary, part of the API.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Reason { $($(#[$doc])* $name),* }
        impl Reason {
            /// All of them, in the order of this file.
            pub const ALL: &'static [Reason] = &[$(Reason::$name),*];
            /// The word as conditions carry it.
            pub const fn as_str(self) -> &'static str { match self { $(Reason::$name => stringify!($name)),* } }
        }
    };
}

reasons! {
    // What goes well.
    /// The step has not begun.
    NotStarted,
    /// The step is at work.
    InProgress,
    /// The step's goal holds.
    Completed,
    /// The step's goal held before the step did anything.
    AlreadyDone,
    /// The resource does not ask for this step.
    NotConfigured,
    /// The active data centre is the desired one, and chat is serving.
    Active,
    /// The resource has been accepted and is being looked at.
    Accepted,
    /// A failover or a switch runs.
    Switching,
    /// The active side is given the mirror and the active servers that the resource names.
    Aligning,
    /// Log shipping to the side that is not active is established.
    Protecting,
    /// The transition was undone.
    Aborted,
    // What is waited for.
    /// `spec.suspend` is set.
    Suspended,
    /// The side to be left has not been silent for long enough to be taken for dead.
    WaitingForSilence,
    /// A job of log shipping still runs.
    WaitingForJob,
    /// A RESTORE of somebody else still runs.
    WaitingForRestore,
    /// A detached cmdlet still runs.
    WaitingForCmdlet,
    /// Lync's configuration is not yet replicated to every server wanted.
    WaitingForReplication,
    /// The chat servers have not yet connected.
    WaitingForChat,
    /// Chat sessions on the side that is left are given time to end.
    WaitingForSessions,
    /// The active servers wait for the mirror until the deadline of the policy.
    WaitingForMirror,
    /// Another process holds the lock of the pool.
    LockHeld,
    /// Another replica of the operator holds the lease, or may hold it.
    NotLeading,
    // What needs a human.
    /// The world differs from the resource without anyone having decided it.
    ActiveDataCenterDrifted,
    /// Both sides have a live database.
    SplitBrain,
    /// Chat does not end on the side that is left.
    ChatDoesNotEnd,
    /// The side to be left answers: this is no disaster.
    SourceAlive,
    /// A server of the side to be left answers, its database is not usable.
    SourceUnusable,
    /// Nobody can say whether the side to be left lives.
    SourceUnknown,
    /// The database was recovered by somebody else.
    RecoveredByOthers,
    /// Something is lost if this goes on; a human must agree.
    ConsentRequired,
    /// The consent was given for something else than what is there now.
    ConsentDoesNotFit,
    /// A log backup in the middle of the chain is missing.
    LogChainGap,
    /// A backup file is damaged, cut off, or none of ours.
    BackupDamaged,
    /// A log backup is sound, and SQL Server cannot restore it as things stand.
    BackupRefused,
    /// A backup belongs to another recovery path or another database.
    ForeignBackup,
    /// The database is in a state that no step can go on from.
    DatabaseState,
    /// The topology as Lync publishes it differs from the resource.
    TopologyMismatch,
    /// The Central Management store cannot be written.
    CentralManagementDown,
    /// Nothing feeds the copy of the side that is not active.
    NotProtected,
    /// Log shipping is configured in another way than the resource says, or a job of its name is somebody else's.
    LogShippingDiffers,
    /// This pool contradicts what is believed of the products, and a step rests on that.
    AssumptionContradicted,
    /// A right is missing.
    PermissionDenied,
    /// A login was refused.
    LoginRefused,
    /// A certificate is not trusted or names another host.
    CertificateInvalid,
    /// A host cannot be reached.
    HostUnreachable,
    /// A host accepts connections and does not answer.
    HostUnresponsive,
    /// A share or folder cannot be read or written.
    FolderUnusable,
    /// A disk is full.
    DiskFull,
    /// A Secret is missing, incomplete, or not meant for this host.
    SecretUnusable,
    /// A field of the spec is wrong in a way that the API server could not see.
    InvalidSpec,
    /// Another resource already describes this pool.
    PoolAlreadyDescribed,
    /// Asked for something that this version cannot do.
    NotSupported,
    /// A statement or cmdlet failed.
    EffectFailed,
    /// The answer to an effect was lost: it may have happened.
    OutcomeUnknown,
    /// Something answered what we cannot read.
    UnexpectedAnswer,
    /// The record was written by a newer version of the operator.
    RecordTooNew,
    /// The worker stopped unexpectedly (a defect of the operator).
    InternalError,
}

impl Problem {
    /// Something that may pass by itself.
    pub fn retry(reason: Reason, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Problem { reason, class: Class::Retry, what: what.into(), fix: fix.into() }
    }
    /// Something that only a human can decide or mend.
    pub fn ask(reason: Reason, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Problem { reason, class: Class::AskHuman, what: what.into(), fix: fix.into() }
    }
    /// Something that will never be done.
    pub fn refuse(reason: Reason, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Problem { reason, class: Class::Refuse, what: what.into(), fix: fix.into() }
    }
    /// What is wrong and what to do, as one text.
    pub fn message(&self) -> String {
        if self.fix.is_empty() {
            self.what.clone()
        } else {
            format!("{}. {}", self.what.trim_end_matches('.'), self.fix)
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.reason.as_str(), self.message())
    }
}
