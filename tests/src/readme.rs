//! The README, as far as tests hold it to its word.

use std::fs;

use crate::binaries;

/// Every line of every `sh` block.
///
/// # Panics
///
/// If there is no README.
pub fn commands() -> Vec<String> {
    let blocks = blocks("sh");
    let lines = blocks.iter().flat_map(|block| block.lines());
    lines.map(str::to_owned).collect()
}

/// Every `text` block that shows a command after `$ `, and below it what it prints.
///
/// # Panics
///
/// If there is no README.
pub fn sessions() -> Vec<(String, String)> {
    let blocks = blocks("text");
    let sessions = blocks.iter().filter_map(|block| {
        let (command, printed) = block.strip_prefix("$ ")?.split_once('\n')?;
        Some((command.to_owned(), printed.to_owned()))
    });
    sessions.collect()
}

fn blocks(language: &str) -> Vec<String> {
    let readme = fs::read_to_string(binaries::workspace().join("README.md")).expect("there is a README");
    let start = format!("```{language}\n");
    let blocks = readme.split(&start).skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap_or_default().to_owned())
        .collect()
}
