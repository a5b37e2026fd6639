//! One writer: it sends appends, checks what the answers claim, and notes down what it was told. What it
//! sends, and what comes after an answer, is its mode's.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use seriatim::{Aggregate, Append, AppendError, Entities, EventStore, ExecuteError, NewEvent};

use crate::ledger::Book;
use crate::load::{EVENT_TYPE, Plan};
use crate::meter::Meter;
use crate::payload::{Origin, Payloads};
use crate::tally::{Event, Tally};

/// After a failure, so that a store that fails at once is not asked a million times.
const PAUSE: Duration = Duration::from_millis(20);
/// A refusal needs no waiting, so a task that meets nothing else must step aside by itself, once in so
/// many.
const IN_A_ROW: usize = 64;
/// Complaints of one writer that are worth telling; all are counted.
const COMPLAINTS_TOLD: usize = 3;

/// How an append was answered.
pub(crate) enum Answer {
    /// With the sequence of its last event.
    Committed(u64),
    /// With the latest sequence.
    Conflict(u64),
    /// With an error that leaves it open whether it was written.
    Indeterminate,
    /// With an error that says that nothing was written.
    Failed,
}

/// An append that was begun: it can be sent until it is committed.
pub(crate) struct Begun {
    origin: Origin,
    data: Bytes,
}

/// What a writer found wrong in the answers, and the errors it was told.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    pub(crate) wrong_answers: u64,
    /// Some of them, in words.
    pub(crate) told: Vec<String>,
    pub(crate) first_error: Option<String>,
}

impl Complaints {
    pub(crate) fn merge(&mut self, other: Complaints) {
        self.wrong_answers += other.wrong_answers;
        self.told.extend(other.told);
        self.first_error = self.first_error.take().or(other.first_error);
    }
}

pub(crate) struct Writer {
    index: usize,
    plan: Arc<Plan>,
    store: EventStore,
    entities: Entities<Tally>,
    stop: Arc<AtomicBool>,
    ends: Instant,
    pub(crate) meter: Meter,
    book: Book,
    complaints: Complaints,
}

impl Writer {
    /// A writer that stops at `ends`, or when `stop` is set.
    pub(crate) fn new(
        index: usize,
        plan: &Arc<Plan>,
        store: &EventStore,
        stop: &Arc<AtomicBool>,
        ends: Instant,
        meter: Meter,
    ) -> Self {
        Writer {
            index,
            plan: plan.clone(),
            store: store.clone(),
            entities: store.entities(),
            stop: stop.clone(),
            ends,
            meter,
            book: Book::new(index as u32),
            complaints: Complaints::default(),
        }
    }

    /// What it was told, and what it has to complain about.
    pub(crate) fn finish(self) -> (Book, Complaints) {
        (self.book, self.complaints)
    }

    pub(crate) fn is_running(&self) -> bool {
        !self.stop.load(Ordering::Relaxed) && Instant::now() < self.ends
    }

    /// The aggregates that no other writer has.
    pub(crate) fn own_aggregates(&self) -> impl Iterator<Item = usize> + use<> {
        (self.index..self.plan.keys.len()).step_by(self.plan.writers)
    }

    /// All aggregates, again and again, each writer beginning with another one.
    pub(crate) fn aggregates_in_turn(&self) -> impl Iterator<Item = usize> + use<> {
        let (first, count) = (self.index, self.plan.keys.len());
        (0usize..).map(move |turn| first.wrapping_add(turn) % count)
    }

    /// A new append, which is not sent yet.
    pub(crate) fn begin(&mut self, aggregate: usize) -> Begun {
        let origin = self.book.begin(aggregate);
        Begun { origin, data: self.plan.payloads.make(origin).into() }
    }

