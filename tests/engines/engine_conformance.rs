//! Every remote engine's driver keeps the contract of drivers, on the running engine.

use std::sync::Arc;

use crate::support::engines::{Engine, block_on};
use libtest_mimic::Failed;
use seriatim::driver::conformance::{Harness, async_trait, run};
use seriatim::driver::{Driver, DriverError};

struct Remote(String);

#[async_trait]
impl Harness for Remote {
    async fn open(&self) -> Result<Arc<dyn Driver>, DriverError> {
        seriatim::driver::open(&self.0).await
    }

    fn keys_in_byte_order(&self) -> bool {
        self.0.starts_with("mongodb")
    }

    fn refuses_gaps(&self) -> bool {
        false
    }
}

pub fn is_conformant(engine: Engine) -> Result<(), Failed> {
    let report = block_on(run(&Remote(engine.fresh_url())));
    println!("{report}");
    if report.is_conformant() { Ok(()) } else { Err(report.to_string().into()) }
}
