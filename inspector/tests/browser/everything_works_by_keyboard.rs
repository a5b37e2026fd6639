//! Without a pointer: views, search, entries, help.

use crate::chromium::Browser;
use crate::support::Served;

const ENTER: &str = "\u{e007}";
const ESCAPE: &str = "\u{e00c}";

pub(crate) fn test() {
    let served = Served::new(|inspector| inspector);
    for n in 1..=3 {
        served.append(&format!("account/{n}"), &[("Opened", "{}"), ("Closed", "{}")]);
    }
    let browser = Browser::open(&served);
    browser.goto("");
    browser.wait_for_text("Throughput");
    for (key, title) in [("2", "Aggregates"), ("3", "Log"), ("4", "Consumers"), ("1", "Overview")] {
        browser.keys(key);
        browser.wait(&format!("document.querySelector('h1')?.innerText === '{title}'"));
        assert_eq!(browser.count("nav a[aria-current=page]"), 1);
    }
    browser.keys("?");
    browser.wait("document.querySelector('dialog[open]')");
    browser.keys(ESCAPE);
    browser.wait("!document.querySelector('dialog[open]')");

    browser.keys("2");
    browser.wait("document.querySelectorAll('.rows a').length === 3");
    browser.keys("/");
    browser.wait("document.activeElement.id === 'search'");
    // Keys that are typed into a field are text.
    browser.keys("account/3");
    browser.wait("document.querySelectorAll('.rows a').length === 1");
    browser.keys(ENTER);
    browser.wait("document.activeElement.matches('.rows a')");
    browser.keys(ENTER);
    browser.wait("document.querySelectorAll('.event').length === 2");
    browser.keys("j");
    browser.wait("document.activeElement.dataset.sequence === '2'");
    browser.keys("j");
    browser.wait("document.activeElement.dataset.sequence === '1'");
    browser.keys("k");
    browser.wait("document.activeElement.dataset.sequence === '2'");

    browser.keys("3");
    browser.wait("document.querySelectorAll('.entry').length === 6");
    browser.keys("j");
    browser.keys(ENTER);
    browser.wait("document.querySelectorAll('.entry-more').length === 1");
    browser.keys("p");
    browser.wait("document.getElementById('pause').innerText === 'Resume'");
    assert_eq!(browser.run("return document.activeElement.getAttribute('aria-expanded')"), "true");
}
