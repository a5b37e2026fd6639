//! The law of the house, read off the sources: a floor imports only floors below it, files do not
//! import each other in circles, a type name means one thing, and lines fit on a screen.
//!
//! `source` reads a file's imports, `house` finds the file that defines each imported name (through
//! re-exports), and the tests here judge the arrows. ARCHITECTURE.md states the law.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod house;
mod source;

use std::collections::{BTreeMap, BTreeSet};

use house::{Arrow, House};

/// The floors, from the ground up, by the first part of a module's path.
const FLOORS: &[(&str, &[&str])] = &[
    (
        "ground",
        &[
            "event",
            "append",
            "error",
            "upcast",
            "spin_wait",
            "stats",
            "sync",
            "sync_directory",
            "user_code",
        ],
    ),
    ("drivers", &["driver"]),
    ("mailroom", &["mailroom"]),
    ("application", &["store", "middleware", "entity", "subscription", "backup"]),
    ("roof", &["actors", "guide", "testing"]),
];

/// Public names of a higher floor that stand in a lower one's public path, and nothing but that.
const PUBLIC_ALIASES: &[(&str, &str)] = &[("driver/mod.rs", "testing")];

/// The one circle there is: what a resident aggregate's slot, lease, mail, inbox, put permit and
/// batch own of each other.
const OWNERSHIP_RING: &str = "mailroom/slot/";

/// Type names that are defined more than once, and why each is.
const NAMED_TWICE: &[(&str, &str)] =
    &[("RealFile", "one for each platform: positioned reads and writes differ")];

/// The longest line of a source file, in characters.
const LINE_WIDTH: usize = 100;

fn floor(path: &str) -> Option<usize> {
    let module = path.split(['/', '.']).next()?;
    FLOORS.iter().position(|(_, modules)| modules.contains(&module))
}

fn climbs(house: &House) -> Vec<String> {
    let is_alias = |arrow: &Arrow| {
        let alias = (arrow.from.as_str(), arrow.to.split('/').next().unwrap_or_default());
        arrow.is_re_export && PUBLIC_ALIASES.contains(&alias)
    };
    let climbs = |arrow: &Arrow| match (floor(&arrow.from), floor(&arrow.to)) {
        (Some(from), Some(to)) => from < to,
        // Only lib.rs stands on no floor, and nobody imports it.
        (from, to) => from.is_some() && to.is_none(),
    };
    let arrows = house.arrows().into_iter().filter(|arrow| climbs(arrow) && !is_alias(arrow));
    arrows.map(|arrow| format!("{} imports {} from {}", arrow.from, arrow.name, arrow.to)).collect()
}

/// Each circle as the list of its files.
fn circles(house: &House) -> Vec<Vec<String>> {
    let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for arrow in house.arrows() {
        let in_ring = |path: &str| path.starts_with(OWNERSHIP_RING);
        let is_in_ring = in_ring(&arrow.from) && in_ring(&arrow.to);
        if arrow.from != arrow.to && !arrow.is_re_export && !is_in_ring {
            imports.entry(arrow.from).or_default().insert(arrow.to);
        }
    }
    let reached = |start: &String| {
        let mut seen = BTreeSet::new();
        let mut open = vec![start];
        while let Some(file) = open.pop() {
            for next in imports.get(file).into_iter().flatten() {
                if seen.insert(next.clone()) {
                    open.push(next);
                }
            }
        }
        seen
    };
    let reach: BTreeMap<&String, BTreeSet<String>> =
        imports.keys().map(|file| (file, reached(file))).collect();
    let mut circles = BTreeSet::new();
    for (file, seen) in &reach {
        if seen.contains(*file) {
            let back = |other: &&String| reach.get(other).is_some_and(|r| r.contains(*file));
            circles.insert(seen.iter().filter(back).cloned().collect::<Vec<_>>());
        }
    }
    circles.into_iter().collect()
}

#[test]
fn a_floor_imports_only_floors_below_it() {
    let house = House::of_the_crate();
    assert_eq!(climbs(&house), Vec::<String>::new());
    for path in house.paths() {
        assert!(path == "lib.rs" || floor(path).is_some(), "{path} stands on no floor");
    }
}

#[test]
fn files_do_not_import_each_other_in_circles() {
    let circles = circles(&House::of_the_crate());
    assert!(circles.is_empty(), "{circles:#?}");
}

#[test]
fn a_type_name_is_defined_once() {
    let mut defined: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, name) in House::of_the_crate().types() {
        defined.entry(name).or_default().push(path);
    }
    let reason = |name: &str| NAMED_TWICE.iter().find(|(named, _)| *named == name);
    let twice: Vec<_> = defined
        .into_iter()
        .filter(|(name, paths)| paths.len() > 1 && reason(name).is_none())
        .collect();
    assert!(twice.is_empty(), "{twice:#?}");
}

#[test]
fn lines_fit_on_a_screen() {
    let house = House::of_the_crate();
    let long = house
        .lines()
        .filter(|(_, _, line)| line.chars().count() > LINE_WIDTH && !line.contains("http"));
    let long: Vec<_> = long.map(|(path, number, _)| format!("{path}:{number}")).collect();
    assert!(long.is_empty(), "{} lines are too long: {long:#?}", long.len());
}

