//! `read`: one aggregate's events.

use futures_util::StreamExt;
use seriatim::driver::{Driver, Fetch};
use seriatim::{AggregateKey, Sequence};

use super::event_rows::{EventRows, Place};
use crate::app::App;
use crate::args::Read;
use crate::exit::{Error, Result};
use crate::target::Wanted;

/// Keys named where one was not found.
const SIMILAR_KEYS: usize = 3;

pub(crate) async fn run(app: &mut App, args: Read) -> Result<()> {
    let url = args.store.clone();
    app.with_driver(&url, Wanted::Existing, async |app, driver| {
        let mut rows = EventRows::new(Place::Sequence, args.full);
        let mut fetch = Fetch::ALL;
        fetch.backwards = args.backwards;
        fetch.limit = args.limit;
        fetch.after = args.from.map(|from| match args.backwards {
            true => Sequence::new(from).next(),
            false => Sequence::new(from).previous(),
        });
        let mut pages = driver.fetch_events(&args.key, fetch);
        while let Some(page) = app.interrupt.or(pages.next()).await? {
            app.interrupt.check()?;
            for event in page? {
                rows.add(app, &event)?;
            }
        }
        let is_empty = rows.events == 0;
        rows.finish(app)?;
        if !is_empty {
            return Ok(());
        }
        let latest = app.interrupt.or(driver.latest_sequence(&args.key)).await??;
        if latest == Sequence::NONE {
            return Err(no_such_aggregate(&**driver, &args.key).await);
        }
        app.note(&format!("no event there: the latest sequence of {} is {latest}", args.key));
        Ok(())
    })
    .await
}

/// Names some keys that begin alike, where the driver can list them.
async fn no_such_aggregate(driver: &dyn Driver, key: &AggregateKey) -> Error {
    let error = Error::not_found(format!("the store has no aggregate {key}"));
    let mut prefixes = vec![key.category().to_owned()];
    prefixes.extend(key.category().chars().next().map(String::from));
    prefixes.push(String::new());
    for prefix in prefixes {
        if let Some(Ok(keys)) = driver.keys(&prefix, None).next().await
            && !keys.is_empty()
        {
            let names: Vec<&str> =
                keys.iter().take(SIMILAR_KEYS).map(AggregateKey::as_str).collect();
            let more = if keys.len() > SIMILAR_KEYS { " …" } else { "" };
            return error.hint(format!("there are {}{more}", names.join(", ")));
        }
    }
    error
}
