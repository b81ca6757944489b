//! What the demo tells: how conditions turn, and the way back.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Lab;
use crate::control_plane::ControlPlane;
use crate::scenario::DataCenter;

/// How long each turn of the demo may take.
const PATIENCE: Duration = Duration::from_secs(150);
/// The resource that it is about.
const RESOURCE: &str = "pcf/litware";

/// Where it is told.
pub(super) struct Stage<'a> {
    /// The cluster.
    pub plane: &'a ControlPlane,
    /// The namespace of the resource.
    pub namespace: &'a str,
    /// `kubectl-pcf`.
    pub plugin: &'a Path,
}

impl Stage<'_> {
    /// What kubectl says.
    pub(super) fn kubectl(&self, arguments: &[&str], stdin: Option<&str>) -> Result<String, String> {
        tokio::task::block_in_place(|| self.plane.kubectl(arguments, stdin)).map_err(|e| e.to_string())
    }

    /// Changes the spec, and shows how.
    pub(super) fn patch(&self, spec: &Value) -> Result<(), String> {
        let patch = json!({ "spec": spec }).to_string();
        println!("$ kubectl patch {RESOURCE} -n {} --type merge -p '{patch}'", self.namespace);
        self.kubectl(&["patch", RESOURCE, "-n", self.namespace, "--type", "merge", "-p", &patch], None)
            .map(drop)
    }

    /// Shows a command of the plugin, and what it says.
    pub(super) fn plugin(&self, arguments: &[&str]) -> Result<(), String> {
        let all = [arguments, &["-n", self.namespace]].concat();
        println!("$ kubectl pcf {}", all.join(" "));
        let run =
            || Command::new(self.plugin).args(&all).env("KUBECONFIG", self.plane.admin_kubeconfig()).output();
        let out = tokio::task::block_in_place(run).map_err(|e| format!("{}: {e}", self.plugin.display()))?;
        println!("{}", String::from_utf8_lossy(&out.stdout));
        match out.status.success() {
            true => Ok(()),
            false => Err(format!("kubectl pcf: {}", String::from_utf8_lossy(&out.stderr))),
        }
    }

    fn status(&self) -> Result<Value, String> {
        let text = self.kubectl(&["get", RESOURCE, "-n", self.namespace, "-o", "json"], None)?;
        let mut object: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
        Ok(object["status"].take())
    }

    /// Shows each condition of the given procedures as it turns, until something holds; gives the status in which it does.
    pub(super) async fn follow(
        &self,
        procedures: &[&str],
        until: impl Fn(&Value) -> bool,
    ) -> Result<Value, String> {
        let began = Instant::now();
        let mut seen = BTreeSet::new();
        // One that is over already is not what is waited for.
        let before = self.status()?["transition"].take();
        let is_over = |t: &Value| {
            t["outcome"] == "Completed" && t["id"] == before["id"] && before["outcome"] == t["outcome"]
        };
        loop {
            let status = self.status()?;
            let procedures = if is_over(&status["transition"]) { &[] } else { procedures };
            for (step, message) in turned(&status, procedures) {
                if seen.insert(step.clone()) {
                    println!("  {:6.1} s  {step:22} {message}", began.elapsed().as_secs_f64());
                }
            }
            if until(&status) {
                return Ok(status);
            }
            if began.elapsed() > PATIENCE {
                let status = serde_json::to_string_pretty(&status).unwrap_or_default();
                return Err(format!("not there after {} s; the status is\n{status}", PATIENCE.as_secs()));
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }
}

/// Steps of the running or last transition that hold, with what they say, if it is one of these procedures.
fn turned(status: &Value, procedures: &[&str]) -> Vec<(String, String)> {
    let transition = &status["transition"];
    let procedure = transition["procedure"].as_str().unwrap_or_default();
    let steps = transition["steps"].as_array().into_iter().flatten().filter_map(|s| s["name"].as_str());
    let steps: Vec<&str> = steps.filter(|_| procedures.contains(&procedure)).collect();
    let holds = |c: &&Value| c["status"] == "True" && steps.contains(&c["type"].as_str().unwrap_or_default());
    let text = |v: &Value| v.as_str().unwrap_or_default().to_string();
    let conditions = status["conditions"].as_array().into_iter().flatten().filter(holds);
    conditions.map(|c| (text(&c["type"]), text(&c["message"]))).collect()
}

/// Whether a condition is True.
pub(super) fn is_true(status: &Value, kind: &str) -> bool {
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    conditions.any(|c| c["type"] == kind && c["status"] == "True")
}

/// The data centre that was lost is there again: its old database is saved and overwritten by a yes, and chat goes back.
pub(super) async fn way_back(lab: &mut Lab, stage: &Stage<'_>, back: &DataCenter) -> Result<(), String> {
    let name = back.name.as_str();
    println!(
        "\nNow {name} is there again, with its old database: nothing of it is touched before somebody says yes."
    );
    lab.restore(name).await?;
    let asks = |status: &Value| !status["transition"]["consentNeeded"].is_null();
    let asked = stage.follow(&[], asks).await?;
    let needed = &asked["transition"]["consentNeeded"];
    for why in needed["why"].as_array().into_iter().flatten() {
        println!("  asked: {}", why.as_str().unwrap_or_default());
    }
    let digest = needed["situation"].as_str().unwrap_or_default();
    stage.plugin(&["approve", "litware", "--yes", digest])?;
    let is_protected =
        |status: &Value| is_true(status, "FailoverReady") && status["transition"]["outcome"] == "Completed";
    stage.follow(&["Protect"], is_protected).await?;
    println!("{name} is protected: its copy is fed by log shipping. Chat goes back, and loses nothing.");
    stage.patch(&json!({"policy": {"whenActiveAnswers": "Switch"}}))?;
    stage.patch(&json!({"activeDataCenter": name}))?;
    let is_there = |status: &Value| {
        is_true(status, "Ready") && is_true(status, "FailoverReady") && status["activeDataCenter"] == name
    };
    stage.follow(&["Switch"], is_there).await?;
    stage.plugin(&["report", "litware"])
}
