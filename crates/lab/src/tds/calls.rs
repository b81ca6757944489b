//! Calls of procedures: `sp_executesql` and its prepared kin, and all others, which are called as a batch would call them.

use std::collections::BTreeMap;

use super::request::{Call, Parameter};
use super::{Output, Session};
use crate::sql::Options;
use crate::tsql::batch::{Asked, Wanted};
use crate::tsql::lexer::{Token, tokens};
use crate::tsql::transactions::{Transaction, change_transaction};
use crate::tsql::{Cell, Done, Ends, Event, Kind, Seat, SqlMessage};

/// What is to be carried out for a call, if anything is, and what it gives back.
type Carried = (Option<Asked>, Vec<Output>);

/// What a call is refused with.
type Refused = Vec<Event>;

fn refused(e: SqlMessage, returns: Option<i32>) -> Refused {
    vec![Event::Error(e), Event::Ended(returns, true)]
}

/// A parameter as it was declared.
struct Declared {
    name: String,
    kind: Option<Kind>,
}

/// The parameters that `N'@a int, @b nvarchar(10) OUTPUT'` declares.
fn declared(text: &str) -> Vec<Declared> {
    let all = tokens(text).unwrap_or_default();
    let mut depth = 0usize;
    let parts = all.split(|t| {
        if t.sign("(") {
            depth += 1;
        } else if t.sign(")") {
            depth = depth.saturating_sub(1);
        }
        depth == 0 && t.sign(",")
    });
    let one = |part: &[Token]| {
        let name = part.first()?.ident()?.to_string();
        let kind = Kind::of(part.get(1..).unwrap_or_default()).map(|(kind, _)| kind);
        Some(Declared { name, kind })
    };
    parts.filter_map(one).collect()
}

/// The value of a text parameter.
fn text(p: Option<&Parameter>) -> Option<String> {
    match p.map(|p| &p.value) {
        Some(Cell::Text(t)) => Some(t.clone()),
        Some(_) | None => None,
    }
}

impl Session {
    /// The options of the session.
    pub(super) fn options(&self) -> Options {
        let world = self.world.now();
        let session = world.sql.get(&self.host).and_then(|i| i.sessions.get(&self.id));
        session.map(|s| s.options).unwrap_or_default()
    }

    pub(super) fn set_options(&self, options: Options) {
        let mut world = self.world.now();
        if let Some(s) = world.sql.get_mut(&self.host).and_then(|i| i.sessions.get_mut(&self.id)) {
            s.options = options;
        }
    }

    /// Begins or ends the session's transaction.
    pub(super) fn transaction(&self, change: Transaction, events: &mut Vec<Event>) {
        let mut world = self.world.now();
        let mut seat = Seat { world: &mut world, host: &self.host, id: self.id };
        let command = match change {
            Transaction::Begin => 212,
            Transaction::Commit => 213,
            Transaction::Rollback => 210,
        };
        let failed = match change_transaction(&mut seat, change) {
            Ok(told) => {
                events.extend(told);
                false
            }
            Err(e) => {
                events.push(Event::Error(e));
                true
            }
        };
        let ends = Ends::Statement;
        events.push(Event::Done(Done { ends, command, count: None, failed, rows: false, nocount: false }));
    }

