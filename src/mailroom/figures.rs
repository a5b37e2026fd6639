//! What the mailroom counts of itself; see [`crate::stats`].
//!
//! Counted where things end: an append and a command when they are answered, a put when it is
//! settled. Nothing here knows a slot, because every slot reaches these figures.

use std::time::Instant;

use crate::append::Appended;
use crate::error::AppendError;
use crate::stats::{Count, Distribution, DistributionCells, Measure, StoreStats, Stripes};

/// The figures of one mailroom.
#[derive(Default)]
pub(super) struct Figures(Stripes<Cells>);

/// What one thread has counted.
#[derive(Default)]
struct Cells {
    early_conflicts: Count,
    appends: Count,
    events: Count,
    repeated_appends: Count,
    conflicts: Count,
    unknown_appends: Count,
    failed_appends: Count,
    commands: Count,
    commands_without_events: Count,
    puts: Count,
    driver_conflicts: Count,
    resent_puts: Count,
    unknown_puts: Count,
    passivations: Count,
    put_time: DistributionCells,
    queue_time: DistributionCells,
    appends_per_put: DistributionCells,
}

/// The answer to an append or to a command, as it is counted.
#[derive(Clone, Copy)]
pub(super) enum CountedAnswer {
    /// So many events were written.
    Appended(u64),
    Repeated,
    Conflict,
    Unknown,
    Failed,
    /// A command appended nothing.
    Nothing,
}

impl CountedAnswer {
    pub(super) fn of(answer: &Result<Appended, AppendError>) -> Self {
        match answer {
            Ok(appended) => Self::of_appended(appended),
            Err(error) => Self::of_error(error),
        }
    }

    pub(super) fn of_appended(appended: &Appended) -> Self {
        match appended.repeated {
            true => CountedAnswer::Repeated,
            false => CountedAnswer::Appended(appended.last.get() + 1 - appended.first.get()),
        }
    }

    pub(super) fn of_error(error: &AppendError) -> Self {
        match error {
            AppendError::Conflict { .. } => CountedAnswer::Conflict,
            AppendError::Indeterminate { .. } => CountedAnswer::Unknown,
            _ => CountedAnswer::Failed,
        }
    }
}

impl Figures {
    /// A stale append was refused in the caller's thread.
    pub(super) fn early_conflict(&self) {
        self.0.count(|cells, owner| cells.early_conflicts.add(1, owner));
    }

    /// A mail is answered.
    pub(super) fn answered(&self, answer: CountedAnswer, is_command: bool) {
        self.0.count(|cells, owner| {
            if is_command {
                cells.commands.add(1, owner);
            }
            let count = match answer {
                CountedAnswer::Appended(events) => {
                    cells.events.add(events, owner);
                    &cells.appends
                }
                CountedAnswer::Repeated => &cells.repeated_appends,
                CountedAnswer::Conflict => &cells.conflicts,
                CountedAnswer::Unknown => &cells.unknown_appends,
                CountedAnswer::Failed => &cells.failed_appends,
                CountedAnswer::Nothing => &cells.commands_without_events,
            };
            count.add(1, owner);
        });
    }

    /// The driver has committed a put. It was formed then, of appends that had arrived then.
    pub(super) fn committed(&self, formed: Instant, arrivals: impl Iterator<Item = Instant>) {
        let took = formed.elapsed();
        self.0.count(|cells, owner| {
            cells.puts.add(1, owner);
            cells.put_time.record(took, owner);
            let mut appends = 0_u64;
            for arrived in arrivals {
                appends += 1;
                cells.queue_time.record(formed.saturating_duration_since(arrived), owner);
            }
            cells.appends_per_put.record(appends, owner);
        });
    }

    /// The driver has refused a put as a conflict.
    pub(super) fn driver_conflict(&self) {
        self.0.count(|cells, owner| cells.driver_conflicts.add(1, owner));
    }

    /// The fate of a put is unknown at its deadline.
    pub(super) fn unknown_put(&self) {
        self.0.count(|cells, owner| cells.unknown_puts.add(1, owner));
    }

    /// A put is sent again.
    pub(super) fn resent(&self) {
        self.0.count(|cells, owner| cells.resent_puts.add(1, owner));
    }

    /// An aggregate was passivated.
    pub(super) fn passivated(&self) {
        self.0.count(|cells, owner| cells.passivations.add(1, owner));
    }

    /// Everything counted so far.
    pub(super) fn totals(&self) -> StoreStats {
        let sum = |figure: fn(&Cells) -> &Count| self.0.sum(|cells| figure(cells).get());
        StoreStats {
            appends: sum(|cells| &cells.appends),
            events: sum(|cells| &cells.events),
            repeated_appends: sum(|cells| &cells.repeated_appends),
            early_conflicts: sum(|cells| &cells.early_conflicts),
            conflicts: sum(|cells| &cells.conflicts),
            unknown_appends: sum(|cells| &cells.unknown_appends),
            failed_appends: sum(|cells| &cells.failed_appends),
            commands: sum(|cells| &cells.commands),
            commands_without_events: sum(|cells| &cells.commands_without_events),
            puts: sum(|cells| &cells.puts),
            driver_conflicts: sum(|cells| &cells.driver_conflicts),
            resent_puts: sum(|cells| &cells.resent_puts),
            unknown_puts: sum(|cells| &cells.unknown_puts),
            passivations: sum(|cells| &cells.passivations),
            put_time: self.total(|cells| &cells.put_time),
            queue_time: self.total(|cells| &cells.queue_time),
            appends_per_put: self.total(|cells| &cells.appends_per_put),
            ..StoreStats::default()
        }
    }

    fn total<T: Measure>(&self, figure: fn(&Cells) -> &DistributionCells) -> Distribution<T> {
        let mut total = Distribution::default();
        self.0.iter().for_each(|cells| figure(cells).add_to(&mut total));
        total
    }
}
