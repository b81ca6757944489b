//! What goes wrong around the resource in the hands of Flux, and what is said of it in docs/gitops.md: an object that Flux takes away,
//! a controller that waits, accounts without rights, what is old and comes back, and the ways there and back that nothing hinders. The real
//! kustomize-controller, as in `flux.rs`.
//!
//! By day one of these and of the other hazards of GitOps, which moves from run to run (`PCF_SAMPLE=n` repeats it); by night all of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::time::{Duration, Instant};

use common::flux::{
    Arguments, BESIDE, FILE, Flux, Told, approve, ready, ready_with, until_ready, until_wished, wanting,
    wished, with,
};
use common::gitops::{self, secrets_and_resource};
use common::matrix::{hold_first, until_held};
use common::returns::{BACKUP, SEED, database, left_behind};
use common::scene::{RESOURCE, Scene, begun, not_live_in, quick, runs};
use common::switches::{RECOVER, SET_STATE};
use lab::sql::Database;
use serde_json::{Value, json};

const NOTHING: Vec<String> = vec![];
const MAY_SWITCH: &str = "policy: {whenActiveAnswers: Switch}";
const ASKS: &str = "policy: {consent: BeforeRecovery}";
const NOBODY: &str = "Nobody has asked for this switch";

/// Whether this one of them is done in this run.
fn is_due(n: u64) -> bool {
    gitops::is_due("flux_hazards", n)
}

/// Which object there is, if there is one.
fn uid(scene: &Scene) -> String {
    scene.kubectl(&["get", "pcf", "-o", "jsonpath={.items[*].metadata.uid}"], None)
}

/// Nothing is written to the pool while Flux goes on applying what it has.
async fn nothing_is_written(scene: &Scene, flux: &Flux) {
    let before = scene.writes();
    flux.until_reconciled(3).await;
    assert_eq!(scene.writes(), before);
}