    /// What a call asks for. What it is given for the parameters that give something back is what they give back if it is refused.
    pub(super) fn asked_by(&mut self, call: Call, given: &mut Vec<Output>) -> Result<Carried, Refused> {
        let back = (0..).zip(&call.parameters).filter(|(_, p)| p.output);
        given.extend(back.map(|(place, p)| Output {
            place,
            name: p.name.clone(),
            kind: p.kind,
            value: p.value.clone(),
        }));
        let mut parameters = call.parameters.into_iter();
        match call.name.as_str() {
            "sp_executesql" => {
                let statement = parameters.next();
                if statement.as_ref().is_some_and(|p| p.narrow) {
                    let what = "Procedure expects parameter '@statement' of type 'ntext/nchar/nvarchar'.";
                    let e = SqlMessage::refusal(214, what).in_state(2).of("sp_executesql", 1);
                    return Err(refused(e, Some(214)));
                }
                let Some(statement) = text(statement.as_ref()) else {
                    return Err(refused(SqlMessage::simulator("sp_executesql without a statement"), None));
                };
                let declarations = text(parameters.next().as_ref()).unwrap_or_default();
                run(statement, &declarations, parameters.collect(), 2)
            }
            "sp_prepexec" => {
                parameters.next();
                let declarations = text(parameters.next().as_ref()).unwrap_or_default();
                let statement = text(parameters.next().as_ref()).unwrap_or_default();
                let handle = self.prepare(&statement, &declarations);
                let (asked, mut outputs) = run(statement, &declarations, parameters.collect(), 3)?;
                outputs.insert(0, handle);
                Ok((asked, outputs))
            }
            "sp_prepare" => {
                parameters.next();
                let declarations = text(parameters.next().as_ref()).unwrap_or_default();
                let statement = text(parameters.next().as_ref()).unwrap_or_default();
                Ok((None, vec![self.prepare(&statement, &declarations)]))
            }
            "sp_execute" | "sp_unprepare" => {
                let handle = match parameters.next().map(|p| p.value) {
                    Some(Cell::Int(n)) => n,
                    Some(_) | None => 0,
                };
                let known = if call.name == "sp_execute" {
                    self.prepared.get(&handle).cloned()
                } else {
                    self.prepared.remove(&handle)
                };
                match known {
                    None => {
                        let what = format!("Could not find prepared statement with handle {handle}.");
                        Err(refused(SqlMessage::refusal(8179, what).in_state(2).of(call.name, 1), None))
                    }
                    Some((statement, declarations)) if call.name == "sp_execute" => {
                        run(statement, &declarations, parameters.collect(), 1)
                    }
                    Some(_) => Ok((None, vec![])),
                }
            }
            name => Ok((Some(plain(name, parameters.collect())), vec![])),
        }
    }

    /// Keeps a statement: the handle that it is given.
    fn prepare(&mut self, statement: &str, declarations: &str) -> Output {
        self.handles += 1;
        self.prepared.insert(self.handles, (statement.into(), declarations.into()));
        Output { place: 0, name: String::new(), kind: Kind::Int(4), value: Cell::Int(self.handles) }
    }
}

/// A statement with its parameters, as a batch. Values come by name or in the order of the declarations.
fn run(statement: String, declarations: &str, given: Vec<Parameter>, first: u16) -> Result<Carried, Refused> {
    let declared = declared(declarations);
    let mut places = declared.iter();
    let (mut values, mut types, mut outputs) = (Vec::new(), BTreeMap::new(), Vec::new());
    for (place, p) in (first..).zip(given) {
        let next = places.next();
        let name =
            if p.name.is_empty() { next.map(|d| d.name.clone()).unwrap_or_default() } else { p.name.clone() };
        let kind = declared.iter().find(|d| d.name.eq_ignore_ascii_case(&name)).and_then(|d| d.kind);
        let kind = kind.unwrap_or(p.kind);
        let number = matches!(kind, Kind::Int(_) | Kind::Numeric(..));
        if p.output {
            // Until it is carried out, a parameter gives back what it was given.
            outputs.push(Output { place, name: name.clone(), kind, value: p.value.clone() });
        }
        let value = match p.value {
            Cell::Text(t) if number => match t.trim().parse() {
                Ok(n) => Cell::Int(n),
                Err(_) => {
                    let what = "Error converting data type nvarchar to int.";
                    let e = SqlMessage::refusal(8114, what).in_state(5).of("", 0);
                    return Err(refused(e, Some(8114)));
                }
            },
            other => other,
        };
        types.insert(name.to_lowercase(), kind);
        values.push((name, value));
    }
    if let Some(missing) =
        declared.iter().find(|d| !values.iter().any(|(n, _)| n.eq_ignore_ascii_case(&d.name)))
    {
        let what = format!(
            "The parameterized query '{statement}' expects the parameter '{}', which was not supplied.",
            missing.name
        );
        return Err(refused(SqlMessage::refusal(8178, what).of("", 0), Some(1)));
    }
    let names = outputs.iter().map(|o| o.name.clone()).collect();
    let asked = Asked { text: statement, parameters: values, types, outputs: names, wanted: Wanted::Call };
    Ok((Some(asked), outputs))
}

/// Any other procedure: as an EXEC in a batch, whose end is the end of the call.
fn plain(name: &str, given: Vec<Parameter>) -> Asked {
    let mut text = format!("EXEC [{}]", name.replace(']', "]]"));
    let (mut values, mut types) = (Vec::new(), BTreeMap::new());
    for (n, p) in given.into_iter().enumerate() {
        let variable = format!("@argument_{n}");
        text.push_str(if n == 0 { " " } else { ", " });
        if !p.name.is_empty() {
            text.push_str(&format!("{} = ", p.name));
        }
        text.push_str(&variable);
        types.insert(variable.clone(), p.kind);
        values.push((variable, p.value));
    }
    Asked { text, parameters: values, types, outputs: vec![], wanted: Wanted::Batch }
}
