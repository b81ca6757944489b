//! The chart on a real API server, by the real helm: installed, upgraded and rolled back in the middle of a failover, tested, uninstalled;
//! and the audit log of all of it against the table of rights.
//!
//! There is no kubelet here. What one does, the test does: it starts each container's command from the pod template that the API server
//! holds, with its arguments, environment, mounts and probes. Three things it cannot have are given in another way, and nothing else: a
//! mount is a link in a folder of the test's, a pod's address is this machine with a port of its own, and the account's token comes by a
//! kubeconfig.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;
#[path = "common/product.rs"]
mod product;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use common::matrix::{hold_first, until_held};
use common::scene::{FAILOVER_ONCE, RESOURCE, Scene, not_live_in, not_once, quick};
use common::{Plane, Process, count, get, manifests, printed};
use lab::control_plane::{ControlPlane, Options};
use lab::ports::Reservation;
use lab::serve::Lab;
use product::{RIGHTS, Right};
use serde_json::{Value, json};

const CHART: &str = "charts/persistent-chat-failover";
const NAMESPACE: &str = "chat";
const NAME: &str = "pcf-persistent-chat-failover";

/// The real helm, in the version that the repository pins.
fn helm() -> &'static str {
    static HELM: OnceLock<String> = OnceLock::new();
    HELM.get_or_init(|| printed("helm.sh", &[]))
}

/// A release in a scene whose pods the test itself starts.
struct Release {
    scene: Scene,
    values: PathBuf,
    pods: Vec<Pod>,
    /// Pods that were ever started.
    started: usize,
}

/// What a kubelet would run.
struct Pod {
    process: Process,
    at: Reservation,
}

impl Release {
    /// The lab and the release; the definition of the resource stands already, and is handed over to helm as the chart's page says.
    async fn install(plane: Plane) -> Release {
        count("chart");
        let directory = tempfile::tempdir().unwrap();
        let lab = Lab::start(quick(), directory.path()).await.unwrap();
        let values = directory.path().join("values.json");
        std::fs::write(&values, values_for(&lab).to_string()).unwrap();
        let crd = "crd/persistentchatfailovers.persistentchat.dev";
        let owner = ["meta.helm.sh/release-name=pcf", "meta.helm.sh/release-namespace=chat"];
        plane.kubectl(&[&["annotate", crd][..], &owner].concat(), None).unwrap();
        plane.kubectl(&["label", crd, "app.kubernetes.io/managed-by=Helm"], None).unwrap();
        let scene = Scene {
            lab,
            namespace: NAMESPACE.into(),
            directory,
            plane,
            kubeconfig: PathBuf::new(),
            env: vec![],
            program: common::scene::program(),
            lease: None,
            operator: None,
        };
        let mut release = Release { scene, values, pods: Vec::new(), started: 0 };
        let told = release.helm(&["install", "pcf", CHART, "--create-namespace"]);
        assert!(told.contains("STATUS: deployed") && told.contains("kubectl rollout status"), "{told}");
        release.scene.kubeconfig = release.scene.plane.service_account_kubeconfig(NAMESPACE, NAME).unwrap();
        release
    }

