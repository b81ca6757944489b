//! Whether chat serves: configuration is not service.

use std::net::Ipv4Addr;

use super::decision::Waiting;
use super::lync::Lync;
use super::pool::DataCenter;
use super::problem::Reason;
use super::reading::Reading;
use super::sql_server::{Instance, Session};
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
        let is_of = |address: &str| match address_of(address, server) {
            Address::Its | Address::Unknown => true,
            Address::Another => false,
        };
        let mut own = reports.iter().map(|(address, _)| address).filter(|address| is_of(address)).peekable();
        let reported = own.peek().is_some();
        let holds = match pings {
            Pings::Advance => own.any(|address| instance.advancing.contains(address)),
            // Several may be its own, where an address names nobody: a silent one does not speak for the others.
            Pings::NotSilent => own.any(|address| !instance.silent.contains(address)),
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

/// Those servers that have sessions in a database.
pub fn with_sessions<'s>(sessions: &[Session], servers: impl Iterator<Item = &'s String>) -> Vec<&'s String> {
    servers.filter(|server| sessions.iter().any(|s| same_host(&s.host, server))).collect()
}

/// Longest name that a Windows machine gives itself (NetBIOS; "Computer Names", Windows documentation).
const NET_BIOS: usize = 15;

/// A session shows the machine's name, with or without its domain; most clients send the NetBIOS name, which is cut off.
fn same_host(seen: &str, fqdn: &str) -> bool {
    let short = fqdn.split('.').next().unwrap_or(fqdn);
    let cut: String = short.chars().take(NET_BIOS).collect();
    [fqdn, short, &cut].iter().any(|name| seen.eq_ignore_ascii_case(name))
}

/// Whose a server's address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// That server's.
    Its,
    /// Another one's.
    Another,
    /// It names nobody in a form that is known.
    Unknown,
}

/// Whose an address of `tblServerIdentity` is, seen from a server.
pub fn address_of(address: &str, server: &str) -> Address {
    match host_in(address) {
        Some(host) if same_host(host, server) => Address::Its,
        Some(_) => Address::Another,
        None => Address::Unknown,
    }
}

/// The host of a server's address: that of a URI ("using the Windows Communication Foundation address": `tblServerIdentity`, Lync
/// Server 2013), or a name by itself, with a port or a path behind it. None: it names nobody in a form that is known, or gives a number
/// for a name; then it is nobody's in particular, and the sessions say whose the database is.
fn host_in(address: &str) -> Option<&str> {
    let address = address.trim();
    let authority = address.split_once("://").map_or(address, |(_, behind)| behind);
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = host.split_once(':').map_or(host, |(host, _)| host);
    let known = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    (known && host.parse::<Ipv4Addr>().is_err()).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_known_by_each_form_of_its_name() {
        const SERVER: &str = "sea-persistentchat-01.litwareinc.com";
        for seen in [SERVER, "SEA-PERSISTENTCHAT-01", "SEA-PERSISTENTC", "sea-persistentc"] {
            assert!(same_host(seen, SERVER), "{seen}");
        }
        for seen in ["", "SEA-PERSISTENT", "SEA-PERSISTENTCHAT-02", "SEA-PERSISTENTCHAT", "litwareinc.com"] {
            assert!(!same_host(seen, SERVER), "{seen}");
        }
    }

    #[test]
    fn an_address_of_windows_communication_foundation_names_its_host() {
        let host = "sea-cs-1.litwareinc.com";
        for address in [
            host.to_string(),
            format!("net.tcp://{host}:8011/PersistentChat"),
            format!("net.tcp://{host}"),
            format!(" https://{host}/x?y=z "),
            format!("{host}:8011"),
            format!("{host}/x"),
        ] {
            assert_eq!(host_in(&address), Some(host), "{address}");
        }
        for address in [
            "net.tcp://10.1.2.3:8011/PersistentChat",
            "10.1.2.3",
            "",
            "net.tcp://",
            "net.pipe:///x",
            "{6F9619FF-8B86-D011-B42D-00C04FC964FF}",
            "a b",
        ] {
            assert_eq!(host_in(address), None, "{address}");
        }
    }
}
