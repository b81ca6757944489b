//! `pcf-lab`: starts a lab, acts on a running one, shows the demo.

use std::io::{BufRead as _, BufReader as SyncReader, Write as _};
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};
use lab::control_plane::ControlPlane;
use lab::scenario::Scenario;
use lab::serve::{Lab, demo, play};
use lab::server_mode;
use lab::world::files::MemoryFiles;
use lab::world::{SharedWorld, World};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::signal::unix::{SignalKind, signal};

/// Two SIMULATED data centres with SQL Server and Lync, for the demo and the tests.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Starts a lab; writes DIR/lab.json when it is ready; stops on SIGTERM.
    Serve {
        #[arg(long)]
        dir: PathBuf,
        /// Also starts a real control plane, with a namespace for the operator.
        #[arg(long)]
        control_plane: bool,
        /// A scenario in YAML; absent: the usual one.
        #[arg(long)]
        scenario: Option<PathBuf>,
        /// The folder with `crds/` and `charts/`.
        #[arg(long, default_value = ".")]
        manifests: PathBuf,
        /// Also starts this operator, applies the resource, and prints what to try.
        #[arg(long, requires = "control_plane", requires = "kubectl_pcf")]
        operator: Option<PathBuf>,
        /// The plugin that is tried then.
        #[arg(long)]
        kubectl_pcf: Option<PathBuf>,
    },
    /// Cuts a data centre off.
    Lose {
        data_center: String,
        #[arg(long, env = "PCF_LAB")]
        dir: PathBuf,
        /// Nobody moves the Central Management store.
        #[arg(long)]
        keep_central_management_down: bool,
    },
    /// Gives a data centre its power back.
    Restore {
        data_center: String,
        #[arg(long, env = "PCF_LAB")]
        dir: PathBuf,
    },
    /// Injects a fault.
    Fault {
        name: String,
        arguments: Vec<String>,
        #[arg(long, env = "PCF_LAB")]
        dir: PathBuf,
    },
    /// Prints every statement and cmdlet so far, one JSON object a line.
    Journal {
        #[arg(long, env = "PCF_LAB")]
        dir: PathBuf,
    },
    /// Prints what every server holds.
    State {
        #[arg(long, env = "PCF_LAB")]
        dir: PathBuf,
    },
    /// Speaks PowerShell's server mode on standard input and output, as a Management Shell of SIMULATED data centres of its own: for
    /// `New-PSSession -HostName`, under the name of `ssh` on the PATH. What ssh would be given is passed over.
    PsrpServer {
        /// A scenario in YAML; absent: the usual one.
        #[arg(long)]
        scenario: Option<PathBuf>,
        /// The host that it is; absent: the Management Shell of the data centre where chat lives.
        #[arg(long)]
        host: Option<String>,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
        of_ssh: Vec<String>,
    },
    /// Shows a whole failover.
    Demo {
        #[arg(long)]
        operator: PathBuf,
        #[arg(long)]
        kubectl_pcf: PathBuf,
        #[arg(long, default_value = ".")]
        manifests: PathBuf,
    },
}

fn main() -> std::process::ExitCode {
    let result = match Arguments::parse().command {
        Command::Serve { dir, control_plane, scenario, manifests, operator, kubectl_pcf } => {
            let programs = operator.zip(kubectl_pcf);
            let programs = programs.map(|(operator, plugin)| demo::Programs {
                operator,
                plugin,
                manifests: manifests.clone(),
            });
            serve(Serve { dir, control_plane, scenario, manifests, programs })
        }
        Command::Lose { data_center, dir, keep_central_management_down } => {
            ask(&dir, &json!({"do": "lose", "dataCenter": data_center, "keep": keep_central_management_down}))
        }
        Command::Restore { data_center, dir } => {
            ask(&dir, &json!({"do": "restore", "dataCenter": data_center}))
        }
        Command::Fault { name, arguments, dir } => {
            ask(&dir, &json!({"do": "fault", "name": name, "arguments": arguments}))
        }
        Command::Journal { dir } => ask(&dir, &json!({"do": "journal"})),
        Command::State { dir } => ask(&dir, &json!({"do": "state"})),
        Command::PsrpServer { scenario, host, of_ssh: _ } => psrp_server(scenario.as_deref(), host),
        Command::Demo { operator, kubectl_pcf, manifests } => show(operator, kubectl_pcf, manifests),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("pcf-lab: {e}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn ask(dir: &Path, request: &Value) -> Result<(), String> {
    let path = dir.join("control.sock");
    let mut socket = std::os::unix::net::UnixStream::connect(&path)
        .map_err(|e| format!("no lab answers at {}: {e}", path.display()))?;
    writeln!(socket, "{request}").map_err(|e| e.to_string())?;
    for line in SyncReader::new(socket).lines() {
        let line = line.map_err(|e| e.to_string())?;
        match serde_json::from_str::<Value>(&line) {
            Ok(v) if v.get("error").is_some() => {
                return Err(v["error"].as_str().unwrap_or_default().to_string());
            }
            _ => println!("{line}"),
        }
    }
    Ok(())
}

#[tokio::main]
async fn show(operator: PathBuf, plugin: PathBuf, manifests: PathBuf) -> Result<(), String> {
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    demo::run(dir.path(), &demo::Programs { operator, plugin, manifests }).await
}

/// The scenario of a file, or the usual one.
fn read_scenario(path: Option<&Path>) -> Result<Scenario, String> {
    let Some(path) = path else { return Ok(Scenario::default()) };
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    serde_saphyr::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))
}

