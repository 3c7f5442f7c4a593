//! `hookgate.dev/` annotations on Receivers.
//!
//! A tenant can tighten freely; loosening ends at the operator's caps. What can't be read is never
//! taken for a default: the Receiver is not ready and says why.

use std::collections::BTreeMap;
use std::time::Duration;

use hook::address::Cidr;
use hook::bucket::Limit;
use hook::mac::Hash;

use crate::api::duration;

/// The prefix of every annotation of ours.
const PREFIX: &str = "hookgate.dev/";
/// Ranges in `allowed-addresses`.
const MAX_ADDRESSES: usize = 64;
/// Longer replay windows would only fill the memory.
const MAX_WINDOW: Duration = Duration::from_secs(24 * 3600);
/// A hook waits 9 s at most, so that a longer interval would refuse hooks.
const MAX_INTERVAL: Duration = Duration::from_secs(5);

/// An annotation, as the README's table shows it.
#[derive(Clone, Copy, Debug)]
pub struct Doc {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub value: &'static str,
    /// The flag that gives its default.
    pub default: &'static str,
    /// What it does.
    pub help: &'static str,
}

/// Every annotation that Receivers take.
pub const ANNOTATIONS: &[Doc] = &[
    Doc {
        name: "hookgate.dev/rate",
        value: "hooks per second",
        default: "`--hook-rate`",
        help: "Limit of genuine hooks; capped by `--max-hook-rate`",
    },
    Doc {
        name: "hookgate.dev/burst",
        value: "hooks",
        default: "`--hook-burst`",
        help: "Genuine hooks at once; capped by `--max-hook-burst`",
    },
    Doc {
        name: "hookgate.dev/allowed-addresses",
        value: "address ranges, comma-separated",
        default: "any",
        help: "Clients that may send",
    },
    Doc {
        name: "hookgate.dev/filtered-hook-status",
        value: "200, 202 or 400",
        default: "`--filtered-hook-status`",
        help: "Answer to a genuine hook whose event `spec.events` does not list",
    },
    Doc {
        name: "hookgate.dev/replay-window",
        value: "Go duration",
        default: "`--replay-window`",
        help: "The same hook within this time triggers once",
    },
    Doc {
        name: "hookgate.dev/min-signature-hash",
        value: "sha1, sha256 or sha512",
        default: "`--min-signature-hash`",
        help: "Weakest hash of a signature; `--deny-sha1` holds whatever it says",
    },
    Doc {
        name: "hookgate.dev/trigger-interval",
        value: "Go duration, at most 5s",
        default: "`--trigger-interval`",
        help: "Least time between two reconcile requests for one resource",
    },
    Doc {
        name: "hookgate.dev/flux-recv",
        value: "`true`, or the registryHost",
        default: "off",
        help: "Also serve the path that flux-recv (Flux v1) made from the key",
    },
];

/// The operator's defaults and caps.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// The limit where a Receiver asks for none.
    pub limit: Limit,
    /// The highest limit that a Receiver may ask for.
    pub max_limit: Limit,
    /// The status of filtered hooks.
    pub filtered_status: u16,
    /// The replay window; zero for off.
    pub replay_window: Duration,
    /// The weakest hash.
    pub min_signature_hash: Hash,
    /// Whether SHA-1 is refused whatever a Receiver says.
    pub deny_sha1: bool,
    /// The least time between two reconcile requests.
    pub trigger_interval: Duration,
}

/// What a Receiver's annotations come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The limit of genuine hooks.
    pub limit: Limit,
    /// The clients that may send; empty for all.
    pub addresses: Vec<Cidr>,
    /// The status of filtered hooks.
    pub filtered_status: u16,
    /// The replay window; zero for off.
    pub replay_window: Duration,
    /// The weakest hash.
    pub min_signature_hash: Hash,
    /// The least time between two reconcile requests.
    pub trigger_interval: Duration,
    /// The registryHost under which the flux-recv path is served too.
    pub flux_recv: Option<String>,
    /// Unknown annotations, and values that were capped.
    pub warnings: Vec<String>,
}