/// What a decision page does not say. 0027 gathers many small choices, under headings of its own.
fn missing_sections(page: &str) -> Vec<&'static str> {
    let sections = ["# ", "## Context", "## Decision", "## Rejected", "## Consequences"];
    let has = |section: &&str| !page.lines().any(|line| line.starts_with(section));
    sections.into_iter().filter(has).collect()
}

#[test]
fn a_decision_page_has_all_sections() {
    assert_eq!(missing_sections("# 0001 x\n## Decision\n## Rejected\n").len(), 2);
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/decisions");
    let index = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let mut pages = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name != "README.md" {
            let page = std::fs::read_to_string(&path).unwrap();
            assert_eq!(missing_sections(&page), Vec::<&str>::new(), "{name}");
            assert!(index.contains(&name), "the index does not name {name}");
            pages += 1;
        }
    }
    assert!(pages > 30, "the pages were not found");
}

/// The chapters that the guide's table of contents names.
fn chapters(contents: &str) -> Vec<&str> {
    let links = contents.lines().filter_map(|line| line.trim().strip_suffix(".md)"));
    links.filter_map(|line| line.rsplit('(').next()).collect()
}

#[test]
fn each_chapter_of_the_guide_is_tested() {
    assert_eq!(chapters("# S\n\n- [A b](a.md)\n  - [C](c_d.md)\n"), ["a", "c_d"]);
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("docs/guide/src");
    let contents = std::fs::read_to_string(folder.join("SUMMARY.md")).unwrap();
    let tested = std::fs::read_to_string(root.join("src/guide.rs")).unwrap();
    let (_, tested) = tested.split_once("chapters! {").unwrap();
    let tested: Vec<_> = tested.trim_end().trim_end_matches('}').split_whitespace().collect();
    assert_eq!(tested, chapters(&contents));
    // SUMMARY.md is no chapter.
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), tested.len() + 1);
}

/// The public types at the root of the crate without an example in their documentation.
fn types_without_example(house: &House) -> Vec<String> {
    // Errors that say nothing but their text.
    let need_none = ["NoLog", "RawJsonError", "RecordError", "TimestampError"];
    let lib: Vec<_> = house.lines().filter(|(path, ..)| *path == "lib.rs").collect();
    let exports = lib.iter().skip_while(|(.., line)| !line.starts_with("pub use"));
    let names: Vec<_> = exports
        .flat_map(|(.., line)| line.split(|c: char| !c.is_alphanumeric()))
        .filter(|word| word.starts_with(char::is_uppercase) && !need_none.contains(word))
        .collect();
    let (mut found, mut bare, mut has_example) = (0, Vec::new(), false);
    for (_, _, line) in house.lines() {
        let line = line.trim_start();
        if line.starts_with("///") {
            has_example |= line.starts_with("/// ```");
            continue;
        }
        let words: Vec<_> = line.split(|c: char| !c.is_alphanumeric()).take(3).collect();
        if let ["pub", "struct" | "enum" | "trait", name] = words[..]
            && names.contains(&name)
        {
            found += 1;
            bare.extend((!has_example).then(|| name.to_owned()));
        }
        // Attributes stand between the documentation and the type; they end otherwise.
        has_example &= !line.ends_with([';', '}', '{']);
    }
    assert!(found > 40, "{found} of {} types were found", names.len());
    bare
}

#[test]
fn types_of_the_crate_root_have_an_example() {
    let house = House::of_the_crate();
    assert_eq!(types_without_example(&house), Vec::<String>::new());
    let planted = house.with("event/sequence.rs", "/// A number.\npub struct Sequence(u64);");
    assert_eq!(types_without_example(&planted), ["Sequence"]);
}

#[test]
fn a_planted_climb_is_found() {
    for (path, line) in [
        ("driver/put.rs", "use crate::store::EventStore;"),
        ("mailroom/decide.rs", "fn f() { let _ = crate::entity::Entities::<()>::key; }"),
        ("event/key.rs", "use crate::driver::{Limits, memory::MemoryDriver};"),
        ("append/mod.rs", "use super::mailroom::Mailroom;"),
    ] {
        let house = House::of_the_crate();
        let before = climbs(&house).len();
        assert!(climbs(&house.with(path, line)).len() > before, "{path}: {line}");
    }
}

#[test]
fn a_planted_circle_is_found() {
    // The memory driver imports the put; the put must not import the memory driver.
    let house = House::of_the_crate();
    let before = circles(&house);
    let planted = house.with("driver/put.rs", "use super::memory::MemoryDriver;");
    let after = circles(&planted);
    let has = |circles: &[Vec<String>]| {
        circles.iter().any(|circle| {
            ["driver/put.rs", "driver/memory.rs"]
                .iter()
                .all(|file| circle.contains(&(*file).into()))
        })
    };
    assert!(!has(&before) && has(&after), "{after:#?}");
}

#[test]
fn a_comment_and_a_test_module_import_nothing() {
    let house = House::of_the_crate();
    let before = climbs(&house).len();
    let planted = "// use crate::store::EventStore;\n/// [`crate::store::EventStore`]\n\
                   #[cfg(test)]\nmod more_tests { use crate::store::EventStore; }\n";
    assert_eq!(climbs(&house.with("driver/put.rs", planted)).len(), before);
}
