//! Records of a pipeline's streams that only a server writes.

use psrp::clixml::{Object, Value, Writer};

/// The body of a WARNING_RECORD.
pub(super) fn warning(text: &str) -> String {
    Writer::value(&Value::Object(Box::new(Object {
        type_names: vec![
            "System.Management.Automation.WarningRecord".into(),
            "System.Management.Automation.InformationalRecord".into(),
            "System.Object".into(),
        ],
        to_string: Some(text.into()),
        extended: vec![
            ("InformationalRecord_Message".into(), Value::text(text)),
            ("InformationalRecord_SerializeInvocationInfo".into(), Value::Bool(false)),
        ],
        ..Object::default()
    })))
}
