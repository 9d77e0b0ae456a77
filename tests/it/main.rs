//! The integration tests: real kubectl, real kube-apiservers, the plugins as
//! users install them. One binary, so that all tests share one control plane.

mod about;
mod address;
mod address_check;
mod address_sources;
mod certs;
mod credentials;
mod data_plane;
mod flags;
mod harness;
mod help;
mod ingress;
mod kubeconfig;
mod output;
mod patience;
mod proxy;
mod readme;
mod security;
mod terminal;
mod verifiers;
mod workflows;
