//! What becomes of a run when something breaks: every fault at every request of
//! every command that writes, and a run that is killed at each of them.
//!
//! `cargo test -p relay-tests --test faults` is a command of its own: it tries
//! more than a thousand points.

mod init;
mod races;
mod scenario;
