//! What stands behind the scheme in a remote engine's URL.

use std::fmt::Display;
use std::str::FromStr;

use crate::error::DriverError;

/// `//authority/path?name=value&…`, taken apart and percent-decoded. Options are taken out one by
/// one, and what is left at the end is refused: a misspelt option must not be a silent default.
#[derive(Debug)]
pub(crate) struct RemoteUrl {
    /// Everything before the first `/`, `?` or the end; not decoded, because several hosts in one
    /// address are no URL to a URL parser.
    pub(crate) authority: String,
    /// What follows the authority's `/`, percent-decoded; empty where there is none.
    pub(crate) path: String,
    options: Vec<(String, String)>,
}

impl RemoteUrl {
    /// Reads what follows `scheme:`.
    pub(crate) fn parse(rest: &str) -> Result<Self, DriverError> {
        let Some(rest) = rest.strip_prefix("//") else {
            return Err(DriverError::failed("\"//\" must follow the scheme"));
        };
        let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = address.split_once('/').unwrap_or((address, ""));
        let mut options = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let Some((name, value)) = pair.split_once('=') else {
                return Err(DriverError::failed(format!(
                    "{pair:?} is no option: write name=value"
                )));
            };
            options.push((decoded(name)?, decoded(value)?));
        }
        Ok(RemoteUrl { authority: authority.to_owned(), path: decoded(path)?, options })
    }

    /// Takes this option out; `None` where it is not given.
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        let index = self.options.iter().position(|(given, _)| given == name)?;
        Some(self.options.remove(index).1)
    }

    /// Takes this option out and reads its value.
    pub(crate) fn take_parsed<T: FromStr<Err: Display>>(
        &mut self,
        name: &str,
    ) -> Result<Option<T>, DriverError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        value.parse().map(Some).map_err(|error: T::Err| {
            DriverError::failed(format!("{value:?} is no value of the option {name}: {error}"))
        })
    }

    /// Refuses what nobody took out. `known` names the options there are, for the message.
    pub(crate) fn refuse_rest(&self, known: &str) -> Result<(), DriverError> {
        match self.options.first() {
            None => Ok(()),
            Some((name, _)) => {
                Err(DriverError::failed(format!("{name:?} is no option here; there are: {known}")))
            }
        }
    }
}

/// Percent-decoded.
pub(crate) fn decoded(text: &str) -> Result<String, DriverError> {
    let bad = || DriverError::failed(format!("{text:?} is not percent-encoded UTF-8"));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        if first != b'%' {
            bytes.push(first);
            rest = behind;
            continue;
        }
        let digits = behind.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).ok_or_else(bad)?;
        bytes.push(byte);
        rest = behind.get(2..).unwrap_or_default();
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let mut url = RemoteUrl::parse("//a:1,b:2/space/table?create=true&name=a%20b").unwrap();
        assert_eq!((url.authority.as_str(), url.path.as_str()), ("a:1,b:2", "space/table"));
        assert_eq!(url.take_parsed::<bool>("create").unwrap(), Some(true));
        assert!(url.refuse_rest("create").unwrap_err().to_string().contains("\"name\""));
        assert_eq!(url.take("name").as_deref(), Some("a b"));
        url.refuse_rest("create").unwrap();
        assert_eq!(url.take("name"), None);
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for bad in ["table", "//t?create", "//t/%zz", "//t/%f", "//t/%ff", "//t?a=%+1"] {
            assert!(RemoteUrl::parse(bad).is_err(), "{bad:?} was taken");
        }
        let mut url = RemoteUrl::parse("//t?create=maybe").unwrap();
        assert!(url.take_parsed::<bool>("create").is_err());
    }
}
