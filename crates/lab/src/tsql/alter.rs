//! ALTER DATABASE and ALTER USER.

use super::Seat;
use super::batch::Batch;
use super::ends::{Said, command};
use super::lexer::Token;
use super::transactions::SYSTEM_DATABASES;
use super::values::{Errors, Event, SqlMessage, refuse};

impl Batch {
    pub(super) fn alter(
        &mut self,
        seat: &mut Seat<'_>,
        t: &[Token],
        out: &mut Vec<Event>,
    ) -> Result<Said, Errors> {
        let entry = self.journal_write(seat, t);
        let of_database = t.get(1).is_some_and(|x| x.is("DATABASE"));
        let result = if of_database { database(seat, t) } else { user(seat, t).map(|()| false) };
        match seat.finish(entry, result) {
            Ok(ended_sessions) => {
                // How far it is with the sessions that it ends: recorded.
                for (state, percent) in [(2, 0), (1, 100)].into_iter().filter(|_| ended_sessions) {
                    let what = format!(
                        "Nonqualified transactions are being rolled back. Estimated rollback completion: {percent}%."
                    );
                    out.push(Event::Info(SqlMessage::info(5060, what).in_state(state)));
                }
                Ok(Said::Plain(if of_database { command::ALTER_DATABASE } else { command::OTHER }))
            }
            // These stand alone (recorded).
            Err(cause) if matches!(cause.number, 226 | 5058 | 12104) || cause.is_simulators() => {
                Err(cause.into())
            }
            Err(cause) => {
                // The cause, then that the statement has failed.
                let failed =
                    of_database.then(|| SqlMessage::refusal(5069, "ALTER DATABASE statement failed."));
                Err(std::iter::once(cause).chain(failed).collect())
            }
        }
    }
}

/// Who is let in, by the number that `user_access` has for it.
fn access(t: &[Token]) -> Option<i32> {
    let modes = ["MULTI_USER", "SINGLE_USER", "RESTRICTED_USER"];
    (0..).zip(modes).find(|(_, word)| t.iter().any(|x| x.is(word))).map(|(n, _)| n)
}

/// `ALTER DATABASE … SET`: whether sessions were ended for it.
fn database(seat: &mut Seat<'_>, t: &[Token]) -> Result<bool, SqlMessage> {
    let given = t.get(2).and_then(Token::ident).unwrap_or_default();
    let current = seat.session().map(|s| s.database.clone()).unwrap_or_default();
    let name = if t.get(2).is_some_and(|x| x.is("CURRENT")) { current } else { given.to_string() };
    if seat.session().is_some_and(|s| s.transaction.is_some()) {
        let what = "ALTER DATABASE statement not allowed within multi-statement transaction.";
        return Err(SqlMessage::refusal(226, what).in_state(6));
    }
    let key = name.to_lowercase();
    let system = SYSTEM_DATABASES.iter().any(|(n, _)| *n == key);
    if system && t.get(2).is_some_and(|x| x.is("CURRENT")) {
        let what = "ALTER DATABASE CURRENT failed because '".to_string() + &name + "' is a system database.";
        return Err(SqlMessage::refusal(12104, what).in_state(2));
    }
    let partner =
        t.iter().position(|x| x.is("PARTNER")).is_some_and(|at| t.get(at + 1).is_some_and(|x| x.is("OFF")));
    if partner && !system {
        return partner_off(seat, &name).map(|()| false);
    }
    let Some(access) = access(t) else {
        return Err(SqlMessage::simulator("does not know this ALTER DATABASE"));
    };
    if system {
        let what = format!(
            "Option '{}' cannot be set in database '{name}'.",
            ["MULTI_USER", "SINGLE_USER", "RESTRICTED_USER"]
                .get(usize::try_from(access).unwrap_or(0))
                .unwrap_or(&"")
        );
        return Err(SqlMessage::refusal(5058, what).in_state(5));
    }
    let (id, i) = (seat.id, seat.instance().ok_or_else(|| SqlMessage::simulator("no instance"))?);
    let Some(db) = i.databases.get(&key) else { return Err(unknown(&name)) };
    if !db.is_live() {
        return refuse(5052, "ALTER DATABASE is not permitted while a database is in the Restoring state.");
    }
    if db.user_access == 1 && i.holder(db).is_some_and(|holder| holder != id) {
        // Neither NO_WAIT nor ROLLBACK IMMEDIATE throws the one out who holds it (recorded).
        let what = format!(
            "Changes to the state or options of database '{name}' cannot be made at this time. The database is in single-user mode, and a user is currently connected to it."
        );
        return refuse(5064, what);
    }
    let others: Vec<u32> =
        i.sessions.iter().filter(|(n, s)| **n != id && s.database == key).map(|(n, _)| *n).collect();
    let ended = access == 1 && !others.is_empty();
    if ended && !t.iter().any(|x| x.is("IMMEDIATE")) {
        if !t.iter().any(|x| x.is("NO_WAIT")) {
            return Err(SqlMessage::simulator("does not wait until others have left a database"));
        }
        let what =
            format!("Database state cannot be changed while other users are using the database '{name}'");
        return Err(SqlMessage::refusal(5070, what).in_state(2));
    }
    for other in others.into_iter().filter(|_| ended) {
        crate::sql::logout(seat.world, seat.host, other);
    }
    if let Some(db) = seat.database_mut(&key) {
        db.user_access = access;
        db.holder = (access == 1).then_some(id);
    }
    Ok(ended)
}

/// What is said of a database that is not there.
fn unknown(name: &str) -> SqlMessage {
    let what = format!(
        "User does not have permission to alter database '{name}', the database does not exist, or the database is not in a state that allows access checks."
    );
    SqlMessage::error(5011, 14, what).in_state(5)
}

/// `SET PARTNER OFF`: at either partner, at any time, whatever state its database is in ("Removing Database Mirroring"). The state of 1416
/// is recorded nowhere.
fn partner_off(seat: &mut Seat<'_>, name: &str) -> Result<(), SqlMessage> {
    let key = name.to_lowercase();
    if !seat.instance().is_some_and(|i| i.databases.contains_key(&key)) {
        return Err(unknown(name));
    }
    if crate::sql::remove_mirror(seat.world, seat.host, &key) {
        return Ok(());
    }
    refuse(1416, format!("Database \"{name}\" is not configured for database mirroring."))
}

fn user(seat: &mut Seat<'_>, t: &[Token]) -> Result<(), SqlMessage> {
    let subject = t.get(1).and_then(Token::ident).unwrap_or_default().to_uppercase();
    let name = t.get(2).and_then(Token::ident).unwrap_or_default();
    let key = seat.world.scenario.database.to_lowercase();
    match (subject.as_str(), seat.database_mut(&key)) {
        ("USER", Some(db)) => match db.users.iter_mut().find(|(n, _)| n.eq_ignore_ascii_case(name)) {
            Some(user) => {
                user.1 = true;
                Ok(())
            }
            None => {
                let what = format!("Cannot alter the user '{name}', because it does not exist.");
                refuse(15151, what)
            }
        },
        _ => Err(SqlMessage::simulator(format!("does not know this ALTER {subject}"))),
    }
}
