//! What an event causes is there exactly once, however often the event comes again, however far
//! back in its target it was done; of a rejected command and what is done otherwise, exactly one
//! is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::logged::{happen, on_each};
use crate::support::{DEADLINE, assert_says, history, within};
use serde::{Deserialize, Serialize};
use seriatim::subscription::{ConsumerError, OnRejected, Run};
use seriatim::{Aggregate, Append, Context, EventStore, NewEvent, Reaction};

#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

enum Command {
    Deposit(u64),
    Withdraw(u64),
}

#[derive(Clone, Serialize, Deserialize)]
enum Event {
    Deposited(u64),
    Withdrawn(u64),
}

impl Aggregate for Account {
    const KIND: &'static str = "account";
    type Command = Command;
    type Event = Event;
    type Error = String;
    type Services = ();

    fn handle(&self, command: &Command, _: &Context<'_>) -> Result<Vec<Event>, String> {
        match *command {
            Command::Deposit(amount) => Ok(vec![Event::Deposited(amount)]),
            Command::Withdraw(amount) if amount > self.balance => Err("overdrawn".to_owned()),
            Command::Withdraw(amount) => Ok(vec![Event::Withdrawn(amount)]),
        }
    }

    fn apply(&mut self, event: &Event) {
        match *event {
            Event::Deposited(amount) => self.balance += amount,
            Event::Withdrawn(amount) => self.balance -= amount,
        }
    }
}

async fn run_to(run: Run, position: u64) {
    let handle = run.handle();
    let running = tokio::spawn(run);
    within("the position", handle.wait_for(position, DEADLINE)).await.unwrap();
    handle.stop();
    within("the end", running).await.unwrap().unwrap();
}

fn note(of: &seriatim::KeyedEvent) -> Reaction {
    let noted = NewEvent::new("Noted", &of.key);
    Reaction::append(Append::to("notes").event(noted))
}

#[tokio::test]
async fn a_repeated_event_finds_what_it_caused_however_far_back() {
    on_each(|store| async move {
        happen(&store, "order/1", "Placed").await;
        let react = || store.consumer("notes").category("order").react(|event| vec![note(event)]);
        run_to(react(), 1).await;
        // Farther back than the store looks for the ids of appends.
        for _ in 0..30 {
            let others = (0..100).map(|_| NewEvent::raw("Other", "{}"));
            store.append(Append::to("notes").events(others)).await.unwrap();
        }
        let rebuilt = store.consumer("notes").category("order").rebuild();
        run_to(rebuilt.react(|event| vec![note(event)]), 1).await;
        let notes = history(&store, "notes").await;
        let noted: Vec<_> = notes.iter().filter(|e| e.event_type() == "Noted").collect();
        assert_eq!(noted.len(), 1);
        let cause = store.read("order/1").next().await.unwrap().unwrap().event_id();
        let metadata = noted.first().unwrap().metadata.as_ref().unwrap().to_string();
        assert_eq!(metadata, format!(r#"{{"causation_id":"{cause}"}}"#));
        // Another consumer's reactions are its own.
        run_to(store.consumer("more").category("order").react(|event| vec![note(event)]), 1).await;
        let notes = history(&store, "notes").await;
        assert_eq!(notes.iter().filter(|e| e.event_type() == "Noted").count(), 2);
    })
    .await;
}

#[tokio::test]
async fn reactions_half_done_are_completed() {
    on_each(|store| async move {
        happen(&store, "order/1", "Placed").await;
        let tries = Arc::new(AtomicU64::new(0));
        let pause = Duration::from_millis(1);
        let consumer = store.consumer("c").category("order").retry(9, pause, pause);
        let counted = tries.clone();
        let run = consumer.react(move |event| {
            // The third cannot be appended until the fourth time.
            let last = if counted.fetch_add(1, Ordering::SeqCst) < 3 { "" } else { "last" };
            let last = Reaction::append(Append::to(last).event(NewEvent::raw("Noted", "{}")));
            vec![note(event), note(event), last]
        });
        run_to(run, 1).await;
        assert_eq!(tries.load(Ordering::SeqCst), 4);
        assert_eq!(history(&store, "notes").await.len(), 2, "two reactions to one target are two");
        assert_eq!(history(&store, "last").await.len(), 1);
    })
    .await;
}

async fn order(store: &EventStore, amount: u64) -> u64 {
    let ordered = NewEvent::new("Ordered", &amount);
    let append = Append::to("order/1").event(ordered);
    store.append(append).await.unwrap().position.unwrap().get()
}

/// Pays for an order from account 1, or else notes that it cannot be paid.
fn pay(event: &seriatim::KeyedEvent) -> Result<Vec<Reaction>, serde_json::Error> {
    let amount: u64 = event.json()?;
    let refused = NewEvent::new("Refused", &amount);
    let pay = Reaction::command::<Account>("1", Command::Withdraw(amount));
    Ok(vec![pay.otherwise(Reaction::append(Append::to("refusals").event(refused)))])
}

#[tokio::test]
async fn a_rejected_command_is_compensated_and_stays_so() {
    on_each(|store| async move {
        let accounts = store.entities::<Account>();
        accounts.execute("1", Command::Deposit(50)).await.unwrap();
        order(&store, 30).await;
        let last = order(&store, 40).await;
        let consumer = || store.consumer("payments").category("order");
        run_to(consumer().react(pay), last).await;
        assert_eq!(accounts.state("1").await.unwrap().state.balance, 20);
        assert_eq!(history(&store, "refusals").await.len(), 1);
        // With more money the second order could be paid: but it is refused already.
        accounts.execute("1", Command::Deposit(1_000)).await.unwrap();
        run_to(consumer().rebuild().react(pay), last).await;
        assert_eq!(accounts.state("1").await.unwrap().state.balance, 1_020);
        assert_eq!(history(&store, "refusals").await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_rejection_is_a_failure_unless_the_policy_passes_it_over() {
    on_each(|store| async move {
        order(&store, 1).await;
        let pause = Duration::from_millis(1);
        let consumer = || store.consumer("c").category("order").retry(2, pause, pause);
        let withdraw = |_: &seriatim::KeyedEvent| {
            Some(Reaction::command::<Account>("1", Command::Withdraw(1)))
        };
        let failed = within("the end", consumer().react(withdraw)).await.unwrap_err();
        assert!(matches!(failed, ConsumerError::Failed { attempts: 2, .. }), "{failed:?}");
        assert_says(&failed, &["account/1", "overdrawn"]);
        let told = Arc::new(Mutex::new(Vec::new()));
        let noted = told.clone();
        let consumer = consumer().on_rejected(move |rejection| {
            let told = format!("{} {}", rejection.target, rejection.reason);
            noted.lock().unwrap().push(told);
            OnRejected::PassOver
        });
        run_to(consumer.react(withdraw), 1).await;
        assert_eq!(*told.lock().unwrap(), ["account/1 overdrawn"]);
    })
    .await;
}
