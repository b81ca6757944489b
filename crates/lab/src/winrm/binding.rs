//! Whether a logon by NTLM is bound to the TLS connection that it comes over. Written after the documents, not with what the client uses.

use openssl::error::ErrorStack;
use openssl::hash::{MessageDigest, hash};
use openssl::x509::X509Ref;

use crate::scenario::CbtHardeningLevel;

/// MD5 of a `gss_channel_bindings_struct`, as it stands in `MsvAvChannelBindings` (`[MS-NLMP]` 2.2.2.1).
pub(super) type Hash = [u8; 16];

const CHANNEL_BINDINGS: u16 = 10;

/// The hash of a connection with this certificate, of the type `tls-server-end-point` (RFC 5929, 4.1). The lab signs with SHA-256, which is
/// then what its certificates are hashed with too.
pub(super) fn of(certificate: &X509Ref) -> Result<Hash, ErrorStack> {
    of_certificate_hash(&certificate.digest(MessageDigest::sha256())?)
}

/// RFC 2744, 3.11, with little-endian lengths: no addresses, and the binding as application data.
fn of_certificate_hash(certificate: &[u8]) -> Result<Hash, ErrorStack> {
    let data = [b"tls-server-end-point:", certificate].concat();
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let all = [&[0; 16], &length.to_le_bytes()[..], &data].concat();
    let mut md5 = [0; 16];
    md5.copy_from_slice(&hash(MessageDigest::md5(), &all)?);
    Ok(md5)
}

/// Whether a host takes a logon over a connection with what it presents.
pub(super) fn admits(level: CbtHardeningLevel, of_connection: Hash, presented: Option<Hash>) -> bool {
    match (level, presented) {
        (CbtHardeningLevel::None, _) | (CbtHardeningLevel::Relaxed, None) => true,
        (CbtHardeningLevel::Strict, None) => false,
        (CbtHardeningLevel::Relaxed | CbtHardeningLevel::Strict, Some(presented)) => {
            presented == of_connection
        }
    }
}

/// What an AUTHENTICATE_MESSAGE presents; zeros are none (`[MS-NLMP]` 2.2.1.3, 2.2.2.7, 3.1.5.1.2).
pub(super) fn presented(token: &[u8]) -> Option<Hash> {
    let short = |bytes: &[u8], at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let start = token.windows(8).position(|w| w == b"NTLMSSP\0")?;
    let message = token.get(start..)?;
    let length = usize::from(short(message, 20)?);
    let at = usize::try_from(u32::from_le_bytes(message.get(24..28)?.try_into().ok()?)).ok()?;
    let response = message.get(at..at.checked_add(length)?)?;
    // After the proof (16) and the fixed part of the client's challenge (28): pairs, each with its id and its length.
    let mut pairs = response.get(44..)?;
    loop {
        let (id, length) = (short(pairs, 0)?, usize::from(short(pairs, 2)?));
        let value = pairs.get(4..4 + length)?;
        match id {
            0 => return None,
            CHANNEL_BINDINGS => return value.try_into().ok().filter(|hash| *hash != [0; 16]),
            _ => pairs = pairs.get(4 + length..)?,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use psrp::sealed::{Acceptor, Initiator};

    use super::*;

    const BINDING: &[u8] = b"tls-server-end-point:0123456789abcdef0123456789abcdef";

    fn logon(binding: Option<&[u8]>) -> Option<Hash> {
        let mut client = Initiator::new("LITWARE\\operator", "p@ss", "host").unwrap().bound_to(binding);
        let mut server = Acceptor::new("LITWARE\\operator", "p@ss").unwrap();
        let challenge = server.step(&client.step(&[]).unwrap().token).unwrap();
        let answer = client.step(&challenge.token).unwrap();
        assert!(server.step(&answer.token).unwrap().complete);
        assert_eq!(presented(&challenge.token), None);
        presented(&answer.token)
    }

    /// The SHA-256 of a certificate of a Windows Server 2008 R2, and its hash in the pair, as FreeRDP has them (`ntlm_av_pairs.c`).
    #[test]
    fn the_hash_is_the_one_that_windows_computes() {
        let certificate = [
            0xea, 0x05, 0xfe, 0xfe, 0xcc, 0x6b, 0x0b, 0xd5, 0x71, 0xdb, 0xbc, 0x5b, 0xaa, 0x3e, 0xd4, 0x53,
            0x86, 0xd0, 0x44, 0x68, 0x35, 0xf7, 0xb7, 0x4c, 0x85, 0x62, 0x1b, 0x99, 0x83, 0x47, 0x5f, 0x95,
        ];
        let expected =
            [0x65, 0x86, 0xe9, 0x9d, 0x81, 0xc2, 0xfc, 0x98, 0x4e, 0x47, 0x17, 0x2f, 0xd4, 0xdd, 0x03, 0x10];
        assert_eq!(of_certificate_hash(&certificate).unwrap(), expected);
    }

    #[test]
    fn what_a_logon_presents_is_found_in_it_and_a_host_takes_it_as_its_level_says() {
        let hash = of_certificate_hash(&BINDING[b"tls-server-end-point:".len()..]).unwrap();
        let (bound, unbound) = (logon(Some(BINDING)), logon(None));
        assert_eq!((bound, unbound), (Some(hash), None));
        let other = logon(Some(b"tls-server-end-point:another"));
        for (level, admitted) in [
            (CbtHardeningLevel::None, [true, true, true]),
            (CbtHardeningLevel::Relaxed, [true, true, false]),
            (CbtHardeningLevel::Strict, [true, false, false]),
        ] {
            assert_eq!([bound, unbound, other].map(|p| admits(level, hash, p)), admitted, "{level:?}");
        }
        assert_eq!(presented(b"NTLMSSP\0 cut off"), None);
    }
}
