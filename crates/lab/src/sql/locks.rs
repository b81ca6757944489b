//! Application locks: who holds what, and what goes together.

/// How a lock is held, the stronger the later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockMode {
    /// `IntentShared`
    IntentShared,
    /// `Shared`
    Shared,
    /// `Update`
    Update,
    /// `IntentExclusive`
    IntentExclusive,
    /// `Exclusive`
    Exclusive,
}

impl LockMode {
    const ALL: [(LockMode, &'static str); 5] = [
        (LockMode::IntentShared, "IntentShared"),
        (LockMode::Shared, "Shared"),
        (LockMode::Update, "Update"),
        (LockMode::IntentExclusive, "IntentExclusive"),
        (LockMode::Exclusive, "Exclusive"),
    ];

    /// A mode by the name that `sp_getapplock` has for it.
    pub(crate) fn named(name: &str) -> Option<LockMode> {
        LockMode::ALL.iter().find(|(_, n)| n.eq_ignore_ascii_case(name)).map(|(mode, _)| *mode)
    }

    /// The name that `APPLOCK_MODE` has for it.
    pub(crate) fn name(self) -> &'static str {
        LockMode::ALL.iter().find(|(mode, _)| *mode == self).map_or("NoLock", |(_, name)| name)
    }

    /// Whether another session may hold the lock in another mode beside this one: the documented table of compatibility.
    pub(crate) fn allows(self, other: LockMode) -> bool {
        use LockMode::{Exclusive, IntentExclusive, IntentShared, Shared, Update};
        match (self, other) {
            (Exclusive, _) | (_, Exclusive) => false,
            (IntentShared, _) | (_, IntentShared) => true,
            (IntentExclusive, IntentExclusive) => true,
            (IntentExclusive, _) | (_, IntentExclusive) => false,
            (Shared, Shared | Update) | (Update, Shared) => true,
            (Update, Update) => false,
        }
    }
}

/// An application lock that a session holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppLock {
    /// The database that it belongs to, lower case.
    pub database: String,
    /// Its name.
    pub resource: String,
    /// The session.
    pub holder: u32,
    /// How it is held.
    pub mode: LockMode,
    /// How often it was taken: it must be given back as often.
    pub count: u32,
}

/// Longest name of a lock, in characters (recorded): what is longer is cut off without a word.
const LONGEST: usize = 255;

/// The name of a lock as it is kept.
pub(crate) fn lock_name(given: &str) -> String {
    given.chars().take(LONGEST).collect()
}
