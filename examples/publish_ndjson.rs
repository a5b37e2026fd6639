//! Publishes every event of a store as a line of JSON into a file, and goes on where it was: kill it whenever you
//! like and start it again, the file has each event once, in order.
//!
//! ```sh
//! cargo run --example publish_ndjson -- ./data events.ndjson          # appends 1,000 events, publishes all
//! cargo run --example publish_ndjson -- ./data events.ndjson 100000   # more; interrupt it and run it again
//! ```
//!
//! A consumer publishes at least once: after a crash, what stands behind its last checkpoint comes again. The
//! file knows better. Its last whole line names the last position that arrived, so what comes again is
//! passed over, and a line that a crash cut short is cut off.

#![allow(clippy::print_stdout, missing_docs)]

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use seriatim::driver::async_trait;
use seriatim::subscription::Publisher;
use seriatim::{Append, EventStore, KeyedEvent, NewEvent, Position};

struct Lines {
    file: File,
    /// The position of the event in the last line.
    last: Position,
}

impl Lines {
    fn open(path: &Path) -> io::Result<Self> {
        let mut file =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        let (mut last, mut whole) = (Position::default(), 0);
        let mut reader = BufReader::new(&file);
        let mut line = String::new();
        while reader.read_line(&mut line)? > 0 && line.ends_with('\n') {
            let event: KeyedEvent = serde_json::from_str(&line)?;
            last = event.position.unwrap_or_default();
            whole += line.len() as u64;
            line.clear();
        }
        file.set_len(whole)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Lines { file, last })
    }
}

#[async_trait]
impl Publisher for Lines {
    type Error = io::Error;

    async fn publish(&mut self, batch: &[KeyedEvent]) -> io::Result<()> {
        let mut lines = Vec::new();
        let mut last = self.last;
        for event in batch.iter().filter(|event| event.position > Some(self.last)) {
            serde_json::to_writer(&mut lines, event)?;
            lines.push(b'\n');
            last = event.position.unwrap_or(last);
        }
        // After an error the same batch comes again: nothing of it may stay.
        let end = self.file.stream_position()?;
        let written = self.file.write_all(&lines).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            self.file.set_len(end)?;
            self.file.seek(SeekFrom::Start(end))?;
            return Err(error);
        }
        self.last = last;
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let data = arguments.next().unwrap_or_else(|| "./data".to_owned());
    let path = arguments.next().unwrap_or_else(|| "events.ndjson".to_owned());
    let events: u64 = arguments.next().map_or(Ok(1_000), |number| number.parse())?;

    let store = EventStore::open(format!("redb:{data}")).await?;
    let lines = Lines::open(Path::new(&path))?;
    println!("{path} ends at position {}", lines.last);
    let run = store.consumer("ndjson").batch(500).publish(lines);
    let publisher = run.handle();
    let publishing = tokio::spawn(run);

    for number in 0..events {
        let measured = NewEvent::new("Measured", &number);
        store.append(Append::to(format!("sensor/{}", number % 10)).event(measured)).await?;
    }
    let last = store.log()?.last_position()?;
    publisher.wait_for(last, Duration::from_secs(60)).await?;
    publisher.stop();
    publishing.await??;
    println!("{path} ends at position {last}");
    store.close().await?;
    Ok(())
}
