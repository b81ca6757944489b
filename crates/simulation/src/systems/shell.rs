//! Management Shells, and whether a host listens at all.

use std::time::Duration;

use lab::chat::cmdlets::{self, Finished};
use persistent_chat_failover::domain::lync::JobState;
use persistent_chat_failover::domain::pool::ManagementShell;
use persistent_chat_failover::domain::problem::Problem;
use persistent_chat_failover::domain::transition::DetachedJob;
use persistent_chat_failover::systems::management_shell::{
    Cmdlet, Shell, ShellError, ShellObject, ShellOutput, diagnostics,
};
use psrp::message::PipelineState;

use super::SimSystems;
use crate::fate::Fate;
use crate::sides;

/// All that a cmdlet said, as it comes over the wire.
fn output(f: Finished) -> ShellOutput {
    ShellOutput {
        objects: f.objects.into_iter().map(ShellObject).collect(),
        errors: f.errors,
        warnings: f.warnings,
        progress: None,
        completed: f.state == PipelineState::Completed,
    }
}

impl SimSystems {
    fn shell_up(&self, host: &str) -> Result<(), ShellError> {
        if self.shared.now().world.host_is_up(host) {
            Ok(())
        } else {
            Err(ShellError::Unreachable("connection refused".into()))
        }
    }

    /// Waits until a cmdlet has ended.
    async fn finished(&self, host: &str, id: u64, deadline: Duration) -> Result<Finished, ShellError> {
        let mut waited = Duration::ZERO;
        loop {
            {
                let mut s = self.shared.now();
                if !s.world.host_is_up(host) {
                    return Err(ShellError::Lost("connection reset by peer".into()));
                }
                if let Some(f) = cmdlets::poll(&s.world, id) {
                    // It has ended: as WinRM does when its shell is deleted, the world forgets it.
                    cmdlets::abort(&mut s.world, id);
                    return Ok(f);
                }
            }
            let pause = Duration::from_millis(20);
            waited += pause;
            if waited > deadline {
                return Err(ShellError::Lost("no answer in time".into()));
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Whether something listens on a port of a host.
    pub(super) async fn answers(&self, host: &str, port: u16) -> Result<bool, Problem> {
        match self.point(false, || format!("connect {host}:{port}")).await {
            Fate::FailBefore | Fate::AnswerLost => return Ok(false),
            Fate::Hang => {
                tokio::time::sleep(Duration::from_secs(5)).await;
                return Ok(false);
            }
            Fate::KillDuring | Fate::KillAfter => return self.die().await,
            Fate::Ok | Fate::KillBefore | Fate::Sql(_) => {}
        }
        let s = self.shared.now();
        let side = sides::of_host(&s.world.scenario, host);
        let filtered = s.filtered.is_some() && side == s.filtered;
        Ok(s.world.host_is_up(host) && !filtered)
    }
}

impl Shell for SimSystems {
    async fn invoke(
        &self,
        shell: &ManagementShell,
        cmdlet: &Cmdlet,
        deadline: Duration,
    ) -> Result<ShellOutput, ShellError> {
        let writes = cmdlet.name.starts_with("Set-") || cmdlet.name.starts_with("Install-");
        let fate = self.point(writes, || format!("{} {}", shell.host, cmdlet.shown())).await;
        if fate == Fate::FailBefore {
            return Err(ShellError::Unreachable("timed out".into()));
        }
        self.shell_up(&shell.host)?;
        let user = format!("operator-{}", self.who);
        let id = {
            let mut s = self.shared.now();
            let id = cmdlets::start(&mut s.world, &shell.host, &user, &cmdlet.command());
            s.observe();
            id
        };
        if fate == Fate::KillDuring {
            return self.die().await;
        }
        if fate == Fate::Hang {
            tokio::time::sleep(deadline).await;
            return Err(ShellError::Lost("no answer in time".into()));
        }
        let finished = self.finished(&shell.host, id, deadline).await?;
        match fate {
            Fate::AnswerLost => return Err(ShellError::Lost("connection reset before the answer".into())),
            Fate::KillAfter => return self.die().await,
            Fate::Ok | Fate::FailBefore | Fate::Hang | Fate::KillBefore | Fate::KillDuring | Fate::Sql(_) => {
            }
        }
        Ok(output(finished))
    }

    async fn account(&self, _: &ManagementShell) -> Result<String, ShellError> {
        // The Secrets of every operator of a run name the same one.
        Ok("operator".into())
    }

    async fn start(
        &self,
        shell: &ManagementShell,
        cmdlet: &Cmdlet,
        job: &DetachedJob,
    ) -> Result<(), ShellError> {
        let fate = self.point(true, || format!("{} start {}", shell.host, cmdlet.shown())).await;
        if fate == Fate::FailBefore {
            return Err(ShellError::Lost("connection reset before anything was sent".into()));
        }
        self.shell_up(&shell.host)?;
        {
            let mut s = self.shared.now();
            let key = (job.shell_id.clone(), job.command_id.clone());
            if s.jobs.contains_key(&key) {
                return Err(ShellError::Refused("the ShellId is taken".into()));
            }
            let user = format!("operator-{}", self.who);
            let id = cmdlets::start(&mut s.world, &shell.host, &user, &cmdlet.command());
            s.jobs.insert(key, id);
            s.observe();
        }
        match fate {
            Fate::KillDuring | Fate::KillAfter => self.die().await,
            Fate::AnswerLost => Err(ShellError::Lost("connection reset before the answer".into())),
            Fate::Hang => {
                tokio::time::sleep(Duration::from_secs(30)).await;
                Err(ShellError::Lost("no answer in time".into()))
            }
            Fate::Ok | Fate::FailBefore | Fate::KillBefore | Fate::Sql(_) => Ok(()),
        }
    }

    async fn state_of(&self, shell: &ManagementShell, job: &DetachedJob) -> Result<JobState, ShellError> {
        let fate = self.point(false, || format!("{} look after a job", shell.host)).await;
        match fate {
            Fate::FailBefore => return Err(ShellError::Unreachable("timed out".into())),
            Fate::Hang => {
                tokio::time::sleep(Duration::from_secs(30)).await;
                return Err(ShellError::Lost("no answer in time".into()));
            }
            Fate::Ok
            | Fate::AnswerLost
            | Fate::KillBefore
            | Fate::KillDuring
            | Fate::KillAfter
            | Fate::Sql(_) => {}
        }
        self.shell_up(&shell.host)?;
        let state = {
            let mut s = self.shared.now();
            let key = (job.shell_id.clone(), job.command_id.clone());
            match s.jobs.get(&key).copied().filter(|id| s.world.chat.running.contains_key(id)) {
                None => JobState::Gone,
                Some(id) => match cmdlets::poll(&s.world, id) {
                    None => JobState::Running,
                    Some(f) => {
                        // What it said is read once; then its shell is deleted.
                        s.jobs.remove(&key);
                        JobState::Finished(diagnostics::of(&output(f)))
                    }
                },
            }
        };
        match fate {
            Fate::KillDuring | Fate::KillAfter => self.die().await,
            Fate::AnswerLost => Err(ShellError::Lost("connection reset before the answer".into())),
            Fate::Ok | Fate::FailBefore | Fate::Hang | Fate::KillBefore | Fate::Sql(_) => Ok(state),
        }
    }
}
