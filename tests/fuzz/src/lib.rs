//! What the plugins read from others, fed with what nobody meant to write: no input
//! may make them panic, hang or take memory without end.
//!
//! Each function is a target: cargo-fuzz runs those in `fuzz_targets`, and
//! `tests/short.rs` runs all of them briefly, the same way each time. cargo-fuzz 0.13.2
//! needs neither a nightly compiler nor a sanitizer; what it finds out goes to the first
//! directory, and what made a target fail to `fuzz/artifacts`, from where it belongs
//! among the seeds:
//!
//! ```sh
//! cargo install cargo-fuzz --locked --version 0.13.2
//! cd tests && mkdir -p ../target/corpus/import
//! cargo fuzz run import --features libfuzzer --sanitizer none \
//!     ../target/corpus/import fuzz/corpus/import -- -timeout=10 -rss_limit_mb=1024
//! ```
//!
//! relay-shared is fuzzed as the library it is. relay-certs is a program, and stays
//! one: of it, the module that takes keys apart is compiled in here once more. It needs
//! nothing else of it, and this is what keeps it so.

use std::{fs, net::SocketAddr};

use clap::Parser;
use k8s_openapi::api::core::v1::{Node, Service};
use kube::api::ApiResource;
use relay_shared::{
    args::ClusterArgs,
    candidate::{self, Candidate, Preferences, Source},
    certificate, chain,
    cluster::ObjectRef,
    escape,
    gateway_api::{self, Backend},
    istio,
    jsonpath::Template,
    kubeconfig::Kubeconfig,
    node_port::Backends,
    overrides::Overrides,
    path_validation,
    pod::Pod,
    remotes::RemoteArgs,
    service_address::{self, PortRef},
    soundness::Purpose,
};
use serde_json::Value;
use time::macros::datetime;

#[allow(dead_code, reason = "only a part of the program is here")]
#[path = "../../../kubectl-relay-certs/src/key.rs"]
mod key;

/// A kubeconfig, and the connection of each of its contexts.
pub fn kubeconfig(data: &[u8]) {
    let file = tempfile::NamedTempFile::new().expect("there is room for a file");
    fs::write(file.path(), data).expect("it can be written");
    match Kubeconfig::load(Some(file.path())) {
        Ok(kubeconfig) => {
            for context in kubeconfig.contexts() {
                if let Err(error) = kubeconfig.connection(Some(context), &Overrides::default()) {
                    assert_is_printable(&error.to_string());
                }
            }
        }
        Err(error) => assert_is_printable(&error.to_string()),
    }
}

/// Certificates and keys, as a Secret or a file of a user's holds them.
pub fn import(data: &[u8]) {
    if let Ok(chain) = chain::Chain::from_pem(data) {
        let certificates: Vec<_> = chain.certificates().cloned().collect();
        for certificate in &certificates {
            certificate.subject();
            certificate.organization();
            certificate.usages();
            certificate.subject_key_identifier();
            certificate.authority_key_identifier();
            let again = certificate::Certificate::all_from_pem(certificate.pem().as_bytes());
            assert!(again.is_ok_and(|again| again == [certificate.clone()]));
        }
        for purpose in [Purpose::Server { host: "a.b" }, Purpose::Signing, Purpose::Agent] {
            let found = path_validation::of_chain(
                &chain,
                None,
                Some(&certificates),
                purpose,
                datetime!(2026-01-01 0:00 UTC),
            );
            found
                .all()
                .iter()
                .for_each(|finding| assert_is_printable(&finding.what));
        }
        chain::in_order(certificates);
    }
    match key::StoredKey::from_pem(data) {
        Ok(key::StoredKey::Plain(key)) => assert!(key.pem().starts_with("-----BEGIN PRIVATE KEY-----")),
        Ok(key::StoredKey::Encrypted(key)) => drop(key.unlock(b"x")),
        Err(defect) => assert_is_printable(&defect),
    }
}

/// A JSONPath template on the first line, and the document that it is applied to.
pub fn template(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (template, document) = text.split_once('\n').unwrap_or((&text, "{}"));
    let document = serde_json::from_str(document).unwrap_or(Value::Null);
    match Template::parse(template) {
        Ok(template) => {
            for allow_missing in [false, true] {
                let _ = template.render(&document, allow_missing);
                let _ = template.render_as_json(&document, allow_missing);
            }
        }
        Err(error) => assert_is_printable(&error.to_string()),
    }
}

