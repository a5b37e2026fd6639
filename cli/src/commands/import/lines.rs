//! The input, line by line: parsed and checked on a thread of its own, in batches.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;
use seriatim::{KeyedEvent, MAX_EVENT_TYPE_BYTES, Sequence};
use tokio::sync::mpsc;

use super::sorted;
use crate::commands::export::is_dash;
use crate::exit::{Error, Result};

/// A batch ends with an append, behind so many events or bytes; behind four times as many in any
/// case.
const BATCH_EVENTS: usize = 4_000;
const BATCH_BYTES: usize = 4 << 20;
/// Batches that wait to be written.
const BATCHES_AHEAD: usize = 2;
/// Longer than the largest event of any driver can be.
const MAX_LINE_BYTES: u64 = 64 << 20;

/// An event and the line it stands on.
pub(super) struct Line {
    pub(super) number: u64,
    pub(super) event: KeyedEvent,
}

pub(super) struct Batch {
    pub(super) lines: Vec<Line>,
    /// Bytes of the input up to its end.
    pub(super) bytes_read: u64,
}

pub(super) type Batches = mpsc::Receiver<Result<Batch>>;

pub(super) struct Input {
    name: String,
    source: Box<dyn Read + Send>,
    bytes: Option<u64>,
    is_terminal: bool,
}

impl Input {
    pub(super) fn open(file: Option<&Path>) -> Result<Self> {
        let Some(path) = file.filter(|path| !is_dash(path)) else {
            let stdin = io::stdin();
            let is_terminal = stdin.is_terminal();
            let name = "standard input".to_owned();
            return Ok(Input { name, source: Box::new(stdin), bytes: None, is_terminal });
        };
        let name = path.display().to_string();
        let failed = |e: io::Error| Error::io(&name, &e);
        let file = File::open(path).map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        if found.is_dir() {
            return Err(Error::usage(format!("{name} is a directory"))
                .hint("import reads a file that `seriatim export` wrote"));
        }
        let bytes = found.is_file().then_some(found.len());
        Ok(Input { name, source: Box::new(file), bytes, is_terminal: false })
    }

    pub(super) fn bytes(&self) -> Option<u64> {
        self.bytes
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Reads on a thread of its own, which ends with the input or when nobody receives any more.
    /// `by_time`: events without positions are sorted by time first.
    pub(super) fn read(self, by_time: bool) -> Batches {
        let (send, batches) = mpsc::channel(BATCHES_AHEAD);
        let failed = send.clone();
        let reading =
            std::thread::Builder::new().name("seriatim-input".to_owned()).spawn(move || {
                let lines = Lines::new(self);
                if let Err(error) = forward(lines, by_time, &send) {
                    let _ = send.blocking_send(Err(error));
                }
            });
        if let Err(error) = reading {
            let _ = failed.try_send(Err(Error::io("a thread could not be started", &error)));
        }
        batches
    }
}

fn forward(mut lines: Lines, by_time: bool, send: &mpsc::Sender<Result<Batch>>) -> Result<()> {
    let Some(first) = lines.next()? else { return Ok(()) };
    if by_time && first.event.position.is_none() {
        let bytes_read = || 0;
        let mut batcher = Batcher { send, batch: Vec::new(), bytes: 0 };
        sorted::by_time(first, &mut lines, |line| batcher.push(line, bytes_read()))?;
        batcher.end(lines.bytes_read);
        return Ok(());
    }
    let mut batcher = Batcher { send, batch: Vec::new(), bytes: 0 };
    if !batcher.push(first, lines.bytes_read) {
        return Ok(());
    }
    loop {
        // What was read before a bad line is written.
        let line = match lines.next() {
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(error) => {
                batcher.end(lines.bytes_read);
                return Err(error);
            }
        };
        if !batcher.push(line, lines.bytes_read) {
            return Ok(());
        }
    }
    batcher.end(lines.bytes_read);
    Ok(())
}

struct Batcher<'a> {
    send: &'a mpsc::Sender<Result<Batch>>,
    batch: Vec<Line>,
    bytes: usize,
}

impl Batcher<'_> {
    /// Adds the line; false when nobody receives any more.
    fn push(&mut self, line: Line, bytes_read: u64) -> bool {
        let is_full =
            |times| self.batch.len() >= BATCH_EVENTS * times || self.bytes >= BATCH_BYTES * times;
        let goes_on = self.batch.last().is_some_and(|last| {
            last.event.commit_id == line.event.commit_id && last.event.key == line.event.key
        });
        if (is_full(1) && !goes_on || is_full(4)) && !self.end(bytes_read) {
            return false;
        }
        self.bytes += line.event.size_bytes();
        self.batch.push(line);
        true
    }

    fn end(&mut self, bytes_read: u64) -> bool {
        self.bytes = 0;
        let lines = std::mem::take(&mut self.batch);
        lines.is_empty() || self.send.blocking_send(Ok(Batch { lines, bytes_read })).is_ok()
    }
}