/// An annotation that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("annotation {name} is {value:?}; give {wanted}")]
pub struct AnnotationError {
    name: String,
    value: String,
    wanted: &'static str,
}

impl Settings {
    /// Reads a Receiver's annotations.
    ///
    /// # Errors
    /// The first that can't be read.
    pub fn parse(
        annotations: &BTreeMap<String, String>,
        defaults: &Defaults,
    ) -> Result<Self, AnnotationError> {
        let mut settings = Self {
            limit: defaults.limit,
            addresses: Vec::new(),
            filtered_status: defaults.filtered_status,
            replay_window: defaults.replay_window,
            min_signature_hash: defaults.min_signature_hash,
            trigger_interval: defaults.trigger_interval,
            flux_recv: None,
            warnings: Vec::new(),
        };
        for (name, value) in annotations {
            if let Some(key) = name.strip_prefix(PREFIX) {
                let wanted = ANNOTATIONS
                    .iter()
                    .find(|doc| doc.name == name)
                    .map(|doc| doc.value);
                match wanted {
                    None => settings
                        .warnings
                        .push(format!("annotation {name} is not known")),
                    Some(wanted) => settings.set(key, value.trim()).ok_or_else(|| {
                        let value = value.chars().take(64).collect();
                        AnnotationError {
                            name: name.clone(),
                            value,
                            wanted,
                        }
                    })?,
                }
            }
        }
        settings.cap(defaults);
        Ok(settings)
    }

    fn set(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            "rate" => self.limit.millirate = millirate(value)?,
            "burst" => self.limit.burst = value.parse().ok().filter(|burst| *burst > 0)?,
            "allowed-addresses" => self.addresses = addresses(value)?,
            "filtered-hook-status" => {
                self.filtered_status = [200, 202, 400]
                    .into_iter()
                    .find(|status| status.to_string() == value)?;
            }
            "replay-window" => self.replay_window = at_most(value, MAX_WINDOW)?,
            "min-signature-hash" => self.min_signature_hash = Hash::from_name(value.as_bytes())?,
            "trigger-interval" => self.trigger_interval = at_most(value, MAX_INTERVAL)?,
            "flux-recv" if value == "true" => self.flux_recv = Some(String::new()),
            "flux-recv" if is_registry_host(value) => self.flux_recv = Some(value.to_owned()),
            _ => return None,
        }
        Some(())
    }

    fn cap(&mut self, defaults: &Defaults) {
        let mut cap = |value: &mut u32, max: u32, name, flag| {
            if *value > max {
                *value = max;
                self.warnings.push(format!(
                    "annotation {PREFIX}{name} is above {flag}, which holds"
                ));
            }
        };
        cap(
            &mut self.limit.millirate,
            defaults.max_limit.millirate,
            "rate",
            "--max-hook-rate",
        );
        cap(
            &mut self.limit.burst,
            defaults.max_limit.burst,
            "burst",
            "--max-hook-burst",
        );
        if defaults.deny_sha1 {
            self.min_signature_hash = self.min_signature_hash.max(Hash::Sha256);
        }
    }
}

fn millirate(value: &str) -> Option<u32> {
    let plain = value.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let rate: f64 = value.parse().ok().filter(|_| plain)?;
    let milli = (rate * 1000.0).round();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be within u32"
    )]
    (1.0..=f64::from(u32::MAX))
        .contains(&milli)
        .then_some(milli as u32)
}

fn addresses(value: &str) -> Option<Vec<Cidr>> {
    let ranges: Option<Vec<Cidr>> = value
        .split(',')
        .map(|range| range.trim().parse().ok())
        .collect();
    ranges.filter(|ranges| ranges.len() <= MAX_ADDRESSES)
}

fn at_most(value: &str, max: Duration) -> Option<Duration> {
    duration::parse(value)
        .ok()
        .filter(|duration| *duration <= max)
}

/// The value of `hookgate.dev/flux-recv` for a registryHost; empty for none. `None` if no value says it.
pub fn flux_recv(registry_host: &str) -> Option<String> {
    match registry_host {
        "" => Some("true".to_owned()),
        "true" => None,
        host => is_registry_host(host).then(|| host.to_owned()),
    }
}

