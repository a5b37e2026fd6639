//! Cassandra: clusters with users, and nodes that stop answering while a connection is made.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use seriatim::driver::DriverError;

use super::scripted::cql::{
    AUTH_RESPONSE, OPTIONS, STARTUP, authenticate, error, serve, supported,
};
use super::scripted::{Reply, cql_node};
use super::{open, put};

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

/// A node that answers statements which begin so with this, and a count of them.
fn answering(
    beginning: &'static str,
    reply: Reply<super::scripted::cql::Frame>,
) -> (SocketAddr, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    let address = cql_node::serve(move |text| {
        text.starts_with(beginning).then(|| {
            counter.fetch_add(1, Ordering::SeqCst);
            reply.clone()
        })
    });
    (address, asked)
}

const OVERLOADED: i32 = 0x1001;
const BOOTSTRAPPING: i32 = 0x1002;
const SERVER_ERROR: i32 = 0x0000;

#[tokio::test]
async fn what_a_coordinator_cannot_vouch_for_leaves_a_put_open() {
    for reply in [
        Reply::Answers(cql_node::unavailable()),
        Reply::Answers(cql_node::write_timeout()),
        Reply::Answers(error(OVERLOADED, "too many requests")),
        Reply::Answers(error(BOOTSTRAPPING, "not yet")),
        Reply::Answers(error(SERVER_ERROR, "oops")),
        Reply::HangsUp,
    ] {
        // One event is a statement, several are a batch.
        for count in [1, 2] {
            let (address, asked) = answering("INSERT", reply.clone());
            let driver = open(&format!("cassandra://{address}/bank")).await.unwrap();
            let answer = driver.put_events(put(count)).await;
            let open = answer.as_ref().is_err_and(DriverError::may_have_been_written);
            assert!(open, "{count} events, {reply:?}: {answer:?}");
            // Who sends again is the store.
            assert_eq!(asked.load(Ordering::SeqCst), 1, "{reply:?}");
        }
    }
}

#[tokio::test]
async fn a_statement_that_is_refused_was_surely_not_written() {
    for code in [0x2000, 0x2100, 0x2200] {
        let (address, asked) = answering("INSERT", Reply::Answers(error(code, "no")));
        let driver = open(&format!("cassandra://{address}/bank")).await.unwrap();
        let answer = driver.put_events(put(1)).await;
        assert!(matches!(answer, Err(DriverError::Failed { .. })), "{code}: {answer:?}");
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn a_read_of_too_few_replicas_is_asked_again() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    let address = cql_node::serve(move |text| {
        let is_first =
            text.starts_with("SELECT s FROM") && counter.fetch_add(1, Ordering::SeqCst) == 0;
        is_first.then(|| Reply::Answers(cql_node::unavailable()))
    });
    let driver = open(&format!("cassandra://{address}/bank")).await.unwrap();
    let latest = driver.latest_sequence(&"account/1".parse().unwrap()).await.unwrap();
    assert_eq!((latest.get(), asked.load(Ordering::SeqCst)), (0, 2));
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
