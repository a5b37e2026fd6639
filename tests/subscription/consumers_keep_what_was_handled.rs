//! What a consumer has handled stays handled: over closing the store, over panics, over parking and
//! retrying, and wherever a name, a position or a start is used twice.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use seriatim::driver::async_trait;
use seriatim::subscription::{ConsumerError, OnFailure, Projection, Reaction, Run};
use seriatim::{Aggregate, Append, ConsumerHandle, EventStore, KeyedEvent, NewEvent, Position};

const DEADLINE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(1);

type Running = tokio::task::JoinHandle<Result<(), ConsumerError>>;

async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(DEADLINE, future).await.expect("not within the deadline")
}

fn start(run: Run) -> (ConsumerHandle, Running) {
    (run.handle(), tokio::spawn(run))
}

async fn stop(handle: &ConsumerHandle, running: Running) {
    handle.stop();
    within(running).await.unwrap().unwrap();
}

async fn happen(store: &EventStore, key: &str) -> Position {
    let append = Append::to(key).event(NewEvent::raw("Happened", "{}"));
    store.append(append).await.unwrap().position.unwrap()
}

async fn memory() -> EventStore {
    EventStore::open("memory:").await.unwrap()
}

/// A read model that fails at the events of its poison: key and sequence.
#[derive(Clone, Default)]
struct Counts {
    model: Arc<Mutex<(Position, BTreeMap<String, u64>)>>,
    poison: Arc<Mutex<Option<(&'static str, u64)>>>,
}

impl Counts {
    fn poison(&self, poison: Option<(&'static str, u64)>) {
        *self.poison.lock().unwrap() = poison;
    }

    fn of(&self, key: &str) -> u64 {
        self.model.lock().unwrap().1.get(key).copied().unwrap_or_default()
    }
}

#[async_trait]
impl Projection for Counts {
    type Error = String;

    async fn position(&mut self) -> Result<Position, String> {
        Ok(self.model.lock().unwrap().0)
    }

    async fn apply(&mut self, events: &[KeyedEvent], position: Position) -> Result<(), String> {
        let poison = *self.poison.lock().unwrap();
        let is_poison = |e: &KeyedEvent| poison == Some((e.key.as_str(), e.sequence.get()));
        if poison.is_some() && events.iter().any(is_poison) {
            return Err("poison".to_owned());
        }
        let mut model = self.model.lock().unwrap();
        for event in events {
            *model.1.entry(event.key.to_string()).or_default() += 1;
        }
        model.0 = position;
        Ok(())
    }

    async fn reset(&mut self) -> Result<(), String> {
        *self.model.lock().unwrap() = Default::default();
        Ok(())
    }
}

#[tokio::test]
async fn closing_the_store_saves_checkpoints() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("redb:{}", directory.path().display());
    let handled = Arc::new(AtomicU64::new(0));
    for _ in 0..2 {
        let store = EventStore::open(&url).await.unwrap();
        if handled.load(Ordering::SeqCst) == 0 {
            for _ in 0..50 {
                happen(&store, "a/1").await;
            }
        }
        let counted = handled.clone();
        let run = store.consumer("mailer").checkpoint_interval(Duration::from_secs(3_600));
        let (handle, running) = start(run.run(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            async { Ok::<_, String>(()) }
        }));
        handle.wait_for(50, DEADLINE).await.unwrap();
        within(store.close()).await.unwrap();
        within(running).await.unwrap().unwrap();
    }
    assert_eq!(handled.load(Ordering::SeqCst), 50, "handled events came again");
}

#[tokio::test]
async fn an_empty_read_model_gets_the_events_before_a_parked_one() {
    let store = memory().await;
    for _ in 0..5 {
        happen(&store, "a/1").await;
    }
    let parking = || store.consumer("p").on_failure(OnFailure::Park).retry(1, PAUSE, PAUSE);
    let counts = Counts::default();
    counts.poison(Some(("a/1", 4)));
    let (handle, running) = start(parking().project(counts.clone()));
    handle.wait_for(5, DEADLINE).await.unwrap();
    assert_eq!(counts.of("a/1"), 3);
    stop(&handle, running).await;

    let counts = Counts::default();
    let (handle, running) = start(parking().project(counts.clone()));
    handle.wait_for(5, DEADLINE).await.unwrap();
    assert_eq!(counts.of("a/1"), 3, "events before the parked one");
    assert_eq!(within(handle.retry_parked()).await.unwrap().events, 2);
    assert_eq!(counts.of("a/1"), 5);
    stop(&handle, running).await;
}

