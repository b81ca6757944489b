//! Defects that show only where one disaster follows another: an old side comes back alone. Caught by plans that are kept, and by weeks.

use super::Mutant;

pub const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "a tail is believed whose source somebody has recovered",
        edits: &[(
            "src/domain/situation.rs",
            "            (true, false) => !self.is_reopened(t) && has_void_tail(t, moved),",
            "            (true, false) => false,",
        )],
    },
    Mutant {
        name: "a replica that was away is believed",
        edits: &[(
            "src/domain/situation.rs",
            "            state.of_replica && self.newest_moved()",
            "            state.identity.is_empty() && self.newest_moved()",
        )],
    },
    Mutant {
        name: "a process begins without knowing where chat was",
        edits: &[(
            "src/api/convert.rs",
            "    let last = status?.last_move.as_ref()?;",
            "    let last = status?.last_move.as_ref().filter(|m| m.number < 0)?;",
        )],
    },
    Mutant {
        name: "the lock of the other side is enough",
        edits: &[(
            "src/permit.rs",
            "        let follows = now.side != self.home.side || self.sessions.contains_key(&now);",
            "        let follows = self.sessions.contains_key(&now);",
        )],
    },
    Mutant {
        name: "a switch goes on beside two live databases",
        edits: &[(
            "src/engine/start.rs",
            "        Active::SplitBrain(p) => Err(p.clone()),\n        Active::RecoveredByOthers { .. }\n",
            "        Active::SplitBrain(_) => Ok(onward),\n        Active::RecoveredByOthers { .. }\n",
        )],
    },
];
