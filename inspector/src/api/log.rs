//! The log: pages of it, and what is new.
//!
//! Both read from the end backwards and look at a bounded number of events, whatever the filter
//! picks. So a live stream of a busy store sends the latest events and says how many it left out:
//! nobody reads a hundred thousand events a second, and no browser survives them.

use std::time::Duration;

use actix_web::web::{Data, Json, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use seriatim::{KeyedEvent, Log, Position, ReadError};

use super::limit;
use crate::Inspector;
use crate::error::Refusal;
use crate::shown::{LIST_BYTES, ShownEvent};
use crate::streams::{Look, Message};

/// Looked at for one page.
const MAX_LOOKED_AT: usize = 20_000;
/// Between two looks of a live stream.
const PAUSE: Duration = Duration::from_millis(250);
/// Sent and looked at by one look.
const LIVE_EVENTS: usize = 25;
const LIVE_LOOKED_AT: usize = 1_000;

/// Empty texts pick all.
struct Filter {
    prefix: String,
    event_type: String,
}

impl Filter {
    fn takes(&self, event: &KeyedEvent) -> bool {
        event.key.as_str().starts_with(&self.prefix)
            && (self.event_type.is_empty() || event.event_type() == self.event_type)
    }
}

#[derive(Deserialize)]
pub(super) struct PageQuery {
    before: Option<u64>,
    limit: Option<usize>,
    #[serde(default)]
    prefix: String,
    #[serde(default, rename = "type")]
    event_type: String,
}

#[derive(Serialize)]
pub(super) struct LogPage {
    /// The latest first.
    events: Vec<ShownEvent>,
    /// The position of the store's last event.
    last: Position,
    /// The next page's `before`; `None` at the beginning of the log.
    before: Option<Position>,
    looked_at: usize,
}

pub(super) async fn page(
    inspector: Data<Inspector>,
    query: Query<PageQuery>,
) -> Result<Json<LogPage>, Refusal> {
    let query = query.into_inner();
    let filter = Filter { prefix: query.prefix, event_type: query.event_type };
    let log = inspector.store.log()?;
    let last = log.last_position()?;
    let from = query.before.map_or(last, |before| Position::new(before).previous().min(last));
    let bounds = Bounds { after: Position::new(0), from, events: limit(query.limit) };
    let found = look_back(&log, bounds, MAX_LOOKED_AT, &filter).await?;
    let before = found.reached.filter(|reached| reached.get() > 1);
    Ok(Json(LogPage { events: found.events, last, before, looked_at: found.looked_at }))
}

/// From `from` down to the position behind `after`.
struct Bounds {
    after: Position,
    from: Position,
    events: usize,
}

#[derive(Default)]
struct Found {
    /// The latest first.
    events: Vec<ShownEvent>,
    looked_at: usize,
    /// The last position that was looked at.
    reached: Option<Position>,
}

async fn look_back(
    log: &Log,
    bounds: Bounds,
    most: usize,
    filter: &Filter,
) -> Result<Found, ReadError> {
    let mut found = Found::default();
    if bounds.from <= bounds.after {
        return Ok(found);
    }
    let mut read = log.read().from(bounds.from).backwards().limit(most);
    while found.events.len() < bounds.events
        && let Some(event) = read.next().await
    {
        let event = event?;
        let position = event.position.unwrap_or_default();
        if position <= bounds.after {
            break;
        }
        found.looked_at += 1;
        found.reached = Some(position);
        if filter.takes(&event) {
            found.events.push(ShownEvent::of(&event, LIST_BYTES));
        }
    }
    Ok(found)
}

#[derive(Deserialize)]
pub(super) struct LiveQuery {
    after: Option<u64>,
    #[serde(default)]
    prefix: String,
    #[serde(default, rename = "type")]
    event_type: String,
}

/// What is new at one look.
#[derive(Serialize)]
struct News {
    /// The latest first.
    events: Vec<ShownEvent>,
    last: Position,
    /// New events of the store since the look before.
    new: u64,
    /// New events that were not looked at.
    left_out: u64,
}

pub(super) async fn live(
    request: HttpRequest,
    inspector: Data<Inspector>,
    query: Query<LiveQuery>,
) -> Result<HttpResponse, Refusal> {
    let query = query.into_inner();
    let filter = Filter { prefix: query.prefix, event_type: query.event_type };
    let log = inspector.store.log()?;
    // A browser that connects again says what it had last.
    let had = request.headers().get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let mut seen = match had.or(query.after) {
        Some(after) => Position::new(after),
        None => log.last_position()?,
    };
    inspector.streams.open(PAUSE, async move || match news(&log, &mut seen, &filter).await {
        Ok(Some(news)) => Look::Message(Message::new("log", Some(news.last.get()), &news)),
        Ok(None) => Look::Nothing,
        Err(error) => Look::Failed(error.into()),
    })
}

async fn news(log: &Log, seen: &mut Position, filter: &Filter) -> Result<Option<News>, ReadError> {
    let last = log.last_position()?;
    if last <= *seen {
        return Ok(None);
    }
    let bounds = Bounds { after: *seen, from: last, events: LIVE_EVENTS };
    let found = look_back(log, bounds, LIVE_LOOKED_AT, filter).await?;
    let new = last.get() - seen.get();
    *seen = last;
    let left_out = new.saturating_sub(found.looked_at as u64);
    Ok(Some(News { events: found.events, last, new, left_out }))
}
