//! Aggregates by prefix, the history of one, and an event as a whole.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Json, Query};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use seriatim::{AggregateKey, KeyedEvent, ReadError, Sequence, Timestamp};

use super::{key, limit};
use crate::Inspector;
use crate::changes::Changes;
use crate::error::Refusal;
use crate::fold::Folded;
use crate::shown::{HISTORY_BYTES, Preview, ShownEvent, ShownState, WHOLE};

/// Latest events that are asked for at once.
const AT_ONCE: usize = 8;

#[derive(Deserialize)]
pub(super) struct KeysQuery {
    #[serde(default)]
    prefix: String,
    after: Option<String>,
    limit: Option<usize>,
}

#[derive(Serialize)]
pub(super) struct KeysPage {
    keys: Vec<Listed>,
    /// There are more after the last one.
    more: bool,
}

#[derive(Serialize)]
struct Listed {
    key: String,
    sequence: Sequence,
    #[serde(rename = "type")]
    event_type: String,
    recorded_at: Timestamp,
}

pub(super) async fn keys(
    inspector: Data<Inspector>,
    query: Query<KeysQuery>,
) -> Result<Json<KeysPage>, Refusal> {
    let (query, store) = (query.into_inner(), &inspector.store);
    let limit = limit(query.limit);
    let mut keys = store.keys(query.prefix);
    if let Some(after) = query.after {
        let after = AggregateKey::new(&after).map_err(|e| Refusal::senseless(e.to_string()))?;
        keys = keys.after(&after);
    }
    let mut found: Vec<AggregateKey> = keys.take(limit + 1).try_collect().await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let latest = |key: AggregateKey| async move {
        let latest = store.read(key).backwards().limit(1).next().await;
        latest.transpose()
    };
    let latest: Vec<Option<KeyedEvent>> =
        stream::iter(found).map(latest).buffered(AT_ONCE).try_collect().await?;
    let listed = latest.into_iter().flatten().map(|event| Listed {
        key: event.key.as_str().to_owned(),
        sequence: event.sequence,
        event_type: event.event_type().to_owned(),
        recorded_at: event.recorded_at,
    });
    Ok(Json(KeysPage { keys: listed.collect(), more }))
}

#[derive(Deserialize)]
pub(super) struct HistoryQuery {
    #[serde(deserialize_with = "key")]
    key: AggregateKey,
    /// Only events before this sequence.
    before: Option<u64>,
    limit: Option<usize>,
}

#[derive(Serialize)]
pub(super) struct History {
    key: String,
    /// The aggregate's latest sequence.
    latest: Sequence,
    /// The latest first.
    events: Vec<ShownEvent>,
    /// There are earlier ones.
    more: bool,
}

pub(super) async fn history(
    inspector: Data<Inspector>,
    query: Query<HistoryQuery>,
) -> Result<Json<History>, Refusal> {
    let (query, store) = (query.into_inner(), &inspector.store);
    let limit = limit(query.limit);
    let latest = store.latest_sequence(query.key.clone()).await?;
    if latest == Sequence::NONE {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "there is no such aggregate"));
    }
    let from = query.before.map_or(latest, |before| Sequence::new(before).previous());
    let mut read = store.read(query.key.clone()).from(from).backwards().limit(limit + 1);
    let mut events: Vec<KeyedEvent> = Vec::new();
    // The page ends early where its events are large; the first one comes in any case.
    let (mut bytes, mut more) = (0, false);
    while from > Sequence::NONE
        && let Some(event) = read.next().await
    {
        let event = event?;
        // The one more is what the last is compared with.
        if events.len() == limit || bytes > MAX_PAGE_BYTES {
            events.push(event);
            more = true;
            break;
        }
        bytes += event.size_bytes();
        events.push(event);
    }
    let shown_events = events.len() - usize::from(more);
    let mut shown: Vec<ShownEvent> =
        events.iter().map(|e| ShownEvent::of(e, HISTORY_BYTES)).collect();
    shown.truncate(shown_events);
    for (shown, pair) in shown.iter_mut().zip(events.windows(2)) {
        if let [event, before] = pair {
            shown.changes = Some(Changes::between(before.data.as_str(), event.data.as_str()));
        }
    }
    events.truncate(shown_events);
    events.reverse();
    if let Some(states) = inspector.folds.states(store, &query.key, &events).await {
        for (shown, pair) in shown.iter_mut().rev().zip(states.windows(2)) {
            if let [before, after] = pair {
                shown.state = Some(state(before, after));
            }
        }
    }
    Ok(Json(History { key: query.key.as_str().to_owned(), latest, events: shown, more }))
}

/// Events of a page, of which previews are sent.
const MAX_PAGE_BYTES: usize = 8 << 20;

fn state(before: &Folded, after: &Folded) -> ShownState {
    match (before, after) {
        (Ok(before), Ok(after)) => ShownState::Known {
            json: Preview::of(after, HISTORY_BYTES),
            changes: Changes::between(before, after),
        },
        (Err(error), _) | (_, Err(error)) => ShownState::Unknown { error: error.clone() },
    }
}

#[derive(Deserialize)]
pub(super) struct EventQuery {
    #[serde(deserialize_with = "key")]
    key: AggregateKey,
    sequence: u64,
}

pub(super) async fn event(
    inspector: Data<Inspector>,
    query: Query<EventQuery>,
) -> Result<Json<ShownEvent>, Refusal> {
    let query = query.into_inner();
    let found = inspector.store.read(query.key).from(query.sequence).limit(1).next().await;
    match found.transpose().map_err(|error: ReadError| Refusal::from(error))? {
        Some(event) if event.sequence == query.sequence => Ok(Json(ShownEvent::of(&event, WHOLE))),
        _ => Err(Refusal::new(StatusCode::NOT_FOUND, "there is no such event")),
    }
}
