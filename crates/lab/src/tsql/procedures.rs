//! EXEC: the stored procedures that the simulator knows.

use super::Seat;
use super::batch::Batch;
use super::lexer::Token;
use super::values::{Cell, Errors, Event, SqlMessage, refuse};

/// Name of the procedure of an EXEC, without its schema, and what follows EXEC (and `@rc =`).
pub(super) fn procedure(t: &[Token]) -> (String, &[Token]) {
    let rest = if result_variable(t).is_some() { t.get(3..) } else { t.get(1..) }.unwrap_or_default();
    let length = rest
        .iter()
        .step_by(2)
        .zip(rest.iter().skip(1).step_by(2))
        .take_while(|(_, dot)| dot.sign("."))
        .count();
    (rest.get(length * 2).and_then(Token::ident).unwrap_or_default().to_lowercase(), rest)
}

/// The variable that takes the return code: `EXEC @rc = …`.
fn result_variable(t: &[Token]) -> Option<String> {
    match (t.get(1), t.get(2)) {
        (Some(Token::Word(v)), Some(s)) if v.starts_with('@') && s.sign("=") => Some(v.to_lowercase()),
        _ => None,
    }
}

impl Batch {
    pub(super) fn exec(
        &mut self,
        seat: &mut Seat<'_>,
        t: &[Token],
        out: &mut Vec<Event>,
    ) -> Result<(), Errors> {
        // EXEC (@text), sp_executesql: dynamic SQL.
        let (name, rest) = procedure(t);
        if t.get(1).is_some_and(|x| x.sign("(")) || name == "sp_executesql" {
            return self.dynamic(seat, self.dynamic_text(t), out);
        }
        let code = match name.as_str() {
            "sp_getapplock" => get_application_lock(seat, self.argument_text(rest, "@Resource"))?,
            "sp_releaseapplock" => release_application_lock(seat, &self.argument_text(rest, "@Resource")),
            "sp_update_job" | "sp_stop_job" => {
                let job = self.argument_text(rest, "@job_id");
                let entry = self.journal_write(seat, t);
                let result = quiet_job(seat, &name, &job);
                seat.finish(entry, result)?;
                0
            }
            "sp_delete_log_shipping_secondary_database" => {
                let database = self.argument_text(rest, "@secondary_database");
                let entry = self.journal_write(seat, t);
                let result = delete_secondary_database(seat, &database);
                seat.finish(entry, result)?;
                0
            }
            other => {
                let what = format!("simulator: does not know the stored procedure '{other}'.");
                return Err(SqlMessage::refusal(2812, what).into());
            }
        };
        if let Some(v) = result_variable(t) {
            self.variables.insert(v, Cell::Int(code));
        }
        Ok(())
    }

    fn argument(&self, t: &[Token], name: &str) -> Option<Cell> {
        let at = t.iter().position(|x| x.is(name))?;
        match t.get(at + 2)? {
            Token::Word(v) if v.starts_with('@') => self.variables.get(&v.to_lowercase()).cloned(),
            Token::Text(s) | Token::Word(s) | Token::Name(s) => Some(Cell::Text(s.clone())),
            Token::Number(n) => n.parse().ok().map(Cell::Int),
            Token::Sign(_) => None,
        }
    }

    /// An argument of a procedure as text; empty if it has none.
    pub(super) fn argument_text(&self, t: &[Token], name: &str) -> String {
        match self.argument(t, name) {
            Some(Cell::Text(s)) => s,
            Some(Cell::Int(n)) => n.to_string(),
            _ => String::new(),
        }
    }
}

fn get_application_lock(seat: &mut Seat<'_>, resource: String) -> Result<i64, SqlMessage> {
    let id = seat.id;
    let i = seat.instance_mut().ok_or_else(|| SqlMessage::simulator("no instance"))?;
    Ok(match i.locks.get(&resource) {
        Some(holder) if *holder != id => -1,
        Some(_) | None => {
            i.locks.insert(resource, id);
            0
        }
    })
}

fn release_application_lock(seat: &mut Seat<'_>, resource: &str) -> i64 {
    let id = seat.id;
    if let Some(i) = seat.instance_mut() {
        i.locks.retain(|r, holder| !(r == resource && *holder == id));
    }
    0
}

/// `sp_update_job` disables a job, `sp_stop_job` ends one that runs.
fn quiet_job(seat: &mut Seat<'_>, procedure: &str, job: &str) -> Result<(), SqlMessage> {
    let found = seat.instance_mut().and_then(|i| i.jobs.iter_mut().find(|j| j.id.eq_ignore_ascii_case(job)));
    match found {
        Some(j) if procedure == "sp_update_job" => j.enabled = false,
        Some(j) => j.hangs = false,
        None => {
            let what = format!("The specified @job_id ('{job}') does not exist.");
            return refuse(14262, what);
        }
    }
    Ok(())
}

fn delete_secondary_database(seat: &mut Seat<'_>, database: &str) -> Result<(), SqlMessage> {
    let i = seat.instance_mut().ok_or_else(|| SqlMessage::simulator("no instance"))?;
    let (gone, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut i.log_shipping)
        .into_iter()
        .partition(|l| l.database.eq_ignore_ascii_case(database));
    i.log_shipping = kept;
    if gone.is_empty() {
        let what = format!("Database {database} does not exist as log shipping secondary.");
        return refuse(32014, what);
    }
    i.jobs.retain(|j| !gone.iter().any(|l| l.copy_job == j.id || l.restore_job == j.id));
    Ok(())
}
