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
    let c: Vec<char> = text.chars().collect();
    let (mut i, mut out) = (0, Vec::new());
    let unclosed = || SqlMessage::error(105, 15, "Unclosed quotation mark after the character string.");
    let quoted = |from: usize, close: char| -> Result<(String, usize), SqlMessage> {
        let (mut s, mut j) = (String::new(), from);
        loop {
            match (c.get(j), c.get(j + 1)) {
                (Some(&x), Some(&y)) if x == close && y == close => {
                    s.push(close);
                    j += 2;
                }
                (Some(&x), _) if x == close => return Ok((s, j + 1)),
                (Some(&x), _) => {
                    s.push(x);
                    j += 1;
                }
                (None, _) => return Err(unclosed()),
            }
        }
    };
    while let Some(&ch) = c.get(i) {
        let next = c.get(i + 1).copied();
        match ch {
            _ if ch.is_whitespace() => i += 1,
            '-' if next == Some('-') => {
                while c.get(i).is_some_and(|x| *x != '\n') {
                    i += 1;
                }
            }
            '/' if next == Some('*') => {
                while i < c.len() && !(c.get(i) == Some(&'*') && c.get(i + 1) == Some(&'/')) {
                    i += 1;
                }
                i += 2;
            }
            '\'' => {
                let (s, j) = quoted(i + 1, '\'')?;
                out.push(Token::Text(s));
                i = j;
            }
            'N' | 'n' if next == Some('\'') => {
                let (s, j) = quoted(i + 2, '\'')?;
                out.push(Token::Text(s));
                i = j;
            }
            '[' | '"' => {
                let (s, j) = quoted(i + 1, if ch == '[' { ']' } else { '"' })?;
                out.push(Token::Name(s));
                i = j;
            }
            _ if ch.is_alphabetic() || matches!(ch, '_' | '@' | '#') => {
                let from = i;
                while c.get(i).is_some_and(|x| x.is_alphanumeric() || matches!(x, '_' | '@' | '#' | '$')) {
                    i += 1;
                }
                out.push(Token::Word(c[from..i].iter().collect()));
            }
            _ if ch.is_ascii_digit() => {
                let from = i;
                while c.get(i).is_some_and(|x| x.is_ascii_digit() || *x == '.') {
                    i += 1;
                }
                out.push(Token::Number(c[from..i].iter().collect()));
            }
            _ => {
                let pair: String = [Some(ch), next].into_iter().flatten().collect();
                if ["<>", "<=", ">=", "!=", "+="].contains(&pair.as_str()) {
                    out.push(Token::Sign(pair));
                    i += 2;
                } else {
                    out.push(Token::Sign(ch.into()));
                    i += 1;
                }
            }
        }
    }
    Ok(out)
}
