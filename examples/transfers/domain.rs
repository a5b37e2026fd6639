//! Accounts and transfers: what each accepts in which state. Nothing in here knows of the other's reactions.

use std::collections::BTreeMap;

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Serialize};
use seriatim::{Aggregate, Context, KeyedEvent};

/// From this amount on a withdrawal is held until it is approved.
pub(crate) const HELD_FROM: u64 = 200;

#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Account {
    is_open: bool,
    balance: u64,
    /// By transfer.
    held: BTreeMap<String, u64>,
}

impl Account {
    pub(crate) fn balance(&self) -> u64 {
        self.balance
    }

    pub(crate) fn held(&self) -> u64 {
        self.held.values().sum()
    }
}

pub(crate) enum AccountCommand {
    Open { amount: u64 },
    Deposit { transfer: String, amount: u64 },
    Withdraw { transfer: String, amount: u64 },
    Release { transfer: String },
}

#[derive(Serialize, Deserialize)]
pub(crate) enum AccountEvent {
    Opened { amount: u64 },
    Deposited { transfer: String, amount: u64 },
    Withdrawn { transfer: String, amount: u64 },
    Held { transfer: String, amount: u64 },
    Released { transfer: String },
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("there is no such account")]
    NotOpen,
    #[error("the account is open already")]
    IsOpen,
    #[error("{needed} are needed, {there} are there")]
    Overdrawn { needed: u64, there: u64 },
    #[error("the transfer is not at this point")]
    NotNow,
}

impl Aggregate for Account {
    const KIND: &'static str = "account";
    type Command = AccountCommand;
    type Event = AccountEvent;
    type Error = Refused;
    type Services = ();

    fn handle(
        &self,
        command: &AccountCommand,
        _: &Context<'_>,
    ) -> Result<Vec<AccountEvent>, Refused> {
        if let AccountCommand::Open { amount } = command {
            let opened = AccountEvent::Opened { amount: *amount };
            return if self.is_open { Err(Refused::IsOpen) } else { Ok(vec![opened]) };
        }
        if !self.is_open {
            return Err(Refused::NotOpen);
        }
        Ok(vec![match command {
            AccountCommand::Open { .. } => return Err(Refused::IsOpen),
            AccountCommand::Deposit { transfer, amount } => {
                AccountEvent::Deposited { transfer: transfer.clone(), amount: *amount }
            }
            AccountCommand::Withdraw { amount, .. } if *amount > self.balance => {
                return Err(Refused::Overdrawn { needed: *amount, there: self.balance });
            }
            AccountCommand::Withdraw { transfer, amount } if *amount >= HELD_FROM => {
                AccountEvent::Held { transfer: transfer.clone(), amount: *amount }
            }
            AccountCommand::Withdraw { transfer, amount } => {
                AccountEvent::Withdrawn { transfer: transfer.clone(), amount: *amount }
            }
            AccountCommand::Release { transfer } if self.held.contains_key(transfer) => {
                AccountEvent::Released { transfer: transfer.clone() }
            }
            // Nothing was held.
            AccountCommand::Release { .. } => return Ok(Vec::new()),
        }])
    }

    fn apply(&mut self, event: &AccountEvent) {
        match event {
            AccountEvent::Opened { amount } => {
                self.is_open = true;
                self.balance = *amount;
            }
            AccountEvent::Deposited { amount, .. } => self.balance += amount,
            AccountEvent::Withdrawn { amount, .. } => self.balance -= amount,
            AccountEvent::Held { transfer, amount } => {
                self.balance -= amount;
                self.held.insert(transfer.clone(), *amount);
            }
            AccountEvent::Released { transfer } => {
                self.balance += self.held.remove(transfer).unwrap_or_default();
            }
        }
    }
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    #[default]
    New,
    Requested,
    PaidOut,
    Completed,
    Failed,
    Rejected,
    TimedOut,
}

#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Transfer {
    stage: Stage,
    from: String,
    to: String,
    amount: u64,
}

impl Transfer {
    pub(crate) fn ending(&self) -> Option<&'static str> {
        match self.stage {
            Stage::New | Stage::Requested | Stage::PaidOut => None,
            Stage::Completed => Some("completed"),
            Stage::Failed => Some("failed"),
            Stage::Rejected => Some("rejected"),
            Stage::TimedOut => Some("timed out"),
        }
    }
}

pub(crate) enum TransferCommand {
    Request { from: String, to: String, amount: u64 },
    PayOut,
    Complete,
    Fail,
    Reject,
    TimeOut,
}

#[derive(Serialize, Deserialize)]
pub(crate) enum TransferEvent {
    Requested { from: String, to: String, amount: u64 },
    PaidOut { to: String, amount: u64 },
    Completed,
    Failed,
    Rejected { from: String, amount: u64 },
    TimedOut { from: String },
}

impl Aggregate for Transfer {
    const KIND: &'static str = "transfer";
    type Command = TransferCommand;
    type Event = TransferEvent;
    type Error = Refused;
    type Services = ();

    fn handle(
        &self,
        command: &TransferCommand,
        _: &Context<'_>,
    ) -> Result<Vec<TransferEvent>, Refused> {
        Ok(vec![match (self.stage, command) {
            (Stage::New, TransferCommand::Request { from, to, amount }) => {
                let (from, to) = (from.clone(), to.clone());
                TransferEvent::Requested { from, to, amount: *amount }
            }
            (Stage::Requested, TransferCommand::PayOut) => {
                TransferEvent::PaidOut { to: self.to.clone(), amount: self.amount }
            }
            (Stage::Requested, TransferCommand::Fail) => TransferEvent::Failed,
            (Stage::Requested, TransferCommand::TimeOut) => {
                TransferEvent::TimedOut { from: self.from.clone() }
            }
            (Stage::PaidOut, TransferCommand::Complete) => TransferEvent::Completed,
            (Stage::PaidOut, TransferCommand::Reject) => {
                TransferEvent::Rejected { from: self.from.clone(), amount: self.amount }
            }
            // Failed after it was given up: it has ended already.
            (Stage::TimedOut, TransferCommand::Fail) => return Ok(Vec::new()),
            _ => return Err(Refused::NotNow),
        }])
    }

    fn apply(&mut self, event: &TransferEvent) {
        self.stage = match event {
            TransferEvent::Requested { from, to, amount } => {
                (self.from, self.to, self.amount) = (from.clone(), to.clone(), *amount);
                Stage::Requested
            }
            TransferEvent::PaidOut { .. } => Stage::PaidOut,
            TransferEvent::Completed => Stage::Completed,
            TransferEvent::Failed => Stage::Failed,
            TransferEvent::Rejected { .. } => Stage::Rejected,
            TransferEvent::TimedOut { .. } => Stage::TimedOut,
        };
    }
}

/// An entity's event from its stored form: the variant's name is the event's type.
pub(crate) fn read<E: DeserializeOwned>(event: &KeyedEvent) -> Result<E, serde_json::Error> {
    let content: serde_json::Value = event.json()?;
    let name = event.event_type().to_owned();
    match content {
        serde_json::Value::Null => serde_json::from_value(serde_json::Value::String(name)),
        content => serde_json::from_value(serde_json::Value::Object(
            [(name, content)].into_iter().collect(),
        )),
    }
    .map_err(|error| serde_json::Error::custom(format!("{}: {error}", event.key)))
}
