//! Parking: a failed event and the later events of its aggregate are skipped, and retried on
//! request.
//!
//! No event is copied. A parked aggregate is a key and the sequence of the event that failed. Its
//! parked events are those from that sequence up to the consumer's position. A retry moves the
//! sequence on after each event, so that a stop or a crash repeats one event at most.

use super::checkpoint::Parked;
use super::error::ConsumerError;
use super::feed::aggregate_page;
use super::options::ErrorAction;
use super::progress::{ParkedAction, Retried};
use super::worker::{Delivery, PAGE_EVENTS, RunEnd, Worker, position_of};
use crate::driver::Fetch;
use crate::event::{AggregateKey, KeyedEvent, Position, Sequence};

impl Worker {
    pub(super) fn is_parked(&self, event: &KeyedEvent) -> bool {
        self.is_parked_from(&event.key, event.sequence)
    }

    /// Events before the one that failed are not parked: an empty read model needs them.
    pub(super) fn is_parked_from(&self, key: &AggregateKey, sequence: Sequence) -> bool {
        self.parked.get(key).is_some_and(|parked| sequence >= parked.sequence)
    }

    /// Parks the aggregate from this event on. Recorded before the consumer's position passes it.
    pub(super) async fn park(
        &mut self,
        key: &AggregateKey,
        sequence: Sequence,
        position: Position,
        reason: &str,
    ) -> Result<(), RunEnd> {
        let aggregates = self.parked.len();
        if !self.parked.contains_key(key) && aggregates >= self.plan.options.max_parked {
            let name = self.plan.name.to_string();
            return Err(ConsumerError::TooManyParked { name, aggregates }.into());
        }
        let parked = Parked::new(key.clone(), sequence, position, reason);
        self.parked.insert(key.clone(), parked);
        Ok(self.save_parked().await?)
    }

    /// Does what a handle wants done about parked aggregates.
    pub(super) async fn settle(&mut self, action: ParkedAction) -> Result<Retried, RunEnd> {
        match action {
            ParkedAction::RetryAll => return self.retry_parked().await,
            ParkedAction::Retry(key) => {
                let mut retried = Retried::default();
                if let Some(parked) = self.parked.get(&key).cloned() {
                    self.retry_aggregate(parked, &mut retried).await?;
                }
                return Ok(Retried { still_parked: self.parked.len(), ..retried });
            }
            ParkedAction::Discard(key) => {
                if self.parked.remove(&key).is_some() {
                    self.save_parked().await?;
                }
            }
        }
        Ok(Retried { events: 0, still_parked: self.parked.len() })
    }

    /// Handles all parked events again, in the order in which the aggregates were parked.
    async fn retry_parked(&mut self) -> Result<Retried, RunEnd> {
        let mut waiting: Vec<Parked> = self.parked.values().cloned().collect();
        waiting.sort_by_key(|parked| parked.position);
        let mut retried = Retried::default();
        for parked in waiting {
            self.retry_aggregate(parked, &mut retried).await?;
        }
        retried.still_parked = self.parked.len();
        Ok(retried)
    }

    /// Handles one aggregate's parked events in order, up to one that fails.
    async fn retry_aggregate(
        &mut self,
        parked: Parked,
        retried: &mut Retried,
    ) -> Result<(), RunEnd> {
        let name = self.plan.name.to_string();
        let failed = |reason| ConsumerError::Projection { name, reason };
        // A read model may have come further than the record, which follows it.
        let own = self.handler.parked_progress(&parked.key).await.map_err(failed)?;
        let first = parked.sequence.max(own.map_or(Sequence::NONE, Sequence::next));
        let mut fetch = Fetch::ALL.after(first.previous());
        loop {
            let mailroom = self.plan.mailroom();
            let page = aggregate_page(mailroom, &parked.key, fetch.limit(PAGE_EVENTS))
                .map_err(ConsumerError::from)?;
            let last = page.events.last().map(|event| event.sequence);
            let mut events = page.events;
            let all = events.len();
            events.retain(|event| position_of(Some(event)) <= self.position);
            let more = page.more && events.len() == all;
            let (wanted, unreadable) = self.pick(&mut events.into_iter());
            for event in &wanted {
                let one = std::slice::from_ref(event);
                let (key, at) = (&event.key, position_of(Some(event)));
                // The position does not change: the consumer is already further.
                let (_, given_up) = self.deliver(one, self.position, Delivery::Parked).await?;
                if let Some(given_up) = given_up
                    && given_up.action != ErrorAction::Skip
                {
                    return self.park(key, event.sequence, at, &given_up.reason).await;
                }
                retried.events += 1;
                self.park(key, event.sequence.next(), at, &parked.reason).await?;
            }
            if let Some(event) = unreadable {
                let reason = event.error.to_string();
                return self.park(&event.key, event.sequence, event.position, &reason).await;
            }
            match last {
                Some(last) if more => fetch = fetch.after(last),
                _ => break,
            }
        }
        self.parked.remove(&parked.key);
        Ok(self.save_parked().await?)
    }
}
