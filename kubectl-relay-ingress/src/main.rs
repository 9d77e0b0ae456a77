//! `kubectl relay-ingress`: exposes the relay server of a management cluster to
//! the agents in other clusters.

mod cli;
mod istio;
mod run;
mod service;

use clap::Parser as _;
use relay_shared::runtime;

fn main() -> std::process::ExitCode {
    runtime::block_on(run::run(cli::Cli::parse()))
}
