//! The resource in a chart of somebody's own, by the real Helm 4: it waits until the operator has seen the object and until chat serves, and
//! with `--rollback-on-failure` it writes the old spec when it has waited too long. That is a wish as any other: taken back in time, refused
//! by the API server when it is too late. The whole program on a real API server.
//!
//! By night only: Helm 4 takes minutes to build.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::courses::not_protected;
use common::flux::wished;
use common::gitops::secrets_and_resource;
use common::matrix::{SOON, hold_the_tail, until_held};
use common::returns::database;
use common::scene::{FAILOVER_ONCE, Scene, backups, begun, not_live_in, not_once, quick};
use common::switches::{RECOVER, SET_STATE, lost, not_taken_back};
use common::{Process, night, printed};
use lab::control_plane::die_with_us;
use lab::world::breakpoints::Moment;
use serde_json::Value;

const NOTHING: Vec<String> = vec![];
/// What Helm says when the old spec is written, and true.
const ROLLED_BACK: &str = "has been rolled back due to rollback-on-failure being set";
/// Longer than anything here takes.
const LONG: &str = "300s";
/// Too short for what is held, and long enough until then.
const SHORT: &str = "60s";

/// Whether they are done: Helm 4 takes minutes to build.
fn is_due() -> bool {
    if !night() {
        // Past the capture of the test harness: that it was not done is said.
        std::io::stdout().write_all(b"Helm 4 is driven by night only (PCF_NIGHT=1)\n").unwrap();
    }
    night()
}

/// The real Helm 4, in the version that the repository pins.
fn helm() -> &'static str {
    static HELM: OnceLock<String> = OnceLock::new();
    HELM.get_or_init(|| printed("helm4.sh", &[]))
}

/// A scene whose resource stands in a chart, with the data centre that is to be active as a value.
struct Release {
    scene: Scene,
    /// How often Helm was called.
    calls: AtomicUsize,
}

/// Helm at work.
struct Running {
    what: String,
    process: Process,
    log: PathBuf,
}

impl Release {
    /// The chart and the Secrets; nothing is installed and no operator runs.
    async fn set(test: &str, policy: &str) -> Release {
        let mut scene = Scene::set(test, quick()).await;
        scene.env = SOON.to_vec();
        let (secrets, resource) = secrets_and_resource(&scene);
        scene.apply(&secrets);
        let template =
            resource.replace("activeDataCenter: atlanta", "activeDataCenter: {{ .Values.active }}");
        assert_ne!(template, resource);
        let chart = scene.directory.path().join("chart");
        std::fs::create_dir_all(chart.join("templates")).unwrap();
        std::fs::write(chart.join("Chart.yaml"), "apiVersion: v2\nname: chat\nversion: 1.0.0\n").unwrap();
        std::fs::write(chart.join("values.yaml"), "active: atlanta\n").unwrap();
        std::fs::write(chart.join("templates/litware.yaml"), format!("{template}  policy: {policy}\n"))
            .unwrap();
        Release { scene, calls: AtomicUsize::new(0) }
    }

    /// Installed, and ready for a failover.
    async fn ready(test: &str, policy: &str) -> Release {
        let mut release = Release::set(test, policy).await;
        release.scene.start_operator();
        release.install().succeeds(&release.scene).await;
        release.scene.wait_for("FailoverReady", "True", "Completed").await;
        release.scene.wait_until_at_rest().await;
        release
    }

    fn install(&self) -> Running {
        self.begin(&["install", "chat", "chart", "--wait", "--timeout", LONG])
    }

    /// Another data centre is wished, and the old one back if that is not soon so.
    fn upgrade_or_roll_back(&self, active: &str, timeout: &str) -> Running {
        let value = format!("active={active}");
        let how = ["--wait", "--rollback-on-failure", "--timeout", timeout];
        self.begin(&[&["upgrade", "chat", "chart", "--set", &value][..], &how].concat())
    }

