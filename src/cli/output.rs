//! Output for programs.

use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;

use crate::domain::text::clean;

/// A form for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

impl Format {
    /// Something in this form, with a line break at its end. Nothing in it moves a cursor: what JSON may hold unescaped is
    /// escaped; YAML's own escapes leave only what turns the direction of a text, which is made visible.
    pub fn write(self, what: &impl Serialize) -> Result<String, String> {
        match self {
            Format::Json => {
                let text = serde_json::to_string_pretty(what).map_err(|e| e.to_string())?;
                Ok(format!("{}\n", escaped(&text)))
            }
            Format::Yaml => {
                let value = serde_json::to_value(what).map_err(|e| e.to_string())?;
                let text = serde_saphyr::to_string(&upright(value)).map_err(|e| e.to_string())?;
                Ok(format!("{}\n", text.trim_end_matches('\n')))
            }
        }
    }

    /// What stands before a document that is not the first one.
    pub const fn border(self) -> &'static str {
        match self {
            Format::Json => "",
            Format::Yaml => "---\n",
        }
    }
}

/// Whether a terminal, or a reader, could be misled by a character: what [`clean`] shows as an escape.
fn is_hidden(c: char) -> bool {
    !matches!(c, ' '..='~') && clean(c.encode_utf8(&mut [0; 4])).starts_with("\\u{")
}

/// A text for humans, of whole lines: whatever could mislead a terminal is made visible. What is put together elsewhere has been
/// cleaned piece by piece, so that nothing in it forges a line; this holds for whatever was forgotten there.
pub fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c != '\n' && c != '\t' && is_hidden(c) {
            true => out.push_str(&clean(c.encode_utf8(&mut [0; 4]))),
            false => out.push(c),
        }
    }
    out
}

/// Characters that mislead can stand in the strings of JSON only, where an escape means the same.
fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c != '\n' && is_hidden(c) {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
        } else {
            out.push(c);
        }
    }
    out
}

/// Every string without what turns the direction of a text. The rest is left to YAML's own escapes.
fn upright(value: Value) -> Value {
    match value {
        Value::String(s) => Value::String(straight(&s)),
        Value::Array(list) => list.into_iter().map(upright).collect(),
        Value::Object(map) => map.into_iter().map(|(k, v)| (straight(&k), upright(v))).collect(),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_)) => other,
    }
}

fn straight(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let is_escaped = c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}');
        match !is_escaped && is_hidden(c) {
            true => out.push_str(&clean(c.encode_utf8(&mut [0; 4]))),
            false => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn what_humans_read_keeps_its_lines_and_nothing_that_moves_a_cursor() {
        assert_eq!(
            harmless("a\u{1b}[2J\n\tb\u{9b}\r\n東\u{202e}"),
            "a\\u{1b}[2J\n\tb\\u{9b}\\u{d}\n東\\u{202e}"
        );
    }

    #[test]
    fn what_programs_read_says_the_same_and_moves_no_cursor() {
        let hostile = "a\u{1b}[2J\u{7f}\u{9b}31m\r\n\tb\u{2028}\u{feff}: - \"x\" # y\n";
        let value = json!({"list": [hostile, "yes", "0x10", "1e3", "~", "", " a ", "2026-01-01"], "key\u{1b}": {"n": 7, "no": null}});
        for format in [Format::Json, Format::Yaml] {
            let text = format.write(&value).unwrap();
            assert!(!text.chars().any(|c| c != '\n' && is_hidden(c)), "{text:?}");
            let back: Value = match format {
                Format::Json => serde_json::from_str(&text).unwrap(),
                Format::Yaml => serde_saphyr::from_str(&text).unwrap(),
            };
            assert_eq!(back, value, "{text}");
            let turned = format.write(&json!({"a": "x\u{202e}txt.exe"})).unwrap();
            assert!(!turned.contains('\u{202e}') && turned.contains("202e"), "{turned}");
        }
    }
}