    fn helm(&self, arguments: &[&str]) -> String {
        let out = self.helm_command(arguments).output().unwrap();
        let told =
            format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success(), "helm {arguments:?}: {told}");
        told
    }

    fn helm_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(helm());
        command
            .current_dir(manifests())
            .env("KUBECONFIG", self.scene.plane.admin_kubeconfig())
            .env("HELM_CACHE_HOME", self.scene.directory.path().join("helm"))
            .args(arguments)
            .args(["--namespace", NAMESPACE]);
        if ["install", "upgrade"].contains(&arguments[0]) {
            command.arg("-f").arg(&self.values);
        }
        command
    }

    /// Starts a pod of the Deployment as it is now.
    async fn start_pod(&mut self) {
        let text = self.scene.kubectl(&["get", &format!("deployment/{NAME}"), "-o", "json"], None);
        let deployment: Value = serde_json::from_str(&text).unwrap();
        let template = &deployment["spec"]["template"]["spec"];
        assert_eq!(template["serviceAccountName"], NAME);
        let pod = self.run(template, &format!("{NAME}-{}", self.started));
        self.started += 1;
        self.probe(&pod, &template["containers"][0]).await;
        self.pods.push(pod);
    }

    /// Runs a pod's first container.
    fn run(&self, template: &Value, name: &str) -> Pod {
        let container = &template["containers"][0];
        let at = Reservation::new().unwrap();
        let root = self.scene.directory.path().join("pods").join(name);
        for mount in container["volumeMounts"].as_array().into_iter().flatten() {
            let at = mount["mountPath"].as_str().unwrap().trim_start_matches('/');
            if let Some(folder) = at.strip_prefix("folders/") {
                let link = root.join(at);
                std::fs::create_dir_all(link.parent().unwrap()).unwrap();
                std::os::unix::fs::symlink(self.scene.directory.path().join(folder), link).unwrap();
            }
        }
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.scene.log()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_pcf-operator"));
        command.env_clear().env("KUBECONFIG", &self.scene.kubeconfig).stderr(log).stdout(Stdio::null());
        for variable in container["env"].as_array().into_iter().flatten() {
            let key = variable["name"].as_str().unwrap();
            let value = match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
                Some("metadata.name") => name.to_string(),
                Some("metadata.namespace") => NAMESPACE.to_string(),
                Some(other) => panic!("the test's kubelet does not know {other}"),
                None => variable["value"].as_str().unwrap().to_string(),
            };
            let value = match key {
                "PCF_METRICS_ADDRESS" => format!("127.0.0.1:{}", at.port),
                "PCF_VOLUMES" => value.replace("=/", &format!("={}/", root.display())),
                _ => value,
            };
            command.env(key, value);
        }
        command.args(container["args"].as_array().unwrap().iter().map(|a| a.as_str().unwrap()));
        Pod { process: Process::of(command.spawn().unwrap()), at }
    }

    /// What a kubelet asks before it counts a pod as ready.
    async fn probe(&self, pod: &Pod, container: &Value) {
        for probe in ["readinessProbe", "livenessProbe"] {
            let path = container[probe]["httpGet"]["path"].as_str().unwrap();
            self.scene.until(probe, || get(pod.at.port, path).is_some()).await;
        }
    }

    /// What a Deployment does when its template has changed: new pods, then the old ones are told to stop.
    async fn roll(&mut self) {
        let old = std::mem::take(&mut self.pods);
        let number = old.len();
        for _ in 0..number {
            self.start_pod().await;
        }
        for pod in &old {
            pod.process.signal("TERM");
        }
        // What is at work in one of them is let end, and the test may hold it.
        self.scene.lab.release();
        for mut pod in old {
            self.scene
                .until("the end of a pod that was told to stop", || pod.process.ended().is_some())
                .await;
        }
    }

    fn revision(&self) -> String {
        let path = "jsonpath={.items[*].metadata.labels.version}";
        self.scene.kubectl(&["get", "secrets", "-l", "owner=helm,status=deployed", "-o", path], None)
    }
}

/// What an administrator of this lab would write.
fn values_for(lab: &Lab) -> Value {
    let env = lab.operator_env();
    let pairs = |name: &str| {
        let text = env[name].clone();
        text.split(',')
            .map(|p| p.split_once('=').unwrap())
            .map(|(a, b)| (a.to_string(), b.to_string()))
            .collect::<Vec<_>>()
    };
    let folders: Vec<Value> =
        pairs("PCF_VOLUMES").iter().map(|(name, _)| json!({"name": name, "claim": name})).collect();
    let connect: Vec<Value> =
        pairs("PCF_CONNECT_TO").iter().map(|(from, to)| json!({"from": from, "to": to})).collect();
    json!({
        "folders": folders,
        "operator": {"silence": env["PCF_SILENCE"], "poll": "1s", "connectTo": connect},
        "leaderElection": {"leaseDuration": "5s"},
        "terminationGracePeriodSeconds": 60,
    })
}

