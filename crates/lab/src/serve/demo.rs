//! The demo: a lost data centre, one `kubectl` command, and chat alive in the other one; and the way back.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use super::Lab;
use super::story::{Stage, is_true, way_back};
use crate::control_plane::{ControlPlane, die_with_us};
use crate::scenario::{DataCenter, Scenario};
use crate::world::journal::{Effect, Outcome};

/// What the demo needs to find.
pub struct Programs {
    /// `pcf-operator`.
    pub operator: PathBuf,
    /// `kubectl-pcf`.
    pub plugin: PathBuf,
    /// The folder with `crds/` and `charts/`.
    pub manifests: PathBuf,
}

/// Starts an operator under the service account of a namespace.
pub fn start_operator(
    lab: &Lab,
    plane: &ControlPlane,
    operator: &Path,
    namespace: &str,
    log: &Path,
) -> Result<Child, String> {
    let kubeconfig = plane.service_account_kubeconfig(namespace, "pcf-operator")?;
    start_operator_with(lab, &kubeconfig, operator, namespace, log, &[])
}

/// The same, with a kubeconfig that exists and with environment variables of its own.
pub fn start_operator_with(
    lab: &Lab,
    kubeconfig: &Path,
    operator: &Path,
    namespace: &str,
    log: &Path,
    env: &[(&str, &str)],
) -> Result<Child, String> {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(log).map_err(|e| e.to_string())?;
    die_with_us(
        Command::new(operator)
            .arg("run")
            .envs(lab.operator_env())
            .envs(env.iter().copied())
            .env("KUBECONFIG", kubeconfig)
            .env("PCF_NAMESPACE", namespace)
            .env("POD_NAMESPACE", namespace)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file),
    )
    .spawn()
    .map_err(|e| format!("{}: {e}", operator.display()))
}

/// Makes a namespace with the operator's account in it.
pub fn prepare_namespace(plane: &ControlPlane, manifests: &Path, namespace: &str) -> Result<(), String> {
    let k = |a: &[&str], stdin: Option<&str>| plane.kubectl(a, stdin).map_err(|e| e.to_string());
    k(&["apply", "--server-side", "-f", &manifests.join("crds").display().to_string()], None)?;
    k(
        &[
            "wait",
            "--for=condition=Established",
            "crd/persistentchatfailovers.persistentchat.dev",
            "--timeout=30s",
        ],
        None,
    )?;
    k(&["create", "namespace", namespace], None)?;
    k(&["apply", "-n", namespace, "-f", "-"], Some(&account(manifests, namespace)?)).map(drop)
}

/// The operator's account with exactly the rights that the chart gives it.
fn account(manifests: &Path, namespace: &str) -> Result<String, String> {
    let mut rules = String::new();
    for name in ["rules.yaml", "leader-election-rules.yaml"] {
        let path = manifests.join("charts/persistent-chat-failover/files").join(name);
        rules += &std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(format!(
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: pcf-operator}}\n---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: pcf-operator}}\nrules:\n{rules}---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: pcf-operator}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: pcf-operator}}\n\
         subjects:\n- {{kind: ServiceAccount, name: pcf-operator, namespace: {namespace}}}\n"
    ))
}

/// What is wrong with a world that should be live in a data centre after one failover to it. Read from the lab, not from any status.
pub fn check(lab: &Lab, to: &DataCenter) -> Vec<String> {
    let mut wrong = not_live(lab, to);
    for name in [
        "RESTORE DATABASE WITH RECOVERY",
        "EXEC sp_delete_log_shipping_secondary_database",
        "Install-CsMirrorDatabase",
    ] {
        let world = lab.world().now();
        let done =
            world.journal.entries().iter().filter(|e| e.name == name && e.outcome == Outcome::Ok).count();
        drop(world);
        if done != 1 {
            wrong.push(format!("{name} was carried out {done} times"));
        }
    }
    wrong
}

