//! The smallest application: an account whose commands are decided in its mailbox.

#![allow(clippy::print_stdout)]

use serde::{Deserialize, Serialize};
use seriatim::{Aggregate, Context, EventStore};

#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

enum Command {
    Deposit(u64),
    Withdraw(u64),
}

#[derive(Serialize, Deserialize)]
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
            Command::Withdraw(amount) if amount > self.balance => {
                Err(format!("only {} is there", self.balance))
            }
            Command::Withdraw(amount) => Ok(vec![Event::Withdrawn(amount)]),
            Command::Deposit(amount) => Ok(vec![Event::Deposited(amount)]),
        }
    }

    fn apply(&mut self, event: &Event) {
        match *event {
            Event::Deposited(amount) => self.balance += amount,
            Event::Withdrawn(amount) => self.balance -= amount,
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = EventStore::open("redb:./hello-data").await?;
    let accounts = store.entities::<Account>();

    accounts.execute("1", Command::Deposit(50)).await?;
    if let Err(error) = accounts.execute("1", Command::Withdraw(80_000)).await {
        println!("{error}");
    }
    for event in store.read("account/1").collect().await? {
        println!("{} {} {}", event.sequence, event.event_type(), event.data);
    }
    store.close().await?;
    Ok(())
}
