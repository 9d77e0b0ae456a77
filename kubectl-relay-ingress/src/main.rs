//! `kubectl relay-ingress`: exposes the relay server of a management cluster to
//! the agents in other clusters.

mod apply;
mod change;
mod cli;
mod delete;
mod diff;
mod istio;
mod lint;
mod observe;
mod route;
mod run;
mod service;
mod status;
mod target;

use relay_shared::runtime;

fn main() -> std::process::ExitCode {
    runtime::main(run::run)
}
