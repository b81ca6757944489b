//! What the journal and the breakpoints call a statement.

use super::batch::Batch;
use super::compile::{Op, compile};
use super::lexer::Token;
use super::procedures::Call;
use super::restore::is_recovery;
use super::values::Cell;

impl Batch {
    /// Name and target, for the journal, of a statement that may change something.
    pub(super) fn named(&self, t: &[Token]) -> Option<(String, Option<String>)> {
        let word = |i: usize| t.get(i).and_then(Token::ident).unwrap_or_default().to_uppercase();
        let first = word(0);
        match first.as_str() {
            "INSERT" | "UPDATE" | "DELETE" | "CREATE" => {
                let target = t
                    .iter()
                    .filter_map(Token::ident)
                    .find(|x| x.contains("persistent_chat") || x.starts_with("tbl"))
                    .map(str::to_string);
                Some((if first == "CREATE" { "CREATE TABLE".to_string() } else { first }, target))
            }
            "KILL" => match t.get(1) {
                Some(Token::Number(n)) => Some((first, Some(n.clone()))),
                _ => Some((first, None)),
            },
            "ALTER" => {
                let name = t.get(2).and_then(Token::ident).unwrap_or_default().to_string();
                Some((format!("ALTER {}", word(1)), Some(name)))
            }
            "RESTORE" if !matches!(word(1).as_str(), "HEADERONLY" | "LABELONLY" | "FILELISTONLY") => {
                let verb = format!("RESTORE {}", self.value(t.get(1)).to_uppercase());
                // As a full restore by hand is called, which is another thing than the recovery of a database.
                let data = word(1) == "DATABASE" && t.get(3).is_some_and(|x| x.is("FROM"));
                let verb = if data { format!("{verb} FROM DISK") } else { verb };
                match t.iter().position(|x| x.is("DISK")) {
                    Some(i) => Some((verb, Some(self.value(t.get(i + 2))))),
                    None if is_recovery(t) => {
                        Some((format!("{verb} WITH RECOVERY"), Some(self.value(t.get(2)))))
                    }
                    None => Some((format!("{verb} WITH NORECOVERY"), Some(self.value(t.get(2))))),
                }
            }
            "BACKUP" => Some((format!("BACKUP {}", word(1)), self.disk(t))),
            "EXEC" | "EXECUTE" => self.named_procedure(t),
            _ => None,
        }
    }

    fn named_procedure(&self, t: &[Token]) -> Option<(String, Option<String>)> {
        if let Some(text) = self.dynamic_text(t) {
            // Dynamic SQL: by the first of its statements that may change something.
            let ops = compile(&text).ok()?;
            return ops.iter().find_map(|op| match op {
                Op::Statement(inner, _) => self.named(inner),
                Op::JumpUnless(..) | Op::Jump(_) | Op::Try(_) | Op::EndTry | Op::Catch | Op::EndCatch => None,
            });
        }
        let call = Call::of(t);
        let target = call.target()?;
        let at = call.rest.iter().position(|x| x.is(target));
        let value = at.map(|at| self.value(call.rest.get(at + 2))).unwrap_or_default();
        Some((format!("EXEC {}", call.name), Some(value)))
    }

    /// The text of `EXEC (@text)` or `sp_executesql`.
    pub(super) fn dynamic_text(&self, t: &[Token]) -> Option<String> {
        if t.get(1).is_some_and(|x| x.sign("(")) {
            return match t.get(2) {
                Some(Token::Word(v)) => match self.variables.get(&v.to_lowercase()) {
                    Some(Cell::Text(s)) => Some(s.clone()),
                    _ => None,
                },
                Some(Token::Text(s)) => Some(s.clone()),
                _ => None,
            };
        }
        let call = Call::of(t);
        if call.name != "sp_executesql" {
            return None;
        }
        call.rest.iter().find_map(|x| if let Token::Text(s) = x { Some(s.clone()) } else { None })
    }
}
