//! Argo CD itself over the whole program on a real API server: with what `examples/gitops/argocd` holds, and nothing else
//! (`common::argocd`). By night only: Argo CD takes minutes to build. Each story is told in a network and on a control plane of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use common::argocd::{APPLICATION, Argo, in_a_network_of_its_own, refuses, resource};
use common::flux::{Flux, approve, managers};
use common::matrix::{hold_first, until_held};
use common::returns::question;
use common::scene::{RESOURCE, Scene, not_live_in, quick};
use common::switches::{RECOVER, SET_SERVERS, beside};
use serde_json::{Value, json};

const NOTHING: Vec<String> = vec![];

#[test]
fn chat_follows_git_and_argo_cd_says_what_the_operator_says() {
    in_a_network_of_its_own("chat_follows_git_and_argo_cd_says_what_the_operator_says", followed);
}

#[test]
fn a_commit_fails_chat_over_by_a_yes_that_stays_and_another_one_brings_it_back() {
    let test = "a_commit_fails_chat_over_by_a_yes_that_stays_and_another_one_brings_it_back";
    in_a_network_of_its_own(test, there_and_back);
}

#[test]
fn what_is_made_anew_from_an_old_commit_moves_nothing_whether_the_active_side_lives_or_not() {
    let test = "what_is_made_anew_from_an_old_commit_moves_nothing_whether_the_active_side_lives_or_not";
    in_a_network_of_its_own(test, made_anew);
}

#[test]
fn slips_and_a_second_description_of_the_pool_leave_the_first_one_as_it_is() {
    let test = "slips_and_a_second_description_of_the_pool_leave_the_first_one_as_it_is";
    in_a_network_of_its_own(test, slips);
}

#[test]
fn a_second_application_for_the_resource_moves_nothing_and_is_told() {
    in_a_network_of_its_own("a_second_application_for_the_resource_moves_nothing_and_is_told", shared);
}

#[test]
fn flux_and_argo_cd_over_one_object_write_nothing_while_nothing_changes() {
    let test = "flux_and_argo_cd_over_one_object_write_nothing_while_nothing_changes";
    in_a_network_of_its_own(test, both_idle);
}

/// The manifest with another data centre to be active.
fn wanting(resource: &Value, scene: &Scene, n: usize) -> Value {
    let mut other = resource.clone();
    other["spec"]["activeDataCenter"] = json!(scene.data_center(n).name);
    other
}

/// Argo CD with the Application of the examples, whose resource came by a commit and is healthy, and at rest. The commit.
async fn ready(scene: &mut Scene, wanted: &Value) -> (Argo, String) {
    scene.start_operator();
    let argo = Argo::start(scene);
    let first = argo.git.commit(Some(wanted));
    argo.apply_application(APPLICATION, &[]);
    println!("created and healthy after {:?}", argo.until_healthy(&first).await);
    scene.wait_for("FailoverReady", "True", "Completed").await;
    scene.wait_until_at_rest().await;
    argo.until_healthy(&first).await;
    (argo, first)
}

/// What must stay as it is while nobody does anything.
fn marks(scene: &Scene, argo: &Argo) -> (Value, Value, Value) {
    let status = &argo.application()["status"];
    let version = scene.object()["metadata"]["resourceVersion"].clone();
    (version, status["history"].clone(), status["operationState"]["finishedAt"].clone())
}

async fn followed() {
    let mut scene = Scene::set("argo_cd", beside(1, quick())).await;
    let wanted = resource(&scene);
    let in_the_other = wanting(&wanted, &scene, 1);
    let (argo, first) = ready(&mut scene, &wanted).await;

    stays_idle(&scene, &argo).await;
    an_edit_is_undone(&scene, &argo, &first).await;
    a_bad_commit_and_a_good_one(&scene, &argo, &wanted, &in_the_other).await;
    a_revert_that_is_refused_switches_back_later(&scene, &argo, &wanted, &in_the_other).await;
    let last = by_hand_and_git_is_told(&scene, &argo, &wanted).await;
    deleted_it_is_made_again(&scene, &argo, &last).await;
    nothing_is_pruned(&scene, &argo).await;
}

