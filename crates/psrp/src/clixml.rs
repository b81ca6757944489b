//! CLIXML: how PowerShell writes objects as XML.

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Write as _};

use roxmltree::{Document, Node, ParsingOptions};

/// Deepest nesting that is read. Servers send what they like; nothing legitimate comes near.
pub const MAX_DEPTH: usize = 64;
/// Most nodes of one document.
const MAX_NODES: u32 = 500_000;
/// Most that copies through `Ref` may add to one document: bytes of text, and as many as a value takes for each value.
const MAX_COPIES: usize = 16 * 1024 * 1024;

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
            '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' => {
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

/// Writes values; reference ids count through one document.
#[derive(Default)]
pub struct Writer {
    out: String,
    next_ref: u32,
}

impl Writer {
    /// The XML of one value.
    pub fn value(v: &Value) -> String {
        let mut w = Writer::default();
        w.write(None, v);
        w.out
    }
    fn open(&mut self, tag: &str, name: Option<&str>) {
        match name {
            Some(n) => {
                let _ = write!(self.out, "<{tag} N=\"{}\">", escape(n));
            }
            None => {
                let _ = write!(self.out, "<{tag}>");
            }
        }
    }
    fn leaf(&mut self, tag: &str, name: Option<&str>, text: &str) {
        self.open(tag, name);
        self.out.push_str(text);
        let _ = write!(self.out, "</{tag}>");
    }
    fn object_open(&mut self, name: Option<&str>, types: &[String]) {
        let id = self.next_ref;
        self.next_ref += 1;
        match name {
            Some(n) => {
                let _ = write!(self.out, "<Obj N=\"{}\" RefId=\"{id}\">", escape(n));
            }
            None => {
                let _ = write!(self.out, "<Obj RefId=\"{id}\">");
            }
        }
        if !types.is_empty() {
            let _ = write!(self.out, "<TN RefId=\"{id}\">");
            for t in types {
                self.leaf("T", None, &escape(t));
            }
            self.out.push_str("</TN>");
        }
    }
    fn write(&mut self, name: Option<&str>, v: &Value) {
        match v {
            Value::Null => match name {
                Some(n) => {
                    let _ = write!(self.out, "<Nil N=\"{}\"/>", escape(n));
                }
                None => self.out.push_str("<Nil/>"),
            },
            Value::Bool(b) => self.leaf("B", name, if *b { "true" } else { "false" }),
            Value::I32(n) => self.leaf("I32", name, &n.to_string()),
            Value::I64(n) => self.leaf("I64", name, &n.to_string()),
            Value::U64(n) => self.leaf("U64", name, &n.to_string()),
            // As .NET's XmlConvert writes it.
            Value::Double(n) if n.is_infinite() => {
                self.leaf("Db", name, if *n > 0.0 { "INF" } else { "-INF" });
            }
            Value::Double(n) => self.leaf("Db", name, &n.to_string()),
            Value::String(s) => self.leaf("S", name, &escape(s)),
            Value::Guid(s) => self.leaf("G", name, &escape(s)),
            Value::Version(s) => self.leaf("Version", name, &escape(s)),
            Value::Bytes(s) => self.leaf("BA", name, &escape(s)),
            Value::Secret(s) => self.leaf("SS", name, &escape(&s.0)),
            Value::List(_) | Value::Dict(_) => {
                let types: &[&str] = if matches!(v, Value::List(_)) {
                    &["System.Object[]", "System.Array", "System.Object"]
                } else {
                    &["System.Collections.Hashtable", "System.Object"]
                };
                self.object_open(name, &types.iter().map(ToString::to_string).collect::<Vec<_>>());
                self.container(v);
                self.out.push_str("</Obj>");
            }
            Value::Object(o) => {
                self.object_open(name, &o.type_names);
                if let Some(s) = &o.to_string {
                    self.leaf("ToString", None, &escape(s));
                }
                match &o.base {
                    Some(c @ (Value::List(_) | Value::Dict(_))) => self.container(c),
                    Some(b) => self.write(None, b),
                    None => {}
                }
                for (tag, members) in [("Props", &o.adapted), ("MS", &o.extended)] {
                    if !members.is_empty() {
                        self.open(tag, None);
                        for (n, m) in members {
                            self.write(Some(n), m);
                        }
                        let _ = write!(self.out, "</{tag}>");
                    }
                }
                self.out.push_str("</Obj>");
            }
        }
    }
    fn container(&mut self, v: &Value) {
        match v {
            Value::List(l) => {
                self.out.push_str("<LST>");
                for item in l {
                    self.write(None, item);
                }
                self.out.push_str("</LST>");
            }
            Value::Dict(d) => {
                self.out.push_str("<DCT>");
                for (k, item) in d {
                    self.out.push_str("<En>");
                    self.write(Some("Key"), k);
                    self.write(Some("Value"), item);
                    self.out.push_str("</En>");
                }
                self.out.push_str("</DCT>");
            }
            other => self.write(None, other),
        }
    }
}

struct Reader {
    referred: HashSet<String>,
    objects: HashMap<String, Value>,
    types: HashMap<String, Vec<String>>,
    copies: usize,
}

/// Reads one value. No data at all is a null: so PowerShell writes a `$null` in the output.
pub fn read(xml: &str) -> Result<Value, Malformed> {
    let xml = xml.trim_start_matches('\u{feff}');
    if xml.trim().is_empty() {
        return Ok(Value::Null);
    }
    // PowerShell lets these two pass as they are; XML does not know them.
    let clean;
    let xml = if xml.contains(['\u{fffe}', '\u{ffff}']) {
        clean = xml.replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}");
        &clean
    } else {
        xml
    };
    let options = ParsingOptions { allow_dtd: false, nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    let doc = Document::parse_with_options(xml, options).map_err(|e| Malformed(e.to_string()))?;
    let root = doc.root_element();
    // Only what is referred to again is kept for it: a copy of every object at every level would be many times the document.
    let referred = root.descendants().filter(|n| n.has_tag_name("Ref")).filter_map(|n| n.attribute("RefId"));
    let referred = referred.map(str::to_string).collect();
    let mut reader = Reader { referred, objects: HashMap::new(), types: HashMap::new(), copies: 0 };
    // `<Objs>` wraps what files and host output hold; messages have the value itself.
    let node = if root.tag_name().name() == "Objs" { root.first_element_child() } else { Some(root) };
    node.map_or(Ok(Value::Null), |n| reader.value(n, 0))
}

/// What a copy takes, roughly.
fn size(v: &Value) -> usize {
    let inside = match v {
        Value::Null | Value::Bool(_) | Value::I32(_) | Value::I64(_) | Value::U64(_) | Value::Double(_) => 0,
        Value::String(s) | Value::Guid(s) | Value::Version(s) | Value::Bytes(s) => s.len(),
        Value::Secret(s) => s.0.len(),
        Value::List(l) => l.iter().map(size).sum(),
        Value::Dict(d) => d.iter().map(|(k, v)| size(k) + size(v)).sum(),
        Value::Object(o) => {
            let names = o.type_names.iter().chain(&o.to_string).map(String::len).sum::<usize>();
            let members = o.adapted.iter().chain(&o.extended);
            names
                + o.base.as_ref().map_or(0, size)
                + members.map(|(n, v)| n.len() + size(v)).sum::<usize>()
                + size_of::<Object>()
        }
    };
    size_of::<Value>() + inside
}

impl Reader {
    fn value(&mut self, n: Node<'_, '_>, depth: usize) -> Result<Value, Malformed> {
        if depth > MAX_DEPTH {
            return Err(Malformed(format!("nested deeper than {MAX_DEPTH}")));
        }
        let text = || n.text().unwrap_or("").to_string();
        let bad = |what: &str| Malformed(format!("{:?} is no {what}", n.text().unwrap_or("")));
        Ok(match n.tag_name().name() {
            "Nil" => Value::Null,
            "B" => Value::Bool(text().trim().eq_ignore_ascii_case("true")),
            "By" | "SB" | "I16" | "I32" | "U16" => {
                Value::I32(text().trim().parse().map_err(|_| bad("integer"))?)
            }
            "I64" | "U32" => Value::I64(text().trim().parse().map_err(|_| bad("integer"))?),
            "U64" => Value::U64(text().trim().parse().map_err(|_| bad("integer"))?),
            "Sg" | "Db" => match text().trim() {
                "INF" | "Infinity" => Value::Double(f64::INFINITY),
                "-INF" | "-Infinity" => Value::Double(f64::NEG_INFINITY),
                t => Value::Double(t.parse().map_err(|_| bad("number"))?),
            },
            "G" => Value::Guid(text()),
            "Version" => Value::Version(unescape(&text())),
            "BA" => Value::Bytes(text()),
            "C" => {
                let unit: u16 = text().trim().parse().map_err(|_| bad("character"))?;
                Value::String(String::from_utf16_lossy(&[unit]))
            }
            "Ref" => {
                let v = self.objects.get(n.attribute("RefId").unwrap_or("")).cloned().unwrap_or(Value::Null);
                self.copy(&v)?;
                v
            }
            "Obj" => self.object(n, depth)?,
            "LST" | "IE" | "QUE" | "STK" => Value::List(
                n.children()
                    .filter(Node::is_element)
                    .map(|c| self.value(c, depth + 1))
                    .collect::<Result<_, _>>()?,
            ),
            "DCT" => {
                let mut entries = Vec::new();
                for en in n.children().filter(Node::is_element) {
                    let mut pair = (Value::Null, Value::Null);
                    for c in en.children().filter(Node::is_element) {
                        let v = self.value(c, depth + 1)?;
                        if c.attribute("N") == Some("Key") { pair.0 = v } else { pair.1 = v }
                    }
                    entries.push(pair);
                }
                Value::Dict(entries)
            }
            "SS" => Value::Secret(Secret(unescape(&text()))),
            // Everything else is text for us: S, DT, TS, D, URI, SBK, XD.
            _ => Value::String(unescape(&text())),
        })
    }

    /// Counts a copy.
    fn copy(&mut self, v: &Value) -> Result<(), Malformed> {
        self.copies += size(v);
        if self.copies > MAX_COPIES {
            return Err(Malformed("too many copies by reference".into()));
        }
        Ok(())
    }

    fn object(&mut self, n: Node<'_, '_>, depth: usize) -> Result<Value, Malformed> {
        let mut o = Object::default();
        for c in n.children().filter(Node::is_element) {
            match c.tag_name().name() {
                "TN" => {
                    o.type_names = c
                        .children()
                        .filter(Node::is_element)
                        .map(|t| unescape(t.text().unwrap_or("")))
                        .collect();
                    self.types.insert(c.attribute("RefId").unwrap_or("").into(), o.type_names.clone());
                }
                "TNRef" => {
                    o.type_names =
                        self.types.get(c.attribute("RefId").unwrap_or("")).cloned().unwrap_or_default();
                }
                "ToString" => o.to_string = Some(unescape(c.text().unwrap_or(""))),
                tag @ ("Props" | "MS") => {
                    for m in c.children().filter(Node::is_element) {
                        let name = unescape(m.attribute("N").unwrap_or(""));
                        let v = self.value(m, depth + 1)?;
                        if tag == "MS" { o.extended.push((name, v)) } else { o.adapted.push((name, v)) }
                    }
                }
                _ => o.base = Some(self.value(c, depth + 1)?),
            }
        }
        let v = Value::Object(Box::new(o));
        if let Some(id) = n.attribute("RefId").filter(|id| self.referred.contains(*id)) {
            self.copy(&v)?;
            self.objects.insert(id.into(), v.clone());
        }
        Ok(v)
    }
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
        assert!(read("<!DOCTYPE x [<!ENTITY a 'b'>]><S>&a;</S>").is_err());
    }
}
