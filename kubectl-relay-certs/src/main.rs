//! `kubectl relay-certs`: makes the certificates that relay server and agents
//! trust each other by, and places them in every cluster.

mod certificate;
mod cli;
mod directory;
mod fleet;
mod issue;
#[expect(
    dead_code,
    reason = "encrypted keys and other algorithms are yet to be asked for"
)]
mod key;
mod material;
mod run;
mod secrets;

use relay_shared::runtime;

fn main() -> std::process::ExitCode {
    runtime::main(run::run)
}
