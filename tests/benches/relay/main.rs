//! How fast the plugins are, as ratios to what they replace: `cargo bench`.
//!
//! Each pair of commands runs alternately, so that whatever else the machine does
//! hits both; a ratio is the median over the pairs, or the mean where what varies is
//! luck. The table goes to stdout, and as JSON into `target/bench.json`.
//! `RELAY_BIN_DIR` measures other binaries, such as those that are shipped; a word
//! after `--` measures only figures of that chapter: `cargo bench -- fleet`.

use std::process::ExitCode;

mod address;
mod certs;
mod figure;
mod fleet;

use figure::Figure;

/// What is measured together, and with how many pairs or at which sizes.
type Chapter = fn(bool) -> Vec<Figure>;

const CHAPTERS: [(&str, Chapter); 3] = [
    ("address", address::figures),
    ("certs", certs::figures),
    ("fleet", fleet::figures),
];

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args().skip(1).collect();
    // Without it, as in `cargo test --benches`, one pair shows that all still run.
    let in_earnest = words.iter().any(|word| word == "--bench");
    let wanted: Vec<_> = words.iter().filter(|word| !word.starts_with('-')).collect();
    let chapters = CHAPTERS
        .into_iter()
        .filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|word| *word == name));
    let figures: Vec<_> = chapters.flat_map(|(_, chapter)| chapter(in_earnest)).collect();
    match figure::report(&figures) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => panic!("failed to write the figures: {err}"),
    }
}
