//! A subscription is pushed to an actor, which is given the next event when it has answered the one
//! before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::support::logged::happen;
use crate::support::{until, within};
use actix::prelude::*;
use seriatim::EventStore;
use seriatim::actors::{Observed, PushError, push};
use tokio::sync::Semaphore;

/// Answers an event when it is given a permit.
struct Slow {
    begun: Arc<AtomicU64>,
    permits: Arc<Semaphore>,
}

impl Actor for Slow {
    type Context = Context<Self>;
}

impl Handler<Observed> for Slow {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, Observed(event): Observed, _: &mut Context<Self>) -> Self::Result {
        let begun = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        assert_eq!(event.position.unwrap(), begun, "out of order");
        let permits = self.permits.clone();
        Box::pin(async move { permits.acquire().await.unwrap().forget() })
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Stop;

impl Handler<Stop> for Slow {
    type Result = ();

    fn handle(&mut self, _: Stop, context: &mut Context<Self>) {
        context.stop();
    }
}

#[actix::test]
async fn one_unanswered_event_at_a_time() {
    let store = EventStore::open("memory:").await.unwrap();
    let (begun, permits) = (Arc::new(AtomicU64::new(0)), Arc::new(Semaphore::new(0)));
    let actor = Slow { begun: begun.clone(), permits: permits.clone() }.start();
    let pushing = actix::spawn(push(store.subscribe(), actor.clone().recipient()));
    for _ in 0..20 {
        happen(&store, "a", "Happened").await;
    }
    for answered in 0..20 {
        until("the next event", || begun.load(Ordering::SeqCst) == answered + 1).await;
        // A message of somebody else's is not kept waiting, and no further event came with it.
        assert_eq!(begun.load(Ordering::SeqCst), answered + 1);
        permits.add_permits(1);
    }
    actor.send(Stop).await.unwrap();
    happen(&store, "a", "Happened").await;
    let ended = within("the end", pushing).await.unwrap();
    assert!(matches!(ended, Err(PushError::Gone { position }) if position == 21), "{ended:?}");

    let actor = Slow { begun: Arc::new(AtomicU64::new(21)), permits }.start();
    let pushing = actix::spawn(push(store.subscribe().from(22), actor.recipient()));
    store.close().await.unwrap();
    within("the end", pushing).await.unwrap().unwrap();
}
