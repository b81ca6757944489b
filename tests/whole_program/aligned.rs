//! What the active side has is what the resource names, whoever changes it, on either side: the whole program on a real API server.
//!
//! The same by day and by night.

use crate::common::matrix::{hold_first, until_held};
use crate::common::scene::{
    Scene, active_servers, begun, not_live_in, query, quick, quick_in_the_other, server,
};
use lab::scenario::Scenario;
use lab::world::journal::Entry;
use serde_json::json;

const SET: &str = "Set-CsPersistentChatActiveServer";
const BUILD: &str = "Install-CsMirrorDatabase";
const RECORDS: &str = "SELECT transition FROM msdb.dbo.persistent_chat_failover";

/// Both beginnings, each with the number of the data centre in which chat lives.
fn beginnings() -> [(usize, Scenario); 2] {
    [(0, quick()), (1, quick_in_the_other())]
}

impl Scene {
    /// Names the active servers of a data centre: its first one only, and perhaps something else beside it.
    fn name_one_active_server(&self, n: usize, beside: &serde_json::Value) -> Vec<String> {
        let wanted = vec![self.data_center(n).servers[0].clone()];
        let mut spec = beside.clone();
        spec["dataCenters"] = self.object()["spec"]["dataCenters"].take();
        spec["dataCenters"][n]["activeServers"] = json!(wanted);
        self.patch(&spec.to_string());
        wanted
    }

