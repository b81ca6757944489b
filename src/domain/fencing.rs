//! Is the primary dead? Silence is not fencing, and unknown is not dead.

use jiff::{SignedDuration, Timestamp};

use super::problem::{Problem, Reason};
use super::reading::Reading;
use super::site::{Answer, Source};
use super::sql_server::DatabaseState;
use super::text::clean;

/// What is known about the side that is to be left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It lives: there is no disaster to fail over from. Why, and what to do instead.
    Alive(Problem),
    /// Nothing of it has answered any vantage point for long enough.
    Dead,
    /// Nothing answers, but not for long enough yet: until when to look.
    SilentSoFar(Timestamp),
    /// A server answers, but its database is not usable.
    DatabaseUnusable(Problem),
    /// Nobody can say.
    Unknown(Problem),
}

/// How many looks in a row must find silence.
pub const LOOKS: u32 = 3;

/// The verdict on a look. `silence` is how long it must have been silent.
pub fn verdict(source: &Source, at: Timestamp, silence: SignedDuration) -> Verdict {
    let mut unusable = None;
    let mut unknown: Option<Problem> = None;
    for partner in &source.partners {
        match &partner.answer {
            Answer::TurnsAway(p) => {
                return Verdict::Alive(Problem::ask(
                    Reason::PrimaryAlive,
                    format!(
                        "{} answers, although it does not let the operator in: {}",
                        clean(&partner.server),
                        p.what
                    ),
                    format!("It lives, so this is no disaster. {}", p.fix),
                ));
            }
            Answer::Speaks(i) => match judge_instance(&partner.server, partner.is_mirror, i) {
                Verdict::Alive(p) => return Verdict::Alive(p),
                Verdict::DatabaseUnusable(p) => unusable = Some(p),
                Verdict::Unknown(p) => unknown = unknown.or(Some(p)),
                Verdict::Dead | Verdict::SilentSoFar(_) => {}
            },
            Answer::NotAsked(p) => unknown = unknown.or(Some(not_asked(&partner.server, p))),
            Answer::Silent(_) => {}
        }
    }
    for (server, seen) in &source.from_shell {
        match seen {
            Reading::Known(true) => {
                return Verdict::Alive(Problem::ask(
                    Reason::PrimaryAlive,
                    format!(
                        "The Management Shell of the other data centre reaches {}, only the operator does not",
                        clean(server)
                    ),
                    "The network between the operator and the primary is cut, the primary is not lost. Mend the network, \
                     or move the operator",
                ));
            }
            Reading::Known(false) => {}
            Reading::Unknown(p) => unknown = unknown.or(Some(not_asked(server, p))),
        }
    }
    if let Some(file) = &source.newer_backup {
        // Somebody wrote it: a primary that nobody reaches, or a person who rescued the tail of the log. Only a human can tell.
        unknown = unknown.or(Some(Problem::ask(
            Reason::PrimaryUnknown,
            format!(
                "The log backup {} appeared in the share after the primary fell silent: something still writes there",
                clean(file)
            ),
            "Find the server that took it; if it is a live primary, stop it, and say by consent that it is fenced",
        )));
    }
    if let Some(p) = unusable {
        return Verdict::DatabaseUnusable(p);
    }
    for (what, open) in &source.ports {
        match open {
            Reading::Known(true) => {
                unknown = unknown.or(Some(Problem::ask(
                    Reason::PrimaryUnknown,
                    format!("No SQL Server of the primary answers, but {} does: the data centre is not lost as a whole", clean(what)),
                    "If the primary's SQL Servers are really gone for good, switch them off, and say so by consent",
                )));
            }
            Reading::Known(false) => {}
            Reading::Unknown(p) => unknown = unknown.or(Some(not_asked(what, p))),
        }
    }
    if let Some(p) = unknown {
        return Verdict::Unknown(p);
    }
    match source.silent_since {
        Some(since) if source.silent_looks >= LOOKS && at.duration_since(since) >= silence => Verdict::Dead,
        Some(since) => Verdict::SilentSoFar(since.checked_add(silence).unwrap_or(at)),
        None => Verdict::SilentSoFar(at.checked_add(silence).unwrap_or(at)),
    }
}

/// Whether one look found nothing but silence: what the span of [`verdict`] is counted from.
pub fn is_silent(source: &Source) -> bool {
    source.partners.iter().all(|p| matches!(p.answer, Answer::Silent(_)))
        && source.from_shell.iter().all(|(_, r)| matches!(r, Reading::Known(false)))
}

fn judge_instance(server: &str, is_mirror: bool, i: &super::sql_server::Instance) -> Verdict {
    let shown = clean(server);
    let Some(db) = &i.database else {
        return Verdict::DatabaseUnusable(unusable(&shown, "has no such database"));
    };
    match (&db.mirroring, db.is_live()) {
        (Some(m), true) if m.is_principal() && is_mirror => Verdict::Alive(Problem::ask(
            Reason::PrimaryAlive,
            format!(
                "The mirror {shown} has become principal: chat's database is alive in its own data centre"
            ),
            "Do not fail over between data centres. The mirror has taken over locally; repair the old principal",
        )),
        (_, true) => Verdict::Alive(Problem::ask(
            Reason::PrimaryAlive,
            format!("The primary {shown} answers, and its database is {}", db.state_text()),
            "This is no disaster: set spec.activeDataCenter back. A planned switch is not part of this version",
        )),
        (Some(m), false) if !m.is_principal() => Verdict::Alive(Problem::ask(
            Reason::PrimaryAlive,
            format!("{shown} answers and still holds the mirror copy ({}), without any loss", m.state_text()),
            "Fail over inside the data centre: Invoke-CsDatabaseFailover -PoolFqdn <pool> -DatabaseType PersistentChat \
             -NewPrincipal Mirror",
        )),
        (_, false) => match db.state {
            DatabaseState::Restoring | DatabaseState::Online => Verdict::DatabaseUnusable(unusable(
                &shown,
                &format!("shows its database as {}", db.state_text()),
            )),
            DatabaseState::Recovering => Verdict::Unknown(Problem::retry(
                Reason::PrimaryUnknown,
                format!("{shown} is recovering its database at this moment"),
                "Wait: the primary may be back in a minute",
            )),
            DatabaseState::RecoveryPending
            | DatabaseState::Suspect
            | DatabaseState::Emergency
            | DatabaseState::Offline
            | DatabaseState::Other(_) => Verdict::DatabaseUnusable(unusable(
                &shown,
                &format!("shows its database as {}", db.state_text()),
            )),
        },
    }
}

fn unusable(server: &str, what: &str) -> Problem {
    Problem::ask(
        Reason::PrimaryUnusable,
        format!("The primary's server {server} answers but {what}"),
        "Take a tail-log backup if its log can still be read. If the database is lost, switch the server off, and say so by consent",
    )
}

fn not_asked(server: &str, p: &Problem) -> Problem {
    Problem::ask(
        Reason::PrimaryUnknown,
        format!("Nobody can say whether {} lives: {}", clean(server), p.what),
        format!(
            "{}. If you know that the primary is switched off, say so by consent",
            p.fix.trim_end_matches('.')
        ),
    )
}
