//! The page in a real browser: Chromium, driven by its own driver.
//!
//! Where no `chromedriver` is found, the tests are ignored, and a line says so. `--include-ignored`
//! runs them all the same, and they fail. `SERIATIM_CHROMEDRIVER` names the program.
//! `SERIATIM_SCREENSHOTS=FOLDER` keeps pictures of what the tests see.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]
#![allow(missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod an_aggregate_is_found_and_read;
mod chromium;
mod everything_works_by_keyboard;
mod hostile_content_is_shown_as_text;
mod parked_events_are_shown;
mod the_log_moves_under_load;
mod the_page_fits_and_can_be_read;
mod the_token_is_asked_for;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Each starts a browser.
    arguments.test_threads = arguments.test_threads.or(Some(2));
    let is_there = chromium::driver().is_some();
    if !is_there {
        eprintln!(
            "the browser tests are ignored: no chromedriver is found (SERIATIM_CHROMEDRIVER)"
        );
    }
    let tests: [(&str, fn()); 9] = [
        ("an_aggregate_is_found_and_read", an_aggregate_is_found_and_read::test),
        ("everything_works_by_keyboard", everything_works_by_keyboard::test),
        ("hostile_content_is_shown_as_text", hostile_content_is_shown_as_text::test),
        ("parked_events_are_shown", parked_events_are_shown::test),
        ("the_log_moves_under_load", the_log_moves_under_load::test),
        ("the_page_fits_and_can_be_read::desktop", the_page_fits_and_can_be_read::desktop),
        ("the_page_fits_and_can_be_read::phone", the_page_fits_and_can_be_read::phone),
        ("the_page_fits_and_can_be_read::dark", the_page_fits_and_can_be_read::dark),
        ("the_token_is_asked_for", the_token_is_asked_for::test),
    ];
    let trials = tests.into_iter().map(|(name, test)| {
        let run = move || {
            test();
            Ok(())
        };
        Trial::test(name, run).with_ignored_flag(!is_there)
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}
