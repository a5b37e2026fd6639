//! The table service: requests, signed and sent.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde::Deserialize;
use sha2::Sha256;

use super::credential::Credential;
use super::failure::{refused, unanswered};
use super::row::{Row, quoted};
use crate::driver::remote::CallKind;
use crate::error::DriverError;

const VERSION: &str = "2020-12-06";
const JSON: &str = "application/json;odata=nometadata";

/// The service, and the table on it.
pub(super) struct Service {
    client: Client,
    account: String,
    /// Without a slash at its end.
    endpoint: String,
    table: String,
    credential: Credential,
}

/// Rows, and where the next ones are.
#[derive(Default)]
pub(super) struct RowPage {
    pub(super) rows: Vec<Row>,
    pub(super) next: Option<Continuation>,
}

pub(super) struct Continuation {
    partition: String,
    row: Option<String>,
}

/// A transaction's body and its boundary.
pub(super) struct TransactionBody {
    pub(super) boundary: String,
    pub(super) body: String,
}

#[derive(Deserialize)]
struct QueryAnswer {
    value: Vec<Row>,
}

impl Service {
    pub(super) fn new(
        client: Client,
        account: String,
        endpoint: &str,
        table: String,
        credential: Credential,
    ) -> Self {
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        Service { client, account, endpoint, table, credential }
    }

    pub(super) fn name(&self) -> String {
        format!("the table {} at {}", self.table, self.endpoint)
    }

    /// An operation, where it was done: the beginning of every message of a failure.
    pub(super) fn doing(&self, operation: &str) -> String {
        format!("Azure Tables, {operation} on {}", self.name())
    }

    /// The address of the table, as the requests of a transaction have it.
    pub(super) fn table_url(&self) -> String {
        format!("{}/{}", self.endpoint, self.table)
    }

    /// The address of one row.
    pub(super) fn row_url(&self, partition: &str, row_key: &str) -> String {
        let encoded = |value: &str| {
            utf8_percent_encode(&value.replace('\'', "''"), NON_ALPHANUMERIC).to_string()
        };
        format!(
            "{}(PartitionKey='{}',RowKey='{}')",
            self.table_url(),
            encoded(partition),
            encoded(row_key)
        )
    }

    /// Sends a request to this path behind the endpoint.
    async fn send(
        &self,
        operation: &str,
        call: CallKind,
        path: &str,
        query: &str,
        with: impl FnOnce(&Client, String) -> RequestBuilder,
    ) -> Result<(StatusCode, HeaderMap, String), DriverError> {
        let doing = || self.doing(operation);
        let date = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let (query, authorization) = match &self.credential {
            Credential::Key(key) => (query.to_owned(), Some(self.signature(key, &date, path)?)),
            Credential::Sas(source) => {
                let sas = source();
                let separator = if query.is_empty() { "" } else { "&" };
                (format!("{query}{separator}{}", sas.trim_start_matches('?')), None)
            }
            Credential::Entra(tokens) => {
                (query.to_owned(), Some(format!("Bearer {}", tokens.token().await?)))
            }
            Credential::Token(source) => (query.to_owned(), Some(format!("Bearer {}", source()))),
        };
        let separator = if query.is_empty() { "" } else { "?" };
        let url = format!("{}/{path}{separator}{query}", self.endpoint);
        let mut request = with(&self.client, url)
            .header("x-ms-version", VERSION)
            .header("x-ms-date", date)
            .header("DataServiceVersion", "3.0;NetFx")
            .header("MaxDataServiceVersion", "3.0;NetFx");
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        // The URL may have a secret in it, and errors are shown.
        let failed = |e: reqwest::Error| unanswered(call, &doing(), e.without_url());
        let answer = request.send().await.map_err(failed)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = answer.text().await.map_err(failed)?;
        Ok((status, headers, body))
    }

    /// SharedKeyLite: the date and the resource.
    fn signature(&self, key: &[u8], date: &str, path: &str) -> Result<String, DriverError> {
        let host = self.endpoint.find("://").map_or(0, |at| at + 3);
        let behind_host = self.endpoint.get(host..).unwrap_or_default();
        let base = behind_host.find('/').and_then(|at| behind_host.get(at..)).unwrap_or_default();
        let resource = format!("/{}{base}/{path}", self.account);
        let mut mac = Hmac::<Sha256>::new_from_slice(key)
            .map_err(|e| DriverError::failed(format!("{}: {e}", self.doing("signing"))))?;
        mac.update(format!("{date}\n{resource}").as_bytes());
        let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
        Ok(format!("SharedKeyLite {}:{signature}", self.account))
    }

