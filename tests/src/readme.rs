//! The README, as far as tests hold it to its word.

use std::fs;

use crate::binaries;

/// Every line of every `sh` block.
///
/// # Panics
///
/// If there is no README.
pub fn commands() -> Vec<String> {
    let readme = fs::read_to_string(binaries::workspace().join("README.md")).expect("there is a README");
    let blocks = readme.split("```sh\n").skip(1);
    blocks
        .flat_map(|block| block.split("```").next().unwrap_or_default().lines())
        .map(str::to_owned)
        .collect()
}
