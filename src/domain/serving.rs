//! Whether chat serves: configuration is not service.

use std::collections::BTreeSet;

use super::decision::Waiting;
use super::lync::Lync;
use super::pool::DataCenter;
use super::problem::Reason;
use super::reading::Reading;
use super::sql_server::Instance;
use super::text::clean;

/// Whether every wanted server that is up has the newest configuration. A server that is down cannot have it, and another
/// data centre's never will.
pub fn replicated(lync: &Lync, here: &DataCenter) -> Result<(), Waiting> {
    let wait = |message: String| Waiting { reason: Reason::WaitingForReplication, message, until: None };
    let replicas = lync.replicas.get().map_err(|p| wait(p.what.clone()))?;
    let up =
        here.active_servers.iter().filter(|s| lync.services.get(*s).is_some_and(|r| r.known().is_some()));
    let behind: Vec<String> = up.filter(|s| replicas.get(*s) != Some(&true)).map(|s| clean(s)).collect();
    if behind.is_empty() {
        Ok(())
    } else {
        Err(wait(format!("Lync's configuration has not yet reached {}", behind.join(", "))))
    }
}

/// What the reports of a chat server in the database must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pings {
    /// They advance before our eyes: those that came with the backups do not.
    Advance,
    /// They exist, and have not stood still for long: enough where nothing was switched.
    NotSilent,
}

/// Whether chat serves from a data centre's database, and what was seen; otherwise what is missing.
pub fn serving(lync: &Lync, instance: &Instance, here: &DataCenter, pings: Pings) -> Result<String, String> {
    let sessions = instance.sessions.get().map_err(|p| p.what.clone())?;
    let reports = instance.server_identities.get().map_err(|p| p.what.clone())?;
    let mut missing = Vec::new();
    for server in &here.active_servers {
        let name = clean(server);
        match lync.services.get(server).map(Reading::get) {
            // Where the list of its services tells nothing of chat, its session and its reports in the database do.
            Some(Ok(Some(true) | None)) => {}
            Some(Ok(Some(false))) => {
                missing.push(format!("the chat service of {name} does not run"));
                continue;
            }
            Some(Err(p)) => {
                missing.push(format!("{name}: {}", p.what));
                continue;
            }
            None => {
                missing.push(format!("{name} was not looked at"));
                continue;
            }
        }
        if !sessions.iter().any(|s| same_host(&s.host, server)) {
            missing.push(format!("{name} has no session in the database"));
            continue;
        }
        let among = |list: &BTreeSet<String>| list.iter().any(|host| same_host(host, server));
        let reported = reports.iter().any(|(host, _)| same_host(host, server));
        let holds = match pings {
            Pings::Advance => among(&instance.advancing),
            Pings::NotSilent => reported && !among(&instance.silent),
        };
        match (holds, reported) {
            (true, _) => return Ok(format!("{name} serves from {}", clean(&instance.server_name))),
            (false, true) => {
                missing.push(format!("{name} has not reported itself alive while it was watched"))
            }
            (false, false) => {
                missing.push(format!("{name} has never reported itself alive in this database"))
            }
        }
    }
    Err(missing.join("; "))
}

/// A session shows the machine's name, with or without its domain.
fn same_host(seen: &str, fqdn: &str) -> bool {
    seen.eq_ignore_ascii_case(fqdn)
        || fqdn.split('.').next().is_some_and(|short| seen.eq_ignore_ascii_case(short))
}
