//! The size of a state, by default: that of its type and of its JSON.

use std::io;

use serde::Serialize;

struct Counter(usize);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The bytes of the value and of its JSON, as far as that can be written.
pub(super) fn estimated<T: Serialize>(value: &T) -> usize {
    let mut counter = Counter(size_of::<T>());
    // A value that is no JSON counts up to where it is none.
    let _ = serde_json::to_writer(&mut counter, value);
    counter.0
}
