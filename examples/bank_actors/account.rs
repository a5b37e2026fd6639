//! The account actor: it knows its balance, and appends its own events through the store's address.
//!
//! It takes one request at a time, so its balance is right whenever it decides; and its appends carry exact
//! expectations, so that a second process on the same data would be noticed, not believed.

use std::collections::HashSet;

use actix::prelude::*;
use serde::{Deserialize, Serialize};
use seriatim::actors::{LatestSequence, ReadPage, StoreActor};
use seriatim::{Append, AppendError, Expected, KeyedEvent, NewEvent, Sequence};
use uuid::Uuid;

use crate::Failure;

pub(crate) fn key_of(number: u64) -> String {
    format!("account/{number}")
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Booked {
    pub(crate) transfer: Uuid,
    pub(crate) amount: i64,
}

pub(crate) struct Account {
    store: Addr<StoreActor>,
    key: String,
    balance: i64,
    latest: Sequence,
    /// The commit ids of all its bookings.
    booked: HashSet<Uuid>,
}

impl Account {
    /// The account as its history has it; a new one is opened with this balance.
    pub(crate) async fn open(
        store: Addr<StoreActor>,
        number: u64,
        opening_balance: i64,
    ) -> Result<Self, Failure> {
        let key = key_of(number);
        if store.send(LatestSequence::of(&key)).await?? == Sequence::NONE {
            let opened = NewEvent::new("Opened", &opening_balance);
            // Two that open it at once: one of them is told of a conflict, and both read the same.
            let append = Append::to(&key).expect(Expected::NoEvents).event(opened);
            store.send(append).await?.map(|_| ()).or_else(unless_conflict)?;
        }
        let mut account =
            Account { store, key, balance: 0, latest: Sequence::NONE, booked: HashSet::new() };
        loop {
            let page = ReadPage::of(&account.key).from(account.latest.next());
            let events = account.store.send(page).await??;
            if events.is_empty() {
                return Ok(account);
            }
            for event in events {
                account.balance += amount(&event)?;
                account.latest = event.sequence;
                account.booked.insert(event.commit_id);
            }
        }
    }
}

fn unless_conflict(error: AppendError) -> Result<(), AppendError> {
    if error.is_conflict() { Ok(()) } else { Err(error) }
}

/// What an event of an account adds to its balance.
pub(crate) fn amount(event: &KeyedEvent) -> Result<i64, serde_json::Error> {
    match event.event_type() {
        "Opened" => event.json(),
        "Credited" => Ok(event.json::<Booked>()?.amount),
        "Debited" => Ok(-event.json::<Booked>()?.amount),
        _ => Ok(0),
    }
}

impl Actor for Account {
    type Context = Context<Self>;
}

/// One side of a transfer. Answers whether it was booked: a debit that the balance does not cover is not.
#[derive(Message)]
#[rtype(result = "Result<bool, String>")]
pub(crate) struct Book {
    pub(crate) transfer: Uuid,
    pub(crate) commit_id: Uuid,
    /// Negative for the side that pays.
    pub(crate) amount: i64,
}

impl Handler<Book> for Account {
    type Result = AtomicResponse<Self, Result<bool, String>>;

    fn handle(&mut self, book: Book, _: &mut Self::Context) -> Self::Result {
        // Booked before a crash, and begun again after it.
        if self.booked.contains(&book.commit_id) {
            return AtomicResponse::new(Box::pin(fut::ready(Ok(true))));
        }
        if self.balance + book.amount < 0 {
            return AtomicResponse::new(Box::pin(fut::ready(Ok(false))));
        }
        let name = if book.amount < 0 { "Debited" } else { "Credited" };
        let booked = Booked { transfer: book.transfer, amount: book.amount.abs() };
        let append = Append::to(&self.key)
            .expect(self.latest)
            .commit_id(book.commit_id)
            .event(NewEvent::new(name, &booked));
        let sending = self.store.send(append);
        AtomicResponse::new(Box::pin(sending.into_actor(self).map(move |answer, account, _| {
            let appended = answer.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
            account.balance += book.amount;
            account.latest = appended.last;
            account.booked.insert(book.commit_id);
            Ok(true)
        })))
    }
}

/// The balance now.
#[derive(Message)]
#[rtype(result = "i64")]
pub(crate) struct Balance;

impl Handler<Balance> for Account {
    type Result = i64;

    fn handle(&mut self, _: Balance, _: &mut Self::Context) -> i64 {
        self.balance
    }
}
