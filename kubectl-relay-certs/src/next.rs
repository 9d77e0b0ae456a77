//! What comes after `init`: the lines that register clusters, and the Helm values by
//! which each generation of Gloo Mesh finds the Secrets.

use relay_shared::{
    Result,
    output::Format,
    relay::{self, RelayHost},
    render, shell,
};
use serde_json::{Value, json};

use crate::{role::Role, secret_names::SecretNames};

/// The Helm values of one generation of Gloo Mesh.
pub(crate) struct Values {
    /// Such as `1.x`.
    pub(crate) generation: &'static str,
    /// Of the relay server.
    pub(crate) server: Value,
    /// Of every agent.
    pub(crate) agent: Value,
}

/// The values of the generations whose relay Service may have this name.
///
/// Keys are those of the charts (gloo-mesh-enterprise 1.0 to 2.3, enterprise-agent,
/// gloo-mesh-agent, gloo-platform); the page's `.Name` is `.name` there.
pub(crate) fn values(host: &RelayHost, names: &SecretNames) -> Vec<Values> {
    let name = |role| json!({ "name": names.of(role) });
    let agent = json!({
        "authority": host.to_string(),
        "rootTlsSecret": name(Role::Root),
        "serverAddress": "ADDRESS",
    });
    let one = Values {
        generation: "1.x",
        server: json!({ "enterprise-networking": {
            "selfSigned": false,
            "relayTlsSecret": name(Role::Server),
            "signingTlsSecret": name(Role::Signing),
            "tokenSecret": { "name": relay::IDENTITY_TOKEN_SECRET },
        } }),
        agent: json!({ "relay": agent }),
    };
    let server = json!({
        "disableCaCertGeneration": true,
        "tlsSecret": name(Role::Server),
        "signingTlsSecret": name(Role::Signing),
    });
    let two = [
        Values {
            generation: "2.0 to 2.2",
            server: json!({ "glooMeshMgmtServer": { "relay": server } }),
            agent: json!({ "relay": agent }),
        },
        Values {
            generation: "2.3 and later",
            server: json!({ "glooMgmtServer": { "relay": server } }),
            agent: json!({ "glooAgent": { "relay": agent } }),
        },
    ];
    let [service_of_one, service_of_two] = relay::SERVICES;
    let one = Some(one).filter(|_| host.service() != service_of_two);
    let two = Some(two).filter(|_| host.service() != service_of_one);
    one.into_iter().chain(two.into_iter().flatten()).collect()
}

/// The values as they are read by people, and the lines that register a cluster.
///
/// # Errors
/// If they cannot be written as YAML.
pub(crate) fn steps(
    host: &RelayHost,
    names: &SecretNames,
    management: &str,
    remote: Option<&str>,
) -> Result<String> {
    let (management, remote) = (shell::word(management), shell::word(remote.unwrap_or("CONTEXT")));
    let (command, context) = match host.service() == relay::SERVICES[1] {
        true => ("register", "--kubecontext"),
        false => ("register enterprise", "--mgmt-context"),
    };
    let namespace = match host.namespace() {
        relay::NAMESPACE => String::new(),
        other => format!(" --namespace {other}"),
    };
    let mut text = format!(
        "Find the address, and register each cluster under a name of its own:\n  \
         ADDRESS=$(kubectl relay-address --context {management}{namespace})\n  \
         meshctl cluster {command} {context} {management} \\\n    \
         --remote-context {remote} --relay-server-address $ADDRESS {remote}\n"
    );
    for Values {
        generation,
        server,
        agent,
    } in values(host, names)
    {
        for (whose, values) in [("the server", server), ("each agent", agent)] {
            text += &format!("\nHelm values of {whose}, Gloo Mesh {generation}:\n");
            let yaml = render::documents(&[values], &Format::Yaml)?;
            for line in yaml.lines() {
                text += &format!("  {line}\n");
            }
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_asked_for_where_the_service_is() {
        #[track_caller]
        fn check(namespace: &str, want: &str) {
            let host = RelayHost::new("enterprise-networking", namespace);
            let steps = steps(&host, &SecretNames::default(), "mgmt", Some("my east")).expect("is YAML");
            assert!(steps.contains(want), "{steps}");
            assert!(steps.contains("--remote-context 'my east'"), "{steps}");
        }
        check("gloo-mesh", "$(kubectl relay-address --context mgmt)\n");
        check(
            "mesh",
            "$(kubectl relay-address --context mgmt --namespace mesh)\n",
        );
    }

    #[test]
    fn values_are_those_of_the_generation() {
        #[track_caller]
        fn check(service: &str, want: &[(&str, &str)]) {
            let host = RelayHost::new(service, "mesh");
            let values = values(&host, &SecretNames::default());
            let got: Vec<_> = values
                .iter()
                .flat_map(|values| [&values.server, &values.agent])
                .map(Value::to_string)
                .collect();
            let want = want.iter().flat_map(|(server, agent)| [*server, *agent]);
            assert_eq!(got, want.collect::<Vec<_>>());
        }
        let one = "\"authority\":\"enterprise-networking.mesh\"";
        let two = "\"authority\":\"gloo-mesh-mgmt-server.mesh\"";
        let agent = |authority: &str| {
            format!(
                "{{\"relay\":{{{authority},\"rootTlsSecret\":{{\"name\":\"relay-root-tls-secret\"}},\
                 \"serverAddress\":\"ADDRESS\"}}}}"
            )
        };
        check(
            "enterprise-networking",
            &[(
                "{\"enterprise-networking\":{\"relayTlsSecret\":{\"name\":\"relay-server-tls-secret\"},\
                 \"selfSigned\":false,\"signingTlsSecret\":{\"name\":\"relay-tls-signing-secret\"},\
                 \"tokenSecret\":{\"name\":\"relay-identity-token-secret\"}}}",
                &agent(one),
            )],
        );
        let server = |key: &str| {
            format!(
                "{{\"{key}\":{{\"relay\":{{\"disableCaCertGeneration\":true,\
                 \"signingTlsSecret\":{{\"name\":\"relay-tls-signing-secret\"}},\
                 \"tlsSecret\":{{\"name\":\"relay-server-tls-secret\"}}}}}}}}"
            )
        };
        check(
            "gloo-mesh-mgmt-server",
            &[
                (&server("glooMeshMgmtServer"), &agent(two)),
                (
                    &server("glooMgmtServer"),
                    &format!("{{\"glooAgent\":{}}}", agent(two)),
                ),
            ],
        );
    }
}
