//! What can be said on the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueHint};

use super::completions::Target;
use super::output::Format;
use super::wait::Goal;
use crate::domain::text::duration;

/// Persistent Chat failover: what is going on, what would be done, what was lost, and your yes to it. Only `approve` writes.
///
/// Every command ends with 0 as wanted, 1 called wrongly or no cluster, 2 a human is needed, 3 refused or given up, 124 timed out.
#[derive(Debug, Parser)]
#[command(name = "kubectl-pcf", bin_name = "kubectl pcf", version)]
pub struct Arguments {
    /// Namespace; absent: that of the current context.
    #[arg(short, long, global = true)]
    pub namespace: Option<String>,
    /// What is to be done.
    #[command(subcommand)]
    pub command: Command,
}

/// A command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows a pool and its transition.
    Status(Status),
    /// Says what is true, what would be done with the exact statements, and what stands in the way. Read-only.
    Plan(Plan),
    /// Says of everything that is believed of the products whether this pool confirms it: the first thing to run on a real pool.
    /// Read-only.
    Survey(Survey),
    /// Shows what is asked of a human, and says yes to exactly that.
    Approve(Approve),
    /// Waits until something holds.
    Wait(Wait),
    /// Tells what the last failover lost, how long it took, and what remains to be done.
    Report(Report),
    /// Decides a recorded situation again: from `plan -o json`, from a resource (`kubectl get pcf NAME -o json`), or from the
    /// operator's log. No cluster is needed.
    Replay(Replay),
    /// Writes completions for a shell.
    Completions {
        /// For whom.
        target: Target,
    },
}

/// Of `status`.
#[derive(Debug, Args)]
pub struct Status {
    /// The resource.
    pub name: String,
    /// Again whenever it changes, until Ctrl-C.
    #[arg(short, long)]
    pub watch: bool,
    /// The status as it is, for programs.
    #[arg(short, long)]
    pub output: Option<Format>,
}

/// Of `plan`.
#[derive(Debug, Args)]
pub struct Plan {
    /// A resource of the cluster.
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    pub name: Option<String>,
    /// A file with a resource and its Secrets: no cluster is needed.
    #[arg(short, long, value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
    /// As if this data centre were wanted.
    #[arg(long)]
    pub to: Option<String>,
    /// A recording that `replay` can decide again.
    #[arg(short, long)]
    pub output: Option<Format>,
}

/// Of `survey`.
#[derive(Debug, Args)]
pub struct Survey {
    /// A resource of the cluster.
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    pub name: Option<String>,
    /// A file with a resource and its Secrets: no cluster is needed.
    #[arg(short, long, value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
    /// A report without names and content, to be sent with a question or a defect.
    #[arg(short, long)]
    pub output: Option<Format>,
}

/// Of `approve`.
#[derive(Debug, Args)]
pub struct Approve {
    /// The resource.
    pub name: String,
    /// Yes to the situation of this digest, without being asked. Another one than is asked now is refused.
    #[arg(long, value_name = "DIGEST", conflicts_with = "dry_run")]
    pub yes: Option<String>,
    /// Only shows what is asked.
    #[arg(long)]
    pub dry_run: bool,
    /// What is asked, for programs.
    #[arg(short, long, requires = "dry_run")]
    pub output: Option<Format>,
}

/// Of `wait`.
#[derive(Debug, Args)]
pub struct Wait {
    /// The resource.
    pub name: String,
    /// What is waited for.
    #[arg(long = "for", value_name = "WHAT")]
    pub goal: Goal,
    /// How long at most: 90s, 10m, 1h30m.
    #[arg(long, default_value = "10m", value_parser = duration)]
    pub timeout: Duration,
}

/// Of `report`.
#[derive(Debug, Args)]
pub struct Report {
    /// The resource.
    pub name: String,
    /// For programs.
    #[arg(short, long)]
    pub output: Option<Format>,
}

/// Of `replay`.
#[derive(Debug, Args)]
pub struct Replay {
    /// Where the recording is.
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// For programs: one document for each recording.
    #[arg(short, long)]
    pub output: Option<Format>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::CommandFactory as _;

    use super::*;

    fn said(line: &str) -> Result<Command, String> {
        let parsed = Arguments::try_parse_from(line.split(' '));
        parsed.map(|a| a.command).map_err(|e| e.to_string())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_timeout_is_ten_minutes_if_nobody_says_otherwise() {
        assert!(
            matches!(said("x wait a --for=ready").unwrap(), Command::Wait(w) if w.timeout.as_secs() == 600)
        );
    }

    #[test]
    fn what_makes_no_sense_together_is_refused_and_says_what_is_known() {
        for (line, part) in [
            ("x status a -o xml", "[possible values: json, yaml]"),
            ("x wait a --for done", "[possible values: ready, serving, protected, human]"),
            ("x wait a", "--for"),
            ("x approve a -o json", "--dry-run"),
            ("x approve a --dry-run --yes 12", "cannot be used with"),
            ("x plan", "<NAME>"),
            ("x plan a -f b", "cannot be used with"),
            ("x survey", "<NAME>"),
            ("x completions tcsh", "bash"),
        ] {
            let e = said(line).unwrap_err();
            assert!(e.contains(part), "{line}: {e}");
        }
    }
}
