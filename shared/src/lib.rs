//! What the three relay plugins have in common. Data flows one way:
//!
//! ```text
//! args → kubeconfig → Cluster → observe → Plan → render | apply → Report → exit code
//! ```
//!
//! Modules in reading order: [`runtime`] runs a plugin and turns its [`error`]
//! into an exit code; [`args`] are the flags; [`kubeconfig`], [`connection`] (with
//! its [`overrides`]) and [`cluster`] reach a cluster, [`remotes`] finds many;
//! [`relay`] is the vocabulary; [`exposure`] reads what exposes the relay server, its
//! [`services`] and [`gateways`] ([`istio`], [`gateway_api`]), into an [`observation`];
//! [`service_address`] and [`node_port`] (by
//! [`pod`]s) say at which [`address`], [`candidate`] chooses, [`watch`] waits for one;
//! [`plan`] holds what is to be written (a [`manifest`] each), [`access`] asks whether
//! that is allowed and [`apply`] writes it; [`output`] says how to show values,
//! [`render`] turns them into text ([`json`], [`jsonpath`]) and [`terminal`] alone prints
//! it, with lines that [`wrap`]. [`owner`] tells whose an object is; [`soundness`] judges a
//! [`certificate`] and [`path_validation`] its [`chain`]: [`findings`]; [`possession`] is
//! whether a server holds the key of one.

pub mod about;
pub mod access;
pub mod address;
pub mod apply;
pub mod args;
pub mod candidate;
pub mod certificate;
pub mod chain;
pub mod cluster;
pub mod connection;
pub mod error;
pub mod escape;
pub mod exposure;
pub mod findings;
pub mod gateway_api;
pub mod gateways;
pub mod istio;
pub mod json;
pub mod jsonpath;
pub mod kubeconfig;
pub mod manifest;
pub mod node_port;
pub mod observation;
pub mod output;
pub mod overrides;
pub mod owner;
pub mod path_validation;
pub mod plan;
pub mod pod;
pub mod possession;
pub mod relay;
pub mod remotes;
pub mod render;
pub mod runtime;
pub mod service_address;
pub mod services;
pub mod shell;
pub mod soundness;
pub mod terminal;
pub mod watch;
pub mod wire;
pub mod wrap;

mod authorization;
mod client;
mod completion;
mod credentials;
mod deadline;
mod dns_names;
mod exec_credential;
mod failure;
mod interrupt;
mod jsonpath_parse;
mod jsonpath_select;
mod manual;
mod object_ref;
mod plugin_policy;
mod proxy;
mod tls;

pub use error::{Error, ExitCode, Result};
