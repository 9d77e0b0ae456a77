//! What is said between us and a credential plugin: an `ExecCredential` each way
//! (client-go, `pkg/apis/clientauthentication`).

use std::{fs, time::SystemTime};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderValue;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::config::Cluster;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The versions of the interface, the current one first.
pub(crate) const VERSIONS: [&str; 2] = [
    "client.authentication.k8s.io/v1",
    "client.authentication.k8s.io/v1beta1",
];

/// The extension of a kubeconfig's cluster that is meant for plugins.
const EXTENSION: &str = "client.authentication.k8s.io/exec";

/// What to authenticate with: a token, a certificate, or both.
pub(crate) struct Credential {
    pub(crate) authorization: Option<HeaderValue>,
    pub(crate) certificate: Option<Certificate>,
    expires: Option<SystemTime>,
}

/// A client certificate and its key, in PEM.
pub(crate) struct Certificate {
    pub(crate) chain: String,
    pub(crate) key: SecretString,
}

impl Credential {
    pub(crate) fn is_current(&self) -> bool {
        self.expires.is_none_or(|expires| SystemTime::now() <= expires)
    }
}

/// What `KUBERNETES_EXEC_INFO` tells a plugin.
pub(crate) fn request(version: &str, interactive: bool, cluster: Option<&Value>) -> Value {
    let mut spec = json!({ "interactive": interactive });
    if let Some(cluster) = cluster {
        spec["cluster"] = cluster.clone();
    }
    json!({ "kind": "ExecCredential", "apiVersion": version, "spec": spec })
}

/// A cluster as plugins are told of it: client-go's `ConfigToExecCluster`.
///
/// # Errors
/// If its certificate authority's file cannot be read.
pub(crate) fn cluster(cluster: &Cluster) -> Result<Value, String> {
    let ca = match (
        &cluster.certificate_authority_data,
        &cluster.certificate_authority,
    ) {
        (Some(data), _) => Some(data.clone()),
        (None, Some(file)) => {
            let pem = fs::read(file).map_err(|e| format!("cannot read certificate authority {file}: {e}"))?;
            Some(STANDARD.encode(pem))
        }
        (None, None) => None,
    };
    let given = [
        ("server", json!(cluster.server)),
        ("tls-server-name", json!(cluster.tls_server_name)),
        (
            "insecure-skip-tls-verify",
            json!(cluster.insecure_skip_tls_verify),
        ),
        ("certificate-authority-data", json!(ca)),
        ("proxy-url", json!(cluster.proxy_url)),
        ("disable-compression", json!(cluster.disable_compression)),
    ];
    let given = given
        .into_iter()
        .filter(|(_, v)| !matches!(v, Value::Null | Value::Bool(false)));
    let mut told: Value = given.map(|(name, value)| (name.to_owned(), value)).collect();
    let mut extensions = cluster.extensions.iter().flatten();
    let config = extensions.find(|extension| extension.name == EXTENSION);
    told["config"] = json!(config.map(|extension| &extension.extension));
    Ok(told)
}

/// Reads what a plugin printed, in JSON or, as client-go also takes it, in YAML.
///
/// # Errors
/// In words that repeat nothing of it.
pub(crate) fn read(stdout: &[u8], version: &str) -> Result<Credential, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Response {
        kind: Option<String>,
        api_version: Option<String>,
        status: Option<Status>,
    }
    #[derive(Deserialize, Zeroize, ZeroizeOnDrop)]
    #[serde(rename_all = "camelCase")]
    struct Status {
        #[zeroize(skip)]
        expiration_timestamp: Option<Time>,
        token: Option<String>,
        client_certificate_data: Option<String>,
        client_key_data: Option<String>,
    }
    const UNDECODABLE: &str = "decoding stdout: it is not an ExecCredential in JSON or YAML";

    let response = serde_json::from_slice(stdout).or_else(|_| serde_saphyr::from_slice(stdout));
    let Response {
        kind: Some(kind),
        api_version: Some(returned),
        status,
    } = response.map_err(|_| UNDECODABLE)?
    else {
        return Err(UNDECODABLE.to_owned());
    };
    // Only what is no secret can be named.
    if kind != "ExecCredential" || !VERSIONS.contains(&returned.as_str()) {
        return Err(UNDECODABLE.to_owned());
    }
    if returned != version {
        return Err(format!(
            "exec plugin is configured to use API version {version}, plugin returned version {returned}"
        ));
    }
    let mut status = status.ok_or("exec plugin didn't return a status field")?;
    let take = |field: &mut Option<String>| field.take().filter(|text| !text.is_empty());
    let token = take(&mut status.token).map(Zeroizing::new);
    let chain = take(&mut status.client_certificate_data);
    let key = take(&mut status.client_key_data).map(SecretString::from);
    let certificate = match (chain, key) {
        (Some(chain), Some(key)) => Some(Certificate { chain, key }),
        (None, None) if token.is_some() => None,
        (None, None) => return Err("exec plugin didn't return a token or cert/key pair".to_owned()),
        _ => return Err("exec plugin returned only certificate or key, not both".to_owned()),
    };
    Ok(Credential {
        authorization: token.map(|token| bearer(&token)).transpose()?,
        certificate,
        expires: status.expiration_timestamp.take().map(|time| time.0.into()),
    })
}