    fn begin(&self, arguments: &[&str]) -> Running {
        let folder = self.scene.directory.path();
        let log = folder.join(format!("helm-{}.log", self.calls.fetch_add(1, Ordering::Relaxed)));
        // Both are appended to: what is said on one does not overwrite the other.
        let out = std::fs::File::options().create(true).append(true).open(&log).unwrap();
        let err = out.try_clone().unwrap();
        let mut command = Command::new(helm());
        command.current_dir(folder).args(arguments).args(["--namespace", &self.scene.namespace]);
        command.env("KUBECONFIG", self.scene.plane.admin_kubeconfig());
        // Nothing of whoever runs the tests.
        for home in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(home, folder.join("helm"));
        }
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err);
        let process = Process::of(die_with_us(child).spawn().unwrap());
        Running { what: format!("helm {}", arguments.join(" ")), process, log }
    }

    /// The status of each revision of the release, the oldest first.
    async fn revisions(&self) -> Vec<String> {
        let told = self.begin(&["history", "chat", "-o", "json"]).succeeds(&self.scene).await;
        let all: Value = serde_json::from_str(&told).unwrap();
        all.as_array().unwrap().iter().map(|r| r["status"].as_str().unwrap().into()).collect()
    }

    /// Helm watches the objects of its release: it has begun to wait.
    async fn until_helm_waits(&self) {
        let namespace = format!("/namespaces/{}/persistentchatfailovers", self.scene.namespace);
        let is_its = |line: &str| {
            line.contains(&namespace) && line.contains("\"verb\":\"watch\"") && line.contains("Helm/")
        };
        self.scene.until("Helm's watch", || self.scene.plane.audit_log().lines().any(is_its)).await;
    }
}

/// Holds each of these that arrives: whoever has waited too long for an answer tries again.
fn hold_each(scene: &Scene, name: &'static str) {
    scene.lab.break_at(Some(Box::new(move |moment, a| moment == Moment::Before && a.name == name)));
}

impl Running {
    /// Whether it went well, and what was said. The test's output shows it.
    async fn ended(mut self, scene: &Scene) -> (bool, String) {
        let mut status = None;
        // It may have to wait for as long as it is let, twice: for its upgrade, and for the roll-back.
        let deadline = Instant::now() + Duration::from_secs(180);
        while status.is_none() {
            assert!(Instant::now() < deadline, "{}: no end\n{}", self.what, scene.log_tail());
            tokio::time::sleep(Duration::from_millis(50)).await;
            status = self.process.ended();
        }
        let told = std::fs::read_to_string(&self.log).unwrap();
        println!("$ {}\n{}", self.what, told.trim());
        (status.unwrap().success(), told)
    }

    async fn succeeds(self, scene: &Scene) -> String {
        let (well, told) = self.ended(scene).await;
        assert!(well, "{told}\n{}", scene.log_tail());
        told
    }

