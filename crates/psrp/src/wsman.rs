//! WS-Man envelopes (MS-WSMV), written and read by both ends.

use roxmltree::{Document, Node, ParsingOptions};

/// Actions, by the last part of their URI.
pub mod action {
    /// Creates a shell.
    pub const CREATE: &str = "http://schemas.xmlsoap.org/ws/2004/09/transfer/Create";
    /// Deletes a shell.
    pub const DELETE: &str = "http://schemas.xmlsoap.org/ws/2004/09/transfer/Delete";
    /// Starts a command.
    pub const COMMAND: &str = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell/Command";
    /// Waits for output.
    pub const RECEIVE: &str = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell/Receive";
    /// Sends input.
    pub const SEND: &str = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell/Send";
    /// Stops or closes a command.
    pub const SIGNAL: &str = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell/Signal";
    /// Leaves a shell.
    pub const DISCONNECT: &str = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell/Disconnect";
    /// Takes over a shell that was left.
    pub const CONNECT: &str = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell/Connect";
    /// Goes back to a shell that the same client has left.
    pub const RECONNECT: &str = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell/Reconnect";
    /// Lists shells or commands.
    pub const ENUMERATE: &str = "http://schemas.xmlsoap.org/ws/2004/09/enumeration/Enumerate";
    /// Of every fault.
    pub const FAULT: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman/fault";
}

/// The shell namespace; also the resource that Enumerate lists shells of.
pub const SHELL: &str = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell";
/// Prefix of the resource URI of a PowerShell session configuration.
pub const CONFIGURATION: &str = "http://schemas.microsoft.com/powershell/";
/// Ends a pipeline's command on the server after its output was read.
pub const SIGNAL_TERMINATE: &str = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell/signal/terminate";
/// Stops what runs in a pipeline. Misspelled in the product: any other code ends the command without a word of its state.
pub const SIGNAL_STOP: &str = "powershell/signal/crtl_c";
/// Command state of a command that has ended.
pub const DONE: &str = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell/CommandState/Done";

/// An element of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    /// Local name.
    pub name: String,
    /// Attributes by local name.
    pub attributes: Vec<(String, String)>,
    /// Text directly inside it.
    pub text: String,
    /// Elements inside it.
    pub children: Vec<Element>,
}

impl Element {
    fn of(n: Node<'_, '_>, depth: usize) -> Result<Element, String> {
        if depth > 64 {
            return Err("XML nested too deeply".into());
        }
        Ok(Element {
            name: n.tag_name().name().into(),
            attributes: n.attributes().map(|a| (a.name().into(), a.value().into())).collect(),
            text: n.children().filter(|c| c.is_text()).filter_map(|c| c.text()).collect(),
            children: n
                .children()
                .filter(Node::is_element)
                .map(|c| Element::of(c, depth + 1))
                .collect::<Result<_, _>>()?,
        })
    }
    /// The first element of that local name, at any depth, itself included.
    pub fn find(&self, name: &str) -> Option<&Element> {
        if self.name == name { Some(self) } else { self.children.iter().find_map(|c| c.find(name)) }
    }
    /// All elements of that local name, at any depth.
    pub fn all<'a>(&'a self, name: &str, out: &mut Vec<&'a Element>) {
        if self.name == name {
            out.push(self);
        }
        for c in &self.children {
            c.all(name, out);
        }
    }
    /// An attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// A received envelope.
#[derive(Clone, Debug, Default)]
pub struct Envelope {
    /// Action URI.
    pub action: String,
    /// Its id.
    pub message_id: String,
    /// The id that it answers.
    pub relates_to: String,
    /// URL of the service, as a request names it.
    pub to: String,
    /// Resource URI.
    pub resource_uri: String,
    /// Session of the client.
    pub session_id: String,
    /// The shell that it is about.
    pub shell_id: Option<String>,
    /// Seconds of OperationTimeout.
    pub timeout: Option<f64>,
    /// Its body.
    pub body: Element,
}

