//! `hookgate edge check`, the pure part: from what an Envoy and a cluster say, point by point, whether the gate is in the
//! path, and what to change where it is not.

mod envoy;
mod policies;
mod routes;

use std::fmt;

use serde_json::Value;

pub use envoy::points as envoy_points;

/// How the filter is put into the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Way {
    /// In Contour's own Envoy, as `edge overlay` prints it
    Pinned,
    /// In an Envoy of our own behind Contour, as `edge gate` prints it
    Gate,
}

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wiring {
    /// How the filter is put into the path.
    pub way: Way,
    /// Namespace of Hookgate.
    pub namespace: String,
    /// The Service that routes name.
    pub service: String,
    /// Its port number.
    pub port: u16,
    /// Contour's namespace.
    pub contour_namespace: String,
}

/// What the cluster holds; `None` where it could not be read, and nothing where there is no such kind.
#[derive(Debug, Clone, Default)]
pub struct Objects {
    /// Contour's HTTPProxies.
    pub proxies: Option<Vec<Value>>,
    /// Ingresses.
    pub ingresses: Option<Vec<Value>>,
    /// HTTPRoutes of the Gateway API.
    pub http_routes: Option<Vec<Value>>,
    /// Services.
    pub services: Option<Vec<Value>>,
    /// NetworkPolicies.
    pub policies: Option<Vec<Value>>,
    /// EndpointSlices.
    pub endpoints: Option<Vec<Value>>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// What it is about, one word.
    pub topic: &'static str,
    /// What was found.
    pub says: String,
    /// What to do about it; `None` where all is well.
    pub change: Option<String>,
    /// Whether it could be looked at.
    pub is_known: bool,
}

impl Point {
    fn fine(topic: &'static str, says: impl Into<String>) -> Self {
        Self {
            topic,
            says: says.into(),
            change: None,
            is_known: true,
        }
    }

    fn finding(topic: &'static str, says: impl Into<String>, change: impl Into<String>) -> Self {
        Self {
            topic,
            says: says.into(),
            change: Some(change.into()),
            is_known: true,
        }
    }

    fn unknown(topic: &'static str, says: impl Into<String>, change: impl Into<String>) -> Self {
        Self {
            is_known: false,
            ..Self::finding(topic, says, change)
        }
    }

    /// Objects of this kind, in the plural of the API, could not be read.
    fn unreadable(topic: &'static str, plural: &str, so_that: &str) -> Self {
        Self::unknown(
            topic,
            format!("{plural} may not be read, so that nobody knows {so_that}"),
            format!("let this user list {plural}"),
        )
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.change {
            None => write!(f, "ok       {}: {}", self.topic, self.says),
            Some(change) => {
                let word = if self.is_known { "FINDING" } else { "UNKNOWN" };
                write!(
                    f,
                    "{word}  {}: {}\n         change: {change}",
                    self.topic, self.says
                )
            }
        }
    }
}

/// What the cluster's objects say.
#[must_use]
pub fn cluster_points(objects: &Objects, wiring: &Wiring) -> Vec<Point> {
    let mut points = routes::points(objects, wiring);
    points.extend(policies::points(objects, wiring));
    points
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

fn list<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests;
