//! The beginning of a connection in Cassandra's native protocol, version 4.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::{Reply, listen, wait_for_end};

pub const ERROR: u8 = 0x00;
pub const STARTUP: u8 = 0x01;
pub const READY: u8 = 0x02;
pub const AUTHENTICATE: u8 = 0x03;
pub const OPTIONS: u8 = 0x05;
pub const SUPPORTED: u8 = 0x06;
pub const AUTH_RESPONSE: u8 = 0x0f;

/// A frame's opcode and body.
pub type Frame = (u8, Vec<u8>);

/// A server that answers each request frame as the function says, by its opcode.
pub fn serve(answers: impl Fn(u8) -> Reply<Frame> + Clone + Send + 'static) -> SocketAddr {
    listen(move |stream: TcpStream| converse(stream, &answers))
}

/// The same over an encrypted or otherwise wrapped connection.
pub fn converse(stream: impl Read + Write, answers: &impl Fn(u8) -> Reply<Frame>) {
    exchange(stream, &|opcode, _| answers(opcode));
}

/// The same where the requests' bodies matter.
pub fn exchange(mut stream: impl Read + Write, answers: &impl Fn(u8, &[u8]) -> Reply<Frame>) {
    while let Some((stream_id, opcode, body)) = read(&mut stream) {
        let (opcode, body) = match answers(opcode, &body) {
            Reply::Answers(frame) => frame,
            Reply::HangsUp => return,
            Reply::Waits => return wait_for_end(stream),
        };
        let mut frame = vec![0x84, 0, stream_id[0], stream_id[1], opcode];
        frame.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
        frame.extend(body);
        if stream.write_all(&frame).and_then(|()| stream.flush()).is_err() {
            return;
        }
    }
}

/// No options at all.
pub fn supported() -> Frame {
    (SUPPORTED, vec![0, 0])
}

/// A user must say who it is.
pub fn authenticate() -> Frame {
    (AUTHENTICATE, string("org.apache.cassandra.auth.PasswordAuthenticator"))
}

pub fn error(code: i32, message: &str) -> Frame {
    (ERROR, [code.to_be_bytes().to_vec(), string(message)].concat())
}

pub fn string(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap().to_be_bytes();
    [&length, text.as_bytes()].concat()
}

/// The bytes at the beginning, whose length stands before them in `N` bytes.
pub fn bytes_of<const N: usize>(body: &[u8]) -> &[u8] {
    let length = body[..N].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    &body[N..N + length]
}

fn read(stream: &mut impl Read) -> Option<([u8; 2], u8, Vec<u8>)> {
    let mut header = [0; 9];
    stream.read_exact(&mut header).ok()?;
    let length = u32::from_be_bytes(header[5..9].try_into().unwrap());
    let mut body = vec![0; usize::try_from(length).ok()?];
    stream.read_exact(&mut body).ok()?;
    Some(([header[2], header[3]], header[4], body))
}