    /// Sends the append, and checks and notes down the answer.
    pub(crate) async fn send(&mut self, begun: &Begun, aggregate: usize, latest: u64) -> Answer {
        let Some(key) = self.plan.keys.get(aggregate) else { return Answer::Failed };
        let event = NewEvent::raw(EVENT_TYPE, begun.data.clone());
        match self.store.append(Append::to(key).expect(latest).event(event)).await {
            Ok(appended) => {
                self.book.committed(begun.origin, &appended);
                let place = (appended.first.get(), appended.last.get());
                if place != (latest + 1, latest + 1) || appended.repeated {
                    let text = format!("{key}: expected {latest}, and was answered {appended:?}");
                    self.complain(text);
                }
                Answer::Committed(appended.last.get())
            }
            Err(AppendError::Conflict { actual, .. }) => {
                let actual = actual.get();
                if actual <= latest {
                    let text = format!("{key}: expected {latest}, in conflict with {actual}");
                    self.complain(text);
                }
                Answer::Conflict(actual)
            }
            Err(AppendError::Indeterminate { commit_id, cause, .. }) => {
                self.book.indeterminate(begun.origin, commit_id);
                self.failed(&cause);
                Answer::Indeterminate
            }
            Err(error) => {
                self.failed(&error);
                Answer::Failed
            }
        }
    }

    /// Sends the append as a command to the entity of that key.
    pub(crate) async fn execute(&mut self, begun: &Begun, aggregate: usize) -> Answer {
        let Some(key) = self.plan.keys.get(aggregate) else { return Answer::Failed };
        let id = key.as_str().trim_start_matches(Tally::KIND).trim_start_matches('/');
        let Origin { writer, counter } = begun.origin;
        let fill = Payloads::fill_of(&begun.data).to_owned();
        let command = Event::Written { writer, counter, fill };
        match self.entities.execute(id, command).await {
            Ok(executed) => {
                let Some(appended) = &executed.appended else {
                    self.complain(format!("{key}: a command came to nothing"));
                    return Answer::Failed;
                };
                self.book.committed(begun.origin, appended);
                if appended.first != appended.last || appended.repeated {
                    self.complain(format!("{key}: one command was answered {appended:?}"));
                }
                Answer::Committed(appended.last.get())
            }
            Err(ExecuteError::Append(AppendError::Conflict { actual, .. })) => {
                Answer::Conflict(actual.get())
            }
            Err(ExecuteError::Append(AppendError::Indeterminate { commit_id, cause, .. })) => {
                self.book.indeterminate(begun.origin, commit_id);
                self.failed(&cause);
                Answer::Indeterminate
            }
            Err(error) => {
                self.failed(&error);
                Answer::Failed
            }
        }
    }

    /// The aggregate's latest sequence; none if it cannot be read. It was told before that `known` is
    /// there.
    pub(crate) async fn tail(&mut self, aggregate: usize, known: u64) -> Option<u64> {
        let key = self.plan.keys.get(aggregate)?;
        match self.store.latest_sequence(key).await {
            Ok(tail) => {
                if tail.get() < known {
                    let text =
                        format!("{key}: {known} was answered, and then {tail} read as latest");
                    self.complain(text);
                }
                Some(tail.get())
            }
            Err(error) => {
                self.failed(&error);
                None
            }
        }
    }

    pub(crate) fn complain(&mut self, text: String) {
        self.complaints.wrong_answers += 1;
        if self.complaints.told.len() < COMPLAINTS_TOLD {
            self.complaints.told.push(text);
        }
    }

    fn failed(&mut self, error: &dyn fmt::Display) {
        self.meter.error();
        if self.complaints.first_error.is_none() {
            self.complaints.first_error = Some(error.to_string());
        }
    }

    /// Waits a little after a failure.
    pub(crate) async fn pause(&self) {
        tokio::time::sleep(PAUSE).await;
    }

    /// Lets other writers run, once in a while.
    pub(crate) async fn let_others_run(&self, turn: usize) {
        if turn.is_multiple_of(IN_A_ROW) {
            tokio::task::yield_now().await;
        }
    }
}
