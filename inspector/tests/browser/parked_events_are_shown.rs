//! Consumers with their lag and what they parked, which leads to the event.

use std::time::Duration;

use seriatim::KeyedEvent;
use seriatim::subscription::OnFailure;

use crate::chromium::Browser;
use crate::support::{Served, block_on, spawn};

pub(crate) fn test() {
    let served = Served::new(|inspector| inspector);
    let browser = Browser::open(&served);
    browser.goto("#/consumers");
    browser.wait_for_text("No consumer has run on this store.");

    served.append("order/7", &[("Placed", "{}"), ("Paid", "{}"), ("Shipped", "{}")]);
    let consumer = served.store.consumer("mailer").on_failure(OnFailure::Park);
    let run =
        consumer.retry(1, Duration::ZERO, Duration::ZERO).run(|event: KeyedEvent| async move {
            if event.event_type() == "Paid" {
                Err("the mail server <b>is down</b>")
            } else {
                Ok(())
            }
        });
    let mailer = run.handle();
    let running = spawn(run);
    block_on(mailer.wait_for(3, Duration::from_secs(30))).unwrap();
    // The view reads again by itself.
    browser.wait_for_text("1 parked");
    let panel = browser.text(".consumer");
    for text in ["mailer", "running", "0 events", "order/7", "#2", "the mail server <b>is down</b>"]
    {
        assert!(panel.contains(text), "{text}: {panel}");
    }
    browser.picture("consumers");
    browser.click(".consumer td a");
    browser.wait_for_text("Up to sequence 2.");
    assert_eq!(browser.count(".event"), 2);
    mailer.stop();
    block_on(running).unwrap().unwrap();
    browser.goto("#/consumers");
    browser.wait_for_text("not running here");
}
