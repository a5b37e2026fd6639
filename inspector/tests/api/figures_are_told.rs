//! The store's figures, now and every second.

use serde_json::json;

use crate::support::Served;

#[test]
fn totals_are_those_of_the_store() {
    let served = Served::new(|inspector| inspector.title("shop"));
    served.append("a", &[("Counted", "1"), ("Counted", "2")]);
    let told = served.get("api/figures").json();
    assert_eq!((&told["totals"]["appends"], &told["totals"]["events"]), (&json!(1), &json!(2)));
    assert_eq!((&told["residents"], &told["driver"]["events"]), (&json!(1), &json!(2)));
    let about = served.get("api/about").json();
    assert_eq!((&about["title"], &about["has_log"]), (&json!("shop"), &json!(true)));
}

#[test]
fn a_stream_begins_with_the_past_and_goes_on_with_rates() {
    let served = Served::new(|inspector| inspector);
    let first = served.get("api/figures").json();
    assert_eq!(first["rates"], json!(null));
    let mut stream = served.stream("api/figures/live", &[]);
    let history = stream.next("history").unwrap();
    assert_eq!(history[0]["number"], first["number"]);
    served.append("a", &[("Counted", "1"), ("Counted", "2")]);
    // One of the next samples has the append between itself and the one before.
    let sample = std::iter::from_fn(|| stream.next("sample"))
        .find(|sample| sample["rates"]["events"].as_f64().unwrap() > 0.0)
        .unwrap();
    let events = sample["rates"]["events"].as_f64().unwrap() * sample["seconds"].as_f64().unwrap();
    assert!((events - 2.0).abs() < 0.001, "{sample}");
    assert_eq!(sample["appends_per_put"], 1.0);
    assert!(sample["put_ms"]["p99"].as_f64().unwrap() > 0.0, "{sample}");
}
