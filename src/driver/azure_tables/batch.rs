//! A put as an entity group transaction, and what its answer says.

use super::failure::refused;
use super::row;
use super::service::{Service, TransactionBody};
use crate::driver::Put;
use crate::driver::remote::CallKind;
use crate::error::{DriverError, Limit, LimitExceeded};
use crate::event::Sequence;

/// The most of a transaction's body.
const BODY_BYTES: usize = 4 << 20;

/// The transaction that inserts the put's events and moves the head. The same put is always the
/// same bytes.
pub(super) fn of(service: &Service, put: &Put) -> Result<TransactionBody, DriverError> {
    let boundary = format!("batch_{}", put.id());
    let changes = format!("changeset_{}", put.id());
    let mut body =
        format!("--{boundary}\r\nContent-Type: multipart/mixed; boundary={changes}\r\n\r\n");
    let mut part = |method: &str, url: &str, row: row::Row| {
        body += &format!(
            "--{changes}\r\nContent-Type: application/http\r\n\
             Content-Transfer-Encoding: binary\r\n\r\n\
             {method} {url} HTTP/1.1\r\nContent-Type: application/json\r\n\
             Accept: application/json;odata=nometadata\r\nPrefer: return-no-content\r\n\
             DataServiceVersion: 3.0;\r\n\r\n{}\r\n",
            ascii(&serde_json::Value::Object(row).to_string())
        );
    };
    for event in put.events() {
        row::check_key(&event.key)?;
        part("POST", &service.table_url(), row::of_event(event));
    }
    if let Some(last) = put.events().last() {
        let head = service.row_url(&row::partition(&last.key), row::HEAD);
        part("PUT", &head, row::of_head(&last.key, last.sequence));
    }
    body += &format!("--{changes}--\r\n--{boundary}--\r\n");
    if body.len() > BODY_BYTES {
        return Err(LimitExceeded::new(Limit::BytesPerPut, BODY_BYTES, body.len()).into());
    }
    Ok(TransactionBody { boundary, body })
}

/// The same JSON in ASCII alone: a line break of Unicode's must not look like one of the
/// protocol's.
fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for char in json.chars() {
        if char.is_ascii() {
            out.push(char);
        } else {
            let mut units = [0; 2];
            out.extend(char.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    out
}

/// What the answers inside the transaction's answer say: it answers for every part, or for the one
/// that failed.
pub(super) fn verdict(service: &Service, put: &Put, answer: &str) -> Result<(), DriverError> {
    let doing = || service.doing("a transaction");
    let mut parts = answer.split("HTTP/1.1 ").skip(1).peekable();
    if parts.peek().is_none() {
        return Err(DriverError::unknown(format!("{}: an answer without answers", doing())));
    }
    for part in parts {
        let status = part.get(..3).and_then(|status| status.parse::<u16>().ok());
        let status = status.and_then(|status| reqwest::StatusCode::from_u16(status).ok());
        let Some(status) = status else {
            return Err(DriverError::unknown(format!("{}: an answer without a status", doing())));
        };
        if status.is_success() {
            continue;
        }
        if part.contains("EntityAlreadyExists")
            && let Some(first) = put.events().first()
        {
            let sequence = Sequence::new(first.sequence.get() + failed_part(part));
            return Err(DriverError::Conflict { key: first.key.clone(), sequence });
        }
        return Err(refused(CallKind::Write, &doing(), status, part));
    }
    Ok(())
}

/// Which part failed: its number stands before the message.
fn failed_part(answer: &str) -> u64 {
    let message = answer.split("\"value\":\"").nth(1).or_else(|| answer.split("<m:message").nth(1));
    let message = message.map(|text| text.split_once('>').map_or(text, |(_, behind)| behind));
    let number = message.and_then(|text| text.split(':').next()).and_then(|text| text.parse().ok());
    number.filter(|part| *part < 100).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use reqwest::Client;
    use uuid::Uuid;

    use super::*;
    use crate::driver::azure_tables::credential::Credential;
    use crate::event::{AggregateKey, NewEvent, Timestamp};

    fn service() -> Service {
        let key = Credential::Key(vec![7; 32]);
        Service::new(Client::new(), "ada".to_owned(), "http://h/ada", "events".to_owned(), key)
    }

    fn put() -> Put {
        let key = AggregateKey::new("account/1").unwrap();
        let event = |sequence: u64| {
            let event = NewEvent::raw("Deposited", "{}").check().unwrap();
            event.place(&key, Sequence::new(sequence), Uuid::new_v4(), Timestamp::from_micros(1))
        };
        Put::new((5..8).map(event).collect()).unwrap()
    }

    #[test]
    fn the_same_put_is_the_same_bytes_with_the_head_at_its_end() {
        let (service, put) = (service(), put());
        let batch = of(&service, &put).unwrap();
        assert_eq!(batch.body, of(&service, &put).unwrap().body);
        assert_eq!(batch.body.matches("POST http://h/ada/events HTTP/1.1").count(), 3);
        let head = batch.body.split("PUT ").nth(1).unwrap();
        assert!(head.contains(r#""latest":"7""#), "{head}");
    }

    #[test]
    fn any_text_is_the_same_text_in_ascii() {
        let text = "a\u{2028}b ☂ 𝄞 \"q\" é";
        let json = ascii(&serde_json::to_string(text).unwrap());
        assert!(json.is_ascii(), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }

    #[test]
    fn the_answers_inside_count() {
        let (service, put) = (service(), put());
        let inside = |answers: &str| {
            let body = format!("--b\r\nContent-Type: application/http\r\n\r\n{answers}\r\n--b--");
            verdict(&service, &put, &body)
        };
        inside("HTTP/1.1 204 No Content\r\n\r\n--c\r\n\r\nHTTP/1.1 204 No Content\r\n").unwrap();
        let taken = inside(
            "HTTP/1.1 409 Conflict\r\n\r\n{\"odata.error\":{\"code\":\"EntityAlreadyExists\",\
             \"message\":{\"lang\":\"en-US\",\"value\":\"1:The entity already exists.\"}}}",
        );
        let Err(DriverError::Conflict { sequence, .. }) = taken else { panic!("{taken:?}") };
        assert_eq!(sequence, Sequence::new(6));
        for (answer, open) in [
            ("HTTP/1.1 500 Internal Server Error\r\n\r\nOperationTimedOut", true),
            ("HTTP/1.1 503 Busy\r\n\r\nServerBusy", true),
            ("no answer at all", true),
            ("HTTP/1.1 400 Bad Request\r\n\r\nInvalidInput", false),
        ] {
            let error = inside(answer).unwrap_err();
            assert_eq!(error.may_have_been_written(), open, "{answer}: {error:?}");
        }
    }
}
