//! Defects that each break a sentence of `docs/promises.md` and that no other list has, with what is to find them.

use super::Mutant;
use super::oracle::Oracle;

/// All of them.
pub(super) const MUTANTS: &[(Mutant, Oracle)] = &[
    (
        Mutant {
            name: "a refused login is taken for silence",
            edits: &[(
                "src/domain/fencing.rs",
                "Answer::TurnsAway(p) => Verdict::Alive(turns_away(&partner.server, p)),",
                "Answer::TurnsAway(_) => Verdict::Dead,",
            )],
        },
        Oracle::Test { of: "whole_program", name: "a_refused_login_is_a_sign_of_life" },
    ),
    (
        Mutant {
            name: "an intent counts as a recovery",
            edits: &[(
                "src/domain/situation.rs",
                "(t.facts.recovery.is_some() && !restoring)",
                "(t.facts.recovery.is_some() || restoring && false)",
            )],
        },
        Oracle::Test {
            of: "whole_program",
            name: "a_switch_taken_back_after_its_recovery_was_intended_and_not_carried_out_is_undone_as_well",
        },
    ),
    (
        Mutant {
            name: "log shipping of the compliance database is removed as well",
            edits: &[(
                "src/systems/sql_server/statements.rs",
                "&[format!(\"{name} @secondary_database = @P2{ignore}\")]",
                "&[format!(\"{name} @secondary_database = @P2{ignore}\"), format!(\"{name} @secondary_database = N'mgccomp'{ignore}\")]",
            )],
        },
        Oracle::Bad,
    ),
    (
        Mutant {
            name: "what was said once speaks for ever",
            edits: &[(
                "src/domain/wish.rs",
                "at.duration_since(*said) <= FRESH &&",
                "at.duration_since(*said) <= FRESH * 1000 &&",
            )],
        },
        Oracle::Test {
            of: "lib",
            name: "a_time_of_utterance_speaks_for_an_hour_and_not_for_what_was_spent_after_it",
        },
    ),
    (
        Mutant {
            name: "a transition is called like one that is over",
            edits: &[(
                "src/engine/start.rs",
                "Transition::begin(&ask.pool.fqdn, route, fork, nth, ask.situation.at)",
                "Transition::begin(&ask.pool.fqdn, route, fork, nth.min(0), ask.situation.at)",
            )],
        },
        Oracle::Test {
            of: "lib",
            name: "a_transition_that_is_over_is_never_begun_again_however_many_there_were",
        },
    ),
    (
        Mutant {
            name: "the record of what protects a side lies on that side",
            edits: &[(
                "src/domain/route.rs",
                "            (Procedure::Protect, _) | (Procedure::Switch, Course::Back) => self.from,\n",
                "            (Procedure::Protect, _) => self.to,\n            (Procedure::Switch, Course::Back) => self.from,\n",
            )],
        },
        Oracle::Bad,
    ),
    (
        Mutant {
            name: "who has lost the lease does not carry on what it has begun",
            edits: &[(
                "src/engine/drive.rs",
                "if leads || t.is_recorded() {",
                "if leads || t.is_recorded() && false {",
            )],
        },
        Oracle::Test { of: "whole_program", name: "b1_the_api_server_dies_in_a_transition" },
    ),
    (
        Mutant {
            name: "by a yes, a switch recovers short of its tail",
            edits: &[(
                "src/domain/proofs.rs",
                "            Procedure::Switch => up_to_the_tail(pool, s, t, redo),\n",
                "            Procedure::Switch if accepted.accepted().is_some() => Ok(CompleteChain { redo }),\n            Procedure::Switch => up_to_the_tail(pool, s, t, redo),\n",
            )],
        },
        Oracle::Planned,
    ),
    (
        Mutant {
            name: "a failover under way is not seen by what sets a side right",
            edits: &[(
                "src/engine/plan.rs",
                "    let recorded = s.open_move();\n",
                "    let recorded = s.open_move().filter(|_| false);\n",
            )],
        },
        Oracle::Test { of: "lib", name: "nothing_is_set_right_and_nothing_protected_beside_a_failover" },
    ),
    (
        Mutant {
            name: "the password of a login is logged",
            edits: &[(
                "src/systems/sql_server/session.rs",
                "        config.authentication(AuthMethod::sql_server(",
                "        tracing::info!(password = who.password.reveal(), \"logging in\");\n        config.authentication(AuthMethod::sql_server(",
            )],
        },
        Oracle::Test {
            of: "whole_program",
            name: "certificates_logins_and_hosts_are_named_with_field_and_user",
        },
    ),
    (
        Mutant {
            name: "a status is written at every look",
            edits: &[(
                "src/controller/publish.rs",
                "if *wanted.status() == standing || !told {",
                "if *wanted.status() == standing && false || !told {",
            )],
        },
        Oracle::Bad,
    ),
    (
        Mutant {
            name: "a plan that is only asked for is begun with",
            edits: &[(
                "src/cli/plan.rs",
                "        systems.close().await;\n",
                "        use crate::systems::{SqlSession as _, Systems as _};\n        \
                 if let Ok(mut session) = systems.sql(&pool.sites[Side::Backup].sql_server).await {\n            \
                 let text = format!(\"RESTORE DATABASE [{}] WITH RECOVERY;\", pool.database);\n            \
                 let statement = crate::systems::sql_server::Statement::write(\"planning\", text, vec![]);\n            \
                 drop(session.send(&statement, None).await);\n        }\n        systems.close().await;\n",
            )],
        },
        Oracle::Test {
            of: "whole_program",
            name: "status_plan_and_report_tell_the_whole_story_and_write_nothing",
        },
    ),
    (
        Mutant {
            name: "a status of another generation is believed, and each of its conditions",
            edits: &[
                (
                    "src/cli/wait.rs",
                    "r.status.as_ref().filter(|s| r.metadata.generation == Some(s.observed_generation))?",
                    "r.status.as_ref().filter(|s| r.metadata.generation >= Some(s.observed_generation))?",
                ),
                (
                    "src/cli/wait.rs",
                    "c.status == \"True\" && c.observed_generation.is_none_or(|g| Some(g) == self.generation)",
                    "c.status == \"True\" && c.observed_generation.is_none_or(|g| Some(g) <= self.generation)",
                ),
            ],
        },
        Oracle::Test { of: "lib", name: "a_status_of_another_generation_says_nothing" },
    ),
    (
        Mutant {
            name: "the series of a resource outlive it",
            edits: &[(
                "src/telemetry/metrics.rs",
                "if all.get(name).is_some_and(|(w, _)| *w == worker) {",
                "if all.get(name).is_some_and(|(w, _)| *w != worker) {",
            )],
        },
        Oracle::Test {
            of: "whole_program",
            name: "a_failover_shows_in_the_metrics_and_a_resource_that_is_gone_does_not",
        },
    ),
    (
        Mutant {
            name: "a job is started in vain without end",
            edits: &[("src/domain/transition.rs", "j.times >= IN_VAIN &&", "j.times >= IN_VAIN * 1000 &&")],
        },
        Oracle::Test { of: "lib", name: "a_job_that_is_started_in_vain_is_not_waited_for_for_ever" },
    ),
];