/// Atlanta is lost and the commit says so; chat serves from seattle. Gives the manifest of that.
async fn failed_over(scene: &mut Scene, flux: &Flux, resource: &str) -> String {
    scene.lose().await;
    let there = wanting(resource, "seattle");
    let commit = flux.commit_resource("atlanta is lost", &there);
    flux.until_ready_at(&commit).await;
    assert_eq!(not_live_in(&scene.lab, 1), NOTHING);
    scene.wait_until_at_rest().await;
    there
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_force_a_revert_that_is_refused_costs_the_object_and_the_failover_goes_on_to_its_end() {
    if !is_due(0) {
        return;
    }
    let (mut scene, flux, resource) = ready("flux_force", MAY_SWITCH).await;
    flux.patch(&json!({"force": true}));
    hold_first(&scene, &[SET_STATE]);
    scene.lose().await;
    let there = wanting(&resource, "seattle");
    flux.commit_resource("atlanta is lost", &there);
    until_held(&scene, SET_STATE).await;
    scene.until_no_return().await;
    let first = uid(&scene);
    let back = flux.revert();
    flux.until("another object", || !["", first.as_str()].contains(&uid(&scene).as_str())).await;
    assert_eq!(wished(&scene), "atlanta");
    scene.let_go();
    // What has been recovered goes on, whatever the new object wishes; and that is nobody's wish, also where a wish would switch.
    let told = scene.wait_for("Stalled", "True", "ActiveDataCenterDrifted").await;
    for part in ["seattle is active", "set spec.activeDataCenter to it", "utteredAt"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(not_live_in(&scene.lab, 1), NOTHING);
    flux.until_failed_at(&back, "HealthCheckFailed").await;
    scene.lab.restore("atlanta").await.unwrap();
    scene.wait_until_at_rest().await;
    nothing_is_written(&scene, &flux).await;
    let truth = flux.commit_resource("seattle it is", &there);
    flux.until_ready_at(&truth).await;
    let times = |procedure: &str| scene.times(procedure, "Completed");
    assert_eq!((times("Failover"), times("Switch")), (1, 0), "{:?}", scene.history());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_force_a_wrong_value_costs_the_object_and_the_failover_stands_still_until_a_good_commit() {
    if !is_due(1) {
        return;
    }
    let told_by_flux = Told::start().await;
    let arguments = Arguments { events: told_by_flux.url(), ..Arguments::default() };
    let (mut scene, flux, resource) = ready_with("flux_force_slip", "", arguments).await;
    flux.patch(&json!({"force": true}));
    hold_first(&scene, &["RESTORE LOG"]);
    scene.lose().await;
    let there = wanting(&resource, "seattle");
    flux.commit_resource("atlanta is lost", &there);
    until_held(&scene, "RESTORE LOG").await;
    let slip = flux.commit_resource("a slip", &with(&there, "policy: {consent: Perhaps}"));
    let told = flux.until_failed_at(&slip, "ReconciliationFailed").await;
    assert!(told.contains("Perhaps"), "{told}");
    flux.until("the object to be gone", || uid(&scene).is_empty()).await;
    scene.let_go();
    let over = || begun(&scene.lab, 0, "RESTORE LOG") && !runs(&scene.lab, "RESTORE LOG");
    scene.until("the end of what ran", over).await;
    // What has ended is written down, and that is the last.
    flux.until_reconciled(2).await;
    nothing_is_written(&scene, &flux).await;
    assert!(!begun(&scene.lab, 0, RECOVER) && uid(&scene).is_empty());
    // Flux says what is wrong with the commit, and not that it has deleted anything.
    let said = told_by_flux.all().iter().map(|e| e["message"].to_string()).collect::<String>();
    assert!(said.contains("Perhaps") && !said.contains("delete"), "{said}");
    // The operator tells what that leaves.
    let told = scene.events().into_iter().find(|(reason, ..)| reason == "ResourceDeleted");
    let (_, note, _) = told.unwrap_or_else(|| panic!("nobody is told: {:#?}", scene.events()));
    for part in [
        "chat.litwareinc.com: ",
        "Failover from atlanta to seattle stands still",
        "activeDataCenter: seattle",
    ] {
        assert!(note.contains(part), "{part}: {note}");
    }
    // A new one that names the side that is left has asked neither for the failover nor for its end.
    let old = flux.commit_resource("all of it taken back", &resource);
    flux.until_failed_at(&old, "HealthCheckFailed").await;
    let told = scene.wait_for("Stalled", "True", "ActiveDataCenterDrifted").await;
    for part in ["A failover to seattle is under way", "set spec.activeDataCenter to it", "utteredAt"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    nothing_is_written(&scene, &flux).await;
    // One that names the side that it goes to goes on with it, and nobody is asked.
    let good = flux.commit_resource("mended", &there);
    flux.until_ready_at(&good).await;
    assert_eq!(not_live_in(&scene.lab, 1), NOTHING);
    assert_eq!(scene.times("Failover", "Completed"), 1, "{:?}", scene.history());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_is_annotated_stays_as_a_hand_has_set_it_until_the_annotation_goes() {
    if !is_due(2) {
        return;
    }
    const LEFT_ALONE: &str = "kustomize.toolkit.fluxcd.io/reconcile";
    let (scene, flux, _) = ready("flux_annotated", MAY_SWITCH).await;
    let annotate =
        |how: &str| scene.kubectl(&["annotate", "pcf/litware", &format!("{LEFT_ALONE}{how}")], None);
    annotate("=disabled");
    scene.want(1);
    scene.wait_until_ready_in(1).await;
    scene.wait_for("FailoverReady", "True", "Completed").await;
    scene.wait_until_at_rest().await;
    flux.until_reconciled(3).await;
    assert_eq!(wished(&scene), "seattle");
    assert_eq!(scene.times("Switch", "Completed"), 1, "{:?}", scene.history());
    // It is Ready for Flux where Git does not want it.
    assert!(flux.is_ready_at(&flux.repository.head()));
    annotate("-");
    until_wished(&scene, "atlanta").await;
    scene.wait_until_ready_in(0).await;
    flux.until_ready_at(&flux.repository.head()).await;
    assert_eq!(not_live_in(&scene.lab, 0), NOTHING);
    assert_eq!(scene.times("Switch", "Completed"), 2, "{:?}", scene.history());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_gate_the_way_back_waits_for_flux_and_the_one_by_hand_does_not() {
    if !is_due(3) {
        return;
    }
    let without = Arguments { gate: false, ..Arguments::default() };
    let (mut scene, flux, resource) = ready_with("flux_no_gate", "", without).await;
    hold_first(&scene, &["RESTORE LOG"]);
    scene.lose().await;
    let there = flux.commit_resource("atlanta is lost", &wanting(&resource, "seattle"));
    until_held(&scene, "RESTORE LOG").await;
    flux.until_waiting_at(&there).await;
    let back = flux.revert();
    flux.reconcile();
    // With the gate it stands in the object in less than half a second.
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        assert_eq!(wished(&scene), "seattle");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // What the documentation says for that night.
    flux.patch(&json!({"suspend": true}));
    scene.want(0);
    scene.let_go();
    scene.until("its end as aborted", || scene.times("Failover", "Aborted") == 1).await;
    assert!(!begun(&scene.lab, 0, RECOVER));
    flux.patch(&json!({"suspend": false}));
    scene.lab.restore("atlanta").await.unwrap();
    flux.until_ready_at(&back).await;
    assert_eq!(wished(&scene), "atlanta");
    assert_eq!(not_live_in(&scene.lab, 0), NOTHING);
    assert_eq!(scene.times("Failover", "Completed"), 0, "{:?}", scene.history());
}

/// An account of Flux's with a role of its own, which may do so much with the resource and what lies beside it.
fn account(scene: &Scene, name: &str, verbs: &str) {
    let namespace = &scene.namespace;
    scene.apply(&format!(
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {name}}}\n---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: {name}}}\nrules:\n\
         - {{apiGroups: [persistentchat.dev], resources: [persistentchatfailovers], verbs: [{verbs}]}}\n\
         - {{apiGroups: [''], resources: [configmaps], verbs: [get, list, watch, create, patch]}}\n---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: {name}}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: {name}}}\n\
         subjects: [{{kind: ServiceAccount, name: {name}, namespace: {namespace}}}]\n"
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_with_five_verbs_suffices_and_one_that_lacks_patch_is_told_and_moves_nothing() {
    if !is_due(4) {
        return;
    }
    let mut scene = Scene::set("flux_account", quick()).await;
    let (_, resource) = secrets_and_resource(&scene);
    let flux = Flux::empty(&scene, Arguments::default()).await;
    account(&scene, "chat-in-git", "get, list, watch, create, patch");
    flux.patch(&json!({"serviceAccountName": "chat-in-git"}));
    flux.commit_pool(&resource);
    until_ready(&mut scene, &flux).await;
    account(&scene, "chat-in-git", "get, list, watch, create");
    scene.lose().await;
    let commit = flux.commit_resource("atlanta is lost", &wanting(&resource, "seattle"));
    let told = flux.until_failed_at(&commit, "ReconciliationFailed").await;
    let who = format!("system:serviceaccount:{}:chat-in-git", scene.namespace);
    for part in [RESOURCE, who.as_str(), "cannot patch resource \"persistentchatfailovers\""] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(wished(&scene), "atlanta");
    scene.assert_nothing_moves().await;
    account(&scene, "chat-in-git", "get, list, watch, create, patch");
    flux.until_ready_at(&commit).await;
    assert_eq!(not_live_in(&scene.lab, 1), NOTHING);
    // It lacks `delete` as well: neither `force` nor a file that is gone costs the object.
    let it = uid(&scene);
    flux.patch(&json!({"force": true}));
    let slip = with(&wanting(&resource, "seattle"), "policy: {consent: Perhaps}");
    let slip = flux.commit_resource("a slip", &slip);
    let forced = flux.until_failed_at(&slip, "ReconciliationFailed").await;
    let gone = flux.commit("tidied away", &[(FILE, None)]);
    let pruned = flux.until_failed_at(&gone, "PruneFailed").await;
    for told in [forced, pruned] {
        assert!(told.contains("cannot delete resource \"persistentchatfailovers\""), "{told}");
    }
    assert_eq!(uid(&scene), it);
}

/// Chat moves to a data centre by a commit, while both live. Flux knows when, and every message is there.
async fn moved_by_commit(scene: &Scene, flux: &Flux, resource: &str, to: usize) {
    hold_first(scene, &[RECOVER]);
    let commit = flux.commit_resource("maintenance", &wanting(resource, &scene.data_center(to).name));
    until_held(scene, RECOVER).await;
    // Closed by the tail of its log: nobody writes there any more.
    let store = |n: usize| -> Database { database(scene, &scene.data_center(n).sql_server) };
    let left = store(1 - to);
    flux.until_waiting_at(&commit).await;
    assert!(!flux.is_ready_at(&commit));
    scene.let_go();
    flux.until_ready_at(&commit).await;
    assert_eq!(not_live_in(&scene.lab, to), NOTHING);
    let there = store(to);
    let messages = &scene.lab.world().now().messages;
    assert!(messages.of(&left).next().is_some(), "nothing that could be lost");
    assert_eq!(messages.rows_lacking(&left, &there), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_switch_chat_there_and_back_while_both_sides_live_and_nothing_is_lost() {
    if !is_due(5) {
        return;
    }
    let (scene, flux, resource) = ready("flux_maintenance", MAY_SWITCH).await;
    for (to, times) in [(1, 1), (0, 2)] {
        moved_by_commit(&scene, &flux, &resource, to).await;
        assert_eq!(scene.times("Switch", "Completed"), times, "{:?}", scene.history());
        scene.wait_for("FailoverReady", "True", "Completed").await;
        scene.wait_until_at_rest().await;
    }
    let history = scene.object()["status"]["history"].take();
    assert!(history.as_array().unwrap().iter().all(|h| h["loss"].is_null()), "{history:#}");
    assert_eq!(scene.times("Failover", "Completed"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_to_go_back_after_a_failover_waits_for_a_yes_to_the_seed_and_then_chat_moves() {
    if !is_due(6) {
        return;
    }
    let (mut scene, flux, resource) = ready("flux_failback", MAY_SWITCH).await;
    failed_over(&mut scene, &flux, &resource).await;
    scene.lab.restore("atlanta").await.unwrap();
    let back = flux.commit_resource("atlanta is back", &resource);
    let told = scene.wait_for("Stalled", "True", "ConsentRequired").await;
    assert!(told.contains("overwritten, saved before"), "{told}");
    flux.until_failed_at(&back, "HealthCheckFailed").await;
    assert!(!begun(&scene.lab, 0, BACKUP) && !begun(&scene.lab, 0, SEED));
    assert_eq!(not_live_in(&scene.lab, 1), NOTHING);
    hold_first(&scene, &[RECOVER]);
    approve(&scene);
    until_held(&scene, RECOVER).await;
    flux.until_waiting_at(&back).await;
    scene.let_go();
    flux.until_ready_at(&back).await;
    assert_eq!(not_live_in(&scene.lab, 0), NOTHING);
    scene.wait_for("FailoverReady", "True", "Completed").await;
    assert_eq!(left_behind(&scene.lab), NOTHING);
    assert_eq!(scene.times("Switch", "Completed"), 1, "{:?}", scene.history());
}

/// The yes to what is asked, as it is committed.
fn yes(asked: &Value) -> String {
    let text = |key: &str| asked[key].as_str().unwrap();
    format!("consent: {{transition: '{}', situation: '{}', by: Ann}}", text("transition"), text("situation"))
}

/// What is asked now.
fn asked(scene: &Scene) -> Value {
    scene.object()["status"]["transition"]["consentNeeded"].take()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_yes_to_a_failover_that_is_over_counts_for_no_other_though_it_stands_in_git() {
    if !is_due(7) {
        return;
    }
    let (mut scene, flux, resource) = ready("flux_old_yes", ASKS).await;
    scene.lose().await;
    let there = wanting(&resource, "seattle");
    flux.commit_resource("atlanta is lost", &there);
    scene.wait_for("Stalled", "True", "ConsentRequired").await;
    let old = asked(&scene);
    // It was no disaster after all; and somebody merges the yes that was prepared for it.
    scene.lab.restore("atlanta").await.unwrap();
    flux.revert();
    scene.until("its end as aborted", || scene.times("Failover", "Aborted") == 1).await;
    let commit = flux.commit_resource("a yes, too late", &with(&resource, &yes(&old)));
    flux.until_ready_at(&commit).await;
    scene.wait_for("FailoverReady", "True", "Completed").await;
    scene.wait_until_at_rest().await;
    scene.lose().await;
    let commit = flux.commit_resource("atlanta is lost", &with(&there, &yes(&old)));
    let told = scene.wait_for("Stalled", "True", "ConsentDoesNotFit").await;
    let new = asked(&scene);
    assert_ne!(old["transition"], new["transition"]);
    let values = ["transition", "situation"].map(|key| format!("{key}: {}", new[key].as_str().unwrap()));
    for part in ["was given for another situation", "BeforeRecovery", &values[0], &values[1]] {
        assert!(told.contains(part), "{part}: {told}");
    }
    flux.until_failed_at(&commit, "HealthCheckFailed").await;
    // What stands in Git is put back, also over a yes of the plugin: an operator that is away for that moment does not see it.
    scene.operator.as_ref().unwrap().signal("STOP");
    approve(&scene);
    flux.reconcile();
    let is_old = || scene.object()["spec"]["consent"]["transition"] == old["transition"];
    flux.until("the old yes to be back", is_old).await;
    scene.operator.as_ref().unwrap().signal("CONT");
    flux.until_reconciled(2).await;
    scene.wait_for("Stalled", "True", "ConsentDoesNotFit").await;
    assert!(!begun(&scene.lab, 0, RECOVER));
    let commit = flux.commit_resource("we have read it", &with(&there, &yes(&new)));
    flux.until_ready_at(&commit).await;
    assert_eq!(not_live_in(&scene.lab, 1), NOTHING);
    assert_eq!(scene.last_failover()["loss"]["acceptedBy"], "Ann");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_that_goes_back_by_a_year_moves_nothing_and_is_told_what_is_true() {
    if !is_due(8) {
        return;
    }
    let (mut scene, flux, resource) = ready("flux_a_year_ago", "").await;
    let there = failed_over(&mut scene, &flux, &resource).await;
    let since = scene.writes();
    // All of it as it stood before: what has come since is gone as well.
    let old = flux.commit("as a year ago", &[(FILE, Some(&resource)), (BESIDE, None)]);
    let told = scene.wait_for("Stalled", "True", "SourceAlive").await;
    for part in ["seattle", "spec.activeDataCenter"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    flux.until_failed_at(&old, "HealthCheckFailed").await;
    // Older still: with a field that the resource does not have any more.
    let older = flux.commit_resource("and older", &with(&resource, "autoFailover: true"));
    let refused = flux.until_failed_at(&older, "ReconciliationFailed").await;
    for part in [RESOURCE, "autoFailover"] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    flux.until_reconciled(3).await;
    assert_eq!(scene.writes(), since);
    assert_eq!(not_live_in(&scene.lab, 1), NOTHING);
    let truth = flux.commit_resource("what is true", &there);
    flux.until_ready_at(&truth).await;
    assert_eq!(scene.writes(), since);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_was_pruned_switches_nothing_and_one_that_comes_back_asks_first() {
    if !is_due(9) {
        return;
    }
    let (mut scene, flux, resource) = ready("flux_pruned", "").await;
    let gone = flux.commit("tidied away", &[(FILE, None)]);
    flux.until_ready_at(&gone).await;
    assert_eq!(uid(&scene), "");
    scene.assert_nothing_moves().await;
    // Nobody watches the pool: that its active side falls silent is seen by nobody.
    scene.lose().await;
    scene.assert_nothing_moves().await;
    let commit = flux.commit_resource("back again", &wanting(&resource, "seattle"));
    scene.until("an object", || !uid(&scene).is_empty()).await;
    scene.wait_for_text("Stalled", "True", "ConsentRequired", NOBODY).await;
    flux.until_failed_at(&commit, "HealthCheckFailed").await;
    scene.assert_nothing_moves().await;
    approve(&scene);
    flux.until_ready_at(&commit).await;
    assert_eq!(not_live_in(&scene.lab, 1), NOTHING);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kustomization_that_is_deleted_leaves_an_annotated_object_and_its_failover_goes_on() {
    if !is_due(11) {
        return;
    }
    let mut scene = Scene::set("flux_deleted", quick()).await;
    let (_, resource) = secrets_and_resource(&scene);
    let stays = "{name: litware, annotations: {kustomize.toolkit.fluxcd.io/prune: disabled}}";
    let resource = resource.replace("{name: litware}", stays);
    assert!(resource.contains(stays), "{resource}");
    let flux = Flux::beside(&scene, &resource).await;
    until_ready(&mut scene, &flux).await;
    hold_first(&scene, &["RESTORE LOG"]);
    scene.lose().await;
    let there = flux.commit_resource("atlanta is lost", &wanting(&resource, "seattle"));
    until_held(&scene, "RESTORE LOG").await;
    flux.until_waiting_at(&there).await;
    flux.kubectl(&["delete", "kustomization/chat", "--wait=false"]);
    scene.let_go();
    scene.wait_until_failed_over().await;
    let left = || {
        scene.kubectl(
            &["get", "kustomization/chat", "configmap/contact", "--ignore-not-found", "-o", "name"],
            None,
        )
    };
    // What bears no annotation goes with it.
    scene.until("its end", || left().is_empty()).await;
    assert_eq!(wished(&scene), "seattle");
    assert!(scene.object()["metadata"]["deletionTimestamp"].is_null());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_of_flux_that_is_too_short_fails_and_the_failover_goes_on_and_is_ready_afterwards() {
    if !is_due(12) {
        return;
    }
    let (mut scene, flux, resource) = ready("flux_impatient", "").await;
    // The least that Flux takes.
    flux.patch(&json!({"timeout": "30s"}));
    hold_first(&scene, &["RESTORE LOG"]);
    scene.lose().await;
    let there = flux.commit_resource("atlanta is lost", &wanting(&resource, "seattle"));
    until_held(&scene, "RESTORE LOG").await;
    // In which words is not certain: "timeout waiting for" the resource, or what its client could not ask any more.
    flux.until_failed_at(&there, "HealthCheckFailed").await;
    assert!(scene.condition("Stalled").is_none_or(|c| c["status"] == "False"), "no human is needed");
    scene.let_go();
    flux.until_ready_at(&there).await;
    assert_eq!(not_live_in(&scene.lab, 1), NOTHING);
    assert_eq!(scene.times("Failover", "Completed"), 1, "{:?}", scene.history());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_flux_tells_of_a_failure_names_the_pool_and_the_operators_own_event_says_why() {
    if !is_due(10) {
        return;
    }
    let told = Told::start().await;
    let arguments = Arguments { events: told.url(), ..Arguments::default() };
    let (mut scene, flux, resource) = ready_with("flux_told", ASKS, arguments).await;
    scene.lose().await;
    let there = wanting(&resource, "seattle");
    let commit = flux.commit_resource("atlanta is lost", &there);
    flux.until_failed_at(&commit, "HealthCheckFailed").await;
    let reason =
        |e: &Value, reason: &str| e["reason"] == reason && e["metadata"].to_string().contains(&commit);
    scene.until("word of it", || told.all().iter().any(|e| reason(e, "HealthCheckFailed"))).await;
    approve(&scene);
    flux.until_ready_at(&commit).await;
    scene.until("word of its end", || told.all().iter().any(|e| reason(e, "ReconciliationSucceeded"))).await;
    let slip = flux.commit_resource("a slip", &with(&there, "whenever: true"));
    flux.until_failed_at(&slip, "ReconciliationFailed").await;
    let failed = || told.all().into_iter().filter(|e| e["severity"] == "error").collect::<Vec<_>>();
    scene
        .until("word of the slip", || failed().iter().any(|e| e["message"].to_string().contains("whenever")))
        .await;
    for event in told.all() {
        println!("{} {}: {}", event["severity"], event["reason"], event["message"].as_str().unwrap());
    }
    let named = format!("PersistentChatFailover/{}/{RESOURCE}", scene.namespace);
    for event in failed() {
        assert!(event["message"].as_str().unwrap().contains(&named), "{event:#}");
    }
    // Why, and what to do, stands in the resource and in the operator's own event about it.
    let why = scene.kubectl(&["events", "--for", "pcf/litware"], None);
    let why = why.lines().find(|line| line.contains("ConsentRequired")).unwrap_or_else(|| panic!("{why}"));
    assert!(why.contains("Warning") && why.contains("spec.consent"), "{why}");
}
