//! What the whole-program tests share: one real control plane for each test program, a lab and an operator for each test.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use lab::control_plane::ControlPlane;
use lab::scenario::Scenario;
use lab::serve::{Lab, demo};
use serde_json::Value;

pub fn manifests() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The control plane of this test program. It is started by a thread that never ends: its children die with that thread.
pub fn plane() -> &'static ControlPlane {
    static PLANE: OnceLock<ControlPlane> = OnceLock::new();
    PLANE.get_or_init(|| {
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let directory = tempfile::tempdir().unwrap();
            tell.send(ControlPlane::start(directory.path())).unwrap();
            loop {
                std::thread::park();
            }
        });
        let plane = told.recv().unwrap().unwrap_or_else(|e| panic!("the control plane does not start: {e}"));
        let crds = manifests().join("crds").display().to_string();
        plane.kubectl(&["apply", "--server-side", "-f", &crds], None).unwrap();
        plane
            .kubectl(
                &[
                    "wait",
                    "--for=condition=Established",
                    "crd/persistentchatfailovers.persistentchat.dev",
                    "--timeout=30s",
                ],
                None,
            )
            .unwrap();
        plane
    })
}

/// Counts a test that runs against the real API server; `make test` prints how many there were.
pub fn count(test: &str) {
    if let Some(path) = std::env::var_os("PCF_API_SERVER_TESTS") {
        let mut f = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(f, "{test}").unwrap();
    }
}

/// A lab, a namespace, and an operator in it.
pub struct Scene {
    pub lab: Lab,
    pub namespace: String,
    pub directory: tempfile::TempDir,
    operator: Option<Child>,
}

impl Scene {
    /// Everything but the operator; the resource is not applied yet.
    pub async fn set(test: &str, scenario: Scenario) -> Scene {
        count(test);
        let namespace = test.replace('_', "-");
        demo::prepare_namespace(plane(), manifests(), &namespace).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let lab = Lab::start(scenario, directory.path()).await.unwrap();
        Scene { lab, namespace, directory, operator: None }
    }

    /// The usual beginning: the resource is applied, the operator runs, the resource is Ready.
    pub async fn ready(test: &str, scenario: Scenario) -> Scene {
        let mut scene = Scene::set(test, scenario).await;
        scene.apply(&scene.lab.resource("litware"));
        scene.start_operator();
        scene.wait_for("Ready", "True", "Active").await;
        scene
    }

    pub fn apply(&self, text: &str) {
        self.kubectl(&["apply", "-f", "-"], Some(text));
    }

    pub fn kubectl(&self, arguments: &[&str], stdin: Option<&str>) -> String {
        let mut all = vec!["-n", self.namespace.as_str()];
        all.extend(arguments);
        plane().kubectl(&all, stdin).unwrap_or_else(|e| panic!("{e}"))
    }

    pub fn patch(&self, spec: &str) {
        self.kubectl(
            &["patch", "pcf/litware", "--type", "merge", "-p", &format!("{{\"spec\":{spec}}}")],
            None,
        );
    }

    pub fn log(&self) -> PathBuf {
        self.directory.path().join("operator.log")
    }

    pub fn start_operator(&mut self) {
        let program = Path::new(env!("CARGO_BIN_EXE_pcf-operator"));
        self.operator =
            Some(demo::start_operator(&self.lab, plane(), program, &self.namespace, &self.log()).unwrap());
    }

    /// kill -9, then a new process.
    pub fn kill_operator(&mut self) {
        if let Some(mut o) = self.operator.take() {
            o.kill().unwrap();
            o.wait().unwrap();
        }
    }

    /// Loses the first data centre and moves the Central Management store.
    pub async fn lose(&mut self) {
        self.lab.lose("atlanta").await.unwrap();
        self.lab.fail_over_central_management("seattle");
    }

    pub fn object(&self) -> Value {
        serde_json::from_str(&self.kubectl(&["get", "pcf/litware", "-o", "json"], None)).unwrap()
    }

    pub fn condition(&self, kind: &str) -> Option<Value> {
        let object = self.object();
        object["status"]["conditions"].as_array()?.iter().find(|c| c["type"] == kind).cloned()
    }

    /// Waits until a condition has a status and a reason; gives its message.
    pub async fn wait_for(&self, kind: &str, status: &str, reason: &str) -> String {
        self.wait_for_text(kind, status, reason, "").await
    }

    /// The same, for a message that holds a text.
    pub async fn wait_for_text(&self, kind: &str, status: &str, reason: &str, text: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            let object = self.object();
            let fresh = object["status"]["observedGeneration"] == object["metadata"]["generation"];
            let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let found = conditions.iter().find(|c| c["type"] == kind);
            let message = found.and_then(|c| c["message"].as_str()).unwrap_or_default();
            if found.is_some_and(|c| fresh && c["status"] == status && c["reason"] == reason)
                && message.contains(text)
            {
                return message.to_string();
            }
            assert!(
                Instant::now() < deadline,
                "{kind} did not become {status}/{reason} {text:?}; the status is\n{}\nthe operator's log ends with\n{}",
                serde_json::to_string_pretty(&object["status"]).unwrap(),
                std::fs::read_to_string(self.log())
                    .unwrap_or_default()
                    .lines()
                    .rev()
                    .take(10)
                    .collect::<Vec<_>>()
                    .join("\n")
            );
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    }

    /// Waits until chat is live in the second data centre, by the operator's word, and asserts that the lab agrees.
    pub async fn wait_until_failed_over(&self) {
        let wrong = self.wait_until_ready_in_seattle().await;
        assert!(wrong.is_empty(), "the lab disagrees: {wrong:?}");
    }

    /// Waits until the operator says so; gives what is wrong with that by the lab's own word.
    pub async fn wait_until_ready_in_seattle(&self) -> Vec<String> {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let object = self.object();
            let ready = self.condition("Ready").is_some_and(|c| c["status"] == "True");
            if ready
                && object["status"]["activeDataCenter"] == "seattle"
                && object["spec"]["activeDataCenter"] == "seattle"
            {
                break;
            }
            assert!(
                Instant::now() < deadline,
                "not failed over:\n{}",
                serde_json::to_string_pretty(&object["status"]).unwrap()
            );
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        demo::check(&self.lab)
    }

    pub fn writes(&self) -> Vec<String> {
        demo::writes(&self.lab)
    }

    /// Looks for a while whether anything is written although nothing may be.
    pub async fn assert_nothing_moves(&self) {
        // Several passes of the loop, which looks every half second in a lab.
        let until = Instant::now() + Duration::from_secs(3);
        while Instant::now() < until {
            assert_eq!(self.writes(), Vec::<String>::new());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.kill_operator();
    }
}

/// A world that fails over quickly.
pub fn quick() -> Scenario {
    Scenario {
        backups: 8,
        copied: 5,
        restored: 4,
        backup_bytes: 50_000,
        restore_ms: 300,
        recovery_ms: 500,
        mirror_ms: 1500,
        replication_ms: 200,
        cmdlet_ms: 20,
        ..Scenario::default()
    }
}
