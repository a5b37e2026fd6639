//! The first chapter of the guide and the README show the example `hello`, and what it prints.

use std::path::Path;
use std::process::Command;

use crate::support::example;

/// What stands between the fences of this kind, block by block.
fn blocks(page: &str, fence: &str) -> Vec<String> {
    let begin = format!("\n```{fence}\n");
    let parts = page.split(&begin).skip(1);
    parts.filter_map(|part| Some(format!("{}\n", part.split_once("\n```")?.0))).collect()
}

fn page(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// A program without its layout, which differs between the pages.
fn words(program: &str) -> Vec<&str> {
    let tokens = program.split_whitespace().flat_map(|word| word.split_inclusive(['{', '}', ',']));
    tokens.map(|token| token.trim_end_matches(',')).filter(|token| !token.is_empty()).collect()
}

#[test]
fn the_program_is_the_example() {
    let hello = page("examples/hello.rs");
    let (_, hello) = hello.split_once("#![allow(clippy::print_stdout)]\n\n").unwrap();
    assert_eq!(blocks(&page("docs/guide/src/start.md"), "rust,no_run"), [hello]);
    let readme = page("README.md");
    let shown = blocks(&readme, "rust");
    assert_eq!(words(&shown[0]), words(hello), "README.md shows another one");
}

#[test]
fn it_prints_what_the_pages_say() {
    let folder = tempfile::tempdir().unwrap();
    let run = || {
        let output = Command::new(example("hello")).current_dir(&folder).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let (first, second) = (run(), run());
    let said = blocks(&page("docs/guide/src/start.md"), "text");
    assert_eq!(said, [first.clone(), second]);
    assert_eq!(blocks(&page("README.md"), "text")[0], first);
}
