//! ALTER DATABASE and ALTER USER.

use super::Seat;
use super::batch::Batch;
use super::lexer::Token;
use super::values::{Errors, SqlMessage, refuse};

impl Batch {
    pub(super) fn alter(&mut self, seat: &mut Seat<'_>, t: &[Token]) -> Result<(), Errors> {
        let entry = self.journal_write(seat, t);
        let result = altered(seat, t);
        seat.finish(entry, result).map_err(|cause| {
            // The cause, then that the statement has failed.
            let of_database = t.get(1).is_some_and(|x| x.is("DATABASE"));
            let failed = of_database.then(|| SqlMessage::refusal(5069, "ALTER DATABASE statement failed."));
            std::iter::once(cause).chain(failed).collect()
        })
    }
}

fn altered(seat: &mut Seat<'_>, t: &[Token]) -> Result<(), SqlMessage> {
    let subject = t.get(1).and_then(Token::ident).unwrap_or_default().to_uppercase();
    let name = t.get(2).and_then(Token::ident).unwrap_or_default();
    let key = if subject == "DATABASE" { name } else { seat.world.scenario.database.as_str() }.to_lowercase();
    let held = seat
        .instance()
        .is_some_and(|i| i.sessions.iter().any(|(id, s)| *id != seat.id && !s.killed && s.database == key));
    match (subject.as_str(), seat.database_mut(&key)) {
        ("DATABASE", Some(db)) if t.iter().any(|x| x.is("MULTI_USER")) => {
            if !db.is_live() {
                let what = "ALTER DATABASE is not permitted while a database is in the Restoring state.";
                return refuse(5052, what);
            }
            if db.user_access == 1 && held {
                let what = format!(
                    "Changes to the state or options of database '{name}' cannot be made at this time. The database is in single-user mode, and a user is currently connected to it."
                );
                return refuse(5064, what);
            }
            db.user_access = 0;
            Ok(())
        }
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
        ("DATABASE", None) => {
            let what = format!(
                "User does not have permission to alter database '{name}', the database does not exist, or the database is not in a state that allows access checks."
            );
            Err(SqlMessage { state: 5, ..SqlMessage::error(5011, 14, what) })
        }
        _ => Err(SqlMessage::simulator(format!("does not know this ALTER {subject}"))),
    }
}