fn is_registry_host(value: &str) -> bool {
    (1..=253).contains(&value.len())
        && value != "false"
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b".-:".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults() -> Defaults {
        Defaults {
            limit: Limit::per_second(100, 3000),
            max_limit: Limit::per_second(1000, 30_000),
            filtered_status: 200,
            replay_window: Duration::ZERO,
            min_signature_hash: Hash::Sha1,
            deny_sha1: false,
            trigger_interval: Duration::from_secs(1),
        }
    }

    fn parse(name: &str, value: &str) -> Result<Settings, AnnotationError> {
        Settings::parse(
            &BTreeMap::from([(name.to_owned(), value.to_owned())]),
            &defaults(),
        )
    }

    #[test]
    fn each_annotation_is_read() {
        let base = parse("other.dev/rate", "x").unwrap();
        let with = |change: fn(&mut Settings)| {
            let mut settings = base.clone();
            change(&mut settings);
            Ok(settings)
        };
        for (name, value, want) in [
            ("rate", "0.5", with(|s| s.limit.millirate = 500)),
            ("burst", "7", with(|s| s.limit.burst = 7)),
            (
                "allowed-addresses",
                "192.0.2.0/24, ::1",
                with(|s| {
                    s.addresses = vec!["192.0.2.0/24".parse().unwrap(), "::1".parse().unwrap()]
                }),
            ),
            (
                "filtered-hook-status",
                "400",
                with(|s| s.filtered_status = 400),
            ),
            (
                "replay-window",
                "5m",
                with(|s| s.replay_window = Duration::from_secs(300)),
            ),
            (
                "min-signature-hash",
                "sha256",
                with(|s| s.min_signature_hash = Hash::Sha256),
            ),
            (
                "trigger-interval",
                "250ms",
                with(|s| s.trigger_interval = Duration::from_millis(250)),
            ),
            (
                "flux-recv",
                "true",
                with(|s| s.flux_recv = Some(String::new())),
            ),
            (
                "flux-recv",
                "nexus.example:8443",
                with(|s| s.flux_recv = Some("nexus.example:8443".into())),
            ),
        ] {
            assert_eq!(
                parse(&format!("hookgate.dev/{name}"), value),
                want,
                "{name}={value}"
            );
        }
    }

    #[test]
    fn what_cannot_be_read_is_an_error_that_says_what_to_give() {
        for (name, value) in [
            ("rate", "0"),
            ("rate", "-1"),
            ("rate", "NaN"),
            ("rate", "1e9"),
            ("rate", ""),
            ("burst", "0"),
            ("burst", "1.5"),
            ("allowed-addresses", "host"),
            ("allowed-addresses", ""),
            ("filtered-hook-status", "204"),
            ("replay-window", "1w"),
            ("replay-window", "48h"),
            ("min-signature-hash", "md5"),
            ("trigger-interval", "1m"),
            ("flux-recv", "false"),
            ("flux-recv", "a/b"),
        ] {
            let error = parse(&format!("hookgate.dev/{name}"), value)
                .unwrap_err()
                .to_string();
            assert!(error.contains(name) && error.contains("; give "), "{error}");
        }
    }

    #[test]
    fn unknown_annotations_and_capped_values_are_told() {
        assert_eq!(
            parse("hookgate.dev/rates", "1").unwrap().warnings,
            ["annotation hookgate.dev/rates is not known"]
        );
        let capped = parse("hookgate.dev/burst", "40000").unwrap();
        assert_eq!(capped.limit.burst, 30_000);
        assert_eq!(
            capped.warnings,
            ["annotation hookgate.dev/burst is above --max-hook-burst, which holds"]
        );
    }

    #[test]
    fn an_operator_who_denies_sha1_is_obeyed() {
        let defaults = Defaults {
            deny_sha1: true,
            ..defaults()
        };
        let annotations = BTreeMap::from([(
            "hookgate.dev/min-signature-hash".to_owned(),
            "sha1".to_owned(),
        )]);
        let settings = Settings::parse(&annotations, &defaults).unwrap();
        assert_eq!(settings.min_signature_hash, Hash::Sha256);
    }
}
