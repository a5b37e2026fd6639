//! Money transfers as reactions: what an event causes is there exactly once, whatever dies when.
//!
//! ```text
//! cargo run --example transfers -- [--directory DIR] [--kill]
//! ```
//!
//! A transfer is requested; the money leaves one account and arrives at another. Large amounts are held until
//! somebody approves, and nobody does: the time-out ends such a transfer, and what was held goes back. An account
//! that does not exist rejects the money, and it goes back too. All of it is the function [`react`]: an event in,
//! commands out. There is no queue, no outbox and no retry loop.
//!
//! With `--kill` the program first runs itself as a process of its own, which dies in the middle of its work, five
//! times. Then it goes on. At the end every transfer has ended once, and no money was made or lost; it ends
//! with 1 if that is not so.

#![allow(clippy::print_stderr, reason = "what went wrong is told on standard error")]

mod domain;

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::{Account, AccountCommand, AccountEvent, Transfer, TransferCommand, TransferEvent};
use seriatim::{Entities, EventStore, ExecuteError, KeyedEvent, Reaction, Timestamp};

const ACCOUNTS: u64 = 10;
const TRANSFERS: u64 = 200;
const OPENING: u64 = 1_000;
/// After so long a transfer that is not finished is given up.
const TIME_OUT: Duration = Duration::from_millis(300);
const DEADLINE: Duration = Duration::from_secs(60);

/// What an event of a transfer, or of an account, causes.
fn react(event: &KeyedEvent) -> Result<Option<Reaction>, serde_json::Error> {
    let to_transfer = |id: &str, command| Reaction::command::<Transfer>(id, command);
    let to_account = |id: &str, command| Reaction::command::<Account>(id, command);
    let id = event.key.as_str().split_once('/').map_or("", |(_, id)| id);
    Ok(match event.key.category() {
        "transfer" => match domain::read::<TransferEvent>(event)? {
            TransferEvent::Requested { from, amount, .. } => Some(
                to_account(&from, AccountCommand::Withdraw { transfer: id.to_owned(), amount })
                    .otherwise(to_transfer(id, TransferCommand::Fail)),
            ),
            TransferEvent::PaidOut { to, amount } => Some(
                to_account(&to, AccountCommand::Deposit { transfer: id.to_owned(), amount })
                    .otherwise(to_transfer(id, TransferCommand::Reject)),
            ),
            TransferEvent::Rejected { from, amount } => {
                let transfer = format!("refund of {id}");
                Some(to_account(&from, AccountCommand::Deposit { transfer, amount }))
            }
            TransferEvent::TimedOut { from } => {
                // Whatever is held goes back; where nothing is, there is nothing to do.
                Some(to_account(&from, AccountCommand::Release { transfer: id.to_owned() }))
            }
            TransferEvent::Completed | TransferEvent::Failed => None,
        },
        "account" => match domain::read::<AccountEvent>(event)? {
            AccountEvent::Withdrawn { transfer, amount } => {
                // Where it was given up meanwhile, the money goes back.
                let refund = format!("refund of {transfer}");
                let refund = AccountCommand::Deposit { transfer: refund, amount };
                Some(
                    to_transfer(&transfer, TransferCommand::PayOut)
                        .otherwise(to_account(id, refund)),
                )
            }
            AccountEvent::Deposited { transfer, .. } if !transfer.starts_with("refund") => {
                Some(to_transfer(&transfer, TransferCommand::Complete))
            }
            _ => None,
        },
        _ => None,
    })
}

