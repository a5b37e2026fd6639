//! Every remote engine gives back a history of over 20,000 events whole, past every page limit.

use crate::support::engines::{Engine, block_on};
use libtest_mimic::Failed;
use seriatim::{Append, EventStore, NewEvent};

const COUNT: u64 = 20_001;

pub fn reads_a_long_history(engine: Engine) -> Result<(), Failed> {
    block_on(async {
        let url = engine.fresh_url();
        let store = EventStore::open(&url).await.unwrap();
        let mut last = 0;
        while last < COUNT {
            let events = (last + 1..=COUNT.min(last + 99))
                .map(|n| NewEvent::raw("Counted", format!("{{\"n\":{n}}}")));
            last = store
                .append(Append::to("long").expect(last).events(events))
                .await
                .unwrap()
                .last
                .get();
        }
        store.close().await.unwrap();

        let store = EventStore::open(&url).await.unwrap();
        let mut read = store.read("long");
        let mut seen = 0;
        while let Some(event) = read.next().await {
            let event = event.unwrap();
            seen += 1;
            assert_eq!(event.sequence.get(), seen);
            assert_eq!(event.data.as_str(), format!("{{\"n\":{seen}}}"));
        }
        assert_eq!(seen, COUNT);
        let stale = store.append(Append::to("long").expect(1).event(NewEvent::raw("Counted", "0")));
        assert!(stale.await.unwrap_err().is_conflict());
        store.close().await.unwrap();
    });
    Ok(())
}
