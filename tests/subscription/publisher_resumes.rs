//! A publisher is given events in order and batch by batch; what failed comes again, and after a
//! start from again it goes on behind its checkpoint.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::logged::{happen, on_each, positions};
use crate::support::{DEADLINE, within};
use seriatim::KeyedEvent;
use seriatim::driver::async_trait;
use seriatim::subscription::Publisher;

/// What arrived; every second batch is refused.
#[derive(Clone, Default)]
struct Outside(Arc<Mutex<(Vec<u64>, u64, usize)>>);

#[async_trait]
impl Publisher for Outside {
    type Error = &'static str;

    async fn publish(&mut self, batch: &[KeyedEvent]) -> Result<(), &'static str> {
        let mut outside = self.0.lock().unwrap();
        outside.1 += 1;
        outside.2 = outside.2.max(batch.len());
        if outside.1.is_multiple_of(2) {
            return Err("try again");
        }
        outside.0.extend(positions(batch));
        Ok(())
    }
}

#[tokio::test]
async fn everything_arrives_in_order() {
    on_each(|store| async move {
        let outside = Outside::default();
        let mut wanted = Vec::new();
        for _ in 0..3 {
            for n in 0..100 {
                let key = if n % 4 == 0 { "private/1" } else { "public/1" };
                let position = happen(&store, key, "Happened").await.get();
                if n % 4 != 0 {
                    wanted.push(position);
                }
            }
            let pause = Duration::from_millis(1);
            let consumer = store.consumer("outside").category("public").batch(10);
            let run = consumer.retry(3, pause, pause).publish(outside.clone());
            let handle = run.handle();
            let running = tokio::spawn(run);
            let last = store.log().unwrap().last_position().unwrap();
            handle.wait_for(last, DEADLINE).await.unwrap();
            handle.stop();
            within("the end", running).await.unwrap().unwrap();
            assert_eq!(outside.0.lock().unwrap().0, wanted);
        }
        assert_eq!(outside.0.lock().unwrap().2, 10, "the largest batch");
    })
    .await;
}
