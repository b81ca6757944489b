//! What a cmdlet is asked and what it answers, as JSON: what goes between an engine's module and the lab.

use psrp::clixml::{Object, Value};
use psrp::message::{Command, ErrorRecord, PipelineState};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::chat::cmdlets::Finished;

/// What a module asks for.
#[derive(Deserialize)]
pub(super) struct Question {
    /// The host that it runs on.
    pub host: String,
    cmdlet: String,
    parameters: serde_json::Map<String, Json>,
}

impl Question {
    /// As PowerShell Remoting would have brought it.
    pub fn command(&self) -> Command {
        let parameters = self.parameters.iter().map(|(name, value)| (name.clone(), value_of(value)));
        Command { name: self.cmdlet.clone(), parameters: parameters.collect() }
    }
}

fn value_of(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(b) => Value::Bool(*b),
        Json::Number(n) => match n.as_i64() {
            Some(n) => i32::try_from(n).map_or(Value::I64(n), Value::I32),
            None => Value::Double(n.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(s) => Value::text(s),
        Json::Array(list) => Value::List(list.iter().map(value_of).collect()),
        Json::Object(map) => Value::Dict(map.iter().map(|(k, v)| (Value::text(k), value_of(v))).collect()),
    }
}

/// How a cmdlet ended, for the module.
pub(super) fn answer(finished: &Finished) -> Result<Json, String> {
    let objects = finished.objects.iter().map(json_of).collect::<Result<Vec<_>, _>>()?;
    let errors: Vec<Json> = finished.errors.iter().map(error).collect();
    let failed = match finished.state {
        PipelineState::Failed => true,
        PipelineState::Completed | PipelineState::Stopped => false,
    };
    Ok(json!({"objects": objects, "warnings": finished.warnings, "errors": errors, "failed": failed}))
}

fn error(e: &ErrorRecord) -> Json {
    let first = e.exceptions.first();
    let kind = first.and_then(|x| x.type_names.first()).map_or("System.Exception", String::as_str);
    json!({
        "message": e.message,
        "id": e.id,
        "exception": kind,
        "category": e.category.number.unwrap_or(0),
        "target": e.category.target_name.as_deref().unwrap_or_default(),
        "number": first.and_then(|x| x.number),
        "class": first.and_then(|x| x.class),
        "state": first.and_then(|x| x.state),
        "server": first.and_then(|x| x.server.as_deref()).unwrap_or_default(),
    })
}

/// A value: null, a Boolean and a text as they are, anything else with what it is. The module puts it together again.
fn json_of(v: &Value) -> Result<Json, String> {
    Ok(match v {
        Value::Null => Json::Null,
        Value::Bool(b) => json!(b),
        Value::String(s) => json!(s),
        Value::I32(n) => json!({"is": "int", "value": n}),
        Value::I64(n) => json!({"is": "long", "value": n}),
        Value::Double(n) => json!({"is": "double", "value": n}),
        Value::Guid(s) => json!({"is": "guid", "value": s}),
        Value::Version(s) => json!({"is": "version", "value": s}),
        Value::List(list) => {
            json!({"is": "list", "value": list.iter().map(json_of).collect::<Result<Vec<_>, _>>()?})
        }
        Value::Object(o) => object(o)?,
        Value::U64(_) | Value::Bytes(_) | Value::Secret(_) | Value::Dict(_) => {
            return Err("simulator: no cmdlet of the lab answers with such a value".into());
        }
    })
}

fn object(o: &Object) -> Result<Json, String> {
    let name = o.type_names.first().map(String::as_str).unwrap_or_default();
    // The server's type has its own name; it is the client that calls what it got by another one.
    let name = name.trim_start_matches("Deserialized.");
    if o.type_names.iter().any(|t| t == "System.Enum") {
        return Ok(json!({"is": "enum", "type": name, "value": o.to_string}));
    }
    let members = o.adapted.iter().chain(&o.extended);
    let members = members.map(|(n, v)| Ok(json!([n, json_of(v)?]))).collect::<Result<Vec<_>, String>>()?;
    Ok(json!({"is": "object", "type": name, "value": members}))
}
