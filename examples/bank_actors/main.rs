//! A bank of actors that can be killed at any moment.
//!
//! ```text
//! cargo run --release --example bank_actors -- [--data DIR] [--accounts N] [--transfers N] [--seed N]
//! ```
//!
//! Each account is an actor that holds the address of the store; a transfer touches two of them. It is
//! recorded first, under a key of its own, with all that is needed to finish it. Then its two sides are
//! appended with commit ids made from it, and at last it is marked as completed. Whatever the moment
//! at which the process is killed: when it is started again, it repeats the sides of every transfer that is
//! not completed, and the commit ids see to it that each is there once.
//!
//! - `account`: the account actor
//! - `transfer`: what a transfer is, and how it is finished
//! - `options`: the command line

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]

mod account;
mod options;
mod transfer;

use std::collections::HashMap;

use actix::prelude::*;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use seriatim::EventStore;
use seriatim::actors::StoreActor;

use account::{Account, Balance, key_of};
use options::Options;
use transfer::{Transfer, begin, finish};

/// What every account is opened with.
const OPENING_BALANCE: i64 = 1_000;
/// Transfers under way at the same time.
const AT_ONCE: usize = 32;

type Failure = Box<dyn std::error::Error>;

#[actix::main]
async fn main() -> Result<(), Failure> {
    let options = match Options::from_args() {
        Ok(options) => options,
        Err(mistake) => {
            eprintln!("{mistake}\n\n{}", options::USAGE);
            std::process::exit(2);
        }
    };
    let store = EventStore::open(format!("redb:{}", options.data.display())).await?;
    let address = StoreActor::new(store.clone()).start();

    let mut accounts = HashMap::new();
    for number in 0..options.accounts {
        let account = Account::open(address.clone(), number, OPENING_BALANCE).await?;
        accounts.insert(number, account.start());
    }

    let mut resumed = 0;
    for transfer in transfer::unfinished(&store).await? {
        finish(&address, &accounts, &transfer).await?;
        resumed += 1;
    }
    println!("{resumed} transfers were begun before and are finished now");

    let mut chance = fastrand::Rng::with_seed(options.seed);
    let mut under_way = FuturesUnordered::new();
    let mut completed = 0;
    for _ in 0..options.transfers {
        let from = chance.u64(..options.accounts);
        let to = (from + chance.u64(1..options.accounts)) % options.accounts;
        let transfer = Transfer::new(from, to, chance.i64(1..100));
        let (address, accounts) = (&address, &accounts);
        under_way.push(async move {
            begin(address, &transfer).await?;
            finish(address, accounts, &transfer).await
        });
        if under_way.len() >= AT_ONCE
            && let Some(done) = under_way.next().await
        {
            completed += u64::from(done?);
        }
    }
    while let Some(done) = under_way.next().await {
        completed += u64::from(done?);
    }
    println!("{completed} of {} transfers went through", options.transfers);
    drop(under_way);

    let mut sum = 0;
    for number in 0..options.accounts {
        if let Some(account) = accounts.get(&number) {
            let balance = account.send(Balance).await?;
            sum += balance;
            if number < 10 {
                println!("{:<12} {balance:>6}", key_of(number));
            }
        }
    }
    // Accounts that an earlier run had and this one has not are counted too.
    let all = transfer::balances(&store).await?;
    let total: i64 = all.values().sum();
    let wanted = OPENING_BALANCE * all.len() as i64;
    println!("{} accounts hold {total}, as they must: {wanted}", all.len());
    store.close().await?;
    if total != wanted || (all.len() as u64 == options.accounts && sum != total) {
        return Err(format!("the balances do not add up: {sum}, {total}, {wanted}").into());
    }
    Ok(())
}
