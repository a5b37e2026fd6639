//! The mistakes people make: each ends with its exit code, a message that names what is wrong and a
//! hint, changes nothing, and never panics.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;

use seriatim::driver::Driver;
use seriatim::driver::redb::RedbDriver;

use support::{Folder, Said};

/// Every command that opens a store which must be there.
const READERS: &[&[&str]] = &[
    &["keys"],
    &["read", "KEY"],
    &["log"],
    &["log", "--follow"],
    &["stats"],
    &["verify"],
    &["reindex"],
    &["compact"],
    &["export"],
    &["consumers", "NAME"],
];

fn on(folder: &Folder, command: &[&str], url: &str) -> Said {
    let mut arguments = vec![command[0], url];
    arguments.extend(&command[1..]);
    folder.run(&arguments)
}

/// Those, and the commands that write.
fn on_all(folder: &Folder, url: &str, check: impl Fn(Said)) {
    for command in READERS {
        check(on(folder, command, url));
    }
    check(folder.run(&["append", url, "a", "T"]));
    check(folder.run_with(&["import", url], b""));
}

#[test]
fn a_path_without_a_store_is_not_found_and_stays_as_it_is() {
    let folder = Folder::new();
    on_all(&folder, "redb:./dta", |said| {
        said.fails(3, &["there is no store in ./dta", "hint:"]);
    });
    assert!(!folder.path("dta").exists());

    folder.small_store("projects/data");
    on_all(&folder, "redb:projects", |said| {
        said.fails(3, &["holds no store", "did you mean redb:projects/data?"]);
    });
    assert_eq!(fs::read_dir(folder.path("projects")).unwrap().count(), 1);

    fs::write(folder.path("notes"), "x").unwrap();
    on_all(&folder, "redb:notes", |said| {
        said.fails(3, &["notes is a file"]);
    });
    on_all(&folder, "redb:projects/data/events.redb", |said| {
        said.fails(3, &["write redb:projects/data"]);
    });
    on_all(&folder, "redb:notes/below", |said| assert!(said.code == 7 || said.code == 3));
}

#[test]
fn a_store_is_made_only_where_the_user_says_so_and_nothing_else_is() {
    let folder = Folder::new();
    let append = ["append", "redb:new", "a", "T", "--create"];
    folder.run(&append).ok();
    folder.run(&append).ok();
    fs::create_dir(folder.path("empty")).unwrap();
    folder.run(&["append", "redb:empty", "a", "T"]).fails(3, &["the directory is empty"]);
    folder.run(&["append", "redb:empty", "a", "T", "--create"]).ok();
    fs::create_dir(folder.path("photos")).unwrap();
    fs::write(folder.path("photos/cat.png"), "x").unwrap();
    folder
        .run(&["append", "redb:photos", "a", "T", "--create"])
        .fails(3, &["holds no store", "absent or empty"]);
    assert_eq!(fs::read_dir(folder.path("photos")).unwrap().count(), 1);
}

#[test]
fn a_wrong_url_says_what_to_write() {
    let folder = Folder::new();
    on_all(&folder, "./data", |said| {
        said.fails(2, &["is no store's URL", "write redb:./data"]);
    });
    on_all(&folder, "rebd:./data", |said| {
        said.fails(2, &["names no store that this program knows", "redb:DIRECTORY"]);
    });
    on_all(&folder, "redb:", |said| {
        said.fails(2, &["a directory must follow redb:"]);
    });
    on_all(&folder, "redb:data?durability=maybe", |said| {
        said.fails(2, &["durability=written"]);
    });
    on_all(&folder, "foo://me:hush@host/?key=hush", |said| {
        assert!(!said.err.contains("hush"), "{}", said.err);
        said.fails(2, &[]);
    });
}

#[cfg(not(any(
    feature = "mongodb",
    feature = "dynamodb",
    feature = "cassandra",
    feature = "azure-tables"
)))]
#[test]
fn an_engine_that_is_not_built_in_names_its_feature() {
    let folder = Folder::new();
    for (url, feature) in [
        ("mongodb://u:hush@h/d", "mongodb"),
        ("mongodb+srv://u:hush@h/d", "mongodb"),
        ("dynamodb://table?region=eu-west-1", "dynamodb"),
        ("cassandra://h/k", "cassandra"),
        ("azure-tables://a/t?key=hush", "azure-tables"),
    ] {
        on_all(&folder, url, |said| {
            assert!(!said.err.contains("hush"), "{}", said.err);
            said.fails(2, &[&format!("--features {feature}")]);
        });
    }
}

#[test]
fn a_store_in_use_names_the_process_that_holds_it() {
    let folder = Folder::new();
    folder.small_store("data");
    let holder = RedbDriver::open(folder.path("data")).unwrap();
    let id = format!("process {}", std::process::id());
    on_all(&folder, "redb:data", |said| {
        said.fails(6, &["in use by", &id, "end that one"]);
    });
    support::block_on(holder.close()).unwrap();
    folder.run(&["verify", "redb:data"]).ok();
}

