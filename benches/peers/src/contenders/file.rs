//! A plain file with group commit: the limit of what a durable append can be.
//!
//! The writer thread puts all waiting appends into one buffer, writes it once and flushes once. It
//! checks nothing, keeps no index and cannot be read by aggregate.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::support::{Contender, GroupCommit, Key, Outcome, Payload, Replayed, Seen};

/// Written with zeros before it is used; larger than any group, and not so large that it pushes other
/// things out of the page cache.
const ZEROED_BYTES: u64 = 64 << 20;

/// Where the bytes go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Space {
    /// Behind the file's end, which moves.
    Growing,
    /// Into space that was written before, from the start again when its end is reached.
    Zeroed,
}

struct Job {
    key: Key,
    payloads: &'static [Payload],
}

/// A file that is only written.
#[derive(Clone)]
pub(crate) struct WriteAhead {
    writer: GroupCommit<Job, ()>,
}

impl WriteAhead {
    pub(crate) fn open(directory: &Path, space: Space) -> Self {
        let file = File::create(directory.join("events.log")).unwrap();
        if space == Space::Zeroed {
            // In pieces as small as the store's: what was written at once takes longer to flush in part.
            let zeros = vec![0; 32 << 10];
            for offset in (0..ZEROED_BYTES).step_by(zeros.len()) {
                file.write_all_at(&zeros, offset).unwrap();
            }
        }
        file.sync_all().unwrap();
        File::open(directory).unwrap().sync_all().unwrap();
        let (mut buffer, mut offset) = (Vec::new(), 0);
        let writer = GroupCommit::start(move |jobs: &[Job]| {
            buffer.clear();
            for job in jobs {
                encode(job, &mut buffer);
            }
            if space == Space::Zeroed && offset + buffer.len() as u64 > ZEROED_BYTES {
                offset = 0;
            }
            file.write_all_at(&buffer, offset).unwrap();
            file.sync_data().unwrap();
            offset += buffer.len() as u64;
            vec![(); jobs.len()]
        });
        WriteAhead { writer }
    }
}

fn encode(job: &Job, buffer: &mut Vec<u8>) {
    for payload in job.payloads {
        buffer.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        buffer.extend_from_slice(&(job.key.len() as u16).to_le_bytes());
        buffer.extend_from_slice(job.key.as_bytes());
        buffer.extend_from_slice(payload.as_bytes());
    }
}

impl Contender for WriteAhead {
    async fn append(&self, key: &Key, seen: Seen, payloads: &'static [Payload]) -> Outcome {
        self.writer.submit(Job { key: key.clone(), payloads }).await;
        Outcome::Appended(seen + payloads.len() as u64)
    }

    async fn replay(&self, _: &Key) -> Replayed {
        unimplemented!("a plain file has no index")
    }

    async fn close(self) {
        self.writer.close();
    }
}
