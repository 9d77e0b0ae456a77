//! `kubectl relay-address`: prints the address at which relay agents reach the
//! relay server of a management cluster.

mod cli;
mod run;

use clap::Parser as _;
use relay_shared::runtime;

fn main() -> std::process::ExitCode {
    runtime::block_on(run::run(cli::Cli::parse()))
}