/// A metric's value, of the one series with these labels.
fn metric(port: u16, series: &str) -> Option<f64> {
    let text = get(port, "/metrics")?;
    text.lines().find_map(|l| l.strip_prefix(series)?.trim().parse().ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn helm_installs_upgrades_tests_and_uninstalls_around_a_failover() {
    let plane = Plane::own(Options::default());
    let mut release = Release::install(plane).await;
    release.start_pod().await;
    release.start_pod().await;
    let leaders = |r: &Release| -> Vec<f64> {
        r.pods.iter().map(|p| metric(p.at.port, "persistentchat_leader").unwrap()).collect()
    };
    release.scene.apply(&release.scene.lab.resource(RESOURCE));
    release.scene.wait_for("Ready", "True", "Active").await;
    assert_eq!(leaders(&release).iter().sum::<f64>(), 1.0, "one leads");
    // A standby says nothing of a pool that it does not look at.
    let series = "persistentchat_last_look_timestamp_seconds{";
    let looking =
        release.pods.iter().filter(|p| get(p.at.port, "/metrics").unwrap().contains(series)).count();
    assert_eq!(looking, 1);

    // Upgraded in the middle of the failover.
    release.scene.lose().await;
    hold_first(&release.scene, &["RESTORE LOG"]);
    release.scene.want(1);
    until_held(&release.scene, "RESTORE LOG").await;
    release.helm(&["upgrade", "pcf", CHART, "--set", "operator.log=debug"]);
    release.roll().await;
    release.scene.wait_until_ready_in(1).await;
    release.scene.wait_until_at_rest().await;
    let mut wrong = not_live_in(&release.scene.lab, 1);
    wrong.extend(not_once(&release.scene.lab, 0, FAILOVER_ONCE));
    assert!(wrong.is_empty(), "the lab disagrees: {wrong:?}");

    // Rolled back: nothing of it is about the pool.
    let before = release.scene.writes();
    release.helm(&["rollback", "pcf", "1"]);
    assert_eq!(release.revision(), "3");
    release.roll().await;
    release.scene.wait_for("Ready", "True", "Active").await;
    helm_tests_it(&release).await;
    // Told twice: an event that is repeated is counted, not written anew.
    for _ in 0..2 {
        release.scene.want(0);
        release.scene.wait_for("Stalled", "True", "SourceAlive").await;
        release.scene.want(1);
        release.scene.wait_for("Ready", "True", "Active").await;
    }
    release.scene.until("a repeated event", || release.scene.events().iter().any(|(_, _, n)| *n > 1)).await;
    the_rights_are_exact(&release);

    // Uninstalled: the definition and the resource stay, and nothing switches.
    let told = release.helm(&["uninstall", "pcf"]);
    assert!(told.contains("kept due to the resource policy"), "{told}");
    for mut pod in std::mem::take(&mut release.pods) {
        pod.process.signal("TERM");
        release.scene.until("the end of a pod", || pod.process.ended().is_some()).await;
    }
    assert_eq!(release.scene.object()["status"]["activeDataCenter"], "seattle");
    assert_eq!(release.scene.writes(), before);
}

/// `helm test` makes a pod and waits for it. The test runs what is in it, and says what became of it as a kubelet does.
async fn helm_tests_it(release: &Release) {
    let mut test = release.helm_command(&["test", "pcf", "--timeout", "60s"]);
    let mut helm = test.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let name = format!("{NAME}-test");
    let pod = || {
        let text = release
            .scene
            .plane
            .kubectl(&["-n", NAMESPACE, "get", &format!("pod/{name}"), "-o", "json"], None);
        text.ok().and_then(|t| serde_json::from_str::<Value>(&t).ok())
    };
    release.scene.until("the pod of the test", || pod().is_some()).await;
    let container = pod().unwrap()["spec"]["containers"][0].clone();
    let arguments: Vec<String> =
        container["args"].as_array().unwrap().iter().map(|a| a.as_str().unwrap().into()).collect();
    let service = format!("http://{NAME}.{NAMESPACE}.svc:8080");
    assert_eq!(arguments, ["probe".to_string(), format!("{service}/readyz")]);
    let url = arguments[1].replace(&service, &format!("http://127.0.0.1:{}", release.pods[0].at.port));
    let out = Command::new(env!("CARGO_BIN_EXE_pcf-operator")).args(["probe", &url]).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let status = json!({"status": {"phase": "Succeeded"}}).to_string();
    release.scene.kubectl(
        &["patch", &format!("pod/{name}"), "--subresource=status", "--type=merge", "-p", &status],
        None,
    );
    let deadline = Instant::now() + Duration::from_secs(60);
    while helm.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "helm test does not end");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let told = String::from_utf8(helm.wait_with_output().unwrap().stdout).unwrap();
    assert!(told.contains("Succeeded"), "{told}");
}

/// What the operators asked for is what they have a right to, and the other way round.
fn the_rights_are_exact(release: &Release) {
    let account = format!("system:serviceaccount:{NAMESPACE}:{NAME}");
    let log = release.scene.plane.audit_log();
    let asked = log.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok());
    let asked = asked.filter(|e| e["user"]["username"] == account.as_str());
    let text = |v: &Value| v.as_str().unwrap_or_default().to_string();
    let used: BTreeSet<(String, String, String)> = asked
        .map(|e| {
            let o = &e["objectRef"];
            let sub = o["subresource"].as_str().map(|s| format!("/{s}")).unwrap_or_default();
            let resource = format!("{}{sub}", text(&o["resource"]));
            assert_eq!(o["namespace"], NAMESPACE, "{e}");
            assert!(e["responseStatus"]["code"] != 403, "it was refused: {e}");
            (text(&o["apiGroup"]), resource, text(&e["verb"]))
        })
        .collect();
    let rights = |r: &Right| {
        let one = |verb: &&str| (r.group.to_string(), r.resource.to_string(), (*verb).to_string());
        r.verbs.iter().map(one).collect::<Vec<_>>()
    };
    let given: BTreeSet<(String, String, String)> = RIGHTS.iter().flat_map(rights).collect();
    assert_eq!(used, given, "left: what was asked for; right: what is in the table");
}

/// Whether an API server takes the chart with no word of warning, and who may do what with it: rights, and the policy on consents.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_takes_the_chart_and_holds_everybody_to_its_rights() {
    count("chart_rights");
    // The chart brings the definition: this API server has none.
    let directory = tempfile::tempdir().unwrap();
    let plane = ControlPlane::start_with(directory.path(), Options::default()).unwrap();
    let kubectl = plane.kubectl_path();
    let out = Command::new("scripts/chart.sh")
        .arg("server")
        .current_dir(manifests())
        .env("KUBECONFIG", plane.admin_kubeconfig())
        .env("KUBEBUILDER_ASSETS", kubectl.parent().unwrap())
        .output()
        .unwrap();
    let told = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{told}");
}
