//! What the operator and the command line take of a Management Shell host, and leave there: counted by the lab, whose WinRM keeps a
//! shell until it is deleted or its idle time-out has passed, and holds back what nobody receives.
//!
//! The same by day and by night.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::common;
use crate::common::matrix::until_runs;
use crate::common::scene::{Scene, quick};
use lab::scenario::{Scenario, WinRm};
use lab::world::journal::Outcome;
use psrp::client::{Client, PoolOptions, ShellName};
use psrp::message::Command as Cmdlet;
use serde_json::Value;

const MIRROR: &str = "Install-CsMirrorDatabase";

/// A host that loses its patience as soon as a lab has time for.
fn impatient() -> WinRm {
    WinRm { disconnect_ms: 1_500, idle_second_ms: 25, ..WinRm::default() }
}

/// Of every host: shells that are there, were at most at once, and were made.
fn shells(scene: &Scene) -> Vec<(String, [u64; 3])> {
    let state = scene.lab.state();
    let of = |count: &Value| ["open", "most", "created"].map(|name| count[name].as_u64().unwrap());
    state["shells"].as_object().unwrap().iter().map(|(host, c)| (host.clone(), of(c))).collect()
}

/// How often the operator has looked.
fn looks(scene: &Scene) -> usize {
    scene.lab.journal().iter().filter(|e| e.name == "Get-CsPersistentChatState").count()
}

/// SIGTERM, and the end that follows.
async fn stop(scene: &mut Scene) {
    scene.operator.as_ref().unwrap().signal("TERM");
    let asked = Instant::now();
    while scene.operator.as_mut().unwrap().ended().is_none() {
        assert!(asked.elapsed() < Duration::from_secs(20), "it does not end:\n{}", scene.log_tail());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_are_two_shells_on_a_host_at_most_and_none_when_the_process_has_ended() {
    let mut scene = Scene::ready("shells", Scenario { win_rm: impatient(), ..quick() }).await;
    scene.wait_until_at_rest().await;
    let before = looks(&scene);
    scene.until("looks of an idle operator", || looks(&scene) > before + 30).await;
    for (host, [_, most, _]) in shells(&scene) {
        assert!(most <= 1, "{host}: {most} shells at once of an idle operator");
    }
    // Beside the operator's, and gone with its process.
    for command in ["plan", "survey"] {
        let said = Command::new(env!("CARGO_BIN_EXE_kubectl-pcf"))
            .args([command, "litware", "-n", &scene.namespace])
            .env("KUBECONFIG", common::plane().admin_kubeconfig())
            .envs(scene.lab.operator_env())
            .output()
            .unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        for (host, [open, most, _]) in shells(&scene) {
            assert!(open <= 1 && most <= 2, "{command}, {host}: {open} shells, {most} at most");
        }
    }
    scene.lose().await;
    scene.want(1);
    scene.wait_until_failed_over().await;
    for (host, [_, most, _]) in shells(&scene) {
        assert!(most <= 2, "{host}: {most} shells at once");
    }
    stop(&mut scene).await;
    for (host, [open, ..]) in shells(&scene) {
        assert_eq!(open, 0, "{host}: left behind");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_that_takes_long_is_built_once_by_one_cmdlet_whatever_happens_to_the_operator() {
    let scenario = Scenario { win_rm: impatient(), mirror_ms: 25_000, ..quick() };
    let mut scene = Scene::ready("long_mirror", scenario).await;
    scene.lose().await;
    scene.want(1);
    until_runs(&scene, MIRROR).await;
    for killed in [true, true, false] {
        if killed {
            scene.kill_operator();
        } else {
            stop(&mut scene).await;
        }
        scene.start_operator();
        // Attended again, by a process that found it in the record.
        scene.wait_for_text("MirrorEstablished", "False", "WaitingForCmdlet", "runs since").await;
    }
    scene.wait_until_failed_over().await;
    let runs: Vec<Outcome> =
        scene.lab.journal().into_iter().filter(|e| e.name == MIRROR).map(|e| e.outcome).collect();
    assert_eq!(runs, [Outcome::Ok]);
    stop(&mut scene).await;
    for (host, [open, most, _]) in shells(&scene) {
        assert!(open == 0 && most <= 3, "{host}: {open} left behind, {most} at most with those of the dead");
    }
}

/// A shell that somebody holds on the host of the data centre that is left.
async fn stranger(scene: &Scene, whose: &str) -> Client {
    let endpoint = scene.lab.management_shell(&scene.data_center(1).name).unwrap();
    let name = Some(ShellName::new(whose, uuid::Uuid::new_v4(), false));
    let client =
        Client::connect_with(&endpoint, PoolOptions { name, ..PoolOptions::default() }).await.unwrap();
    is_there(&client).await;
    client
}

async fn is_there(client: &Client) {
    let cmdlet = Cmdlet { name: "Get-CsPersistentChatState".into(), parameters: vec![] };
    assert_eq!(client.invoke(&cmdlet, Duration::from_secs(20)).await.unwrap().objects.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_operator_left_goes_with_the_first_look_of_the_next_one_and_nobody_elses_does() {
    // A host as patient as Windows: what nobody deletes stays for minutes.
    let scenario = Scenario { mirror_ms: 25_000, ..quick() };
    let mut scene = Scene::set("left_shells", scenario).await;
    scene.env.push(("RUST_LOG", "info,psrp=debug"));
    scene.begin().await;
    scene.lose().await;
    scene.want(1);
    until_runs(&scene, MIRROR).await;
    let host = scene.data_center(1).management_shell.clone();
    let count = |scene: &Scene| shells(scene).into_iter().find(|(h, _)| *h == host).unwrap().1;
    let job_and_operator = count(&scene)[0];
    let strangers = [
        stranger(&scene, "persistent-chat-failover operator pcf-another").await,
        stranger(&scene, "persistent-chat-failover kubectl pcf-operator").await,
    ];
    for killed in 1..=3 {
        scene.kill_operator();
        let [_, _, created] = count(&scene);
        scene.start_operator();
        scene.until("a shell of the next one", || count(&scene)[2] > created).await;
        let before = looks(&scene);
        scene.until("looks", || looks(&scene) > before + 1).await;
        assert_eq!(count(&scene)[0], job_and_operator + 2, "killed {killed} times: {:?}", shells(&scene));
    }
    // As many as were left, so none of anybody else's.
    let log = std::fs::read_to_string(scene.log()).unwrap();
    let told = log.lines().filter(|l| l.contains("had left was deleted"));
    let deleted: u64 =
        told.map(|l| serde_json::from_str::<Value>(l).unwrap()["fields"]["shells"].as_u64().unwrap()).sum();
    assert_eq!(deleted, 3);
    scene.wait_until_failed_over().await;
    let runs: Vec<Outcome> =
        scene.lab.journal().into_iter().filter(|e| e.name == MIRROR).map(|e| e.outcome).collect();
    assert_eq!(runs, [Outcome::Ok], "the job's shell was deleted");
    for stranger in strangers {
        stranger.close().await.unwrap();
    }
}
