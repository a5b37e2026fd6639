//! Four closures over a map, as the documentation shows them, keep the contract of drivers.

use seriatim::driver::conformance::{Harness, async_trait, run};

include!("../../src/driver/callbacks_example.rs");

struct OverAMap(Map);

#[async_trait]
impl Harness for OverAMap {
    async fn open(&self) -> Result<Arc<dyn driver::Driver>, DriverError> {
        Ok(map_driver(self.0.clone()))
    }

    // Four callbacks have no way to list keys, and a map sees no gap.
    fn lists_keys(&self) -> bool {
        false
    }

    fn refuses_gaps(&self) -> bool {
        false
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn four_closures_are_conformant() {
    let report = run(&OverAMap(Map::default())).await;
    println!("{report}");
    assert!(report.is_conformant(), "{report}");
    assert_eq!(report.to_string().matches("skipped").count(), 2, "{report}");
}
