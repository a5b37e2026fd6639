//! A bank account that cannot be overdrawn. Commands are decided inside the account's mailbox, one after
//! another; what happened is its history.
//!
//! ```sh
//! cargo run --example bank
//! cargo run --example bank -- --store redb:./bank    # and once more: the money is still there
//! ```
//!
//! `--store` takes any URL that the build opens. What is printed is the same whatever the store, as long as
//! it was empty.

#![allow(clippy::print_stdout, missing_docs)]

use lexopt::ValueExt;
use serde::{Deserialize, Serialize};
use seriatim::{Aggregate, Context, EventStore, ExecuteError};

#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

enum Command {
    Deposit { amount: u64 },
    Withdraw { amount: u64 },
}

#[derive(Serialize, Deserialize)]
enum Event {
    Deposited { amount: u64 },
    Withdrawn { amount: u64 },
}

#[derive(Debug, thiserror::Error)]
#[error("{amount} is more than the {balance} that are there")]
struct Overdrawn {
    amount: u64,
    balance: u64,
}

impl Aggregate for Account {
    const KIND: &'static str = "account";
    type Command = Command;
    type Event = Event;
    type Error = Overdrawn;
    type Services = ();

    fn handle(&self, command: &Command, _: &Context<'_>) -> Result<Vec<Event>, Overdrawn> {
        let balance = self.balance;
        match *command {
            Command::Withdraw { amount } if amount > balance => Err(Overdrawn { amount, balance }),
            Command::Withdraw { amount } => Ok(vec![Event::Withdrawn { amount }]),
            Command::Deposit { amount } => Ok(vec![Event::Deposited { amount }]),
        }
    }

    fn apply(&mut self, event: &Event) {
        match *event {
            Event::Deposited { amount } => self.balance += amount,
            Event::Withdrawn { amount } => self.balance -= amount,
        }
    }
}

fn store_url() -> Result<String, lexopt::Error> {
    let mut url = "memory:".to_owned();
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            lexopt::Arg::Long("store") => url = arguments.value()?.string()?,
            other => return Err(other.unexpected()),
        }
    }
    Ok(url)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = EventStore::open(store_url()?).await?;
    let account = store.entities::<Account>().entity("ada");

    account.execute(Command::Deposit { amount: 50 }).await?;
    account.execute(Command::Withdraw { amount: 20 }).await?;
    match account.execute(Command::Withdraw { amount: 1_000 }).await {
        Err(ExecuteError::Rejected(overdrawn)) => println!("rejected: {overdrawn}"),
        answer => println!("answered: {:?}", answer?.sequence),
    }

    // A hundred tellers at the same account: they queue, and commit together.
    let tellers = (0..100).map(|_| account.execute(Command::Deposit { amount: 1 }));
    futures::future::try_join_all(tellers).await?;

    let now = account.state().await?;
    println!("{} events later ada has {}", now.sequence, now.state.balance);
    let mut latest = store.read(account.key()?).backwards().limit(3);
    while let Some(event) = latest.next().await.transpose()? {
        println!("{:>5}  {} {}", event.sequence, event.event_type(), event.data);
    }
    store.close().await?;
    Ok(())
}
