//! A kind that is empty or has a `/`, and an empty id, make keys that belong to another kind or to
//! nobody. They are refused before anything is sent.

use crate::support::assert_says;
use crate::support::entities::{Account, Command};
use serde::{Deserialize, Serialize};
use seriatim::{Aggregate, Context, EventStore, ExecuteError, LoadError, Reaction, TransactError};

#[derive(Debug, Serialize, Deserialize)]
enum Happened {
    Happened,
}

macro_rules! aggregate {
    ($name:ident, $kind:literal) => {
        #[derive(Debug, Default, Serialize, Deserialize)]
        struct $name;

        impl Aggregate for $name {
            const KIND: &'static str = $kind;
            type Command = ();
            type Event = Happened;
            type Error = String;
            type Services = ();

            fn handle(&self, _: &(), _: &Context<'_>) -> Result<Vec<Happened>, String> {
                Ok(vec![Happened::Happened])
            }

            fn apply(&mut self, _: &Happened) {}
        }
    };
}

aggregate!(Slash, "account/1");
aggregate!(Nameless, "");
aggregate!(Control, "a\nb");

async fn refused<A: Aggregate<Command = ()> + std::fmt::Debug>(words: &[&str])
where
    A::Error: std::fmt::Debug + std::fmt::Display,
    A::Event: std::fmt::Debug,
{
    let store = EventStore::open("memory:").await.unwrap();
    let entities = store.entities::<A>();
    let executed = entities.execute("2", ()).await.unwrap_err();
    assert!(matches!(executed, ExecuteError::Load(LoadError::InvalidKey(_))), "{executed}");
    assert_says(&executed, words);
    assert!(entities.state("2").await.is_err());
    assert!(entities.key("2").is_err());
    assert_eq!(store.resident(), 0);
}

#[tokio::test]
async fn a_kind_that_is_no_category_is_refused() {
    refused::<Slash>(&["account/1", "/"]).await;
    refused::<Nameless>(&["kind", "empty"]).await;
    refused::<Control>(&["control"]).await;
}

#[tokio::test]
async fn an_empty_id_is_refused_everywhere() {
    let store = EventStore::open("memory:").await.unwrap();
    let accounts = store.entities::<Account>();
    let executed = accounts.execute("", Command::Deposit(1)).await.unwrap_err();
    assert!(matches!(executed, ExecuteError::Load(LoadError::InvalidKey(_))), "{executed}");
    assert_says(&executed, &["id", "empty"]);
    let decide = |_| async { Ok::<_, String>(vec![]) };
    let transacted = accounts.transact("", decide).await.unwrap_err();
    assert!(matches!(transacted, TransactError::Load(LoadError::InvalidKey(_))));
    assert!(accounts.key("").is_err());
    assert!(accounts.state("").await.is_err());
    assert!(accounts.entity("").state().await.is_err());
    let reaction = format!("{:?}", Reaction::command::<Account>("", Command::Deposit(1)));
    assert!(reaction.contains("Err"), "{reaction}");
    assert_eq!(store.resident(), 0);
}
