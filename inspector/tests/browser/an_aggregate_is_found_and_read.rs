//! An aggregate is searched for by its prefix, opened, and read back to its first event.

use crate::chromium::Browser;
use crate::support::Served;

pub(crate) fn test() {
    let served = Served::new(|inspector| inspector.title("shop"));
    for n in 1..=60 {
        served.append(&format!("order/{n:03}"), &[("Placed", "{}")]);
        let data =
            format!(r#"{{"balance":{},"owner":{{"name":"Ada"}},"n":9007199254740993}}"#, n * 10);
        served.append("account/1", &[("Counted", &data)]);
    }
    let browser = Browser::open(&served);
    browser.goto("#/keys");
    browser.wait("document.querySelectorAll('.rows a').length === 50");
    browser.click(".more button");
    browser.wait("document.querySelectorAll('.rows a').length === 61");
    browser.picture("keys");

    browser.keys("/");
    browser.keys("account/");
    browser.wait("document.querySelectorAll('.rows a').length === 1");
    assert!(browser.text(".rows").contains("account/1"));
    assert_eq!(browser.run("return location.hash"), "#/keys/account%2F");
    browser.click(".rows a");
    browser.wait("document.querySelectorAll('.event').length === 25");
    assert_eq!(browser.text("h1"), "account/1");
    assert!(browser.text(".head").contains("60 events"));
    assert_eq!(browser.run("return document.title"), "account/1 · shop");

    let event = browser.text(".event");
    assert!(event.contains("#60") && event.contains("Counted"), "{event}");
    assert!(event.contains("balance") && event.contains("590") && event.contains("600"), "{event}");
    assert!(event.contains("9007199254740993"), "{event}");
    assert_eq!(
        browser.text(".event .json"),
        "{\n  \"balance\": 600,\n  \"owner\": {\n    \"name\": \"Ada\"\n  },\n  \"n\": 9007199254740993\n}"
    );
    browser.picture("aggregate");
    while browser.count(".more button") > 0 {
        let before = browser.count(".event");
        browser.click(".more button");
        browser.wait(&format!("document.querySelectorAll('.event').length > {before}"));
    }
    assert_eq!(browser.count(".event"), 60);
    assert!(browser.text(".event:last-child").contains("#1"));

    browser.goto("#/aggregate/none");
    browser.wait_for_text("there is no such aggregate");
    // All that the browser loaded came from here.
    let names =
        "return performance.getEntriesByType('resource').map((entry) => new URL(entry.name).host)";
    let hosts = browser.run(names);
    let hosts = hosts.as_array().unwrap();
    assert!(
        hosts.len() > 4 && hosts.iter().all(|host| *host == served.address.to_string()),
        "{hosts:?}"
    );
}
