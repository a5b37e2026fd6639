//! Aggregates are found by prefix, page by page, with their latest events.

use serde_json::{Value, json};

use crate::support::{Served, encoded};

fn keys(answer: &Value) -> Vec<&str> {
    answer["keys"].as_array().unwrap().iter().map(|key| key["key"].as_str().unwrap()).collect()
}

#[test]
fn by_prefix_and_behind_a_key() {
    let served = Served::new(|inspector| inspector);
    for key in ["account/1", "account/2", "account/3", "order/1"] {
        served.append(key, &[("Opened", "{}"), ("Closed", "{}")]);
    }
    let all = served.get("api/keys").json();
    assert_eq!(keys(&all), ["account/1", "account/2", "account/3", "order/1"]);
    let first = &all["keys"][0];
    assert_eq!((&first["sequence"], &first["type"]), (&json!(2), &json!("Closed")));

    let page = served.get("api/keys?prefix=account/&limit=2").json();
    assert_eq!((keys(&page), &page["more"]), (vec!["account/1", "account/2"], &json!(true)));
    let after = encoded("account/2");
    let rest = served.get(&format!("api/keys?prefix=account/&limit=2&after={after}")).json();
    assert_eq!((keys(&rest), &rest["more"]), (vec!["account/3"], &json!(false)));
    assert!(keys(&served.get("api/keys?prefix=none").json()).is_empty());
}

#[test]
fn a_senseless_question_is_refused() {
    let served = Served::new(|inspector| inspector);
    served.get("api/keys?after=").refused(400, "key");
    served.get("api/keys?limit=many").refused(400, "");
    served.get("api/aggregate").refused(400, "key");
    served.get("api/aggregate?key=").refused(400, "key");
    served.get("api/aggregate?key=none").refused(404, "no such aggregate");
    served.get("api/event?key=none&sequence=1").refused(404, "no such event");
    served.get("api/nothing").refused(404, "nothing here");
}

#[test]
fn a_closed_store_is_told() {
    let served = Served::new(|inspector| inspector);
    crate::support::block_on(served.store.close()).unwrap();
    served.get("api/keys").refused(503, "closed");
    served.get("api/log").refused(503, "closed");
    served.get("api/consumers").refused(503, "closed");
    assert_eq!(served.get("api/figures").status, 200);
}
