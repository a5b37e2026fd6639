//! The table, in Markdown: targets first, then every figure.

use std::fmt::Write;

use crate::contenders::{About, CONTENDERS, Kind};
use crate::figures::Figures;
use crate::flags::Table;
use crate::machine;
use crate::rounds::Results;
use crate::targets::{Against, Bound, TARGETS, Target};
use crate::workloads::{Entry, WORKLOADS};

/// Everything that is printed and written.
pub(crate) fn render(table: &Table, results: &Results) -> String {
    let mut out = String::new();
    head(&mut out, table);
    targets(&mut out, results);
    figures(&mut out, results, "per second", rate);
    figures(&mut out, results, "p50 / p99, µs", latency);
    figures(&mut out, results, "first pass after opening, per second", first_pass);
    many(&mut out, results);
    cold_keys(&mut out, results);
    notes(&mut out, results);
    out
}

fn head(out: &mut String, table: &Table) {
    let date = jiff::Timestamp::now().strftime("%Y-%m-%d");
    let machine = machine::description(&table.directory);
    let compiler = machine::compiler();
    writeln!(out, "Measured on {date}; {machine}; {compiler}.").unwrap();
    let (seconds, rounds) = (table.scale.seconds, table.rounds);
    let sizes = match table.scale.divide_by {
        1 => String::new(),
        by => {
            format!(" **Workloads measured by size were {by} times smaller than they are called.**")
        }
    };
    writeln!(
        out,
        "Medians of {rounds}, taken in turns; {seconds} s each; payloads of 200 bytes of JSON; every append \
         durable before its answer; callers are tokio tasks on two threads.{sizes}\n"
    )
    .unwrap();
}

fn targets(out: &mut String, results: &Results) {
    out.push_str("| workload | seriatim | against | | quotient | must be | |\n");
    out.push_str("|---|--:|---|--:|--:|--:|---|\n");
    for target in TARGETS {
        let Some(reached) = target.reached(results) else { continue };
        let quotient = reached.quotient();
        let title = title(target.workload);
        let (what, against) = match target.figure {
            "rate" => (title.to_owned(), reached.against.clone()),
            "bytes_per_event" => (format!("{title}: disk per event after close"), String::new()),
            "peak_mib" => (format!("{title}: peak memory"), String::new()),
            "p99_us" => (format!("{title}: p99"), "its median".to_owned()),
            "with_us" => (format!("{title}: the other nine"), "without cold keys".to_owned()),
            other => (format!("{title}: {other}"), reached.against.clone()),
        };
        writeln!(
            out,
            "| {what} | {} | {against} | {} | {} | {} | {} |",
            value(target.figure, reached.ours),
            value(target.figure, reached.theirs),
            times(quotient),
            must_be(target),
            if target.bound.holds(quotient) { "✓" } else { "✗" },
        )
        .unwrap();
    }
    out.push('\n');
}

fn must_be(target: &Target) -> String {
    let number = |bound: f64| match target.against {
        Against::Number(number) => value(target.figure, number * bound),
        _ => times(bound),
    };
    match target.bound {
        Bound::AtLeast(bound) => format!("≥ {}", number(bound)),
        Bound::Above(bound) => format!("> {}", number(bound)),
        Bound::AtMost(bound) => format!("≤ {}", number(bound)),
        Bound::Below(bound) => format!("< {}", number(bound)),
    }
}

/// The durable contenders are the columns; of those in memory, each stands where it belongs.
fn column_of(about: &About) -> &'static str {
    match about.name {
        "seriatim-memory" => "seriatim",
        "redb-memory" => "redb-group",
        name => name,
    }
}

/// A row for each workload, a column for each contender, `cell` in between.
fn figures(
    out: &mut String,
    results: &Results,
    heading: &str,
    cell: impl Fn(&Figures) -> Option<String>,
) {
    let rows: Vec<&Entry> = WORKLOADS
        .iter()
        .filter(|entry| results.all(entry.name).any(|figures| cell(figures).is_some()))
        .collect();
    let columns: Vec<&About> = CONTENDERS
        .iter()
        .filter(|about| about.kind != Kind::Memory)
        .filter(|column| {
            CONTENDERS.iter().any(|about| {
                column_of(about) == column.name
                    && rows.iter().any(|row| results.get(row.name, about.name).is_some())
            })
        })
        .collect();
    if rows.is_empty() {
        return;
    }
    let names: Vec<&str> = columns.iter().map(|about| about.name).collect();
    writeln!(out, "| {heading} | {} |", names.join(" | ")).unwrap();
    writeln!(out, "|---|{}", "--:|".repeat(names.len())).unwrap();
    for row in rows {
        let cells: Vec<String> = columns
            .iter()
            .map(|column| {
                let stands = CONTENDERS.iter().filter(|about| column_of(about) == column.name);
                let mut figures = stands.filter_map(|about| results.get(row.name, about.name));
                figures.next().and_then(&cell).unwrap_or_default()
            })
            .collect();
        writeln!(out, "| {} | {} |", row.title, cells.join(" | ")).unwrap();
    }
    out.push('\n');
}

