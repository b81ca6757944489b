//! CLIXML: how PowerShell writes objects as XML.

mod reader;
mod writer;

use std::fmt::{self, Write as _};

pub use self::reader::{MAX_DEPTH, read};
pub use self::writer::Writer;

/// What an `SS` element holds: a secure string, enciphered with the session's key.
///
/// Nothing shows it, not even its length; only [`Writer`] writes it again.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Of an enciphered text.
    pub fn new(enciphered: impl Into<String>) -> Secret {
        Secret(enciphered.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `Nil`
    Null,
    /// `B`
    Bool(bool),
    /// `By`, `SB`, `I16`, `I32`, `U16`
    I32(i32),
    /// `I64`, `U32`
    I64(i64),
    /// `U64`
    U64(u64),
    /// `Sg`, `Db`
    Double(f64),
    /// `S` and every other scalar that is text for us: char, dates, durations, decimals, URIs, script blocks, XML.
    String(String),
    /// `G`
    Guid(String),
    /// `Version`
    Version(String),
    /// `BA`, as base64 text
    Bytes(String),
    /// `SS`
    Secret(Secret),
    /// `LST`, `IE`, `QUE`, `STK`
    List(Vec<Value>),
    /// `DCT`
    Dict(Vec<(Value, Value)>),
    /// `Obj` with members
    Object(Box<Object>),
}

/// An object with members.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object {
    /// Type names, the most derived first.
    pub type_names: Vec<String>,
    /// What `ToString()` gave.
    pub to_string: Option<String>,
    /// The primitive or container that the object is, besides its members.
    pub base: Option<Value>,
    /// Adapted properties (`Props`).
    pub adapted: Vec<(String, Value)>,
    /// Extended properties (`MS`).
    pub extended: Vec<(String, Value)>,
}

impl Object {
    /// A member by its name, without regard to case; extended ones first, as PowerShell resolves them.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.extended.iter().chain(&self.adapted).find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v)
    }
}

impl Value {
    /// A text.
    pub fn text(s: impl Into<String>) -> Value {
        Value::String(s.into())
    }
    /// A custom object with extended members, as `[pscustomobject]`.
    pub fn object(type_name: &str, members: Vec<(&str, Value)>) -> Value {
        Value::Object(Box::new(Object {
            type_names: vec![type_name.into(), "System.Object".into()],
            adapted: members.into_iter().map(|(n, v)| (n.to_string(), v)).collect(),
            ..Object::default()
        }))
    }
    /// A member of an object.
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Object(o) => o.get(name).or_else(|| o.base.as_ref().and_then(|b| b.get(name))),
            Value::Dict(d) => d.iter().find(|(k, _)| k.shown().eq_ignore_ascii_case(name)).map(|(_, v)| v),
            _ => None,
        }
    }
    /// The value as text: what a human would see. Enums and rich types give their `ToString`.
    pub fn shown(&self) -> String {
        match self {
            Value::Null => String::new(),
            Value::Bool(b) => if *b { "True" } else { "False" }.into(),
            Value::I32(n) => n.to_string(),
            Value::I64(n) => n.to_string(),
            Value::U64(n) => n.to_string(),
            Value::Double(n) => n.to_string(),
            Value::String(s) | Value::Guid(s) | Value::Version(s) | Value::Bytes(s) => s.clone(),
            // What .NET's ToString gives.
            Value::Secret(_) => "System.Security.SecureString".into(),
            Value::List(l) => l.iter().map(Value::shown).collect::<Vec<_>>().join(" "),
            Value::Dict(_) => "System.Collections.Hashtable".into(),
            Value::Object(o) => match (&o.to_string, &o.base) {
                (Some(s), _) => s.clone(),
                (None, Some(base)) => base.shown(),
                (None, None) => o.type_names.first().cloned().unwrap_or_default(),
            },
        }
    }
    /// A Boolean, also from the text of one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(b) => Some(*b),
            Value::Object(o) => o.base.as_ref().and_then(Value::as_bool),
            other => match other.shown().to_ascii_lowercase().as_str() {
                "true" => Some(true),
                "false" => Some(false),
                _ => None,
            },
        }
    }
    /// A number.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::I32(n) => Some(i64::from(*n)),
            Value::I64(n) => Some(*n),
            Value::U64(n) => i64::try_from(*n).ok(),
            Value::Object(o) => o.base.as_ref().and_then(Value::as_i64),
            other => other.shown().parse().ok(),
        }
    }
    /// The elements of a list; PowerShell unrolls a list of one to its element and an empty one to null.
    pub fn as_list(&self) -> Vec<Value> {
        match self {
            Value::Null => Vec::new(),
            Value::List(l) => l.clone(),
            Value::Object(o) => match &o.base {
                Some(base @ (Value::List(_) | Value::Null)) => base.as_list(),
                _ => vec![self.clone()],
            },
            other => vec![other.clone()],
        }
    }
}

/// A document that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("CLIXML cannot be read: {0}")]
pub struct Malformed(pub String);