/// The lines of the input that hold events.
pub(super) struct Lines {
    name: String,
    source: BufReader<Box<dyn Read + Send>>,
    buffer: Vec<u8>,
    number: u64,
    bytes_read: u64,
}

impl Lines {
    fn new(input: Input) -> Self {
        Lines {
            name: input.name,
            source: BufReader::with_capacity(1 << 18, input.source),
            buffer: Vec::new(),
            number: 0,
            bytes_read: 0,
        }
    }

    /// The next event; `None` at the end. Empty lines are passed over.
    pub(super) fn next(&mut self) -> Result<Option<Line>> {
        loop {
            self.buffer.clear();
            self.number += 1;
            let mut limited = (&mut self.source).take(MAX_LINE_BYTES);
            let read = limited.read_until(b'\n', &mut self.buffer);
            let read = read.map_err(|e| Error::io(&self.name, &e))?;
            if read == 0 {
                return Ok(None);
            }
            self.bytes_read += read as u64;
            let mut line = self.buffer.as_slice();
            if self.number == 1 {
                line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            let is_whole = line.ends_with(b"\n");
            if !is_whole && self.buffer.len() as u64 >= MAX_LINE_BYTES {
                return Err(self.bad("it is longer than any event can be"));
            }
            let number = self.number;
            return match parse(line) {
                Ok(event) => Ok(Some(Line { number, event })),
                Err(_) if !is_whole => Err(self
                    .bad("the input ends within it")
                    .hint("the file or pipe was cut off; export again, with --resume into a file")),
                Err(message) => Err(self.bad(&message)),
            };
        }
    }

    fn bad(&self, message: &str) -> Error {
        Error::bad_input(format!("{}, line {}: {message}", self.name, self.number))
    }
}

/// What a line may hold. Unknown fields are refused: an import must not lose what it does not know.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "the shape is checked; the values are taken from `KeyedEvent`")]
struct Fields<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    sequence: u64,
    #[serde(borrow, rename = "type")]
    event_type: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
    version: Option<u16>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    event_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    commit_id: Cow<'a, str>,
    #[serde(borrow)]
    recorded_at: Cow<'a, str>,
    position: Option<u64>,
}

pub(super) fn parse(line: &[u8]) -> std::result::Result<KeyedEvent, String> {
    let line = std::str::from_utf8(line).map_err(|_| "it is not UTF-8".to_owned())?;
    let fields: Fields<'_> = serde_json::from_str(line).map_err(|e| explained(&e))?;
    let kind = fields.event_type;
    if kind.is_empty() || kind.len() > MAX_EVENT_TYPE_BYTES || kind.chars().any(char::is_control) {
        return Err(format!(
            "the type must be 1 to {MAX_EVENT_TYPE_BYTES} bytes without control characters"
        ));
    }
    if fields.metadata.is_some_and(|metadata| !metadata.get().starts_with('{')) {
        return Err("the metadata is no JSON object".to_owned());
    }
    let event: KeyedEvent = serde_json::from_str(line).map_err(|e| explained(&e))?;
    if event.sequence == Sequence::NONE {
        return Err("sequences begin with 1".to_owned());
    }
    Ok(event)
}

/// serde_json counts lines of its own, of which there is one here.
fn explained(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line 1 column ").next().unwrap_or(&text);
    format!("it is no event: {what} (at byte {})", error.column())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const GOOD: &str = "\"commit_id\":\"0190163d-8694-739b-aea5-966c26f8ad91\",\
                        \"recorded_at\":\"2026-11-27T06:00:00.000001Z\"}";

    #[test]
    fn a_line_is_an_event_or_says_why_not() {
        let line = |fields: &str| parse(format!("{{{fields},{GOOD}").as_bytes());
        assert!(line("\"key\":\"a\",\"sequence\":1,\"type\":\"T\",\"data\":{}").is_ok());
        for (fields, told) in [
            ("\"key\":\"a\",\"sequence\":0,\"type\":\"T\",\"data\":1", "begin with 1"),
            ("\"key\":\"\",\"sequence\":1,\"type\":\"T\",\"data\":1", "must not be empty"),
            ("\"key\":\"a\",\"sequence\":1,\"type\":\"\",\"data\":1", "the type must be"),
            ("\"key\":\"a\",\"sequence\":1,\"type\":\"\\u0007\",\"data\":1", "the type must be"),
            ("\"key\":\"a\",\"sequence\":1,\"type\":\"T\"", "missing field `data`"),
            ("\"key\":\"a\",\"sequence\":1,\"type\":\"T\",\"data\":1,\"x\":2", "unknown field `x`"),
            ("\"key\":\"a\",\"sequence\":1,\"type\":\"T\",\"data\":1,\"metadata\":[]", "object"),
            ("\"key\":\"a\",\"sequence\":-1,\"type\":\"T\",\"data\":1", "no event"),
        ] {
            let error = line(fields).unwrap_err();
            assert!(error.contains(told), "{fields}: {error}");
        }
        assert!(parse(b"\xff\xfe").unwrap_err().contains("UTF-8"));
        assert!(parse(b"{}").unwrap_err().contains("missing field `key`"));
    }
}
