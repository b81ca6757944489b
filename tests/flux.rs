//! The resource in the hands of Flux: the real kustomize-controller beside the real API server and the whole program, over a Git repository.
//! source-controller is a stand-in (`common::flux` says what it does). Deadlines are ten times what was measured.
//!
//! By day the first two tests (a failover by commit with everything around it, the example as it stands) and one of the others, which
//! moves from run to run; by night all of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::path::Path;

use common::flux::{FILE, Flux, approve, managers, patch_as, ready, until_wished, wanting, wished, with};
use common::gitops::secrets_and_resource;
use common::matrix::{hold_first, until_held};
use common::scene::{RESOURCE, Scene, begun, not_live_in, quick};
use common::switches::{RECOVER, SET_STATE};
use common::{manifests, night, sample_number};
use lab::scenario::{Authentication, Scenario};
use serde_json::json;

const NOTHING: Vec<String> = vec![];

/// How many tests there are of which one is done by day.
const OTHERS: u64 = 7;

/// Whether one of them is done today.
fn is_due(n: u64) -> bool {
    night() || sample_number() % OTHERS == n
}

/// An object that the operator has not seen is healthy for nobody; the operator makes it so.
async fn nobody_takes_it_for_ready_before_it_was_seen(scene: &mut Scene, flux: &Flux) {
    let commit = flux.repository.head();
    flux.until_waiting_at(&commit).await;
    assert_eq!(scene.object()["status"]["observedGeneration"], -1);
    // Only a wait that goes on can be broken off, and one that has come to an end would have been told.
    flux.reconcile();
    flux.until("the end of a wait", || flux.says("canceling health checks") > 0).await;
    assert_eq!(flux.reconciled(), 0, "somebody took it for healthy");
    scene.start_operator();
    flux.until_ready_at(&commit).await;
    scene.wait_for("Ready", "True", "Active").await;
    scene.wait_for("FailoverReady", "True", "Completed").await;
    scene.wait_until_at_rest().await;
}

