//! What is shown while it runs, on standard error: a bar with live rates, and nothing at all where
//! standard error is no terminal.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::figures;
use crate::meter::{Counts, Measured};
use crate::modes::Mode;

/// Live rates are those of the last second.
const LIVE: Duration = Duration::from_secs(1);

pub(crate) struct Progress {
    bar: ProgressBar,
    mode: Mode,
    recent: RefCell<VecDeque<(Duration, Counts)>>,
    said_stopping: Cell<bool>,
}

impl Progress {
    pub(crate) fn new(mode: Mode) -> Self {
        Self::drawn_on(ProgressDrawTarget::stderr(), mode)
    }

    /// Progress that nobody sees.
    #[cfg(test)]
    pub(crate) fn hidden(mode: Mode) -> Self {
        Self::drawn_on(ProgressDrawTarget::hidden(), mode)
    }

    fn drawn_on(target: ProgressDrawTarget, mode: Mode) -> Self {
        let bar = ProgressBar::with_draw_target(Some(1), target);
        let style = ProgressStyle::with_template("{prefix:<9.bold} {bar:30.cyan/dim} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─"));
        bar.set_prefix(mode.name());
        Progress { bar, mode, recent: RefCell::default(), said_stopping: Cell::new(false) }
    }

    /// Writing, for so long already.
    pub(crate) fn running(&self, elapsed: Duration, planned: Duration, measured: &Measured) {
        if self.bar.is_hidden() {
            return;
        }
        let now = measured.counts;
        let mut recent = self.recent.borrow_mut();
        while recent.len() > 1 && recent.front().is_some_and(|(at, _)| elapsed - *at > LIVE) {
            recent.pop_front();
        }
        recent.push_back((elapsed, now));
        let (since, then) = recent.front().copied().unwrap_or_default();
        let seconds = (elapsed.saturating_sub(since)).as_secs_f64().max(0.1);
        let per_second = |now: u64, then: u64| figures::rate((now - then) as f64 / seconds);

        let conflicts = per_second(now.conflicts, then.conflicts);
        let mut text = format!("{:.1} of {:.1} s  ", elapsed.as_secs_f64(), planned.as_secs_f64());
        match self.mode.counts_refusals() {
            true => text += &format!("{conflicts} {}", self.mode.unit()),
            false => {
                let committed = per_second(now.committed, then.committed);
                text += &format!("{committed} {}", self.mode.unit());
                if now.conflicts > 0 {
                    text += &format!("  {conflicts} conflicts/s");
                }
            }
        }
        if now.errors > 0 {
            text += &format!("  {}", figures::of(now.errors, "error"));
        }
        self.bar.set_length(planned.as_millis() as u64);
        self.bar.set_position(elapsed.min(planned).as_millis() as u64);
        self.bar.set_message(text);
    }

    /// Whether the run is being stopped; said once, and whether or not a bar is shown.
    pub(crate) fn stopping(&self, is_stopping: bool) {
        if is_stopping && !self.said_stopping.replace(true) {
            let text = "Stopping; what was written is verified now. Ctrl-C again ends at once.";
            self.bar.suspend(|| eprintln!("{text}"));
        }
    }

    /// Something that has no measure.
    pub(crate) fn says(&self, what: &'static str) {
        self.bar.set_message(what);
    }

    /// Reading back, so many events of those that were answered.
    pub(crate) fn verifying(&self, events: u64, answered: u64) {
        self.bar.set_length(answered);
        self.bar.set_position(events.min(answered));
        let (events, answered) = (figures::count(events), figures::count(answered));
        self.bar.set_message(format!("verifying: {events} of {answered} events"));
    }

    /// Takes the bar off the screen.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