#[tokio::test]
async fn a_retry_that_is_stopped_keeps_its_progress() {
    let store = memory().await;
    for _ in 0..5 {
        happen(&store, "a/1").await;
    }
    let pause = Duration::from_secs(3_600);
    let parking =
        |attempts| store.consumer("p").on_failure(OnFailure::Park).retry(attempts, pause, pause);
    let counts = Counts::default();
    counts.poison(Some(("a/1", 1)));
    let (handle, running) = start(parking(1).project(counts.clone()));
    handle.wait_for(5, DEADLINE).await.unwrap();
    stop(&handle, running).await;

    counts.poison(Some(("a/1", 5)));
    let (handle, running) = start(parking(2).project(counts.clone()));
    let retrying = handle.clone();
    let retry = tokio::spawn(async move { retrying.retry_parked().await });
    let began = std::time::Instant::now();
    while counts.of("a/1") < 4 {
        assert!(began.elapsed() < DEADLINE, "four events were not retried");
        tokio::task::yield_now().await;
    }
    stop(&handle, running).await;
    within(retry).await.unwrap().unwrap_err();

    counts.poison(None);
    let (handle, running) = start(parking(1).project(counts.clone()));
    within(handle.retry_parked()).await.unwrap();
    assert_eq!(counts.of("a/1"), 5, "an event counted twice, or not");
    stop(&handle, running).await;
}

#[tokio::test]
async fn a_panic_is_a_failed_event() {
    let store = memory().await;
    for key in ["a", "b", "c"] {
        happen(&store, key).await;
    }
    let run = store.consumer("c").on_failure(OnFailure::Park).retry(2, PAUSE, PAUSE);
    let (handle, running) = start(run.run(|event| async move {
        assert_ne!(event.key.as_str(), "b", "on purpose");
        Ok::<_, String>(())
    }));
    handle.wait_for(3, DEADLINE).await.unwrap();
    let parked = handle.parked().await.unwrap();
    assert_eq!(parked.len(), 1);
    let parked = parked.first().unwrap();
    assert_eq!(parked.key.as_str(), "b");
    assert!(parked.reason.contains("panicked"), "{}", parked.reason);
    stop(&handle, running).await;
}

#[tokio::test]
async fn an_empty_read_model_begins_from_the_start_under_any_name() {
    let store = memory().await;
    for _ in 0..5 {
        happen(&store, "a/1").await;
    }
    let (handle, running) = start(store.consumer("c").run(|_| async { Ok::<_, String>(()) }));
    handle.wait_for(5, DEADLINE).await.unwrap();
    stop(&handle, running).await;
    let counts = Counts::default();
    let (handle, running) = start(store.consumer("c").project(counts.clone()));
    let last = happen(&store, "a/1").await;
    handle.wait_for(last, DEADLINE).await.unwrap();
    assert_eq!(counts.of("a/1"), 6);
    assert_eq!(handle.lag().unwrap(), 0);
    assert_eq!(store.consumer("c").lag().await.unwrap(), 0, "it runs");
    stop(&handle, running).await;
    assert_eq!(store.consumer("c").lag().await.unwrap(), 0, "it has stopped");
}

#[tokio::test]
async fn a_read_model_ahead_of_the_log_is_told() {
    let store = memory().await;
    happen(&store, "a/1").await;
    let counts = Counts::default();
    counts.model.lock().unwrap().0 = Position::new(5_000);
    let (_, running) = start(store.consumer("p").project(counts));
    let ended = tokio::time::timeout(Duration::from_secs(5), running).await;
    let error = ended.expect("it runs on").unwrap().unwrap_err();
    assert!(error.to_string().contains("5000"), "{error}");
}

#[tokio::test]
async fn a_consumer_from_the_end_gets_what_follows_its_making() {
    let store = memory().await;
    happen(&store, "a/1").await;
    let seen = Arc::new(AtomicU64::new(0));
    let counted = seen.clone();
    let run = store.consumer("c").from_end().run(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Ok::<_, String>(()) }
    });
    let last = happen(&store, "a/1").await;
    let (handle, running) = start(run);
    handle.wait_for(last, DEADLINE).await.unwrap();
    assert_eq!(seen.load(Ordering::SeqCst), 1);
    stop(&handle, running).await;
}

#[tokio::test]
async fn intervals_and_pauses_may_be_endless() {
    let store = memory().await;
    happen(&store, "a/1").await;
    let run = store.consumer("c").checkpoint_interval(Duration::MAX);
    let (handle, running) = start(run.run(|_| async { Ok::<_, String>(()) }));
    handle.wait_for(1, DEADLINE).await.unwrap();
    stop(&handle, running).await;
    let run = store.consumer("d").retry(3, PAUSE, Duration::MAX);
    let ended = within(run.run(|_| async { Err::<(), _>("no") })).await;
    assert!(matches!(ended, Err(ConsumerError::Failed { attempts: 3, .. })), "{ended:?}");
}

