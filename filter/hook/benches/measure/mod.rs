//! How benches measure, and the rows that they print.

use std::time::{Duration, Instant};

/// How long to measure.
pub(crate) struct Bench {
    /// Of one run; none to do everything once.
    pub(crate) run: Option<Duration>,
    runs: usize,
}

/// Of one pass through what is measured, in nanoseconds.
struct Cost {
    min: f64,
    median: f64,
}

impl Bench {
    /// As the environment and the arguments say.
    pub(crate) fn from_environment() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "a bench has no args.rs, and cargo bench leaves no other way in"
        )]
        let multiplier = std::env::var("MULTIPLIER").ok();
        let multiplier: f64 = multiplier.map_or(1.0, |text| text.parse().unwrap());
        let args: Vec<_> = std::env::args().skip(1).collect();
        // `cargo test --benches` names no `--bench`.
        let once = args.iter().any(|arg| arg == "--test") || !args.iter().any(|a| a == "--bench");
        Self {
            run: (!once).then(|| Duration::from_millis(40).mul_f64(multiplier)),
            runs: 11,
        }
    }

    fn measure(&self, mut pass: impl FnMut()) -> Option<Cost> {
        pass();
        let run = self.run?;
        let mut passes = 1u32;
        while time(passes, &mut pass) < run && passes < 1 << 30 {
            passes *= 2;
        }
        let mut costs: Vec<_> = (0..self.runs)
            .map(|_| time(passes, &mut pass).as_secs_f64() * 1e9 / f64::from(passes))
            .collect();
        costs.sort_by(f64::total_cmp);
        Some(Cost {
            min: costs[0],
            median: costs[self.runs / 2],
        })
    }

    /// Prints a row; `bytes` are those that one pass hashes.
    pub(crate) fn row(&self, name: &str, bytes: usize, pass: impl FnMut()) {
        let Some(cost) = self.measure(pass) else {
            println!("| {name} | once | | |");
            return;
        };
        let (min, median) = (text(cost.min), text(cost.median));
        let speed = if bytes == 0 {
            String::new()
        } else {
            format!("{:.0}", bytes as f64 * 1000.0 / cost.min)
        };
        println!("| {name} | {min} | {median} | {speed} |");
    }
}

fn time(passes: u32, pass: &mut impl FnMut()) -> Duration {
    #[expect(clippy::disallowed_methods, reason = "a bench owns its clock")]
    let start = Instant::now();
    for _ in 0..passes {
        pass();
    }
    start.elapsed()
}

fn text(nanos: f64) -> String {
    if nanos < 1e3 {
        format!("{nanos:.0} ns")
    } else if nanos < 1e6 {
        format!("{:.1} µs", nanos / 1e3)
    } else {
        format!("{:.2} ms", nanos / 1e6)
    }
}

/// The head of a table of rows.
pub(crate) fn head(title: &str) {
    println!("\n| {title} | min | median | MB/s |\n|---|--:|--:|--:|");
}
