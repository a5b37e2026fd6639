//! The report: one HTML page that needs nothing but itself, light or dark as the reader's system is.

use std::fmt::Write;
use std::thread::available_parallelism;

use crate::figures::{count, nanoseconds, of, rate};
use crate::meter::{Counts, Measured};
use crate::outcome::Outcome;
use crate::plot::{self, Step};

const STYLE: &str = include_str!("report.css");

/// The page about these outcomes, of a store of this name.
pub(crate) fn page(store: &str, outcomes: &[Outcome]) -> String {
    let mut html = String::from("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    let _ = write!(
        html,
        r#"<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark"><title>seriatim: concurrent writers</title><style>{STYLE}</style></head><body><main>"#
    );
    head(&mut html, store, outcomes);
    for outcome in outcomes {
        section(&mut html, outcome);
    }
    let made = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC");
    let cores = available_parallelism().map_or(1, |cores| cores.get() as u64);
    let _ = write!(
        html,
        "<footer>seriatim {}, {} {}, {}; {made}. Made by the example <code>concurrent_writers</code>.</footer></main></body></html>",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH,
        of(cores, "core"),
    );
    html
}

fn head(html: &mut String, store: &str, outcomes: &[Outcome]) {
    let sum = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).sum::<u64>();
    let sound = outcomes.iter().all(Outcome::is_sound);
    let answered = sum(|outcome| outcome.findings.answered);
    let _ = write!(html, "<header><p class=\"crate\">seriatim</p><h1>Concurrent writers</h1>");
    if let Some(outcome) = outcomes.first() {
        let _ = write!(
            html,
            "<p class=\"lead\">{}, {}-byte events, {}.</p>",
            of(outcome.plan.writers as u64, "writer"),
            count(outcome.plan.payloads.bytes() as u64),
            escaped(store)
        );
    }
    let (class, text) = match sound {
        true => (
            "good",
            format!(
                "<strong>All {} answered appends are there, each once and in its place.</strong> The store \
                 was closed, opened again and read whole.",
                count(answered)
            ),
        ),
        false => {
            ("bad", "<strong>Not everything was found as it was answered.</strong>".to_owned())
        }
    };
    let _ = write!(
        html,
        "<div class=\"verdict {class}\"><p>{text}</p><dl>{}{}{}</dl></div></header>",
        figure("lost", &count(sum(|outcome| outcome.findings.lost()))),
        figure("gaps", &count(sum(|outcome| outcome.findings.gaps))),
        figure("duplicates", &count(sum(|outcome| outcome.findings.duplicates))),
    );
}

fn section(html: &mut String, outcome: &Outcome) {
    let Outcome { plan, measured, findings, complaints } = outcome;
    let counts = measured.counts;
    let _ = write!(
        html,
        "<section><h2>{}</h2><p class=\"about\">{}</p>",
        plan.mode,
        plan.mode.sentence(),
    );
    let _ = write!(
        html,
        "<dl class=\"figures\"><div class=\"main\"><dt>{}</dt><dd>{}</dd></div>{}{}{}{}{}{}{}{}</dl>",
        plan.mode.unit(),
        rate(outcome.per_second()),
        figure("p50", &nanoseconds(measured.quantile_ns(0.5))),
        figure("p99", &nanoseconds(measured.quantile_ns(0.99))),
        figure("p99.9", &nanoseconds(measured.quantile_ns(0.999))),
        figure("max", &nanoseconds(measured.max_ns())),
        figure("aggregates", &count(plan.keys.len() as u64)),
        figure("committed", &count(counts.committed)),
        figure("conflicts", &count(counts.conflicts)),
        figure("errors", &count(counts.errors)),
    );
    let _ = write!(html, "<div class=\"plots\">");
    throughput(html, outcome);
    latency(html, measured);
    let _ = write!(html, "</div>");

    let left_open = findings.indeterminate_found + findings.indeterminate_absent;
    if left_open > 0 {
        let _ = write!(
            html,
            "<p class=\"about\">The fate of {} was left open: {} are there, {} are not.</p>",
            of(left_open, "append"),
            count(findings.indeterminate_found),
            count(findings.indeterminate_absent)
        );
    }
    let error = complaints.first_error.iter().map(|error| format!("the first error: {error}"));
    let notes: String = outcome
        .wrongs()
        .into_iter()
        .chain(error)
        .map(|note| format!("<li>{}</li>", escaped(&note)))
        .collect();
    if !notes.is_empty() {
        let _ = write!(html, "<ul class=\"notes\">{notes}</ul>");
    }
    let _ = write!(html, "</section>");
}

/// A line of the throughput plot.
struct Kind {
    name: &'static str,
    class: &'static str,
    count: fn(&Counts) -> u64,
}

const KINDS: [Kind; 2] = [
    Kind { name: "committed", class: "first", count: |counts| counts.committed },
    Kind { name: "conflicts", class: "second", count: |counts| counts.conflicts },
];

fn throughput(html: &mut String, outcome: &Outcome) {
    let measured = &outcome.measured;
    let shown: Vec<&Kind> =
        KINDS.iter().filter(|kind| (kind.count)(&measured.counts) > 0).collect();
    let legend: String = shown
        .iter()
        .map(|Kind { name, class, .. }| format!("<span class=\"key {class}\">{name}</span>"))
        .collect();
    let _ = write!(html, "<figure><figcaption>Throughput, per second {legend}</figcaption>");
    for Kind { name, class, count } in &shown {
        let steps = steps(measured, *count);
        html.push_str(&plot::rates(&steps, name, class, 1.0 / shown.len() as f64));
    }
    let _ = write!(html, "</figure>");
}

fn steps(measured: &Measured, count: fn(&Counts) -> u64) -> Vec<Step> {
    let width = measured.bin_width.as_secs_f64();
    let mut steps = Vec::new();
    for (index, bin) in measured.bins.iter().enumerate() {
        let seconds = measured.bin_seconds(index);
        // A last stretch of a few milliseconds has no rate worth showing.
        if seconds <= 0.0 || (index > 0 && seconds < width / 3.0) {
            continue;
        }
        let from = width * index as f64;
        let to = from + seconds;
        let at = |share: f64| nanoseconds(bin.latencies.value_at_quantile(share) as f64);
        let told = format!(
            "{from:.2} to {to:.2} s: {} committed/s, {} conflicts/s, p50 {}, p99 {}",
            rate(bin.counts.committed as f64 / seconds),
            rate(bin.counts.conflicts as f64 / seconds),
            at(0.5),
            at(0.99)
        );
        steps.push(Step { from, to, rate: count(&bin.counts) as f64 / seconds, told });
    }
    steps
}

fn latency(html: &mut String, measured: &Measured) {
    let recorded: Vec<(f64, u64)> = measured
        .latencies
        .iter_recorded()
        .map(|step| (step.value_iterated_to() as f64, step.count_at_value()))
        .collect();
    let marks = [
        ("p50", measured.quantile_ns(0.5)),
        ("p99", measured.quantile_ns(0.99)),
        ("max", measured.max_ns()),
    ];
    let _ = write!(
        html,
        "<figure><figcaption>Latency, share of all</figcaption>{}</figure>",
        plot::latencies(&recorded, &marks)
    );
}

fn figure(name: &str, value: &str) -> String {
    format!("<div><dt>{name}</dt><dd>{value}</dd></div>")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
