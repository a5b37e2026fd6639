//! Tokens of Microsoft Entra ID: asked for where the process runs, kept until they are about to
//! expire.
//!
//! A token is fetched before the request that needs it goes out, within the time that an attempt
//! has for connecting. So where none is to be had, nothing was written.

use std::fmt;
use std::time::Duration;

use reqwest::{Client, RequestBuilder, StatusCode};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::error::DriverError;

/// What the tokens are for.
const RESOURCE: &str = "https://storage.azure.com/";
const SCOPE: &str = "https://storage.azure.com/.default";
/// Where a virtual machine asks for its own identity.
const MACHINE: &str = "http://169.254.169.254/metadata/identity/oauth2/token";
const AUTHORITY: &str = "https://login.microsoftonline.com/";
/// A token is not used for longer than this before its end.
const EARLIER: Duration = Duration::from_secs(300);

/// How the process says who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntraIdentity {
    /// The identity of the machine, the app or the function that the process runs on.
    /// `IDENTITY_ENDPOINT` and `IDENTITY_HEADER` say where to ask, where they are set; otherwise
    /// the virtual machine's own service does. `AZURE_CLIENT_ID` chooses one of several identities.
    Managed,
    /// The federated identity of a Kubernetes pod, by `AZURE_TENANT_ID`, `AZURE_CLIENT_ID` and
    /// `AZURE_FEDERATED_TOKEN_FILE`, as Azure's webhook sets them.
    Workload,
    /// An application with a secret, by `AZURE_TENANT_ID`, `AZURE_CLIENT_ID` and
    /// `AZURE_CLIENT_SECRET`.
    ClientSecret,
}

impl EntraIdentity {
    /// The value of the URL's option `entra`.
    pub(super) fn of_option(value: &str) -> Result<Self, DriverError> {
        match value {
            "managed" => Ok(EntraIdentity::Managed),
            "workload" => Ok(EntraIdentity::Workload),
            "client_secret" => Ok(EntraIdentity::ClientSecret),
            _ => Err(DriverError::failed(
                "the option entra must be managed, workload or client_secret",
            )),
        }
    }
}

/// Fetches and keeps tokens.
pub(super) struct EntraTokens {
    client: Client,
    source: TokenRequest,
    /// How long one request may take.
    limit: Duration,
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    token: String,
    until: Instant,
}

/// Where a token is asked for, and with what.
enum TokenRequest {
    /// A service on this machine.
    Local { address: String, header: (&'static str, String), query: Vec<(&'static str, String)> },
    /// The authority of a tenant.
    Authority { address: String, client_id: String, proof: Proof },
}

enum Proof {
    Secret(String),
    /// Read for each request: it is replaced before it expires.
    File(String),
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    expires_in: Seconds,
}

/// A number, or one in quotation marks.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(u64),
    Text(String),
}

impl fmt::Debug for EntraTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntraTokens").finish_non_exhaustive()
    }
}

impl EntraTokens {
    /// Reads the environment; asks nothing yet.
    pub(super) fn new(
        identity: EntraIdentity,
        client: Client,
        limit: Duration,
    ) -> Result<Self, DriverError> {
        let source = TokenRequest::of(identity, |name| std::env::var(name).ok())?;
        Ok(EntraTokens { client, source, limit, kept: Mutex::new(None) })
    }

    /// A token that is good for a while.
    pub(super) async fn token(&self) -> Result<String, DriverError> {
        let mut kept = self.kept.lock().await;
        if let Some(kept) = kept.as_ref().filter(|kept| Instant::now() < kept.until) {
            return Ok(kept.token.clone());
        }
        let (token, lasts) = self.fetch().await?;
        let used_for = lasts.saturating_sub(EARLIER).max(lasts / 2);
        *kept = Some(Kept { token: token.clone(), until: Instant::now() + used_for });
        Ok(token)
    }

    async fn fetch(&self) -> Result<(String, Duration), DriverError> {
        // An address may hold a tenant, and an answer a secret: neither is repeated.
        let unanswered = |e: reqwest::Error| {
            let e = e.without_url();
            DriverError::unavailable(format!("Entra ID: no token: {e}")).caused_by(e)
        };
        let request = self.source.request(&self.client)?.timeout(self.limit);
        let answer = request.send().await.map_err(unanswered)?;
        let status = answer.status();
        let body = answer.text().await.map_err(unanswered)?;
        if !status.is_success() {
            let passes = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
            let message = format!("Entra ID: no token: the answer has status {status}");
            return Err(match passes {
                true => DriverError::unavailable(message),
                false => DriverError::failed(message),
            });
        }
        let answer: Answer = serde_json::from_str(&body)
            .map_err(|_| DriverError::failed("Entra ID: an answer without a token"))?;
        let seconds = match answer.expires_in {
            Seconds::Number(seconds) => seconds,
            Seconds::Text(text) => text.parse().unwrap_or(0),
        };
        Ok((answer.access_token, Duration::from_secs(seconds)))
    }
}

