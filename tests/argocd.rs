//! Argo CD itself (its controller and its repo-server, with redis and Git over HTTP) over the whole program on a real API server: with what
//! `examples/gitops/argocd` holds, and nothing else. By night only: Argo CD takes minutes to build.
//!
//! Its controller shows metrics on every address of the machine and has no switch for that, so all of it runs in a network of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::matrix::{hold_first, until_held};
use common::scene::{RESOURCE, Scene, not_live_in, quick};
use common::switches::{RECOVER, SET_SERVERS, beside};
use common::{Process, manifests, night};
use lab::control_plane::{binaries, die_with_us};
use lab::ports::Reservation;
use serde_json::{Value, json};

const TEST: &str = "chat_follows_git_and_argo_cd_says_what_the_operator_says";
/// Set for the run within: where Argo CD's program lies, and the folder of its sources.
const PROGRAM: &str = "PCF_ARGOCD_PROGRAM";
const SOURCES: &str = "PCF_ARGOCD_SOURCES";

#[test]
fn chat_follows_git_and_argo_cd_says_what_the_operator_says() {
    if !night() {
        // Past the capture of the test harness: that it was not done is said.
        return std::io::stdout()
            .write_all(b"Argo CD itself is driven by night only (PCF_NIGHT=1)\n")
            .unwrap();
    }
    if std::env::var_os(PROGRAM).is_none() {
        return in_a_network_of_its_own();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(story());
}

/// Runs this test again where there is no other machine. What is built first needs the network that is left.
fn in_a_network_of_its_own() {
    let answer = |command: &mut Command| {
        let out = command.output().unwrap();
        assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().trim().to_string()
    };
    let program = answer(Command::new("scripts/argocd.sh").current_dir(manifests()));
    let list = ["list", "-m", "-f", "{{.Dir}}", "github.com/argoproj/argo-cd/v3"];
    let module = manifests().join("tests/argocd");
    let sources = answer(Command::new("go").args(list).env("GOTOOLCHAIN", "local").current_dir(module));
    binaries().unwrap();
    let inside = Command::new("unshare")
        .args(["-rn", "--", "sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", TEST, "--nocapture"])
        .env(PROGRAM, program)
        .env(SOURCES, sources)
        .status()
        .unwrap();
    assert!(inside.success(), "the run within says why: {inside}");
}

/// What stands in Git, and a server of it.
struct Git {
    folder: tempfile::TempDir,
    port: u16,
}

impl Git {
    fn new() -> Git {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let root = folder.path().join("served");
        std::fs::create_dir(&root).unwrap();
        let git = Git { folder, port };
        git.run(&["init", "--quiet", "--bare", "--initial-branch=main", "served/chat.git"], ".");
        git.run(&["clone", "--quiet", "served/chat.git", "work"], ".");
        git.run(&["symbolic-ref", "HEAD", "refs/heads/main"], "work");
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let root = root.clone();
                // A client that goes away in the middle is no matter of ours.
                std::thread::spawn(move || answer(stream.unwrap(), &root));
            }
        });
        git
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/chat.git", self.port)
    }

    fn run(&self, arguments: &[&str], within: &str) -> String {
        let identity = ["-c", "user.name=Ann", "-c", "user.email=ann@litwareinc.com"];
        let out = Command::new("git")
            .args(identity)
            .args(arguments)
            .current_dir(self.folder.path().join(within))
            .output()
            .unwrap();
        assert!(out.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().trim().to_string()
    }

    /// Commits the resource, or that there is none. The commit's name.
    fn commit(&self, resource: Option<&Value>) -> String {
        let folder = self.folder.path().join("work/litware");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("README.md"), "Which data centre chat is active in.\n").unwrap();
        match resource {
            Some(resource) => std::fs::write(folder.join("resource.json"), resource.to_string()).unwrap(),
            None => std::fs::remove_file(folder.join("resource.json")).unwrap(),
        }
        self.run(&["add", "--all"], "work");
        self.run(&["commit", "--quiet", "--message", "What is wanted"], "work");
        self.run(&["push", "--quiet", "origin", "main"], "work");
        self.run(&["rev-parse", "HEAD"], "work")
    }
}

