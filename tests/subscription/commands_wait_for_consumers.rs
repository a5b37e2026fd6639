//! A command can wait until a consumer has handled its events. A wait that ends without that says
//! that the events are durable, and nothing is executed twice.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use seriatim::middleware::{Execution, Middleware, NextExecute, Outcome};
use seriatim::subscription::WaitError;
use seriatim::{AppendError, EventStore, ExecuteError, ExecuteOptions};
use tokio::sync::Semaphore;

use crate::support::entities::{Account, Command};
use crate::support::logged::on_each;
use crate::support::{DEADLINE, poll_once, within};

/// A consumer that counts the events it has handled, as far as the gate lets it.
fn counting(
    store: &EventStore,
    name: &str,
) -> (seriatim::subscription::Run, Arc<AtomicU64>, Arc<Semaphore>) {
    let (handled, gate) = (Arc::new(AtomicU64::new(0)), Arc::new(Semaphore::new(0)));
    let (counted, opened) = (handled.clone(), gate.clone());
    let run = store.consumer(name).run(move |_| {
        let (counted, opened) = (counted.clone(), opened.clone());
        async move {
            opened.acquire().await.map_err(|error| error.to_string())?.forget();
            counted.fetch_add(1, Ordering::SeqCst);
            Ok::<_, String>(())
        }
    });
    (run, handled, gate)
}

#[tokio::test]
async fn a_command_is_answered_when_every_consumer_has_handled_its_events() {
    on_each(|store| async move {
        let (first, first_handled, first_gate) = counting(&store, "first");
        let (second, second_handled, second_gate) = counting(&store, "second");
        let options = ExecuteOptions::new()
            .wait_for(&first.handle(), DEADLINE)
            .wait_for(&second.handle(), DEADLINE);
        let (one, other) = (tokio::spawn(first), tokio::spawn(second));
        let accounts = store.entities::<Account>();
        let mut executed = Box::pin(accounts.execute_with("1", Command::Deposit(5), options));
        assert!(poll_once(&mut executed).is_none());
        first_gate.add_permits(1);
        while first_handled.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
            assert!(poll_once(&mut executed).is_none(), "answered before the second consumer");
        }
        second_gate.add_permits(1);
        let executed = within("the answer", executed).await.unwrap();
        assert_eq!(executed.sequence, 1);
        assert_eq!(second_handled.load(Ordering::SeqCst), 1);
        store.close().await.unwrap();
        within("the ends", async { (one.await, other.await) }).await.0.unwrap().unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_wait_that_meets_its_deadline_says_that_the_events_are_durable() {
    on_each(|store| async move {
        let (run, _, gate) = counting(&store, "slow");
        let handle = run.handle();
        let running = tokio::spawn(run);
        let accounts = store.entities::<Account>();
        let soon = Duration::from_millis(20);
        let options = ExecuteOptions::new().retry(5).wait_for(&handle, soon);
        let late = accounts.execute_with("1", Command::Deposit(5), options).await.unwrap_err();
        assert!(!late.is_retryable() && !late.is_rejected() && !late.is_conflict());
        assert!(late.to_string().contains("durable up to sequence 1"), "{late}");
        let ExecuteError::NotHandled { appended, source } = late else { panic!("{late:?}") };
        assert!(matches!(source, WaitError::Timeout { .. }), "{source:?}");
        assert_eq!(appended.last, 1);
        let loaded = accounts.state("1").await.unwrap();
        assert_eq!((loaded.state.balance, loaded.state.events), (5, 1), "executed again");

        gate.add_permits(1);
        handle.stop();
        within("the end", running).await.unwrap().unwrap();
        let options = ExecuteOptions::new().wait_for(&handle, DEADLINE);
        let ended = accounts.execute_with("1", Command::Deposit(5), options).await.unwrap_err();
        let ExecuteError::NotHandled { source, .. } = ended else { panic!("{ended:?}") };
        assert!(matches!(source, WaitError::Ended { .. }), "{source:?}");
    })
    .await;
}

#[tokio::test]
async fn a_command_that_writes_nothing_waits_for_nothing() {
    on_each(|store| async move {
        // It never runs.
        let (run, ..) = counting(&store, "never");
        let options = || ExecuteOptions::new().wait_for(&run.handle(), DEADLINE);
        let accounts = store.entities::<Account>();
        let looked = accounts.execute_with("1", Command::Look, options()).await.unwrap();
        assert!(looked.appended.is_none());
        let rejected = accounts.execute_with("1", Command::Withdraw(9), options()).await;
        assert!(rejected.unwrap_err().is_rejected());
    })
    .await;
}

/// Keeps what it is told of commands.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<Outcome>>>);

#[seriatim::driver::async_trait]
impl Middleware for Told {
    async fn execute(
        &self,
        execution: Execution,
        next: NextExecute<'_>,
    ) -> Result<Outcome, AppendError> {
        let outcome = next.run(execution).await?;
        self.0.lock().unwrap().push(outcome.clone());
        Ok(outcome)
    }
}

#[tokio::test]
async fn a_middleware_is_told_that_the_events_are_durable() {
    let told = Told::default();
    let builder = EventStore::builder().url("memory:").middleware(told.clone());
    let store = builder.open().await.unwrap();
    let (run, ..) = counting(&store, "never");
    let options = ExecuteOptions::new().wait_for(&run.handle(), Duration::from_millis(1));
    let accounts = store.entities::<Account>();
    let late = accounts.execute_with("1", Command::Deposit(5), options).await.unwrap_err();
    let ExecuteError::NotHandled { appended, .. } = late else { panic!("{late:?}") };
    assert_eq!(*told.0.lock().unwrap(), [Outcome::Appended(appended)]);
}
