//! On a desktop, on a phone and in the dark: nothing is wider than the screen, and every text stands
//! out from what is behind it.

use std::time::Duration;

use seriatim::KeyedEvent;
use seriatim::subscription::OnFailure;

use crate::chromium::{Browser, Screen};
use crate::support::{Served, block_on, spawn};

pub(crate) fn desktop() {
    test(Screen::Desktop);
}

pub(crate) fn phone() {
    test(Screen::Phone);
}

pub(crate) fn dark() {
    test(Screen::Dark);
}

/// The texts whose contrast is below WCAG's 4.5, each with its contrast.
const FAINT: &str = r#"
const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
const rgba = (color) => {
  canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
  return [r, g, b, a / 255];
};
const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
const light = (c) => {
  const [r, g, b] = c.map((v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (element) => {
  const own = rgba(getComputedStyle(element).backgroundColor);
  if (own[3] === 1) return own;
  const rest = element.parentElement ? behind(element.parentElement) : [255, 255, 255, 1];
  return over(own, rest);
};
const faint = [];
for (const element of document.querySelectorAll('body *')) {
  const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
  if (!own || !element.checkVisibility() || element.closest('.skip, noscript, .fresh')) continue;
  const style = getComputedStyle(element);
  if (parseFloat(style.fontSize) === 0) continue;
  const back = behind(element);
  const [a, b] = [light(over(rgba(style.color), back)), light(back)];
  const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (contrast < 4.5) faint.push(`${element.className || element.tagName} ${contrast.toFixed(2)}: ${element.innerText}`);
}
return faint;
"#;

fn test(screen: Screen) {
    let served = Served::new(|inspector| inspector.title("redb:./a/rather/long/path/to/the/data"));
    let key = format!("shop/{}", "a-long-part-of-a-key-".repeat(8));
    let long = format!(r#"{{"text":"{}","list":[1,true,null,"x"]}}"#, "word".repeat(200));
    served.append(
        &key,
        &[("Placed", r#"{"n":1,"gone":{"a":1}}"#), ("AVeryLongTypeNameOfAnEvent", &long)],
    );
    served.append(&key, &[("Paid", r#"{"n":2,"list":[1,2]}"#)]);
    let consumer = served.store.consumer("a-consumer-with-a-long-name").on_failure(OnFailure::Park);
    let run = consumer
        .retry(1, Duration::ZERO, Duration::ZERO)
        .run(|_: KeyedEvent| async { Err::<(), _>("x".repeat(300)) });
    let handle = run.handle();
    let running = spawn(run);
    block_on(handle.wait_for(3, Duration::from_secs(30))).unwrap();

    let browser = Browser::on(&served, screen);
    let dark = "matchMedia('(prefers-color-scheme: dark)').matches";
    let aggregate = format!("#/aggregate/{}", crate::support::encoded(&key));
    for (name, path, there) in [
        ("overview", "#/", "document.querySelector('.tile dd').innerText.startsWith('3')"),
        ("keys", "#/keys", "document.querySelector('.rows a')"),
        ("aggregate", &aggregate, "document.querySelectorAll('.event').length === 3"),
        ("log", "#/log", "document.querySelectorAll('.entry').length === 3"),
        ("consumers", "#/consumers", "document.querySelector('.consumer td')"),
    ] {
        browser.goto(path);
        browser.wait(there);
        if name == "log" {
            browser.click(".entry .row");
        }
        assert_eq!(browser.run(&format!("return {dark}")), screen == Screen::Dark, "{screen:?}");
        browser.picture(&format!("{screen:?}-{name}").to_lowercase());
        let wider = "return document.documentElement.scrollWidth > innerWidth";
        assert_eq!(browser.run(wider), false, "{screen:?} {name}");
        let faint = browser.run(FAINT);
        assert_eq!(faint.as_array().unwrap().len(), 0, "{screen:?} {name}: {faint:#}");
    }
    handle.stop();
    block_on(running).unwrap().unwrap();
}