/// Answers one request by Git's own program for that.
fn answer(stream: TcpStream, root: &Path) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut line, mut length) = (String::new(), 0);
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_string);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut backend = Command::new("git");
    backend.arg("http-backend").env("GIT_PROJECT_ROOT", root).env("GIT_HTTP_EXPORT_ALL", "1");
    backend.env("REQUEST_METHOD", method).env("PATH_INFO", path).env("QUERY_STRING", query);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim().split_once(':') else { break };
        match name.to_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap_or(0),
            "content-type" => _ = backend.env("CONTENT_TYPE", value.trim()),
            "content-encoding" => _ = backend.env("HTTP_CONTENT_ENCODING", value.trim()),
            "git-protocol" => _ = backend.env("GIT_PROTOCOL", value.trim()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    backend.env("CONTENT_LENGTH", length.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = backend.spawn()?;
    child.stdin.take().unwrap().write_all(&body)?;
    let said = child.wait_with_output()?.stdout;
    let head = String::from_utf8_lossy(&said[..said.len().min(400)]).to_string();
    let status = head.lines().find_map(|l| l.strip_prefix("Status: ")).unwrap_or("200 OK");
    let mut stream = stream;
    write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\n")?;
    stream.write_all(&said)
}

/// Argo CD, with one Application.
struct Argo<'a> {
    scene: &'a Scene,
    git: Git,
    folder: tempfile::TempDir,
    processes: Vec<Process>,
    ports: Vec<Reservation>,
}

const NAMESPACE: &str = "argocd";
const APPLICATION: &str = "applications.argoproj.io/persistent-chat";

