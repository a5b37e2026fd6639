//! What the snapshots of all remote engines have in common: one that does not fit is not kept.

use crate::error::DriverError;
use crate::event::AggregateKey;

/// Refuses a snapshot that the engine cannot keep in one piece.
///
/// # Errors
///
/// [`DriverError::Failed`]; the entity is then replayed from an earlier snapshot, or from its first
/// event.
pub(crate) fn check_snapshot_size(
    key: &AggregateKey,
    snapshot: &[u8],
    max: usize,
) -> Result<(), DriverError> {
    if snapshot.len() <= max {
        return Ok(());
    }
    Err(DriverError::failed(format!(
        "{key}: the snapshot has {} bytes, and this engine keeps {max} at most: it is not kept",
        snapshot.len()
    )))
}
