//! What stands behind the scheme in a remote engine's URL.
//!
//! No error and no `Debug` output of this module repeats a part of the URL: any part can be a
//! secret that was put in the wrong place. An error says which part is wrong (the password, the
//! second option) and what to write.

use std::fmt;
use std::str::FromStr;

use crate::error::DriverError;

/// `//user:password@authority/path?name=value&…`, taken apart and percent-decoded.
///
/// The user information is cut off before anything else is read. Options are taken out one by one,
/// and what is left at the end is refused: a misspelt option must not be a silent default.
pub(crate) struct RemoteUrl {
    user: Option<UserInfo>,
    /// Everything between the user information and the first `/` or `?`; not decoded, because
    /// several hosts in one address are no URL to a URL parser.
    pub(crate) authority: String,
    /// What follows the authority's `/`, percent-decoded; empty where there is none.
    pub(crate) path: String,
    options: Vec<UrlOption>,
}

/// One `name=value` of a URL.
struct UrlOption {
    /// Its number in the URL, from 1.
    number: usize,
    name: String,
    value: String,
    /// As it stands in the URL.
    raw: String,
}

/// Who signs in, percent-decoded.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct UserInfo {
    pub(crate) name: String,
    pub(crate) password: Option<String>,
}

impl fmt::Debug for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteUrl").finish_non_exhaustive()
    }
}

impl fmt::Debug for UserInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserInfo").finish_non_exhaustive()
    }
}

impl RemoteUrl {
    /// Reads what follows `scheme:`.
    pub(crate) fn parse(rest: &str) -> Result<Self, DriverError> {
        let Some(rest) = rest.strip_prefix("//") else {
            return Err(DriverError::failed("write \"//\" behind the scheme of the URL"));
        };
        let (user, rest) = match rest.rsplit_once('@') {
            None => (None, rest),
            Some((user, rest)) => (Some(UserInfo::parse(user)?), rest),
        };
        let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = address.split_once('/').unwrap_or((address, ""));
        let mut options = Vec::new();
        for (number, pair) in (1..).zip(query.split('&').filter(|pair| !pair.is_empty())) {
            let Some((name, value)) = pair.split_once('=') else {
                return Err(DriverError::failed(format!(
                    "option {number} of the URL has no value: write name=value, and '&' within \
                     a value as %26"
                )));
            };
            let part = format!("option {number} of the URL");
            let (name, value) = (decoded(&part, name)?, decoded(&part, value)?);
            options.push(UrlOption { number, name, value, raw: pair.to_owned() });
        }
        let path = decoded("what follows the first \"/\" of the URL", path)?;
        Ok(RemoteUrl { user, authority: authority.to_owned(), path, options })
    }

    /// Takes out who signs in.
    pub(crate) fn take_user(&mut self) -> Option<UserInfo> {
        self.user.take()
    }

    /// Refuses user information where the engine has no users.
    pub(crate) fn refuse_user(&self) -> Result<(), DriverError> {
        match self.user {
            None => Ok(()),
            Some(_) => Err(DriverError::failed(
                "this URL takes no user: remove what stands before the '@' (a '@' within an \
                 option is written %40)",
            )),
        }
    }

    /// Takes this option out; `None` where it is not given.
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        let index = self.options.iter().position(|option| option.name == name)?;
        Some(self.options.remove(index).value)
    }

    /// Takes this option out and reads its value.
    pub(crate) fn take_parsed<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, DriverError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let read = value.parse().map(Some);
        read.map_err(|_| {
            let kind = std::any::type_name::<T>().rsplit("::").next().unwrap_or_default();
            let wanted = if kind == "bool" { "true or false" } else { "a whole number" };
            DriverError::failed(format!("the value of the option {name} must be {wanted}"))
        })
    }

    /// Refuses what nobody took out. `known` names the options there are, for the message.
    pub(crate) fn refuse_rest(&self, known: &str) -> Result<(), DriverError> {
        match self.options.first() {
            None => Ok(()),
            Some(option) => Err(DriverError::failed(format!(
                "option {} of the URL is not known, or is given twice; there are: {known}",
                option.number
            ))),
        }
    }

    /// What nobody took out, as it stands in the URL, each with its number.
    pub(crate) fn rest(&self) -> impl Iterator<Item = (usize, &str)> {
        self.options.iter().map(|option| (option.number, option.raw.as_str()))
    }

    /// The authority as `host[:port]`, one or more of them.
    pub(crate) fn hosts(&self) -> Result<Vec<String>, DriverError> {
        let hosts: Vec<String> = self.authority.split(',').map(str::to_owned).collect();
        match hosts.iter().position(|host| !is_host(host)) {
            None => Ok(hosts),
            Some(index) => Err(DriverError::failed(format!(
                "host {} of the URL is missing or malformed: write HOST or HOST:PORT, several \
                 with ',' between them",
                index + 1
            ))),
        }
    }
}