/// Escapes a text as CLIXML does: `_xHHHH_` for control characters, surrogates and a literal `_x`.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let chars: Vec<char> = text.chars().collect();
    for (i, &c) in chars.iter().enumerate() {
        let next_is_x = matches!(chars.get(i + 1), Some('x' | 'X'));
        match c {
            '_' if next_is_x => out.push_str("_x005F_"),
            '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => {
                let _ = write!(out, "_x{:04X}_", u32::from(c));
            }
            '\u{10000}'.. => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    let _ = write!(out, "_x{unit:04X}_");
                }
            }
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            _ => out.push(c),
        }
    }
    out
}

/// The reverse of [`escape`], after XML has been read.
pub fn unescape(text: &str) -> String {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let code = rest.strip_prefix("_x").or_else(|| rest.strip_prefix("_X")).and_then(|r| {
            let hex = r.get(..4)?;
            let valid = hex.bytes().all(|b| b.is_ascii_hexdigit()) && r.as_bytes().get(4) == Some(&b'_');
            if valid { u16::from_str_radix(hex, 16).ok() } else { None }
        });
        match code {
            Some(unit) => {
                units.push(unit);
                rest = &rest[7..];
            }
            None => {
                let mut buffer = [0; 2];
                units.extend_from_slice(c.encode_utf16(&mut buffer));
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    String::from_utf16_lossy(&units)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn strings_escape_as_powershell_does() {
        let hostile = "x'; Remove-Item $(calc) `\"_x0041_\r_€_😀";
        assert_eq!(escape(hostile), "x'; Remove-Item $(calc) `&quot;_x005F_x0041__x000D__€__xD83D__xDE00_");
        for text in
            [hostile, "", "_", "_x", "_X00_", "a_x0_b", "\u{0}\u{9f}", "_x005F_", "]]>&<", "tab\tlf\n"]
        {
            let xml = Writer::value(&Value::text(text));
            assert_eq!(read(&xml).unwrap(), Value::text(text), "{text:?}");
        }
    }

    #[test]
    fn what_xml_does_not_know_is_read_all_the_same() {
        for written in ["<S>a&#xFFFE;b</S>", "<S>a\u{fffe}b</S>"] {
            assert_eq!(read(written).unwrap(), Value::text("a\u{fffe}b"));
        }
        assert_eq!(read(&Writer::value(&Value::text("\u{ffff}"))).unwrap(), Value::text("\u{ffff}"));
        assert_eq!((read("").unwrap(), read("\u{feff}\n").unwrap()), (Value::Null, Value::Null));
        assert_eq!(
            read(&Writer::value(&Value::Double(f64::INFINITY))).unwrap(),
            Value::Double(f64::INFINITY)
        );
    }

    #[test]
    fn objects_come_back_as_they_were_written() {
        let v = Value::Object(Box::new(Object {
            type_names: vec!["Lab.PoolState".into(), "System.Object".into()],
            to_string: Some("Service:PC01".into()),
            base: Some(Value::List(vec![
                Value::I32(1),
                Value::Null,
                Value::Dict(vec![(Value::text("k"), Value::Bool(true))]),
            ])),
            adapted: vec![("PoolState".into(), Value::text("Normal"))],
            extended: vec![("poolstate".into(), Value::text("extended wins"))],
        }));
        let back = read(&Writer::value(&v)).unwrap();
        assert_eq!(back.get("POOLSTATE"), Some(&Value::text("extended wins")));
        assert_eq!(back.shown(), "Service:PC01");
        // A container inside an object comes back as an object that wraps it; its elements are what counts.
        assert_eq!(back.as_list().len(), 3);
    }

    #[test]
    fn bombs_are_refused() {
        let deep = format!("{}{}", "<Obj><LST>".repeat(100), "</LST></Obj>".repeat(100));
        assert!(read(&deep).is_err());
        let mut wide = String::from("<Obj RefId=\"0\"><LST>");
        wide.push_str("<Obj RefId=\"1\"><LST>");
        wide.push_str(&"<S>x</S>".repeat(1000));
        wide.push_str("</LST></Obj>");
        for i in 2..40 {
            wide.push_str(&format!(
                "<Obj RefId=\"{i}\"><LST>{}</LST></Obj>",
                format!("<Ref RefId=\"{}\"/>", i - 1).repeat(10)
            ));
        }
        wide.push_str("</LST></Obj>");
        assert!(read(&wide).is_err());
        // Not many, but large.
        let large = format!("<Obj RefId=\"1\"><LST><S>{}</S></LST></Obj>", "x".repeat(1024 * 1024));
        let copies = "<Ref RefId=\"1\"/>".repeat(1000);
        assert!(read(&format!("<Obj RefId=\"0\"><LST>{large}{copies}</LST></Obj>")).is_err());
        assert!(read("<!DOCTYPE x [<!ENTITY a 'b'>]><S>&a;</S>").is_err());
    }
}
