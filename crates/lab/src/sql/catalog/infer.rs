//! What the columns of a SELECT are called, which types they have, and what they are ordered by: told by its text, before any row is there.

use crate::tsql::lexer::Token;
use crate::tsql::{ColumnType, Kind};

/// The type of a column, as far as the text tells it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    /// This one.
    Of(ColumnType),
    /// That of a variable.
    Variable(String),
    /// That of the column of a table that it stands for; `true`: it can be NULL, whatever that one can.
    Column(bool),
    /// That of a column by this name, which can be NULL: an aggregate of it.
    Aggregate(String),
    /// What its values look like.
    Values,
}

/// One column of a SELECT.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// Its name; absent for all columns of a table.
    pub(super) name: Option<String>,
    pub(super) shape: Shape,
}

/// The columns of a SELECT.
#[derive(Clone, Debug, Default)]
pub(super) struct Heading {
    pub(super) items: Vec<Item>,
    /// The columns that it is ordered by, counted from 1.
    pub(super) order: Vec<u16>,
}

/// How deep in parentheses each token stands.
fn depths(t: &[Token]) -> Vec<usize> {
    let mut depth = 0usize;
    t.iter()
        .map(|x| {
            if x.sign(")") {
                depth = depth.saturating_sub(1);
            }
            let here = depth;
            if x.sign("(") {
                depth += 1;
            }
            here
        })
        .collect()
}

/// Where a keyword stands outside of parentheses.
fn top(t: &[Token], depths: &[usize], word: &str) -> Option<usize> {
    t.iter().zip(depths).position(|(x, d)| *d == 0 && x.is(word))
}

/// The columns of a SELECT.
pub(super) fn heading(t: &[Token]) -> Heading {
    let depths = depths(t);
    let end = ["FROM", "WHERE", "GROUP", "ORDER", "UNION"]
        .iter()
        .filter_map(|w| top(t, &depths, w))
        .min()
        .unwrap_or(t.len());
    let mut begin = 1;
    if t.get(begin).is_some_and(|x| x.is("DISTINCT")) {
        begin += 1;
    }
    if t.get(begin).is_some_and(|x| x.is("TOP")) {
        begin += if t.get(begin + 1).is_some_and(|x| x.sign("(")) { 4 } else { 2 };
    }
    let optional = outer_joined(t, &depths);
    let (Some(list), Some(of_list)) = (t.get(begin..end), depths.get(begin..end)) else {
        return Heading::default();
    };
    let mut items: Vec<(Item, &[Token])> = Vec::new();
    let mut from = 0;
    let commas = list.iter().zip(of_list).enumerate().filter(|(_, (x, d))| **d == 0 && x.sign(","));
    let ends: Vec<usize> = commas.map(|(n, _)| n).chain([list.len()]).collect();
    for to in ends {
        let one = list.get(from..to).unwrap_or_default();
        from = to + 1;
        items.push(item(one, &optional));
    }
    let order = order(t, &depths, &items);
    Heading { items: items.into_iter().map(|(item, _)| item).collect(), order }
}

/// The names of the tables whose columns can all be NULL, since they are joined from outside.
fn outer_joined<'t>(t: &'t [Token], depths: &[usize]) -> Vec<&'t str> {
    let mut names = Vec::new();
    for (n, x) in t.iter().enumerate() {
        // Before a parenthesis it is the function of that name.
        let joins = x.is("LEFT") && !t.get(n + 1).is_some_and(|x| x.sign("("));
        if !(joins && depths.get(n) == Some(&0)) {
            continue;
        }
        let mut at = n + 1;
        while t.get(at).is_some_and(|x| x.is("OUTER") || x.is("JOIN")) {
            at += 1;
        }
        let mut last = t.get(at).and_then(Token::ident);
        while t.get(at + 1).is_some_and(|x| x.sign(".")) {
            at += 2;
            last = t.get(at).and_then(Token::ident);
        }
        at += 1;
        if t.get(at).is_some_and(|x| x.is("AS")) {
            last = t.get(at + 1).and_then(Token::ident);
        } else if let Some(alias) = t.get(at).and_then(Token::ident).filter(|a| !a.eq_ignore_ascii_case("ON"))
        {
            last = Some(alias);
        }
        names.extend(last);
    }
    names
}

