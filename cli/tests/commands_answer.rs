//! Each command's answer on a store in a directory, and on memory where that makes sense.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use support::Folder;

fn small() -> Folder {
    let folder = Folder::new();
    folder.small_store("data");
    folder
}

#[test]
fn keys_lists_aggregates_in_byte_order_with_their_latest_event() {
    let folder = small();
    let keys = folder.run(&["keys", "redb:data"]).ok().lines();
    let shown: Vec<_> = keys.iter().map(|k| (k["key"].as_str().unwrap(), &k["sequence"])).collect();
    assert_eq!(
        format!("{shown:?}"),
        r#"[("account/1", Number(2)), ("account/2", Number(1)), ("order/7", Number(2))]"#
    );
    assert_eq!(keys[0]["type"], "Deposited");
    assert!(keys[0]["recorded_at"].as_str().unwrap().ends_with('Z'));

    let only = |arguments: &[&str]| -> Vec<String> {
        let said = folder.run(&[&["keys", "redb:data"], arguments].concat()).ok();
        said.lines().iter().map(|k| k["key"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(only(&["account/"]), ["account/1", "account/2"]);
    assert_eq!(only(&["--after", "account/1"]), ["account/2", "order/7"]);
    assert_eq!(only(&["--limit", "1"]), ["account/1"]);
    let names = folder.run(&["keys", "redb:data", "order", "--names-only"]).ok();
    assert_eq!(names.out, "{\"key\":\"order/7\"}\n");
}

#[test]
fn read_shows_an_aggregate_as_it_was_written() {
    let folder = small();
    let events = folder.run(&["read", "redb:data", "order/7"]).ok();
    assert!(events.out.contains(r#""data":{"n":9007199254740993},"#), "{}", events.out);
    assert!(events.out.contains(r#""data":[1, 2],"#), "{}", events.out);
    let sequences = |arguments: &[&str]| -> Vec<u64> {
        let said = folder.run(&[&["read", "redb:data", "order/7"], arguments].concat()).ok();
        said.lines().iter().map(|e| e["sequence"].as_u64().unwrap()).collect()
    };
    assert_eq!(sequences(&[]), [1, 2]);
    assert_eq!(sequences(&["--backwards"]), [2, 1]);
    assert_eq!(sequences(&["--from", "2"]), [2]);
    assert_eq!(sequences(&["--from", "1", "--backwards"]), [1]);
    assert_eq!(sequences(&["--limit", "1"]), [1]);
    let behind = folder.run(&["read", "redb:data", "order/7", "--from", "9"]).ok();
    assert!(behind.out.is_empty() && behind.err.contains("the latest sequence of order/7 is 2"));
}

#[test]
fn log_shows_the_whole_store_in_commit_order() {
    let folder = small();
    let positions = |arguments: &[&str]| -> Vec<u64> {
        let said = folder.run(&[&["log", "redb:data"], arguments].concat()).ok();
        said.lines().iter().map(|e| e["position"].as_u64().unwrap()).collect()
    };
    assert_eq!(positions(&[]), [1, 2, 3, 4, 5]);
    assert_eq!(positions(&["--from", "2", "--to", "4"]), [2, 3, 4]);
    assert_eq!(positions(&["--from", "2", "--to", "4", "--backwards"]), [4, 3, 2]);
    assert_eq!(positions(&["--category", "account"]), [1, 2, 3]);
    assert_eq!(positions(&["--prefix", "o"]), [4, 5]);
    assert_eq!(positions(&["--type", "Opened", "--type", "Paid"]), [1, 2, 5]);
    assert_eq!(positions(&["--limit", "2"]), [1, 2]);
    assert!(positions(&["--to", "2000-01-01T00:00:00Z"]).is_empty());
    assert_eq!(positions(&["--from", "2000-01-01T00:00:00Z"]), [1, 2, 3, 4, 5]);
}

#[test]
fn append_answers_with_what_was_written_and_repeats_with_a_commit_id() {
    let folder = Folder::new();
    let id = "0190163d-8694-739b-aea5-966c26f8ad91";
    let append = ["append", "redb:data", "a/1", "Opened", "{\"x\": 1}", "--commit-id", id];
    let first = folder.run(&[&append[..], &["--create", "--expect", "none"]].concat()).ok().json();
    assert_eq!(first["last"], 1);
    assert_eq!(first["commit_id"], id);
    assert_eq!(first["repeated"], false);
    let again = folder.run(&[&append[..], &["--expect", "none"]].concat()).ok().json();
    assert_eq!(again["repeated"], true);

    let events = "{\"type\":\"A\",\"data\":1.50,\"version\":3}\n\n\
                  {\"type\":\"B\",\"data\":\"two\",\"metadata\":{\"correlation_id\":\"c\"},\
                  \"event_id\":\"0190163d-8694-739b-aea5-966c26f8ad92\"}\n";
    let arguments = ["append", "redb:data", "a/1", "--events", "-", "--expect", "1"];
    let several = folder.run_with(&arguments, events.as_bytes()).ok().json();
    assert_eq!((several["first"].as_u64(), several["last"].as_u64()), (Some(2), Some(3)));
    let read = folder.run(&["read", "redb:data", "a/1", "--from", "2"]).ok();
    assert!(read.out.contains("\"data\":1.50,\"version\":3"), "{}", read.out);
    let last = &read.lines()[1];
    assert_eq!(last["metadata"]["correlation_id"], "c");
    assert_eq!(last["event_id"], "0190163d-8694-739b-aea5-966c26f8ad92");

    let from_pipe = ["append", "redb:data", "a/1", "C", "-", "--metadata", "{\"k\":0}"];
    folder.run_with(&from_pipe, b"{\"from\":\"a pipe\"}").ok();
    let read = folder.run(&["read", "redb:data", "a/1", "--from", "4"]).ok();
    assert!(read.out.contains("{\"from\":\"a pipe\"}") && read.out.contains("{\"k\":0}"));
    // Nothing outlives the process, but the answer is the same.
    folder.run(&["append", "memory:", "a", "T"]).ok();
}

#[test]
fn stats_counts_events_keys_and_bytes() {
    let folder = small();
    let stats = folder.run(&["stats", "redb:data"]).ok().json();
    assert_eq!(stats["events"], 5);
    assert_eq!(stats["keys"], 3);
    assert_eq!(stats["last_position"], 5);
    assert!(stats["log_and_index_bytes"].as_u64() > Some(10_000));
    assert!(stats["bytes"].as_u64() > stats["log_and_index_bytes"].as_u64());
    assert!(stats["first_recorded_at"].as_str() <= stats["last_recorded_at"].as_str());
    let used = ["log_bytes", "index_bytes", "other_bytes", "free_bytes"];
    let used: u64 = used.iter().map(|name| stats[name].as_u64().unwrap()).sum();
    assert_eq!(Some(used), stats["log_and_index_bytes"].as_u64(), "{stats}");
    let shown = folder.run(&["stats", "redb:data", "--table"]).ok().out;
    assert!(shown.contains("free") && shown.contains("index"), "{shown}");
    let empty = folder.run(&["stats", "memory:"]).ok();
    assert_eq!(empty.out, "{\"events\":0,\"keys\":0,\"last_position\":0}\n");
}

#[test]
fn verify_and_reindex_say_how_much_is_sound() {
    let folder = small();
    assert_eq!(folder.run(&["verify", "redb:data"]).ok().out, "{\"events\":5,\"keys\":3}\n");
    assert_eq!(folder.run(&["reindex", "redb:data"]).ok().out, "{\"events\":5}\n");
    assert_eq!(folder.run(&["verify", "redb:data"]).ok().out, "{\"events\":5,\"keys\":3}\n");
    assert_eq!(folder.run(&["verify", "memory:"]).ok().out, "{\"events\":0,\"keys\":0}\n");
    let shown = folder.run(&["verify", "redb:data", "--table"]).ok();
    assert_eq!(shown.out, "sound: 5 events of 3 aggregates\n");
    folder.run(&["reindex", "memory:"]).fails(10, &["only a redb store can do this"]);
}

#[test]
fn consumers_shows_positions_lag_and_what_is_parked() {
    use seriatim::EventStore;
    use seriatim::subscription::OnFailure;
    use std::time::Duration;

    let folder = small();
    let url = format!("redb:{}", folder.path("data").display());
    support::block_on(async {
        let store = EventStore::open(&url).await.unwrap();
        let brief = Duration::from_millis(1);
        let run = store.consumer("letters").retry(1, brief, brief).on_failure(OnFailure::Park).run(
            |event| async move {
                match event.key.as_str() {
                    "account/2" => Err("no \u{1b}[31maddress"),
                    _ => Ok(()),
                }
            },
        );
        let handle = run.handle();
        let running = tokio::spawn(run);
        handle.wait_for(5, support::PATIENCE).await.unwrap();
        handle.stop();
        running.await.unwrap().unwrap();
        store.close().await.unwrap();
    });
    folder.run(&["append", "redb:data", "account/3", "Opened"]).ok();

    let said = folder.run(&["consumers", "redb:data", "letters"]).ok().json();
    assert_eq!((said["position"].as_u64(), said["lag"].as_u64()), (Some(5), Some(1)));
    assert_eq!(said["parked"][0]["key"], "account/2");
    assert_eq!(said["parked"][0]["sequence"], 1);
    let shown = folder.run(&["consumers", "redb:data", "letters", "--table"]).ok();
    assert!(shown.out.contains("account/2") && !shown.out.contains('\u{1b}'), "{}", shown.out);
    let missing = folder.run(&["consumers", "redb:data", "letters", "nobody"]);
    let missing = missing.fails(3, &["\"nobody\""]);
    assert_eq!(missing.lines().len(), 1, "the one that is there is shown");
    folder.run(&["consumers", "memory:", "x"]).fails(3, &["\"x\""]);
}

#[test]
fn bench_measures_and_leaves_nothing() {
    let folder = Folder::new();
    let bench = ["bench", "--seconds", "1", "--writers", "4", "--bytes", "64"];
    let said = folder.run(&bench).ok().json();
    assert!(said["appends"].as_u64() > Some(0));
    assert_eq!(said["appends"], said["read_events"]);
    assert_eq!(std::fs::read_dir(folder.0.path()).unwrap().count(), 0);
    let memory = ["bench", "memory:", "--seconds", "1", "--aggregates", "1", "--table"];
    assert!(folder.run(&memory).ok().out.contains("a second"));
    folder.small_store("data");
    folder.run(&["bench", "redb:data", "--seconds", "1"]).fails(2, &["wants a new directory"]);
}

#[test]
fn tables_have_a_header_and_no_colour_in_a_pipe() {
    let folder = small();
    let shown = folder.run(&["log", "redb:data", "--table"]).ok().out;
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 6, "{shown}");
    let columns: Vec<&str> = lines[0].split_whitespace().collect();
    assert_eq!(columns, ["POSITION", "TIME", "(UTC)", "KEY", "SEQUENCE", "TYPE", "DATA"]);
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
}

#[test]
fn long_data_is_cut_in_tables_only() {
    let folder = Folder::new();
    let long = format!("\"{}\"", "ż".repeat(3_000));
    folder.store("data", &[("a", &[("T", &long)])]);
    let cut = folder.run(&["read", "redb:data", "a", "--table"]).ok();
    assert!(cut.out.len() < 2_000 && cut.out.contains('…'), "{}", cut.out);
    assert!(cut.err.contains("--full"));
    assert!(folder.run(&["read", "redb:data", "a", "--table", "--full"]).ok().out.contains(&long));
    assert!(folder.run(&["read", "redb:data", "a"]).ok().out.contains(&long));
}