    /// Waits until an effect is about to be carried out; Ready says then what differs. Lets it go, and waits for Ready.
    async fn until_set_right(&self, effect: &'static str, differs: &str) {
        until_held(self, effect).await;
        self.wait_for_text("Ready", "False", "Aligning", differs).await;
        self.let_go();
        self.wait_for("Ready", "True", "Active").await;
        self.wait_until_at_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_list_of_active_servers_is_set_and_who_sets_it_back_by_hand_is_overruled_and_told() {
    let [first, second] = beginnings().map(|(n, scenario)| async move {
        let scene = Scene::ready(&format!("active_servers_{n}"), scenario).await;
        let here = scene.data_center(n).clone();
        hold_first(&scene, &[SET]);
        let wanted = scene.name_one_active_server(n, &json!({}));
        let differs = format!("the resource names {}", wanted.join(", "));
        // Before anything is set, Ready is False and says what differs.
        scene.until_set_right(SET, &differs).await;
        assert_eq!(active_servers(&scene.lab), wanted);
        assert_eq!(scene.times("Align", "Completed"), 1, "{:?}", scene.history());

        // A partner that missed a record is given it with the next.
        assert_eq!(query(&scene.lab, &here.mirror, RECORDS), 1);
        query(&scene.lab, &here.mirror, "DELETE FROM msdb.dbo.persistent_chat_failover");
        hold_first(&scene, &[SET]);
        scene.lab.fault("set-active", &here.servers).unwrap();
        scene.until_set_right(SET, &format!("the active servers are {}", here.servers.join(", "))).await;
        assert_eq!(active_servers(&scene.lab), wanted);
        for host in [&here.sql_server, &here.mirror] {
            assert_eq!(query(&scene.lab, host, RECORDS), 2, "{host}");
        }
        // Told twice: once for the edit, once for the hand, with what differed.
        assert_eq!(scene.times("Align", "Completed"), 2, "{:?}", scene.history());
        assert!(scene.history().iter().all(|(_, _, to)| *to == here.name), "{:?}", scene.history());
        let told = |reason: &str| {
            let events = scene.events();
            let of_an_align = events.iter().filter(|(r, note, _)| r == reason && note.contains("Align of"));
            of_an_align.map(|(_, _, times)| times).sum::<u64>()
        };
        scene.until("events", || told("TransitionStarted") == 2 && told("Completed") == 2).await;
        assert!(!begun(&scene.lab, 0, BUILD), "a mirror that stands was built again");
    });
    tokio::join!(first, second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn active_servers_are_set_right_also_while_a_job_of_log_shipping_runs_for_hours() {
    let scene = Scene::ready("align_meanwhile", quick()).await;
    let (here, host) = (scene.data_center(0).clone(), scene.data_center(1).sql_server.clone());
    let before = active_servers(&scene.lab);
    let hang = |on: bool| {
        let mut world = scene.lab.world().now();
        let all = world.sql.values_mut().flat_map(|i| &mut i.jobs);
        all.for_each(|job| job.hangs = on);
    };
    hold_first(&scene, &["EXEC sp_start_job"]);
    scene.lab.fault("remove-log-shipping", &[host]).unwrap();
    until_held(&scene, "EXEC sp_start_job").await;
    hang(true);
    scene.let_go();
    let waits = || scene.condition("LogShippingEstablished").is_some_and(|c| c["reason"] == "WaitingForJob");
    scene.until("a job that runs", waits).await;
    scene.lab.fault("set-active", &here.servers[..1]).unwrap();
    scene.until("the servers are set right", || active_servers(&scene.lab) == before).await;
    assert_eq!(scene.times("Protect", "Completed"), 0, "{:?}", scene.history());
    hang(false);
    scene.wait_for("FailoverReady", "True", "Completed").await;
    scene.wait_until_at_rest().await;
    assert_eq!(scene.times("Align", "Completed"), 1, "{:?}", scene.history());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suspended_nothing_is_set_right_and_the_status_says_what_differs() {
    let [first, second] = beginnings().map(|(n, scenario)| async move {
        let scene = Scene::ready(&format!("align_suspended_{n}"), scenario).await;
        let before = active_servers(&scene.lab);
        let wanted = scene.name_one_active_server(n, &json!({"suspend": true}));
        let differs = format!("the resource names {}", wanted.join(", "));
        scene.wait_for_text("Ready", "False", "Suspended", &differs).await;
        assert!(scene.condition("Stalled").is_none() && scene.condition("Reconciling").is_none());
        scene.assert_nothing_moves().await;
        assert_eq!(active_servers(&scene.lab), before);
        // A hand in the meantime is not overruled either.
        scene.lab.fault("remove-mirror", &[scene.data_center(n).name.clone()]).unwrap();
        let lost = format!("the mirror on {} is missing", scene.data_center(n).mirror);
        scene.wait_for_text("Ready", "False", "Suspended", &lost).await;
        scene.wait_for("Redundant", "False", "NotConfigured").await;
        scene.assert_nothing_moves().await;

        scene.patch(r#"{"suspend":false}"#);
        scene.wait_for("Ready", "True", "Active").await;
        assert_eq!(active_servers(&scene.lab), wanted);
        assert!(begun(&scene.lab, 0, BUILD));
    });
    tokio::join!(first, second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_that_somebody_removed_is_established_again() {
    let [first, second] = beginnings().map(|(n, scenario)| async move {
        let scene = Scene::ready(&format!("mirror_removed_{n}"), scenario).await;
        let here = scene.data_center(n).clone();
        hold_first(&scene, &[BUILD]);
        scene.lab.fault("remove-mirror", std::slice::from_ref(&here.name)).unwrap();
        scene.until_set_right(BUILD, &format!("the mirror on {} is missing", here.mirror)).await;
        assert_eq!(not_live_in(&scene.lab, n), Vec::<String>::new());
        assert!(!begun(&scene.lab, 0, SET), "active servers that are right were set again");
        assert_eq!(scene.times("Align", "Completed"), 1, "{:?}", scene.history());
        scene.wait_for("Redundant", "True", "Completed").await;
    });
    tokio::join!(first, second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_failover_within_the_other_data_centre_changes_neither_what_is_active_nor_who_finds_the_record()
 {
    let mut scene = Scene::ready("promoted_after", quick()).await;
    scene.lose().await;
    scene.want(1);
    scene.wait_until_failed_over().await;
    scene.wait_until_at_rest().await;
    let there = scene.data_center(1).clone();
    let since = scene.lab.journal().len();
    scene.lab.fault("promote-mirror", std::slice::from_ref(&there.name)).unwrap();
    scene.wait_for_text("Redundant", "False", "WaitingForMirror", "DISCONNECTED").await;
    // The new principal's log is backed up as well.
    let shipped = || server(&scene.lab, &there.mirror)["logShippingPrimary"][0]["database"] == "mgc";
    scene.until("the new principal's half of log shipping", shipped).await;
    scene.wait_for("Ready", "True", "Active").await;
    assert_eq!(scene.object()["status"]["activeDataCenter"], there.name.as_str());
    assert!(scene.condition("Stalled").is_none());

    // Who sees the resource for the first time finds the record where the database lives now.
    scene.kill_operator();
    let spec = scene.object()["spec"].take();
    scene.kubectl(&["delete", "pcf/litware", "--wait=true"], None);
    let object = json!({"apiVersion": "persistentchat.dev/v1alpha1", "kind": "PersistentChatFailover",
        "metadata": {"name": "litware"}, "spec": spec});
    scene.apply(&object.to_string());
    scene.start_operator();
    scene.wait_for("Ready", "True", "Active").await;
    assert_eq!(scene.times("Failover", "Completed"), 1, "{:?}", scene.history());

    // An edit is made true there, under the lock of the new principal. The mirror is waited for.
    let wanted = scene.name_one_active_server(1, &json!({}));
    scene.until("the list", || active_servers(&scene.lab) == wanted).await;
    scene.wait_for_text("Ready", "False", "WaitingForMirror", "DISCONNECTED").await;
    assert!(scene.condition("Stalled").is_none());
    scene.lab.fault("start-sql", std::slice::from_ref(&there.sql_server)).unwrap();
    scene.wait_for("Ready", "True", "Active").await;
    scene.wait_for("Redundant", "True", "Completed").await;
    scene.wait_until_at_rest().await;
    assert_eq!(scene.times("Align", "Completed"), 1, "{:?}", scene.history());
    // The record goes on where the lock is.
    let journal = scene.lab.journal();
    let recorded =
        |e: &&Entry| e.server == there.mirror && e.parameters.values().any(|v| v.contains("\"Align\""));
    assert!(journal[since..].iter().any(|e| recorded(&e)));
    assert!(!begun(&scene.lab, since, BUILD), "a mirror that is only disconnected was built again");
}