/// A document of the examples.
fn example(name: &str) -> Value {
    let path = manifests().join("examples/gitops/argocd").join(name);
    serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

impl Argo<'_> {
    fn start(scene: &Scene) -> Argo<'_> {
        let ports: Vec<Reservation> = (0..4).map(|_| Reservation::new().unwrap()).collect();
        let folder = tempfile::tempdir().unwrap();
        let mut argo = Argo { scene, git: Git::new(), folder, processes: vec![], ports };
        argo.install();
        let [redis, repo, repo_metrics, metrics] = [0, 1, 2, 3].map(|n| argo.ports[n].port.to_string());
        let (at_redis, at_repo) = (format!("127.0.0.1:{redis}"), format!("127.0.0.1:{repo}"));
        let mut server = Command::new("redis-server");
        server.args(["--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--port", &redis]);
        argo.spawn("redis", &mut server);
        let mut server = argo.program("argocd-repo-server");
        server.args(["--address", "127.0.0.1", "--port", &repo, "--redis", &at_redis, "--disable-tls"]);
        server.args(["--metrics-address", "127.0.0.1", "--metrics-port", &repo_metrics]);
        server.args(["--client-ca-path", "", "--revision-cache-expiration", "1s"]);
        argo.spawn("repo-server", &mut server);
        let mut controller = argo.program("argocd-application-controller");
        controller.args(["--namespace", NAMESPACE, "--repo-server", &at_repo, "--repo-server-plaintext"]);
        controller.args(["--redis", &at_redis, "--metrics-port", &metrics]);
        // Looks often: what it does unasked is to be seen soon.
        controller.args(["--app-resync", "10", "--app-resync-jitter", "0"]);
        argo.spawn("controller", &mut controller);
        argo
    }

    /// A program of Argo CD's: all of them are one, and its name says which.
    fn program(&self, name: &str) -> Command {
        let tools = self.folder.path().join("tools");
        let mut command = Command::new(std::env::var_os(PROGRAM).unwrap());
        command
            .env("ARGOCD_BINARY_NAME", name)
            .env("ARGOCD_FAKE_IN_CLUSTER", "true")
            .env("ARGOCD_GPG_ENABLED", "false")
            .env("KUBECONFIG", self.scene.plane.admin_kubeconfig())
            .env("HOME", self.folder.path())
            .env("PATH", format!("{}:{}", tools.display(), std::env::var("PATH").unwrap()));
        for data in ["TLS", "SSH", "GPG"] {
            command.env(format!("ARGOCD_{data}_DATA_PATH"), self.folder.path());
        }
        command
    }

    fn spawn(&mut self, name: &str, command: &mut Command) {
        let log = std::fs::File::create(self.log(name)).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.processes.push(Process::of(die_with_us(command).spawn().unwrap()));
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.log"))
    }

    fn kubectl(&self, arguments: &[&str], stdin: Option<&str>) -> String {
        let all = [&["-n", NAMESPACE], arguments].concat();
        self.scene.plane.kubectl(&all, stdin).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Its definitions and its configuration, with our examples in them.
    fn install(&self) {
        let sources = PathBuf::from(std::env::var_os(SOURCES).unwrap());
        let tools = self.folder.path().join("tools");
        std::fs::create_dir(&tools).unwrap();
        let wrapper = "git-verify-wrapper.sh";
        std::fs::copy(sources.join("hack").join(wrapper), tools.join(wrapper)).unwrap();
        let mode = Command::new("chmod").arg("755").arg(tools.join(wrapper)).status().unwrap();
        assert!(mode.success());
        self.kubectl(&["create", "namespace", NAMESPACE], None);
        for what in ["manifests/crds", "manifests/base/config"] {
            let path = sources.join(what).display().to_string();
            self.kubectl(&["apply", "--server-side", "-k", &path], None);
        }
        let apply = |document: &Value| {
            let arguments = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
            self.kubectl(&arguments, Some(&document.to_string()));
        };
        apply(&example("argocd-cm.yaml"));
        let key = json!({"server.secretkey": "a key that signs nothing here"});
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "argocd-secret"}, "stringData": key});
        apply(&secret);
        let mut project = example("project.yaml");
        project["spec"]["sourceRepos"] = json!([self.git.url()]);
        project["spec"]["destinations"][0]["namespace"] = json!(self.scene.namespace);
        apply(&project);
    }

    /// The Application of the examples.
    fn apply_application(&self) {
        let mut application = example("application.yaml");
        application["spec"]["source"]["repoURL"] = json!(self.git.url());
        application["spec"]["destination"]["namespace"] = json!(self.scene.namespace);
        self.kubectl(&["apply", "--server-side", "-f", "-"], Some(&application.to_string()));
    }

    fn application(&self) -> Value {
        serde_json::from_str(&self.kubectl(&["get", APPLICATION, "-o", "json"], None)).unwrap()
    }

    /// Tells it to look now, as a webhook would.
    fn refresh(&self) {
        let now = "argocd.argoproj.io/refresh=normal";
        self.kubectl(&["annotate", "--overwrite", APPLICATION, now], None);
    }

    /// Commits, and tells it.
    fn push(&self, resource: Option<&Value>) -> String {
        let commit = self.git.commit(resource);
        self.refresh();
        commit
    }

    /// Waits until something is true of the Application; how long that took.
    async fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Duration {
        let begun = Instant::now();
        loop {
            let application = self.application();
            if holds(&application) {
                return begun.elapsed();
            }
            if begun.elapsed() > Duration::from_secs(150) {
                let log = std::fs::read_to_string(self.log("controller")).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let end = lines[lines.len().saturating_sub(12)..].join("\n");
                panic!("{what}: did not come\n{:#}\n{end}\n{}", application["status"], self.scene.log_tail());
            }
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    }

    /// Waits until it shows a commit as synced and healthy.
    async fn until_healthy(&self, commit: &str) -> Duration {
        self.until(&format!("{commit} is Synced and Healthy"), |a| {
            let s = &a["status"];
            s["sync"]["status"] == "Synced"
                && s["sync"]["revision"] == commit
                && s["health"]["status"] == "Healthy"
        })
        .await
    }
}