fn bearer(token: &str) -> Result<HeaderValue, String> {
    let value = Zeroizing::new(format!("Bearer {token}"));
    let mut value = HeaderValue::from_str(&value)
        .map_err(|_| "exec plugin returned a token that no request can carry".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    const SECRET: &str = "s3cret";

    /// What is read from a response of version 1: token, certificate, key, and whether
    /// it has not expired.
    fn parse(stdout: &str) -> Result<(String, String, String, bool), String> {
        let credential = read(stdout.as_bytes(), VERSIONS[0])?;
        let header = credential.authorization.as_ref();
        assert!(header.is_none_or(HeaderValue::is_sensitive));
        let header = header.map(|value| value.to_str().expect("is text").to_owned());
        let is_current = credential.is_current();
        let (chain, key) = match credential.certificate {
            Some(pair) => (pair.chain, pair.key.expose_secret().to_owned()),
            None => Default::default(),
        };
        Ok((header.unwrap_or_default(), chain, key, is_current))
    }

    fn response(status: &str) -> String {
        format!(
            r#"{{"kind":"ExecCredential","apiVersion":"{}","status":{status}}}"#,
            VERSIONS[0]
        )
    }

    #[test]
    fn credentials_are_read_from_what_a_plugin_printed() {
        #[track_caller]
        fn check(stdout: &str, (token, chain, key): (&str, &str, &str), is_current: bool) {
            let want = (token.to_owned(), chain.to_owned(), key.to_owned(), is_current);
            assert_eq!(parse(stdout), Ok(want));
        }
        let token = ("Bearer t", "", "");
        check(&response(r#"{"token":"t"}"#), token, true);
        check(
            &response(r#"{"token":"t","clientKeyData":"","more":1}"#),
            token,
            true,
        );
        check(
            &response(r#"{"token":"t","expirationTimestamp":null}"#),
            token,
            true,
        );
        check(
            &response(r#"{"token":"t","expirationTimestamp":"2999-01-01T00:00:00Z"}"#),
            token,
            true,
        );
        check(
            &response(r#"{"token":"t","expirationTimestamp":"2000-01-01T00:00:00+01:00"}"#),
            token,
            false,
        );
        let pair = r#"{"clientCertificateData":"c","clientKeyData":"k"}"#;
        check(&response(pair), ("", "c", "k"), true);
        check(
            &response(&pair.replace('{', r#"{"token":"t","#)),
            ("Bearer t", "c", "k"),
            true,
        );
        let yaml = "kind: ExecCredential\napiVersion: client.authentication.k8s.io/v1\nstatus: {token: t}\n";
        check(yaml, token, true);
    }

    #[test]
    fn what_a_plugin_printed_is_never_repeated() {
        #[track_caller]
        fn check(stdout: &str, want: &str) {
            let message = parse(stdout).expect_err("it is wrong");
            assert!(!message.contains(SECRET), "{message}");
            assert_eq!(message, want, "{stdout}");
        }
        let undecodable = "decoding stdout: it is not an ExecCredential in JSON or YAML";
        check("", undecodable);
        check(SECRET, undecodable);
        check(&response(r#"{"token":{"s3cret":1}}"#), undecodable);
        check(
            &response(r#"{"token":"t","expirationTimestamp":"s3cret"}"#),
            undecodable,
        );
        check(&(response(r#"{"token":"t"}"#) + SECRET), undecodable);
        check(
            r#"{"kind":"s3cret","apiVersion":"client.authentication.k8s.io/v1"}"#,
            undecodable,
        );
        check(r#"{"kind":"ExecCredential","apiVersion":"s3cret"}"#, undecodable);
        check(r#"{"status":{"token":"s3cret"}}"#, undecodable);
        check(
            &response(r#"{"token":"s3cret"}"#).replace("/v1", "/v1beta1"),
            "exec plugin is configured to use API version client.authentication.k8s.io/v1, \
             plugin returned version client.authentication.k8s.io/v1beta1",
        );
        check(&response("null"), "exec plugin didn't return a status field");
        let nothing = "exec plugin didn't return a token or cert/key pair";
        check(&response("{}"), nothing);
        check(&response(r#"{"token":""}"#), nothing);
        let half = "exec plugin returned only certificate or key, not both";
        check(&response(r#"{"clientKeyData":"s3cret"}"#), half);
        check(
            &response(r#"{"token":"s3cret","clientCertificateData":"s3cret"}"#),
            half,
        );
        let broken = "exec plugin returned a token that no request can carry";
        check(&response(r#"{"token":"s3cret\ns3cret"}"#), broken);
    }

    #[test]
    fn a_plugin_is_told_of_its_cluster_as_by_client_go() {
        #[track_caller]
        fn check(kubeconfig: Value, want: Value) {
            let kubeconfig = serde_json::from_value(kubeconfig).expect("is a cluster");
            assert_eq!(cluster(&kubeconfig), Ok(want));
        }
        check(
            json!({"server": "https://a"}),
            json!({"server": "https://a", "config": null}),
        );
        let all = json!({
            "server": "https://a",
            "certificate-authority-data": "Q0E=",
            "disable-compression": true,
            "insecure-skip-tls-verify": false,
            "proxy-url": "socks5://b",
            "tls-server-name": "c",
            "extensions": [{"name": "d", "extension": 1}, {"name": EXTENSION, "extension": {"audience": "e"}}],
        });
        let told = json!({
            "server": "https://a",
            "certificate-authority-data": "Q0E=",
            "disable-compression": true,
            "proxy-url": "socks5://b",
            "tls-server-name": "c",
            "config": {"audience": "e"},
        });
        check(all, told.clone());
        assert_eq!(
            request("v", false, Some(&told)),
            json!({"kind": "ExecCredential", "apiVersion": "v", "spec": {"cluster": told, "interactive": false}})
        );
        let alone = json!({"kind": "ExecCredential", "apiVersion": "v", "spec": {"interactive": true}});
        assert_eq!(request("v", true, None), alone);
    }
}