impl Envelope {
    /// Reads an envelope.
    pub fn read(xml: &str) -> Result<Envelope, String> {
        let options = ParsingOptions { allow_dtd: false, nodes_limit: 200_000, ..ParsingOptions::default() };
        let doc = Document::parse_with_options(xml.trim_start_matches('\u{feff}'), options)
            .map_err(|e| e.to_string())?;
        let root = Element::of(doc.root_element(), 0)?;
        let header = root.children.iter().find(|c| c.name == "Header").cloned().unwrap_or_default();
        let text = |name: &str| header.find(name).map(|e| e.text.trim().to_string()).unwrap_or_default();
        let mut selectors = Vec::new();
        header.all("Selector", &mut selectors);
        let shell_id = selectors
            .iter()
            .find(|s| s.attribute("Name") == Some("ShellId"))
            .map(|s| s.text.trim().to_ascii_uppercase());
        Ok(Envelope {
            action: text("Action"),
            message_id: text("MessageID"),
            relates_to: text("RelatesTo"),
            to: text("To"),
            resource_uri: text("ResourceURI"),
            session_id: text("SessionId"),
            timeout: text("OperationTimeout")
                .strip_prefix("PT")
                .and_then(|t| t.strip_suffix('S'))
                .and_then(|t| t.parse().ok()),
            shell_id,
            body: root.children.into_iter().find(|c| c.name == "Body").ok_or("the envelope has no body")?,
        })
    }
    /// The fault that it is, if it is one: code, subcode, text.
    pub fn fault(&self) -> Option<Fault> {
        let fault = self.body.children.iter().find(|c| c.name == "Fault")?;
        // Two forms, both recorded: `f:WSManFault Code="…"`, and `p:MSFT_WmiError` with an element `error_Code` (newer WinRM). What a
        // provider adds lies inside of the first; where that says nothing, the provider counts.
        let mut forms = Vec::new();
        fault.all("WSManFault", &mut forms);
        let nested: Vec<&Element> = forms.iter().flat_map(|f| f.children.iter()).collect();
        let mut inner = Vec::new();
        nested.iter().for_each(|c| c.all("WSManFault", &mut inner));
        let of_forms = forms.iter().chain(&inner).filter_map(|f| f.attribute("Code"));
        let of_error = fault.find("error_Code").map(|e| e.text.as_str());
        let code = of_forms.chain(of_error).filter_map(code_of).find(|c| *c != 0);
        let subcode = fault
            .find("Subcode")
            .and_then(|s| s.find("Value"))
            .map(|v| v.text.trim().to_string())
            .unwrap_or_default();
        let message = fault
            .find("Message")
            .filter(|e| !flat(e).trim().is_empty())
            .or_else(|| fault.find("Text"))
            .map(|e| flat(e).split_whitespace().collect::<Vec<_>>().join(" "))
            .unwrap_or_default();
        Some(Fault { code: code.unwrap_or(0), subcode, message })
    }
}

/// A code as it is written: unsigned, or the same number as a negative one.
fn code_of(text: &str) -> Option<u32> {
    let text = text.trim();
    text.parse().ok().or_else(|| text.parse::<i32>().ok().map(i32::cast_unsigned))
}

fn flat(e: &Element) -> String {
    let mut out = e.text.clone();
    for c in &e.children {
        out.push(' ');
        out.push_str(&flat(c));
    }
    out
}

/// A WS-Man fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Numeric code; texts are localised, this is not.
    pub code: u32,
    /// SOAP subcode, for example `w:TimedOut`.
    pub subcode: String,
    /// Text.
    pub message: String,
}

/// Escapes text for XML.
pub fn xml(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '&' => "&amp;".to_string(),
            '<' => "&lt;".into(),
            '>' => "&gt;".into(),
            '"' => "&quot;".into(),
            c => c.to_string(),
        })
        .collect()
}

const NAMESPACES: &str = r#"xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" xmlns:w="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd" xmlns:p="http://schemas.microsoft.com/wbem/wsman/1/wsman.xsd" xmlns:rsp="http://schemas.microsoft.com/wbem/wsman/1/windows/shell""#;

/// What a client sends.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// URL of the service, as the header `To` has it.
    pub to: &'a str,
    /// Action URI.
    pub action: &'a str,
    /// Resource URI: the same on every request of a shell.
    pub resource_uri: &'a str,
    /// Message id, without prefix.
    pub message_id: &'a str,
    /// Session id: one for each client, on every request.
    pub session_id: &'a str,
    /// Seconds of OperationTimeout.
    pub timeout: u64,
    /// The shell.
    pub shell_id: Option<&'a str>,
    /// Options of the header.
    pub options: &'a [(&'a str, &'a str)],
    /// The body's XML.
    pub body: &'a str,
}

