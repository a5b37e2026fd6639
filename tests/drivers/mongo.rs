//! MongoDB: servers alone, routers, pools that are full, indexes that do not hold.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mongodb::bson::{Binary, Document, doc, spec::BinarySubtype};
use seriatim::AppendError;
use seriatim::driver::DriverError;

use super::scripted::Reply;
use super::scripted::mongo::{command_error, cursor, good_indexes, serve, write_error};
use super::{append_at, open, put, put_at};

const DUPLICATE: i32 = 11_000;

pub(super) fn url(address: SocketAddr, options: &str) -> String {
    format!("mongodb://{address}/bank?directConnection=true&timeout_ms=2000{options}")
}

/// What every server says of the collection: it is there, with its indexes.
pub(super) fn prepared(name: &str) -> Option<Reply<Document>> {
    match name {
        "listCollections" => {
            let plain = doc! { "name": "events", "type": "collection", "options": {} };
            Some(Reply::Answers(cursor(vec![plain])))
        }
        "listIndexes" => Some(Reply::Answers(cursor(good_indexes()))),
        _ => None,
    }
}

/// A collection without documents, that takes every write.
pub(super) fn empty() -> SocketAddr {
    serve(doc! {}, |name, _| match name {
        "find" => Some(Reply::Answers(cursor(Vec::new()))),
        "insert" => Some(Reply::Answers(doc! { "ok": 1.0, "n": 1 })),
        _ => prepared(name),
    })
}

/// A server that answers inserts with this, and greets so.
fn inserting(hello: Document, answer: Reply<Document>) -> SocketAddr {
    serve(hello, move |name, _| match name {
        "insert" => Some(answer.clone()),
        _ => prepared(name),
    })
}

fn of_another_put() -> Document {
    let id = Binary { subtype: BinarySubtype::Uuid, bytes: vec![7; 16] };
    doc! { "_id": id, "f": 1_i64, "l": 1_i64 }
}

/// A server that has another put's event, and refuses linearizable reads where it stands alone. It
/// notes the read concerns that it was asked with.
fn taken(hello: Document) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let is_alone = !hello.contains_key("setName");
    let levels = Arc::new(Mutex::new(Vec::new()));
    let noted = levels.clone();
    let address = serve(hello, move |name, command| match name {
        "insert" => Some(Reply::Answers(write_error(DUPLICATE, "E11000 duplicate key"))),
        "find" => {
            let concern = command.get_document("readConcern").unwrap();
            let level = concern.get_str("level").unwrap().to_owned();
            noted.lock().unwrap().push(level.clone());
            Some(Reply::Answers(match is_alone && level == "linearizable" {
                true => command_error(123, "NotAReplicaSet"),
                false => cursor(vec![of_another_put()]),
            }))
        }
        _ => prepared(name),
    });
    (address, levels)
}

#[tokio::test]
async fn a_server_alone_says_whose_the_events_are_by_a_majority_read() {
    let (address, levels) = taken(doc! {});
    let answer = put_at(&url(address, "")).await;
    assert!(answer.as_ref().is_err_and(DriverError::is_conflict), "{answer:?}");
    assert_eq!(*levels.lock().unwrap(), ["majority"]);
}

#[tokio::test]
async fn a_replica_set_and_a_router_say_it_by_a_linearizable_read() {
    for hello in [doc! { "setName": "rs0", "hosts": ["a:1"] }, doc! { "msg": "isdbgrid" }] {
        let is_router = hello.contains_key("msg");
        let (address, levels) = match is_router {
            // A router refuses no read concern.
            true => {
                let levels = Arc::new(Mutex::new(Vec::new()));
                let noted = levels.clone();
                let address = serve(hello, move |name, command| match name {
                    "insert" => Some(Reply::Answers(write_error(DUPLICATE, "E11000"))),
                    "find" => {
                        let concern = command.get_document("readConcern").unwrap();
                        noted.lock().unwrap().push(concern.get_str("level").unwrap().to_owned());
                        Some(Reply::Answers(cursor(vec![of_another_put()])))
                    }
                    _ => prepared(name),
                });
                (address, levels)
            }
            false => taken(hello),
        };
        let answer = put_at(&url(address, "")).await;
        assert!(answer.as_ref().is_err_and(DriverError::is_conflict), "{answer:?}");
        assert_eq!(*levels.lock().unwrap(), ["linearizable"]);
    }
}

#[tokio::test]
async fn a_routers_lost_shard_leaves_a_put_open() {
    // HostUnreachable, NetworkTimeout, ShutdownInProgress, NotWritablePrimary, StaleConfig, and one
    // that nobody knows.
    for code in [6, 89, 91, 10_107, 13_388, 54_321] {
        let refused = Reply::Answers(write_error(code, "the shard did not answer"));
        let answer = put_at(&url(inserting(doc! { "msg": "isdbgrid" }, refused), "")).await;
        let open = answer.as_ref().is_err_and(DriverError::may_have_been_written);
        assert!(open, "{code}: {answer:?}");
    }
}

