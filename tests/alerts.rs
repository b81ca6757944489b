//! The alerts in a real Prometheus that scrapes real operators: each fires in the situation that it is for, and none in a clean failover
//! but the one that says that a transition is at work. The chart's own durations there; where each must fire, shortened by the chart's
//! value for that (`prometheusRule.factor`). How long each waits is tested by promtool, in the chart.
//!
//! By day the clean failover and the alerts that need no patience; by night all of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::matrix::{SOON, world};
use common::scene::Scene;
use common::{Plane, Process, get, night, printed};
use lab::ports::Reservation;
use lab::scenario::Scenario;
use serde_json::Value;

/// A Prometheus that scrapes some ports.
struct Prometheus {
    _process: Process,
    at: Reservation,
}

impl Prometheus {
    /// Starts one with the chart's rules.
    async fn start(directory: &Path, targets: &[u16], factor: &str) -> Prometheus {
        let set = format!("prometheusRule.factor={factor}");
        let rules = printed("chart.sh", &["rules", "--set", "prometheusRule.matchers=", "--set-json", &set]);
        std::fs::write(directory.join("rules.yaml"), rules).unwrap();
        let targets: Vec<String> = targets.iter().map(|p| format!("\"127.0.0.1:{p}\"")).collect();
        let config = format!(
            "global: {{scrape_interval: 500ms, scrape_timeout: 400ms, evaluation_interval: 500ms}}\nrule_files: [rules.yaml]\n\
             scrape_configs:\n- job_name: operator\n  static_configs:\n  - targets: [{}]\n    labels: {{namespace: chat}}\n",
            targets.join(", ")
        );
        std::fs::write(directory.join("prometheus.yaml"), config).unwrap();
        let at = Reservation::new().unwrap();
        let log = std::fs::File::create(directory.join("prometheus.log")).unwrap();
        let process = Command::new(printed("prometheus.sh", &["prometheus"]))
            .arg(format!("--config.file={}", directory.join("prometheus.yaml").display()))
            .arg(format!("--storage.tsdb.path={}", directory.join("tsdb").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{}", at.port))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let prometheus = Prometheus { _process: Process::of(process), at };
        let deadline = Instant::now() + Duration::from_secs(30);
        while get(prometheus.at.port, "/-/ready").is_none() {
            let log = std::fs::read_to_string(directory.join("prometheus.log")).unwrap();
            assert!(Instant::now() < deadline, "Prometheus does not start:\n{log}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        prometheus
    }

    /// The alerts that a query over `ALERTS` finds.
    fn alerts(&self, query: &str) -> BTreeSet<String> {
        let escaped: String = query.bytes().map(|b| format!("%{b:02x}")).collect();
        let text = get(self.at.port, &format!("/api/v1/query?query={escaped}")).unwrap();
        let answer: Value = serde_json::from_str(&text).unwrap();
        let found = answer["data"]["result"].as_array().unwrap_or_else(|| panic!("{answer}"));
        found.iter().map(|r| r["metric"]["alertname"].as_str().unwrap().to_string()).collect()
    }

    /// Those that fire now.
    fn firing(&self) -> BTreeSet<String> {
        self.alerts(r#"ALERTS{alertstate="firing"}"#)
    }

    /// Those that have fired since it runs.
    fn fired(&self) -> BTreeSet<String> {
        self.alerts(r#"max_over_time(ALERTS{alertstate="firing"}[1h])"#)
    }

    async fn until(&self, what: &str, holds: impl Fn(&BTreeSet<String>) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(120);
        while !holds(&self.firing()) {
            assert!(Instant::now() < deadline, "{what}: {:?} fire", self.firing());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn until_fires(&self, alert: &str) {
        self.until(&format!("{alert} does not fire"), |firing| firing.contains(alert)).await;
    }

    async fn until_is_over(&self, alert: &str) {
        self.until(&format!("{alert} goes on firing"), |firing| !firing.contains(alert)).await;
    }
}

/// A scene whose operators to come show their metrics at a port.
fn shows_metrics_at(scene: &mut Scene, port: u16) {
    let address: &'static str = Box::leak(format!("127.0.0.1:{port}").into_boxed_str());
    scene.env = SOON.to_vec();
    scene.env.push(("PCF_METRICS_ADDRESS", address));
}

async fn scene_with_metrics(test: &str) -> (Scene, Reservation) {
    // Everything has been copied: what a failover would lose is what the last quarter of an hour has brought.
    let usual = world();
    let scenario = Scenario { copied: usual.backups, restored: usual.backups - 2, ..usual };
    let mut scene = Scene::set_on(Plane::Shared, test, scenario).await;
    let at = Reservation::new().unwrap();
    shows_metrics_at(&mut scene, at.port);
    scene.lease = Some("3s");
    (scene, at)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_clean_failover_only_that_it_is_at_work_is_told() {
    let (mut scene, at) = scene_with_metrics("clean_failover").await;
    scene.begin().await;
    // A standby beside it: what it does not know must not fire.
    let other = Reservation::new().unwrap();
    shows_metrics_at(&mut scene, other.port);
    let standby = scene.another_operator(&scene.directory.path().join("second.log"));
    let prometheus = Prometheus::start(scene.directory.path(), &[at.port, other.port], "1").await;
    scene.lose().await;
    scene.want(1);
    scene.wait_until_failed_over().await;
    scene.wait_until_at_rest().await;
    // Until what was true at the end has been scraped.
    prometheus.until("something fires at rest", BTreeSet::is_empty).await;
    assert_eq!(prometheus.fired(), BTreeSet::from(["TransitionRunning".to_string()]));
    drop(standby);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_alert_fires_in_the_situation_that_it_is_for() {
    let (mut scene, at) = scene_with_metrics("each_alert").await;
    scene.begin().await;
    let prometheus = Prometheus::start(scene.directory.path(), &[at.port], "0.01").await;
    let mut expected = BTreeSet::new();
    let mut fires = |alert: &'static str| {
        expected.insert(alert.to_string());
        prometheus.until_fires(alert)
    };

    // A wish against a side that lives.
    scene.want(1);
    fires("HumanNeeded").await;
    if night() {
        fires("NotReady").await;
    }
    scene.want(0);
    prometheus.until_is_over("HumanNeeded").await;

    if night() {
        // Log backups are as old as the lab's job makes them.
        fires("LossGrowing").await;
        let shell = "sea-fe-1.litwareinc.com";
        scene.lab.fault("refuse-shell-login", &[shell.into()]).unwrap();
        fires("FailoverWouldNotWork").await;
        scene.lab.fault("accept-shell-login", &[shell.into()]).unwrap();
        prometheus.until_is_over("FailoverWouldNotWork").await;

        // The role of the lease is taken away: nobody leads.
        let role = scene.kubectl(&["get", "role/pcf-operator", "-o", "json"], None);
        let mut without: Value = serde_json::from_str(&role).unwrap();
        let rules = without["rules"].as_array_mut().unwrap();
        rules.retain(|r| r["resources"][0] != "leases");
        scene.kubectl(&["replace", "-f", "-"], Some(&without.to_string()));
        fires("NobodyLeads").await;
        let mut with: Value = serde_json::from_str(&role).unwrap();
        with["metadata"].as_object_mut().unwrap().remove("resourceVersion");
        scene.kubectl(&["replace", "-f", "-"], Some(&with.to_string()));
        prometheus.until_is_over("NobodyLeads").await;
    }

    scene.lose().await;
    if night() {
        scene.lab.fault("restore-ms", &["50000".into()]).unwrap();
    }
    scene.want(1);
    fires("TransitionRunning").await;
    if night() {
        // One statement that takes long: nobody looks meanwhile.
        fires("TransitionSlow").await;
        fires("ChatStandsStill").await;
        fires("NotLooking").await;
        scene.lab.fault("restore-ms", &["300".into()]).unwrap();
    }
    scene.wait_until_failed_over().await;
    scene.wait_until_at_rest().await;
    fires("BackupsStopped").await;

    // The side that was left comes back, and its database with it.
    let lost = scene.data_center(0).name.clone();
    scene.lab.restore(&lost).await.unwrap();
    fires("OldSideAnswers").await;
    scene.kill_operator();
    fires("OperatorDown").await;
    let all: Vec<String> = printed("chart.sh", &["rules"])
        .lines()
        .filter_map(|l| Some(l.trim().strip_prefix("- alert: ")?.to_string()))
        .collect();
    let missed: Vec<&String> = all.iter().filter(|a| !expected.contains(*a)).collect();
    assert!(!night() || missed.is_empty(), "not tried: {missed:?}");
    assert!(all.len() > 8, "{all:?}");
}
