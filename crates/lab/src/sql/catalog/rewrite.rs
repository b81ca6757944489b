//! T-SQL to SQLite, token by token.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::COLLATION;
use super::store::CLIENTS;
use crate::tsql::batch::{CAUGHT, ERROR, ROWCOUNT};
use crate::tsql::lexer::Token;
use crate::tsql::{Kind, Seat};

/// A statement for SQLite.
pub(super) struct Rewritten {
    /// Which one it is: statements that differ in their types may have one text.
    pub(super) number: u64,
    /// Its text.
    pub(super) sql: String,
    /// The names of the tables that it mentions.
    pub(super) tables: BTreeSet<String>,
    /// The variables that it mentions, in lower case.
    pub(super) variables: Vec<String>,
    /// Whether it is answered the same as long as its tables and its variables are the same.
    pub(super) lasts: bool,
}

/// What gives something else from one moment, or one session, to the next.
const FLEETING: [&str; 10] = [
    "SYSUTCDATETIME",
    "SYSDATETIME",
    "GETUTCDATE",
    "GETDATE",
    "CURRENT_TIMESTAMP",
    "APPLOCK_MODE",
    "APPLOCK_TEST",
    "DB_NAME",
    "@@TRANCOUNT",
    "@@SPID",
];

/// Most statements of which something is kept: a client that writes values into its texts must not fill the memory.
const KEPT: usize = 4096;

/// Makes room for what is kept of one more statement.
pub(super) fn make_room<K, V, S>(kept: &mut HashMap<K, V, S>) {
    if kept.len() >= KEPT {
        kept.clear();
    }
}

/// How many statements were rewritten.
static NUMBERED: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Rewritten statements. What an answer depends on besides the text is not in it.
    static REWRITTEN: RefCell<HashMap<Vec<Token>, Rc<Rewritten>, foldhash::fast::RandomState>> = RefCell::default();
}

