//! Which chat servers were seen to report themselves alive, and which were watched for long without a report.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::domain::sql_server::Instance;

/// How long a chat server's report may stay as it is until the server counts as silent. How often Persistent Chat writes it is not
/// documented; this is generous.
const LONG: SignedDuration = SignedDuration::from_mins(10);

/// The reports in every database that was looked at, by the server's own name.
#[derive(Default)]
pub struct Pings(BTreeMap<String, Reports>);

/// The reports of chat servers in one database, as they were seen to change.
#[derive(Default)]
struct Reports {
    seen: BTreeMap<String, Report>,
    /// Whether the table has been read before: a server that appears later has just reported.
    read: bool,
}

/// One server's last report, and when it changed before our eyes; if it has not, when we began to watch it.
#[derive(Clone, Copy)]
struct Report {
    last: Timestamp,
    since: Timestamp,
    moved: bool,
}

impl Pings {
    /// Puts down in an instance what its reports show, with what was seen of them before.
    pub fn watch(&mut self, i: &mut Instance, at: Timestamp) {
        let Some(reports) = i.server_identities.known().cloned() else { return };
        let known = self.0.entry(i.server_name.clone()).or_default();
        for (host, report) in reports {
            let first = Report { last: report, since: at, moved: known.read };
            let before = known.seen.get(&host).copied().unwrap_or(first);
            let now =
                if before.last == report { before } else { Report { last: report, since: at, moved: true } };
            known.seen.insert(host.clone(), now);
            if at.duration_since(now.since) > LONG {
                i.silent.insert(host);
            } else if now.moved {
                i.advancing.insert(host);
            }
        }
        known.read = true;
    }
}
