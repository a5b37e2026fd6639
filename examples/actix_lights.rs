//! An actix application over a store: an actor of the application's own decides on commands, and hears
//! of what happened, by messages alone.
//!
//! ```sh
//! cargo run --example actix_lights
//! ```

#![allow(clippy::print_stdout, missing_docs)]

use actix::prelude::*;
use serde::{Deserialize, Serialize};
use seriatim::actors::{Execute, LoadState, Observed, StoreActor, push};
use seriatim::{Aggregate, Context as Decision, EventStore, ExecuteError};

/// A lamp that is switched at most ten times: then it is burnt out.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Lamp {
    is_on: bool,
    switched: u32,
}

#[derive(Debug, Serialize, Deserialize)]
enum Switched {
    On,
    Off,
}

#[derive(Debug, thiserror::Error)]
#[error("the lamp is burnt out")]
struct BurntOut;

impl Aggregate for Lamp {
    const KIND: &'static str = "lamp";
    /// Presses the switch.
    type Command = ();
    type Event = Switched;
    type Error = BurntOut;
    type Services = ();

    fn handle(&self, (): &(), _: &Decision<'_>) -> Result<Vec<Switched>, BurntOut> {
        match self.switched {
            10.. => Err(BurntOut),
            _ if self.is_on => Ok(vec![Switched::Off]),
            _ => Ok(vec![Switched::On]),
        }
    }

    fn apply(&mut self, event: &Switched) {
        self.is_on = matches!(event, Switched::On);
        self.switched += 1;
    }
}

/// Counts what happened to all lamps.
#[derive(Default)]
struct Meter {
    switched_on: u32,
}

impl Actor for Meter {
    type Context = Context<Self>;
}

impl Handler<Observed> for Meter {
    type Result = ();

    fn handle(&mut self, Observed(event): Observed, _: &mut Self::Context) {
        if let Ok(Switched::On) = event.decode() {
            self.switched_on += 1;
            println!("{} is on, for the {}. time of all lamps", event.key, self.switched_on);
        }
    }
}

/// Presses a switch until the lamp is burnt out.
struct Child {
    store: Addr<StoreActor>,
}

impl Actor for Child {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "Result<u32, String>")]
struct Play {
    lamp: &'static str,
}

impl Handler<Play> for Child {
    type Result = ResponseFuture<Result<u32, String>>;

    fn handle(&mut self, Play { lamp }: Play, _: &mut Self::Context) -> Self::Result {
        let store = self.store.clone();
        Box::pin(async move {
            for presses in 0.. {
                let pressed = store.send(Execute::<Lamp>::new(lamp, ())).await;
                match pressed.map_err(|error| error.to_string())? {
                    Ok(_) => {}
                    Err(ExecuteError::Rejected(BurntOut)) => return Ok(presses),
                    Err(error) => return Err(error.to_string()),
                }
            }
            Ok(0)
        })
    }
}

#[actix::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let events = EventStore::open("memory:").await?;
    let pushing = actix::spawn(push(events.subscribe(), Meter::default().start().recipient()));
    let store = StoreActor::new(events.clone()).start();

    // Two children at one lamp, and one at another. Commands queue, so no press is lost.
    let child = || Child { store: store.clone() }.start();
    let (first, second, third) = (child(), child(), child());
    let hall = async {
        let at_once =
            tokio::join!(first.send(Play { lamp: "hall" }), second.send(Play { lamp: "hall" }));
        Ok::<_, Box<dyn std::error::Error>>(at_once.0?? + at_once.1??)
    };
    println!("the hall's switch was pressed {} times", hall.await?);
    println!("the attic's switch was pressed {} times", third.send(Play { lamp: "attic" }).await??);

    let lamp = store.send(LoadState::<Lamp>::of("hall")).await??;
    println!("after {} events the hall's lamp is on: {}", lamp.sequence, lamp.state.is_on);
    events.close().await?;
    pushing.await??;
    Ok(())
}