/// A Service, and the nodes and pods behind it, as a list.
pub fn address(data: &[u8]) {
    let Ok(Value::Array(objects)) = serde_json::from_slice(data) else {
        return;
    };
    let Some(service) = objects.first().cloned() else {
        return;
    };
    let Ok(service) = serde_json::from_value::<Service>(service) else {
        return;
    };
    let all = |kind: &'static str| {
        objects
            .iter()
            .filter(move |object| object["kind"] == kind)
            .cloned()
    };
    let backends = Backends {
        nodes: all("Node")
            .filter_map(|node| serde_json::from_value::<Node>(node).ok())
            .collect(),
        pods: all("Pod")
            .filter_map(|pod| serde_json::from_value::<Pod>(pod).ok())
            .collect(),
        ..Backends::default()
    };
    let object = ObjectRef::new::<Service>("gloo-mesh", "enterprise-networking");
    for port in [PortRef::new("grpc"), PortRef::new("9900"), PortRef::Server(9900)] {
        for node_port in [false, true] {
            let preferences = Preferences {
                node_port,
                ..Preferences::default()
            };
            let source = Source::Service;
            let found =
                service_address::of_service(source, &object, &service, &port, &backends, &preferences);
            assert!(!found.is_empty(), "an address, or why there is none");
            assert_is_printed_safely(&found);
        }
    }
    let of = |kind: &str| {
        objects
            .iter()
            .filter(|object| object["kind"] == kind)
            .cloned()
            .collect::<Vec<_>>()
    };
    let kind = ApiResource {
        group: gateway_api::GROUP.to_owned(),
        version: "v1".to_owned(),
        api_version: format!("{}/v1", gateway_api::GROUP),
        kind: "Gateway".to_owned(),
        plural: "gateways".to_owned(),
    };
    let backend = Backend {
        namespace: "gloo-mesh",
        service: "enterprise-networking",
        host: "enterprise-networking.gloo-mesh",
    };
    let preferences = Preferences::default();
    let gateways = of("Gateway");
    let found = gateway_api::candidates(&kind, &gateways, &of("TLSRoute"), backend, &preferences);
    assert_is_printed_safely(&found);
    // Gateways of Istio's are as foreign, and have no status: what leads to their pods has.
    istio::passages(&kind, &gateways, backend.host);
    istio::services_to(&backends.pods, &[service]);
}

/// The address goes to stdout, as it is, and from there into scripts.
fn assert_is_printed_safely(found: &[Candidate]) {
    if let Some((address, _)) = candidate::choose(found) {
        let address = address.to_string();
        let (host, port) = address.rsplit_once(':').expect("a host and a port");
        let is_name = host.starts_with(|c: char| c.is_ascii_alphanumeric())
            && host
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
        let is_address = format!("{host}:1").parse::<SocketAddr>().is_ok();
        assert!(is_name || is_address, "{address:?}");
        assert!(port.parse::<u16>().is_ok_and(|port| port > 0), "{address:?}");
    }
}

/// Patterns of contexts, one a line, as `--remote-context` takes them.
pub fn patterns(data: &[u8]) {
    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        cluster: ClusterArgs,
        #[command(flatten)]
        remotes: RemoteArgs,
    }
    let file = tempfile::NamedTempFile::new().expect("there is room for a file");
    fs::write(file.path(), CONTEXTS).expect("it can be written");
    let text = String::from_utf8_lossy(data);
    let words = text.lines().filter(|line| !line.contains('\0'));
    let words = words.map(|line| format!("--remote-context={line}"));
    let Ok(command) = Command::try_parse_from(["relay".to_owned()].into_iter().chain(words)) else {
        return;
    };
    let kubeconfig = Kubeconfig::load(Some(file.path())).expect("it is one");
    // Clients are made where there is a runtime; none of them sends anything.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let _entered = runtime.as_ref().expect("there is one").enter();
    if let Err(error) = command.remotes.connect(&kubeconfig, &command.cluster, None) {
        assert_is_printable(&error.to_string());
    }
}

/// Long names of few letters, which a slow matcher is slowest with.
const CONTEXTS: &str = r#"{
    "clusters": [{ "name": "c", "cluster": { "server": "http://127.0.0.1:1" } }, { "name": "d", "cluster": { "server": "http://127.0.0.1:2" } }, { "name": "e", "cluster": { "server": "http://127.0.0.1:3" } }],
    "contexts": [
        { "name": "prod-1", "context": { "cluster": "c" } },
        { "name": "prod-2,west", "context": { "cluster": "d" } },
        { "name": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "context": { "cluster": "e" } }
    ]
}"#;

/// Whatever comes from elsewhere may be shown, and must not be obeyed.
fn assert_is_printable(text: &str) {
    assert_eq!(escape::printable(text), text);
}
