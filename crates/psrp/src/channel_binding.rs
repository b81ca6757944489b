//! What binds a logon to the TLS connection that it comes over: who passes it on to somebody else is found out.
//!
//! WinRM's `CbtHardeningLevel` says what becomes of a logon over TLS without it: *Strict* refuses it, *Relaxed*, the usual one, takes it; a
//! wrong one both refuse (Microsoft, Policy CSP RemoteManagement, `SpecifyChannelBindingTokenHardeningLevel`).

use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::x509::X509Ref;

/// Binding of the type `tls-server-end-point` (RFC 5929, 4.1): the hash of the server's certificate, by the hash function of its signature, or
/// SHA-256 where that is MD5 or SHA-1. None where the RFC defines none: of a signature without a hash function of its own.
pub fn tls_server_end_point(certificate: &X509Ref) -> Option<Vec<u8>> {
    let signed = certificate.signature_algorithm().object().nid().signature_algorithms()?.digest;
    let hash = match signed {
        Nid::MD5 | Nid::SHA1 => MessageDigest::sha256(),
        other => MessageDigest::from_nid(other)?,
    };
    let hash = certificate.digest(hash).ok()?;
    Some([b"tls-server-end-point:", &hash[..]].concat())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use openssl::asn1::Asn1Time;
    use openssl::hash::hash;
    use openssl::pkey::{PKey, Private};
    use openssl::rsa::Rsa;
    use openssl::x509::{X509, X509Builder};

    use super::*;

    fn signed(key: &PKey<Private>, digest: MessageDigest) -> X509 {
        let mut builder = X509Builder::new().unwrap();
        builder.set_pubkey(key).unwrap();
        builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
        builder.sign(key, digest).unwrap();
        builder.build()
    }

    #[test]
    fn the_hash_is_that_of_the_signature_and_none_weaker_than_sha_256() {
        let rsa = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        for (of_signature, expected) in [
            (MessageDigest::md5(), MessageDigest::sha256()),
            (MessageDigest::sha1(), MessageDigest::sha256()),
            (MessageDigest::sha256(), MessageDigest::sha256()),
            (MessageDigest::sha384(), MessageDigest::sha384()),
            (MessageDigest::sha512(), MessageDigest::sha512()),
        ] {
            let certificate = signed(&rsa, of_signature);
            let hash = hash(expected, &certificate.to_der().unwrap()).unwrap();
            let binding = tls_server_end_point(&certificate).unwrap();
            assert_eq!(binding.strip_prefix(b"tls-server-end-point:"), Some(&hash[..]));
        }
        let ed25519 = PKey::generate_ed25519().unwrap();
        assert_eq!(tls_server_end_point(&signed(&ed25519, MessageDigest::null())), None);
    }
}
