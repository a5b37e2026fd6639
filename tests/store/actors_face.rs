//! An actix application embeds the store as one more actor: appends, pages and latest sequences are
//! messages, a `Recipient<Append>` is all that an actor which writes needs to know, and a message
//! that waits keeps no other from its answer.

use crate::support::{self, append, append_after, event, held_driver, until, within};
use actix::prelude::*;
use seriatim::actors::{LatestSequence, ReadPage, StoreActor};
use seriatim::{Append, AppendError, EventStore, Expected, NewEvent, ReadError, Sequence};

/// An actor of the application. It knows where appends go, and nothing of a store.
struct Account {
    key: &'static str,
    latest: Sequence,
    journal: Recipient<Append>,
}

impl Actor for Account {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "Result<Sequence, AppendError>")]
struct Deposit {
    amount: u64,
}

impl Handler<Deposit> for Account {
    type Result = ResponseActFuture<Self, Result<Sequence, AppendError>>;

    fn handle(&mut self, deposit: Deposit, _: &mut Context<Self>) -> Self::Result {
        let data = format!(r#"{{"amount":{}}}"#, deposit.amount);
        let append =
            Append::to(self.key).expect(self.latest).event(NewEvent::raw("Deposited", data));
        let appending = self.journal.send(append).into_actor(self);
        Box::pin(appending.map(|answer, account, _| {
            let appended = answer.unwrap()?;
            account.latest = appended.last;
            Ok(appended.last)
        }))
    }
}

#[actix::test]
async fn an_application_of_actors() {
    let store = EventStore::open("memory:").await.unwrap();
    let address = StoreActor::new(store.clone()).start();
    let account = |key| {
        let journal = address.clone().recipient();
        Account { key, latest: Sequence::NONE, journal }.start()
    };
    let (ada, bob) = (account("account/ada"), account("account/bob"));
    for amount in 1..=3 {
        let to_ada = within("a deposit", ada.send(Deposit { amount })).await.unwrap();
        assert_eq!(to_ada.unwrap(), amount);
        let to_bob = within("a deposit", bob.send(Deposit { amount })).await.unwrap();
        assert_eq!(to_bob.unwrap(), amount);
    }
    // A second actor of the same account, which does not know what the first has written.
    let stale = within("a deposit", account("account/ada").send(Deposit { amount: 9 })).await;
    match stale.unwrap() {
        Err(AppendError::Conflict { key, expected, actual }) => {
            assert_eq!(key.as_str(), "account/ada");
            assert_eq!((expected.exact(), actual), (Some(Sequence::NONE), 3.into()));
        }
        other => panic!("{other:?}"),
    }
    let page = within("a page", address.send(ReadPage::of("account/ada"))).await.unwrap().unwrap();
    let amounts: Vec<&str> = page.iter().map(|event| event.data.as_str()).collect();
    assert_eq!(amounts, [r#"{"amount":1}"#, r#"{"amount":2}"#, r#"{"amount":3}"#]);
    store.close().await.unwrap();
}

#[actix::test]
async fn pages_and_latest_sequences() {
    let store = EventStore::open("memory:").await.unwrap();
    let address = StoreActor::new(store).start();
    let append = Append::to("a").events((1..=2_500).map(event));
    address.send(append).await.unwrap().unwrap();

    let mut seen = Vec::new();
    loop {
        let from = seen.last().map_or(Sequence::FIRST, |last: &Sequence| last.next());
        let page = address.send(ReadPage::of("a").from(from)).await.unwrap().unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= ReadPage::DEFAULT_LIMIT);
        seen.extend(page.into_iter().map(|event| event.sequence));
    }
    assert!(seen.iter().map(|sequence| sequence.get()).eq(1..=2_500));

    let last = address.send(ReadPage::of("a").backwards().limit(2)).await.unwrap().unwrap();
    assert_eq!(last.iter().map(|event| event.sequence.get()).collect::<Vec<_>>(), [2_500, 2_499]);
    let before = ReadPage::of("a").backwards().from(2).limit(9);
    let first = address.send(before).await.unwrap().unwrap();
    assert_eq!(first.iter().map(|event| event.sequence.get()).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(address.send(ReadPage::of("none")).await.unwrap().unwrap(), []);

    assert_eq!(address.send(LatestSequence::of("a")).await.unwrap().unwrap(), 2_500);
    let none = address.send(LatestSequence::of("none")).await.unwrap().unwrap();
    assert_eq!(none, Sequence::NONE);
}

#[actix::test]
async fn errors_are_those_of_the_methods() {
    let store = EventStore::open("memory:").await.unwrap();
    let address = StoreActor::new(store.clone()).start();
    for bad in [append(""), Append::to("a"), append_after("a", 5)] {
        let by_message = address.send(bad.clone()).await.unwrap().unwrap_err();
        let by_method = store.append(bad).await.unwrap_err();
        assert_eq!(by_message.to_string(), by_method.to_string());
    }
    let page = address.send(ReadPage::of("a\nb")).await.unwrap();
    assert!(matches!(page, Err(ReadError::InvalidKey(_))), "{page:?}");
    let latest = address.send(LatestSequence::of("")).await.unwrap();
    assert!(matches!(latest, Err(ReadError::InvalidKey(_))), "{latest:?}");
}

#[actix::test]
async fn a_message_that_waits_keeps_no_other_from_its_answer() {
    let driver = held_driver();
    let store = EventStore::builder().driver(driver.clone()).open().await.unwrap();
    let address = StoreActor::new(store).start();
    let waiting = actix::spawn(address.send(append("a")));
    until("its put is on its way", || driver.put_sizes().len() == 1).await;
    for _ in 0..100 {
        let latest = within("an answer", address.send(LatestSequence::of("a"))).await.unwrap();
        assert_eq!(latest.unwrap(), Sequence::NONE);
        let page = within("a page", address.send(ReadPage::of("a"))).await.unwrap();
        assert_eq!(page.unwrap(), []);
    }
    driver.release_puts();
    assert_eq!(within("the append", waiting).await.unwrap().unwrap().unwrap().last, 1);
}

/// Store actors on arbiters of their own, over one store, asked from threads that are no arbiter.
#[test]
fn several_store_actors_share_one_store() {
    let system = System::new();
    let (store, addresses) = system.block_on(async {
        let store = EventStore::open("memory:").await.unwrap();
        let addresses: Vec<_> = (0..3)
            .map(|_| {
                let store = store.clone();
                StoreActor::start_in_arbiter(&Arbiter::new().handle(), |_| StoreActor::new(store))
            })
            .collect();
        (store, addresses)
    });
    let threads: Vec<_> = addresses
        .into_iter()
        .map(|address| {
            std::thread::spawn(move || {
                for _ in 0..100 {
                    futures::executor::block_on(address.send(append("a"))).unwrap().unwrap();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    system.block_on(async {
        assert_eq!(support::history(&store, "a").await.len(), 300);
        let next = append("a").expect(Expected::from(300));
        assert_eq!(store.append(next).await.unwrap().last, 301);
        store.close().await.unwrap();
    });
}
