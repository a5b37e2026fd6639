//! The service as a client sees it: over HTTP on a port of this machine.

use std::net::TcpListener;
use std::sync::mpsc;
use std::thread::JoinHandle;

use actix_web::dev::ServerHandle;
use actix_web::rt::System;
use serde_json::{Value, json};
use seriatim::EventStore;
use ureq::Agent;

/// A running service, stopped when dropped.
struct Service {
    url: String,
    agent: Agent,
    store: EventStore,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    fn start(store_url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let store_url = store_url.to_owned();
        let (started, starting) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            System::new().block_on(async {
                let store = EventStore::open(store_url).await.unwrap();
                let server = reservations::serve(listener, store.clone()).unwrap();
                started.send((store, server.handle())).unwrap();
                server.await.unwrap();
            });
        });
        let (store, handle) = starting.recv().unwrap();
        let agent = Agent::config_builder().http_status_as_error(false).build().new_agent();
        Service { url, agent, store, handle, thread: Some(thread) }
    }

    fn close_the_store(&self) {
        System::new().block_on(self.store.close()).unwrap();
    }

    fn get(&self, path: &str) -> (u16, Value) {
        let mut answer = self.agent.get(format!("{}{path}", self.url)).call().unwrap();
        (answer.status().as_u16(), answer.body_mut().read_json().unwrap())
    }

    fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
        let mut request = self.agent.post(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut answer = request.content_type("application/json").send(body).unwrap();
        (answer.status().as_u16(), answer.body_mut().read_json().unwrap())
    }

    fn order(&self, key: &str, command: Value) -> (u16, Value) {
        self.post("/shows/hamlet", &[("Idempotency-Key", key)], &command.to_string())
    }

    /// Hamlet with five seats, two of them Ada's.
    fn with_hamlet(store_url: &str) -> Self {
        let service = Service::start(store_url);
        assert_eq!(service.order("k1", json!({"announce": {"seats": 5}})).0, 200);
        assert_eq!(service.order("k2", reserve("Ada", 2)).0, 200);
        service
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        System::new().block_on(self.handle.stop(true));
        let ended = self.thread.take().unwrap().join();
        System::new().block_on(self.store.close()).unwrap();
        if !std::thread::panicking() {
            ended.unwrap();
        }
    }
}

fn reserve(name: &str, seats: u32) -> Value {
    json!({"reserve": {"name": name, "seats": seats}})
}

fn says(problem: &Value, words: &str) {
    let error = problem["error"].as_str().unwrap();
    assert!(error.contains(words), "{error:?} does not say {words:?}");
}

#[test]
fn commands_change_the_show_and_state_and_history_show_it() {
    let service = Service::with_hamlet("memory:");
    let (status, answer) = service.order("k3", json!({"cancel": {"name": "Ada"}}));
    assert_eq!(status, 200);
    let event = json!({"type": "Cancelled", "data": {"name": "Ada"}});
    assert_eq!(answer, json!({"sequence": 3, "repeated": false, "events": [event]}));

    let empty = json!({"seats": 5, "left": 5, "reserved": {}});
    assert_eq!(service.get("/shows/hamlet"), (200, empty));
    let before = json!({"seats": 5, "left": 3, "reserved": {"Ada": 2}});
    assert_eq!(service.get("/shows/hamlet?at=2"), (200, before));

    let (status, history) = service.get("/shows/hamlet/history");
    let types: Vec<&str> =
        history.as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!((status, types), (200, vec!["Announced", "Reserved", "Cancelled"]));
    assert_eq!(history[1]["data"], json!({"name": "Ada", "seats": 2}));
    assert_eq!(history[1]["metadata"]["correlation_id"], "k2");
    let (_, page) = service.get("/shows/hamlet/history?from=2&limit=1");
    assert_eq!(page, json!([history[1]]));
    assert_eq!(service.get("/shows/hamlet/history?from=9"), (200, json!([])));
}

#[test]
fn the_same_idempotency_key_gets_the_first_answer() {
    let service = Service::with_hamlet("memory:");
    let posts: Vec<(u16, Value)> = std::thread::scope(|scope| {
        let posts: Vec<_> =
            (0..8).map(|_| scope.spawn(|| service.order("same", reserve("Grace", 1)))).collect();
        posts.into_iter().map(|post| post.join().unwrap()).collect()
    });
    assert!(posts.iter().all(|(status, answer)| *status == 200 && answer["sequence"] == 3));
    assert_eq!(posts.iter().filter(|(_, answer)| answer["repeated"] == false).count(), 1);
    assert_eq!(service.get("/shows/hamlet").1["reserved"], json!({"Ada": 2, "Grace": 1}));
}

