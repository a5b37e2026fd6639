//! What the tests of entities share: an account, a store over any driver, and a replay that does
//! not go through the code under test.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use seriatim::driver::{Driver, SnapshotStore};
use seriatim::{
    Aggregate, AggregateKey, Append, Context, EntityOptions, EventStore, KeyedEvent, NewEvent,
    Snapshots,
};

use super::within;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Account {
    pub balance: u64,
    pub events: u64,
}

#[derive(Clone, Copy, Debug)]
pub enum Command {
    Deposit(u64),
    Withdraw(u64),
    /// What it decides depends on the state.
    WithdrawAll,
    /// Nothing happens.
    Look,
    PanicInHandle,
    /// Decides on an event whose `apply` panics.
    PanicInApply,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    Deposited { amount: u64 },
    Withdrawn { amount: u64 },
    Cursed,
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("only {balance} is there")]
pub struct Overdrawn {
    pub balance: u64,
}

impl Aggregate for Account {
    const KIND: &'static str = "account";
    type Command = Command;
    type Event = Event;
    type Error = Overdrawn;
    type Services = ();

    fn handle(&self, command: &Command, _: &Context<'_>) -> Result<Vec<Event>, Overdrawn> {
        match *command {
            Command::Deposit(amount) => Ok(vec![Event::Deposited { amount }]),
            Command::Withdraw(amount) if amount > self.balance => {
                Err(Overdrawn { balance: self.balance })
            }
            Command::Withdraw(amount) => Ok(vec![Event::Withdrawn { amount }]),
            Command::WithdrawAll => Ok(vec![Event::Withdrawn { amount: self.balance }]),
            Command::Look => Ok(Vec::new()),
            Command::PanicInHandle => panic!("on demand, in handle"),
            Command::PanicInApply => Ok(vec![Event::Cursed]),
        }
    }

    fn apply(&mut self, event: &Event) {
        self.events += 1;
        match *event {
            Event::Deposited { amount } => self.balance += amount,
            Event::Withdrawn { amount } => self.balance -= amount,
            Event::Cursed => panic!("on demand, in apply"),
        }
    }
}

pub async fn store_over(driver: Arc<dyn Driver>) -> EventStore {
    EventStore::builder().driver(driver).open().await.unwrap()
}

/// A store over the driver that takes snapshots of entities of this type.
pub async fn store_with_snapshots<A: Aggregate>(
    driver: Arc<dyn Driver>,
    snapshots: Snapshots,
) -> EventStore {
    let options = EntityOptions::new().snapshots(snapshots);
    EventStore::builder().driver(driver).entity::<A>(options).open().await.unwrap()
}

/// A store whose actors all run in one thread, so that [`in_the_mailbox`] can say something.
pub async fn one_thread_store(driver: Arc<dyn Driver>) -> EventStore {
    EventStore::builder().driver(driver).arbiters(1).open().await.unwrap()
}

/// A round trip through the one thread of the store's actors that puts nothing: whatever was woken
/// before has had its turn, and what was sent has reached its actor.
pub async fn in_the_mailbox(store: &EventStore) {
    for _ in 0..2 {
        let ahead = raw_deposits("elsewhere", [1]).expect(1);
        let answer = within("a round trip", store.append(ahead)).await;
        assert!(answer.unwrap_err().is_conflict());
    }
}

/// A raw append of deposits, as somebody without the type would write them.
pub fn raw_deposits(key: &str, amounts: impl IntoIterator<Item = u64>) -> Append {
    let deposited = |amount: u64| NewEvent::raw("Deposited", format!(r#"{{"amount":{amount}}}"#));
    Append::to(key).events(amounts.into_iter().map(deposited))
}

/// The accounts that an account was, one after another: without events, after the first, after the
/// second … No account is ever overdrawn.
pub fn replay(history: &[KeyedEvent]) -> Vec<Account> {
    #[derive(Deserialize)]
    struct Amount {
        amount: u64,
    }
    let mut now = Account::default();
    let mut all = vec![now.clone()];
    for event in history {
        let Amount { amount } = event.json().unwrap();
        now.balance = match event.event_type() {
            "Deposited" => now.balance + amount,
            "Withdrawn" => now.balance.checked_sub(amount).expect("an account was overdrawn"),
            other => panic!("{other} in an account's history"),
        };
        now.events += 1;
        all.push(now.clone());
    }
    all
}

pub fn replayed(history: &[KeyedEvent]) -> Account {
    replay(history).pop().unwrap_or_default()
}

/// Waits until a snapshot taken at this sequence, or later, is saved: that is done in the
/// background.
pub async fn snapshot_at(snapshots: &dyn SnapshotStore, key: &str, sequence: u64) -> Bytes {
    let key = AggregateKey::new(key).unwrap();
    let saved = async {
        loop {
            // Behind kind, version and the state's version stands the sequence.
            if let Some(snapshot) = snapshots.load_snapshot(&key).await.unwrap()
                && u64::from_le_bytes(snapshot[6..14].try_into().unwrap()) >= sequence
            {
                return snapshot;
            }
            tokio::task::yield_now().await;
        }
    };
    within("a snapshot", saved).await
}
