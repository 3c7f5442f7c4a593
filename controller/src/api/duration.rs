//! Durations as Go writes them: `1h30m`, `0s`, `1.5h`.

use std::time::Duration;

/// Not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a duration such as 10m, 1h30m or 1.5s, of at most a year")]
pub struct DurationError;

/// The longest duration that means anything here.
const MAX_SECONDS: f64 = 366.0 * 86_400.0;

/// Parses a duration of units `ms`, `s`, `m` and `h`.
///
/// # Errors
/// [`DurationError`] for anything else, and for more than a year.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let mut seconds = 0.0;
    let mut rest = text;
    if text.is_empty() || text.len() > 64 {
        return Err(DurationError);
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or(DurationError)?;
        let (number, after) = rest.split_at(digits);
        let well_formed = number.starts_with(|c: char| c.is_ascii_digit())
            && number.ends_with(|c: char| c.is_ascii_digit());
        let number: f64 = number.parse().map_err(|_| DurationError)?;
        let unit_len = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        let scale = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(DurationError),
        };
        if !well_formed {
            return Err(DurationError);
        }
        seconds += number * scale;
        rest = after;
    }
    if seconds > MAX_SECONDS {
        Err(DurationError)
    } else {
        Ok(Duration::from_secs_f64(seconds))
    }
}

/// A duration as Go prints it: `10m0s`, `1h0m0s`, `1.5s`, `250ms`.
pub fn go_text(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis == 0 {
        return "0s".to_owned();
    }
    if millis < 1_000 {
        return format!("{millis}ms");
    }
    let (minutes, rest) = (millis / 60_000, millis % 60_000);
    let mut seconds = (rest / 1_000).to_string();
    if rest % 1_000 != 0 {
        let fraction = format!(".{:03}", rest % 1_000);
        seconds.push_str(fraction.trim_end_matches('0'));
    }
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (millis, want) in [
            (600_000, "10m0s"),
            (5_400_000, "1h30m0s"),
            (3_600_000, "1h0m0s"),
            (30_000, "30s"),
            (1_500, "1.5s"),
            (61_050, "1m1.05s"),
            (250, "250ms"),
            (0, "0s"),
        ] {
            assert_eq!(go_text(Duration::from_millis(millis)), want);
        }
    }

    #[test]
    fn durations_are_read_as_flux_writes_them() {
        for (text, want) in [
            ("10m", Some(600_000)),
            ("1h30m", Some(5_400_000)),
            ("1.5h", Some(5_400_000)),
            ("0s", Some(0)),
            ("250ms", Some(250)),
            ("", None),
            ("10", None),
            ("m", None),
            ("-1s", None),
            ("1us", None),
            ("1s ", None),
            ("1..5s", None),
            (".5s", None),
            ("99999999999999h", None),
        ] {
            assert_eq!(
                parse(text).ok(),
                want.map(Duration::from_millis),
                "{text:?}"
            );
        }
    }
}