fn rate(figures: &Figures) -> Option<String> {
    Some(value("rate", figures.get("rate")?))
}

fn first_pass(figures: &Figures) -> Option<String> {
    Some(value("rate", figures.get("first_rate")?))
}

fn latency(figures: &Figures) -> Option<String> {
    let (p50, p99) = (figures.get("p50_us")?, figures.get("p99_us")?);
    Some(format!("{} / {}", micros(p50), micros(p99)))
}

/// What the workload of many events shows besides its rate.
fn many(out: &mut String, results: &Results) {
    let measured: Vec<_> = CONTENDERS
        .iter()
        .filter_map(|about| Some((about, results.get("many", about.name)?)))
        .collect();
    if measured.is_empty() {
        return;
    }
    writeln!(
        out,
        "| {} | events | seconds to close | bytes per event on disk | peak memory |",
        title("many")
    )
    .unwrap();
    out.push_str("|---|--:|--:|--:|--:|\n");
    for (about, figures) in measured {
        let number = |name| figures.get(name).unwrap_or(f64::NAN);
        writeln!(
            out,
            "| {} | {} | {:.1} | {} | {} |",
            about.name,
            thousands(number("events")),
            number("close_seconds"),
            thousands(number("bytes_per_event")),
            value("peak_mib", number("peak_mib")),
        )
        .unwrap();
    }
    out.push('\n');
}

/// What the workload with cold keys shows besides its rate.
fn cold_keys(out: &mut String, results: &Results) {
    let Some(figures) = results.get("cold-keys", "seriatim") else { return };
    let number = |name| figures.get(name).unwrap_or(f64::NAN);
    writeln!(
        out,
        "With one cold key in ten appends the store took {}, without {}; a cold append took {} µs on \
         average, the others {} µs with cold ones among them and {} µs without.\n",
        value("rate", number("rate")),
        value("rate", number("rate_without")),
        micros(number("cold_us")),
        micros(number("with_us")),
        micros(number("without_us")),
    )
    .unwrap();
}

fn notes(out: &mut String, results: &Results) {
    let measured =
        |name: &str| WORKLOADS.iter().any(|entry| results.get(entry.name, name).is_some());
    for about in CONTENDERS.iter().filter(|about| measured(about.name)) {
        writeln!(out, "- `{}`: {}", about.name, about.description).unwrap();
    }
    if CONTENDERS.iter().any(|about| about.kind == Kind::Peer && measured(about.name)) {
        out.push_str(
            "\nRates count appends; with 1,000 events per append and in replays they count events. \
             \"Memory only\" has this crate's `memory:` under seriatim and redb's in-memory backend \
             under redb-group. A contender that had not written all of the many events after a \
             minute was stopped there, which flatters its rate. eventfold is left out where it would \
             flush 100,000 times and more; redb-one reads as redb-group does.\n",
        );
    }
    for failure in &results.failures {
        writeln!(out, "\n**Failed:** {failure}").unwrap();
    }
}

fn title(workload: &str) -> &'static str {
    WORKLOADS.iter().find(|entry| entry.name == workload).map_or("", |entry| entry.title)
}

fn value(figure: &str, value: f64) -> String {
    match figure {
        "rate" if value >= 10_000.0 => format!("{:.0} k/s", value / 1_000.0),
        "rate" => format!("{:.1} k/s", value / 1_000.0),
        "bytes_per_event" => format!("{value:.0} bytes"),
        "peak_mib" => format!("{value:.0} MiB"),
        _ => format!("{} µs", micros(value)),
    }
}

fn micros(value: f64) -> String {
    if value < 10.0 { format!("{value:.1}") } else { thousands(value) }
}

fn times(quotient: f64) -> String {
    match quotient {
        q if q >= 100.0 => format!("{} ×", thousands(q)),
        q if q >= 10.0 => format!("{q:.1} ×"),
        q => format!("{q:.2} ×"),
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
