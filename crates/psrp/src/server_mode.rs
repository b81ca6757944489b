//! Lines of PowerShell's server mode (`pwsh -s`): the messages of MS-PSRP over standard input and output.
//!
//! No document specifies it; the source of PowerShell does (`OutOfProcTransportManager.cs`, `OutOfProcServerMediator.cs`).
//! Every line is one element. The client announces, carries, stops and closes; the engine answers each of these with an
//! acknowledgement of the same id, and sends data of its own, which nobody acknowledges. An engine gives every line to a
//! thread of its own, so that two lines about the same pipeline may overtake each other: the next is sent only when the one
//! before is acknowledged. This module does no I/O and serves both ends.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use roxmltree::{Document, ParsingOptions};
use uuid::Uuid;

/// Longest line that is read, in bytes. An engine sends fragments of 32 KiB, 44 KiB as a line.
pub const MAX_LINE: usize = 1024 * 1024;

/// What a `Data` line belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Everything but the answers of a host.
    Default,
    /// Answers of a host; they overtake.
    PromptResponse,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Stream::Default => "Default",
            Stream::PromptResponse => "PromptResponse",
        }
    }
}

/// A line. Ids are those of pipelines; the nil id is the runspace pool.
#[derive(Clone, PartialEq, Eq)]
pub enum Line {
    /// Whole fragments, of either end.
    Data {
        /// What they belong to.
        stream: Stream,
        /// Pipeline or pool.
        id: Uuid,
        /// The fragments.
        bytes: Vec<u8>,
    },
    /// The engine has taken data.
    DataAck(Uuid),
    /// Announces a pipeline; its CREATE_PIPELINE follows as data.
    Command(Uuid),
    /// The engine expects its data.
    CommandAck(Uuid),
    /// Stops a pipeline.
    Signal(Uuid),
    /// It was told to stop; its final state comes as data, before or after this.
    SignalAck(Uuid),
    /// Ends a pipeline that has ended, or the pool with all that runs in it.
    Close(Uuid),
    /// The engine has forgotten it.
    CloseAck(Uuid),
}

/// What was carried may be secret: its length is shown.
impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line::Data { stream, id, bytes } = self else {
            return write!(f, "{}({})", self.name(), self.id());
        };
        write!(f, "Data({}, {id}, {} bytes)", stream.name(), bytes.len())
    }
}

/// A line that is none of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoLine {
    /// Something else was written to the pipe. What it pushed aside cannot be known.
    #[error("no line of the protocol: {0:?}")]
    Foreign(String),
    /// An element of the protocol, malformed.
    #[error("a {0} that cannot be read: {1}")]
    Malformed(&'static str, String),
    /// Longer than [`MAX_LINE`].
    #[error("a line longer than {MAX_LINE} bytes")]
    TooLong,
}

/// The beginning of a foreign line, for an error's text. Never part of a `Data` element.
fn beginning(line: &str) -> String {
    line.chars().take(80).collect()
}