#[tokio::test]
async fn a_key_without_a_slash_is_in_its_category() {
    let store = memory().await;
    for key in ["config", "config/1", "configuration"] {
        happen(&store, key).await;
    }
    let found = store.log().unwrap().read().category("config").collect().await.unwrap();
    let keys: Vec<_> = found.iter().map(|event| event.key.as_str()).collect();
    assert_eq!(keys, ["config", "config/1"]);
}

#[tokio::test]
async fn an_aggregates_subscription_stays_with_it_wherever_it_begins() {
    let store = memory().await;
    for key in ["a", "b", "a"] {
        happen(&store, key).await;
    }
    let mut from_end = store.subscribe().aggregate("a", 1).from_end();
    let mut from_position = store.subscribe().aggregate("a", 1).from(2);
    happen(&store, "b").await;
    happen(&store, "a").await;
    let next = within(from_end.next()).await.unwrap().unwrap();
    assert_eq!((next.key.as_str(), next.sequence.get()), ("a", 3));
    let next = within(from_position.next()).await.unwrap().unwrap();
    assert_eq!((next.key.as_str(), next.sequence.get()), ("a", 2));
}

/// Rejects once; then accepts.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

#[derive(Debug)]
enum Order {
    Deposit,
    Withdraw,
    Nothing,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Moved {
    Deposited,
    Withdrawn,
}

impl Aggregate for Account {
    const KIND: &'static str = "account";
    type Command = Order;
    type Event = Moved;
    type Error = String;
    type Services = ();

    fn handle(&self, command: &Order, _: &seriatim::Context<'_>) -> Result<Vec<Moved>, String> {
        match command {
            Order::Deposit => Ok(vec![Moved::Deposited]),
            Order::Withdraw if self.balance == 0 => Err("overdrawn".to_owned()),
            Order::Withdraw => Ok(vec![Moved::Withdrawn]),
            Order::Nothing => Ok(Vec::new()),
        }
    }

    fn apply(&mut self, event: &Moved) {
        match event {
            Moved::Deposited => self.balance += 1,
            Moved::Withdrawn => self.balance -= 1,
        }
    }
}

#[tokio::test]
async fn a_compensation_that_writes_nothing_is_not_forgotten() {
    let store = memory().await;
    happen(&store, "payment/1").await;
    let paying = || {
        let consumer = store.consumer("c").category("payment");
        consumer.checkpoint_interval(Duration::from_secs(3_600)).react(|_| {
            let withdraw = Reaction::command::<Account>("1", Order::Withdraw);
            Some(withdraw.otherwise(Reaction::command::<Account>("2", Order::Nothing)))
        })
    };
    let (handle, running) = start(paying());
    handle.wait_for(1, DEADLINE).await.unwrap();
    // Dropped as a crash would, before a checkpoint is due.
    running.abort();
    let _ = running.await;
    let accounts = store.entities::<Account>();
    accounts.execute("1", Order::Deposit).await.unwrap();
    let (handle, running) = start(paying());
    let last = store.log().unwrap().last_position().unwrap();
    handle.wait_for(last, DEADLINE).await.unwrap();
    stop(&handle, running).await;
    let balance = accounts.state("1").await.unwrap().state.balance;
    assert_eq!(balance, 1, "the command was executed after its compensation");
}

#[tokio::test]
async fn a_reaction_that_causes_itself_ends() {
    let store = memory().await;
    happen(&store, "a").await;
    let run = store
        .consumer("loop")
        .retry(1, PAUSE, PAUSE)
        .react(|_| vec![Reaction::append(Append::to("a").event(NewEvent::raw("Happened", "{}")))]);
    let ended = tokio::time::timeout(Duration::from_secs(20), run).await;
    let error = ended.expect("it runs on").unwrap_err();
    assert!(error.to_string().contains("max_causation_depth"), "{error}");
    assert!(store.log().unwrap().last_position().unwrap().get() < 200);
}

#[tokio::test]
async fn retrying_and_closing_in_the_own_handler_do_not_hang() {
    let store = memory().await;
    happen(&store, "a").await;
    let own: Arc<Mutex<Option<ConsumerHandle>>> = Arc::default();
    let (told, handle) = (Arc::new(Mutex::new(None)), own.clone());
    let (answer, closing) = (told.clone(), store.clone());
    let run = store.consumer("c").run(move |_| {
        let handle = handle.lock().unwrap().clone().unwrap();
        let (answer, store) = (answer.clone(), closing.clone());
        async move {
            let retried = tokio::time::timeout(Duration::from_secs(5), handle.retry_parked()).await;
            *answer.lock().unwrap() = Some(retried.expect("it waits for itself"));
            store.close().await
        }
    });
    *own.lock().unwrap() = Some(run.handle());
    let ended = tokio::time::timeout(Duration::from_secs(20), run).await;
    ended.expect("closing waits for the handler that closes").unwrap();
    let told = told.lock().unwrap().take().unwrap();
    assert!(told.unwrap_err().to_string().contains("itself"));
}
