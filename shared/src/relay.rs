//! The relay's vocabulary: the names, ports and hosts that Gloo Mesh's charts
//! and the documentation page agree on.

use std::fmt;

/// The namespace that the relay lives in unless `--namespace` says otherwise.
pub const NAMESPACE: &str = "gloo-mesh";

/// The relay server's Service in Gloo Mesh 1.x, and in 2.x, newest last.
pub const SERVICES: [&str; 2] = ["enterprise-networking", "gloo-mesh-mgmt-server"];

/// The relay agent's Deployment in Gloo Mesh 1.x, and in 2.x, newest last.
pub const AGENTS: [&str; 2] = ["enterprise-agent", "gloo-mesh-agent"];

/// The name of the relay server's gRPC port.
pub const PORT_NAME: &str = "grpc";

/// The number of the relay server's gRPC port where no Service says otherwise.
pub const PORT: u16 = 9900;

/// The Secret with the root certificate, in every cluster.
pub const ROOT_SECRET: &str = "relay-root-tls-secret";
/// The Secret that the relay server serves by, in the management cluster.
pub const SERVER_SECRET: &str = "relay-server-tls-secret";
/// The Secret that the relay server issues by, in the management cluster.
pub const SIGNING_SECRET: &str = "relay-tls-signing-secret";
/// The Secret with the token by which an agent gets its first certificate.
pub const IDENTITY_TOKEN_SECRET: &str = "relay-identity-token-secret";

/// The Secret with an agent's own certificate, which the relay server issued.
pub const CLIENT_SECRET: &str = "relay-client-tls-secret";

/// The Istio ingress gateway's namespace, Service and port, as on the page.
pub const INGRESS_NAMESPACE: &str = "istio-system";
/// See [`INGRESS_NAMESPACE`].
pub const INGRESS_SERVICE: &str = "istio-ingressgateway";
/// See [`INGRESS_NAMESPACE`].
pub const INGRESS_PORT_NAME: &str = "https";

/// The longest common name that X.509 allows (RFC 5280, appendix A.1, `ub-common-name`).
const COMMON_NAME_MAX: usize = 64;

/// `NAME.NAMESPACE`, or the bare name where that would be too long for a
/// certificate's common name.
pub fn common_name(name: &str, namespace: &str) -> String {
    let full = format!("{name}.{namespace}");
    match full.len() <= COMMON_NAME_MAX {
        true => full,
        false => name.to_owned(),
    }
}

/// The name under which agents dial the relay server: the authority of their
/// requests, the SNI of their handshake, the host of an ingress gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayHost {
    service: String,
    namespace: String,
}

impl RelayHost {
    /// The host of a relay Service.
    pub fn new(service: impl Into<String>, namespace: impl Into<String>) -> Self {
        Self {
            service: service.into(),
            namespace: namespace.into(),
        }
    }

    /// The host of the Service that was found or named, else of the first generation's.
    pub fn of(service: Option<&str>, namespace: &str) -> Self {
        Self::new(service.unwrap_or(SERVICES[0]), namespace)
    }

    /// The Service's name.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// The Service's namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name that the Service has inside its cluster.
    pub fn cluster_local(&self) -> String {
        format!("{self}.svc.cluster.local")
    }

    /// The common name of the server's certificate; at most 64 characters.
    pub fn common_name(&self) -> String {
        common_name(&self.service, &self.namespace)
    }

    /// Every DNS name the server's certificate carries: each Service name that
    /// a generation of agents may dial, in all its forms, and the page's
    /// wildcard, which Go accepts and OpenSSL and rustls refuse.
    pub fn certificate_names(&self) -> Vec<String> {
        let mut services = vec![self.service.as_str()];
        services.extend(SERVICES.into_iter().filter(|s| *s != self.service));
        let namespace = &self.namespace;
        let mut names: Vec<_> = services
            .iter()
            .flat_map(|service| {
                [
                    (*service).to_owned(),
                    format!("{service}.{namespace}"),
                    format!("{service}.{namespace}.svc"),
                    format!("{service}.{namespace}.svc.cluster.local"),
                ]
            })
            .collect();
        names.push(format!("*.{namespace}"));
        names
    }
}

impl fmt::Display for RelayHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.service, self.namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_names_fit_into_64_characters() {
        #[track_caller]
        fn check(name: &str, namespace: &str, want: &str) {
            assert_eq!(common_name(name, namespace), want);
        }
        check(SERVICES[0], NAMESPACE, "enterprise-networking.gloo-mesh");
        // 21 + 1 + 42 characters are just short enough, one more is not.
        let n42 = "n".repeat(42);
        check(SERVICES[0], &n42, &format!("enterprise-networking.{n42}"));
        check(SERVICES[0], &"n".repeat(43), "enterprise-networking");
    }

    #[test]
    fn certificates_carry_the_names_of_both_generations() {
        assert_eq!(
            RelayHost::new("enterprise-networking", "mesh").certificate_names(),
            [
                "enterprise-networking",
                "enterprise-networking.mesh",
                "enterprise-networking.mesh.svc",
                "enterprise-networking.mesh.svc.cluster.local",
                "gloo-mesh-mgmt-server",
                "gloo-mesh-mgmt-server.mesh",
                "gloo-mesh-mgmt-server.mesh.svc",
                "gloo-mesh-mgmt-server.mesh.svc.cluster.local",
                "*.mesh",
            ]
        );
        let own = RelayHost::new("relay", "mesh").certificate_names();
        assert_eq!(own[0], "relay");
        assert_eq!(own.len(), 13);
    }
}
