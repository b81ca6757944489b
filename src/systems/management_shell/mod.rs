//! The Management Shell: the cmdlets, and what their objects mean.

pub mod cmdlets;
pub mod diagnostics;
pub mod reached;
pub mod read;
pub mod remoting;

use std::future::Future;
use std::time::Duration;

use psrp::client::Output;
use psrp::clixml::Value;
use psrp::message::{Command, ErrorRecord, PipelineState, Progress};

use crate::domain::lync::JobState;
use crate::domain::pool::ManagementShell;
use crate::domain::transition::DetachedJob;

/// A cmdlet with named parameters. There is no way to send script text.
#[derive(Clone, Debug, PartialEq)]
pub struct Cmdlet {
    /// Its name.
    pub name: &'static str,
    /// Its parameters.
    pub parameters: Vec<(&'static str, Argument)>,
}

/// A parameter's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Argument {
    /// A string.
    Text(String),
    /// A switch, or a Boolean.
    Switch(bool),
    /// A whole number.
    Number(i32),
    /// A list modifier `@{Replace=…}`. Nothing to replace by is `$null`: the modifier leaves a list as it is if its own is empty.
    Replace(Vec<String>),
}

impl Cmdlet {
    /// The cmdlet as PowerShell Remoting sends it.
    pub fn command(&self) -> Command {
        let value = |a: &Argument| match a {
            Argument::Text(t) => Value::text(t),
            Argument::Switch(b) => Value::Bool(*b),
            Argument::Number(n) => Value::I32(*n),
            Argument::Replace(list) if list.is_empty() => Value::Null,
            Argument::Replace(list) => {
                let list = Value::List(list.iter().map(Value::text).collect());
                Value::Dict(vec![(Value::text("Replace"), list)])
            }
        };
        Command {
            name: self.name.into(),
            parameters: self.parameters.iter().map(|(n, a)| ((*n).to_string(), value(a))).collect(),
        }
    }

    /// Whether it may change something: by its verb, as PowerShell's own guidelines have them ("Approved Verbs").
    pub fn changes(&self) -> bool {
        !["Get-", "Test-"].iter().any(|verb| self.name.starts_with(verb))
    }

    /// The cmdlet as it would be typed. For plans and logs, never sent.
    pub fn shown(&self) -> String {
        let quote = |s: &str| format!("'{}'", crate::domain::text::clean(s).replace('\'', "''"));
        let parameters: Vec<String> = self
            .parameters
            .iter()
            .map(|(name, value)| match value {
                Argument::Text(t) => format!("-{name} {}", quote(t)),
                Argument::Switch(true) => format!("-{name}"),
                Argument::Switch(false) => format!("-{name}:$false"),
                Argument::Number(n) => format!("-{name} {n}"),
                Argument::Replace(list) if list.is_empty() => format!("-{name} $null"),
                Argument::Replace(list) => {
                    format!(
                        "-{name} @{{Replace={}}}",
                        list.iter().map(|s| quote(s)).collect::<Vec<_>>().join(",")
                    )
                }
            })
            .collect();
        if parameters.is_empty() {
            self.name.into()
        } else {
            format!("{} {}", self.name, parameters.join(" "))
        }
    }
}

/// An object that a cmdlet wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct ShellObject(pub psrp::clixml::Value);

/// All that a cmdlet said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ShellOutput {
    /// Its objects.
    pub objects: Vec<ShellObject>,
    /// Its error records, the terminating one last. A step succeeds only if there are none.
    pub errors: Vec<ErrorRecord>,
    /// Its warnings.
    pub warnings: Vec<String>,
    /// How far it said that it was, last.
    pub progress: Option<Progress>,
    /// Whether the pipeline ended as completed.
    pub completed: bool,
}

impl From<Output> for ShellOutput {
    fn from(out: Output) -> Self {
        ShellOutput {
            objects: out.objects.into_iter().map(ShellObject).collect(),
            errors: out.errors,
            warnings: out.warnings,
            progress: out.progress,
            completed: out.state == PipelineState::Completed,
        }
    }
}

/// Why a cmdlet could not be run, or its answer was lost.
#[derive(Clone, Debug, PartialEq)]
pub enum ShellError {
    /// Nobody there. Nothing was sent.
    Unreachable(String),
    /// The certificate is not trusted or names another host.
    Tls(String),
    /// The logon was refused.
    Login {
        /// Who wanted to log on.
        user: String,
        /// What the host said.
        why: String,
    },
    /// The host refused for now, and has done nothing: a quota, a shell that was lost, a service that ends.
    Busy(String),
    /// The host refused because of the account that the session configuration runs as.
    RunAs(String),
    /// The host refused: no such configuration, no right, a fault.
    Refused(String),
    /// A job was started by another account than the one that is used now, which cannot see it.
    OtherAccount {
        /// Who started it.
        recorded: String,
        /// Who asks now.
        now: String,
    },
    /// The answer was lost: it may have run.
    Lost(String),
    /// The host said something that we cannot read.
    Protocol(String),
    /// We could not even begin.
    NotAsked(crate::domain::problem::Problem),
}

/// The Management Shells of a pool.
pub trait Shell: Send + Sync {
    /// Runs a cmdlet to its end and gives all that it said. At most `deadline`.
    fn invoke(
        &self,
        shell: &ManagementShell,
        cmdlet: &Cmdlet,
        deadline: Duration,
    ) -> impl Future<Output = Result<ShellOutput, ShellError>> + Send;
    /// Whom cmdlets run as on a host.
    fn account(&self, shell: &ManagementShell) -> impl Future<Output = Result<String, ShellError>> + Send;
    /// Starts a cmdlet that lives on without us, under the ids of the job.
    fn start(
        &self,
        shell: &ManagementShell,
        cmdlet: &Cmdlet,
        job: &DetachedJob,
    ) -> impl Future<Output = Result<(), ShellError>> + Send;
    /// Looks after a detached cmdlet. Starts nothing.
    fn state_of(
        &self,
        shell: &ManagementShell,
        job: &DetachedJob,
    ) -> impl Future<Output = Result<JobState, ShellError>> + Send;
}
