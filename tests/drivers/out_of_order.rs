//! A page whose sequences do not follow one another is damage, on every engine: whole records, in a
//! wrong order or with one missing.

use std::net::SocketAddr;

use futures::StreamExt;
use seriatim::driver::{Driver, DriverError, Fetch};

use super::{open, put};

/// Pages that no engine should give, by the numbers of the events in them.
const WRONG: [&[usize]; 4] = [&[1, 3], &[2, 1], &[1, 1], &[2, 3]];

/// The records of the first three events, as they are stored.
fn records() -> Vec<Vec<u8>> {
    let put = put(3);
    let record = |event: &seriatim::KeyedEvent| {
        let mut record = Vec::new();
        event.encode_record(&mut record);
        record
    };
    put.events().iter().map(record).collect()
}

async fn read(driver: &dyn Driver) -> Result<Vec<u64>, DriverError> {
    let mut pages = driver.fetch_events(&"account/1".parse().unwrap(), Fetch::ALL);
    let mut sequences = Vec::new();
    while let Some(page) = pages.next().await {
        sequences.extend(page?.iter().map(|event| event.sequence.get()));
    }
    Ok(sequences)
}

/// Opens stores of the server that hands out a page of these rows (a sequence, and the event's
/// record), and reads them.
async fn are_damage(serve: impl Fn(Vec<(usize, Vec<u8>)>) -> (SocketAddr, String)) {
    let records = records();
    let page = |numbers: &[usize]| -> Vec<(usize, Vec<u8>)> {
        numbers.iter().map(|&number| (number, records[number - 1].clone())).collect()
    };
    let (_, url) = serve(page(&[1, 2, 3]));
    assert_eq!(read(&*open(&url).await.unwrap()).await.unwrap(), [1, 2, 3]);
    for numbers in WRONG {
        let (_, url) = serve(page(numbers));
        let error = read(&*open(&url).await.unwrap()).await.unwrap_err();
        let Some(message) = (match &error {
            DriverError::Damaged { message, .. } => Some(message),
            _ => None,
        }) else {
            panic!("{numbers:?}: {error:?}");
        };
        assert!(message.contains("an event is missing"), "{numbers:?}: {message}");
    }
}

#[cfg(feature = "cassandra")]
#[tokio::test]
async fn cassandra() {
    use super::scripted::{Reply, cql_node};
    are_damage(|page| {
        let rows: Vec<Vec<cql_node::Value>> = page
            .into_iter()
            .map(|(number, record)| {
                vec![Some((number as i64).to_be_bytes().to_vec()), Some(record)]
            })
            .collect();
        let address = cql_node::serve(move |text| {
            let is_page = text.starts_with("SELECT s, r FROM");
            is_page.then(|| Reply::Answers(cql_node::rows(&["s", "r"], &rows)))
        });
        (address, format!("cassandra://{address}/bank"))
    })
    .await;
}

#[cfg(feature = "azure-tables")]
#[tokio::test]
async fn azure_tables() {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;

    use super::scripted::http::{answer, serve};
    are_damage(|page| {
        let rows: Vec<serde_json::Value> = page
            .into_iter()
            .map(|(number, record)| {
                let (key, record) = (format!("{number:020}"), BASE64_STANDARD.encode(record));
                serde_json::json!({ "PartitionKey": "account!s1", "RowKey": key, "r0": record })
            })
            .collect();
        let page = serde_json::json!({ "value": rows }).to_string();
        let address = serve(move |_| answer(200, page.clone()));
        (address, super::azure_tables::url(address, ""))
    })
    .await;
}

#[cfg(all(feature = "dynamodb", feature = "azure-tables"))]
#[tokio::test]
async fn dynamodb() {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;

    use super::scripted::http::{answer, serve};
    are_damage(|page| {
        let items: Vec<serde_json::Value> = page
            .into_iter()
            .map(|(number, record)| {
                let (number, record) = (number.to_string(), BASE64_STANDARD.encode(record));
                serde_json::json!({
                    "pk": { "S": "account/1" }, "seq": { "N": number }, "record": { "B": record },
                })
            })
            .collect();
        let page = serde_json::json!({ "Items": items }).to_string();
        let address = serve(move |request| match request.operation() {
            "Query" => answer(200, page.clone()),
            _ => super::dynamodb::table(""),
        });
        (address, super::dynamodb::url(address, ""))
    })
    .await;
}

#[cfg(feature = "mongodb")]
#[tokio::test]
async fn mongodb() {
    use mongodb::bson::{Binary, Bson, doc, spec::BinarySubtype};

    use super::scripted::Reply;
    use super::scripted::mongo::{cursor, serve};
    are_damage(|page| {
        // A document for each event.
        let documents: Vec<_> = page
            .into_iter()
            .map(|(number, bytes)| {
                let record = Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes });
                let number = number as i64;
                let event = doc! { "s": number, "t": "Tested", "r": record };
                let (first, last) = (number, number);
                doc! { "v": 1, "k": "account/1", "f": first, "l": last, "e": [event] }
            })
            .collect();
        let address = serve(doc! {}, move |name, _| match name {
            "find" => Some(Reply::Answers(cursor(documents.clone()))),
            _ => super::mongo::prepared(name),
        });
        (address, super::mongo::url(address, ""))
    })
    .await;
}
