//! Unit tests: no bytes harm the records of a consumer, and what is read is written the same.

use super::checkpoint::{ConsumerCheckpoint, StoredNames, StoredParked};
use crate::event::fuzzing::fuzz;
use serde::Serialize;
use serde::de::DeserializeOwned;

fn reads_back<T: Serialize + DeserializeOwned>(input: &[u8]) -> String {
    match serde_json::from_slice::<T>(input) {
        Ok(record) => {
            let text = serde_json::to_string(&record).unwrap();
            let again: T = serde_json::from_str(&text).unwrap();
            assert_eq!(serde_json::to_string(&again).unwrap(), text);
            "taken".to_owned()
        }
        Err(error) => error.to_string().chars().filter(|c| !c.is_ascii_digit()).take(60).collect(),
    }
}

#[test]
fn fuzz_checkpoint() {
    let seeds = [
        r#"{"version":1,"position":17,"begin":3,"projection":true}"#,
        r#"{"version":1,"names":["mailer","ledger"]}"#,
        r#"{"version":1,"aggregates":[{"key":"a/1","sequence":2,"position":9,"reason":"no"}]}"#,
    ];
    fuzz("checkpoint", seeds.map(|seed| seed.as_bytes().to_vec()), |input| {
        (
            reads_back::<ConsumerCheckpoint>(input),
            reads_back::<StoredParked>(input),
            reads_back::<StoredNames>(input),
        )
    });
}
