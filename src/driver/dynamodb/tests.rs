//! What becomes of answers that an engine gives only when something is wrong: a server that says
//! what it is told to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Builder, Region};
use futures_util::StreamExt;
use uuid::Uuid;

use super::connection::DynamoDbTable;
use super::driver::DynamoDbDriver;
use super::item;
use crate::driver::remote::RetryPolicy;
use crate::driver::{Driver, Fetch, Put, PutReceipt};
use crate::error::DriverError;
use crate::event::{AggregateKey, KeyedEvent, NewEvent, Sequence, Timestamp};

/// What the server does with a request that it has read.
#[derive(Clone, Copy, Debug)]
enum Does {
    Answers(u16, &'static str),
    HangsUp,
    Waits,
}

const WRITTEN: Does = Does::Answers(200, "{}");

/// An engine that does this with its first request, the next with its second, and with all that
/// follow what the last says; and how many requests it has read.
fn engine(script: &'static [Does]) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let counter = counter.clone();
            thread::spawn(move || serve(stream.unwrap(), script, &counter));
        }
    });
    (address, asked)
}

fn serve(mut stream: TcpStream, script: &[Does], asked: &AtomicUsize) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while read_request(&mut reader).is_some() {
        let at = asked.fetch_add(1, Ordering::SeqCst).min(script.len() - 1);
        match script[at] {
            Does::Answers(status, body) => {
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len());
                if stream.write_all(head.as_bytes()).is_err() {
                    return;
                }
                let _ = stream.write_all(body.as_bytes());
            }
            Does::HangsUp => return,
            Does::Waits => {
                // Until the client gives up.
                let _ = reader.read(&mut [0]);
                return;
            }
        }
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<()> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.is_empty() {
            return reader.read_exact(&mut vec![0; length]).ok();
        }
    }
}

fn driver(endpoint: &str, credentials: impl ProvideCredentials + 'static) -> DynamoDbDriver {
    let config = Builder::new()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("us-east-1"))
        .credentials_provider(credentials)
        .endpoint_url(endpoint)
        .retry_config(RetryConfig::disabled());
    DynamoDbDriver::new(DynamoDbTable {
        client: Client::from_conf(config.build()),
        table: "events".to_owned(),
        address: endpoint.to_owned(),
        policy: RetryPolicy::new(Some(Duration::from_secs(30)), None).unwrap(),
        limits: item::LIMITS,
    })
}

/// The same with a deadline that passes soon.
fn impatient(endpoint: &str) -> DynamoDbDriver {
    let driver = driver(endpoint, local());
    let shared = Arc::into_inner(driver.shared).unwrap();
    let policy = RetryPolicy::new(Some(Duration::from_millis(700)), None).unwrap();
    DynamoDbDriver::new(DynamoDbTable { policy, ..shared.connection })
}

fn local() -> Credentials {
    Credentials::new("local", "local", None, None, "test")
}

fn key() -> AggregateKey {
    AggregateKey::new("a").unwrap()
}

fn put(count: u64) -> Arc<Put> {
    let event = |sequence| -> KeyedEvent {
        let event = NewEvent::raw("Tested", "{}").check().unwrap();
        event.place(&key(), Sequence::new(sequence), Uuid::now_v7(), Timestamp::now())
    };
    Arc::new(Put::new((1..=count).map(event).collect()).unwrap())
}

/// What becomes of a put of `count` events on an engine that does this, and how often it was asked.
async fn put_on(count: u64, script: &'static [Does]) -> (Result<PutReceipt, DriverError>, usize) {
    let (address, asked) = engine(script);
    let answer = driver(&address, local()).put_events(put(count)).await;
    (answer, asked.load(Ordering::SeqCst))
}