/// One column, and the expression without the name that it is given.
fn item<'t>(one: &'t [Token], optional: &[&str]) -> (Item, &'t [Token]) {
    let (expression, alias) = match one {
        [expression @ .., as_, name] if as_.is("AS") && name.ident().is_some() => (expression, name.ident()),
        [expression @ .., before, name]
            if name.ident().is_some_and(|n| !n.starts_with('@'))
                && !name.is("END")
                && !name.is("NULL")
                && ends_expression(before) =>
        {
            let expression = one.get(..expression.len() + 1).unwrap_or_default();
            (expression, name.ident())
        }
        all => (all, None),
    };
    if expression.last().is_some_and(|x| x.sign("*"))
        && alias.is_none()
        && !expression.iter().any(|x| x.sign("("))
    {
        return (Item { name: None, shape: Shape::Column(false) }, expression);
    }
    let own = match expression {
        [.., dot, name] if dot.sign(".") => name.ident(),
        [name] => name.ident().filter(|n| !n.starts_with('@')),
        _ => None,
    };
    let name = alias.or(own).unwrap_or_default().to_string();
    (Item { name: Some(name), shape: shape(expression, optional) }, expression)
}

/// Whether an expression can end with a token, so that a name behind it is an alias.
fn ends_expression(x: &Token) -> bool {
    match x {
        Token::Name(_) | Token::Text(_) | Token::Number(_) => true,
        Token::Word(w) => {
            let joins = [
                "AND", "OR", "NOT", "AS", "IN", "IS", "LIKE", "CASE", "WHEN", "THEN", "ELSE", "COLLATE",
                "OVER",
            ];
            !joins.iter().any(|j| w.eq_ignore_ascii_case(j))
        }
        Token::Sign(s) => s == ")",
    }
}

/// The type of an expression.
fn shape(e: &[Token], optional: &[&str]) -> Shape {
    let required = |kind| Shape::Of(ColumnType::required(kind));
    let null = |kind| Shape::Of(ColumnType::null(kind));
    match e {
        [Token::Number(n)] => number(n),
        [minus, Token::Number(n)] if minus.sign("-") => number(n),
        [Token::Text(s)] => {
            required(Kind::NVarChar(u16::try_from(s.encode_utf16().count().clamp(1, 4000)).unwrap_or(0)))
        }
        [x] if x.is("NULL") => null(Kind::Int(4)),
        [Token::Word(v)] if v.starts_with("@@") => match v.to_ascii_uppercase().as_str() {
            "@@SPID" => required(Kind::Int(2)),
            "@@ERROR" | "@@ROWCOUNT" | "@@TRANCOUNT" => required(Kind::Int(4)),
            "@@SERVERNAME" => null(Kind::NVarChar(128)),
            "@@VERSION" => null(Kind::NVarChar(300)),
            _ => Shape::Values,
        },
        [Token::Word(v)] if v.starts_with('@') => Shape::Variable(v.to_lowercase()),
        [name] if name.ident().is_some() => Shape::Column(false),
        [.., dot, name] if dot.sign(".") && name.ident().is_some() => {
            let of = e.first().and_then(Token::ident).unwrap_or_default();
            Shape::Column(optional.iter().any(|o| o.eq_ignore_ascii_case(of)))
        }
        [open, inner @ .., close] if open.sign("(") && close.sign(")") => {
            if inner.first().is_some_and(|x| x.is("SELECT")) {
                match heading(inner).items.into_iter().next().map(|i| i.shape) {
                    Some(Shape::Of(of)) => Shape::Of(ColumnType { nullable: true, ..of }),
                    Some(Shape::Column(_) | Shape::Aggregate(_) | Shape::Variable(_) | Shape::Values)
                    | None => Shape::Values,
                }
            } else {
                shape(inner, optional)
            }
        }
        [case, .., end] if case.is("CASE") && end.is("END") => branches(e, optional),
        [Token::Word(f), open, inside @ .., close] if open.sign("(") && close.sign(")") => {
            call(f, inside, optional)
        }
        // Arithmetic of numbers: it can be NULL (recorded).
        [Token::Number(n), op, ..] if ["+", "-", "*", "/"].iter().any(|s| op.sign(s)) && !n.contains('.') => {
            null(Kind::Int(4))
        }
        _ => Shape::Values,
    }
}

fn number(n: &str) -> Shape {
    match n.parse::<i64>() {
        Ok(v) if i32::try_from(v).is_ok() => Shape::Of(ColumnType::required(Kind::Int(4))),
        Ok(_) => Shape::Of(ColumnType::required(Kind::Int(8))),
        Err(_) => Shape::Values,
    }
}

