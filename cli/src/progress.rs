//! Progress on standard error: a bar where the end is known, a spinner where it is not.
//!
//! Nothing is shown for the first half second, nor where standard error is no terminal.

use std::io::{IsTerminal, Write};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::escape::shown_lines;

const QUIET_AT_FIRST: Duration = Duration::from_millis(500);

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Events,
    Keys,
    Bytes,
    Steps,
    Seconds,
}

pub(crate) struct Progress {
    bar: ProgressBar,
    began: Instant,
    is_wanted: bool,
    shown: OnceLock<()>,
}

impl Progress {
    /// A bar up to `total`, a spinner for `None`.
    pub(crate) fn new(is_wanted: bool, what: &str, total: Option<u64>, unit: Unit) -> Self {
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
        let (done, rate) = match unit {
            Unit::Events => ("{human_pos} events", "{per_sec}"),
            Unit::Keys => ("{human_pos} keys", "{per_sec}"),
            Unit::Bytes => ("{binary_bytes}", "{binary_bytes_per_sec}"),
            Unit::Steps => ("{percent} %", ""),
            Unit::Seconds => ("{pos} s", ""),
        };
        let (of, left) = match (total, unit) {
            (Some(_), Unit::Bytes) => (" of {binary_total_bytes}", "  {eta} left"),
            (Some(_), Unit::Steps) => ("", "  {eta} left"),
            (Some(_), Unit::Seconds) => (" of {len} s", ""),
            (Some(_), _) => (" of {human_len}", "  {eta} left"),
            (None, _) => ("", ""),
        };
        let bar_or_spinner = if total.is_some() { "{bar:24}" } else { "{spinner}" };
        let template =
            format!("{{prefix}} {bar_or_spinner} {done}{of}  {rate}{left}  {{wide_msg}}");
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        bar.set_prefix(what.to_owned());
        let is_wanted = is_wanted && std::io::stderr().is_terminal();
        Progress { bar, began: Instant::now(), is_wanted, shown: OnceLock::new() }
    }

    pub(crate) fn add(&self, more: u64) {
        self.show_if_due();
        self.bar.inc(more);
    }

    pub(crate) fn set(&self, done: u64) {
        self.show_if_due();
        self.bar.set_position(done);
    }

    /// So much is done, of a total that is known only now.
    pub(crate) fn set_of(&self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.set(done);
    }

    pub(crate) fn message(&self, message: String) {
        self.bar.set_message(message);
    }

    /// Shown from now on: for steps that do not say how far they are.
    pub(crate) fn show(&self) {
        if self.is_wanted {
            self.shown.get_or_init(|| {
                self.bar.set_draw_target(ProgressDrawTarget::stderr());
                self.bar.enable_steady_tick(Duration::from_millis(250));
            });
        }
    }

    fn show_if_due(&self) {
        if self.began.elapsed() >= QUIET_AT_FIRST {
            self.show();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A line on standard error, made harmless for a terminal. A closed standard error is no failure.
pub(crate) fn say(message: &str) {
    let _ = writeln!(std::io::stderr(), "{}", shown_lines(message));
}
