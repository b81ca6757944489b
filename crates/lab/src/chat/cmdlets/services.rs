//! `Stop-CsWindowsService` and `Start-CsWindowsService`.

use jiff::Timestamp;
use psrp::clixml::Value;
use psrp::message::Command;

use super::super::after;
use super::{Finished, argument, text};
use crate::world::World;

/// The service of a chat server. No page of Microsoft's names it.
pub(super) const CHAT: &str = "RTCCHAT";

/// Services of Lync that run on every host, so far as a lab has them: the replica's and the logging agent's.
const OF_EVERY_HOST: [&str; 2] = ["REPLICA", "RTCCLSAGT"];

/// What a cmdlet is to do with a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// It is to run.
    Started,
    /// It is not to run.
    Stopped,
}

/// The host whose services a cmdlet is for: where it runs itself, unless it says otherwise.
fn computer(host: &str, c: &Command) -> String {
    argument(c, "ComputerName").map_or_else(|| host.to_lowercase(), |v| v.shown().to_lowercase())
}

/// Whether a switch is given.
fn given(c: &Command, switch: &str) -> bool {
    argument(c, switch).is_some_and(|v| v.as_bool() != Some(false))
}

/// Whether a cmdlet is for the chat service: by its name, or for all of the host where it names none.
fn is_for_chat(w: &World, host: &str, c: &Command) -> bool {
    let named = argument(c, "Name").is_none_or(|name| name.shown().eq_ignore_ascii_case(CHAT));
    named && w.chat.servers.contains_key(host)
}

/// When a cmdlet has ended at the earliest: a service that is to stop gracefully stops when the last of its users has left.
pub(super) fn ends_at(w: &World, host: &str, c: &Command, ends: Timestamp) -> Timestamp {
    let host = computer(host, c);
    let graceful = c.name.eq_ignore_ascii_case("Stop-CsWindowsService") && given(c, "Graceful");
    if !(graceful && is_for_chat(w, &host, c)) {
        return ends;
    }
    match w.chat.servers.get(&host) {
        Some(server) if server.session.is_some() && !server.will_not_stop => {
            server.leaves.unwrap_or_else(|| after(w.now, w.scenario.drain_ms)).max(ends)
        }
        Some(_) | None => ends,
    }
}

/// Starts or stops services of a host. Of the chat server's own it is told from then on whether it runs; any other changes nothing here.
///
/// That a service which is not one of Lync's is an error is documented, its words are not.
pub(super) fn set(w: &mut World, host: &str, c: &Command, wanted: Wanted) -> Finished {
    let host = computer(host, c);
    if given(c, "NoWait") && given(c, "Graceful") {
        return Finished::terminating(
            "NotSimulated",
            "System.NotImplementedException",
            "simulator: does not know -NoWait together with -Graceful",
        );
    }
    if !w.host_is_up(&host) {
        return Finished::error(
            "ConnectFailed",
            "System.InvalidOperationException",
            format!("Cannot connect to computer {host}."),
        );
    }
    if !is_for_chat(w, &host, c) {
        let name = text(c, "Name");
        let known = argument(c, "Name").is_none_or(is_of_every_host);
        return if known {
            Finished::objects(vec![])
        } else {
            Finished::error(
                "ServiceNotFound",
                "System.InvalidOperationException",
                format!("Cannot find service \"{name}\" on computer {host}."),
            )
        };
    }
    w.touch();
    let Some(server) = w.chat.servers.get_mut(&host) else { return Finished::objects(vec![]) };
    match wanted {
        Wanted::Started => server.stopped = false,
        Wanted::Stopped if server.will_not_stop => {
            return Finished::objects(vec![]).reported(w, "Stop-CsWindowsService", 1);
        }
        Wanted::Stopped => server.stopped = true,
    }
    super::super::connect(w);
    Finished::objects(vec![])
}

fn is_of_every_host(name: &Value) -> bool {
    OF_EVERY_HOST.iter().any(|known| name.shown().eq_ignore_ascii_case(known))
}
