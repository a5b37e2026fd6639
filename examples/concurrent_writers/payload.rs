//! The data of the load test's events: JSON that says which writer's which append it belongs to, filled
//! up to the size asked for with text that follows from both. So the same bytes can be made again, and
//! one changed byte is seen.

use std::io::Write;

use serde::Deserialize;

/// The longest frame around the fill, with the greatest numbers in it, fits.
pub(crate) const MIN_BYTES: usize = 64;
/// Under every driver's limit for one event.
pub(crate) const MAX_BYTES: usize = 4 << 20;

/// Fills begin at one of so many places of the fill text.
const OFFSETS: usize = 4_096;

pub(crate) struct Payloads {
    bytes: usize,
    fill: Vec<u8>,
}

/// Whose append a payload says it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Origin {
    pub(crate) writer: u32,
    pub(crate) counter: u32,
}

impl Payloads {
    /// Payloads of exactly so many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(bytes as u64);
        let fill = (0..bytes + OFFSETS).map(|_| random.alphanumeric() as u8).collect();
        Payloads { bytes: bytes.max(MIN_BYTES), fill }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn make(&self, origin: Origin) -> Vec<u8> {
        let mut data = Vec::with_capacity(self.bytes);
        self.write(origin, &mut data);
        data
    }

    /// Replaces what is in `data` by the payload.
    pub(crate) fn write(&self, origin: Origin, data: &mut Vec<u8>) {
        data.clear();
        let Origin { writer, counter } = origin;
        let framed = write!(data, r#"{{"writer":{writer},"counter":{counter},"fill":""#);
        debug_assert!(framed.is_ok(), "writing into memory does not fail");
        let mixed =
            (u64::from(writer) << 32 | u64::from(counter)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let offset = (mixed >> 52) as usize % OFFSETS;
        let length = self.bytes.saturating_sub(data.len() + 2);
        data.extend(self.fill.iter().skip(offset).take(length));
        data.extend(br#""}"#);
    }

    /// The text that fills a payload up.
    pub(crate) fn fill_of(data: &[u8]) -> &str {
        let text = std::str::from_utf8(data).unwrap_or_default();
        let fill = text.rsplit_once(":\"").map_or("", |(_, fill)| fill);
        fill.trim_end_matches("\"}")
    }

    /// Whose append `data` says it belongs to; `None` if it is no payload at all.
    pub(crate) fn origin(data: &[u8]) -> Option<Origin> {
        serde_json::from_slice(data).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_have_the_size_asked_for_and_say_where_they_come_from() {
        for bytes in [MIN_BYTES, 200, 10_000] {
            let payloads = Payloads::new(bytes);
            for (writer, counter) in [(0, 0), (7, 123_456), (u32::MAX, u32::MAX)] {
                let origin = Origin { writer, counter };
                let data = payloads.make(origin);
                assert_eq!(data.len(), bytes);
                assert_eq!(Payloads::origin(&data), Some(origin));
            }
        }
    }
}
