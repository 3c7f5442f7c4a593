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

/// What the cluster holds; `None` where it could not be read.
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
}

impl Point {
    fn fine(topic: &'static str, says: impl Into<String>) -> Self {
        Self {
            topic,
            says: says.into(),
            change: None,
        }
    }

    fn finding(topic: &'static str, says: impl Into<String>, change: impl Into<String>) -> Self {
        Self {
            topic,
            says: says.into(),
            change: Some(change.into()),
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.change {
            None => write!(f, "ok       {}: {}", self.topic, self.says),
            Some(change) => write!(
                f,
                "FINDING  {}: {}\n         change: {change}",
                self.topic, self.says
            ),
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
