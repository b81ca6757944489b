//! Cuts a batch into tokens.

use super::values::SqlMessage;

/// A token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Token {
    /// Identifier or keyword, or `@variable`.
    Word(String),
    /// `[name]` or `"name"`.
    Name(String),
    /// `'text'` or `N'text'`.
    Text(String),
    /// Number.
    Number(String),
    /// Operator or punctuation.
    Sign(String),
}

impl Token {
    /// Whether it is this keyword or variable.
    pub(crate) fn is(&self, word: &str) -> bool {
        matches!(self, Token::Word(w) if w.eq_ignore_ascii_case(word))
    }
    /// Whether it is this operator or punctuation.
    pub(crate) fn sign(&self, s: &str) -> bool {
        matches!(self, Token::Sign(t) if t == s)
    }
    /// Its name, if it is a keyword or an identifier.
    pub(crate) fn ident(&self) -> Option<&str> {
        match self {
            Token::Word(w) | Token::Name(w) => Some(w),
            Token::Text(_) | Token::Number(_) | Token::Sign(_) => None,
        }
    }
}

/// Cuts a text into tokens.
pub fn tokens(text: &str) -> Result<Vec<Token>, SqlMessage> {
    cut(text).map(|(tokens, _)| tokens)
}

/// Cuts a text into tokens; with each of them the line that it begins on, counted from 1.
pub(super) fn cut(text: &str) -> Result<(Vec<Token>, Vec<u32>), SqlMessage> {
    let text: Vec<char> = text.chars().collect();
    let mut c = Cutter { text: &text, at: 0 };
    let (mut out, mut lines) = (Vec::new(), Vec::new());
    let (mut line, mut counted) = (1u32, 0usize);
    while let Some(ch) = c.peek(0) {
        line += text[counted..c.at].iter().filter(|x| **x == '\n').count() as u32;
        counted = c.at;
        match (ch, c.peek(1)) {
            _ if ch.is_whitespace() => c.at += 1,
            ('-', Some('-')) => drop(c.run(|x| x != '\n')),
            ('/', Some('*')) => c.comment(),
            ('\'', _) => out.push(Token::Text(c.quoted(1, '\'')?)),
            ('N' | 'n', Some('\'')) => out.push(Token::Text(c.quoted(2, '\'')?)),
            ('[', _) => out.push(Token::Name(c.quoted(1, ']')?)),
            ('"', _) => out.push(Token::Name(c.quoted(1, '"')?)),
            _ if ch.is_alphabetic() || matches!(ch, '_' | '@' | '#') => {
                let is_part = |x: char| x.is_alphanumeric() || matches!(x, '_' | '@' | '#' | '$');
                out.push(Token::Word(c.run(is_part)));
            }
            _ if ch.is_ascii_digit() => {
                out.push(Token::Number(c.run(|x| x.is_ascii_digit() || x == '.')));
            }
            _ => out.push(Token::Sign(c.sign())),
        }
        lines.resize(out.len(), line);
    }
    Ok((out, lines))
}

/// A text, and how far it has been cut.
struct Cutter<'a> {
    text: &'a [char],
    at: usize,
}

impl Cutter<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.text.get(self.at + ahead).copied()
    }
    /// Everything up to the first character that does not belong to it.
    fn run(&mut self, belongs: impl Fn(char) -> bool) -> String {
        let run: String = self.text[self.at..].iter().take_while(|x| belongs(**x)).collect();
        self.at += run.chars().count();
        run
    }
    fn comment(&mut self) {
        while self.peek(0).is_some() && (self.peek(0), self.peek(1)) != (Some('*'), Some('/')) {
            self.at += 1;
        }
        self.at = (self.at + 2).min(self.text.len());
    }
    /// What stands between quotes, the closing one doubled where it is meant. It begins so many characters on.
    fn quoted(&mut self, begins: usize, close: char) -> Result<String, SqlMessage> {
        self.at += begins;
        let mut quoted = String::new();
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some(x), Some(y)) if x == close && y == close => {
                    quoted.push(close);
                    self.at += 2;
                }
                (Some(x), _) => {
                    self.at += 1;
                    if x == close {
                        return Ok(quoted);
                    }
                    quoted.push(x);
                }
                (None, _) => {
                    let what = "Unclosed quotation mark after the character string.";
                    return Err(SqlMessage::error(105, 15, what));
                }
            }
        }
    }
    fn sign(&mut self) -> String {
        let pair: String = [self.peek(0), self.peek(1)].into_iter().flatten().collect();
        let is_pair = ["<>", "<=", ">=", "!=", "+="].contains(&pair.as_str());
        let sign: String = pair.chars().take(if is_pair { 2 } else { 1 }).collect();
        self.at += sign.chars().count();
        sign
    }
}
