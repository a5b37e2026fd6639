//! No secret of a URL is in any error, `Debug` output or log line, wherever it stands in the URL
//! and whatever characters it holds, encoded or not.

use std::error::Error;
use std::fmt::{self, Write};
use std::sync::{Mutex, Once};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use seriatim::EventStore;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// What every secret holds on both sides of its odd characters.
const MARK: &str = "Hush";

/// Everything that was logged, by `tracing` or by `log`.
static LOGGED: Mutex<String> = Mutex::new(String::new());

struct Listener;

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, " {field}={value:?}");
    }
}

fn note(line: Line) {
    let mut logged = LOGGED.lock().unwrap();
    logged.push_str(&line.0);
    logged.push('\n');
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // At this level the AWS SDK writes out its requests, a session token with them. The
        // driver's documentation says so.
        !(metadata.target().starts_with("aws_") && *metadata.level() == tracing::Level::TRACE)
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut line = Line(span.metadata().name().to_owned());
        span.record(&mut line);
        note(line);
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut line = Line("span".to_owned());
        values.record(&mut line);
        note(line);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().target().to_owned());
        event.record(&mut line);
        note(line);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl log::Log for Listener {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        note(Line(format!("{} {}", record.target(), record.args())));
    }

    fn flush(&self) {}
}

fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing::subscriber::set_global_default(Listener).unwrap();
        log::set_logger(&Listener).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
    });
}

/// What opening says, in every way in which it can be shown.
fn said(url: &str) -> String {
    listen();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut said = String::new();
        if let Err(error) = EventStore::open(url).await {
            let mut next: Option<&dyn Error> = Some(&error);
            while let Some(error) = next {
                let _ = writeln!(said, "{error} {error:?} {error:#?}");
                next = error.source();
            }
        }
        said
    })
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "%{byte:02X}");
        out
    })
}

/// A secret with odd characters in it, as it is or encoded.
fn secrets() -> impl Strategy<Value = String> {
    let odd = "[/?#@:%&=+ ,;'\"\\\\\\[\\]a-z0-9]{0,6}";
    (odd, any::<bool>()).prop_map(|(odd, encode)| match encode {
        true => format!("{MARK}{}{MARK}", encoded(&odd)),
        false => format!("{MARK}{odd}{MARK}"),
    })
}

/// One test at a time, so that what is logged is of its own URL.
static TURN: Mutex<()> = Mutex::new(());

/// Opens stores whose URLs have a secret at the place of `{}` and nothing to speak to.
fn hide(forms: &[&str]) {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let config = Config { cases: 48, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let any_form =
        proptest::sample::select(forms.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
    runner
        .run(&(any_form, secrets()), |(form, secret)| {
            let url = form.replace("{}", &secret);
            let text = said(&url);
            prop_assert!(!text.contains(MARK), "{url}\n{text}");
            let logged = std::mem::take(&mut *LOGGED.lock().unwrap());
            let line = logged.lines().find(|line| line.contains(MARK));
            prop_assert!(line.is_none(), "{url}\nlogged: {line:?}");
            Ok(())
        })
        .unwrap();
}

#[test]
#[cfg(feature = "mongodb")]
fn mongodb() {
    hide(&[
        "mongodb://ada:{}@127.0.0.1:1/bank?timeout_ms=60",
        "mongodb://{}:ada@127.0.0.1:1/bank?timeout_ms=60",
        "mongodb+srv://ada:{}@nowhere.invalid/bank?timeout_ms=60",
        "mongodb://ada:{}@127.0.0.1:1?timeout_ms=60",
        "mongodb://127.0.0.1:1/bank?timeout_ms=60&tlsCertificateKeyFilePassword={}",
        "mongodb://a:b@127.0.0.1:1/bank?timeout_ms=60&authMechanismProperties=AWS_SESSION_TOKEN:{}",
        "mongodb://a:b@127.0.0.1:1/bank?timeout_ms=60&password={}",
        "mongodb://a:b@127.0.0.1:1/bank?timeout_ms={}",
    ]);
}

#[test]
#[cfg(feature = "cassandra")]
fn cassandra() {
    hide(&[
        "cassandra://ada:{}@127.0.0.1:1/bank?timeout_ms=60",
        "cassandra://{}:ada@127.0.0.1:1/bank?timeout_ms=60",
        "cassandra://{}@127.0.0.1:1/bank?timeout_ms=60",
        "cassandra://ada:{}@127.0.0.1:1?timeout_ms=60",
        "cassandra://127.0.0.1:1/bank?timeout_ms=60&password={}",
        "cassandra://127.0.0.1:1/bank?timeout_ms=60&create={}",
    ]);
}

#[test]
#[cfg(feature = "dynamodb")]
fn dynamodb() {
    const AT: &str = "endpoint=http%3A%2F%2F127.0.0.1%3A1&timeout_ms=60&access_key_id=AK";
    let form = |form: &str| form.replace("AT", AT);
    let forms = [
        form("dynamodb://events?AT&secret_access_key={}"),
        form("dynamodb://events?AT&secret_access_key=x&session_token={}"),
        form("dynamodb://AK:{}@events?AT&secret_access_key=x"),
        form("dynamodb://events?secret={}&AT&secret_access_key=x"),
        "dynamodb://events?endpoint=http://ada:{}@127.0.0.1:1&timeout_ms=60&access_key_id=AK\
         &secret_access_key=x"
            .to_owned(),
    ];
    hide(&forms.each_ref().map(String::as_str));
}

#[test]
#[cfg(feature = "azure-tables")]
fn azure_tables() {
    const AT: &str = "endpoint=http%3A%2F%2F127.0.0.1%3A1&timeout_ms=60";
    let form = |form: &str| form.replace("AT", AT);
    let forms = [
        form("azure-tables://ada1/events?AT&key={}"),
        form("azure-tables://ada1/events?AT&key=aGk%3D&key={}"),
        form("azure-tables://ada1/events?AT&sas=sv%3D1%26sig%3D{}"),
        form("azure-tables://ada1:{}@ada1/events?AT&key=aGk%3D"),
        form("azure-tables://{}/events?AT&key=aGk%3D"),
        "azure-tables://ada1/events?key=aGk%3D&timeout_ms=60&endpoint=http://127.0.0.1:1/%3Fsig={}"
            .to_owned(),
    ];
    hide(&forms.each_ref().map(String::as_str));
}

#[test]
fn a_scheme_that_nobody_knows() {
    hide(&["nosuch://ada:{}@127.0.0.1/bank", "{}", "{}://x", "mongodb:ada:{}@127.0.0.1/bank"]);
}

#[test]
#[cfg(feature = "all-drivers")]
fn builders() {
    use seriatim::driver::azure_tables::AzureTablesDriver;
    use seriatim::driver::cassandra::CassandraDriver;
    use seriatim::driver::dynamodb::DynamoDbDriver;

    let endpoint = format!("http://ada:{MARK}@h");
    let dynamodb = DynamoDbDriver::builder().credentials(MARK, MARK).session_token(MARK);
    let azure = AzureTablesDriver::builder().key(MARK).sas(MARK);
    let shown = format!(
        "{:?} {:?} {:?}",
        CassandraDriver::builder().user("ada", MARK),
        dynamodb.endpoint(&endpoint),
        azure.endpoint(&endpoint)
    );
    assert!(!shown.contains(MARK), "{shown}");
}
