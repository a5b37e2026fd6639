//! A node of Cassandra's that a client can open a session with: alone in its cluster, without
//! users, with whatever keyspaces and tables it is asked for. It takes every write, and has no
//! rows, unless the test says otherwise.

use std::net::SocketAddr;

use super::cql::{self, ERROR, Frame, OPTIONS, READY, STARTUP, bytes_of, error, string};
use super::{Reply, listen};

const QUERY: u8 = 0x07;
const RESULT: u8 = 0x08;
const PREPARE: u8 = 0x09;
const EXECUTE: u8 = 0x0a;
const REGISTER: u8 = 0x0b;
const BATCH: u8 = 0x0d;

const INVALID: i32 = 0x2200;

/// A value of a row; `None` is null.
pub type Value = Option<Vec<u8>>;

/// A node that answers each statement that is executed as the function says, by its text (a batch
/// by that of its first statement), and as a node without events does where it says `None`.
pub fn serve(
    answers: impl Fn(&str) -> Option<Reply<Frame>> + Clone + Send + 'static,
) -> SocketAddr {
    listen(move |stream| {
        cql::exchange(stream, &|opcode, body| answer(opcode, body, &answers));
    })
}

fn answer(
    opcode: u8,
    body: &[u8],
    answers: &impl Fn(&str) -> Option<Reply<Frame>>,
) -> Reply<Frame> {
    // A prepared statement's id is its text.
    let text = match opcode {
        OPTIONS => return Reply::Answers(cql::supported()),
        STARTUP | REGISTER => return Reply::Answers((READY, Vec::new())),
        PREPARE | QUERY => bytes_of::<4>(body),
        EXECUTE => bytes_of::<2>(body),
        // Its kind, how many statements, and of the first whether it is prepared.
        BATCH => bytes_of::<2>(&body[4..]),
        _ => return Reply::Answers(error(0x000a, "not spoken here")),
    };
    let text = String::from_utf8(text.to_vec()).unwrap();
    // Tables of ScyllaDB's own.
    if text.contains("system_schema.scylla_") {
        return Reply::Answers(error(INVALID, "unconfigured table"));
    }
    if opcode == PREPARE {
        return Reply::Answers(prepared(&text));
    }
    answers(&text).unwrap_or_else(|| Reply::Answers(unless_told(&text)))
}

fn unless_told(text: &str) -> Frame {
    if text.contains("FROM system.local") {
        let tokens = [&1_i32.to_be_bytes()[..], &1_i32.to_be_bytes(), b"0"].concat();
        let local = [&[7; 16][..], &[127, 0, 0, 1], b"dc1", b"rack1", &tokens, b"cluster"];
        return rows(&columns(text), &[local.map(|value| Some(value.to_vec())).to_vec()]);
    }
    if text.starts_with("INSERT") {
        return rows(&["[applied]"], &[vec![Some(vec![1])]]);
    }
    rows(&columns(text), &[])
}

/// The answer to a query: rows of these columns.
pub fn rows(columns: &[&str], rows: &[Vec<Value>]) -> Frame {
    let mut body = 2_i32.to_be_bytes().to_vec();
    body.extend(metadata(columns, false));
    body.extend(count(rows.len()));
    for value in rows.iter().flatten() {
        match value {
            None => body.extend((-1_i32).to_be_bytes()),
            Some(value) => {
                body.extend(count(value.len()));
                body.extend(value);
            }
        }
    }
    (RESULT, body)
}

/// The error answer of a replica set that is too small: `Unavailable` at serial consistency.
pub fn unavailable() -> Frame {
    let (code, body) = error(0x1000, "too few replicas are alive");
    assert_eq!(code, ERROR);
    // The consistency, how many it needs, how many are alive.
    let details = [&[0, 8][..], &2_i32.to_be_bytes(), &1_i32.to_be_bytes()].concat();
    (code, [body, details].concat())
}

/// The error answer of a Paxos round that did not end in time.
pub fn write_timeout() -> Frame {
    let (code, body) = error(0x1100, "the round did not end");
    // The consistency, how many answered and how many it needs, the kind.
    let details = [&[0, 8][..], &1_i32.to_be_bytes(), &2_i32.to_be_bytes(), &string("CAS")];
    (code, [body, details.concat()].concat())
}

fn prepared(text: &str) -> Frame {
    let mut body = 4_i32.to_be_bytes().to_vec();
    body.extend(string(text));
    body.extend(metadata(&values(text), true));
    body.extend(metadata(&columns(text), false));
    (RESULT, body)
}

/// Columns as an answer describes them, each of the type that its name has here.
fn metadata(columns: &[&str], of_values: bool) -> Vec<u8> {
    let mut metadata = 1_i32.to_be_bytes().to_vec();
    metadata.extend(count(columns.len()));
    if of_values {
        // No partition key is told, so any node will do.
        metadata.extend(0_i32.to_be_bytes());
    }
    metadata.extend([string("bank"), string("events")].concat());
    for name in columns {
        metadata.extend(string(name));
        metadata.extend(type_of(name));
    }
    metadata
}

fn type_of(column: &str) -> Vec<u8> {
    const TEXT: [u8; 2] = [0, 0x0d];
    let list_of_texts = || [&[0, 0x22][..], &TEXT].concat();
    match column {
        "s" => vec![0, 0x02],
        "r" | "b" => vec![0, 0x03],
        "[applied]" | "durable_writes" => vec![0, 0x04],
        "[limit]" | "position" => vec![0, 0x09],
        "p" | "c" | "host_id" | "schema_version" => vec![0, 0x0c],
        "rpc_address" => vec![0, 0x10],
        "replication" => [&[0, 0x21][..], &TEXT, &TEXT].concat(),
        "tokens" => list_of_texts(),
        "field_names" | "field_types" => [&[0, 0x20][..], &TEXT].concat(),
        _ => TEXT.to_vec(),
    }
}

/// The columns that a query answers with.
fn columns(text: &str) -> Vec<&str> {
    let Some((columns, _)) = text.strip_prefix("SELECT ").and_then(|t| t.split_once(" FROM "))
    else {
        return Vec::new();
    };
    let columns = columns.strip_prefix("DISTINCT ").unwrap_or(columns);
    columns.split(',').map(str::trim).collect()
}

/// The columns that a statement has values for.
fn values(text: &str) -> Vec<&str> {
    if let Some((_, behind)) = text.split_once('(').filter(|_| text.starts_with("INSERT")) {
        let names = behind.split(')').next().unwrap();
        return names.split(',').map(str::trim).collect();
    }
    let before_each = text.split('?').map(str::trim_end);
    let mut names: Vec<&str> = before_each
        .map(|before| match before.trim_end_matches(['=', '<', '>', ' ']) {
            before if before.ends_with("LIMIT") => "[limit]",
            before if before.ends_with("token(") => "k",
            before => before.rsplit(' ').next().unwrap(),
        })
        .collect();
    // What stands behind the last one is for none.
    names.pop();
    names
}

fn count(of: usize) -> [u8; 4] {
    i32::try_from(of).unwrap().to_be_bytes()
}
