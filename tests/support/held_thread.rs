//! A command that holds its thread until the test lets it go.

use std::sync::Mutex;
use std::sync::mpsc;

use serde::{Deserialize, Serialize};
use seriatim::{Aggregate, Context, EventStore};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{DEADLINE, within};

#[derive(Default, Serialize, Deserialize)]
struct Holder;

struct Hold {
    begun: Mutex<Option<oneshot::Sender<()>>>,
    go_on: Mutex<mpsc::Receiver<()>>,
}

#[derive(Serialize, Deserialize)]
enum NoEvent {}

impl Aggregate for Holder {
    const KIND: &'static str = "holder";
    type Command = Hold;
    type Event = NoEvent;
    type Error = String;
    type Services = ();

    fn handle(&self, hold: &Hold, _: &Context<'_>) -> Result<Vec<NoEvent>, String> {
        if let Some(begun) = hold.begun.lock().unwrap().take() {
            begun.send(()).unwrap();
        }
        // Decided again, it finds the sender gone.
        let _ = hold.go_on.lock().unwrap().recv_timeout(DEADLINE);
        Ok(Vec::new())
    }

    fn apply(&mut self, _: &NoEvent) {}
}

/// The only thread of a store's actors, held: no actor runs, and no actor starts.
pub struct HeldThread {
    go_on: mpsc::Sender<()>,
    executing: JoinHandle<()>,
}

impl HeldThread {
    /// For a store with one arbiter.
    pub async fn of(store: &EventStore) -> Self {
        let ((begun, holds), (go_on, waits)) = (oneshot::channel(), mpsc::channel());
        let hold = Hold { begun: Mutex::new(Some(begun)), go_on: Mutex::new(waits) };
        let store = store.clone();
        let executing = tokio::spawn(async move {
            store.entities::<Holder>().execute("1", hold).await.unwrap();
        });
        within("the thread is held", holds).await.unwrap();
        HeldThread { go_on, executing }
    }

    pub async fn release(self) {
        drop(self.go_on);
        within("the thread is free", self.executing).await.unwrap();
    }
}
