//! Is the side that is to be left dead? Silence is not fencing, and unknown is not dead.

use jiff::Timestamp;

use super::pool::{DataCenter, Pool};
use super::problem::{Problem, Reason};
use super::reading::Reading;
use super::side::{Place, Side};
use super::site::{Answer, Site};
use super::situation::Situation;
use super::sql_server::{DatabaseState, Instance};
use super::text::clean;

/// What is known about a side that is to be left.
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

/// The verdict on a side, as a look shows it.
pub fn verdict(pool: &Pool, s: &Situation, side: Side) -> Verdict {
    let (site, data_center) = (&s.sites[side], &pool.sites[side]);
    let (mut unusable, mut unknown) = (None, None);
    for (place, partner) in site.partners() {
        let word = match &partner.answer {
            Answer::TurnsAway(p) => Verdict::Alive(turns_away(&partner.server, p)),
            Answer::Speaks(i) => judge_instance(data_center, place, &partner.server, i),
            Answer::NotAsked(p) => Verdict::Unknown(not_asked(&partner.server, p)),
            Answer::Silent(_) => Verdict::Dead,
        };
        match word {
            Verdict::Alive(p) => return Verdict::Alive(p),
            Verdict::DatabaseUnusable(p) => unusable = Some(p),
            Verdict::Unknown(p) => unknown = unknown.or(Some(p)),
            Verdict::Dead | Verdict::SilentSoFar(_) => {}
        }
    }
    for (server, seen) in &site.from_the_other_shell {
        match seen {
            Reading::Known(true) => return Verdict::Alive(reached_from_elsewhere(server)),
            Reading::Known(false) => {}
            Reading::Unknown(p) => unknown = unknown.or(Some(not_asked(server, p))),
        }
    }
    if let Some(file) = &site.silence.newer_backup {
        unknown = unknown.or(Some(still_writes(file)));
    }
    if let Some(p) = unusable {
        return Verdict::DatabaseUnusable(p);
    }
    for (what, open) in &site.ports {
        match open {
            Reading::Known(true) => unknown = unknown.or(Some(other_ports_answer(data_center, what))),
            Reading::Known(false) => {}
            Reading::Unknown(p) => unknown = unknown.or(Some(not_asked(what, p))),
        }
    }
    match unknown {
        Some(p) => Verdict::Unknown(p),
        None => for_long_enough(site, s.at),
    }
}

fn for_long_enough(site: &Site, at: Timestamp) -> Verdict {
    let span = site.silence.must_last;
    match site.silence.since {
        Some(since) if site.silence.looks >= LOOKS && at.duration_since(since) >= span => Verdict::Dead,
        Some(since) => Verdict::SilentSoFar(since.checked_add(span).unwrap_or(at)),
        None => Verdict::SilentSoFar(at.checked_add(span).unwrap_or(at)),
    }
}

fn judge_instance(d: &DataCenter, place: Place, server: &str, i: &Instance) -> Verdict {
    let shown = clean(server);
    let Some(db) = &i.database else {
        return Verdict::DatabaseUnusable(unusable(&shown, "has no such database"));
    };
    let as_it_is = || unusable(&shown, &format!("shows its database as {}", db.state_text()));
    match (&db.mirroring, db.is_live()) {
        (Some(m), true) if m.is_principal() && place == Place::Mirror => Verdict::Alive(Problem::ask(
            Reason::SourceAlive,
            format!(
                "The mirror {shown} has become principal: chat's database is alive in its own data centre"
            ),
            format!(
                "Do not fail over between data centres. The mirror has taken over inside {}; repair the old principal",
                clean(&d.name)
            ),
        )),
        (_, true) => Verdict::Alive(Problem::ask(
            Reason::SourceAlive,
            format!(
                "{} is active and lives: {shown} answers, and its database is {}",
                clean(&d.name),
                db.state_text()
            ),
            format!(
                "This is no disaster: set spec.activeDataCenter back to {}. To move chat without loss, set spec.policy.whenActiveAnswers to \
                 Switch, and then spec.activeDataCenter anew",
                clean(&d.name)
            ),
        )),
        (Some(m), false) if !m.is_principal() => Verdict::Alive(Problem::ask(
            Reason::SourceAlive,
            // What it was before its principal was gone the state does not say any more.
            format!(
                "{shown} answers and still holds the mirror copy (now {}): complete, if it was SYNCHRONIZED before",
                m.state_text()
            ),
            "Fail over inside the data centre: Invoke-CsDatabaseFailover -PoolFqdn <pool> -DatabaseType PersistentChat \
             -NewPrincipal Mirror",
        )),
        (None, false) if i.hides_mirroring(db) => Verdict::Unknown(Problem::ask(
            Reason::SourceUnknown,
            format!(
                "{shown} answers, and its database is {}; whether it is a complete mirror copy only a sysadmin may see, and the login is none",
                db.state_text()
            ),
            "Give the login the role sysadmin there; or look yourself, and if it is no mirror copy, switch the server off and say so by \
             consent",
        )),
        (_, false) => match db.state {
            DatabaseState::Recovering => Verdict::Unknown(Problem::retry(
                Reason::SourceUnknown,
                format!("{shown} is recovering its database at this moment"),
                "Wait: it may be back in a minute",
            )),
            DatabaseState::Restoring
            | DatabaseState::Online
            | DatabaseState::RecoveryPending
            | DatabaseState::Suspect
            | DatabaseState::Emergency
            | DatabaseState::Offline
            | DatabaseState::Other(_) => Verdict::DatabaseUnusable(as_it_is()),
        },
    }
}

fn turns_away(server: &str, p: &Problem) -> Problem {
    Problem::ask(
        Reason::SourceAlive,
        format!("{} answers, although it does not let the operator in: {}", clean(server), p.what),
        format!("It lives, so this is no disaster. {}", p.fix),
    )
}

fn reached_from_elsewhere(server: &str) -> Problem {
    Problem::ask(
        Reason::SourceAlive,
        format!(
            "The Management Shell of the other data centre reaches {}, only the operator does not",
            clean(server)
        ),
        "The network between the operator and that side is cut, the side is not lost. Mend the network, or move the operator",
    )
}

/// Somebody wrote it: a live database that nobody reaches, or a person who rescued the tail of the log. Only a human can tell.
fn still_writes(file: &str) -> Problem {
    Problem::ask(
        Reason::SourceUnknown,
        format!(
            "The log backup {} appeared in the share after the side that is to be left fell silent: something still writes there",
            clean(file)
        ),
        "Find the server that took it; if its database is live, stop it, and say by consent that it is fenced",
    )
}

fn other_ports_answer(d: &DataCenter, what: &str) -> Problem {
    Problem::ask(
        Reason::SourceUnknown,
        format!(
            "No SQL Server of {} answers, but {} does: the data centre is not lost as a whole",
            clean(&d.name),
            clean(what)
        ),
        "If its SQL Servers are really gone for good, switch them off, and say so by consent",
    )
}

fn unusable(server: &str, what: &str) -> Problem {
    Problem::ask(
        Reason::SourceUnusable,
        format!("{server} answers but {what}"),
        "Take a tail-log backup if its log can still be read. If the database is lost, switch the server off, and say so by consent",
    )
}

fn not_asked(server: &str, p: &Problem) -> Problem {
    Problem::ask(
        Reason::SourceUnknown,
        format!("Nobody can say whether {} lives: {}", clean(server), p.what),
        format!("{}. If you know that it is switched off, say so by consent", p.fix.trim_end_matches('.')),
    )
}
