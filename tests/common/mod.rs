//! What the whole-program tests share: one real control plane for each test program, a lab and an operator for each test.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use lab::control_plane::{ControlPlane, Options};
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
        define(&plane);
        plane
    })
}

fn define(plane: &ControlPlane) {
    let crds = manifests().join("crds").display().to_string();
    plane.kubectl(&["apply", "--server-side", "-f", &crds], None).unwrap();
    let crd = "crd/persistentchatfailovers.persistentchat.dev";
    plane.kubectl(&["wait", "--for=condition=Established", crd, "--timeout=30s"], None).unwrap();
}

/// A control plane of a test's own, which it may disturb. Ends with the test.
pub struct OwnPlane {
    plane: ControlPlane,
    _directory: tempfile::TempDir,
}

/// The control plane that a scene plays on.
#[derive(Clone)]
pub enum Plane {
    /// That of the whole test program. Must not be disturbed.
    Shared,
    /// The test's own.
    Own(Arc<OwnPlane>),
}

impl Plane {
    /// Starts one. Must be called by a thread that lives as long as it is needed: its children die with that thread.
    pub fn own(options: Options) -> Plane {
        let directory = tempfile::tempdir().unwrap();
        let plane = ControlPlane::start_with(directory.path(), options)
            .unwrap_or_else(|e| panic!("the control plane does not start: {e}"));
        define(&plane);
        Plane::Own(Arc::new(OwnPlane { plane, _directory: directory }))
    }
}

impl std::ops::Deref for Plane {
    type Target = ControlPlane;
    fn deref(&self) -> &ControlPlane {
        match self {
            Plane::Shared => plane(),
            Plane::Own(own) => &own.plane,
        }
    }
}

/// Sends a signal by its name (`TERM`, `STOP`, `CONT`).
pub fn signal(pid: u32, name: &str) {
    let sent = std::process::Command::new("sh")
        .args(["-c", "kill -s \"$1\" \"$2\"", "sh", name, &pid.to_string()])
        .status()
        .unwrap();
    assert!(sent.success(), "kill -s {name} {pid}: {sent}");
}

/// A process of ours. Killed when it is dropped.
pub struct Process(Child);

impl Process {
    /// kill -9.
    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        signal(self.0.id(), name);
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.0.try_wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
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
    pub plane: Plane,
    /// The operator's kubeconfig: a test may put another server's address into it.
    pub kubeconfig: PathBuf,
    /// Environment variables of the operators to come.
    pub env: Vec<(&'static str, &'static str)>,
    pub operator: Option<Process>,
}

impl Scene {
    /// Everything but the operator; the resource is not applied yet.
    pub async fn set(test: &str, scenario: Scenario) -> Scene {
        Scene::set_on(Plane::Shared, test, scenario).await
    }

    /// The same, on a control plane that may be the test's own.
    pub async fn set_on(plane: Plane, test: &str, scenario: Scenario) -> Scene {
        count(test);
        let namespace = test.replace('_', "-");
        demo::prepare_namespace(&plane, manifests(), &namespace).unwrap();
        let kubeconfig = plane.service_account_kubeconfig(&namespace, "pcf-operator").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let lab = Lab::start(scenario, directory.path()).await.unwrap();
        Scene { lab, namespace, directory, plane, kubeconfig, env: vec![], operator: None }
    }

    /// The usual beginning: the resource is applied, the operator runs, the resource is Ready.
    pub async fn ready(test: &str, scenario: Scenario) -> Scene {
        let mut scene = Scene::set(test, scenario).await;
        scene.begin().await;
        scene
    }

    /// Applies the resource, starts the operator and waits until the resource is Ready.
    pub async fn begin(&mut self) {
        self.apply(&self.lab.resource("litware"));
        self.start_operator();
        self.wait_for("Ready", "True", "Active").await;
    }

    pub fn apply(&self, text: &str) {
        self.kubectl(&["apply", "-f", "-"], Some(text));
    }

    pub fn kubectl(&self, arguments: &[&str], stdin: Option<&str>) -> String {
        let mut all = vec!["-n", self.namespace.as_str()];
        all.extend(arguments);
        self.plane.kubectl(&all, stdin).unwrap_or_else(|e| panic!("{e}"))
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
        self.operator = Some(self.another_operator(&self.log()));
    }

    /// One more operator, with a log of its own.
    pub fn another_operator(&self, log: &Path) -> Process {
        let program = Path::new(env!("CARGO_BIN_EXE_pcf-operator"));
        Process(
            demo::start_operator_with(&self.lab, &self.kubeconfig, program, &self.namespace, log, &self.env)
                .unwrap(),
        )
    }

    /// kill -9.
    pub fn kill_operator(&mut self) {
        self.operator = None;
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
            let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let ready = conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
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

/// A way to a port of this machine that can be cut.
pub struct Proxy {
    pub port: u16,
    open: tokio::sync::watch::Sender<bool>,
    turned_away: Arc<AtomicUsize>,
    _accepting: tokio::task::JoinSet<()>,
}

impl Proxy {
    pub async fn to(target: u16) -> Proxy {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (open, is_open) = tokio::sync::watch::channel(true);
        let turned_away: Arc<AtomicUsize> = Arc::default();
        let count = turned_away.clone();
        let mut accepting = tokio::task::JoinSet::new();
        accepting.spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                if !*is_open.borrow() {
                    count.fetch_add(1, Ordering::SeqCst);
                    continue;
                }
                let mut is_open = is_open.clone();
                connections.spawn(async move {
                    let through = async {
                        let mut server = tokio::net::TcpStream::connect(("127.0.0.1", target)).await?;
                        tokio::io::copy_bidirectional(&mut client, &mut server).await
                    };
                    // Either way the connection ends; how does not matter to a proxy.
                    tokio::select! {
                        _ = through => {}
                        _ = is_open.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Proxy { port, open, turned_away, _accepting: accepting }
    }

    /// Cuts every connection; whoever connects is turned away from now on.
    pub fn cut(&self) {
        self.open.send_replace(false);
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.open.send_replace(true);
    }

    /// How many were turned away so far.
    pub fn turned_away(&self) -> usize {
        self.turned_away.load(Ordering::SeqCst)
    }
}