const THROTTLED: Does =
    Does::Answers(400, r#"{"__type":"x#ProvisionedThroughputExceededException","message":"slow"}"#);
const COLLIDED: Does = Does::Answers(
    400,
    r#"{"__type":"x#TransactionCanceledException","Message":"m","CancellationReasons":
       [{"Code":"None"},{"Code":"TransactionConflict","Message":"busy"}]}"#,
);
const TAKEN: Does = Does::Answers(
    400,
    r#"{"__type":"x#TransactionCanceledException","Message":"m","CancellationReasons":
       [{"Code":"None"},{"Code":"ConditionalCheckFailed","Message":"there"}]}"#,
);
const IN_PROGRESS: Does =
    Does::Answers(400, r#"{"__type":"x#TransactionInProgressException","Message":"wait"}"#);
const MISMATCH: Does =
    Does::Answers(400, r#"{"__type":"x#IdempotentParameterMismatchException","Message":"other"}"#);
const DENIED: Does = Does::Answers(400, r#"{"__type":"x#AccessDeniedException","Message":"no"}"#);
const BROKEN: Does = Does::Answers(500, r#"{"__type":"x#InternalServerError","message":"oops"}"#);
const GATEWAY: Does = Does::Answers(502, "<html>");
const GARBLED: Does = Does::Answers(200, "{");

#[tokio::test]
async fn what_passes_is_tried_again() {
    for (count, first) in [(1, THROTTLED), (2, THROTTLED), (2, COLLIDED)] {
        let script: &'static [Does] = Box::leak(Box::new([first, first, WRITTEN]));
        let (answer, asked) = put_on(count, script).await;
        assert!(answer.is_ok(), "{first:?}: {answer:?}");
        assert_eq!(asked, 3, "{first:?}");
    }
}

#[tokio::test]
async fn what_passes_was_not_written() {
    for (count, script) in [(1, &[THROTTLED]), (2, &[THROTTLED]), (2, &[COLLIDED])] {
        let (address, asked) = engine(script);
        let answer = driver(&address, local()).shared.connection.send(&put(count)).await;
        assert!(matches!(answer, Err(DriverError::Unavailable { .. })), "{answer:?}");
        assert_eq!(asked.load(Ordering::SeqCst), 1, "{script:?}: the client tried again by itself");
    }
}

#[tokio::test]
async fn what_may_have_been_written_is_said_to_be_so_at_once() {
    for does in [BROKEN, GATEWAY, GARBLED, Does::HangsUp, IN_PROGRESS] {
        for count in [1, 2] {
            let script: &'static [Does] = Box::leak(Box::new([does]));
            let (answer, asked) = put_on(count, script).await;
            let open = answer.as_ref().is_err_and(DriverError::may_have_been_written);
            assert!(open, "{does:?}: {answer:?}");
            assert_eq!(asked, 1, "{does:?}");
        }
    }
}

#[tokio::test]
async fn no_answer_before_the_deadline_leaves_it_open() {
    // A refusal before does not make the attempt that hangs a refusal.
    for (count, script) in [(1, &[Does::Waits] as &[Does]), (2, &[THROTTLED, Does::Waits])] {
        let (address, _) = engine(script);
        let answer = impatient(&address).put_events(put(count)).await;
        assert!(answer.unwrap_err().may_have_been_written(), "{script:?}");
    }
}

#[tokio::test]
async fn what_is_refused_for_good_is_not_tried_again() {
    let (answer, asked) = put_on(1, &[DENIED]).await;
    let error = answer.unwrap_err();
    assert!(matches!(error, DriverError::Failed { .. }), "{error:?}");
    assert!(error.to_string().contains("AccessDeniedException: no"), "{error}");
    assert_eq!(asked, 1);
}

#[tokio::test]
async fn a_conflict_names_the_sequence_that_is_taken() {
    let (answer, asked) = put_on(2, &[TAKEN]).await;
    let taken = Sequence::new(2);
    assert!(
        matches!(answer, Err(DriverError::Conflict { sequence, .. }) if sequence == taken),
        "{answer:?}"
    );
    assert_eq!(asked, 1);
}

#[tokio::test]
async fn a_token_known_from_another_request_leaves_it_to_the_conditions() {
    let (answer, asked) = put_on(2, &[MISMATCH, WRITTEN]).await;
    assert!(answer.is_ok(), "{answer:?}");
    assert_eq!(asked, 2);
    let (answer, _) = put_on(2, &[MISMATCH, TAKEN]).await;
    assert!(answer.as_ref().is_err_and(DriverError::is_conflict), "{answer:?}");
}

#[tokio::test]
async fn a_read_without_an_answer_is_tried_again() {
    let script = &[Does::HangsUp, BROKEN, Does::Answers(200, r#"{"Item":{"seq":{"N":"1"}}}"#)];
    let (address, asked) = engine(script);
    let found = driver(&address, local()).check_sequence(&key(), Sequence::FIRST).await;
    assert!(found.unwrap());
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_page_without_items_is_not_the_end() {
    const LATEST: &str = r#"{"Items":[],"LastEvaluatedKey":{"pk":{"S":"a"},"seq":{"N":"1"}}}"#;
    let (address, asked) =
        engine(&[Does::Answers(200, LATEST), Does::Answers(200, r#"{"Items":[]}"#)]);
    let mut pages = driver(&address, local()).fetch_events(&key(), Fetch::ALL);
    assert!(pages.next().await.is_none());
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[derive(Debug)]
struct NoCredentials;

impl ProvideCredentials for NoCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Err(CredentialsError::not_loaded("none here")))
    }
}

#[tokio::test]
async fn without_credentials_or_a_connection_nothing_was_written() {
    let (address, asked) = engine(&[WRITTEN]);
    let error = driver(&address, NoCredentials).shared.connection.send(&put(1)).await.unwrap_err();
    assert!(matches!(error, DriverError::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains("none here"), "{error}");
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nobody = format!("http://127.0.0.1:{port}");
    let error = driver(&nobody, local()).shared.connection.send(&put(1)).await.unwrap_err();
    assert!(matches!(error, DriverError::Unavailable { .. }), "{error:?}");
}

const NO_TABLE: Does =
    Does::Answers(400, r#"{"__type":"x#ResourceNotFoundException","message":"no table"}"#);
const IN_USE: Does =
    Does::Answers(400, r#"{"__type":"x#ResourceInUseException","message":"there"}"#);
const MADE: Does = Does::Answers(200, r#"{"TableDescription":{"TableStatus":"CREATING"}}"#);

macro_rules! table {
    ($status:literal, $sort:literal) => {
        Does::Answers(
            200,
            concat!(
                r#"{"Table":{"TableStatus":""#,
                $status,
                r#"","KeySchema":[{"AttributeName":"pk","KeyType":"HASH"},
                {"AttributeName":""#,
                $sort,
                r#"","KeyType":"RANGE"}],"AttributeDefinitions":[
                {"AttributeName":"pk","AttributeType":"S"},{"AttributeName":""#,
                $sort,
                r#"","AttributeType":"N"}]}}"#
            ),
        )
    };
}

/// What becomes of opening on an engine that does this, and how often it was asked.
async fn open_on(create: bool, script: &'static [Does]) -> (Result<(), DriverError>, usize) {
    let (address, asked) = engine(script);
    let answer = driver(&address, local()).shared.connection.prepare(create).await.map(drop);
    (answer, asked.load(Ordering::SeqCst))
}

#[tokio::test]
async fn a_table_that_is_there_is_taken_as_it_is() {
    for script in [&[table!("ACTIVE", "seq")], &[table!("UPDATING", "seq")]] {
        let (answer, asked) = open_on(true, script).await;
        assert!(answer.is_ok(), "{answer:?}");
        assert_eq!(asked, 1);
    }
}

#[tokio::test]
async fn a_new_table_is_waited_for() {
    for made in [MADE, IN_USE] {
        let script: &'static [Does] = Box::leak(Box::new([
            NO_TABLE,
            made,
            // A new table is not seen everywhere at once.
            NO_TABLE,
            table!("CREATING", "seq"),
            table!("ACTIVE", "seq"),
        ]));
        let (answer, asked) = open_on(true, script).await;
        assert!(answer.is_ok(), "{made:?}: {answer:?}");
        assert_eq!(asked, 5, "{made:?}");
    }
}

#[tokio::test]
async fn a_table_that_is_missing_or_of_something_else_is_refused() {
    for (script, problem) in [
        (&[NO_TABLE], "add ?create=true"),
        (&[table!("ACTIVE", "when")], "is none of events"),
        (&[table!("DELETING", "seq")], "is being deleted"),
        (&[DENIED], "AccessDeniedException"),
    ] {
        let (answer, _) = open_on(false, script).await;
        let error = answer.unwrap_err();
        assert!(matches!(error, DriverError::Failed { .. }), "{error:?}");
        assert!(error.to_string().contains(problem), "{error}");
    }
}
