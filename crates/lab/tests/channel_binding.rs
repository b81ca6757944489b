//! NTLM over TLS against a WinRM that wants it bound to the connection. That a host of the lab demands the right thing is shown by a
//! client of others (`tests/clients.rs`) and by a hash that Windows computed (`lab::winrm::binding`); here, that ours sends it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::pin::Pin;
use std::time::Duration;

use lab::scenario::{CbtHardeningLevel, Scenario, WinRm};
use lab::serve::Lab;
use openssl::pkey::PKey;
use openssl::ssl::{Ssl, SslAcceptor, SslConnector, SslMethod, SslVerifyMode};
use openssl::x509::X509;
use psrp::client::{Authentication, Client, Endpoint, Error};
use psrp::message::Command;
use tokio::net::{TcpListener, TcpStream};
use tokio_openssl::SslStream;

const HOST: &str = "sea-fe-1.litwareinc.com";

async fn lab(level: CbtHardeningLevel, directory: &std::path::Path) -> (Lab, Endpoint) {
    let win_rm = WinRm { cbt_hardening_level: level, ..WinRm::default() };
    let lab = Lab::start(Scenario { win_rm, ..Scenario::default() }, directory).await.unwrap();
    let endpoint = lab.management_shell("seattle").unwrap();
    (lab, Endpoint { authentication: Authentication::Negotiate, ..endpoint })
}

async fn objects(endpoint: &Endpoint) -> Result<usize, Error> {
    let client = Client::connect(endpoint).await?;
    let command = Command { name: "Get-CsPersistentChatState".into(), parameters: vec![] };
    let out = client.invoke(&command, Duration::from_secs(20)).await?;
    client.close().await?;
    Ok(out.objects.len())
}

/// Somebody in the middle, with a certificate of his own for the same name, which the client trusts.
async fn in_the_middle(endpoint: &Endpoint) -> Endpoint {
    let to = endpoint.connect_to.clone().unwrap();
    let own = rcgen::generate_simple_self_signed(vec![HOST.to_string()]).unwrap();
    let mut acceptor = SslAcceptor::mozilla_intermediate(SslMethod::tls_server()).unwrap();
    let key = PKey::private_key_from_pem(own.signing_key.serialize_pem().as_bytes()).unwrap();
    acceptor.set_private_key(&key).unwrap();
    acceptor.set_certificate(&X509::from_pem(own.cert.pem().as_bytes()).unwrap()).unwrap();
    let acceptor = acceptor.build();
    let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
    connector.set_verify(SslVerifyMode::NONE);
    let connector = connector.build();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (near, _) = listener.accept().await.unwrap();
            let far = TcpStream::connect((to.0.as_str(), to.1)).await.unwrap();
            let mut near = SslStream::new(Ssl::new(acceptor.context()).unwrap(), near).unwrap();
            let ssl = connector.configure().unwrap().into_ssl(HOST).unwrap();
            let mut far = SslStream::new(ssl, far).unwrap();
            tokio::spawn(async move {
                Pin::new(&mut near).accept().await.unwrap();
                Pin::new(&mut far).connect().await.unwrap();
                // Each side closes when it has what it wants.
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    Endpoint {
        connect_to: Some(("127.0.0.1".into(), port)),
        ca_pem: Some(own.cert.pem().into_bytes()),
        ..endpoint.clone()
    }
}

#[tokio::test]
async fn a_logon_is_bound_to_its_connection_and_good_for_no_other() {
    for level in [CbtHardeningLevel::Strict, CbtHardeningLevel::Relaxed, CbtHardeningLevel::None] {
        let directory = tempfile::tempdir().unwrap();
        let (_lab, endpoint) = lab(level, directory.path()).await;
        assert_eq!(objects(&endpoint).await, Ok(1), "{level:?}");
        let passed_on = objects(&in_the_middle(&endpoint).await).await;
        if level == CbtHardeningLevel::None {
            assert_eq!(passed_on, Ok(1), "nobody looks");
        } else {
            assert!(matches!(passed_on, Err(Error::Unauthorized(_))), "{level:?}: {passed_on:?}");
        }
    }
}
