//! The table of the README: ratios, their budgets, and how they were measured.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::time::Duration;

use crate::bodies::Bodies;
use crate::controller::Controller;
use crate::edge::Table;
use crate::events::Events;
use crate::flood::Flood;
use crate::load::Sample;
use crate::scenario::name;
use crate::ways::Waits;

/// What is compared with what, and the ratio that is wanted at least.
const COMPARED: [(&str, &str, &str); 9] = [
    (name::UNKNOWN, name::ABORT, "0.80"),
    (name::FORGED, name::ABORT, "0.28"),
    (name::FORGED, name::AUTHZ_FORGED, "1.30"),
    (name::GENUINE, name::CHAIN, "0.55"),
    (name::GENUINE, name::AUTHZ_GENUINE, ""),
    (name::GENUINE, name::ROUTE, ""),
    (name::UNKNOWN, name::DIRECT, ""),
    (name::UNKNOWN, name::LOCAL, ""),
    (name::UNKNOWN, name::LUA, ""),
];

/// All that was measured.
#[derive(Debug)]
pub(crate) struct Report {
    rounds: usize,
    filter_bytes: u64,
    samples: BTreeMap<&'static str, Vec<Sample>>,
    bodies: Option<(Bodies, Bodies)>,
    flood: Option<Flood>,
    tables: Vec<Table>,
    controller: Option<Controller>,
    events: Option<Events>,
    ways: Vec<Waits>,
}

impl Report {
    pub(crate) fn new(rounds: usize, filter_bytes: u64) -> Self {
        Self {
            rounds,
            filter_bytes,
            samples: BTreeMap::new(),
            bodies: None,
            flood: None,
            tables: Vec::new(),
            controller: None,
            events: None,
            ways: Vec::new(),
        }
    }

    /// One round of a scenario.
    pub(crate) fn add(&mut self, scenario: &'static str, sample: Sample) {
        self.samples.entry(scenario).or_default().push(sample);
    }

    /// Bodies with the filter and without.
    pub(crate) fn bodies(&mut self, with: Bodies, without: Bodies) {
        self.bodies = Some((with, without));
    }

    /// Genuine hooks beside a flood.
    pub(crate) fn flood(&mut self, flood: Flood) {
        self.flood = Some(flood);
    }

    /// What a table took more than the smallest.
    pub(crate) fn table_memory(&mut self, table: Table) {
        self.tables.push(table);
    }

    /// What the controller takes.
    pub(crate) fn controller(&mut self, controller: Controller) {
        self.controller = Some(controller);
    }

    /// What became of events.
    pub(crate) fn events(&mut self, events: Events) {
        self.events = Some(events);
    }

    /// What a way behind Contour costs.
    pub(crate) fn ways(&mut self, waits: Waits) {
        self.ways.push(waits);
    }

    /// The same kind of request by the first way.
    fn first_way(&self, what: &str) -> Option<&Waits> {
        self.ways.iter().find(|waits| waits.what == what)
    }

    /// The ratio of rates per Envoy CPU second, round by round: least, median, most.
    fn ratio(&self, what: &str, than: &str) -> [f64; 3] {
        let of = |name: &str| self.samples.get(name).map_or(&[][..], Vec::as_slice);
        let mut ratios: Vec<f64> = of(what)
            .iter()
            .zip(of(than))
            .map(|(what, than)| than.cpu_microseconds / what.cpu_microseconds)
            .collect();
        ratios.sort_unstable_by(f64::total_cmp);
        let at = |index: usize| ratios.get(index).copied().unwrap_or(f64::NAN);
        [
            at(0),
            at(ratios.len() / 2),
            at(ratios.len().saturating_sub(1)),
        ]
    }

