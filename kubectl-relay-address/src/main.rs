//! `kubectl relay-address`: prints the address at which relay agents reach the
//! relay server of a management cluster.

mod check;
mod cli;
mod probe;
mod report;
mod run;
mod trust;

use relay_shared::runtime;

fn main() -> std::process::ExitCode {
    runtime::main(run::run)
}