/// Gives up transfers that take too long. A command to one that has ended is rejected and changes nothing, so
/// this begins again with each process and remembers nothing.
async fn watch_the_time(store: EventStore) -> Result<(), Box<dyn Error + Send + Sync>> {
    let transfers = store.entities::<Transfer>();
    let mut requested = store.subscribe().from_start().event_types(["Requested"]);
    while let Some(event) = requested.next().await {
        let event = event?;
        let age = Timestamp::now().as_micros() - event.recorded_at.as_micros();
        let age = Duration::from_micros(age.max(0).unsigned_abs());
        tokio::time::sleep(TIME_OUT.saturating_sub(age)).await;
        let id = event.key.as_str().split_once('/').map_or("", |(_, id)| id);
        match transfers.execute(id, TransferCommand::TimeOut).await {
            Ok(_) | Err(ExecuteError::Rejected { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("transfers: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<bool, Box<dyn Error>> {
    let Some(options) = read_options()? else { return Ok(true) };
    let mut temporary = None;
    let directory = match &options.directory {
        Some(directory) => directory.clone(),
        None => temporary.insert(tempfile::tempdir()?).path().to_owned(),
    };
    if options.kill {
        for death in 1..=5_u64 {
            let reactions = 20 + 37 * death;
            let ended = Command::new(std::env::current_exe()?)
                .arg("--directory")
                .arg(&directory)
                .arg(format!("--die-at={reactions}"))
                .status()?;
            writeln!(io::stdout(), "Died at its reaction {reactions}: {ended}")?;
        }
    }
    let sound = transfer(&directory, options.die_at).await?;
    drop(temporary);
    Ok(sound)
}

/// Requests all transfers, lets the reactions do the rest, and counts the money.
async fn transfer(directory: &Path, die_at: Option<u64>) -> Result<bool, Box<dyn Error>> {
    let store = EventStore::open(format!("redb:{}", directory.display())).await?;
    let accounts = store.entities::<Account>();
    let transfers = store.entities::<Transfer>();
    let reacted = AtomicU64::new(0);
    let reacting = store.consumer("transfers").react(move |event| {
        if die_at == Some(reacted.fetch_add(1, Ordering::Relaxed)) {
            // Nothing is cleaned up.
            std::process::abort();
        }
        react(event)
    });
    let handle = reacting.handle();
    let reacting = tokio::spawn(reacting);
    let watching = tokio::spawn(watch_the_time(store.clone()));

    for account in 0..ACCOUNTS {
        let opening = AccountCommand::Open { amount: OPENING };
        unless_done(accounts.execute(account.to_string(), opening).await)?;
    }
    for number in 0..TRANSFERS {
        let request = TransferCommand::Request {
            from: (number % ACCOUNTS).to_string(),
            // Every seventh goes to an account that does not exist.
            to: (if number % 7 == 6 { 99 } else { (number * 3 + 1) % ACCOUNTS }).to_string(),
            // Every eleventh is large, and is held.
            amount: if number % 11 == 10 { domain::HELD_FROM } else { 1 + number % 50 },
        };
        unless_done(transfers.execute(number.to_string(), request).await)?;
    }
    let endings = all_ended(&transfers).await?;
    // What the last endings cause.
    handle.wait_for(store.log()?.last_position()?, DEADLINE).await?;
    handle.wait_for(store.log()?.last_position()?, DEADLINE).await?;
    handle.stop();
    reacting.await??;
    watching.abort();

    let mut money = 0;
    for account in 0..ACCOUNTS {
        let found = accounts.state(account.to_string()).await?;
        money += found.state.balance() + found.state.held();
    }
    store.close().await?;
    writeln!(io::stdout(), "Transfers  {endings:?}")?;
    writeln!(io::stdout(), "Money      {money} of {}", ACCOUNTS * OPENING)?;
    Ok(money == ACCOUNTS * OPENING && endings.values().sum::<u64>() == TRANSFERS)
}

/// Waits until every transfer has ended; how many ended how.
async fn all_ended(
    transfers: &Entities<Transfer>,
) -> Result<BTreeMap<&'static str, u64>, Box<dyn Error>> {
    let mut endings = BTreeMap::new();
    for number in 0..TRANSFERS {
        let ended = async {
            loop {
                let found = transfers.state(number.to_string()).await?;
                if let Some(ending) = found.state.ending() {
                    return Ok::<_, seriatim::LoadError>(ending);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        *endings.entry(tokio::time::timeout(DEADLINE, ended).await??).or_default() += 1;
    }
    Ok(endings)
}

/// A command that an earlier life of the program has executed is rejected now.
fn unless_done<T, E>(executed: Result<T, ExecuteError<E>>) -> Result<(), ExecuteError<E>> {
    match executed {
        Ok(_) | Err(ExecuteError::Rejected { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

struct Options {
    directory: Option<PathBuf>,
    kill: bool,
    /// What a process that is to die is told.
    die_at: Option<u64>,
}

/// `None` where only help was wanted.
fn read_options() -> Result<Option<Options>, Box<dyn Error>> {
    use lexopt::prelude::*;

    let mut options = Options { directory: None, kill: false, die_at: None };
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("directory") => options.directory = Some(arguments.value()?.into()),
            Long("kill") => options.kill = true,
            Long("die-at") => options.die_at = Some(arguments.value()?.parse()?),
            Long("help") | Short('h') => {
                writeln!(io::stdout(), "Usage: transfers [--directory DIR] [--kill]")?;
                return Ok(None);
            }
            _ => return Err(format!("{}\nTry --help.", argument.unexpected()).into()),
        }
    }
    Ok(Some(options))
}
