//! The log and the plots move while writers append, and stand still on request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use seriatim::{Append, NewEvent};

use crate::chromium::Browser;
use crate::support::{Served, block_on};

pub(crate) fn test() {
    let served = Served::new(|inspector| inspector.title("load"));
    let browser = Browser::open(&served);
    browser.goto("#/log");
    browser.wait_for_text("No event yet.");

    let ends = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let (store, ends) = (served.store.clone(), ends.clone());
            std::thread::spawn(move || {
                let mut written = 0_u64;
                while !ends.load(Ordering::Relaxed) {
                    let data = format!(r#"{{"writer":{writer},"n":{written}}}"#);
                    let key = format!("{}/{}", ["account", "order"][writer % 2], written % 100);
                    let append = Append::to(key.as_str()).event(NewEvent::raw("Counted", data));
                    block_on(store.append(append)).unwrap();
                    written += 1;
                }
                written
            })
        })
        .collect();

    let first = "Number(document.querySelector('.entry')?.dataset.position ?? 0)";
    let mut before = 0;
    for _ in 0..4 {
        browser.wait(&format!("{first} > {before}"));
        before = browser.run(&format!("return {first}")).as_u64().unwrap();
    }
    browser.wait("document.querySelector('.skipped')");
    browser.wait("!document.getElementById('rate').innerText.includes(' 0 events a second')");
    browser.picture("log");
    assert!(browser.count(".rows > li") <= 300);

    browser.click("#pause");
    browser.wait_for_text("Paused at position");
    let paused = browser.run(&format!("return {first}")).as_u64().unwrap();
    // Another reader gets news several times meanwhile.
    let mut other = served.stream("api/log/live", &[]);
    for _ in 0..6 {
        assert!(other.next("log").is_some());
    }
    assert_eq!(browser.run(&format!("return {first}")), paused);
    browser.click("#pause");
    browser.wait(&format!("{first} > {paused}"));

    browser.goto("#/");
    // A sample after the first has rates, and three make a line.
    browser.wait("document.querySelector('.line.s0').getAttribute('d')?.split('L').length > 3");
    browser.wait("/[1-9].*\\/s/.test(document.querySelectorAll('.tile dd')[2].innerText)");
    browser.picture("overview");

    ends.store(true, Ordering::Relaxed);
    let written: u64 = writers.into_iter().map(|writer| writer.join().unwrap()).sum();
    browser.goto("#/log?prefix=order%2F");
    browser.wait("document.querySelectorAll('.entry').length === 50");
    let rows = browser.text(".rows");
    assert!(rows.contains("order/") && !rows.contains("account/"), "{rows}");
    browser.goto("#/log");
    browser.wait(&format!("{first} === {written}"));
}
