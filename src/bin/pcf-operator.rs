//! `pcf-operator`: the controller, and the resource's definition as YAML.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};
use persistent_chat_failover::controller::Options;
use persistent_chat_failover::controller::lease::Candidate;
use persistent_chat_failover::controller::rights::{self, Where};
use persistent_chat_failover::systems::identity::{self, Identity};
use persistent_chat_failover::systems::settings::Settings;
use persistent_chat_failover::systems::sql_server::session::QUIET_TARGET;
use persistent_chat_failover::telemetry::{self, Instruments};
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
        /// Where to show metrics and health, for example 0.0.0.0:8080; absent: nowhere.
        #[arg(long, env = "PCF_METRICS_ADDRESS")]
        metrics_address: Option<String>,
        #[command(flatten)]
        election: Election,
    },
    /// Gets an http:// URL, prints what is answered, and exits with 0 if that was 200.
    Probe {
        /// For example http://127.0.0.1:8080/healthz
        url: String,
    },
    /// Prints the custom resource definition.
    Crd,
    /// Prints the rules of a role with exactly the rights that it needs.
    Rights {
        /// Those in its own namespace, instead of those where the resources are.
        #[arg(long)]
        own: bool,
    },
}

/// How replicas of the operator agree on which of them works.
#[derive(clap::Args)]
struct Election {
    /// Work only while holding the lease `persistent-chat-failover`. Without it there must be one replica only.
    #[arg(long, env = "PCF_LEADER_ELECT", default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    leader_elect: bool,
    /// The namespace of the lease; absent: that of the pod, or of the current context.
    #[arg(long, env = "POD_NAMESPACE")]
    leader_election_namespace: Option<String>,
    /// How long a lease stands that nobody renews: 3s to 5m.
    #[arg(long, env = "PCF_LEASE_DURATION", default_value = "15s", value_parser = lease_duration)]
    lease_duration: Duration,
}

/// A lease is told in whole seconds, and shorter than three nobody keeps on a busy API server.
fn lease_duration(text: &str) -> Result<Duration, String> {
    match persistent_chat_failover::domain::text::duration(text)?.as_secs() {
        seconds @ 3..=300 => Ok(Duration::from_secs(seconds)),
        _ => Err(format!(
            "{text:?} is not from 3s to 5m: a lease stands for at least three seconds, and not for ever"
        )),
    }
}

impl Election {
    fn candidate(self, client: &kube::Client) -> Option<Candidate> {
        // Anew with each process: one that was started again must not take what its predecessor still works with for its own.
        let Identity { machine, start } = identity::own();
        let machine = machine.as_deref().unwrap_or("pcf-operator");
        self.leader_elect.then(|| Candidate {
            namespace: self
                .leader_election_namespace
                .unwrap_or_else(|| client.default_namespace().to_string()),
            identity: format!("{machine}_{start}"),
            duration: self.lease_duration,
        })
    }
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
        Command::Rights { own } => {
            print!("{}", rights::rules_yaml(if own { Where::Own } else { Where::Resources })?);
            Ok(())
        }
        Command::Probe { url } => {
            let answer = telemetry::probe::get(&url).await?;
            std::io::stdout().write_all(&answer.body).map_err(|e| e.to_string())?;
            if answer.well { Ok(()) } else { Err(format!("{url}: answered {}", answer.status)) }
        }
        Command::Run { namespace, metrics_address, election } => {
            let mut filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
            // The driver repeats every message of a server, also texts that are not ours to log; the library of NTLM shows what it seals.
            for quiet in [format!("{QUIET_TARGET}=off"), "sspi=info".into()] {
                filter = filter.add_directive(quiet.parse().map_err(|e| format!("log filter: {e}"))?);
            }
            tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();
            let settings = Settings::from_env()?;
            let telemetry = Arc::new(Instruments::default());
            // An empty variable is one that nobody has set.
            if let Some(address) = metrics_address.filter(|a| !a.is_empty()) {
                let listener = telemetry::serve::listen(&address).await?;
                tracing::info!(address, "metrics and health are shown");
                tokio::spawn(telemetry::serve::serve(listener, telemetry.clone()));
            }
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
            let candidate = election.candidate(&client);
            controller::run(client, settings, Options { namespace, candidate, telemetry }, stopped).await
        }
    }
}
