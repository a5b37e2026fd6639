//! The consumers that run on a store: their names, and how closing the store ends them.
//!
//! A consumer runs on its caller's runtime. Closing tells each one to stop, and waits until it has
//! saved its checkpoint and released its name. A consumer whose handler closes the store cannot end
//! before the handler does, and is not waited for.

use std::sync::Arc;

use dashmap::DashMap;

use crate::driver::LogBell;
use crate::event::Position;
use crate::stats::ConsumerStats;

/// What the mailroom knows of a running consumer.
pub(crate) trait RunningConsumer: Send + Sync {
    /// Tells it to save its checkpoint and end.
    fn stop(&self);

    /// The position up to which everything is handled.
    fn position(&self) -> Position;

    /// How many aggregates are parked, and how many deliveries were repeated.
    fn parked_and_retries(&self) -> (u64, u64);

    /// Whether its handler is being polled by this thread now.
    fn is_handling_here(&self) -> bool;
}

/// The running consumers of one store, by name.
#[derive(Default)]
pub(crate) struct RunningConsumers {
    by_name: DashMap<Arc<str>, Arc<dyn RunningConsumer>>,
    /// The names of consumers whose handlers close the store.
    not_waited_for: DashMap<Arc<str>, ()>,
    /// Held while the stored list of names is changed.
    pub(crate) names: tokio::sync::Mutex<()>,
    /// Rings when a name is released.
    released: LogBell,
}

impl RunningConsumers {
    /// Takes the name. False if a running consumer has it.
    pub(crate) fn claim(&self, name: &Arc<str>, consumer: Arc<dyn RunningConsumer>) -> bool {
        match self.by_name.entry(name.clone()) {
            dashmap::Entry::Occupied(_) => false,
            dashmap::Entry::Vacant(free) => {
                free.insert(consumer);
                true
            }
        }
    }

    pub(crate) fn release(&self, name: &str) {
        self.by_name.remove(name);
        self.released.ring();
    }

    /// The position of the running consumer of this name.
    pub(crate) fn position(&self, name: &str) -> Option<Position> {
        self.by_name.get(name).map(|consumer| consumer.position())
    }

    /// The figures of all of them, for a log that ends with `last`, in order of their names.
    pub(crate) fn stats(&self, last: Position) -> Vec<ConsumerStats> {
        let stats = self.by_name.iter().map(|consumer| {
            let (parked, retries) = consumer.parked_and_retries();
            let lag = last.get().saturating_sub(consumer.position().get());
            ConsumerStats { name: consumer.key().to_string(), lag, parked, retries }
        });
        let mut stats: Vec<_> = stats.collect();
        stats.sort_by(|one, other| one.name.cmp(&other.name));
        stats
    }

    /// Called by the thread that closes the store: a consumer whose handler runs there is not
    /// waited for.
    pub(crate) fn do_not_wait_for_this_handler(&self) {
        for consumer in &self.by_name {
            if consumer.is_handling_here() {
                self.not_waited_for.insert(consumer.key().clone(), ());
            }
        }
    }

    /// Stops all of them, and waits until they have ended.
    pub(super) async fn end_all(&self) {
        let mut released = self.released.listen();
        loop {
            released.begin();
            let mut waits = false;
            for consumer in &self.by_name {
                consumer.stop();
                waits |= !self.not_waited_for.contains_key(consumer.key());
            }
            if !waits || !released.rung().await {
                return;
            }
        }
    }
}
