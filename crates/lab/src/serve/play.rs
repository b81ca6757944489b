//! A lab to play with: the world of the demo, a control plane and an operator, and nobody who tells a story.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Child;

use super::Lab;
use super::demo::{Programs, prepare_namespace, start_operator_with};
use crate::control_plane::ControlPlane;

/// The namespace of the resource and of the operator.
pub const NAMESPACE: &str = "chat";
/// The name of the resource.
pub const RESOURCE: &str = "litware";
/// Longest wait until the resource is Ready.
const READY: &str = "120s";

/// Prepares the namespace. How to start an operator in it: environment variables, for whoever starts one himself.
pub fn prepare(
    lab: &Lab,
    plane: &ControlPlane,
    manifests: &Path,
) -> Result<BTreeMap<String, String>, String> {
    prepare_namespace(plane, manifests, NAMESPACE)?;
    let kubeconfig = plane.service_account_kubeconfig(NAMESPACE, "pcf-operator")?;
    let mut env = lab.operator_env();
    env.insert("KUBECONFIG".into(), kubeconfig.display().to_string());
    env.extend(["PCF_NAMESPACE", "POD_NAMESPACE"].map(|name| (name.to_string(), NAMESPACE.to_string())));
    Ok(env)
}

/// Starts the operator, waits until the resource is Ready, and puts everything that is typed into one folder: `DIR/env` is to be
/// sourced. The namespace is prepared.
pub fn start(
    lab: &Lab,
    plane: &ControlPlane,
    programs: &Programs,
    directory: &Path,
) -> Result<Child, String> {
    let k = |a: &[&str], stdin: Option<&str>| plane.kubectl(a, stdin).map_err(|e| e.to_string());
    k(&["apply", "-n", NAMESPACE, "-f", "-"], Some(&lab.resource(RESOURCE)))?;
    let kubeconfig = plane.service_account_kubeconfig(NAMESPACE, "pcf-operator")?;
    let log = directory.join("operator.log");
    let operator = start_operator_with(lab, &kubeconfig, &programs.operator, NAMESPACE, &log, &[])?;
    let name = format!("pcf/{RESOURCE}");
    let timeout = format!("--timeout={READY}");
    k(&["wait", &name, "-n", NAMESPACE, "--for=condition=Ready", &timeout], None)
        .map_err(|e| format!("{e}\nThe operator's log is {}", log.display()))?;
    write_env(plane, programs, directory)?;
    Ok(operator)
}

/// What a shell needs: the programs, the administrator's kubeconfig with the lab's namespace, and where the lab is.
fn write_env(plane: &ControlPlane, programs: &Programs, directory: &Path) -> Result<(), String> {
    let told = |path: &Path, e: std::io::Error| format!("{}: {e}", path.display());
    let bin = directory.join("bin");
    std::fs::create_dir_all(&bin).map_err(|e| told(&bin, e))?;
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let all: [(&str, PathBuf); 4] = [
        ("kubectl", plane.kubectl_path()),
        ("kubectl-pcf", programs.plugin.clone()),
        ("pcf-operator", programs.operator.clone()),
        ("pcf-lab", own),
    ];
    for (name, program) in all {
        let program = program.canonicalize().map_err(|e| told(&program, e))?;
        let link = bin.join(name);
        if link.symlink_metadata().is_ok() {
            std::fs::remove_file(&link).map_err(|e| told(&link, e))?;
        }
        std::os::unix::fs::symlink(&program, &link).map_err(|e| told(&link, e))?;
    }
    let kubeconfig = directory.join("kubeconfig");
    std::fs::copy(plane.admin_kubeconfig(), &kubeconfig).map_err(|e| told(&kubeconfig, e))?;
    let path = kubeconfig.display().to_string();
    let set = ["config", "set-context", "--current", "--namespace", NAMESPACE, "--kubeconfig", &path];
    plane.kubectl(&set, None).map_err(|e| e.to_string())?;
    let env = directory.join("env");
    let text = format!(
        "export KUBECONFIG={}\nexport PATH={}:\"$PATH\"\nexport PCF_LAB={}\n",
        quoted(&kubeconfig),
        quoted(&bin),
        quoted(directory)
    );
    std::fs::write(&env, text).map_err(|e| told(&env, e))
}

/// A path as one word of a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

/// What to try, in the order in which it makes a story.
pub fn commands(lab: &Lab, directory: &Path) -> String {
    let names: Vec<&str> = lab.scenario().data_centers.iter().map(|d| d.name.as_str()).collect();
    let [active, other] = names[..] else { return String::new() };
    let patch = format!(
        "kubectl patch pcf/{RESOURCE} --type merge -p '{{\"spec\":{{\"activeDataCenter\":\"{other}\"}}}}'"
    );
    let all = [
        (format!(". {}", quoted(&directory.join("env"))), "in another terminal"),
        ("kubectl get pcf".into(), "the pool as it is"),
        (
            format!("kubectl pcf plan {RESOURCE} --to {other}"),
            "what a failover would do, statement by statement",
        ),
        (format!("pcf-lab lose {active}"), "its SQL Servers, its Front End, its chat servers"),
        (patch, "the failover"),
        (format!("kubectl pcf status {RESOURCE} --watch"), "watch it; Ctrl-C ends that"),
        (format!("kubectl pcf report {RESOURCE}"), "what was lost, how long it took, what remains"),
        ("pcf-lab journal | tail".into(), "what the simulated servers were told"),
        (format!("pcf-lab restore {active}"), "the lost data centre comes back, and is reported"),
    ];
    all.iter().map(|(command, what)| format!("  {command:<88} # {what}\n")).collect()
}
