//! A history has the latest event first, what changed in the data, and, for types that were named,
//! the states.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use seriatim::{Aggregate, Context};

use crate::support::{Served, block_on};

fn column<'a>(answer: &'a Value, name: &str) -> Vec<&'a Value> {
    answer["events"].as_array().unwrap().iter().map(|event| &event[name]).collect()
}

#[test]
fn the_latest_event_is_first_and_earlier_ones_follow() {
    let served = Served::new(|inspector| inspector);
    for n in 1..=5 {
        served.append("a", &[("Counted", &format!(r#"{{"n":{n},"same":[1, 2]}}"#))]);
    }
    let page = served.get("api/aggregate?key=a&limit=2").json();
    assert_eq!((&page["latest"], &page["more"]), (&json!(5), &json!(true)));
    assert_eq!(column(&page, "sequence"), [5, 4]);
    assert_eq!(page["events"][0]["data"]["text"], r#"{"n":5,"same":[1, 2]}"#);
    // The last one of a page is compared with the first of the next.
    for (event, n) in page["events"].as_array().unwrap().iter().zip([5, 4]) {
        let change = json!({"path": "/n", "before": (n - 1).to_string(), "after": n.to_string()});
        assert_eq!(event["changes"]["changes"], json!([change]));
    }
    let rest = served.get("api/aggregate?key=a&limit=50&before=4").json();
    assert_eq!(
        (column(&rest, "sequence"), &rest["more"]),
        (vec![&json!(3), &json!(2), &json!(1)], &json!(false))
    );
    assert_eq!(rest["events"][2]["changes"], Value::Null);
    assert_eq!(column(&served.get("api/aggregate?key=a&before=1").json(), "sequence"), [0; 0]);
}

#[test]
fn an_event_is_told_whole() {
    let served = Served::new(|inspector| inspector);
    served.append("a", &[("First", "1"), ("Second", r#"{"n":9007199254740993}"#)]);
    let event = served.get("api/event?key=a&sequence=2").json();
    assert_eq!((&event["type"], &event["position"]), (&json!("Second"), &json!(2)));
    assert_eq!(event["data"]["text"], r#"{"n":9007199254740993}"#);
    assert_eq!(event["data"]["bytes"], 22);
    served.get("api/event?key=a&sequence=3").refused(404, "no such event");
}

#[derive(Default, Serialize, Deserialize)]
struct Account {
    balance: i64,
}

#[derive(Serialize, Deserialize)]
enum Event {
    Deposited { amount: i64 },
    Withdrawn { amount: i64 },
}

impl Aggregate for Account {
    const KIND: &'static str = "account";
    type Command = i64;
    type Event = Event;
    type Error = String;
    type Services = ();

    fn handle(&self, amount: &i64, _: &Context<'_>) -> Result<Vec<Event>, String> {
        Ok(vec![match *amount {
            amount if amount < 0 => Event::Withdrawn { amount: -amount },
            amount => Event::Deposited { amount },
        }])
    }

    fn apply(&mut self, event: &Event) {
        match *event {
            Event::Deposited { amount: 666 } => panic!("the bank's code fails"),
            Event::Deposited { amount } => self.balance += amount,
            Event::Withdrawn { amount } => self.balance -= amount,
        }
    }
}

#[test]
fn states_of_a_named_type_are_told() {
    let served = Served::new(|inspector| inspector.fold::<Account>());
    let accounts = served.store.entities::<Account>();
    for amount in [100, -30, 5] {
        block_on(accounts.execute("1", amount)).unwrap();
    }
    let page = served.get("api/aggregate?key=account/1&limit=2").json();
    let states: Vec<_> = column(&page, "state").into_iter().map(|s| &s["json"]["text"]).collect();
    assert_eq!(states, [r#"{"balance":75}"#, r#"{"balance":70}"#]);
    let changes = &page["events"][1]["state"]["changes"]["changes"];
    assert_eq!(*changes, json!([{"path": "/balance", "before": "100", "after": "70"}]));

    // Those of other types are not known, and not asked for.
    served.append("other/1", &[("Deposited", "{}")]);
    assert_eq!(served.get("api/aggregate?key=other/1").json()["events"][0]["state"], Value::Null);
    served.append("account", &[("Deposited", "{}")]);
    assert_eq!(served.get("api/aggregate?key=account").json()["events"][0]["state"], Value::Null);
}

#[test]
fn an_event_that_does_not_fit_the_type_is_told_and_harms_nothing() {
    let served = Served::new(|inspector| inspector.fold::<Account>());
    served.append("account/1", &[("Deposited", r#"{"amount":1}"#), ("Unheard", "{}")]);
    let page = served.get("api/aggregate?key=account/1").json();
    assert!(page["events"][0]["state"]["error"].as_str().unwrap().contains("event 2"));
    assert_eq!(page["events"][1]["state"]["json"]["text"], r#"{"balance":1}"#);

    served.append(
        "account/2",
        &[("Deposited", r#"{"amount":1}"#), ("Deposited", r#"{"amount":666}"#)],
    );
    let page = served.get("api/aggregate?key=account/2").json();
    assert!(page["events"][0]["state"]["error"].as_str().unwrap().contains("panicked on event 2"));
    assert_eq!(page["events"][1]["state"]["json"]["text"], r#"{"balance":1}"#);
}
