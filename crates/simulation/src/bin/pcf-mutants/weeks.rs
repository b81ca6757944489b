//! Defects that show only where one disaster follows another: an old side comes back alone. Caught by plans that are kept, and by weeks.

use super::Mutant;

pub const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "a tail is believed whose source somebody has recovered",
        edits: &[(
            "src/domain/situation.rs",
            "            (true, false) => !self.ends_nothing(t) && has_void_tail(t, moved),",
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
        name: "a side is set right on the word of its replica alone",
        edits: &[(
            "src/domain/situation.rs",
            "        let other = state.of_replica.then(",
            "        let other = state.identity.is_empty().then(",
        )],
    },
    Mutant {
        name: "a switch that was being taken back is overtaken by no failover to its target",
        edits: &[(
            "src/domain/situation.rs",
            "        let elsewhere = |moved: &Moved| moved.to != t.route.to || t.route.course == Course::Back;",
            "        let elsewhere = |moved: &Moved| moved.to != t.route.to;",
        )],
    },
    Mutant {
        name: "services that a switch left stopped are nobody's",
        edits: &[(
            "src/engine/start.rs",
            " || other_servers || left_stopped(s, &here.active_servers);",
            " || other_servers || left_stopped(s, &[]);",
        )],
    },
    Mutant {
        name: "a switch whose source is lost recovers before the pool's state can be set",
        edits: &[(
            "src/steps/findings.rs",
            "            if is_source_lost(v) {\n",
            "            if is_source_lost(v) && v.pool.database.is_empty() {\n",
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
    Mutant {
        name: "what was written is remembered when its copies are",
        edits: &[
            (
                "src/permit.rs",
                "        // Not as it was written: what was learnt meanwhile stays.\n",
                "        drop(turn);\n        let missed = self.copy_record(&statement, route).await;\n",
            ),
            (
                "src/permit.rs",
                "        drop(turn);\n        (outcome, self.copy_record(&statement, route).await)",
                "        (outcome, missed)",
            ),
        ],
    },
    Mutant {
        name: "a tail goes by what a look saw that hung",
        edits: &[(
            "src/engine/memory.rs",
            "        effects.iter().any(of_the_moment) && (1..=LONG_LOOKS).contains(&self.long_looks)",
            "        effects.iter().any(of_the_moment) && self.long_looks > u32::MAX - LONG_LOOKS",
        )],
    },
    Mutant {
        name: "a seed that has begun ends where the newest log backups are not to be seen",
        edits: &[(
            "src/steps/establish_log_shipping.rs",
            "        None => v.seeds(),",
            "        None => false,",
        )],
    },
    Mutant {
        name: "a switch does not wait for the cmdlet that builds a mirror where it leaves",
        edits: &[(
            "src/engine/start.rs",
            "filter(|t| t.open_job().is_some()).cloned()",
            "filter(|t| t.open_job().is_some() && false).cloned()",
        )],
    },
    Mutant {
        name: "a switch recovers without looking once more at the side that it has closed",
        edits: &[(
            "src/permit/last_moment.rs",
            "        if let Some(seat) = seen.closed {",
            "        if let Some(seat) = seen.closed.filter(|_| false) {",
        )],
    },
];