    /// Up to `top` rows that the filter takes, with the properties that `select` names.
    pub(super) async fn query(
        &self,
        filter: &str,
        select: &str,
        top: u64,
        next: Option<&Continuation>,
    ) -> Result<RowPage, DriverError> {
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let mut query =
            format!("$filter={}&$select={}&$top={top}", encoded(filter), encoded(select));
        if let Some(next) = next {
            query += &format!("&NextPartitionKey={}", encoded(&next.partition));
            if let Some(row) = &next.row {
                query += &format!("&NextRowKey={}", encoded(row));
            }
        }
        let path = format!("{}()", self.table);
        let get = |client: &Client, url| client.get(url).header(ACCEPT, JSON);
        let (status, headers, body) =
            self.send("a query", CallKind::Read, &path, &query, get).await?;
        if status != StatusCode::OK {
            return Err(refused(CallKind::Read, &self.doing("a query"), status, &body));
        }
        let answer: QueryAnswer = serde_json::from_str(&body).map_err(|e| {
            DriverError::unavailable(format!(
                "{}: an answer that cannot be read: {e}",
                self.doing("a query")
            ))
        })?;
        let header =
            |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let next = header("x-ms-continuation-nextpartitionkey").map(|partition| Continuation {
            partition,
            row: header("x-ms-continuation-nextrowkey"),
        });
        Ok(RowPage { rows: answer.value, next })
    }

    /// The same, past pages that are empty: the service may end one before its first row.
    pub(super) async fn query_all(
        &self,
        filter: &str,
        select: &str,
        top: u64,
    ) -> Result<RowPage, DriverError> {
        let mut next = None;
        loop {
            let found = self.query(filter, select, top, next.as_ref()).await?;
            if !found.rows.is_empty() || found.next.is_none() {
                return Ok(found);
            }
            next = found.next;
        }
    }

    /// Sends a transaction; the body of its answer, which has an answer for each part.
    pub(super) async fn send_batch(&self, batch: &TransactionBody) -> Result<String, DriverError> {
        let kind = format!("multipart/mixed; boundary={}", batch.boundary);
        let post = |client: &Client, url| {
            client
                .post(url)
                .header(CONTENT_TYPE, kind)
                .header(ACCEPT, JSON)
                .body(batch.body.clone())
        };
        let (status, _, body) =
            self.send("a transaction", CallKind::Write, "$batch", "", post).await?;
        if status == StatusCode::ACCEPTED {
            return Ok(body);
        }
        Err(refused(CallKind::Write, &self.doing("a transaction"), status, &body))
    }

    /// Writes a row, in place of one of the same keys.
    pub(super) async fn replace_row(
        &self,
        partition: &str,
        row_key: &str,
        row: Row,
    ) -> Result<(), DriverError> {
        let url = self.row_url(partition, row_key);
        let path = url.strip_prefix(&format!("{}/", self.endpoint)).unwrap_or_default();
        let body = serde_json::Value::Object(row).to_string();
        let put = |client: &Client, url| {
            client.put(url).header(CONTENT_TYPE, "application/json").header(ACCEPT, JSON).body(body)
        };
        let (status, _, body) = self.send("writing a row", CallKind::Read, path, "", put).await?;
        if status.is_success() {
            return Ok(());
        }
        Err(refused(CallKind::Read, &self.doing("writing a row"), status, &body))
    }

    /// Whether the table is there.
    pub(super) async fn has_table(&self) -> Result<bool, DriverError> {
        let nothing = format!("PartitionKey eq {}", quoted("no aggregate"));
        match self.query(&nothing, "RowKey", 1, None).await {
            Ok(_) => Ok(true),
            Err(error) if error.to_string().contains("TableNotFound") => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn make_table(&self) -> Result<(), DriverError> {
        let body = serde_json::json!({ "TableName": self.table }).to_string();
        let post = |client: &Client, url| {
            client
                .post(url)
                .header(CONTENT_TYPE, "application/json")
                .header(ACCEPT, JSON)
                .body(body)
        };
        let (status, _, body) = self.send("making it", CallKind::Read, "Tables", "", post).await?;
        // Another process may have been quicker.
        if status.is_success() || body.contains("TableAlreadyExists") {
            return Ok(());
        }
        Err(refused(CallKind::Read, &self.doing("making it"), status, &body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(endpoint: &str) -> Service {
        let key = Credential::Key(vec![7; 32]);
        Service::new(Client::new(), "ada".to_owned(), endpoint, "events".to_owned(), key)
    }

    #[test]
    fn a_row_has_an_address_of_its_own() {
        let service = service("http://127.0.0.1:1/ada/");
        assert_eq!(
            service.row_url("o'brien ☂", "head"),
            "http://127.0.0.1:1/ada/events(PartitionKey='o%27%27brien%20%E2%98%82',RowKey='head')"
        );
    }

    #[test]
    fn the_resource_is_signed_with_the_endpoints_path() {
        let date = "Mon, 01 Jan 2024 00:00:00 GMT";
        let sign = |endpoint| service(endpoint).signature(&[7; 32], date, "events()").unwrap();
        let hosted = sign("https://ada.table.core.windows.net");
        assert!(hosted.starts_with("SharedKeyLite ada:"), "{hosted}");
        assert_ne!(hosted, sign("http://127.0.0.1:1/ada"));
    }
}
