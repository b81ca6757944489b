//! NTLM under `Negotiate`, and SOAP bodies sealed by it: how a password and every cmdlet stay unread without TLS.
//!
//! The framing is that of WS-Management over HTTP (`[MS-WSMV]` 2.2.9.1.1.2): two parts, the first with the length of the plain
//! text, the second with a little-endian header length, the signature and the sealed bytes. Both ends of it live here, so that
//! a peer for tests needs no copy of it.

use sspi::{
    AuthIdentity, AuthIdentityBuffers, BufferType, ClientRequestFlags, CredentialUse, DataRepresentation,
    EncryptionFlags, Ntlm, SecurityBuffer, SecurityBufferRef, SecurityStatus, ServerRequestFlags, Sspi,
    SspiImpl as _, Username,
};

/// Content type of a sealed body.
pub const CONTENT_TYPE: &str = "multipart/encrypted;protocol=\"application/HTTP-SPNEGO-session-encrypted\";boundary=\"Encrypted Boundary\"";
const BOUNDARY: &str = "--Encrypted Boundary";
/// Content type of what was sealed.
const ORIGINAL: &str = "application/soap+xml;charset=UTF-8";
/// Bytes of an NTLM signature.
const SIGNATURE: usize = 16;

/// Why a logon or a sealed body failed. Never says a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The user name cannot be one.
    #[error("the user name is neither DOMAIN\\user nor user@domain: {0}")]
    UserName(String),
    /// The logon failed, or the other side's token is no NTLM.
    #[error("NTLM: {0}")]
    Ntlm(String),
    /// A body is not framed as a sealed one.
    #[error("not a sealed body: {0}")]
    Framing(&'static str),
    /// A body was altered, repeated or left out.
    #[error("a sealed body was altered or is out of sequence: {0}")]
    Altered(String),
}

fn ntlm_error(e: sspi::Error) -> SealError {
    SealError::Ntlm(e.to_string())
}

fn identity(user: &str, password: &str) -> Result<AuthIdentity, SealError> {
    let username = Username::parse(user).map_err(|e| SealError::UserName(e.to_string()))?;
    Ok(AuthIdentity { username, password: password.to_string().into() })
}

/// A logon in progress, on the side that logs on.
pub struct Initiator {
    ntlm: Ntlm,
    credentials: Option<AuthIdentityBuffers>,
    target: String,
}

/// What a leg of a logon gave.
pub struct Leg {
    /// Token for the other side; empty if there is none.
    pub token: Vec<u8>,
    /// Whether this side has all it needs.
    pub complete: bool,
}

impl Initiator {
    /// To log on as a user (`DOMAIN\user` or `user@domain`) at a host.
    pub fn new(user: &str, password: &str, host: &str) -> Result<Initiator, SealError> {
        let identity = identity(user, password)?;
        let mut ntlm = Ntlm::new();
        let acquired = ntlm
            .acquire_credentials_handle()
            .with_credential_use(CredentialUse::Outbound)
            .with_auth_data(&identity)
            .execute(&mut ntlm)
            .map_err(ntlm_error)?;
        Ok(Initiator { ntlm, credentials: acquired.credentials_handle, target: format!("HTTP/{host}") })
    }

    /// The same, bound to the TLS connection that it comes over: by [`crate::channel_binding`].
    pub fn bound_to(mut self, binding: Option<&[u8]>) -> Initiator {
        // Its hash stands in the answer to the challenge, covered by the proof of the password (`[MS-NLMP]` 3.1.5.1.2).
        if let Some(binding) = binding {
            self.ntlm.set_channel_bindings(binding);
        }
        self
    }

    /// The next leg: `challenge` is the other side's last token, empty at the beginning.
    pub fn step(&mut self, challenge: &[u8]) -> Result<Leg, SealError> {
        let mut input = [SecurityBuffer::new(challenge.to_vec(), BufferType::Token)];
        let mut output = vec![SecurityBuffer::new(Vec::new(), BufferType::Token)];
        let mut builder = self
            .ntlm
            .initialize_security_context()
            .with_credentials_handle(&mut self.credentials)
            .with_context_requirements(
                ClientRequestFlags::CONFIDENTIALITY
                    | ClientRequestFlags::INTEGRITY
                    | ClientRequestFlags::ALLOCATE_MEMORY,
            )
            .with_target_data_representation(DataRepresentation::Native)
            .with_target_name(&self.target)
            .with_input(&mut input)
            .with_output(&mut output);
        let result = self
            .ntlm
            .initialize_security_context_impl(&mut builder)
            .and_then(|mut g| g.resolve_to_result())
            .map_err(ntlm_error)?;
        if [SecurityStatus::CompleteNeeded, SecurityStatus::CompleteAndContinue].contains(&result.status) {
            self.ntlm.complete_auth_token(&mut output).map_err(ntlm_error)?;
        }
        let token = output.pop().map(|b| b.buffer).unwrap_or_default();
        let complete =
            ![SecurityStatus::ContinueNeeded, SecurityStatus::CompleteAndContinue].contains(&result.status);
        Ok(Leg { token, complete })
    }

