//! Parking: what failed is put aside with what follows it in its aggregate, and retried when asked.
//!
//! Nothing is copied. A parked aggregate is a key and the sequence of the event that failed; its parked events are
//! those from there up to the consumer's position.

use super::checkpoint::Parked;
use super::error::ConsumerError;
use super::feed::aggregate_page;
use super::handle::Retried;
use super::run::{End, PAGE_EVENTS, Worker, place};
use crate::driver::Fetch;
use crate::event::KeyedEvent;

impl Worker {
    pub(super) fn is_parked(&self, event: &KeyedEvent) -> bool {
        self.parked.contains_key(&event.key)
    }

    /// Recorded before the consumer's position passes the event.
    pub(super) async fn park(&mut self, event: &KeyedEvent, reason: &str) -> Result<(), End> {
        let aggregates = self.parked.len();
        if aggregates >= self.consumer.options.max_parked {
            let name = self.consumer.name.to_string();
            return Err(ConsumerError::TooManyParked { name, aggregates }.into());
        }
        let parked = Parked::new(event.key.clone(), event.sequence, place(Some(event)), reason);
        self.parked.insert(event.key.clone(), parked);
        Ok(self.checkpoints.save_parked(&self.parked).await?)
    }

    /// Handles all parked events again, the aggregate that was parked first before the others.
    pub(super) async fn retry_parked(&mut self) -> Result<Retried, End> {
        let mut waiting: Vec<Parked> = self.parked.values().cloned().collect();
        waiting.sort_by_key(|parked| parked.position);
        let mut retried = Retried::default();
        for parked in waiting {
            let failed = self.retry_aggregate(&parked, &mut retried).await?;
            match failed {
                Some(failed) => self.parked.insert(parked.key, failed),
                None => self.parked.remove(&parked.key),
            };
            self.checkpoints.save_parked(&self.parked).await?;
        }
        retried.still_parked = self.parked.len();
        Ok(retried)
    }

    /// Handles one aggregate's parked events in order; where it has to stay parked, from which on.
    async fn retry_aggregate(
        &mut self,
        parked: &Parked,
        retried: &mut Retried,
    ) -> Result<Option<Parked>, End> {
        let mut fetch = Fetch::ALL.after(parked.sequence.previous());
        loop {
            let mailroom = self.consumer.store.mailroom();
            let page = aggregate_page(mailroom, &parked.key, fetch.limit(PAGE_EVENTS))
                .map_err(ConsumerError::from)?;
            let last = page.events.last().map(|event| event.sequence);
            let mut events = page.events;
            let all = events.len();
            events.retain(|event| place(Some(event)) <= self.position);
            let more = page.more && events.len() == all;
            let (wanted, broken) = self.pick(events);
            for event in &wanted {
                let one = std::slice::from_ref(event);
                // A projection that has come further keeps its position.
                if let (_, Some((_, reason))) = self.deliver(one, self.position, true).await? {
                    let at = place(Some(event));
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