#[test]
fn it_gets_the_first_answer_from_the_next_process_too() {
    let directory = tempfile::tempdir().unwrap();
    let store_url = format!("redb:{}", directory.path().join("shows").display());
    let first = Service::with_hamlet(&store_url).order("k3", reserve("Grace", 3)).1;
    let service = Service::start(&store_url);
    // Sold out by now, and yet no refusal: it was done.
    let (status, answer) = service.order("k3", reserve("Grace", 3));
    assert_eq!((status, &answer["repeated"]), (200, &json!(true)));
    assert_eq!((&answer["sequence"], &answer["events"]), (&first["sequence"], &first["events"]));
    assert_eq!(service.get("/shows/hamlet").1["left"], 0);
}

#[test]
fn many_clients_reserve_exactly_the_seats_there_are() {
    let service = Service::start("memory:");
    assert_eq!(service.order("announce", json!({"announce": {"seats": 20}})).0, 200);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|client| {
                let service = &service;
                scope.spawn(move || {
                    let order = |nth| service.order(&format!("{client}-{nth}"), reserve("Ada", 1));
                    (0..5).map(|nth| order(nth).0).collect::<Vec<u16>>()
                })
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 20);
    assert_eq!(statuses.iter().filter(|status| **status == 422).count(), 20);
    assert_eq!(service.get("/shows/hamlet").1["left"], 0);
}

#[test]
fn what_the_show_refuses_is_422_and_changes_nothing() {
    let service = Service::with_hamlet("memory:");
    let (status, problem) = service.order("k3", reserve("Grace", 4));
    assert_eq!(status, 422);
    says(&problem, "4 seats are not to be had: 3 are left");
    assert_eq!(service.order("k4", json!({"cancel": {"name": "Grace"}})).0, 422);
    assert_eq!(service.order("k5", json!({"announce": {"seats": 9}})).0, 422);
    assert_eq!(service.get("/shows/hamlet/history").1.as_array().unwrap().len(), 2);
    // A refusal uses up no key.
    assert_eq!(service.order("k3", reserve("Grace", 3)).0, 200);
}

#[test]
fn an_order_on_an_earlier_state_is_409() {
    let service = Service::with_hamlet("memory:");
    let body = reserve("Grace", 1).to_string();
    let known = |key, tag| {
        service.post("/shows/hamlet", &[("Idempotency-Key", key), ("If-Match", tag)], &body)
    };
    let (status, problem) = known("k3", "\"1\"");
    assert_eq!(status, 409);
    says(&problem, "up to 1, and it is at 2");
    assert_eq!(known("k3", "\"2\"").0, 200);
    let answer = service.agent.get(format!("{}/shows/hamlet", service.url)).call().unwrap();
    assert_eq!(answer.headers()["etag"], "\"3\"");
}

#[test]
fn what_is_not_there_is_404() {
    let service = Service::with_hamlet("memory:");
    for path in ["/shows/macbeth", "/shows/macbeth/history", "/shows/hamlet?at=0"] {
        let (status, problem) = service.get(path);
        assert_eq!(status, 404, "{path}");
        says(&problem, "no such show");
    }
    let headers = [("Idempotency-Key", "k")];
    let (status, _) = service.post("/shows/macbeth", &headers, &reserve("Ada", 1).to_string());
    assert_eq!(status, 404);
}

#[test]
fn what_makes_no_sense_is_400() {
    let service = Service::with_hamlet("memory:");
    let key = [("Idempotency-Key", "k")];
    for body in ["", "{", "{}", r#"{"reserve":{"name":"Ada"}}"#, r#"{"steal":{}}"#, "[1]"] {
        assert_eq!(service.post("/shows/hamlet", &key, body).0, 400, "{body}");
    }
    let body = reserve("Ada", 1).to_string();
    let (status, problem) = service.post("/shows/hamlet", &[], &body);
    assert_eq!(status, 400);
    says(&problem, "Idempotency-Key");
    let tag = [("Idempotency-Key", "k"), ("If-Match", "yesterday")];
    assert_eq!(service.post("/shows/hamlet", &tag, &body).0, 400);
    let long = format!("/shows/{}", "x".repeat(600));
    assert_eq!(service.post(&long, &key, &body).0, 400);
    for path in [long.as_str(), "/shows/a%0Ab", "/shows/hamlet/history?from=x"] {
        assert_eq!(service.get(path).0, 400, "{path}");
    }
    assert_eq!(service.get("/shows/hamlet/history").1.as_array().unwrap().len(), 2);
}

#[test]
fn a_closed_store_is_503() {
    let service = Service::with_hamlet("memory:");
    service.close_the_store();
    let (status, problem) = service.order("k3", reserve("Grace", 1));
    assert_eq!(status, 503);
    says(&problem, "closed");
    assert_eq!(service.get("/shows/hamlet").0, 503);
    assert_eq!(service.get("/shows/hamlet/history").0, 503);
}
