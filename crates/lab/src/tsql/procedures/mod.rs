//! EXEC: the stored procedures that the simulator knows.

mod agent;
mod arguments;
mod known;
mod locks;
mod log_shipping;

use jiff::Timestamp;

use super::Seat;
use super::batch::Batch;
use super::ends::{Said, command, failed};
use super::lexer::Token;
use super::types::{ColumnType, Kind};
use super::values::{Cell, Done, Ends, Errors, Event, SqlMessage};
use arguments::Arguments;
use arguments::Use;
use known::{GET_WITHOUT_TIMEOUT, known};

/// A stored procedure.
struct Procedure {
    name: &'static str,
    home: Home,
    parameters: &'static [(&'static str, Use)],
    /// The parameter that the journal takes for its target. Without one it is none of the journal's business.
    target: Option<&'static str>,
    run: fn(&mut Seat<'_>, &Arguments) -> Result<Returned, SqlMessage>,
    /// The statements inside of it whose ends are told, as far as they are recorded.
    inside: &'static [(u16, bool)],
}

/// Where a procedure lives.
enum Home {
    /// It can be called from anywhere.
    Anywhere,
    /// It must be run in `master`.
    Master,
    /// It is one of `msdb`.
    Msdb,
}

/// What a procedure gives back.
struct Returned {
    code: i64,
    outputs: Vec<(&'static str, Cell)>,
    /// What it says on the way, and goes on.
    said: Vec<SqlMessage>,
    /// Until when it waits for a lock; then it returns.
    waits: Option<Timestamp>,
}

impl Returned {
    fn code(code: i64) -> Self {
        Returned { code, outputs: Vec::new(), said: Vec::new(), waits: None }
    }

    /// Success, with the values of parameters.
    fn success(outputs: impl Into<Vec<(&'static str, Cell)>>) -> Self {
        Returned { outputs: outputs.into(), ..Returned::code(0) }
    }
}

/// An EXEC taken apart.
pub(super) struct Call<'t> {
    /// The database that its name names.
    database: Option<&'t str>,
    /// The procedure in lower case, without database and schema.
    pub(super) name: String,
    /// What follows the name.
    pub(super) rest: &'t [Token],
    /// The variable that takes the return code: `EXEC @rc = …`.
    code: Option<String>,
}

impl<'t> Call<'t> {
    pub(super) fn of(t: &'t [Token]) -> Call<'t> {
        let (code, call) = match t {
            [_, Token::Word(v), s, call @ ..] if v.starts_with('@') && s.sign("=") => {
                (Some(v.to_lowercase()), call)
            }
            [_, call @ ..] => (None, call),
            [] => (None, t),
        };
        let mut parts = Vec::new();
        let mut at = 0;
        while let Some(part) = call.get(at).and_then(Token::ident) {
            parts.push(part);
            at += 1;
            if !call.get(at).is_some_and(|t| t.sign(".")) {
                break;
            }
            at += 1;
        }
        Call {
            database: if let [database, _, _] = parts[..] { Some(database) } else { None },
            name: parts.last().map(|p| p.to_lowercase()).unwrap_or_default(),
            rest: call.get(at..).unwrap_or_default(),
            code,
        }
    }

    /// The parameter that the journal takes for its target.
    pub(super) fn target(&self) -> Option<&'static str> {
        known(&self.name)?.target
    }

    /// Whether the procedure is found where it is called.
    fn at_home(&self, procedure: &Procedure, seat: &Seat<'_>) -> Result<(), SqlMessage> {
        let current = seat.session().map_or("master", |s| s.database.as_str());
        let database = self.database.unwrap_or(current);
        match procedure.home {
            Home::Msdb if !database.eq_ignore_ascii_case("msdb") => Err(self.not_found()),
            Home::Master if !database.eq_ignore_ascii_case("master") => {
                Err(SqlMessage::refusal(5001, "User must be in the master database."))
            }
            Home::Anywhere | Home::Master | Home::Msdb => Ok(()),
        }
    }

