//! The harness of the integration tests: real control planes, the real kubectl
//! and the plugins as users install them. In reading order:
//!
//! - [`binaries`] finds what is run, and builds what is missing;
//! - [`leash`] starts servers that cannot outlive the process that started them;
//! - [`authority`] is a small certificate authority, for the servers and for tests;
//! - [`control_plane`] runs one etcd and any number of kube-apiservers;
//! - [`kubeconfig`] writes the files that lead to them;
//! - [`plugin`] is the shell a test types its commands into, and the transcript
//!   it asserts on;
//! - [`fixtures`] are the objects the plugins look at;
//! - [`relay`] is the stand-in for the relay server and its agent;
//! - [`network`] gives a test a network of its own, and [`data_plane`] runs Istio in it;
//! - `secrecy` searches every transcript for keys;
//! - [`recorder`] writes down what arrives at a server or a proxy;
//! - [`proxy`] stands between a plugin and a real server, counts, delays and breaks;
//! - [`krew`] packs the plugins, and installs them as their users do;
//! - [`readme`] are the commands that the README shows;
//! - [`recording`] draws what was shown, for the README.
//!
//! A test starts with a shell and a namespace of its own:
//!
//! ```no_run
//! use relay_tests::{ControlPlane, Shell, fixtures};
//!
//! let shell = Shell::on(ControlPlane::shared());
//! let namespace = fixtures::fresh_namespace(&shell, &["mgmt", "east"]);
//! shell.apply("mgmt", fixtures::relay_service(&namespace, "LoadBalancer"));
//! shell
//!     .kubectl(&["relay-address", "--context", "mgmt", "-n", &namespace])
//!     .success();
//! ```

pub mod authority;
pub mod binaries;
pub mod control_plane;
pub mod data_plane;
pub mod fixtures;
pub mod krew;
pub mod kubeconfig;
pub mod leash;
pub mod network;
pub mod plugin;
pub mod proxy;
pub mod readme;
pub mod recorder;
pub mod recording;
pub mod relay;

mod http;
mod secrecy;

pub use control_plane::{Cluster, ControlPlane};
pub use kubeconfig::Kubeconfig;
pub use plugin::{Shell, Transcript};
pub use proxy::Proxy;
pub use recorder::Recorder;
