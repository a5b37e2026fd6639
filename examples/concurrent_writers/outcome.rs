//! One mode's outcome: what was asked, what was measured, what was found. The summary, the JSON line and
//! the report are three views of it.

use std::sync::Arc;

use serde::Serialize;

use crate::check::Findings;
use crate::load::Plan;
use crate::meter::Measured;
use crate::writer::Complaints;

pub(crate) struct Outcome {
    pub(crate) plan: Arc<Plan>,
    pub(crate) measured: Measured,
    pub(crate) complaints: Complaints,
    pub(crate) findings: Findings,
}

impl Outcome {
    /// Whether every answer was right and everything answered was found. A run that got no answer at all
    /// shows nothing, and is not sound.
    pub(crate) fn is_sound(&self) -> bool {
        self.findings.is_sound() && self.complaints.wrong_answers == 0 && self.done() > 0
    }

    /// How many of what the mode is about were done.
    pub(crate) fn done(&self) -> u64 {
        let counts = self.measured.counts;
        if self.plan.mode.counts_refusals() { counts.conflicts } else { counts.committed }
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.done() as f64 / self.measured.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// What went wrong, in sentences; empty if nothing did.
    pub(crate) fn wrongs(&self) -> Vec<String> {
        let mut wrongs = Vec::new();
        if self.done() == 0 {
            wrongs.push("not one append was answered as the mode asks for".to_owned());
        }
        if self.complaints.wrong_answers > 0 {
            wrongs.push(format!("{} answers were wrong", self.complaints.wrong_answers));
            wrongs.extend(self.complaints.told.iter().map(|text| format!("wrong answer: {text}")));
        }
        if let Some(why) = &self.findings.unreadable {
            wrongs.push(format!("not everything could be read back: {why}"));
        }
        wrongs.extend(self.findings.told.iter().map(|(kind, text)| format!("{kind}: {text}")));
        wrongs
    }

    pub(crate) fn as_line(&self, store: &str) -> impl Serialize {
        let us = |ns: f64| (ns / 100.0).round() / 10.0;
        let Outcome { plan, measured, findings, .. } = self;
        Line {
            mode: plan.mode.name(),
            store: store.to_owned(),
            writers: plan.writers,
            aggregates: plan.keys.len(),
            seconds: (measured.elapsed.as_secs_f64() * 1e3).round() / 1e3,
            committed: measured.counts.committed,
            conflicts: measured.counts.conflicts,
            errors: measured.counts.errors,
            appends_per_s: (self.per_second() * 10.0).round() / 10.0,
            p50_us: us(measured.quantile_ns(0.5)),
            p99_us: us(measured.quantile_ns(0.99)),
            max_us: us(measured.max_ns()),
            verified: self.is_sound(),
            lost: findings.lost(),
            gaps: findings.gaps,
            duplicates: findings.duplicates,
        }
    }
}

/// The line of `--json`; the order of the fields is part of it.
#[derive(Serialize)]
struct Line {
    mode: &'static str,
    store: String,
    writers: usize,
    aggregates: usize,
    /// From the start to the last answer.
    seconds: f64,
    committed: u64,
    conflicts: u64,
    errors: u64,
    /// In mode `conflict`: refusals per second.
    appends_per_s: f64,
    p50_us: f64,
    p99_us: f64,
    max_us: f64,
    verified: bool,
    lost: u64,
    gaps: u64,
    duplicates: u64,
}
