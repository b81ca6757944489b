//! ALTER DATABASE and ALTER USER.

use super::Seat;
use super::batch::Batch;
use super::lexer::Token;
use super::values::{SqlMessage, refuse};

impl Batch {
    pub(super) fn alter(&mut self, seat: &mut Seat<'_>, t: &[Token]) -> Result<(), SqlMessage> {
        let entry = self.journal_write(seat, t);
        let result = altered(seat, t);
        seat.finish(entry, result)
    }
}

fn altered(seat: &mut Seat<'_>, t: &[Token]) -> Result<(), SqlMessage> {
    let subject = t.get(1).and_then(Token::ident).unwrap_or_default().to_uppercase();
    let name = t.get(2).and_then(Token::ident).unwrap_or_default();
    let key = if subject == "DATABASE" { name } else { seat.world.scenario.database.as_str() }.to_lowercase();
    match (subject.as_str(), seat.database_mut(&key)) {
        ("DATABASE", Some(db)) if t.iter().any(|x| x.is("MULTI_USER")) => {
            if !db.is_live() {
                let what = "ALTER DATABASE is not permitted while a database is in the Restoring state.";
                return refuse(5052, what);
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
        ("DATABASE", None) => refuse(911, format!("Database '{name}' does not exist.")),
        _ => Err(SqlMessage::simulator(format!("does not know this ALTER {subject}"))),
    }
}
