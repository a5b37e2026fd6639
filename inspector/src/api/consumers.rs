//! Consumers: where they are, and what they parked.

use actix_web::web::{Data, Json};
use serde::Serialize;
use seriatim::Position;
use seriatim::subscription::Parked;

use crate::Inspector;
use crate::error::Refusal;

/// Of the store, and of parked aggregates of one consumer.
const MAX_LISTED: usize = 200;

#[derive(Serialize)]
pub(super) struct Consumers {
    /// The position of the store's last event.
    last: Position,
    consumers: Vec<ShownConsumer>,
    /// All there are, of which the first are listed.
    total: usize,
}

#[derive(Serialize)]
struct ShownConsumer {
    name: String,
    is_running: bool,
    position: Position,
    lag: u64,
    /// Deliveries that were repeated in this run; `None` where it does not run here.
    retries: Option<u64>,
    parked: usize,
    /// The first of them.
    parked_aggregates: Vec<Parked>,
}

pub(super) async fn list(inspector: Data<Inspector>) -> Result<Json<Consumers>, Refusal> {
    let store = &inspector.store;
    let last = store.log()?.last_position()?;
    let found = store.consumers().await?;
    let (running, total) = (store.stats().consumers, found.len());
    let mut consumers = Vec::new();
    for consumer in found.into_iter().take(MAX_LISTED) {
        let mut parked_aggregates = match consumer.parked {
            0 => Vec::new(),
            _ => store.consumer(&consumer.name).parked().await?,
        };
        parked_aggregates.truncate(MAX_LISTED);
        let stats = running.iter().find(|stats| stats.name == consumer.name);
        consumers.push(ShownConsumer {
            is_running: consumer.is_running,
            position: consumer.position,
            lag: consumer.lag,
            retries: stats.map(|stats| stats.retries),
            parked: consumer.parked,
            parked_aggregates,
            name: consumer.name,
        });
    }
    Ok(Json(Consumers { last, consumers, total }))
}
