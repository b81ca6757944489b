//! Error records: what went wrong, by number and by name.
//!
//! On the wire a record is flattened (`[MS-PSRP]` 2.2.3.15): the category and the details are members of the record, the exception
//! is an object with its .NET properties. How deep these go differs: PowerShell 7 writes the numbers of inner exceptions too,
//! older ones write an inner exception as its text. So every number is optional, and one that is absent is unknown.

use crate::clixml::{Object, Value};

/// Most exceptions of a chain that are read.
pub const MAX_CHAIN: usize = 16;

/// An error record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorRecord {
    /// What PowerShell shows: the details' message if there is one, otherwise the exception's.
    pub message: String,
    /// `ErrorDetails`: what the cmdlet put in place of the exception's words.
    pub details: ErrorDetails,
    /// `FullyQualifiedErrorId`: what to tell errors apart by, in every language.
    pub id: String,
    /// Its category.
    pub category: Category,
    /// The exception and its inner ones, from the outermost inwards, at most [`MAX_CHAIN`].
    pub exceptions: Vec<Exception>,
}

/// `ErrorDetails` of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorDetails {
    /// Shown instead of the exception's message.
    pub message: Option<String>,
    /// What the user is advised to do.
    pub recommended_action: Option<String>,
}

/// `CategoryInfo` of a record (`System.Management.Automation.ErrorCategoryInfo`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Category {
    /// `ErrorCategory_Category`, a number of the enumeration `System.Management.Automation.ErrorCategory`: 6 InvalidData, 13
    /// ObjectNotFound, 14 OperationStopped, 18 PermissionDenied, 27 ConnectionError and so on; 0 is NotSpecified.
    pub number: Option<i32>,
    /// The enumeration's name, if the server wrote it.
    pub name: Option<String>,
    /// What was being done, usually the cmdlet.
    pub activity: Option<String>,
    /// Type of the exception, without its namespace, unless the cmdlet says otherwise.
    pub reason: Option<String>,
    /// What it was done to.
    pub target_name: Option<String>,
    /// Type of that.
    pub target_type: Option<String>,
}

impl Category {
    /// `CategoryInfo` as PowerShell shows it.
    fn message(&self) -> String {
        let shown = |t: &Option<String>| t.clone().unwrap_or_default();
        let name = self.name.clone().or_else(|| self.number.map(|n| n.to_string())).unwrap_or_default();
        let target = format!("{}:{}", shown(&self.target_name), shown(&self.target_type));
        format!("{name}: ({target}) [{}], {}", shown(&self.activity), shown(&self.reason))
    }
}

/// An exception of .NET.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exception {
    /// Its types, the most derived first; only the first if the server wrote the exception as text.
    pub type_names: Vec<String>,
    /// `Message`.
    pub message: String,
    /// `HResult`.
    pub hresult: Option<i32>,
    /// `SqlException.Number`: error number of SQL Server, or of the network (0 and below, or of the platform).
    pub number: Option<i32>,
    /// `SqlException.Class`: severity, 0 to 25.
    pub class: Option<i32>,
    /// `SqlException.State`.
    pub state: Option<i32>,
    /// `SqlException.Server`: empty if no server was reached.
    pub server: Option<String>,
    /// `Win32Exception.NativeErrorCode`: a number of the platform.
    pub native_error_code: Option<i32>,
    /// `SocketException.SocketErrorCode`: a name of the enumeration `System.Net.Sockets.SocketError`.
    pub socket_error_code: Option<String>,
    /// Texts of `SqlException.Errors`, in order.
    pub errors: Vec<String>,
}

fn member<'a>(v: &'a Value, name: &str) -> Option<&'a Value> {
    v.get(name).filter(|m| **m != Value::Null)
}

fn text(v: &Value, name: &str) -> Option<String> {
    member(v, name).map(Value::shown)
}

fn number(v: &Value, name: &str) -> Option<i32> {
    member(v, name).and_then(Value::as_i64).and_then(|n| i32::try_from(n).ok())
}

impl ErrorRecord {
    /// A record of one exception, as a cmdlet writes it.
    pub fn new(message: impl Into<String>, id: impl Into<String>, exception: &str) -> ErrorRecord {
        let message = message.into();
        let reason = exception.rsplit('.').next().unwrap_or_default().to_string();
        ErrorRecord {
            id: id.into(),
            category: Category { number: Some(0), reason: Some(reason), ..Category::default() },
            exceptions: vec![Exception {
                type_names: vec![exception.into(), "System.Exception".into(), "System.Object".into()],
                message: message.clone(),
                hresult: Some(-2_146_233_087),
                ..Exception::default()
            }],
            message,
            ..ErrorRecord::default()
        }
    }

    /// Type of the outermost exception; empty if it is unknown.
    pub fn exception_type(&self) -> &str {
        self.exceptions.first().map(Exception::type_name).unwrap_or_default()
    }

