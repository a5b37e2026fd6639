//! Decisions that must await something: load, decide, append with exact expectation, again on
//! conflict.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::Aggregate;
use super::entities::Entities;
use super::error::TransactError;
use super::executed::{Executed, Loaded};
use crate::append::Append;
use crate::error::AppendError;

/// How often and how patiently a transaction is tried.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct TransactOptions {
    attempts: u32,
    first_pause: Duration,
    longest_pause: Duration,
}

impl Default for TransactOptions {
    /// 16 attempts, with pauses that grow from 2 ms to 250 ms, each shortened at random by up to a
    /// half.
    fn default() -> Self {
        TransactOptions {
            attempts: 16,
            first_pause: Duration::from_millis(2),
            longest_pause: Duration::from_millis(250),
        }
    }
}

impl TransactOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many times at most it is decided and appended; 0 is taken as 1.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// The pause after the first conflict, doubled with each further one up to `longest`.
    pub fn pauses(mut self, first: Duration, longest: Duration) -> Self {
        self.first_pause = first;
        self.longest_pause = longest;
        self
    }
}

impl<A: Aggregate> Entities<A> {
    /// Loads the entity, lets `decide` await what it needs, and appends the events it returns if
    /// nobody else wrote meanwhile; otherwise catches up and tries again, a bounded number of
    /// times.
    ///
    /// Prefer [`Entities::execute`] where nothing must be awaited: commands queue instead of
    /// conflicting.
    ///
    /// # Errors
    ///
    /// [`TransactError`]; `TooManyConflicts` says how many times it was tried.
    pub async fn transact<F, D, E>(
        &self,
        id: impl AsRef<str>,
        decide: F,
    ) -> Result<Executed<A>, TransactError<E>>
    where
        F: FnMut(Arc<A>) -> D,
        D: Future<Output = Result<Vec<A::Event>, E>>,
    {
        self.transact_with(id, TransactOptions::new(), decide).await
    }

    /// [`Entities::transact`] with bounds of the caller's own.
    ///
    /// # Errors
    ///
    /// [`TransactError`].
    pub async fn transact_with<F, D, E>(
        &self,
        id: impl AsRef<str>,
        options: TransactOptions,
        mut decide: F,
    ) -> Result<Executed<A>, TransactError<E>>
    where
        F: FnMut(Arc<A>) -> D,
        D: Future<Output = Result<Vec<A::Event>, E>>,
    {
        let key = self.checked_key(id.as_ref()).map_err(TransactError::Load)?;
        let mut loaded = self.load(&key, None, |_| true).await.map_err(TransactError::Load)?;
        let mut pause = options.first_pause;
        let mut attempts = 0;
        loop {
            let Loaded { state, sequence } = loaded;
            let state = Arc::new(state);
            let events = decide(state.clone()).await.map_err(TransactError::Rejected)?;
            if events.is_empty() {
                return Ok(Executed { appended: None, events, sequence });
            }
            attempts += 1;
            let commit_id = Uuid::now_v7();
            let failed = |source| TransactError::Append { source, commit_id };
            let mut append = Append::to(&key).expect(sequence).commit_id(commit_id);
            let mut read_back = Vec::with_capacity(events.len());
            for (index, event) in events.iter().enumerate() {
                let (stored, event) = self.reading.stored(event).map_err(|error| {
                    let (key, source) = (key.clone(), error.into());
                    failed(AppendError::InvalidEvent { key, index, source })
                })?;
                append = append.event(stored);
                read_back.push(event);
            }
            let events = read_back;
            match self.store.append(append).await {
                Ok(appended) => {
                    let sequence = appended.last;
                    return Ok(Executed { appended: Some(appended), events, sequence });
                }
                Err(error) if error.is_conflict() && attempts >= options.attempts => {
                    return Err(TransactError::TooManyConflicts { key, attempts });
                }
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(failed(error)),
            }
            self.store.pause(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            pause = (pause * 2).min(options.longest_pause);
            loaded = match Arc::try_unwrap(state) {
                Ok(state) => self.catch_up(&key, Loaded { state, sequence }).await,
                // The decision kept the state; it is left with it.
                Err(_kept) => self.load(&key, None, |_| true).await,
            }
            .map_err(TransactError::Load)?;
        }
    }
}
