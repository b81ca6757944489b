//! The figures that whoever runs the operator pays for, side by side with what they may be: `make bench`.
//!
//! What is measured is the image of the production profile in `target/image`, and the operator in it; what it works for is the lab: SQL
//! Server and Lync are SIMULATED, the API server is real. Prints a table, and writes `target/bench/summary.json`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "figures/outage.rs"]
mod outage;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::image::unpack;
use common::scene::{RESOURCE, Scene, quick};
use common::{Process, manifests, plane};
use lab::scenario::Scenario;
use lab::serve::Lab;
use psrp::client::{Client, PoolOptions};
use psrp::message::Command as PsCommand;
use psrp::transport::server_mode::Program;
use serde_json::{Value, json};

/// Pools of the measurement of memory.
const POOLS: usize = 100;

/// One figure beside what it may be.
struct Figure {
    name: String,
    ours: f64,
    bound: f64,
    unit: &'static str,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    // One of them alone, for whoever works on it.
    let only = |what: &str| std::env::args().any(|a| a == what);
    if only("powershell") {
        return show(&powershell().await);
    }
    if only("memory") {
        return show(&[memory().await]);
    }
    if only("outage") {
        return show(&outage::figures().await);
    }
    let mut figures = vec![memory().await];
    let (few, many) = (writes(8).await, writes(40).await);
    figures.push(Figure {
        name: "API writes of a failover with 8 log backups".into(),
        ours: few,
        bound: 40.0,
        unit: "writes",
    });
    figures.push(Figure {
        name: "API writes of a failover with 40 log backups".into(),
        ours: many,
        bound: 40.0,
        unit: "writes",
    });
    figures.extend(outage::figures().await);
    figures.push(image());
    figures.extend(powershell().await);
    show(&figures);
}

/// Prints the figures, and writes them where programs find them. A figure over its bound is a failure.
fn show(figures: &[Figure]) {
    let summary: Vec<Value> = figures
        .iter()
        .map(|f| json!({"name": f.name, "ours": f.ours, "peer": f.bound, "ratio": f.ours / f.bound, "unit": f.unit}))
        .collect();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("summary.json"), serde_json::to_string_pretty(&summary).unwrap()).unwrap();
    println!("{:52} {:>10} {:>10} {:>7}  unit", "figure", "ours", "at most", "ratio");
    for f in figures {
        println!("{:52} {:>10.2} {:>10.2} {:>7.2}  {}", f.name, f.ours, f.bound, f.ours / f.bound, f.unit);
    }
    if figures.iter().any(|f| f.ours > f.bound) {
        eprintln!("a figure is over what it may be");
        std::process::exit(1);
    }
}

/// A lab's world under names of its own: many of them share one operator.
fn world(n: usize) -> Scenario {
    let usual = Scenario { backups: 3, copied: 2, restored: 1, backup_bytes: 512, ..Scenario::default() };
    let text = serde_json::to_string(&usual).unwrap();
    let text = text.replace("litwareinc.com", &format!("litware{n}.com"));
    let text = text
        .replace("\"atlanta\"", &format!("\"atlanta{n}\""))
        .replace("\"seattle\"", &format!("\"seattle{n}\""));
    serde_json::from_str(&text).unwrap()
}

/// The image that `make image` has made.
fn layout() -> PathBuf {
    let layout = manifests().join("target/image");
    assert!(layout.join("oci-layout").exists(), "there is no image in {}: make image", layout.display());
    layout
}

/// The operator of the image in the image's own root, which holds whatever else it is to see.
fn operator_in(root: &Path, config: &Value) -> Command {
    let cluster = std::fs::read_to_string(plane().admin_kubeconfig()).unwrap();
    let ca = cluster.split('"').find(|part| part.ends_with(".crt") || part.ends_with(".pem")).unwrap();
    std::fs::copy(ca, root.join("tmp/ca.crt")).unwrap();
    std::fs::write(root.join("tmp/kubeconfig"), cluster.replace(ca, "/tmp/ca.crt")).unwrap();
    let program = config["config"]["Entrypoint"][0].as_str().unwrap();
    let mut command = Command::new("unshare");
    command.arg("--map-root-user").arg(format!("--root={}", root.display())).args([program, "run"]);
    let variables = config["config"]["Env"].as_array().unwrap().iter();
    let variables = variables.map(|v| v.as_str().unwrap().split_once('=').unwrap());
    command.env_clear().envs(variables).env("KUBECONFIG", "/tmp/kubeconfig");
    command
}

