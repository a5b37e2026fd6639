//! Consumers are listed with their lag and with what they parked.

use std::time::Duration;

use serde_json::json;
use seriatim::KeyedEvent;
use seriatim::subscription::OnFailure;

use crate::support::{Served, block_on, spawn};

#[test]
fn with_reasons() {
    let served = Served::new(|inspector| inspector);
    served.append("bad", &[("Fails", "1"), ("Follows", "2")]);
    served.append("good", &[("Works", "1")]);
    let consumer = served.store.consumer("mailer").on_failure(OnFailure::Park);
    let run =
        consumer.retry(1, Duration::ZERO, Duration::ZERO).run(|event: KeyedEvent| async move {
            match event.key.as_str() {
                "bad" => Err("<b>no</b>"),
                _ => Ok(()),
            }
        });
    let mailer = run.handle();
    let running = spawn(run);
    block_on(mailer.wait_for(3, Duration::from_secs(30))).unwrap();
    let told = served.get("api/consumers").json();
    mailer.stop();
    block_on(running).unwrap().unwrap();
    assert_eq!((&told["last"], &told["total"]), (&json!(3), &json!(1)));
    let parked = json!([{"key": "bad", "sequence": 1, "position": 1, "reason": "<b>no</b>"}]);
    assert_eq!(told["consumers"][0]["parked_aggregates"], parked);
    let name = |field: &str| told["consumers"][0][field].clone();
    let fields = ["name", "is_running", "position", "lag", "parked", "retries"].map(name);
    assert_eq!(json!(fields), json!(["mailer", true, 3, 0, 1, 0]));

    served.append("good", &[("Works", "1")]);
    let told = served.get("api/consumers").json();
    let name = |field: &str| told["consumers"][0][field].clone();
    let fields = ["is_running", "position", "lag", "parked", "retries"].map(name);
    assert_eq!(json!(fields), json!([false, 3, 1, 1, null]));
}
