//! Given-when-then: what holds passes, and what does not fails with a difference that can be read,
//! at the line of the scenario that said it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::support::entities::{Account, Command, Event, Overdrawn};
use serde::{Deserialize, Serialize};
use seriatim::testing::Scenario;
use seriatim::{Aggregate, Context};

const DEPOSITED: Event = Event::Deposited { amount: 50 };

/// What a scenario that must fail says.
fn failure(scenario: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(scenario)).expect_err("the scenario did not fail");
    panic.downcast_ref::<String>().expect("a message").clone()
}

#[test]
fn what_holds_passes_step_by_step() {
    Scenario::<Account>::given([DEPOSITED, Event::Withdrawn { amount: 20 }])
        .when(Command::Withdraw(31))
        .then_error(Overdrawn { balance: 30 })
        .when(Command::Withdraw(30))
        .then_events([Event::Withdrawn { amount: 30 }])
        .when(Command::Look)
        .then_nothing()
        .when(Command::Withdraw(1))
        .then_error(Overdrawn { balance: 0 })
        .then_state(&Account { balance: 0, events: 3 });
    let fresh = Scenario::<Account>::given([]).when(Command::Withdraw(1)).into_result();
    assert_eq!(fresh, Err(Overdrawn { balance: 0 }));
}

#[test]
fn other_events_than_expected_are_shown_line_by_line() {
    let message = failure(|| {
        let _ = Scenario::<Account>::given([DEPOSITED])
            .when(Command::Withdraw(20))
            .then_events([Event::Withdrawn { amount: 30 }]);
    });
    let expected = "account: other events than expected (- expected, + actual)

  Withdrawn {
-   \"amount\": 30
+   \"amount\": 20
  }
";
    assert_eq!(message, expected);
}

#[test]
fn missing_and_superfluous_events_are_shown() {
    let message = failure(|| {
        let _ = Scenario::<Account>::given([])
            .when(Command::Deposit(50))
            .then_events([Event::Cursed, DEPOSITED]);
    });
    assert!(
        message.ends_with("- Cursed null\n  Deposited {\n    \"amount\": 50\n  }\n"),
        "{message}"
    );
    let message = failure(|| {
        let _ = Scenario::<Account>::given([]).when(Command::Deposit(1)).then_nothing();
    });
    assert!(message.contains("- nothing\n+ Deposited {"), "{message}");
}

#[test]
fn a_rejection_where_events_are_expected_says_the_error() {
    let message = failure(|| {
        let _ = Scenario::<Account>::given([])
            .when(Command::Withdraw(1))
            .then_events([Event::Withdrawn { amount: 1 }]);
    });
    let expected = "account: the command was rejected with Overdrawn {
    balance: 0,
}

expected:
Withdrawn {
  \"amount\": 1
}";
    assert_eq!(message, expected);
}

#[test]
fn another_error_or_none_is_shown() {
    let message = failure(|| {
        let _ = Scenario::<Account>::given([DEPOSITED])
            .when(Command::Withdraw(60))
            .then_error(Overdrawn { balance: 40 });
    });
    assert!(message.starts_with("account: another error than expected"), "{message}");
    assert!(message.contains("-     balance: 40,\n+     balance: 50,"), "{message}");
    let message = failure(|| {
        let _ = Scenario::<Account>::given([DEPOSITED])
            .when(Command::Withdraw(50))
            .then_error(Overdrawn { balance: 50 });
    });
    assert!(message.starts_with("account: the command was not rejected with Over"), "{message}");
    assert!(message.ends_with("decided:\nWithdrawn {\n  \"amount\": 50\n}"), "{message}");
}

#[test]
fn another_state_is_shown() {
    let message = failure(|| {
        let _ =
            Scenario::<Account>::given([DEPOSITED]).then_state(&Account { balance: 5, events: 1 });
    });
    assert!(
        message.contains("-   \"balance\": 5,\n+   \"balance\": 50,\n    \"events\": 1"),
        "{message}"
    );
}

#[test]
fn a_failure_names_the_line_of_the_scenario() {
    use std::sync::{Arc, Mutex};
    let place = Arc::new(Mutex::new(None));
    let seen = place.clone();
    let hook = std::panic::take_hook();
    let this_thread = std::thread::current().id();
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().id() == this_thread {
            let location = panic.location().unwrap();
            *seen.lock().unwrap() = Some((location.file().to_owned(), location.line()));
        }
    }));
    let line = line!() + 2;
    failure(|| {
        let _ = Scenario::<Account>::given([]).when(Command::Deposit(1)).then_nothing();
    });
    std::panic::set_hook(hook);
    let expected = (file!().to_owned(), line);
    assert_eq!(place.lock().unwrap().take(), Some(expected));
}

/// Events of which some cannot be stored, and some not be read back.
#[derive(Default, Serialize, Deserialize)]
struct Odd;

#[derive(Debug, Serialize, Deserialize)]
enum OddEvent {
    #[serde(serialize_with = "refuse")]
    Unwritable(u8),
    #[serde(rename(serialize = "written", deserialize = "read"))]
    Renamed {
        by: u8,
    },
    NotANumber(f64),
}

fn refuse<S: serde::Serializer>(_: &u8, _: S) -> Result<S::Ok, S::Error> {
    Err(serde::ser::Error::custom("not today"))
}

impl Aggregate for Odd {
    const KIND: &'static str = "odd";
    type Command = u8;
    type Event = OddEvent;
    type Error = String;
    type Services = ();

    fn handle(&self, command: &u8, _: &Context<'_>) -> Result<Vec<OddEvent>, String> {
        Ok(vec![OddEvent::Renamed { by: *command }])
    }

    fn apply(&mut self, _: &OddEvent) {}
}

#[test]
fn an_event_that_cannot_be_stored_or_read_back_fails_the_scenario() {
    let given = |event| {
        failure(|| {
            let _ = Scenario::<Odd>::given([event]);
        })
    };
    let unwritable = given(OddEvent::Unwritable(1));
    assert!(unwritable.contains("odd: event 1 cannot be stored: "), "{unwritable}");
    assert!(unwritable.contains("not today"), "{unwritable}");
    let renamed = given(OddEvent::Renamed { by: 1 });
    assert!(renamed.contains("odd: event 1 cannot be read back: "), "{renamed}");
    assert!(renamed.contains("written {"), "{renamed}");
    assert!(given(OddEvent::NotANumber(f64::NAN)).contains("JSON has no number NaN"));

    let decided = failure(|| {
        let _ = Scenario::<Odd>::given([]).when(2).then_events([]);
    });
    assert!(decided.contains("event 1 cannot be read back"), "{decided}");
}
