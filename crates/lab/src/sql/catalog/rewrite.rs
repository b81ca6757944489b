//! T-SQL to SQLite, token by token.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use crate::tsql::Seat;
use crate::tsql::batch::ERROR;
use crate::tsql::lexer::Token;

/// The text for SQLite, and the names of the tables that it mentions.
pub(super) type Rewritten = (String, BTreeSet<String>);

/// Most statements whose rewritten text is kept: a client that writes values into its texts must not fill the memory.
const KEPT: usize = 4096;

thread_local! {
    /// Rewritten statements. What an answer depends on besides the text is not in it.
    static REWRITTEN: RefCell<HashMap<Vec<Token>, Rc<Rewritten>>> = RefCell::default();
}

/// Rewrites a statement, or takes what was made of the same statement before.
pub(super) fn rewrite(seat: &Seat<'_>, t: &[Token]) -> Rc<Rewritten> {
    if let Some(known) = REWRITTEN.with_borrow(|kept| kept.get(t).cloned()) {
        return known;
    }
    let mut rewriter =
        Rewriter { seat, t, at: 0, out: Vec::new(), tables: BTreeSet::new(), limit: None, fixed: true };
    while rewriter.at < t.len() {
        rewriter.token();
    }
    if let Some(n) = &rewriter.limit {
        rewriter.out.push(format!("LIMIT {n}"));
    }
    let new = Rc::new((rewriter.out.join(" "), rewriter.tables));
    if rewriter.fixed {
        REWRITTEN.with_borrow_mut(|kept| {
            if kept.len() >= KEPT {
                kept.clear();
            }
            kept.insert(t.to_vec(), new.clone());
        });
    }
    new
}

fn literal(s: &str) -> String {
    format!("'{}'", s.replace('\'', "''"))
}

struct Rewriter<'a> {
    seat: &'a Seat<'a>,
    t: &'a [Token],
    at: usize,
    out: Vec<String>,
    tables: BTreeSet<String>,
    limit: Option<String>,
    /// Whether the text is the same for every session and every instance.
    fixed: bool,
}

impl Rewriter<'_> {
    fn sign(&self, n: usize, sign: &str) -> bool {
        self.t.get(n).is_some_and(|x| x.sign(sign))
    }

    fn push(&mut self, text: impl Into<String>) {
        self.out.push(text.into());
    }

    fn token(&mut self) {
        if self.name_of_several_parts() {
            return;
        }
        match &self.t[self.at] {
            Token::Word(word) => {
                self.word(word);
                return;
            }
            Token::Name(n) => self.push(format!("\"{n}\"")),
            Token::Text(s) => self.push(literal(s)),
            Token::Number(n) => self.push(n),
            Token::Sign(s) if s == "+" && self.text_near() => self.push("||"),
            Token::Sign(s) => self.push(s),
        }
        self.at += 1;
    }

    /// Whether a text stands beside: then `+` puts texts together.
    fn text_near(&self) -> bool {
        let near = |x: Option<&Token>| matches!(x, Some(Token::Text(_)));
        (self.at > 0 && near(self.t.get(self.at - 1))) || near(self.t.get(self.at + 1))
    }

    /// `sys.x`, `msdb.dbo.x`, `[mgc].dbo.x`: the name of a table. Of two parts: a column.
    fn name_of_several_parts(&mut self) -> bool {
        let Some(first) = self.t[self.at].ident() else { return false };
        let mut parts = vec![first];
        let mut last = self.at;
        while self.sign(last + 1, ".") {
            let Some(next) = self.t.get(last + 2).and_then(Token::ident) else { break };
            parts.push(next);
            last += 2;
        }
        let is_table = parts.len() == 3 || (parts.len() == 2 && first.eq_ignore_ascii_case("sys"));
        if is_table {
            let name = parts.join(".").to_lowercase();
            self.push(format!("\"{name}\""));
            self.tables.insert(name);
        } else if parts.len() == 2 {
            self.push(parts.iter().map(|p| format!("\"{p}\"")).collect::<Vec<_>>().join("."));
        } else {
            return false;
        }
        self.at = last + 1;
        true
    }

    fn word(&mut self, word: &str) {
        let upper = word.to_uppercase();
        let mut taken = 1;
        match upper.as_str() {
            "TOP" => {
                let open = self.sign(self.at + 1, "(");
                if let Some(Token::Number(n)) = self.t.get(self.at + 1 + usize::from(open)) {
                    self.limit = Some(n.clone());
                }
                taken = if open { 4 } else { 2 };
            }
            "ISNULL" => self.push("IFNULL"),
            // Text compares without case here as it is; there is one collation only.
            "COLLATE" if self.t.get(self.at + 1).is_some_and(|x| x.is("DATABASE_DEFAULT")) => taken = 2,
            "MINUTE" | "SECOND" | "HOUR" | "DAY" if self.sign(self.at + 1, ",") => self.push(literal(&upper)),
            "@@SPID" => self.session_id(),
            "@@ERROR" => self.push(ERROR),
            "@@SERVERNAME" => {
                self.fixed = false;
                self.push(literal(self.seat.instance().map_or("", |i| i.server_name.as_str())));
            }
            "@@VERSION" => {
                self.push(literal("Simulator of Microsoft SQL Server 2012 (SP4) - 11.0.7001.0 (X64)"));
            }
            // Types that SQLite has no affinity for.
            "NVARCHAR" | "DATETIME2" | "DATETIME" | "UNIQUEIDENTIFIER"
                if self.out.last().is_none_or(|o| o != "CONVERT (") =>
            {
                self.push("TEXT");
                taken = if self.sign(self.at + 1, "(") { 4 } else { 1 };
            }
            "CONVERT" => {
                // CONVERT(type, x): only to text is asked for.
                let comma = self.t[self.at..].iter().position(|x| x.sign(",")).unwrap_or(1);
                self.push("to_text (");
                taken = comma + 1;
            }
            _ => self.push(word),
        }
        self.at += taken;
    }

    fn session_id(&mut self) {
        // As a column without a name it names the column: only there it is written out.
        let column = self.at == 0 || self.t[self.at - 1].is("SELECT") || self.sign(self.at - 1, ",");
        if column {
            self.fixed = false;
            self.push(self.seat.id.to_string());
        } else {
            self.push("spid ( )");
        }
    }
}
