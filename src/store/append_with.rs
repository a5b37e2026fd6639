//! Appends that are decided in the aggregate's turn, on its latest sequence.

use crate::append::{Append, Appended};
use crate::driver::DriverError;
use crate::error::{AppendError, ReadError};
use crate::event::{AggregateKey, CheckedEvents, KeyError, NewEvent, Sequence};
use crate::mailroom::DecideEvents;
use crate::user_code;

use super::EventStore;

impl EventStore {
    /// Appends what `decide` makes of the aggregate's latest sequence. It is called in the
    /// aggregate's turn, so there is nothing to read before and no conflict to try again after:
    /// callers that would race queue, and commit together. `Err` refuses the append with a reason.
    ///
    /// `decide` is called again if another process has written meanwhile, with the sequence that is
    /// the latest then; what it returns last counts. It runs in the caller's thread or on a thread
    /// of the store that serves other aggregates too: it computes, and waits for nothing. A panic
    /// is answered to its caller, and harms nobody else. A refusal, too, rests on durable events
    /// only.
    ///
    /// In a store with middleware, `decide` is called on the latest sequence that is read, and
    /// what it makes passes the middleware as an append that expects this sequence; after a
    /// conflict, again.
    ///
    /// Cancel-safe like [`EventStore::append`].
    ///
    /// ```
    /// use seriatim::{AppendError, EventStore, NewEvent};
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = EventStore::open("memory:").await?;
    /// // Three seats, and one event for each that is taken.
    /// let book = || {
    ///     store.append_with("flight/7", |latest| match latest.get() {
    ///         taken if taken < 3 => {
    ///             let seat = format!(r#"{{"seat":{}}}"#, taken + 1);
    ///             Ok(vec![NewEvent::raw("SeatTaken", seat)])
    ///         }
    ///         _ => Err("all seats are taken".to_owned()),
    ///     })
    /// };
    /// for seat in 1..=3 {
    ///     assert_eq!(book().await?.last, seat);
    /// }
    /// let refused = book().await.unwrap_err();
    /// assert!(matches!(refused, AppendError::Refused { .. }));
    /// assert_eq!(refused.to_string(), "flight/7: refused: all seats are taken");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`AppendError`]; never `Conflict`. Every variant but `Indeterminate` means that nothing was
    /// written.
    pub fn append_with<K, D>(
        &self,
        key: K,
        decide: D,
    ) -> impl Future<Output = Result<Appended, AppendError>> + Send
    where
        K: TryInto<AggregateKey>,
        KeyError: From<K::Error>,
        D: FnMut(Sequence) -> Result<Vec<NewEvent>, String> + Send + 'static,
    {
        let key = key.try_into().map_err(KeyError::from);
        async move {
            let key = key.map_err(AppendError::InvalidKey)?;
            if self.mailroom.is_closed() {
                return Err(AppendError::Closed);
            }
            if !self.middleware.is_empty() {
                return self.append_on_what_is_read(key, decide).await;
            }
            let decide = checked(key.clone(), decide);
            self.mailroom.append_with(key, size_of::<D>(), decide).await
        }
    }

    async fn append_on_what_is_read(
        &self,
        key: AggregateKey,
        mut decide: impl FnMut(Sequence) -> Result<Vec<NewEvent>, String> + Send,
    ) -> Result<Appended, AppendError> {
        loop {
            let latest = self.latest_sequence(key.clone()).await;
            let latest = latest.map_err(|error| not_read(key.clone(), error))?;
            let decided = user_code::call(|| decide(latest));
            let decided = decided.map_err(|_| AppendError::Panicked { key: key.clone() })?;
            let refused = |reason| AppendError::Refused { key: key.clone(), reason };
            let events = decided.map_err(refused)?;
            let append = Append::to(key.clone()).expect(latest).events(events);
            match self.append(append).await {
                // Somebody else has come further.
                Err(error) if error.is_conflict() => {}
                answer => return answer,
            }
        }
    }
}

fn not_read(key: AggregateKey, error: ReadError) -> AppendError {
    match error {
        ReadError::Closed => AppendError::Closed,
        ReadError::Driver(source) => AppendError::Driver { key, source },
        other => AppendError::Driver { key, source: DriverError::unavailable(other.to_string()) },
    }
}

/// The closure as the mailroom takes it: it checks the events.
fn checked(
    key: AggregateKey,
    mut decide: impl FnMut(Sequence) -> Result<Vec<NewEvent>, String> + Send + 'static,
) -> Box<DecideEvents> {
    Box::new(move |latest| {
        let refused = |reason| AppendError::Refused { key: key.clone(), reason };
        let events = decide(latest).map_err(refused)?;
        if events.is_empty() {
            return Err(AppendError::Empty { key: key.clone() });
        }
        let check = |(index, event): (usize, NewEvent)| {
            let invalid = |source| AppendError::InvalidEvent { key: key.clone(), index, source };
            event.check().map_err(invalid)
        };
        events.into_iter().enumerate().map(check).collect::<Result<CheckedEvents, _>>()
    })
}
