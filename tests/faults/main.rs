//! What becomes of a run when something breaks: every fault at every request of
//! every command that writes or waits, and a run that is killed at each of them.
//!
//! `cargo test -p relay-tests --test faults` is a command of its own: it tries
//! thousands of points.

mod complaints;
mod expose;
mod init;
mod judge;
mod point;
mod races;
mod rotate;
mod run;
mod scenario;
mod servers;
mod snapshot;
