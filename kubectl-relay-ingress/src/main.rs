//! `kubectl relay-ingress`: exposes the relay server of a management cluster to
//! the agents in other clusters.

mod apply;
mod cli;
mod delete;
mod diff;
mod gateway_api;
mod gateway_api_lint;
mod ingress;
mod intent;
mod istio;
mod istio_lint;
mod lint;
mod load_balancer;
mod observe;
mod route;
mod run;
mod service;
mod site;
mod status;
mod target;

use relay_shared::runtime;

fn main() -> std::process::ExitCode {
    runtime::main(run::run)
}
