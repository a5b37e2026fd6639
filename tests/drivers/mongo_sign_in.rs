//! MongoDB: signing in by tokens, and by a certificate.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use mongodb::bson::{Binary, Document, doc, spec::BinarySubtype};
use seriatim::driver::DriverError;
use seriatim::driver::mongodb::MongoDbDriver;

use super::mongo::prepared;
use super::open;
use super::scripted::Reply;
use super::scripted::mongo::{command_error, cursor, serve};

/// A server that lets this token in alone, and notes those that it was shown.
fn with_tokens(good: &'static str) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let shown = Arc::new(Mutex::new(Vec::new()));
    let noted = shown.clone();
    let address = serve(doc! {}, move |name, command| match name {
        "saslStart" => {
            assert_eq!(command.get_str("mechanism").unwrap(), "MONGODB-OIDC");
            let payload = command.get_binary_generic("payload").unwrap();
            let said = Document::from_reader(payload.as_slice()).unwrap();
            let token = said.get_str("jwt").unwrap().to_owned();
            let is_good = token == good;
            noted.lock().unwrap().push(token);
            let bytes = Binary { subtype: BinarySubtype::Generic, bytes: Vec::new() };
            Some(Reply::Answers(match is_good {
                true => doc! { "ok": 1.0, "conversationId": 1, "done": true, "payload": bytes },
                false => command_error(18, "AuthenticationFailed"),
            }))
        }
        "find" => Some(Reply::Answers(cursor(Vec::new()))),
        _ => prepared(name),
    });
    (address, shown)
}

#[tokio::test]
async fn a_connection_signs_in_with_the_token_that_the_source_has() {
    let (address, shown) = with_tokens("good");
    let builder = MongoDbDriver::builder().token_source(|| "good".to_owned());
    assert!(!format!("{builder:?}").contains("good"));
    for mechanism in ["", "&authMechanism=MONGODB-OIDC"] {
        let url = format!("mongodb://{address}/bank?directConnection=true{mechanism}");
        builder.clone().open(&url).await.unwrap();
    }
    let shown = shown.lock().unwrap().clone();
    assert!(shown.len() >= 2 && shown.iter().all(|token| token == "good"), "{shown:?}");
}

#[tokio::test]
async fn a_token_that_is_refused_is_lasting_and_not_shown() {
    let (address, _) = with_tokens("good");
    let url = format!("mongodb://{address}/bank?directConnection=true&timeout_ms=2000");
    let builder = MongoDbDriver::builder().token_source(|| "hush".to_owned());
    let error = builder.open(&url).await.unwrap_err();
    assert!(matches!(error, DriverError::Failed { .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
}

#[tokio::test]
async fn tokens_do_not_go_with_a_password() {
    let builder = MongoDbDriver::builder().token_source(|| "hush".to_owned());
    let error = builder.open("mongodb://ada:hush@127.0.0.1:1/bank").await.unwrap_err();
    assert!(matches!(error, DriverError::Failed { .. }), "{error:?}");
    assert!(error.to_string().contains("MONGODB-OIDC"), "{error}");
}

#[cfg(feature = "cassandra-tls")]
mod certificate {
    use std::net::TcpStream;
    use std::path::Path;

    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use rustls::server::WebPkiClientVerifier;
    use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

    use super::super::scripted::{listen, mongo};
    use super::*;

    fn pair(name: &str) -> (CertifiedKey<rcgen::KeyPair>, String) {
        let pair = generate_simple_self_signed([name.to_owned()]).unwrap();
        let pem = format!("{}{}", pair.cert.pem(), pair.signing_key.serialize_pem());
        (pair, pem)
    }

    /// A server that speaks TLS with clients of this certificate alone, and notes how each signs
    /// in.
    fn server(
        client: &CertifiedKey<rcgen::KeyPair>,
        ca: &Path,
    ) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
        let (own, _) = pair("127.0.0.1");
        std::fs::write(ca, own.cert.pem()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(client.cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(vec![own.cert.der().clone()], key)
            .unwrap();
        let (config, mechanisms) = (Arc::new(config), Arc::new(Mutex::new(Vec::new())));
        let noted = mechanisms.clone();
        let address = listen(move |stream: TcpStream| {
            let connection = ServerConnection::new(config.clone()).unwrap();
            let stream = StreamOwned::new(connection, stream);
            mongo::converse(stream, &doc! {}, &|name, command| match name {
                "authenticate" => {
                    let mechanism = command.get_str("mechanism").unwrap().to_owned();
                    noted.lock().unwrap().push(mechanism);
                    let user = doc! { "ok": 1.0, "dbname": "$external", "user": "CN=writer" };
                    Some(Reply::Answers(user))
                }
                _ => prepared(name),
            });
        });
        (address, mechanisms)
    }

    fn url(address: SocketAddr, ca: &Path, shown: &Path) -> String {
        format!(
            "mongodb://{address}/bank?directConnection=true&timeout_ms=3000&tls=true&tlsCAFile={}\
             &tlsCertificateKeyFile={}&authMechanism=MONGODB-X509",
            ca.display(),
            shown.display()
        )
    }

    #[tokio::test]
    async fn a_client_signs_in_with_the_certificate_that_it_shows() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let ((client, pem), (_, other)) = (pair("writer"), pair("stranger"));
        std::fs::write(file("client.pem"), pem).unwrap();
        std::fs::write(file("other.pem"), other).unwrap();
        let (address, mechanisms) = server(&client, &file("ca.pem"));
        open(&url(address, &file("ca.pem"), &file("client.pem"))).await.unwrap();
        let seen = mechanisms.lock().unwrap().clone();
        assert!(!seen.is_empty() && seen.iter().all(|name| name == "MONGODB-X509"), "{seen:?}");
        // A certificate that the server does not know gets no connection.
        let refused = open(&url(address, &file("ca.pem"), &file("other.pem"))).await;
        assert!(refused.is_err());
    }
}
