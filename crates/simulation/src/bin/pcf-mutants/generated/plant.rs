//! All mutants of a file in one text of it: each is there and does nothing, until the process is told its number.
//!
//! What a mutant replaces keeps its place, in a construct that asks whether the mutant is awake. Nothing is written twice, so that mutants
//! within mutants grow by their own text only.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};
use syn::{Arm, BinOp, Expr, ExprBinary, ExprStruct, ExprUnary, Pat};

use super::list::{Genre, Mutant};

/// What asks whether a mutant is awake; it is put into each crate that holds some.
pub const ASKS: &str = "__is_awake";

/// A text that holds mutants, and which part of it is whose.
pub struct Planted {
    pub text: String,
    /// Those that it holds.
    pub ids: BTreeSet<u32>,
    pieces: Vec<Piece>,
    /// In bytes of the original, with those that stand there.
    constructs: Vec<((usize, usize), Vec<u32>)>,
}

/// A part of the text, from here on.
struct Piece {
    from: usize,
    origin: Origin,
}

enum Origin {
    /// What was there before, from this byte on.
    Kept(usize),
    /// What was written for these.
    Written(Vec<u32>),
}

struct Insertion {
    at: usize,
    /// Closes before opens; of those that close the inner one first, of those that open the outer one.
    rank: (u8, usize, u32),
    text: String,
    ids: Vec<u32>,
}

#[derive(Default)]
struct Edits {
    insertions: Vec<Insertion>,
    removed: Vec<(usize, usize)>,
    constructs: Vec<((usize, usize), Vec<u32>)>,
    order: u32,
}

fn asks(id: u32) -> String {
    format!("crate::{ASKS}({id})")
}

impl Edits {
    /// Puts a text around what stands at `at`.
    fn wrap(&mut self, at: (usize, usize), open: String, close: String, ids: &[u32]) {
        self.order += 1;
        let (start, end) = at;
        let open =
            Insertion { at: start, rank: (1, usize::MAX - end, self.order), text: open, ids: ids.to_vec() };
        let rank = (0, usize::MAX - start, u32::MAX - self.order);
        let close = Insertion { at: end, rank, text: close, ids: ids.to_vec() };
        self.insertions.extend([open, close]);
        self.constructs.push((at, ids.to_vec()));
    }

    /// Puts a text in the place of what stands at `at`.
    fn replace(&mut self, at: (usize, usize), text: String, ids: &[u32]) {
        self.order += 1;
        self.insertions.push(Insertion { at: at.0, rank: (1, 0, self.order), text, ids: ids.to_vec() });
        self.removed.push(at);
    }

    fn applied(mut self, source: &str) -> Planted {
        self.insertions.sort_by_key(|i| (i.at, i.rank));
        self.removed.sort_unstable();
        let mut p =
            Planted { text: String::new(), ids: BTreeSet::new(), pieces: Vec::new(), constructs: Vec::new() };
        let mut read = 0;
        let mut removed = self.removed.into_iter().peekable();
        let mut keep = |p: &mut Planted, to: usize| {
            while read < to {
                let gap = removed.peek().copied().filter(|(start, _)| *start < to);
                let until = gap.map_or(to, |(start, _)| start);
                if read < until {
                    p.pieces.push(Piece { from: p.text.len(), origin: Origin::Kept(read) });
                    p.text.push_str(&source[read..until]);
                }
                read = until;
                if let Some((_, end)) = gap {
                    removed.next();
                    read = read.max(end);
                }
            }
        };
        for i in self.insertions {
            keep(&mut p, i.at);
            p.pieces.push(Piece { from: p.text.len(), origin: Origin::Written(i.ids.clone()) });
            p.text.push_str(&i.text);
            p.ids.extend(i.ids);
        }
        keep(&mut p, source.len());
        p.constructs = self.constructs;
        p
    }
}

impl Planted {
    /// Whose fault an error at this byte of the text is: the mutants of the smallest construct around it. If there is none, the byte of the
    /// original.
    ///
    /// # Errors
    /// That byte.
    pub fn at_fault(&self, byte: usize) -> Result<Vec<u32>, usize> {
        let last = self.pieces.partition_point(|p| p.from <= byte).saturating_sub(1);
        let Some(piece) = self.pieces.get(last) else { return Err(byte) };
        let original = match &piece.origin {
            Origin::Written(ids) => return Ok(ids.clone()),
            Origin::Kept(from) => from + (byte - piece.from),
        };
        let around = self.constructs.iter().filter(|((start, end), _)| (*start..*end).contains(&original));
        let smallest = around.min_by_key(|((start, end), _)| end - start);
        smallest.map(|(_, ids)| ids.clone()).ok_or(original)
    }
}

