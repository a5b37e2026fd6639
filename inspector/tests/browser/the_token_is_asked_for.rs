//! Where a token is needed the page asks for it, keeps it, and takes it from a link.

use seriatim_inspector::Token;

use crate::chromium::Browser;
use crate::support::Served;

pub(crate) fn test() {
    let token = Token::generate();
    let set = token.clone();
    let served = Served::new(|inspector| inspector.token(set));
    served.append("account/1", &[("Opened", "{}")]);
    {
        let browser = Browser::open(&served);
        browser.goto("#/keys");
        browser.wait("document.activeElement?.id === 'token'");
        browser.keys("not the token\u{e007}");
        browser.wait_for_text("This is not the token.");
        browser.picture("token");
        browser.keys(&format!("{}\u{e007}", token.as_str()));
        browser.wait("document.querySelectorAll('.rows a').length === 1");
        browser.wait("document.getElementById('status-text').innerText === 'live'");
        // The cookie carries it, and no script sees it.
        browser.goto("");
        browser.wait_for_text("Throughput");
        assert_eq!(browser.run("return document.cookie"), "");
    }
    let browser = Browser::open(&served);
    browser.goto(&format!("#token={}", token.as_str()));
    browser.wait_for_text("Throughput");
    assert!(!browser.run("return location.href").as_str().unwrap().contains(token.as_str()));
}