/// Argo CD looks again and again, and neither it nor the operator writes anything.
async fn stays_idle(scene: &Scene, argo: &Argo) {
    let (before, begun) = (marks(scene, argo), Instant::now());
    let mut looks = BTreeSet::new();
    while looks.len() < 4 {
        assert!(begun.elapsed() < Duration::from_secs(180), "it looks no more: {looks:?}");
        looks.insert(argo.application()["status"]["reconciledAt"].to_string());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(marks(scene, argo), before, "after {looks:?}");
    println!("idle for {:?}, {} looks: nothing was written", begun.elapsed(), looks.len());
}

/// What somebody edits by hand is set back, and chat stays where it is.
async fn an_edit_is_undone(scene: &Scene, argo: &Argo, commit: &str) {
    let generation = scene.object()["metadata"]["generation"].as_i64().unwrap();
    scene.want(1);
    let undone = || {
        let o = scene.object();
        let back = o["spec"]["activeDataCenter"] == scene.data_center(0).name.as_str();
        back && o["metadata"]["generation"].as_i64() >= Some(generation + 2)
    };
    let begun = Instant::now();
    scene.until("the edit is undone", undone).await;
    println!("an edit is undone after {:?}", begun.elapsed());
    scene.wait_until_ready_in(0).await;
    scene.wait_until_at_rest().await;
    argo.until_healthy(commit).await;
    assert_eq!(not_live_in(&scene.lab, 0), NOTHING);
    assert_eq!(scene.times("Switch", "Completed"), 0, "{:?}", scene.history());
}

/// A commit that is refused changes nothing and holds nothing up; the next one switches, and is shown as it is.
async fn a_bad_commit_and_a_good_one(scene: &Scene, argo: &Argo, before: &Value, after: &Value) {
    let generation = scene.object()["metadata"]["generation"].clone();
    let mut bad = before.clone();
    bad["spec"]["activeDataCenter"] = json!("nowhere");
    let refused = argo.push(Some(&bad));
    argo.until("the bad commit is refused", |a| refuses(a, &refused, "")).await;
    assert_eq!(scene.object()["metadata"]["generation"], generation);
    assert_eq!(scene.condition("Ready").unwrap()["status"], "True");

    hold_first(scene, &[RECOVER]);
    let begun = Instant::now();
    let good = argo.push(Some(after));
    let arrived = || scene.object()["spec"]["activeDataCenter"] == after["spec"]["activeDataCenter"];
    scene.until("the good commit arrives", arrived).await;
    println!("after a bad commit the good one arrives within {:?}", begun.elapsed());
    until_held(scene, RECOVER).await;
    argo.until("Progressing", |a| a["status"]["health"]["status"] == "Progressing").await;
    scene.let_go();
    scene.wait_until_ready_in(1).await;
    println!("switched and healthy {:?} after that", argo.until_healthy(&good).await);
    assert_switched(scene, 1, 1).await;
}

/// Chat is in a data centre, at rest, after so many switches.
async fn assert_switched(scene: &Scene, n: usize, times: usize) {
    scene.wait_until_ready_in(n).await;
    scene.wait_until_at_rest().await;
    assert_eq!(not_live_in(&scene.lab, n), NOTHING);
    assert_eq!(scene.times("Switch", "Completed"), times, "{:?}", scene.history());
}

/// Past the point of no return a revert is refused; it is tried again until the transition is over, and is a new wish then.
async fn a_revert_that_is_refused_switches_back_later(scene: &Scene, argo: &Argo, to: &Value, back: &Value) {
    hold_first(scene, &[SET_SERVERS]);
    argo.push(Some(to));
    until_held(scene, SET_SERVERS).await;
    scene.until_no_return().await;
    let reverted = argo.push(Some(back));
    argo.until("the revert is refused", |a| refuses(a, &reverted, "can only go on")).await;
    scene.let_go();
    let begun = Instant::now();
    argo.until_healthy(&reverted).await;
    println!("a revert that was refused has switched back {:?} after the way was free", begun.elapsed());
    assert_switched(scene, 1, 3).await;
}

/// As docs/gitops.md says it: Argo CD is told to leave it alone, chat is switched, Git is told, and Argo CD goes on.
async fn by_hand_and_git_is_told(scene: &Scene, argo: &Argo, wanted: &Value) -> String {
    argo.automated(false);
    scene.want(0);
    assert_switched(scene, 0, 4).await;
    let differs = |a: &Value| a["status"]["sync"]["status"] == "OutOfSync";
    argo.until("it sees what it does not undo", differs).await;
    let told = argo.push(Some(wanted));
    argo.until_healthy(&told).await;
    argo.automated(true);
    argo.refresh();
    stays_idle(scene, argo).await;
    assert_switched(scene, 0, 4).await;
    told
}

/// Deleted by hand it is made again, without its status; chat stays where it is.
async fn deleted_it_is_made_again(scene: &Scene, argo: &Argo, commit: &str) {
    let uid = scene.object()["metadata"]["uid"].clone();
    let name = format!("pcf/{RESOURCE}");
    scene.kubectl(&["delete", &name], None);
    let get = ["get", &name, "--ignore-not-found", "-o", "jsonpath={.metadata.uid}"];
    let anew = || {
        let now = scene.kubectl(&get, None);
        !now.is_empty() && now != uid.as_str().unwrap()
    };
    scene.until("it is made again", anew).await;
    scene.wait_until_ready_in(0).await;
    argo.until_healthy(commit).await;
    assert_eq!(not_live_in(&scene.lab, 0), NOTHING);
}

/// Neither without its file nor without its Application it is deleted.
async fn nothing_is_pruned(scene: &Scene, argo: &Argo) {
    let uid = scene.object()["metadata"]["uid"].clone();
    let without = argo.push(None);
    let seen = |a: &Value| {
        a["status"]["sync"]["revision"] == without.as_str() && a["status"]["sync"]["status"] == "OutOfSync"
    };
    argo.until("the file is gone", seen).await;
    assert_eq!(scene.object()["metadata"]["uid"], uid);
    argo.kubectl(&["delete", "applications.argoproj.io", APPLICATION], None);
    assert_eq!(scene.object()["metadata"]["uid"], uid);
    assert_eq!(scene.condition("Ready").unwrap()["status"], "True");
    assert_eq!(not_live_in(&scene.lab, 0), NOTHING);
}

async fn there_and_back() {
    let mut scene = Scene::set("argo_failover", quick()).await;
    let mut wanted = resource(&scene);
    wanted["spec"]["policy"]["consent"] = json!("BeforeRecovery");
    let (argo, _) = ready(&mut scene, &wanted).await;
    let there = wanting(&wanted, &scene, 1);
    fails_over_by_a_yes(&mut scene, &argo, &there).await;
    comes_back(&mut scene, &argo, &wanted).await;
}

/// Chat is lost, and a commit brings it up on the other side. It asks first, and Argo CD leaves the answer alone.
async fn fails_over_by_a_yes(scene: &mut Scene, argo: &Argo, wanted: &Value) {
    hold_first(scene, &["RESTORE LOG"]);
    scene.lose().await;
    let witness = argo.witness();
    let commit = argo.push(Some(wanted));
    until_held(scene, "RESTORE LOG").await;
    argo.until_says("Progressing", "Failover from atlanta to seattle").await;
    scene.let_go();
    let message = argo.until_says("Degraded", "spec.consent").await;
    let asked = scene.object()["status"]["transition"]["consentNeeded"].take();
    for part in ["transition", "situation"] {
        assert!(message.contains(asked[part].as_str().unwrap()), "{part} of {asked} is not in: {message}");
    }
    hold_first(scene, &[RECOVER]);
    approve(scene);
    until_held(scene, RECOVER).await;
    argo.until_says("Progressing", "Failover from atlanta to seattle").await;
    let consent = scene.object()["spec"]["consent"].take();
    assert!(consent["transition"].is_string(), "{consent}");
    argo.until_looked(3).await;
    assert_eq!(scene.object()["spec"]["consent"], consent, "Argo CD has taken it away");
    scene.let_go();
    argo.until_healthy(&commit).await;
    // By the lab's own word, at once.
    assert_eq!(not_live_in(&scene.lab, 1), NOTHING);
    argo.until_says("Healthy", "Not ready for a failover").await;
    argo.until_looked(3).await;
    assert_eq!(scene.object()["spec"]["consent"], consent, "Argo CD has taken it away");
    assert!(managers(scene).iter().any(|(name, ..)| name == "pcf-approve"));
    assert_eq!(scene.times("Failover", "Completed"), 1, "{:?}", scene.history());
    assert_eq!(witness.healths(&commit), ["Progressing", "Degraded", "Progressing", "Healthy"]);
}

/// The side that was lost is there again, and chat is wanted back on it: by a yes to what is overwritten there, and one to the switch.
async fn comes_back(scene: &mut Scene, argo: &Argo, wanted: &Value) {
    let back = scene.data_center(0).name.clone();
    scene.lab.restore(&back).await.unwrap();
    question(scene).await;
    argo.until_says("Healthy", "overwritten").await;
    assert_eq!(not_live_in(&scene.lab, 1), NOTHING);
    let witness = argo.witness();
    let commit = argo.push(Some(wanted));
    let mut agreed = BTreeSet::new();
    let begun = Instant::now();
    while witness.healths(&commit).last().is_none_or(|health| health != "Healthy") {
        assert!(begun.elapsed() < Duration::from_secs(150), "{:#}", scene.object()["status"]);
        let asked = scene.object()["status"]["transition"]["consentNeeded"].take();
        let fresh = asked["situation"].as_str().is_some_and(|s| !agreed.contains(s));
        if fresh {
            argo.until_says("Degraded", asked["situation"].as_str().unwrap()).await;
            agreed.insert(approve(scene)["situation"].as_str().unwrap().to_string());
        }
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    assert_eq!(not_live_in(&scene.lab, 0), NOTHING);
    let shown = witness.healths(&commit);
    assert_eq!(shown.iter().filter(|health| *health == "Healthy").count(), 1, "{shown:?}");
    println!("chat is back {:?} after the commit, by {} yes; {shown:?}", begun.elapsed(), agreed.len());
    assert_switched(scene, 0, 1).await;
}

/// Chat was switched by hand, and Git was not told: it names the side that was active once.
async fn made_anew() {
    let mut scene = Scene::set("argo_anew", beside(1, quick())).await;
    let wanted = resource(&scene);
    let (argo, commit) = ready(&mut scene, &wanted).await;
    let saved = scene.object();
    argo.automated(false);
    scene.want(1);
    assert_switched(&scene, 1, 1).await;
    scene.wait_for("FailoverReady", "True", "Completed").await;

    restored_with_its_status(&mut scene, &argo, &saved).await;
    let writes = scene.writes();
    scene.kubectl(&["delete", &format!("pcf/{RESOURCE}")], None);
    argo.automated(true);
    argo.refresh();
    scene.until("it is made anew", || is_there(&scene)).await;
    drifted(&argo).await;
    argo.until_looked(3).await;
    assert_eq!(scene.writes(), writes);
    assert_eq!(not_live_in(&scene.lab, 1), NOTHING);

    // The side that lived falls silent; and one is made beside a side that is silent already.
    scene.lose_data_center(1).await;
    nobody_has_asked(&scene, &argo).await;
    let uid = scene.object()["metadata"]["uid"].take();
    scene.kubectl(&["delete", &format!("pcf/{RESOURCE}")], None);
    scene.until("another one", || is_there(&scene) && scene.object()["metadata"]["uid"] != uid).await;
    nobody_has_asked(&scene, &argo).await;
    assert_eq!(scene.writes(), writes);

    // Until somebody says so. Git does not hold that field, and Argo CD leaves it.
    let now = jiff::Timestamp::now().to_string();
    scene.patch(&json!({ "utteredAt": now }).to_string());
    argo.until_healthy(&commit).await;
    assert_eq!(not_live_in(&scene.lab, 0), NOTHING);
    argo.until_looked(2).await;
    assert_eq!(scene.object()["spec"]["utteredAt"], now);
}

fn is_there(scene: &Scene) -> bool {
    !scene.kubectl(&["get", "pcf", "-o", "name"], None).is_empty()
}

/// The cluster is restored from before the switch: the object as it was, with what its status said then.
async fn restored_with_its_status(scene: &mut Scene, argo: &Argo, saved: &Value) {
    let writes = scene.writes();
    // Nobody sees it half restored.
    scene.kill_operator();
    scene.kubectl(&["delete", &format!("pcf/{RESOURCE}")], None);
    let mut object = saved.clone();
    for of_the_old_one in ["uid", "resourceVersion", "creationTimestamp", "managedFields", "generation"] {
        object["metadata"].as_object_mut().unwrap().remove(of_the_old_one);
    }
    scene.kubectl(&["create", "-f", "-"], Some(&object.to_string()));
    let status = json!({"status": saved["status"]}).to_string();
    let name = format!("pcf/{RESOURCE}");
    scene.kubectl(&["patch", &name, "--subresource=status", "--type=merge", "-p", &status], None);
    scene.start_operator();
    argo.automated(true);
    argo.refresh();
    drifted(argo).await;
    argo.until_looked(3).await;
    assert_eq!(scene.writes(), writes);
    assert_eq!(not_live_in(&scene.lab, 1), NOTHING);
    argo.automated(false);
}

async fn drifted(argo: &Argo) {
    let message = argo.until_says("Degraded", "is active").await;
    assert!(message.contains("seattle"), "{message}");
}

/// The wish that nobody has uttered asks for a yes, and nothing is done meanwhile.
async fn nobody_has_asked(scene: &Scene, argo: &Argo) {
    let writes = scene.writes();
    let nobody = "Nobody has asked for this switch";
    scene.wait_for_text("Stalled", "True", "ConsentRequired", nobody).await;
    argo.until_says("Degraded", nobody).await;
    argo.until_looked(3).await;
    assert_eq!(scene.writes(), writes);
}

/// What the API server would not take touches nothing, and the next good commit is shown as healthy.
async fn slips() {
    let mut scene = Scene::set("argo_slips", quick()).await;
    let wanted = resource(&scene);
    let (argo, _) = ready(&mut scene, &wanted).await;
    let before = scene.object();
    // It does not come to a sync: Argo CD itself knows the schema.
    let mut unknown = wanted.clone();
    unknown["spec"]["whenever"] = json!(true);
    let bad = argo.push(Some(&unknown));
    argo.until("the unknown field is told", |a| {
        cannot_compare(a, &bad, ".spec.whenever: field not declared in schema")
    })
    .await;
    assert_eq!(argo.application()["status"]["sync"]["status"], "Unknown");
    argo.until_looked(2).await;
    assert_eq!(scene.object(), before);
    argo.until_healthy(&argo.push(Some(&wanted))).await;

    let mut wrong = wanted.clone();
    wrong["spec"]["policy"]["whenActiveAnswers"] = json!("Perhaps");
    let bad = argo.push(Some(&wrong));
    let said = "Unsupported value: \"Perhaps\": supported values: \"Refuse\", \"Switch\"";
    argo.until("the wrong value is told", |a| refuses(a, &bad, said)).await;
    argo.until_looked(2).await;
    assert_eq!(scene.object(), before);
    argo.until_healthy(&argo.push(Some(&wanted))).await;
    assert_eq!(scene.object(), before);
    described_twice(&scene, &argo, &wanted).await;
}

/// Whether a commit was not even compared with what there is, for a reason.
fn cannot_compare(application: &Value, commit: &str, text: &str) -> bool {
    let status = &application["status"];
    let conditions = status["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    let says = |c: &Value| {
        c["type"] == "ComparisonError" && c["message"].as_str().is_some_and(|m| m.ends_with(text))
    };
    status["sync"]["revision"] == commit && conditions.iter().any(says)
}

/// A second resource for the same pool is told so, and the first one is none the worse.
async fn described_twice(scene: &Scene, argo: &Argo, wanted: &Value) {
    let mut second = wanted.clone();
    second["metadata"]["name"] = json!("litware-too");
    argo.git.commit_file("too.json", Some(&second));
    argo.refresh();
    let health = |name: &str| argo.node(APPLICATION, name)["health"].clone();
    argo.until("the second one is Degraded", |a| {
        a["status"]["health"]["status"] == "Degraded" && health("litware-too")["status"] == "Degraded"
    })
    .await;
    let said = health("litware-too")["message"].to_string();
    assert!(said.contains(&format!("already described by {}/{RESOURCE}", scene.namespace)), "{said}");
    let told = scene.kubectl(&["get", "pcf/litware-too", "-o", "jsonpath={.status.conditions}"], None);
    assert!(told.contains("PoolAlreadyDescribed"), "{told}");
    argo.until_looked(3).await;
    assert_eq!(health(RESOURCE)["status"], "Healthy");
    assert_eq!(scene.condition("Ready").unwrap()["status"], "True");
    scene.assert_nothing_moves().await;
    // It is not pruned: whoever takes it out of Git deletes it by hand as well.
    argo.git.commit_file("too.json", None);
    argo.refresh();
    argo.until("it is in Git no more", |a| a["status"]["sync"]["status"] == "OutOfSync").await;
    scene.kubectl(&["delete", "pcf/litware-too"], None);
    argo.until("healthy again", |a| {
        a["status"]["sync"]["status"] == "Synced" && a["status"]["health"]["status"] == "Healthy"
    })
    .await;
    scene.assert_nothing_moves().await;
}

/// The same folder is applied by two Applications: each takes the resource from the other one by an annotation, and by nothing else.
async fn shared() {
    let mut scene = Scene::set("argo_shared", quick()).await;
    let wanted = resource(&scene);
    let (argo, first) = ready(&mut scene, &wanted).await;
    the_second_one_leaves_it_if_it_is_told_to(&scene, &argo).await;
    argo.until_healthy(&first).await;
    they_take_it_by_turns(&scene, &argo).await;
    // Both follow the same branch. Which of them sees a commit first is open, and the other one may write back what it knows until it has
    // seen it too: how often chat moves is not promised, where it ends is.
    let commit = argo.push(Some(&wanting(&wanted, &scene, 1)));
    let follows = |a: &Value| a["status"]["sync"]["revision"] == commit.as_str();
    argo.until("both have seen it", |a| follows(a) && follows(&argo.named(ANOTHER))).await;
    scene.wait_until_ready_in(1).await;
    scene.wait_until_at_rest().await;
    assert_eq!(not_live_in(&scene.lab, 1), NOTHING);
    println!("{:?}, generation {}", scene.history(), scene.object()["metadata"]["generation"]);
}

const ANOTHER: &str = "another";
/// With this option, which the example has, an Application that finds the resource in other hands says so, and does nothing else.
const STAND_BACK: &str = "FailOnSharedResource=true";

async fn the_second_one_leaves_it_if_it_is_told_to(scene: &Scene, argo: &Argo) {
    let before = scene.object();
    argo.apply_application(ANOTHER, &[]);
    let said = "Shared resource found: PersistentChatFailover/litware is part of applications argocd/another and persistent-chat";
    let stands_back = || {
        let message = argo.named(ANOTHER)["status"]["operationState"]["message"].take();
        message.as_str().is_some_and(|m| m.starts_with(said))
    };
    argo.until("the second one stands back", |_| stands_back()).await;
    argo.until_looked(3).await;
    assert_eq!(scene.object(), before);
    argo.until("it stands back at each attempt", |_| stands_back()).await;
    // The attempts would go on with the options that they began with.
    argo.kubectl(&["delete", "applications.argoproj.io", ANOTHER], None);
}

async fn they_take_it_by_turns(scene: &Scene, argo: &Argo) {
    let before = scene.object();
    let owner = |o: &Value| {
        let id = o["metadata"]["annotations"]["argocd.argoproj.io/tracking-id"].as_str().unwrap();
        id.split_once(':').unwrap().0.to_string()
    };
    assert_eq!(owner(&before), APPLICATION);
    argo.apply_application(APPLICATION, &[STAND_BACK]);
    argo.apply_application(ANOTHER, &[STAND_BACK]);
    let (mut owners, begun) = (vec![owner(&before)], Instant::now());
    while owners.len() < 5 {
        assert!(begun.elapsed() < Duration::from_secs(150), "{owners:?}");
        let object = scene.object();
        owners.push(owner(&object));
        owners.dedup();
        // It is no news for the operator: it has nothing to do and nothing to say.
        assert_eq!((&object["spec"], &object["status"]), (&before["spec"], &before["status"]));
        assert_eq!(object["metadata"]["generation"], 1);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("{owners:?} within {:?}", begun.elapsed());
    let said = [
        "PersistentChatFailover/litware is part of applications argocd/persistent-chat and another",
        "PersistentChatFailover/litware is part of applications argocd/another and persistent-chat",
    ];
    let warned = |a: &Value| {
        let conditions = a["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions
            .iter()
            .any(|c| c["type"] == "SharedResourceWarning" && said.iter().any(|text| c["message"] == *text))
    };
    argo.until("one of them says so", |a| warned(a) || warned(&argo.named(ANOTHER))).await;
    assert_eq!(argo.node(APPLICATION, RESOURCE)["health"]["status"], "Healthy");
    assert_eq!(scene.writes(), NOTHING);
    assert_eq!(not_live_in(&scene.lab, 0), NOTHING);
}

/// How long nothing may be written: ten minutes, or as long as is said.
fn idle() -> Duration {
    let minutes = std::env::var("PCF_IDLE_MINUTES").map_or(10, |minutes| minutes.parse().unwrap());
    Duration::from_secs(60 * minutes)
}

/// The same manifest stands in the repository of Flux and in that of Argo CD.
async fn both_idle() {
    let mut scene = Scene::set("argo_and_flux", quick()).await;
    let wanted = resource(&scene);
    let flux = Flux::beside(&scene, &wanted.to_string()).await;
    let (argo, commit) = ready(&mut scene, &wanted).await;
    flux.until_ready_at(&flux.repository.head()).await;
    argo.until_looked(2).await;
    flux.until_reconciled(2).await;

    let before = (scene.object(), managers(&scene), marks(&scene, &argo));
    let (begun, reconciled, configured) = (Instant::now(), flux.reconciled(), flux.says("configured"));
    let mut looks = BTreeSet::new();
    while begun.elapsed() < idle() {
        looks.insert(argo.application()["status"]["reconciledAt"].to_string());
        let now = scene.object()["metadata"]["resourceVersion"].take();
        assert_eq!(now, before.0["metadata"]["resourceVersion"], "written after {:?}", begun.elapsed());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let times = flux.reconciled() - reconciled;
    assert_eq!((scene.object(), managers(&scene), marks(&scene, &argo)), before);
    assert_eq!(before.0["metadata"]["generation"], 1);
    assert_eq!(flux.says("configured"), configured, "Flux has written it");
    println!("idle for {:?}: {} looks of Argo CD, {times} of Flux", begun.elapsed(), looks.len());
    assert!(looks.len() > 4 && times > 10, "they did not look");
    // At each look it is neither ready nor not, for a moment.
    flux.until_ready_at(&flux.repository.head()).await;
    argo.until_healthy(&commit).await;
    let text = |m: [&str; 3]| (m[0].to_string(), m[1].to_string(), m[2].to_string());
    let mut of = before.1;
    of.sort();
    let expected = [
        ["argocd-controller", "Apply", ""],
        ["kustomize-controller", "Apply", ""],
        ["persistent-chat-failover", "Apply", "status"],
    ];
    assert_eq!(of, expected.map(text));
    scene.assert_nothing_moves().await;
}
