//! The log, from the end back, and as it grows.

use serde_json::{Value, json};

use crate::support::{Served, Stream, block_on};

fn positions(answer: &Value) -> Vec<u64> {
    let events = answer["events"].as_array().unwrap();
    events.iter().map(|event| event["position"].as_u64().unwrap()).collect()
}

#[test]
fn pages_lead_from_the_end_to_the_beginning() {
    let served = Served::new(|inspector| inspector);
    for n in 0..5 {
        served.append(&format!("a/{n}"), &[("Odd", "1"), ("Even", "2")]);
    }
    let page = served.get("api/log?limit=4").json();
    assert_eq!((positions(&page), &page["last"]), (vec![10, 9, 8, 7], &json!(10)));
    let next = served.get(&format!("api/log?limit=100&before={}", page["before"])).json();
    assert_eq!((positions(&next), &next["before"]), (vec![6, 5, 4, 3, 2, 1], &json!(null)));
    assert_eq!(positions(&served.get("api/log?type=Even&prefix=a/3").json()), [8]);
    assert_eq!(positions(&served.get("api/log?before=1").json()), [0; 0]);
}

/// Reads until so many events have come.
fn follow(stream: &mut Stream, events: usize) -> Vec<u64> {
    let mut seen = Vec::new();
    while seen.len() < events {
        let mut news = positions(&stream.next("log").expect("the stream goes on"));
        news.reverse();
        seen.extend(news);
    }
    seen
}

#[test]
fn new_events_come_by_themselves() {
    let served = Served::new(|inspector| inspector);
    served.append("old", &[("Old", "1")]);
    let mut all = served.stream("api/log/live", &[]);
    let mut some = served.stream("api/log/live?prefix=b&type=Even", &[]);
    let mut again = served.stream("api/log/live", &[("Last-Event-ID", "0")]);
    assert_eq!(follow(&mut again, 1), [1]);
    for key in ["a", "b"] {
        served.append(key, &[("Odd", "1"), ("Even", "2")]);
    }
    assert_eq!(follow(&mut all, 4), [2, 3, 4, 5]);
    assert_eq!(follow(&mut some, 1), [5]);
    assert_eq!(follow(&mut again, 4), [2, 3, 4, 5]);
}

#[test]
fn what_comes_too_quickly_is_counted_and_left_out() {
    let served = Served::new(|inspector| inspector);
    let events: Vec<_> = (0..1_000).map(|_| ("Counted", "1")).collect();
    served.append("busy", &events);
    let news = served.stream("api/log/live?after=0", &[]).next("log").unwrap();
    let told = positions(&news);
    assert_eq!((told[0], &news["new"], &news["last"]), (1_000, &json!(1_000), &json!(1_000)));
    assert!(told.len() < 100);
    assert_eq!(news["left_out"], 1_000 - told.len());
}

#[test]
fn the_stream_of_a_closed_store_says_so_and_ends() {
    let served = Served::new(|inspector| inspector);
    let mut stream = served.stream("api/log/live", &[]);
    block_on(served.store.close()).unwrap();
    assert!(stream.next("failed").unwrap().as_str().unwrap().contains("closed"));
    assert_eq!(stream.next("log"), None);
}