impl TokenRequest {
    fn of(
        identity: EntraIdentity,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, DriverError> {
        if identity == EntraIdentity::Managed {
            let client_id = variable("AZURE_CLIENT_ID").map(|id| ("client_id", id));
            let resource = ("resource", RESOURCE.to_owned());
            let (address, header, version) =
                match (variable("IDENTITY_ENDPOINT"), variable("IDENTITY_HEADER")) {
                    (Some(address), Some(secret)) => {
                        (address, ("X-IDENTITY-HEADER", secret), "2019-08-01")
                    }
                    _ => (MACHINE.to_owned(), ("Metadata", "true".to_owned()), "2018-02-01"),
                };
            let query = [Some(("api-version", version.to_owned())), Some(resource), client_id];
            let query = query.into_iter().flatten().collect();
            return Ok(TokenRequest::Local { address, header, query });
        }
        let needed = |name: &str| {
            variable(name).ok_or_else(|| {
                DriverError::failed(format!("Entra ID: the variable {name} is not set"))
            })
        };
        let authority = variable("AZURE_AUTHORITY_HOST").unwrap_or_else(|| AUTHORITY.to_owned());
        let tenant = needed("AZURE_TENANT_ID")?;
        let address = format!("{}/{tenant}/oauth2/v2.0/token", authority.trim_end_matches('/'));
        let client_id = needed("AZURE_CLIENT_ID")?;
        let proof = match identity {
            EntraIdentity::Workload => Proof::File(needed("AZURE_FEDERATED_TOKEN_FILE")?),
            _ => Proof::Secret(needed("AZURE_CLIENT_SECRET")?),
        };
        Ok(TokenRequest::Authority { address, client_id, proof })
    }

    fn request(&self, client: &Client) -> Result<RequestBuilder, DriverError> {
        const FORM: &str = "application/x-www-form-urlencoded";
        match self {
            TokenRequest::Local { address, header: (name, value), query } => {
                let address = format!("{address}?{}", pairs(query));
                Ok(client.get(address).header(*name, value))
            }
            TokenRequest::Authority { address, client_id, proof } => {
                let mut form = vec![
                    ("grant_type", "client_credentials".to_owned()),
                    ("scope", SCOPE.to_owned()),
                    ("client_id", client_id.clone()),
                ];
                match proof {
                    Proof::Secret(secret) => form.push(("client_secret", secret.clone())),
                    Proof::File(file) => {
                        let token = std::fs::read_to_string(file).map_err(|e| {
                            DriverError::failed(format!(
                                "Entra ID: the file of AZURE_FEDERATED_TOKEN_FILE: {e}"
                            ))
                        })?;
                        form.push(("client_assertion_type", ASSERTION.to_owned()));
                        form.push(("client_assertion", token.trim().to_owned()));
                    }
                }
                let form = client.post(address).header("content-type", FORM).body(pairs(&form));
                Ok(form)
            }
        }
    }
}

const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Names and values as a query or a form has them.
fn pairs(pairs: &[(&str, String)]) -> String {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    let pair = |(name, value): &(&str, String)| {
        format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC))
    };
    pairs.iter().map(pair).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(
        identity: EntraIdentity,
        set: &'static [(&str, &str)],
    ) -> Result<TokenRequest, DriverError> {
        TokenRequest::of(identity, |name| {
            set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_machine_is_asked_where_the_environment_says_nothing() {
        let client = Client::new();
        let request = of(EntraIdentity::Managed, &[]).unwrap().request(&client).unwrap();
        let request = request.build().unwrap();
        assert!(request.url().as_str().starts_with(MACHINE), "{}", request.url());
        assert_eq!(request.headers()["metadata"], "true");
        let set = &[("IDENTITY_ENDPOINT", "http://127.0.0.1:1/t"), ("IDENTITY_HEADER", "h")];
        let request = of(EntraIdentity::Managed, set).unwrap().request(&client).unwrap();
        let request = request.build().unwrap();
        assert!(request.url().as_str().starts_with("http://127.0.0.1:1/t?"), "{}", request.url());
        assert_eq!(request.headers()["x-identity-header"], "h");
    }

    #[test]
    fn what_is_missing_is_named() {
        let set = &[("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "c")];
        for (identity, missing) in [
            (EntraIdentity::Workload, "AZURE_FEDERATED_TOKEN_FILE"),
            (EntraIdentity::ClientSecret, "AZURE_CLIENT_SECRET"),
        ] {
            let error = of(identity, set).err().unwrap();
            assert!(error.to_string().contains(missing), "{error}");
        }
    }
}
