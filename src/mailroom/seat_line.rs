//! Mail for aggregates that are not resident and find no seat.
//!
//! Aggregates wait in the order in which they came. All mail of an aggregate waits for one seat, in
//! its own order.

use std::collections::{BTreeMap, HashMap};

use super::line::Place;
use super::slot::Mail;
use crate::event::AggregateKey;

#[derive(Default)]
pub(super) struct SeatLine {
    /// The aggregates, by the place of the mail that came first.
    order: BTreeMap<u64, AggregateKey>,
    waiting: HashMap<AggregateKey, WaitingForSeat>,
    pub(super) is_closed: bool,
}

struct WaitingForSeat {
    first: u64,
    mails: Vec<(Place, Mail)>,
}

impl SeatLine {
    /// How many aggregates wait.
    pub(super) fn len(&self) -> usize {
        debug_assert_eq!(self.order.len(), self.waiting.len());
        self.waiting.len()
    }

    /// Behind the mail of its aggregate, or at the end.
    pub(super) fn join(&mut self, place: Place, mail: Mail) {
        let key = mail.append.key.clone();
        let waiting = self.waiting.entry(key.clone()).or_insert_with(|| {
            self.order.insert(place.0, key);
            WaitingForSeat { first: place.0, mails: Vec::new() }
        });
        waiting.mails.push((place, mail));
    }

    /// The aggregate that has waited longest.
    pub(super) fn head(&self) -> Option<AggregateKey> {
        self.order.values().next().cloned()
    }

    /// Takes out the mail of one aggregate.
    pub(super) fn take(&mut self, key: &AggregateKey) -> Vec<Mail> {
        let Some(waiting) = self.waiting.remove(key) else { return Vec::new() };
        self.order.remove(&waiting.first);
        waiting.mails.into_iter().map(|(_, mail)| mail).collect()
    }

    /// Takes out one mail that no longer waits.
    pub(super) fn withdraw(&mut self, key: &AggregateKey, place: Place) -> Option<Mail> {
        let waiting = self.waiting.get_mut(key)?;
        let index = waiting.mails.iter().position(|(other, _)| *other == place)?;
        let (_, mail) = waiting.mails.remove(index);
        if waiting.mails.is_empty() {
            self.take(key);
        }
        Some(mail)
    }

    /// Nobody joins from here on. Returns the mail that waits.
    pub(super) fn close(&mut self) -> Vec<Mail> {
        self.is_closed = true;
        self.order.clear();
        let all = std::mem::take(&mut self.waiting).into_values();
        all.flat_map(|waiting| waiting.mails).map(|(_, mail)| mail).collect()
    }
}
