//! The redb driver keeps the contract of drivers.

use std::path::PathBuf;
use std::sync::Arc;

use seriatim::driver::conformance::{Harness, async_trait, run};
use seriatim::driver::redb::RedbDriver;
use seriatim::driver::{Driver, DriverError};

struct Redb(PathBuf);

#[async_trait]
impl Harness for Redb {
    async fn open(&self) -> Result<Arc<dyn Driver>, DriverError> {
        Ok(Arc::new(RedbDriver::open(&self.0)?))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redb_is_conformant() {
    let folder = tempfile::tempdir().unwrap();
    let report = run(&Redb(folder.path().join("store"))).await;
    println!("{report}");
    assert!(report.is_conformant(), "{report}");
    assert!(!report.to_string().contains("skipped"), "{report}");
}
