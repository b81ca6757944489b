//! A resource that is seen for the first time wishes something that nobody is known to have decided: it moves nothing until somebody
//! says yes to what is shown, or says when it was said. The whole program on a real API server.
//!
//! The same by day and by night.

use crate::common::scene::{RESOURCE, Scene, quick};
use serde_json::{Value, json};

/// How far the operator's answer has come: what a human would have to agree to.
async fn asked(scene: &Scene) -> Value {
    // The active side is silent for long enough; what is missing is somebody who has decided it.
    let message = scene.wait_for_text("Stalled", "True", "ConsentRequired", "spec.consent").await;
    assert!(message.contains("Nobody has asked for this switch"), "{message}");
    let transition = scene.object()["status"]["transition"].take();
    let needed = transition["consentNeeded"].clone();
    assert_eq!(transition["outcome"], "Pending", "{transition}");
    assert!(message.contains(needed["situation"].as_str().unwrap()), "{message}");
    scene.assert_nothing_moves().await;
    needed
}

/// A scene whose first data centre is lost before anybody has seen the resource, which wishes the second one.
async fn lost_before_it_was_seen(test: &str) -> Scene {
    let mut scene = Scene::set(test, quick()).await;
    scene.lose().await;
    let text = scene.lab.resource(RESOURCE);
    scene.apply(&text.replace("activeDataCenter: atlanta", "activeDataCenter: seattle"));
    scene.start_operator();
    scene
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_sight_starts_nothing_also_after_a_restart_and_starts_with_a_consent() {
    let mut scene = lost_before_it_was_seen("first_sight_consent").await;
    let needed = asked(&scene).await;
    // Another process knows no more of a decision than this one, and asks for the same.
    scene.kill_operator();
    scene.start_operator();
    assert_eq!(asked(&scene).await, needed);
    scene.agree(&needed);
    scene.wait_until_failed_over().await;
    assert_eq!(scene.last_failover()["loss"]["acceptedBy"], "Ann");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_sight_starts_where_it_says_that_it_was_said_just_now_and_not_long_ago() {
    let scene = lost_before_it_was_seen("first_sight_uttered").await;
    asked(&scene).await;
    let hours_ago = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(2);
    scene.patch(&json!({"utteredAt": hours_ago.to_string()}).to_string());
    asked(&scene).await;
    scene.patch(&json!({"utteredAt": jiff::Timestamp::now().to_string()}).to_string());
    scene.wait_until_failed_over().await;
    assert!(scene.last_failover()["loss"]["acceptedBy"].is_null());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_restored_from_a_backup_wishes_nothing_that_was_decided_here() {
    let mut scene = Scene::ready("first_sight_restored", quick()).await;
    // As a backup has it: what somebody wished once, with the status of that time.
    let mut old = scene.object();
    old["spec"]["activeDataCenter"] = json!("seattle");
    for of_the_server in ["uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"] {
        old["metadata"].as_object_mut().unwrap().remove(of_the_server);
    }
    let status = json!({"status": old["status"].take()}).to_string();
    old.as_object_mut().unwrap().remove("status");
    scene.kill_operator();
    scene.lose().await;
    scene.kubectl(&["delete", "pcf/litware", "--wait=true"], None);
    scene.apply(&old.to_string());
    scene.kubectl(&["patch", "pcf/litware", "--subresource=status", "--type=merge", "-p", &status], None);
    scene.start_operator();
    let needed = asked(&scene).await;
    scene.agree(&needed);
    scene.wait_until_failed_over().await;
}
