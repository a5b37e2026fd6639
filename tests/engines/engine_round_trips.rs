//! What an append costs on the wire, counted between the driver and the engine: one round trip to a
//! resident aggregate, two at most to another one, none where it is stale.

use crate::support::engines::{Engine, block_on};
use crate::support::proxy::Proxy;
use libtest_mimic::Failed;
use seriatim::{Append, EventStore, Expected, NewEvent};

const APPENDS: u64 = 20;
/// What a client may send of its own meanwhile, to see whether the engine is there.
const CHATTER: u64 = 2;

fn append(key: &str, expected: u64) -> Append {
    Append::to(key).expect(expected).event(NewEvent::raw("Counted", "{}"))
}

pub fn round_trips(engine: Engine) -> Result<(), Failed> {
    block_on(async {
        let proxy = Proxy::start(engine.address(), fastrand::Rng::new());
        let url = engine.through(&engine.fresh_url(), proxy.address());
        let store = EventStore::open(&url).await.unwrap();
        store.append(append("warm", 0)).await.unwrap();

        let before = proxy.round_trips();
        for n in 1..=APPENDS {
            store.append(append("warm", n)).await.unwrap();
        }
        let warm = proxy.round_trips() - before;
        println!("{engine}: {APPENDS} warm appends, {warm} round trips");
        assert!((APPENDS..=APPENDS + CHATTER).contains(&warm), "{warm}");

        let before = proxy.round_trips();
        for n in 0..APPENDS {
            assert!(store.append(append("warm", n)).await.unwrap_err().is_conflict());
        }
        let stale = proxy.round_trips() - before;
        println!("{engine}: {APPENDS} stale appends, {stale} round trips");
        assert!(stale <= CHATTER, "{stale}");

        let new = |n: u64| Append::to(format!("cold/{n}").as_str()).expect(Expected::NoEvents);
        let event = || NewEvent::raw("Counted", "{}");
        let before = proxy.round_trips();
        for n in 0..APPENDS {
            store.append(new(n).event(event()).event(event())).await.unwrap();
        }
        let first = proxy.round_trips() - before;
        println!("{engine}: {APPENDS} first appends, {first} round trips");
        assert!((APPENDS..=APPENDS + CHATTER).contains(&first), "{first}");
        store.close().await.unwrap();

        let store = EventStore::open(&url).await.unwrap();
        // Its first use may still prepare something.
        store.latest_sequence("warm").await.unwrap();
        let before = proxy.round_trips();
        for n in 0..APPENDS {
            store.append(append(&format!("cold/{n}"), 2)).await.unwrap();
        }
        let cold = proxy.round_trips() - before;
        println!("{engine}: {APPENDS} cold appends, {cold} round trips");
        assert!((2 * APPENDS..=2 * APPENDS + CHATTER).contains(&cold), "{cold}");
        store.close().await.unwrap();
    });
    Ok(())
}