/// What is wrong with a world in which chat should be live in a data centre.
fn not_live(lab: &Lab, to: &DataCenter) -> Vec<String> {
    let mut wrong = Vec::new();
    let state = lab.state();
    let mut expect = |what: &str, ok: bool| {
        if !ok {
            wrong.push(what.to_string());
        }
    };
    let word = if lab.scenario().data_centers.first() == Some(to) { "Normal" } else { "FailedOver" };
    expect("chat does not serve", state["chat"]["serving"] == true);
    expect(&format!("the pool's state is not {word}"), state["chat"]["poolState"] == word);
    let mut active: Vec<String> = state["chat"]["activeServers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|v| v.as_str().map(str::to_string))
        .collect();
    active.sort();
    expect(&format!("the active servers are not those of {}", to.name), active == to.servers);
    let db = &state["sqlServers"][&to.sql_server]["databases"][0];
    expect("the database is not ONLINE", db["state"] == "ONLINE");
    expect("the mirror is not SYNCHRONIZED", db["mirroring"]["state"] == "SYNCHRONIZED");
    expect(
        "chat servers are not in the new database",
        db["sessions"].as_array().is_some_and(|s| !s.is_empty()),
    );
    wrong
}

/// What an operator wrote: everything that changes a world, in order. Jobs of SQL Server Agent are none of its doing.
pub fn writes(lab: &Lab) -> Vec<String> {
    lab.journal()
        .into_iter()
        .filter(|e| e.effect == Effect::Write && e.is_an_operators())
        .map(|e| format!("{} {} on {}", e.name, e.target.unwrap_or_default(), e.server))
        .collect()
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// Runs the demo. Blocks until it has succeeded or failed.
pub async fn run(directory: &Path, programs: &Programs) -> Result<(), String> {
    println!(
        "Starting a Kubernetes control plane (real) and two data centres (SIMULATED: no real SQL Server, no real Lync) …"
    );
    let plane = tokio::task::block_in_place(|| ControlPlane::start(&directory.join("control-plane")))?;
    let scenario = Scenario {
        restore_ms: 700,
        recovery_ms: 800,
        mirror_ms: 4000,
        backups: 16,
        copied: 11,
        restored: 8,
        ..Scenario::default()
    };
    let mut lab = Lab::start(scenario, &directory.join("lab")).await?;
    let [from, to] = lab.scenario().data_centers.clone().try_into().map_err(|_| "not two data centres")?;
    let namespace = "chat";
    tokio::task::block_in_place(|| prepare_namespace(&plane, &programs.manifests, namespace))?;
    let log = directory.join("operator.log");
    let mut operator = start_operator(&lab, &plane, &programs.operator, namespace, &log)?;
    let result = story(&mut lab, &plane, programs, namespace, (&from, &to)).await;
    let _ = operator.kill();
    let _ = operator.wait();
    result.map_err(|e| format!("{e}\nThe operator's log ends with:\n{}", tail(&log)))
}

async fn story(
    lab: &mut Lab,
    plane: &ControlPlane,
    programs: &Programs,
    namespace: &str,
    (lost, left): (&DataCenter, &DataCenter),
) -> Result<(), String> {
    let (from, to) = (lost.name.as_str(), left.name.as_str());
    let stage = Stage { plane, namespace, plugin: &programs.plugin };
    stage.kubectl(&["apply", "-n", namespace, "-f", "-"], Some(&lab.resource("litware")))?;
    println!("$ kubectl wait pcf/litware -n {namespace} --for=condition=Ready");
    let ready = ["wait", "pcf/litware", "-n", namespace, "--for=condition=Ready", "--timeout=60s"];
    stage.kubectl(&ready, None)?;
    println!("{}", stage.kubectl(&["get", "pcf", "-n", namespace], None)?);
    println!("Now {from} is lost: its SQL Servers, its Front End, its chat servers.");
    lab.lose(from).await?;
    let began = Instant::now();
    println!(
        "(The lab's administrator moves the Central Management store to {to}: that is not the operator's task.)"
    );
    lab.fail_over_central_management(to);
    stage.patch(&json!({ "activeDataCenter": to }))?;
    let is_there = |status: &Value| is_true(status, "Ready") && status["activeDataCenter"] == to;
    stage.follow(&["Failover"], is_there).await?;
    let took = began.elapsed().as_secs_f64();
    println!(
        "\n$ kubectl get pcf -n {namespace}\n{}",
        stage.kubectl(&["get", "pcf", "-n", namespace], None)?
    );
    stage.plugin(&["report", "litware"])?;
    agrees(lab, check(lab, left), &format!("chat is live in {to}, {took:.1} s after {from} was lost"))?;
    way_back(lab, &stage, lost).await?;
    agrees(lab, not_live(lab, lost), &format!("chat is live in {from} again, and {to} holds its copy"))
}

/// What the lab itself says to it.
fn agrees(lab: &Lab, wrong: Vec<String>, told: &str) -> Result<(), String> {
    match wrong.is_empty() {
        true => {
            println!("The lab itself agrees: {told}.");
            Ok(())
        }
        false => Err(format!("the lab disagrees: {}; its state is {}", wrong.join("; "), lab.state())),
    }
}