    /// The sealed channel, once the logon is complete.
    pub fn channel(self) -> Channel {
        Channel(self.ntlm)
    }
}

/// A logon in progress, on the side that is logged on to. For peers in tests.
pub struct Acceptor {
    ntlm: Ntlm,
    credentials: Option<AuthIdentityBuffers>,
}

impl Acceptor {
    /// Which accepts one user.
    pub fn new(user: &str, password: &str) -> Result<Acceptor, SealError> {
        let identity = identity(user, password)?;
        let mut ntlm = Ntlm::new();
        let acquired = ntlm
            .acquire_credentials_handle()
            .with_credential_use(CredentialUse::Inbound)
            .with_auth_data(&identity)
            .execute(&mut ntlm)
            .map_err(ntlm_error)?;
        Ok(Acceptor { ntlm, credentials: acquired.credentials_handle })
    }

    /// The next leg.
    pub fn step(&mut self, token: &[u8]) -> Result<Leg, SealError> {
        let mut input = [SecurityBuffer::new(token.to_vec(), BufferType::Token)];
        let mut output = vec![SecurityBuffer::new(Vec::new(), BufferType::Token)];
        let builder = self
            .ntlm
            .accept_security_context()
            .with_credentials_handle(&mut self.credentials)
            .with_context_requirements(ServerRequestFlags::ALLOCATE_MEMORY)
            .with_target_data_representation(DataRepresentation::Native)
            .with_input(&mut input)
            .with_output(&mut output);
        let result = self
            .ntlm
            .accept_security_context_impl(builder)
            .and_then(|mut g| g.resolve_to_result())
            .map_err(ntlm_error)?;
        if [SecurityStatus::CompleteNeeded, SecurityStatus::CompleteAndContinue].contains(&result.status) {
            self.ntlm.complete_auth_token(&mut output).map_err(ntlm_error)?;
        }
        let token = output.pop().map(|b| b.buffer).unwrap_or_default();
        Ok(Leg { token, complete: result.status != SecurityStatus::ContinueNeeded })
    }

    /// The sealed channel, once the logon is complete.
    pub fn channel(self) -> Channel {
        Channel(self.ntlm)
    }
}

/// A logged-on connection's sealing. It counts messages: each body is sealed and unsealed once, in order.
pub struct Channel(Ntlm);

impl Channel {
    /// A body, sealed and framed.
    pub fn seal(&mut self, plain: &str) -> Result<Vec<u8>, SealError> {
        let mut signature = vec![0; SIGNATURE];
        let mut data = plain.as_bytes().to_vec();
        let mut buffers =
            [SecurityBufferRef::token_buf(&mut signature), SecurityBufferRef::data_buf(&mut data)];
        self.0.encrypt_message(EncryptionFlags::empty(), &mut buffers).map_err(ntlm_error)?;
        let mut body = format!(
            "{BOUNDARY}\r\n\tContent-Type: application/HTTP-SPNEGO-session-encrypted\r\n\tOriginalContent: type={ORIGINAL};Length={}\r\n{BOUNDARY}\r\n\tContent-Type: application/octet-stream\r\n",
            plain.len()
        )
        .into_bytes();
        // 16 always fits.
        body.extend((SIGNATURE as u32).to_le_bytes());
        body.extend(&signature);
        body.extend(&data);
        body.extend(format!("{BOUNDARY}--\r\n").as_bytes());
        Ok(body)
    }

    /// The plain text of a sealed and framed body.
    pub fn unseal(&mut self, body: &[u8]) -> Result<String, SealError> {
        let (length, sealed) = frame(body)?;
        let header = sealed.get(..4).ok_or(SealError::Framing("no header length"))?;
        if header != (SIGNATURE as u32).to_le_bytes() {
            return Err(SealError::Framing("the header is no NTLM signature"));
        }
        let mut signature = sealed.get(4..4 + SIGNATURE).ok_or(SealError::Framing("no signature"))?.to_vec();
        let mut data = sealed.get(4 + SIGNATURE..).unwrap_or_default().to_vec();
        if data.len() != length {
            return Err(SealError::Framing("its length is not the one it states"));
        }
        let mut buffers =
            [SecurityBufferRef::token_buf(&mut signature), SecurityBufferRef::data_buf(&mut data)];
        self.0.decrypt_message(&mut buffers).map_err(|e| SealError::Altered(e.to_string()))?;
        let plain = buffers.get(1).map(|b| b.data().to_vec()).unwrap_or_default();
        String::from_utf8(plain).map_err(|_| SealError::Framing("the plain text is not UTF-8"))
    }
}

