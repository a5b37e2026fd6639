//! `append`: one event, or several as one append.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use seriatim::{AggregateKey, Append, NewEvent, Position, Sequence};
use uuid::Uuid;

use crate::app::App;
use crate::args;
use crate::exit::{Error, Result};
use crate::style;
use crate::target::Wanted;

/// No append is larger than a driver's put.
const MAX_INPUT_BYTES: u64 = 64 << 20;

/// One line of `--events`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(rename = "type")]
    event_type: String,
    #[serde(borrow)]
    data: &'a RawValue,
    version: Option<u16>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    event_id: Option<Uuid>,
}

#[derive(Serialize)]
struct Answer {
    key: AggregateKey,
    first: Sequence,
    last: Sequence,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<Position>,
    commit_id: Uuid,
    repeated: bool,
}

pub(crate) async fn run(app: &mut App, args: args::Append) -> Result<()> {
    let mut append = Append::to(&args.key).expect(args.expect).events(events(&args)?);
    if let Some(commit_id) = args.commit_id {
        append = append.commit_id(commit_id);
    }
    let wanted = Wanted::Creatable { create: args.create };
    app.with_store(&args.store, wanted, async |app, store| {
        // Not interrupted: an append that was begun is answered.
        let appended = store.append(append).await?;
        let answer = Answer {
            key: args.key.clone(),
            first: appended.first,
            last: appended.last,
            position: appended.position,
            commit_id: appended.commit_id,
            repeated: appended.repeated,
        };
        if app.out.is_json() {
            return app.out.json_line(&answer);
        }
        let sequences = match answer.first == answer.last {
            true => answer.last.to_string(),
            false => format!("{} to {}", answer.first, answer.last),
        };
        let mut facts = vec![("key", answer.key.to_string()), ("sequence", sequences)];
        facts.extend(answer.position.map(|p| ("position", style::count(p.get()))));
        facts.push(("commit id", answer.commit_id.to_string()));
        if answer.repeated {
            facts.push(("repeated", "an earlier append with this commit id wrote it".to_owned()));
        }
        app.out.facts(&facts)
    })
    .await
}

fn events(args: &args::Append) -> Result<Vec<NewEvent>> {
    if let Some(file) = &args.events {
        return lines(&read_all(file)?);
    }
    let data = match args.data.as_str() {
        "-" => read_all(Path::new("-"))?,
        data => data.to_owned(),
    };
    let event_type = args.event_type.as_deref().unwrap_or_default();
    let mut event = NewEvent::raw(event_type, data).version(args.schema_version);
    if let Some(metadata) = &args.metadata {
        event = event.raw_metadata(metadata.clone());
    }
    if let Some(id) = args.event_id {
        event = event.id(id);
    }
    Ok(vec![event])
}

fn lines(text: &str) -> Result<Vec<NewEvent>> {
    let mut events = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let parsed: Line<'_> = serde_json::from_str(line).map_err(|error| {
            Error::bad_input(format!("line {}: {error}", index + 1))
                .hint("a line is {\"type\":…,\"data\":…}, perhaps with version, metadata, event_id")
        })?;
        let mut event = NewEvent::raw(parsed.event_type, parsed.data.get().to_owned());
        event = event.version(parsed.version.unwrap_or(1));
        if let Some(metadata) = parsed.metadata {
            event = event.raw_metadata(metadata.get().to_owned());
        }
        if let Some(id) = parsed.event_id {
            event = event.id(id);
        }
        events.push(event);
    }
    match events.is_empty() {
        true => Err(Error::bad_input("the input holds no event")),
        false => Ok(events),
    }
}

fn read_all(file: &Path) -> Result<String> {
    let (name, source): (_, Box<dyn Read>) = match file == Path::new("-") {
        true => ("standard input".to_owned(), Box::new(std::io::stdin())),
        false => {
            let name = file.display().to_string();
            let opened = File::open(file).map_err(|e| Error::io(&name, &e))?;
            (name, Box::new(opened))
        }
    };
    let mut text = String::new();
    let read = source.take(MAX_INPUT_BYTES + 1).read_to_string(&mut text);
    match read {
        Ok(bytes) if bytes as u64 > MAX_INPUT_BYTES => {
            Err(Error::bad_input(format!("{name}: more than one append can hold")))
        }
        Ok(_) => Ok(text),
        Err(e) if e.kind() == std::io::ErrorKind::InvalidData => {
            Err(Error::bad_input(format!("{name}: it is not UTF-8")))
        }
        Err(e) => Err(Error::io(name, &e)),
    }
}
