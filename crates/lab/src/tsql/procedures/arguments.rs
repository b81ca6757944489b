//! The arguments of an EXEC, bound to the parameters of its procedure.

use std::collections::BTreeMap;

use super::super::lexer::Token;
use super::super::values::{Cell, SqlMessage, refuse};
use super::Procedure;

/// What becomes of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// The procedure cannot do without it.
    Required,
    /// It may be left out.
    Optional,
    /// It gives something back.
    Output,
    /// The real procedure has it, and it would change something that is not simulated: it is not taken.
    Refused,
}

/// The arguments of one call.
pub(super) struct Arguments {
    values: BTreeMap<&'static str, Cell>,
    /// Variables that take what parameters give back.
    outputs: BTreeMap<&'static str, String>,
}

/// A value as it stands in a call, and what follows it.
fn value<'t>(t: &'t [Token], variables: &BTreeMap<String, Cell>) -> Result<(Cell, &'t [Token]), SqlMessage> {
    let number =
        |n: &str| n.parse().map(Cell::Int).map_err(|_| SqlMessage::simulator(format!("the number {n}")));
    match t {
        [Token::Word(v), rest @ ..] if v.starts_with('@') => match variables.get(&v.to_lowercase()) {
            Some(value) => Ok((value.clone(), rest)),
            None => Err(SqlMessage::error(137, 15, format!("Must declare the scalar variable \"{v}\"."))),
        },
        [Token::Word(null), rest @ ..] if null.eq_ignore_ascii_case("NULL") => Ok((Cell::Null, rest)),
        [Token::Text(s) | Token::Word(s) | Token::Name(s), rest @ ..] => Ok((Cell::Text(s.clone()), rest)),
        [Token::Number(n), rest @ ..] => Ok((number(n)?, rest)),
        [minus, Token::Number(n), rest @ ..] if minus.sign("-") => Ok((number(&format!("-{n}"))?, rest)),
        _ => Err(SqlMessage::simulator("this argument of a stored procedure")),
    }
}

impl Arguments {
    /// Binds what follows a procedure's name to its parameters.
    pub(super) fn bind(
        procedure: &Procedure,
        mut t: &[Token],
        variables: &BTreeMap<String, Cell>,
    ) -> Result<Arguments, SqlMessage> {
        let mut bound = Arguments { values: BTreeMap::new(), outputs: BTreeMap::new() };
        let mut places = procedure.parameters.iter();
        // Arguments without names come first, in the order of the parameters.
        while !t.is_empty() && !matches!(t, [Token::Word(_), equals, ..] if equals.sign("=")) {
            let Some((parameter, kind)) = places.next() else {
                let what =
                    format!("Procedure or function {} has too many arguments specified.", procedure.name);
                return Err(SqlMessage::refusal(8144, what).in_state(2).of(procedure.name, 0));
            };
            t = bound.take(procedure, (parameter, *kind), t, variables)?;
        }
        while let [Token::Word(given), equals, rest @ ..] = t {
            if !equals.sign("=") {
                break;
            }
            let parameter = procedure.parameters.iter().find(|(p, _)| p.eq_ignore_ascii_case(given));
            let Some((parameter, kind)) = parameter else {
                let what = format!("{given} is not a parameter for procedure {}.", procedure.name);
                return Err(SqlMessage::refusal(8145, what).of(procedure.name, 0));
            };
            t = bound.take(procedure, (parameter, *kind), rest, variables)?;
        }
        if !t.is_empty() {
            return Err(SqlMessage::simulator("knows arguments of a stored procedure by name only"));
        }
        for (parameter, _) in procedure.parameters.iter().filter(|(_, kind)| *kind == Use::Required) {
            if !bound.values.contains_key(parameter) {
                let what = format!(
                    "Procedure or function '{}' expects parameter '{parameter}', which was not supplied.",
                    procedure.name
                );
                return Err(SqlMessage::refusal(201, what).in_state(4).of(procedure.name, 0));
            }
        }
        Ok(bound)
    }

    /// Takes the value of one parameter; what follows it.
    fn take<'t>(
        &mut self,
        procedure: &Procedure,
        (parameter, kind): (&'static str, Use),
        t: &'t [Token],
        variables: &BTreeMap<String, Cell>,
    ) -> Result<&'t [Token], SqlMessage> {
        let (value, mut after) = value(t, variables)?;
        if after.first().is_some_and(|x| x.is("OUTPUT") || x.is("OUT")) {
            self.take_output(parameter, kind, t)?;
            after = &after[1..];
        }
        if kind == Use::Refused && value != Cell::Null {
            let what = format!("does not know the parameter {parameter} of {}", procedure.name);
            return Err(SqlMessage::simulator(what));
        }
        self.values.insert(parameter, value);
        Ok(match after {
            [comma, after @ ..] if comma.sign(",") => after,
            after => after,
        })
    }

    fn take_output(&mut self, parameter: &'static str, kind: Use, given: &[Token]) -> Result<(), SqlMessage> {
        match (kind, given.first()) {
            (Use::Output, Some(Token::Word(v))) if v.starts_with('@') => {
                self.outputs.insert(parameter, v.to_lowercase());
                Ok(())
            }
            (Use::Output, _) => Err(SqlMessage::simulator("OUTPUT of what is no variable")),
            (Use::Required | Use::Optional | Use::Refused, _) => refuse(
                8162,
                format!(
                    "The formal parameter \"{parameter}\" was not declared as an OUTPUT parameter, but the actual parameter passed in requested output."
                ),
            ),
        }
    }

    /// The variable that takes what a parameter gives back.
    pub(super) fn output(&self, parameter: &str) -> Option<&str> {
        self.outputs.get(parameter).map(String::as_str)
    }

    /// An argument that is not NULL.
    fn given(&self, parameter: &str) -> Option<&Cell> {
        self.values.get(parameter).filter(|v| **v != Cell::Null)
    }

    /// Whether an argument was given, be it NULL.
    pub(super) fn is_given(&self, parameter: &str) -> bool {
        self.values.contains_key(parameter)
    }

    /// Whether an argument is NULL that was given.
    pub(super) fn is_null(&self, parameter: &str) -> bool {
        self.values.get(parameter) == Some(&Cell::Null)
    }

    /// An argument as text; empty if there is none.
    pub(super) fn text(&self, parameter: &str) -> String {
        self.given(parameter).and_then(Cell::shown).unwrap_or_default()
    }

    /// An argument as a number, if there is one.
    pub(super) fn number(&self, parameter: &str) -> Result<Option<i64>, SqlMessage> {
        match self.given(parameter) {
            None => Ok(None),
            Some(Cell::Int(n)) => Ok(Some(*n)),
            Some(Cell::Bit(b)) => Ok(Some((*b).into())),
            Some(other) => match other.shown().and_then(|s| s.trim().parse().ok()) {
                Some(n) => Ok(Some(n)),
                None => refuse(8114, "Error converting data type nvarchar to int."),
            },
        }
    }

    /// An argument as a bit, if there is one.
    pub(super) fn bit(&self, parameter: &str) -> Result<Option<bool>, SqlMessage> {
        Ok(self.number(parameter)?.map(|n| n != 0))
    }

    /// Refuses the call if one of these is NULL or empty, as the procedures of log shipping do.
    pub(super) fn all_given(&self, parameters: &[&str]) -> Result<(), SqlMessage> {
        match parameters.iter().find(|p| self.text(p).is_empty()) {
            Some(empty) => refuse(
                32052,
                format!(
                    "Parameter '{empty}' cannot be null or empty. Specify a value for the named parameter and retry the operation."
                ),
            ),
            None => Ok(()),
        }
    }
}
