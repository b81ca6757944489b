//! Flux beside a scene: the real kustomize-controller, and a **stand-in for source-controller**.
//!
//! The stand-in is no Flux: not all of the modules that source-controller is made of can be had from the module proxy. It does what
//! kustomize-controller sees of it: each commit is an archive behind a URL, and the status of the GitRepository says which. It is told of a
//! commit when it is made, as by a webhook; it reads no URL, knows no credentials, and verifies no signature. What it writes goes through
//! source-controller's real definition.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use lab::control_plane::die_with_us;
use lab::ports::Reservation;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::gitops::{BRANCH, FOLDER, Repository, secrets_and_resource};
use super::scene::{RESOURCE, Scene, quick};
use super::{Plane, Process, end_of, printed, until_defined};

/// The name of the GitRepository and of the Kustomization of every scene.
pub const NAME: &str = "chat";
/// The file of the resource in the repository.
pub const FILE: &str = "chat/litware.yaml";
/// A file beside it, so that the folder is there without it.
pub const BESIDE: &str = "chat/contact.yaml";

/// How long anything of Flux may take: ten times what the slowest wait of these tests took, a failover in it.
const LIMIT: Duration = Duration::from_secs(180);

/// How soon a commit must stand in the object, however long the one before it would be waited for: ten times what was measured.
const SOON: Duration = Duration::from_secs(20);

/// The folder that `scripts/flux.sh` builds: the controller, and the definitions.
fn built() -> &'static Path {
    static BUILT: OnceLock<String> = OnceLock::new();
    BUILT.get_or_init(|| printed("flux.sh", &[])).as_ref()
}

/// Flux's definitions on a control plane.
pub fn define(plane: &Plane) {
    let crds = built().join("crds").display().to_string();
    plane.kubectl(&["apply", "--server-side", "-f", &crds], None).unwrap();
    until_defined(
        plane,
        &["kustomizations.kustomize.toolkit.fluxcd.io", "gitrepositories.source.toolkit.fluxcd.io"],
    );
}

/// The stand-in for source-controller: serves an archive for each commit.
pub struct SourceStandIn {
    port: u16,
    archives: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    _serving: tokio::task::JoinSet<()>,
}

impl SourceStandIn {
    async fn start() -> SourceStandIn {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let archives: Arc<Mutex<BTreeMap<String, Vec<u8>>>> = Arc::default();
        let served = archives.clone();
        let mut serving = tokio::task::JoinSet::new();
        serving.spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                // Whoever ends a connection in its middle asks again; how it ended does not matter to the stand-in.
                let _ = answer(&mut client, &served).await;
            }
        });
        SourceStandIn { port, archives, _serving: serving }
    }

    /// The status of a GitRepository whose newest commit is this one.
    fn status_of(&self, commit: &str, archive: Vec<u8>, generation: &Value) -> Value {
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let (size, digest) = (archive.len(), Sha256::digest(&archive));
        let digest: String = digest.iter().map(|b| format!("{b:02x}")).collect();
        let path = format!("{commit}.tar.gz");
        self.archives.lock().unwrap().insert(format!("/{path}"), archive);
        let revision = format!("{BRANCH}@sha1:{commit}");
        json!({
            "observedGeneration": generation,
            "artifact": {"path": path, "url": format!("http://127.0.0.1:{}/{path}", self.port), "revision": revision,
                "digest": format!("sha256:{digest}"), "size": size, "lastUpdateTime": now},
            "conditions": [{"type": "Ready", "status": "True", "reason": "Succeeded", "lastTransitionTime": now,
                "message": format!("stored artifact for revision '{revision}'"), "observedGeneration": generation}],
        })
    }
}

/// A stand-in for notification-controller: keeps each event that Flux hands on.
pub struct Told {
    port: u16,
    events: Arc<Mutex<Vec<Value>>>,
    _serving: tokio::task::JoinSet<()>,
}

impl Told {
    pub async fn start() -> Told {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let events: Arc<Mutex<Vec<Value>>> = Arc::default();
        let kept = events.clone();
        let mut serving = tokio::task::JoinSet::new();
        serving.spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                // Whoever breaks off in the middle tells it again.
                if let Ok(event) = take(&mut client).await {
                    kept.lock().unwrap().push(event);
                }
            }
        });
        Told { port, events, _serving: serving }
    }

    /// What a controller is given as its `--events-addr`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// All that was told so far.
    pub fn all(&self) -> Vec<Value> {
        self.events.lock().unwrap().clone()
    }
}

