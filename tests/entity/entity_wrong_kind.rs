//! A kind belongs to the first type that asks for it: another one with the same kind is told so,
//! and changes nothing.

use crate::support::entities::{Account, Command, store_over};
use crate::support::{assert_says, history};
use serde::{Deserialize, Serialize};
use seriatim::driver::memory::MemoryDriver;
use seriatim::{Aggregate, Context, ExecuteError, LoadError, TransactError};

#[derive(Default, Serialize, Deserialize)]
struct Impostor;

#[derive(Debug, Serialize, Deserialize)]
enum Something {
    Happened,
}

impl Aggregate for Impostor {
    const KIND: &'static str = Account::KIND;
    type Command = ();
    type Event = Something;
    type Error = String;
    type Services = ();

    fn handle(&self, _: &(), _: &Context<'_>) -> Result<Vec<Something>, String> {
        Ok(vec![Something::Happened])
    }

    fn apply(&mut self, _: &Something) {}
}

#[tokio::test]
async fn another_type_of_the_same_kind_is_refused_everywhere() {
    let store = store_over(std::sync::Arc::new(MemoryDriver::new())).await;
    let accounts = store.entities::<Account>();
    accounts.execute("1", Command::Deposit(1)).await.unwrap();
    let impostors = store.clone().entities::<Impostor>();

    let executed = impostors.execute("1", ()).await.unwrap_err();
    let ExecuteError::Load(error @ LoadError::WrongKind { .. }) = &executed else {
        panic!("{executed}")
    };
    assert_says(error, &["account", "Account", "Impostor"]);
    assert!(impostors.execute("2", ()).await.is_err(), "of an entity without events, too");
    let loaded = impostors.state("1").await.map(drop).unwrap_err();
    assert!(matches!(loaded, LoadError::WrongKind { .. }), "{loaded}");
    let transacted = impostors
        .transact("1", |_| async { Ok::<_, String>(vec![Something::Happened]) })
        .await
        .unwrap_err();
    assert!(matches!(transacted, TransactError::Load(LoadError::WrongKind { .. })));

    assert_eq!(history(&store, "account/1").await.len(), 1);
    accounts.execute("1", Command::Withdraw(1)).await.unwrap();
    store.entities::<Account>().execute("1", Command::Deposit(1)).await.unwrap();
}

#[tokio::test]
async fn what_is_no_id_is_told_before_anything_is_sent() {
    let store = store_over(std::sync::Arc::new(MemoryDriver::new())).await;
    let accounts = store.entities::<Account>();
    for bad in ["a\nb".to_owned(), "x".repeat(600)] {
        let executed = accounts.execute(&bad, Command::Deposit(1)).await.unwrap_err();
        assert!(matches!(executed, ExecuteError::Load(LoadError::InvalidKey(_))), "{executed}");
        assert!(matches!(accounts.state(&bad).await, Err(LoadError::InvalidKey(_))));
        assert!(accounts.key(&bad).is_err());
    }
    assert_eq!(accounts.key("a/b").unwrap().as_str(), "account/a/b");
    assert_eq!(accounts.entity("1").key().unwrap().category(), Account::KIND);
    assert_eq!(store.resident(), 0);
}
