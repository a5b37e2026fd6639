//! The entity that mode `execute` sends commands to: it takes in appends of the load test, and counts
//! them.

use std::convert::Infallible;

use serde::{Deserialize, Serialize};
use seriatim::{Aggregate, Context};

use crate::payload::Origin;

/// How many events it has, and a sum over whose they are: what a replay must come to as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) events: u64,
    pub(crate) sum: u64,
}

impl Tally {
    pub(crate) fn count(&mut self, origin: Origin) {
        self.events += 1;
        self.sum =
            self.sum.wrapping_add(u64::from(origin.writer) << 32 | u64::from(origin.counter));
    }
}

/// Stored, it is the payload of the other modes, byte for byte.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum Event {
    Written { writer: u32, counter: u32, fill: String },
}

impl Aggregate for Tally {
    const KIND: &'static str = "load-execute";

    type Command = Event;
    type Event = Event;
    type Error = Infallible;
    type Services = ();

    fn handle(&self, command: &Event, _: &Context<'_>) -> Result<Vec<Event>, Infallible> {
        Ok(vec![command.clone()])
    }

    fn apply(&mut self, event: &Event) {
        let Event::Written { writer, counter, .. } = *event;
        self.count(Origin { writer, counter });
    }
}