impl Request<'_> {
    /// The envelope.
    pub fn write(&self) -> String {
        let options: String = self
            .options
            .iter()
            .map(|(n, v)| format!("<w:Option Name=\"{}\">{}</w:Option>", xml(n), xml(v)))
            .collect();
        let options = if options.is_empty() {
            options
        } else {
            format!("<w:OptionSet s:mustUnderstand=\"true\">{options}</w:OptionSet>")
        };
        let selectors = self
            .shell_id
            .map(|id| {
                format!(
                    "<w:SelectorSet><w:Selector Name=\"ShellId\">{}</w:Selector></w:SelectorSet>",
                    xml(id)
                )
            })
            .unwrap_or_default();
        format!(
            "<s:Envelope {NAMESPACES}><s:Header><a:To>{to}</a:To><a:ReplyTo><a:Address s:mustUnderstand=\"true\">http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</a:Address></a:ReplyTo>\
             <a:Action s:mustUnderstand=\"true\">{action}</a:Action><a:MessageID>uuid:{id}</a:MessageID>\
             <w:ResourceURI s:mustUnderstand=\"true\">{resource}</w:ResourceURI>\
             <w:MaxEnvelopeSize s:mustUnderstand=\"true\">153600</w:MaxEnvelopeSize><w:OperationTimeout>PT{timeout}S</w:OperationTimeout>\
             <w:Locale xml:lang=\"en-US\" s:mustUnderstand=\"false\"/><p:DataLocale xml:lang=\"en-US\" s:mustUnderstand=\"false\"/>\
             <p:SessionId s:mustUnderstand=\"false\">uuid:{session}</p:SessionId>{options}{selectors}</s:Header><s:Body>{body}</s:Body></s:Envelope>",
            to = xml(self.to),
            action = self.action,
            id = self.message_id,
            resource = xml(self.resource_uri),
            timeout = self.timeout,
            session = self.session_id,
            body = self.body
        )
    }
}

/// An answer of a server.
pub fn response(request: &Envelope, body: &str) -> String {
    format!(
        "<s:Envelope {NAMESPACES} xml:lang=\"en-US\"><s:Header><a:Action>{}Response</a:Action><a:MessageID>uuid:{}</a:MessageID>\
         <a:To>http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</a:To><a:RelatesTo>{}</a:RelatesTo></s:Header><s:Body>{body}</s:Body></s:Envelope>",
        request.action,
        uuid::Uuid::new_v4().to_string().to_uppercase(),
        xml(&request.message_id)
    )
}

/// In which form a server tells a fault. Both are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `f:WSManFault`, with the code as an attribute.
    Wsman,
    /// `p:MSFT_WmiError`, with the code as an element.
    Wmi,
}

/// A fault of a server.
pub fn fault(request: &Envelope, fault: &Fault, form: Form) -> String {
    let (code, text) = (fault.code, xml(&fault.message));
    let detail = match form {
        Form::Wsman => format!(
            "<f:WSManFault xmlns:f=\"http://schemas.microsoft.com/wbem/wsman/1/wsmanfault\" Code=\"{code}\" Machine=\"lab\"><f:Message>{text}</f:Message></f:WSManFault>"
        ),
        Form::Wmi => format!(
            "<p:MSFT_WmiError b:IsCIM_Error=\"true\" xmlns:b=\"http://schemas.dmtf.org/wbem/wsman/1/cimbinding.xsd\" xmlns:p=\"http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/MSFT_WmiError\">\
             <p:CIMStatusCode>27</p:CIMStatusCode><p:Message>{text}</p:Message><p:MessageID>HRESULT {code:#x}</p:MessageID><p:error_Category>30</p:error_Category>\
             <p:error_Code>{code}</p:error_Code><p:error_Type>HRESULT</p:error_Type><p:error_WindowsErrorMessage>{text}</p:error_WindowsErrorMessage></p:MSFT_WmiError>"
        ),
    };
    format!(
        "<s:Envelope {NAMESPACES} xml:lang=\"en-US\"><s:Header><a:Action>{}</a:Action><a:MessageID>uuid:{}</a:MessageID>\
         <a:To>http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</a:To><a:RelatesTo>{}</a:RelatesTo></s:Header><s:Body><s:Fault>\
         <s:Code><s:Value>s:Receiver</s:Value><s:Subcode><s:Value>{}</s:Value></s:Subcode></s:Code><s:Reason><s:Text xml:lang=\"en-US\">{text}</s:Text></s:Reason>\
         <s:Detail>{detail}</s:Detail></s:Fault></s:Body></s:Envelope>",
        action::FAULT,
        uuid::Uuid::new_v4().to_string().to_uppercase(),
        xml(&request.message_id),
        xml(&fault.subcode),
    )
}
