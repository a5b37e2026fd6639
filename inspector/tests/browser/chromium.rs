//! A browser: its driver, started for one test, and what tests do with a page.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fantoccini::{Client, ClientBuilder};
use serde_json::{Value, json};

use crate::support::{PATIENCE, Served, block_on};

/// The driver's program, if it is on this machine.
pub(crate) fn driver() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("SERIATIM_CHROMEDRIVER") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("chromedriver")).find(|it| it.is_file())
}

pub(crate) struct Browser {
    client: Client,
    driver: Child,
    address: String,
}

/// The screen that a page is shown on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Screen {
    Desktop,
    Phone,
    Dark,
}

impl Browser {
    pub(crate) fn open(served: &Served) -> Self {
        Browser::on(served, Screen::Desktop)
    }

    pub(crate) fn on(served: &Served, screen: Screen) -> Self {
        let program = driver().expect("chromedriver");
        let mut driver =
            Command::new(program).arg("--port=0").stdout(Stdio::piped()).spawn().expect("started");
        let mut lines = BufReader::new(driver.stdout.take().expect("a pipe")).lines();
        let port = lines
            .by_ref()
            .map(|line| line.expect("a line"))
            .find_map(|line| {
                line.strip_suffix('.')?.rsplit_once(" on port ").map(|(_, p)| p.to_owned())
            })
            .expect("the driver tells its port");
        // What it says further must have room.
        std::thread::spawn(move || lines.for_each(drop));
        let mut arguments = vec!["--headless=new", "--no-sandbox", "--disable-gpu", "--lang=en"];
        arguments.extend(["--window-size=1280,900", "--disable-dev-shm-usage"]);
        let mut options = json!({});
        match screen {
            Screen::Desktop => {}
            Screen::Dark => arguments.push("--force-dark-mode"),
            Screen::Phone => {
                let metrics = json!({ "width": 375, "height": 780, "pixelRatio": 2.0 });
                options["mobileEmulation"] = json!({ "deviceMetrics": metrics });
            }
        }
        options["args"] = json!(arguments);
        let capabilities = match json!({ "goog:chromeOptions": options }) {
            Value::Object(capabilities) => capabilities,
            _ => unreachable!(),
        };
        let url = format!("http://127.0.0.1:{port}");
        let client = block_on(
            ClientBuilder::new(hyper_connector()).capabilities(capabilities).connect(&url),
        );
        let client = client.expect("a session");
        Browser { client, driver, address: format!("http://{}", served.address) }
    }

    pub(crate) fn goto(&self, path: &str) {
        block_on(self.client.goto(&format!("{}/{path}", self.address))).unwrap();
    }

    /// Runs the body of a function in the page.
    pub(crate) fn run(&self, script: &str) -> Value {
        block_on(self.client.execute(script, Vec::new())).unwrap()
    }

    /// Waits until the expression is true in the page.
    #[track_caller]
    pub(crate) fn wait(&self, expression: &str) {
        let began = Instant::now();
        // An element that the expression reads may be missing yet.
        let script = format!("try {{ return Boolean({expression}) }} catch {{ return false }}");
        while self.run(&script) != true {
            if began.elapsed() > PATIENCE {
                self.picture("failed");
                panic!("{expression}: not within {PATIENCE:?}: {}", self.text("main"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the page says this.
    #[track_caller]
    pub(crate) fn wait_for_text(&self, text: &str) {
        self.wait(&format!("document.body.innerText.includes({})", json!(text)));
    }

    /// The text of the first element, as it is shown.
    pub(crate) fn text(&self, selector: &str) -> String {
        let found = self
            .run(&format!("return document.querySelector({})?.innerText ?? ''", json!(selector)));
        found.as_str().unwrap().to_owned()
    }

    pub(crate) fn count(&self, selector: &str) -> u64 {
        let script = format!("return document.querySelectorAll({}).length", json!(selector));
        self.run(&script).as_u64().unwrap()
    }

    pub(crate) fn click(&self, selector: &str) {
        block_on(async {
            let element = self.client.find(fantoccini::Locator::Css(selector)).await.unwrap();
            element.click().await.unwrap();
        });
    }

    /// Types into whatever has the focus.
    pub(crate) fn keys(&self, text: &str) {
        block_on(async {
            self.client.active_element().await.unwrap().send_keys(text).await.unwrap();
        });
    }

    /// Keeps a picture of the page, where somebody wants one.
    pub(crate) fn picture(&self, name: &str) {
        let Some(folder) = std::env::var_os("SERIATIM_SCREENSHOTS") else { return };
        let png = block_on(self.client.screenshot()).unwrap();
        std::fs::write(Path::new(&folder).join(format!("{name}.png")), png).unwrap();
    }
}

fn hyper_connector()
-> impl hyper_util::client::legacy::connect::Connect + Clone + Send + Sync + Unpin {
    hyper_util::client::legacy::connect::HttpConnector::new()
}

impl Drop for Browser {
    fn drop(&mut self) {
        let closed = block_on(self.client.clone().close());
        let _ = self.driver.kill();
        let _ = self.driver.wait();
        assert!(closed.is_ok() || std::thread::panicking(), "{closed:?}");
    }
}
