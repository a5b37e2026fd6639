//! `seriatim`: the command line of the event store.
//!
//! ```text
//! args ─▶ commands/… ─▶ target: the store that a URL names, opened
//!              │                  (local_store: here, or through its owner's door)
//!              ├─▶ output: tables (through escape and style) or NDJSON, on standard output
//!              ├─▶ progress: bars and messages, on standard error
//!              └─▶ exit: a code and a message
//! ```
//!
//! What must stay true:
//!
//! - Standard output holds the answer and nothing else.
//! - What a store or a file holds never reaches a terminal unescaped.
//! - Memory does not grow with the store: everything is read page by page.
//! - A store that was opened is closed, whatever came of the command.

mod app;
mod args;
mod commands;
mod escape;
mod exit;
mod interrupt;
mod local_store;
mod output;
mod progress;
mod style;
mod target;

use std::process::ExitCode;

use clap::Parser;

use app::App;
use args::Cli;
use exit::{Error, Result};
use interrupt::Interrupt;
use output::{Format, Output};
use progress::say;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let format = match (cli.json, cli.table) {
        (true, _) => Format::Json,
        (_, true) => Format::Table,
        _ => Format::Auto,
    };
    let app = App {
        out: Output::new(format),
        interrupt: Interrupt::default(),
        quiet: cli.quiet,
        is_through_door: false,
    };
    match run(app, cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_broken_pipe => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {}", error.message));
            if let Some(hint) = &error.hint {
                say(&format!("  hint: {hint}"));
            }
            ExitCode::from(error.exit.code())
        }
    }
}

fn run(mut app: App, cli: Cli) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| Error::io("the program's threads could not be started", &e))?;
    let done = runtime.block_on(async {
        app.interrupt.listen();
        let done = commands::run(&mut app, cli.command).await;
        let flushed = app.out.flush();
        done.and(flushed)
    });
    // A thread may still wait for standard input.
    runtime.shutdown_background();
    done
}
