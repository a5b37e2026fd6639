//! Whatever an event holds comes as JSON text, byte for byte.

use crate::support::{HOSTILE, Served, encoded};

#[test]
fn markup_scripts_and_turned_text_stay_what_they_are() {
    let served = Served::new(|inspector| inspector);
    let key = "<script>alert(1)</script>/\u{202e}\"'&";
    for (kind, data) in HOSTILE {
        served.append(key, &[(kind, data)]);
    }
    let answer = served.get(&format!("api/aggregate?key={}", encoded(key)));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    let page = answer.json();
    assert_eq!(page["key"], key);
    for (event, (kind, data)) in page["events"].as_array().unwrap().iter().rev().zip(HOSTILE) {
        assert_eq!(
            (event["type"].as_str(), event["data"]["text"].as_str()),
            (Some(kind), Some(data))
        );
    }
    assert_eq!(served.get("api/keys?prefix=%3Cscript").json()["keys"][0]["key"], key);
    assert_eq!(served.get("api/log").json()["events"].as_array().unwrap().len(), HOSTILE.len());
}

#[test]
fn what_a_request_says_is_not_answered_as_a_page() {
    let served = Served::new(|inspector| inspector);
    let asked = served.get("api/aggregate?key=%3Cscript%3Ealert(1)%3C/script%3E%00");
    asked.refused(400, "");
    assert_eq!(asked.header("content-type"), Some("application/json"));
}
