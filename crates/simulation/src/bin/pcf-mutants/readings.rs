//! Wrong readings of the servers: what was once believed of SQL Server and Lync, or could be, and is not so.

use super::Mutant;

pub const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "a test that did not succeed is taken for one that did",
        edits: &[(
            "src/systems/management_shell/reached.rs",
            "    if succeeded.contains(&Some(true)) {",
            "    if !succeeded.is_empty() {",
        )],
    },
    Mutant {
        name: "a chat server's address is taken for its name",
        edits: &[(
            "src/domain/serving.rs",
            "    match host_in(address) {",
            "    match Some(address).filter(|a| !a.is_empty() || host_in(a).is_some()) {",
        )],
    },
    Mutant {
        name: "a session is known by its host's whole name only",
        edits: &[(
            "src/domain/serving.rs",
            "    [fqdn, short, &cut].iter().any(",
            "    [fqdn, short, &cut].iter().take(2).any(",
        )],
    },
    Mutant {
        name: "a reference of the topology without an instance names the default one",
        edits: &[(
            "src/steps/findings.rs",
            "        None => name.eq_ignore_ascii_case(host),",
            "        None => name.eq_ignore_ascii_case(host) && instance.is_none(),",
        )],
    },
    Mutant {
        name: "another instance at the port is believed",
        edits: &[(
            "src/steps/findings.rs",
            "    (!is.eq_ignore_ascii_case(named)).then(|| {",
            "    (!is.eq_ignore_ascii_case(named) && false).then(|| {",
        )],
    },
    Mutant {
        name: "a RESTORE of another database is waited for",
        edits: &[(
            "src/systems/sql_server/statements.rs",
            "l.resource_database_id > 4 AND l.resource_database_id <> DB_ID(@P1))",
            "l.resource_database_id < 0 AND l.resource_database_id <> DB_ID(@P1))",
        )],
    },
    Mutant {
        name: "a session's database is asked of a column that 2008 R2 lacks",
        edits: &[(
            "src/systems/sql_server/statements.rs",
            "  AND (p.dbid = DB_ID(@P1) OR r.database_id",
            "  AND (s.database_id = DB_ID(@P1) OR r.database_id",
        )],
    },
    Mutant {
        name: "an empty folder is believed",
        edits: &[
            ("src/domain/lacking.rs", "    if copied.is_empty() {", "    if copied.is_empty() || true {"),
            (
                "src/engine/observe/files.rs",
                "fn lacking(listing: &Result<Listing, Problem>, names: &[String]) -> Vec<String> {",
                "fn lacking(listing: &Result<Listing, Problem>, names: &[String]) -> Vec<String> {\n    let names = &names[..0];",
            ),
        ],
    },
    Mutant {
        name: "a log backup that adds a file is given up",
        edits: &[(
            "src/steps/apply_log_backups.rs",
            "        Ok(moves) if moves.is_empty() => return plain,",
            "        Ok(moves) if moves.is_empty() || true => return plain,",
        )],
    },
    Mutant {
        name: "an added file is put where the live database has it",
        edits: &[(
            "src/domain/database_files.rs",
            "path: format!(\"{folder}{name}\") });",
            "path: file.path.clone() });",
        )],
    },
    Mutant {
        name: "a session in the database is taken for service",
        edits: &[(
            "src/domain/serving.rs",
            "            Pings::Advance => own.any(|address| instance.advancing.contains(address)),",
            "            Pings::Advance => true,",
        )],
    },
    Mutant {
        name: "a master that does not answer is believed, and so is a topology that nobody could read",
        edits: &[
            (
                "src/steps/findings.rs",
                "        Ok(cms) if cms.master_answers.as_ref().and_then(Reading::known) == Some(&false) => {",
                "        Ok(cms) if cms.master_answers.as_ref().and_then(Reading::known).is_some_and(|_| false) => {",
            ),
            (
                "src/steps/findings.rs",
                "        Ok(service) => service,\n        Err(p) => return vec![p.clone()],\n    };\n    let mut found = Vec::new();\n    for side in sides {",
                "        Ok(service) => service,\n        Err(_) => return vec![],\n    };\n    let mut found = Vec::new();\n    for side in sides {",
            ),
        ],
    },
    Mutant {
        name: "a code of Windows is read in English only, of servers that speak as they like",
        edits: &[
            ("src/systems/sql_server/statements.rs", "SET LANGUAGE us_english; SET NOCOUNT", "SET NOCOUNT"),
            (
                "src/systems/sql_server/errors.rs",
                "    match code(message) {",
                "    match code(message).filter(|_| message.contains(\"Operating system error\") || message.contains(\"failed:\")) {",
            ),
        ],
    },
];