/// Plants what can be planted of the mutants of one file. A function that is `const` is none any more, but for those named in `constants`,
/// which something constant needs: their mutants are left out.
///
/// # Errors
/// A source that is no Rust.
pub fn plant(source: &str, mutants: &[&Mutant], constants: &BTreeSet<String>) -> Result<Planted, String> {
    let file = syn::parse_file(source).map_err(|e| e.to_string())?;
    let mut edits = Edits::default();
    let mut operators: BTreeMap<usize, Vec<&Mutant>> = BTreeMap::new();
    let mut unconst: BTreeSet<(usize, usize)> = BTreeSet::new();
    for m in mutants {
        if let Some((start, _)) = m.function {
            match constant(source, start, m.at.0) {
                Some((_, name)) if constants.contains(&name) => continue,
                Some((at, _)) => {
                    unconst.insert(at);
                }
                None => {}
            }
        }
        match m.genre {
            Genre::FnValue if m.is_opaque => {}
            Genre::FnValue => {
                edits.order += 1;
                edits.insertions.push(Insertion {
                    at: m.at.0,
                    rank: (1, 0, edits.order),
                    text: format!("if {} {{ return {}; }} ", asks(m.id), m.replacement),
                    ids: vec![m.id],
                });
            }
            Genre::MatchArmGuard if m.replacement == "true" => {
                edits.wrap(m.at, format!("({} || (", asks(m.id)), "))".into(), &[m.id]);
            }
            Genre::MatchArmGuard => {
                edits.wrap(m.at, format!("(!{} && (", asks(m.id)), "))".into(), &[m.id]);
            }
            Genre::BinaryOperator | Genre::UnaryOperator | Genre::MatchArm | Genre::StructField => {
                operators.entry(m.at.0).or_default().push(m);
            }
        }
    }
    edits.removed.extend(unconst);
    let mut visitor = Visitor { source, at: operators, edits };
    visitor.visit_file(&file);
    Ok(visitor.edits.applied(source))
}

/// The `const ` of a function whose head lies between two bytes, and the function's name.
fn constant(source: &str, from: usize, to: usize) -> Option<((usize, usize), String)> {
    const CONST: &str = "const fn ";
    let at = from + source.get(from..to)?.rfind(CONST)?;
    let name = source[at + CONST.len()..].split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    Some(((at, at + "const ".len()), name.to_string()))
}

struct Visitor<'s> {
    source: &'s str,
    /// By the first byte of what they replace.
    at: BTreeMap<usize, Vec<&'s Mutant>>,
    edits: Edits,
}

fn range(of: &impl syn::spanned::Spanned) -> (usize, usize) {
    let r = of.span().byte_range();
    (r.start, r.end)
}

/// Whether it binds names by `let`: nothing may stand between such a condition and its `if`.
fn binds(e: &Expr) -> bool {
    match e {
        Expr::Let(_) => true,
        Expr::Binary(b) => binds(&b.left) || binds(&b.right),
        _ => false,
    }
}

impl Visitor<'_> {
    fn binary(&mut self, e: &ExprBinary, mutants: &[&Mutant]) {
        let ids: Vec<u32> = mutants.iter().map(|m| m.id).collect();
        let whole = (range(&e.left).0, range(&e.right).1);
        let op = range(&e.op);
        let (first, operator) = (mutants[0], &self.source[op.0..op.1]);
        let chosen = |otherwise: &str, form: &dyn Fn(&str) -> String| {
            let mutated =
                mutants.iter().map(|m| format!("if {} {{ {} }} else ", asks(m.id), form(&m.replacement)));
            format!("{}{{ {} }}", mutated.collect::<String>(), form(otherwise))
        };
        match e.op {
            BinOp::And(_) | BinOp::Or(_) if binds(&e.left) || binds(&e.right) || mutants.len() > 1 => {}
            BinOp::And(_) | BinOp::Or(_) => {
                let goes_on = if matches!(e.op, BinOp::And(_)) { "!=" } else { "==" };
                let between = format!("; if l {goes_on} {} {{ ", asks(first.id));
                self.edits.wrap(whole, "({ let l: bool = ".into(), " } else { l } })".into(), &ids);
                self.edits.replace(op, between, &ids);
            }
            BinOp::Eq(_) | BinOp::Ne(_) | BinOp::Lt(_) | BinOp::Le(_) | BinOp::Gt(_) | BinOp::Ge(_) => {
                let body = chosen(operator, &|op| format!("l {op} r"));
                self.edits.wrap(whole, "(match (&(".into(), format!(")) {{ (l, r) => {body} }})"), &ids);
                self.edits.replace(op, "), &(".into(), &ids);
            }
            BinOp::Add(_) | BinOp::Sub(_) | BinOp::Mul(_) | BinOp::Div(_) | BinOp::Rem(_) => {
                let body = chosen(operator, &|op| format!("l {op} r"));
                self.edits.wrap(whole, "(match ((".into(), format!(")) {{ (l, r) => {body} }})"), &ids);
                self.edits.replace(op, "), (".into(), &ids);
            }
            BinOp::AddAssign(_) | BinOp::SubAssign(_) | BinOp::MulAssign(_) | BinOp::DivAssign(_) => {
                let (start, end) = range(&e.left);
                let place = &self.source[start..end];
                let body = chosen(operator, &|op| format!("{place} {op} r"));
                self.edits.wrap(whole, "(match (".into(), format!(") {{ r => {body} }})"), &ids);
                self.edits.replace((start, op.1), String::new(), &ids);
            }
            // Bits: two in all, and no plain way.
            _ => {}
        }
    }
}

