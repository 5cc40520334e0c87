//! Times and spans, to and from people.

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use std::time::Duration;

/// A moment as users give it: a span before now (`5m`, `1h30m`) or an RFC 3339 time.
pub fn parse(text: &str) -> Result<prost_types::Timestamp, String> {
    let moment = match text.parse::<SignedDuration>() {
        Ok(span) => Timestamp::now().checked_sub(span.abs()).map_err(|error| error.to_string())?,
        Err(_) => text.parse::<Timestamp>().map_err(|_| {
            "write a span before now such as 5m or 1h30m, or a time such as \
             2026-01-31T14:02:11Z"
                .to_owned()
        })?,
    };
    Ok(prost_types::Timestamp { seconds: moment.as_second(), nanos: moment.subsec_nanosecond() })
}

/// A span as users give it: `1s`, `500ms`. Must be longer than nothing.
pub fn parse_span(text: &str) -> Result<Duration, String> {
    let span = text.parse::<SignedDuration>().map_err(|error| error.to_string())?;
    match Duration::try_from(span) {
        Ok(span) if !span.is_zero() => Ok(span),
        _ => Err("must be longer than 0, for example 500ms or 2s".to_owned()),
    }
}

/// `14:02:11.318`, in the machine's time zone.
pub fn clock(time: Option<prost_types::Timestamp>, zone: &TimeZone) -> String {
    let moment = time.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok());
    match moment {
        Some(moment) => moment.to_zoned(zone.clone()).strftime("%H:%M:%S.%3f").to_string(),
        None => "-".to_owned(),
    }
}

/// `3 h`, or `-` if unknown.
pub fn age(span: Option<prost_types::Duration>) -> String {
    match span.and_then(|span| Duration::try_from(span).ok()) {
        // Nobody wants to know the milliseconds of an age.
        Some(span) => api::text::span(Duration::from_secs(span.as_secs())).replace("0 µs", "0 s"),
        None => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        let time = parse("2026-01-31T14:02:11.318Z").unwrap();
        assert_eq!(clock(Some(time), &TimeZone::UTC), "14:02:11.318");
        let now = Timestamp::now().as_second();
        assert!((now - parse("5m").unwrap().seconds - 300).abs() <= 2);
        assert!(parse("yesterday").is_err());
        assert!(parse_span("0s").is_err());
        assert_eq!(parse_span("500ms"), Ok(Duration::from_millis(500)));
    }

    #[test]
    fn ages() {
        let age = |seconds, nanos| age(Some(prost_types::Duration { seconds, nanos }));
        assert_eq!([age(0, 5), age(61, 7), age(90_000, 0)], ["0 s", "1 min 1 s", "25 h"]);
        assert_eq!(super::age(None), "-");
    }
}
