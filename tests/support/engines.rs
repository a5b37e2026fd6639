//! The engines that tests may run on: where each is, and trials that are ignored where it is
//! nowhere.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use uuid::Uuid;

/// An engine, and the variable that holds its store's URL, as `scripts/engines start` prints it.
/// The URL names the table (or database) `seriatim`; every test takes one of its own in its place.
#[derive(Clone, Copy, Debug)]
pub struct Engine {
    pub name: &'static str,
    pub variable: &'static str,
}

pub const ENGINES: [Engine; 4] = [
    Engine { name: "dynamodb", variable: "SERIATIM_DYNAMODB_URL" },
    Engine { name: "mongodb", variable: "SERIATIM_MONGODB_URL" },
    Engine { name: "cassandra", variable: "SERIATIM_CASSANDRA_URL" },
    Engine { name: "azure_tables", variable: "SERIATIM_AZURE_TABLES_URL" },
];

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Engine {
    /// Whether its address is in the environment.
    pub fn is_there(self) -> bool {
        std::env::var_os(self.variable).is_some()
    }

    /// Where the engine listens, as the URL says: `127.0.0.1` and a port, perhaps percent-encoded.
    pub fn address(self) -> SocketAddr {
        let url = std::env::var(self.variable).unwrap();
        place(&url).unwrap().1
    }

    /// The same store reached through a proxy at this address.
    pub fn through(self, url: &str, proxy: SocketAddr) -> String {
        let (at, engine) = place(url).unwrap();
        let (before, behind) = url.split_at(at);
        let port = engine.port().to_string();
        let moved = behind.replacen(&port, &proxy.port().to_string(), 1);
        // Nodes tell the addresses they know of.
        let option = if self.name == "cassandra" { "&fixed_address=true" } else { "" };
        format!("{before}{moved}{option}")
    }

    /// The URL of an empty store of the caller's own; its table is made by opening it.
    pub fn fresh_url(self) -> String {
        let url = std::env::var(self.variable).unwrap();
        assert!(url.contains("seriatim"), "{} names no table \"seriatim\"", self.variable);
        url.replace("seriatim", &format!("t{}", Uuid::new_v4().simple()))
    }
}

/// Where a loopback address stands in a URL, and which.
fn place(url: &str) -> Option<(usize, SocketAddr)> {
    let at = url.find("127.0.0.1")?;
    let behind = &url[at + "127.0.0.1".len()..];
    let port = behind.strip_prefix(':').or_else(|| behind.strip_prefix("%3A"))?;
    let digits: String = port.chars().take_while(char::is_ascii_digit).collect();
    Some((at, SocketAddr::from(([127, 0, 0, 1], digits.parse().ok()?))))
}

/// A test of one engine.
pub type Test = fn(Engine) -> Result<(), Failed>;

/// Runs every test on every engine. Where an engine's address is not in the environment its trials
/// are reported as ignored, with the variable that is missing.
pub fn run(tests: &[(&'static str, Test)]) {
    let mut trials = Vec::new();
    for engine in ENGINES {
        for &(name, test) in tests {
            let trial = Trial::test(format!("{engine}::{name}"), move || test(engine));
            trials.push(match engine.is_there() {
                true => trial,
                false => {
                    trial.with_ignored_flag(true).with_kind(format!("needs {}", engine.variable))
                }
            });
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// How long a test goes on: as many seconds as `SERIATIM_SECONDS` says, or these.
pub fn seconds(unless_told: u64) -> Duration {
    let told = std::env::var("SERIATIM_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(told.unwrap_or(unless_told))
}

/// Runs one test's future on a runtime of its own.
pub fn block_on<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(test)
}