/// Flux applies the same again and again: nothing is written, by nobody.
async fn nothing_is_written_while_nothing_changes(scene: &Scene, flux: &Flux) {
    // What is told late (who watches) is told by then.
    flux.until_reconciled(2).await;
    let before = scene.object()["metadata"].take();
    flux.until_reconciled(6).await;
    let after = scene.object()["metadata"].take();
    assert_eq!(before, after);
    assert_eq!(after["generation"], 1);
    let text = |m: [&str; 3]| (m[0].to_string(), m[1].to_string(), m[2].to_string());
    let mut of = managers(scene);
    of.sort();
    assert_eq!(
        of,
        [text(["kustomize-controller", "Apply", ""]), text(["persistent-chat-failover", "Apply", "status"])],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_fails_chat_over_by_a_yes_that_stays_and_flux_is_ready_when_chat_serves_and_no_sooner() {
    let mut scene = Scene::set("flux_failover", quick()).await;
    let (_, resource) = secrets_and_resource(&scene);
    let resource = with(&resource, "policy: {consent: BeforeRecovery}");
    let flux = Flux::beside(&scene, &resource).await;
    nobody_takes_it_for_ready_before_it_was_seen(&mut scene, &flux).await;
    nothing_is_written_while_nothing_changes(&scene, &flux).await;

    scene.lose().await;
    let commit = flux.commit_resource("atlanta is lost", &wanting(&resource, "seattle"));
    until_wished(&scene, "seattle").await;
    // A wait for a human is told by Flux as well, without its time-out.
    scene.wait_for_text("Stalled", "True", "ConsentRequired", "spec.consent").await;
    let message = flux.until_failed_at(&commit, "HealthCheckFailed").await;
    assert!(message.contains(RESOURCE), "{message}");
    hold_first(&scene, &[RECOVER]);
    approve(&scene);
    until_held(&scene, RECOVER).await;
    let consent = scene.object()["spec"]["consent"].take();
    assert!(consent["transition"].is_string(), "{consent}");
    // Flux applies what is in Git while the operator is at work, and knows that it is.
    flux.until_waiting_at(&commit).await;
    assert!(!flux.is_ready_at(&commit));
    scene.let_go();
    flux.until_ready_at(&commit).await;
    // By the lab's own word, at once.
    assert_eq!(not_live_in(&scene.lab, 1), NOTHING);
    flux.until_reconciled(3).await;
    assert_eq!(scene.object()["spec"]["consent"], consent, "Flux has removed it");
    assert!(managers(&scene).iter().any(|(name, ..)| name == "pcf-approve"));
    assert_eq!(scene.times("Failover", "Completed"), 1, "{:?}", scene.history());
}

/// Every file of a folder of the repository, by its name.
fn files(folder: &Path) -> Vec<(String, String)> {
    let read = |e: std::io::Result<std::fs::DirEntry>| {
        let path = e.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        path.is_file().then(|| (name, std::fs::read_to_string(&path).unwrap()))
    };
    std::fs::read_dir(folder).unwrap().filter_map(read).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_is_applied_as_it_stands_and_becomes_ready() {
    // Its namespace is the one that the example names; so is how its Management Shells are logged on to.
    let scenario = Scenario { authentication: Authentication::Negotiate, ..quick() };
    let mut scene = Scene::set("chat", scenario).await;
    scene.plane.kubectl(&["create", "namespace", "flux-system"], None).unwrap();
    let flux = Flux::start(&scene, "flux-system").await;
    scene.apply(&secrets_and_resource(&scene).0);
    let example = manifests().join("examples/gitops/flux");
    for (name, text) in files(&example).iter().filter(|(name, _)| name.ends_with(".yaml")) {
        scene.plane.kubectl(&["apply", "-f", "-"], Some(text)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let forces = text.lines().any(|line| line.trim() == "force: true");
        assert!(!forces, "{name}: it would delete what it cannot change");
    }
    let chat = files(&example.join("chat"));
    let committed: Vec<(String, Option<&str>)> =
        chat.iter().map(|(name, text)| (format!("chat/{name}"), Some(text.as_str()))).collect();
    let committed: Vec<(&str, Option<&str>)> = committed.iter().map(|(n, t)| (n.as_str(), *t)).collect();
    let (_, resource) = chat.iter().find(|(name, _)| name == "litware.yaml").unwrap();
    for field in ["\n  suspend:", "\n  consent:"] {
        assert!(!resource.contains(field), "whoever is called at night could not write {field}");
    }
    scene.start_operator();
    flux.commit("the pool", &committed);
    flux.until_ready_at(&flux.repository.head()).await;
    assert_eq!(not_live_in(&scene.lab, 0), NOTHING);
    // Guarded against a folder that is moved or emptied.
    let uid = scene.object()["metadata"]["uid"].take();
    let other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other, namespace: chat}\n";
    let commit = flux.commit("moved away", &[(FILE, None), ("chat/other.yaml", Some(other))]);
    flux.until_ready_at(&commit).await;
    assert_eq!(scene.object()["metadata"]["uid"], uid);
    assert!(scene.object()["metadata"]["deletionTimestamp"].is_null());
    if !night() {
        return;
    }
    scene.wait_for("FailoverReady", "True", "Completed").await;
    scene.lose().await;
    let commit = flux.commit_resource("back, and atlanta is lost", &wanting(resource, "seattle"));
    flux.until_ready_at(&commit).await;
    assert_eq!(not_live_in(&scene.lab, 1), NOTHING);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_takes_a_failover_back_in_time_is_applied_at_once_and_closes_it() {
    if !is_due(0) {
        return;
    }
    let (mut scene, flux, resource) = ready("flux_taken_back", "").await;
    hold_first(&scene, &["RESTORE LOG"]);
    scene.lose().await;
    let there = flux.commit_resource("atlanta is lost", &wanting(&resource, "seattle"));
    until_held(&scene, "RESTORE LOG").await;
    flux.until_waiting_at(&there).await;
    // Flux would wait for ten minutes; it has the gate.
    let back = flux.revert();
    until_wished(&scene, "atlanta").await;
    scene.let_go();
    scene.until("its end as aborted", || scene.times("Failover", "Aborted") == 1).await;
    assert!(!begun(&scene.lab, 0, RECOVER));
    assert!(!flux.is_ready_at(&back), "chat is lost with atlanta");
    scene.lab.restore("atlanta").await.unwrap();
    flux.until_ready_at(&back).await;
    assert_eq!(not_live_in(&scene.lab, 0), NOTHING);
    assert_eq!(scene.times("Failover", "Completed"), 0, "{:?}", scene.history());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_takes_a_failover_back_too_late_is_refused_and_moves_nothing_afterwards_either() {
    if !is_due(1) {
        return;
    }
    let (mut scene, flux, resource) = ready("flux_too_late", "").await;
    hold_first(&scene, &[SET_STATE]);
    scene.lose().await;
    flux.commit_resource("atlanta is lost", &wanting(&resource, "seattle"));
    until_held(&scene, SET_STATE).await;
    scene.until_no_return().await;
    let back = flux.revert();
    let message = flux.until_failed_at(&back, "ReconciliationFailed").await;
    assert!(message.contains("the database has been recovered"), "{message}");
    assert_eq!(wished(&scene), "seattle");
    scene.let_go();
    // When it has ended, Flux tries once more and is let: a wish against a side that lives.
    scene.wait_for("Stalled", "True", "SourceAlive").await;
    flux.until_failed_at(&back, "HealthCheckFailed").await;
    assert_eq!(not_live_in(&scene.lab, 1), NOTHING);
    scene.wait_until_at_rest().await;
    let before = scene.writes();
    flux.until_reconciled(3).await;
    assert_eq!(scene.writes(), before);
    let truth = flux.commit_resource("seattle it is", &wanting(&resource, "seattle"));
    flux.until_ready_at(&truth).await;
    assert_eq!(not_live_in(&scene.lab, 1), NOTHING);
    let times = |procedure: &str| scene.times(procedure, "Completed");
    assert_eq!((times("Failover"), times("Switch")), (1, 0), "{:?}", scene.history());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_yes_by_commit_counts_and_one_by_kubectl_patch_may_be_gone_before_it_was_seen() {
    if !is_due(2) {
        return;
    }
    let (mut scene, flux, resource) = ready("flux_consent", "policy: {consent: BeforeRecovery}").await;
    scene.lose().await;
    let resource = wanting(&resource, "seattle");
    flux.commit_resource("atlanta is lost", &resource);
    scene.wait_for("Stalled", "True", "ConsentRequired").await;
    let asked = scene.object()["status"]["transition"]["consentNeeded"].take();
    // An operator that is away for a moment; Flux is not.
    scene.operator.as_ref().unwrap().signal("STOP");
    scene.agree(&asked);
    flux.reconcile();
    flux.until("the yes of kubectl to be gone", || scene.object()["spec"]["consent"].is_null()).await;
    scene.operator.as_ref().unwrap().signal("CONT");
    scene.wait_for("Stalled", "True", "ConsentRequired").await;
    assert!(!begun(&scene.lab, 0, RECOVER));
    let text = |key: &str| asked[key].as_str().unwrap().to_string();
    let yes = format!(
        "consent: {{transition: '{}', situation: '{}', by: Ann}}",
        text("transition"),
        text("situation")
    );
    let commit = flux.commit_resource("we have read it", &with(&resource, &yes));
    flux.until_ready_at(&commit).await;
    assert_eq!(not_live_in(&scene.lab, 1), NOTHING);
    assert_eq!(scene.last_failover()["loss"]["acceptedBy"], "Ann");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_in_git_is_stopped_by_hand_under_a_name_of_ones_own_only() {
    if !is_due(3) {
        return;
    }
    let (mut scene, flux, resource) = ready("flux_by_hand", "").await;
    scene.patch(r#"{"suspend":true}"#);
    flux.until("the stop by kubectl to be gone", || scene.object()["spec"]["suspend"] == false).await;
    patch_as(&scene, "night", &json!({"suspend": true}));
    flux.until_reconciled(3).await;
    assert_eq!(scene.object()["spec"]["suspend"], true);
    scene.lose().await;
    let commit = flux.commit_resource("atlanta is lost", &wanting(&resource, "seattle"));
    until_wished(&scene, "seattle").await;
    scene.wait_for("Ready", "False", "Suspended").await;
    scene.assert_nothing_moves().await;
    assert!(!flux.is_ready_at(&commit));
    patch_as(&scene, "night", &json!({"suspend": false}));
    flux.until_ready_at(&commit).await;
    assert_eq!(not_live_in(&scene.lab, 1), NOTHING);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_by_hand_beside_a_suspended_kustomization_stays_if_git_is_told_and_goes_back_if_not() {
    if !is_due(4) {
        return;
    }
    let (scene, flux, resource) = ready("flux_suspended", "policy: {whenActiveAnswers: Switch}").await;
    let by_hand = async |to: usize, times: usize| {
        flux.patch(&json!({"suspend": true}));
        scene.want(to);
        scene.wait_until_ready_in(to).await;
        scene.until("its end", || scene.times("Switch", "Completed") == times).await;
        scene.wait_for("FailoverReady", "True", "Completed").await;
        scene.wait_until_at_rest().await;
        assert_eq!(wished(&scene), scene.data_center(to).name.as_str());
    };
    by_hand(1, 1).await;
    let told = flux.commit_resource("seattle, by hand", &wanting(&resource, "seattle"));
    flux.patch(&json!({"suspend": false}));
    flux.until_ready_at(&told).await;
    flux.until_reconciled(3).await;
    assert_eq!(scene.times("Switch", "Completed"), 1, "{:?}", scene.history());
    // Back to atlanta, and nobody tells Git: what it says is put back, which is a wish as any other.
    by_hand(0, 2).await;
    flux.patch(&json!({"suspend": false}));
    until_wished(&scene, "seattle").await;
    scene.wait_until_ready_in(1).await;
    flux.until_ready_at(&told).await;
    assert_eq!(not_live_in(&scene.lab, 1), NOTHING);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_flux_creates_anew_switches_nothing_whether_the_active_side_lives_or_not() {
    if !is_due(5) {
        return;
    }
    let (mut scene, flux, resource) = ready("flux_anew", "").await;
    let delete = ["delete", "pcf/litware", "--wait=true"];
    flux.patch(&json!({"suspend": true}));
    scene.kubectl(&delete, None);
    let commit = flux.commit_resource("an old one", &wanting(&resource, "seattle"));
    flux.patch(&json!({"suspend": false}));
    scene.until("a new one", || !scene.kubectl(&["get", "pcf", "-o", "name"], None).is_empty()).await;
    let message = scene.wait_for("Stalled", "True", "ActiveDataCenterDrifted").await;
    assert!(message.contains("atlanta is active"), "{message}");
    flux.until_failed_at(&commit, "HealthCheckFailed").await;
    scene.assert_nothing_moves().await;
    // The side that lived falls silent; and one is created beside a side that is silent already.
    scene.lose().await;
    let nobody = "Nobody has asked for this switch";
    scene.wait_for_text("Stalled", "True", "ConsentRequired", nobody).await;
    let uid = scene.object()["metadata"]["uid"].take();
    scene.kubectl(&delete, None);
    // Flux may be waiting for the one that is gone: then it looks when it is told to, or when its time is over.
    flux.reconcile();
    flux.until("another one", || {
        let named = scene.kubectl(&["get", "pcf", "-o", "jsonpath={.items[*].metadata.uid}"], None);
        !named.is_empty() && uid != named.as_str()
    })
    .await;
    scene.wait_for_text("Stalled", "True", "ConsentRequired", nobody).await;
    scene.assert_nothing_moves().await;
    // Until somebody says so, beside Git.
    patch_as(&scene, "night", &json!({"utteredAt": jiff::Timestamp::now().to_string()}));
    flux.until_ready_at(&commit).await;
    assert_eq!(not_live_in(&scene.lab, 1), NOTHING);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_api_server_refuses_touches_nothing_and_the_good_commit_after_it_is_taken() {
    if !is_due(6) {
        return;
    }
    let (scene, flux, resource) = ready("flux_bad_input", "").await;
    scene.wait_until_at_rest().await;
    let version = || scene.object()["metadata"]["resourceVersion"].take();
    let before = version();
    let slips = [("whenever: true", "whenever"), ("policy: {consent: Perhaps}", "Perhaps")];
    for (field, said) in slips {
        let bad = flux.commit_resource("a slip", &with(&resource, field));
        let message = flux.until_failed_at(&bad, "ReconciliationFailed").await;
        assert!(message.contains(said), "{message}");
        assert_eq!(version(), before, "{field}");
        let good = flux.commit_resource("mended", &resource);
        flux.until_ready_at(&good).await;
    }
    // A second one for the same pool: it is told, and the first one is none the worse.
    let second = resource.replace("{name: litware}", "{name: litware-too}");
    assert_ne!(second, resource);
    let commit = flux.commit("twice", &[("chat/too.yaml", Some(&second))]);
    let message = flux.until_failed_at(&commit, "HealthCheckFailed").await;
    assert!(message.contains("litware-too"), "{message}");
    let told = scene.kubectl(&["get", "pcf/litware-too", "-o", "jsonpath={.status.conditions}"], None);
    assert!(told.contains("PoolAlreadyDescribed"), "{told}");
    assert_eq!(scene.condition("Ready").unwrap()["status"], "True");
    let commit = flux.commit("once", &[("chat/too.yaml", None)]);
    flux.until_ready_at(&commit).await;
    assert_eq!(scene.kubectl(&["get", "pcf", "-o", "name"], None).lines().count(), 1);
    scene.assert_nothing_moves().await;
}
