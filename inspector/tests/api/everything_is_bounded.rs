//! No answer grows with the store, with an event or with the number of readers.

use serde_json::json;

use crate::support::{PATIENCE, Served, wait_until};

const MEGABYTE: usize = 1_000_000;

#[test]
fn long_data_is_cut_in_pages_and_whole_on_its_own() {
    let served = Served::new(|inspector| inspector);
    let data = format!("\"{}\"", "é".repeat(MEGABYTE / 2));
    served.append("large", &[("Written", &data), ("Written", &data)]);
    for (path, most) in [("api/aggregate?key=large", 20 << 10), ("api/log", 1 << 10)] {
        let answer = served.get(path);
        assert!(answer.body.len() < 2 * most + 2_000, "{path}: {}", answer.body.len());
        let event = &answer.json()["events"][0];
        assert_eq!(event["data"]["bytes"], data.len());
        let text = event["data"]["text"].as_str().unwrap();
        assert!(text.len() > 256 && text.len() <= most && data.starts_with(text), "{path}");
    }
    let whole = served.get("api/event?key=large&sequence=1").json();
    assert_eq!(whole["data"]["text"].as_str().unwrap(), data);
    let history = served.get("api/aggregate?key=large").json();
    assert_eq!(
        history["events"][0]["changes"],
        json!({"changes": [], "more": false, "too_large": false})
    );
}

#[test]
fn a_page_of_large_events_ends_early_and_goes_on() {
    let served = Served::new(|inspector| inspector);
    let data = format!("\"{}\"", "x".repeat(MEGABYTE));
    for _ in 0..20 {
        served.append("large", &[("Written", &data)]);
    }
    let (mut before, mut seen, mut pages) = (String::new(), Vec::new(), 0);
    loop {
        let page = served.get(&format!("api/aggregate?key=large&limit=200{before}")).json();
        seen.extend(
            page["events"]
                .as_array()
                .unwrap()
                .iter()
                .map(|event| event["sequence"].as_u64().unwrap()),
        );
        pages += 1;
        if page["more"] == false {
            break;
        }
        before = format!("&before={}", seen.last().unwrap());
    }
    assert_eq!(seen, (1..=20).rev().collect::<Vec<_>>());
    assert!(pages > 1 && pages < 20, "{pages}");
}

#[test]
fn a_page_has_no_more_than_its_limit() {
    let served = Served::new(|inspector| inspector);
    for n in 0..30 {
        let events: Vec<_> = (0..10).map(|_| ("Counted", "1")).collect();
        served.append(&format!("key/{n}"), &events);
        served.append("many", &events);
    }
    let count = |path: &str, what: &str| served.get(path).json()[what].as_array().unwrap().len();
    assert_eq!(count("api/aggregate?key=many&limit=1000000", "events"), 200);
    assert_eq!(count("api/aggregate?key=many&limit=0", "events"), 1);
    assert_eq!(count("api/log?limit=1000000", "events"), 200);
    assert_eq!(count("api/keys?limit=10", "keys"), 10);
}

#[test]
fn a_filter_that_picks_nothing_looks_at_a_part_of_the_log_and_goes_on() {
    let served = Served::new(|inspector| inspector);
    served.append("rare", &[("Rare", "1")]);
    let events: Vec<_> = (0..1_000).map(|_| ("Frequent", "1")).collect();
    for _ in 0..25 {
        served.append("frequent", &events);
    }
    let page = served.get("api/log?type=Rare").json();
    assert_eq!((page["events"].as_array().unwrap().len(), &page["looked_at"]), (0, &json!(20_000)));
    let next = served.get(&format!("api/log?type=Rare&before={}", page["before"])).json();
    assert_eq!((&next["events"][0]["type"], &next["before"]), (&json!("Rare"), &json!(null)));
}

#[test]
fn streams_are_counted_and_their_room_is_given_back() {
    let served = Served::new(|inspector| inspector);
    let mut streams: Vec<_> = (0..32).map(|_| served.stream("api/figures/live", &[])).collect();
    assert!(streams.iter().all(|stream| stream.status == 200));
    // A stream takes its room when it is answered.
    served.get("api/log/live").refused(503, "too many");
    streams.truncate(16);
    let freed = || served.stream("api/figures/live", &[]).status == 200;
    wait_until("room is given back", freed);
}

#[test]
fn streams_end_when_they_are_told_to() {
    let served = Served::new(|inspector| inspector);
    let mut stream = served.stream("api/figures/live", &[]);
    assert!(stream.next("history").is_some());
    let began = std::time::Instant::now();
    served.inspector.end_streams();
    while stream.next("sample").is_some() {
        assert!(began.elapsed() < PATIENCE, "the stream goes on");
    }
    assert!(served.stream("api/figures/live", &[]).next("history").is_none());
}
