//! Flags that the plugins share: which cluster, as whom, which relay service.
//!
//! Names, shorthands and meaning are those of kubectl's `ConfigFlags`
//! (k8s.io/cli-runtime, `pkg/genericclioptions/config_flags.go`).

use std::{ffi::OsStr, net::Ipv4Addr, path::PathBuf, time::Duration};

use clap::{
    Args, ValueEnum, ValueHint,
    builder::{OsStringValueParser, TypedValueParser},
};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{error::Result, kubeconfig::Kubeconfig, overrides::Overrides, relay, wire::Verbosity};

/// Which cluster, and as whom. Flattened into every plugin.
///
/// As in kubectl, a flag with an empty value is one that was not given, and of a flag
/// that is given twice the last one counts.
#[derive(Debug, Args)]
#[command(next_help_heading = "Cluster", args_override_self = true)]
pub struct ClusterArgs {
    /// Context of the management cluster [default: the current context]
    #[arg(long, visible_alias = "mgmt-context", value_name = "CONTEXT", global = true)]
    context: Option<String>,

    /// Namespace of the relay
    ///
    /// The namespace of the context is not used: it is often a team's, and a secret
    /// there would help no relay.
    #[arg(short, long, default_value = relay::NAMESPACE, value_parser = namespace, global = true)]
    pub namespace: String,

    /// Kubeconfig file to use instead of $KUBECONFIG or ~/.kube/config
    #[arg(long, value_name = "FILE", value_parser = path(), value_hint = ValueHint::FilePath, global = true)]
    pub kubeconfig: Option<PathBuf>,

    #[command(flatten)]
    connection: ConnectionArgs,
}

/// The rest of kubectl's flags: rarely needed, hence shown by `--help` only.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
struct ConnectionArgs {
    /// Cluster entry of the kubeconfig to use for the management cluster
    #[arg(long, value_name = "NAME", hide_short_help = true, global = true)]
    cluster: Option<String>,

    /// User entry of the kubeconfig to use for the management cluster
    #[arg(long, value_name = "NAME", hide_short_help = true, global = true)]
    user: Option<String>,

    /// Address and port of the management cluster's API server
    #[arg(short, long, value_name = "URL", hide_short_help = true, global = true)]
    server: Option<String>,

    /// Name to expect in the API server's certificate
    #[arg(long, value_name = "NAME", hide_short_help = true, global = true)]
    tls_server_name: Option<String>,

    /// File with the certificate authority of the API server
    #[arg(long, value_name = "FILE", value_parser = path(), value_hint = ValueHint::FilePath, hide_short_help = true, global = true)]
    certificate_authority: Option<PathBuf>,

    /// Do not check the API server's certificate; insecure
    #[arg(long, value_name = "BOOL", value_parser = boolean, num_args = 0..=1, require_equals = true, hide_short_help = true,
          default_value_t = false, default_missing_value = "true", hide_default_value = true, global = true)]
    insecure_skip_tls_verify: bool,

    /// File with a client certificate
    #[arg(long, value_name = "FILE", value_parser = path(), value_hint = ValueHint::FilePath, hide_short_help = true, global = true)]
    client_certificate: Option<PathBuf>,

    /// File with the key of the client certificate
    #[arg(long, value_name = "FILE", value_parser = path(), value_hint = ValueHint::FilePath, hide_short_help = true, global = true)]
    client_key: Option<PathBuf>,

    /// Bearer token for the API server
    #[arg(long, hide_short_help = true, global = true)]
    token: Option<SecretString>,

    /// User to impersonate, in every cluster
    #[arg(long = "as", value_name = "USER", hide_short_help = true, global = true)]
    impersonate: Option<String>,

    /// UID to impersonate, in every cluster
    #[arg(long = "as-uid", value_name = "UID", hide_short_help = true, global = true)]
    impersonate_uid: Option<String>,

    /// Group to impersonate, in every cluster; repeatable
    #[arg(
        long = "as-group",
        value_name = "GROUP",
        hide_short_help = true,
        global = true
    )]
    impersonate_groups: Vec<String>,

    /// Extra information to impersonate, in every cluster; repeatable
    #[arg(long = "as-user-extra", value_name = "KEY=VALUE", value_parser = key_value, hide_short_help = true, global = true)]
    impersonate_extra: Vec<(String, String)>,

    /// How long one request may take, such as 30s or 2m; 0 is no limit
    #[arg(long, value_name = "DURATION", value_parser = timeout, hide_short_help = true, global = true)]
    request_timeout: Option<Timeout>,

    /// Do not ask the API server for compressed answers
    #[arg(long, value_name = "BOOL", value_parser = boolean, num_args = 0..=1, require_equals = true, hide_short_help = true,
          default_value_t = false, default_missing_value = "true", hide_default_value = true, global = true)]
    disable_compression: bool,

    /// Accepted as in kubectl; nothing is cached
    #[arg(long, value_name = "DIR", value_parser = path(), value_hint = ValueHint::DirPath, hide_short_help = true, global = true)]
    cache_dir: Option<PathBuf>,

    /// Show requests from 6 on, their headers from 7 on; never a body or a token
    #[arg(
        short,
        long = "v",
        value_name = "LEVEL",
        default_value_t = 0,
        hide_default_value = true,
        hide_short_help = true,
        global = true
    )]
    verbosity: u8,
}

