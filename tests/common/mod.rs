//! What the whole-program tests share: one real control plane for each test program, a lab and an operator for each test.
//!
//! [`scene`] is one test's world, [`matrix`] what every [`matrix::Course`] must withstand, [`courses`], [`switches`] and [`returns`] the courses,
//! [`proxy`] a way to the API server that can be cut, [`terminal`] a terminal that a program runs on, [`gitops`] a Git repository,
//! [`flux`] Flux and [`argocd`] Argo CD beside a scene.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

pub mod argocd;
pub mod courses;
pub mod flux;
pub mod gitops;
pub mod image;
pub mod matrix;
pub mod proxy;
pub mod returns;
pub mod scene;
pub mod switches;
pub mod terminal;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lab::control_plane::{ControlPlane, Options, die_with_us};
use serde_json::Value;

pub fn manifests() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Whether this is `make night`: then everything is done of which `make test` does a part. Each test that differs says so.
pub fn night() -> bool {
    std::env::var("PCF_NIGHT").is_ok_and(|v| v == "1")
}

/// The number that chooses what `make test` does of a set that `make night` does as a whole: `PCF_SAMPLE`, or when this run
/// began. It moves from run to run, so that the days together come everywhere; with the same number a failure is repeated.
pub fn sample_number() -> u64 {
    static NUMBER: OnceLock<u64> = OnceLock::new();
    *NUMBER.get_or_init(|| {
        let number = match std::env::var("PCF_SAMPLE") {
            Ok(text) => text.parse().unwrap_or_else(|e| panic!("PCF_SAMPLE={text}: {e}")),
            Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs(),
        };
        // Past the capture of the test harness: whoever looks at a failure needs it.
        let line = format!("PCF_SAMPLE={number} chooses what is done of it by day\n");
        std::io::stdout().write_all(line.as_bytes()).unwrap();
        number
    })
}

/// What is done of the two data centres, to both of which everything must go: by night both, by day one. It changes with every third number:
/// each of the three samples of [`sample`] comes to both.
pub fn directions() -> Vec<usize> {
    match night() {
        true => vec![1, 0],
        false => vec![direction_by(sample_number())],
    }
}

fn direction_by(number: u64) -> usize {
    usize::from((number / 3).is_multiple_of(2))
}

/// What is done of a set: all of it by night, by day every third, but at least so many. [`sample_number`] says where it begins,
/// so that three numbers in a row cover a large set.
pub fn sample(all: &BTreeSet<String>, at_least: usize) -> BTreeSet<String> {
    if night() {
        return all.clone();
    }
    sample_by(sample_number(), all, at_least)
}

fn sample_by(number: u64, all: &BTreeSet<String>, at_least: usize) -> BTreeSet<String> {
    let stride = (all.len() / at_least).clamp(1, 3);
    let first = usize::try_from(number % stride as u64).unwrap();
    all.iter().skip(first).step_by(stride).cloned().collect()
}

/// Checks itself where it is used: this module belongs to several test programs.
pub fn assert_samples_cover_everything() {
    for (size, at_least) in
        [0, 1, 7, 8, 15, 16, 23, 24, 25, 26, 100].into_iter().flat_map(|n| [(n, 8), (n, 4)])
    {
        let all: BTreeSet<String> = (0..size).map(|n| format!("{n:03}")).collect();
        let samples: Vec<_> = (100..103).map(|number| sample_by(number, &all, at_least)).collect();
        assert!(samples.iter().all(|s| s.len() >= size.min(at_least)), "{size}: {samples:?}");
        assert_eq!(samples.into_iter().flatten().collect::<BTreeSet<_>>(), all);
        for to in [0, 1] {
            let numbers = (102..108).filter(|number| direction_by(*number) == to);
            let there: BTreeSet<String> = numbers.flat_map(|n| sample_by(n, &all, at_least)).collect();
            assert_eq!(there, all, "to {to}, of {size}");
        }
    }
}

/// The control plane of this test program.
pub fn plane() -> &'static ControlPlane {
    &shared().plane
}

/// It is started by a thread that never ends: its children die with that thread.
fn shared() -> &'static OwnPlane {
    static PLANE: OnceLock<OwnPlane> = OnceLock::new();
    PLANE.get_or_init(|| {
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            tell.send(OwnPlane::start(Options::default())).unwrap();
            loop {
                std::thread::park();
            }
        });
        told.recv().unwrap()
    })
}

