//! Argo CD beside a scene: its controller and its repo-server, with redis and Git over HTTP, and with what `examples/gitops/argocd` holds.
//!
//! Its controller shows metrics on every address of the machine and has no switch for that, so all of it runs in a network of its own: a
//! story is told by the same test program, started once more where there is no other machine, with a control plane of its own.

use std::future::Future;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lab::control_plane::{binaries, die_with_us};
use lab::ports::Reservation;
use serde_json::{Value, json};

use super::scene::{RESOURCE, Scene};
use super::{Plane, Process, end_of, manifests, night, printed, until_defined};

/// Set for the run within: where Argo CD's program lies, and the folder of its sources.
const PROGRAM: &str = "PCF_ARGOCD_PROGRAM";
const SOURCES: &str = "PCF_ARGOCD_SOURCES";

/// Tells a story where there is no other machine; by night only. Must be called by the test of that name.
pub fn in_a_network_of_its_own<S: Future<Output = ()>>(test: &str, story: impl FnOnce() -> S) {
    if !night() {
        // Past the capture of the test harness: that it was not done is said.
        let line = format!("{test}: Argo CD itself is driven by night only (PCF_NIGHT=1)\n");
        return std::io::stdout().write_all(line.as_bytes()).unwrap();
    }
    if std::env::var_os(PROGRAM).is_none() {
        return again_within(test);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let begun = Instant::now();
    runtime.block_on(story());
    println!("{test}: told within {:?}", begun.elapsed());
}

/// Runs a test again where there is no other machine. What is built first needs the network that is left.
fn again_within(test: &str) {
    printed("flux.sh", &[]);
    let program = printed("argocd.sh", &[]);
    let list = ["list", "-m", "-f", "{{.Dir}}", "github.com/argoproj/argo-cd/v3"];
    let module = manifests().join("tests/argocd");
    let out = Command::new("go").args(list).env("GOTOOLCHAIN", "local").current_dir(module).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let sources = String::from_utf8(out.stdout).unwrap().trim().to_string();
    binaries().unwrap();
    let inside = Command::new("unshare")
        .args(["-rn", "--", "sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(PROGRAM, program)
        .env(SOURCES, sources)
        .status()
        .unwrap();
    assert!(inside.success(), "the run within says why: {inside}");
}

/// What stands in Git, and a server of it.
pub struct Git {
    folder: tempfile::TempDir,
    port: u16,
}

impl Git {
    pub fn new() -> Git {
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

    pub fn url(&self) -> String {
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
    pub fn commit(&self, resource: Option<&Value>) -> String {
        self.commit_file("resource.json", resource)
    }

    /// The same of any file of the folder.
    pub fn commit_file(&self, name: &str, document: Option<&Value>) -> String {
        let folder = self.folder.path().join("work/litware");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("README.md"), "Which data centre chat is active in.\n").unwrap();
        match document {
            Some(document) => std::fs::write(folder.join(name), document.to_string()).unwrap(),
            None => std::fs::remove_file(folder.join(name)).unwrap(),
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

/// Argo CD over the namespace of a scene.
pub struct Argo {
    pub git: Git,
    plane: Plane,
    namespace: String,
    operator_log: PathBuf,
    folder: tempfile::TempDir,
    processes: Vec<Process>,
    ports: Vec<Reservation>,
}

const NAMESPACE: &str = "argocd";
/// The name of the Application of the examples.
pub const APPLICATION: &str = "persistent-chat";

/// A document of the examples.
pub fn example(name: &str) -> Value {
    let path = manifests().join("examples/gitops/argocd").join(name);
    serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

impl Argo {
    /// All of it with its configuration; there is no Application yet.
    pub fn start(scene: &Scene) -> Argo {
        let ports: Vec<Reservation> = (0..4).map(|_| Reservation::new().unwrap()).collect();
        let folder = tempfile::tempdir().unwrap();
        let (plane, namespace) = (scene.plane.clone(), scene.namespace.clone());
        let operator_log = scene.log();
        let mut argo =
            Argo { git: Git::new(), plane, namespace, operator_log, folder, processes: vec![], ports };
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
            .env("KUBECONFIG", self.plane.admin_kubeconfig())
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

    pub fn kubectl(&self, arguments: &[&str], stdin: Option<&str>) -> String {
        let all = [&["-n", NAMESPACE], arguments].concat();
        self.plane.kubectl(&all, stdin).unwrap_or_else(|e| panic!("{e}"))
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
        until_defined(&self.plane, &["applications.argoproj.io", "appprojects.argoproj.io"]);
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
        project["spec"]["destinations"][0]["namespace"] = json!(self.namespace);
        apply(&project);
    }

    /// The Application of the examples, under a name, without some of its sync options: the first sync takes those that stand there.
    pub fn apply_application(&self, name: &str, without: &[&str]) {
        let mut application = example("application.yaml");
        application["metadata"]["name"] = json!(name);
        application["spec"]["source"]["repoURL"] = json!(self.git.url());
        application["spec"]["destination"]["namespace"] = json!(self.namespace);
        let options = application["spec"]["syncPolicy"]["syncOptions"].as_array_mut().unwrap();
        options.retain(|option| !without.iter().any(|out| option == out));
        self.kubectl(&["apply", "--server-side", "-f", "-"], Some(&application.to_string()));
    }

    pub fn named(&self, name: &str) -> Value {
        self.plane.read(&format!("/apis/argoproj.io/v1alpha1/namespaces/{NAMESPACE}/applications/{name}"))
    }

    pub fn application(&self) -> Value {
        self.named(APPLICATION)
    }

    /// Turns on or off that it does by itself what Git says.
    pub fn automated(&self, on: bool) {
        let patch = json!({"spec": {"syncPolicy": {"automated": {"enabled": on}}}}).to_string();
        self.kubectl(&["patch", "applications.argoproj.io", APPLICATION, "--type=merge", "-p", &patch], None);
    }

    /// Tells it to look now, as a webhook would.
    pub fn refresh(&self) {
        let now = "argocd.argoproj.io/refresh=normal";
        self.kubectl(&["annotate", "--overwrite", "applications.argoproj.io", APPLICATION, now], None);
    }

    /// Commits, and tells it.
    pub fn push(&self, resource: Option<&Value>) -> String {
        let commit = self.git.commit(resource);
        self.refresh();
        commit
    }

    /// Waits until something is true of the Application; how long that took.
    pub async fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Duration {
        let begun = Instant::now();
        loop {
            let application = self.application();
            if holds(&application) {
                return begun.elapsed();
            }
            if begun.elapsed() > Duration::from_secs(150) {
                let node = self.node(APPLICATION, RESOURCE);
                let ends = [self.log("controller"), self.operator_log.clone()].map(|log| end_of(&log));
                panic!(
                    "{what}: did not come\n{:#}\n{node:#}\n{}\n{}",
                    application["status"], ends[0], ends[1]
                );
            }
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    }

    /// Waits until it shows a commit as synced and healthy.
    pub async fn until_healthy(&self, commit: &str) -> Duration {
        self.until(&format!("{commit} is Synced and Healthy"), |a| {
            let s = &a["status"];
            s["sync"]["status"] == "Synced"
                && s["sync"]["revision"] == commit
                && s["health"]["status"] == "Healthy"
        })
        .await
    }

    /// Waits until the Application shows a health, and the resource beside it, with a message that holds a text. Gives the message.
    pub async fn until_says(&self, health: &str, text: &str) -> String {
        let said = || {
            let node = self.node(APPLICATION, RESOURCE);
            let message = node["health"]["message"].as_str().unwrap_or_default().to_string();
            (node["health"]["status"] == health && message.contains(text)).then_some(message)
        };
        let holds = |a: &Value| a["status"]["health"]["status"] == health && said().is_some();
        self.until(&format!("{health} {text:?}"), holds).await;
        let message = said().unwrap_or_default();
        println!("{health}: {message}");
        message
    }

    /// Waits until it has looked so many times more, as it is told to.
    pub async fn until_looked(&self, times: usize) {
        for _ in 0..times {
            self.refresh();
            // It takes the annotation away when it has.
            let asked = |a: &Value| a["metadata"]["annotations"]["argocd.argoproj.io/refresh"].is_string();
            self.until("another look", |a| !asked(a)).await;
        }
    }

    /// A resource of an Application as its interface shows it. The controller writes that into redis, and nowhere else.
    pub fn node(&self, application: &str, resource: &str) -> Value {
        // The version is that of Argo CD's `CacheVersion`.
        let key = format!("app|resources-tree|{application}|1.8.3.gz");
        let mut stream = TcpStream::connect(("127.0.0.1", self.ports[0].port)).unwrap();
        write!(stream, "GET {key}\r\n").unwrap();
        let (mut reader, mut length) = (BufReader::new(stream), String::new());
        reader.read_line(&mut length).unwrap();
        let Ok(length) = length.trim().trim_start_matches('$').parse() else { return Value::Null };
        let mut packed = vec![0; length];
        reader.read_exact(&mut packed).unwrap();
        let tree: Value = serde_json::from_reader(flate2::read::GzDecoder::new(&packed[..])).unwrap();
        let nodes = tree["nodes"].as_array().map_or(&[][..], Vec::as_slice);
        nodes.iter().find(|n| n["name"] == resource).cloned().unwrap_or(Value::Null)
    }

    /// Writes down from now on whatever the Application shows.
    pub fn witness(&self) -> Witness {
        let path = self.folder.path().join(format!("shown-{}", uuid::Uuid::new_v4()));
        let what = "{.status.sync.revision} {.status.sync.status} {.status.health.status}{\"\\n\"}";
        let mut watch = Command::new(self.plane.kubectl_path());
        watch.args(["-n", NAMESPACE, "get", "applications.argoproj.io", APPLICATION, "--watch", "-o"]);
        watch.arg(format!("jsonpath={what}")).env("KUBECONFIG", self.plane.admin_kubeconfig());
        watch.stdin(Stdio::null()).stdout(std::fs::File::create(&path).unwrap());
        Witness { _watch: Process::of(die_with_us(&mut watch).spawn().unwrap()), path }
    }
}

/// Sees every version of the Application, also those that stand for a moment only.
pub struct Witness {
    _watch: Process,
    path: PathBuf,
}

impl Witness {
    /// Each health that was shown of a commit that was applied, in order.
    pub fn healths(&self, commit: &str) -> Vec<String> {
        let text = std::fs::read_to_string(&self.path).unwrap();
        let of_it = format!("{commit} Synced ");
        let mut healths: Vec<String> =
            text.lines().filter_map(|line| Some(line.strip_prefix(&of_it)?.to_string())).collect();
        healths.dedup();
        healths
    }
}

/// The resource as it is to stand in Git; what else the lab's manifest holds is applied.
pub fn resource(scene: &Scene) -> Value {
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

/// Whether a commit was tried and refused, with a text. Each resource has its own result, also while more attempts are to come.
pub fn refuses(application: &Value, commit: &str, text: &str) -> bool {
    let operation = &application["status"]["operationState"];
    let results = operation["syncResult"]["resources"].as_array().cloned().unwrap_or_default();
    let says = |r: &Value| {
        r["status"] == "SyncFailed" && r["message"].as_str().is_some_and(|message| message.contains(text))
    };
    operation["syncResult"]["revision"] == commit && results.iter().any(says)
}
