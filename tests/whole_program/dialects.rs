//! A whole failover against servers of several versions, languages and layouts, each killed once within the mirror step. The servers are
//! SIMULATED; what differs between them is what their documents and recordings say.
//!
//! By day (`make test`) one row, which moves from run to run (`PCF_SAMPLE=n` repeats one), by night (`make night`) all of them. Success is
//! read from the lab.

use crate::common::courses::FailoverIn;
use crate::common::matrix::{Row, Staged, killed_while_it_installs_the_mirror};
use crate::common::{night, sample_number};
use lab::scenario::{Dialect, Language, PowerShell, SqlServerVersion};

fn rows() -> Vec<(&'static str, FailoverIn)> {
    let usual = Dialect::default();
    let row = |what, name, standby, dialect| (what, FailoverIn { name, dialect, standby });
    use Language::{English, French, German};
    vec![
        row(
            "2008 R2, PowerShell 4, French, STANDBY, long host names",
            "dialect_2008r2",
            true,
            Dialect {
                sql_server: SqlServerVersion::V2008R2,
                power_shell: PowerShell::V4,
                language: French,
                long_host_names: true,
                ..usual
            },
        ),
        row(
            "2012, PowerShell 4, German, three Front Ends",
            "dialect_2012",
            false,
            Dialect {
                sql_server: SqlServerVersion::V2012,
                power_shell: PowerShell::V4,
                language: German,
                front_ends: 3,
                ..usual
            },
        ),
        row(
            "2014, English, default instances",
            "dialect_2014",
            false,
            Dialect {
                sql_server: SqlServerVersion::V2014,
                language: English,
                named_instances: false,
                ..usual
            },
        ),
        row(
            "2019, French, NORECOVERY",
            "dialect_2019",
            false,
            Dialect { sql_server: SqlServerVersion::V2019, language: French, ..usual },
        ),
        row(
            "2022, German",
            "dialect_2022",
            false,
            Dialect { sql_server: SqlServerVersion::V2022, language: German, ..usual },
        ),
    ]
}

async fn fails_over_in(what: &str, course: FailoverIn) {
    let row = Row::begin(format!("failover, {what}: kill -9 within Install-CsMirrorDatabase"));
    killed_while_it_installs_the_mirror(Staged::ready(&course, "mirror").await).await;
    row.passed("killed once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failover_in_every_dialect() {
    let mut rows = rows();
    if !night() {
        let today = usize::try_from(sample_number()).unwrap_or(0) % rows.len();
        rows = vec![rows.swap_remove(today)];
    }
    for (what, course) in rows {
        fails_over_in(what, course).await;
    }
}
