//! Azure Tables: a service that throttles, stops answering, or is another one.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use seriatim::AppendError;
use seriatim::driver::DriverError;

use super::scripted::Reply;
use super::scripted::http::{Response, answer, serve};
use super::{append_at, open, put_at};

fn url(address: SocketAddr, options: &str) -> String {
    format!("azure-tables://ada1/events?key=aHVzaA%3D%3D&endpoint=http%3A%2F%2F{address}{options}")
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