impl UserInfo {
    fn parse(user: &str) -> Result<Self, DriverError> {
        // A raw one of these makes it ambiguous where the user information ends.
        if user.contains(['/', '?', '#', '@']) {
            return Err(DriverError::failed(
                "write '/', '?', '#', '@' and '%' within a user's name or password, and '@' \
                 within an option, percent-encoded (%2F, %3F, %23, %40, %25)",
            ));
        }
        let (name, password) = match user.split_once(':') {
            Some((name, password)) => (name, Some(password)),
            None => (user, None),
        };
        Ok(UserInfo {
            name: decoded("the user's name in the URL", name)?,
            password: password.map(|p| decoded("the password in the URL", p)).transpose()?,
        })
    }
}

/// Whether this is a host's name or address, with a port or without.
fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) if address.parse::<std::net::Ipv6Addr>().is_ok() => ("v6", rest),
        Some(_) => return false,
        None => match host.split_once(':') {
            Some((name, _)) => (name, host.get(name.len()..).unwrap_or_default()),
            None => (host, ""),
        },
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    let numbered = match port.strip_prefix(':') {
        Some(number) => number.parse::<u16>().is_ok_and(|number| number != 0),
        None => port.is_empty(),
    };
    !name.is_empty() && name.chars().all(plain) && numbered
}

/// Refuses an endpoint that is not `http(s)://HOST[:PORT][/PATH]`. What passes holds no secret and
/// may be shown.
pub(crate) fn check_endpoint(endpoint: &str) -> Result<(), DriverError> {
    match is_endpoint(endpoint) {
        true => Ok(()),
        false => Err(DriverError::failed(
            "the endpoint must be http://HOST[:PORT][/PATH] or https://…, without a user, a query \
             or a fragment",
        )),
    }
}

fn is_endpoint(endpoint: &str) -> bool {
    let rest = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
    let Some(rest) = rest else { return false };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let plain = |c: char| c.is_ascii_alphanumeric() || "/.-_".contains(c);
    is_host(host) && path.chars().all(plain)
}

/// An endpoint for `Debug`: nothing of one that would be refused.
pub(crate) fn shown_endpoint(endpoint: Option<&String>) -> Option<&str> {
    endpoint.map(|given| if is_endpoint(given) { given.as_str() } else { "…" })
}

/// Percent-decoded. `part` names what it is, for the message.
pub(crate) fn decoded(part: &str, text: &str) -> Result<String, DriverError> {
    let bad =
        || DriverError::failed(format!("{part} is not percent-encoded UTF-8: write a '%' as %25"));
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
        let mut url =
            RemoteUrl::parse("//ada:h%40sh@a:1,b:2/space/table?create=true&name=a%20b").unwrap();
        let user = url.take_user().unwrap();
        assert_eq!((user.name.as_str(), user.password.as_deref()), ("ada", Some("h@sh")));
        assert_eq!(url.hosts().unwrap(), ["a:1", "b:2"]);
        assert_eq!(url.path, "space/table");
        assert_eq!(url.take_parsed::<bool>("create").unwrap(), Some(true));
        assert!(url.refuse_rest("create").unwrap_err().to_string().contains("option 2"));
        assert_eq!(url.take("name").as_deref(), Some("a b"));
        url.refuse_rest("create").unwrap();
        assert_eq!(url.take("name"), None);
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for bad in [
            "table",
            "//t?create",
            "//t/%zz",
            "//t/%f",
            "//t/%ff",
            "//t?a=%+1",
            "//a:p/w@h",
            "//a:p?w@h",
            "//a:p@w@h",
            "//a:p#w@h",
            "//a:%zz@h",
            "//h/t?a=b@c",
        ] {
            assert!(RemoteUrl::parse(bad).is_err(), "{bad:?} was taken");
        }
        let mut url = RemoteUrl::parse("//t?create=maybe").unwrap();
        assert!(url.take_parsed::<bool>("create").is_err());
        assert!(RemoteUrl::parse("//a:b@h").unwrap().refuse_user().is_err());
    }

    #[test]
    fn hosts_are_names_or_addresses_with_ports() {
        for (authority, taken) in [
            ("a", true),
            ("a:1,[::1]:2,b-c.d", true),
            ("10.0.0.1:9042", true),
            ("[::1]", true),
            ("", false),
            ("a,,b", false),
            ("a:hush", false),
            ("a:0", false),
            ("a:", false),
            ("a b", false),
            ("[x]:1", false),
            ("a&b", false),
        ] {
            let url = RemoteUrl::parse(&format!("//{authority}/x")).unwrap();
            assert_eq!(url.hosts().is_ok(), taken, "{authority:?}");
        }
    }

    #[test]
    fn an_endpoint_has_no_user_query_or_fragment() {
        for (endpoint, taken) in [
            ("http://127.0.0.1:8000", true),
            ("https://h.example/dev-1", true),
            ("ftp://h", false),
            ("http://u:p@h", false),
            ("http://h?sig=x", false),
            ("http://h#x", false),
            ("http://", false),
            ("http://h:p/", false),
        ] {
            assert_eq!(check_endpoint(endpoint).is_ok(), taken, "{endpoint:?}");
            let shown = shown_endpoint(Some(&endpoint.to_owned())) == Some(endpoint);
            assert_eq!(shown, taken, "{endpoint:?}");
        }
    }
}