    async fn fails(self, scene: &Scene) -> String {
        let (well, told) = self.ended(scene).await;
        assert!(!well, "{told}\n{}", scene.log_tail());
        told
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_install_waits_until_the_operator_has_seen_the_object_and_chat_serves() {
    if !is_due() {
        return;
    }
    let mut release = Release::set("helm_install", "{}").await;
    let mut helm = release.install();
    release.until_helm_waits().await;
    assert_eq!(release.scene.object()["status"]["observedGeneration"], -1);
    assert!(helm.process.ended().is_none());
    release.scene.start_operator();
    let told = helm.succeeds(&release.scene).await;
    assert!(told.contains("STATUS: deployed"), "{told}");
    // By the lab's own word and by the status, at once.
    assert_eq!(not_live_in(&release.scene.lab, 0), NOTHING);
    assert_eq!(release.scene.condition("Ready").unwrap()["status"], "True");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_that_waits_for_a_yes_is_rolled_back_by_helm_at_once_and_closed() {
    if !is_due() {
        return;
    }
    let mut release = Release::ready("helm_consent", "{consent: BeforeRecovery}").await;
    let shipped = backups(&release.scene.lab).len();
    release.scene.lose().await;
    let helm = release.upgrade_or_roll_back("seattle", LONG);
    release.scene.until("its end as aborted", || release.scene.times("Failover", "Aborted") == 1).await;
    assert_eq!(wished(&release.scene), "atlanta");
    assert!(!begun(&release.scene.lab, 0, RECOVER));
    let told = |reason: &str, note: &str| {
        release.scene.events().iter().any(|(r, n, _)| r == reason && n.contains(note))
    };
    release.scene.until("what it waited for", || told("ConsentRequired", "BeforeRecovery")).await;
    release.scene.until("its end", || told("Aborted", "Failover from atlanta to seattle was undone")).await;
    assert_eq!(release.scene.object()["status"]["wish"]["activeDataCenter"], "atlanta");

    release.scene.lab.restore("atlanta").await.unwrap();
    let told = helm.fails(&release.scene).await;
    // At once, and with what the operator waits for.
    for said in
        [ROLLED_BACK, "status: Failed, message: A human must agree: spec.policy.consent is BeforeRecovery"]
    {
        assert!(told.contains(said), "{said}: {told}");
    }
    assert_eq!(release.revisions().await, ["superseded", "failed", "deployed"]);
    release.scene.wait_for("FailoverReady", "True", "Completed").await;
    release.scene.wait_until_at_rest().await;
    assert_eq!(not_live_in(&release.scene.lab, 0), NOTHING);
    assert_eq!(not_protected(&release.scene.lab, 1, shipped), NOTHING);
    assert!(!begun(&release.scene.lab, 0, RECOVER));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_roll_back_that_comes_too_late_is_refused_and_the_failover_goes_on_to_its_end() {
    if !is_due() {
        return;
    }
    let mut release = Release::ready("helm_too_late", "{}").await;
    release.scene.lose().await;
    hold_each(&release.scene, SET_STATE);
    let helm = release.upgrade_or_roll_back("seattle", SHORT);
    until_held(&release.scene, SET_STATE).await;
    release.scene.until_no_return().await;
    let told = helm.fails(&release.scene).await;
    for said in ["an error occurred while rolling back the release", "the database has been recovered"] {
        assert!(told.contains(said), "{said}: {told}");
    }
    assert_eq!(wished(&release.scene), "seattle");
    // Helm takes the first one for what is deployed, and would go back to it again.
    assert_eq!(release.revisions().await, ["deployed", "superseded", "failed"]);
    release.scene.let_go();
    release.scene.wait_until_failed_over().await;
    release.scene.wait_until_at_rest().await;

    // The next one, with what is true.
    let before = release.scene.writes();
    let told =
        release.begin(&["upgrade", "chat", "chart", "--wait", "--timeout", LONG, "--set", "active=seattle"]);
    let told = told.succeeds(&release.scene).await;
    assert!(told.contains("STATUS: deployed"), "{told}");
    release.scene.wait_until_ready_in(1).await;
    assert_eq!(release.scene.writes(), before);
    assert_eq!(not_once(&release.scene.lab, 0, FAILOVER_ONCE), NOTHING);
    assert_eq!(release.revisions().await, ["superseded", "superseded", "failed", "deployed"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_too_slow_for_helm_is_taken_back_in_time_and_no_message_is_lost() {
    if !is_due() {
        return;
    }
    let release = Release::ready("helm_switch", "{whenActiveAnswers: Switch}").await;
    hold_the_tail(&release.scene);
    let helm = release.upgrade_or_roll_back("seattle", SHORT);
    until_held(&release.scene, "RESTORE LOG").await;
    release.scene.until("the old wish", || wished(&release.scene) == "atlanta").await;
    release.scene.let_go();
    let told = helm.fails(&release.scene).await;
    assert!(told.contains(ROLLED_BACK), "{told}");
    release.scene.until("its end as aborted", || release.scene.times("Switch", "Aborted") == 1).await;
    release.scene.wait_for("FailoverReady", "True", "Completed").await;
    release.scene.wait_until_at_rest().await;
    assert_eq!(not_taken_back(&release.scene.lab, 0, 1), NOTHING);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_whose_copy_is_too_slow_for_helm_is_switched_back_though_chat_has_moved() {
    const FED: &str = "EXEC sp_add_log_shipping_secondary_database";
    if !is_due() {
        return;
    }
    let release = Release::ready("helm_switched_back", "{whenActiveAnswers: Switch}").await;
    hold_each(&release.scene, FED);
    let helm = release.upgrade_or_roll_back("seattle", SHORT);
    until_held(&release.scene, FED).await;
    // Chat has moved, and nothing of it is missing; what is not there yet is the copy of the side that was left.
    assert_eq!(not_live_in(&release.scene.lab, 1), NOTHING);
    assert_eq!(lost(&release.scene.lab, 0, 1), NOTHING);
    release.scene.until("the old wish", || wished(&release.scene) == "atlanta").await;
    release.scene.let_go();
    let told = helm.fails(&release.scene).await;
    assert!(told.contains(ROLLED_BACK), "{told}");
    release.scene.wait_until_ready_in(0).await;
    release.scene.wait_for("FailoverReady", "True", "Completed").await;
    release.scene.wait_until_at_rest().await;
    assert_eq!(release.scene.times("Switch", "Completed"), 2, "{:?}", release.scene.history());
    assert_eq!(not_live_in(&release.scene.lab, 0), NOTHING);
    let [live, left] = [0, 1].map(|n| database(&release.scene, &release.scene.data_center(n).sql_server));
    assert_eq!(release.scene.lab.world().now().messages.lacking(&left, &live).len(), 0);
}
