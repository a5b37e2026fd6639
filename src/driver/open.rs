//! Which driver a URL names.

use std::sync::Arc;

use super::memory::MemoryDriver;
use super::{Driver, DriverError};

/// The forms of URL that this build opens.
pub const URL_FORMS: &[&str] = &[
    "memory:",
    #[cfg(feature = "redb")]
    "redb:DIRECTORY",
    #[cfg(feature = "dynamodb")]
    "dynamodb://TABLE",
    #[cfg(feature = "mongodb")]
    "mongodb://HOSTS/DATABASE",
    #[cfg(feature = "cassandra")]
    "cassandra://HOSTS/KEYSPACE",
    #[cfg(feature = "azure-tables")]
    "azure-tables://ACCOUNT/TABLE",
];

/// Opens the driver that a URL names, by what stands before its first `:`.
///
/// It must be opened, polled and closed on one tokio runtime that outlives it. A store does so by
/// itself: [`EventStore::open`](crate::EventStore::open) takes the same URLs.
///
/// # Errors
///
/// [`DriverError::Unsupported`] where no driver of this build has that scheme; otherwise what the
/// driver says.
pub async fn open(url: &str) -> Result<Arc<dyn Driver>, DriverError> {
    let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
    match scheme {
        "memory" if rest.is_empty() => Ok(Arc::new(MemoryDriver::new())),
        "memory" => Err(DriverError::failed("a memory store has no name: write \"memory:\"")),
        #[cfg(feature = "redb")]
        "redb" => super::redb::open_url(redb_path(rest)?).await,
        #[cfg(feature = "dynamodb")]
        "dynamodb" => super::dynamodb::open_url(rest).await,
        #[cfg(feature = "mongodb")]
        "mongodb" | "mongodb+srv" => super::mongodb::open_url(url).await,
        #[cfg(feature = "cassandra")]
        "cassandra" => super::cassandra::open_url(rest).await,
        #[cfg(feature = "azure-tables")]
        "azure-tables" => super::azure_tables::open_url(rest).await,
        _ => Err(DriverError::unsupported(format!(
            "{:?} names no driver of this build; known are: {}",
            without_secrets(url),
            URL_FORMS.join(", ")
        ))),
    }
}

/// What stands behind `redb:`. A URL with an empty host is the same path; with another one it is a
/// mistake.
#[cfg(feature = "redb")]
fn redb_path(rest: &str) -> Result<&str, DriverError> {
    match rest.strip_prefix("//") {
        None => Ok(rest),
        Some(path) if path.starts_with('/') && !path.starts_with("//") => Ok(path),
        Some(path) => Err(DriverError::failed(format!(
            "redb:{rest} names a host, which a directory has not; write redb:{path} for a relative \
             path and redb:/{path} for an absolute one"
        ))),
    }
}

/// Whether a driver of this build has the URL's scheme.
pub(crate) fn is_known(url: &str) -> bool {
    let scheme = |url: &str| url.split(':').next().map(str::to_owned);
    let of_srv = cfg!(feature = "mongodb") && url.starts_with("mongodb+srv:");
    of_srv || URL_FORMS.iter().any(|form| scheme(form) == scheme(url))
}

/// The URL for messages: the directory of an embedded store, and of every other URL the scheme
/// alone, because any part behind it can be a secret in the wrong place.
pub(crate) fn without_secrets(url: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
    match url.split_once(':') {
        Some(("redb" | "memory", _)) => url.to_owned(),
        Some((scheme, _)) if is_known(url) => format!("{scheme}://…"),
        Some((scheme, rest)) if rest.starts_with("//") && scheme.chars().all(plain) => {
            format!("{scheme}://…")
        }
        _ => "…".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_url_has_no_secrets() {
        for (url, shown) in [
            ("redb:./data", "redb:./data"),
            ("redb:./a@b", "redb:./a@b"),
            ("mongodb://u:hush@a:1,b:2/db?w=1", "mongodb://…"),
            ("mongodb://u:hu?sh@a/db", "mongodb://…"),
            ("nosuch://u:hush@a", "nosuch://…"),
            ("hush:x", "…"),
            ("hu@sh:x", "…"),
            ("hush", "…"),
        ] {
            assert_eq!(without_secrets(url), shown);
        }
    }

    #[cfg(feature = "redb")]
    #[test]
    fn a_redb_url_with_a_host_is_refused_with_what_to_write() {
        for (rest, path) in [("x", "x"), ("./x", "./x"), ("/x", "/x"), ("///x", "/x")] {
            assert_eq!(redb_path(rest).unwrap(), path);
        }
        for rest in ["//x", "//x/y", "////x", "//"] {
            let error = redb_path(rest).unwrap_err().to_string();
            assert!(error.contains("redb:/") && error.contains(rest), "{error}");
        }
    }

    #[tokio::test]
    async fn a_url_that_no_driver_knows_is_refused_without_its_secrets() {
        let error = open("nosuch://u:hush@a?key=hush").await.err().unwrap().to_string();
        assert!(error.contains("nosuch://…") && !error.contains("hush"), "{error}");
    }
}
