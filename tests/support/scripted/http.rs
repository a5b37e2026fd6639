//! HTTP/1.1 with bodies of a known length.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use super::{Reply, listen, wait_for_end};

#[derive(Clone, Debug, Default)]
pub struct Request {
    pub method: String,
    /// With its query.
    pub path: String,
    /// Each in lower case, `name: value`.
    pub headers: Vec<String>,
    pub body: String,
}

impl Request {
    /// The operation of a DynamoDB request, such as `PutItem`.
    pub fn operation(&self) -> &str {
        let target = self.headers.iter().find_map(|h| h.strip_prefix("x-amz-target: "));
        let name = target.and_then(|target| target.rsplit('.').next()).unwrap_or_default();
        OPERATIONS.iter().find(|known| known.eq_ignore_ascii_case(name)).copied().unwrap_or("")
    }
}

const OPERATIONS: [&str; 7] =
    ["DescribeTable", "CreateTable", "GetItem", "PutItem", "Query", "Scan", "TransactWriteItems"];

/// A status, headers and a body.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

pub fn answer(status: u16, body: impl Into<String>) -> Reply<Response> {
    Reply::Answers(Response { status, headers: Vec::new(), body: body.into() })
}

/// A server that answers every request as the function says; it listens until the process ends.
pub fn serve(answers: impl Fn(&Request) -> Reply<Response> + Clone + Send + 'static) -> SocketAddr {
    listen(move |mut stream: TcpStream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Some(request) = read(&mut reader) {
            let response = match answers(&request) {
                Reply::Answers(response) => response,
                Reply::HangsUp => return,
                Reply::Waits => return wait_for_end(stream),
            };
            let mut head = format!("HTTP/1.1 {} Said\r\n", response.status);
            for (name, value) in &response.headers {
                head += &format!("{name}: {value}\r\n");
            }
            if response.status != 204 {
                head += &format!("content-length: {}\r\n", response.body.len());
            }
            let whole = format!("{head}\r\n{}", response.body);
            if stream.write_all(whole.as_bytes()).is_err() {
                return;
            }
        }
    })
}

fn read(reader: &mut impl BufRead) -> Option<Request> {
    let mut request = Request::default();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim();
        if line.is_empty() {
            break;
        }
        if request.method.is_empty() {
            let mut words = line.split(' ').map(str::to_owned);
            request.method = words.next()?;
            request.path = words.next()?;
            continue;
        }
        let line = line.to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        request.headers.push(line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    request.body = String::from_utf8_lossy(&body).into_owned();
    Some(request)
}
