//! `keys`: the aggregates of a store.

use std::sync::Arc;

use futures_util::StreamExt;
use serde::Serialize;
use seriatim::driver::{Driver, Fetch};
use seriatim::{AggregateKey, KeyedEvent, Sequence, Timestamp};

use crate::app::App;
use crate::args::Keys;
use crate::exit::Result;
use crate::output::Listing;
use crate::style;
use crate::target::Wanted;

#[derive(Serialize)]
struct Row<'a> {
    key: &'a AggregateKey,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<Sequence>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    event_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recorded_at: Option<Timestamp>,
}

pub(crate) async fn run(app: &mut App, args: Keys) -> Result<()> {
    let url = args.store.clone();
    app.with_driver(&url, Wanted::Existing, async |app, driver| list(app, driver, &args).await)
        .await
}

async fn list(app: &mut App, driver: &Arc<dyn Driver>, args: &Keys) -> Result<()> {
    let header: &[&str] = match args.names_only {
        true => &["KEY"],
        false => &["KEY", "SEQUENCE", "LATEST (UTC)", "TYPE"],
    };
    let mut listing = Listing::new(header);
    let mut left = args.limit.unwrap_or(usize::MAX);
    let mut listed = 0;
    let mut pages = driver.keys(&args.prefix, args.after.as_ref());
    while left > 0 {
        let Some(page) = app.interrupt.or(pages.next()).await? else { break };
        for key in page? {
            if left == 0 {
                break;
            }
            left -= 1;
            listed += 1;
            app.interrupt.check()?;
            let latest = match args.names_only {
                true => None,
                false => app.interrupt.or(latest(driver, &key)).await??,
            };
            let row = Row {
                key: &key,
                sequence: latest.as_ref().map(|event| event.sequence),
                event_type: latest.as_ref().map(KeyedEvent::event_type),
                recorded_at: latest.as_ref().map(|event| event.recorded_at),
            };
            listing.row(&mut app.out, &row, || {
                let mut cells = vec![style::key(key.as_str())];
                if let Some(latest) = &latest {
                    cells.push(style::number(latest.sequence));
                    cells.push(style::dim(style::time(latest.recorded_at)));
                    cells.push(style::event_type(latest.event_type()));
                }
                cells
            })?;
        }
    }
    listing.show(&mut app.out)?;
    if listed == 0 {
        app.note(&match args.prefix.as_str() {
            "" => "the store has no aggregate".to_owned(),
            prefix => format!("no key begins with {prefix:?}"),
        });
    }
    Ok(())
}

/// The aggregate's latest event.
pub(crate) async fn latest(
    driver: &Arc<dyn Driver>,
    key: &AggregateKey,
) -> Result<Option<KeyedEvent>> {
    let last = Fetch::ALL.backwards().limit(1);
    if let Some(page) = driver.fetch_page_now(key, last) {
        return Ok(page?.events.into_iter().next());
    }
    let page = driver.fetch_events(key, last).next().await.transpose()?;
    Ok(page.and_then(|events| events.into_iter().next()))
}
