//! `kubectl pcf`: the plugin.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};
use kube::Client;
use persistent_chat_failover::api::v1alpha1::PersistentChatFailover;
use persistent_chat_failover::cli::{self, plan, replay, report, status};
use persistent_chat_failover::controller::{ClusterSecrets, FileSecrets};
use persistent_chat_failover::systems::secrets::SecretSource;
use persistent_chat_failover::systems::settings::Settings;

/// Persistent Chat failover: what is going on, what would be done, what was lost. It only reads.
#[derive(Parser)]
#[command(name = "kubectl-pcf", bin_name = "kubectl pcf", version)]
struct Arguments {
    /// Namespace; absent: that of the current context.
    #[arg(short, long, global = true)]
    namespace: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Shows a pool and its transition.
    Status {
        name: String,
        /// Again every two seconds.
        #[arg(long)]
        watch: bool,
        /// `json` for the status as it is.
        #[arg(short, long)]
        output: Option<String>,
    },
    /// Says what is true, what would be done with the exact statements, and what stands in the way. Read-only.
    Plan {
        /// A resource of the cluster.
        #[arg(required_unless_present = "file", conflicts_with = "file")]
        name: Option<String>,
        /// A file with a resource and its Secrets: no cluster is needed.
        #[arg(short, long)]
        file: Option<PathBuf>,
        /// As if this data centre were wanted.
        #[arg(long)]
        to: Option<String>,
        /// `json` for a recording that `replay` can decide again.
        #[arg(short, long)]
        output: Option<String>,
    },
    /// Decides a recorded situation again: from `plan -o json`, from a resource (`kubectl get pcf NAME -o json`), or from the
    /// operator's log. No cluster is needed.
    Replay { file: PathBuf },
    /// Tells what the last transition lost, how long it took, and what remains to be done.
    Report { name: String },
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("kubectl pcf: {e}");
            std::process::ExitCode::FAILURE
        }
    }
}

async fn run(a: Arguments) -> Result<(), String> {
    let connect = || async {
        let client = Client::try_default().await.map_err(|e| format!("cannot reach Kubernetes: {e}"))?;
        let namespace = a.namespace.clone().unwrap_or_else(|| client.default_namespace().to_string());
        Ok::<_, String>((client, namespace))
    };
    let print = |text: &str| std::io::stdout().write_all(text.as_bytes()).map_err(|e| e.to_string());
    match a.command {
        Command::Status { ref name, watch, ref output } => {
            let (client, namespace) = connect().await?;
            loop {
                let r = cli::resource(client.clone(), &namespace, name).await?;
                match output.as_deref() {
                    None => {
                        if watch {
                            print("\x1b[2J\x1b[H")?;
                        }
                        print(&status::picture(&r, jiff::Timestamp::now()))?;
                    }
                    Some("json") => print(&format!(
                        "{}\n",
                        serde_json::to_string_pretty(&r.status).map_err(|e| e.to_string())?
                    ))?,
                    Some(other) => return Err(format!("-o {other}: only json is known")),
                }
                if !watch {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
        }
        Command::Report { ref name } => {
            let (client, namespace) = connect().await?;
            print(&report::report(&cli::resource(client, &namespace, name).await?)?)
        }
        Command::Replay { ref file } => {
            let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
            let found = replay::recordings(&text).map_err(|e| format!("{}: {e}", file.display()))?;
            let told: Vec<String> = found.iter().map(replay::explain).collect();
            print(&told.join("\n"))
        }
        Command::Plan { ref name, ref file, ref to, ref output } => {
            if let Some(other) = output.as_deref().filter(|o| *o != "json") {
                return Err(format!("-o {other}: only json is known"));
            }
            let settings = Settings::from_env()?;
            let (resource, secrets) = match (name, file) {
                (_, Some(path)) => from_file(path)?,
                (Some(name), None) => {
                    let (client, namespace) = connect().await?;
                    let r = cli::resource(client.clone(), &namespace, name).await?;
                    (r, Arc::new(ClusterSecrets::new(client, &namespace)) as Arc<dyn SecretSource>)
                }
                (None, None) => return Err("give the name of a resource, or -f FILE".into()),
            };
            let (text, recording) = plan::explain(&resource, to.clone(), settings, secrets).await?;
            match output {
                None => print(&text),
                Some(_) => {
                    let json = serde_json::to_string_pretty(&recording).map_err(|e| e.to_string())?;
                    print(&format!("{json}\n"))
                }
            }
        }
    }
}

/// A resource and its Secrets from one file.
fn from_file(path: &Path) -> Result<(PersistentChatFailover, Arc<dyn SecretSource>), String> {
    let told = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let text = std::fs::read_to_string(path).map_err(|e| told(&e))?;
    let (r, secrets) = cli::from_file(&text).map_err(|e| told(&e))?;
    Ok((r, Arc::new(FileSecrets(secrets))))
}