/// Memory of an operator that looks after many pools at rest.
async fn memory() -> Figure {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    let config = unpack(&layout(), &root);
    let mut labs = Vec::new();
    let mut env: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for n in 0..POOLS {
        let lab = Lab::start(world(n), &root.join("tmp").join(n.to_string())).await.unwrap();
        for (key, value) in lab.operator_env() {
            env.entry(key).or_default().push(value.replace(root.to_str().unwrap(), ""));
        }
        let namespace = format!("pool-{n}");
        plane().kubectl(&["create", "namespace", &namespace], None).unwrap();
        plane().kubectl(&["apply", "-n", &namespace, "-f", "-"], Some(&lab.resource(RESOURCE))).unwrap();
        labs.push(lab);
    }
    let log = std::fs::File::create(directory.path().join("operator.log")).unwrap();
    let process = operator_in(&root, &config)
        .env("PCF_LEADER_ELECT", "false")
        .envs(["PCF_CONNECT_TO", "PCF_VOLUMES"].map(|key| (key, env[key].join(","))))
        .stderr(log)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pid = process.id();
    let _operator = Process::of(process);
    let deadline = Instant::now() + Duration::from_secs(900);
    let ready = || {
        let path =
            "jsonpath={range .items[*]}{.status.conditions[?(@.type==\"Ready\")].status}{\"\\n\"}{end}";
        let text = plane().kubectl(&["get", "pcf", "-A", "-o", path], None).unwrap();
        text.lines().filter(|l| *l == "True").count()
    };
    while ready() < POOLS {
        assert!(Instant::now() < deadline, "{} of {POOLS} are Ready", ready());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // Several looks at each: the highest of what it ever used is what a limit must allow.
    tokio::time::sleep(Duration::from_secs(45)).await;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kib = |name: &str| -> f64 {
        let line = status.lines().find(|l| l.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    println!(
        "memory with {POOLS} idle pools: {:.1} MiB now, {:.1} MiB at most",
        kib("VmRSS:") / 1024.0,
        kib("VmHWM:") / 1024.0
    );
    Figure {
        name: format!("memory with {POOLS} idle pools"),
        ours: kib("VmHWM:") / 1024.0,
        bound: 64.0,
        unit: "MiB",
    }
}

/// What an operator writes to the API server in a failover: statuses and events, the lease apart.
async fn writes(backups: u32) -> f64 {
    let scenario = Scenario { backups, copied: 4, restored: 4, ..quick() };
    let mut scene = Scene::set(&format!("writes_with_{backups}"), scenario).await;
    scene.begin().await;
    scene.lose().await;
    let account = format!("system:serviceaccount:{}:pcf-operator", scene.namespace);
    let count = || {
        let log = plane().audit_log();
        let written = log.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok()).filter(|e| {
            e["user"]["username"] == account.as_str()
                && e["objectRef"]["resource"] != "leases"
                && ["create", "update", "patch", "delete"].contains(&e["verb"].as_str().unwrap_or_default())
        });
        written.count()
    };
    let before = count();
    scene.want(1);
    scene.wait_until_failed_over().await;
    scene.wait_until_at_rest().await;
    (count() - before) as f64
}

/// Short commands of a round, and objects of a long answer.
const SHORT: usize = 50;
const OBJECTS: i32 = 20_000;

/// The operator's client beside PowerShell's own, both on the same engine with its session open: a short command, and a long answer.
/// The better of three rounds of each, in turns. Without an engine there is nothing to compare, and that is said.
async fn powershell() -> Vec<Figure> {
    let modules = manifests().join("benches/powershell");
    let Some(program) = psrp::engine::for_tests(&modules).unwrap() else { return Vec::new() };
    let client = Client::program(program.clone(), PoolOptions::default());
    let (mut ours, mut theirs) = ((f64::MAX, f64::MAX), (f64::MAX, f64::MAX));
    for _ in 0..3 {
        let (short, long) = by_us(&client).await;
        ours = (ours.0.min(short), ours.1.min(long));
        let (short, long) = by_powershell(&program, &modules);
        theirs = (theirs.0.min(short), theirs.1.min(long));
    }
    let flood = flooded(&client).await;
    client.close().await.unwrap();
    let figure = |name: &str, ours, bound| Figure {
        name: name.into(),
        ours,
        bound,
        unit: "ms, PowerShell's own client",
    };
    vec![
        figure("a short cmdlet, median of 50", ours.0, theirs.0),
        figure("20,000 objects of output", ours.1, theirs.1),
        flood,
    ]
}

/// What the memory of this process grows by at most while an engine floods the client with 200 MB. The bound: what one command may give
/// (`MAX_OUTPUT`), once as it came and once as it was read, and as much again that waits to be read.
async fn flooded(client: &Client) -> Figure {
    let kib = |name: &str| -> f64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|l| l.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    // The highest is counted from now on.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = kib("VmRSS:");
    let flood = PsCommand {
        name: "Write-Flood".into(),
        parameters: vec![("Megabytes".into(), psrp::clixml::Value::I32(200))],
    };
    let refused = client.invoke(&flood, Duration::from_secs(120)).await;
    assert!(refused.is_err(), "200 MB were taken");
    let again = PsCommand { name: "Get-CsPersistentChatState".into(), parameters: vec![] };
    assert_eq!(client.invoke(&again, Duration::from_secs(120)).await.unwrap().objects.len(), 1);
    Figure {
        name: "memory of the client in a flood of 200 MB".into(),
        ours: (kib("VmHWM:") - before) / 1024.0,
        bound: 3.0 * psrp::client::MAX_OUTPUT as f64 / (1024.0 * 1024.0),
        unit: "MiB more",
    }
}

async fn by_us(client: &Client) -> (f64, f64) {
    let timed = |name: &str, parameters| {
        let command = PsCommand { name: name.into(), parameters };
        async move {
            let began = Instant::now();
            let out = client.invoke(&command, Duration::from_secs(120)).await.unwrap();
            (began.elapsed().as_secs_f64() * 1000.0, out.objects.len())
        }
    };
    for _ in 0..5 {
        timed("Get-CsPersistentChatState", vec![]).await;
    }
    let mut short = Vec::new();
    for _ in 0..SHORT {
        short.push(timed("Get-CsPersistentChatState", vec![]).await.0);
    }
    short.sort_by(f64::total_cmp);
    let (long, count) = timed("Get-Many", vec![("Count".into(), psrp::clixml::Value::I32(OBJECTS))]).await;
    assert_eq!(count, usize::try_from(OBJECTS).unwrap());
    (short[SHORT / 2], long)
}

/// PowerShell takes any program called `ssh` for the way to a host: this one is the engine itself.
fn by_powershell(engine: &Program, modules: &Path) -> (f64, f64) {
    let directory = tempfile::tempdir().unwrap();
    let ssh = directory.path().join("ssh");
    let quoted = |s: &std::ffi::OsStr| format!("'{}'", s.to_str().unwrap());
    let arguments: Vec<String> = engine.arguments.iter().map(|a| quoted(a)).collect();
    let script = format!("#!/bin/sh\nexec {} {}\n", quoted(engine.path.as_os_str()), arguments.join(" "));
    std::fs::write(&ssh, script).unwrap();
    std::fs::set_permissions(&ssh, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", directory.path().display(), std::env::var("PATH").unwrap());
    let mut client = Command::new(&engine.path);
    // As a client, not in server mode.
    client.args(engine.arguments.iter().filter(|a| *a != "-s"));
    let out = client
        .args(["-NonInteractive", "-File"])
        .arg(modules.join("client.ps1"))
        .args(["-Times", &SHORT.to_string(), "-Objects", &OBJECTS.to_string()])
        .env("PATH", path)
        .envs(engine.environment.iter().map(|(name, value)| (name, value)))
        .output()
        .unwrap();
    let said = String::from_utf8(out.stdout).unwrap();
    let numbers: Vec<f64> = said.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    let [short, long] = numbers[..] else {
        panic!("{said}{}", String::from_utf8_lossy(&out.stderr));
    };
    (short, long)
}

/// Size of the image.
fn image() -> Figure {
    let blobs = std::fs::read_dir(layout().join("blobs/sha256")).unwrap();
    let bytes: u64 = blobs.map(|b| b.unwrap().metadata().unwrap().len()).sum();
    Figure { name: "image, compressed".into(), ours: bytes as f64 / 1e6, bound: 60.0, unit: "MB" }
}
