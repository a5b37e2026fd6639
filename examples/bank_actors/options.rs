//! The command line.

use std::path::PathBuf;

pub(crate) const USAGE: &str = "\
Usage: bank_actors [--data DIR] [--accounts N] [--transfers N] [--seed N]

  --data DIR      where the bank is kept (default ./bank-data); run it again to go on
  --accounts N    how many accounts, at least 2 (default 10)
  --transfers N   how many transfers to make (default 1000)
  --seed N        which ones (default: by chance)";

pub(crate) struct Options {
    pub(crate) data: PathBuf,
    pub(crate) accounts: u64,
    pub(crate) transfers: u64,
    pub(crate) seed: u64,
}

impl Options {
    pub(crate) fn from_args() -> Result<Self, lexopt::Error> {
        use lexopt::prelude::*;
        let mut options = Options {
            data: PathBuf::from("bank-data"),
            accounts: 10,
            transfers: 1_000,
            seed: fastrand::u64(..),
        };
        let mut args = lexopt::Parser::from_env();
        while let Some(arg) = args.next()? {
            match arg {
                Long("data") => options.data = args.value()?.into(),
                Long("accounts") => options.accounts = args.value()?.parse()?,
                Long("transfers") => options.transfers = args.value()?.parse()?,
                Long("seed") => options.seed = args.value()?.parse()?,
                Short('h') | Long("help") => {
                    println!("{USAGE}");
                    std::process::exit(0);
                }
                other => return Err(other.unexpected()),
            }
        }
        if options.accounts < 2 {
            return Err("a transfer needs two accounts".into());
        }
        Ok(options)
    }
}
