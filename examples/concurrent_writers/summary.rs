//! The outcome on standard output: a table for people, or a line of JSON per mode.

use std::io::{self, Write};

use crate::figures::{count, nanoseconds, of, rate};
use crate::outcome::Outcome;

/// The mode's line of JSON.
pub(crate) fn write_line(out: &mut impl Write, store: &str, outcome: &Outcome) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &outcome.as_line(store))?;
    writeln!(out)?;
    out.flush()
}

/// A table of all modes, and what was verified.
pub(crate) fn write_table(
    out: &mut impl Write,
    store: &str,
    outcomes: &[Outcome],
) -> io::Result<()> {
    let Some(first) = outcomes.first() else { return Ok(()) };
    let (writers, bytes) = (of(first.plan.writers as u64, "writer"), first.plan.payloads.bytes());
    writeln!(out, "{writers}, {}-byte events, {store}\n", count(bytes as u64))?;
    let head =
        ["mode", "aggregates", "committed", "conflicts", "errors", "rate", "p50", "p99", "max"];
    let mut rows = vec![head.map(str::to_owned)];
    for outcome in outcomes {
        let measured = &outcome.measured;
        let counts = measured.counts;
        rows.push([
            outcome.plan.mode.to_string(),
            count(outcome.plan.keys.len() as u64),
            count(counts.committed),
            count(counts.conflicts),
            count(counts.errors),
            format!("{} {}", rate(outcome.per_second()), outcome.plan.mode.unit()),
            nanoseconds(measured.quantile_ns(0.5)),
            nanoseconds(measured.quantile_ns(0.99)),
            nanoseconds(measured.max_ns()),
        ]);
    }
    write_rows(out, &rows)?;
    writeln!(out)?;
    write_verdicts(out, outcomes)
}

/// What was verified, and what is wrong.
pub(crate) fn write_verdicts(out: &mut impl Write, outcomes: &[Outcome]) -> io::Result<()> {
    for outcome in outcomes {
        write_verdict(out, outcome)?;
    }
    out.flush()
}

fn write_rows<const COLUMNS: usize>(
    out: &mut impl Write,
    rows: &[[String; COLUMNS]],
) -> io::Result<()> {
    let widths: [usize; COLUMNS] = std::array::from_fn(|column| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    });
    for row in rows {
        for (index, (cell, width)) in row.iter().zip(widths).enumerate() {
            match index {
                0 => write!(out, "{cell:<width$}")?,
                _ => write!(out, "  {cell:>width$}")?,
            }
        }
        writeln!(out)?;
    }
    Ok(())
}

fn write_verdict(out: &mut impl Write, outcome: &Outcome) -> io::Result<()> {
    let findings = &outcome.findings;
    let verdict = if outcome.is_sound() { "verified" } else { "WRONG" };
    writeln!(
        out,
        "{:<9} {verdict}: lost={} gaps={} duplicates={}  ({} answered, {} read back)",
        outcome.plan.mode,
        findings.lost(),
        findings.gaps,
        findings.duplicates,
        of(findings.answered, "append"),
        of(findings.events, "event"),
    )?;
    let (there, absent) = (findings.indeterminate_found, findings.indeterminate_absent);
    if there + absent > 0 {
        let open = of(there + absent, "append");
        writeln!(
            out,
            "          the fate of {open} was left open: {there} are there, {absent} are not"
        )?;
    }
    let kinds = [
        (findings.missing, "missing"),
        (findings.altered, "altered"),
        (findings.misplaced, "misplaced"),
        (findings.unasked, "unasked"),
        (findings.unlisted, "unlisted"),
    ];
    let found = kinds.into_iter().filter(|(number, _)| *number > 0);
    let found: Vec<_> = found.map(|(number, kind)| format!("{} {kind}", count(number))).collect();
    if !found.is_empty() {
        writeln!(out, "          {}", found.join(", "))?;
    }
    for wrong in outcome.wrongs() {
        writeln!(out, "          - {wrong}")?;
    }
    if let Some(error) = &outcome.complaints.first_error {
        writeln!(out, "          the first error: {error}")?;
    }
    Ok(())
}
