//! `kubectl relay-certs`: makes the certificates that relay server and agents
//! trust each other by, and places them in every cluster.

mod cli;
mod directory;
mod fleet;
mod inspect;
mod material;
mod pki;
mod run;
mod secrets;

use relay_shared::runtime;

fn main() -> std::process::ExitCode {
    runtime::main(run::run)
}
