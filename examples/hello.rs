//! The smallest application: an account that is opened, used, and read back.

use serde_json::json;
use seriatim::{Append, EventStore, Expected, NewEvent};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = EventStore::open("redb:./hello-data").await?;

    if !store.exists("account/1").await? {
        let opened = NewEvent::new("Opened", &json!({ "owner": "Ada" }));
        let deposited = NewEvent::new("Deposited", &json!({ "amount": 50 }));
        let both = Append::to("account/1").expect(Expected::NoEvents).events([opened, deposited]);
        store.append(both).await?;
    }

    // Somebody who has not seen the deposit yet.
    let withdrawn = NewEvent::new("Withdrawn", &json!({ "amount": 80 }));
    if let Err(conflict) = store.append(Append::to("account/1").expect(1).event(withdrawn)).await {
        println!("{conflict}");
    }

    for event in store.read("account/1").collect().await? {
        println!("{} {} {}", event.sequence, event.event_type(), event.data);
    }
    store.close().await?;
    Ok(())
}