fn define(plane: &ControlPlane) {
    let crds = manifests().join("crds").display().to_string();
    plane.kubectl(&["apply", "--server-side", "-f", &crds], None).unwrap();
    until_defined(plane, &["persistentchatfailovers.persistentchat.dev"]);
}

/// Waits until the API server serves what these definitions define. One that has no conditions yet is an error to `kubectl wait`.
pub fn until_defined(plane: &ControlPlane, names: &[&str]) {
    let crds: Vec<String> = names.iter().map(|name| format!("crd/{name}")).collect();
    let wait = ["wait", "--for=condition=Established", "--timeout=30s"];
    let all: Vec<&str> = wait.into_iter().chain(crds.iter().map(String::as_str)).collect();
    let begun = std::time::Instant::now();
    while let Err(e) = plane.kubectl(&all, None) {
        assert!(begun.elapsed() < Duration::from_secs(60), "{e}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A control plane with its folder, and where it is read. Ends when it is dropped.
pub struct OwnPlane {
    plane: ControlPlane,
    reader: Reader,
    _directory: tempfile::TempDir,
}

impl OwnPlane {
    /// Starts one. Must be called by a thread that lives as long as it is needed: its children die with that thread.
    fn start(options: Options) -> OwnPlane {
        let directory = tempfile::tempdir().unwrap();
        let plane = ControlPlane::start_with(directory.path(), options)
            .unwrap_or_else(|e| panic!("the control plane does not start: {e}"));
        define(&plane);
        OwnPlane { reader: Reader::of(&plane), plane, _directory: directory }
    }
}

/// `kubectl proxy`. A test asks many times a second how things stand: a kubectl for each question takes a third of the machine.
struct Reader {
    port: u16,
    _proxy: Process,
}

impl Reader {
    fn of(plane: &ControlPlane) -> Reader {
        let mut proxy = Command::new(plane.kubectl_path());
        proxy.args(["proxy", "--port=0"]).env("KUBECONFIG", plane.admin_kubeconfig());
        proxy.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = die_with_us(&mut proxy).spawn().unwrap();
        // "Starting to serve on 127.0.0.1:41257"
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let port = said.trim().rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        Reader {
            port: port.unwrap_or_else(|| panic!("kubectl proxy says {said:?}")),
            _proxy: Process::of(child),
        }
    }
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
    /// Starts one, as [`OwnPlane::start`].
    pub fn own(options: Options) -> Plane {
        Plane::Own(Arc::new(OwnPlane::start(options)))
    }

    /// What the API server answers to a GET of a path.
    pub fn read(&self, path: &str) -> Value {
        let reader = match self {
            Plane::Shared => &shared().reader,
            Plane::Own(own) => &own.reader,
        };
        let answer = get(reader.port, path).unwrap_or_else(|| panic!("the API server has no {path}"));
        serde_json::from_str(&answer).unwrap_or_else(|e| panic!("{path}: {e}: {answer}"))
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

/// What a script of the repository prints.
pub fn printed(script: &str, arguments: &[&str]) -> String {
    let out = Command::new(manifests().join("scripts").join(script)).args(arguments).output().unwrap();
    assert!(out.status.success(), "{script} {arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().trim().to_string()
}

/// The last lines of a log, for whoever reads that a test failed.
pub fn end_of(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

/// What a server of this machine answers to a GET: the body, if it answers with 200.
pub fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    // HTTP/1.0: the answer ends with its connection and is not chunked.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.lines().next()?.contains(" 200 ").then(|| body.to_string())
}

/// Sends a signal by its name (`TERM`, `STOP`, `CONT`).
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("sh")
        .args(["-c", "kill -s \"$1\" \"$2\"", "sh", name, &pid.to_string()])
        .status()
        .unwrap();
    assert!(sent.success(), "kill -s {name} {pid}: {sent}");
}

/// The same to a process and everything that it has started in its group; nobody may be left.
pub fn signal_group(leader: u32, name: &str) {
    Command::new("sh")
        .args(["-c", "kill -s \"$1\" -- \"-$2\" 2>/dev/null", "sh", name, &leader.to_string()])
        .status()
        .unwrap();
}

/// A process of ours. Killed when it is dropped.
pub struct Process(Child);

impl Process {
    /// Takes over a child.
    pub fn of(child: Child) -> Process {
        Process(child)
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

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