/// The resource as it is to stand in Git; what else the lab's manifest holds is applied.
fn resource(scene: &Scene) -> Value {
    let text = scene.lab.resource(RESOURCE);
    let (ours, others): (Vec<&str>, Vec<&str>) =
        text.split("\n---\n").partition(|d| d.contains("kind: PersistentChatFailover"));
    scene.apply(&others.join("\n---\n"));
    let mut resource: Value = serde_saphyr::from_str(ours[0]).unwrap();
    let shipped = example("resource.yaml");
    resource["metadata"]["annotations"] = shipped["metadata"]["annotations"].clone();
    resource["spec"]["policy"] = shipped["spec"]["policy"].clone();
    resource
}

/// What must stay as it is while nobody does anything.
fn marks(argo: &Argo<'_>) -> (Value, Value, Value) {
    let status = &argo.application()["status"];
    let version = argo.scene.object()["metadata"]["resourceVersion"].clone();
    (version, status["history"].clone(), status["operationState"]["finishedAt"].clone())
}

async fn story() {
    let mut scene = Scene::set("argo_cd", beside(1, quick())).await;
    let wanted = resource(&scene);
    let in_the_other = {
        let mut other = wanted.clone();
        other["spec"]["activeDataCenter"] = json!(scene.data_center(1).name);
        other
    };
    scene.start_operator();
    let argo = Argo::start(&scene);
    let first = argo.git.commit(Some(&wanted));
    argo.apply_application();
    println!("created and healthy after {:?}", argo.until_healthy(&first).await);
    scene.wait_until_ready_in(0).await;
    scene.wait_until_at_rest().await;
    argo.until_healthy(&first).await;

    stays_idle(&argo).await;
    an_edit_is_undone(&argo, &first).await;
    a_bad_commit_and_a_good_one(&argo, &wanted, &in_the_other).await;
    a_revert_that_is_refused_switches_back_later(&argo, &wanted, &in_the_other).await;
    let last = by_hand_and_git_is_told(&argo, &wanted).await;
    deleted_it_is_made_again(&argo, &last).await;
    nothing_is_pruned(&argo).await;
}