#[tokio::test]
async fn a_document_that_is_refused_was_surely_not_written() {
    for answer in [
        write_error(121, "Document failed validation"),
        write_error(10_334, "too large"),
        command_error(13, "Unauthorized"),
    ] {
        let answer = put_at(&url(inserting(doc! {}, Reply::Answers(answer)), "")).await;
        assert!(matches!(answer, Err(DriverError::Failed { .. })), "{answer:?}");
    }
}

#[tokio::test]
async fn an_unsatisfied_write_concern_and_a_lost_connection_leave_a_put_open() {
    let concern = doc! { "ok": 1.0, "n": 1, "writeConcernError": { "code": 64, "errmsg": "late" } };
    for reply in [Reply::Answers(concern), Reply::HangsUp] {
        let answer = put_at(&url(inserting(doc! {}, reply.clone()), "")).await;
        let open = answer.as_ref().is_err_and(DriverError::may_have_been_written);
        assert!(open, "{reply:?}: {answer:?}");
    }
}

#[tokio::test]
async fn who_waits_for_a_connection_until_the_timeout_has_sent_nothing() {
    let inserts = Arc::new(AtomicUsize::new(0));
    let counter = inserts.clone();
    let address = serve(doc! {}, move |name, _| match name {
        "insert" => {
            counter.fetch_add(1, Ordering::SeqCst);
            Some(Reply::Waits)
        }
        _ => prepared(name),
    });
    let driver = open(&url(address, "&maxPoolSize=1")).await.unwrap();
    let (first, second) = tokio::join!(driver.put_events(put(1)), driver.put_events(put(1)));
    assert!(first.as_ref().is_err_and(DriverError::may_have_been_written), "{first:?}");
    let Err(DriverError::Unavailable { message, .. }) = second else { panic!("{second:?}") };
    assert!(message.contains("maxPoolSize"), "{message}");
    assert_eq!(inserts.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn sixty_four_puts_at_once_have_a_connection_each() {
    let under_way = Arc::new(AtomicUsize::new(0));
    let counter = under_way.clone();
    // None is answered before all are there.
    let address = serve(doc! {}, move |name, _| match name {
        "insert" => {
            counter.fetch_add(1, Ordering::SeqCst);
            let end = Instant::now() + Duration::from_secs(20);
            while counter.load(Ordering::SeqCst) < 64 && Instant::now() < end {
                std::thread::yield_now();
            }
            Some(Reply::Answers(doc! { "ok": 1.0, "n": 1 }))
        }
        _ => prepared(name),
    });
    let url = url(address, "").replace("timeout_ms=2000", "timeout_ms=30000");
    let driver = open(&url).await.unwrap();
    let puts = (0..64).map(|_| driver.put_events(put(1)));
    for answer in futures::future::join_all(puts).await {
        answer.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_is_down_is_unavailable_and_not_unknown() {
    // It is there for the opening only: then it is not primary any more.
    let address = serve(doc! {}, move |name, _| match name {
        "find" => Some(Reply::Answers(cursor(Vec::new()))),
        "insert" => Some(Reply::Answers(command_error(10_107, "NotWritablePrimary"))),
        _ => prepared(name),
    });
    // Longer than the store waits for a driver that does not say how long it tries.
    let url = url(address, "").replace("timeout_ms=2000", "timeout_ms=3000");
    let began = Instant::now();
    let error = append_at(&url).await.unwrap_err();
    assert!(
        matches!(&error, AppendError::Driver { source: DriverError::Unavailable { .. }, .. }),
        "{error:?}"
    );
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
}

#[tokio::test]
async fn wrong_indexes_and_collections_are_refused_by_name() {
    for (more, problem) in [
        (doc! { "collation": { "locale": "en" } }, "collation"),
        (doc! { "partialFilterExpression": { "v": 1 } }, "partial"),
        (doc! { "sparse": true }, "sparse"),
        (doc! { "unique": false }, "not unique"),
    ] {
        for create in ["", "&create=true"] {
            let mut indexes = good_indexes();
            indexes[1].extend(more.clone());
            let address = serve(doc! {}, move |name, _| match name {
                "listIndexes" => Some(Reply::Answers(cursor(indexes.clone()))),
                _ => prepared(name),
            });
            let error = open(&url(address, create)).await.err().unwrap();
            assert!(matches!(error, DriverError::Failed { .. }), "{error:?}");
            let text = error.to_string();
            assert!(text.contains("k_1_e.s_1") && text.contains(problem), "{text}");
        }
    }
    let folded = doc! { "name": "events", "type": "collection",
    "options": { "collation": { "locale": "en", "strength": 2 } } };
    let address = serve(doc! {}, move |name, _| match name {
        "listCollections" => Some(Reply::Answers(cursor(vec![folded.clone()]))),
        _ => prepared(name),
    });
    let error = open(&url(address, "")).await.err().unwrap();
    assert!(error.to_string().contains("collation"), "{error}");
}
