//! Cassandra: clusters with users, and nodes that stop answering while a connection is made.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use seriatim::driver::DriverError;

use super::open;
use super::scripted::Reply;
use super::scripted::cql::{
    AUTH_RESPONSE, OPTIONS, STARTUP, authenticate, error, serve, supported,
};

const BAD_CREDENTIALS: i32 = 0x0100;

fn with_users() -> SocketAddr {
    serve(|opcode| {
        Reply::Answers(match opcode {
            OPTIONS => supported(),
            STARTUP => authenticate(),
            AUTH_RESPONSE => error(BAD_CREDENTIALS, "Provided username and/or password are wrong"),
            _ => error(0x000a, "not before you have signed in"),
        })
    })
}

#[tokio::test]
async fn a_wrong_password_is_lasting() {
    let url = format!("cassandra://ada:hush@{}/bank", with_users());
    let began = Instant::now();
    let error = open(&url).await.err().unwrap();
    assert!(matches!(error, DriverError::Failed { .. }), "{error:?}");
    let text = format!("{error} {error:?}");
    assert!(text.contains("password are wrong") && !text.contains("hush"), "{text}");
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_missing_user_is_lasting() {
    let error = open(&format!("cassandra://{}/bank", with_users())).await.err().unwrap();
    assert!(matches!(error, DriverError::Failed { .. }), "{error:?}");
}

#[tokio::test]
async fn an_opening_that_gets_no_answer_ends_at_the_timeout() {
    for silent in [OPTIONS, STARTUP, AUTH_RESPONSE] {
        let address = serve(move |opcode| match opcode {
            opcode if opcode == silent => Reply::Waits,
            OPTIONS => Reply::Answers(supported()),
            _ => Reply::Answers(authenticate()),
        });
        let url = format!("cassandra://ada:hush@{address}/bank?timeout_ms=700");
        let began = Instant::now();
        let error = open(&url).await.err().unwrap();
        assert!(matches!(error, DriverError::Unavailable { .. }), "{silent}: {error:?}");
        assert!(began.elapsed() < Duration::from_secs(4), "{silent}: {:?}", began.elapsed());
    }
}