impl ClusterArgs {
    /// Reads the kubeconfig that the flags and the environment name.
    ///
    /// # Errors
    /// If `--kubeconfig` is missing, or any file cannot be read or parsed.
    pub fn load(&self) -> Result<Kubeconfig> {
        Kubeconfig::load(given(&self.kubeconfig).as_deref())
    }

    /// The context of the management cluster, unless it is the current one.
    pub fn context(&self) -> Option<&str> {
        self.context.as_deref().filter(|name| !name.is_empty())
    }

    /// What the flags change about the management cluster's connection.
    pub fn overrides(&self) -> Overrides {
        let ConnectionArgs {
            cluster,
            user,
            server,
            tls_server_name,
            certificate_authority,
            insecure_skip_tls_verify,
            client_certificate,
            client_key,
            token,
            impersonate: _,
            impersonate_uid: _,
            impersonate_groups: _,
            impersonate_extra: _,
            request_timeout: _,
            disable_compression: _,
            cache_dir: _,
            verbosity: _,
        } = &self.connection;
        Overrides {
            cluster: given(cluster),
            user: given(user),
            server: given(server),
            tls_server_name: given(tls_server_name),
            certificate_authority: given(certificate_authority),
            insecure_skip_tls_verify: *insecure_skip_tls_verify,
            client_certificate: given(client_certificate),
            client_key: given(client_key),
            token: token.clone().filter(|token| !token.expose_secret().is_empty()),
            ..self.overrides_everywhere()
        }
    }

    /// What the flags change about every cluster's connection. A server or a
    /// credential is one cluster's own; an impersonated user and a time limit
    /// are the caller's.
    pub fn overrides_everywhere(&self) -> Overrides {
        let flags = &self.connection;
        Overrides {
            impersonate: given(&flags.impersonate),
            impersonate_uid: given(&flags.impersonate_uid),
            impersonate_groups: flags.impersonate_groups.clone(),
            impersonate_extra: flags.impersonate_extra.clone(),
            request_timeout: flags.request_timeout.map(|Timeout(limit)| limit),
            disable_compression: flags.disable_compression,
            verbosity: Verbosity(flags.verbosity),
            ..Overrides::default()
        }
    }
}

/// Which Service is the relay server's.
#[derive(Debug, Args)]
#[command(next_help_heading = "Relay")]
pub struct ServiceArgs {
    /// Service of the relay server [default: enterprise-networking, else gloo-mesh-mgmt-server]
    #[arg(long, value_name = "NAME", value_parser = label)]
    pub service: Option<String>,
}

/// The flag that says what to do instead of writing.
#[derive(Debug, Args)]
pub struct DryRunArgs {
    /// What to do instead of writing [default: none; client where no value is given]
    // kubectl takes the flag alone so, too, and warns of what it once meant there.
    #[arg(long = "dry-run", value_enum, default_value_t = DryRun::None, hide_default_value = true, num_args = 0..=1,
          default_missing_value = "client")]
    pub mode: DryRun,
}

/// What a command that writes does instead of writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum DryRun {
    /// Write
    #[default]
    None,
    /// Print what would be sent, and send nothing
    Client,
    /// Send it, for the API server to check and not to keep
    Server,
}

/// A namespace's name: a DNS label (RFC 1123, as the API server demands).
pub fn namespace(value: &str) -> Result<String, String> {
    label(value)
}

/// A DNS label of at most 63 characters.
pub fn label(value: &str) -> Result<String, String> {
    match value.len() <= 63 && is_dashed(value) {
        true => Ok(value.to_owned()),
        false => {
            Err("a name has at most 63 lower case letters, digits and dashes, none at its ends".to_owned())
        }
    }
}