/// Takes one event and says that it was taken.
async fn take(client: &mut tokio::net::TcpStream) -> std::io::Result<Value> {
    let head = head_of(client).await?.to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.unwrap().trim().parse().unwrap()];
    client.read_exact(&mut body).await?;
    client.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await?;
    client.shutdown().await?;
    Ok(serde_json::from_slice(&body).unwrap())
}

/// A request up to the empty line.
async fn head_of(client: &mut tokio::net::TcpStream) -> std::io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

async fn answer(
    client: &mut tokio::net::TcpStream,
    archives: &Mutex<BTreeMap<String, Vec<u8>>>,
) -> std::io::Result<()> {
    let head = head_of(client).await?;
    let path = head.split(' ').nth(1).unwrap_or_default();
    let (status, body) = match archives.lock().unwrap().get(path) {
        Some(archive) => ("200 OK", archive.clone()),
        None => ("404 Not Found", Vec::new()),
    };
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    client.write_all(head.as_bytes()).await?;
    client.write_all(&body).await?;
    client.shutdown().await
}

/// What a controller is told when it is started.
pub struct Arguments {
    /// Whether a wait is broken off by the next commit: the documentation advises it, and it is not how Flux comes.
    pub gate: bool,
    /// Where it tells what happens; empty: nowhere.
    pub events: String,
}

impl Default for Arguments {
    fn default() -> Arguments {
        Arguments { gate: true, events: String::new() }
    }
}

/// A repository, the stand-in, and the controller, in a namespace of the scene's control plane.
pub struct Flux {
    pub repository: Repository,
    /// Where the GitRepository and the Kustomization are.
    namespace: String,
    plane: Plane,
    source: SourceStandIn,
    log: PathBuf,
    _controller: Process,
    _ports: [Reservation; 2],
}

impl Flux {
    /// Flux beside a scene, in its namespace, with the manifest of the lab's resource committed and all else of it applied. The operator
    /// need not run.
    pub async fn beside(scene: &Scene, resource: &str) -> Flux {
        let flux = Flux::empty(scene, Arguments::default()).await;
        flux.commit_pool(resource);
        flux
    }

    /// The same, before anything is committed.
    pub async fn empty(scene: &Scene, arguments: Arguments) -> Flux {
        let flux = Flux::start_with(scene, &scene.namespace, arguments).await;
        let (secrets, _) = secrets_and_resource(scene);
        scene.apply(&secrets);
        scene.apply(&objects(&scene.namespace));
        flux
    }