#[test]
fn wrong_arguments_are_usage() {
    let folder = Folder::new();
    folder.small_store("data");
    for (arguments, told) in [
        (&["list", "redb:data"][..], "unrecognized subcommand"),
        (&["keys"], "required"),
        (&["read", "redb:data"], "<KEY>"),
        (&["read", "redb:data", ""], "must not be empty"),
        (&["read", "redb:data", "a\nb"], "control characters"),
        (&["log", "redb:data", "--from", "yesterday"], "a position such as"),
        (&["log", "redb:data", "--follow", "--backwards"], "cannot be used with"),
        (&["append", "redb:data", "a"], "<TYPE>"),
        (&["append", "redb:data", "a", "T", "--expect=-1"], "`none`"),
        (&["append", "redb:data", "a", "T", "--expect", "some"], "`none`"),
        (&["append", "redb:data", "a", "T", "--commit-id", "7"], "--commit-id"),
        (&["append", "redb:data", "a", "T", "{}", "--events", "f"], "cannot be used with"),
        (&["keys", "redb:data", "--json", "--table"], "cannot be used with"),
        (&["bench", "--writers", "0"], "--writers"),
        (&["completions", "cobol"], "cobol"),
        (&["export", "redb:data", "--resume"], "--output"),
    ] {
        let said = folder.run(arguments);
        assert!(said.out.is_empty(), "{arguments:?}");
        assert!(said.code == 2 && said.err.contains(told), "{arguments:?}: {}", said.err);
    }
    assert_eq!(folder.run(&["stats", "redb:data"]).ok().json()["events"], 5);
}

#[test]
fn an_append_that_cannot_be_written_says_why() {
    let folder = Folder::new();
    folder.small_store("data");
    let append =
        |rest: &[&str]| folder.run(&[&["append", "redb:data", "account/1"], rest].concat());
    append(&["T", "{}", "--expect", "1"])
        .fails(4, &["expected sequence 1, but the latest sequence is 2", "--expect 2"]);
    append(&["T", "{}", "--expect", "none"]).fails(4, &["expected no events"]);
    append(&["T", "{owner: Ada}"]).fails(11, &["the data is not JSON"]);
    append(&["", "{}"]).fails(11, &["the event type must be"]);
    append(&["T", "{}", "--metadata", "[]"]).fails(11, &["not a JSON object"]);
    append(&["--events", "nosuch"]).fails(3, &["nosuch: No such file"]);
    let lines = |input: &[u8]| {
        folder.run_with(&["append", "redb:data", "account/1", "--events", "-"], input)
    };
    lines(b"").fails(11, &["no event"]);
    lines(b"{\"type\":\"T\",\"data\":1}\n{\"type\":\"T\",\"dta\":1}\n")
        .fails(11, &["line 2", "dta"]);
    lines(b"{\"type\":\"T\",\"data\":\"\xff\"}").fails(11, &["not UTF-8"]);
    assert_eq!(folder.run(&["stats", "redb:data"]).ok().json()["events"], 5);
}

#[test]
fn an_aggregate_that_is_missing_names_those_that_are_alike() {
    let folder = Folder::new();
    folder.small_store("data");
    folder
        .run(&["read", "redb:data", "account/3"])
        .fails(3, &["no aggregate account/3", "account/1, account/2"]);
    folder.run(&["read", "redb:data", "acount/1"]).fails(3, &["account/1"]);
    folder.run(&["read", "memory:", "x"]).fails(3, &["no aggregate x"]);
}

#[test]
fn a_damaged_store_is_named_and_not_repaired_on_the_way() {
    let folder = Folder::new();
    folder.small_store("data");
    let file = folder.path("data/format");
    fs::write(&file, "seriatim redb 99\n").unwrap();
    on_all(&folder, "redb:data", |said| {
        said.fails(5, &["format is \"seriatim redb 99\"", "hint:"]);
    });

    folder.small_store("other");
    let file = folder.path("other/events.redb");
    let mut bytes = fs::read(&file).unwrap();
    // The data of one event, in the log.
    let at = bytes.windows(5).position(|part| part == b"50.10").unwrap();
    bytes[at] = b'9';
    fs::write(&file, bytes).unwrap();
    let said = folder.run(&["verify", "redb:other"]);
    said.fails(5, &["position"]);
}

/// Runs the program without the rights of a privileged user.
#[cfg(unix)]
fn without_rights(folder: &Folder, arguments: &[&str]) -> Said {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;

    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder.0.path(), open.clone()).unwrap();
    let copy = folder.path("seriatim");
    fs::copy(support::program(), &copy).unwrap();
    fs::set_permissions(&copy, open).unwrap();
    let mut command = std::process::Command::new(&copy);
    command.args(arguments).current_dir(folder.0.path()).stdin(std::process::Stdio::null());
    let is_root = fs::metadata("/proc/self").map(|found| found.uid() == 0).unwrap_or(false);
    if is_root {
        command.uid(65_534).gid(65_534);
    }
    Said::of(command.output().unwrap())
}

#[cfg(unix)]
#[test]
fn missing_rights_are_named() {
    use std::os::unix::fs::PermissionsExt;

    let folder = Folder::new();
    folder.small_store("data");
    let rights = |path: &str, mode| {
        fs::set_permissions(folder.path(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    rights("data", 0o700);
    rights("data", 0o000);
    without_rights(&folder, &["stats", "redb:data"])
        .fails(7, &["Permission denied", "the user who owns the store"]);
    rights("data", 0o555);
    for file in ["lock", "events.redb", "format"] {
        rights(&format!("data/{file}"), 0o444);
    }
    without_rights(&folder, &["stats", "redb:data"])
        .fails(7, &["Permission denied", "the right to write"]);
    without_rights(&folder, &["append", "redb:data/new", "a", "T", "--create"]).fails(7, &[]);
    rights("data", 0o755);
    for file in ["lock", "events.redb", "format"] {
        rights(&format!("data/{file}"), 0o644);
    }
    folder.run(&["export", "redb:data", "-o", "out.ndjson"]).ok();
    rights("out.ndjson", 0o000);
    without_rights(&folder, &["import", "memory:", "out.ndjson"])
        .fails(7, &["out.ndjson: Permission denied"]);
}
