//! `inspect` serves a page and its data until Ctrl-C, to this machine or to who has the token.

#![cfg(feature = "inspect")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Child;

use serde_json::Value;
use support::{Folder, PATIENCE, Said, interrupt};

/// Starts it, and reads what it says first.
fn start(folder: &Folder, arguments: &[&str]) -> (Child, Value) {
    let mut child = folder.start(arguments);
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    (child, serde_json::from_str(&line).expect(&line))
}

fn get(url: &str, path: &str, header: &str) -> (u16, String) {
    let address = url.strip_prefix("http://").unwrap().split('/').next().unwrap();
    let mut stream = TcpStream::connect(address.replace("0.0.0.0", "127.0.0.1")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request =
        format!("GET /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{header}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn end(child: Child) -> Said {
    interrupt(&child);
    Said::of(child.wait_with_output().unwrap())
}

#[test]
fn this_machine_is_answered_until_ctrl_c() {
    let folder = Folder::new();
    folder.small_store("data");
    let (child, served) = start(&folder, &["inspect", "redb:data", "--listen", "127.0.0.1:0"]);
    assert_eq!(served.as_object().unwrap().len(), 1, "{served}");
    let url = served["url"].as_str().unwrap();
    assert!(get(url, "", "").1.contains("<!doctype html>"));
    let keys: Value = serde_json::from_str(&get(url, "api/keys", "").1).unwrap();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 3);
    let about: Value = serde_json::from_str(&get(url, "api/about", "").1).unwrap();
    assert_eq!(about["title"], "redb:data");
    // An open stream holds up nothing.
    let address = url.strip_prefix("http://").unwrap().trim_end_matches('/');
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /api/log/live HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    end(child).ok();
    folder.run(&["verify", "redb:data"]).ok();
}

#[test]
fn others_need_the_token() {
    let folder = Folder::new();
    folder.small_store("data");
    let (child, served) = start(&folder, &["inspect", "redb:data", "--listen", "0.0.0.0:0"]);
    let (url, token) = (served["url"].as_str().unwrap(), served["token"].as_str().unwrap());
    assert!(token.len() == 64 && url.ends_with(&format!("/#token={token}")), "{served}");
    assert_eq!(get(url, "api/keys", "").0, 401);
    assert_eq!(get(url, "api/keys", &format!("Authorization: Bearer {token}\r\n")).0, 200);
    end(child).ok();

    let own = "abcdefgh-01234567";
    let arguments = ["inspect", "redb:data", "--listen", "127.0.0.1:0", "--token", own];
    let (child, served) = start(&folder, &arguments);
    let url = served["url"].as_str().unwrap();
    assert_eq!(get(url, "api/keys", "").0, 401);
    assert_eq!(get(url, "api/keys", &format!("Authorization: Bearer {own}\r\n")).0, 200);
    end(child).ok();
}

#[test]
fn wrong_use_is_explained() {
    let folder = Folder::new();
    folder.small_store("data");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let run = |arguments: &[&str]| folder.run(&[&["inspect"], arguments].concat());
    run(&["redb:data", "--listen", &taken]).fails(7, &[&taken, "--listen"]);
    run(&["redb:data", "--listen", "203.0.113.1:0"]).fails(7, &["203.0.113.1"]);
    run(&["redb:data", "--listen", "nowhere"]).fails(2, &["--listen"]);
    run(&["redb:data", "--token", "short"]).fails(2, &["16"]);
    run(&["redb:none", "--listen", "127.0.0.1:0"]).fails(3, &["no store"]);
    run(&["data"]).fails(2, &["redb:data"]);
}
