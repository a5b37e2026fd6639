//! Cassandra: clusters with users, and nodes that stop answering while a connection is made.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use seriatim::driver::DriverError;

use super::open;
use super::scripted::Reply;
use super::scripted::cql::{
    AUTH_RESPONSE, OPTIONS, STARTUP, authenticate, error, serve, supported,
};

const BAD_CREDENTIALS: i32 = 0x0100;

fn with_users() -> SocketAddr {
    serve(|opcode| {
        Reply::Answers(match opcode {
            OPTIONS => supported(),
            STARTUP => authenticate(),
            AUTH_RESPONSE => error(BAD_CREDENTIALS, "Provided username and/or password are wrong"),
            _ => error(0x000a, "not before you have signed in"),
        })
    })
}

#[tokio::test]
async fn a_wrong_password_is_lasting() {
    let url = format!("cassandra://ada:hush@{}/bank", with_users());
    let began = Instant::now();
    let error = open(&url).await.err().unwrap();
    assert!(matches!(error, DriverError::Failed { .. }), "{error:?}");
    let text = format!("{error} {error:?}");
    assert!(text.contains("password are wrong") && !text.contains("hush"), "{text}");
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_missing_user_is_lasting() {
    let error = open(&format!("cassandra://{}/bank", with_users())).await.err().unwrap();
    assert!(matches!(error, DriverError::Failed { .. }), "{error:?}");
}

#[tokio::test]
async fn an_opening_that_gets_no_answer_ends_at_the_timeout() {
    for silent in [OPTIONS, STARTUP, AUTH_RESPONSE] {
        let address = serve(move |opcode| match opcode {
            opcode if opcode == silent => Reply::Waits,
            OPTIONS => Reply::Answers(supported()),
            _ => Reply::Answers(authenticate()),
        });
        let url = format!("cassandra://ada:hush@{address}/bank?timeout_ms=700");
        let began = Instant::now();
        let error = open(&url).await.err().unwrap();
        assert!(matches!(error, DriverError::Unavailable { .. }), "{silent}: {error:?}");
        assert!(began.elapsed() < Duration::from_secs(4), "{silent}: {:?}", began.elapsed());
    }
}

#[cfg(feature = "cassandra-tls")]
mod tls {
    use std::net::TcpStream;
    use std::path::PathBuf;
    use std::sync::Arc;

    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use rustls::{ServerConfig, ServerConnection, StreamOwned};
    use tempfile::TempDir;

    use super::super::scripted::{cql, listen};
    use super::*;

    /// A node with users that speaks TLS, with a certificate of this name; and the certificate as a
    /// PEM file.
    fn node(name: &str) -> (SocketAddr, PathBuf, TempDir) {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed([name.to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, cert.pem()).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let config = Arc::new(config);
        let address = listen(move |stream: TcpStream| {
            let connection = ServerConnection::new(config.clone()).unwrap();
            let stream = StreamOwned::new(connection, stream);
            cql::converse(stream, &|opcode| {
                Reply::Answers(match opcode {
                    OPTIONS => supported(),
                    STARTUP => authenticate(),
                    _ => error(BAD_CREDENTIALS, "Provided username and/or password are wrong"),
                })
            });
        });
        (address, file, folder)
    }

    async fn said(url: String) -> String {
        let error = open(&url).await.err().unwrap();
        assert!(matches!(error, DriverError::Failed { .. }), "{url}: {error:?}");
        error.to_string()
    }

    #[tokio::test]
    async fn a_node_is_spoken_to_whose_certificate_is_trusted_and_has_the_right_name() {
        let (address, file, _folder) = node("127.0.0.1");
        let ca = file.display();
        let at = format!("cassandra://ada:hush@{address}/bank");
        // It got as far as the password, encrypted.
        let wrong = said(format!("{at}?tls_ca={ca}")).await;
        assert!(wrong.contains("password are wrong"), "{wrong}");
        let wrong = said(format!("{at}?tls_ca={ca}&tls_server_name=db.example")).await;
        assert!(wrong.contains("certificate"), "{wrong}");
        let wrong = said(format!("{at}?tls_ca={ca}.missing")).await;
        assert!(wrong.contains("tls_ca"), "{wrong}");

        let (address, file, _folder) = node("db.example");
        let at = format!("cassandra://ada:hush@{address}/bank?tls_ca={}", file.display());
        let wrong = said(at.clone()).await;
        assert!(wrong.contains("certificate"), "{wrong}");
        let wrong = said(format!("{at}&tls_server_name=db.example")).await;
        assert!(wrong.contains("password are wrong"), "{wrong}");
    }

    #[tokio::test]
    async fn a_certificate_that_nobody_trusts_is_refused() {
        let (address, ..) = node("127.0.0.1");
        let (_, other, _folder) = node("127.0.0.1");
        let url = format!("cassandra://ada:hush@{address}/bank?tls_ca={}", other.display());
        let wrong = said(url).await;
        assert!(wrong.contains("certificate"), "{wrong}");
    }
}
