//! What one measurement found: named numbers, passed from the measuring process to the one that makes
//! the table as one line of text, and medians of several.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

/// What begins the line; contenders print lines of their own.
const PREFIX: &str = "figures: ";

/// Named numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Figures(BTreeMap<String, f64>);

impl Figures {
    pub(crate) fn with(mut self, name: &str, value: f64) -> Self {
        self.0.insert(name.to_owned(), value);
        self
    }

    /// The median and the 99th percentile of latencies in nanoseconds, as microseconds.
    pub(crate) fn with_latencies(self, latencies: &Latencies) -> Self {
        let at = |quantile| latencies.value_at_quantile(quantile) as f64 / 1_000.0;
        self.with("p50_us", at(0.5)).with("p99_us", at(0.99))
    }

    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    pub(crate) fn to_line(&self) -> String {
        let numbers: Vec<String> =
            self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("{PREFIX}{}", numbers.join(" "))
    }

    /// From all that a measuring process printed.
    pub(crate) fn from_output(output: &str) -> Option<Self> {
        let line = output.lines().find_map(|line| line.strip_prefix(PREFIX))?;
        let number = |entry: &str| {
            let (name, value) = entry.split_once('=')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        line.split_whitespace().map(number).collect::<Option<_>>().map(Figures)
    }

    /// For every name the median of what the measurements found; of an even number, the lower one.
    pub(crate) fn median(measurements: &[Figures]) -> Self {
        let mut medians = BTreeMap::new();
        for name in measurements.iter().flat_map(|figures| figures.0.keys()) {
            let mut values: Vec<f64> = measurements.iter().filter_map(|f| f.get(name)).collect();
            values.sort_by(f64::total_cmp);
            medians.insert(name.clone(), values[(values.len() - 1) / 2]);
        }
        Figures(medians)
    }
}

/// Latencies in nanoseconds, to two digits: small, because each writer has one of its own.
pub(crate) type Latencies = Histogram<u32>;

pub(crate) fn latencies() -> Latencies {
    Histogram::new(2).unwrap()
}

pub(crate) fn record(latencies: &mut Latencies, latency: Duration) {
    latencies.record(latency.as_nanos() as u64).unwrap();
}

pub(crate) fn merged(all: impl IntoIterator<Item = Latencies>) -> Latencies {
    let mut sum = latencies();
    for part in all {
        sum.add(part).unwrap();
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_back_between_others() {
        let figures = Figures::default().with("rate", 1234.5).with("p99_us", 0.1);
        let output = format!("opened\n{}\nclosed\n", figures.to_line());
        assert_eq!(Figures::from_output(&output), Some(figures));
        assert_eq!(Figures::from_output("opened\n"), None);
    }

    #[test]
    fn the_median_is_taken_of_each_figure() {
        let measured = [(3.0, 10.0), (1.0, 30.0), (2.0, 20.0)]
            .map(|(a, b)| Figures::default().with("a", a).with("b", b));
        let median = Figures::median(&measured);
        assert_eq!((median.get("a"), median.get("b")), (Some(2.0), Some(20.0)));
    }
}