impl Line {
    /// Name of the element.
    pub fn name(&self) -> &'static str {
        match self {
            Line::Data { .. } => "Data",
            Line::DataAck(_) => "DataAck",
            Line::Command(_) => "Command",
            Line::CommandAck(_) => "CommandAck",
            Line::Signal(_) => "Signal",
            Line::SignalAck(_) => "SignalAck",
            Line::Close(_) => "Close",
            Line::CloseAck(_) => "CloseAck",
        }
    }

    /// Pipeline or pool that it is about.
    pub fn id(&self) -> Uuid {
        match self {
            Line::Data { id, .. } => *id,
            Line::DataAck(id)
            | Line::Command(id)
            | Line::CommandAck(id)
            | Line::Signal(id)
            | Line::SignalAck(id)
            | Line::Close(id)
            | Line::CloseAck(id) => *id,
        }
    }

    /// The acknowledgement that an engine owes for it; none for an acknowledgement.
    pub fn acknowledgement(&self) -> Option<Line> {
        match self {
            Line::Data { id, .. } => Some(Line::DataAck(*id)),
            Line::Command(id) => Some(Line::CommandAck(*id)),
            Line::Signal(id) => Some(Line::SignalAck(*id)),
            Line::Close(id) => Some(Line::CloseAck(*id)),
            Line::DataAck(_) | Line::CommandAck(_) | Line::SignalAck(_) | Line::CloseAck(_) => None,
        }
    }

    /// The line, with its line feed.
    pub fn write(&self) -> String {
        match self {
            Line::Data { stream, id, bytes } => {
                format!("<Data Stream='{}' PSGuid='{id}'>{}</Data>\n", stream.name(), BASE64.encode(bytes))
            }
            Line::DataAck(id)
            | Line::Command(id)
            | Line::CommandAck(id)
            | Line::Signal(id)
            | Line::SignalAck(id)
            | Line::Close(id)
            | Line::CloseAck(id) => format!("<{} PSGuid='{id}' />\n", self.name()),
        }
    }

    /// Reads a line, with or without its line feed.
    pub fn read(line: &str) -> Result<Line, NoLine> {
        let line = line.trim_start_matches('\u{feff}').trim();
        if line.len() > MAX_LINE {
            return Err(NoLine::TooLong);
        }
        let options = ParsingOptions { allow_dtd: false, nodes_limit: 8, ..ParsingOptions::default() };
        let known = ["DataAck", "Data", "CommandAck", "Command", "SignalAck", "Signal", "CloseAck", "Close"];
        let name = line
            .strip_prefix('<')
            .and_then(|rest| known.into_iter().find(|name| rest.starts_with(*name)))
            .ok_or_else(|| NoLine::Foreign(beginning(line)))?;
        let bad = |why: String| NoLine::Malformed(name, why);
        // The error of the XML reader says where, not what.
        let doc = Document::parse_with_options(line, options).map_err(|e| bad(e.to_string()))?;
        let root = doc.root_element();
        let id = root.attribute("PSGuid").and_then(|g| Uuid::parse_str(g.trim()).ok());
        let id = id.ok_or_else(|| bad("it has no PSGuid".into()))?;
        Ok(match root.tag_name().name() {
            "Data" => {
                let stream = match root.attribute("Stream") {
                    Some("Default") => Stream::Default,
                    Some("PromptResponse") => Stream::PromptResponse,
                    Some(_) | None => return Err(bad("its stream is unknown".into())),
                };
                let bytes = BASE64
                    .decode(root.text().unwrap_or_default().trim())
                    .map_err(|_| bad("it is not base64".into()))?;
                Line::Data { stream, id, bytes }
            }
            "DataAck" => Line::DataAck(id),
            "Command" => Line::Command(id),
            "CommandAck" => Line::CommandAck(id),
            "Signal" => Line::Signal(id),
            "SignalAck" => Line::SignalAck(id),
            "Close" => Line::Close(id),
            "CloseAck" => Line::CloseAck(id),
            _ => return Err(NoLine::Foreign(beginning(line))),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_kind_of_line_comes_back_as_it_was_written() {
        let id = Uuid::from_u128(0x21957c56_f53d_4996_86ce_0d5c6ab84470);
        let data = |stream, bytes: &[u8]| Line::Data { stream, id, bytes: bytes.to_vec() };
        for line in [
            data(Stream::Default, b"fragments"),
            data(Stream::PromptResponse, b""),
            Line::DataAck(Uuid::nil()),
            Line::Command(id),
            Line::CommandAck(id),
            Line::Signal(id),
            Line::SignalAck(id),
            Line::Close(Uuid::nil()),
            Line::CloseAck(id),
        ] {
            let text = line.write();
            assert!(text.ends_with('\n') && text.matches('\n').count() == 1);
            assert_eq!(Line::read(&text).unwrap(), line);
            assert_eq!(Line::read(&format!("{}\r\n", text.trim_end())).unwrap(), line);
            assert_eq!(line.acknowledgement().is_none(), line.name().ends_with("Ack"));
        }
        assert_eq!(
            Line::Signal(id).write(),
            "<Signal PSGuid='21957c56-f53d-4996-86ce-0d5c6ab84470' />\n",
            "as PowerShell writes it"
        );
    }

    #[test]
    fn what_is_no_line_is_refused_and_never_repeated_when_it_may_be_secret() {
        let id = Uuid::nil();
        for foreign in
            ["hello", "", "<Foo PSGuid='x'/>", "<DataX PSGuid='00000000-0000-0000-0000-000000000000' />"]
        {
            assert!(matches!(Line::read(foreign), Err(NoLine::Foreign(_))), "{foreign}");
        }
        for malformed in [
            "<Data Stream='Default'>AA==</Data>".to_string(),
            format!("<Data Stream='Other' PSGuid='{id}'>AA==</Data>"),
            format!("<Data Stream='Default' PSGuid='{id}'>c2VjcmV0!</Data>"),
            format!("<Data Stream='Default' PSGuid='{id}'>c2VjcmV0"),
            "<Signal PSGuid='no id' />".into(),
        ] {
            let e = Line::read(&malformed).unwrap_err();
            assert!(matches!(e, NoLine::Malformed(..)), "{malformed}");
            assert!(!e.to_string().contains("c2VjcmV0"), "{e}");
        }
        let long = "x".repeat(MAX_LINE + 1);
        assert_eq!(Line::read(&long), Err(NoLine::TooLong));
        let data = Line::Data { stream: Stream::Default, id, bytes: b"secret".to_vec() };
        assert!(!format!("{data:?}").contains("115") && format!("{data:?}").contains("6 bytes"));
    }
}
