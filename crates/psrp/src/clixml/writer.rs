//! CLIXML, written.

use std::fmt::Write as _;

use super::{Value, escape};

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
