//! The failover of the whole program, with the Management Shells of both data centres on a real PowerShell: what its cmdlets do is
//! simulated, what the operator speaks with is not.
//!
//! By day (`make test`) it is killed within the mirror step, whose cmdlet lives on in an engine that nobody is connected to; by
//! night (`make night`) within every step. Without an engine these tests say that they are not run; with `PCF_ENGINES_REQUIRED=1`
//! they fail.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::path::Path;

use common::courses::FailoverIn;
use common::matrix::{Row, Staged, killed_while_it_installs_the_mirror, killed_within_each_step};
use lab::scenario::{Dialect, PowerShell};

/// A failover in a world whose Management Shells are engines.
fn on_engines() -> FailoverIn {
    let dialect = Dialect { power_shell: PowerShell::Engine, ..Dialect::default() };
    FailoverIn { name: "on_engines", dialect, standby: false }
}

fn there_is_an_engine() -> bool {
    let found = psrp::engine::for_tests(Path::new("")).expect("an engine is required").is_some();
    if found {
        psrp::engine::driven("failover_on_powershell", 1).unwrap();
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failover_through_a_real_powershell_killed_while_it_installs_the_mirror() {
    if !there_is_an_engine() {
        return;
    }
    let row = Row::begin("failover on engines: kill -9 within Install-CsMirrorDatabase");
    let course = on_engines();
    let staged = Staged::ready(&course, "mirror").await;
    assert!(staged.scene.directory.path().join("management-shell/ask.sock").exists());
    killed_while_it_installs_the_mirror(staged).await;
    row.passed("killed once; the next one took the running cmdlet over");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failover_through_a_real_powershell_killed_within_each_step() {
    if !common::night() || !there_is_an_engine() {
        return;
    }
    killed_within_each_step(&on_engines(), false).await;
}
