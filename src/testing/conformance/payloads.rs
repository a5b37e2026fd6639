//! What must come back byte for byte, and limits that hold to the byte.

use uuid::Uuid;

use super::harness::Checked;
use super::support::{Bench, done, new_event, put_of, read, same, told, write};
use crate::driver::{DriverError, Fetch, Limit};
use crate::event::{AggregateKey, KeyedEvent, NewEvent, Sequence, Timestamp};

fn placed(key: &AggregateKey, sequence: u64, event: NewEvent) -> Result<KeyedEvent, String> {
    let event = event.check().map_err(|e| format!("the suite's own event is not one: {e}"))?;
    Ok(event.place(key, Sequence::new(sequence), Uuid::now_v7(), Timestamp::now()))
}

pub(super) async fn json_comes_back_byte_for_byte(bench: &Bench<'_>) -> Checked {
    let driver = bench.open().await?;
    let key = bench.key("")?;
    let deep = format!("{}1{}", "[".repeat(120), "]".repeat(120));
    let payloads = [
        "{}",
        "[]",
        "null",
        "true",
        "0",
        "\"\"",
        "-0",
        "-0.0",
        "1.0",
        "1.10",
        "1e2",
        "1E+2",
        "1e-400",
        "9007199254740993",
        "-9223372036854775809",
        "18446744073709551616",
        "0.1000000000000000055511",
        "123456789012345678901234567890.123456789012345678901234567890",
        "{\"b\":1,\"a\":2,\"b\":3}",
        "{ \"spaced\" :  [ 1 ,2 ] }",
        "\"\\u00e4\\ud83d\\ude00\\n\\/\\\"\"",
        "\"\u{e4}\u{1f600}\u{2028}\"",
        "\"\\ud800\"",
        "{\"\":{\"$oid\":\"x\",\"$numberLong\":\"1\"}}",
        "{\"a.b\":1,\"$c\":2}",
        &deep,
    ];
    for (index, payload) in payloads.iter().enumerate() {
        let event = NewEvent::raw("Tested", (*payload).to_owned());
        write(&*driver, vec![placed(&key, index as u64 + 1, event)?]).await?;
    }
    let found = read(&*driver, &key, Fetch::ALL).await?;
    let found: Vec<&str> = found.iter().map(|event| event.data.as_str()).collect();
    for (found, wanted) in found.iter().zip(&payloads) {
        same("data", found, wanted)?;
    }
    same("events", &found.len(), &payloads.len())?;
    done(driver).await
}

pub(super) async fn everything_about_an_event_comes_back(bench: &Bench<'_>) -> Checked {
    let driver = bench.open().await?;
    let key = bench.key("")?;
    let long_type = "t".repeat(crate::event::MAX_EVENT_TYPE_BYTES);
    let events = [
        NewEvent::raw("Plain", "{}"),
        NewEvent::raw("Full", "1")
            .version(u16::MAX)
            .id(Uuid::from_u128(u128::MAX))
            .raw_metadata("{\"correlation_id\":\"\u{e4}\",\"n\":9007199254740993, \"x\": {} }"),
        NewEvent::raw("With an id", "{}").id(Uuid::nil()).version(0),
        NewEvent::raw("\u{1f600} / # ? \\ %", "{}").raw_metadata("{}"),
        NewEvent::raw(&long_type, "{}"),
    ];
    let mut written = Vec::new();
    for (index, event) in events.into_iter().enumerate() {
        let mut event = placed(&key, index as u64 + 1, event)?;
        // Later than anything before it, so that a driver with a log has nothing to raise.
        event.recorded_at = Timestamp::from_micros(4_102_444_800_123_456 + index as i64);
        write(&*driver, vec![event.clone()]).await?;
        written.push(event);
    }
    let mut found = read(&*driver, &key, Fetch::ALL).await?;
    for event in &mut found {
        event.position = None;
    }
    same("events", &found, &written)?;
    done(driver).await
}

pub(super) async fn limits_hold_to_the_byte(bench: &Bench<'_>) -> Checked {
    let driver = bench.open().await?;
    let limits = driver.limits();
    let key = bench.key("")?;
    // A string of the length that makes the event as large as it may be.
    let sized = |sequence: u64, bytes: usize| -> Result<KeyedEvent, String> {
        let around = new_event("\"\"")?.size_bytes(&key);
        let text = "x".repeat(bytes.saturating_sub(around));
        placed(&key, sequence, NewEvent::raw("Tested", format!("\"{text}\"")))
    };
    let refused = |limit: Limit, seen: Result<_, DriverError>| match seen {
        Err(DriverError::LimitExceeded(exceeded)) if exceeded.limit == limit => Ok(()),
        Err(other) => Err(format!("one over the limit of {limit}: {other:?}")),
        Ok(_) => Err(format!("one over the limit of {limit} was written")),
    };
    let largest = limits.bytes_per_event.min(limits.bytes_per_put);
    let over = driver.put_events(put_of(vec![sized(1, largest + 1)?])?).await;
    let limit = match limits.bytes_per_event <= limits.bytes_per_put {
        true if largest + 1 > limits.bytes_per_put => Limit::BytesPerPut,
        true => Limit::BytesPerEvent,
        false => Limit::BytesPerPut,
    };
    refused(limit, over)?;
    for (sequence, bytes) in [(1, largest - 1), (2, largest)] {
        let event = sized(sequence, bytes)?;
        write(&*driver, vec![event.clone()]).await?;
        let found = read(&*driver, &key, Fetch::ALL.after(Sequence::new(sequence - 1))).await?;
        let same_data = found.first().is_some_and(|found| found.data == event.data);
        same(&format!("whether {bytes} bytes came back"), &same_data, &true)?;
    }
    let many = limits.events_per_put.min(20_000);
    let key = bench.key("many")?;
    if many == limits.events_per_put {
        let over = super::support::events(&key, 1, many as u64 + 1)?;
        refused(Limit::EventsPerPut, driver.put_events(put_of(over)?).await)?;
        let full = super::support::events(&key, 1, many as u64)?;
        write(&*driver, full).await?;
        let latest = driver.latest_sequence(&key).await.map_err(told("latest_sequence"))?;
        same("events of the largest put", &latest.get(), &(many as u64))?;
    }
    done(driver).await
}
