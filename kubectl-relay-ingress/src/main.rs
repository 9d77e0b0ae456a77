//! `kubectl relay-ingress`: exposes the relay server of a management cluster to
//! the agents in other clusters.

mod cli;
mod istio;
mod run;
mod service;

use relay_shared::runtime;

fn main() -> std::process::ExitCode {
    runtime::main(run::run)
}