    /// The first commit.
    pub fn commit_pool(&self, resource: &str) {
        let beside = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: contact}\ndata: {on-call: Ann}\n";
        self.commit("the pool", &[(FILE, Some(resource)), (BESIDE, Some(beside))]);
    }

    /// The controller over a namespace, with an empty repository; nothing is applied.
    pub async fn start(scene: &Scene, namespace: &str) -> Flux {
        Flux::start_with(scene, namespace, Arguments::default()).await
    }

    pub async fn start_with(scene: &Scene, namespace: &str, arguments: Arguments) -> Flux {
        define(&scene.plane);
        let log = scene.directory.path().join("kustomize-controller.log");
        let ports = [Reservation::new().unwrap(), Reservation::new().unwrap()];
        let at = |r: &Reservation| format!("127.0.0.1:{}", r.port);
        let controller = die_with_us(
            Command::new(built().join("kustomize-controller"))
                .args(["--enable-leader-election=false", "--watch-all-namespaces=false"])
                .args(["--interval-jitter-percentage=0"])
                .args([
                    format!("--events-addr={}", arguments.events),
                    format!("--feature-gates=CancelHealthCheckOnNewRevision={}", arguments.gate),
                    format!("--metrics-addr={}", at(&ports[0])),
                    format!("--health-addr={}", at(&ports[1])),
                ])
                .env("KUBECONFIG", scene.plane.admin_kubeconfig())
                .env("RUNTIME_NAMESPACE", namespace)
                // Where it unpacks archives: nothing of a killed one is left behind.
                .env("TMPDIR", scene.directory.path())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(std::fs::File::create(&log).unwrap()),
        )
        .spawn()
        .unwrap();
        Flux {
            repository: Repository::new(),
            namespace: namespace.into(),
            plane: scene.plane.clone(),
            source: SourceStandIn::start().await,
            log,
            _controller: Process::of(controller),
            _ports: ports,
        }
    }

    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let all = [&["-n", self.namespace.as_str()], arguments].concat();
        self.plane.kubectl(&all, None).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Commits, and lets the stand-in tell of it. Gives the commit.
    pub fn commit(&self, message: &str, files: &[(&str, Option<&str>)]) -> String {
        let commit = self.repository.commit(message, files);
        self.publish(&commit);
        commit
    }

    /// The resource as it is to be from now on.
    pub fn commit_resource(&self, message: &str, resource: &str) -> String {
        self.commit(message, &[(FILE, Some(resource))])
    }

    /// Undoes the last commit by another one.
    pub fn revert(&self) -> String {
        let commit = self.repository.revert();
        self.publish(&commit);
        commit
    }

    /// The stand-in's work: the commit is what the GitRepository has now.
    fn publish(&self, commit: &str) {
        let source = format!("gitrepositories/{NAME}");
        let object = self.get(&source);
        let generation = &object["metadata"]["generation"];
        let status = self.source.status_of(commit, self.repository.archive(commit), generation);
        let patch = json!({ "status": status }).to_string();
        self.kubectl(&["patch", &source, "--subresource=status", "--type=merge", "-p", &patch]);
    }

    fn get(&self, what: &str) -> Value {
        let (kinds, name) = what.split_once('/').unwrap();
        let group = if kinds == "kustomizations" { "kustomize" } else { "source" };
        let of = format!("/apis/{group}.toolkit.fluxcd.io/v1/namespaces/{}", self.namespace);
        self.plane.read(&format!("{of}/{kinds}/{name}"))
    }

    /// Changes the Kustomization's own spec.
    pub fn patch(&self, spec: &Value) {
        let patch = json!({ "spec": spec }).to_string();
        self.kubectl(&["patch", &format!("kustomization/{NAME}"), "--type=merge", "-p", &patch]);
    }

    /// As `flux reconcile kustomization` does: not at the next interval, but now.
    pub fn reconcile(&self) {
        let now = format!("reconcile.fluxcd.io/requestedAt={}", jiff::Timestamp::now());
        self.kubectl(&["annotate", "--overwrite", &format!("kustomization/{NAME}"), &now]);
    }

    /// The Kustomization's Ready: status and reason, and its message. Of the commit that it has tried last.
    fn told(&self) -> (Value, Value) {
        let object = self.get(&format!("kustomizations/{NAME}"));
        let conditions = object["status"]["conditions"].as_array();
        let ready = conditions.into_iter().flatten().find(|c| c["type"] == "Ready").cloned();
        (object, ready.unwrap_or(Value::Null))
    }

    /// Whether the Kustomization says that a commit is applied and healthy.
    pub fn is_ready_at(&self, commit: &str) -> bool {
        let (object, ready) = self.told();
        ready["status"] == "True" && ends_with(&object["status"]["lastAppliedRevision"], commit)
    }

    /// Waits until the Kustomization says so.
    pub async fn until_ready_at(&self, commit: &str) {
        self.until(&format!("Ready at {commit}"), || self.is_ready_at(commit)).await;
    }

    /// Waits until the Kustomization says of a commit that it failed for a reason; gives the message.
    pub async fn until_failed_at(&self, commit: &str, reason: &str) -> String {
        let mut message = String::new();
        self.until(&format!("{reason} at {commit}"), || {
            let (object, ready) = self.told();
            message = ready["message"].as_str().unwrap_or_default().into();
            let of_it = ends_with(&object["status"]["lastAttemptedRevision"], commit);
            of_it && ready["status"] == "False" && ready["reason"] == reason
        })
        .await;
        message
    }

    /// Waits until the Kustomization has applied a commit and waits for it to become healthy.
    pub async fn until_waiting_at(&self, commit: &str) {
        self.until(&format!("waiting at {commit}"), || {
            let (object, ready) = self.told();
            let conditions = object["status"]["conditions"].as_array();
            let healthy = conditions.into_iter().flatten().find(|c| c["type"] == "Healthy");
            let of_it = ends_with(&object["status"]["lastAttemptedRevision"], commit);
            let of_it = of_it && healthy.is_some_and(|c| c["message"].as_str().unwrap().contains(commit));
            of_it && healthy.unwrap()["status"] == "Unknown" && ready["status"] == "Unknown"
        })
        .await;
    }

    /// How often the controller has come to an end of reconciling so far, well or not.
    pub fn reconciled(&self) -> usize {
        self.says("Reconciliation finished in") + self.says("Reconciliation failed after")
    }

    /// How often the controller's log says something.
    pub fn says(&self, text: &str) -> usize {
        std::fs::read_to_string(&self.log).unwrap_or_default().matches(text).count()
    }

    /// Waits until it has reconciled so many times more. The first of them may have begun before.
    pub async fn until_reconciled(&self, times: usize) {
        let before = self.reconciled();
        self.until("more reconciles", || self.reconciled() > before + times).await;
    }

    pub async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !holds() {
            if Instant::now() >= deadline {
                let tail = end_of(&self.log);
                panic!("{what}: did not come. The Kustomization says {:#}\n{tail}", self.told().0["status"]);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn ends_with(revision: &Value, commit: &str) -> bool {
    revision.as_str().is_some_and(|r| r.ends_with(commit))
}

/// The two objects of Flux for a scene. The interval is short: each test sees several of them. `wait` is what this is all about.
fn objects(namespace: &str) -> String {
    format!(
        "apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\nmetadata: {{name: {NAME}}}\n\
         spec: {{interval: 10m, url: 'https://git.litwareinc.com/chat', ref: {{branch: {BRANCH}}}}}\n---\n\
         apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {{name: {NAME}}}\n\
         spec: {{interval: 1s, retryInterval: 1s, timeout: 10m, prune: true, wait: true, path: ./{FOLDER}, \
         targetNamespace: {namespace}, sourceRef: {{kind: GitRepository, name: {NAME}}}}}\n"
    )
}

/// Who has written the resource, by the API server: each manager, by which operation, and of which part.
pub fn managers(scene: &Scene) -> Vec<(String, String, String)> {
    let object = scene.object();
    let text = |m: &Value, key: &str| m[key].as_str().unwrap_or_default().to_string();
    let all = object["metadata"]["managedFields"].as_array().unwrap();
    all.iter().map(|m| (text(m, "manager"), text(m, "operation"), text(m, "subresource"))).collect()
}

/// The manifest with another data centre to be active.
pub fn wanting(resource: &str, name: &str) -> String {
    let (head, rest) = resource.split_once("activeDataCenter: ").unwrap();
    let (_, tail) = rest.split_once('\n').unwrap();
    format!("{head}activeDataCenter: {name}\n{tail}")
}

/// The manifest with one more field of its spec, which is its end.
pub fn with(resource: &str, field: &str) -> String {
    format!("{resource}  {field}\n")
}

/// A scene whose resource came by a commit and is Ready, for the operator and for Flux.
pub async fn ready(test: &str, more: &str) -> (Scene, Flux, String) {
    ready_with(test, more, Arguments::default()).await
}

/// The same, with a controller that is started in another way.
pub async fn ready_with(test: &str, more: &str, arguments: Arguments) -> (Scene, Flux, String) {
    let mut scene = Scene::set(test, quick()).await;
    let (_, mut resource) = secrets_and_resource(&scene);
    if !more.is_empty() {
        resource = with(&resource, more);
    }
    let flux = Flux::empty(&scene, arguments).await;
    flux.commit_pool(&resource);
    until_ready(&mut scene, &flux).await;
    (scene, flux, resource)
}

/// Starts the operator, and waits until what was committed is Ready, for it and for Flux.
pub async fn until_ready(scene: &mut Scene, flux: &Flux) {
    scene.start_operator();
    flux.until_ready_at(&flux.repository.head()).await;
    scene.wait_for("FailoverReady", "True", "Completed").await;
}

/// What the resource wishes.
pub fn wished(scene: &Scene) -> Value {
    scene.object()["spec"]["activeDataCenter"].take()
}

/// Waits until the object wishes what was committed; it must be soon.
pub async fn until_wished(scene: &Scene, name: &str) {
    let began = Instant::now();
    scene.until("the committed wish", || wished(scene) == name).await;
    assert!(began.elapsed() < SOON, "after {:?}", began.elapsed());
}

/// Says yes to what is asked, by the plugin, as somebody does who has read it. What it was.
pub fn approve(scene: &Scene) -> Value {
    let asked = scene.object()["status"]["transition"]["consentNeeded"].take();
    let out = Command::new(env!("CARGO_BIN_EXE_kubectl-pcf"))
        .args(["approve", RESOURCE, "-n", &scene.namespace, "--yes", asked["situation"].as_str().unwrap()])
        .env("KUBECONFIG", scene.plane.admin_kubeconfig())
        .output()
        .unwrap();
    assert!(out.status.success(), "{out:?}");
    asked
}

/// Changes the spec as kubectl does, under another name than its own.
pub fn patch_as(scene: &Scene, manager: &str, spec: &Value) {
    let (name, patch) = (format!("pcf/{RESOURCE}"), json!({ "spec": spec }).to_string());
    let manager = format!("--field-manager={manager}");
    scene.kubectl(&["patch", &name, &manager, "--type=merge", "-p", &patch], None);
}