    /// As CLIXML.
    pub fn to_value(&self) -> Value {
        let c = &self.category;
        let optional = |t: &Option<String>| t.as_ref().map_or(Value::Null, Value::text);
        let outermost = Exception::chain_to_value(&self.exceptions);
        let mut extended = vec![
            ("Exception".to_string(), outermost),
            ("TargetObject".into(), Value::Null),
            ("FullyQualifiedErrorId".into(), Value::text(&self.id)),
            ("InvocationInfo".into(), Value::Null),
        ];
        extended.extend(c.number.map(|n| {
            let category = match &c.name {
                None => Value::I32(n),
                Some(name) => Value::Object(Box::new(Object {
                    type_names: vec![
                        "System.Management.Automation.ErrorCategory".into(),
                        "System.Enum".into(),
                    ],
                    to_string: Some(name.clone()),
                    base: Some(Value::I32(n)),
                    ..Object::default()
                })),
            };
            ("ErrorCategory_Category".into(), category)
        }));
        for (name, value) in [
            ("ErrorCategory_Activity", &c.activity),
            ("ErrorCategory_Reason", &c.reason),
            ("ErrorCategory_TargetName", &c.target_name),
            ("ErrorCategory_TargetType", &c.target_type),
        ] {
            extended.push((name.into(), optional(value)));
        }
        // PowerShell's own client does not read a record without it.
        extended.push(("ErrorCategory_Message".into(), Value::text(c.message())));
        for (name, value) in [
            ("ErrorDetails_Message", &self.details.message),
            ("ErrorDetails_RecommendedAction", &self.details.recommended_action),
        ] {
            extended.extend(value.as_ref().map(|v| (name.to_string(), Value::text(v))));
        }
        extended.push(("SerializeExtendedInfo".into(), Value::Bool(false)));
        Value::Object(Box::new(Object {
            type_names: vec!["System.Management.Automation.ErrorRecord".into(), "System.Object".into()],
            to_string: Some(self.message.clone()),
            extended,
            ..Object::default()
        }))
    }

    /// From CLIXML. What is absent stays empty: a record of nothing is an empty record.
    pub fn from_value(v: &Value) -> ErrorRecord {
        let details = ErrorDetails {
            message: text(v, "ErrorDetails_Message"),
            recommended_action: text(v, "ErrorDetails_RecommendedAction"),
        };
        let exceptions = Exception::chain(member(v, "Exception"));
        let shown = match v {
            Value::Object(o) => o.to_string.clone(),
            _ => None,
        };
        let message = details.message.clone().or(shown);
        let message = message.or_else(|| exceptions.first().map(|e| e.message.clone())).unwrap_or_default();
        let name = match member(v, "ErrorCategory_Category") {
            Some(Value::Object(o)) => o.to_string.clone(),
            Some(_) | None => None,
        };
        ErrorRecord {
            message,
            details,
            id: text(v, "FullyQualifiedErrorId").unwrap_or_default(),
            category: Category {
                number: number(v, "ErrorCategory_Category"),
                name,
                activity: text(v, "ErrorCategory_Activity"),
                reason: text(v, "ErrorCategory_Reason"),
                target_name: text(v, "ErrorCategory_TargetName"),
                target_type: text(v, "ErrorCategory_TargetType"),
            },
            exceptions,
        }
    }
}

impl Exception {
    /// Its most derived type; empty if it is unknown.
    pub fn type_name(&self) -> &str {
        self.type_names.first().map(String::as_str).unwrap_or_default()
    }

    /// An exception and its inner ones, from the outermost inwards.
    fn chain(outermost: Option<&Value>) -> Vec<Exception> {
        let mut chain = Vec::new();
        let mut next = outermost;
        while let Some(v) = next {
            if chain.len() == MAX_CHAIN {
                break;
            }
            chain.push(Exception::from_value(v));
            next = member(v, "InnerException");
        }
        chain
    }

    fn from_value(v: &Value) -> Exception {
        let Value::Object(o) = v else { return Exception::from_text(&v.shown()) };
        let names = o.type_names.iter();
        Exception {
            // What went through a second PowerShell carries this prefix.
            type_names: names.map(|t| t.trim_start_matches("Deserialized.").to_string()).collect(),
            message: text(v, "Message").or_else(|| o.to_string.clone()).unwrap_or_default(),
            hresult: number(v, "HResult"),
            number: number(v, "Number"),
            class: number(v, "Class"),
            state: number(v, "State"),
            server: text(v, "Server"),
            native_error_code: number(v, "NativeErrorCode"),
            socket_error_code: text(v, "SocketErrorCode"),
            errors: member(v, "Errors")
                .map(|e| e.as_list().iter().map(Value::shown).collect())
                .unwrap_or_default(),
        }
    }

