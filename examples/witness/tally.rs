//! The entity whose commands are sent: a sum that says in each event what it comes to.

use serde::{Deserialize, Serialize};
use seriatim::{Aggregate, Context};

#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) total: u64,
}

pub(crate) struct Add {
    pub(crate) amount: u64,
    pub(crate) times: u64,
}

#[derive(Serialize, Deserialize)]
pub(crate) enum TallyEvent {
    /// `total` is after it: an event that was decided on a state that never was shows.
    Added { amount: u64, total: u64, index: u64 },
}

impl Aggregate for Tally {
    const KIND: &'static str = "tally";
    type Command = Add;
    type Event = TallyEvent;
    type Error = std::convert::Infallible;
    type Services = ();

    fn handle(&self, add: &Add, _: &Context<'_>) -> Result<Vec<TallyEvent>, Self::Error> {
        let Add { amount, times } = *add;
        let total = |index| self.total + amount * (index + 1);
        let added = |index| TallyEvent::Added { amount, total: total(index), index };
        Ok((0..times).map(added).collect())
    }

    fn apply(&mut self, event: &TallyEvent) {
        let TallyEvent::Added { amount, .. } = event;
        self.total += amount;
    }
}