/// Argo CD looks again and again, and neither it nor the operator writes anything.
async fn stays_idle(argo: &Argo<'_>) {
    let (before, begun) = (marks(argo), Instant::now());
    let mut looks = std::collections::BTreeSet::new();
    while looks.len() < 4 {
        assert!(begun.elapsed() < Duration::from_secs(180), "it looks no more: {looks:?}");
        looks.insert(argo.application()["status"]["reconciledAt"].to_string());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(marks(argo), before, "after {looks:?}");
    println!("idle for {:?}, {} looks: nothing was written", begun.elapsed(), looks.len());
}

/// What somebody edits by hand is set back, and chat stays where it is.
async fn an_edit_is_undone(argo: &Argo<'_>, commit: &str) {
    let scene = argo.scene;
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
    assert_eq!(not_live_in(&scene.lab, 0), Vec::<String>::new());
    assert_eq!(scene.times("Switch", "Completed"), 0, "{:?}", scene.history());
}

/// A commit that is refused changes nothing and holds nothing up; the next one switches, and is shown as it is.
async fn a_bad_commit_and_a_good_one(argo: &Argo<'_>, before: &Value, after: &Value) {
    let scene = argo.scene;
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
    scene.lab.break_at(None);
    scene.lab.release();
    scene.wait_until_ready_in(1).await;
    println!("switched and healthy {:?} after that", argo.until_healthy(&good).await);
    assert_switched(scene, 1, 1).await;
}

/// Whether a commit was tried and refused, with a text. Each resource has its own result, also while more attempts are to come.
fn refuses(application: &Value, commit: &str, text: &str) -> bool {
    let operation = &application["status"]["operationState"];
    let results = operation["syncResult"]["resources"].as_array().cloned().unwrap_or_default();
    let says = |r: &Value| {
        r["status"] == "SyncFailed" && r["message"].as_str().is_some_and(|message| message.contains(text))
    };
    operation["syncResult"]["revision"] == commit && results.iter().any(says)
}

/// Chat is in a data centre, at rest, after so many switches.
async fn assert_switched(scene: &Scene, n: usize, times: usize) {
    scene.wait_until_ready_in(n).await;
    scene.wait_until_at_rest().await;
    assert_eq!(not_live_in(&scene.lab, n), Vec::<String>::new());
    assert_eq!(scene.times("Switch", "Completed"), times, "{:?}", scene.history());
}

/// Past the point of no return a revert is refused; it is tried again until the transition is over, and is a new wish then.
async fn a_revert_that_is_refused_switches_back_later(argo: &Argo<'_>, to: &Value, back: &Value) {
    let scene = argo.scene;
    hold_first(scene, &[SET_SERVERS]);
    argo.push(Some(to));
    until_held(scene, SET_SERVERS).await;
    // The API server knows it from the status.
    scene.until("no return", || scene.object()["status"]["transition"]["pointOfNoReturn"] == true).await;
    let reverted = argo.push(Some(back));
    argo.until("the revert is refused", |a| refuses(a, &reverted, "can only go on")).await;
    scene.lab.break_at(None);
    scene.lab.release();
    let begun = Instant::now();
    argo.until_healthy(&reverted).await;
    println!("a revert that was refused has switched back {:?} after the way was free", begun.elapsed());
    assert_switched(scene, 1, 3).await;
}

/// As docs/gitops.md says it: Argo CD is told to leave it alone, chat is switched, Git is told, and Argo CD goes on.
async fn by_hand_and_git_is_told(argo: &Argo<'_>, wanted: &Value) -> String {
    let scene = argo.scene;
    let automated = |on: bool| {
        let patch = json!({"spec": {"syncPolicy": {"automated": {"enabled": on}}}}).to_string();
        argo.kubectl(&["patch", APPLICATION, "--type", "merge", "-p", &patch], None);
    };
    automated(false);
    scene.want(0);
    assert_switched(scene, 0, 4).await;
    let differs = |a: &Value| a["status"]["sync"]["status"] == "OutOfSync";
    argo.until("it sees what it does not undo", differs).await;
    let told = argo.push(Some(wanted));
    argo.until_healthy(&told).await;
    automated(true);
    argo.refresh();
    stays_idle(argo).await;
    assert_switched(scene, 0, 4).await;
    told
}

/// Deleted by hand it is made again, without its status; chat stays where it is.
async fn deleted_it_is_made_again(argo: &Argo<'_>, commit: &str) {
    let scene = argo.scene;
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
    assert_eq!(not_live_in(&scene.lab, 0), Vec::<String>::new());
}

/// Neither without its file nor without its Application it is deleted.
async fn nothing_is_pruned(argo: &Argo<'_>) {
    let scene = argo.scene;
    let uid = scene.object()["metadata"]["uid"].clone();
    let without = argo.push(None);
    let seen = |a: &Value| {
        a["status"]["sync"]["revision"] == without.as_str() && a["status"]["sync"]["status"] == "OutOfSync"
    };
    argo.until("the file is gone", seen).await;
    assert_eq!(scene.object()["metadata"]["uid"], uid);
    argo.kubectl(&["delete", APPLICATION], None);
    assert_eq!(scene.object()["metadata"]["uid"], uid);
    assert_eq!(scene.condition("Ready").unwrap()["status"], "True");
    assert_eq!(not_live_in(&scene.lab, 0), Vec::<String>::new());
}
