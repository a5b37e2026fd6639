//! TLS: what is trusted, what is shown, and which name the nodes' certificates must have.

use std::path::PathBuf;

use scylla::client::session_builder::SessionBuilder;

use crate::error::DriverError;

/// How connections are encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TlsOptions {
    pub(super) on: bool,
    pub(super) ca: Option<PathBuf>,
    pub(super) cert: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) server_name: Option<String>,
}

#[cfg(not(feature = "cassandra-tls"))]
impl TlsOptions {
    pub(super) fn apply(&self, _: SessionBuilder) -> Result<SessionBuilder, DriverError> {
        Err(DriverError::failed(
            "this build speaks no TLS to Cassandra: add the feature cassandra-tls",
        ))
    }
}

#[cfg(feature = "cassandra-tls")]
mod verified {
    use std::fmt::Display;
    use std::sync::Arc;

    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::{CryptoProvider, ring};
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
    use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

    use super::{DriverError, SessionBuilder, TlsOptions};

    impl TlsOptions {
        /// The builder with these options. Files are read once, here.
        pub(in super::super) fn apply(
            &self,
            builder: SessionBuilder,
        ) -> Result<SessionBuilder, DriverError> {
            Ok(builder.tls_context(Some(Arc::new(self.config()?))))
        }

        fn config(&self) -> Result<ClientConfig, DriverError> {
            let wrong = |what: &str, e: &dyn Display| {
                DriverError::failed(format!("Cassandra, TLS: {what}: {e}"))
            };
            let provider = Arc::new(ring::default_provider());
            let roots = Arc::new(self.roots()?);
            let verifier =
                WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build();
            let verifier = verifier.map_err(|e| wrong("the trusted authorities", &e))?;
            let name = self.server_name.clone().map(ServerName::try_from).transpose();
            let name = name.map_err(|e| wrong("the option tls_server_name", &e))?;
            let config = ClientConfig::builder_with_provider(provider.clone())
                .with_safe_default_protocol_versions()
                .map_err(|e| wrong("the protocol", &e))?
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Named { verifier, name, provider }));
            let (Some(cert), Some(key)) = (&self.cert, &self.key) else {
                return Ok(config.with_no_client_auth());
            };
            let chain = CertificateDer::pem_file_iter(cert)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|e| wrong("the file of the option tls_cert", &e))?;
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|e| wrong("the file of the option tls_key", &e))?;
            config
                .with_client_auth_cert(chain, key)
                .map_err(|e| wrong("the client's certificate and key", &e))
        }

        fn roots(&self) -> Result<RootCertStore, DriverError> {
            let mut roots = RootCertStore::empty();
            match &self.ca {
                None => {
                    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                }
                Some(file) => {
                    let found = CertificateDer::pem_file_iter(file)
                        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                        .map_err(|e| {
                            DriverError::failed(format!(
                                "Cassandra, TLS: the file of the option tls_ca: {e}"
                            ))
                        })?;
                    roots.add_parsable_certificates(found);
                }
            }
            match roots.is_empty() {
                false => Ok(roots),
                true => Err(DriverError::failed(
                    "Cassandra, TLS: there is no trusted authority: add tls_ca=FILE, a PEM file",
                )),
            }
        }
    }

    /// Verifies certificates as usual, but for a name of the user's where one is given: clients
    /// know nodes by their addresses, and certificates of hosted clusters have names.
    #[derive(Debug)]
    struct Named {
        verifier: Arc<WebPkiServerVerifier>,
        name: Option<ServerName<'static>>,
        provider: Arc<CryptoProvider>,
    }

    impl ServerCertVerifier for Named {
        fn verify_server_cert(
            &self,
            end_entity: &CertificateDer<'_>,
            intermediates: &[CertificateDer<'_>],
            server_name: &ServerName<'_>,
            ocsp_response: &[u8],
            now: UnixTime,
        ) -> Result<ServerCertVerified, rustls::Error> {
            let name = self.name.as_ref().unwrap_or(server_name);
            self.verifier.verify_server_cert(end_entity, intermediates, name, ocsp_response, now)
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            self.verifier.verify_tls12_signature(message, cert, signed)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            self.verifier.verify_tls13_signature(message, cert, signed)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.provider.signature_verification_algorithms.supported_schemes()
        }
    }
}
