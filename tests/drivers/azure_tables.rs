//! Azure Tables: a service that throttles, stops answering, or is another one.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use seriatim::AppendError;
use seriatim::driver::azure_tables::AzureTablesDriver;
use seriatim::driver::{Driver, DriverError};

use super::scripted::Reply;
use super::scripted::http::{Response, answer, serve};
use super::{append_at, open, put_at};

pub(super) fn url(address: SocketAddr, options: &str) -> String {
    format!("azure-tables://ada1/events?key=aHVzaA%3D%3D&endpoint=http%3A%2F%2F{address}{options}")
}

/// A table without rows, that takes every write.
pub(super) fn empty() -> SocketAddr {
    transacting(answer(202, "--b\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n--b--"))
}

/// A service with an empty table that answers transactions so.
fn transacting(reply: Reply<Response>) -> SocketAddr {
    serve(move |request| match request.path.contains("$batch") {
        true => reply.clone(),
        false => answer(200, r#"{"value":[]}"#),
    })
}

#[tokio::test]
async fn throttling_and_silence_leave_a_put_open() {
    for reply in [answer(503, "ServerBusy"), answer(500, ""), Reply::HangsUp, Reply::Waits] {
        let address = transacting(reply.clone());
        let answer = put_at(&url(address, "&timeout_ms=700")).await;
        let open = answer.as_ref().is_err_and(DriverError::may_have_been_written);
        assert!(open, "{reply:?}: {answer:?}");
    }
}

#[tokio::test]
async fn an_attempt_that_hangs_is_ended_by_its_own_timeout() {
    let address = transacting(Reply::Waits);
    let began = Instant::now();
    let answer = put_at(&url(address, "&timeout_ms=60000&attempt_timeout_ms=300")).await;
    assert!(answer.as_ref().is_err_and(DriverError::may_have_been_written), "{answer:?}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_service_that_refuses_all_connections_is_unavailable() {
    // Collisions on the head are refused for certain, and tried again until the driver's timeout,
    // which is longer than the store waits for a driver that does not say.
    let address = transacting(answer(409, "Conflict"));
    let began = Instant::now();
    let error = append_at(&url(address, "&timeout_ms=3000")).await.unwrap_err();
    assert!(
        matches!(&error, AppendError::Driver { source: DriverError::Unavailable { .. }, .. }),
        "{error:?}"
    );
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
}

#[tokio::test]
async fn cosmos_db_is_refused_by_name() {
    let url = "azure-tables://ada1/events?key=aGk%3D&\
               endpoint=https%3A%2F%2Fada1.table.cosmos.azure.com";
    let error = open(url).await.err().unwrap();
    assert!(matches!(error, DriverError::Failed { .. }), "{error:?}");
    assert!(error.to_string().contains("Cosmos DB"), "{error}");
}

#[tokio::test]
async fn a_signature_that_changes_is_asked_for_before_every_request() {
    let queries = Arc::new(Mutex::new(Vec::new()));
    let noted = queries.clone();
    let address = serve(move |request| {
        let signature = request.path.split("sig=").nth(1).unwrap_or("none").to_owned();
        noted.lock().unwrap().push(signature);
        answer(200, r#"{"value":[]}"#)
    });
    let asked = AtomicUsize::new(0);
    let builder = AzureTablesDriver::builder().endpoint(format!("http://{address}"));
    let builder = builder
        .sas_source(move || format!("?sv=1&sig=number{}", asked.fetch_add(1, Ordering::SeqCst)));
    let driver = builder.open("ada1", "events").await.unwrap();
    driver.latest_sequence(&"a".parse().unwrap()).await.unwrap();
    assert_eq!(*queries.lock().unwrap(), ["number0", "number1"]);
}

#[tokio::test]
async fn a_connection_string_says_where_and_with_what() {
    let signed = Arc::new(Mutex::new(Vec::new()));
    let noted = signed.clone();
    let address = serve(move |request| {
        let header = request.headers.iter().find_map(|h| h.strip_prefix("authorization: "));
        noted.lock().unwrap().push(header.unwrap_or("none").to_owned());
        answer(200, r#"{"value":[]}"#)
    });
    let text = format!("AccountName=ada1;AccountKey=aHVzaA==;TableEndpoint=http://{address}/");
    let builder = AzureTablesDriver::builder().connection_string(&text);
    builder.clone().open("ada1", "events").await.unwrap();
    let seen = signed.lock().unwrap().clone();
    assert!(seen.iter().all(|header| header.starts_with("sharedkeylite ada1:")), "{seen:?}");
    let error = builder.open("ada2", "events").await.unwrap_err();
    assert!(matches!(error, DriverError::Failed { .. }), "{error:?}");
}
