//! A value of a table under a checksum that covers its key.
//!
//! redb does not check the pages that it reads. A value that changed, or that stands under another
//! key, is therefore found here, and is damage. Layout: `version u8 (1) · checksum u64 · value`.

use twox_hash::XxHash3_64;

const VERSION: u8 = 1;

/// A checksum of a value, which depends on its key.
pub(in crate::driver::redb) fn checksum(key: &[u8], value: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(XxHash3_64::oneshot(key), value)
}

/// The value as it is stored under `key`.
pub(in crate::driver::redb) fn seal(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(1 + 8 + value.len());
    sealed.push(VERSION);
    sealed.extend_from_slice(&checksum(key, value).to_le_bytes());
    sealed.extend_from_slice(value);
    sealed
}

/// The value that was stored under `key`; `None` where it is damaged.
pub(in crate::driver::redb) fn unseal<'a>(key: &[u8], sealed: &'a [u8]) -> Option<&'a [u8]> {
    let (version, rest) = sealed.split_first()?;
    let (stored, value) = rest.split_first_chunk()?;
    let is_sound = *version == VERSION && u64::from_le_bytes(*stored) == checksum(key, value);
    is_sound.then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_value_reads_back_under_its_own_key_only(key: Vec<u8>, other: Vec<u8>, value: Vec<u8>) {
            let sealed = seal(&key, &value);
            prop_assert_eq!(unseal(&key, &sealed), Some(value.as_slice()));
            prop_assert_eq!(unseal(&other, &sealed).is_some(), key == other);
        }

        #[test]
        fn any_flipped_bit_is_damage(
            key: Vec<u8>,
            value: Vec<u8>,
            at: prop::sample::Index,
            bit in 0..8u8,
        ) {
            let mut sealed = seal(&key, &value);
            let at = at.index(sealed.len());
            sealed[at] ^= 1 << bit;
            prop_assert_eq!(unseal(&key, &sealed), None);
        }
    }
}
