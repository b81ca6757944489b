//! The two sides of a pool, and one thing for each of them.
//!
//! A side is a published store, for ever: nothing here says which of them is active. That is a fact of the world, and direction
//! exists only in a transition's route.

use std::ops::{Index, IndexMut};

use serde::{Deserialize, Serialize};

/// Which databases of the published topology live in a data centre.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Side {
    /// `PersistentChatDatabase` and its mirror.
    Primary,
    /// `BackupPersistentChatDatabase` and its mirror.
    Backup,
}

impl Side {
    /// Both of them.
    pub const BOTH: [Side; 2] = [Side::Primary, Side::Backup];

    /// The one across.
    pub const fn other(self) -> Side {
        match self {
            Side::Primary => Side::Backup,
            Side::Backup => Side::Primary,
        }
    }
    /// The word of `Set-CsPersistentChatState` by which the pool uses this side's databases.
    pub const fn pool_state(self) -> &'static str {
        match self {
            Side::Primary => "Normal",
            Side::Backup => "FailedOver",
        }
    }
    /// The side that a word of `Get-CsPersistentChatState` means; none: it means neither.
    pub fn of_pool_state(word: &str) -> Option<Side> {
        Side::BOTH.into_iter().find(|s| s.pool_state().eq_ignore_ascii_case(word))
    }
    /// The properties of `Get-CsService -PersistentChatServer` that name this side's SQL Server and its mirror.
    pub const fn database_properties(self) -> (&'static str, &'static str) {
        match self {
            Side::Primary => ("PersistentChatDatabase", "MirrorPersistentChatDatabase"),
            Side::Backup => ("BackupPersistentChatDatabase", "BackupMirrorPersistentChatDatabase"),
        }
    }
}

/// One thing for each side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sides<T> {
    primary: T,
    backup: T,
}

impl<T> Sides<T> {
    /// One for each.
    pub const fn new(primary: T, backup: T) -> Self {
        Sides { primary, backup }
    }
    /// What a function says of each side.
    pub fn of(mut f: impl FnMut(Side) -> T) -> Self {
        Sides { primary: f(Side::Primary), backup: f(Side::Backup) }
    }
    /// Both, each with its side.
    pub fn iter(&self) -> impl Iterator<Item = (Side, &T)> {
        [(Side::Primary, &self.primary), (Side::Backup, &self.backup)].into_iter()
    }
    /// The same, of what a function makes of each.
    pub fn map<U>(self, mut f: impl FnMut(Side, T) -> U) -> Sides<U> {
        Sides { primary: f(Side::Primary, self.primary), backup: f(Side::Backup, self.backup) }
    }
}

impl<T> Index<Side> for Sides<T> {
    type Output = T;
    fn index(&self, side: Side) -> &T {
        match side {
            Side::Primary => &self.primary,
            Side::Backup => &self.backup,
        }
    }
}

impl<T> IndexMut<Side> for Sides<T> {
    fn index_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Primary => &mut self.primary,
            Side::Backup => &mut self.backup,
        }
    }
}

/// One partner of a side's mirror, by its place in the resource. In the world either may be the principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Place {
    /// `sqlServer` of the data centre.
    Store,
    /// `mirror` of the data centre.
    Mirror,
}

impl Place {
    /// The other partner.
    pub const fn other(self) -> Place {
        match self {
            Place::Store => Place::Mirror,
            Place::Mirror => Place::Store,
        }
    }
}

/// One SQL Server of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seat {
    /// Its side.
    pub side: Side,
    /// Which of the side's partners.
    pub place: Place,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_has_its_word_and_the_other_has_another() {
        for side in Side::BOTH {
            assert_eq!(Side::of_pool_state(&side.pool_state().to_uppercase()), Some(side));
            assert_eq!(side.other().other(), side);
            assert_ne!(side.database_properties(), side.other().database_properties());
        }
        assert_eq!(Side::of_pool_state("Unknown"), None);
    }
}
