//! Figures: how they are measured and shown.

use std::{
    io::{self, Write as _},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use relay_tests::{Shell, binaries};
use serde_json::{Value, json};
use wait4::Wait4 as _;

/// A figure and the most that it may be.
pub(crate) struct Figure {
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    pub(crate) limit: f64,
    /// The medians that a ratio is made of, in milliseconds.
    pub(crate) of: Option<(f64, f64)>,
}

/// What one run of a command took.
pub(crate) struct Run {
    pub(crate) wall: Duration,
    /// The most memory it had at a time, in bytes.
    pub(crate) peak: u64,
}

/// The median of how long `ours` takes for each unit of time that `theirs` takes.
pub(crate) fn ratio(
    what: &str,
    limit: f64,
    count: usize,
    ours: impl Fn() -> Command,
    theirs: impl Fn() -> Command,
) -> Figure {
    let pairs = pairs(count, ours, theirs);
    Figure {
        what: what.to_owned(),
        value: median(pairs.iter().map(|(ours, theirs)| ours / theirs)),
        unit: "",
        limit,
        of: Some((
            median(pairs.iter().map(|pair| pair.0)),
            median(pairs.iter().map(|pair| pair.1)),
        )),
    }
}

/// How long all of `ours` take for each unit of time that all of `theirs` take; the
/// means stand in for the medians.
pub(crate) fn mean_ratio(
    what: &str,
    limit: f64,
    count: usize,
    ours: impl Fn() -> Command,
    theirs: impl Fn() -> Command,
) -> Figure {
    let pairs = pairs(count, ours, theirs);
    let mean = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / pairs.len() as f64;
    let (ours, theirs) = (mean(|pair| pair.0), mean(|pair| pair.1));
    Figure {
        what: what.to_owned(),
        value: ours / theirs,
        unit: "",
        limit,
        of: Some((ours, theirs)),
    }
}

/// Runs both commands in turn, and returns how many milliseconds each took.
fn pairs(count: usize, ours: impl Fn() -> Command, theirs: impl Fn() -> Command) -> Vec<(f64, f64)> {
    // The first run of each reads its program from the disk.
    run(ours());
    run(theirs());
    let pairs = (0..count).map(|turn| match turn % 2 {
        0 => {
            let ours = run(ours());
            (ours, run(theirs()))
        }
        _ => {
            let theirs = run(theirs());
            (run(ours()), theirs)
        }
    });
    pairs
        .map(|(ours, theirs)| (milliseconds(ours.wall), milliseconds(theirs.wall)))
        .collect()
}

pub(crate) fn command(shell: &Shell, program: &str, arguments: &[&str]) -> Command {
    let mut command = shell.command(program);
    command
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Runs a command to its end, which has to be a good one.
pub(crate) fn run(mut command: Command) -> Run {
    let start = Instant::now();
    let ended = command.spawn().and_then(|mut child| child.wait4());
    let ended = ended.unwrap_or_else(|err| panic!("failed to run {command:?}: {err}"));
    assert!(ended.status.success(), "{command:?} ended with {}", ended.status);
    Run {
        wall: start.elapsed(),
        peak: ended.rusage.maxrss,
    }
}

pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

pub(crate) fn report(figures: &[Figure]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{:<46} {:>14} {:>14}  MEDIANS",
        "FIGURE", "MEASURED", "AT MOST"
    )?;
    for figure in figures {
        let Figure {
            what,
            value,
            unit,
            limit,
            ..
        } = figure;
        let [value, limit] = [value, limit].map(|number| match unit.is_empty() {
            _ if number.is_infinite() => "-".to_owned(),
            true => format!("{number:.3}"),
            false => format!("{number:.1} {unit}"),
        });
        let of = figure
            .of
            .map(|(ours, theirs)| format!("  {ours:.1} / {theirs:.1} ms"));
        let missed = if figure.is_missed() { "  MISSED" } else { "" };
        writeln!(
            out,
            "{what:<46} {value:>14} {limit:>14}{}{missed}",
            of.unwrap_or_default()
        )?;
    }
    let figures: Vec<_> = figures.iter().map(Figure::to_json).collect();
    let path = binaries::target_directory().join("bench.json");
    std::fs::write(&path, format!("{:#}\n", Value::from(figures)))?;
    writeln!(out, "\nAlso in {}.", path.display())
}

impl Figure {
    fn is_missed(&self) -> bool {
        self.value > self.limit
    }

    fn to_json(&self) -> Value {
        json!({
            "figure": self.what,
            "measured": self.value,
            "atMost": self.limit,
            "unit": self.unit,
            "missed": self.is_missed(),
            "milliseconds": self.of.map(|(ours, theirs)| json!({ "ours": ours, "theirs": theirs })),
        })
    }
}
