//! `export`: all events as NDJSON, byte for byte.
//!
//! In commit order where the store keeps a log, else key by key. A file that was begun is resumed
//! behind its last whole line, after that line was compared with the store.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt;
use serde::Serialize;
use seriatim::driver::{Driver, Fetch, LogFetch, LogStore};
use seriatim::{AggregateKey, KeyedEvent, Position, Sequence};

use crate::app::App;
use crate::args::Export;
use crate::exit::{Error, Exit, Result};
use crate::output::{Output, write_json_line};
use crate::progress::{Progress, Unit};
use crate::style;
use crate::target::Wanted;

/// Events asked for at once; a page also ends at about 1 MiB.
const PAGE_EVENTS: usize = 1_000;

#[derive(Serialize)]
struct Exported {
    exported: u64,
}

pub(crate) async fn run(app: &mut App, args: Export) -> Result<()> {
    let url = args.store.clone();
    app.with_driver(&url, Wanted::Existing, async |app, driver| {
        let mut sink = Sink::open(&args)?;
        let last = match &mut sink {
            Sink::File { file, name, .. } if args.resume => last_event(file, name)?,
            _ => None,
        };
        let exported = match driver.log() {
            Some(log) => by_position(app, log, &args, last, &mut sink).await?,
            None if args.from.is_some() => {
                let message = "the store keeps no log, so its events have no positions";
                return Err(Error::new(Exit::Unsupported, message));
            }
            None => by_key(app, driver, &args, last, &mut sink).await?,
        };
        sink.finish(app, exported)
    })
    .await
}

/// Where the events go.
enum Sink {
    Output,
    File { file: File, name: String, buffer: Option<BufWriter<File>> },
}

impl Sink {
    fn open(args: &Export) -> Result<Self> {
        let Some(path) = &args.output else { return Ok(Sink::Output) };
        let name = path.display().to_string();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(path).map_err(|e| Error::io(&name, &e))?;
        let is_begun = file.metadata().map_err(|e| Error::io(&name, &e))?.len() > 0;
        if is_begun && !args.resume {
            return Err(Error::usage(format!("{name} is not empty"))
                .hint("--resume goes on behind its last event; or name another file"));
        }
        Ok(Sink::File { file, name, buffer: None })
    }

    fn event(&mut self, out: &mut Output, event: &KeyedEvent) -> Result<()> {
        match self {
            Sink::Output => out.json_line(event),
            Sink::File { file, name, buffer } => {
                let failed = |e: io::Error| Error::io(&*name, &e);
                let buffer = match buffer {
                    Some(buffer) => buffer,
                    None => {
                        let file = file.try_clone().map_err(failed)?;
                        buffer.insert(BufWriter::with_capacity(1 << 18, file))
                    }
                };
                write_json_line(buffer, event).map_err(failed)
            }
        }
    }

    /// The file is durable before the command says that it is done.
    fn finish(self, app: &mut App, exported: u64) -> Result<()> {
        let events = style::count(exported);
        match self {
            Sink::Output => app.out.flush()?,
            Sink::File { file, name, buffer } => {
                let flushed = buffer.map_or(Ok(()), |mut buffer| buffer.flush());
                flushed.and_then(|()| file.sync_all()).map_err(|e| Error::io(&name, &e))?;
                if app.out.is_json() {
                    return app.out.json_line(&Exported { exported });
                }
            }
        }
        app.note(&format!("{events} events exported"));
        Ok(())
    }
}

/// The last event of a file that was begun. What is behind it, half a line, is cut off.
fn last_event(file: &mut File, name: &str) -> Result<Option<KeyedEvent>> {
    let failed = |e: io::Error| Error::io(name, &e);
    let length = file.metadata().map_err(failed)?.len();
    let end = match find_line_break(file, length).map_err(failed)? {
        Some(at) => at + 1,
        None => 0,
    };
    file.set_len(end).map_err(failed)?;
    file.seek(SeekFrom::Start(end)).map_err(failed)?;
    if end == 0 {
        return Ok(None);
    }
    let begin = find_line_break(file, end - 1).map_err(failed)?.map_or(0, |at| at + 1);
    let mut line = vec![0; usize::try_from(end - begin).unwrap_or(usize::MAX)];
    file.seek(SeekFrom::Start(begin)).map_err(failed)?;
    file.read_exact(&mut line).map_err(failed)?;
    serde_json::from_slice(&line).map(Some).map_err(|error| {
        Error::bad_input(format!("{name}: the last line is no event: {error}"))
            .hint("only a file that `seriatim export` wrote can be resumed")
    })
}