/// A DNS subdomain of at most 253 characters (RFC 1123, as the API server demands).
pub fn subdomain(value: &str) -> Result<String, String> {
    match value.len() <= 253 && value.split('.').all(is_dashed) {
        true => Ok(value.to_owned()),
        false => Err("a name has at most 253 lower case letters, digits, dashes and dots".to_owned()),
    }
}

/// Lower case letters, digits and dashes, no dash at either end.
fn is_dashed(value: &str) -> bool {
    let valid = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    !value.is_empty() && value.bytes().all(valid) && !value.starts_with('-') && !value.ends_with('-')
}

/// The value of a flag, unless it is empty.
fn given<T: AsRef<OsStr> + Clone>(flag: &Option<T>) -> Option<T> {
    flag.clone().filter(|value| !value.as_ref().is_empty())
}

/// A path; unlike clap's own it may be empty.
fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// Go's `strconv.ParseBool`.
pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

/// A name that a client may ask for in its handshake, which no IP address is (RFC 6066,
/// section 3).
pub fn dns_name(text: &str) -> Result<String, String> {
    let is_name = text.len() <= 253 && text.split('.').all(|part| label(part).is_ok());
    match is_name && text.parse::<Ipv4Addr>().is_err() {
        true => Ok(text.to_owned()),
        false => Err("expected a DNS name, in lower case and without wildcards".to_owned()),
    }
}

fn key_value(pair: &str) -> Result<(String, String), String> {
    match pair.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

/// How long to wait: Go's duration or a bare number of seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => go_duration(text).ok_or_else(|| "expected a duration such as 30s or 1m30s".to_owned()),
    }
}

/// How long a request may take; `None` is as long as it likes.
#[derive(Debug, Clone, Copy)]
struct Timeout(Option<Duration>);

/// Go's duration or a bare number of seconds, as kubectl takes it; zero is no limit.
fn timeout(text: &str) -> Result<Timeout, String> {
    let duration = duration(text).map_err(|_| "expected a duration such as 30s, 1m30s or 0")?;
    Ok(Timeout((!duration.is_zero()).then_some(duration)))
}

/// Parses Go's `time.ParseDuration`, without its sub-microsecond units and signs.
fn go_duration(mut text: &str) -> Option<Duration> {
    let mut total = 0.0;
    while !text.is_empty() {
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let amount: f64 = text[..digits].parse().ok()?;
        text = &text[digits..];
        let unit = text
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(text.len());
        total += amount
            * match &text[..unit] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                _ => return None,
            };
        text = &text[unit..];
    }
    Duration::try_from_secs_f64(total).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_gos() {
        #[track_caller]
        fn check(text: &str, want: Result<Option<u64>, ()>) {
            let got = timeout(text).map(|Timeout(limit)| limit.map(|d| d.as_millis() as u64));
            assert_eq!(got.map_err(|_| ()), want, "{text:?}");
        }
        check("0", Ok(None));
        check("0s", Ok(None));
        check("5", Ok(Some(5_000)));
        check("1m30s", Ok(Some(90_000)));
        check("1.5h", Ok(Some(5_400_000)));
        check("250ms", Ok(Some(250)));
        check("5 s", Err(()));
        check("1d", Err(()));
        check("s", Err(()));
        check("-1s", Err(()));
        check("99999999999999999999h", Err(()));
    }

    #[test]
    fn booleans_are_gos() {
        for (text, want) in [
            ("1", true),
            ("T", true),
            ("True", true),
            ("f", false),
            ("FALSE", false),
        ] {
            assert_eq!(boolean(text), Ok(want));
        }
        for bad in ["", "yes", "tRUE", "2"] {
            assert!(boolean(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn labels_are_dns_labels() {
        for good in ["a", "gloo-mesh", "0", &"x".repeat(63)] {
            assert_eq!(label(good).expect("is a label"), good);
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", "ü", &"x".repeat(64)] {
            assert!(label(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "a.b-c.0", &"x".repeat(253)] {
            assert_eq!(subdomain(good).expect("is a subdomain"), good);
        }
        for bad in ["", ".", "a.", "a..b", "a.-b", "A.b", &"x".repeat(254)] {
            assert!(subdomain(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn hosts_are_dns_names() {
        for good in ["relay", "enterprise-networking.gloo-mesh", "a.b.example.com"] {
            assert_eq!(dns_name(good).expect("is one"), good);
        }
        for bad in [
            "",
            "*.gloo-mesh",
            "a..b",
            "a.",
            "Relay",
            "a_b",
            "192.0.2.1:443",
            "192.0.2.1",
            &"a.".repeat(127),
        ] {
            assert!(dns_name(bad).is_err(), "{bad:?}");
        }
    }
}