/// Rewrites a statement, or takes what was made of the same statement before.
pub(super) fn rewrite(seat: &Seat<'_>, t: &[Token]) -> Rc<Rewritten> {
    if let Some(known) = REWRITTEN.with_borrow(|kept| kept.get(t).cloned()) {
        return known;
    }
    let mut rewriter = Rewriter {
        seat,
        t,
        at: 0,
        out: Vec::new(),
        tables: BTreeSet::new(),
        limit: None,
        fixed: true,
        casts: Vec::new(),
    };
    while rewriter.at < t.len() {
        rewriter.token();
    }
    if let Some(n) = &rewriter.limit {
        rewriter.out.push(format!("LIMIT {n}"));
    }
    let fleeting =
        |x: &Token| matches!(x, Token::Word(w) if FLEETING.iter().any(|f| w.eq_ignore_ascii_case(f)));
    let new = Rc::new(Rewritten {
        variables: rewriter.out.iter().filter(|o| o.starts_with('@')).map(|o| o.to_lowercase()).collect(),
        lasts: rewriter.fixed && !t.iter().any(fleeting),
        number: NUMBERED.fetch_add(1, Ordering::Relaxed),
        sql: rewriter.out.join(" "),
        tables: rewriter.tables,
    });
    if rewriter.fixed {
        REWRITTEN.with_borrow_mut(|kept| {
            make_room(kept);
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
    /// Casts that are open: where their AS stands, where they end, and the type for SQLite if it does the cast itself.
    casts: Vec<(usize, usize, Option<&'static str>)>,
}

/// How a cast to a type is written for SQLite: by a function of ours, or by the type that it knows.
fn cast(kind: Kind, inside: &[Token]) -> (Option<&'static str>, Option<&'static str>) {
    match kind {
        // Only what a client writes or gives can be no number at all.
        Kind::Int(_) if inside.iter().any(|x| matches!(x, Token::Text(_)) || is_variable(x)) => {
            (Some("to_int"), None)
        }
        Kind::Int(_) | Kind::Bit => (None, Some("INTEGER")),
        Kind::Numeric(..) => (Some("to_numeric"), None),
        Kind::Float(_) => (None, Some("REAL")),
        Kind::NVarChar(_)
        | Kind::VarChar(_)
        | Kind::NChar(_)
        | Kind::Char(_)
        | Kind::VarBinary(_)
        | Kind::Binary(_)
        | Kind::Guid
        | Kind::DateTime
        | Kind::DateTime2(_)
        | Kind::Variant => (None, Some("TEXT")),
    }
}

fn is_variable(x: &Token) -> bool {
    matches!(x, Token::Word(w) if w.starts_with('@') && !w.starts_with("@@"))
}

impl Rewriter<'_> {
    fn sign(&self, n: usize, sign: &str) -> bool {
        self.t.get(n).is_some_and(|x| x.sign(sign))
    }

    fn push(&mut self, text: impl Into<String>) {
        self.out.push(text.into());
    }

    fn token(&mut self) {
        if self.at == 2 && self.t[0].is("CREATE") && self.t[1].is("TABLE") {
            self.push(format!("{CLIENTS} ."));
        }
        if self.end_of_cast() || self.column_of_new_table() || self.name_of_several_parts() {
            return;
        }
        match &self.t[self.at] {
            Token::Word(word) => {
                self.word(word);
                return;
            }
            Token::Name(n) => self.push(format!("\"{n}\"")),
            Token::Text(s) => {
                self.push(literal(s));
                self.collate();
            }
            Token::Number(n) => self.push(n),
            Token::Sign(s) if s == "/" => {
                self.divide();
                return;
            }
            Token::Sign(s) if s == "+" && self.text_near() => self.push("||"),
            Token::Sign(s) => self.push(s),
        }
        self.at += 1;
    }

    /// What is compared with a text, or a variable, is compared as texts are.
    fn collate(&mut self) {
        // On the other side of what a function gives there is nothing else that says how.
        let of_function = self.at > 1 && self.sign(self.at - 1, "=") && self.sign(self.at - 2, ")");
        if of_function || ["=", "<>", "!="].iter().any(|s| self.sign(self.at + 1, s)) {
            self.push(format!("COLLATE {COLLATION}"));
        }
    }

    /// `/ x`: division by zero is an error here, and NULL for SQLite.
    fn divide(&mut self) {
        self.push("/ divisor (");
        self.at += 1;
        match self.t.get(self.at) {
            Some(Token::Number(n)) => self.push(n),
            Some(Token::Word(w)) if w.starts_with('@') => self.word(&w.clone()),
            Some(_) | None => {
                // Anything else is not understood, rather than divided by.
                self.push("NULL , NULL");
            }
        }
        if matches!(self.t.get(self.at), Some(Token::Number(_))) {
            self.at += 1;
        }
        self.push(")");
    }

    /// `CAST (x AS type)`, from its first word on.
    fn cast(&mut self) -> bool {
        let rest = &self.t[self.at..];
        let mut depth = 0usize;
        let (mut as_, mut close) = (None, None);
        for (n, x) in rest.iter().enumerate().skip(1) {
            if x.sign("(") {
                depth += 1;
            } else if x.sign(")") {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    close = Some(n);
                    break;
                }
            } else if depth == 1 && x.is("AS") {
                as_ = Some(n);
            }
        }
        let (Some(as_), Some(close)) = (as_, close) else { return false };
        let Some((kind, _)) = rest.get(as_ + 1..close).and_then(Kind::of) else { return false };
        let (function, native) = cast(kind, rest.get(2..as_).unwrap_or_default());
        self.push(function.unwrap_or("CAST"));
        self.push("(");
        self.casts.push((self.at + as_, self.at + close, native));
        self.at += 2;
        true
    }

    fn end_of_cast(&mut self) -> bool {
        match self.casts.last() {
            Some((as_, close, native)) if *as_ == self.at => {
                self.at = *close;
                if let Some(native) = native {
                    self.out.push(format!("AS {native}"));
                }
                self.casts.pop();
                true
            }
            Some(_) | None => false,
        }
    }

    /// The type of a column of a table that a client makes: as SQLite is told of types here.
    fn column_of_new_table(&mut self) -> bool {
        let is_new = self.t.first().is_some_and(|x| x.is("CREATE"));
        let after_name = self.at > 0
            && self.t.get(self.at - 1).is_some_and(|x| x.ident().is_some())
            && (self.sign(self.at.wrapping_sub(2), "(") || self.sign(self.at.wrapping_sub(2), ","));
        let Some((kind, length)) = Kind::of(&self.t[self.at..]).filter(|_| is_new && after_name) else {
            return false;
        };
        let rest = self.t.get(self.at + length..).unwrap_or_default();
        let own = rest.iter().position(|x| x.sign(",")).unwrap_or(rest.len());
        let own = rest.get(..own).unwrap_or_default();
        let pair = |a: &str, b: &str| own.windows(2).any(|w| matches!(w, [x, y] if x.is(a) && y.is(b)));
        let nullable = !pair("NOT", "NULL") && !pair("PRIMARY", "KEY");
        self.push(kind.declared(nullable));
        if kind.is_text() {
            self.push(format!("COLLATE {COLLATION}"));
        }
        self.at += length;
        true
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
            // `msdb..x`: the schema is left out.
            if self.sign(last + 2, ".") {
                parts.push("dbo");
                last += 1;
            }
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
        let calls_nothing = self.sign(self.at + 1, "(") && self.sign(self.at + 2, ")");
        if upper == "CAST" && self.cast() {
            return;
        }
        if let Some((_, variable)) = CAUGHT.iter().find(|(f, _)| calls_nothing && *f == upper) {
            self.push(*variable);
            self.at += 3;
            return;
        }
        match upper.as_str() {
            "TOP" => {
                let open = self.sign(self.at + 1, "(");
                if let Some(Token::Number(n)) = self.t.get(self.at + 1 + usize::from(open)) {
                    self.limit = Some(n.clone());
                }
                taken = if open { 4 } else { 2 };
            }
            "DELETE" if self.at == 0 && !self.t.get(1).is_some_and(|x| x.is("FROM")) => {
                self.push("DELETE FROM");
            }
            "INSERT" if self.at == 0 && !self.t.get(1).is_some_and(|x| x.is("INTO")) => {
                self.push("INSERT INTO");
            }
            "ISNULL" => self.push("IFNULL"),
            // The function, not the join.
            "LEFT" if self.sign(self.at + 1, "(") => self.push("left_of"),
            // Text compares without case here as it is; there is one collation only.
            "COLLATE" if self.t.get(self.at + 1).is_some_and(|x| x.is("DATABASE_DEFAULT")) => taken = 2,
            "MINUTE" | "SECOND" | "HOUR" | "DAY" if self.sign(self.at + 1, ",") => self.push(literal(&upper)),
            "@@SPID" => self.session_id(),
            "@@ERROR" => self.push(ERROR),
            "@@ROWCOUNT" => self.push(ROWCOUNT),
            "@@TRANCOUNT" => self.push("trancount ( )"),
            "@@SERVERNAME" => {
                self.fixed = false;
                self.push(literal(self.seat.instance().map_or("", |i| i.server_name.as_str())));
            }
            "@@VERSION" => {
                self.fixed = false;
                let version = self.seat.version().product_version();
                self.push(literal(&format!("Simulator of Microsoft SQL Server - {version} (X64)")));
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
            _ if is_variable(&self.t[self.at]) => {
                self.push(word);
                self.collate();
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
