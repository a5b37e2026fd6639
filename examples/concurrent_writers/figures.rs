//! Numbers as people read them.

/// `1234567` as `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate per second, without decimals unless it is small.
pub(crate) fn rate(per_second: f64) -> String {
    if per_second > 0.0 && per_second < 10.0 {
        format!("{per_second:.1}")
    } else {
        count(per_second.round() as u64)
    }
}

fn in_unit(ns: f64) -> (f64, &'static str) {
    match ns {
        _ if ns < 999.5 => (ns, "ns"),
        _ if ns < 999_500.0 => (ns / 1e3, "µs"),
        _ if ns < 999_500_000.0 => (ns / 1e6, "ms"),
        _ => (ns / 1e9, "s"),
    }
}

/// Nanoseconds in the unit that suits them, with three digits.
pub(crate) fn nanoseconds(ns: f64) -> String {
    let (value, unit) = in_unit(ns);
    let digits = if unit == "ns" || value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$} {unit}")
}

/// A number for an axis: `50k`, `1.5M`.
pub(crate) fn short(number: f64) -> String {
    let (value, unit) = match number {
        _ if number >= 1e6 => (number / 1e6, "M"),
        _ if number >= 1e3 => (number / 1e3, "k"),
        _ => (number, ""),
    };
    format!("{}{unit}", (value * 100.0).round() / 100.0)
}

/// Round nanoseconds for an axis: `200 µs`.
pub(crate) fn nanoseconds_short(ns: f64) -> String {
    let (value, unit) = in_unit(ns);
    format!("{} {unit}", (value * 100.0).round() / 100.0)
}

/// `1 event`, `2 events`.
pub(crate) fn of(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {what}{plural}", count(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        assert_eq!([count(0), count(999), count(1_234_567)], ["0", "999", "1,234,567"]);
        assert_eq!([rate(0.0), rate(0.5), rate(98_231.4)], ["0", "0.5", "98,231"]);
        assert_eq!(
            [850.0, 1_640.0, 42_000.0, 312_000.0, 7_250_000.0, 2e9].map(nanoseconds),
            ["850 ns", "1.64 µs", "42.0 µs", "312 µs", "7.25 ms", "2.00 s"]
        );
        assert_eq!([0.0, 2.5, 50_000.0, 1_500_000.0].map(short), ["0", "2.5", "50k", "1.5M"]);
        assert_eq!([of(1, "event"), of(1_000, "event")], ["1 event", "1,000 events"]);
    }
}
