//! The memory driver keeps the contract of drivers.

use std::sync::Arc;

use seriatim::driver::conformance::{Harness, async_trait, run};
use seriatim::driver::memory::MemoryDriver;
use seriatim::driver::{Driver, DriverError};

struct Memory(MemoryDriver);

#[async_trait]
impl Harness for Memory {
    async fn open(&self) -> Result<Arc<dyn Driver>, DriverError> {
        Ok(Arc::new(self.0.reopen()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_conformant() {
    let report = run(&Memory(MemoryDriver::new())).await;
    println!("{report}");
    assert!(report.is_conformant(), "{report}");
    assert!(!report.to_string().contains("skipped"), "{report}");
}
