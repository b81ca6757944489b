//! The simulated SQL Server against Microsoft's own driver, in every version: what the driver takes for granted of a server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::process::Command;

use lab::scenario::{Dialect, Scenario, SqlServerVersion};
use lab::serve::Lab;

/// How many checks there are.
const CHECKS: &str = "18 ok, 0 failed";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn microsofts_driver_finds_a_server_in_every_version() {
    let Some(run) = psrp::engine::runner_for_tests("driver").expect("the driver is required") else { return };
    for sql_server in SqlServerVersion::ALL {
        let directory = tempfile::tempdir().unwrap();
        let dialect = Dialect { sql_server, ..Dialect::default() };
        let lab = Lab::start(Scenario { dialect, ..Scenario::default() }, directory.path()).await.unwrap();
        let description = directory.path().join("lab.json");
        let resource = directory.path().join("resource.yaml");
        std::fs::write(&description, lab.description(None, &resource, &lab.operator_env()).to_string())
            .unwrap();
        let mut driver = Command::new(&run);
        driver.arg("sqlclient").arg(&description);
        let out = tokio::task::block_in_place(|| driver.output()).unwrap();
        let said =
            format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success(), "{sql_server:?}: {said}");
        assert!(said.contains(CHECKS), "{sql_server:?}: {said}");
        println!("{}: {CHECKS}", sql_server.product_version());
        let told = format!("{}: {CHECKS}", sql_server.product_version());
        psrp::engine::driven_and_told("driver", 18, &told).unwrap();
    }
}