    fn tables_compared(&self) -> impl Iterator<Item = (&'static str, usize)> {
        [name::UNKNOWN_MORE, name::UNKNOWN_MOST]
            .into_iter()
            .zip(self.tables.iter().map(|table| table.hooks))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| what | compared with | rate per CPU second: median (least–most) | budget |"
        )?;
        writeln!(f, "| --- | --- | --- | --- |")?;
        for (what, than, budget) in COMPARED {
            let [least, median, most] = self.ratio(what, than);
            writeln!(
                f,
                "| {what} | {than} | {median:.2} ({least:.2}–{most:.2}) | {budget} |"
            )?;
        }
        for (what, hooks) in self.tables_compared() {
            let [least, median, most] = self.ratio(what, name::UNKNOWN);
            writeln!(
                f,
                "| unknown path, {hooks} hooks | the same with 10 | {median:.2} ({least:.2}–{most:.2}) | 0.95 |"
            )?;
        }
        if let Some((with, without)) = self.bodies {
            let ratio = with.stall.as_secs_f64() / without.stall.as_secs_f64();
            writeln!(
                f,
                "| longest stall of another request by a 25 MiB body: {:.1} ms | without the filter: {:.1} ms | {ratio:.2} | at most 1.50 |",
                with.stall.as_secs_f64() * 1e3,
                without.stall.as_secs_f64() * 1e3
            )?;
            writeln!(
                f,
                "| memory grown by more bodies of 25 MiB: {} | without the filter: {} | | flat |",
                megabytes(with.grown_bytes),
                megabytes(without.grown_bytes)
            )?;
        }
        if let Some(flood) = self.flood {
            let [quiet, flooded] =
                [flood.quiet_p99, flood.flooded_p99].map(|wait| wait.as_secs_f64() * 1e3);
            writeln!(
                f,
                "| p99 of a genuine hook during {:.0} forged ones a second on 512 connections: {flooded:.1} ms | with nothing else: {quiet:.1} ms | {:.1} | at most 3.0 |",
                flood.forged_per_second,
                flooded / quiet
            )?;
        }
        for table in &self.tables {
            writeln!(
                f,
                "| Envoy's memory, {} hooks: one worker +{}, each further one +{} | with 10 | | 10,000: under 32 MB a worker |",
                table.hooks,
                megabytes(table.first),
                megabytes(table.further)
            )?;
        }
        if let Some(controller) = self.controller {
            writeln!(
                f,
                "| the controller's memory, {} Receivers, all ready after {:.1} s: {} | with none: {} | | 1,000: a quarter of notification-controller's 102 MB |",
                controller.receivers,
                controller.ready_after.as_secs_f64(),
                megabytes(controller.resident),
                megabytes(controller.bare)
            )?;
        }
        if let Some(events) = self.events {
            writeln!(
                f,
                "| {} events, each on disk before its 202: {:.0} a second, all delivered after {:.1} s over {} connections | memory after a quarter of the time: {} | at the end: {} | three times notification-controller's 3,378; flat; 32 connections |",
                events.accepted,
                events.per_second,
                events.delivered_after.as_secs_f64(),
                events.connections,
                megabytes(events.early),
                megabytes(events.late)
            )?;
        }
        writeln!(
            f,
            "| filter.wasm | | {} bytes | 300000 |",
            self.filter_bytes
        )?;
        writeln!(
            f,
            "\n| scenario | requests/s | Envoy CPU, µs each |\n| --- | --- | --- |"
        )?;
        for (name, samples) in &self.samples {
            let rate = median(samples.iter().map(|sample| sample.rate));
            let cpu = median(samples.iter().map(|sample| sample.cpu_microseconds));
            writeln!(f, "| {name} | {rate:.0} | {cpu:.1} |")?;
        }
        writeln!(
            f,
            "\n| behind Contour | way | p50, µs | p99, µs | p50 to that of the route |\n| --- | --- | --- | --- | --- |"
        )?;
        for waits in &self.ways {
            let p50 = quantile(&waits.waits, 50);
            let route = self
                .first_way(waits.what)
                .map(|held| quantile(&held.waits, 50));
            writeln!(
                f,
                "| {} | {} | {p50:.0} | {:.0} | {:.2} |",
                waits.what,
                waits.way,
                quantile(&waits.waits, 99),
                p50 / route.unwrap_or(f64::NAN)
            )?;
        }
        write!(
            f,
            "\n`cargo bench-gate`: {} interleaved rounds, Envoy {} with one worker, 32 connections, {}",
            self.rounds,
            e2e::binaries::ENVOY,
            processor()
        )
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Microseconds below which so many hundredths of the waits are, which are sorted.
fn quantile(waits: &[Duration], hundredths: usize) -> f64 {
    let at = waits.len() * hundredths / 100;
    waits
        .get(at)
        .map_or(f64::NAN, |wait| wait.as_secs_f64() * 1e6)
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    // Not what this process may use: it has pinned itself.
    let cores = text
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    format!(
        "{cores} cores, {}",
        model.map_or("unknown processor", |(_, name)| name)
    )
}
