//! What a request proves itself with: the account's key, a shared access signature, what a
//! connection string holds of them, or a token.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::entra::EntraTokens;
use crate::error::DriverError;

/// Asked for the signature, or the token, before every request, so that it can change before it
/// expires.
pub(super) type SecretSource = Arc<dyn Fn() -> String + Send + Sync>;

/// What a request proves itself with.
pub(super) enum Credential {
    Key(Vec<u8>),
    /// Answers the query of a shared access signature, with or without the `?`.
    Sas(SecretSource),
    /// Tokens of Entra ID, from the process's own surroundings.
    Entra(EntraTokens),
    /// Answers a token of Entra ID.
    Token(SecretSource),
}

impl Credential {
    pub(super) fn key(base64: &str) -> Result<Self, DriverError> {
        match BASE64_STANDARD.decode(base64) {
            Ok(key) => Ok(Credential::Key(key)),
            Err(_) => Err(DriverError::failed("the key of the storage account is not base64")),
        }
    }

    pub(super) fn sas(query: String) -> Self {
        Credential::Sas(Arc::new(move || query.clone()))
    }
}

/// The parts of a connection string that the driver needs.
#[derive(Clone, Default)]
pub(super) struct ConnectionString {
    pub(super) account: Option<String>,
    pub(super) key: Option<String>,
    pub(super) sas: Option<String>,
    pub(super) endpoint: Option<String>,
}

impl fmt::Debug for ConnectionString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionString").finish_non_exhaustive()
    }
}

impl ConnectionString {
    /// Reads `Name=value;…`, as the Azure portal shows it. No part of it is repeated in an error.
    pub(super) fn parse(text: &str) -> Result<Self, DriverError> {
        let (mut parts, mut protocol, mut suffix) = (ConnectionString::default(), "https", None);
        for (number, part) in (1..).zip(text.split(';').filter(|part| !part.trim().is_empty())) {
            let Some((name, value)) = part.trim().split_once('=') else {
                return Err(DriverError::failed(format!(
                    "part {number} of the connection string is not Name=value"
                )));
            };
            match name.to_ascii_lowercase().as_str() {
                "accountname" => parts.account = Some(value.to_owned()),
                "accountkey" => parts.key = Some(value.to_owned()),
                "sharedaccesssignature" => parts.sas = Some(value.to_owned()),
                "tableendpoint" => parts.endpoint = Some(value.to_owned()),
                "endpointsuffix" => suffix = Some(value),
                "defaultendpointsprotocol" if value == "http" => protocol = "http",
                "usedevelopmentstorage" => {
                    return Err(DriverError::failed(
                        "UseDevelopmentStorage is not read: give the emulator's account, key and \
                         TableEndpoint",
                    ));
                }
                // Other services' endpoints.
                _ => {}
            }
        }
        if let (None, Some(account)) = (&parts.endpoint, &parts.account) {
            let suffix = suffix.unwrap_or("core.windows.net");
            parts.endpoint = Some(format!("{protocol}://{account}.table.{suffix}"));
        }
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_string_names_account_key_and_endpoint() {
        let parts = ConnectionString::parse(
            "DefaultEndpointsProtocol=https;AccountName=ada1;AccountKey=aGk=;\
             EndpointSuffix=core.chinacloudapi.cn",
        )
        .unwrap();
        assert_eq!(parts.account.as_deref(), Some("ada1"));
        assert_eq!(parts.key.as_deref(), Some("aGk="));
        let endpoint = "https://ada1.table.core.chinacloudapi.cn";
        assert_eq!(parts.endpoint.as_deref(), Some(endpoint));
        let parts = ConnectionString::parse(
            "TableEndpoint=http://h/ada1;BlobEndpoint=http://b;SharedAccessSignature=sv=1&sig=x%3D",
        )
        .unwrap();
        assert_eq!(parts.endpoint.as_deref(), Some("http://h/ada1"));
        assert_eq!(parts.sas.as_deref(), Some("sv=1&sig=x%3D"));
    }

    #[test]
    fn a_wrong_connection_string_is_refused_without_its_secrets() {
        for text in ["hush", "AccountName=ada1;hush", "UseDevelopmentStorage=true;x=hush"] {
            let error = ConnectionString::parse(text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hush"), "{error}");
        }
        let parts = ConnectionString::parse("AccountKey=hush").unwrap();
        assert!(!format!("{parts:?}").contains("hush"));
    }
}
