//! The README's examples run, its exit codes are the program's, and what is generated is whole.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::process::Command;

use support::{Folder, Said};

fn readme() -> String {
    support::read(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"))
}

#[test]
fn the_examples_run_one_after_another_in_an_empty_folder() {
    let readme = readme();
    let blocks = readme.split("```sh\n").skip(1);
    let script: Vec<&str> = blocks.map(|block| block.split("```").next().unwrap()).collect();
    assert!(script.len() >= 7, "{script:?}");
    let folder = Folder::new();
    let directory = support::program().parent().unwrap().display().to_string();
    let path = format!("{directory}:{}", std::env::var("PATH").unwrap());
    for block in script {
        let mut command = Command::new("sh");
        command.args(["-ec", block]).current_dir(folder.0.path()).env("PATH", &path);
        let said = Said::of(command.output().unwrap());
        assert_eq!(said.code, 0, "{block}{}{}", said.out, said.err);
    }
    assert!(folder.path("man1/seriatim-export.1").exists());
    let same = folder.run(&["export", "redb:copy"]).ok().out;
    assert_eq!(support::read(&folder.path("all.ndjson")), same);
}

#[test]
fn exit_codes_are_the_same_in_help_in_the_man_page_and_in_the_readme() {
    let folder = Folder::new();
    let help = folder.run(&["help"]).ok().out;
    let page = folder.run(&["man"]).ok().out;
    let readme = readme();
    let rows: Vec<(&str, &str)> = readme
        .lines()
        .skip_while(|line| *line != "## Exit codes")
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | "))
        .filter(|(code, _)| code.parse::<u8>().is_ok())
        .collect();
    assert_eq!(rows.len(), 13);
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (help, page) =
        (squeezed(&help), squeezed(&page.replace("\\-", "-").replace("\\*(Aq", "'")));
    for (code, meaning) in rows {
        assert!(help.contains(&format!("{code} {meaning}")), "help: {code} {meaning}: {help}");
        assert!(page.contains(meaning), "man: {code} {meaning}: {page}");
    }
}

#[test]
fn every_command_is_documented_everywhere() {
    let folder = Folder::new();
    let help = folder.run(&["--help"]).ok().out;
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .map(|line| line.split_whitespace().next().unwrap())
        .filter(|command| *command != "help")
        .collect();
    assert_eq!(commands.len(), 17, "{commands:?}");
    let readme = readme();
    for command in &commands {
        assert!(readme.contains(&format!("**{command}**")), "README: {command}");
        let said = folder.run(&[command, "--help"]).ok();
        assert!(said.out.contains("Usage: seriatim"), "{}", said.out);
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = folder.run(&["completions", shell]).ok().out;
        for command in &commands {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
    let bash = folder.run(&["completions", "bash"]).ok().out;
    std::fs::write(folder.path("completions"), bash).unwrap();
    let mut check = Command::new("bash");
    check.args(["-n", "completions"]).current_dir(folder.0.path());
    if let Ok(output) = check.output() {
        assert!(output.status.success());
    }
    folder.run(&["man", "--dir", "pages"]).ok();
    for command in commands {
        let page = support::read(&folder.path(&format!("pages/seriatim-{command}.1")));
        assert!(page.contains(".SH SYNOPSIS"), "{command}");
    }
}