/// The last line break before `end`.
fn find_line_break(file: &mut File, end: u64) -> io::Result<Option<u64>> {
    let mut chunk = vec![0; 1 << 16];
    let mut end = end;
    while end > 0 {
        let begin = end.saturating_sub(chunk.len() as u64);
        let Some(part) = chunk.get_mut(..(end - begin) as usize) else { break };
        file.seek(SeekFrom::Start(begin))?;
        file.read_exact(part)?;
        if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
            return Ok(Some(begin + at as u64));
        }
        end = begin;
    }
    Ok(None)
}

async fn by_position(
    app: &mut App,
    log: &dyn LogStore,
    args: &Export,
    last: Option<KeyedEvent>,
    sink: &mut Sink,
) -> Result<u64> {
    let end = log.last_position()?.get();
    let mut next = match last {
        Some(last) => behind(log, &last)?,
        None => args.from.unwrap_or(1).max(1),
    };
    let progress = progress(app, args, Some((end + 1).saturating_sub(next)));
    let mut exported = 0;
    while next <= end {
        app.interrupt.check()?;
        let limit = PAGE_EVENTS.min(usize::try_from(end - next + 1).unwrap_or(usize::MAX));
        let page = log.log_page_now(LogFetch::ALL.from(next).limit(limit))?.events;
        if page.is_empty() {
            let message = format!("the log ends before position {next}");
            return Err(Error::new(Exit::Damaged, message));
        }
        progress.add(page.len() as u64);
        next += page.len() as u64;
        for event in page.iter().filter(|e| e.key.as_str().starts_with(&args.prefix)) {
            sink.event(&mut app.out, event)?;
            exported += 1;
        }
        // Ctrl-C is heard between two pages.
        tokio::task::yield_now().await;
    }
    Ok(exported)
}

/// The position behind the file's last event, which must be this store's.
fn behind(log: &dyn LogStore, last: &KeyedEvent) -> Result<u64> {
    let other = || {
        Error::new(Exit::Conflict, "the file's last event is not this store's")
            .hint("resume with the store that the file was exported from, or name another file")
    };
    let position = last.position.ok_or_else(other)?;
    let page = log.log_page_now(LogFetch::ALL.from(position).limit(1))?;
    match page.events.first() {
        Some(event) if event == last => Ok(position.get() + 1),
        _ => Err(other()),
    }
}

async fn by_key(
    app: &mut App,
    driver: &Arc<dyn Driver>,
    args: &Export,
    last: Option<KeyedEvent>,
    sink: &mut Sink,
) -> Result<u64> {
    let progress = progress(app, args, None);
    let mut exported = 0;
    let after = last.as_ref().map(|event| event.key.clone());
    if let Some(last) = last {
        let fetch = Fetch::ALL.after(last.sequence.previous());
        let same = app.interrupt.or(driver.fetch_events(&last.key, fetch.limit(1)).next()).await?;
        let same = same.transpose()?.and_then(|events| events.into_iter().next());
        if same.map(without_position) != Some(without_position(last.clone())) {
            let message = "the file's last event is not this store's";
            return Err(Error::new(Exit::Conflict, message));
        }
        exported +=
            aggregate(app, driver, &last.key, Some(last.sequence), (sink, &progress)).await?;
    }
    let mut pages = driver.keys(&args.prefix, after.as_ref());
    while let Some(page) = app.interrupt.or(pages.next()).await? {
        for key in page? {
            exported += aggregate(app, driver, &key, None, (sink, &progress)).await?;
        }
    }
    Ok(exported)
}

async fn aggregate(
    app: &mut App,
    driver: &Arc<dyn Driver>,
    key: &AggregateKey,
    after: Option<Sequence>,
    (sink, progress): (&mut Sink, &Progress),
) -> Result<u64> {
    let mut fetch = Fetch::ALL;
    fetch.after = after;
    let mut pages = driver.fetch_events(key, fetch);
    let mut exported = 0;
    while let Some(page) = app.interrupt.or(pages.next()).await? {
        app.interrupt.check()?;
        let page = page?;
        progress.add(page.len() as u64);
        for event in &page {
            sink.event(&mut app.out, event)?;
            exported += 1;
        }
    }
    Ok(exported)
}

fn without_position(mut event: KeyedEvent) -> KeyedEvent {
    event.position = None::<Position>;
    event
}

/// Lines on a terminal are progress enough.
fn progress(app: &App, args: &Export, total: Option<u64>) -> Progress {
    let is_beside = args.output.is_some() || !app.out.is_terminal();
    Progress::new(app.shows_progress() && is_beside, "exporting", total, Unit::Events)
}

/// Whether a path names standard input or output.
pub(super) fn is_dash(path: &Path) -> bool {
    path == Path::new("-")
}
