//! Defects of a switch: each loses something, leaves somebody in the middle, or begins what nobody asked for. Caught in planned nights.

use super::Mutant;

pub const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "the tail of the log is left out",
        edits: &[
            (
                "src/steps/take_tail.rs",
                "        if v.is_beyond() {\n            return Decision::Done(Evidence::new(\"It was taken",
                "        if v.source().instances().count() < 99 {\n            return Decision::Done(Evidence::new(\"It was taken",
            ),
            (
                "src/domain/proofs.rs",
                "            Procedure::Switch => up_to_the_tail(pool, s, t, redo),",
                "            Procedure::Switch => up_to_the_tail(pool, s, t, redo.clone()).or(Ok(CompleteChain { redo })),",
            ),
            (
                "src/domain/proofs.rs",
                "                Some(_) => Ok(Fenced(())),\n                None => Err(tail::not_seen(pool, t)),",
                "                Some(_) | None => Ok(Fenced(())),",
            ),
        ],
    },
    Mutant {
        name: "chat is told to end and not seen to",
        edits: &[(
            "src/steps/drain_chat.rs",
            "            chatting => outlive(v, chatting),",
            "            _ => Decision::Done(Evidence::new(\"It was told to end\")),",
        )],
    },
    Mutant {
        name: "active servers are set before the pool's state, as the failback page has it",
        edits: &[(
            "src/procedures.rs",
            "        Stage::One(StepId::TailTaken),\n        Stage::One(StepId::DatabaseOnline),\n        Stage::One(StepId::PoolStateSet),\n        // Nobody waits for the mirror, not even to be told that chat serves.\n        Stage::Overlap(&[StepId::ActiveServersSet, StepId::ChatServing, StepId::MirrorEstablished]),",
            "        Stage::One(StepId::TailTaken),\n        Stage::One(StepId::DatabaseOnline),\n        Stage::Overlap(&[StepId::ActiveServersSet, StepId::ChatServing, StepId::MirrorEstablished]),\n        Stage::One(StepId::PoolStateSet),",
        )],
    },
    Mutant {
        name: "the mirroring of the side that is left is not removed",
        edits: &[(
            "src/steps/take_tail.rs",
            "        if live.database.as_ref().is_some_and(|db| db.mirroring.is_some()) {\n            return",
            "        if live.database.as_ref().is_none() {\n            return",
        )],
    },
    Mutant {
        name: "a switch is undone on the wrong side",
        edits: &[(
            "src/steps/bring_source_online.rs",
            "p.sql(Seat { place: *place, ..p.source() }, &statement(p.pool())).await",
            "p.sql(Seat { place: *place, ..p.target() }, &statement(p.pool())).await",
        )],
    },
    Mutant {
        name: "the backup jobs of the side that is left go on",
        edits: &[(
            "src/steps/take_tail.rs",
            "        match without_jobs(v) {",
            "        match without_jobs(v).or(Ok::<(), Decision<Effect>>(())) {",
        )],
    },
    Mutant {
        name: "the intent of a tail is written on the other side only",
        edits: &[(
            "src/permit/records.rs",
            "        Procedure::Switch => true,\n        Procedure::Failover | Procedure::Protect | Procedure::Align => false,",
            "        Procedure::Switch => false,\n        Procedure::Failover | Procedure::Protect | Procedure::Align => false,",
        )],
    },
    Mutant {
        name: "a side that is lost before its tail is failed over from without a word",
        edits: &[(
            "src/engine/start.rs",
            "            Procedure::Failover | Procedure::Protect | Procedure::Align => self.is_uttered(),",
            "            Procedure::Failover | Procedure::Protect | Procedure::Align => self.is_uttered() || self.is_planned(),",
        )],
    },
    Mutant {
        name: "drift switches",
        edits: &[(
            "src/engine/start.rs",
            "        (true, _, true) | (false, true, true) if switches => WishState::Planned,",
            "        (_, _, true) if switches => WishState::Planned,",
        )],
    },
    Mutant {
        name: "services that were stopped stay so",
        edits: &[(
            "src/steps/view.rs",
            "        stopped.find_map(|host| Some((host.clone(), lync.service_at_rest(host)?.clone())))",
            "        stopped.find_map(|host| Some((host.clone(), lync.service_at_rest(host)?.clone()))).filter(|_| false)",
        )],
    },
    Mutant {
        name: "the copy that a switch leaves is not taken for one that continues",
        edits: &[("src/domain/tail.rs", "end.lsn <= p.lsn;", "end.lsn < p.lsn;")],
    },
];
