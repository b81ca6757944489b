//! The failover of the whole program, with the Management Shells of both data centres on a real PowerShell: what its cmdlets do is
//! simulated, what the operator speaks with is not.
//!
//! By day (`make test`) it is killed within the mirror step, whose cmdlet lives on in an engine that nobody is connected to; by
//! night (`make night`) within every step. Without an engine these tests say that they are not run; with `PCF_ENGINES_REQUIRED=1`
//! they fail.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::path::Path;

use common::courses::Failover;
use common::matrix::{AtWork, Course, Row, Staged, killed_within_each_step, until_runs};
use common::scene::Scene;
use lab::scenario::{Dialect, PowerShell, Scenario};
use lab::serve::Lab;
use serde_json::Value;

/// A failover in a world whose Management Shells are engines.
#[derive(Clone, Copy)]
struct OnEngines;

impl Course for OnEngines {
    fn name(&self) -> &'static str {
        "on_engines"
    }
    fn scenario(&self) -> Scenario {
        Scenario {
            dialect: Dialect { power_shell: PowerShell::Engine, ..Dialect::default() },
            ..Failover.scenario()
        }
    }
    async fn make_ready(&self, scene: &mut Scene) {
        Failover.make_ready(scene).await;
    }
    async fn begin(&self, scene: &mut Scene) {
        Failover.begin(scene).await;
    }
    fn active_at_the_end(&self) -> usize {
        Failover.active_at_the_end()
    }
    fn unfinished(&self, lab: &Lab, since: usize) -> Vec<String> {
        Failover.unfinished(lab, since)
    }
    fn once(&self) -> (&'static [&'static str], usize) {
        Failover.once()
    }
    fn detached(&self) -> &'static [&'static str] {
        Failover.detached()
    }
    fn early(&self) -> &'static str {
        Failover.early()
    }
    fn gravest(&self) -> &'static str {
        Failover.gravest()
    }
    fn moments(&self) -> Vec<AtWork> {
        Failover.moments()
    }
    fn record_says(&self, document: &Value) -> Vec<String> {
        Failover.record_says(document)
    }
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
    const MIRROR: &str = "Install-CsMirrorDatabase";
    if !there_is_an_engine() {
        return;
    }
    let row = Row::begin(format!("failover on engines: kill -9 within {MIRROR}"));
    let mut staged = Staged::ready(&OnEngines, "mirror").await;
    assert!(staged.scene.directory.path().join("management-shell/ask.sock").exists());
    staged.begin().await;
    until_runs(&staged.scene, MIRROR).await;
    staged.scene.kill_operator();
    staged.scene.start_operator();
    staged.until_complete().await;
    row.passed("killed once; the next one took the running cmdlet over");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failover_through_a_real_powershell_killed_within_each_step() {
    if !common::night() || !there_is_an_engine() {
        return;
    }
    killed_within_each_step(&OnEngines, false).await;
}