fn find(haystack: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    haystack.get(from..)?.windows(needle.len()).position(|w| w == needle).map(|n| n + from)
}

/// Stated length of the plain text, and the second part's content.
fn frame(body: &[u8]) -> Result<(usize, &[u8]), SealError> {
    // Some servers write a space between the dashes and the boundary.
    let starts = |at: usize| {
        let rest = body.get(at..).unwrap_or_default();
        [BOUNDARY.as_bytes(), b"-- Encrypted Boundary"].iter().find(|b| rest.starts_with(b)).map(|b| b.len())
    };
    let line_end = |at: usize| find(body, b"\r\n", at).ok_or(SealError::Framing("a line does not end"));
    let mut at = starts(0).ok_or(SealError::Framing("no boundary"))?;
    at = line_end(at)? + 2;
    let mut length = None;
    loop {
        if let Some(n) = starts(at) {
            at = line_end(at + n)? + 2;
            break;
        }
        let end = line_end(at)?;
        let line =
            std::str::from_utf8(&body[at..end]).map_err(|_| SealError::Framing("a header is no text"))?;
        if let Some(value) = line.trim().strip_prefix("OriginalContent:") {
            let stated = value.split(';').find_map(|p| p.trim().strip_prefix("Length="));
            length = stated.and_then(|l| l.parse::<usize>().ok());
        }
        at = end + 2;
    }
    let length = length.ok_or(SealError::Framing("no length of the original content"))?;
    loop {
        let end = line_end(at)?;
        let line = &body[at..end];
        at = end + 2;
        // The header of the second part is one line; Windows writes no empty line after it.
        if line.trim_ascii().starts_with(b"Content-Type: application/octet-stream") {
            break;
        }
        if !line.trim_ascii().is_empty() {
            return Err(SealError::Framing("an unknown header in the second part"));
        }
    }
    // The sealed bytes may hold anything, the closing boundary too: it is looked for from the end.
    let rest = &body[at..];
    let tail = rest.trim_ascii_end();
    for closing in ["--Encrypted Boundary--", "-- Encrypted Boundary--"] {
        if let Some(sealed) = tail.strip_suffix(closing.as_bytes()) {
            return Ok((length, sealed));
        }
    }
    Err(SealError::Framing("no closing boundary"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn logged_on() -> (Channel, Channel) {
        let mut client = Initiator::new("LITWARE\\operator", "p@ss", "host").unwrap();
        let mut server = Acceptor::new("LITWARE\\operator", "p@ss").unwrap();
        let hello = client.step(&[]).unwrap();
        let challenge = server.step(&hello.token).unwrap();
        assert!(!challenge.complete);
        let answer = client.step(&challenge.token).unwrap();
        assert!(server.step(&answer.token).unwrap().complete);
        (client.channel(), server.channel())
    }

    #[test]
    fn both_directions_seal_and_unseal_in_order_and_nothing_is_readable() {
        let (mut client, mut server) = logged_on();
        for text in ["<s:Envelope>one</s:Envelope>", "", "ümlaut \r\n--Encrypted Boundary--\r\n"] {
            let body = client.seal(text).unwrap();
            assert!(text.is_empty() || find(&body[200..], text.as_bytes(), 0).is_none());
            assert_eq!(server.unseal(&body).unwrap(), text);
            let back = server.seal(text).unwrap();
            assert_eq!(client.unseal(&back).unwrap(), text);
        }
    }

    #[test]
    fn an_altered_a_repeated_and_a_cut_body_are_refused() {
        let (mut client, mut server) = logged_on();
        let body = client.seal("<x/>").unwrap();
        let mut altered = body.clone();
        let n = altered.len() - 30;
        altered[n] ^= 1;
        assert!(matches!(server.unseal(&altered), Err(SealError::Altered(_))));
        let (mut client, mut server) = logged_on();
        let body = client.seal("<x/>").unwrap();
        server.unseal(&body).unwrap();
        assert!(matches!(server.unseal(&body), Err(SealError::Altered(_))));
        for end in 0..body.len() - 2 {
            assert!(server.unseal(&body[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn a_wrong_password_is_refused() {
        let mut client = Initiator::new("operator@litwareinc.com", "wrong", "host").unwrap();
        let mut server = Acceptor::new("operator@litwareinc.com", "p@ss").unwrap();
        let challenge = server.step(&client.step(&[]).unwrap().token).unwrap();
        let answer = client.step(&challenge.token).unwrap();
        assert!(server.step(&answer.token).is_err());
    }
}
