//! From git's names, which are bytes, to aggregate keys, which are text without control characters.
//!
//! A key is `file/` and the name, with `%XX` for each byte of what is not UTF-8, of control characters, and
//! of `%` itself, so that two names never share a key. A name too long for a key keeps its beginning, then
//! `%~` (which no escape begins with) and a hash of the whole.

use std::fmt::Write;

use seriatim::driver::DriverError;
use seriatim::{AggregateKey, EventStore, KeyError, ReadError};
use uuid::Uuid;

pub(crate) const PREFIX: &str = "file/";

const HASHED: &str = "%~";
/// A UUID in hexadecimal digits alone.
const HASH_BYTES: usize = 32;
const NAMESPACE: Uuid = Uuid::from_u128(0x0d3b_2f9e_52a1_4c06_9b57_6a4e_8d1f_c370);

/// The aggregate of the file with this name.
pub(crate) fn key(name: &[u8]) -> Result<AggregateKey, KeyError> {
    let mut key = format!("{PREFIX}{}", escaped(name));
    if key.len() > AggregateKey::MAX_BYTES {
        let room = AggregateKey::MAX_BYTES - HASHED.len() - HASH_BYTES;
        let end = (0..=room).rev().find(|index| key.is_char_boundary(*index));
        key.truncate(end.unwrap_or_default());
        key.push_str(HASHED);
        let hash = Uuid::new_v5(&NAMESPACE, name);
        key.push_str(&hash.simple().to_string());
    }
    AggregateKey::new(&key)
}

/// The files that the store has events of; `None` where it cannot list keys.
pub(crate) async fn listed(store: &EventStore) -> Result<Option<Vec<AggregateKey>>, ReadError> {
    match store.keys(PREFIX).collect().await {
        Err(ReadError::Driver(DriverError::Unsupported { .. })) => Ok(None),
        listed => listed.map(Some),
    }
}

/// Whether the key tells the whole name.
pub(crate) fn is_whole(key: &AggregateKey) -> bool {
    !key.as_str().contains(HASHED)
}

/// What a key, or what an event keeps for it, calls the file.
pub(crate) fn shown(key: &AggregateKey) -> &str {
    key.as_str().strip_prefix(PREFIX).unwrap_or(key.as_str())
}

/// The name in printable characters; different for different names.
pub(crate) fn escaped(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character == '%' || character.is_control() {
                let mut bytes = [0; 4];
                escape(&mut text, character.encode_utf8(&mut bytes).as_bytes());
            } else {
                text.push(character);
            }
        }
        escape(&mut text, chunk.invalid());
    }
    text
}

fn escape(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(text, "%{byte:02X}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &[u8]) -> String {
        key(name).unwrap().as_str().to_owned()
    }

    #[test]
    fn plain_names_stay_as_they_are() {
        assert_eq!(text(b"src/lib.rs"), "file/src/lib.rs");
        assert_eq!(text("é \"q\" #1.txt".as_bytes()), "file/é \"q\" #1.txt");
    }

    #[test]
    fn what_a_key_cannot_have_is_escaped() {
        assert_eq!(text(b"a\tb\nc"), "file/a%09b%0Ac");
        assert_eq!(text(b"100%"), "file/100%25");
        assert_eq!(text(b"caf\xe9"), "file/caf%E9");
        assert_eq!(text("\u{85}".as_bytes()), "file/%C2%85");
        assert_ne!(text(b"caf\xe9"), text(b"caf%E9"));
    }

    #[test]
    fn long_names_are_told_apart_by_a_hash() {
        let (longest, longer) = ("n".repeat(507), "n".repeat(508));
        assert_eq!(text(longest.as_bytes()), format!("file/{longest}"));
        let hashed = key(longer.as_bytes()).unwrap();
        assert_eq!(hashed.as_str().len(), AggregateKey::MAX_BYTES);
        assert!(!is_whole(&hashed) && is_whole(&key(longest.as_bytes()).unwrap()));
        let other = format!("{}m", "n".repeat(507));
        assert_ne!(text(other.as_bytes()), hashed.as_str());
        assert!(text("é".repeat(300).as_bytes()).len() <= AggregateKey::MAX_BYTES);
    }
}
