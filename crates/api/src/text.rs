//! Amounts as people read them.

use std::time::Duration;

/// `1,204`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 packet`, `1,204 packets`. For words that take an `s`.
pub fn counted(number: u64, word: &str) -> String {
    format!("{} {word}{}", count(number), if number == 1 { "" } else { "s" })
}

/// `512 B`, `1.5 KiB`, `41 MiB`.
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if number < 1024 {
        return format!("{number} B");
    }
    let (mut amount, mut unit) = (number as f64 / 1024.0, 0);
    while amount >= 1023.5 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    format!("{} {}", short(amount), UNITS[unit])
}

/// `61 µs`, `3.2 ms`, `1.5 s`, `2 min 10 s`, `3 h`, `12 days`.
pub fn span(duration: Duration) -> String {
    let (micros, seconds) = (duration.as_micros(), duration.as_secs());
    match seconds {
        0 if micros < 1000 => format!("{micros} µs"),
        0 => format!("{} ms", short(micros as f64 / 1000.0)),
        1..60 => format!("{} s", short(duration.as_secs_f64())),
        60..600 if !seconds.is_multiple_of(60) => {
            format!("{} min {} s", seconds / 60, seconds % 60)
        }
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// `18.2k/s`, `312/s`, `0.4/s`.
pub fn rate(per_second: f64) -> String {
    if per_second >= 999.5 {
        format!("{}k/s", short(per_second / 1000.0))
    } else {
        format!("{}/s", short(per_second))
    }
}

/// One digit after the point below 100, unless it is a zero.
fn short(amount: f64) -> String {
    let text = if amount < 99.95 { format!("{amount:.1}") } else { format!("{amount:.0}") };
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts() {
        let counts = [0, 999, 1_000, 1_234_567].map(count);
        assert_eq!(counts, ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([counted(1, "rule"), counted(0, "rule")], ["1 rule", "0 rules"]);
        let sizes = [0, 1023, 1024, 1536, 41 << 20, (1 << 30) - 1, u64::MAX].map(bytes);
        assert_eq!(sizes, ["0 B", "1023 B", "1 KiB", "1.5 KiB", "41 MiB", "1 GiB", "16384 PiB"]);
        assert_eq!([0.0, 0.44, 312.0, 18_210.0].map(rate), ["0/s", "0.4/s", "312/s", "18.2k/s"]);
    }

    #[test]
    fn spans() {
        let check = |micros, expect: &str| assert_eq!(span(Duration::from_micros(micros)), expect);
        check(61, "61 µs");
        check(3_200, "3.2 ms");
        check(140_000, "140 ms");
        check(1_500_000, "1.5 s");
        check(130_000_000, "2 min 10 s");
        check(120_000_000, "2 min");
        check(3 * 3_600_000_000, "3 h");
        check(12 * 86_400_000_000, "12 days");
    }
}
