//! What is exported and imported is byte for byte the same, whatever it holds, and however often the
//! way was interrupted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::io::Write;

use proptest::collection::vec;
use proptest::prelude::*;
use seriatim::KeyedEvent;

use support::{Folder, line, read, signal};

fn export(folder: &Folder, store: &str) -> String {
    folder.run(&["export", &format!("redb:{store}")]).ok().out
}

#[track_caller]
fn imported(said: &support::Said, imported: u64, skipped: u64) {
    let expected = format!("{{\"imported\":{imported},\"skipped\":{skipped}}}\n");
    assert_eq!(said.out, expected, "{}", said.err);
}

/// Lines of `events` over a few keys, in log order.
fn lines(events: u64) -> String {
    let of = |n: u64| line(&format!("a/{}", n % 7), n / 7 + 1, &format!("{{\"n\": {n}}}"));
    let text: Vec<String> = (0..events).map(of).collect();
    // One clock for the whole log.
    let stamped = text.iter().enumerate().map(|(n, line)| {
        let (head, _) = line.split_once("\"recorded_at\"").unwrap();
        format!("{head}\"recorded_at\":\"2026-11-27T06:{:02}:00.{n:06}Z\"}}\n", n / 100_000)
    });
    stamped.collect()
}

/// The lines with positions, as an export of a store with a log has them.
fn positioned(lines: &str) -> String {
    let with = |(n, line): (usize, &str)| {
        format!("{},\"position\":{}}}\n", line.strip_suffix('}').unwrap(), n + 1)
    };
    lines.lines().enumerate().map(with).collect()
}

#[test]
fn export_writes_the_four_fields_and_the_rest_in_log_order() {
    let folder = Folder::new();
    folder.small_store("data");
    let text = export(&folder, "data");
    assert!(
        text.starts_with("{\"key\":\"account/1\",\"sequence\":1,\"type\":\"Opened\",\"data\":{")
    );
    let events: Vec<KeyedEvent> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let positions: Vec<u64> = events.iter().map(|e| e.position.unwrap().get()).collect();
    assert_eq!(positions, [1, 2, 3, 4, 5]);
    let prefix = folder.run(&["export", "redb:data", "--prefix", "account/1"]).ok();
    assert_eq!(prefix.lines().len(), 2);
    let from = folder.run(&["export", "redb:data", "--from", "4"]).ok();
    assert_eq!(from.lines().len(), 2);
    assert!(folder.run(&["export", "memory:"]).ok().out.is_empty());
}

#[test]
fn a_pipe_from_store_to_store_copies_it() {
    let folder = Folder::new();
    folder.small_store("data");
    let pipe = format!(
        "set -e; {0} export redb:data | {0} import redb:copy --create; \
         {0} export redb:copy | {0} import redb:data",
        support::program().display()
    );
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &pipe]).current_dir(folder.0.path());
    let said = support::Said::of(command.output().unwrap()).ok();
    assert_eq!(said.out, "{\"imported\":5,\"skipped\":0}\n{\"imported\":0,\"skipped\":5}\n");
    assert_eq!(export(&folder, "data"), export(&folder, "copy"));
    folder.run(&["verify", "redb:copy"]).ok();
    // Checks the input without a store.
    imported(&folder.run_with(&["import", "memory:"], export(&folder, "copy").as_bytes()), 5, 0);
}

/// Strings of JSON with escapes, control characters beyond ASCII, surrogates, and letters of all
/// kinds; white space, numbers that no float holds, deep nesting, repeated names.
fn json() -> impl Strategy<Value = String> {
    let string = vec(
        prop_oneof![
            any::<char>()
                .prop_filter("escaped in JSON", |c| *c >= ' ' && *c != '"' && *c != '\\')
                .prop_map(String::from),
            Just("\\u0000".to_owned()),
            Just("\\ud800".to_owned()),
            Just("\\n\\\\\\\"\\/".to_owned()),
            Just("\u{7f}\u{9b}\u{2028}\u{202e}\u{feff}".to_owned()),
        ],
        0..12,
    )
    .prop_map(|parts| format!("\"{}\"", parts.concat()));
    let leaf = prop_oneof![
        string,
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("-0".to_owned()),
        Just("1.50E+400".to_owned()),
        Just("123456789012345678901234567890.000".to_owned()),
        (1usize..600).prop_map(|depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth))),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|items| format!("[ {}]", items.join(" ,\t"))),
            vec(inner, 0..4).prop_map(|items| {
                let fields: Vec<String> =
                    items.iter().map(|value| format!("\"same\" :{value}")).collect();
                format!("{{{} }}", fields.join(","))
            }),
        ]
    })
}