impl<'ast> Visit<'ast> for Visitor<'_> {
    fn visit_expr_binary(&mut self, e: &'ast ExprBinary) {
        if let Some(mutants) = self.at.remove(&range(&e.op).0) {
            self.binary(e, &mutants);
        }
        visit::visit_expr_binary(self, e);
    }

    fn visit_expr_unary(&mut self, e: &'ast ExprUnary) {
        let (whole, op) = (range(e), range(&e.op));
        if let Some(mutants) = self.at.remove(&op.0) {
            let id = mutants[0].id;
            let (open, close) = match e.op {
                syn::UnOp::Not(_) => ("((", format!(") == {})", asks(id))),
                _ => ("(match (", format!(") {{ v => if {} {{ v }} else {{ -v }} }})", asks(id))),
            };
            self.edits.wrap(whole, open.into(), close, &[id]);
            self.edits.removed.push(op);
        }
        visit::visit_expr_unary(self, e);
    }

    fn visit_arm(&mut self, arm: &'ast Arm) {
        if let Some(mutants) = self.at.remove(&range(arm).0) {
            let id = mutants[0].id;
            match &arm.pat {
                Pat::Guard(g) => {
                    self.edits.wrap(range(&g.guard), format!("(!{} && (", asks(id)), "))".into(), &[id]);
                }
                pat => self.edits.wrap(range(pat), String::new(), format!(" if !{}", asks(id)), &[id]),
            }
        }
        visit::visit_arm(self, arm);
    }

    fn visit_expr_struct(&mut self, e: &'ast ExprStruct) {
        if let Some(rest) = &e.rest {
            let ((from, to), path) = (range(&**rest), range(&e.path));
            let (base, of) = (&self.source[from..to], &self.source[path.0..path.1]);
            for field in &e.fields {
                let Some(mutants) = self.at.remove(&range(field).0) else { continue };
                let (id, at) = (mutants[0].id, range(&field.expr));
                let (start, end) = range(&field.member);
                let member = &self.source[start..end];
                let named = if field.colon_token.is_some() { String::new() } else { format!("{member}: ") };
                let open = format!("{named}if {} {{ let b: {of} = {base}; b.{member} }} else {{ ", asks(id));
                self.edits.wrap(at, open, " }".into(), &[id]);
            }
        }
        visit::visit_expr_struct(self, e);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutant(id: u32, genre: Genre, source: &str, what: &str, replacement: &str) -> Mutant {
        let at = source.find(what).unwrap();
        let (name, file) = (String::new(), String::new());
        let at = (at, at + what.len());
        Mutant {
            id,
            name,
            file,
            genre,
            replacement: replacement.into(),
            at,
            function: None,
            is_opaque: false,
            line: 1,
        }
    }

    #[test]
    fn mutants_within_mutants_are_all_there_and_none_is_written_twice() {
        let source = "fn f(a: i32, b: bool) -> bool { !b && a == 1 }\n";
        let all = [
            mutant(1, Genre::FnValue, source, "!b && a == 1", "true"),
            mutant(2, Genre::BinaryOperator, source, "&&", "||"),
            mutant(3, Genre::BinaryOperator, source, "==", "!="),
            mutant(4, Genre::UnaryOperator, source, "!", ""),
        ];
        let p = plant(source, &all.iter().collect::<Vec<_>>(), &BTreeSet::new()).unwrap();
        syn::parse_file(&p.text).unwrap();
        assert_eq!(p.ids, BTreeSet::from([1, 2, 3, 4]));
        for id in 1..=4 {
            assert_eq!(p.text.matches(&asks(id)).count(), 1, "{}", p.text);
        }
        // An error within the smallest of them is that one's fault.
        assert_eq!(p.at_fault(p.text.find("l == r").unwrap()), Ok(vec![3]));
        assert_eq!(p.at_fault(p.text.find("return true").unwrap()), Ok(vec![1]));
    }

    #[test]
    fn a_condition_that_binds_names_is_left_as_it_is() {
        let source =
            "fn f(a: Option<i32>, b: bool) -> bool { if b && let Some(_) = a { true } else { false } }\n";
        let and = mutant(1, Genre::BinaryOperator, source, "&&", "||");
        let p = plant(source, &[&and], &BTreeSet::new()).unwrap();
        assert_eq!((p.text.as_str(), p.ids.len()), (source, 0));
    }
}
