//! What an event holds is shown, and never becomes a part of the page.

use serde_json::json;

use crate::chromium::Browser;
use crate::support::{HOSTILE, Served, encoded};

pub(crate) fn test() {
    let served = Served::new(|inspector| inspector.title("<script>window.harmed=1</script>"));
    let key = "<script>window.harmed=1</script>/\u{202e}x";
    for (kind, data) in HOSTILE {
        served.append(key, &[(kind, data)]);
    }
    let browser = Browser::open(&served);
    let is_harmless = |view: &str| {
        assert_eq!(browser.run("return window.harmed ?? null"), json!(null), "{view}");
        assert_eq!(browser.count("script"), 1, "{view}");
        let made = browser.count("img, iframe, object, embed, base, [href^='javascript'], main b");
        assert_eq!(made, 0, "{view}");
    };
    let shown = |text: &str| {
        let text = text.replace('\u{202e}', "\\u202e").replace('\u{200f}', "\\u200f");
        browser.wait_for_text(&text);
    };
    browser.goto("#/keys");
    browser.wait("document.querySelectorAll('.rows a').length === 1");
    assert!(browser.text(".rows").contains(&key.replace('\u{202e}', "\\u202e")));
    is_harmless("keys");

    browser.click(".rows a");
    browser.wait("document.querySelectorAll('.event').length === 5");
    for (kind, _) in HOSTILE {
        shown(kind);
    }
    for text in [
        r#""text": "<script>window.harmed=1</script>""#,
        r#""<b>": "<img src=x onerror=\"window.harmed=1\">""#,
        "مرحبا بالعالم",
        "9007199254740993",
        "\"a\u{202e}b\u{200f}c\"",
        r#""\u0000\u001b[31m""#,
    ] {
        shown(text);
    }
    // Text that is written from right to left moves nothing that stands beside it.
    let before = "const s = [...document.querySelectorAll('.event h3')].find((h) => h.innerText === 'مرحبا')\
                  .closest('.event').querySelectorAll('.json .key, .json .string');\
                  return [...s].map((e) => e.innerText)";
    assert_eq!(
        browser.run(before),
        json!(["\"text\"", "\"مرحبا بالعالم\"", "\"b\"", "\"שלום 123\""])
    );
    browser.picture("hostile");
    is_harmless("aggregate");

    browser.goto("#/log");
    browser.wait("document.querySelectorAll('.entry').length === 5");
    is_harmless("log");

    let large = format!("\"<script>window.harmed=1</script>{}\"", "x".repeat(1_000_000));
    served.append("large", &[("Written", &large)]);
    browser.goto(&format!("#/aggregate/{}", encoded("large")));
    browser.wait("document.querySelectorAll('.event').length === 1");
    browser.wait("document.querySelector('.json').textContent.length <= 16384");
    browser.wait_for_text("The first 16.0 KiB of 977 KiB");
    browser.picture("large");
    browser.click(".cut button");
    browser
        .wait(&format!("document.querySelector('.json').textContent.length === {}", large.len()));
    assert_eq!(browser.count(".cut"), 0);
    is_harmless("large");
    // The browser itself refuses what would slip through.
    let planted = "const s = document.createElement('div'); try { s.innerHTML = '<b>x</b>' } \
                   catch (e) { return e.name } return 'set'";
    assert_eq!(browser.run(planted), "TypeError");
}
