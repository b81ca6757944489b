//! `pcf-operator`: the controller, and the resource's definition as YAML.

use clap::{Parser, Subcommand};
use persistent_chat_failover::systems::settings::Settings;
use persistent_chat_failover::systems::sql_server::session::QUIET_TARGET;
use persistent_chat_failover::{api, controller};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

/// Fails Lync Server 2013 / Skype for Business Server 2015 Persistent Chat over between data centres.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the controller.
    Run {
        /// The namespace to work in; absent: all.
        #[arg(long, env = "PCF_NAMESPACE")]
        namespace: Option<String>,
    },
    /// Prints the custom resource definition.
    Crd,
}

fn main() -> std::process::ExitCode {
    match real_main() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("pcf-operator: {e}");
            std::process::ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn real_main() -> Result<(), String> {
    match Arguments::parse().command {
        Command::Crd => {
            print!("{}", api::crd_yaml()?);
            Ok(())
        }
        Command::Run { namespace } => {
            // The driver repeats every message of a server, also texts that are not ours to log.
            let quiet = format!("{QUIET_TARGET}=off").parse().map_err(|e| format!("log filter: {e}"))?;
            let filter = EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| EnvFilter::new("info"))
                .add_directive(quiet);
            tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();
            let settings = Settings::from_env()?;
            let client =
                kube::Client::try_default().await.map_err(|e| format!("cannot reach Kubernetes: {e}"))?;
            let (stop, stopped) = watch::channel(false);
            let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
                .map_err(|e| e.to_string())?;
            tokio::spawn(async move {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = tokio::signal::ctrl_c() => {}
                }
                tracing::info!("stopping: no new effect begins, what runs is let end");
                stop.send_replace(true);
            });
            tracing::info!(version = env!("CARGO_PKG_VERSION"), "started");
            controller::run(client, namespace, settings, stopped).await
        }
    }
}
