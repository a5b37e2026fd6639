//! A transfer between two accounts, which finishes whatever happens.
//!
//! Its own aggregate, `transfer/{id}`, says how far it has come: `Requested`, then `Completed` or
//! `Rejected`. Each step can be repeated: every append has a commit id made from the transfer and the
//! step.

use std::collections::HashMap;

use actix::prelude::*;
use serde::{Deserialize, Serialize};
use seriatim::actors::StoreActor;
use seriatim::{Append, EventStore, Expected, NewEvent};
use uuid::Uuid;

use crate::Failure;
use crate::account::{Account, Book, amount};

const PREFIX: &str = "transfer/";

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Transfer {
    pub(crate) id: Uuid,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) amount: i64,
}

impl Transfer {
    pub(crate) fn new(from: u64, to: u64, amount: i64) -> Self {
        Transfer { id: Uuid::now_v7(), from, to, amount }
    }

    fn key(&self) -> String {
        format!("{PREFIX}{}", self.id)
    }

    fn commit_id(&self, step: &str) -> Uuid {
        Uuid::new_v5(&self.id, step.as_bytes())
    }
}

/// Records what is to be done. From here on it will be.
pub(crate) async fn begin(store: &Addr<StoreActor>, transfer: &Transfer) -> Result<(), Failure> {
    let requested = NewEvent::new("Requested", transfer);
    let append = Append::to(transfer.key())
        .expect(Expected::NoEvents)
        .commit_id(transfer.commit_id("request"))
        .event(requested);
    store.send(append).await??;
    Ok(())
}

/// Books both sides and marks the end; each at most once, however often it is called. Answers whether
/// the money moved.
pub(crate) async fn finish(
    store: &Addr<StoreActor>,
    accounts: &HashMap<u64, Addr<Account>>,
    transfer: &Transfer,
) -> Result<bool, Failure> {
    let book = |account: u64, step: &str, amount: i64| {
        let book = Book { transfer: transfer.id, commit_id: transfer.commit_id(step), amount };
        let account = accounts.get(&account).cloned();
        async move {
            let account = account.ok_or("a transfer names an account that this run has not")?;
            Ok::<bool, Failure>(account.send(book).await??)
        }
    };
    let paid = book(transfer.from, "debit", -transfer.amount).await?;
    if paid {
        book(transfer.to, "credit", transfer.amount).await?;
    }
    let end = if paid { "Completed" } else { "Rejected" };
    let append = Append::to(transfer.key())
        .expect(1)
        .commit_id(transfer.commit_id("end"))
        .event(NewEvent::raw(end, "{}"));
    store.send(append).await??;
    Ok(paid)
}

/// The transfers that were begun and have no end.
pub(crate) async fn unfinished(store: &EventStore) -> Result<Vec<Transfer>, Failure> {
    let mut unfinished = Vec::new();
    let mut keys = store.keys(PREFIX);
    while let Some(key) = keys.next().await {
        let events = store.read(key?).collect().await?;
        if let [requested] = events.as_slice() {
            unfinished.push(requested.json()?);
        }
    }
    Ok(unfinished)
}

/// What every account holds, by its history alone.
pub(crate) async fn balances(store: &EventStore) -> Result<HashMap<String, i64>, Failure> {
    let mut balances = HashMap::new();
    let mut keys = store.keys("account/");
    while let Some(key) = keys.next().await {
        let key = key?;
        let mut balance = 0;
        let mut events = store.read(&key);
        while let Some(event) = events.next().await {
            balance += amount(&event?)?;
        }
        balances.insert(key.to_string(), balance);
    }
    Ok(balances)
}
