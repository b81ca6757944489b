//! CLIXML, read. What comes is not trusted: depth, nodes and copies are bounded.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use roxmltree::{Document, Node, ParsingOptions};

use super::{Malformed, Object, Secret, Value, unescape};

/// Deepest nesting that is read. Servers send what they like; nothing legitimate comes near.
pub const MAX_DEPTH: usize = 64;
/// Most nodes of one document.
const MAX_NODES: u32 = 500_000;
/// Most that copies through `Ref` may add to one document: bytes of text, and as many as a value takes for each value.
const MAX_COPIES: usize = 16 * 1024 * 1024;

struct Reader {
    referred: HashSet<String>,
    objects: HashMap<String, Value>,
    types: HashMap<String, Vec<String>>,
    copies: usize,
}

/// PowerShell escapes what XML does not know but for two characters, which it writes as a reference that no XML reader takes
/// (`XmlWriterSettings.CheckCharacters` is off). Here they get the escape of all others.
fn without_noncharacters(xml: &str) -> Cow<'_, str> {
    let written = ["\u{fffe}", "\u{ffff}", "&#xFFFE;", "&#xFFFF;"];
    if !written.iter().any(|w| xml.contains(w)) {
        return Cow::Borrowed(xml);
    }
    let escaped = ["_xFFFE_", "_xFFFF_", "_xFFFE_", "_xFFFF_"];
    let clean = written.iter().zip(escaped);
    Cow::Owned(clean.fold(xml.to_string(), |xml, (written, escaped)| xml.replace(written, escaped)))
}

/// Reads one value. No data at all is a null: so PowerShell writes a `$null` in the output.
pub fn read(xml: &str) -> Result<Value, Malformed> {
    let xml = xml.trim_start_matches('\u{feff}');
    if xml.trim().is_empty() {
        return Ok(Value::Null);
    }
    let xml = &*without_noncharacters(xml);
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