#[tokio::main]
async fn psrp_server(scenario: Option<&Path>, host: Option<String>) -> Result<(), String> {
    let scenario = read_scenario(scenario)?;
    let usual = scenario.data_center(&scenario.active).map(|d| d.management_shell.clone());
    let host = host.or(usual).ok_or("the scenario has no data centre that is active")?;
    let world = World::new(scenario, Box::<MemoryFiles>::default(), jiff::Timestamp::now())?;
    server_mode::serve(SharedWorld::new(world), &host, tokio::io::stdin(), tokio::io::stdout()).await?;
    // A thread still waits for standard input.
    std::process::exit(0)
}

/// What is to be started.
struct Serve {
    dir: PathBuf,
    control_plane: bool,
    scenario: Option<PathBuf>,
    manifests: PathBuf,
    programs: Option<demo::Programs>,
}

#[tokio::main]
async fn serve(serve: Serve) -> Result<(), String> {
    let Serve { dir, control_plane, scenario, manifests, programs } = serve;
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let scenario = read_scenario(scenario.as_deref())?;
    std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let dir = dir.canonicalize().map_err(|e| e.to_string())?;
    // First: what it lacks it says at once.
    let mut lab = Lab::start(scenario, &dir).await?;
    let plane = if control_plane {
        Some(tokio::task::block_in_place(|| ControlPlane::start(&dir.join("control-plane")))?)
    } else {
        None
    };
    let resource = dir.join("resource.yaml");
    std::fs::write(&resource, lab.resource("litware")).map_err(|e| e.to_string())?;
    let socket = dir.join("control.sock");
    if socket.exists() {
        std::fs::remove_file(&socket).map_err(|e| e.to_string())?;
    }
    let listener =
        tokio::net::UnixListener::bind(&socket).map_err(|e| format!("{}: {e}", socket.display()))?;
    let kubeconfig = plane.as_ref().map(ControlPlane::admin_kubeconfig);
    let env = match &plane {
        Some(plane) => tokio::task::block_in_place(|| play::prepare(&lab, plane, &manifests))?,
        None => lab.operator_env(),
    };
    let description = lab.description(kubeconfig.as_deref(), &resource, &env);
    let description = serde_json::to_string_pretty(&description).map_err(|e| e.to_string())?;
    // Complete or not there: whoever waits for it may read it at once.
    std::fs::write(dir.join("lab.json.new"), description)
        .and_then(|()| std::fs::rename(dir.join("lab.json.new"), dir.join("lab.json")))
        .map_err(|e| e.to_string())?;
    // It dies with us, and its lease with the control plane.
    let _operator = match plane.as_ref().zip(programs.as_ref()) {
        None => None,
        Some((plane, programs)) => {
            let operator = tokio::task::block_in_place(|| play::start(&lab, plane, programs, &dir))?;
            println!(
                "A real Kubernetes control plane, two SIMULATED data centres (no real SQL Server, no real Lync), and an operator at work.\n\
                 Try, in this order or any other:\n\n{}\nCtrl-C here stops all of it. The operator's log: {}",
                play::commands(&lab, &dir),
                dir.join("operator.log").display()
            );
            Some(operator)
        }
    };
    attend(&mut lab, &listener).await
}

/// Does what is asked at the control socket, until a signal.
async fn attend(lab: &mut Lab, listener: &tokio::net::UnixListener) -> Result<(), String> {
    // Listened to from here on: one that arrives while something is done must not be missed.
    let told = |e: std::io::Error| e.to_string();
    let mut terminate = signal(SignalKind::terminate()).map_err(told)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(told)?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            accepted = listener.accept() => {
                let (stream, _) = accepted.map_err(|e| e.to_string())?;
                let (reader, mut writer) = stream.into_split();
                let mut line = String::new();
                if BufReader::new(reader).read_line(&mut line).await.is_ok() {
                    let answer = match act(lab, &line).await {
                        Ok(lines) => lines,
                        Err(e) => vec![json!({"error": e}).to_string()],
                    };
                    for l in answer {
                        if writer.write_all(format!("{l}\n").as_bytes()).await.is_err() {
                            break;
                        }
                    }
                }
            }
        }
    }
}

async fn act(lab: &mut Lab, line: &str) -> Result<Vec<String>, String> {
    let request: Value = serde_json::from_str(line).map_err(|e| e.to_string())?;
    let text = |k: &str| request[k].as_str().unwrap_or_default().to_string();
    match text("do").as_str() {
        "lose" => {
            let lost = text("dataCenter");
            lab.lose(&lost).await?;
            let other = lab.scenario().data_centers.iter().find(|d| d.name != lost).map(|d| d.name.clone());
            if let (Some(other), false) = (other, request["keep"] == true) {
                lab.fail_over_central_management(&other);
            }
            Ok(vec![])
        }
        "restore" => lab.restore(&text("dataCenter")).await.map(|()| vec![]),
        "fault" => {
            let arguments: Vec<String> = request["arguments"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|v| v.as_str().map(str::to_string))
                .collect();
            lab.fault(&text("name"), &arguments).map(|()| vec![])
        }
        "journal" => {
            lab.journal().iter().map(|e| serde_json::to_string(e).map_err(|e| e.to_string())).collect()
        }
        "state" => Ok(vec![lab.state().to_string()]),
        other => Err(format!("does not know {other:?}")),
    }
}
