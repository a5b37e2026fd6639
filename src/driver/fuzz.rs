//! Unit tests: no text harms what reads a URL, and nothing behind its scheme is shown.

use super::{is_known, without_secrets};
use crate::event::fuzzing::fuzz;

#[test]
fn fuzz_url() {
    let seeds = [
        "mongodb://ada:hush@a:1,b:2/db?w=1&x=%20%zz",
        "redb:./data?durability=written",
        "mongodb+srv://a/b",
        "cassandra://[::1]:9042/space/table?create=true",
        "nosuch:x",
        "mongodb:mongodb://",
    ];
    fuzz("url", seeds.map(|seed| seed.as_bytes().to_vec()), |input| {
        let text = String::from_utf8_lossy(input);
        let shown = without_secrets(&text);
        let (scheme, rest) = text.split_once(':').unwrap_or_default();
        let is_path = ["redb", "memory"].contains(&scheme);
        // What follows may be the scheme once more, which is no secret.
        let behind = shown.split_once(':').map_or(&*shown, |(_, behind)| behind);
        assert!(is_path || rest.len() < 5 || !behind.contains(rest), "{shown}");
        (is_known(&text), shown.len().min(12), remote(rest))
    });
}

#[cfg(not(feature = "remote"))]
fn remote(_: &str) -> Option<String> {
    None
}

/// What the drivers of remote engines make of what follows the scheme.
#[cfg(feature = "remote")]
fn remote(rest: &str) -> Option<String> {
    let read = super::remote::RemoteUrl::parse(rest);
    let hosts = read.as_ref().map(super::remote::RemoteUrl::hosts);
    let hosts = hosts
        .map_err(ToString::to_string)
        .and_then(|hosts| hosts.map(|hosts| hosts.len().min(4)).map_err(|error| error.to_string()));
    Some(format!("{hosts:?}").chars().filter(|c| !c.is_ascii_digit()).take(60).collect())
}
