//! The report's two plots, as SVG that takes its colours from the page's style: rates over time as
//! steps, and the distribution of latencies as bars on a logarithmic axis.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::figures;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 34.0;
/// Room over the bars for what the lines through them mean.
const LEGEND: f64 = 52.0;

/// About so many ticks on an axis of full length.
const TICKS: f64 = 5.0;

/// Bars per factor of ten.
const BARS_PER_DECADE: f64 = 12.0;
/// Bars of less are left out.
const RAREST_PERCENT: f64 = 0.02;

/// A stretch of time: from, to (in seconds), the rate then, and what is told when the pointer is over it.
pub(crate) struct Step {
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) rate: f64,
    pub(crate) told: String,
}

/// A rate over time, in a plot that takes this share of the full height. The class colours it.
pub(crate) fn rates(steps: &[Step], name: &str, class: &str, share: f64) -> String {
    let height = HEIGHT * share;
    let base = height - BOTTOM;
    let end = steps.last().map_or(1.0, |step| step.to).max(f64::MIN_POSITIVE);
    let most = steps.iter().map(|step| step.rate).fold(0.0, f64::max);
    let vertical = ticks(most, (TICKS * share).ceil());
    let top = vertical.last().copied().unwrap_or(1.0);
    let x = |seconds: f64| LEFT + seconds / end * (WIDTH - LEFT - RIGHT);
    let y = |rate: f64| base - rate / top * (base - TOP);

    let mut svg = open(height, &format!("{name} over time"));
    for tick in &vertical {
        grid_line(&mut svg, y(*tick), &figures::short(*tick));
    }
    for tick in ticks(end, TICKS).into_iter().filter(|tick| *tick <= end) {
        below(&mut svg, x(tick), base, &format!("{} s", figures::short(tick)));
    }
    let mut line = String::new();
    for Step { from, to, rate, .. } in steps {
        let command = if line.is_empty() { "M" } else { "L" };
        let (from, to, y) = (x(*from), x(*to), y(*rate));
        let _ = write!(line, "{command}{from:.1},{y:.1} L{to:.1},{y:.1} ");
    }
    let (first, last) = (x(0.0), x(end));
    let _ = write!(
        svg,
        r#"<path class="area {class}" d="{line}L{last:.1},{base} L{first:.1},{base} Z"/><path class="line {class}" d="{line}"/>"#
    );
    for Step { from, to, told, .. } in steps {
        let (from, width, height) = (x(*from), x(*to) - x(*from), base - TOP);
        let _ = write!(
            svg,
            r#"<rect class="hover" x="{from:.1}" y="{TOP}" width="{width:.1}" height="{height}"><title>{told}</title></rect>"#
        );
    }
    close(svg, base)
}

