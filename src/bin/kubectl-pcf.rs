//! `kubectl pcf`: the plugin.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory as _, Parser as _};
use persistent_chat_failover::api::v1alpha1::PersistentChatFailover;
use persistent_chat_failover::cli::approve::{self, How};
use persistent_chat_failover::cli::arguments::{
    Approve, Arguments, Command, Plan, Replay, Report, Status, Survey, Wait,
};
use persistent_chat_failover::cli::cluster::{Place, connect};
use persistent_chat_failover::cli::completions::completions;
use persistent_chat_failover::cli::failure::Failure;
use persistent_chat_failover::cli::output::{Format, harmless};
use persistent_chat_failover::cli::{self, follow, plan, replay, report, status, survey, wait};
use persistent_chat_failover::controller::{ClusterSecrets, FileSecrets};
use persistent_chat_failover::systems::secrets::SecretSource;
use persistent_chat_failover::systems::settings::Settings;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        // Help is an error to clap as well. Its own code for a wrong call means something else here.
        Err(e) => {
            let _ = e.print();
            return ExitCode::from(u8::from(e.use_stderr()));
        }
    };
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            let _ = writeln!(std::io::stderr(), "kubectl pcf: {}", harmless(e.message()));
            ExitCode::from(e.code())
        }
    }
}

async fn run(a: Arguments) -> Result<(), Failure> {
    let place = |name: String| async {
        let (client, namespace) = connect(a.namespace.clone()).await?;
        Ok::<_, Failure>(Place { client, namespace, name })
    };
    match a.command {
        Command::Status(Status { name, watch: true, output }) => {
            follow::follow(&place(name).await?, output).await
        }
        Command::Status(Status { name, watch: false, output }) => {
            let r = place(name).await?.get().await?;
            in_form(output, &r.status, || status::picture(&r, jiff::Timestamp::now()))
        }
        Command::Report(Report { name, output }) => {
            let told = report::report(&place(name).await?.get().await?)?;
            in_form(output, &told, || told.told())
        }
        Command::Approve(asked) => agree(&place(asked.name.clone()).await?, asked).await,
        Command::Wait(Wait { name, goal, timeout }) => {
            let note = |text: &str| eprintln!("kubectl pcf: {}", harmless(text));
            let told = wait::wait(&place(name).await?, goal, timeout, note).await?;
            print(harmless(&format!("{told}\n")))
        }
        Command::Replay(asked) => decide_again(&asked),
        Command::Completions { target } => print(completions(target, Arguments::command())),
        Command::Plan(Plan { name, file, to, output }) => {
            let settings = Settings::from_env()?;
            let (resource, secrets) = described(a.namespace, name, file).await?;
            let (text, recording) = plan::explain(&resource, to, settings, secrets).await?;
            in_form(output, &recording, || text)
        }
        Command::Survey(Survey { name, file, output }) => {
            let settings = Settings::from_env()?;
            let (resource, secrets) = described(a.namespace, name, file).await?;
            let (found, text) = survey::survey(&resource, settings, secrets).await?;
            in_form(output, &found, || text)?;
            match found.contradicted() {
                0 => Ok(()),
                n => Err(Failure::HumanNeeded(format!(
                    "{n} of what is believed does not hold in this pool: please report it, with what -o yaml writes"
                ))),
            }
        }
    }
}

/// A resource and its Secrets, from a cluster or a file.
async fn described(
    namespace: Option<String>,
    name: Option<String>,
    file: Option<PathBuf>,
) -> Result<(PersistentChatFailover, Arc<dyn SecretSource>), Failure> {
    match (name, file) {
        (_, Some(path)) => Ok(from_file(&path)?),
        (Some(name), None) => {
            let (client, namespace) = connect(namespace).await?;
            let secrets = ClusterSecrets::new(client.clone(), &namespace);
            let place = Place { client, namespace, name };
            Ok((place.get().await?, Arc::new(secrets)))
        }
        (None, None) => Err(Failure::Unable("give the name of a resource, or -f FILE".into())),
    }
}

/// `approve`.
async fn agree(place: &Place, asked: Approve) -> Result<(), Failure> {
    if asked.dry_run {
        let question = approve::asked(&place.get().await?)?;
        return in_form(asked.output, &question, || question.shown());
    }
    let how = asked.yes.map_or(How::Asked, How::Digest);
    let show = |text: &str| eprint!("{}", harmless(text));
    let written = approve::approve(place, &how, show).await?;
    print(format!(
        "{written}\nWhat follows: kubectl pcf wait {} -n {} --for ready\n",
        place.name, place.namespace
    ))
}

/// `replay`.
fn decide_again(asked: &Replay) -> Result<(), Failure> {
    let told = |e: &dyn std::fmt::Display| format!("{}: {e}", asked.file.display());
    let text = std::fs::read_to_string(&asked.file).map_err(|e| told(&e))?;
    let found = replay::recordings(&text).map_err(|e| told(&e))?;
    let decided: Vec<_> = found.iter().map(replay::decide).collect();
    match asked.output {
        None => print(harmless(&decided.iter().map(replay::Decided::told).collect::<Vec<_>>().join("\n"))),
        Some(format) => {
            let documents = decided.iter().map(|d| format.write(d)).collect::<Result<Vec<_>, _>>()?;
            print(documents.join(format.border()))
        }
    }
}

/// Prints for a program, or for a human.
fn in_form(
    form: Option<Format>,
    what: &impl serde::Serialize,
    text: impl FnOnce() -> String,
) -> Result<(), Failure> {
    match form {
        Some(format) => print(format.write(what)?),
        None => print(harmless(&text())),
    }
}

fn print(text: impl AsRef<[u8]>) -> Result<(), Failure> {
    match std::io::stdout().write_all(text.as_ref()) {
        // Whoever reads has read enough.
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|e| Failure::Unable(e.to_string())),
    }
}

/// A resource and its Secrets from one file.
fn from_file(path: &Path) -> Result<(PersistentChatFailover, Arc<dyn SecretSource>), String> {
    let told = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let text = std::fs::read_to_string(path).map_err(|e| told(&e))?;
    let (r, secrets) = cli::from_file(&text).map_err(|e| told(&e))?;
    Ok((r, Arc::new(FileSecrets(secrets))))
}
