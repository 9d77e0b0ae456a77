//! `kubectl relay-certs`: makes the certificates that relay server and agents
//! trust each other by, and places them in every cluster.

mod choices;
mod cli;
mod csr;
mod decision;
mod directory;
mod ending;
mod fleet;
mod found;
mod generate;
mod init;
mod inspect;
mod issue;
mod key;
mod manifests;
mod material;
mod member;
mod names;
mod new_root;
mod next;
mod own;
mod password;
mod registered;
mod restarts;
mod role;
mod rotate;
mod rotate_args;
mod rotate_pair;
mod rotate_root;
mod rotation;
mod run;
mod secret_names;
mod secrets;
mod status;
mod successors;
mod token;
mod turnover;

use relay_shared::runtime;

fn main() -> std::process::ExitCode {
    runtime::main(run::run)
}
