//! Unit tests: no bytes harm the reading of a snapshot; a refused one leaves the state as it was,
//! and one that is taken is written the same.

use std::convert::Infallible;
use std::sync::Arc;

use futures::executor::block_on;
use serde::{Deserialize, Serialize};

use super::setup::EntitySetup;
use super::state::Folded;
use super::{Aggregate, Context};
use crate::event::Sequence;
use crate::event::fuzzing::fuzz;
use crate::mailroom::BoxedState;
use crate::store::EventStore;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Basket {
    items: Vec<(String, u64)>,
    note: Option<String>,
}

#[derive(Serialize, Deserialize)]
enum BasketEvent {
    Emptied,
}

impl Aggregate for Basket {
    const KIND: &'static str = "basket";
    type Command = ();
    type Event = BasketEvent;
    type Error = Infallible;
    type Services = ();

    fn handle(&self, (): &(), _: &Context<'_>) -> Result<Vec<BasketEvent>, Infallible> {
        Ok(vec![BasketEvent::Emptied])
    }

    fn apply(&mut self, _: &BasketEvent) {
        *self = Basket::default();
    }
}

#[test]
fn fuzz_snapshot() {
    let store = block_on(EventStore::open("memory:")).unwrap();
    let setup = Arc::new(EntitySetup::<Basket>::of(&store));
    let state = Basket { items: vec![("tea".to_owned(), 2)], note: Some("☂".to_owned()) };
    let folded = |state, sequence| Folded::of(state, Sequence::new(sequence), setup.clone());
    let seed = |state: Basket| folded(state, 0).to_snapshot(Sequence::new(7)).unwrap().to_vec();
    fuzz("snapshot", [seed(state.clone()), seed(Basket::default())], |input| {
        let mut read = folded(state.clone(), 3);
        match read.restore(input) {
            Ok(sequence) => {
                assert_eq!(sequence, read.sequence);
                let again = read.to_snapshot(sequence).unwrap();
                let mut other = folded(Basket::default(), 0);
                assert_eq!(other.restore(&again), Ok(sequence));
                assert_eq!(other.state, read.state);
                "taken".to_owned()
            }
            Err(error) => {
                assert_eq!((&read.state, read.sequence), (&state, Sequence::new(3)));
                error.chars().filter(|c| !c.is_ascii_digit()).take(60).collect()
            }
        }
    });
    block_on(store.close()).unwrap();
}
