//! A read model in SQLite that counts every event exactly once; see [`Balances`].

mod balances;

pub use balances::{BalanceError, Balances};
