//! What a store holds never reaches a terminal as an instruction; a program gets it byte for byte.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use support::Folder;

/// JSON strings may hold all of these as they are, beside what must be escaped.
const HOSTILE: &[&str] = &[
    "\u{7f}DEL",
    "\u{9b}31mred by C1\u{9b}0m",
    "\u{9d}0;title\u{9c}",
    "\u{202e}evil\u{202c}",
    "\u{2066}isolate\u{2069}",
    "line\u{2028}separator",
    "\u{200b}\u{feff}invisible",
    "<script>alert(1)</script>",
    "שלום עולם",
    "مرحبا",
];

fn is_obeyed(c: char) -> bool {
    (c.is_control() && c != '\n')
        || "\u{202e}\u{202c}\u{2066}\u{2069}\u{2028}\u{200b}\u{feff}".contains(c)
}

#[test]
fn tables_and_messages_hold_no_character_that_a_terminal_obeys() {
    let folder = Folder::new();
    let data: Vec<String> = HOSTILE.iter().map(|text| format!("{{\"x\":\"{text}\"}}")).collect();
    let keys = ["plain/1", "שלום/1", "rtl\u{202e}/1", "<b>/1"];
    let appends: Vec<(&str, Vec<(&str, &str)>)> = keys
        .iter()
        .map(|key| {
            let events = data.iter().map(|data| ("T\u{202e}x", data.as_str())).collect();
            (*key, events)
        })
        .collect();
    let appends: Vec<(&str, &[(&str, &str)])> =
        appends.iter().map(|(key, events)| (*key, events.as_slice())).collect();
    folder.store("data", &appends);

    for arguments in [
        &["keys", "redb:data"][..],
        &["read", "redb:data", keys[2]],
        &["log", "redb:data"],
        &["log", "redb:data", "--full"],
    ] {
        let said = folder.run(&[arguments, &["--table"]].concat()).ok();
        assert!(!said.out.contains(is_obeyed), "{arguments:?}: {:?}", said.out);
        assert!(said.out.contains("\\u{202e}"), "{arguments:?}: {}", said.out);
    }
    let shown = folder.run(&["log", "redb:data", "--table"]).ok().out;
    assert!(shown.contains("שלום עולם") && shown.contains("<script>"), "{shown}");

    // Messages name keys, types and paths, which others chose.
    for said in [
        folder.run(&["read", "redb:data", "no\u{202e}ne"]),
        folder.run(&["stats", "redb:no\u{1b}[2Jne"]),
        folder.run(&["stats", "no\u{1b}[2Jne:x"]),
        folder.run(&["append", "redb:data", keys[2], "T", "--expect", "7"]),
        folder.run_with(&["import", "redb:data"], b"{\"key\":\"a\",\"\\u001b[2J\":1}\n"),
    ] {
        assert_ne!(said.code, 0);
        assert!(!said.err.contains(is_obeyed), "{:?}", said.err);
    }
}

#[test]
fn ndjson_has_the_content_byte_for_byte() {
    let folder = Folder::new();
    let data: Vec<String> = HOSTILE.iter().map(|text| format!("{{ \"x\":\"{text}\"}}")).collect();
    let events: Vec<(&str, &str)> = data.iter().map(|data| ("T", data.as_str())).collect();
    folder.store("data", &[("a", &events)]);
    let read = folder.run(&["read", "redb:data", "a"]).ok().out;
    assert_eq!(read.lines().count(), data.len());
    for data in data {
        assert!(read.contains(&format!("\"data\":{data},")), "{data:?}");
    }
}

/// `script` gives the program a terminal, which some machines cannot.
#[cfg(target_os = "linux")]
#[test]
fn on_a_terminal_even_ndjson_is_harmless_and_the_same_value() {
    use std::process::{Command, Stdio};

    let folder = Folder::new();
    folder.store("data", &[("a", &[("T", "{\"x\":\"\u{9b}31m\u{7f}\u{202e}\"}")])]);
    let in_terminal = |arguments: &str| {
        let line = format!("{} {arguments}", support::program().display());
        let output = Command::new("script")
            .args(["-qec", &line, "/dev/null"])
            .current_dir(folder.0.path())
            .stdin(Stdio::null())
            .output();
        output.ok().map(|output| String::from_utf8(output.stdout).unwrap())
    };
    let Some(json) = in_terminal("--json read redb:data a") else {
        // Without a terminal there is nothing to protect here; unit tests cover the escaping.
        return;
    };
    assert!(!json.contains(|c: char| is_obeyed(c) && c != '\r'), "{json:?}");
    let event: serde_json::Value = serde_json::from_str(json.trim()).expect(&json);
    assert_eq!(event["data"]["x"], "\u{9b}31m\u{7f}\u{202e}");

    let table = in_terminal("read redb:data a").unwrap();
    assert!(table.contains("\u{1b}[") && !table.contains('\u{9b}'), "{table:?}");
    let plain = in_terminal("read redb:data a | cat").unwrap();
    assert!(!plain.contains("\u{1b}["), "{plain:?}");
}
