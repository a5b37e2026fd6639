//! The driver `cassandra:`.

use std::sync::Arc;

use super::{Driver, DriverError};

pub(super) async fn open_url(_rest: &str) -> Result<Arc<dyn Driver>, DriverError> {
    Err(DriverError::unsupported("not there yet"))
}