/// CASE: the type of its first branch; it cannot be NULL if no branch can, and there is one for the rest.
fn branches(e: &[Token], optional: &[&str]) -> Shape {
    let (mut depth, mut nested) = (0usize, 0usize);
    let mut marks = Vec::new();
    for (n, x) in e.iter().enumerate() {
        if x.sign("(") {
            depth += 1;
        } else if x.sign(")") {
            depth = depth.saturating_sub(1);
        } else if x.is("CASE") {
            nested += 1;
        } else if x.is("END") {
            if nested == 1 {
                marks.push((n, false));
            }
            nested = nested.saturating_sub(1);
        } else if depth == 0 && nested == 1 && (x.is("THEN") || x.is("ELSE")) {
            marks.push((n, true));
        } else if depth == 0 && nested == 1 && x.is("WHEN") {
            marks.push((n, false));
        }
    }
    let parts = marks.windows(2).filter_map(|w| match w {
        [(from, true), (to, _)] => e.get(from + 1..*to),
        _ => None,
    });
    let shapes: Vec<Shape> = parts.map(|p| shape(p, optional)).collect();
    let has_else = e.iter().any(|x| x.is("ELSE"));
    let required =
        has_else && shapes.iter().all(|s| matches!(s, Shape::Of(ColumnType { nullable: false, .. })));
    match shapes.into_iter().next() {
        Some(Shape::Of(of)) => Shape::Of(ColumnType { nullable: !required, ..of }),
        Some(other) => other,
        None => Shape::Values,
    }
}

/// What a function gives.
fn call(f: &str, inside: &[Token], optional: &[&str]) -> Shape {
    let required = |kind| Shape::Of(ColumnType::required(kind));
    let null = |kind| Shape::Of(ColumnType::null(kind));
    let depths = depths(inside);
    let comma = inside.iter().zip(&depths).position(|(x, d)| *d == 0 && x.sign(","));
    let first = inside.get(..comma.unwrap_or(inside.len())).unwrap_or_default();
    match f.to_ascii_uppercase().as_str() {
        // Recorded of a cast text; that a cast of what cannot be NULL can be is not.
        "CAST" => match top(inside, &depths, "AS").and_then(|at| Kind::of(inside.get(at + 1..)?)) {
            Some((kind, _)) => null(kind),
            None => Shape::Values,
        },
        "CONVERT" => Kind::of(first).map_or(Shape::Values, |(kind, _)| null(kind)),
        "COUNT" | "ERROR_NUMBER" | "ERROR_SEVERITY" | "ERROR_STATE" | "ERROR_LINE" | "OBJECT_ID"
        | "DATEDIFF" | "IS_SRVROLEMEMBER" | "HAS_PERMS_BY_NAME" => null(Kind::Int(4)),
        "ERROR_MESSAGE" => null(Kind::NVarChar(4000)),
        "ERROR_PROCEDURE" | "DB_NAME" => null(Kind::NVarChar(128)),
        "DB_ID" | "XACT_STATE" => null(Kind::Int(2)),
        "APPLOCK_MODE" => null(Kind::NVarChar(32)),
        "APPLOCK_TEST" => required(Kind::Int(4)),
        "SERVERPROPERTY" => null(Kind::Variant),
        "SYSUTCDATETIME" | "SYSDATETIME" => required(Kind::DateTime2(7)),
        "GETDATE" | "GETUTCDATE" => required(Kind::DateTime),
        "MAX" | "MIN" => match (shape(first, optional), first.last().and_then(Token::ident)) {
            (Shape::Of(of), _) => Shape::Of(ColumnType { nullable: true, ..of }),
            (Shape::Column(_), Some(name)) => Shape::Aggregate(name.to_lowercase()),
            _ => Shape::Values,
        },
        "ISNULL" => {
            let second = comma.and_then(|c| inside.get(c + 1..)).map(|e| shape(e, optional));
            match (shape(first, optional), second) {
                (Shape::Of(of), Some(Shape::Of(other))) => {
                    Shape::Of(ColumnType { nullable: of.nullable && other.nullable, ..of })
                }
                (one, _) => one,
            }
        }
        _ => Shape::Values,
    }
}

/// The columns that a SELECT is ordered by, as far as they are among those that it gives.
fn order(t: &[Token], depths: &[usize], items: &[(Item, &[Token])]) -> Vec<u16> {
    let Some(at) = top(t, depths, "ORDER") else { return Vec::new() };
    let by = t.get(at + 2..).unwrap_or_default();
    let mut found = Vec::new();
    for one in by.split(|x| x.sign(",")) {
        let one = match one {
            [rest @ .., last] if last.is("ASC") || last.is("DESC") => rest,
            all => all,
        };
        let name = one.last().and_then(Token::ident).unwrap_or_default();
        let same = |(item, expression): &(Item, &[Token])| {
            *expression == one || item.name.as_ref().is_some_and(|n| n.eq_ignore_ascii_case(name))
        };
        if let Some(n) = items.iter().position(same) {
            found.extend(u16::try_from(n + 1));
        }
    }
    found
}
