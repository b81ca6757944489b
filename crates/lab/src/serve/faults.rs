//! Faults, and what people do past the operator: each by a name and its arguments.

use std::path::PathBuf;

use super::Lab;
use crate::sql::{self, Instance, SQL_USER, Shipment};
use crate::world::{World, answers};
use crate::{chat, scenario::Scenario};

impl Lab {
    /// Injects a fault by its name.
    pub fn fault(&self, name: &str, arguments: &[String]) -> Result<(), String> {
        let mut w = self.world.now();
        let fault = Fault { name, arguments };
        let known = fault.of_a_server(&mut w)?
            || fault.by_hand(&mut w, &self.scenario)?
            || fault.of_the_lab(&mut w)?
            || fault.of_a_backup(&self.backup_shares(), &self.scenario)?;
        drop(w);
        if !known {
            return Err(format!("simulator: does not know the fault {name}"));
        }
        self.world.announce();
        Ok(())
    }
}

/// A fault that was asked for. Each function says whether it is one of its own.
struct Fault<'a> {
    name: &'a str,
    arguments: &'a [String],
}

impl Fault<'_> {
    fn argument(&self, n: usize) -> Result<&str, String> {
        let found = self.arguments.get(n).map(String::as_str);
        found.ok_or_else(|| format!("the fault {} needs an argument", self.name))
    }

    fn number(&self, n: usize) -> Result<u64, String> {
        self.argument(n)?.parse().map_err(|e| format!("{e}"))
    }

    /// The SQL Server that the first argument names.
    fn instance<'w>(&self, w: &'w mut World) -> Result<&'w mut Instance, String> {
        let host = self.argument(0)?;
        w.sql.get_mut(host).ok_or_else(|| format!("no SQL Server {host}"))
    }

    fn of_a_server(&self, w: &mut World) -> Result<bool, String> {
        match self.name {
            "refuse-login" => _ = self.instance(w)?.refused.insert(SQL_USER.into()),
            "accept-login" => self.instance(w)?.refused.clear(),
            "stop-agent" => {
                // In the middle of its restore job, as a machine that was reset leaves it.
                let i = self.instance(w)?;
                i.agent_stopped = true;
                i.jobs.iter_mut().for_each(|j| j.hangs = true);
            }
            "silent-port" => self.instance(w)?.silent = self.argument(1)? == "on",
            "disk-full" => self.instance(w)?.disk_full = self.argument(1)? == "on",
            "make-folder" => {
                let folder = self.argument(1)?.to_lowercase();
                self.instance(w)?.folders.insert(folder);
            }
            "promote-mirror" => sql::promote_mirror(w, self.argument(0)?)?,
            "start-sql" => sql::start_sql(w, self.argument(0)?)?,
            "add-file" => {
                sql::add_file_by_hand(w, self.argument(0)?, self.argument(1)?, self.argument(2)?)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn by_hand(&self, w: &mut World, scenario: &Scenario) -> Result<bool, String> {
        match self.name {
            "recover-by-hand" => {
                let d = scenario.data_center(self.argument(0)?).ok_or("no such data centre")?;
                sql::recover_by_hand(w, &d.sql_server)?;
            }
            "set-state-by-hand" => {
                let store = scenario.store_of(self.argument(0)?).ok_or("no such data centre")?;
                chat::set_state_by_hand(w, store);
            }
            "set-active" => chat::set_active_by_hand(w, self.arguments)?,
            "foreign-job" => sql::foreign_job(w, self.argument(0)?, self.argument(1)?)?,
            "delete-job" => sql::delete_job_by_hand(w, self.argument(0)?, self.argument(1)?)?,
            "foreign-mirror-database" => sql::foreign_database_by_hand(w, self.argument(0)?)?,
            "remove-mirror" => sql::remove_mirror_by_hand(w, self.argument(0)?)?,
            "unpublish-server" => chat::unpublish_server(w, self.argument(0)?)?,
            "lose-undo-file" => sql::lose_undo_file(w, self.argument(0)?)?,
            "remove-log-shipping" => sql::remove_log_shipping_by_hand(w, self.argument(0)?)?,
            "set-up-log-shipping" => {
                let [from, to, share, folder] = [0, 1, 2, 3].map(|n| self.argument(n));
                let shipment = Shipment { from: from?, to: to?, share: share?, folder: folder? };
                sql::set_up_log_shipping_by_hand(w, &shipment)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn of_the_lab(&self, w: &mut World) -> Result<bool, String> {
        match self.name {
            "refuse-shell-login" => w.chat.refused.push(self.argument(0)?.into()),
            "accept-shell-login" => {
                let host = self.argument(0)?;
                w.chat.refused.retain(|h| h != host);
            }
            "will-not-stop" => chat::will_not_stop(w, self.argument(0)?, self.argument(1)? == "on")?,
            "hide-cmdlet" => w.chat.hidden.push(self.argument(0)?.into()),
            "show-cmdlets" => w.chat.hidden.clear(),
            "unresolved" => w.chat.unresolved.push(self.argument(0)?.into()),
            "resolved" => w.chat.unresolved.clear(),
            "mirror-warns" => {
                w.chat.mirror_warns = u32::try_from(self.number(0)?).map_err(|e| e.to_string())?;
            }
            "cms-read-only" => w.chat.read_only = self.argument(0)? == "on",
            "restore-ms" => w.scenario.restore_ms = self.number(0)?,
            "full-ms" => w.scenario.full_ms = self.number(0)?,
            "give-up" => w.answers.set(Some(answers::give_up_next(self.argument(0)?))),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A new file goes where log backups are shipped when the lab begins: to the side that is not active then.
    fn of_a_backup(&self, shares: &[PathBuf], scenario: &Scenario) -> Result<bool, String> {
        let file = self.arguments.first().map_or("", String::as_str);
        let holds = shares.iter().find(|s| s.join(file).is_file());
        let shipped_to = || scenario.data_centers.iter().position(|d| d.name != scenario.active);
        let share = holds.or_else(|| shares.get(shipped_to()?)).ok_or("no backup share")?;
        let opened = || {
            let path = share.join(self.argument(0)?);
            std::fs::OpenOptions::new().write(true).open(path).map_err(|e| e.to_string())
        };
        match self.name {
            "remove-backup" => {
                std::fs::remove_file(share.join(self.argument(0)?)).map_err(|e| e.to_string())?;
            }
            "truncate-backup" => {
                let file = opened()?;
                let length = file.metadata().map_err(|e| e.to_string())?.len();
                file.set_len(length / 2).map_err(|e| e.to_string())?;
            }
            // Sparse: its length is real, its blocks are not.
            "grow-backup" => opened()?.set_len(self.number(1)?).map_err(|e| e.to_string())?,
            // Over itself and the other files, as if it had been taken so.
            "stripe-backup" => {
                let content = std::fs::read(share.join(file)).map_err(|e| e.to_string())?;
                let families = u32::try_from(self.arguments.len()).map_err(|e| e.to_string())?;
                let stripes =
                    sql::backup::striped(&content, families, scenario.seed).map_err(|e| e.message)?;
                for (name, stripe) in self.arguments.iter().zip(stripes) {
                    std::fs::write(share.join(name), stripe).map_err(|e| e.to_string())?;
                }
            }
            "foreign-backup" => {
                std::fs::write(share.join(self.argument(0)?), b"TAPE of another program")
                    .map_err(|e| e.to_string())?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}