/// How often which latency was met: `(nanoseconds, times)`. The marks are lines with a name.
pub(crate) fn latencies(recorded: &[(f64, u64)], marks: &[(&str, f64)]) -> String {
    let bar_of = |ns: f64| (ns.max(1.0).log10() * BARS_PER_DECADE).floor() as i64;
    let all: u64 = recorded.iter().map(|(_, times)| times).sum();
    let mut bars: BTreeMap<i64, u64> = BTreeMap::new();
    for (ns, times) in recorded {
        *bars.entry(bar_of(*ns)).or_default() += times;
    }
    let share = |times: u64| times as f64 * 100.0 / all as f64;
    // One answer in a million, far off, must not squeeze all others into a corner.
    bars.retain(|_, times| share(*times) >= RAREST_PERCENT);
    let (Some(low), Some(high)) = (bars.keys().next(), bars.keys().next_back()) else {
        return r#"<p class="none">nothing was timed</p>"#.to_owned();
    };
    let (low, high) = (low - 1, high + 2);
    let vertical = ticks(bars.values().copied().map(share).fold(0.0, f64::max), TICKS);
    let top = vertical.last().copied().unwrap_or(1.0);
    let step = (WIDTH - LEFT - RIGHT) / (high - low) as f64;
    let x = |ns: f64| LEFT + (ns.log10() * BARS_PER_DECADE - low as f64) * step;
    let base = HEIGHT - BOTTOM;
    let y = |percent: f64| base - percent / top * (base - TOP - LEGEND);

    let mut svg = open(HEIGHT, "distribution of latencies");
    for tick in &vertical {
        grid_line(&mut svg, y(*tick), &format!("{} %", figures::short(*tick)));
    }
    for tick in decades(low, high) {
        below(&mut svg, x(tick), base, &figures::nanoseconds_short(tick));
    }
    let edge = |bar: i64| 10f64.powf(bar as f64 / BARS_PER_DECADE);
    for (bar, times) in bars {
        let percent = share(times);
        // The rarest latency is still seen.
        let height = (base - y(percent)).max(1.0);
        let (from, to) = (figures::nanoseconds(edge(bar)), figures::nanoseconds(edge(bar + 1)));
        let _ = write!(
            svg,
            r#"<rect class="bar" x="{:.1}" y="{:.1}" width="{:.1}" height="{height:.1}" rx="1"><title>{from} to {to}: {percent:.3} %, {} times</title></rect>"#,
            x(edge(bar)) + 0.5,
            base - height,
            (step - 1.0).max(0.5),
            figures::count(times)
        );
    }
    for (row, (name, ns)) in marks.iter().enumerate() {
        let beyond = if x(*ns) > WIDTH - RIGHT { " →" } else { "" };
        let at = x(*ns).min(WIDTH - RIGHT);
        let height = TOP + 10.0 + row as f64 * 15.0;
        let (anchor, shift) = if at > WIDTH * 0.7 { ("end", -5.0) } else { ("start", 5.0) };
        let _ = write!(
            svg,
            r#"<line class="mark" x1="{at:.1}" x2="{at:.1}" y1="{:.1}" y2="{base}"/><text class="marked" x="{:.1}" y="{height:.1}" text-anchor="{anchor}">{name} {}{beyond}</text>"#,
            height - 9.0,
            at + shift,
            figures::nanoseconds(*ns)
        );
    }
    close(svg, base)
}

fn open(height: f64, label: &str) -> String {
    format!(r#"<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}">"#)
}

fn close(mut svg: String, base: f64) -> String {
    let right = WIDTH - RIGHT;
    let _ = write!(
        svg,
        r#"<line class="axis" x1="{LEFT}" x2="{right}" y1="{base}" y2="{base}"/></svg>"#
    );
    svg
}

fn grid_line(svg: &mut String, y: f64, label: &str) {
    let (right, beside) = (WIDTH - RIGHT, LEFT - 8.0);
    let _ = write!(
        svg,
        r#"<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1}" y2="{y:.1}"/><text x="{beside}" y="{:.1}" text-anchor="end">{label}</text>"#,
        y + 4.0
    );
}

fn below(svg: &mut String, x: f64, base: f64, label: &str) {
    let (tick, baseline) = (base + 5.0, base + 21.0);
    let _ = write!(
        svg,
        r#"<line class="axis" x1="{x:.1}" x2="{x:.1}" y1="{base}" y2="{tick}"/><text x="{x:.1}" y="{baseline}" text-anchor="middle">{label}</text>"#
    );
}

/// About so many round numbers, from zero to `most` or a little over it.
fn ticks(most: f64, number: f64) -> Vec<f64> {
    let most = most.max(1e-3);
    let rough = most / number;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= rough)
        .unwrap_or(10.0 * power);
    (0..=(most / step).ceil() as u32).map(|index| f64::from(index) * step).collect()
}

/// Powers of ten (with twos and fives between them where there is room) among these bars.
fn decades(low: i64, high: i64) -> Vec<f64> {
    let (low, high) = (low as f64 / BARS_PER_DECADE, high as f64 / BARS_PER_DECADE);
    let factors: &[f64] = match high - low {
        span if span <= 3.0 => &[1.0, 2.0, 5.0],
        _ => &[1.0],
    };
    let powers = low.floor() as i32..=high.ceil() as i32;
    let all = powers.flat_map(|power| factors.iter().map(move |factor| factor * 10f64.powi(power)));
    all.filter(|ns| (low..=high).contains(&ns.log10())).collect()
}
