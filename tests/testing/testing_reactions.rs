//! Given-when-then for reactions: what an event causes is compared, each event is delivered twice,
//! and a reaction that is not the same each time fails.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt;
use seriatim::subscription::Reaction;
use seriatim::testing::ReactionScenario;
use seriatim::{Append, KeyedEvent, NewEvent};

use crate::support::entities::{Account, Command};

fn arrived(key: &str) -> Append {
    Append::to(key).event(NewEvent::raw("Arrived", r#"{"coins":5}"#))
}

fn greeted() -> NewEvent {
    NewEvent::raw("Greeted", "{}")
}

fn greet(event: &KeyedEvent) -> Vec<Reaction> {
    match event.event_type() {
        "Arrived" => vec![
            Reaction::append(Append::to("greetings").event(greeted())),
            Reaction::command::<Account>("guests", Command::Deposit(5)),
        ],
        "Left" => vec![Reaction::command::<Account>("guests", Command::Withdraw(7))],
        _ => Vec::new(),
    }
}

/// The message of the panic with which the scenario ends.
async fn failure(scenario: impl Future<Output = impl Sized>) -> String {
    let ended = AssertUnwindSafe(scenario).catch_unwind().await;
    match ended {
        Ok(_) => panic!("the scenario does not fail"),
        Err(panic) => panic.downcast_ref::<String>().unwrap().clone(),
    }
}

#[tokio::test]
async fn what_an_event_causes_is_compared() {
    let deposited = NewEvent::raw("Deposited", r#"{"amount":5}"#);
    let scenario = ReactionScenario::given(greet).await.when(arrived("guest/ada")).await;
    let scenario = scenario.then("greetings", [greeted()]).await;
    let scenario = scenario.then("account/guests", [deposited]).await;
    let scenario = scenario.when(Append::to("guest/ada").event(greeted())).await;
    let scenario = scenario.then_nothing().await;
    let accounts = scenario.store().entities::<Account>();
    assert_eq!(accounts.state("guests").await.unwrap().state.balance, 5);
}

#[tokio::test]
async fn another_outcome_fails_the_scenario() {
    let scenario = || async { ReactionScenario::given(greet).await.when(arrived("a/1")).await };
    let other = failure(async { scenario().await.then("greetings", []).await }).await;
    assert!(other.contains("greetings Greeted {}"), "{other}");
    let other = failure(async {
        let event = NewEvent::raw("Greeted", r#"{"by":"Ada"}"#);
        scenario().await.then("greetings", [event]).await
    });
    assert!(other.await.contains("Ada"));
    let nothing = failure(async { scenario().await.then_nothing().await }).await;
    assert!(nothing.contains("account/guests"), "{nothing}");
}

#[tokio::test]
async fn an_event_that_fails_is_a_failure_and_what_was_before_is_not_reacted_to() {
    let left = || Append::to("guest/ada").event(NewEvent::raw("Left", "null"));
    let scenario = || async { ReactionScenario::given(greet).await.after(arrived("a/1")).await };
    let failed = scenario().await.when(left()).await.then_fails("only 0 is there").await;
    assert_eq!(failed.store().latest_sequence("greetings").await.unwrap(), 0);
    let untold = failure(async { scenario().await.when(left()).await.then_nothing().await }).await;
    assert!(untold.contains("only 0 is there"), "{untold}");
    let none = failure(async { scenario().await.when(arrived("a/1")).await.then_fails("x").await });
    assert!(none.await.contains("does not fail"));
}

#[tokio::test]
async fn a_reaction_that_changes_from_time_to_time_fails() {
    let calls = Arc::new(AtomicU64::new(0));
    let fickle = move |_: &KeyedEvent| {
        let call = calls.fetch_add(1, Ordering::SeqCst);
        Reaction::append(Append::to(format!("greetings/{call}")).event(greeted()))
    };
    let twice = failure(async { ReactionScenario::given(fickle).await.when(arrived("a/1")).await });
    let twice = twice.await;
    assert!(twice.contains("more") && twice.contains("greetings/1"), "{twice}");
}
