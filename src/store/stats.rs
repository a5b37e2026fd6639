//! A store's figures, from the mailroom, the consumers and the driver.

use crate::mailroom::Mailroom;
use crate::stats::StoreStats;
use crate::user_code;

pub(super) fn stats_of(mailroom: &Mailroom) -> StoreStats {
    let mut stats = mailroom.stats();
    // The driver may be foreign code. If it panics, it tells nothing.
    let driver = &mailroom.driver;
    let told = user_code::call(|| (driver.stats(), driver.log().map(|log| log.last_position())));
    if let Ok((driver, last)) = told {
        stats.driver = driver;
        if let Some(Ok(last)) = last {
            stats.consumers = mailroom.consumers.stats(last);
        }
    }
    stats
}