#[derive(Debug, Clone)]
struct Odd {
    key: String,
    kind: String,
    data: String,
    metadata: Option<String>,
    version: u16,
    commit: u128,
    id: Option<u128>,
    later_micros: u32,
}

fn odd() -> impl Strategy<Value = Odd> {
    let text = |length| {
        vec(any::<char>().prop_filter("no control", |c| !c.is_control()), 1..length)
            .prop_map(String::from_iter)
    };
    let key = prop_oneof![Just("a".to_owned()), Just("שלום/1".to_owned()), text(8)];
    (
        key,
        text(20),
        json(),
        proptest::option::of(json()),
        any::<u16>(),
        any::<u128>(),
        proptest::option::of(any::<u128>()),
        any::<u32>(),
    )
        .prop_map(|(key, kind, data, metadata, version, commit, id, later_micros)| Odd {
            key,
            kind,
            data,
            metadata: metadata.map(|json| format!("{{\"m\":{json}}}")),
            version,
            commit,
            id,
            later_micros,
        })
}

/// As `serde_json` writes a string, which is how an export has it.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

/// The exported form of these events in one log.
fn exported(events: &[Odd]) -> String {
    let mut sequences = std::collections::HashMap::new();
    let mut micros = 1_700_000_000_000_000;
    let mut text = String::new();
    for (position, event) in events.iter().enumerate() {
        let sequence = sequences.entry(&event.key).and_modify(|s| *s += 1).or_insert(1);
        micros += i64::from(event.later_micros % 1_000);
        let id = |id: u128| uuid::Uuid::from_u128(id);
        text += &format!(
            "{{\"key\":{},\"sequence\":{sequence},\"type\":{},\"data\":{},\"version\":{}",
            quoted(&event.key),
            quoted(&event.kind),
            event.data,
            event.version
        );
        if let Some(metadata) = &event.metadata {
            text += &format!(",\"metadata\":{metadata}");
        }
        if let Some(event_id) = event.id {
            text += &format!(",\"event_id\":\"{}\"", id(event_id));
        }
        text += &format!(
            ",\"commit_id\":\"{}\",\"recorded_at\":\"{}\",\"position\":{}}}\n",
            id(event.commit),
            seriatim::Timestamp::from_micros(micros),
            position + 1
        );
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    /// The input is made as text, so that no code of this project stands on both sides.
    #[test]
    fn odd_content_comes_back_byte_for_byte(events in vec(odd(), 1..40)) {
        let folder = Folder::new();
        let text = exported(&events);
        let said = folder.run_with(&["import", "redb:one", "--create"], text.as_bytes()).ok();
        imported(&said, events.len() as u64, 0);
        let one = export(&folder, "one");
        prop_assert_eq!(&one, &text);
        fs::write(folder.path("one.ndjson"), &one).unwrap();
        folder.run(&["import", "redb:two", "one.ndjson", "--create"]).ok();
        imported(&folder.run(&["import", "redb:two", "one.ndjson"]).ok(), 0, events.len() as u64);
        prop_assert_eq!(export(&folder, "two"), text);
    }
}

#[test]
fn an_import_that_was_cut_off_is_resumed_by_running_it_again() {
    let folder = Folder::new();
    let text = positioned(&lines(20_000));
    let whole = text.as_bytes();
    let half = &whole[..whole.len() / 2];
    let there = half.iter().filter(|byte| **byte == b'\n').count() as u64;
    let cut_off = format!("line {}", there + 1);
    folder
        .run_with(&["import", "redb:copy", "--create"], half)
        .fails(11, &[&cut_off, "the input ends within it", "run the same command again"]);
    imported(&folder.run_with(&["import", "redb:copy"], whole).ok(), 20_000 - there, there);
    assert_eq!(export(&folder, "copy"), text);
}

#[test]
fn a_killed_import_is_resumed_by_running_it_again() {
    let folder = Folder::new();
    let text = positioned(&lines(30_000));
    fs::write(folder.path("all.ndjson"), &text).unwrap();
    let whole = text.as_bytes();
    for killed_at in [whole.len() / 3, whole.len() * 2 / 3] {
        let mut child = folder.start(&["import", "redb:copy", "--create"]);
        child.stdin.take().unwrap().write_all(&whole[..killed_at]).unwrap();
        signal(&child, "-KILL");
        child.wait().unwrap();
    }
    let said = folder.run(&["import", "redb:copy", "all.ndjson", "--create"]).ok().json();
    let total = said["imported"].as_u64().unwrap() + said["skipped"].as_u64().unwrap();
    assert_eq!(total, 30_000);
    assert_eq!(export(&folder, "copy"), text);
    folder.run(&["verify", "redb:copy"]).ok();
}

#[test]
fn an_export_into_a_file_is_resumed_behind_its_last_whole_line() {
    let folder = Folder::new();
    let text = positioned(&lines(5_000));
    folder.run_with(&["import", "redb:data", "--create"], text.as_bytes()).ok();
    let file = folder.path("out.ndjson");
    let arguments = ["export", "redb:data", "-o", "out.ndjson", "--resume"];
    for cut in [0, 10, text.len() / 2, text.len() - 1, text.len()] {
        fs::write(&file, &text[..cut]).unwrap();
        folder.run(&arguments).ok();
        assert_eq!(read(&file), text, "cut at {cut}");
    }
    folder.run(&["append", "redb:data", "new", "T"]).ok();
    assert_eq!(folder.run(&arguments).ok().out, "{\"exported\":1}\n");
    assert_eq!(read(&file), export(&folder, "data"));

    folder.run(&["export", "redb:data", "-o", "out.ndjson"]).fails(2, &["not empty", "--resume"]);
    folder.small_store("other");
    folder
        .run(&["export", "redb:other", "-o", "out.ndjson", "--resume"])
        .fails(4, &["not this store's"]);
    fs::write(&file, "notes\n").unwrap();
    folder.run(&arguments).fails(11, &["the last line is no event"]);
    assert_eq!(read(&file), "notes\n");
}

#[test]
fn other_content_under_the_same_sequence_is_a_conflict_that_is_named() {
    let folder = Folder::new();
    let good = [line("a", 1, "1"), line("a", 2, "2"), line("a", 3, "3")].join("\n");
    folder.run_with(&["import", "redb:data", "--create"], good.as_bytes()).ok();
    for (from, to, told) in [
        ("\"data\":2", "\"data\":2.0", "data differ"),
        ("\"type\":\"T\",\"data\":2", "\"type\":\"U\",\"data\":2", "type differ"),
        ("\"data\":2,\"version\":1", "\"data\":2,\"version\":2", "version differ"),
        ("\"data\":2,", "\"data\":2,\"metadata\":{},", "metadata differ"),
        ("000000000002\",", "000000000009\",", "commit id"),
        (".000002Z", ".000007Z", "time differ"),
    ] {
        let other = good.replace(from, to);
        assert_ne!(other, good);
        let said = folder.run_with(&["import", "redb:data"], other.as_bytes());
        said.fails(4, &["line 2, a at sequence 2", "the store has another event there", told]);
    }
    // Twice in one input.
    let twice = [&good, &line("b", 1, "1"), &line("b", 1, "2")].map(String::as_str).join("\n");
    folder
        .run_with(&["import", "redb:data", "--adjust-times"], twice.as_bytes())
        .fails(4, &["line 5, b at sequence 1"]);
    let twice = [&good, &good, ""].map(|part| part).map(str::to_owned).join("\n");
    imported(&folder.run_with(&["import", "redb:data"], twice.as_bytes()).ok(), 0, 6);
}

#[test]
fn what_is_no_event_is_named_by_its_line_and_nothing_behind_it_is_written() {
    let folder = Folder::new();
    let good = line("a", 1, "1");
    for (bad, told) in [
        ("{\"key\":\"a\"}".to_owned(), "line 2: it is no event: missing field"),
        ("not json".to_owned(), "line 2: it is no event: expected"),
        (line("a", 2, "1").replace("\"data\"", "\"extra\":0,\"data\""), "unknown field `extra`"),
        (line("a", 3, "1"), "line 2, a at sequence 3: it does not follow 1"),
        (line("b", 2, "1"), "line 2, b at sequence 2: it does not follow 0"),
        (line("", 1, "1"), "must not be empty"),
        (line("a", 2, "1").replace("2026-11", "2026-13"), "is not an RFC 3339 time"),
        (line("a", 2, &format!("\"{}\"", "x".repeat(9 << 20))), "over the store's"),
    ] {
        let folder = Folder::new();
        let text = format!("{good}\n{bad}\n{}\n", line("c", 1, "1"));
        let said = folder.run_with(&["import", "redb:data", "--create"], text.as_bytes());
        said.fails(11, &[told]);
        let stats = folder.run(&["stats", "redb:data"]).ok().json();
        assert!(stats["events"].as_u64() <= Some(1), "{told}");
    }
    folder.run(&["import", "memory:", "nosuch"]).fails(3, &["nosuch: No such file"]);
    folder.run(&["import", "memory:", "."]).fails(2, &["is a directory"]);
    imported(&folder.run_with(&["import", "memory:"], b"").ok(), 0, 0);
    imported(&folder.run_with(&["import", "memory:"], b"\xef\xbb\xbf\r\n\n").ok(), 0, 0);
    let windows = format!("\u{feff}{good}\r\n");
    imported(&folder.run_with(&["import", "memory:"], windows.as_bytes()).ok(), 1, 0);
}

#[test]
fn input_without_positions_is_sorted_by_time() {
    let folder = Folder::new();
    let text = lines(9_000);
    let mut by_key: Vec<&str> = text.lines().collect();
    // As a store without a log exports: key by key.
    by_key.sort_by_key(|line| line.split(',').next().unwrap().to_owned());
    let by_key = by_key.join("\n");
    folder.run_with(&["import", "redb:copy", "--create"], by_key.as_bytes()).ok();
    assert_eq!(export(&folder, "copy"), positioned(&text));
    imported(&folder.run_with(&["import", "redb:copy"], by_key.as_bytes()).ok(), 0, 9_000);
}

#[test]
fn a_time_that_a_log_cannot_keep_is_refused_unless_it_may_be_later() {
    let folder = Folder::new();
    let at = |key: &str, sequence, second: u32| {
        let text = line(key, sequence, "1");
        let (head, _) = text.split_once("\"recorded_at\"").unwrap();
        format!("{head}\"recorded_at\":\"2026-11-27T06:00:{second:02}.000000Z\"}}")
    };
    // Within one key a clock went back, which only a store without a log can hold.
    let text = [at("a", 1, 5), at("a", 2, 3), at("b", 1, 9)].join("\n");
    let import = ["import", "redb:data", "--create"];
    folder.run_with(&import, text.as_bytes()).fails(4, &["a at sequence 2", "--adjust-times"]);
    let adjusted = [&import[..], &["--adjust-times"]].concat();
    folder.run_with(&adjusted, text.as_bytes()).ok();
    imported(&folder.run_with(&adjusted, text.as_bytes()).ok(), 0, 3);
    let stored = export(&folder, "data");
    let times: Vec<bool> = ["05.000000Z", "05.000000Z", "09.000000Z"]
        .iter()
        .zip(stored.lines())
        .map(|(t, l)| l.contains(t))
        .collect();
    assert_eq!(times, [true, true, true], "{stored}");
}
