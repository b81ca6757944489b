//! The steps of the runbook.

use serde::{Deserialize, Serialize};

/// One step of a procedure; each is a condition of the resource and a file in `steps/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum StepId {
    /// 0: everything that must hold before anything is touched.
    PreflightPassed,
    /// 1: log shipping is gone from the backup instance.
    LogShippingRemoved,
    /// 2: every log backup that can follow stands in the copy folder.
    BackupsCopied,
    /// 3: all of them are applied.
    LogBackupsApplied,
    /// 4: the database is recovered. The point of no return.
    DatabaseOnline,
    /// 5: the pool says FailedOver, and the servers know.
    PoolStateSet,
    /// 6: the new primary has a mirror.
    MirrorEstablished,
    /// 7: the chat servers of the new side are active.
    ActiveServersSet,
    /// After the runbook: people can chat.
    ChatServing,
}

impl StepId {
    /// All steps, in the order of the runbook.
    pub const ALL: [StepId; 9] = [
        StepId::PreflightPassed,
        StepId::LogShippingRemoved,
        StepId::BackupsCopied,
        StepId::LogBackupsApplied,
        StepId::DatabaseOnline,
        StepId::PoolStateSet,
        StepId::MirrorEstablished,
        StepId::ActiveServersSet,
        StepId::ChatServing,
    ];

    /// The condition type.
    pub const fn as_str(self) -> &'static str {
        match self {
            StepId::PreflightPassed => "PreflightPassed",
            StepId::LogShippingRemoved => "LogShippingRemoved",
            StepId::BackupsCopied => "BackupsCopied",
            StepId::LogBackupsApplied => "LogBackupsApplied",
            StepId::DatabaseOnline => "DatabaseOnline",
            StepId::PoolStateSet => "PoolStateSet",
            StepId::MirrorEstablished => "MirrorEstablished",
            StepId::ActiveServersSet => "ActiveServersSet",
            StepId::ChatServing => "ChatServing",
        }
    }

    /// What the step does, in the words of the runbook.
    pub const fn title(self) -> &'static str {
        match self {
            StepId::PreflightPassed => "Check everything",
            StepId::LogShippingRemoved => "Remove log shipping",
            StepId::BackupsCopied => "Copy the last log backups",
            StepId::LogBackupsApplied => "Apply the log backups",
            StepId::DatabaseOnline => "Recover the database",
            StepId::PoolStateSet => "Set the pool's state",
            StepId::MirrorEstablished => "Build the new mirror",
            StepId::ActiveServersSet => "Set the active servers",
            StepId::ChatServing => "See chat serving",
        }
    }
}
