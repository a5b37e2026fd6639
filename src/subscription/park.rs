//! Parking: a failed event and the later events of its aggregate are skipped, and retried on
//! request.
//!
//! No event is copied. A parked aggregate is a key and the sequence of the event that failed. Its
//! parked events are those from that sequence up to the consumer's position.

use super::checkpoint::Parked;
use super::error::ConsumerError;
use super::feed::aggregate_page;
use super::progress::Retried;
use super::worker::{PAGE_EVENTS, RunEnd, Worker, position_of};
use crate::driver::Fetch;
use crate::event::KeyedEvent;

impl Worker {
    pub(super) fn is_parked(&self, event: &KeyedEvent) -> bool {
        self.parked.contains_key(&event.key)
    }

    /// Parks the event's aggregate. Recorded before the consumer's position passes the event.
    pub(super) async fn park(&mut self, event: &KeyedEvent, reason: &str) -> Result<(), RunEnd> {
        let aggregates = self.parked.len();
        if aggregates >= self.plan.options.max_parked {
            let name = self.plan.name.to_string();
            return Err(ConsumerError::TooManyParked { name, aggregates }.into());
        }
        let parked =
            Parked::new(event.key.clone(), event.sequence, position_of(Some(event)), reason);
        self.parked.insert(event.key.clone(), parked);
        Ok(self.records.save_parked(&self.parked).await?)
    }

    /// Handles all parked events again, in the order in which the aggregates were parked.
    pub(super) async fn retry_parked(&mut self) -> Result<Retried, RunEnd> {
        let mut waiting: Vec<Parked> = self.parked.values().cloned().collect();
        waiting.sort_by_key(|parked| parked.position);
        let mut retried = Retried::default();
        for parked in waiting {
            let failed = self.retry_aggregate(&parked, &mut retried).await?;
            match failed {
                Some(failed) => self.parked.insert(parked.key, failed),
                None => self.parked.remove(&parked.key),
            };
            self.records.save_parked(&self.parked).await?;
        }
        retried.still_parked = self.parked.len();
        Ok(retried)
    }

    /// Handles one aggregate's parked events in order. Returns the event from which on it stays
    /// parked, if one fails.
    async fn retry_aggregate(
        &mut self,
        parked: &Parked,
        retried: &mut Retried,
    ) -> Result<Option<Parked>, RunEnd> {
        let mut fetch = Fetch::ALL.after(parked.sequence.previous());
        loop {
            let mailroom = self.plan.mailroom();
            let page = aggregate_page(mailroom, &parked.key, fetch.limit(PAGE_EVENTS))
                .map_err(ConsumerError::from)?;
            let last = page.events.last().map(|event| event.sequence);
            let mut events = page.events;
            let all = events.len();
            events.retain(|event| position_of(Some(event)) <= self.position);
            let more = page.more && events.len() == all;
            let (wanted, broken) = self.pick(events);
            for event in &wanted {
                let one = std::slice::from_ref(event);
                // The position does not change: the projection is already further.
                if let (_, Some((_, reason))) = self.deliver(one, self.position, true).await? {
                    let at = position_of(Some(event));
                    return Ok(Some(Parked::new(event.key.clone(), event.sequence, at, &reason)));
                }
                retried.events += 1;
            }
            match (broken, last) {
                (Some(error), _) => return Err(ConsumerError::from(error).into()),
                (None, Some(last)) if more => fetch = fetch.after(last),
                (None, _) => return Ok(None),
            }
        }
    }
}