    /// From what `ToString` gives: `Namespace.Type (0x80131904): words`, then inner exceptions and the stack.
    fn from_text(shown: &str) -> Exception {
        let first = shown.lines().next().unwrap_or_default();
        let Some((head, message)) = first.split_once(": ") else {
            return Exception { message: first.into(), ..Exception::default() };
        };
        let (name, code) = match head.split_once(" (0x") {
            Some((name, code)) => (name, code.strip_suffix(')')),
            None => (head, None),
        };
        let is_type = name.contains('.') && name.chars().all(|c| c.is_alphanumeric() || "._+`".contains(c));
        if !is_type {
            return Exception { message: first.into(), ..Exception::default() };
        }
        Exception {
            type_names: vec![name.into()],
            message: message.into(),
            hresult: code.and_then(|c| u32::from_str_radix(c, 16).ok()).map(u32::cast_signed),
            ..Exception::default()
        }
    }

    fn chain_to_value(chain: &[Exception]) -> Value {
        let mut inner = Value::Null;
        for e in chain.iter().rev() {
            inner = e.to_value(inner);
        }
        inner
    }

    fn to_value(&self, inner: Value) -> Value {
        let mut adapted = vec![("Message".to_string(), Value::text(&self.message))];
        for (name, n) in [
            ("HResult", self.hresult),
            ("Number", self.number),
            ("Class", self.class),
            ("State", self.state),
            ("NativeErrorCode", self.native_error_code),
        ] {
            adapted.extend(n.map(|n| (name.to_string(), Value::I32(n))));
        }
        for (name, t) in [("Server", &self.server), ("SocketErrorCode", &self.socket_error_code)] {
            adapted.extend(t.as_ref().map(|t| (name.to_string(), Value::text(t))));
        }
        if !self.errors.is_empty() {
            adapted.push(("Errors".into(), Value::List(self.errors.iter().map(Value::text).collect())));
        }
        adapted.push(("InnerException".into(), inner));
        Value::Object(Box::new(Object {
            type_names: self.type_names.clone(),
            to_string: Some(format!("{}: {}", self.type_name(), self.message)),
            adapted,
            ..Object::default()
        }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::clixml::{Writer, read};

    #[test]
    fn a_record_comes_back_as_it_was_written() {
        let mut record =
            ErrorRecord::new("refused", "SqlFailed,Invoke-Sql", "System.Data.SqlClient.SqlException");
        record.category = Category {
            number: Some(27),
            name: Some("ConnectionError".into()),
            activity: Some("Invoke-Sql".into()),
            reason: Some("SqlException".into()),
            target_name: Some("atl-sql-1".into()),
            target_type: Some("String".into()),
        };
        record.details.recommended_action = Some("start it".into());
        record.exceptions[0].number = Some(-2);
        record.exceptions[0].class = Some(11);
        record.exceptions[0].server = Some(String::new());
        record.exceptions[0].errors = vec!["one".into(), "two".into()];
        record.exceptions.push(Exception {
            type_names: vec!["System.ComponentModel.Win32Exception".into()],
            message: "timed out".into(),
            native_error_code: Some(258),
            socket_error_code: Some("TimedOut".into()),
            ..Exception::default()
        });
        assert_eq!(ErrorRecord::from_value(&read(&Writer::value(&record.to_value())).unwrap()), record);
        record.details.message = Some("in other words".into());
        record.message = "in other words".into();
        assert_eq!(ErrorRecord::from_value(&record.to_value()), record);
        assert_eq!(ErrorRecord::from_value(&Value::Null), ErrorRecord::default());
    }

    #[test]
    fn an_inner_exception_that_is_text_gives_its_type_and_never_a_number_that_is_not_there() {
        let flattened = Value::object(
            "Deserialized.System.InvalidOperationException",
            vec![
                ("Message", Value::text("outer")),
                (
                    "InnerException",
                    Value::text(
                        "System.Data.SqlClient.SqlException (0x80131904): no: network\n   at X.Y()\nError Number:53,State:0,Class:20",
                    ),
                ),
            ],
        );
        let chain = Exception::chain(Some(&flattened));
        assert_eq!(chain[0].type_name(), "System.InvalidOperationException");
        assert_eq!(chain[1].type_name(), "System.Data.SqlClient.SqlException");
        assert_eq!((chain[1].message.as_str(), chain[1].hresult), ("no: network", Some(-2_146_232_060)));
        assert_eq!(chain[1].number, None);
        assert_eq!(Exception::from_text("Fehler: kein Typ").message, "Fehler: kein Typ");
    }

    #[test]
    fn a_chain_without_end_is_cut() {
        let mut v = Value::Null;
        for n in 0..40 {
            v = Value::object("E", vec![("Message", Value::I32(n)), ("InnerException", v)]);
        }
        assert_eq!(Exception::chain(Some(&v)).len(), MAX_CHAIN);
    }
}
