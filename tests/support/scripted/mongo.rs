//! MongoDB's wire protocol: `OP_MSG`, and the `OP_QUERY` that a client greets with.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use mongodb::bson::{Bson, Document, doc};

use super::{Reply, listen, wait_for_end};

const OP_REPLY: i32 = 1;
const OP_QUERY: i32 = 2_004;
const OP_MSG: i32 = 2_013;

/// A server that greets as `hello` says beside what every server says, answers commands as the
/// function says (by name and whole), and agrees to whatever the function leaves with `None`.
pub fn serve(
    hello: Document,
    answers: impl Fn(&str, &Document) -> Option<Reply<Document>> + Clone + Send + 'static,
) -> SocketAddr {
    listen(move |stream: TcpStream| converse(stream, &hello, &answers))
}

/// The same over an encrypted or otherwise wrapped connection.
pub fn converse(
    mut stream: impl Read + Write,
    hello: &Document,
    answers: &impl Fn(&str, &Document) -> Option<Reply<Document>>,
) {
    while let Some((id, op, command)) = read(&mut stream) {
        let name = command.keys().next().cloned().unwrap_or_default();
        let greets = ["hello", "ismaster"].contains(&name.to_ascii_lowercase().as_str());
        let reply = match answers(&name, &command) {
            Some(reply) => reply,
            None if greets => Reply::Answers(greeting(hello)),
            None => Reply::Answers(doc! { "ok": 1.0 }),
        };
        let document = match reply {
            Reply::Answers(document) => document,
            Reply::HangsUp => return,
            Reply::Waits => return wait_for_end(stream),
        };
        if write(&mut stream, id, op, &document).is_none() {
            return;
        }
    }
}

fn greeting(more: &Document) -> Document {
    let mut greeting = doc! {
        "ok": 1.0, "helloOk": true, "isWritablePrimary": true, "ismaster": true,
        "minWireVersion": 0, "maxWireVersion": 21, "maxBsonObjectSize": 16 << 20,
        "maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 100_000, "readOnly": false,
    };
    greeting.extend(more.clone());
    greeting
}

/// A cursor that has these documents and no more.
pub fn cursor(documents: Vec<Document>) -> Document {
    let batch: Vec<Bson> = documents.into_iter().map(Bson::from).collect();
    doc! { "ok": 1.0, "cursor": { "id": 0_i64, "ns": "bank.events", "firstBatch": batch } }
}

/// A write that was refused with this code.
pub fn write_error(code: i32, message: &str) -> Document {
    doc! { "ok": 1.0, "n": 0, "writeErrors": [{ "index": 0, "code": code, "errmsg": message }] }
}

/// A command that was refused with this code.
pub fn command_error(code: i32, name: &str) -> Document {
    doc! { "ok": 0.0, "code": code, "codeName": name, "errmsg": name }
}

/// The indexes that the driver makes.
pub fn good_indexes() -> Vec<Document> {
    vec![
        doc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" },
        doc! { "v": 2, "key": { "k": 1, "e.s": 1 }, "name": "k_1_e.s_1", "unique": true },
        doc! { "v": 2, "key": { "k": 1, "f": 1 }, "name": "k_1_f_1", "unique": true },
    ]
}

fn read(stream: &mut impl Read) -> Option<(i32, i32, Document)> {
    let mut header = [0; 16];
    stream.read_exact(&mut header).ok()?;
    let number = |at: usize| i32::from_le_bytes(header[at..at + 4].try_into().unwrap());
    let (length, id, op) = (number(0), number(4), number(12));
    let mut body = vec![0; usize::try_from(length).ok()? - 16];
    stream.read_exact(&mut body).ok()?;
    let command = match op {
        OP_MSG => sections(&body[4..])?,
        OP_QUERY => {
            // Flags, a name that ends with 0, two numbers, the query.
            let end = body[4..].iter().position(|&byte| byte == 0)? + 5;
            Document::from_reader(&body[end + 8..]).ok()?
        }
        other => panic!("operation {other}"),
    };
    Some((id, op, command))
}

/// The command of an `OP_MSG`, with what its other sections hold as arrays in it.
fn sections(mut rest: &[u8]) -> Option<Document> {
    let mut command = Document::new();
    while let Some((&kind, behind)) = rest.split_first() {
        let size = usize::try_from(i32::from_le_bytes(behind.get(..4)?.try_into().ok()?)).ok()?;
        let (section, next) = behind.split_at_checked(size)?;
        if kind == 0 {
            let more = std::mem::take(&mut command);
            command = Document::from_reader(section).ok()?;
            command.extend(more);
        } else {
            let section = &section[4..];
            let end = section.iter().position(|&byte| byte == 0)?;
            let name = std::str::from_utf8(&section[..end]).ok()?;
            let (mut documents, mut at) = (Vec::new(), &section[end + 1..]);
            while !at.is_empty() {
                documents.push(Bson::from(Document::from_reader(&mut at).ok()?));
            }
            command.insert(name, documents);
        }
        rest = next;
    }
    Some(command)
}

fn write(stream: &mut impl Write, to: i32, op: i32, document: &Document) -> Option<()> {
    let mut bytes = Vec::new();
    document.to_writer(&mut bytes).ok()?;
    let (op, head): (i32, Vec<u8>) = match op {
        // Flags; section of kind 0.
        OP_MSG => (OP_MSG, vec![0, 0, 0, 0, 0]),
        // Flags, cursor, first number, count of documents.
        _ => (OP_REPLY, [vec![0; 16], 1_i32.to_le_bytes().to_vec()].concat()),
    };
    let length = i32::try_from(16 + head.len() + bytes.len()).ok()?;
    let numbers = [length, 1, to, op].map(i32::to_le_bytes).concat();
    stream.write_all(&[numbers, head, bytes].concat()).and_then(|()| stream.flush()).ok()
}