    fn not_found(&self) -> SqlMessage {
        let what = format!("Could not find stored procedure '{}'.", self.name);
        SqlMessage::refusal(2812, what).in_state(62).of(self.name.clone(), 1)
    }
}

impl Batch {
    pub(super) fn exec(
        &mut self,
        seat: &mut Seat<'_>,
        t: &[Token],
        out: &mut Vec<Event>,
    ) -> Result<Said, Errors> {
        // EXEC (@text), sp_executesql: dynamic SQL.
        let call = Call::of(t);
        let is_text = t.get(1).is_some_and(|x| x.sign("("));
        if is_text || call.name == "sp_executesql" {
            let error = self.dynamic(seat, self.dynamic_text(t), out)?;
            // It returns @@ERROR of its last statement.
            if let Some(v) = call.code {
                self.variables.insert(v, Cell::Int(error.into()));
            }
            let returned = (!is_text).then(|| i32::try_from(error).unwrap_or(0));
            self.returned(seat, returned, out);
            return Ok(Said::Nothing);
        }
        if call.name == "xp_dirtree" {
            return Ok(self.listed(seat, call.rest, out));
        }
        let Some(procedure) = known(&call.name) else {
            // One that is neither known nor like a name of the server's is not there; others may be there, and do something.
            let theirs = call.name.starts_with("sp_") || call.name.starts_with("xp_");
            let missing = call.not_found();
            let what = format!("simulator: does not know the stored procedure '{}'.", call.name);
            return Err(if theirs { SqlMessage { message: what, ..missing } } else { missing }.into());
        };
        call.at_home(procedure, seat)?;
        let arguments = Arguments::bind(procedure, call.rest, &self.variables)?;
        // Whoever has waited for a lock until now is told what it came to, and is in the journal already.
        let waited = self.waits;
        let entry = procedure.target.is_some().then(|| self.journal_write(seat, t));
        let result = (procedure.run)(seat, &arguments);
        let result = match entry {
            Some(entry) => seat.finish(entry, result),
            None => result,
        };
        // In a TRY an error leaves for the CATCH before the code could be returned.
        if let (Some(v), Err(_), false) = (&call.code, &result, self.in_try()) {
            self.variables.insert(v.clone(), Cell::Int(1));
        }
        let returned = result.map_err(|e| e.of(procedure.name, 1))?;
        self.waits = returned.waits.map(|until| waited.unwrap_or(until));
        if self.waits.is_some_and(|until| seat.world.now < until) {
            return Ok(Said::Nothing);
        }
        let code = match (returned.code, waited) {
            // Granted after a wait.
            (0, Some(_)) => 1,
            (code, _) => code,
        };
        for (parameter, value) in returned.outputs {
            if let Some(variable) = arguments.output(parameter) {
                self.variables.insert(variable.into(), value);
            }
        }
        if let Some(v) = call.code {
            self.variables.insert(v, Cell::Int(code));
        }
        let without = procedure.name == "sp_getapplock" && !arguments.is_given("@LockTimeout");
        let steps = if without { GET_WITHOUT_TIMEOUT } else { procedure.inside };
        self.inside(seat, steps, returned.said, out)?;
        self.returned(seat, i32::try_from(code).ok(), out);
        // Its last statement has assigned something (recorded).
        Ok(Said::Silent(u64::from(!procedure.inside.is_empty())))
    }

    /// `xp_dirtree path, 1, 1`: the files of a folder. A folder that is not there has none, and that is no error: so it is believed, for
    /// the procedure is documented nowhere.
    fn listed(&mut self, seat: &mut Seat<'_>, arguments: &[Token], out: &mut Vec<Event>) -> Said {
        let folder = self.value(arguments.first());
        let files = seat.world.files.list(&folder).unwrap_or_default();
        let columns =
            [("subdirectory", Kind::NVarChar(512)), ("depth", Kind::Int(4)), ("file", Kind::Int(4))];
        let columns = columns.map(|(name, kind)| (name.to_string(), ColumnType::null(kind))).to_vec();
        let row = |(name, _)| vec![Cell::Text(name), Cell::Int(1), Cell::Int(1)];
        let rows: Vec<Vec<Cell>> = files.into_iter().map(row).collect();
        let count = Some(rows.len() as u64);
        out.push(Event::Rows { columns, rows, order: Vec::new() });
        let inner = failed(Ends::Inner, command::SELECT);
        self.done(seat, Done { count, failed: false, rows: true, ..inner }, out);
        self.returned(seat, Some(0), out);
        Said::Silent(0)
    }

    /// What a procedure says on the way, and the ends of the statements inside of it (recorded).
    fn inside(
        &mut self,
        seat: &Seat<'_>,
        steps: &[(u16, bool)],
        said: Vec<SqlMessage>,
        out: &mut Vec<Event>,
    ) -> Result<(), Errors> {
        let told = said.iter().any(|m| !m.is_error());
        let errors = said.iter().any(SqlMessage::is_error);
        // What it is told about a bad call, it is told after its first look at the arguments.
        let inner = |(number, counted): (u16, bool)| Done {
            count: counted.then_some(1),
            failed: false,
            ..failed(Ends::Inner, number)
        };
        let shown = if told { steps.get(..2).unwrap_or_default() } else { steps };
        for step in shown {
            self.done(seat, inner(*step), out);
        }
        if errors && self.in_try() {
            for ends in [Ends::Inner, Ends::Procedure] {
                self.done(seat, Done { ends, ..inner((command::EXEC, false)) }, out);
            }
            return Err(said);
        }
        out.extend(said.into_iter().map(SqlMessage::event));
        if !steps.is_empty() {
            let number = if told { command::RAISERROR } else { command::EXEC };
            self.done(seat, Done { failed: errors, ..inner((number, false)) }, out);
            self.done(seat, inner((command::SELECT, true)), out);
        }
        Ok(())
    }

    /// That a procedure has returned.
    fn returned(&self, seat: &Seat<'_>, code: Option<i32>, out: &mut Vec<Event>) {
        if !self.tells_environment() {
            // Inside of dynamic SQL only that it has ended is told (recorded).
            self.done(seat, Done { failed: false, ..failed(Ends::Inner, command::EXEC) }, out);
            return;
        }
        if self.wanted == super::batch::Wanted::Call {
            self.done(seat, Done { failed: false, ..failed(Ends::Inner, command::EXEC) }, out);
            return;
        }
        out.extend(code.map(Event::Returned));
        self.done(seat, Done { failed: false, ..failed(Ends::Procedure, command::EXEC) }, out);
    }
}
