//! `kubectl relay-address`: prints the address at which relay agents reach the
//! relay server of a management cluster.

mod cli;
mod report;
mod run;

use relay_shared::runtime;

fn main() -> std::process::ExitCode {
    runtime::main(run::run)
}
