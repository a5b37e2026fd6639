//! The events' data: JSON objects of 200 bytes, all different.
//!
//! Equal payloads would flatter a store that compresses its blocks, so most of each one is letters drawn
//! by a seeded generator. They are made once, before anything is measured.

use std::sync::OnceLock;

/// An event's data: JSON text.
pub(crate) type Payload = &'static str;

/// The length of every payload.
const PAYLOAD_BYTES: usize = 200;

const POOL: usize = 8_192;
const SEED: u64 = 0x5e71_a71a;

/// `count` payloads from the pool; `from` picks which, and wraps.
///
/// # Panics
///
/// If more are asked for than an append of the benches has.
pub(crate) fn payloads(from: usize, count: usize) -> &'static [Payload] {
    static PAYLOADS: OnceLock<Vec<Payload>> = OnceLock::new();
    let pool = PAYLOADS.get_or_init(|| (0..POOL).map(payload).collect());
    let from = from % (POOL - count + 1);
    &pool[from..from + count]
}

fn payload(index: usize) -> Payload {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let head = format!(r#"{{"account":"{index:08}","amount":{},"note":""#, 1_000 + index);
    let mut random = seeded(SEED ^ index as u64);
    let note = (0..PAYLOAD_BYTES - head.len() - 2).map(|_| {
        random = xorshift(random);
        char::from(LETTERS[(random >> 32) as usize % LETTERS.len()])
    });
    let text: String = head.chars().chain(note).chain("\"}".chars()).collect();
    text.leak()
}

fn seeded(seed: u64) -> u64 {
    // A xorshift generator never leaves zero.
    seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
}

fn xorshift(mut x: u64) -> u64 {
    x ^= x << 13;
    x ^= x >> 7;
    x ^ (x << 17)
}
